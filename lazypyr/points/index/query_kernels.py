"""Kernels that read the index: which points, or runs of points, the pixels of a window show.

Every integer that meets a uint64 is a uint64: numba makes a float of a uint64 and an int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["scatter", "first_points", "runs"]

_PIECE = 1 << 16  # cells whose runs are worked out at once: 512 KiB, which fits the L2 cache
_BATCH = 512  # values that are looked up before they are written
_BITS = np.arange(1 << 16)
# Position of a cell in a 256 x 256 square, ``row << 8 | column``, from 16 bits of its Morton key.
_POSITION = np.sum([(_BITS >> 2 * b & 1) << b | (_BITS >> 2 * b + 1 & 1) << b + 8 for b in range(8)], axis=0).astype(
    np.uint16
)


@jit
def _gather_bits(v: Any) -> Any:
    """Bit 2i to bit i: the inverse of `_spread`."""
    v = np.uint64(v) & np.uint64(0x5555555555555555)
    v = (v | (v >> np.uint64(1))) & np.uint64(0x3333333333333333)
    v = (v | (v >> np.uint64(2))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    v = (v | (v >> np.uint64(4))) & np.uint64(0x00FF00FF00FF00FF)
    v = (v | (v >> np.uint64(8))) & np.uint64(0x0000FFFF0000FFFF)
    return (v | (v >> np.uint64(16))) & np.uint64(0x00000000FFFFFFFF)


@jit
def _bound(keys: Any, value: Any, start: Any, stop: Any) -> Any:
    """First row of ``keys[start:stop]``, ascending, whose key is not below `value`."""
    while start < stop:
        middle = (start + stop) >> 1
        if keys[middle] < value:
            start = middle + 1
        else:
            stop = middle
    return start


@jit
def _from(keys: Any, value: Any, start: Any, stop: Any) -> Any:
    """First row as of `_bound`; fast where it is near `start`."""
    step = 1
    while start + step < stop and keys[start + step - 1] < value:
        start += step
        step += step
    return _bound(keys, value, start, min(start + step, stop))


@jit
def _rows(keys: Any, low: Any, high: Any, shift: Any, start: Any, stop: Any) -> Any:
    """Half-open rows of the cells ``low <= cell < high`` among ``keys[start:stop]``."""
    begin = _from(keys, low << shift, start, stop)
    return begin, _from(keys, high << shift, begin, stop)


@jit
def _square(low: Any, high: Any, window: Any) -> Any:
    """Smallest aligned square around a range of cells.

    Returns its first cell, how many times 16 bits its cells need, and its first row and column in the window.
    """
    size = 0
    while (low >> np.uint64(16 * size)) != ((high - np.uint64(1)) >> np.uint64(16 * size)):
        size += 1
    base = (low >> np.uint64(16 * size)) << np.uint64(16 * size)
    row, column = np.int64(_gather_bits(base >> np.uint64(1))), np.int64(_gather_bits(base))
    return base, size, row - window[0, 0], column - window[1, 0]


@jit
def _pixel(z: Any, size: Any, r0: Any, c0: Any) -> Any:
    """Row and column of cell `z` of a square that starts at ``(r0, c0)``."""
    r, c = r0, c0
    for word in range(size):
        position = np.int64(_POSITION[(z >> np.uint64(16 * word)) & np.uint64(0xFFFF)])
        r += (position >> 8) << 8 * word
        c += (position & 255) << 8 * word
    return r, c


@jit
def first_points(key: Any, starts: Any, level: Any, ranges: Any, window: Any, pixel: Any, row: Any) -> Any:
    """First points of the cells of a window: position in the window (row-major) and level-major row, to `pixel` and `row`.

    `ranges` are those of `level` whose cells cover the window, half-open and ascending, see `cells_of`. Rows ascend. Returns how many.
    """
    height, width = window[0, 1] - window[0, 0], window[1, 1] - window[1, 0]
    shift = np.uint64(2 * level)
    n = 0
    for c in range(32 - level):
        b = starts[c]
        for i in range(ranges.shape[0]):
            a, b = _rows(key, ranges[i, 0], ranges[i, 1], shift, b, starts[c + 1])
            if a == b:
                continue
            base, size, r0, c0 = _square(ranges[i, 0], ranges[i, 1], window)
            for j in range(a, b):
                r, q = _pixel((key[j] >> shift) - base, size, r0, c0)
                if 0 <= r < height and 0 <= q < width:
                    pixel[n] = r * width + q
                    row[n] = j
                    n += 1
    return n


@jit
def scatter(
    key: Any, starts: Any, level: Any, ranges: Any, window: Any, point: Any, by_row: Any, values: Any, out: Any
) -> Any:
    """Write the value of each first point to the flat window `out`, see `first_points`.

    `values` are by level-major row if `by_row`, else by point number.
    """
    height, width = window[0, 1] - window[0, 0], window[1, 1] - window[1, 0]
    shift = np.uint64(2 * level)
    batch = np.empty(_BATCH, values.dtype)
    for c in range(32 - level):
        b = starts[c]
        for k in range(ranges.shape[0]):
            a, b = _rows(key, ranges[k, 0], ranges[k, 1], shift, b, starts[c + 1])
            if a == b:
                continue
            base, size, r0, c0 = _square(ranges[k, 0], ranges[k, 1], window)
            # a tile as viewers ask for it: the position in the square is the position in the window
            is_tile = size == 1 and r0 == 0 and c0 == 0 and height == 256 and width == 256
            for start in range(np.uint64(a), np.uint64(b), np.uint64(_BATCH)):
                n_values = min(np.uint64(_BATCH), np.uint64(b) - start)
                # values first, by themselves: they lie anywhere in memory, and so many waits for it overlap
                for i in range(n_values):
                    batch[i] = values[start + i] if by_row else values[np.uint64(point[start + i])]
                if is_tile:
                    for i in range(n_values):
                        out[_POSITION[(key[start + i] >> shift) & np.uint64(0xFFFF)]] = batch[i]
                    continue
                for i in range(n_values):
                    r, q = _pixel((key[start + i] >> shift) - base, size, r0, c0)
                    if 0 <= r < height and 0 <= q < width:
                        out[np.uint64(r * width + q)] = batch[i]


@jit
def runs(
    key: Any, starts: Any, level: Any, ranges: Any, window: Any, rank: Any, counting: Any, counts: Any, out: Any
) -> Any:
    """All points of each occupied cell of a window: its position, and its half-open run of ranks, to `out`.

    Returns how many. When `counting`, the flat window `counts` gets the number of points instead.

    A first point's rank is where its cell's run starts; the next occupied cell's start is where it stops. Cells come in
    descending order of rank within pieces.
    """
    pixel, first, stop = out
    height, width = window[0, 1] - window[0, 0], window[1, 1] - window[1, 0]
    shift = np.uint64(2 * level)
    start_of = np.empty(_PIECE, rank.dtype)
    none = start_of.dtype.type(key.size)
    begins = starts[:-1].copy()
    n = 0
    for i in range(ranges.shape[0]):
        low, last = ranges[i, 0], ranges[i, 1]
        while low < last:
            # up to the next aligned square of 256 x 256 cells
            high = min(((low >> np.uint64(16)) + np.uint64(1)) << np.uint64(16), last)
            cells = np.int64(high - low)
            r0 = np.int64(_gather_bits(low >> np.uint64(17)) << np.uint64(8)) - window[0, 0]
            c0 = np.int64(_gather_bits(low >> np.uint64(16)) << np.uint64(8)) - window[1, 0]
            offset = np.int64(low & np.uint64(0xFFFF))
            begin = key.size
            total = 0
            for c in range(starts.size - 1):
                a, b = _rows(key, low, high, shift, begins[c], starts[c + 1])
                begins[c] = b
                total += b - a
                if c < 32 - level and a < b:
                    if begin == key.size:
                        start_of[:cells] = none
                    # ranks ascend within a bucket
                    begin = min(begin, np.int64(rank[a]))
                    for j in range(a, b):
                        start_of[np.int64((key[j] >> shift) - low)] = rank[j]
            if total == 0:
                low = high
                continue
            end = begin + total
            for k in range(cells - 1, -1, -1):
                if start_of[k] == none:
                    continue
                position = np.int64(_POSITION[k + offset])
                r, q = r0 + (position >> 8), c0 + (position & 255)
                if 0 <= r < height and 0 <= q < width:
                    if counting:
                        counts[r * width + q] = end - np.int64(start_of[k])
                    else:
                        pixel[n] = r * width + q
                        first[n] = start_of[k]
                        stop[n] = end
                        n += 1
                end = np.int64(start_of[k])
            low = high
    return n
