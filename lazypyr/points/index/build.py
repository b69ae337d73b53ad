"""Index of points on a grid: sorted once, it yields any tile of any level.

**Morton order.** The key of a level-0 pixel interleaves the bits of its row and column, the row bit above the column
bit; points are sorted by key, the highest point number first within a pixel. A cell of level k is a run of keys that
agree above bit ``2 * k``, and the point that it shows ("last point in a pixel, then first occupied pixel of each 2 x 2
box, level by level") is the run's *first point*, because row-major order in a box is the order of the two highest bits
that differ. A point's *rank* is its position in this order.

**Level-major order.** The coarsest level at which a point is the first of its cell follows from the highest bit in which
its key differs from its predecessor's. Points of the same such level make a *level bucket*; rows are sorted by bucket,
coarsest first, and in Morton order within. The first points of a level-k tile are then one run in each bucket at or
above k: nothing else is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window, ceil_div, pixels_in
from lazypyr.points.grid import PointGrid, coordinate_blocks
from lazypyr.points.index import kernels, query_kernels
from lazypyr.sources.base import Source

__all__ = ["PointIndex", "build", "bucket_starts"]

Array = np.ndarray[Any, Any]

_NO_COUNT = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class PointIndex:
    """Points in level-major order.

    Attributes
    ----------
    grid : PointGrid
        The grid.
    key : ndarray
        Morton key of the level-0 pixel, uint64, shape ``(n_valid,)``.
    point : ndarray
        Number of the point, shape ``(n_valid,)``.
    rank : ndarray
        Position of that point in Morton order, shape ``(n_valid,)``.
    starts : ndarray
        First row of each level bucket (first points of level 31 and coarser ... level 0, then those that are first
        nowhere), and the number of rows; int64, shape ``(34,)``.
    """

    grid: PointGrid
    key: Array
    point: Array
    rank: Array
    starts: Array

    def occupied(self, level: int) -> int:
        """Number of occupied pixels of a level: its first points are so many rows, from row 0 on."""
        return int(self.starts[32 - level])

    def first_points(self, level: int, window: Window) -> tuple[Array, Array]:
        """Occupied pixels of a window (row-major position) and the row of the point that each shows."""
        pixel, row = self._buffers(level, window, 2)
        n = query_kernels.first_points(*self._cells(level, window), pixel, row)
        return pixel[:n], row[:n]

    def scatter(self, level: int, window: Window, values: Array | None, out: Array, *, by_row: bool = False) -> None:
        """Write the value of each occupied pixel's point to the flat window `out`; the point's number without values.

        `values` are by point number, or by row of the index, of the dtype of `out`.
        """
        if values is None:
            values, by_row = self.point, True
        else:
            values, out = _as_unsigned(values), _as_unsigned(out)
        query_kernels.scatter(*self._cells(level, window), self.point, by_row, values, out)

    def runs(self, level: int, window: Window) -> tuple[Array, Array, Array]:
        """Occupied pixels of a window (row-major position) and the half-open run of ranks of all points in each."""
        pixel, first, stop = self._buffers(level, window, 3)
        n = query_kernels.runs(*self._cells(level, window), self.rank, False, _NO_COUNT, (pixel, first, stop))
        return pixel[:n], first[:n], stop[:n]

    def count(self, level: int, window: Window, out: Array) -> None:
        """Write the number of points in each occupied pixel of a window to `out`, flat, int64."""
        unused = self._buffers(level, ((0, 0), (0, 0)), 3)
        query_kernels.runs(*self._cells(level, window), self.rank, True, out, unused)

    def _cells(self, level: int, window: Window) -> tuple[Any, ...]:
        """First arguments of the kernels: keys, buckets, and the cells of a window."""
        ranges = cells_of(window, level, self.grid, self._small(level))
        return self.key, self.starts, level, ranges, np.array(window, np.int64)

    def _buffers(self, level: int, window: Window, arrays: int) -> tuple[Array, ...]:
        """Arrays for something about each occupied pixel of a window, of as few bytes as will do."""
        pixels = pixels_in(window)
        dtype = "u4" if max(pixels, self.key.size) < 2**32 else "i8"
        return tuple(np.empty(min(pixels, self.occupied(level)), dtype) for _ in range(arrays))

    def ranks_of(self, level: int) -> tuple[Array, Array]:
        """Ranks of a level's first points, ascending, and their rows. A cell's points go on to the next of these ranks."""
        rank = self.rank[: self.occupied(level)]
        rows = np.argsort(rank)
        return rank[rows], rows

    def _small(self, level: int) -> int:
        """Side of the squares that are not cut further for the sake of a window's edge.

        A range costs as much as some thousand points of which none is shown: where pixels are rarely occupied, larger
        squares are cheaper.
        """
        cells = ceil_div(self.grid.ny, 1 << level) * ceil_div(self.grid.nx, 1 << level)
        share = max(self.occupied(level), 1) / cells
        return 1 << min(10, max(5, round(math.log2(32 / math.sqrt(min(1.0, share))))))

    @cached_property
    def order(self) -> Array:
        """Number of the point of each rank."""
        order = np.empty_like(self.point)
        order[self.rank] = self.point
        return order


def build(x: Source, y: Source, grid: PointGrid, rows: int) -> PointIndex:
    """Sort points into level-major order, in memory (three times the size of the result at most)."""
    n = grid.n_valid
    bits, shift = packing(grid)
    key = np.empty(n, np.uint64)
    point = np.empty(0 if bits else n, grid.number_dtype)
    left = n
    for start, a, b in coordinate_blocks(x, y, rows):
        left -= keys_of(grid, a, b, start, bits, (shift - bits) // 2, key[:left], point[:left])
    key, point = sort(key, point, bits)
    if shift > bits:
        kernels.highest_number_first(key, bits, shift)
    counts = np.zeros(kernels.N_BUCKETS, np.int64)
    kernels.count_buckets(key, shift, np.uint64(0), False, counts)
    starts = bucket_starts(counts)
    out = np.empty(n, np.uint64), np.empty(n, grid.number_dtype), np.empty(n, grid.number_dtype)
    kernels.scatter_by_level(key, point, bits, shift, np.uint64(0), False, 0, starts[:-1].copy(), out)
    return PointIndex(grid, *out, starts)


def sort(key: Array, point: Array, bits: int) -> tuple[Array, Array]:
    """Keys, and points if there are any, by the keys' bits from `bits` on; what is equal there stays in order.

    Byte by byte, which takes a quarter of the time of comparing. What is given is overwritten.
    """
    counts = np.zeros((-(-(64 - bits) // 8), 256), np.int64)
    kernels.count_digits(key, bits, counts)
    spare = np.empty_like(key), np.empty_like(point)
    for digit, count in enumerate(counts):
        if count.max() < key.size:
            position = np.cumsum(count) - count
            kernels.move(key, point, point.size > 0, bits + 8 * digit, position, *spare)
            (key, point), spare = spare, (key, point)
    return key, point


def packing(grid: PointGrid) -> tuple[int, int]:
    """Bits of a point's number in a packed key (0: they don't fit in 64 bits with the pixel's), and the pixel's lowest bit.

    What bits are left go to Morton order within pixels, so that boxes and nearest points are found as fast where a pixel
    holds many points.
    """
    free = 64 - grid.key_bits - grid.number_bits
    if free < 0:
        return 0, 0
    return grid.number_bits, grid.number_bits + 2 * min(free // 2, 15)


def keys_of(grid: PointGrid, x: Array, y: Array, start: int, bits: int, fine: int, key: Array, point: Array) -> int:
    """Keys of a block of points, see `kernels.keys_of`; returns how many of them have one."""
    x, y, (x0, y0), resolution = grid.placed(x, y)
    origin = x.dtype.type(x0), y.dtype.type(y0)
    # integers are divided as float64
    step = tuple((c.dtype if c.dtype.kind == "f" else np.dtype("f8")).type(resolution) for c in (x, y))
    return int(kernels.keys_of(x, y, origin, step, (grid.nx, grid.ny), start, bits, fine, key, point))


def bucket_starts(counts: Array) -> Array:
    """First row of each level bucket, and the number of rows, from how many rows each has."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _as_unsigned(array: Array) -> Array:
    """An array as integers of the same size, which are all that scattering needs (complex128 as it is)."""
    return array if array.dtype.itemsize > 8 else array.view(f"u{array.dtype.itemsize}")


