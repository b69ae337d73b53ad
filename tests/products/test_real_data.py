"""Products of real data, read through zarr, against direct numpy computations; moraine's notebook recipes."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import LazyPyramidStore, collection
from lazypyr.errors import BusyError, ComputeError
from lazypyr.product import coherence
from support.running import until

PHASE = 5e-6  # rounding of a product of two float32 numbers, in radians


@pytest.fixture(scope="module")
def gotcha(demo_data):
    return zarr.open(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")


def stored(path):
    """Fixture with an array of the real data."""
    return pytest.fixture(scope="module")(lambda data_dir: zarr.open(data_dir / path, mode="r"))


amsterdam = stored("sar_s1_amsterdam_pair/slc.zarr/slc")
morocco = stored("sar_s1_morocco_ifg/ifg.zarr/complex_coherence")
texas = stored("sar_s1_displacement_texas/displacement.zarr/displacement")


def read(source, level, **options):
    """A level as zarr gives it."""
    options = {"axes": "yxi"[: source.ndim], "chunks": (128, 128), **options}
    return zarr.open(LazyPyramidStore(source, **options), mode="r")[str(level)]


def turns_apart(a, b):
    """Largest difference of two phases, around the circle; NaN must be at the same places."""
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    return np.nanmax(np.abs(np.exp(1j * a) - np.exp(1j * b)))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_gotcha_interferograms(gotcha, level):
    z = gotcha[:: 2**level, :: 2**level]
    for name, wanted in [
        ("phase", np.angle(z)),
        ("intf_0", np.angle(z[..., :1] * z.conj())),
        ("intf_seq", np.angle(z[..., :-1] * z[..., 1:].conj())),
        ("intf_all", np.angle(z[..., :, None] * z[..., None, :].conj())),
    ]:
        got = read(gotcha, level, product=name)
        assert got.shape == wanted.shape
        assert got.dtype == "f4"
        assert got.attrs["units"] == "radian"
        assert turns_apart(got[:], wanted) < PHASE
    np.testing.assert_allclose(read(gotcha, level, product="amplitude")[:], np.abs(z), rtol=1e-6)
    np.testing.assert_allclose(
        read(gotcha, level, product="intensity")[:], np.log(np.abs(z) ** 2), rtol=1e-4, atol=1e-5
    )


def test_gotcha_metadata(gotcha):
    root = zarr.open(LazyPyramidStore(gotcha, axes="yxi", product="intf_all"), mode="r")
    assert root["0"].metadata.dimension_names == ("y", "x", "i", "j")
    assert root["0"].chunks == (256, 256, 1, 1)
    assert root.attrs["products"][0]["name"] == "intf_all"
    assert "long_name" not in root["0"].attrs  # it says "single-look complex image", which this isn't


def test_y_and_x_last_for_viewers(gotcha):
    pyramid = lazypyr.open_pyramid(gotcha, axes="yxi").map("intf_all")
    root = zarr.open(LazyPyramidStore(pyramid, order="ijyx"), mode="r")
    assert root["0"].shape == (4, 4, 512, 512)
    np.testing.assert_array_equal(root["1"][1, 3], pyramid.read(1)[..., 1, 3])


def test_gotcha_multilooked_interferogram(gotcha):
    z = gotcha[:]
    looks = z[..., :, None] * z[..., None, :].conj()
    for level in (1, 2):
        looks = looks.reshape(looks.shape[0] // 2, 2, looks.shape[1] // 2, 2, 4, 4).mean(axis=(1, 3))
        pyramid = lazypyr.open_pyramid(
            gotcha, axes="yxi", source_product=lambda z, i, j: z[i] * z[j].conj(), method="mean", levels=3
        ).map("phase")
        got = zarr.open(LazyPyramidStore(pyramid), mode="r")[str(level)][:]
        strong = np.abs(looks) > 1e-3 * np.abs(looks).max()
        assert turns_apart(np.where(strong, got, 0), np.where(strong, np.angle(looks), 0)) < 1e-3


@pytest.mark.parametrize("window", [5, (3, 9)])
def test_amsterdam_coherence(amsterdam, window):
    a, b = amsterdam[..., 0].astype("c16"), amsterdam[..., 1].astype("c16")
    wy, wx = (window, window) if isinstance(window, int) else window

    def boxcar(z):
        wide = np.pad(z, ((wy // 2, wy // 2), (wx // 2, wx // 2)))
        return np.lib.stride_tricks.sliding_window_view(wide, (wy, wx)).sum(axis=(2, 3))

    with np.errstate(invalid="ignore"):
        wanted = np.abs(boxcar(a * b.conj())) / np.sqrt(boxcar(np.abs(a) ** 2) * boxcar(np.abs(b) ** 2))
    product = lazypyr.open_pyramid(amsterdam, axes="yxi", chunks=(32, 32)).map("coherence", window=window)
    got = zarr.open(LazyPyramidStore(product), mode="r")["0"][..., 0, 1]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert 0.2 < np.nanmean(got) < 1
    # tiles leave no seam: the same bits as in one piece
    np.testing.assert_array_equal(got, product.read(0)[..., 0, 1])
    before = lazypyr.open_pyramid(amsterdam, axes="yxi", source_product=coherence(window, pairs="seq"))
    np.testing.assert_array_equal(before.read(1)[..., 0], got[::2, ::2])


def test_morocco_phase_with_holes(morocco):
    for level in (0, 2):
        z = morocco[:: 2**level, :: 2**level]
        got = read(morocco, level, product="phase")[:]
        assert np.isnan(got).mean() > 0.1
        assert turns_apart(got, np.angle(z)) < PHASE
    colours = read(morocco, 1, source_product="phase", product="colormap")
    assert colours.shape == (4, 276, 337)
    np.testing.assert_array_equal(colours[3] == 0, np.isnan(morocco[::2, ::2]))


def test_texas_differences_of_dates(texas):
    for level in (0, 1):
        z = texas[:: 2**level, :: 2**level]
        np.testing.assert_array_equal(read(texas, level, product="intf_seq")[:], z[..., :-1] - z[..., 1:])
        np.testing.assert_array_equal(read(texas, level, product="intf_0")[:], z[..., :1] - z)
        got = read(texas, level, product="intf_all")[..., 3, 6]
        np.testing.assert_array_equal(got, z[..., 3] - z[..., 6])


def test_landsat_composite(data_dir):
    landsat = zarr.open(data_dir / "geo_landsat_peru" / "landsat.zarr" / "landsat", mode="r")
    pyramid = lazypyr.open_pyramid(landsat, axes=("year", "band", "y", "x"), chunks=(128, 128))
    product = pyramid.map("composite", bands=(2, 1, 0))
    root = zarr.open(LazyPyramidStore(product), mode="r")
    assert root["0"].metadata.dimension_names == ("year", "c", "y", "x")
    record = root.attrs["products"][0]
    z = landsat[:, :, ::2, ::2].astype("f8")
    wanted = np.empty((len(z), 3, *z.shape[2:]))
    for n, (band, (low, high)) in enumerate(zip((2, 1, 0), record["windows"], strict=True)):
        wanted[:, n] = np.rint(np.clip((z[:, band] - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(root["1"][:], wanted)


def test_fly_channels_in_colour(data_dir):
    fly = zarr.open(data_dir / "micro_fly_kc167" / "image.zarr" / "0", mode="r")
    pyramid = lazypyr.open_pyramid(fly)
    assert pyramid.axes[-3:] == ("c", "y", "x")
    rgb = pyramid.map("composite", bands=(0, 1, 2), windows=[(0, 255)] * 3)
    np.testing.assert_array_equal(zarr.open(LazyPyramidStore(rgb), mode="r")["1"][1], fly[1, :, ::2, ::2])
    ratio = pyramid.map(lambda z, field: z[field, 0] / (1.0 + z[field, 2]), dtype="f8")
    np.testing.assert_array_equal(
        zarr.open(LazyPyramidStore(ratio), mode="r")["1"][..., 2],
        fly[2, 0, ::2, ::2] / (1.0 + fly[2, 2, ::2, ::2]),
    )


def test_products_of_one_source_share_its_tiles(gotcha):
    slc = lazypyr.open_pyramid(gotcha, axes="yxi", chunks=(128, 128))
    store = collection({"slc": slc, "ifg": slc.map("intf_all"), "amp": slc.map("amplitude")})
    root = zarr.open(store, mode="r")
    assert sorted(root.group_keys()) == ["amp", "ifg", "slc"]
    root["slc/0"][:128, :128, :2]
    before = store.cache_info().computes
    root["ifg/0"][:128, :128, 0, 1]
    assert store.cache_info().computes == before + 1
    root["amp/0"][:128, :128, 1]
    assert store.cache_info().computes == before + 2


# moraine's notebook recipes


def test_recipe_mask_by_threshold(gotcha):
    """What is bright in the first image, the others' phase there."""

    def bright(z, i):
        return np.where(np.abs(z[0]) > 1.0, np.angle(z[i]), np.float32(np.nan))

    z = gotcha[::2, ::2]
    wanted = np.where(np.abs(z[..., :1]) > 1, np.angle(z), np.float32(np.nan))
    assert turns_apart(read(gotcha, 1, product=bright)[:], wanted) < PHASE

    def moraine(rslc, xslice, yslice, i):
        data = rslc[yslice, xslice]
        return np.where(np.abs(data[..., 0]) > 1.0, np.angle(data[..., i]), np.float32(np.nan))

    # To the last bit but one: numpy 2.0 takes one of two arctan2, by where the arrays lie in memory.
    np.testing.assert_array_max_ulp(read(gotcha, 1, product=moraine)[:], read(gotcha, 1, product=bright)[:], 1)


