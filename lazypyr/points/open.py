"""Point pyramids of arrays (`from_points`) and of files (`read_points`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lazypyr._names import public_name
from lazypyr._util.checks import one_or_two, whole_number
from lazypyr._util.places import is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.points.aggregations import COUNT, FIRST_VALID, aggregation_of
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import as_column
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.points.readers import read_table

__all__ = ["from_points", "read_points"]

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
    chunks: int | Sequence[int] = (256, 256),
    levels: int | None = None,
    crs: str | None = None,
    units: str | None = None,
    name: str = "points",
    attrs: Mapping[str, Any] | None = None,
    index_path: str | Path | None = None,
    max_memory_bytes: int = 4096 * _MIB,
) -> PointsPyramid:
    """Make a pyramid of a point cloud: any tile of any level straight from the points.

    The grid is never allocated. Opening reads the coordinates for their extent; the index is built when the first pixel
    is asked for.

    Parameters
    ----------
    x, y : array-like
        World coordinates, shape ``(n,)``, integers or floats: numpy, zarr, dask or xarray arrays, lists, pandas columns,
        Sources, or paths of zarr arrays. Points with NaN or infinite coordinates are left out, with a warning that counts
        them.
    values : array-like, optional
        Values, shape ``(n, *channels)``, any numeric, bool or date dtype; the pyramid's axes are ``y, x, *channels``.
    resolution : float
        World units a pixel of level 0. Row 0 has the smallest y.
    z : array-like, optional
        Heights, shape ``(n,)``, for boxes in three dimensions.
    attributes : mapping, optional
        Further columns by name, shape ``(n, ...)``: served raw, and shown with `PointsPyramid.with_values`.
    method : str, optional
        Aggregation: "first_valid" (the last point in a pixel, then the first occupied pixel of each 2 x 2 box, level by
        level), or of all points in a cell: "last", "count", "sum", "mean", "min", "max", "any". By default "first_valid"
        with values, "count" without.
    fill_value : scalar, optional
        Value of pixels without points; by default NaN, NaT, the least signed or the largest unsigned integer, and 0 of
        "count" and "any". Bools are shown as uint8 with 255.
    chunks : int or (int, int)
        Pixels of a chunk along y and x; powers of two are the fastest.
    levels : int, optional
        Number of levels; by default until y and x fit in one chunk.
    crs, units : str, optional
        Coordinate reference system ("EPSG:32633", WKT) and unit of x and y ("meter").
    name : str
        Name in messages and metadata.
    attrs : mapping, optional
        Attributes that are passed on to readers.
    index_path : path, optional
        Folder in which the index is kept (zarr arrays), and opened again without sorting. One that is of other
        coordinates, or damaged, is replaced, with a warning.
    max_memory_bytes : int
        Bytes that sorting may hold. Beyond them points are sorted in runs on disk, beside the index or where temporary
        files go.

    Returns
    -------
    PointsPyramid
        Pyramid that also answers boxes and nearest points.

    Raises
    ------
    PlanError
        When an argument is wrong: what, got, expected, what to do.
    SourceError
        When coordinates can't be read.

    See Also
    --------
    read_points : The same from a file.
    PointsPyramid : Boxes, nearest points, other values.

    Examples
    --------
    >>> import lazypyr
    >>> points = lazypyr.from_points([0.0, 1.0, 4.0], [0.0, 0.0, 3.0], [1.5, 2.5, 3.5], resolution=1.0)
    >>> points.shape, points.method
    ((3, 4), 'first_valid')
    >>> points.read(0)
    array([[1.5, 2.5, nan, nan],
           [nan, nan, nan, nan],
           [nan, nan, nan, 3.5]])
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
    aggregation = aggregation_of(method) if method else COUNT if values is None else FIRST_VALID
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
    return PointsPyramid(cloud, columns.get("values"), aggregation, chunks=tile, levels=levels, fill_value=fill_value)


