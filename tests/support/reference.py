"""Levels by the plainest code there is: loops over the pixels of a box, exact fractions for integers."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np


def stride(array, factors, level):
    return array[tuple(slice(None, None, f**level) for f in factors)]


def _mean(held, dtype):
    """Integers, booleans and times: exact, half to even. Floats: summed in float64 in row-major order."""
    if dtype.kind in "biu":
        return round(Fraction(sum(int(v) for v in held), len(held)))
    if dtype.kind in "mM":
        return np.int64(round(Fraction(sum(int(v.astype("i8")) for v in held), len(held)))).astype(dtype)
    if dtype.kind == "c":
        return complex(_mean([v.real for v in held], np.dtype("f8")), _mean([v.imag for v in held], np.dtype("f8")))
    total = 0.0
    for v in held:
        total += float(v)
    return total / len(held)


def _median(held, dtype):
    ordered = sorted(held)
    a, b = ordered[(len(held) - 1) // 2], ordered[len(held) // 2]
    if dtype.kind in "biu":
        return round(Fraction(int(a) + int(b), 2))
    return a if len(held) % 2 else (float(a) + float(b)) / 2


def _mode(held, dtype):
    """The most frequent value, the smallest of several."""
    return max(sorted(held), key=held.count)


BOXED = {
    "mean": _mean,
    "median": _median,
    "mode": _mode,
    "min": lambda held, dtype: min(held),
    "max": lambda held, dtype: max(held),
    "first_valid": lambda held, dtype: held[0],
}


def reduced(array, factors, method, nodata=None):
    """One level of boxes, clipped at the edges; what is NaN, NaT or nodata is left out."""
    out = np.empty([-(-n // f) for n, f in zip(array.shape, factors, strict=True)], array.dtype)
    nothing = nodata
    if nodata is None and array.dtype.kind in "fcmM":
        nothing = np.array("NaT" if array.dtype.kind in "mM" else np.nan, array.dtype)[()]
    for at in np.ndindex(out.shape):
        ranges = (range(i * f, min((i + 1) * f, n)) for i, f, n in zip(at, factors, array.shape, strict=True))
        box = [array[pixel] for pixel in itertools.product(*ranges)]
        held = [v for v in box if v == v and (nodata is None or v != nodata)]
        out[at] = BOXED[method](held, array.dtype) if held else nothing
    return out


def levels(array, factors, count, method, nodata=None):
    """Levels 0 to ``count - 1``, little-endian."""
    array = array.astype(array.dtype.newbyteorder("<"))
    if method == "stride":
        return [stride(array, factors, k) for k in range(count)]
    if method in ("median", "mode"):
        return [array, *(reduced(array, tuple(f**k for f in factors), method, nodata) for k in range(1, count))]
    made = [array]
    while len(made) < count:
        made.append(reduced(made[-1], factors, method, nodata))
    return made
