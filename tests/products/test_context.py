"""Products that know where they are: pixel size, coordinates, level, nodata; slope, aspect, hillshade by loops."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import lazypyr

PLANE = (np.mgrid[:512, :512][1] * 1.0).astype("f4")  # rises by 1 a column
BOUNDS = (-5, 5115, 5115, -5)  # pixels of 10 m


def horn(z, dy, dx):
    """Gradients towards east and south by loops: Horn 1981; beyond an edge straight on, holes as high as the pixel."""
    ny, nx = z.shape

    def height(r, c):
        if r < 0:
            return 2 * height(0, c) - height(1, c) if ny > 1 else height(0, c)
        if r >= ny:
            return 2 * height(ny - 1, c) - height(ny - 2, c) if ny > 1 else height(ny - 1, c)
        if c < 0:
            return 2 * z[r, 0] - z[r, 1] if nx > 1 else z[r, 0]
        if c >= nx:
            return 2 * z[r, nx - 1] - z[r, nx - 2] if nx > 1 else z[r, nx - 1]
        return z[r, c]

    east, south = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
    for r in range(ny):
        for c in range(nx):
            w = [[height(r + i, c + j) for j in (-1, 0, 1)] for i in (-1, 0, 1)]
            if math.isnan(z[r, c]):
                continue
            w = [[z[r, c] if math.isnan(v) else v for v in row] for row in w]
            east[r, c] = ((w[0][2] + 2 * w[1][2] + w[2][2]) - (w[0][0] + 2 * w[1][0] + w[2][0])) / (8 * dx)
            south[r, c] = ((w[2][0] + 2 * w[2][1] + w[2][2]) - (w[0][0] + 2 * w[0][1] + w[0][2])) / (8 * dy)
    return east, south


def hills(shape, seed=0, holes=0.0):
    rng = np.random.default_rng(seed)
    z = np.cumsum(np.cumsum(rng.normal(size=shape), 0), 1)
    z[rng.random(shape) < holes] = np.nan
    return z


def test_a_function_that_asks_for_the_spacing_is_the_same_at_every_level():
    dem = lazypyr.open_pyramid(PLANE, axes="yx", method="mean", bounds=BOUNDS)
    slope = dem.map(lambda z, *, spacing: np.hypot(*np.gradient(z, *spacing)).astype("f4"), depth=1)
    assert len(slope.levels) > 1
    for level in range(len(slope.levels)):
        assert slope.read(level, [slice(10, 11), slice(10, 11)])[0, 0] == pytest.approx(0.1)


def test_facts_of_the_level():
    seen = []

    def look(z, *, spacing, coords, level, nodata, other=5):
        seen.append((spacing, coords, level, nodata, other))
        return z[()]

    dem = lazypyr.open_pyramid(
        np.ones((8, 12), "i2"), axes="yx", method="mean", bounds=(-5, -5, 115, 75), nodata=-1, levels=3
    )
    product = dem.map(look, dtype="i2", version="1")
    product.read(2, ((1, 2), (0, 3)))
    (spacing, coords, level, nodata, other) = seen.pop()
    step = {axis: dem.coords[axis].step * dem.levels[2].scale[n] for n, axis in enumerate("yx")}
    assert (spacing, level, nodata, other) == ((abs(step["y"]), abs(step["x"])), 2, -1, 5)
    for n, (axis, pixels) in enumerate((("y", [1]), ("x", [0, 1, 2]))):
        scale, shift = dem.levels[2].scale[n], dem.levels[2].translation[n]
        np.testing.assert_allclose(coords[axis], [dem.coords[axis].at(p * scale + shift) for p in pixels])
    assert product.read(0).dtype == "i2"
    plain = lazypyr.open_pyramid(np.ones((8, 12), "i2"), axes="yx", method="mean", levels=3).map(look, dtype="i2")
    plain.read(1)
    assert seen[-1][0] == (2.0, 2.0)
    source = lazypyr.product.apply_to_source(dem, look, dtype="i2", version="1")
    source.read(((0, 8), (0, 12)), (4, 4))
    np.testing.assert_allclose(
        seen[-1][1]["x"], [dem.coords["x"].at(n) for n in range(12)]
    )  # not strided: it depends on place


def test_a_function_with_other_required_keywords_is_refused():
    with pytest.raises(lazypyr.PlanError, match="spacings"):
        lazypyr.product(lambda z, *, spacings: z)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: z, lambda z: z * 2, lambda z: 3 - z, lambda z: np.sqrt(z), lambda z: np.where(z > 3, z, 0), lambda z: z.astype("f8"),
        lambda z: np.round(z, 1), lambda z: z[()] + z, lambda z: np.asarray(z), lambda z: np.maximum(z, z.mean()), lambda z: z.T.T,
    ],
    ids=map(str, range(11)),
)  # fmt: skip
def test_a_plain_raster_is_the_block_itself(function):
    data = np.arange(12.0).reshape(3, 4)
    for serial in (False, True):
        product = lazypyr.open_pyramid(data, axes="yx").map(function, serial=serial)
        np.testing.assert_array_equal(product.read(0), function(data))
        turned = lazypyr.open_pyramid(np.ascontiguousarray(data.T), axes="xy").map(function, serial=serial)
        np.testing.assert_array_equal(turned.read(0), function(data))


def test_a_plain_raster_has_no_channels():
    plain = lazypyr.open_pyramid(np.ones((3, 4)), axes="yx")
    with pytest.raises(lazypyr.PlanError, match=r"its block is z itself, or z\[\(\)\]"):
        plain.map(lambda z: z[0])
    with pytest.raises(lazypyr.PlanError, match=r"channels have no attribute 'astype'; take one of them, z\[i\]"):
        lazypyr.open_pyramid(np.ones((3, 4, 2)), axes="yxi").map(lambda z: z.astype("f4"))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_nodata_reaches_a_function_as_declared(dtype):
    data = np.array([[1, 9], [3, 4]], dtype)
    missing = data == 9
    pyramid = lazypyr.open_pyramid(data, axes="yx", nodata=9)
    np.testing.assert_array_equal(pyramid.map(lambda z: z + 1).read(0), data + 1)  # raw, as ever
    as_nan = pyramid.map(lambda z: z + 1, nodata="nan").read(0)
    assert as_nan.dtype == {"u1": "f4", "i2": "f4", "i4": "f8", "f4": "f4", "f8": "f8"}[dtype]
    np.testing.assert_array_equal(as_nan, np.where(missing, np.nan, data + 1.0))
    masked = pyramid.map(lambda z: z[()] + 1, nodata="masked", fill_value=0).read(0)
    np.testing.assert_array_equal(masked, np.where(missing, 0, data + 1))
    mean = pyramid.map(lambda z: np.full(z[()].shape, z[()].mean()), nodata="masked", dtype="f8").read(0)
    assert mean[0, 0] == pytest.approx(data[~missing].mean())


def test_nodata_is_one_of_three_and_counts_in_fingerprints():
    with pytest.raises(lazypyr.PlanError, match="expected nodata 'raw', 'nan', 'masked', got 'none'"):
        lazypyr.product(np.sqrt, kdims=0, nodata="none")
    pyramid = lazypyr.open_pyramid(np.ones((2, 2)), axes="yx", nodata=9)
    made = {
        pyramid.map(np.sqrt, kdims=0, version="1", nodata=nodata).fingerprint for nodata in ("raw", "nan", "masked")
    }
    assert len(made) == 3
    assert pickle.loads(pickle.dumps(lazypyr.product(horn, kdims=2, nodata="nan"))).nodata == "nan"


@pytest.mark.parametrize("shape", [(12, 17), (1, 9), (9, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("holes", [0.0, 0.15])
@pytest.mark.parametrize("up", [-1, 1])
def test_terrain_by_loops(shape, holes, up):
    z = hills(shape, holes=holes)
    dem = lazypyr.open_pyramid(np.where(np.isnan(z), -99.0, z), axes="yx", nodata=-99)
    north = np.sign(dem.coords["y"].step) if "y" in dem.coords else -1
    east, south = horn(z, 3.0, 2.0)
    gx, gy = 2 * east, 2 * south * north

    def read(name, **options):
        return dem.map(name, spacing=(3, 2), **options).read(0)

    np.testing.assert_allclose(read("slope", z_factor=2), np.degrees(np.arctan(np.hypot(gx, gy))), atol=1e-4)
    np.testing.assert_allclose(read("slope", z_factor=2, unit="percent"), 100 * np.hypot(gx, gy), rtol=1e-5, atol=1e-4)
    azimuth = np.degrees(np.arctan2(-gx, -gy)) % 360
    azimuth[(gx == 0) & (gy == 0)] = np.nan
    got = read("aspect")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(azimuth))
    np.testing.assert_allclose(np.exp(1j * np.radians(got)), np.exp(1j * np.radians(azimuth)), atol=1e-5)
    assert np.nanmax(got, initial=0) < 360
    light = np.array(
        [
            math.sin(math.radians(315)) * math.cos(math.pi / 4),
            math.cos(math.radians(315)) * math.cos(math.pi / 4),
            math.sin(math.pi / 4),
        ]
    )
    cosine = (-gx * light[0] - gy * light[1] + light[2]) / np.sqrt(1 + gx**2 + gy**2)
    expected = np.where(np.isnan(z), 0, np.floor(1.5 + 254 * np.clip(cosine, 0, 1)))
    assert np.abs(read("hillshade", z_factor=2).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("window", [((0, 7), (0, 5)), ((5, 20), (3, 30)), ((29, 30), (39, 40))])
def test_a_window_is_a_part_of_the_whole(window):
    dem = lazypyr.open_pyramid(hills((30, 40)), axes="yx", method="mean", levels=2)
    for name in ("slope", "aspect", "hillshade"):
        whole = dem.map(name).read(0)
        np.testing.assert_array_equal(dem.map(name).read(0, window), whole[tuple(slice(*w) for w in window)])


def test_terrain_is_the_same_at_every_level():
    dem = lazypyr.open_pyramid(PLANE, axes="yx", method="mean", bounds=BOUNDS)
    for level in range(len(dem.levels)):
        inner = (slice(1, -1), slice(1, -1))
        np.testing.assert_allclose(dem.map("slope", unit="percent").read(level)[inner], 10, rtol=1e-5)
        np.testing.assert_allclose(dem.map("aspect").read(level)[inner], 270)
        assert np.unique(dem.map("hillshade").read(level)[inner]).size == 1


def test_stacks_have_terrain_plane_by_plane():
    z = np.stack([hills((9, 8), 1), hills((9, 8), 2)], -1)
    for axes, data in (("yxi", z), ("iyx", np.moveaxis(z, -1, 0))):
        got = lazypyr.open_pyramid(data, axes=axes).map("slope")
        for i in range(2):
            one = lazypyr.open_pyramid(z[..., i], axes="yx").map("slope").read(0)
            np.testing.assert_array_equal(np.take(got.read(0), i, axes.index("i")), one)


def test_units_and_refusals():
    class Dem(lazypyr.Source):
        name, shape, dtype, axes, chunks, fingerprint = "dem", (6, 6), np.dtype("f8"), ("y", "x"), (6, 6), "dem 1"

        def __init__(self, unit, crs=None):
            from lazypyr.geometry.grid import Coord

            self.coords = {axis: Coord(0, 0.01, unit) for axis in "yx"}
            self.crs = crs

        def read(self, window, step=None):
            return np.ascontiguousarray(np.mgrid[:6, :6][1].astype("f8")[tuple(slice(*w) for w in window)])

    def steepness(source, **options):
        return lazypyr.open_pyramid(source).map("slope", unit="percent", **options).read(0)[3, 3]

    assert steepness(Dem("kilometer")) == pytest.approx(10)
    assert steepness(Dem("meter")) == pytest.approx(10000)
    assert steepness(Dem("foot")) == pytest.approx(100 / 0.003048)
    assert steepness(Dem(None)) == pytest.approx(10000)
    for source in (Dem("degree"), Dem("degrees_east"), Dem(None, "EPSG:4326"), Dem(None, 'GEOGCRS["WGS 84"]')):
        with pytest.raises(
            lazypyr.PlanError, match=r"are degrees, which are no distance: .*spacing=\(along y, along x\)"
        ):
            steepness(source)
        assert steepness(source, spacing=50) == pytest.approx(2)
    for bad in ({"z_factor": 0}, {"z_factor": "x"}, {"spacing": 0}, {"spacing": (1, 2, 3)}, {"unit": "rad"}):
        with pytest.raises(lazypyr.PlanError, match="slope: expected"):
            lazypyr.product.slope(**bad)
    with pytest.raises(lazypyr.PlanError, match="needs real numbers"):
        lazypyr.open_pyramid(np.ones((4, 4), "c8")).map("slope")
