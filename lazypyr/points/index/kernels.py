"""Kernels that make the index: Morton keys, level buckets, level-major order.

Every integer that meets a uint64 is a uint64: numba makes a float of a uint64 and an int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = [
    "N_BUCKETS",
    "check",
    "count_buckets",
    "count_digits",
    "scatter_by_level",
    "keys_of",
    "limits",
    "morton",
    "move",
    "highest_number_first",
]

# Of the levels 31 ... 0, then of points that are first nowhere: another one in their pixel has a higher number.
N_BUCKETS = 33


@jit
def _spread(v: Any) -> Any:
    """Bit i of a 32-bit number to bit 2i."""
    v = np.uint64(v)
    v = (v | (v << np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    v = (v | (v << np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    v = (v | (v << np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    v = (v | (v << np.uint64(2))) & np.uint64(0x3333333333333333)
    return (v | (v << np.uint64(1))) & np.uint64(0x5555555555555555)


@jit
def morton(row: Any, column: Any) -> Any:
    """Morton key of a cell, uint64."""
    return (_spread(row) << np.uint64(1)) | _spread(column)


@jit
def _bucket(key: Any, before: Any) -> Any:
    """Level bucket of a point: 31 minus the coarsest level at which it is the first of its cell, 32 if it is at none.

    A point and its predecessor share the cells of all levels l with ``highest differing bit < 2 * l``.
    """
    v = key ^ before
    if v == np.uint64(0):
        return 32
    level = 0
    step = 16
    while step:  # five turns, which the compiler unrolls
        if v >> np.uint64(2 * step):
            v >>= np.uint64(2 * step)
            level += step
        step >>= 1
    return 31 - level


@jit
def limits(x: Any, y: Any) -> Any:
    """Smallest and largest x and y of the points that have both finite, how many these are, how many have a NaN."""
    x_low, x_high, y_low, y_high = x[0], x[0], y[0], y[0]
    good = 0
    nans = 0
    for i in range(x.size):
        a, b = x[i], y[i]
        if not (np.isfinite(a) and np.isfinite(b)):
            if np.isnan(a) or np.isnan(b):
                nans += 1
            continue
        if good == 0:
            x_low, x_high, y_low, y_high = a, a, b, b
        good += 1
        x_low, x_high = min(x_low, a), max(x_high, a)
        y_low, y_high = min(y_low, b), max(y_high, b)
    return x_low, x_high, y_low, y_high, good, nans


@jit
def keys_of(
    x: Any, y: Any, origin: Any, step: Any, size: Any, first: Any, bits: Any, fine: Any, key: Any, point: Any
) -> Any:
    """Key and number of each finite point, written to `key` and `point` from their ends backwards; returns how many.

    Backwards, so that a stable sort has the highest number first within a pixel. With ``bits > 0`` the key gets the
    point's number below it, complemented in `bits` bits, and nothing is written to `point`; between the two there are
    `fine` levels of Morton order within the pixel. Pixels are worked out in the dtype of the coordinates. `origin`, `step`
    and `size` (in pixels) of the grid are along x and y; `first` is the number of the first point.
    """
    (x0, y0), (x_step, y_step), (nx, ny) = origin, step, size
    n = 0
    last = key.size - 1
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    parts = 1 << fine
    for i in range(x.size):
        a, b = x[i], y[i]
        if not (np.isfinite(a) and np.isfinite(b)):
            continue
        u, v = (a - x0) / x_step, (b - y0) / y_step
        column = min(max(np.int64(np.rint(u)), 0), nx - 1)
        row = min(max(np.int64(np.rint(v)), 0), ny - 1)
        code = morton(row, column)
        if fine > 0:
            right = min(max(np.int64((u - column + 0.5) * parts), 0), parts - 1)
            down = min(max(np.int64((v - row + 0.5) * parts), 0), parts - 1)
            code = (code << np.uint64(2 * fine)) | morton(down, right)
        if bits > 0:
            key[last - n] = (code << np.uint64(bits)) | (mask - np.uint64(first + i))
        else:
            key[last - n] = code
            point[last - n] = first + i
        n += 1
    return n


@jit
def count_digits(key: Any, low: Any, counts: Any) -> Any:
    """Count how often each byte occurs: those of the keys' bits from `low` on in ``counts[0]``, and so on."""
    for i in range(key.size):
        code = key[i] >> np.uint64(low)
        for d in range(counts.shape[0]):
            counts[d, (code >> np.uint64(8 * d)) & np.uint64(255)] += 1


@jit
def move(key: Any, point: Any, paired: Any, low: Any, at: Any, key_out: Any, point_out: Any) -> Any:
    """Move keys (and points, if `paired`) to the next free position `at` of the byte from bit `low` on, in order."""
    for i in range(key.size):
        digit = (key[i] >> np.uint64(low)) & np.uint64(255)
        row = at[digit]
        at[digit] = row + 1
        key_out[row] = key[i]
        if paired:
            point_out[row] = point[i]


@jit
def highest_number_first(packed: Any, bits: Any, shift: Any) -> Any:
    """Move the highest number of each pixel to the front of its run of sorted keys; the others stay in order."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    a = 0
    while a < packed.size:
        code = packed[a] >> np.uint64(shift)
        best = a
        b = a + 1
        while b < packed.size and packed[b] >> np.uint64(shift) == code:
            if packed[b] & mask < packed[best] & mask:
                best = b
            b += 1
        if best > a:
            last = packed[best]
            for i in range(best, a, -1):
                packed[i] = packed[i - 1]
            packed[a] = last
        a = b


@jit
def count_buckets(packed: Any, shift: Any, before: Any, seen: Any, counts: Any) -> Any:
    """Add to `counts` how many sorted keys each level bucket has; `before` is the key ahead if any was `seen`."""
    for i in range(packed.size):
        code = packed[i] >> np.uint64(shift)
        counts[_bucket(code, before) if seen else 0] += 1
        before = code
        seen = True


@jit
def scatter_by_level(
    packed: Any, point: Any, bits: Any, shift: Any, before: Any, seen: Any, base: Any, at: Any, out: Any
) -> Any:
    """Scatter sorted keys to level buckets, in order: `at` holds the next free row of each bucket and is moved on.

    `base` is the rank of the first key in the whole Morton order. With ``bits > 0`` the point's number is in the lowest
    bits of the key, complemented; a cell's key is what is left after a shift by `shift` bits.
    """
    key_out, point_out, rank_out = out
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(packed.size):
        code = packed[i] >> np.uint64(shift)
        bucket = _bucket(code, before) if seen else 0
        row = at[bucket]
        at[bucket] = row + 1
        key_out[row] = code
        point_out[row] = mask - (packed[i] & mask) if bits > 0 else point[i]
        rank_out[row] = base + i
        before = code
        seen = True


@jit
def check(key: Any, point: Any, rank: Any, starts: Any, n_points: Any, limit: Any) -> Any:
    """First row at which a level-major index is impossible, -1 if there is none.

    Within a bucket keys may not descend and ranks ascend strictly, numbers lie below `n_points`, keys below `limit`.
    """
    for c in range(starts.size - 1):
        for j in range(starts[c], starts[c + 1]):
            if point[j] >= n_points or rank[j] >= key.size or key[j] >= limit:
                return j
            if j > starts[c] and (key[j] < key[j - 1] or rank[j] <= rank[j - 1]):
                return j
    return -1
