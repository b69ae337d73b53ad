"""The same methods in plain numpy, for where numba is not: same order of accumulation, same bits as `kernels`.

Each function takes `boxes`, of shape ``(*box, *result)``, `nodata` (None: nothing is compared with), `limits` (the
smallest and largest value of the dtype) and returns float64, complex128 or the dtype of `boxes`, and where a box held
something valid.
"""

# ruff: noqa: D103, PLR0124 - what the methods do is said in the table of docs/methods.md; only NaN differs from itself

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Limits = tuple[Any, Any]

LOW = 0xFFFFFFFF
SIGN = np.int64(-(2**63))


def _valid(v: Array, nodata: Any) -> Array:
    ok: Array = v == v
    return ok if nodata is None else ok & (v != nodata)


def _samples(boxes: Array, ndim: int, nodata: Any) -> Iterator[tuple[Array, Array]]:
    """Each pixel of the boxes in row-major order, with its validity."""
    for index in np.ndindex(boxes.shape[:ndim]):
        yield boxes[index], _valid(boxes[index], nodata)


def _fold(boxes: Array, nodata: Any, *, power: bool) -> tuple[Array, Array]:
    """Sum of the values, or of their squares, in float64 or complex128, and how many were valid."""
    ndim = boxes.ndim // 2
    wide = np.complex128 if boxes.dtype.kind == "c" and not power else np.float64
    total, n = np.zeros(boxes.shape[ndim:], wide), np.zeros(boxes.shape[ndim:], np.int64)
    for v, ok in _samples(boxes, ndim, nodata):
        if boxes.dtype.kind == "c" and power:
            a, b = v.real.astype(np.float64), v.imag.astype(np.float64)
            x: Array = a * a + b * b
        else:
            x = v.astype(wide)
            x = x * x if power else x
        total += np.where(ok, x, 0)
        n += ok
    return total, n


def _divided(total: Array, n: Array | float) -> Array:
    if total.dtype.kind != "c":
        return total / n
    # by parts: a complex division would turn inf + 0j into inf + nanj
    result = np.empty_like(total)
    result.real, result.imag = total.real / n, total.imag / n
    return result


def mean(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    if boxes.dtype.kind in "fc":
        total, n = _fold(boxes, nodata, power=False)
        return _divided(total, n), n > 0
    high, low, count = _halves(boxes, nodata)
    n = np.maximum(count, 1)
    q = high // n
    rest = ((high - q * n) << 32) + low
    r = rest % n
    q = (q << 32) + rest // n
    q += (2 * r > n) | ((2 * r == n) & (q & 1 == 1))
    return _back(q, boxes.dtype), count > 0


def sum_(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    if boxes.dtype.kind in "fc":
        total, n = _fold(boxes, nodata, power=False)
        return total, n > 0
    high, low, n = _halves(boxes, nodata)
    smallest, largest = (int(_signed(np.asarray(v, boxes.dtype))) for v in limits)
    if boxes.dtype == np.uint64:
        high += (n - 1) << 31
    high += low >> 32
    total = np.clip((high << 32) | (low & LOW), smallest, largest)
    total = np.where(high > largest >> 32, largest, np.where(high < smallest >> 32, smallest, total))
    return _back(total, boxes.dtype), n > 0


def _signed(v: Array) -> Array:
    return v.view(np.int64) ^ SIGN if v.dtype == np.uint64 else v.astype(np.int64)


def _back(v: Array, dtype: np.dtype[Any]) -> Array:
    return (v ^ SIGN).view(np.uint64) if dtype == np.uint64 else v.astype(dtype)


def _halves(boxes: Array, nodata: Any) -> tuple[Array, Array, Array]:
    """Sums of the upper and lower 32 bits of integers (unsigned 64-bit ones less 2**63), and how many were valid."""
    ndim = boxes.ndim // 2
    high, low, n = (np.zeros(boxes.shape[ndim:], np.int64) for _ in range(3))
    for v, ok in _samples(boxes, ndim, nodata):
        w = _signed(v)
        high += np.where(ok, w >> 32, 0)
        low += np.where(ok, w & LOW, 0)
        n += ok
    return high, low, n


def rms(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    power, n = _fold(boxes, nodata, power=True)
    value = np.sqrt(power / n)
    if boxes.dtype.kind == "c":
        total, _ = _fold(boxes, nodata, power=False)
        length = np.sqrt(total.real * total.real + total.imag * total.imag)
        result = np.empty_like(total)
        result.real = np.where(length == 0, value, value * (total.real / length))
        result.imag = np.where(length == 0, 0.0, value * (total.imag / length))
        return result, n > 0
    if boxes.dtype.kind == "f":
        return value, n > 0
    largest = boxes.dtype.type(limits[1])
    top = np.rint(value) >= np.float64(largest)
    return np.where(top, largest, np.where(top | (n == 0), 0, np.rint(value)).astype(boxes.dtype)), n > 0


def _extreme(boxes: Array, nodata: Any, *, least: bool) -> tuple[Array, Array]:
    ndim = boxes.ndim // 2
    best = np.zeros(boxes.shape[ndim:], boxes.dtype)
    found = np.zeros(best.shape, bool)
    for v, ok in _samples(boxes, ndim, nodata):
        better = ok & (~found | (v < best if least else v > best))
        best = np.where(better, v, best)
        found |= better
    return best, found


def min_(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    return _extreme(boxes, nodata, least=True)


def max_(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    return _extreme(boxes, nodata, least=False)


def first_valid(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    ndim = boxes.ndim // 2
    first = np.zeros(boxes.shape[ndim:], boxes.dtype)
    found = np.zeros(first.shape, bool)
    for v, ok in _samples(boxes, ndim, nodata):
        first = np.where(ok & ~found, v, first)
        found |= ok
    return first, found


def _sorted(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    """The pixels of each box along a first axis, the n valid ones ascending in front, and n."""
    ndim = boxes.ndim // 2
    stack = boxes.reshape(-1, *boxes.shape[ndim:])
    ok = _valid(stack, nodata)
    # what is invalid goes behind: NaN sorts last, and the largest integer can't be told from a valid one
    last = np.nan if boxes.dtype.kind == "f" else limits[1]
    return np.sort(np.where(ok, stack, boxes.dtype.type(last)), axis=0), ok.sum(axis=0)


def median(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    stack, n = _sorted(boxes, nodata, limits)
    a, b = (np.take_along_axis(stack, np.maximum(at, 0)[None], axis=0)[0] for at in ((n - 1) // 2, n // 2))
    if boxes.dtype.kind == "f":
        return np.where(n % 2, a.astype(np.float64), (a.astype(np.float64) + b.astype(np.float64)) / 2), n > 0
    a, b = _signed(a), _signed(b)
    q = (a & b) + ((a ^ b) >> 1)
    q += (a ^ b) & q & 1
    return _back(q, boxes.dtype), n > 0


def mode(boxes: Array, nodata: Any, limits: Limits) -> tuple[Array, Array]:
    stack, n = _sorted(boxes, nodata, limits)
    best, most = stack[0], np.minimum(n, 1)
    run = np.ones(n.shape, np.int64)
    for i in range(1, len(stack)):
        run = np.where(stack[i] == stack[i - 1], run + 1, 1)
        better = (run > most) & (i < n)
        best, most = np.where(better, stack[i], best), np.where(better, run, most)
    return best, n > 0
