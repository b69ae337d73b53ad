"""Users' own reducing functions: what they are given, and what is refused of what they give back."""

from __future__ import annotations

import functools
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from lazypyr.errors import ComputeError, PlanError
from lazypyr.reducers import REDUCERS, Reducer, reducer, reducer_of

BLOCK = np.arange(35, dtype="float32").reshape(5, 7)


def spread(boxes, axis):
    """Largest less smallest."""
    return boxes.max(axis=axis) - boxes.min(axis=axis)


@given(data=st.data(), name=st.sampled_from(["min", "max"]))
def test_numpy_functions_give_the_same_as_the_table(data, name):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=9))
    factors = tuple(data.draw(st.integers(1, 4)) for _ in shape)
    block = data.draw(hnp.arrays("int16", shape))
    assert_array_equal(reducer_of(getattr(np, name))(block, factors), REDUCERS[name](block, factors))


def test_what_a_function_is_given():
    seen = []

    def look(boxes, axis):
        seen.append((boxes.shape, axis, boxes.flags.writeable, type(boxes)))
        return boxes.max(axis=axis)

    block = np.zeros((3, 5, 7), "uint8").view(np.ndarray)
    out = np.zeros((4, 3, 9), "uint8")[:, :, ::2][:3, :, :4]
    reducer_of(look)(block, (1, 2, 2), out=out)
    assert seen == [
        ((3, 2, 2, 3, 2), (2, 4), False, np.ndarray),
        ((3, 2, 2, 1, 1), (2, 4), False, np.ndarray),
        ((3, 1, 1, 3, 2), (2, 4), False, np.ndarray),
        ((3, 1, 1, 1, 1), (2, 4), False, np.ndarray),
    ]


def test_names_and_facts():
    assert reducer_of(spread) == Reducer("spread", function=spread)
    assert reducer_of(functools.partial(np.quantile, q=0.5)).name == "quantile"

    @reducer(name="range", composable=False, centred=False)
    def anything(boxes, axis):
        return spread(boxes, axis)

    assert (anything.name, anything.composable, anything.centred) == ("range", False, False)
    assert pickle.loads(pickle.dumps(reducer_of(spread)))(BLOCK, (2, 2)).shape == (3, 4)
    with pytest.raises(PlanError, match="callable"):
        reducer("spread")


def stop(boxes, axis):
    raise StopIteration


def leave(boxes, axis):
    raise SystemExit(3)


def fail(boxes, axis):
    raise ValueError("no such thing")


@pytest.mark.fault("U1")
@pytest.mark.parametrize(("function", "cause"), [(stop, StopIteration), (leave, SystemExit), (fail, ValueError)])
def test_whatever_is_raised_is_a_compute_error(function, cause):
    with pytest.raises(ComputeError, match=f"'{function.__name__}' raised {cause.__name__}") as caught:
        reducer_of(function)(BLOCK, (2, 2))
    assert caught.value.key == function.__name__
    assert type(caught.value.__cause__) is cause


@pytest.mark.fault("U1")
def test_an_interrupt_goes_through():
    def interrupt(boxes, axis):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reducer_of(interrupt)(BLOCK, (2, 2))


WRONG = {
    "scalar": (lambda b, axis: 1.0, "returned a builtins.float"),
    "None": (lambda b, axis: None, "returned a builtins.NoneType"),
    "list": (lambda b, axis: b.max(axis).tolist(), "returned a builtins.list"),
    "masked": (lambda b, axis: np.ma.masked_less(b.max(axis), 9), "returned a numpy.ma"),
    "unreduced": (lambda b, axis: b, "returned shape"),
    "over all": (lambda b, axis: b.max(), "returned shape"),
    "keepdims": (lambda b, axis: b.max(axis, keepdims=True), "keepdims"),
    "transposed": (lambda b, axis: b.max(axis).T, "returned shape"),
    "float64": (lambda b, axis: b.max(axis).astype("f8"), "returned dtype float64.*float32"),
    "complex": (lambda b, axis: b.max(axis).astype("c8"), "returned dtype complex64"),
    "object": (lambda b, axis: b.max(axis).astype(object), "returned dtype object"),
}


@pytest.mark.fault("U2")
@pytest.mark.parametrize("what", WRONG)
def test_wrong_results_say_what_was_expected(what):
    function, message = WRONG[what]
    with pytest.raises(ComputeError, match=message):
        reducer(function, name=what)(BLOCK, (2, 2))


@pytest.mark.fault("U2")
def test_a_dask_result_is_refused():
    import dask.array as dask

    with pytest.raises(ComputeError, match=r"returned a dask\.array"):
        reducer(lambda b, axis: dask.from_array(b.max(axis)), name="lazy")(BLOCK, (2, 2))


@pytest.mark.fault("U2")
def test_safe_casts_and_odd_strides_are_fine():
    got = reducer_of(lambda b, axis: b.max(axis).astype("i2"))(BLOCK, (2, 2))
    assert got.dtype == np.float32
    assert_array_equal(got, REDUCERS["max"](BLOCK, (2, 2)))
    flat = reducer_of(lambda b, axis: np.broadcast_to(np.float32(3), b.max(axis).shape))(BLOCK, (2, 2))
    flat[0, 0] = 1
    assert flat[0, 1] == 3
    assert flat.dtype == np.float32


@pytest.mark.fault("U3")
def test_input_is_read_only_and_views_of_it_are_copied():
    def scribble(boxes, axis):
        boxes[...] = 0
        return boxes.max(axis)

    kept = BLOCK.copy()
    with pytest.raises(ComputeError, match="read-only"):
        reducer_of(scribble)(BLOCK, (2, 2))
    corner = reducer_of(lambda boxes, axis: boxes[:, 0, :, 0])
    got = corner(BLOCK, (2, 2))
    assert not np.shares_memory(got, BLOCK)
    got[...] = -1
    assert_array_equal(BLOCK, kept)


@pytest.mark.fault("U5")
def test_serial_functions_take_turns():
    inside, most = [], []

    def fragile(boxes, axis):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.001)
        inside.pop()
        return boxes.max(axis)

    turns = reducer(fragile, serial=True)
    nested = reducer(lambda boxes, axis: turns(BLOCK[:4, :6], (2, 2)), name="nested", serial=True)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda r: r(BLOCK[:4, :6], (2, 2)), [turns, nested] * 8))
    assert max(most) == 1
    for one in got:
        assert_array_equal(one, REDUCERS["max"](BLOCK[:4, :6], (2, 2)))


def test_empty_blocks_call_nothing():
    assert reducer_of(fail)(np.zeros((0, 4)), (2, 2)).shape == (0, 2)
