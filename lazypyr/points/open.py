"""Point pyramids of arrays (`from_points`) and of files (`read_points`)."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lazypyr._names import public_name
from lazypyr._util.checks import one_or_two, positive, whole_number
from lazypyr._util.places import is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.points.aggregations import COUNT, FIRST_VALID, aggregation_of
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import as_column
from lazypyr.points.lattice import Lattice
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.points.readers import read_object, read_table
from lazypyr.points.selection import joined, selected
from lazypyr.points.table import Request, Table
from lazypyr.sources.base import Source

__all__ = ["from_points", "read_points"]

_MIB = 2**20
_MAX_CHUNK = 2**14


def from_points(
    x: Any,
    y: Any,
    values: Any = None,
    *,
    resolution: float,
    bounds: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
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
    bounds : (float, float, float, float), optional
        Outer edges ``(x0, y0, x1, y1)`` of the grid, half-open: points outside are left out, and a point on an edge between
        two pixels belongs to the upper one. By default ``(min(x), min(y))`` is the *centre* of the first pixel.
    origin : (float, float), optional
        Corner of a pixel, on whose grid `bounds` (or the extent of the points) are snapped outwards.
    z : array-like, optional
        Heights, shape ``(n,)``, for boxes in three dimensions.
    attributes : mapping, optional
        Further columns by name, shape ``(n, ...)``: served raw, shown with `PointsPyramid.with_values`.
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
    if not {"x", "y"} <= set(columns):
        raise PlanError("x and y: both are needed")
    tile = _tile(chunks)
    if levels is not None:
        levels = whole_number(levels, "levels", 1, 32)
    max_memory_bytes = whole_number(max_memory_bytes, "max_memory_bytes", _MIB)
    positive(resolution, "resolution", "a positive pixel size in the units of the coordinates")
    aggregation = aggregation_of(method) if method else COUNT if values is None else FIRST_VALID
    cloud = Cloud(
        columns["x"],
        columns["y"],
        resolution=resolution,
        lattice=Lattice.of(origin, bounds, resolution),
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
    path: str | os.PathLike[str] | Any,
    *,
    resolution: float | None = None,
    values: str | Sequence[str] | Any = None,
    x: str | None = None,
    y: str | None = None,
    z: str | None = None,
    columns: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    where: Any = None,
    bbox: Sequence[float] | None = None,
    level: int = 0,
    as_points: bool = False,
    index_path: str | Path | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> PointsPyramid:
    """Make a pyramid of a point cloud in a file or folder, its CRS and units kept.

    Parameters
    ----------
    path : path, URL, sequence of them, or object
        A zarr group with arrays of one entry a point (read lazily), also in a zip archive; a cloud that `materialize` wrote;
        LAS, LAZ or COPC (needs the extra "points"); CSV or text (need pandas); parquet and GeoParquet (need pyarrow); a
        zarr-vectors store. Several paths, or a local pattern ("tiles/*.laz"), are one cloud. Objects are zarr groups and
        stores, data frames and Arrow tables.
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
    columns, attributes : sequence of str, optional
        Columns to read beside the coordinates and the `values`; by default all. Two names of the same.
    where : mapping or callable, optional
        Points to take: a value, or several, by column (``{"classification": [2, 9], "withheld": 0}``; of text, its names), or
        a function of the columns by name that gives bools. The others aren't read into the cloud: numbers count those taken.
    bbox : sequence of float, optional
        Half-open box ``(x0, y0, x1, y1)`` or ``(x0, y0, z0, x1, y1, z1)`` of points to take, as `where`.
    level : int
        Level of a zarr-vectors store.
    as_points : bool
        True takes the vertices of lines and meshes of a zarr-vectors store as points.
    index_path : path or True, optional
        Folder in which the index is kept, see `from_points`; True: beside a local file, with the suffix ".index.zarr".
    storage_options : mapping, optional
        Options of fsspec, with a URL.
    **options
        As in `from_points`: bounds, origin, method, fill_value, chunks, levels, crs, units, name, attrs, max_memory_bytes.

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
    request = _request(columns, attributes, values, (x, y, z), level, storage_options, as_points)
    table, text = _read(path, request)
    x_source, y_source = table.coordinates(x, y)
    if where is not None or bbox is not None:
        table = selected(table, where, bbox, (x_source, y_source, table.height(z)))
        x_source, y_source = table.coordinates(x, y)
    z_source = table.height(z)
    shown = table.values(values)
    attributes_by_name, left_out = _attributes(table, (x_source, y_source, z_source, shown))
    _warn_of(left_out, table.name)
    if index_path is True:
        if text is None:
            raise PlanError("index_path: True is for one file; give a folder")
        index_path = Path(f"{text.rstrip('/')}.index.zarr")
    known = _known(table, resolution, is_other=values is not None or "method" in options, is_cut="chunks" in options)
    pyramid = from_points(
        x_source,
        y_source,
        shown,
        z=z_source,
        attributes=attributes_by_name,
        index_path=index_path or None,
        **known | options,
    )
    pyramid.read_from = _recorded(
        text,
        values=values,
        x=x,
        y=y,
        z=z,
        columns=request.columns,
        where=where,
        bbox=bbox,
        level=level or None,
        as_points=as_points or None,
    )
    # on another grid the index has another order
    same = table.materialized is not None and pyramid.cloud.resolution == table.materialized.settings["resolution"]
    return pyramid.with_materialized(table.materialized) if same and values is None else pyramid


