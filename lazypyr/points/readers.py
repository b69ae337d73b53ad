"""Formats of point clouds: each is a function that reads a `Table`, and an entry of `FORMATS`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.errors import LazypyrError, PlanError, SourceError
from lazypyr.points.columns import Column, ColumnSlice, ScaledColumn, StackedColumns, as_column, in_memory
from lazypyr.points.frames import read_csv
from lazypyr.points.materialized import MaterializedCloud, read_materialized
from lazypyr.sources.array_metadata import document_of
from lazypyr.sources.base import Source
from lazypyr.sources.codec_guard import known_codecs_only
from lazypyr.sources.codecs import check_codecs

__all__ = ["FORMATS", "Table", "read_table"]

Array = np.ndarray[Any, Any]

_LAS_ROWS = 1 << 20
# Names under which x and y are looked for, in this order.
_PAIRS = (("x", "y"), ("X", "Y"), ("easting", "northing"), ("longitude", "latitude"), ("lon", "lat"))
_SHOWN = ("values", "intensity")
# Codecs of the ragged arrays of zarr-vectors: they make bytes and text.
_RAGGED = ("vlen-bytes", "vlen-utf8")


@dataclass(frozen=True)
class Table:
    """Columns of points by name and what is known of them.

    `others` are the names of columns that hold no numbers, `materialized` is what else there is of what `materialize` wrote.
    """

    columns: Mapping[str, Source]
    name: str
    crs: str | None = None
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    materialized: MaterializedCloud | None = None

    def column(self, name: str) -> Source:
        """The column of this name; PlanError lists the names."""
        if name not in self.columns:
            raise PlanError(f"{self.name}: no column {name!r}; {self._names()}")
        return self.columns[name]

    def _names(self) -> str:
        others = f" ({', '.join(self.others)}: not of numbers)" if self.others else ""
        return f"there are {', '.join(self.columns) or 'none'}{others}"

    def coordinates(self, x: str | None, y: str | None) -> tuple[Source, Source]:
        """The columns named, or else those whose names say that they are x and y."""
        columns = self.columns
        if (x is None) != (y is None):
            raise PlanError(f"{self.name}: x and y: name both columns or none, got x={x!r}, y={y!r}")
        if x is not None and y is not None:
            return self.column(x), self.column(y)
        for a, b in _PAIRS:
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


def read_table(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    """The columns of a file, by the format that its suffix names; a zarr group if that is none of `FORMATS`."""
    if "://" not in path and not Path(path).exists():
        raise PlanError(f"{path}: there is no such file or folder")
    name = path.split("?", maxsplit=1)[0].rstrip("/").lower()
    read = next((read for suffixes, read in FORMATS.items() if name.endswith(suffixes)), _read_zarr)
    with known_codecs_only(_short(path)):
        return read(path, storage_options)


def _short(path: str) -> str:
    return path.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def _errors_name(path: str, problem: str) -> Iterator[None]:
    """Turn any error of the package that reads a format into a SourceError that names the file."""
    try:
        yield
    except LazypyrError:
        raise
    except Exception as error:
        raise SourceError(f"{path}: {problem}: {type(error).__name__}: {error}", key=path) from error


def _in_memory(arrays: Mapping[str, Array]) -> dict[str, Source]:
    return {name: Column(np.ascontiguousarray(array), name=name) for name, array in arrays.items()}


def _read_las(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    """All dimensions of a LAS, LAZ or COPC file, into memory; fewer points than its header says are an error."""
    laspy = need("laspy", feature="read_points of LAS and LAZ", extra="points")
    with _errors_name(path, "can't be read as LAS"), contextlib.ExitStack() as stack:
        file: Any = path
        if "://" in path:
            import fsspec

            file = stack.enter_context(fsspec.open(path, "rb", **dict(storage_options or {})))
        header, arrays, count = _las_arrays(stack.enter_context(laspy.open(file)))
    if not header.point_count:
        raise PlanError(f"{path}: the cloud is empty: its header tells of no point")
    if count != header.point_count:
        raise SourceError(f"{path}: the file is truncated: {count} of {header.point_count} points are there", key=path)
    crs, units = _las_crs(header)
    return Table(_in_memory(arrays), _short(path), crs, units, {"las_version": str(header.version)})


def _las_arrays(las: Any) -> tuple[Any, dict[str, Array], int]:
    """Header, columns by name and how many points were there; records are taken apart some at a time."""
    expected, count = int(las.header.point_count), 0
    arrays: dict[str, Array] = {}
    for records in las.chunk_iterator(_LAS_ROWS):
        names = [*"xyz", *(str(n) for n in records.point_format.dimension_names if n not in ("X", "Y", "Z"))]
        for name in names:
            part = np.asarray(records[name])
            if name not in arrays:
                arrays[name] = np.empty((expected, *part.shape[1:]), part.dtype)
            arrays[name][count : count + len(records)] = part
        count += len(records)
    return las.header, arrays, count


def _las_crs(header: Any) -> tuple[str | None, str | None]:
    # laspy needs pyproj to make sense of a CRS; without it, and where it can't, there simply is none
    try:
        crs = header.parse_crs()
    except Exception:
        return None, None
    if crs is None:
        return None, None
    authority = crs.to_authority()
    units = next((axis.unit_name for axis in crs.axis_info), None)
    return (":".join(authority) if authority else crs.to_wkt()), units


def _pandas_table(read: Callable[[Any, str, dict[str, Any]], Any]) -> Callable[..., Table]:
    """A reader of the numeric, bool and date columns of the data frame that `read` makes with pandas."""

    def read_columns(path: str, storage_options: Mapping[str, Any] | None) -> Table:
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise PlanError(f"{path}: reading CSV and parquet needs pandas: pip install pandas pyarrow") from error
        with _errors_name(path, "can't be read"):
            try:
                frame = read(pd, path, {"storage_options": dict(storage_options)} if storage_options else {})
            except ImportError as error:
                raise PlanError(f"{path}: pandas needs another package: {error}") from error
        if not len(frame):
            raise PlanError(f"{path}: the cloud is empty: there is no row under the names {', '.join(map(str, frame))}")
        arrays = {str(name): _numbers(frame[name]) for name in frame.columns}
        columns = _in_memory({name: array for name, array in arrays.items() if array.dtype.kind in "biufcmM"})
        return Table(columns, _short(path), others=tuple(name for name in arrays if name not in columns))

    return read_columns


def _numbers(series: Any) -> Array:
    """A column of a data frame; NaN where one of pandas' own dtypes has nothing."""
    array: Array = series.to_numpy()
    kind = getattr(series.dtype, "kind", "O")
    if array.dtype.kind == "O" and kind in "biuf":
        array = series.to_numpy("f8", na_value=np.nan) if series.hasnans else series.to_numpy(series.dtype.numpy_dtype)
    return array


