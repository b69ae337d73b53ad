"""Stores of zarr-vectors as tables of points: positions and attributes of a level, by the layout of formats 0.7 and 0.9."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, PlanError, SourceError
from lazypyr.points.columns import Column
from lazypyr.points.table import Request, Table
from lazypyr.sources.array_metadata import document_of
from lazypyr.sources.base import Source
from lazypyr.sources.codecs import check_codecs

__all__ = ["is_vectors", "read_vectors"]

Array = np.ndarray[Any, Any]
Cells = dict[tuple[int, ...], Any]

# Codecs of ragged arrays: they make bytes and text.
_RAGGED = ("vlen-bytes", "vlen-utf8")
_FORMATS = ("0.7", "0.8", "0.9")
_NAMES = ("x", "y", "z")
_TAKEN = (*_NAMES, "values")


def is_vectors(attrs: Mapping[str, Any]) -> bool:
    """True for the attributes of a zarr-vectors store."""
    return isinstance(attrs.get("zarr_vectors"), Mapping)


def read_vectors(group: Any, path: str, name: str, request: Request) -> Table:
    """The vertices of a level, in memory, cell after cell of the grid of chunks in C order, as its own reader has them.

    Raises
    ------
    PlanError
        When the format isn't known, there is no such level, or the store is of lines or meshes, unless they are asked for as points.
    SourceError
        When chunks of vertices are missing or cut.
    """
    attrs = dict(group.attrs)
    about: Mapping[str, Any] = attrs["zarr_vectors"]
    version = str(about.get("zv_version", "unknown"))
    if not version.startswith(_FORMATS):
        raise PlanError(
            f"{path}: a zarr-vectors store of format {version}; expected one of {', '.join(_FORMATS)}: "
            "update lazypyr, or write it again with a release of zarr-vectors that has one of these"
        )
    kinds = [kind for kind in about.get("geometry_types", ()) if kind != "point_cloud"]
    if kinds and not request.as_points:
        raise PlanError(
            f"{path}: a zarr-vectors store of {', '.join(map(str, kinds))}, not of points; "
            "as_points=True takes its vertices as points"
        )
    axes = _axes(attrs, about)
    node = _level(group, path, request.level)
    facts: Mapping[str, Any] = node.attrs.get("zarr_vectors_level", {})
    vertices = _Ragged(node, "vertices", path)
    positions, counts = vertices.rows(len(axes))
    _check_count(vertices, positions.shape[0], facts, path, version)
    columns: dict[str, Source] = {
        axis["name"]: Column(np.ascontiguousarray(positions[:, i]), name=axis["name"]) for i, axis in enumerate(axes)
    }
    left_out: dict[str, str] = {}
    for key, column in _attributes(node, path, counts, request, left_out):
        columns[_free_name(key, columns, path)] = column
    by_chunk = _chunk_attribute(facts, counts, len(axes))
    if by_chunk is not None:
        columns.setdefault(*by_chunk)
    units = next((axis["unit"] for axis in axes if axis.get("unit")), None)
    return Table(columns, name, _crs(attrs, about), units, {"zarr_vectors_version": version}, left_out)


def _level(group: Any, path: str, level: int) -> Any:
    try:
        node = group[str(level)]
    except KeyError:
        there = sorted((int(key) for key in group.group_keys() if key.isdigit()), key=int)
        raise PlanError(f"{path}: no level {level}; there are {', '.join(map(str, there)) or 'none'}") from None
    if "vertices" not in node:
        raise SourceError(f"{path}/{level}: there are no vertices", key=f"{path}/{level}/vertices")
    return node


def _axes(attrs: Mapping[str, Any], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    for multiscales in attrs.get("multiscales", ()):
        axes = [dict(axis) for axis in multiscales.get("axes", ())]
        if axes:
            return axes
    n_dims = len(about.get("chunk_shape", _NAMES))
    return [{"name": _NAMES[i] if i < 3 else f"axis{i}"} for i in range(n_dims)]


def _crs(attrs: Mapping[str, Any], about: Mapping[str, Any]) -> str | None:
    for found in (about.get("crs"), attrs.get("crs")):
        keys = ("wkt", "name", "code", "epsg")
        crs = next((found[key] for key in keys if found.get(key)), None) if isinstance(found, Mapping) else found
        if crs:
            return f"EPSG:{crs}" if isinstance(crs, int) else str(crs)
    return None


def _check_count(vertices: _Ragged, n: int, facts: Mapping[str, Any], path: str, version: str) -> None:
    missing = vertices.missing()
    if missing:
        raise SourceError(
            f"{path}: {len(missing)} chunks of vertices are missing, {missing[0]} among them: "
            f"{n} of {facts.get('vertex_count', '?')} points are there; copy the store again",
            key=f"{vertices.key}/{missing[0]}",
        )
    declared = facts.get("vertex_count")
    if declared is None or declared == n:
        return
    text = f"{path} (zarr-vectors {version}): {declared} points are declared, {n} are there"
    if n < declared and not vertices.knows_chunks:
        raise SourceError(f"{text}: chunks are missing, copy the store again", key=vertices.key)
    warnings.warn(f"{text}; these are shown", UserWarning, stacklevel=6)


def _attributes(
    node: Any, path: str, counts: Mapping[tuple[int, ...], int], request: Request, left_out: dict[str, str]
) -> Iterator[tuple[str, Source]]:
    if "vertex_attributes" not in node:
        return
    group = node["vertex_attributes"]
    for key in request.chosen(sorted(key for key, _ in group.members())):
        try:
            yield key, _Ragged(group, key, path).column(key, counts)
        except LazypyrError as error:
            left_out[key] = str(error)


def _free_name(key: str, taken: Mapping[str, Any], path: str) -> str:
    """The name of an attribute, or another one where positions have it."""
    name = f"{key}_attribute" if key in taken or key in _TAKEN else key
    if name != key and key in taken:
        warnings.warn(f"{path}: the attribute {key} is called {name} here: {key} are the positions", stacklevel=6)
    return name


def _chunk_attribute(
    facts: Mapping[str, Any], counts: Mapping[tuple[int, ...], int], n_dims: int
) -> tuple[str, Source] | None:
    """The attribute by which chunks were cut, which is stored as their first number."""
    name, values = facts.get("chunk_attribute_name"), facts.get("chunk_attribute_values")
    if not name or not values or any(len(index) != n_dims + 1 for index in counts):
        return None
    numbers = np.repeat([index[0] for index in counts], list(counts.values()))
    found = np.asarray(values)
    return str(name), _coded(numbers, values, name) if found.dtype.kind not in "biuf" else Column(
        found[numbers], name=name
    )


def _coded(codes: Array, names: Any, name: str) -> Column:
    column = Column(np.ascontiguousarray(codes), name=name)
    column.attrs = {"flag_values": list(range(len(names))), "flag_meanings": [str(text) for text in names]}
    return column


class _Ragged:
    """Array of bytes by cell: of format 0.9 one array of bytes, of 0.7 a group of arrays of bytes."""

    def __init__(self, group: Any, key: str, path: str) -> None:
        self.node, self.key = group[key], f"{path}/{group.path}/{key}".replace("//", "/") if "://" not in path else key
        self.attrs = dict(self.node.attrs)
        self.is_array = hasattr(self.node, "shape")
        arrays = [self.node] if self.is_array else [array for _, array in self.node.arrays()]
        for array in arrays[:1]:
            check_codecs(document_of(array.metadata), self.key, _RAGGED)
        encoding = self.attrs.get("encoding", "raw")
        if encoding not in ("raw", "dictionary"):
            raise SourceError(f"its encoding is {encoding!r}; expected raw or dictionary", key=self.key)
        try:
            self.dtype = np.dtype(self.attrs.get("dtype", "float32")).newbyteorder("<")
        except TypeError as error:
            raise SourceError(
                f"its dtype is {self.attrs.get('dtype')!r}, of which there is none", key=self.key
            ) from error
        self._cells: Cells | None = None

    @property
    def knows_chunks(self) -> bool:
        """True where it says which chunks it has."""
        return "nonempty_chunks" in self.attrs

    def missing(self) -> list[str]:
        """Chunks that it says it has, and that aren't there."""
        origin = self.attrs.get("chunk_grid_origin")
        declared = [tuple(map(int, key.split("."))) for key in self.attrs.get("nonempty_chunks", ())]
        there = {index for index, cell in self.cells.items() if len(cell)}
        shifted = {
            index: tuple(i - o for i, o in zip(index, origin, strict=True)) if origin else index for index in declared
        }
        # chunks may be told by their number in the array, or by their place in the world
        best = min((list(shifted.values()), declared), key=lambda each: len(set(each) - there))
        return [".".join(map(str, index)) for index in best if index not in there]

    @property
    def cells(self) -> Cells:
        """Bytes of each cell that has any, in C order."""
        if self._cells is None:
            try:
                self._cells = dict(self._read())
            except LazypyrError:
                raise
            except Exception as error:
                raise SourceError(
                    f"{self.key}: can't be read: {type(error).__name__}: {error}", key=self.key
                ) from error
        return self._cells

    def _read(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        node = self.node
        if not self.is_array:
            arrays = {tuple(map(int, key.split("."))): array for key, array in node.arrays()}
            for index in sorted(arrays):
                yield index, arrays[index][...].tobytes()
            return
        # a slice: zarr drops the NULs at the end of what an integer picks
        block = node[...]
        for index in itertools.product(*map(range, block.shape)):
            if len(block[index]):
                yield index, block[index]

    def rows(self, width: int) -> tuple[Array, dict[tuple[int, ...], int]]:
        """Rows of all cells, shape ``(n, width)``, and how many each cell has."""
        size, counts, parts = width * self.dtype.itemsize, {}, []
        for index, cell in self.cells.items():
            if len(cell) % size:
                raise SourceError(
                    f"{self.key}: chunk {'.'.join(map(str, index))} is cut: {len(cell)} bytes are no multiple of {size}",
                    key=self.key,
                )
            counts[index] = len(cell) // size
            parts.append(np.frombuffer(cell, self.dtype).reshape(-1, width))
        rows = np.concatenate(parts) if parts else np.empty((0, width), self.dtype)
        return rows, counts

    def column(self, name: str, counts: Mapping[tuple[int, ...], int]) -> Source:
        """Values of all points, shape ``(n,)`` or ``(n, channels)``."""
        n, n_bytes = sum(counts.values()), sum(map(len, self.cells.values()))
        if not n or n_bytes % (n * self.dtype.itemsize):
            raise SourceError(f"it has {n_bytes} bytes for {n} points", key=self.key)
        rows, found = self.rows(max(1, n_bytes // (n * self.dtype.itemsize)))
        wrong = next((index for index in counts if found.get(index, 0) != counts[index]), None)
        if wrong is not None:
            raise SourceError(
                f"its chunk {'.'.join(map(str, wrong))} has {found.get(wrong, 0)} entries for {counts[wrong]} points",
                key=self.key,
            )
        shaped = rows[:, 0] if rows.shape[1] == 1 and not self.attrs.get("row_shape") else rows
        if self.attrs.get("encoding") == "dictionary":
            return _with_missing(_coded(shaped, self.attrs.get("categories", ()), name), self.attrs.get("_FillValue"))
        if self.dtype.kind not in "biufcmM":
            raise SourceError(f"its dtype is {self.dtype}", key=self.key)
        return Column(np.ascontiguousarray(shaped), name=name)


def _with_missing(column: Column, code: Any) -> Column:
    if code is not None:
        column.nodata = column.dtype.type(code)
    return column