def test_recipe_pair_index_of_a_coherence_stack(texas):
    """One channel a pair (0,1), (0,2), ..., shown by its two dates."""
    n = 4
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    stack = texas[..., : len(pairs)]

    def of_pair(coh, i, j):
        if i == j:
            return np.ones_like(coh[0])
        return coh[pairs.index((min(i, j), max(i, j)))]

    product = lazypyr.open_pyramid(stack, axes="yxi").map(of_pair, kdims={"i": n, "j": n})
    got = zarr.open(LazyPyramidStore(product), mode="r")["0"]
    assert got.shape == (362, 357, 4, 4)
    np.testing.assert_array_equal(got[..., 3, 1], stack[..., pairs.index((1, 3))])
    assert (got[..., 2, 2] == 1).all()


# what fails, through zarr


@pytest.mark.fault("U1")
def test_a_failing_product_is_an_error_for_zarr_too(gotcha):
    def broken(z, i):
        raise SystemExit(3)

    pyramid = lazypyr.open_pyramid(gotcha, axes="yxi").map(
        lambda z, i: broken(z, i) if i == 2 else z[i].real, dtype="f4", name="half"
    )
    array = zarr.open(LazyPyramidStore(pyramid), mode="r")["1"]
    with pytest.raises(ComputeError, match="'half'.*SystemExit"):
        array[..., 2]
    np.testing.assert_array_equal(array[..., 1], gotcha[::2, ::2, 1].real)


