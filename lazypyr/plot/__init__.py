"""HoloViews and Bokeh plots of rasters, point clouds and their time series, which read only the visible part.

Everything here needs the extra ``plot`` and is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lazypyr._util.optional import need

if TYPE_CHECKING:
    from lazypyr.plot.app import view as view
    from lazypyr.plot.export import save_picture as save_picture
    from lazypyr.plot.moraine import pc_plot as pc_plot
    from lazypyr.plot.moraine import ras_plot as ras_plot
    from lazypyr.plot.moraine import ts_plot as ts_plot
    from lazypyr.plot.points import points_plot as points_plot
    from lazypyr.plot.raster import raster_plot as raster_plot
    from lazypyr.plot.timeseries import timeseries_plot as timeseries_plot

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
    "pc_plot": "moraine",
    "ras_plot": "moraine",
    "ts_plot": "moraine",
    "view": "app",
    "points_plot": "points",
    "raster_plot": "raster",
    "timeseries_plot": "timeseries",
    "save_picture": "export",
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
    return sorted(__all__)
