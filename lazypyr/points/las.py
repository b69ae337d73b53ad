"""LAS, LAZ and COPC files as tables of points."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.errors import PlanError, SourceError
from lazypyr.points.table import Request, Table, columns_of, errors_name, short_name
from lazypyr.sources.base import Source

__all__ = ["read_las"]

Array = np.ndarray[Any, Any]

_ROWS = 1 << 20
_POSITIONS = ("X", "Y", "Z")


def read_las(path: str, request: Request) -> Table:
    """The dimensions of a file, into memory; fewer points than its header says are an error."""
    laspy = need("laspy", feature="read_points of LAS and LAZ", extra="points")
    with errors_name(path, "can't be read as LAS"), contextlib.ExitStack() as stack:
        file: Any = path
        if "://" in path:
            import fsspec

            file = stack.enter_context(fsspec.open(path, "rb", **request.storage_options))
        las = stack.enter_context(laspy.open(file))
        beyond = _points_beyond(file, las.header)
        header, arrays, count = _arrays(las, request)
    if not header.point_count and not beyond:
        raise PlanError(f"{path}: the cloud is empty: its header tells of no point")
    if count != header.point_count:
        raise SourceError(f"{path}: the file is truncated: {count} of {header.point_count} points are there", key=path)
    if beyond:
        warnings.warn(
            f"{path}: its header tells of {header.point_count} points, there is room for {header.point_count + beyond}: "
            "those beyond are left out; a tool that repairs headers (lasinfo -repair) brings them back",
            UserWarning,
            stacklevel=5,
        )
    crs, units = _crs(header)
    return Table(_columns(header, arrays), short_name(path), crs, units, {"las_version": str(header.version)})


def _points_beyond(file: Any, header: Any) -> int:
    """Whole records after those that the header counts, of a file that isn't compressed."""
    if header.are_points_compressed:
        return 0
    if isinstance(file, str):
        with open(file, "rb") as opened:  # noqa: PTH123
            size = opened.seek(0, 2)
    else:
        here = file.tell()
        size = file.seek(0, 2)
        file.seek(here)
    end = header.start_of_first_evlr if header.number_of_evlrs else size
    waveforms = getattr(header, "start_of_waveform_data_packet_record", 0)
    end = min(end, waveforms) if waveforms else end
    record = header.point_format.size
    return int(max(0, (end - header.offset_to_point_data) // record - header.point_count))


def _arrays(las: Any, request: Request) -> tuple[Any, dict[str, Array], int]:
    """Header, columns by name and how many points were there; records are taken apart some at a time."""
    expected, count = int(las.header.point_count), 0
    arrays: dict[str, Array] = {}
    for records in las.chunk_iterator(_ROWS):
        every = [*"xyz", *(str(n) for n in records.point_format.dimension_names if n not in _POSITIONS)]
        for name in request.chosen(every, "xyz"):
            part = np.asarray(records[name])
            if name not in arrays:
                arrays[name] = np.empty((expected, *part.shape[1:]), part.dtype)
            arrays[name][count : count + len(records)] = part
        count += len(records)
    return las.header, arrays, count


def _columns(header: Any, arrays: Mapping[str, Array]) -> dict[str, Source]:
    """The columns; what extra dimensions declare to be no data is NaN in floats, and `nodata` in integers."""
    columns = columns_of(arrays)
    declared = [extra for vlr in header.vlrs for extra in getattr(vlr, "extra_bytes_structs", ())]
    for extra in declared:
        name, no_data = extra.format_name(), extra.no_data
        if name not in arrays or no_data is None or len(no_data) != 1:
            continue
        array, value = arrays[name], no_data[0]
        if extra.scale is not None or extra.offset is not None:
            scale = 1.0 if extra.scale is None else float(extra.scale[0])
            array[_holes(array, float(value), scale, 0.0 if extra.offset is None else float(extra.offset[0]))] = np.nan
        elif array.dtype.kind == "f":
            array[array == value] = np.nan
        elif (array == value).any():
            columns[name].nodata = array.dtype.type(value)
    return columns


def _holes(values: Array, no_data: float, scale: float, offset: float) -> Array:
    """True where scaled values are the one that declares no data.

    It is the stored number; some writers give the value that it means, and laspy cuts that to a whole number.
    """
    for value in (no_data * scale + offset, no_data):
        found: Array = np.abs(values - value) < abs(scale) / 2
        if found.any():
            return found
    cut: Array = np.trunc(values) == no_data
    return cut if np.unique(values[cut]).size == 1 else np.zeros(values.shape, bool)


def _crs(header: Any) -> tuple[str | None, str | None]:
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
