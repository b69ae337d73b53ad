"""What a pixel shows of the points in its cell: one table, and the kernels for whole runs of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr._util.checks import as_scalar
from lazypyr.errors import PlanError
from lazypyr.reducers.jit import jit

__all__ = [
    "METHODS",
    "Method",
    "Ranked",
    "check_values",
    "fill_of",
    "last_of",
    "method_of",
    "reduce_runs",
    "shown_dtype",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Method:
    """How the points of a cell make a pixel.

    Attributes
    ----------
    name : str
    dtype_of : callable
        Dtype of the pixels, from that of the values.
    kinds : str
        Kinds of dtypes that values may have ("biufcmM"); empty where no values are needed.
    empty : int or None
        What stands where there is no point; None: the dtype's usual fill value.
    """

    name: str
    dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]]
    kinds: str
    empty: int | None = None


def shown_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype in which values are shown: bool as uint8, so that there is a value for "nothing here"."""
    return np.dtype("u1") if dtype == np.bool_ else dtype


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype({"b": "<i8", "i": "<i8", "u": "<u8", "f": "<f8", "c": "<c16"}[dtype.kind])


def _mean_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind in "fc" else np.dtype("<f8")


def _always(dtype: str) -> Callable[[np.dtype[Any]], np.dtype[Any]]:
    return lambda _: np.dtype(dtype)


METHODS = {
    method.name: method
    for method in (
        Method("first_valid", shown_dtype, "biufcmM"),
        Method("last", shown_dtype, "biufcmM"),
        Method("min", shown_dtype, "biufmM"),
        Method("max", shown_dtype, "biufmM"),
        Method("sum", _sum_dtype, "biufc"),
        Method("mean", _mean_dtype, "biufc"),
        Method("count", _always("<i8"), "", 0),
        Method("any", _always("u1"), "", 0),
    )
}


def method_of(name: str) -> Method:
    """The method of this name; PlanError lists the names."""
    if not isinstance(name, str) or name not in METHODS:
        raise PlanError(f"method: expected one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def check_values(method: Method, dtype: np.dtype[Any] | None) -> None:
    """Refuse values that a method can't work on."""
    if not method.kinds:
        return
    if dtype is None:
        raise PlanError(f"method {method.name!r} needs values; without them there are 'count' and 'any'")
    if dtype.kind not in method.kinds:
        raise PlanError(f"method {method.name!r} doesn't work on values of dtype {dtype}")


def _default_fill(dtype: np.dtype[Any]) -> Any:
    """What stands where there is no point: NaN, NaT, the least signed and the largest unsigned integer."""
    if dtype.kind == "c":
        return dtype.type(complex(np.nan, np.nan))
    if dtype.kind == "f":
        return dtype.type(np.nan)
    if dtype.kind in "mM":
        return np.array("NaT", dtype)[()]
    info = np.iinfo(dtype)
    return dtype.type(info.min if dtype.kind == "i" else info.max)


def fill_of(method: Method, dtype: np.dtype[Any], given: Any) -> Any:
    """What a method's pixels show where there is no point: what is given, if the dtype has it."""
    if method.empty is not None:
        return dtype.type(method.empty) if given is None else _cast(given, dtype)
    return _default_fill(dtype) if given is None else _cast(given, dtype)


def _cast(given: Any, dtype: np.dtype[Any]) -> Any:
    scalar = as_scalar(given, dtype)
    if scalar is None:
        raise PlanError(f"fill_value: {given!r} is no {dtype}")
    return scalar


@jit
def _sums(values: Any, base: Any, first: Any, stop: Any, pixel: Any, zero: Any, mean: Any, out: Any) -> Any:
    """Sum (or `mean`) of the values of each run that are not NaN; runs without any are left alone.

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
            if a == a:  # noqa: PLR0124 - false for NaN only
                s0 += a
                n += 1
            if b == b:  # noqa: PLR0124
                s1 += b
                n += 1
            if c == c:  # noqa: PLR0124
                s2 += c
                n += 1
            if d == d:  # noqa: PLR0124
                s3 += d
                n += 1
            i += 4
        while i < end:
            a = values[i]
            if a == a:  # noqa: PLR0124
                s0 += a
                n += 1
            i += 1
        if n > 0:
            total = (s0 + s1) + (s2 + s3)
            out[pixel[k]] = total / n if mean else total


@jit
def _prefix(values: Any, zero: Any, high: Any, low: Any) -> Any:
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
def _sums_by_prefix(
    values: Any, high: Any, low: Any, first: Any, stop: Any, pixel: Any, zero: Any, mean: Any, out: Any
) -> Any:
    """As `_sums`, for values without NaN and infinities: whole blocks come from the sums before them."""
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
def _extremes(
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
def last_of(order: Any, first: Any, stop: Any, out: Any) -> Any:
    """Highest point number of each run."""
    for k in range(first.size):
        best = order[first[k]]
        for i in range(np.int64(first[k]) + 1, np.int64(stop[k])):
            best = max(best, order[i])
        out[k] = best


@dataclass(frozen=True, eq=False)
class Ranked:
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
    def part(cls, values: Array, base: int) -> Ranked:
        """Values of the ranks from `base` on."""
        return cls(_plain(values), base)

    @classmethod
    def whole(cls, method: Method, values: Array) -> Ranked:
        """All values of a channel; sums are made if `method` needs them and nothing is NaN or infinite."""
        values = _plain(values)
        if method.name not in ("sum", "mean") or (values.dtype.kind in "fc" and not np.isfinite(values).all()):
            return cls(values, 0)
        dtype = _sum_dtype(values.dtype)
        high, low = (np.empty(values.size // 16 + 1, dtype) for _ in range(2))
        largest, smallest = _prefix(values, dtype.type(0), high, low)
        # two float64 carry 106 bits: enough, unless some values dwarf others beyond all measure
        if dtype.kind in "fc" and values.size * largest * 2.0**-104 > 1e-9 * smallest:
            return cls(values, 0)
        return cls(values, 0, high, low)


def _plain(values: Array) -> Array:
    """Values as kernels take them: dates as integers, bools as bytes, float16 as float32."""
    if values.dtype.kind in "mM":
        return values.view("i8")
    if values.dtype == np.bool_:
        return values.view("u1")
    return values.astype("f4") if values.dtype == np.float16 else values


def reduce_runs(method: Method, ranked: Ranked, pixel: Array, first: Array, stop: Array, out: Array) -> None:
    """Sum, mean, min or max of runs of points, written to their pixels; runs of nothing but NaN (NaT) are left alone.

    Parameters
    ----------
    pixel, first, stop : ndarray
        Position in `out` and half-open run of ranks of each cell.
    out : ndarray
        Flat.
    """
    if out.dtype == np.float16:
        wide = out.astype(np.float32)
        reduce_runs(method, ranked, pixel, first, stop, wide)
        with np.errstate(over="ignore"):
            out[:] = wide
        return
    if method.name in ("min", "max"):
        time = out.dtype.kind in "mM"
        skip = ranked.values.dtype.type(np.iinfo("i8").min if time else 0)
        target = out.view("i8") if time else out
        _extremes(ranked.values, ranked.base, first, stop, pixel, method.name == "max", time, skip, target)
        return
    zero, mean = _sum_dtype(ranked.values.dtype).type(0), method.name == "mean"
    if ranked.high is not None:
        _sums_by_prefix(ranked.values, ranked.high, ranked.low, first, stop, pixel, zero, mean, out)
    else:
        _sums(ranked.values, ranked.base, first, stop, pixel, zero, mean, out)
