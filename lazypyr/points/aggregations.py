"""Aggregations of the points in a cell to a pixel: objects that know what they need, and compute it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from lazypyr._util.checks import as_scalar
from lazypyr.errors import PlanError
from lazypyr.geometry.windows import Window
from lazypyr.points.aggregation_kernels import (
    RankedValues,
    kernel_ready,
    run_extremes,
    run_last,
    run_sums,
    sum_dtype,
    sums_by_prefix,
)
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import ChunkCache, RowGather, array_of, gather, in_memory
from lazypyr.points.index.build import PointIndex
from lazypyr.pyramids.base import ComputeContext
from lazypyr.sources.base import Source

__all__ = ["COUNT", "FIRST_VALID", "POINT_AGGREGATIONS", "Aggregation", "aggregation_of", "default_fill", "shown_dtype"]

Array = np.ndarray[Any, Any]
Channel = tuple[int, ...]
Runs = tuple[Array, Array, Array]  # position in a flat window, and half-open run of ranks, of each occupied cell

# Of a level with so few occupied pixels, what each shows is worked out once, in the order of the index: values that lie
# anywhere in memory cost 40 ns each, in every tile (some 0.2 s once).
_LEVEL_ROWS = 1 << 23
_GATHER = 1 << 18  # rows that one task gathers
_PIECE = 1 << 22  # points whose values are gathered at once where a whole channel finds no room


class PointValues(Protocol):
    """Points and their values as an aggregation reads them: `PointsPyramid` is one."""

    cloud: Cloud
    values: Source | None
    dtype: np.dtype[Any]
    fill_value: Any

    @property
    def indexed_values(self) -> Source | None:
        """The values by row of the index, where they are stored so too."""


@dataclass(frozen=True, eq=False)
class CellWindow:
    """A window (y, x) of a level, the channels wanted, and the points that lie in its cells."""

    points: PointValues
    level: int
    window: Window
    channels: Sequence[Channel]
    context: ComputeContext

    @property
    def index(self) -> PointIndex:
        """The index of the cloud."""
        return self.points.cloud.index

    @property
    def cache(self) -> ChunkCache:
        """The cache of the cloud's chunks, which holds levels and channels that were worked out too."""
        return self.points.cloud.chunk_cache

    @property
    def values(self) -> Source:
        """The values by point number: without any, the pyramid could not have been made."""
        assert self.points.values is not None
        return self.points.values

    @property
    def channel_fits(self) -> bool:
        """True where there is room for a whole channel, so that it is gathered once and not for every window."""
        return self.cache.has_room_for(self.index.key.size, self.values.dtype)

    def gather(self, numbers: Array, channel: Channel) -> Array:
        """The values of points in a channel."""
        return gather(self.values, numbers, channel, self.cache, self.context)


