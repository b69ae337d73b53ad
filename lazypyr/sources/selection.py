"""Selections along axes, by coordinate and by index, with the rules of xarray."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.metadata.ome_metadata import OmeMetadata
from lazypyr.metadata.variables import CoordArray, Variable

__all__ = ["Selection", "Taken", "selected_metadata"]

Taken = int | slice
"""One pixel of an axis, which is dropped, or a range of pixels with a start and a stop."""


@dataclass(frozen=True)
class Selection:
    """Part of a source that a user asks for.

    Parameters
    ----------
    sel : Mapping[str, Any]
        By dimension a label of its coordinate, or a slice of labels, both ends included.
    isel : Mapping[str, Any]
        By dimension an index, or a slice of indices.

    Examples
    --------
    >>> Selection(isel={"time": slice(2, 4)}).taken(("time", "y", "x"), (12, 90, 180), DatasetMetadata())
    {'time': slice(2, 4, None)}
    """

    sel: Mapping[str, Any] = field(default_factory=dict)
    isel: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, sel: Any, isel: Any) -> Selection:
        """Selection as a user gives it; ranges may be slices or, in JSON, objects with "from" and "to"."""
        for name, given in (("sel", sel), ("isel", isel)):
            if given is not None and not isinstance(given, Mapping):
                raise PlanError(f"{name}: expected a mapping such as {{'time': ...}}, got {given!r}")
        both = set(sel or ()) & set(isel or ())
        if both:
            raise PlanError(f"sel and isel both select along {', '.join(map(repr, sorted(both)))}")
        plain = [{str(dim): _as_slice(value) for dim, value in (given or {}).items()} for given in (sel, isel)]
        return cls(*plain)

    def __bool__(self) -> bool:
        return bool(self.sel or self.isel)

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions that it is along."""
        return (*self.sel, *self.isel)

    def among(self, dims: Sequence[str]) -> Selection:
        """Selection of the same along these dimensions only."""
        kept = [{dim: value for dim, value in given.items() if dim in dims} for given in (self.sel, self.isel)]
        return Selection(*kept)

    def recorded(self) -> dict[str, Any]:
        """JSON for recipes."""
        given = {"sel": self.sel, "isel": self.isel}
        return {name: {dim: _json(v) for dim, v in value.items()} for name, value in given.items() if value}

    def taken(self, axes: Sequence[str], shape: Sequence[int], metadata: DatasetMetadata) -> dict[str, Taken]:
        """Index or range by axis.

        Raises
        ------
        PlanError
            For dimensions, labels and indices that aren't there, and for what is no range.
        """
        found: dict[str, Taken] = {}
        names = {**{axis: axis for axis in axes}, **{dim: axis for axis, dim in metadata.dims.items()}}
        for dim, value in self.isel.items():
            axis = _axis_of(dim, names)
            found[axis] = _indexed(dim, value, shape[list(axes).index(axis)])
        for dim, label in self.sel.items():
            axis = _axis_of(dim, names)
            coordinate = metadata.along.get(axis)
            if coordinate is None:
                raise PlanError(f"sel: {dim!r} has no coordinate here; select by index with isel={{{dim!r}: ...}}")
            found[axis] = located(dim, coordinate, shape[list(axes).index(axis)], label)
        for axis in ("y", "x"):
            if isinstance(found.get(axis), int):
                raise PlanError(f"a selection leaves the axes y and x: give a range of {axis}, as slice(start, stop)")
        return found


def _as_slice(value: Any) -> Any:
    if isinstance(value, Mapping):
        if not value or set(value) - {"from", "to"}:
            raise PlanError(f"expected a range as {{'from': ..., 'to': ...}}, got {dict(value)!r}")
        return slice(value.get("from"), value.get("to"))
    return value


def _json(value: Any) -> Any:
    if isinstance(value, slice):
        ends = {"from": value.start, "to": value.stop}
        return {name: _json(end) for name, end in ends.items() if end is not None}
    if isinstance(value, np.datetime64 | np.timedelta64 | date):
        return value.isoformat() if isinstance(value, date) else str(value)
    return value.item() if isinstance(value, np.generic) else value


def _axis_of(dim: str, names: Mapping[str, str]) -> str:
    if dim not in names:
        raise PlanError(f"no dimension is called {dim!r}; there are {', '.join(map(repr, dict.fromkeys(names)))}")
    return names[dim]


def _indexed(dim: str, value: Any, size: int) -> Taken:
    if isinstance(value, slice):
        start, stop, step = value.indices(size)
        if step == 1 and start < stop:
            return slice(start, stop)
        raise PlanError(f"isel: {dim!r}: expected a range of the {size} entries, one by one, got {value}")
    try:
        index = operator.index(value)
    except TypeError:
        raise PlanError(f"isel: {dim!r}: expected an index or a slice, got {value!r}") from None
    if not -size <= index < size:
        raise PlanError(f"isel: {dim!r} has {size} entries, got {index}")
    return index % size


