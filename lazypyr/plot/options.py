"""Keywords that plots hand on: editors complete them, type checkers know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from lazypyr.engine.engine import Engine
from lazypyr.pyramids.options import PyramidOptions, SourceOptions
from lazypyr.pyramids.products import ProductLike

__all__ = ["PointsPlotOptions", "RasterOptions", "RasterPlotOptions", "TimeseriesPlotOptions", "ViewOptions"]


class RasterOptions(SourceOptions, total=False):
    """Keywords of `lazypyr.open_pyramid` without `bounds`, which `raster_plot` has as a parameter."""

    product: ProductLike | Sequence[ProductLike] | None
    levels: int | str | None
    storage_options: Mapping[str, Any] | None


class PointsPlotOptions(TypedDict, total=False):
    """Keywords of `points_plot` that `pc_plot` hands on; see there."""

    labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None
    clim: tuple[float, float] | None
    cmap: Any
    title: str | None
    engine: Engine | None


class RasterPlotOptions(PointsPlotOptions, RasterOptions, total=False):
    """Keywords of `raster_plot` that `ras_plot` hands on; see there."""

    invert_yaxis: bool | None


class TimeseriesPlotOptions(PyramidOptions, total=False):
    """Keywords of `timeseries_plot` that `ts_plot` hands on; see there."""

    max_distance: float | None
    engine: Engine | None


class ViewOptions(SourceOptions, total=False):
    """Keywords of `lazypyr.open_pyramid` and `raster_plot` that `view` hands on; see there."""

    bounds: Sequence[float] | None
    levels: int | str | None
    storage_options: Mapping[str, Any] | None
    clim: tuple[float, float] | None
    cmap: Any
    invert_yaxis: bool | None
    level_increase: int
