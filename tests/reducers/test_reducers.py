"""The methods against a reference that works box by box in plain Python, and against xarray."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from lazypyr.errors import PlanError
from lazypyr.reducers import REDUCERS, Reducer, reducer_of
from support.paths import ROOT

INTS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
TIMES = ("datetime64[ns]", "timedelta64[s]")
SHAPES = [
    ((6, 8), (2, 2)),
    ((7, 5), (2, 2)),
    ((1, 1), (2, 2)),
    ((1, 9), (2, 2)),
    ((5, 3), (4, 8)),
    ((5, 4, 3), (2, 2, 1)),
    ((5, 7, 1), (2, 2, 1)),
    ((4, 6, 2), (2, 2, 1)),
    ((2, 5, 7), (1, 2, 2)),
    ((3, 5, 7), (2, 2, 2)),
    ((2, 3, 5, 4, 2), (1, 3, 2, 2, 1)),
    ((9,), (4,)),
    ((0, 4), (2, 2)),
]


def limits(dtype):
    """The smallest and largest number of an integer dtype."""
    return (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def half_even(value, dtype):
    """A fraction as an integer of a dtype, saturating."""
    low, high = limits(dtype)
    return min(max(round(value), low), high)


def of_ints(name, values, dtype):
    if name == "mean":
        return half_even(Fraction(sum(values), len(values)), dtype)
    if name == "sum":
        return half_even(Fraction(sum(values)), dtype)
    if name == "median":
        middle = sorted(values)
        return half_even(Fraction(middle[(len(values) - 1) // 2] + middle[len(values) // 2], 2), dtype)
    power = 0.0
    for v in values:
        power += float(v) * float(v)
    return half_even(np.rint(np.sqrt(power / len(values))), dtype)


def of_floats(name, values):
    if name == "median":
        return float(np.median(np.array(values, np.float64)))
    total = power = 0.0
    for v in values:
        total, power = total + v, power + v * v
    return {"mean": total / len(values), "sum": total, "rms": float(np.sqrt(power / len(values)))}[name]


def of_phasors(name, values):
    z = sum(values, 0j)
    if name == "rms":
        rms = math.sqrt(sum(abs(v) ** 2 for v in values) / len(values))
        return rms * z / abs(z) if z else complex(rms)
    return z / len(values) if name == "mean" else z


def expected_box(name, box, dtype, nodata):
    """The result of one box of any shape."""
    values = [v for v in box.reshape(-1) if not np.isnat(v)] if dtype.kind in "mM" else list(box.reshape(-1))
    values = [v for v in values if v == v and (nodata is None or v != nodata)]
    if not values:
        return nodata if nodata is not None else (np.nan if dtype.kind in "fc" else "NaT")
    if name == "first_valid":
        return values[0]
    if name in ("min", "max"):
        return (min if name == "min" else max)(values)
    if name == "mode":
        counts = {v: sum(w == v for w in values) for v in values}
        return min(v for v, n in counts.items() if n == max(counts.values()))
    if dtype.kind in "mM":
        return np.int64(of_ints(name, [int(v.astype(np.int64)) for v in values], np.dtype(np.int64))).astype(dtype)
    if dtype.kind in "biu":
        return of_ints(name, [int(v) for v in values], dtype)
    return of_floats(name, [float(v) for v in values]) if dtype.kind == "f" else of_phasors(name, map_complex(values))


def map_complex(values):
    return [complex(v) for v in values]


def expected(name, block, factors, nodata=None):
    shape = tuple(-(-n // f) for n, f in zip(block.shape, factors, strict=True))
    if name == "stride":
        return block[tuple(slice(None, None, f) for f in factors)]
    out = np.empty(shape, block.dtype)
    with np.errstate(all="ignore"):
        for index in np.ndindex(shape):
            box = block[tuple(slice(i * f, i * f + f) for i, f in zip(index, factors, strict=True))]
            out[index] = expected_box(name, box, block.dtype, nodata)
    return out


def sample(dtype, shape, seed=0):
    """Few distinct values with ties, the extremes of integers, NaN and NaT here and there."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        low, high = limits(dtype)
        choice = np.array([low, low + 1, 3, 4, 5, 6, high - 1, high], dtype)
        return choice[rng.integers(0, len(choice), shape)]
    if dtype.kind in "mM":
        values = rng.integers(0, 9, shape).astype(np.int64).view(dtype)
        values[rng.random(shape) < 0.3] = "NaT"
        return values
    values = rng.integers(-4, 5, shape) / 8
    if dtype.kind == "c":
        values = values + 1j * rng.integers(-4, 5, shape) / 8
        values.imag[rng.random(shape) < 0.1] = np.nan
    values = values.astype(dtype)
    values[rng.random(shape) < 0.2] = np.nan
    return values