def located(dim: str, coordinate: Coord | CoordArray, size: int, label: Any) -> Taken:
    """Index or range of a label, or of a slice of labels, as xarray finds them.

    Raises
    ------
    PlanError
        When it isn't there, or isn't one range.
    """
    xr = need("xarray", feature="selecting by coordinate", extra="xarray")
    if isinstance(coordinate, Coord):
        values, attrs = coordinate.origin + coordinate.step * np.arange(size), {}
    else:
        values, attrs = coordinate.values, dict(coordinate.attrs)
    stored = xr.Variable((dim,), np.asarray(values), attrs)
    decoded = xr.conventions.decode_cf_variable(dim, stored)
    positions = xr.DataArray(np.arange(size), dims=[dim], coords={dim: decoded})
    if decoded.dtype.kind in "iuf":
        label = slice(*map(_number, (label.start, label.stop))) if isinstance(label, slice) else _number(label)
    runs = f"it runs from {decoded.values[0]} to {decoded.values[-1]}"
    try:
        found = np.asarray(positions.sel({dim: label}))
    except Exception as error:  # of pandas, of many kinds
        raise PlanError(f"sel: {dim!r} has no {label!r} ({type(error).__name__}); {runs}") from error
    if found.ndim == 0:
        return int(found)
    if not found.size or not np.array_equal(found, np.arange(found[0], found[0] + found.size)):
        problem = "nothing" if not found.size else "no range of neighbours"
        raise PlanError(f"sel: {dim!r}: {label!r} is {problem}; {runs}")
    return slice(int(found[0]), int(found[-1]) + 1)


def _number(label: Any) -> Any:
    """A label as command lines write it, along a coordinate of numbers."""
    try:
        return float(label) if isinstance(label, str) else label
    except ValueError:
        return label


def selected_metadata(metadata: DatasetMetadata, taken: Mapping[str, Taken]) -> DatasetMetadata:
    """Facts about the part of an array; the coordinate of a dropped axis becomes a variable without axes."""
    along: dict[str, Coord | CoordArray] = {}
    by_dim = {metadata.dims.get(axis, axis): part for axis, part in taken.items()}
    variables = {name: _part(variable, by_dim) for name, variable in metadata.variables.items()}
    for axis, coordinate in metadata.along.items():
        part = taken.get(axis, slice(None))
        if isinstance(part, slice):
            along[axis] = _along(coordinate, part)
        elif isinstance(coordinate, CoordArray):
            variables[coordinate.name] = _scalar(coordinate, part)
    dims = {axis: dim for axis, dim in metadata.dims.items() if not isinstance(taken.get(axis), int)}
    return metadata.replaced(
        along=along,
        variables=variables,
        dims=dims,
        ome=_ome(metadata.ome, taken),
        affine=_shifted(metadata.affine, taken),
    )


def _shifted(affine: tuple[float, ...] | None, taken: Mapping[str, Taken]) -> tuple[float, ...] | None:
    """Transform of a rotated grid from the first row and column on that are taken."""
    if affine is None:
        return None
    a, b, c, d, e, f = affine
    row, column = (part.start or 0 if isinstance(part := taken.get(axis), slice) else 0 for axis in ("y", "x"))
    return a, b, a * column + b * row + c, d, e, d * column + e * row + f


def _ome(ome: OmeMetadata | None, taken: Mapping[str, Taken]) -> OmeMetadata | None:
    """OME metadata with the settings of the channels that are taken."""
    for axis, part in taken.items():
        if ome is not None and part != slice(None) and ome.is_channel(axis):
            ome = ome.with_channels(range(part.start, part.stop) if isinstance(part, slice) else [part])
    return ome


def _along(coordinate: Coord | CoordArray, part: slice) -> Coord | CoordArray:
    if part == slice(None):
        return coordinate
    if isinstance(coordinate, Coord):
        return Coord(coordinate.at(part.start), coordinate.step, coordinate.unit)
    return replace(coordinate, shape=(part.stop - part.start,), read=partial(_read_part, coordinate, (part,)))


def _scalar(coordinate: CoordArray, index: int) -> Variable:
    read = partial(_read_part, coordinate, (index,))
    return Variable(coordinate.name, (), (), coordinate.dtype, read, coordinate.attrs)


def _part(variable: Variable, taken: Mapping[str, Taken]) -> Variable:
    if not set(variable.dims) & set(taken):
        return variable
    where = tuple(taken.get(dim, slice(None)) for dim in variable.dims)
    kept = [(dim, n, part) for dim, n, part in zip(variable.dims, variable.shape, where, strict=True)
            if isinstance(part, slice)]  # fmt: skip
    return replace(
        variable,
        dims=tuple(dim for dim, _, _ in kept),
        shape=tuple(len(range(*part.indices(n))) for _, n, part in kept),
        read=partial(_read_part, variable, where),
    )


def _read_part(variable: Variable, where: tuple[Taken, ...]) -> Any:
    return np.asarray(variable.values[where])
