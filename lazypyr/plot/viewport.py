"""Viewport of a pyramid: level and window for the visible ranges, and their pixels. Independent of HoloViews."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.checks import whole_number
from lazypyr.display import declared_limits, orientation_of, other_axes, percentile_limits
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.grid import Grid
from lazypyr.geometry.windows import Window
from lazypyr.metadata.colours import colour_axis, has_alpha
from lazypyr.products.apply import NAMES, offered_products
from lazypyr.pyramids.base import Pyramid

__all__ = [
    "RenderCancelled",
    "RenderedImage",
    "Range",
    "Viewport",
    "ViewRequest",
    "drawable",
    "has_nodata_value",
    "rounded_size",
    "north_up",
]

Array = np.ndarray[Any, Any]
Range = Sequence[float] | None

# Largest side sent to a browser: a long thin raster has no level that fits, and would be sent whole.
_MAX_SIDE = 4096
# Sizes are rounded, since tick labels change a plot's width by a few pixels.
_SIZE_STEP = 64
# Colour limits consider further channels only where these are small.
_CHEAP_CHANNEL_BYTES = 64 * 2**20


class RenderCancelled(Exception):
    """A newer view made this picture unnecessary."""


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """Request for rows and columns of a level (None: nothing is visible) at an index of the key dimensions."""

    level: int
    window: Window | None
    index: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RenderedImage:
    """Image whose first row is the top one (largest y), and whose first column is the left one (smallest x).

    Attributes
    ----------
    pixels : ndarray
        (row, column), or (row, column, colour) with 3 or 4 uint8 colours; NaN where there is nothing.
    bounds : (left, bottom, right, top)
        Outer edges in the units of the coordinates, ``left < right`` and ``bottom < top``.
    level : int
    """

    pixels: Array
    bounds: tuple[float, float, float, float]
    level: int


def rounded_size(pixels: float | None) -> int | None:
    """Width or height of a plot to the nearest 64 pixels; None where it isn't known."""
    if pixels is None or not np.isfinite(pixels) or pixels <= 0:
        return None
    return max(1, round(pixels / _SIZE_STEP)) * _SIZE_STEP


def north_up(pixels: Array, extent: Sequence[float], level: int) -> RenderedImage:
    """Image of pixels whose rows and columns run as `extent` says (left, bottom, right, top; see `Grid.extent`)."""
    left, bottom, right, top = extent
    if left > right:
        pixels, left, right = pixels[:, ::-1], right, left
    if bottom > top:
        pixels, bottom, top = pixels[::-1], top, bottom
    return RenderedImage(pixels, (left, bottom, right, top), level)