def takes(name, dtype):
    try:
        REDUCERS[name].check(dtype)
    except PlanError:
        return False
    return True


def same(got, want, name):
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if got.dtype.kind == "c" and name == "rms":  # the reference divides complex numbers
        np.testing.assert_allclose(got, want, rtol=1e-6 if got.dtype == np.complex64 else 1e-14)
    else:
        assert_array_equal(got, want)


@pytest.mark.slow
@pytest.mark.fault("S11")
@pytest.mark.parametrize("dtype", INTS + FLOATS + COMPLEX + TIMES)
@pytest.mark.parametrize("name", REDUCERS)
def test_every_method_on_every_shape(name, dtype):
    if not takes(name, dtype):
        with pytest.raises(PlanError, match="stride"):
            REDUCERS[name](np.zeros((2, 2), dtype), (2, 2))
        return
    for shape, factors in SHAPES:
        block = sample(dtype, shape)
        kept = block.copy()
        same(REDUCERS[name](block, factors), expected(name, block, factors), name)
        assert_array_equal(block, kept)


@pytest.mark.fault("S11")
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 3), ("int16", -32768), ("int64", 4), ("uint64", 2**64 - 1), ("bool", 0), ("float16", 0.5)]
    + [("float32", 0.5), ("float32", float("nan")), ("complex64", 0.5 + 0j), ("complex128", complex("nan"))]
    + [("datetime64[ns]", np.datetime64(3, "ns")), ("timedelta64[s]", np.timedelta64("NaT"))],
)
@pytest.mark.parametrize("name", REDUCERS)
def test_nodata_is_left_out(name, dtype, nodata):
    if not takes(name, dtype):
        return
    REDUCERS[name].check(dtype, nodata)
    for shape, factors in SHAPES:
        block = sample(dtype, shape, seed=1)
        block[..., -1] = nodata  # with odd sizes: boxes of nothing else
        want = expected(name, block, factors, np.dtype(dtype).type(nodata) if block.dtype.kind in "biufc" else nodata)
        same(REDUCERS[name](block, factors, nodata=nodata), want, name)


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex64"])
def test_any_strides_in_and_out(name, dtype):
    if not takes(name, dtype):
        return
    base = sample(dtype, (14, 12, 3))
    views = {
        "window": base[1:10, 2:9],
        "reversed": base[::-1, :, ::-1],
        "transposed": base.transpose(2, 1, 0),
        "fortran": np.asfortranarray(base),
        "stepped": base[::2, ::3],
        "broadcast": np.broadcast_to(base[:1], (5, 12, 3)),
        "unaligned": np.frombuffer(b"\0" + base.tobytes(), np.uint8)[1:].view(base.dtype).reshape(base.shape),
        "read-only": np.frombuffer(base.tobytes(), base.dtype).reshape(base.shape),
    }
    for what, block in views.items():
        want = expected(name, block, (2, 2, 1))
        frame = np.zeros([n + 2 for n in want.shape], dtype)
        inside = frame[1:-1, 1:-1, 1:-1]
        for out in (inside, np.zeros(want.shape[::-1], dtype).T, inside.copy()[::-1, :, ::-1]):
            assert REDUCERS[name](block, (2, 2, 1), out=out) is out, what
            same(out, want, name)
        inside[...] = 0
        assert not frame.any(), what


@pytest.mark.fault("S11")
@pytest.mark.parametrize("name", ["mean", "min", "max", "median", "sum"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_agrees_with_xarray(name, dtype):
    rng = np.random.default_rng(5)
    block = (rng.integers(-999, 999, (3, 33, 47)) / 4).astype(dtype)
    block[rng.random(block.shape) < 0.3] = np.nan
    block[:, 4:8, 6:10] = np.nan
    coarsen = xr.DataArray(block, dims=("z", "y", "x")).coarsen(y=2, x=4, boundary="pad", side="left")
    want = getattr(coarsen, name)().where(coarsen.count() > 0)  # where xarray's sum of nothing is 0
    got = REDUCERS[name](block, (1, 2, 4))
    assert_array_equal(got, want.values.astype(dtype))


@given(
    data=st.data(),
    dtype=st.sampled_from(["int8", "uint8", "int32", "int64", "uint64"]),
    name=st.sampled_from(["mean", "sum", "min", "max", "median", "mode", "first_valid"]),
)
def test_integers_are_exact(data, dtype, name):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))
    factors = tuple(data.draw(st.integers(1, 4)) for _ in shape)
    block = data.draw(hnp.arrays(dtype, shape))
    nodata = data.draw(st.none() | st.sampled_from([int(v) for v in block.reshape(-1)]))
    assert_array_equal(REDUCERS[name](block, factors, nodata=nodata), expected(name, block, factors, nodata))