def _read_zarr(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    """The arrays of a zarr group that have one entry a point, read when needed; or a zarr-vectors store."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r", storage_options=dict(storage_options) if storage_options else None)
        arrays = dict(group.arrays())
    except LazypyrError:
        raise
    except Exception as error:
        raise PlanError(
            f"{path}: expected a zarr group, or a file .las, .laz, .csv or .parquet: {type(error).__name__}: {error}"
        ) from error
    attrs = dict(group.attrs)
    cloud = read_materialized(group)
    if cloud is not None:
        return Table(cloud.columns, _short(path), cloud.crs, cloud.units, cloud.attrs, materialized=cloud)
    if "zarr_vectors" in attrs:
        return _read_vectors(path, group)
    columns = {}
    for name, array in arrays.items():
        if array.shape and np.dtype(array.dtype).kind in "biufcmM":
            columns[name] = as_column(array, name)
    scale: Any = attrs.get("scale")
    offset: Any = attrs.get("offset")
    if _three(scale) and _three(offset):
        for axis, s, o in zip("xyz", scale, offset, strict=True):
            if axis in columns:
                columns[axis] = ScaledColumn(columns[axis], float(s), float(o))
    units = attrs.get("units", attrs.get("unit"))
    crs = attrs.get("crs")
    known = ("scale", "offset", "units", "unit", "crs")
    return Table(
        columns,
        _short(path),
        crs if isinstance(crs, str) else None,
        units if isinstance(units, str) else None,
        {key: value for key, value in attrs.items() if key not in known},
    )


def _three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)


def _read_vectors(path: str, group: Any) -> Table:
    for name, node in group.members(max_depth=None):  # its own reader takes any codec
        if hasattr(node, "shape"):
            check_codecs(document_of(node.metadata), f"{path}/{name}", _RAGGED)
    try:
        import zarr_vectors
    except ModuleNotFoundError as error:
        raise PlanError(f"{path}: reading a zarr-vectors store needs its package: pip install zarr-vectors") from error
    with _errors_name(path, "zarr-vectors can't read it"):
        dataset = zarr_vectors.open(path)
        # level 0 alone: its coarser levels drop attributes and, in some boxes, points
        level = dataset.level(0).read()
    if not level.complete or level.errors:
        raise SourceError(f"{path}: zarr-vectors read only part of it: {list(level.errors)}", key=path)
    positions = np.asarray(level.positions)
    arrays = {axis["name"]: positions[:, i] for i, axis in enumerate(dataset.axes)}
    arrays |= {name: np.asarray(attribute) for name, attribute in level.attributes.items()}
    units = next((axis["unit"] for axis in dataset.axes if axis.get("unit")), None)
    return Table(_in_memory(arrays), _short(path), None, units)


# Suffixes of paths, and the function that reads such a file.
FORMATS: dict[tuple[str, ...], Callable[[str, Mapping[str, Any] | None], Table]] = {
    (".las", ".laz"): _read_las,
    (".csv", ".csv.gz", ".txt", ".tsv"): _pandas_table(read_csv),
    (".parquet", ".pq"): _pandas_table(lambda pd, path, options: pd.read_parquet(path, **options)),
}
