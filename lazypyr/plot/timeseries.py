"""`timeseries_plot`: time series of a tapped point or pixel."""

from __future__ import annotations

import datetime as dt
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import holoviews as hv
import numpy as np

from lazypyr.display import other_axes
from lazypyr.engine.engine import Engine
from lazypyr.errors import ComputeError, PlanError, SourceError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.plot.raster import open_for_plot
from lazypyr.plot.selection import ColumnValues, gather_values
from lazypyr.plot.style import dimension
from lazypyr.plot.viewport import has_nodata_value
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.options import PyramidOptions

__all__ = ["as_times", "timeseries_plot"]

Array = np.ndarray[Any, Any]
PostProc = Callable[..., Any]

# A browser reports the first tap of a double tap as a single one at once; a slow connection may delay the second.
_DOUBLE_TAP_S = 2.0


def timeseries_plot(
    values: Any,
    t: Sequence[Any] | Array,
    source_plot: Any,
    reference: bool = False,  # noqa: FBT001, FBT002 - as in ts_plot
    max_distance: float | None = None,
    *,
    x: Any = None,
    y: Any = None,
    kdtree: Any = None,
    post_proc: PostProc | None = None,
    engine: Engine | None = None,
    **recipe: Unpack[PyramidOptions],
) -> hv.DynamicMap:
    """Plot the time series of the point or pixel that was tapped last in another plot.

    A single tap picks; with `reference`, a double tap sets the point that series are relative to.

    Parameters
    ----------
    values : PointsPyramid, array or source of a raster
        Points (`lazypyr.from_points`), of which the nearest one to the tap is picked; a raster as for `raster_plot`, of
        which the pixel under the tap is picked; or an array of shape ``(n, time)`` with `x` and `y` (or `kdtree`) of n
        points. Complex values are shown as phases, ``angle(v)`` or ``angle(v * conj(v_reference))``; real ones
        unchanged, or as differences.
    t : sequence
        Times, one a channel: dates, numpy or ISO dates, "20160708", or numbers.
    source_plot : HoloViews object, or tuple of them
        Plot to tap: one of `raster_plot`, the pair of `points_plot`, or an overlay with one of them.
    reference : bool, default False
        Show series relative to the point of the last double tap.
    max_distance : float, optional
        Largest distance of a point from the tap, in the units of the coordinates; a tap farther from every point picks
        nothing.
    x : array-like, optional
        Coordinates x, for an array of values.
    y : array-like, optional
        Coordinates y, for an array of values.
    kdtree : scipy.spatial.KDTree, optional
        Tree over ``(x, y)``, instead of `x` and `y`.
    post_proc : callable, optional
        ``f(v, number)``, with a reference ``f(v, number, reference_number)``, that returns the series; `v` is the array
        of values by point number, read where it is indexed.
    engine : Engine, optional
        Engine that reads; by default that of a store, or one that all plots share.
    **recipe : dict
        Options of `lazypyr.open_pyramid`, for a raster.

    Returns
    -------
    holoviews.DynamicMap
        Map of `holoviews.Scatter` with key dimension t and value v.

    Raises
    ------
    PlanError
        For another number of times than channels, values without coordinates, ...

    See Also
    --------
    raster_plot : Plot a raster.
    points_plot : Plot a point cloud.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> from lazypyr.plot import raster_plot, timeseries_plot
    >>> stack = np.arange(32 * 32 * 4, dtype="float32").reshape(32, 32, 4)
    >>> raster = raster_plot(stack, axes="yxi")
    >>> series = timeseries_plot(stack, [2020, 2021, 2022, 2023], raster, axes="yxi")
    >>> series.event(x=1, y=0)  # as a tap on column 1 of row 0
    >>> series[()].dimension_values("v").tolist()
    [4.0, 5.0, 6.0, 7.0]
    """
    picker = _picker(values, x, y, kdtree, max_distance, engine, recipe)
    times = as_times(t)
    if len(times) != picker.length:
        raise PlanError(f"t: {len(times)} times for values with {picker.length} channels")
    series = _Series(picker, times, reference=reference, post_proc=post_proc)
    source = source_plot[0] if isinstance(source_plot, tuple) else source_plot
    streams = [hv.streams.SingleTap(source=source, x=None, y=None)]
    if reference:
        streams.append(hv.streams.DoubleTap(source=source, x=None, y=None).rename(x="x0", y="y0"))
    plot = hv.DynamicMap(series.draw, streams=streams)
    return plot.opts(
        hv.opts.Scatter(width=600, height=260, size=7, tools=["hover"], framewise=True, padding=0.1, show_grid=True)
    )