def _warn_of(left_out: Mapping[str, str], name: str) -> None:
    if left_out:
        told = "; ".join(f"{column} ({reason})" for column, reason in left_out.items())
        said = f"{public_name(name)}: columns that can't be shown are left out: {told}"
        warnings.warn(said, UserWarning, stacklevel=3)


def _known(table: Table, resolution: float | None, *, is_other: bool, is_cut: bool) -> dict[str, Any]:
    """Arguments of `from_points` that the file states, some of which other values and chunks change."""
    known: dict[str, Any] = {
        "crs": table.crs,
        "units": table.units,
        "name": public_name(table.name),
        "attrs": table.attrs,
    }
    if table.materialized is not None:
        known |= table.materialized.settings
        if resolution not in (None, known["resolution"]) or is_cut:
            for name in ("levels", "origin", "bounds"):
                known.pop(name, None)
        if is_other:
            del known["method"], known["fill_value"]
    if resolution is not None:
        known["resolution"] = resolution
    if "resolution" not in known:
        raise PlanError(f"{table.name}: resolution: give the size of a pixel in the units of the coordinates")
    return known


def _request(
    columns: Any, attributes: Any, values: Any, axes: Sequence[Any], level: Any, storage_options: Any, as_points: Any
) -> Request:
    if columns is not None and attributes is not None:
        raise PlanError("columns and attributes are two names of the same: give one of them")
    chosen = columns if columns is not None else attributes
    if chosen is not None:
        if isinstance(chosen, str) or not isinstance(chosen, Sequence) or not all(isinstance(c, str) for c in chosen):
            raise PlanError(f"columns: expected a list of names, got {chosen!r}")
        shown = (values,) if isinstance(values, str) else values if isinstance(values, Sequence) else ()
        shown = ("red", "green", "blue", *shown) if "rgb" in shown else shown
        chosen = (*chosen, *(name for name in (*shown, *axes) if isinstance(name, str) and name not in chosen))
    level = whole_number(level, "level", 0)
    return Request(chosen, level, dict(storage_options or {}), bool(as_points))


def _read(path: Any, request: Request) -> tuple[Table, str | None]:
    """The table of what is named, and the text by which a recipe names it; None where none does."""
    several = _several(path)
    if several is not None:
        if not several:
            raise PlanError(f"{path!r}: there are no such files")
        return joined([_read(each, request)[0] for each in several]), None
    place = place_of(path)
    if place is None:
        return read_object(path, request), None
    text = place.text if is_url(place.text) else local_path(place.text)
    return read_table(
        text, replace(request, storage_options={**place.storage_options, **request.storage_options})
    ), text


def _several(path: Any) -> list[Any] | None:
    """Paths of a list or of a local pattern; None of anything else."""
    if isinstance(path, Sequence) and not isinstance(path, str | bytes):
        return list(path)
    place = place_of(path)
    if place is None or is_url(place.text) or not glob.has_magic(place.text) or Path(local_path(place.text)).exists():
        return None
    return sorted(glob.glob(local_path(place.text), recursive=True))  # noqa: PTH207 - a Path has no absolute patterns


def _attributes(table: Table, used: Sequence[Source | None]) -> tuple[dict[str, Source], dict[str, str]]:
    """Further columns by name, and the reason why by the names of those that can't be shown."""
    n, ids = used[0].shape[0] if used[0] is not None else 0, {id(source) for source in used[:3]}
    attributes: dict[str, Source] = {}
    left_out = dict(table.left_out)
    # what numbers the channels of a column is none itself
    channels = {axis: size for s in table.columns.values() for axis, size in zip(s.axes[1:], s.shape[1:], strict=True)}
    for name, source in table.columns.items():
        if id(source) in ids or name == "yx" or (name == "values" and source is used[3]):
            continue
        if source.shape[:1] != (n,) and source.shape == (channels.get(name),):
            continue
        if source.shape[:1] != (n,):
            left_out[name] = f"{source.shape[0]} entries for {n} points"
        else:
            # x, y, z and values are those of the cloud
            attributes[f"{name}_attribute" if name in ("x", "y", "z", "values") else name] = source
    return attributes, left_out


def _recorded(text: str | None, **given: Any) -> dict[str, Any] | None:
    """Arguments by which a recipe reads the file again; None where JSON can't say them."""
    chosen = {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value is not None
    }
    values = chosen.get("values", "")
    by_name = isinstance(values, str) or (isinstance(values, Sequence) and all(isinstance(v, str) for v in values))
    if text is None or not by_name or callable(chosen.get("where")):
        return None
    return {"path": text, **chosen}


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
