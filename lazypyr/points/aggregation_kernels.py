"""Kernels that reduce runs of points (a cell's points, half-open, by rank in Morton order), and the values they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["RankedValues", "kernel_ready", "run_extremes", "run_last", "run_sums", "sum_dtype", "sums_by_prefix"]

Array = np.ndarray[Any, Any]


@jit
def run_sums(
    values: Any, base: Any, first: Any, stop: Any, pixel: Any, zero: Any, mean: Any, skipped: Any, skip: Any, out: Any
) -> Any:
    """Sum (or `mean`) of the values of each run that are not NaN nor, if `skipped`, equal to `skip`.

    Runs without any are left alone.

    `base` is the rank of ``values[0]``, `zero` a 0 of the type to sum in.
    """
    for k in range(first.size):
        # four sums at once: an addition waits for the one before it
        s0, s1, s2, s3 = zero, zero, zero, zero
        n = 0
        i = np.int64(first[k]) - base
        end = np.int64(stop[k]) - base
        while i + 4 <= end:
            a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
            if a == a and not (skipped and a == skip):  # noqa: PLR0124 - false for NaN only
                s0 += a
                n += 1
            if b == b and not (skipped and b == skip):  # noqa: PLR0124
                s1 += b
                n += 1
            if c == c and not (skipped and c == skip):  # noqa: PLR0124
                s2 += c
                n += 1
            if d == d and not (skipped and d == skip):  # noqa: PLR0124
                s3 += d
                n += 1
            i += 4
        while i < end:
            a = values[i]
            if a == a and not (skipped and a == skip):  # noqa: PLR0124
                s0 += a
                n += 1
            i += 1
        if n > 0:
            total = (s0 + s1) + (s2 + s3)
            out[pixel[k]] = total / n if mean else total


@jit
def _prefix_sums(values: Any, zero: Any, high: Any, low: Any) -> Any:
    """Sum of all values before each block of 16, in two numbers (Knuth's TwoSum: what `high` rounds off is in `low`).

    Returns the largest and the smallest magnitude of a value that isn't 0.
    """
    s, rest = zero, zero
    largest, smallest = 0.0, np.inf
    for block in range(high.size):
        high[block], low[block] = s, rest
        for i in range(block * 16, min(block * 16 + 16, values.size)):
            v = zero + values[i]
            size = np.float64(abs(v))
            if size > 0:
                largest, smallest = max(largest, size), min(smallest, size)
            t = s + v
            back = t - s
            rest += (s - (t - back)) + (v - back)
            s = t
    return largest, smallest


@jit
def sums_by_prefix(
    values: Any, high: Any, low: Any, first: Any, stop: Any, pixel: Any, zero: Any, mean: Any, out: Any
) -> Any:
    """Sum (or `mean`) of each run, for values without NaN and infinities: whole blocks come from their prefix sums."""
    for k in range(first.size):
        a, b = np.int64(first[k]), np.int64(stop[k])
        p, q = (a + 15) >> 4, b >> 4
        total = zero
        if p < q:
            for i in range(a, p << 4):
                total += values[i]
            total += (high[q] - high[p]) + (low[q] - low[p])
            a = q << 4
        for i in range(a, b):
            total += values[i]
        out[pixel[k]] = total / (b - np.int64(first[k])) if mean else total


@jit
def run_extremes(
    values: Any, base: Any, first: Any, stop: Any, pixel: Any, largest: Any, skipped: Any, skip: Any, out: Any
) -> Any:
    """Smallest (or `largest`) value of each run that is neither NaN nor, if `skipped`, equal to `skip`."""
    for k in range(first.size):
        best = values[np.int64(first[k]) - base]
        seen = False
        for i in range(np.int64(first[k]) - base, np.int64(stop[k]) - base):
            v = values[i]
            if v != v or (skipped and v == skip):  # noqa: PLR0124
                continue
            if not seen or (v > best if largest else v < best):
                best = v
                seen = True
        if seen:
            out[pixel[k]] = best


@jit
def run_last(order: Any, first: Any, stop: Any, out: Any) -> Any:
    """Highest point number of each run."""
    for k in range(first.size):
        best = order[first[k]]
        for i in range(np.int64(first[k]) + 1, np.int64(stop[k])):
            best = max(best, order[i])
        out[k] = best


@dataclass(frozen=True, eq=False)
class RankedValues:
    """Values of one channel by rank from `base` on, and the sums before each block of 16 where that is all of them."""

    values: Array
    base: int
    high: Array | None = None
    low: Array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.values.nbytes + (0 if self.high is None else 2 * self.high.nbytes)

    @classmethod
    def whole(cls, values: Array, *, with_sums: bool, nodata: Any = None) -> RankedValues:
        """All values of a channel; there are no sums where anything is NaN, infinite or `nodata`."""
        values = kernel_ready(values)
        if nodata is not None and (values == nodata).any():
            return cls(values, 0)
        if not with_sums or (values.dtype.kind in "fc" and not np.isfinite(values).all()):
            return cls(values, 0)
        dtype = sum_dtype(values.dtype)
        high, low = (np.empty(values.size // 16 + 1, dtype) for _ in range(2))
        largest, smallest = _prefix_sums(values, dtype.type(0), high, low)
        # two float64 carry 106 bits: enough, unless some values dwarf others beyond all measure
        if dtype.kind in "fc" and values.size * largest * 2.0**-104 > 1e-9 * smallest:
            return cls(values, 0)
        return cls(values, 0, high, low)


def sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype in which values are summed."""
    return np.dtype({"b": "<i8", "i": "<i8", "u": "<u8", "f": "<f8", "c": "<c16"}[dtype.kind])


def kernel_ready(values: Array) -> Array:
    """Values as kernels take them: dates as integers, bools as bytes, float16 as float32."""
    if values.dtype.kind in "mM":
        return values.view("i8")
    if values.dtype == np.bool_:
        return values.view("u1")
    return values.astype("f4") if values.dtype == np.float16 else values