@given(data=st.data(), name=st.sampled_from(sorted(REDUCERS)))
def test_floats_are_the_reference_to_the_last_bit(data, name):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))
    factors = tuple(data.draw(st.integers(1, 4)) for _ in shape)
    values = st.floats(width=32) | st.sampled_from([0.0, 1.0, np.inf, -np.inf, np.nan])
    block = data.draw(hnp.arrays("float32", shape, elements=values))
    assert_array_equal(REDUCERS[name](block, factors), expected(name, block, factors))


@given(data=st.data(), name=st.sampled_from(["stride", "min", "max", "first_valid"]))
def test_levels_compose(data, name):
    block = data.draw(hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
    once = REDUCERS[name](REDUCERS[name](block, (2, 2)), (2, 2))
    if name != "first_valid":  # whose pixel after two steps is the first in Z order
        assert_array_equal(once, REDUCERS[name](block, (4, 4)))
    assert once.shape == tuple(-(-n // 4) for n in block.shape)


@pytest.mark.fault("S11")
def test_what_overflows_elsewhere():
    big = np.full((2, 2), 2**60 + 1, np.int64)
    assert REDUCERS["mean"](big, (2, 2))[0, 0] == 2**60 + 1
    edge = np.array([[2**64 - 1, 2**64 - 2], [2**64 - 1, 2**64 - 1]], np.uint64)
    assert REDUCERS["mean"](edge, (2, 2))[0, 0] == 2**64 - 1
    assert REDUCERS["sum"](edge, (2, 2))[0, 0] == 2**64 - 1
    assert REDUCERS["sum"](np.full((2, 2), -100, np.int8), (2, 2))[0, 0] == -128
    assert REDUCERS["rms"](np.full((2, 2), -128, np.int8), (2, 2))[0, 0] == 127
    large = np.full((2, 2), 3e38, np.float32)
    assert REDUCERS["mean"](large, (2, 2))[0, 0] == np.float32(3e38)
    assert REDUCERS["mean"](np.full((2, 2), 6e4, np.float16), (2, 2))[0, 0] == np.float16(6e4)
    assert REDUCERS["sum"](large, (2, 2))[0, 0] == np.inf
    both = np.array([[np.inf, -np.inf], [1, 1]], np.float32)
    assert np.isnan(REDUCERS["mean"](both, (2, 2), nodata=-1)[0, 0])


@pytest.mark.fault("U7")
def test_phases_are_averaged_as_phasors():
    angles = np.array([[3.1, -3.1], [3.1, -3.1]])
    z = np.exp(1j * angles).astype(np.complex64)
    for name in ("mean", "rms"):
        got = REDUCERS[name](z, (2, 2))[0, 0]
        assert abs(abs(np.angle(got)) - np.pi) < 1e-6, "the mean of the angles would be 0"
    assert REDUCERS["rms"](np.array([[1, -1]], np.complex64), (1, 2))[0, 0] == 1  # amplitude stays, phase is angle(0)
    assert REDUCERS["rms"](np.zeros((2, 2), np.complex64), (2, 2))[0, 0] == 0
    half = np.array([[1 + 1j, complex(np.nan, 5)], [3 + 1j, complex(5, np.nan)]], np.complex64)
    assert REDUCERS["mean"](half, (2, 2))[0, 0] == 2 + 1j


def test_a_box_of_nothing_is_nan_in_both_parts():
    nothing = REDUCERS["mean"](np.full((2, 2), complex(np.nan, 3), np.complex64), (2, 2))[0, 0]
    assert np.isnan(nothing.real)
    assert np.isnan(nothing.imag)


@given(block=hnp.arrays("complex64", (8, 6), elements=st.complex_numbers(max_magnitude=1e6, width=64)))
def test_rms_keeps_amplitude_and_mean_keeps_phase(block):
    rms, mean = (REDUCERS[n](block, (2, 2)).astype(np.complex128) for n in ("rms", "mean"))
    power = (np.abs(block.astype(np.complex128)) ** 2).reshape(4, 2, 3, 2).mean((1, 3))
    np.testing.assert_allclose(np.abs(rms), np.sqrt(power), rtol=1e-6, atol=1e-30)
    known = np.abs(mean) > 1e-3 * np.abs(rms)
    np.testing.assert_allclose(np.exp(1j * np.angle(rms[known])), np.exp(1j * np.angle(mean[known])), atol=1e-5)


def test_the_table():
    assert list(REDUCERS) == ["stride", "mean", "min", "max", "first_valid", "sum", "rms", "median", "mode"]
    assert [n for n, r in REDUCERS.items() if not r.composable] == ["median", "mode"]
    assert [n for n, r in REDUCERS.items() if not r.centred] == ["stride"]
    for name, reducer in REDUCERS.items():
        assert reducer_of(name) is reducer
        assert reducer_of(reducer) is reducer
        assert pickle.loads(pickle.dumps(reducer)) == reducer == Reducer(**vars(reducer))
        assert hash(reducer) == hash(pickle.loads(pickle.dumps(reducer)))


@pytest.mark.parametrize("method", ["average", "", None, 3, ["mean"]])
def test_unknown_methods_list_the_known(method):
    with pytest.raises(PlanError, match=r"stride, mean, min, .*callable, got"):
        reducer_of(method)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [*itertools.product(["uint8"], [-1, 256, 1.5, float("nan"), "x", 1j, [1, 2], object()])]
    + [("int64", 2**63), ("float32", 1e300), ("float32", 1j), ("float32", "a"), ("bool", 2), ("datetime64[s]", 1.5)],
)
def test_nodata_that_a_dtype_cannot_hold(dtype, nodata):
    with pytest.raises(PlanError, match="nodata"):
        REDUCERS["mean"].check(dtype, nodata)


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 255.0), ("float32", -3.4e38), ("float32", -9999.1), ("float32", np.inf), ("complex64", 0)]
    + [
        ("uint64", 2**64 - 1),
        ("datetime64[ns]", np.datetime64("NaT")),
        ("datetime64[ns]", -1),
        ("<U3", "abc"),
        ("bool", True),
    ],
)
def test_nodata_that_a_dtype_can_hold(dtype, nodata):
    REDUCERS["stride"].check(dtype, nodata)


