"""Point clouds as pyramids: any tile of any level straight from the points."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.points.aggregations import (
    Method,
    Ranked,
    check_values,
    fill_of,
    last_of,
    method_of,
    reduce_runs,
)
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import array_of, as_column, in_memory, taken
from lazypyr.points.companions import IndexPyramid, OnGrid, RawPyramid, explain_values
from lazypyr.points.materialized import FOLDER, LevelMajor, Written
from lazypyr.pyramids.base import Pyramid, Runner
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.base import Source

__all__ = ["PointsPyramid"]

Array = np.ndarray[Any, Any]

# Of a level with so few occupied pixels, what each shows is worked out once, in the order of the index: values that lie
# anywhere in memory cost 40 ns each, in every tile (some 0.2 s once).
_FRONT = 1 << 23
_UNFIT = str.maketrans(dict.fromkeys("/\\{}", "_"))  # what no name of an array in a store may have
_GATHER = 1 << 18  # rows that one task gathers
_PIECE = 1 << 22  # points whose values are gathered at once where a whole channel finds no room


class PointsPyramid(OnGrid):
    """A point cloud as a pyramid; made by `lazypyr.from_points` and `lazypyr.read_points`.

    Axes are ``y, x, *channels``. Level 0 has a pixel for every ``resolution`` of the extent, with the smallest y first;
    it is never allocated. See `lazypyr.points.aggregations.METHODS` for what a pixel shows.

    Attributes
    ----------
    x, y, z, values : Source
        Coordinates (z may be None) and values (None without any) by point number.
    raw : Mapping[str, Source]
        These and the other attributes of the points, by name.
    """

    def __init__(
        self,
        cloud: Cloud,
        values: Source | None,
        method: Method,
        *,
        chunks: tuple[int, int],
        levels: int | None = None,
        fill_value: Any = None,
        found: Written | None = None,
    ) -> None:
        check_values(method, None if values is None else values.dtype)
        if values is not None and (not values.shape or values.shape[0] != cloud.frame.n_points):
            raise PlanError(
                f"values: {values.shape[0] if values.shape else 0} entries for {cloud.frame.n_points} points; "
                "the first axis must be the points"
            )
        self.values = values if method.kinds else None
        channels = (
            list(zip(self.values.axes[1:], self.values.shape[1:], strict=True)) if self.values is not None else []
        )
        super().__init__(cloud, chunks, levels, channels)
        self._method, self.method = method, method.name
        self.dtype = method.dtype_of(self.values.dtype if self.values is not None else np.dtype("<i8"))
        self._given_fill, self._found = fill_value, found
        self.fill_value = fill_of(method, self.dtype, fill_value)
        self.nodata = self.fill_value if method.empty is None and self.dtype.kind in "iu" else None
        self.attrs = {**cloud.attrs, "points": self._summary()}

    def _summary(self) -> dict[str, Any]:
        frame = self.cloud.frame
        counts = {"n_points": frame.n_points, "n_on_grid": frame.n_valid}
        units = {"units": self.cloud.units} if self.cloud.units else {}
        return {
            **counts,
            **units,
            "resolution": frame.resolution,
            "chunks": list(self._tile),
            "levels": len(self.levels),
        }

    # The points themselves

    @property
    def x(self) -> Source:
        return self.cloud.x

    @property
    def y(self) -> Source:
        return self.cloud.y

    @property
    def z(self) -> Source | None:
        return self.cloud.z

    @property
    def raw(self) -> Mapping[str, Source]:
        columns = {"x": self.cloud.x, "y": self.cloud.y, "z": self.cloud.z, "values": self.values}
        return {**{k: v for k, v in columns.items() if v is not None}, **self.cloud.attributes}

    def query(self, bbox: Sequence[float], *, closed: str = "left") -> Array:
        """Numbers of the points in a box, exactly.

        Parameters
        ----------
        bbox : sequence of float
            ``(x0, y0, x1, y1)`` in world units, or ``(x0, y0, z0, x1, y1, z1)`` for a cloud with z.
        closed : {"left", "both"}
            "left": ``x0 <= x < x1`` and so on, so that boxes side by side share no point. "both": ``x0 <= x <= x1``.

        Returns
        -------
        ndarray
            int64, ascending, shape ``(n,)``.
        """
        return self.cloud.query(bbox, closed=closed)

    def nearest(self, x: Any, y: Any, *, max_distance: float | None = None) -> tuple[Array, Array]:
        """Number of, and Euclidean distance to, the nearest point of each ``(x, y)``, in world units.

        Parameters
        ----------
        x, y : array-like
            Any shapes that broadcast.
        max_distance : float, optional
            Points farther off don't count; inclusive.

        Returns
        -------
        index : ndarray
            int64, of the broadcast shape; -1 where there is no point (or x or y is not finite). Of points at the same
            distance it is the one with the lowest number.
        distance : ndarray
            float64, inf where index is -1.
        """
        return self.cloud.nearest(x, y, max_distance)

    @property
    def index(self) -> IndexPyramid:
        """The same levels, showing the number of the point that ``first_valid`` shows."""
        return IndexPyramid(self.cloud, self._tile, len(self.levels))

    @property
    def extras(self) -> Mapping[str, Pyramid]:
        raw = {f"points/{key}": RawPyramid(self.raw[name], name) for key, name in _keys_of(self.raw).items()}
        if self.method == "first_valid":
            for name, values in {"point": None, "values": self.values}.items():
                raw[f"{FOLDER}/{name}"] = RawPyramid(LevelMajor(self.cloud, values), f"{self.name}, level-major {name}")
        return {"index/{level}": self.index, **raw}

    def with_values(self, values: Any, *, method: str | None = None, fill_value: Any = None) -> PointsPyramid:
        """The same points showing other values: an array, or the name of one of `raw`. The index is shared."""
        source = self.raw.get(values) if isinstance(values, str) else None
        if isinstance(values, str) and source is None:
            raise PlanError(f"values: no attribute {values!r}; there are {', '.join(self.raw)}")
        return PointsPyramid(
            self.cloud,
            source if source is not None else as_column(values, "values"),
            method_of(method or (self.method if self._method.kinds else "first_valid")),
            chunks=self._tile,
            levels=len(self.levels),
            fill_value=fill_value,
        )

    def keep(self, path: Any) -> PointsPyramid:
        """Keep the index and a copy of the values, in the order of the index, as a zarr group; they are used from then on.

        A tile then touches a few neighbouring chunks of the values instead of all. ``from_points(..., index_path=path)``
        uses them again. The values are stored uncompressed, 65536 points of one channel in a chunk.

        Raises
        ------
        DestinationError
            When it can't be written; what was there before is unchanged.
        """
        return self._over(self.cloud.keep(Path(path), self.values), self.values)

    def kept_in(self, found: Written | None) -> PointsPyramid:
        """The same pyramid, using the values that `materialize` wrote in the order of the index."""
        return self._over(self.cloud, self.values, found)

    def _over(self, cloud: Cloud, values: Source | None, found: Written | None = None) -> PointsPyramid:
        return PointsPyramid(
            cloud,
            values,
            self._method,
            chunks=self._tile,
            levels=len(self.levels),
            fill_value=self._given_fill,
            found=found,
        )

    # The pyramid

    @property
    def sources(self) -> tuple[Source, ...]:
        return (*self.cloud.sources, *(() if self.values is None else self.values.sources))

    def _explain(self, what: str, level: int, window: Window, run: Runner) -> Explanation:
        one_each = self.method in ("first_valid", "last")
        return explain_values(what, self, self.values, window, most=windows.pixels_in(window) if one_each else None)

    def compute(self, level: int, window: Window, run: Runner) -> Array:
        out = np.full(windows.window_shape(window), self.fill_value, self.dtype)
        plane: Window = window[:2]
        if not out.size:
            return out
        channels = list(itertools.product(*(range(a, b) for a, b in window[2:])))
        flat = out.reshape(windows.pixels_in(plane), len(channels))
        if self._has_front(level):
            for c, channel in enumerate(channels):
                front = self._front(level, channel, run)
                self.cloud.index.paint(level, plane, _plain(front), _plain(flat[:, c]), by_row=True)
        elif self.method == "count":
            self.cloud.index.count(level, plane, flat[:, 0])
        elif self.method == "first_valid":
            self._show_winners(level, plane, channels, flat, run)
        else:
            self._show_runs(level, plane, channels, flat, run)
        return out

    def _has_front(self, level: int) -> bool:
        values, index = self.values, self.cloud.index
        if values is None:
            return False
        rows = int(index.starts[32 - level])
        if rows * max(4, values.dtype.itemsize) > self.cloud.chunk_cache.max_bytes // 4:
            return False
        if self.method == "first_valid":
            return in_memory(values) is not None and rows <= max(_FRONT, index.key.size // 4)
        return self._whole and rows <= _FRONT // 8

    def _front(self, level: int, channel: tuple[int, ...], run: Runner) -> Array:
        """What the pixels of a level show, by row of the index: kept for levels of few occupied pixels."""
        values, index = self.values, self.cloud.index
        assert values is not None
        rows = int(index.starts[32 - level])
        array = in_memory(values)
        key = values.identity, self.cloud.identity, self.method, channel, rows, str(self.fill_value)

        def shown() -> Array:
            if self.method == "first_valid":
                assert array is not None
                return _gathered(array_of(array, channel), index.point[:rows], run)
            first, by_rank = index.ranks_of(level)
            stop = np.append(first[1:], index.key.size)
            out = np.full(rows, self.fill_value, self.dtype)
            self._reduce(channel, by_rank, first, stop, out, run)
            return out

        front: Array = self.cloud.chunk_cache.cache.get(key, shown)
        return front

    def _show_winners(
        self, level: int, plane: Window, channels: list[tuple[int, ...]], flat: Array, run: Runner
    ) -> None:
        index, values = self.cloud.index, self.values
        assert values is not None
        array = in_memory(values)
        if array is not None:
            for c, channel in enumerate(channels):
                index.paint(level, plane, _plain(array_of(array, channel)), _plain(flat[:, c]))
            return
        pixel, row = index.winners(level, plane)
        kept = self._kept
        wanted = row if kept is not None else index.point.take(row)
        for c, channel in enumerate(channels):
            flat[pixel, c] = taken(kept or values, wanted, channel, self.cloud.chunk_cache, run)

    @cached_property
    def _kept(self) -> Source | None:
        kept = None if self._found is None else self._found.values_of(self.cloud)
        return kept if kept is not None or self.values is None else self.cloud.indexed_values(self.values)

    def _show_runs(self, level: int, plane: Window, channels: list[tuple[int, ...]], flat: Array, run: Runner) -> None:
        pixel, first, stop = self.cloud.index.runs(level, plane)
        if self.method == "any":
            flat[pixel, 0] = 1
            return
        for c, channel in enumerate(channels):
            self._reduce(channel, pixel, first, stop, flat[:, c], run)

    def _reduce(
        self, channel: tuple[int, ...], pixel: Array, first: Array, stop: Array, out: Array, run: Runner
    ) -> None:
        """Write what the points of each run of ranks come to, to their pixels in the flat `out`."""
        if self.method == "last":
            number = np.empty(first.size, np.int64)
            last_of(self.cloud.order, first, stop, number)
            assert self.values is not None
            out[pixel] = taken(self.values, number, channel, self.cloud.chunk_cache, run)
            return
        for part, ranked in self._ranked(channel, first, stop, run):
            reduce_runs(self._method, ranked, pixel[part], first[part], stop[part], out)

    @property
    def _whole(self) -> bool:
        """Whether a whole channel finds room, so that it is gathered once and not for every window."""
        values, cloud = self.values, self.cloud
        return (
            values is not None
            and cloud.frame.n_valid * max(4, values.dtype.itemsize) <= cloud.chunk_cache.max_bytes // 4
        )

    def _ranked(
        self, channel: tuple[int, ...], first: Array, stop: Array, run: Runner
    ) -> Iterable[tuple[slice | Array, Ranked]]:
        """Parts of the runs, and the values of their points by rank: a whole channel if that finds room, else pieces."""
        values, order, cache = self.values, self.cloud.order, self.cloud.chunk_cache
        assert values is not None
        source = values
        if self._whole:
            kind = "sums" if self.method in ("sum", "mean") else "values"
            key = values.identity, self.cloud.identity, channel, kind

            def by_rank() -> Ranked:
                return Ranked.whole(self._method, taken(source, order, channel, cache, run))

            yield slice(None), cache.cache.get(key, by_rank)
            return
        ascending = np.argsort(first, kind="stable")
        stops = stop[ascending]
        at = 0
        while at < ascending.size:
            begin = int(first[ascending[at]])
            end = max(at + 1, int(np.searchsorted(stops, begin + _PIECE, "right")))
            ranks = slice(begin, int(stops[end - 1]))
            piece = taken(source, order[ranks], channel, cache, run)
            yield ascending[at:end], Ranked.part(piece, begin)
            at = end

    @cached_property
    def fingerprint(self) -> str:
        said = (self.method, self.chunks, len(self.levels), str(self.fill_value))
        digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
        digest.update(self.cloud.fingerprint.encode())
        digest.update(b"" if self.values is None else self.values.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> Hashable:
        values = None if self.values is None else self.values.identity
        return self.cloud.identity, values, self.method, self.chunks, len(self.levels), str(self.fill_value)

    @property
    def recipe(self) -> str:
        frame = self.cloud.frame
        return f"{self.name}: {frame.n_valid} points at {frame.resolution} a pixel, {self.method}"

    def refreshed(self) -> Pyramid:
        cloud, values = self.cloud.refreshed(), None if self.values is None else self.values.refreshed()
        fresh = self._over(cloud, values, self._found)
        return fresh if fresh.identity == self.identity else self._over(cloud, values)


def _keys_of(names: Iterable[str]) -> dict[str, str]:
    """Names of columns by the name of their array in a store; those that none can have are left out."""
    keys: dict[str, str] = {}
    for name in names:
        key = name.translate(_UNFIT)
        if key.strip(". ") and not key.startswith(("__", ".z")) and key != "zarr.json":
            keys.setdefault(key, name)
    return keys


def _gathered(column: Array, points: Array, run: Runner) -> Array:
    """``column[points]``, on all cores."""
    out = np.empty(points.size, column.dtype)

    def gather(start: int) -> None:
        part = slice(start, start + _GATHER)
        np.take(column, points[part], out=out[part], mode="clip")

    run.parallel(partial(gather, start) for start in range(0, points.size, _GATHER))
    return out


def _plain(array: Array) -> Array:
    """An array as integers of the same size, which are all that painting needs (complex128 as it is)."""
    return array if array.dtype.itemsize > 8 else array.view(f"u{array.dtype.itemsize}")
