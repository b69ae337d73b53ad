"""A level indexed as numpy indexes arrays: the same pixels, and no more reads than they need."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from lazypyr import PlanError, from_function, from_points, open_pyramid
from support.faultstore import FaultStore
from support.sources import random_array, zarr_array

STACK = random_array(5, (37, 23, 4), "<i4")
STACK_PYRAMID = open_pyramid(STACK, axes="yxi", chunks=(8, 8), method="mean", levels=3)
LEVELS = [STACK_PYRAMID.read(k) for k in range(3)]


def index_of(n):
    steps = st.integers(-n - 9, n + 9).filter(bool)
    ends = st.none() | st.integers(-n - 3, n + 3)
    return (
        st.builds(slice, ends, ends, st.none() | steps) | st.integers(-n, n - 1) | st.integers(0, n - 1).map(np.int16)
    )


@st.composite
def selections(draw):
    level = draw(st.integers(-3, 2))
    parts = [draw(index_of(n)) for n in LEVELS[level].shape[: draw(st.integers(0, 3))]]
    if draw(st.booleans()):
        low, high = sorted(draw(st.tuples(*[st.integers(0, len(parts))] * 2)))
        tail = [draw(index_of(n)) for n in LEVELS[level].shape[len(LEVELS[level].shape) - (len(parts) - high) :]]
        parts = [*parts[:low], Ellipsis, *(tail if len(parts) > high else [])]
    return level, tuple(parts) if len(parts) != 1 or draw(st.booleans()) else parts[0]


@given(selections())
def test_a_selection_is_what_numpy_selects(selection):
    level, index = selection
    expected, got = LEVELS[level][index], STACK_PYRAMID[level][index]
    assert type(got) is type(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_levels_are_arrays_in_a_sequence():
    assert len(STACK_PYRAMID) == 3
    assert [np.asarray(level).tolist() for level in STACK_PYRAMID] == [level.tolist() for level in LEVELS]
    view = STACK_PYRAMID[-1]
    assert (view.shape, view.ndim, view.size, len(view)) == ((10, 6, 4), 3, 240, 10)
    assert (view.dtype, view.axes, view.chunks) == (np.dtype("<i4"), ("y", "x", "i"), (8, 8, 1))
    assert repr(view) == "<level 2 of 'numpy array': yxi 10 x 6 x 4 int32>"
    np.testing.assert_array_equal(np.asarray(view, "f8"), LEVELS[2].astype("f8"))
    np.testing.assert_array_equal(np.mean(view, axis=0), LEVELS[2].mean(axis=0))
    for twin in (copy.copy(view), pickle.loads(pickle.dumps(view))):
        np.testing.assert_array_equal(twin[1], LEVELS[2][1])
    with pytest.raises(ValueError, match="copy"):
        np.array(view, copy=False)


@pytest.mark.parametrize(
    ("index", "n_chunks"),
    [
        (np.s_[3, 5], 1),
        (np.s_[-1], 4),
        (np.s_[:16, 16:48], 2),
        (np.s_[::40, 0], 2),
        (np.s_[::-32, ::32], 4),
        (np.s_[5:5], 0),
    ],
)
def test_a_selection_reads_only_the_chunks_that_it_needs(index, n_chunks):
    memory, pixels = MemoryStore(), random_array(3, (64, 64), "<f4")
    zarr_array(pixels, store=memory, chunks=(16, 16))
    source = FaultStore(memory)
    pyramid = open_pyramid(source, chunks=16)
    np.testing.assert_array_equal(pyramid[0][index], pixels[index])
    assert sum(source.chunk_reads().values()) == n_chunks


@pytest.mark.parametrize(
    "index",
    [None, np.s_[0, None], np.s_[0, 0, 0, 0], np.s_[..., ...], np.s_[37], np.s_[0, -24], [0, 1], np.True_, 1.0, "y"],
)
def test_what_no_array_takes_is_refused_by_name(index):
    with pytest.raises(IndexError, match="level 0 of 'numpy array'"):
        STACK_PYRAMID[0][index]


@pytest.mark.parametrize(("level", "error"), [(3, IndexError), (-4, IndexError), ((0, 1), TypeError), ("0", TypeError)])
def test_levels_that_are_none(level, error):
    with pytest.raises(error, match="numpy array"):
        STACK_PYRAMID[level]


def test_a_window_for_read_is_of_slices_and_the_message_shows_the_index():
    np.testing.assert_array_equal(STACK_PYRAMID.read(2, np.s_[:5, 1:4]), LEVELS[2][:5, 1:4])
    np.testing.assert_array_equal(STACK_PYRAMID.read(2, np.s_[:5]), LEVELS[2][:5])
    with pytest.raises(PlanError, match=r"pyramid\[2\]\[:5, 1:4, 3\]"):
        STACK_PYRAMID.read(2, np.s_[:5, 1:4, 3])
    with pytest.raises(PlanError, match=r"pyramid\[2\]\[..., 0\]"):
        STACK_PYRAMID.read(2, np.s_[..., 0])


def test_one_number_is_a_shape_along_y_and_x():
    def zeros(level, window):
        return np.zeros([b - a for a, b in window], "u1")

    assert open_pyramid(np.zeros((300, 300), "f4"), chunks=100).chunks == (100, 100)
    assert open_pyramid(STACK, axes="yxi", chunks=np.int64(9)).chunks == (9, 9, 1)
    assert from_function(zeros, shape=(300, 300), dtype="u1", chunks=64).chunks == (64, 64)
    assert from_points([0.0, 9.0], [0.0, 9.0], [1.0, 2.0], resolution=1.0, chunks=8).chunks == (8, 8)
    for chunks in (0, 100.5, True, "", (1, 2, 3)):
        with pytest.raises(PlanError, match="chunks: expected 2 sizes"):
            open_pyramid(np.zeros((300, 300), "f4"), chunks=chunks)
