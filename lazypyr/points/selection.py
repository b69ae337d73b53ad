"""Tables of points that are parts of others (`where`, `bbox`), or made of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, PlanError
from lazypyr.points.columns import Column, in_memory
from lazypyr.points.table import Table
from lazypyr.points.tabular import MASK, class_attributes
from lazypyr.sources.base import Source

__all__ = ["joined", "selected"]

Array = np.ndarray[Any, Any]


def whole(source: Source) -> Array:
    """All of a column."""
    array = in_memory(source)
    return source.read(tuple((0, n) for n in source.shape)) if array is None else array


def selected(table: Table, where: Any, bbox: Sequence[float] | None, axes: Sequence[Source | None]) -> Table:
    """The points for which conditions hold, in memory.

    Parameters
    ----------
    where : Mapping or callable or None
        Value, or list of values, by column; or a function of all columns by name that gives bools, shape ``(n,)``.
    bbox : sequence of float or None
        Half-open box, low sides first, of two or three axes.
    axes : sequence of Source or None
        Coordinates along x, y and z.
    """
    n = next(source.shape[0] for source in axes if source is not None)
    keep = np.ones(n, bool)
    if where is not None:
        keep &= _where(table, where, n)
    if bbox is not None:
        keep &= _inside(table, bbox, axes)
    if not keep.any():
        raise PlanError(f"{table.name}: none of its {n} points is left by where={where!r} and bbox={bbox!r}")
    columns = {
        name: _like(source, whole(source)[keep], name) if source.shape[:1] == (n,) else source
        for name, source in table.columns.items()
    }
    return replace(table, columns=columns, materialized=None)


def _where(table: Table, where: Any, n: int) -> Array:
    if isinstance(where, Mapping):
        keep = np.ones(n, bool)
        for name, wanted in where.items():
            values = whole(table.column(name))
            if values.shape != (n,):
                raise PlanError(f"where: {name}: expected a column of {n} single numbers, got shape {values.shape}")
            keep &= np.isin(values, _codes(table.columns[name], wanted))
        return keep
    if not callable(where):
        raise PlanError(f"where: expected values by column, or a function of the columns, got {where!r}")
    try:
        keep = np.asarray(where(_Columns(table)))
    except LazypyrError:
        raise
    except Exception as error:
        raise PlanError(f"where: the function failed: {type(error).__name__}: {error}") from error
    if keep.shape != (n,) or keep.dtype != np.bool_:
        raise PlanError(f"where: expected bools of shape {(n,)}, got {keep.dtype} of shape {keep.shape}")
    return keep


def _codes(column: Source, wanted: Any) -> Any:
    """Codes of the names of classes; numbers as they are."""
    given = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Sequence | np.ndarray) else list(wanted)
    names = dict(zip(column.attrs.get("flag_meanings", ()), column.attrs.get("flag_values", ()), strict=False))
    unknown = [value for value in given if isinstance(value, str) and value not in names]
    if unknown:
        raise PlanError(f"where: {column.name} has no class {unknown[0]!r}; there are {', '.join(names) or 'none'}")
    return [names[value] if isinstance(value, str) else value for value in given]


class _Columns(dict[str, Array]):
    """Columns by name, read when they are asked for."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, name: str) -> Array:
        self[name] = whole(self._table.column(name))
        return self[name]


def _inside(table: Table, bbox: Sequence[float], axes: Sequence[Source | None]) -> Array:
    try:
        sides = [*map(float, bbox)]
    except (TypeError, ValueError):
        sides = []
    half = len(sides) // 2
    if len(sides) not in (4, 6) or not all(a <= b for a, b in zip(sides[:half], sides[half:], strict=True)):
        raise PlanError(f"bbox: expected (x0, y0, x1, y1) or (x0, y0, z0, x1, y1, z1), low sides first, got {bbox!r}")
    if len(sides) == 6 and axes[2] is None:
        raise PlanError(f"bbox: {table.name} has no z; give x0, y0, x1, y1")
    keep: Any = True
    for axis, low, high in zip(axes, sides[:half], sides[half:], strict=False):
        if axis is not None:
            values = whole(axis)
            keep = keep & (values >= low) & (values < high)
    return np.asarray(keep)


def joined(tables: Sequence[Table]) -> Table:
    """One table of the points of several, in their order; columns that not all have are left out."""
    first = tables[0]
    for facts in ("crs", "units"):
        found = {getattr(table, facts) for table in tables}
        if len(found) > 1:
            raise PlanError(
                f"{first.name} and others: {facts}: expected one for all files, got {', '.join(sorted(map(str, found)))}"
            )
    left_out = {name: reason for table in tables for name, reason in table.left_out.items()}
    columns: dict[str, Source] = {}
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        parts = [table.columns.get(name) for table in tables]
        lacking = [table.name for table, part in zip(tables, parts, strict=True) if part is None]
        if lacking and name.endswith(MASK):
            counts = [next(iter(table.columns.values())).shape[0] for table in tables]
            parts = [part or Column(np.zeros(n, bool), name=name) for part, n in zip(parts, counts, strict=True)]
        elif lacking:
            left_out[name] = f"{lacking[0]} lacks it"
            continue
        present = [part for part in parts if part is not None]
        if len({part.shape[1:] for part in present}) > 1:
            left_out[name] = f"its shapes differ: {', '.join(str(part.shape[1:]) for part in present)}"
            continue
        columns[name] = _concatenated(present, name)
    return replace(
        first, columns=columns, left_out=left_out, materialized=None, name=f"{first.name}, {len(tables)} files"
    )


def _concatenated(parts: Sequence[Source], name: str) -> Source:
    arrays, like = [whole(part) for part in parts], parts[0]
    words = [list(part.attrs.get("flag_meanings", ())) for part in parts]
    if any(words) and any(each != words[0] for each in words):
        every = sorted({word for each in words for word in each})
        place = {word: i for i, word in enumerate(every)}
        for i, each in enumerate(words):
            table = np.array([*(place[word] for word in each), -1], "i4")
            arrays[i] = table[np.where(arrays[i] < 0, len(each), arrays[i])]
        column = Column(np.concatenate(arrays), name=name)
        column.attrs, column.nodata = class_attributes(range(len(every)), every), like.nodata
        return column
    dtype = np.result_type(*arrays)
    nodata = next((part.nodata for part in parts if part.nodata is not None), None)
    for part, array in zip(parts, arrays, strict=True):
        clash = part.nodata is None and nodata is not None and bool((array == nodata).any())
        if clash or (part.nodata is not None and part.nodata != nodata):
            raise PlanError(f"{name}: what holds nothing is {nodata} in one file, and {part.nodata} in another")
    column = Column(np.concatenate(arrays).astype(dtype, copy=False), name=name)
    column.attrs, column.nodata = like.attrs, nodata
    return column


def _like(source: Source, array: Array, name: str) -> Column:
    column = Column(np.ascontiguousarray(array), name=name)
    column.metadata = source.metadata
    return column
