"""Formats of point clouds: each is a function that reads a `Table`, and an entry of `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.points.frames import read_csv
from lazypyr.points.groups import read_group, read_store
from lazypyr.points.las import read_las
from lazypyr.points.parquet import read_arrow, read_parquet
from lazypyr.points.ply import read_ply
from lazypyr.points.table import Request, Table, errors_name, short_name
from lazypyr.points.tabular import column_of_series, columns_by
from lazypyr.sources.codec_guard import known_codecs_only

__all__ = ["FORMATS", "is_table", "read_object", "read_table"]


def read_table(path: str, request: Request) -> Table:
    """The columns of a file, by the format that its suffix names; a zarr group if that is none of `FORMATS`."""
    if "://" not in path and not Path(path).exists():
        raise PlanError(f"{path}: there is no such file or folder")
    name = path.split("?", maxsplit=1)[0].rstrip("/").lower()
    read = next((read for suffixes, read in FORMATS.items() if name.endswith(suffixes)), None)
    if request.level and read is not None:
        raise PlanError(
            f"{path}: level: expected 0: only zarr-vectors stores have levels of points, got {request.level}"
        )
    with known_codecs_only(short_name(path)):
        return (read or read_store)(path, request)


def is_table(path: str) -> bool:
    """True for a path or URL whose suffix is that of a file of points."""
    return (
        path.split("?", maxsplit=1)[0].rstrip("/").lower().endswith(tuple(s for suffixes in FORMATS for s in suffixes))
    )


def read_object(data: Any, request: Request) -> Table:
    """The columns of an object: a zarr group or store, a data frame, an Arrow table."""
    if hasattr(data, "arrays") and hasattr(data, "attrs") and hasattr(data, "store"):
        with known_codecs_only("group"):
            return read_group(data, data.name.strip("/") or "group", request)
    if hasattr(data, "list_dir") or hasattr(data, "fs"):
        import zarr

        with known_codecs_only("store"):
            try:
                group = zarr.open_group(data, mode="r")
            except Exception as error:
                raise PlanError(f"{data}: expected a store of a zarr group: {type(error).__name__}: {error}") from error
            return read_group(group, "store", request)
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return _table_of_frame(data, "data frame", request)
    if hasattr(data, "__arrow_c_stream__"):
        return read_arrow(data, "table", request)
    raise PlanError(
        f"expected a path or URL, several of them, a zarr group or store, a data frame or an Arrow table, got a "
        f"{type(data).__name__}; arrays are for lazypyr.from_points"
    )


def _table_of_frame(frame: Any, name: str, request: Request) -> Table:
    if not len(frame):
        raise PlanError(f"{name}: the cloud is empty: there is no row under the names {', '.join(map(str, frame))}")
    geometry = getattr(frame, "geometry", None)
    if geometry is not None and hasattr(geometry, "to_wkb"):
        return read_arrow(frame.to_arrow(), name, request)
    by_name = {str(key): frame[key] for key in frame.columns}
    columns, left_out = columns_by(request.chosen(by_name), lambda key: column_of_series(by_name[key], key))
    return Table(columns, name, left_out=left_out)


def _read_text(path: str, request: Request) -> Table:
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise PlanError(f"{path}: reading CSV and text needs pandas: pip install pandas") from error
    options = {"storage_options": dict(request.storage_options)} if request.storage_options else {}
    with errors_name(path, "can't be read"):
        frame = read_csv(pd, path, {**options, "dtype_backend": "numpy_nullable"})
    if not len(frame):
        raise PlanError(f"{path}: the cloud is empty: there is no row under the names {', '.join(map(str, frame))}")
    return _table_of_frame(frame, short_name(path), request)


# Suffixes of paths, and the function that reads such a file.
FORMATS: dict[tuple[str, ...], Callable[[str, Request], Table]] = {
    (".las", ".laz"): read_las,
    (".csv", ".csv.gz", ".txt", ".tsv", ".xyz", ".pts"): _read_text,
    (".ply",): read_ply,
    (".parquet", ".geoparquet", ".pq"): read_parquet,
}
