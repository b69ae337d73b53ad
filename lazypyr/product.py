"""Products: arrays that are computed from the pixels of one level when somebody reads them.

The module itself is the decorator of users' functions, so that ``@lazypyr.product`` and ``lazypyr.product.coherence``
are one name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lazypyr.products.apply import NAMES, apply, apply_to_source, offered_products, product_of, register_product
from lazypyr.products.base import Input, Output, Product
from lazypyr.products.blocks import Channels
from lazypyr.products.cast import cast
from lazypyr.products.coherence import coherence
from lazypyr.products.color import colormap, composite
from lazypyr.products.define import define
from lazypyr.products.embeddings import dequantize, pca, premultiply, unpremultiply
from lazypyr.products.expression import expression
from lazypyr.products.insar import amplitude, intensity, intf, phase
from lazypyr.products.mapped import MappedPyramid, ProductSource
from lazypyr.products.stretch import rescale
from lazypyr.products.terrain import aspect, hillshade, slope
from lazypyr.pyramids.level_source import LevelSource
from lazypyr.pyramids.products import ProductLike

__all__ = [
    "NAMES",
    "Channels",
    "Input",
    "LevelSource",
    "MappedPyramid",
    "Output",
    "Product",
    "ProductLike",
    "ProductSource",
    "amplitude",
    "apply",
    "apply_to_source",
    "aspect",
    "cast",
    "coherence",
    "colormap",
    "composite",
    "define",
    "dequantize",
    "expression",
    "hillshade",
    "intensity",
    "intf",
    "offered_products",
    "pca",
    "phase",
    "premultiply",
    "product",
    "product_of",
    "register_product",
    "rescale",
    "slope",
    "unpremultiply",
]

if TYPE_CHECKING:
    product = define
else:

    class _Decorator(ModuleType):
        """The import system sets ``lazypyr.product`` to this module whenever it likes; so the module can be called."""

        def __call__(self, *args: Any, **options: Any) -> Any:
            return define(*args, **options)

    product = sys.modules[__name__]
    product.__class__ = _Decorator