def read_points(
    path: str | os.PathLike[str],
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
    """Make a pyramid of a point cloud in a file or folder, its CRS and units kept.

    Parameters
    ----------
    path : path or URL
        A zarr group with arrays of one entry a point (read lazily); a cloud that `materialize` wrote; LAS, LAZ or COPC
        (needs the extra "points"); CSV or parquet (need pandas); a zarr-vectors store (needs its package).
    resolution : float, optional
        World units a pixel of level 0. It may be left out of a cloud that `materialize` wrote: then it is as it was, and
        so are the chunks, the levels, the method and the fill value.
    values : str, sequence of str, or array-like, optional
        Column to show, or several as channels ("rgb" stands for red, green, blue), or an array of one entry a point.
        By default "values", then "intensity"; without either, and with ``values=()``, the count of points is shown.
    x, y, z : str, optional
        Columns of the coordinates; by default "x" and "y", "X" and "Y", "easting" and "northing", "longitude" and
        "latitude", or "lon" and "lat", or the columns of an array "yx" of shape ``(n, 2)``; "z" if there is one. Numbers
        stored with "scale" and "offset" (three each, in the attributes of a zarr group) are put right.
    index_path : path or True, optional
        Folder in which the index is kept, see `from_points`; True: beside a local file, with the suffix ".index.zarr".
    storage_options : mapping, optional
        Options of fsspec, with a URL.
    **options
        As in `from_points`: method, fill_value, chunks, levels, crs, units, name, attrs, max_memory_bytes.

    Returns
    -------
    PointsPyramid
        Pyramid with all other columns in its `raw`; ``with_values(name)`` shows them.

    Raises
    ------
    PlanError
        When the file is none of these, or a column isn't there.
    SourceError
        When it can't be read, or is truncated.
    MissingExtra
        When the package that reads it is not installed.

    See Also
    --------
    from_points : The same from arrays.

    Examples
    --------
    >>> import lazypyr, numpy as np, zarr
    >>> x, y, height = np.array([0.0, 1.0]), np.array([0.0, 4.0]), np.array([2.5, 3.5])
    >>> zarr.save_group("points.zarr", x=x, y=y, height=height)
    >>> points = lazypyr.read_points("points.zarr", resolution=2.0, values="height")
    >>> points.read(0)
    array([[2.5],
           [3.5]])
    """
    place = place_of(path)
    if place is None:
        raise PlanError(f"expected a path or URL, got a {type(path).__name__}; arrays are for lazypyr.from_points")
    text = place.text if is_url(place.text) else local_path(place.text)
    table = read_table(text, {**place.storage_options, **(storage_options or {})} or None)
    x_source, y_source = table.coordinates(x, y)
    z_source = table.height(z)
    shown = table.values(values)
    used = {id(s) for s in (x_source, y_source, z_source)}
    n = x_source.shape[0]
    attributes = {
        name: source
        for name, source in table.columns.items()
        if id(source) not in used and name not in ("x", "y", "z", "values", "yx") and source.shape[:1] == (n,)
    }
    if index_path is True:
        index_path = Path(f"{text.rstrip('/')}.index.zarr")
    known: dict[str, Any] = {
        "crs": table.crs,
        "units": table.units,
        "name": public_name(table.name),
        "attrs": table.attrs,
    }
    if table.materialized is not None:
        known |= table.materialized.settings
        if resolution not in (None, known["resolution"]) or "chunks" in options:
            known.pop("levels", None)
        if values is not None or "method" in options:
            del known["method"], known["fill_value"]
    if resolution is not None:
        known["resolution"] = resolution
    if "resolution" not in known:
        raise PlanError(f"{table.name}: resolution: give the size of a pixel in the units of the coordinates")
    pyramid = from_points(
        x_source, y_source, shown, z=z_source, attributes=attributes, index_path=index_path or None, **known | options
    )
    names = {"values": values, "x": x, "y": y, "z": z}
    if (
        values is None
        or isinstance(values, str)
        or (isinstance(values, Sequence) and all(isinstance(v, str) for v in values))
    ):
        pyramid.read_from = {"path": text, **{key: name for key, name in names.items() if name is not None}}
    # on another grid the index has another order
    same = table.materialized is not None and pyramid.cloud.resolution == table.materialized.settings["resolution"]
    return pyramid.with_materialized(table.materialized) if same and values is None else pyramid


def _tile(chunks: int | Sequence[int]) -> tuple[int, int]:
    expected = f"chunks: expected two sizes from 1 to {_MAX_CHUNK}, of a tile along y and x, or one of both"
    tile = one_or_two(chunks, expected)
    if max(tile) > _MAX_CHUNK:
        raise PlanError(f"{expected}, got {chunks!r}")
    return tile


def _folder(path: str | Path | None) -> Path | None:
    if path is None:
        return None
    if "://" in str(path):
        raise PlanError(f"index_path: expected a local folder, which can be mapped into memory, got {path}")
    return Path(path)
