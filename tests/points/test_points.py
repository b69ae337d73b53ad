"""Points on a grid: every level against twenty lines of numpy, against brute force, and through zarr."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazypyr
from lazypyr import PlanError, from_points
from lazypyr.points.index import build as index_of
from lazypyr.points.index import kernels
from lazypyr.points.index import rtree_kernels as search
from lazypyr.points.index.build import cells_of
from lazypyr.points.index.kernels import morton


def pixels_of(c, resolution):
    c = np.asarray(c)
    wide = c if c.dtype.kind == "f" else c.astype("f8")
    n = max(1, int(np.ceil(float((wide.max() - wide.min()) / wide.dtype.type(resolution)))))
    return np.clip(np.rint((wide - wide.min()) / wide.dtype.type(resolution)).astype(int), 0, n - 1), n


def reference(x, y, resolution, levels):
    """Index rasters: the last point wins its pixel, then the first occupied of each 2 x 2 box in row-major order."""
    (col, nx), (row, ny) = pixels_of(x, resolution), pixels_of(y, resolution)
    index = np.full((ny, nx), -1)
    for i in range(len(row)):
        index[row[i], col[i]] = i
    out = [index]
    for _ in range(levels - 1):
        ny, nx = index.shape
        padded = np.full((ny + ny % 2, nx + nx % 2), -1)
        padded[:ny, :nx] = index
        boxes = padded.reshape(padded.shape[0] // 2, 2, -1, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
        first = np.argmax(boxes >= 0, axis=1)
        index = boxes[np.arange(len(boxes)), first].reshape(padded.shape[0] // 2, -1)
        out.append(index)
    return out


def cloud(rng, n=500, side=40.0, dtype="f8", origin=(0.0, 0.0)):
    return (rng.random(n) * side + origin[0]).astype(dtype), (rng.random(n) * side * 0.7 + origin[1]).astype(dtype)


COORDINATES = st.one_of(
    hnp.arrays("f8", st.shared(st.integers(1, 60), key="n"), elements=st.floats(-1e6, 1e6, width=64)),
    hnp.arrays("f4", st.shared(st.integers(1, 60), key="n"), elements=st.floats(-1e3, 1e3, width=32)),
    # halves: ties between two pixels; few distinct values: many points in one pixel
    hnp.arrays("f8", st.shared(st.integers(1, 60), key="n"), elements=st.integers(-9, 9).map(lambda v: v / 2)),
    hnp.arrays("i4", st.shared(st.integers(1, 60), key="n"), elements=st.integers(-40, 40)),
)


@pytest.mark.slow
@settings(max_examples=150)
@given(x=COORDINATES, y=COORDINATES, divisions=st.integers(1, 45))
def test_every_level_is_the_reference(x, y, divisions):
    extent = max(float(np.ptp(x.astype("f8"))), float(np.ptp(y.astype("f8"))))
    resolution = extent / divisions if extent / divisions > 1e-300 else 1.0
    pyramid = from_points(x, y, np.arange(x.size), resolution=resolution, chunks=(4, 4))
    expected = reference(x, y, resolution, len(pyramid.levels))
    for level, index in enumerate(expected):
        np.testing.assert_array_equal(pyramid.index.read(level), index)
        shown = np.where(index >= 0, index, np.iinfo("i8").min)
        np.testing.assert_array_equal(pyramid.read(level), shown)


@settings(max_examples=100)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_any_window_is_cut_out_of_the_level(data, seed):
    rng = np.random.default_rng(seed)
    x, y = cloud(rng, n=int(rng.integers(1, 3000)), side=100.0)
    pyramid = from_points(x, y, resolution=1.0, chunks=(8, 8))
    index = pyramid.index
    level = data.draw(st.integers(0, len(pyramid.levels) - 1))
    ny, nx = pyramid.levels[level].shape
    r0, c0 = data.draw(st.integers(0, ny)), data.draw(st.integers(0, nx))
    r1, c1 = data.draw(st.integers(r0, ny)), data.draw(st.integers(c0, nx))
    window = ((r0, r1), (c0, c1))
    np.testing.assert_array_equal(index.read(level, window), index.read(level)[r0:r1, c0:c1])
    np.testing.assert_array_equal(pyramid.read(level, window), pyramid.read(level)[r0:r1, c0:c1])


@pytest.mark.parametrize("method", ["first_valid", "count", "mean", "max", "last"])
def test_tiles_of_256_are_cut_out_of_the_level(method):
    rng = np.random.default_rng(4)
    x, y = cloud(rng, n=1_200_000, side=1700.0)
    values = rng.random(x.size).astype("f4")
    pyramid = from_points(x, y, values, resolution=1.0, method=method)
    for level in range(len(pyramid.levels)):
        whole = pyramid.read(level)
        ny, nx = whole.shape
        for r in range(0, ny, 256):
            for c in range(0, nx, 256):
                window = ((r, min(r + 256, ny)), (c, min(c + 256, nx)))
                np.testing.assert_array_equal(pyramid.read(level, window), whole[r : r + 256, c : c + 256])


def test_ranges_of_cells_cover_a_window_and_little_else(rng_seed=3):
    rng = np.random.default_rng(rng_seed)
    x, y = cloud(rng, n=10, side=300.0)
    grid = from_points(x, y, resolution=1.0).cloud.grid
    for window in [((0, 1), (0, 1)), ((3, 200), (17, 18)), ((0, grid.ny), (0, grid.nx)), ((5, 5), (0, 9))]:
        lows, highs = cells_of(window, 0, grid).T
        cells = {c for a, b in zip(lows, highs, strict=True) for c in range(int(a), int(b))}
        wanted = {morton(r, c) for r in range(*window[0]) for c in range(*window[1])}
        assert wanted <= cells
        assert (np.diff(lows.astype("i8")) > 0).all()
    lows, highs = cells_of(((64, 128), (128, 192)), 0, grid).T
    assert (highs - lows).tolist() == [4096]


CASES = {
    "one point": ([3.5], [-2.0], 1.0),
    "two equal": ([1.0, 1.0], [2.0, 2.0], 0.5),
    "a row": (np.arange(50.0), np.full(50, 7.0), 1.0),
    "a column": (np.full(50, 7.0), np.arange(50.0), 0.3),
    "half-pixel ties": (np.arange(40) * 0.5, np.arange(40)[::-1] * 0.5, 1.0),
    "huge": (1e12 + np.arange(40) * 10.0, -1e12 + np.arange(40) ** 2 * 1.0, 7.0),
    "negative": (-np.arange(40.0), -(np.arange(40.0) ** 1.5), 3.0),
    "int32": (np.arange(40, dtype="i4") * 100 - 2000, np.arange(40, dtype="i4")[::-1], 7),
    "int32 whose extent exceeds int32": (np.array([-(2**31), 0, 2**31 - 1], "i4"), np.array([0, 1, 2], "i4"), 2.0**27),
    "uint8": (np.array([255, 0, 3], "u1"), np.array([0, 255, 9], "u1"), 10),
    "float16": (np.array([0.5, 1.5, 9.5], "f2"), np.array([0.5, 1.5, 3.5], "f2"), 1.0),
    "big-endian": (np.arange(40.0).astype(">f8"), np.arange(40.0).astype(">f4"), 3.0),
    "lists": ([1, 2, 3], [3, 2, 1], 1),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.fault("S10")
def test_odd_clouds(name):
    x, y, resolution = CASES[name]
    pyramid = from_points(x, y, np.arange(len(x)), resolution=resolution, chunks=(8, 8))
    x, y = (
        np.asarray(c).astype("f4" if np.asarray(c).dtype == "f2" else np.asarray(c).dtype.newbyteorder("="))
        for c in (x, y)
    )
    for level, index in enumerate(reference(x, y, resolution, len(pyramid.levels))):
        np.testing.assert_array_equal(pyramid.index.read(level), index)


@pytest.mark.fault("S10")
def test_a_grid_of_two_to_the_31_a_side_is_never_allocated():
    x, y = np.array([0.0, 2.0**31, 5.0, 2.0**31]), np.array([0.0, 2.0**31, 5.0, 0.0])
    pyramid = from_points(x, y, np.arange(4), resolution=1.0)
    assert pyramid.shape == (2**31, 2**31)
    assert len(pyramid.levels) == 24
    top = pyramid.index.read(-1)
    assert {int(i) for i in top[top >= 0]} == {0, 1, 3}
    assert pyramid.index.read(0, ((2**31 - 4, 2**31), (2**31 - 4, 2**31)))[-1, -1] == 1
    assert pyramid.index.read(0, ((0, 8), (0, 8)))[5, 5] == 2
    assert pyramid.query((0, 0, 6, 6)).tolist() == [0, 2]


@pytest.mark.slow
def test_float32_coordinates_are_placed_in_float32():
    # 0.1 has no float32: a grid that starts at a float64 minimum moves points across pixel edges
    rng = np.random.default_rng(0)
    x, y = cloud(rng, n=20000, side=5000.0, dtype="f4", origin=(5e5, 4e6))
    pyramid = from_points(x, y, resolution=0.7, chunks=(64, 64))
    np.testing.assert_array_equal(pyramid.index.read(0), reference(x, y, 0.7, 1)[0])


# Values and fill


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("i1", -128), ("i8", np.iinfo("i8").min), ("u1", 255), ("u4", 2**32 - 1), ("?", 255), ("f4", np.nan),
        ("c8", complex(np.nan, np.nan)), ("c16", complex(np.nan, np.nan)), ("M8[D]", np.datetime64("NaT")), (">f8", np.nan), ("f2", np.nan),
    ],
)  # fmt: skip
def test_values_of_any_dtype_and_what_stands_where_nothing_is(dtype, fill):
    values = np.array([1, 0, 1]).astype(dtype)
    pyramid = from_points([0.0, 4.0, 8.0], [0.0, 4.0, 8.0], values, resolution=1.0)
    raster = pyramid.read(0)
    assert raster.dtype == pyramid.dtype == (np.dtype("u1") if dtype == "?" else np.dtype(dtype).newbyteorder("<"))
    index = pyramid.index.read(0)
    np.testing.assert_array_equal(raster[index >= 0], values[index[index >= 0]].astype(pyramid.dtype))
    np.testing.assert_array_equal(raster[index < 0], np.full((index < 0).sum(), fill, pyramid.dtype))
    assert (pyramid.nodata is not None) == (pyramid.dtype.kind in "iu")


def test_a_nan_value_wins_its_pixel():
    pyramid = from_points([0.0, 0.0, 3.0], [0.0, 0.0, 3.0], [1.0, np.nan, 2.0], resolution=1.0)
    assert np.isnan(pyramid.read(0)[0, 0])
    assert pyramid.index.read(0)[0, 0] == 1


def test_fill_value_is_the_users():
    pyramid = from_points([0.0, 3.0], [0.0, 3.0], np.array([5, 6], "i2"), resolution=1.0, fill_value=-1)
    assert pyramid.read(0)[0, 1] == -1 == pyramid.fill_value == pyramid.nodata
    with pytest.raises(PlanError, match="fill_value: 300 is no uint8"):
        from_points([0.0], [0.0], np.array([5], "u1"), resolution=1.0, fill_value=300)


def test_channels_follow_y_and_x():
    rng = np.random.default_rng(1)
    x, y = cloud(rng)
    values = rng.random((500, 3, 2)).astype("c8") * 1j
    pyramid = from_points(x, y, values, resolution=1.0, chunks=(8, 8))
    assert pyramid.axes == ("y", "x", "i", "j")
    assert pyramid.chunks == (8, 8, 1, 1)
    index = pyramid.index.read(1)
    raster = pyramid.read(1)
    assert raster.shape == (*index.shape, 3, 2)
    np.testing.assert_array_equal(raster[index >= 0], values[index[index >= 0]])
    assert np.isnan(raster[index < 0]).all()
    np.testing.assert_array_equal(pyramid.read(1, ((0, 9), (2, 9), (2, 3), (0, 1))), raster[0:9, 2:9, 2:3, 0:1])


# Methods over all points of a cell


def brute(method, values, row, col, shape, level):
    out = {}
    for i, cell in enumerate(zip(row >> level, col >> level, strict=True)):
        out.setdefault(cell, []).append(i)
    raster = np.full(shape, np.nan if method not in ("count", "any") else 0.0)
    for cell, members in out.items():
        some = values[members]
        good = some[~np.isnan(some)]
        raster[cell] = {
            "count": lambda: len(members),
            "any": lambda: 1,
            "last": lambda: some[-1],
            "sum": lambda: good.sum() if good.size else np.nan,
            "mean": lambda: good.mean() if good.size else np.nan,
            "min": lambda: good.min() if good.size else np.nan,
            "max": lambda: good.max() if good.size else np.nan,
        }[method]()
    return raster


@pytest.mark.parametrize("with_nan", [False, True])
@pytest.mark.parametrize("method", ["count", "any", "last", "sum", "mean", "min", "max"])
@pytest.mark.parametrize("small", [False, True])
def test_methods_are_what_brute_force_says(method, with_nan, small):
    rng = np.random.default_rng(7)
    x, y = cloud(rng, n=4000, side=20.0)
    values = rng.normal(size=4000) * 1e3
    if with_nan:
        values[rng.random(4000) < 0.3] = np.nan
        values[: x.size // 8] = np.where(x[: x.size // 8] < 3, np.inf, values[: x.size // 8])
    pyramid = from_points(x, y, values, resolution=0.5, chunks=(8, 8), method=method)
    if small:
        # no room for a whole channel: values are gathered in pieces
        object.__setattr__(pyramid.cloud.chunk_cache, "max_bytes", 1000)
    (col, _), (row, _) = pixels_of(x, 0.5), pixels_of(y, 0.5)
    for level, shown in enumerate(pyramid.levels):
        expected = brute(method, values, row, col, shown.shape, level)
        np.testing.assert_allclose(pyramid.read(level), expected, rtol=1e-12, atol=1e-9)


def test_sums_of_huge_beside_tiny_values_stay_exact():
    n = 4096
    x, y = np.repeat(np.arange(64.0), 64), np.tile(np.arange(64.0), 64)
    values = np.where(np.arange(n) % 64 < 32, 1e25, 1e-3)
    pyramid = from_points(x, y, values, resolution=1.0, chunks=(8, 8), method="mean")
    np.testing.assert_allclose(pyramid.read(2)[8:], 1e-3, rtol=1e-12)


def test_half_precision_is_reduced_in_more():
    x, y = np.arange(8.0), np.zeros(8)
    values = np.array([1, np.nan, 3, 5, 7, 9, 11, 6e4], "f2")
    pyramid = from_points(x, y, values, resolution=2.0, chunks=(1, 1), method="mean")
    for method, top in (("mean", np.float16(np.nanmean(values.astype("f8")))), ("min", 1), ("max", np.float16(6e4))):
        shown = pyramid.with_values(values, method=method).read(-1)
        assert shown.dtype == np.float16
        assert shown.ravel()[0] == top


def test_masked_points_have_no_place():
    x = np.ma.array([0.0, 5.0, 9.0], mask=[False, True, False])
    with pytest.warns(UserWarning, match="1 of 3 points are left out: 1 with NaN"):
        pyramid = from_points(
            x, [0.0, 1.0, 2.0], np.ma.array([1.0, 2.0, 3.0], mask=[True, False, False]), resolution=1.0
        )
    assert pyramid.query((-1, -1, 10, 10)).tolist() == [0, 2]
    assert np.isnan(pyramid.read(0)[0, 0])


@pytest.mark.parametrize("dtype", ["i4", "u2", "?", "c8", "f4", "i8"])
def test_sum_and_mean_by_dtype(dtype):
    rng = np.random.default_rng(2)
    values = (rng.integers(0, 2 if dtype == "?" else 100, 600) * (1 + 1j if dtype == "c8" else 1)).astype(dtype)
    x, y = cloud(rng, n=600, side=4.0)
    total = from_points(x, y, values, resolution=1.0, chunks=(1, 1), method="sum")
    assert total.read(-1).ravel()[0] == values.sum(dtype=total.dtype)
    mean = from_points(x, y, values, resolution=1.0, chunks=(1, 1), method="mean")
    assert mean.dtype == (np.dtype(dtype) if dtype in ("c8", "f4") else np.dtype("f8"))
    np.testing.assert_allclose(
        mean.read(-1).ravel()[0], values.mean(dtype=total.dtype.char if dtype in ("c8", "f4") else "f8"), rtol=1e-6
    )


def test_dates_have_extremes_and_no_mean():
    days = np.array(["2020-01-02", "NaT", "2020-01-01"], "M8[D]")
    low = from_points([0.0, 0.1, 0.2], [0.0, 0.1, 0.2], days, resolution=5.0, method="min")
    assert low.read(0)[0, 0] == np.datetime64("2020-01-01")
    with pytest.raises(PlanError, match=r"'mean' doesn't work on values of dtype datetime64"):
        low.with_values(days, method="mean")


# Boxes and nearest points


@pytest.mark.slow
@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 2, 15, 16, 17, 300, 5000]),
    dtype=st.sampled_from(["f8", "f4", "i4"]),
    resolution=st.sampled_from([0.01, 1.0, 300.0]),
    closed=st.sampled_from(["left", "both"]),
)
def test_boxes_are_exact(seed, n, dtype, resolution, closed):
    rng = np.random.default_rng(seed)
    x, y = cloud(rng, n=n, side=100.0, dtype=dtype, origin=(5e4, -7e4))
    pyramid = from_points(x, y, resolution=resolution)
    for _ in range(5):
        # sides that lie on points are the hard ones
        xs = np.sort(rng.choice(x, 2)).astype("f8") + rng.choice([0.0, 0.0, 1e-9, -3.3, 1e4], 2)
        ys = np.sort(rng.choice(y, 2)).astype("f8") + rng.choice([0.0, 0.0, 1e-9, -3.3, 1e4], 2)
        (xa, xb), (ya, yb) = np.sort(xs), np.sort(ys)
        inside = (x >= xa) & (y >= ya) & ((x <= xb) & (y <= yb) if closed == "both" else (x < xb) & (y < yb))
        found = pyramid.query((xa, ya, xb, yb), closed=closed)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.flatnonzero(inside))


@pytest.mark.parametrize("dtype", ["u4", "i8"])
@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 2047, 2048, 30_000])
def test_numbers_are_put_in_order_digit_by_digit(dtype, size):
    rng = np.random.default_rng(size)
    for limit in (max(size, 1), 70_000, 2**24, 2**32 if dtype == "i8" else 2**31):
        for first in (0, limit - limit // 100 - 1):  # all over the place, and close together
            numbers = rng.integers(first, limit, size).astype(dtype)
            ascending = search._ascending(numbers.copy(), limit)
            assert ascending.dtype == np.int64
            np.testing.assert_array_equal(ascending, np.sort(numbers))


@settings(max_examples=50)
@given(keys=hnp.arrays("u8", st.integers(1, 200), elements=st.integers(0, 2**64 - 1)), bits=st.integers(0, 63))
def test_keys_are_sorted_by_their_high_bits_and_stay_in_order_else(keys, bits):
    number = np.arange(keys.size, dtype="u4")
    order = np.argsort(keys >> np.uint64(bits), kind="stable")
    key, point = index_of.sort(keys.copy(), number.copy(), bits)
    np.testing.assert_array_equal(key, keys[order])
    np.testing.assert_array_equal(point, number[order])


def test_boxes_side_by_side_share_no_point():
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 30, 2000).astype("f8"), rng.integers(0, 30, 2000).astype("f8")
    pyramid = from_points(x, y, resolution=4.0)
    parts = [pyramid.query((a, b, a + 10, b + 10)) for a in (0, 10, 20) for b in (0, 10, 20)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(2000))
    np.testing.assert_array_equal(pyramid.query((0, 0, 29, 29), closed="both"), np.arange(2000))


def test_boxes_with_heights():
    rng = np.random.default_rng(6)
    x, y = cloud(rng, n=3000)
    z = rng.random(3000) * 9
    pyramid = from_points(x, y, resolution=1.0, z=z)
    inside = (x >= 3) & (x < 30) & (y >= 4) & (y < 20) & (z >= 2) & (z < 5)
    np.testing.assert_array_equal(pyramid.query((3, 4, 2, 30, 20, 5)), np.flatnonzero(inside))


@pytest.mark.parametrize("resolution", [0.05, 1.0, 50.0])
@pytest.mark.parametrize("kind", ["even", "clustered", "integers", "far off"])
def test_nearest_is_scipys(kind, resolution):
    from scipy.spatial import KDTree

    rng = np.random.default_rng(8)
    x, y = cloud(rng, n=20000, side=50.0)
    if kind == "clustered":
        x, y = 25 + (x - 25) ** 3 / 1e3, 15 + (y - 15) ** 3 / 1e3
    elif kind == "integers":
        x, y = np.rint(x), np.rint(y)
    px, py = rng.random(500) * 80 - 15, rng.random(500) * 60 - 15
    if kind == "far off":
        px, py = px * 1e9, py * 1e9
    pyramid = from_points(x, y, resolution=resolution)
    index, distance = pyramid.nearest(px, py)
    expected, _ = KDTree(np.c_[x, y]).query(np.c_[px, py])
    np.testing.assert_allclose(distance, expected, rtol=1e-15)
    np.testing.assert_array_equal(distance, np.sqrt((x[index] - px) ** 2 + (y[index] - py) ** 2))
    lowest = [
        np.flatnonzero(np.sqrt((x - a) ** 2 + (y - b) ** 2) == d)[0] for a, b, d in zip(px, py, distance, strict=True)
    ]
    np.testing.assert_array_equal(index, lowest)


def test_nearest_within_a_reach_and_of_no_place():
    pyramid = from_points([0.0, 10.0], [0.0, 0.0], resolution=1.0)
    index, distance = pyramid.nearest([[1.0, 3.0], [np.nan, 10.0]], [[0.0], [0.0]], max_distance=1.0)
    assert index.tolist() == [[0, -1], [-1, 1]]
    assert distance.tolist() == [[1.0, np.inf], [np.inf, 0.0]]
    assert pyramid.nearest(4.0, 0.0)[0] == 0
    with pytest.raises(PlanError, match="max_distance"):
        pyramid.nearest(0, 0, max_distance=-1)
    with pytest.raises(PlanError, match="expected numbers"):
        pyramid.nearest("here", 0)


@pytest.mark.parametrize(
    "bbox", [(0, 0, -1, 1), (0, 0, np.nan, 1), (1, 2, 3), (0, 0, 0, 1, 1, 1), 5, None, "abcd", (None, 0, 1, 1)]
)
def test_boxes_that_are_none(bbox):
    pyramid = from_points([0.0], [0.0], resolution=1.0)
    with pytest.raises(PlanError, match="bbox"):
        pyramid.query(bbox)
    with pytest.raises(PlanError, match="closed"):
        pyramid.query((0, 0, 1, 1), closed="right")


# Bad input


@pytest.mark.fault("S10")
@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (([1.0, 2.0], [1.0]), {}, "x has 2 points, y has 1"),
        (([], []), {}, "the cloud is empty"),
        (([np.nan, np.inf], [1.0, 1.0]), {}, "none of the 2 points has finite coordinates"),
        (([1.0], [1.0]), {"resolution": 0}, "resolution: expected a positive"),
        (([1.0], [1.0]), {"resolution": -1.0}, "resolution: expected a positive"),
        (([1.0], [1.0]), {"resolution": np.nan}, "resolution: expected a positive"),
        (([1.0], [1.0]), {"resolution": "1 m"}, "resolution: expected a positive pixel size"),
        (([0.0, 1e12], [0.0, 1.0]), {"resolution": 1e-3}, r"more than 2\*\*31"),
        (([-1.7e308, 1.7e308], [0.0, 1.0]), {}, r"more than 2\*\*31"),
        ((np.array([0, 2**60]), np.array([0, 1])), {"resolution": 1e12}, r"beyond 2\*\*53"),
        (([1.0], [1.0], [1.0, 2.0]), {}, "values: 2 entries for 1 points"),
        (([1.0], [1.0], ["a"]), {}, "values: expected numbers"),
        (([1j], [1.0]), {}, "x: expected real numbers"),
        ((np.array([1.0], "longdouble"), [1.0]), {}, "x: float128 is no dtype of zarr arrays; convert it to float64"),
        (([1.0], [1.0], np.ones(1, "clongdouble")), {}, "values: complex256 .* convert it to complex128"),
        (([1.0], [1.0], np.ma.array([1], mask=[True])), {}, "values: masked entries of int64"),
        (([[1.0]], [[1.0]]), {}, "expected one number a point"),
        ((1.0, 1.0), {}, "expected one entry a point"),
        (([1.0], [1.0]), {"method": "median"}, "method: expected one of first_valid, last"),
        (([1.0], [1.0]), {"method": "mean"}, "needs values"),
        (([1.0], [1.0], [1j]), {"method": "min"}, "'min' doesn't work on values of dtype complex128"),
        (([1.0], [1.0]), {"chunks": 256.5}, "chunks: expected two sizes"),
        (([1.0], [1.0]), {"chunks": (0, 256)}, "chunks: expected two sizes"),
        (([1.0], [1.0]), {"levels": 0}, "levels: expected"),
        (([1.0], [1.0]), {"z": [1.0, 2.0]}, "z: 2 entries for 1 points"),
        (([1.0], [1.0]), {"attributes": {"x": [1.0]}}, "attributes: x have arguments"),
        (([1.0], [1.0]), {"index_path": "s3://bucket/index"}, "index_path: expected a local folder"),
        (([1.0], [1.0]), {"max_memory_bytes": 3}, "max_memory_bytes"),
        (("/nowhere/x.zarr", [1.0]), {}, "no zarr array can be opened there"),
    ],
)  # fmt: skip
def test_bad_input_is_named(arguments, options, said):
    with pytest.raises(PlanError, match=said):
        from_points(*arguments, **{"resolution": 1.0, **options})


def test_points_without_a_place_are_counted():
    x = np.array([0.0, np.nan, 2.0, np.inf, 4.0])
    with pytest.warns(UserWarning, match="2 of 5 points are left out: 1 with NaN, 1 with infinite"):
        pyramid = from_points(x, np.arange(5.0), np.arange(5), resolution=1.0)
    assert pyramid.attrs["points"] == {
        "n_points": 5, "n_on_grid": 3, "resolution": 1.0, "chunks": [256, 256], "levels": 1,
    }  # fmt: skip
    index = pyramid.index.read(0)
    assert sorted(index[index >= 0].tolist()) == [0, 2, 4]
    assert pyramid.query((-9, -9, 9, 9)).tolist() == [0, 2, 4]
    assert pyramid.nearest(1.0, 1.0)[0] in (0, 2)


# Recipes


@pytest.mark.fault("P2")
def test_pickled_recipes_are_equal_and_carry_no_index():
    rng = np.random.default_rng(9)
    x, y = cloud(rng, n=5000)
    pyramid = from_points(x, y, x.astype("f4"), resolution=1.0)
    before = len(pickle.dumps(pyramid))
    pyramid.read(-1), pyramid.query((0, 0, 9, 9))
    data = pickle.dumps(pyramid)
    assert len(data) < before + 500
    again = pickle.loads(data)
    assert again == pyramid
    assert again.fingerprint == pyramid.fingerprint
    np.testing.assert_array_equal(again.read(-1), pyramid.read(-1))


def test_levels_where_they_sit_and_what_is_said():
    pyramid = from_points(
        [100.0, 1100.0], [50.0, 650.0], [1.0, 2.0], resolution=1.0, chunks=(256, 256), crs="EPSG:32633", units="meter"
    )
    assert [level.shape for level in pyramid.levels] == [(600, 1000), (300, 500), (150, 250)]
    assert [level.translation for level in pyramid.levels] == [(0, 0), (0.5, 0.5), (1.5, 1.5)]
    assert pyramid.grid.x0 == 100.0
    assert pyramid.grid.centred
    assert pyramid.coords["y"].unit == "meter"
    assert pyramid.crs == "EPSG:32633"
    assert "600" in repr(pyramid)
    assert "first_valid" in pyramid.description


def test_with_values_shares_the_index():
    rng = np.random.default_rng(10)
    x, y = cloud(rng)
    pyramid = from_points(x, y, resolution=1.0, attributes={"height": x * 2})
    assert pyramid.method == "count"
    assert set(pyramid.raw) == {"x", "y", "height"}
    high = pyramid.with_values("height")
    assert high.cloud is pyramid.cloud
    assert high.method == "first_valid"
    index = high.index.read(0)
    np.testing.assert_array_equal(high.read(0)[index >= 0], x[index[index >= 0]] * 2)
    with pytest.raises(PlanError, match="no attribute 'depth'; there are x, y, height"):
        pyramid.with_values("depth")


@pytest.mark.fault("S7")
def test_refreshed_follows_the_coordinates():
    x, y = np.array([0.0, 5.0]), np.array([0.0, 5.0])
    pyramid = from_points(x, y, [1.0, 2.0], resolution=1.0)
    before = pyramid.fingerprint
    assert pyramid.refreshed() == pyramid
    x[1] = 9.0
    assert pyramid.shape == (5, 5)
    again = pyramid.refreshed()
    assert again != pyramid
    assert again.fingerprint != before
    assert again.shape == (5, 9)
    assert again.index.read(0)[4, 8] == 1


@pytest.mark.fault("P5")
def test_kernels_run_as_plain_python():
    keys = np.array([morton(1, 0), morton(1, 0), morton(1, 1), morton(3, 3)], np.uint64)
    counts = np.zeros(kernels.N_BUCKETS, np.int64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        kernels.count_buckets(keys, 0, np.uint64(0), False, counts)
    assert counts[0] == 1
    assert counts[31] == 1
    assert counts[30] == 1
    assert counts[32] == 1


def test_nothing_of_numba_is_imported_with_the_package():
    import subprocess
    import sys

    code = "import sys, lazypyr.points; print(sorted({'numba', 'laspy', 'pandas', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# Through zarr


def test_one_store_holds_levels_numbers_and_points():
    rng = np.random.default_rng(11)
    x, y = cloud(rng, n=3000, side=500.0)
    values = rng.random((3000, 2)).astype("c8")
    pyramid = from_points(x, y, values, resolution=1.0, chunks=(64, 64))
    root = zarr.open(lazypyr.LazyPyramidStore(pyramid), mode="r")
    for level in range(len(pyramid.levels)):
        np.testing.assert_array_equal(root[str(level)][:], pyramid.read(level))
        np.testing.assert_array_equal(root[f"index/{level}"][:], pyramid.index.read(level))
    np.testing.assert_array_equal(root["points/x"][:], x)
    np.testing.assert_array_equal(root["points/y"][5:10], y[5:10])
    np.testing.assert_array_equal(root["points/values"][:], values)
    turned = zarr.open(lazypyr.LazyPyramidStore(pyramid, order="iyx"), mode="r")
    np.testing.assert_array_equal(turned["1"][:], np.moveaxis(root["1"][:], -1, 0))
    np.testing.assert_array_equal(turned["index/1"][:], root["index/1"][:])
    np.testing.assert_array_equal(turned["points/values"][:], values)
    assert root["index/0"].fill_value == -1
    assert root["index/0"].dtype == np.int64


def test_columns_that_a_store_can_not_name_are_there_all_the_same():
    x = np.arange(9.0)
    odd = {"v [m/yr]": x, "..": x, "": x, "zarr.json": x, "{level}": x, "__x": x, "höhe": x, "a\\b": x}
    pyramid = from_points(x, x, x, resolution=1.0, attributes=odd)
    assert set(odd) < set(pyramid.raw)
    points = zarr.open(lazypyr.LazyPyramidStore(pyramid), mode="r")["points"]
    assert set(points.keys()) == {"x", "y", "values", "v [m_yr]", "_level_", "höhe", "a_b"}
    np.testing.assert_array_equal(points["v [m_yr]"][2:4], x[2:4])


def test_products_are_those_of_rasters():
    rng = np.random.default_rng(12)
    x, y = cloud(rng, n=3000)
    values = np.exp(1j * rng.random((3000, 3)) * 6).astype("c8")
    pyramid = from_points(x, y, values, resolution=1.0, chunks=(16, 16))
    index = pyramid.index.read(1)
    raster = pyramid.map("intf_0").read(1)
    expected = np.angle(values[:, :1] * values.conj())
    np.testing.assert_allclose(raster[index >= 0], expected[index[index >= 0]], atol=1e-6)
    assert np.isnan(raster[index < 0]).all()