class Viewport:
    """Level and window of a pyramid for the visible part of a plot, and the pixels of them.

    Parameters
    ----------
    pyramid : Pyramid
        Real values; complex ones can't be drawn.
    engine : Engine
        Reads the chunks, through its cache.
    level_increase : int
        Number of levels coarser (negative: finer) than one data pixel a screen pixel.
    as_is : bool
        Images keep the pyramid's values and dtype, nodata included.
    sizes : sequence of int or None, optional
        Lengths of the sliders of a user's function, whose own key dimensions have no known end: colour limits look at no other
        index than the one shown, and pixels that are float32 come as such.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        engine: Engine,
        *,
        level_increase: int = 0,
        as_is: bool = False,
        sizes: Sequence[int | None] | None = None,
    ) -> None:
        if pyramid.dtype.kind == "c":
            raise PlanError(
                f"{pyramid.name} is complex and can't be drawn: choose one of "
                f"{', '.join(name for name in NAMES if name in offered_products('plot'))}"
            )
        self.pyramid, self.engine = pyramid, engine
        self.level_increase = whole_number(level_increase, "level_increase")
        self.grid, self._as_is = pyramid.grid, as_is
        y, x = pyramid.axes.index("y"), pyramid.axes.index("x")
        self._scales = [max(level.scale[y], level.scale[x]) for level in pyramid.levels]
        self._grids = [
            Grid(
                self.grid.x0 + self.grid.dx * level.translation[x],
                self.grid.dx * level.scale[x],
                level.shape[x],
                self.grid.y0 + self.grid.dy * level.translation[y],
                self.grid.dy * level.scale[y],
                level.shape[y],
            )
            for level in pyramid.levels
        ]
        others = other_axes(pyramid)
        colour = colour_axis(pyramid.axes, pyramid.shape, pyramid.dtype, pyramid.metadata)
        # Of other values than bytes there is a slider: which of them are full red, green and blue isn't known.
        self.colour_axis = colour if colour and others[colour] in (3, 4) and pyramid.dtype == np.uint8 else None
        self.n_colours = 3 + has_alpha(colour, others[colour], pyramid.metadata) if colour else 0
        self.kdims = tuple(axis for axis in others if axis != self.colour_axis)
        self.is_open = sizes is not None
        self.sizes = tuple(others[axis] for axis in self.kdims) if sizes is None else tuple(sizes)
        self._limits: tuple[float, float] | None = None
        self._lock = threading.Lock()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges of level 0: (left, bottom, right, top), ascending."""
        left, bottom, right, top = self._grids[0].extent()
        return min(left, right), min(bottom, top), max(left, right), max(bottom, top)

    @property
    def inverts(self) -> tuple[bool, bool]:
        """True for x, and for y, where the axis of a plot must run backwards for the orientation that all faces have."""
        way = orientation_of(self.pyramid)
        return (self.grid.dx > 0) == way.flip_x, (self.grid.dy > 0) != way.flip_y

    def level_grid(self, level: int) -> Grid:
        """Grid of a level's own samples (as its level 0)."""
        return self._grids[level]

    def level_of(self, x_range: Range, y_range: Range, width: float | None, height: float | None) -> int:
        """The level for a view; -1 where the pixels of level 0 are larger than the screen's."""
        size = (rounded_size(width), rounded_size(height))
        power = self.grid.level_of(x_range, y_range, size, 64, min_level=-1, increase=self.level_increase)
        return sum(scale <= 2.0**power for scale in self._scales) - 1

    def view(
        self, x_range: Range, y_range: Range, width: float | None, height: float | None, index: Sequence[int] = ()
    ) -> ViewRequest:
        """Request for the ranges and the size that a plot reports, which may be missing or not finite.

        Raises
        ------
        PlanError
            An index that isn't one of the kdims' channels.
        """
        level = max(self.level_of(x_range, y_range, width, height), 0)
        return ViewRequest(level, self._grids[level].window_of(x_range, y_range, 0), self.checked(index))

    def checked(self, index: Sequence[Any]) -> tuple[int, ...]:
        """Index of the key dimensions as checked whole numbers."""
        if len(index) != len(self.kdims):
            raise PlanError(
                f"{self.pyramid.name}: expected {len(self.kdims)} index(es) ({', '.join(self.kdims)}), got {tuple(index)!r}"
            )
        for axis, value in zip(self.kdims, index, strict=True):
            size = self.pyramid.shape[self.pyramid.axes.index(axis)]
            if not (0 <= value < size and int(value) == value):
                raise PlanError(f"{self.pyramid.name}: {axis}={value!r} is not one of 0 to {size - 1}")
        return tuple(int(value) for value in index)

    def frame(self, view: ViewRequest, stale: Callable[[], bool] = bool) -> RenderedImage | None:
        """Image of a request; None where nothing is visible.

        Raises
        ------
        Dropped
            When `stale` said that a newer request has come.
        SourceError, ComputeError
            When the pixels can't be read or computed.
        """
        if view.window is None:
            return None
        out = self._read(view.level, view.window, view.index, stale)
        return self._framed(out, view.level, view.window)

    def coarser(self, view: ViewRequest) -> RenderedImage | None:
        """Finest coarser image of a request that is completely cached; nothing is computed."""
        if view.window is None:
            return None
        left, bottom, right, top = self._grids[view.level].extent(0, view.window)
        for level in range(view.level + 1, len(self._grids)):
            window = self._grids[level].window_of((left, right), (bottom, top), 0)
            if window is None:
                continue
            out = self._peek(level, window, view.index)
            if out is not None:
                return self._framed(out, level, window)
        return None

    @property
    def declared_limits(self) -> tuple[float, float] | None:
        """Colour limits that come with the values, such as (-pi, pi) of phases; None where pixels must be looked at."""
        return None if self.colour_axis is not None else declared_limits(self.pyramid)

    def limits(self, index: Sequence[int] = ()) -> tuple[float, float] | None:
        """Colour limits, fixed from the first call on: declared ones, else the 1st and 99th percentile.

        Percentiles are of the coarsest level, at `index` and, where channels are small, at the first, middle and last
        of them. None for colours, and where no pixel is finite; of a user's function also while all are the same (the
        interferogram of an image with itself).
        """
        if self.colour_axis is not None:
            return None
        with self._lock:
            if self._limits is None:
                of_channel = None if self.colour_axis is not None else declared_limits(self.pyramid, index)
                self._limits = of_channel or self._percentiles(tuple(index))
            return self._limits

    def _percentiles(self, index: tuple[int, ...]) -> tuple[float, float] | None:
        last = len(self._grids) - 1
        ny, nx = self._grids[last].level_size(0)
        n_bytes = self.grid.nx * self.grid.ny * self.pyramid.dtype.itemsize
        indices = {index}
        if n_bytes <= _CHEAP_CHANNEL_BYTES and not self.is_open:
            shape = dict(zip(self.pyramid.axes, self.pyramid.shape, strict=True))
            sizes = [shape[axis] for axis in self.kdims]
            indices |= {tuple(min(size - 1, size * part // 2) for size in sizes) for part in range(3)}
        samples = [drawable(self._read(last, ((0, ny), (0, nx)), i, bool), self.pyramid) for i in sorted(indices)]
        values = np.concatenate([s.ravel() for s in samples]).astype("f8")
        values = values[np.isfinite(values)]
        limits = percentile_limits(values, (1, 99))
        if limits is None:
            return None
        low, high = limits
        if self.is_open and self.kdims and low == high:
            return None
        return (low, high) if low < high else (low, low + 1e-9 + abs(low) * 1e-6)

    def _framed(self, out: Array, level: int, window: Window) -> RenderedImage:
        (r0, r1), (c0, c1) = window
        if self.colour_axis is not None:
            pixels = out[..., : self.n_colours]
        else:
            pixels = out if self._as_is else drawable(out, self.pyramid)
            if self.is_open:
                pixels = _narrowed(pixels)
        row_step, column_step = windows.ceil_div(r1 - r0, _MAX_SIDE), windows.ceil_div(c1 - c0, _MAX_SIDE)
        if max(row_step, column_step) > 1:
            pixels = pixels[::row_step, ::column_step]
            window = ((r0, r0 + row_step * pixels.shape[0]), (c0, c0 + column_step * pixels.shape[1]))
        return north_up(pixels, self._grids[level].extent(0, window), level)

    def _window(self, level: int, window: Window, index: Sequence[int]) -> Window:
        rows, columns = window
        ranges = {"y": rows, "x": columns, **{axis: (i, i + 1) for axis, i in zip(self.kdims, index, strict=True)}}
        shape = dict(zip(self.pyramid.axes, self.pyramid.levels[level].shape, strict=True))
        return tuple(ranges.get(axis, (0, shape[axis])) for axis in self.pyramid.axes)

    def _arranged(self, out: Array) -> Array:
        """Axes (y, x), or (y, x, colour)."""
        kept = [axis for axis in self.pyramid.axes if axis not in self.kdims]
        plane = out.reshape([n for axis, n in zip(self.pyramid.axes, out.shape, strict=True) if axis in kept])
        order = ["y", "x", *([self.colour_axis] if self.colour_axis else [])]
        return plane.transpose([kept.index(axis) for axis in order])

    def _read(self, level: int, window: Window, index: Sequence[int], stale: Callable[[], bool]) -> Array:
        full = self._window(level, window, index)
        out = np.empty(windows.window_shape(full), self.pyramid.dtype)

        def read_part(part: Window) -> None:
            if stale():
                raise RenderCancelled
            out[windows.slices_within(part, full)] = self.engine.read(self.pyramid, level, part)

        self.engine.run_tasks(partial(read_part, part) for _, part in self._parts(level, full))
        return self._arranged(out)

    def _peek(self, level: int, window: Window, index: Sequence[int]) -> Array | None:
        full = self._window(level, window, index)
        out = np.empty(windows.window_shape(full), self.pyramid.dtype)
        for chunk_index, part in self._parts(level, full):
            tile = self.engine.get_cached(self.pyramid, level, chunk_index)
            if tile is None:
                return None
            corner = tuple((i * c, 0) for i, c in zip(chunk_index, self.pyramid.chunks, strict=True))
            out[windows.slices_within(part, full)] = tile[windows.slices_within(part, corner)]
        return self._arranged(out)

    def _parts(self, level: int, full: Window) -> list[tuple[tuple[int, ...], Window]]:
        shape, chunks = self.pyramid.levels[level].shape, self.pyramid.chunks
        indices = windows.chunk_index_windows(full, chunks)
        return [(index, windows.overlap(full, windows.chunk_window(index, chunks, shape))) for index in indices]


def _narrowed(pixels: Array) -> Array:
    """Pixels of float64 as float32 where nothing is lost by it."""
    if pixels.dtype != np.float64:
        return pixels
    with np.errstate(over="ignore"):
        narrow = pixels.astype("f4")
    return narrow if np.array_equal(narrow, pixels, equal_nan=True) else pixels


def has_nodata_value(pyramid: Pyramid) -> bool:
    """True if a declared value other than NaN marks pixels without data."""
    nodata = pyramid.nodata
    return nodata is not None and not (isinstance(nodata, float | np.floating) and np.isnan(nodata))


def drawable(pixels: Array, pyramid: Pyramid) -> Array:
    """Pixels in a dtype that browsers support, NaN where there are no data."""
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    nodata = pyramid.nodata
    if kind in "mM":
        seconds = pixels.astype(f"{kind}8[us]").astype("i8") / 1e6
        return np.where(np.isnat(pixels), np.nan, seconds)
    holes = has_nodata_value(pyramid)
    if kind in "iu" and (holes or size == 8):
        real = pixels.astype("f4" if size <= 2 else "f8")
    elif kind == "b":
        real = pixels.astype("u1")
    elif kind == "f" and size == 2:
        real = pixels.astype("f4")
    else:
        real = pixels
    if holes:
        real = np.where(pixels == nodata, real.dtype.type(np.nan), real) if real.dtype.kind == "f" else real
    return real
