"""Grids that the user fixes, against numpy: posts, neighbours, reruns, bounds that are half-open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazypyr
from lazypyr import PlanError, from_points, read_points


def counts(x, y, bounds, resolution):
    x0, y0, x1, y1 = bounds
    nx, ny = round((x1 - x0) / resolution), round((y1 - y0) / resolution)
    columns, rows = np.floor((x - x0) / resolution).astype(int), np.floor((y - y0) / resolution).astype(int)
    inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    grid = np.zeros((ny, nx), int)
    np.add.at(grid, (rows[inside], columns[inside]), 1)
    return grid


@pytest.mark.parametrize("dtype", ["f8", "f4", "i4", "u2"])
@pytest.mark.parametrize("max_memory_bytes", [2**20, 2**30])
def test_pixels_are_half_open_between_bounds(dtype, max_memory_bytes):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(0, 400, 50_000) / (4 if dtype[0] == "f" else 1) for _ in range(2))
    x, y = x.astype(dtype), y.astype(dtype)
    bounds, resolution = (10.0, 20.0, 70.0, 90.0), 2.5
    points = from_points(x, y, resolution=resolution, bounds=bounds, max_memory_bytes=max_memory_bytes)
    expected = counts(x.astype("f8"), y.astype("f8"), bounds, resolution)
    np.testing.assert_array_equal(points.read(0), expected)
    assert points.coords["x"].origin == 10.0 + 1.25
    assert points.coords["y"].origin == 20.0 + 1.25
    index = points.index.read(0)
    shown = index[index >= 0]
    np.testing.assert_array_equal((x[shown].astype("f8") - 10) // 2.5, np.nonzero(index >= 0)[1])
    inside = (x >= 10) & (x < 70) & (y >= 20) & (y < 90)
    np.testing.assert_array_equal(points.query((0, 0, 1000, 1000)), np.flatnonzero(inside))
    assert points.attrs["points"]["n_on_grid"] == inside.sum()


def test_posts_of_a_grid_keep_their_last_row_and_column():
    y, x = np.mgrid[0:10, 0:12] * 0.1
    values = np.arange(120.0).reshape(10, 12)
    for dtype in ("f8", "f4"):
        for options in ({"bounds": (-0.05, -0.05, 1.15, 0.95)}, {"bounds": (0, 0, 1.2, 1.0)}, {"origin": (0, 0)}):
            xs, ys = x.ravel().astype(dtype), y.ravel().astype(dtype)
            points = from_points(xs, ys, values.ravel(), resolution=0.1, **options)
            np.testing.assert_array_equal(points.read(0), values)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.1, 0.25, 0.3, 1.0, 7.0, 1 / 3]),
    st.integers(-50, 50),
    st.sampled_from([0.0, 4e6]),
)
def test_neighbouring_tiles_and_the_whole_coincide(seed, resolution, k, shift):
    rng = np.random.default_rng(seed)
    # posts on edges, and points anywhere
    x = shift + np.r_[rng.integers(-60, 120, 100) * resolution, rng.uniform(-60, 120, 100) * resolution]
    y = np.r_[rng.integers(0, 20, 100) * resolution, rng.uniform(0, 20, 100) * resolution]
    x0 = round(shift / resolution) * resolution
    edges = [x0 + (k + 16 * i) * resolution for i in range(4)]

    def grid(low, high):
        bounds = (low, 0.0, high, 16 * resolution)
        try:
            return from_points(x, y, resolution=resolution, bounds=bounds).read(0)
        except PlanError:
            return np.zeros((16, round((high - low) / resolution)), int)

    whole = grid(edges[0], edges[3])
    parts = [grid(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_array_equal(np.hstack(parts), whole)


def test_bounds_are_kept_by_recipes_materialized_clouds_and_stored_indexes(tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.random(500) * 100, rng.random(500) * 100
    path = tmp_path / "p.csv"
    np.savetxt(path, np.c_[x, y, x], header="x,y,v", comments="", delimiter=",", fmt="%.17g")
    options = {"resolution": 5.0, "bounds": (20, 30, 80, 90), "values": "v"}
    points = read_points(path, index_path=tmp_path / "index", **options)
    assert points.shape == (12, 12)
    for again in (
        lazypyr.open_pyramid(points.to_recipe()),
        read_points(path, index_path=tmp_path / "index", **options),
    ):
        np.testing.assert_array_equal(again.read(0), points.read(0))
    lazypyr.materialize(points, tmp_path / "out.zarr", progress=False)
    np.testing.assert_array_equal(read_points(tmp_path / "out.zarr").read(0), points.read(0))
    snapped = read_points(path, resolution=5.0, origin=(2, 2), bounds=(20, 30, 80, 90))
    assert (snapped.coords["x"].origin, snapped.shape) == (17 + 2.5, (13, 13))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bounds": (0, 0, 1)}, "bounds: expected"),
        ({"bounds": (5, 0, 1, 1)}, "low sides first"),
        ({"bounds": "abcd"}, "bounds: expected"),
        ({"bounds": (50, 50, 60, 60)}, "none of the 2 points lies within"),
        ({"bounds": (0, 0, 1e12, 1)}, "use a larger resolution"),
        ({"origin": (0,)}, "origin: expected"),
        ({"origin": (0, float("nan"))}, "origin: expected"),
    ],
)
def test_bounds_that_are_none(options, said):
    with pytest.raises(PlanError, match=said):
        from_points([0.0, 1.0], [0.0, 0.5], resolution=1.0, **options)
