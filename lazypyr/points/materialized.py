"""Clouds that `materialize` wrote: their values are stored in the order of the index too, and they are read as clouds again."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lazypyr.geometry.windows import Window, window_shape
from lazypyr.metadata.conventions import is_written
from lazypyr.points.columns import as_column, gather
from lazypyr.pyramids.base import SERIAL
from lazypyr.sources.base import Source
from lazypyr.sources.open import open_source
from lazypyr.sources.transposed import TransposedSource

if TYPE_CHECKING:
    from lazypyr.points.cloud import Cloud

__all__ = ["FOLDER", "IndexOrderedValues", "MaterializedCloud", "read_materialized"]

Array = np.ndarray[Any, Any]

FOLDER = "level_major"
_ROWS = 65536
_CHECKED = 1 << 22  # rows
# Written beside what conventions say: no attributes of the cloud either.
_OWN = {"points", "crs", "units", "unit"}


class IndexOrderedValues(Source):
    """Values by row of the index, channels first (each is written from one pass over it), or the points' numbers."""

    def __init__(self, cloud: Cloud, values: Source | None = None) -> None:
        self._cloud, self._values = cloud, values
        n, self.name = cloud.grid.n_valid, f"{cloud.name}, level-major"
        channels = values.shape[1:] if values is not None else ()
        self.shape, self.chunks = (*channels, n), (*(1 for _ in channels), min(n, _ROWS))
        self.axes = (*(values.axes[1:] if values is not None else ()), "row")
        self.dtype = cloud.grid.number_dtype if values is None else values.dtype
        self.fill_value = np.zeros((), self.dtype)[()]

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        *channels, (start, stop) = window
        out = np.empty(window_shape(window), self.dtype)
        for index in np.ndindex(out.shape[:-1]):
            channel = tuple(a + i for (a, _), i in zip(channels, index, strict=True))
            done = start
            while done < stop:
                first, block = self._round(channel, done)
                end = min(stop, first + block.size)
                out[index][done - start : end - start] = block[done - first : end - first]
                done = end
        return out[tuple(slice(None, None, s) for s in step)] if step else out

    def _round(self, channel: tuple[int, ...], row: int) -> tuple[int, Array]:
        """The rows that are gathered together with a row: as many as there is room for, since they lie in every chunk."""
        point, values, cache = self._cloud.index.point, self._values, self._cloud.chunk_cache
        if values is None:
            return 0, np.asarray(point)
        n_rows = max(_ROWS, cache.max_bytes // (4 * self.dtype.itemsize))
        first = row // n_rows * n_rows
        rows = np.asarray(point[first : first + n_rows])
        block: Array = cache.cache.get(
            (self.identity, channel, first), lambda: gather(values, rows, channel, cache, SERIAL)
        )
        return first, block

    @property
    def sources(self) -> tuple[Source, ...]:
        return (*self._cloud.sources, *(() if self._values is None else self._values.sources))

    @property
    def fingerprint(self) -> str:
        of = "" if self._values is None else self._values.fingerprint
        return f"{self._cloud.fingerprint}:{of}:{FOLDER}"

    @property
    def identity(self) -> Hashable:
        return self._cloud.identity, None if self._values is None else self._values.identity, FOLDER

    def refreshed(self) -> Source:
        return IndexOrderedValues(self._cloud.refreshed(), None if self._values is None else self._values.refreshed())


@dataclass(frozen=True)
class MaterializedCloud:
    """Points of a materialised hierarchy, beside its levels.

    Attributes
    ----------
    columns : Mapping[str, Source]
    settings : Mapping[str, Any]
        Resolution, tile, levels, method and fill value, as it was written.
    point, values : Source or None
        By row of the index: the number of its point, and its values.
    crs, units : str or None
    attrs : Mapping[str, Any]
    """

    columns: Mapping[str, Source]
    settings: Mapping[str, Any]
    point: Source | None
    values: Source | None
    crs: str | None
    units: str | None
    attrs: Mapping[str, Any]

    def values_of(self, cloud: Cloud) -> Source | None:
        """The values by row of the cloud's index; None, with a warning, if they were written in another order."""
        if self.point is None or self.values is None:
            return None
        numbers, n_first = cloud.index.point, int(cloud.index.starts[-2])
        same = self.point.shape == numbers.shape == self.values.shape[:1] and all(
            np.array_equal(self.point.read(((a, min(a + _CHECKED, n_first)),)), numbers[a : min(a + _CHECKED, n_first)])
            for a in range(0, n_first, _CHECKED)
        )
        if not same:
            warnings.warn(
                f"{self.values.name}: these are values of other points, or in another order; not used",
                UserWarning,
                stacklevel=2,
            )
        return self.values if same else None


def read_materialized(group: Any) -> MaterializedCloud | None:
    """Cloud that `materialize` wrote to a zarr group; None if that is no such group."""
    attrs = dict(group.attrs)
    summary = attrs.get("points")
    if not isinstance(summary, dict) or "resolution" not in summary or "points/x" not in group:
        return None
    level = open_source(group).sources[0]
    columns = {name: as_column(array, name, unpack=False) for name, array in group["points"].arrays()}
    settings = {
        name: summary[name] for name in ("resolution", "chunks", "levels", "origin", "bounds") if name in summary
    }
    written_by: Any = attrs.get("lazypyr", {})
    point, values = (
        as_column(group[path], path, unpack=False) if path in group else None
        for path in (f"{FOLDER}/point", f"{FOLDER}/values")
    )
    return MaterializedCloud(
        columns,
        {**settings, "method": written_by.get("method"), "fill_value": level.fill_value},
        point,
        None if values is None else TransposedSource(values, (values.axes[-1], *values.axes[:-1])),
        level.crs,
        summary.get("units"),
        {key: v for key, v in attrs.items() if key not in _OWN and not is_written(key)},
    )
