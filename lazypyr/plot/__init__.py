"""Plots that read only what the screen shows: rasters, point clouds and their time series, in HoloViews and Bokeh.

Everything here needs the extra ``plot`` and is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lazypyr._optional import need

if TYPE_CHECKING:
    from lazypyr.plot.aliases import pc_plot as pc_plot
    from lazypyr.plot.aliases import ras_plot as ras_plot
    from lazypyr.plot.aliases import ts_plot as ts_plot
    from lazypyr.plot.app import view as view
    from lazypyr.plot.clouds import points_plot as points_plot
    from lazypyr.plot.rasters import raster_plot as raster_plot
    from lazypyr.plot.series import timeseries_plot as timeseries_plot
    from lazypyr.plot.still import save_picture as save_picture

__all__ = [
    "pc_plot",
    "points_plot",
    "ras_plot",
    "raster_plot",
    "save_picture",
    "timeseries_plot",
    "ts_plot",
    "view",
]

_HOMES = {
    "pc_plot": "aliases",
    "ras_plot": "aliases",
    "ts_plot": "aliases",
    "view": "app",
    "points_plot": "clouds",
    "raster_plot": "rasters",
    "timeseries_plot": "series",
    "save_picture": "still",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lazypyr.plot' has no attribute {name!r}")
    need("holoviews", feature="lazypyr.plot", extra="plot")
    need("bokeh", feature="lazypyr.plot", extra="plot")
    value = getattr(importlib.import_module(f"lazypyr.plot.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
