"""Checks of arguments that users give: whole numbers, positive numbers, values that a dtype can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from lazypyr.errors import PlanError

__all__ = ["as_scalar", "is_whole", "one_or_two", "positive", "whole_number"]


def is_whole(value: Any, least: int | None = None, most: int | None = None) -> bool:
    """True for an integer of Python or numpy within the limits, both inclusive; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return bool((least is None or value >= least) and (most is None or value <= most))


def whole_number(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int.

    Parameters
    ----------
    value : Any
        What the user gave.
    name : str
        The argument, as the message calls it.
    least, most : int, optional
        Limits, both inclusive.

    Raises
    ------
    PlanError
        When it is no integer (a bool is none), or outside the limits.

    Examples
    --------
    >>> whole_number(3, "levels", 1, 32)
    3
    >>> whole_number(2.0, "levels", 1)
    Traceback (most recent call last):
    lazypyr.errors.PlanError: levels: expected a whole number of at least 1, got 2.0
    """
    if not is_whole(value, least, most):
        limits = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        raise PlanError(f"{name}: expected a whole number{limits}, got {value!r}")
    return int(value)


def one_or_two(value: Any, expected: str, least: int = 1) -> tuple[int, int]:
    """Whole numbers for y and x: one that holds for both, or a pair.

    Raises
    ------
    PlanError
        With `expected` and what was given, for anything else.
    """
    pair = tuple(value) if isinstance(value, Iterable) else (value, value)
    if len(pair) != 2 or not all(is_whole(n, least) for n in pair):
        raise PlanError(f"{expected}, got {value!r}")
    return int(pair[0]), int(pair[1])


def positive(value: Any, name: str, kind: str = "a positive number", *, most: float = math.inf) -> float:
    """`value` as a float above 0, finite and at most `most`.

    Raises
    ------
    PlanError
        ``f"{name}: expected {kind}, got {value!r}"`` for anything else.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not 0 < value <= most or not math.isfinite(value):
        raise PlanError(f"{name}: expected {kind}, got {value!r}")
    return float(value)


def as_scalar(value: Any, dtype: np.dtype[Any]) -> Any:
    """`value` as a scalar of `dtype`; None where the dtype can't hold it.

    Integers must be held exactly. Floats are rounded to the nearest and must not overflow; NaN is held by floats and
    complex numbers. Integers count as ticks of datetime64 and timedelta64.

    Examples
    --------
    >>> as_scalar(-1, np.dtype("int16"))
    np.int16(-1)
    >>> as_scalar(-1, np.dtype("uint16")) is None
    True
    """
    try:
        # JSON writes 1e20 as an integer, beyond those of numpy.
        given = np.asarray(float(value) if isinstance(value, int) and not -(2**63) <= value < 2**64 else value)
        if given.ndim == 0 and _holds(dtype, given):
            with np.errstate(all="ignore"):
                ticks = dtype.kind in "mM" and given.dtype.kind in "iu"
                return (given.astype(np.int64) if ticks else given).astype(dtype)[()]
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _holds(dtype: np.dtype[Any], given: np.ndarray[Any, Any]) -> bool:
    kind = given.dtype.kind
    if dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return kind in "biuf" and bool(low <= given.item() <= high and given.item() == int(given))
    if dtype.kind in "fc":
        with np.errstate(over="ignore"):
            return kind in "biuf" + dtype.kind and bool(np.isinf(given.astype(dtype)) == np.isinf(given))
    return kind not in "bfc" if dtype.kind in "mM" else kind == dtype.kind
