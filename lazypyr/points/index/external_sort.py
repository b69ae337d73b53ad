"""Index of more points than memory holds: sorted in runs on disk, merged, scattered to files that are mapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lazypyr.points.columns import in_memory
from lazypyr.points.grid import PointGrid, coordinate_blocks
from lazypyr.points.index import kernels
from lazypyr.points.index.build import PointIndex, bucket_starts, keys_of, packing, sort
from lazypyr.reducers.jit import jit
from lazypyr.sources.base import Source

__all__ = ["build", "order", "raw_column"]

Array = np.ndarray[Any, Any]

_BYTES = 64  # a point of a block that is being sorted, merged or scattered, all arrays together
_LEAST = 4096  # rows


@jit
def _merge(keys: Any, points: Any, head: Any, have: Any, paired: Any, key_out: Any, point_out: Any, filled: Any) -> Any:
    """Move the least head of the runs to the output until that is full or a run's buffer is used up.

    Runs are rows of `keys` (and of `points` if `paired`). Of equal keys that of the last run comes first: it has the
    higher point numbers. Returns how many rows the output has now, and the run that wants more (-1: none).
    """
    while filled < key_out.size:
        best = -1
        least = np.uint64(0)
        for r in range(keys.shape[0] - 1, -1, -1):
            if have[r] and (best < 0 or keys[r, head[r]] < least):
                best = r
                least = keys[r, head[r]]
        if best < 0:
            break
        key_out[filled] = least
        if paired:
            point_out[filled] = points[best, head[best]]
        filled += 1
        head[best] += 1
        if head[best] == have[best]:
            return filled, best
    return filled, -1


class _Rows:
    """Keys, and point numbers where these are not in the keys, in two files that grow."""

    def __init__(self, folder: Path, name: str, grid: PointGrid, bits: int) -> None:
        self.key_path, self.point_path = folder / f"{name}.key", folder / f"{name}.point"
        self.dtype, self.paired = grid.number_dtype, not bits
        self.n = 0
        for path in (self.key_path, self.point_path):
            path.write_bytes(b"")

    def append(self, key: Array, point: Array) -> None:
        with self.key_path.open("ab") as file:
            key.tofile(file)
        if self.paired:
            with self.point_path.open("ab") as file:
                point.tofile(file)
        self.n += key.size

    def read(self, start: int, count: int) -> tuple[Array, Array]:
        key = np.fromfile(self.key_path, np.uint64, count, offset=8 * start)
        if not self.paired:
            return key, np.empty(0, self.dtype)
        return key, np.fromfile(self.point_path, self.dtype, count, offset=self.dtype.itemsize * start)

    def remove(self) -> None:
        self.key_path.unlink()
        self.point_path.unlink()


def build(x: Source, y: Source, grid: PointGrid, folder: Path, max_memory_bytes: int) -> PointIndex:
    """The same index as `lazypyr.points.index.build.build` makes, in files of `folder`, in bounded memory.

    Only the order of points that lose their pixel to another may differ: no tile shows them.
    """
    rows = max(_LEAST, max_memory_bytes // _BYTES)
    bits, _ = packing(grid)
    runs, lengths = _sorted_runs(x, y, grid, folder, bits, rows)
    merged, counts = _merged(runs, lengths, grid, folder, bits, rows)
    runs.remove()
    index = _scattered(merged, counts, grid, folder, bits, rows)
    merged.remove()
    return index


def _sorted_runs(x: Source, y: Source, grid: PointGrid, folder: Path, bits: int, rows: int) -> tuple[_Rows, list[int]]:
    runs, lengths = _Rows(folder, "runs", grid, bits), []
    for start, a, b in coordinate_blocks(x, y, rows):
        key, point = np.empty(a.size, np.uint64), np.empty(0 if bits else a.size, grid.number_dtype)
        n = keys_of(grid, a, b, start, bits, 0, key, point)
        key, point = sort(key[a.size - n :], point if bits else point[a.size - n :], bits)
        if n:
            runs.append(key, point)
            lengths.append(n)
    return runs, lengths


def _merged(
    runs: _Rows, lengths: list[int], grid: PointGrid, folder: Path, bits: int, rows: int
) -> tuple[_Rows, Array]:
    n_runs = len(lengths)
    depth = max(64, rows // n_runs)
    stops = np.cumsum(lengths)
    position = stops - lengths
    keys, points = np.empty((n_runs, depth), np.uint64), np.empty((n_runs, 0 if bits else depth), grid.number_dtype)
    head, have = np.zeros(n_runs, np.int64), np.zeros(n_runs, np.int64)

    def refill(r: int) -> None:
        count = int(min(depth, stops[r] - position[r]))
        key, point = runs.read(int(position[r]), count)
        keys[r, :count] = key
        if not bits:
            points[r, :count] = point
        head[r], have[r] = 0, count
        position[r] += count

    for r in range(n_runs):
        refill(r)
    merged, counts = _Rows(folder, "merged", grid, bits), np.zeros(kernels.N_BUCKETS, np.int64)
    key, point = np.empty(rows, np.uint64), np.empty(0 if bits else rows, grid.number_dtype)
    before = np.uint64(0)
    while merged.n < stops[-1]:
        filled = 0
        while True:
            filled, hungry = _merge(keys, points, head, have, not bits, key, point, filled)
            if hungry < 0:
                break
            refill(hungry)
        kernels.count_buckets(key[:filled], bits, before, merged.n > 0, counts)
        before = key[filled - 1] >> np.uint64(bits)
        merged.append(key[:filled], point[:filled])
    return merged, counts


def _scattered(merged: _Rows, counts: Array, grid: PointGrid, folder: Path, bits: int, rows: int) -> PointIndex:
    starts = bucket_starts(counts)
    dtypes = {"key": np.dtype("<u8"), "point": grid.number_dtype, "rank": grid.number_dtype}
    free = starts[:-1].copy()
    files: dict[str, BinaryIO] = {}
    try:
        for name, dtype in dtypes.items():
            files[name] = (folder / name).open("w+b")
            files[name].truncate(grid.n_valid * dtype.itemsize)
        before = np.uint64(0)
        for start in range(0, merged.n, rows):
            key, point = merged.read(start, rows)
            sizes = np.zeros(kernels.N_BUCKETS, np.int64)
            kernels.count_buckets(key, bits, before, start > 0, sizes)
            local = bucket_starts(sizes)
            out = {name: np.empty(key.size, dtype) for name, dtype in dtypes.items()}
            at = local[:-1].copy()
            kernels.scatter_by_level(key, point, bits, bits, before, start > 0, start, at, tuple(out.values()))
            for c in np.flatnonzero(sizes):
                for name, dtype in dtypes.items():
                    files[name].seek(int(free[c]) * dtype.itemsize)
                    out[name][local[c] : local[c + 1]].tofile(files[name])
            free += sizes
            before = key[-1] >> np.uint64(bits)
    finally:
        for file in files.values():
            file.close()
    mapped = {name: np.asarray(np.memmap(folder / name, dtype, "r")) for name, dtype in dtypes.items()}
    return PointIndex(grid, mapped["key"], mapped["point"], mapped["rank"], starts)


def order(index: PointIndex, folder: Path) -> Array:
    """`PointIndex.order`, in a file of `folder` that is made once."""
    path = folder / "order"
    if not path.exists():
        partial = folder / "order.partial"
        out = np.memmap(partial, index.point.dtype, "w+", shape=index.point.shape)
        for start in range(0, index.point.size, 1 << 22):
            part = slice(start, start + (1 << 22))
            out[index.rank[part]] = index.point[part]
        out.flush()
        partial.rename(path)
    return np.asarray(np.memmap(path, index.point.dtype, "r"))


def raw_column(source: Source, path: Path, max_memory_bytes: int) -> Array:
    """A column by point number, mapped: itself if it is in memory, else a copy of it in a file."""
    array = in_memory(source)
    if array is not None:
        return array
    rows = max(_LEAST, max_memory_bytes // _BYTES)
    with path.open("wb") as file:
        for start in range(0, source.shape[0], rows):
            np.ascontiguousarray(source.read(((start, min(start + rows, source.shape[0])),))).tofile(file)
    return np.asarray(np.memmap(path, source.dtype, "r"))