def as_times(t: Sequence[Any] | Array) -> Array:
    """Times as an array of dates or numbers; "20160708" and 20160708 are dates."""
    array = np.asarray(t)
    if array.ndim != 1:
        raise PlanError(f"t: expected a row of times, got an array of shape {array.shape}")
    if array.dtype.kind in "iu" and array.size and np.all((array > 19000000) & (array < 21000000)):
        array = array.astype("U8")
    if array.dtype.kind in "US":
        try:
            texts = [str(v).strip() for v in array.astype("U")]
            dates = [f"{v[:4]}-{v[4:6]}-{v[6:]}" if len(v) == 8 and v.isdecimal() else v for v in texts]
            return np.array(dates, "M8[us]")
        except ValueError as error:
            raise PlanError(f"t: {error}; expected dates like 2016-07-08 or 20160708") from None
    if array.dtype.kind == "O":
        if all(isinstance(v, dt.date) for v in array):
            return array.astype("M8[us]")
        raise PlanError(f"t: expected dates or numbers, got {type(array[0]).__name__}")
    if array.dtype.kind not in "iufM":
        raise PlanError(f"t: expected dates or numbers, got {array.dtype}")
    return array


class _PointPicker:
    """Picker of the nearest point."""

    def __init__(self, cloud: PointsPyramid, max_distance: float | None) -> None:
        if cloud.values is None or len(cloud.values.shape) != 2:
            raise PlanError(f"{cloud.name}: a time series needs values of shape (points, times)")
        self._cloud, self._values, self._max_distance = cloud, cloud.values, max_distance
        self.length, self.axes = cloud.values.shape[1], dimension(cloud)

    def pick(self, x: float, y: float) -> Any | None:
        number, _ = self._cloud.nearest(x, y, max_distance=self._max_distance)
        return None if int(number) < 0 else int(number)

    def series(self, number: int) -> Array:
        row: Array = self._values.read(((number, number + 1), (0, self.length)))[0]
        return row

    def array(self) -> Any:
        return ColumnValues(self._values, self._cloud.cloud.chunk_cache)

    def describe(self, number: int) -> str:
        x, y = (float(gather_values(self._cloud, s, np.array([number]))[0]) for s in (self._cloud.x, self._cloud.y))
        return f"point {number} at {x:.10g}, {y:.10g}"


class _TreePicker:
    """Picker of the nearest point by a KDTree over an array of values."""

    def __init__(self, values: Any, tree: Any, max_distance: float | None) -> None:
        self._values, self._tree, self._max_distance = values, tree, max_distance
        if values.ndim != 2 or tree.n != values.shape[0]:
            raise PlanError(f"kdtree: has {tree.n} points for values of shape {values.shape}; expected (points, times)")
        self.length, self.axes = values.shape[1], ("z", "v", None)

    def pick(self, x: float, y: float) -> Any | None:
        bound = np.inf if self._max_distance is None else np.nextafter(self._max_distance, np.inf)
        distance, number = self._tree.query((x, y), distance_upper_bound=bound)
        return int(number) if np.isfinite(distance) else None

    def series(self, number: int) -> Array:
        row: Array = self._values[number]
        return row

    def array(self) -> Any:
        return self._values

    def describe(self, number: int) -> str:
        x, y = self._tree.data[number]
        return f"point {number} at {x:.10g}, {y:.10g}"


class _PixelPicker:
    """Picker of the pixel of level 0 under the tap."""

    def __init__(self, pyramid: Pyramid, engine: Engine) -> None:
        lengths = list(other_axes(pyramid).values())
        if len(lengths) != 1:
            raise PlanError(f"{pyramid.name}: a time series needs one axis besides y and x, got {pyramid.axes}")
        self._pyramid, self._engine = pyramid, engine
        (self.length,), self.axes = lengths, dimension(pyramid)

    def pick(self, x: float, y: float) -> Any | None:
        grid = self._pyramid.grid
        left, bottom, right, top = grid.extent()
        inside = min(left, right) <= x <= max(left, right) and min(bottom, top) <= y <= max(bottom, top)
        return grid.nearest(x, y) if inside else None

    def series(self, pixel: tuple[int, int]) -> Array:
        position = {"y": pixel[0], "x": pixel[1]}
        window = tuple(
            (position[a], position[a] + 1) if a in position else (0, self.length) for a in self._pyramid.axes
        )
        values = self._read(window).reshape(self.length)
        return np.where(values == self._pyramid.nodata, np.nan, values) if has_nodata_value(self._pyramid) else values

    def _read(self, window: Window) -> Array:
        """Pixels by chunks that the plot keeps, unless all that hold them hold less: chunks of many dates and few pixels."""
        pyramid = self._pyramid
        kept = windows.touched_chunks(window, pyramid.chunks) * math.prod(pyramid.chunks) * pyramid.dtype.itemsize
        if 0 < pyramid.decoded_bytes(self.length) < kept:
            return pyramid.read(0, window)
        return self._engine.read(pyramid, 0, window)

    def array(self) -> Array:
        raise PlanError("post_proc: a function of point numbers needs points, not a raster")

    def describe(self, pixel: tuple[int, int]) -> str:
        return f"row {pixel[0]}, column {pixel[1]}"


