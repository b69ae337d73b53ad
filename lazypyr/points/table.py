"""Table of the columns of a file of points, and what is known of them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr._names import public_name
from lazypyr.errors import LazypyrError, PlanError, SourceError
from lazypyr.points.columns import Column, ColumnSlice, StackedColumns, as_column, in_memory
from lazypyr.points.materialized import MaterializedCloud
from lazypyr.sources.base import Source

__all__ = ["PAIRS", "Request", "Table", "columns_of", "errors_name", "short_name"]

# Names under which x and y are looked for, in this order.
PAIRS = (("x", "y"), ("X", "Y"), ("easting", "northing"), ("longitude", "latitude"), ("lon", "lat"))
_SHOWN = ("values", "intensity")


@dataclass(frozen=True)
class Request:
    """Request to a file of points: some columns (None: all), a level, options of its store."""

    columns: tuple[str, ...] | None = None
    level: int = 0
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    as_points: bool = False

    def chosen(self, every: Iterable[str], always: Iterable[str] = ()) -> list[str]:
        """The names that are asked for, in the order of the file; coordinates always."""
        if self.columns is None:
            return list(every)
        wanted = {*self.columns, *always, "yx", *itertools.chain(*PAIRS), "z", "Z"}
        return [name for name in every if name in wanted]


@dataclass(frozen=True)
class Table:
    """Columns of points by name and what is known of them.

    `left_out` says of columns that can't be shown why, `materialized` is what else there is of what `materialize` wrote.
    """

    columns: Mapping[str, Source]
    name: str
    crs: str | None = None
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    materialized: MaterializedCloud | None = None

    def column(self, name: str) -> Source:
        """The column of this name; PlanError lists the names."""
        if name not in self.columns:
            raise PlanError(f"{self.name}: no column {name!r}; {self._names()}")
        return self.columns[name]

    def _names(self) -> str:
        left_out = "".join(f"; {name} is left out: {reason}" for name, reason in self.left_out.items())
        return f"there are {', '.join(self.columns) or 'none'}{left_out}"

    def coordinates(self, x: str | None, y: str | None) -> tuple[Source, Source]:
        """The columns named, or else those whose names say that they are x and y."""
        columns = self.columns
        if (x is None) != (y is None):
            raise PlanError(f"{self.name}: x and y: name both columns or none, got x={x!r}, y={y!r}")
        if x is not None and y is not None:
            return self.column(x), self.column(y)
        for a, b in PAIRS:
            if a in columns and b in columns:
                return columns[a], columns[b]
        pair = columns.get("yx")
        if pair is not None and len(pair.shape) == 2 and pair.shape[1] == 2:
            array = in_memory(pair)
            if array is not None:
                return Column(array[:, 1], name="x"), Column(array[:, 0], name="y")
            return ColumnSlice(pair, 1), ColumnSlice(pair, 0)
        raise PlanError(f"{self.name}: no columns x and y; say x=... and y=...: {self._names()}")

    def height(self, z: str | None) -> Source | None:
        """The column named, or "z" or "Z" if there is one."""
        name = z or next((name for name in ("z", "Z") if name in self.columns), None)
        return None if name is None else self.column(name)

    def values(self, names: Any) -> Source | None:
        """The column to show, several as the channels of one, or an array; None: nothing but the points themselves."""
        if names is None:
            return next((self.columns[name] for name in _SHOWN if name in self.columns), None)
        if isinstance(names, str) and names == "rgb" and names not in self.columns:
            names = ("red", "green", "blue")
        if isinstance(names, str):
            return self.column(names)
        if not (isinstance(names, Sequence) and all(isinstance(v, str) for v in names)):
            return as_column(names, "values")
        sources = [self.column(name) for name in names]
        if not sources:
            return None
        if any(len(s.shape) != 1 for s in sources):
            raise PlanError(f"{self.name}: columns shown together must have one number a point: {', '.join(names)}")
        arrays = [in_memory(s) for s in sources]
        if all(a is not None for a in arrays):
            return Column(np.column_stack([a for a in arrays if a is not None]), name=", ".join(names))
        return StackedColumns(*sources)


def columns_of(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Source]:
    """Columns in memory by name."""
    return {name: Column(np.ascontiguousarray(array), name=name) for name, array in arrays.items()}


def short_name(path: str) -> str:
    """The last part of a path or URL."""
    return public_name(path)


@contextlib.contextmanager
def errors_name(path: str, problem: str) -> Iterator[None]:
    """Turn any error of the package that reads a format into a SourceError that names the file."""
    try:
        yield
    except LazypyrError:
        raise
    except Exception as error:
        raise SourceError(f"{path}: {problem}: {type(error).__name__}: {error}", key=path) from error
