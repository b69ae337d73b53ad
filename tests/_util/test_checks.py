"""Checks of arguments."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazypyr._util import checks
from lazypyr._util.checks import as_scalar, is_whole, one_or_two, positive, whole_number
from lazypyr.errors import PlanError

WHOLE = {
    "int": (3, None, None, True),
    "numpy": (np.uint8(3), 3, 3, True),
    "beyond 64 bits": (2**70, 1, None, True),
    "bool": (True, None, None, False),
    "numpy bool": (np.True_, None, None, False),
    "float": (3.0, None, None, False),
    "text": ("3", None, None, False),
    "none": (None, None, None, False),
    "below": (0, 1, None, False),
    "above": (33, 1, 32, False),
}


@pytest.mark.parametrize(("value", "least", "most", "fits"), WHOLE.values(), ids=WHOLE)
def test_whole_numbers(value: object, least: int | None, most: int | None, fits: bool) -> None:
    assert is_whole(value, least, most) is fits
    if fits:
        number = whole_number(value, "n", least, most)
        assert number == value
        assert type(number) is int
    else:
        with pytest.raises(PlanError, match="n: expected a whole number"):
            whole_number(value, "n", least, most)


@pytest.mark.parametrize(
    ("value", "pair"),
    [(2, (2, 2)), ((1, 3), (1, 3)), ([np.int64(1), 3], (1, 3)), ((1,), None), (0, None), ("ab", None)],
)
def test_one_or_two(value: object, pair: tuple[int, int] | None) -> None:
    if pair is None:
        with pytest.raises(PlanError, match="shards: two, got"):
            one_or_two(value, "shards: two")
    else:
        assert one_or_two(value, "shards: two") == pair


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", None, 3.5])
def test_positive_numbers(value: object) -> None:
    assert positive(0.5, "r", most=3) == 0.5
    with pytest.raises(PlanError, match="r: expected a positive number, got"):
        positive(value, "r", most=3)


DTYPES = ["?", "i1", "u1", "i2", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
NUMBERS = st.one_of(
    st.integers(-(2**53), 2**53),
    st.sampled_from([2**63, 2**64 - 1, 2**70, -(2**70)]),
    st.floats(),
    st.floats(width=16),
    st.booleans(),
    st.complex_numbers(max_magnitude=1e30),
)


@given(NUMBERS, st.sampled_from(DTYPES))
def test_a_scalar_is_the_number_or_none(value: complex, name: str) -> None:
    dtype = np.dtype(name)
    scalar = as_scalar(value, dtype)
    if scalar is not None:
        assert scalar.dtype == dtype
    if isinstance(value, complex):
        assert (scalar is None) == (dtype.kind != "c")
    elif dtype.kind in "biu":
        exact = math.isfinite(value) and Fraction(value) == int(value)
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        fits = exact and low <= value <= high
        # Integers of no numpy dtype go through float64: they fit none of these.
        assert scalar == value if fits else scalar is None
    else:
        with np.errstate(over="ignore"):
            rounded = np.float64(value).astype(dtype)
        if np.isinf(rounded) and math.isfinite(value):
            assert scalar is None
        else:
            assert np.array_equal(scalar, np.asarray(value).astype("f8").astype(dtype), equal_nan=True)


def test_times_and_texts() -> None:
    day = np.dtype("M8[D]")
    assert as_scalar(1, day) == np.datetime64("1970-01-02")
    assert as_scalar("2020-01-01", day) == np.datetime64("2020-01-01")
    assert np.isnat(as_scalar("NaT", day))
    assert as_scalar(1.5, day) is None
    assert as_scalar("soon", day) is None
    assert as_scalar("1", np.dtype("f4")) is None
    assert as_scalar([1], np.dtype("f4")) is None
    assert as_scalar(None, np.dtype("f4")) is None


def test_examples() -> None:
    failed, tried = doctest.testmod(checks)
    assert tried
    assert not failed
