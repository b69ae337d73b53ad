"""Parquet files and Arrow tables as tables of points: of a file, columns are read when they are first needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.windows import Window
from lazypyr.points.columns import Column, axis_names
from lazypyr.points.table import Request, Table, errors_name, short_name
from lazypyr.points.tabular import column_of_arrow, columns_by
from lazypyr.points.wkb import points_of_wkb
from lazypyr.sources.base import Source, native

__all__ = ["read_arrow", "read_parquet"]

Array = np.ndarray[Any, Any]
_ROWS = 65536


class LazyColumn(Source):
    """Column that is read when it is first needed, and kept."""

    def __init__(
        self, load: Callable[[], Mapping[str, Column]], n: int, dtype: np.dtype[Any], name: str, version: str
    ) -> None:
        self._load, self.shape, self.dtype, self.name = load, (n,), native(dtype), name
        self.axes, self.chunks = axis_names(1), (max(1, min(n, _ROWS)),)
        self.fill_value = np.zeros((), self.dtype)[()]
        self._version = version
        self._column: Column | None = None

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        return self.column.read(window, step)

    @property
    def column(self) -> Column:
        """The column in memory."""
        if self._column is None:
            self._column = self._load()[self.name]
        return self._column

    @property
    def fingerprint(self) -> str:
        return self.column.fingerprint

    @property
    def identity(self) -> Hashable:
        return "lazy", self._version, self.name

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_column": None}


def _pyarrow(path: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise PlanError(f"{path}: reading parquet and Arrow needs pyarrow: pip install pyarrow") from error
    return pa, pq


def read_parquet(path: str, request: Request) -> Table:
    """Columns of a parquet file; coordinates are read now, plain numbers when they are first needed, all else now."""
    _, pq = _pyarrow(path)
    with errors_name(path, "can't be read"):
        file, place = _opened(path, request.storage_options)
        with pq.ParquetFile(file) as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
        names = [
            name
            for name in request.chosen(schema.names, _geometries(schema.metadata))
            if not name.startswith("__index_level")
        ]
        if not metadata.num_rows:
            raise PlanError(f"{path}: the cloud is empty: there is no row under the names {', '.join(schema.names)}")
        digest = hashlib.blake2b(
            f"{place}{metadata.num_rows}{metadata.serialized_size}{_written(path)}".encode(), digest_size=16
        ).hexdigest()
        lazy: dict[str, Source] = {}
        for name in names:
            dtype = _plain_dtype(schema.field(name).type)
            if dtype is not None and (dtype.kind == "f" or _has_no_nulls(metadata, name)):
                load = partial(_read_one, path, name, dict(request.storage_options))
                lazy[name] = LazyColumn(load, metadata.num_rows, dtype, name, digest)
        eager = [name for name in names if name not in lazy]
        table = pq.read_table(_opened(path, request.storage_options)[0], columns=eager) if eager else None
    found = _table_of(table, short_name(path), schema.metadata) if table is not None else Table({}, short_name(path))
    columns = {name: lazy.get(name) or found.columns[name] for name in names if name in lazy or name in found.columns}
    return Table({**columns, **found.columns}, found.name, found.crs, found.units, found.attrs, found.left_out)


def read_arrow(data: Any, name: str, request: Request) -> Table:
    """Columns of what has the interface of Arrow: tables of pyarrow, polars, duckdb."""
    pa, _ = _pyarrow(name)
    table = data if hasattr(data, "schema") and hasattr(data, "column_names") else pa.table(data)
    if not table.num_rows:
        raise PlanError(f"{name}: the cloud is empty: there is no row under the names {', '.join(table.column_names)}")
    geometries = [field.name for field in table.schema if _is_geometry(field)]
    return _table_of(table.select(request.chosen(table.column_names, geometries)), name, table.schema.metadata)


def _table_of(table: Any, name: str, metadata: Mapping[bytes, bytes] | None) -> Table:
    geometries = _geometries(metadata) | {field.name: None for field in table.schema if _is_geometry(field)}
    columns, left_out = columns_by(
        [key for key in table.column_names if key not in geometries], lambda key: column_of_arrow(table[key], key)
    )
    crs = None
    for key, of_geometry in geometries.items():
        if key in table.column_names:
            crs = crs or of_geometry
            columns |= _points(table[key], key, name, columns)
    return Table(columns, name, crs, left_out=left_out)


def _points(data: Any, key: str, name: str, columns: Mapping[str, Any]) -> dict[str, Source]:
    """Coordinates of a column of points, as WKB or as GeoArrow has them."""
    kind = data.type
    storage = getattr(kind, "storage_type", kind)
    chunks = [getattr(chunk, "storage", chunk) for chunk in data.chunks]
    if data.null_count:
        raise PlanError(
            f"{name}: {data.null_count} of {len(data)} geometries in {key!r} are missing; leave these rows out"
        )
    if hasattr(storage, "list_size"):
        parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1) for chunk in chunks]
        xyz = np.concatenate(parts)
    elif hasattr(storage, "num_fields") and storage.num_fields >= 2:
        fields = [storage.field(i).name for i in range(storage.num_fields)]
        xyz = np.column_stack(
            [np.concatenate([c.field(f).to_numpy(zero_copy_only=False) for c in chunks]) for f in fields]
        )
    else:
        xyz = points_of_wkb([value for chunk in chunks for value in chunk.to_pylist()], f"{name}: {key}")
    taken = [axis for axis in "xyz"[: xyz.shape[1]] if axis in columns]
    if taken:
        raise PlanError(
            f"{name}: x, y and z come from {key!r}, but there are columns {', '.join(taken)} too: rename them"
        )
    return {axis: Column(np.ascontiguousarray(xyz[:, i]), name=axis) for i, axis in enumerate("xyz"[: xyz.shape[1]])}


def _is_geometry(field: Any) -> bool:
    names = {
        getattr(field.type, "extension_name", ""),
        (field.metadata or {}).get(b"ARROW:extension:name", b"").decode(),
    }
    return bool(names & {"geoarrow.point", "geoarrow.wkb", "ogc.wkb"})


def _geometries(metadata: Mapping[bytes, bytes] | None) -> dict[str, str | None]:
    """Columns of geometries of GeoParquet, the primary one alone, and their CRS."""
    if not metadata or b"geo" not in metadata:
        return {}
    about = json.loads(metadata[b"geo"])
    primary = about.get("primary_column", "geometry")
    column = about.get("columns", {}).get(primary, {})
    if "crs" not in column:
        return {primary: "OGC:CRS84"}
    crs = column["crs"]
    code = crs.get("id") if isinstance(crs, Mapping) else None
    if code:
        return {primary: f"{code['authority']}:{code['code']}"}
    return {primary: json.dumps(crs) if isinstance(crs, Mapping) else crs}


def _plain_dtype(kind: Any) -> np.dtype[Any] | None:
    """The dtype of numbers that Arrow keeps as numpy does."""
    import pyarrow as pa

    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return dtype
    return None


def _has_no_nulls(metadata: Any, name: str) -> bool:
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            if column.path_in_schema == name:
                statistics = column.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    return False
    return True


def _read_one(path: str, name: str, storage_options: Mapping[str, Any]) -> Mapping[str, Column]:
    _, pq = _pyarrow(path)
    with errors_name(path, f"its column {name} can't be read"):
        return column_of_arrow(pq.read_table(_opened(path, storage_options)[0], columns=[name])[name], name)


def _opened(path: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """Path or open file that pyarrow reads."""
    if "://" not in path:
        return path, path
    import fsspec

    return fsspec.open(path, "rb", **storage_options).open(), path


def _written(path: str) -> str:
    """Time of writing and size of a local file."""
    from pathlib import Path

    if "://" in path:
        return ""
    stat = Path(path).stat()
    return f"{stat.st_mtime_ns}:{stat.st_size}"