_Picker = _PointPicker | _TreePicker | _PixelPicker


def _picker(
    values: Any, x: Any, y: Any, kdtree: Any, max_distance: float | None, engine: Engine | None, recipe: PyramidOptions
) -> _Picker:
    if max_distance is not None and not max_distance >= 0:
        raise PlanError(f"max_distance: expected a distance of at least 0, got {max_distance!r}")
    if kdtree is not None:
        stored = values if isinstance(values, ColumnValues) else np.asarray(values)
        return _TreePicker(stored, kdtree, max_distance)
    if (x is None) != (y is None):
        raise PlanError("x and y: give both, or none")
    if x is not None:
        from lazypyr.points import from_points

        return _PointPicker(from_points(x, y, values, resolution=_any_resolution(x, y)), max_distance)
    pyramid, engine = open_for_plot(values, engine, **recipe)
    return _PointPicker(pyramid, max_distance) if isinstance(pyramid, PointsPyramid) else _PixelPicker(pyramid, engine)


def _any_resolution(x: Any, y: Any) -> float:
    """Pixel size for points that are only searched, never drawn."""
    sides = [float(np.nanmax(v) - np.nanmin(v)) for v in (np.asarray(x, "f8"), np.asarray(y, "f8"))]
    return max(*sides, 1e-9) / 4096


class _Series:
    """Series of the picked point or pixel, and its reference."""

    def __init__(self, picker: _Picker, times: Array, *, reference: bool, post_proc: PostProc | None) -> None:
        self._source, self._times, self._relative, self._post_proc = picker, times, reference, post_proc
        self._taps: tuple[Any, Any] = (None, None)
        self._picked: Any = None
        self._before: Any = None
        self._picked_at = -np.inf
        self._reference: Any = None

    def draw(self, x: Any = None, y: Any = None, x0: Any = None, y0: Any = None) -> hv.Scatter:
        """Callback of HoloViews, with the last single and double tap."""
        single, double = (x, y), (x0, y0)
        before_single, before_double = self._taps
        self._taps = (single, double)
        picks = single != before_single and _is_position(single)
        if picks:
            self._before = self._picked
            self._picked = self._source.pick(*single)
        if double != before_double and _is_position(double):
            self._reference = self._source.pick(*double)
            if self._before is not None and time.monotonic() - self._picked_at < _DOUBLE_TAP_S:
                self._picked = self._before
        element = self._element()
        if picks:  # after reading: a series that takes long to read delays the second tap too
            self._picked_at = time.monotonic()
        return element

    def _element(self) -> hv.Scatter:
        name, label, unit = self._source.axes
        if self._picked is None:
            return self._empty("tap to pick")
        try:
            values, phase = self._values()
        except (SourceError, ComputeError) as error:
            return self._empty("\n".join(textwrap.wrap(str(error), 70, max_lines=3)))
        times = hv.Dimension("t")
        value = hv.Dimension(
            ("v", "phase" if phase else label if label != name else "v"), unit="rad" if phase else unit
        )
        title = self._source.describe(self._picked)
        if self._relative and self._reference is not None:
            title += f", relative to {self._source.describe(self._reference)}"
        return hv.Scatter((self._times, values), times, value).opts(title=title)

    def _empty(self, title: str) -> hv.Scatter:
        """Empty series over the whole axis of times."""
        times = hv.Dimension("t", range=(self._times.min(), self._times.max()))
        return hv.Scatter((self._times[:0], np.empty(0)), times, hv.Dimension("v")).opts(title=title)

    def _values(self) -> tuple[Array, bool]:
        """Values of the series, and True if they are phases."""
        relative = self._relative and self._reference is not None
        if self._post_proc is not None:
            # with `reference`, before any double tap, a point is its own reference
            others = (self._picked if self._reference is None else self._reference,) if self._relative else ()
            return np.asarray(self._post_proc(self._source.array(), self._picked, *others)), False
        v = self._source.series(self._picked)
        phase = v.dtype.kind == "c"
        if relative:
            v0 = self._source.series(self._reference)
            return (np.angle(v * np.conj(v0)), True) if phase else (v.astype("f8") - v0, False)
        return (np.angle(v), True) if phase else (v.astype("f8"), False)


def _is_position(tap: tuple[Any, Any]) -> bool:
    return all(isinstance(v, int | float | np.number) and np.isfinite(v) for v in tap)
