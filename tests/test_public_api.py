"""The public surface, written down: a change here is a change for users."""

from __future__ import annotations

import re
from importlib.metadata import version

import numpy as np

import lazypyr

NAMES = [
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


def test_names_are_these():
    assert sorted(lazypyr.__all__) == NAMES
    assert dir(lazypyr) == sorted(lazypyr.__all__)
    assert dir(lazypyr.plot) == sorted(lazypyr.plot.__all__)


def test_tab_on_a_pyramid_shows_what_users_need():
    pyramid = lazypyr.open_pyramid(np.zeros((8, 8), "c8"))
    cloud = lazypyr.from_points([0, 1], [0, 1], [0, 1], resolution=1)
    common = [
        "attrs", "axes", "chunks", "companion_arrays", "coords", "crs", "description", "display", "downsampling", "dtype",
        "explain", "fill_value", "fingerprint", "grid", "levels", "map", "metadata", "method", "name", "ndim", "nodata", "parents",
        "read", "reproject", "shape", "sources", "to_dask", "to_datatree", "to_recipe", "to_xarray",
    ]  # fmt: skip
    shown = {
        one: [name for name in dir(one) if not name.startswith("_")] for one in (pyramid, pyramid.map("phase"), cloud)
    }
    assert shown.pop(pyramid) == sorted([*common, "factors", "reducer", "stored_levels"])
    assert shown.pop(cloud) == sorted(
        [
            *common,
            "cloud",
            "index",
            "keep",
            "nearest",
            "query",
            "raw",
            "values",
            "with_materialized",
            "with_values",
            "x",
            "y",
            "z",
        ]
    )
    assert shown.popitem()[1] == sorted([*common, "parent", "product", "units"])


def test_every_name_is_there():
    missing = []
    for name in NAMES:
        try:
            getattr(lazypyr, name)
        except (AttributeError, ImportError) as error:
            missing.append(f"{name}: {error}")
    assert not missing


def test_functions_stay_functions_whatever_is_imported():
    import lazypyr.plot
    import lazypyr.product
    import lazypyr.server
    import lazypyr.viewers
    import lazypyr.writing

    for name in ("materialize", "product", "serve", "open_pyramid", "from_points", "collection"):
        assert callable(getattr(lazypyr, name)), name


def test_unknown_name():
    assert not hasattr(lazypyr, "no_such_name")


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", lazypyr.__version__)
    assert version("lazypyr") == lazypyr.__version__


def test_errors_are_builtins_too():
    for error, builtin in [
        (lazypyr.PlanError, ValueError),
        (lazypyr.MissingExtra, ImportError),
        (lazypyr.SourceError, OSError),
        (lazypyr.ComputeError, RuntimeError),
        (lazypyr.BusyError, TimeoutError),
        (lazypyr.DestinationError, OSError),
    ]:
        assert issubclass(error, builtin)
        assert issubclass(error, lazypyr.LazypyrError)
