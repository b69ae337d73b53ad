"""A reducer is what it computes, not what it is called: users give theirs the names of built-in ones."""

from functools import partial

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, open_pyramid
from lazypyr.reducers import REDUCERS, Reducer, reducer

A = np.random.default_rng(3).integers(0, 1000, (200, 136)).astype("f4")
CHUNKS = (16, 16)


def spread(boxes, axis):
    return boxes.max(axis=axis) - boxes.min(axis=axis)


def percentile(boxes, axis, q):
    return np.percentile(boxes, q, axis=axis).astype(boxes.dtype)


def renamed(name):
    def function(boxes, axis):
        return spread(boxes, axis)

    function.__name__ = name
    return function


class Callable:
    def __call__(self, boxes, axis):
        return spread(boxes, axis)


def of_name(name, form, **facts):
    """A user's reducer, or plain function, of a name."""
    if form == "function":
        return renamed(name)
    if form == "partial":
        return partial(renamed(name))
    if form == "decorated":
        return reducer(name=name, **facts)(spread)
    return Reducer(name, function=Callable(), **facts)


def same_levels(one, two):
    assert len(one.levels) == len(two.levels)
    for level in range(len(one.levels)):
        np.testing.assert_array_equal(one.read(level), two.read(level))


@pytest.mark.parametrize("form", ["function", "partial", "decorated", "object"])
@pytest.mark.parametrize("name", REDUCERS)
def test_a_users_reducer_of_a_built_in_name_is_the_users(name, form):
    mine = open_pyramid(A, method=of_name(name, form), chunks=CHUNKS)
    same_levels(mine, open_pyramid(A, method=spread, chunks=CHUNKS))
    np.testing.assert_array_equal(
        zarr.open(LazyPyramidStore(A, method=of_name(name, form), chunks=CHUNKS))["2"], mine.read(2)
    )
    assert mine.method == f"custom:{name}"
    with pytest.raises(PlanError, match="method must be given where it is opened"):
        open_pyramid(mine, method=name)
    assert open_pyramid(mine, method=mine.reducer) is mine
    attributes = zarr.open(LazyPyramidStore(mine)).attrs
    assert attributes["multiscales"]["resampling_method"] == f"custom:{name}"
    assert attributes["lazypyr"]["method"] == f"custom:{name}"


@pytest.mark.parametrize("name", REDUCERS)
def test_a_built_in_is_known_by_its_name(name):
    built_in = open_pyramid(A, method=name, chunks=CHUNKS)
    assert open_pyramid(built_in, method=name) is built_in
    assert built_in.method == name
    other = next(n for n in REDUCERS if n != name)
    with pytest.raises(PlanError, match="method must be given where it is opened"):
        open_pyramid(built_in, method=other)
    with pytest.raises(PlanError, match="method must be given where it is opened"):
        open_pyramid(built_in, method=renamed(name))


def test_names_that_gdal_has():
    names = {n: r.resampling_name for n, r in REDUCERS.items() if n != r.resampling_name}
    assert names == {"stride": "nearest", "mean": "average", "median": "med"}
    assert [n for n, r in REDUCERS.items() if r.samples_only] == ["stride"]


@pytest.mark.parametrize(
    ("method", "derived_from"),
    [
        ("mean", [None, "0", "1", "2"]),
        ("stride", [None, "0", "1", "2"]),
        ("median", [None, "0", "0", "0"]),
        ("mode", [None, "0", "0", "0"]),
        (spread, [None, "0", "1", "2"]),
        (reducer(spread, composable=False), [None, "0", "0", "0"]),
        (reducer(partial(percentile, q=90), composable=False, name="mean"), [None, "0", "0", "0"]),
        (reducer(spread, name="median"), [None, "0", "1", "2"]),
    ],
)
def test_levels_derive_from_those_they_are_made_of(method, derived_from):
    store = LazyPyramidStore(A, method=method, chunks=(32, 32))
    for pyramid in (store.pyramid, store.pyramid.map(lambda z: z[()] * 2, name="twice")):
        layout = zarr.open(LazyPyramidStore(pyramid)).attrs["multiscales"]["layout"]
        assert [entry.get("derived_from") for entry in layout] == derived_from


@pytest.mark.parametrize("composable", [True, False])
@pytest.mark.parametrize("name", ["mean", "stride", "p90"])
def test_written_levels_of_a_users_reducer_are_not_continued_by_a_built_in(name, composable):
    mine = reducer(partial(percentile, q=90), name=name, composable=composable)
    pyramid, written = open_pyramid(A, method=mine, chunks=CHUNKS), {}
    lazypyr.materialize(pyramid, written, levels=[0, 1], progress=False)

    again = open_pyramid(written, chunks=CHUNKS)
    assert len(again.levels) == 2, "the stored levels only: nobody knows the function"
    np.testing.assert_array_equal(again.read(1), pyramid.read(1))
    assert again.method == pyramid.method == f"custom:{name}"
    layout = zarr.open(LazyPyramidStore(again)).attrs["multiscales"]["layout"]
    assert layout == zarr.open(LazyPyramidStore(pyramid)).attrs["multiscales"]["layout"][:2]
    with pytest.raises(PlanError, match=f"user's reducer '{name}'.*method="):
        open_pyramid(written, chunks=CHUNKS, levels=3)

    if composable:
        same_levels(open_pyramid(written, chunks=CHUNKS, method=mine), pyramid)
    else:
        continued = open_pyramid(written, chunks=CHUNKS, method=mine)
        np.testing.assert_array_equal(continued.read(2), mine(pyramid.read(1), (2, 2)))


def test_written_levels_of_a_built_in_are_continued_by_it():
    pyramid, written = open_pyramid(A, method="max", chunks=CHUNKS), {}
    lazypyr.materialize(pyramid, written, levels=[0, 1], progress=False)
    same_levels(open_pyramid(written, chunks=CHUNKS), pyramid)


def test_points_are_aggregated_not_reduced():
    x, y = np.random.default_rng(0).random((2, 500)) * 50
    points = lazypyr.from_points(x, y, x.astype("f4"), resolution=1.0, method="mean", chunks=(16, 16))
    assert (points.method, points.downsampling.resampling_name) == ("mean", "average")
    with pytest.raises(PlanError, match="method must be given where it is opened"):
        open_pyramid(points, method=renamed("mean"))
    layout = zarr.open(LazyPyramidStore(points)).attrs["multiscales"]
    assert layout["resampling_method"] == "average"