@pytest.mark.fault("U4")
def test_a_function_that_never_returns_is_busy_and_others_go_on(gotcha):
    go_on = threading.Event()

    def stuck(z, i):
        if i == 0:
            go_on.wait(100)
        return z[i].real

    pyramid = lazypyr.open_pyramid(gotcha, axes="yxi").map(stuck, dtype="f4")
    store = LazyPyramidStore(pyramid, timeout_s=0.5, workers=2)
    array = zarr.open(store, mode="r")["1"]
    try:
        with pytest.raises(BusyError):
            array[..., 0]

        def other():
            with contextlib.suppress(BusyError):  # on a slow machine it takes longer than that, too
                return [array[..., 1]]

        np.testing.assert_array_equal(until(other)[0], gotcha[::2, ::2, 1].real)
    finally:
        go_on.set()


def test_products_of_points():
    random = np.random.default_rng(3)
    x, y = random.uniform(0, 900, (2, 5000))
    values = np.exp(1j * random.uniform(-3, 3, (5000, 3))).astype("c8")
    points = lazypyr.from_points(x, y, values, resolution=2.0)
    ifg = points.map("intf_0")
    for level in range(len(points.levels)):
        z = points.read(level)
        assert turns_apart(ifg.read(level), np.angle(z[..., :1] * z.conj())) < PHASE
    assert np.isnan(ifg.read(0)).any()
    got = zarr.open(LazyPyramidStore(ifg), mode="r")["1"][:]
    np.testing.assert_array_equal(got, ifg.read(1))
