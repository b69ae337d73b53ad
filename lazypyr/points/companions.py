"""Pyramids beside that of the values: the numbers of the points shown, and the points as they are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import Window
from lazypyr.points.aggregations import shown_dtype
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import gather, in_memory
from lazypyr.pyramids.base import SERIAL, ComputeContext, Level, Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.open import open_pyramid
from lazypyr.reducers import REDUCERS
from lazypyr.sources.base import Source

__all__ = ["IndexPyramid", "OnGrid", "RawPyramid", "array_keys", "classes_of", "explain_values"]

Array = np.ndarray[Any, Any]

_NOT_IN_KEYS = str.maketrans(dict.fromkeys("/\\{}", "_"))


class OnGrid(Pyramid):
    """Base of the pyramids of one cloud, which share levels, coordinates and attributes."""

    values: Source | None = None

    def __init__(
        self, cloud: Cloud, chunks: tuple[int, int], levels: int | None, channels: Sequence[tuple[str, int]]
    ) -> None:
        grid = cloud.grid
        self.cloud, self.name = cloud, cloud.name
        self.axes = ("y", "x", *(name for name, _ in channels))
        self._tile = chunks
        self.chunks = (*chunks, *(1 for _ in channels))
        sizes = tuple(n for _, n in channels)
        count = windows.level_count((grid.ny, grid.nx), (2, 2), chunks) if levels is None else levels
        ones = (1.0,) * len(sizes)
        self.levels = tuple(
            Level(
                (*windows.level_shape((grid.ny, grid.nx), (2, 2), k), *sizes),
                (2.0**k, 2.0**k, *ones),
                ((2**k - 1) / 2, (2**k - 1) / 2, *(0.0 for _ in sizes)),
            )
            for k in range(count)
        )
        self.coords = {
            "y": Coord(float(grid.y0), grid.resolution, cloud.units),
            "x": Coord(float(grid.x0), grid.resolution, cloud.units),
        }
        self.crs = cloud.crs
        self.attrs = cloud.attrs

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.cloud.sources

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        """Estimate of the bytes that `compute` holds at once."""
        return windows.pixels_in(window) * (3 * self.dtype.itemsize + 16)

    def at_points(self, numbers: Array) -> Pyramid:
        return open_pyramid(_PointsRow(self, numbers), levels=1, chunks=(1, 65536), nodata=self.nodata)

    def values_of(self, numbers: Array, channel: tuple[int, ...]) -> Array:
        """Values of points by number, in one channel, as a pixel that shows just one of them has."""
        if self.values is None:  # such a pyramid counts
            return np.ones(numbers.shape, self.dtype)
        return gather(self.values, numbers, channel, self.cloud.chunk_cache, SERIAL)


class _PointsRow(Source):
    """Source with points as a raster of one row: axes ``y, x, *channels``, shape ``(1, n, *channels)``."""

    def __init__(self, pyramid: OnGrid, numbers: Array) -> None:
        self._pyramid, self._numbers = pyramid, numbers
        self.name, self.axes, self.dtype = pyramid.name, pyramid.axes, pyramid.dtype
        self.shape = (1, max(1, numbers.size), *pyramid.shape[2:])
        self.chunks = (1, self.shape[1], *(1 for _ in self.shape[2:]))
        self.nodata, self.fill_value, self.attrs = pyramid.nodata, pyramid.fill_value, pyramid.attrs

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        out = np.full(windows.window_shape(window), self.fill_value, self.dtype)
        numbers = self._numbers[slice(*window[1])]
        for position in np.ndindex(out.shape[2:] if numbers.size else (0,)):
            channel = tuple(a + i for (a, _), i in zip(window[2:], position, strict=True))
            out[(0, slice(None), *position)] = self._pyramid.values_of(numbers, channel)
        return out

    @property
    def fingerprint(self) -> str:
        return f"{self._pyramid.fingerprint}:strip"

    @property
    def identity(self) -> Hashable:
        return "strip", id(self)


def explain_values(
    what: str, pyramid: OnGrid, values: Source | None, window: Window, *, most: int | None = None
) -> Explanation:
    """Explanation of a window of values on the grid, of which at most `most` are read."""
    how, inputs = pyramid.description, pyramid.cloud.explain_index()
    if values is None or in_memory(values) is not None:
        return Explanation(what, how, inputs=inputs)
    chunks = windows.touched_chunks(((0, values.shape[0]), *window[2:]), values.chunks)
    chunks = chunks if most is None else min(chunks, most)
    n_bytes = chunks * math.prod(values.chunks) * values.dtype.itemsize
    return Explanation(what, f"{how}; at most", False, values.name, chunks, n_bytes, inputs=inputs)


class IndexPyramid(OnGrid):
    """Number of the point that each pixel shows (int64, -1 where there is none), at every level."""

    downsampling = REDUCERS["first_valid"]

    def __init__(self, cloud: Cloud, chunks: tuple[int, int], levels: int) -> None:
        super().__init__(cloud, chunks, levels, ())
        self.name = f"{cloud.name}, index"
        self.dtype, self.fill_value, self.nodata = np.dtype("<i8"), np.int64(-1), np.int64(-1)

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        out = np.full(windows.window_shape(window), -1, np.int64)
        self.cloud.index.scatter(level, window, None, out.reshape(-1))
        return out

    def values_of(self, numbers: Array, channel: tuple[int, ...]) -> Array:
        return numbers

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return explain_values(what, self, None, window)

    @property
    def fingerprint(self) -> str:
        return f"{self.cloud.fingerprint}:index"

    @property
    def identity(self) -> Hashable:
        return self.cloud.identity, "index", self.chunks, len(self.levels)

    @property
    def description(self) -> str:
        return f"{self.name}: number of the point that each pixel shows"

    def refreshed(self) -> Pyramid:
        cloud = self.cloud.refreshed()
        return IndexPyramid(cloud, self._tile, len(self.levels))


class RawPyramid(Pyramid):
    """A column of the points as it is: one level, axes ``("point", *channels)``."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self.axes, self.dtype = source.axes, shown_dtype(source.dtype)
        self.attrs = classes_of(source)
        self.chunks = tuple(max(1, c) for c in source.chunks)
        ones, zeros = (1.0,) * len(self.axes), (0.0,) * len(self.axes)
        self.levels = (Level(source.shape, ones, zeros),)
        self.fill_value = np.zeros((), self.dtype)[()]

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        return self.source.read(window).astype(self.dtype, copy=False)

    @property
    def sources(self) -> tuple[Source, ...]:
        return self.source.sources

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        chunks = windows.touched_chunks(window, self.chunks)
        n_bytes = chunks * math.prod(self.chunks) * self.dtype.itemsize
        return Explanation(what, "as stored", False, self.source.name, chunks, n_bytes)

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    @property
    def identity(self) -> Hashable:
        return self.source.identity, "raw"

    @property
    def description(self) -> str:
        return f"{self.name}: as stored, by point number"

    def refreshed(self) -> Pyramid:
        return RawPyramid(self.source.refreshed(), self.name)


def classes_of(source: Source) -> dict[str, Any]:
    """Attributes of a column that name its classes."""
    return {key: source.attrs[key] for key in ("flag_values", "flag_meanings") if key in source.attrs}


def array_keys(names: Iterable[str]) -> dict[str, str]:
    """Names of columns by the name of their array in a store; those that none can have are left out."""
    keys: dict[str, str] = {}
    for name in names:
        key = name.translate(_NOT_IN_KEYS)
        if key.strip(". ") and not key.startswith(("__", ".z")) and key != "zarr.json":
            keys.setdefault(key, name)
    return keys
