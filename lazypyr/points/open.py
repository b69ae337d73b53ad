"""From what users have to a point pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lazypyr._util.checks import is_whole, whole_number
from lazypyr.errors import PlanError
from lazypyr.points.aggregations import method_of
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import as_column
from lazypyr.points.pyramid import PointsPyramid

__all__ = ["from_points"]

_MIB = 2**20
_MAX_CHUNK = 2**14


def from_points(
    x: Any,
    y: Any,
    values: Any = None,
    *,
    resolution: float,
    z: Any = None,
    attributes: Mapping[str, Any] | None = None,
    method: str | None = None,
    fill_value: Any = None,
    chunks: Sequence[int] = (256, 256),
    levels: int | None = None,
    crs: str | None = None,
    units: str | None = None,
    name: str = "points",
    attrs: Mapping[str, Any] | None = None,
    index_path: str | Path | None = None,
    max_memory_bytes: int = 4096 * _MIB,
) -> PointsPyramid:
    """The pyramid of a point cloud: any tile of any level straight from the points; the grid is never allocated.

    Opening reads the coordinates for their extent; the index is built when the first pixel is asked for.

    Parameters
    ----------
    x, y : array-like
        World coordinates, shape ``(n,)``: numpy, zarr, dask or xarray arrays, lists, pandas columns, Sources, or paths
        of zarr arrays. Points with NaN or infinite coordinates are left out, with a warning that counts them.
    values : array-like, optional
        Shape ``(n, *channels)``, any numeric, bool or date dtype; the pyramid's axes are ``y, x, *channels``.
    resolution : float
        World units a pixel of level 0. Row 0 has the smallest y.
    z : array-like, optional
        Heights, shape ``(n,)``, for boxes in three dimensions.
    attributes : mapping, optional
        Further columns by name, shape ``(n, ...)``: served raw, and shown with `PointsPyramid.with_values`.
    method : str, optional
        "first_valid" (the last point in a pixel, then the first occupied pixel of each 2 x 2 box, level by level), or of
        all points in a cell: "last", "count", "sum", "mean", "min", "max", "any". By default "first_valid" with values,
        "count" without.
    fill_value : scalar, optional
        Where there is no point; by default NaN, NaT, the least signed or the largest unsigned integer. Bools are shown
        as uint8 with 255.
    chunks : (int, int)
        Shape of a tile along y and x; powers of two are the fastest.
    levels : int, optional
        How many; by default until y and x fit in one tile.
    crs, units : str, optional
        Coordinate reference system ("EPSG:32633", WKT) and unit of x and y ("meter").
    name : str
        For messages and metadata.
    attrs : mapping, optional
        Attributes that are passed on to readers.
    index_path : path, optional
        A folder in which the index is kept (zarr arrays), and opened again without sorting. One that is of other
        coordinates, or damaged, is replaced, with a warning.
    max_memory_bytes : int
        What sorting may hold. Beyond it points are sorted in runs on disk, beside the index or where temporary files go.

    Raises
    ------
    PlanError
        Bad input: what, got, expected, what to do.
    SourceError
        When coordinates can't be read.
    """
    given = {"x": x, "y": y, "values": values, "z": z, **(attributes or {})}
    clash = {"x", "y", "z", "values"} & set(attributes or {})
    if clash:
        raise PlanError(f"attributes: {', '.join(sorted(clash))} have arguments of their own")
    columns = {key: as_column(data, key) for key, data in given.items() if data is not None}
    if "x" not in columns or "y" not in columns:
        raise PlanError("x and y: both are needed")
    tile = _tile(chunks)
    if levels is not None:
        levels = whole_number(levels, "levels", 1, 32)
    max_memory_bytes = whole_number(max_memory_bytes, "max_memory_bytes", _MIB)
    chosen = method_of(method or ("count" if values is None else "first_valid"))
    cloud = Cloud(
        columns["x"],
        columns["y"],
        resolution=resolution,
        name=name,
        z=columns.get("z"),
        attributes={key: columns[key] for key in attributes or {}},
        crs=crs,
        units=units,
        attrs=attrs,
        index_path=_folder(index_path),
        max_memory_bytes=max_memory_bytes,
    )
    return PointsPyramid(cloud, columns.get("values"), chosen, chunks=tile, levels=levels, fill_value=fill_value)


def _tile(chunks: Sequence[int]) -> tuple[int, int]:
    try:
        tile = tuple(chunks)
    except TypeError:
        tile = ()
    if len(tile) != 2 or not all(is_whole(c, 1, _MAX_CHUNK) for c in tile):
        raise PlanError(f"chunks: expected two sizes from 1 to {_MAX_CHUNK}, of a tile along y and x, got {chunks!r}")
    return int(tile[0]), int(tile[1])


def _folder(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if "://" in str(path):
        raise PlanError(f"index_path: expected a local folder, which can be mapped into memory, got {path}")
    return Path(path)
