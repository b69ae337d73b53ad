"""Reading point clouds from files: zarr groups, LAS/LAZ/COPC, CSV, parquet, zarr-vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.points.columns import Column, Member, Stacked, as_column, in_memory
from lazypyr.points.open import from_points
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.points.readers import Table, read_las, read_pandas, read_zarr
from lazypyr.sources.base import Source

__all__ = ["read_points"]

# Names under which x and y are looked for, in this order.
_PAIRS = (("x", "y"), ("X", "Y"), ("easting", "northing"), ("longitude", "latitude"), ("lon", "lat"))
_HEIGHTS = ("z", "Z")
_SHOWN = ("values", "intensity")


def read_points(
    path: str | Path,
    *,
    resolution: float | None = None,
    values: str | Sequence[str] | Any = None,
    x: str | None = None,
    y: str | None = None,
    z: str | None = None,
    index_path: str | Path | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> PointsPyramid:
    """The pyramid of a point cloud in a file or folder, its CRS and units kept.

    Parameters
    ----------
    path : path or URL
        A zarr group with arrays of one entry a point (read lazily); a cloud that `materialize` wrote; LAS, LAZ or COPC
        (needs the extra "points"); CSV or parquet (need pandas); a zarr-vectors store (needs its package).
    resolution : float
        World units a pixel of level 0. By default, of a cloud that `materialize` wrote, as it was; so are the tile, the
        levels, the method and the fill value.
    values : str, sequence of str, or array, optional
        Column to show, or several as channels ("rgb" stands for red, green, blue), or an array of one entry a point.
        By default "values", then "intensity"; without either, and with ``values=()``, the count of points is shown.
    x, y, z : str, optional
        Columns of the coordinates; by default "x" and "y", "X" and "Y", "easting" and "northing", "longitude" and
        "latitude", or "lon" and "lat", or the columns of an array "yx" of shape ``(n, 2)``; "z" if there is one. Numbers
        stored with "scale" and "offset" (three each, in the attributes of a zarr group) are put right.
    index_path : path or True, optional
        Where the index is kept, see `from_points`; True: beside a local file, with the suffix ".index.zarr".
    storage_options : mapping, optional
        For fsspec, with a URL.
    **options
        As in `from_points`: method, fill_value, chunks, levels, crs, units, name, attrs, max_memory_bytes.

    Returns
    -------
    PointsPyramid
        All other columns are in its `raw`, and shown with ``with_values(name)``.

    Raises
    ------
    PlanError
        When the file is none of these, or a column isn't there.
    SourceError
        When it can't be read, or is truncated.
    MissingExtra
        When the package that reads it is not installed.
    """
    table = _table(str(path), storage_options)
    columns = dict(table.columns)
    x_source, y_source = _coordinates(table, x, y)
    z_name = z or next((name for name in _HEIGHTS if name in columns), None)
    z_source = None if z_name is None else _column(table, z_name)
    shown = _shown(table, values)
    used = {id(s) for s in (x_source, y_source, z_source)}
    n = x_source.shape[0]
    attributes = {
        name: source
        for name, source in columns.items()
        if id(source) not in used and name not in ("x", "y", "z", "values", "yx") and source.shape[:1] == (n,)
    }
    if index_path is True:
        index_path = Path(f"{str(path).rstrip('/')}.index.zarr")
    known: dict[str, Any] = {"crs": table.crs, "units": table.units, "name": table.name, "attrs": table.attrs}
    if table.written is not None:
        known |= table.written.settings
        if resolution not in (None, known["resolution"]) or "chunks" in options:
            known.pop("levels", None)
        if values is not None or "method" in options:
            del known["method"], known["fill_value"]
    if resolution is not None:
        known["resolution"] = resolution
    if "resolution" not in known:
        raise PlanError(f"{table.name}: resolution: say how many world units a pixel has")
    pyramid = from_points(
        x_source, y_source, shown, z=z_source, attributes=attributes, index_path=index_path or None, **known | options
    )
    # on another grid the index has another order
    same = table.written is not None and pyramid.cloud.resolution == table.written.settings["resolution"]
    return pyramid.kept_in(table.written) if same and values is None else pyramid


def _table(path: str, storage_options: Mapping[str, Any] | None) -> Table:
    name = path.split("?", maxsplit=1)[0].rstrip("/").lower()
    if name.endswith((".las", ".laz")):
        return read_las(path, storage_options)
    if name.endswith((".csv", ".csv.gz", ".txt", ".tsv")):
        return read_pandas(path, "read_csv", storage_options)
    if name.endswith((".parquet", ".pq")):
        return read_pandas(path, "read_parquet", storage_options)
    return read_zarr(path, storage_options)


def _known(table: Table) -> str:
    others = f" ({', '.join(table.others)}: not of numbers)" if table.others else ""
    return f"there are {', '.join(table.columns) or 'none'}{others}"


def _column(table: Table, name: str) -> Source:
    if name not in table.columns:
        raise PlanError(f"{table.name}: no column {name!r}; {_known(table)}")
    return table.columns[name]


def _coordinates(table: Table, x: str | None, y: str | None) -> tuple[Source, Source]:
    columns = table.columns
    if (x is None) != (y is None):
        raise PlanError(f"{table.name}: x and y: name both columns or none, got x={x!r}, y={y!r}")
    if x is not None and y is not None:
        return _column(table, x), _column(table, y)
    for a, b in _PAIRS:
        if a in columns and b in columns:
            return columns[a], columns[b]
    pair = columns.get("yx")
    if pair is not None and len(pair.shape) == 2 and pair.shape[1] == 2:
        array = in_memory(pair)
        if array is not None:
            return Column(array[:, 1], name="x"), Column(array[:, 0], name="y")
        return Member(pair, member=1), Member(pair, member=0)
    raise PlanError(f"{table.name}: no columns x and y; say x=... and y=...: {_known(table)}")


def _shown(table: Table, values: Any) -> Source | None:
    columns = table.columns
    if values is None:
        return next((columns[name] for name in _SHOWN if name in columns), None)
    if isinstance(values, str) and values == "rgb" and values not in columns:
        values = ("red", "green", "blue")
    if isinstance(values, str):
        return _column(table, values)
    if isinstance(values, Sequence) and all(isinstance(v, str) for v in values):
        several = [_column(table, name) for name in values]
        if not several:
            return None
        if any(len(s.shape) != 1 for s in several):
            raise PlanError(f"{table.name}: columns shown together must have one number a point: {', '.join(values)}")
        arrays = [in_memory(s) for s in several]
        if all(a is not None for a in arrays):
            return Column(np.column_stack([a for a in arrays if a is not None]), name=", ".join(values))
        return Stacked(tuple(several))
    return as_column(values, "values")