@pytest.mark.parametrize("dtype", ["<U3", "S2", "V4", "O", [("a", "i4"), ("b", "f8")]])
def test_only_stride_takes_what_is_not_a_number(dtype):
    REDUCERS["stride"].check(dtype)
    block = np.zeros((3, 5), dtype)
    assert REDUCERS["stride"](block, (2, 2)).shape == (2, 3)
    for name in list(REDUCERS)[1:]:
        with pytest.raises(PlanError, match="can't take dtype"):
            REDUCERS[name].check(dtype)


def test_stride_gives_no_view():
    block = np.arange(16.0).reshape(4, 4)
    assert not np.shares_memory(REDUCERS["stride"](block, (1, 1)), block)


@pytest.mark.parametrize("factors", [(2,), (2, 0), (2, 2, 2), (-1, 2)])
def test_factors_that_do_not_fit(factors):
    with pytest.raises(PlanError, match="factors"):
        REDUCERS["mean"](np.zeros((4, 4)), factors)


def test_an_out_that_does_not_fit():
    with pytest.raises(PlanError, match="out: expected"):
        REDUCERS["mean"](np.zeros((4, 4)), (2, 2), out=np.zeros((2, 3)))
    with pytest.raises(PlanError, match="out: expected"):
        REDUCERS["mean"](np.zeros((4, 4)), (2, 2), out=np.zeros((2, 2), np.float32))


def test_the_figures_of_the_docs(demo_data):
    slc = zarr.open_array(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")[...]

    def amplitude(z):
        return np.sqrt((np.abs(z.astype(np.complex128)) ** 2).mean())

    mean = rms = slc
    for kept in (0.76, 0.38, 0.20):
        mean, rms = REDUCERS["mean"](mean, (2, 2, 1)), REDUCERS["rms"](rms, (2, 2, 1))
        assert amplitude(mean) / amplitude(slc) == pytest.approx(kept, abs=0.005)
        assert amplitude(rms) / amplitude(slc) == pytest.approx(1, abs=1e-6)


def test_python_of_the_docs_runs():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "methods.md", "exec"), names)
    block = np.arange(24, dtype="float32").reshape(4, 6)
    want = np.percentile(block.reshape(2, 2, 3, 2), 90, axis=(1, 3))
    np.testing.assert_allclose(names["p90"](block, (2, 2)), want, rtol=1e-6)
