"""Every Zarr array is already a pyramid: coarser levels are computed chunk by chunk when somebody reads them.

``zarr.open(lazypyr.LazyPyramidStore(src))`` is a multiscale group of any raster, point cloud or function. These are
all the public names; those that need zarr or an optional package are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lazypyr._version import __version__
from lazypyr.errors import (
    BusyError,
    ComputeError,
    DestinationError,
    LazypyrError,
    MissingExtra,
    PlanError,
    SourceError,
)
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.products import provide_products
from lazypyr.pyramids.recipes import provide_recipes
from lazypyr.pyramids.represented import provide_representations
from lazypyr.pyramids.reprojectable import provide_maps
from lazypyr.representations.accessor import register_with_xarray

if TYPE_CHECKING:
    from lazypyr import plot as plot
    from lazypyr import viewers as viewers
    from lazypyr.engine import Engine as Engine
    from lazypyr.points import PointsPyramid as PointsPyramid
    from lazypyr.points import from_points as from_points
    from lazypyr.points import read_points as read_points
    from lazypyr.product import Product as Product
    from lazypyr.product import product as product
    from lazypyr.product import register_product as register_product
    from lazypyr.products.palettes import register_colormap as register_colormap
    from lazypyr.pyramids.open import from_function as from_function
    from lazypyr.pyramids.open import open_pyramid as open_pyramid
    from lazypyr.reducers import Reducer as Reducer
    from lazypyr.reducers import reducer as reducer
    from lazypyr.reducers import register_reducer as register_reducer
    from lazypyr.server import serve as serve
    from lazypyr.sources.base import Source as Source
    from lazypyr.sources.open import register_source as register_source
    from lazypyr.store import LazyPyramidStore as LazyPyramidStore
    from lazypyr.store import Overlay as Overlay
    from lazypyr.store import StoreLayout as StoreLayout
    from lazypyr.store import collection as collection
    from lazypyr.store import register_layout as register_layout
    from lazypyr.writing import materialize as materialize

__all__ = [
    "BusyError",
    "ComputeError",
    "DestinationError",
    "Engine",
    "LazyPyramidStore",
    "LazypyrError",
    "MissingExtra",
    "Overlay",
    "PlanError",
    "PointsPyramid",
    "Product",
    "Pyramid",
    "Reducer",
    "Source",
    "SourceError",
    "StoreLayout",
    "__version__",
    "collection",
    "from_function",
    "from_points",
    "materialize",
    "open_pyramid",
    "plot",
    "product",
    "read_points",
    "reducer",
    "register_colormap",
    "register_layout",
    "register_product",
    "register_reducer",
    "register_source",
    "serve",
    "viewers",
]

_HOMES = {
    "Engine": "lazypyr.engine",
    "LazyPyramidStore": "lazypyr.store",
    "Source": "lazypyr.sources.base",
    "Overlay": "lazypyr.store",
    "StoreLayout": "lazypyr.store",
    "collection": "lazypyr.store",
    "from_function": "lazypyr.pyramids.open",
    "open_pyramid": "lazypyr.pyramids.open",
    "PointsPyramid": "lazypyr.points",
    "from_points": "lazypyr.points",
    "read_points": "lazypyr.points",
    "materialize": "lazypyr.writing",
    "Product": "lazypyr.product",
    "Reducer": "lazypyr.reducers",
    "product": "lazypyr.product",
    "reducer": "lazypyr.reducers",
    "register_colormap": "lazypyr.products.palettes",
    "register_layout": "lazypyr.store",
    "register_product": "lazypyr.product",
    "register_reducer": "lazypyr.reducers",
    "register_source": "lazypyr.sources.open",
    "serve": "lazypyr.server",
}


provide_maps(lambda: importlib.import_module("lazypyr.maps.reproject"))
provide_products(lambda: importlib.import_module("lazypyr.products.apply"))
provide_recipes(lambda: importlib.import_module("lazypyr.recipe"))
provide_representations(lambda: importlib.import_module("lazypyr.representations"))
register_with_xarray()


def __getattr__(name: str) -> Any:
    if name in ("plot", "viewers"):
        return importlib.import_module(f"lazypyr.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'lazypyr' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
