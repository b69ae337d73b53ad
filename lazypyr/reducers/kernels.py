"""The kernels, for numba: serial loops over flat memory.

All have the same arguments, so that a dtype needs one compilation whatever the shape and strides of the block:

- `src`, `dst`: flat and contiguous, `src` read-only.
- `g`: int64, source start, result start, three loops of (count, source step, result step), then the flags `HAS` (pixels
  are compared with nodata), `OP`, `FLIP` (see `fold_int`), `WHOLE` (results are integers).
- `offs`: int64, element offsets of a box in row-major order.
- `fill`: nodata (NaN where none is declared), then the smallest and the largest value of the dtype.

Sums go in row-major order from 0.0 in float64, as in `plain`: both give the same bits.
"""

# ruff: noqa: FBT001, PLR0124 - a kernel's arguments are positional; only NaN differs from itself

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

HAS, OP, FLIP, WHOLE = 11, 12, 13, 14
MEAN, SUM, RMS, MIN, MAX = range(5)
LOW = 0xFFFFFFFF


@jit
def valid(v: Any, has: bool, nodata: Any) -> Any:
    """True of a pixel that holds something."""
    return (v == v) & ((not has) | (v != nodata))


@jit
def fold_float(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Mean and sum of floats."""
    has, op, nodata = g[HAS] != 0, g[OP], fill[0]
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                total, n = 0.0, 0
                for o in offs:
                    v = src[at + o]
                    ok = valid(v, has, nodata)
                    total += v if ok else 0.0
                    n += ok
                if op == MEAN:
                    total /= n
                dst[g[1] + i * g[4] + j * g[7] + k * g[10]] = total if n else nodata


@jit
def fold_rms(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Root of the mean of squares of real numbers; integers round half to even."""
    has, whole, nodata, largest = g[HAS] != 0, g[WHOLE] != 0, fill[0], fill[2]
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                to = g[1] + i * g[4] + j * g[7] + k * g[10]
                total, n = 0.0, 0
                for o in offs:
                    v = src[at + o]
                    ok = valid(v, has, nodata)
                    x = float(v) if ok else 0.0
                    total += x * x
                    n += ok
                value = np.sqrt(total / n)
                if whole:
                    value = np.rint(value)
                if n == 0:
                    dst[to] = nodata
                elif whole and value >= float(largest):
                    dst[to] = largest
                else:
                    dst[to] = value


@jit
def fold_int(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Mean, half to even, and saturating sum of integers up to 64 bits, exactly.

    Summed in two halves of 32 bits. Unsigned 64-bit numbers are taken as signed ones by flipping the highest bit
    (`FLIP`), which subtracts 2**63: an even number, so ties go the same way.
    """
    has, op, flip, nodata = g[HAS] != 0, g[OP], g[FLIP], fill[0]
    smallest, largest = np.int64(fill[1]) ^ flip, np.int64(fill[2]) ^ flip
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                to = g[1] + i * g[4] + j * g[7] + k * g[10]
                high, low, n = 0, 0, 0
                for o in offs:
                    v = src[at + o]
                    if valid(v, has, nodata):
                        w = np.int64(v) ^ flip
                        high += w >> 32
                        low += w & LOW
                        n += 1
                if n == 0:
                    dst[to] = nodata
                elif op == MEAN:
                    q = high // n
                    rest = ((high - q * n) << 32) + low
                    r = rest % n
                    q = (q << 32) + rest // n
                    q += (2 * r > n) | ((2 * r == n) & (q & 1 == 1))
                    dst[to] = q ^ flip
                else:
                    if flip != 0:
                        # what the flips took away, but for the one of the result
                        high += (n - 1) << 31
                    high += low >> 32
                    if high > largest >> 32:
                        total = largest
                    elif high < smallest >> 32:
                        total = smallest
                    else:
                        total = min(max((high << 32) | (low & LOW), smallest), largest)
                    dst[to] = total ^ flip


@jit
def fold_complex(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Mean and sum of phasors; rms amplitude with the phase of the mean phasor."""
    has, op, nodata = g[HAS] != 0, g[OP], fill[0]
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                re, im, power, n = 0.0, 0.0, 0.0, 0
                for o in offs:
                    v = src[at + o]
                    ok = valid(v, has, nodata)
                    a = float(v.real) if ok else 0.0
                    b = float(v.imag) if ok else 0.0
                    re += a
                    im += b
                    power += a * a + b * b
                    n += ok
                if op == MEAN:
                    re, im = re / n, im / n
                elif op == RMS:
                    amplitude, length = np.sqrt(power / n), np.sqrt(re * re + im * im)
                    if length == 0.0:
                        re, im = amplitude, 0.0
                    else:
                        re, im = amplitude * (re / length), amplitude * (im / length)
                dst[g[1] + i * g[4] + j * g[7] + k * g[10]] = complex(re, im) if n else nodata


@jit
def extreme(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Smallest or largest valid value."""
    has, least, nodata = g[HAS] != 0, g[OP] == MIN, fill[0]
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                best, found = nodata, False
                for o in offs:
                    v = src[at + o]
                    ok = valid(v, has, nodata)
                    if ok & (not found or (v < best if least else v > best)):
                        best, found = v, True
                dst[g[1] + i * g[4] + j * g[7] + k * g[10]] = best


@jit
def first_valid(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """First valid value in row-major order."""
    has, nodata = g[HAS] != 0, fill[0]
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                best = nodata
                for o in offs:
                    v = src[at + o]
                    if valid(v, has, nodata):
                        best = v
                        break
                dst[g[1] + i * g[4] + j * g[7] + k * g[10]] = best


@jit
def gather(src: Any, at: int, offs: Any, has: bool, nodata: Any, box: Any) -> int:
    """The valid values of a box, ascending, into `box`; returns how many."""
    n = 0
    for o in offs:
        v = src[at + o]
        if valid(v, has, nodata):
            box[n] = v
            n += 1
    if n > 32:
        box[:n].sort()
        return n
    for a in range(1, n):
        v, b = box[a], a
        while b > 0 and box[b - 1] > v:
            box[b] = box[b - 1]
            b -= 1
        box[b] = v
    return n


@jit
def median(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """Middle value; of two, their mean (integers: half to even)."""
    has, whole, nodata = g[HAS] != 0, g[WHOLE] != 0, fill[0]
    box = np.empty(offs.size, src.dtype)
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                to = g[1] + i * g[4] + j * g[7] + k * g[10]
                n = gather(src, at, offs, has, nodata, box)
                if n == 0:
                    dst[to] = nodata
                elif n % 2:
                    dst[to] = box[n // 2]
                elif whole:
                    a, b = np.int64(box[n // 2 - 1]) ^ g[FLIP], np.int64(box[n // 2]) ^ g[FLIP]
                    q = (a & b) + ((a ^ b) >> 1)
                    q += (a ^ b) & q & 1
                    dst[to] = q ^ g[FLIP]
                else:
                    dst[to] = (float(box[n // 2 - 1]) + float(box[n // 2])) / 2


@jit
def mode(src: Any, dst: Any, g: Any, offs: Any, fill: Any) -> None:
    """The smallest among the most frequent values."""
    has, nodata = g[HAS] != 0, fill[0]
    box = np.empty(offs.size, src.dtype)
    for i in range(g[2]):
        for j in range(g[5]):
            for k in range(g[8]):
                at = g[0] + i * g[3] + j * g[6] + k * g[9]
                n = gather(src, at, offs, has, nodata, box)
                best, most, run = nodata, 0, 0
                for a in range(n):
                    run = run + 1 if a and box[a] == box[a - 1] else 1
                    if run > most:
                        best, most = box[a], run
                dst[g[1] + i * g[4] + j * g[7] + k * g[10]] = best