class Aggregation(ABC):
    """The way in which the points of a cell make a pixel.

    Attributes
    ----------
    name, gdal_name : str or None
        Its name, and GDAL's for it where that is another one.
    value_kinds : str
        Kinds of dtypes that values may have ("biufcmM"); empty where no values are needed.
    empty : int or None
        Value of a pixel without points; None: the usual fill value of the dtype.
    one_point, in_index_order : bool
        True where a pixel shows the value of one of its points; of a row of the index, so that storing in that order pays.
    """

    name: str
    gdal_name: str | None = None
    composable = True  # as far as metadata are concerned: each level is made of the points
    value_kinds: str = ""
    empty: int | None = None
    one_point: bool = False
    in_index_order: bool = False

    @property
    def resampling_name(self) -> str:
        """GDAL's name where there is one, otherwise lazypyr's."""
        return self.gdal_name or self.name

    @property
    def record(self) -> dict[str, Any]:
        """Facts that metadata keep."""
        return {"method": self.name}

    @abstractmethod
    def dtype_of(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Dtype of the pixels, from that of the values."""

    @abstractmethod
    def write(self, cells: CellWindow, out: Array) -> None:
        """Write the occupied pixels of a window to `out`, shape ``(pixels, channels)``; the others are left alone."""

    def check(self, dtype: np.dtype[Any] | None) -> None:
        """Refuse values that it can't work on."""
        if not self.value_kinds:
            return
        if dtype is None:
            raise PlanError(f"method {self.name!r} needs values; without them there are 'count' and 'any'")
        if dtype.kind not in self.value_kinds:
            raise PlanError(f"method {self.name!r} doesn't work on values of dtype {dtype}")

    def fill_value(self, dtype: np.dtype[Any], given: Any) -> Any:
        """Value of pixels without points: the one given, if the dtype has it."""
        if given is None:
            return default_fill(dtype) if self.empty is None else dtype.type(self.empty)
        scalar = as_scalar(given, dtype)
        if scalar is None:
            raise PlanError(f"fill_value: {given!r} is no {dtype}")
        return scalar


class _Count(Aggregation):
    """Number of points in the cell."""

    name, empty = "count", 0

    def dtype_of(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype("<i8")

    def write(self, cells: CellWindow, out: Array) -> None:
        cells.index.count(cells.level, cells.window, out[:, 0])


class _Any(Aggregation):
    """1 where there is a point."""

    name, empty = "any", 0

    def dtype_of(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return np.dtype("u1")

    def write(self, cells: CellWindow, out: Array) -> None:
        pixel, _ = cells.index.first_points(cells.level, cells.window)
        out[pixel, 0] = 1


class _OfValues(Aggregation):
    """Something made of values. Levels of few occupied pixels are worked out once, by row of the index, and cached."""

    value_kinds = "biufcmM"

    def dtype_of(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        return shown_dtype(dtype)

    @abstractmethod
    def caches_level(self, cells: CellWindow, rows: int) -> bool:
        """True where a level of so many occupied pixels is worked out at once."""

    @abstractmethod
    def level_values(self, cells: CellWindow, channel: Channel) -> Array:
        """Values of all occupied pixels of a level, by row of the index."""

    @abstractmethod
    def write_window(self, cells: CellWindow, out: Array) -> None:
        """Write what only the points of a window come to."""

    def write(self, cells: CellWindow, out: Array) -> None:
        values, index = cells.values, cells.index
        rows = index.occupied(cells.level)
        if not (cells.cache.has_room_for(rows, values.dtype) and self.caches_level(cells, rows)):
            self.write_window(cells, out)
            return
        for c, channel in enumerate(cells.channels):
            key = values.identity, cells.points.cloud.identity, self.name, channel, rows, str(cells.points.fill_value)
            level = cells.cache.cache.get(key, partial(self.level_values, cells, channel))
            index.scatter(cells.level, cells.window, level, out[:, c], by_row=True)


class _FirstValid(_OfValues):
    """Last point in a level-0 pixel, then the first occupied pixel of each 2 x 2 box, level by level."""

    name = "first_valid"
    one_point = in_index_order = True

    def caches_level(self, cells: CellWindow, rows: int) -> bool:
        return in_memory(cells.values) is not None and rows <= max(_LEVEL_ROWS, cells.index.key.size // 4)

    def level_values(self, cells: CellWindow, channel: Channel) -> Array:
        array, index = in_memory(cells.values), cells.index
        assert array is not None
        column, numbers = array_of(array, channel), index.point[: index.occupied(cells.level)]
        out = np.empty(numbers.size, column.dtype)

        def gather(start: int) -> None:
            part = slice(start, start + _GATHER)
            np.take(column, numbers[part], out=out[part], mode="clip")

        cells.context.run_tasks(partial(gather, start) for start in range(0, numbers.size, _GATHER))
        return out

    def write_window(self, cells: CellWindow, out: Array) -> None:
        level, window, index, array = cells.level, cells.window, cells.index, in_memory(cells.values)
        if array is not None:
            for c, channel in enumerate(cells.channels):
                index.scatter(level, window, array_of(array, channel), out[:, c])
            return
        pixel, row = index.first_points(level, window)
        indexed = cells.points.indexed_values
        rows = RowGather(cells.values, index.point.take(row)) if indexed is None else RowGather(indexed, row)
        for c, channel in enumerate(cells.channels):
            out[pixel, c] = rows.gather(channel, cells.cache, cells.context)


class _OfRuns(_OfValues):
    """Something made of the values of all points in a cell."""

    def caches_level(self, cells: CellWindow, rows: int) -> bool:
        return rows <= _LEVEL_ROWS // 8 and cells.channel_fits

    def level_values(self, cells: CellWindow, channel: Channel) -> Array:
        first, row = cells.index.ranks_of(cells.level)
        out = np.full(row.size, cells.points.fill_value, cells.points.dtype)
        self.reduce(cells, channel, (row, first, np.append(first[1:], cells.index.key.size)), out)
        return out

    def write_window(self, cells: CellWindow, out: Array) -> None:
        runs = cells.index.runs(cells.level, cells.window)
        for c, channel in enumerate(cells.channels):
            self.reduce(cells, channel, runs, out[:, c])

    @abstractmethod
    def reduce(self, cells: CellWindow, channel: Channel, runs: Runs, out: Array) -> None:
        """Write what the points of each run come to, to their pixels in the flat `out`."""


class _Last(_OfRuns):
    """Value of the point with the highest number."""

    name, one_point = "last", True

    def reduce(self, cells: CellWindow, channel: Channel, runs: Runs, out: Array) -> None:
        pixel, first, stop = runs
        number = np.empty(first.size, np.int64)
        run_last(cells.points.cloud.order, first, stop, number)
        out[pixel] = cells.gather(number, channel)


class _OfNumbers(_OfRuns):
    """Computed from values by rank: a whole channel of them if there is room, else piece by piece."""

    with_sums = False

    @abstractmethod
    def reduce_ranked(self, ranked: RankedValues, runs: Runs, nodata: Any, out: Array) -> None:
        """Write what runs of values come to; runs of nothing but NaN (NaT), or `nodata`, are left alone."""

    def reduce(self, cells: CellWindow, channel: Channel, runs: Runs, out: Array) -> None:
        wide = out.astype(np.float32) if out.dtype == np.float16 else out
        pixel, first, stop = runs
        for part, ranked in self._ranked(cells, channel, first, stop):
            self.reduce_ranked(ranked, (pixel[part], first[part], stop[part]), cells.values.nodata, wide)
        if wide is not out:
            with np.errstate(over="ignore"):
                out[:] = wide

    def _ranked(
        self, cells: CellWindow, channel: Channel, first: Array, stop: Array
    ) -> Iterator[tuple[slice | Array, RankedValues]]:
        """Parts of the runs, and the values of their points by rank."""
        order = cells.points.cloud.order
        if cells.channel_fits:
            key = cells.values.identity, cells.points.cloud.identity, channel, self.with_sums

            def by_rank() -> RankedValues:
                values = cells.gather(order, channel)
                return RankedValues.whole(values, with_sums=self.with_sums, nodata=cells.values.nodata)

            yield slice(None), cells.cache.cache.get(key, by_rank)
            return
        ascending = np.argsort(first, kind="stable")
        stops = stop[ascending]
        done = 0
        while done < ascending.size:
            begin = int(first[ascending[done]])
            end = max(done + 1, int(np.searchsorted(stops, begin + _PIECE, "right")))
            ranks = slice(begin, int(stops[end - 1]))
            piece = cells.gather(order[ranks], channel)
            yield ascending[done:end], RankedValues(kernel_ready(piece), begin)
            done = end


class _Sum(_OfNumbers):
    """Sum, or mean, of the values that aren't NaN."""

    value_kinds, with_sums = "biufc", True

    def __init__(self, name: str, *, mean: bool) -> None:
        self.name, self._mean = name, mean
        self.gdal_name = "average" if mean else None

    def dtype_of(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if self._mean:
            return dtype if dtype.kind in "fc" else np.dtype("<f8")
        return sum_dtype(dtype)

    def reduce_ranked(self, ranked: RankedValues, runs: Runs, nodata: Any, out: Array) -> None:
        pixel, first, stop = runs
        zero = sum_dtype(ranked.values.dtype).type(0)
        if ranked.high is not None:
            sums_by_prefix(ranked.values, ranked.high, ranked.low, first, stop, pixel, zero, self._mean, out)
        else:
            skip = ranked.values.dtype.type(0 if nodata is None else nodata)
            run_sums(ranked.values, ranked.base, first, stop, pixel, zero, self._mean, nodata is not None, skip, out)


class _Extreme(_OfNumbers):
    """Smallest, or largest, value that is neither NaN nor NaT."""

    value_kinds = "biufmM"

    def __init__(self, name: str, *, largest: bool) -> None:
        self.name, self._largest = name, largest

    def reduce_ranked(self, ranked: RankedValues, runs: Runs, nodata: Any, out: Array) -> None:
        pixel, first, stop = runs
        time = out.dtype.kind in "mM"
        skipped = time or nodata is not None
        skip = ranked.values.dtype.type(np.iinfo("i8").min if time else nodata if skipped else 0)
        target = out.view("i8") if time else out
        run_extremes(ranked.values, ranked.base, first, stop, pixel, self._largest, skipped, skip, target)


FIRST_VALID, COUNT = _FirstValid(), _Count()

POINT_AGGREGATIONS: dict[str, Aggregation] = {
    aggregation.name: aggregation
    for aggregation in (
        FIRST_VALID,
        _Last(),
        _Extreme("min", largest=False),
        _Extreme("max", largest=True),
        _Sum("sum", mean=False),
        _Sum("mean", mean=True),
        COUNT,
        _Any(),
    )
}


def aggregation_of(name: str) -> Aggregation:
    """The aggregation of this name; PlanError lists the names."""
    if not isinstance(name, str) or name not in POINT_AGGREGATIONS:
        raise PlanError(f"method: expected one of {', '.join(POINT_AGGREGATIONS)}, got {name!r}")
    return POINT_AGGREGATIONS[name]


def shown_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype in which values are shown: bool as uint8, so that there is a value for "nothing here"."""
    return np.dtype("u1") if dtype == np.bool_ else dtype


def default_fill(dtype: np.dtype[Any]) -> Any:
    """Fill value of a dtype: NaN, NaT, the least signed or the largest unsigned integer."""
    if dtype.kind in "fc":
        return dtype.type(complex(np.nan, np.nan) if dtype.kind == "c" else np.nan)
    if dtype.kind in "mM":
        return np.array("NaT", dtype)[()]
    info = np.iinfo(dtype)
    return dtype.type(info.min if dtype.kind == "i" else info.max)
