"""Index on disk: a zarr group of three uncompressed one-chunk arrays, which are mapped, not read, when opened again.

A kept index belongs to the coordinates whose fingerprint it carries. One that is of others, incomplete or impossible is
never used: `open_index` says why and returns None, and the index is built anew.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.points.columns import ChunkCache, RowGather
from lazypyr.points.grid import PointGrid
from lazypyr.points.index import kernels
from lazypyr.points.index.build import PointIndex
from lazypyr.pyramids.base import SERIAL
from lazypyr.sources.base import Source
from lazypyr.sources.zarr import ZarrSource

__all__ = ["open_index", "open_values", "write_index"]

Array = np.ndarray[Any, Any]

_VERSION = 1
_ATTRIBUTE = "lazypyr_points_index"
_COLUMNS = ("key", "point", "rank")
_ROWS = 65536


def write_index(
    path: Path, index: PointIndex, fingerprint: str, values: Source | None = None, cache: ChunkCache | None = None
) -> None:
    """Write an index, and values in its order if there are any; what is at `path` is replaced when all of it is there.

    OSError when it can't be written; what was there before is unchanged then. `cache` is for chunks of the values.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        group = _write_columns(partial, index, fingerprint)
        if values is not None and cache is not None:
            _write_values(group, index, fingerprint, values, cache)
        _commit(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_columns(folder: Path, index: PointIndex, fingerprint: str) -> Any:
    import zarr

    about = {
        "version": _VERSION,
        "fingerprint": fingerprint,
        "starts": index.starts.tolist(),
        "crc32": [_checksum(getattr(index, name)) for name in _COLUMNS],
        **_described(index.grid),
    }
    group = zarr.open_group(str(folder), mode="w", zarr_format=3, attributes={_ATTRIBUTE: about})
    for name in _COLUMNS:
        column = getattr(index, name)
        group.create_array(
            name, shape=column.shape, chunks=column.shape, dtype=column.dtype, compressors=None, filters=None
        )
        chunk = folder / name / "c" / "0"
        chunk.parent.mkdir(parents=True)
        with chunk.open("wb") as file:
            for start in range(0, column.size, 1 << 22):
                file.write(np.ascontiguousarray(column[start : start + (1 << 22)]).data)
    return group


def _write_values(group: Any, index: PointIndex, fingerprint: str, values: Source, cache: ChunkCache) -> None:
    n, channels = index.point.size, values.shape[1:]
    array = group.create_array(
        "values",
        shape=(n, *channels),
        chunks=(min(n, _ROWS), *(1 for _ in channels)),
        dtype=values.dtype,
        compressors=None,
        attributes={"fingerprint": values.fingerprint, "index": fingerprint},
        dimension_names=("row", *values.axes[1:]),
    )
    # as many rows at once as memory allows: each of these rounds reads every chunk of the channel once
    rows = max(1, cache.max_bytes // (values.dtype.itemsize + 24) // _ROWS) * _ROWS
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        rows_read = RowGather(values, np.asarray(index.point[part]))
        for channel in np.ndindex(channels):
            array[(part, *channel)] = rows_read.gather(channel, cache, SERIAL)


def _checksum(column: Array) -> int:
    """CRC-32 of the column, little-endian."""
    crc = 0
    for start in range(0, column.size, 1 << 22):
        crc = zlib.crc32(np.ascontiguousarray(column[start : start + (1 << 22)]).data, crc)
    return crc


def _commit(partial: Path, path: Path) -> None:
    old = path.with_name(f"{path.name}.old-{os.getpid()}")
    if path.exists():
        if not _is_ours(path):
            raise OSError(f"{path} is there already and is no index of points")
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _is_ours(path: Path) -> bool:
    try:
        return not any(path.iterdir()) or _ATTRIBUTE in json.loads((path / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _described(grid: PointGrid) -> dict[str, Any]:
    return {
        "x0": float(grid.x0),
        "y0": float(grid.y0),
        "resolution": grid.resolution,
        "nx": grid.nx,
        "ny": grid.ny,
        "n_points": grid.n_points,
        "n_valid": grid.n_valid,
    }


def open_index(path: Path, grid: PointGrid, fingerprint: str) -> PointIndex | None:
    """The index kept at a path, mapped into memory and checked; None, with a warning, where it can't be used."""
    if not path.exists():
        return None
    try:
        reason, index = _read(path, grid, fingerprint)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason, index = f"damaged ({type(error).__name__}: {error})", None
    if index is None:
        warnings.warn(f"{path}: the kept index is {reason}; it is built anew", UserWarning, stacklevel=2)
    return index


def _read(path: Path, grid: PointGrid, fingerprint: str) -> tuple[str, PointIndex | None]:
    about = json.loads((path / "zarr.json").read_text())["attributes"][_ATTRIBUTE]
    if about["version"] != _VERSION:
        return f"of version {about['version']}, not {_VERSION}", None
    if about["fingerprint"] != fingerprint or any(about[k] != v for k, v in _described(grid).items()):
        return "stale: it belongs to other coordinates or another resolution", None
    starts = np.array(about["starts"], np.int64)
    n = grid.n_valid
    if starts.shape != (kernels.N_BUCKETS + 1,) or starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
        return "damaged: its level buckets don't add up", None
    columns = []
    for name, dtype in zip(_COLUMNS, (np.dtype("<u8"), grid.number_dtype, grid.number_dtype), strict=True):
        chunk = path / name / "c" / "0"
        if chunk.stat().st_size != n * dtype.itemsize:
            return f"damaged: {name} has {chunk.stat().st_size} bytes instead of {n * dtype.itemsize}", None
        columns.append(np.memmap(chunk, dtype, "r", shape=(n,)))
    # plain views: what a memmap adds costs time at every slice
    key, point, rank = (np.asarray(column) for column in columns)
    row = kernels.check(key, point, rank, starts, grid.n_points, np.uint64(1) << np.uint64(grid.key_bits))
    if row >= 0:
        return f"damaged: it is not sorted at row {row}", None
    if about["crc32"] != [_checksum(column) for column in (key, point, rank)]:
        return "damaged: its checksums don't fit", None
    return "", PointIndex(grid, key, point, rank, starts)


def open_values(path: Path, index: PointIndex, fingerprint: str, values: Source) -> Source | None:
    """The copy of the values in the order of the index, if one is kept and is of these values."""
    import zarr

    if not (path / "values" / "zarr.json").exists():
        return None
    try:
        array: Any = zarr.open_array(str(path / "values"), mode="r")
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(
            f"{path}: the kept values can't be opened ({error}); they are read from their source",
            UserWarning,
            stacklevel=2,
        )
        return None
    stored = array.attrs.get("fingerprint"), array.attrs.get("index"), array.shape
    if stored != (values.fingerprint, fingerprint, (index.point.size, *values.shape[1:])):
        return None
    return ZarrSource(array, values.axes, name=str(path / "values"))
