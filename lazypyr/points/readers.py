"""Tables of points, read by whoever knows the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.errors import LazypyrError, PlanError, SourceError
from lazypyr.points.columns import Column, Member, as_column
from lazypyr.points.materialized import Written, written
from lazypyr.sources.base import Source

__all__ = ["Table", "read_las", "read_pandas", "read_zarr"]

Array = np.ndarray[Any, Any]

_LAS_ROWS = 1 << 20


@dataclass(frozen=True)
class Table:
    """Columns of points by name and what is known of them.

    `others` are the names of columns that hold no numbers, `written` is what else there is of what `materialize` wrote.
    """

    columns: Mapping[str, Source]
    name: str
    crs: str | None = None
    units: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    written: Written | None = None


def _short(path: str) -> str:
    return path.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2]


def _must_exist(path: str) -> None:
    if "://" not in path and not Path(path).exists():
        raise PlanError(f"{path}: there is no such file or folder")


def read_las(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    """All dimensions of a LAS, LAZ or COPC file, into memory; fewer points than its header says are an error."""
    laspy = need("laspy", feature="read_points of LAS and LAZ", extra="points")
    _must_exist(path)
    try:
        if "://" in path:
            import fsspec

            with fsspec.open(path, "rb", **dict(storage_options or {})) as file, laspy.open(file) as las:
                header, arrays, got = _las_arrays(las)
        else:
            with laspy.open(path) as las:
                header, arrays, got = _las_arrays(las)
    except LazypyrError:
        raise
    except Exception as error:
        raise SourceError(f"{path}: can't be read as LAS: {type(error).__name__}: {error}", key=path) from error
    if not header.point_count:
        raise PlanError(f"{path}: the cloud is empty: its header tells of no point")
    if got != header.point_count:
        raise SourceError(f"{path}: the file is truncated: {got} of {header.point_count} points are there", key=path)
    crs, units = _las_crs(header)
    columns = {name: Column(array, name=name) for name, array in arrays.items()}
    return Table(columns, _short(path), crs, units, {"las_version": str(header.version)})


def _las_arrays(las: Any) -> tuple[Any, dict[str, Array], int]:
    """Header, columns by name and how many points were there; records are taken apart some at a time."""
    told, got = int(las.header.point_count), 0
    arrays: dict[str, Array] = {}
    for records in las.chunk_iterator(_LAS_ROWS):
        names = [*"xyz", *(str(n) for n in records.point_format.dimension_names if n not in ("X", "Y", "Z"))]
        for name in names:
            part = np.asarray(records[name])
            if name not in arrays:
                arrays[name] = np.empty((told, *part.shape[1:]), part.dtype)
            arrays[name][got : got + len(records)] = part
        got += len(records)
    return las.header, arrays, got


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


def read_pandas(path: str, reader: str, storage_options: Mapping[str, Any] | None) -> Table:
    """The numeric, bool and date columns of what pandas reads."""
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise PlanError(f"{path}: reading CSV and parquet needs pandas: pip install pandas pyarrow") from error
    _must_exist(path)
    given: dict[str, Any] = {"storage_options": dict(storage_options)} if storage_options else {}
    try:
        if reader == "read_csv":
            given["sep"] = _separator([str(name) for name in pd.read_csv(path, nrows=0, **given).columns])
        frame = getattr(pd, reader)(path, **given)
    except ImportError as error:
        raise PlanError(f"{path}: pandas needs another package: {error}") from error
    except Exception as error:
        raise SourceError(f"{path}: can't be read: {type(error).__name__}: {error}", key=path) from error
    if not len(frame):
        raise PlanError(f"{path}: the cloud is empty: there is no row under the names {', '.join(map(str, frame))}")
    columns = {}
    for name in frame.columns:
        array = _numbers(frame[name])
        if array.dtype.kind in "biufcmM":
            columns[str(name)] = Column(np.ascontiguousarray(array), name=str(name))
    others = tuple(str(name) for name in frame.columns if str(name) not in columns)
    return Table(columns, _short(path), others=others)


def _separator(names: list[str]) -> str:
    """What stands between the columns of a text whose first line, split at commas, gave these names."""
    if len(names) > 1:
        return ","
    return next((mark for mark in ";\t|" if mark in names[0]), r"\s+" if " " in names[0].strip() else ",")


def _numbers(series: Any) -> Array:
    """A column of a data frame; NaN where one of pandas' own dtypes has nothing."""
    array: Array = series.to_numpy()
    kind = getattr(series.dtype, "kind", "O")
    if array.dtype.kind == "O" and kind in "biuf":
        array = series.to_numpy("f8", na_value=np.nan) if series.hasnans else series.to_numpy(series.dtype.numpy_dtype)
    return array


def read_zarr(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    """The arrays of a zarr group that have one entry a point, read when needed; or a zarr-vectors store."""
    import zarr

    _must_exist(path)
    try:
        group = zarr.open_group(path, mode="r", storage_options=dict(storage_options) if storage_options else None)
        arrays = dict(group.arrays())
    except Exception as error:
        raise PlanError(
            f"{path}: expected a zarr group, or a file .las, .laz, .csv or .parquet: {type(error).__name__}: {error}"
        ) from error
    attrs = dict(group.attrs)
    found = written(group)
    if found is not None:
        return Table(found.columns, _short(path), found.crs, found.units, found.attrs, written=found)
    if "zarr_vectors" in attrs:
        return _read_vectors(path)
    columns = {}
    for name, array in arrays.items():
        if array.shape and np.dtype(array.dtype).kind in "biufcmM":
            columns[name] = as_column(array, name)
    scale: Any = attrs.get("scale")
    offset: Any = attrs.get("offset")
    if _three(scale) and _three(offset):
        for axis, s, o in zip("xyz", scale, offset, strict=True):
            if axis in columns:
                columns[axis] = Member(columns[axis], scale=float(s), offset=float(o))
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


def _read_vectors(path: str) -> Table:
    try:
        import zarr_vectors
    except ModuleNotFoundError as error:
        raise PlanError(f"{path}: reading a zarr-vectors store needs its package: pip install zarr-vectors") from error
    try:
        dataset = zarr_vectors.open(path)
        # level 0 alone: its coarser levels drop attributes and, in some boxes, points
        found = dataset.level(0).read()
    except Exception as error:
        raise SourceError(f"{path}: zarr-vectors can't read it: {type(error).__name__}: {error}", key=path) from error
    if not found.complete or found.errors:
        raise SourceError(f"{path}: zarr-vectors read only part of it: {list(found.errors)}", key=path)
    names = [axis["name"] for axis in dataset.axes]
    positions = np.asarray(found.positions)
    columns = {name: Column(np.ascontiguousarray(positions[:, i]), name=name) for i, name in enumerate(names)}
    for name in found.attributes:
        columns[name] = Column(np.ascontiguousarray(np.asarray(found.attributes[name])), name=name)
    units = next((axis["unit"] for axis in dataset.axes if axis.get("unit")), None)
    return Table(columns, _short(path), None, units)