def cells_of(window: Window, level: int, grid: PointGrid, small: int = 1) -> Array:
    """Half-open ranges of Morton-ordered cells that cover a window, ascending, shape ``(n, 2)``; a tile is one range.

    Squares of side `small` are taken whole where they reach beyond the window.
    """
    (r0, r1), (c0, c1) = window
    if r0 >= r1 or c0 >= c1:
        return np.empty((0, 2), np.uint64)
    ny, nx = ceil_div(grid.ny, 1 << level), ceil_div(grid.nx, 1 << level)
    bits = max(((r1 - 1) ^ r0).bit_length(), ((c1 - 1) ^ c0).bit_length())
    ranges: list[list[int]] = []
    todo = [(r0 >> bits << bits, c0 >> bits << bits, bits)]
    while todo:
        r, c, bits = todo.pop()
        side = 1 << bits
        if r >= r1 or r + side <= r0 or c >= c1 or c + side <= c0:
            continue
        covered = r0 <= r and min(r + side, ny) <= r1 and c0 <= c and min(c + side, nx) <= c1
        if covered or side <= small:
            low = kernels.morton(r, c)
            if ranges and ranges[-1][1] == low:
                ranges[-1][1] = low + side * side
            else:
                ranges.append([low, low + side * side])
            continue
        half = side >> 1
        # the last in is the first out
        todo += [(r + half, c + half, bits - 1), (r + half, c, bits - 1), (r, c + half, bits - 1), (r, c, bits - 1)]
    return np.array(ranges, np.uint64).reshape(-1, 2)
