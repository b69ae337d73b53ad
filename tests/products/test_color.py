"""Products for viewers that want bytes: rescaled, coloured, composed; and what they estimate."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError, SourceError
from lazypyr.product import colormap, composite, product_of, rescale
from lazypyr.products.palettes import palette
from lazypyr.products.sampling import ENOUGH, SAMPLE_BYTES
from lazypyr.products.strip import STRIP
from lazypyr.pyramids.reduced import ReducedPyramid
from lazypyr.reducers import REDUCERS
from lazypyr.sources.base import Source
from support.windows import assert_windows_are_cut_out

random = np.random.default_rng(6)


def opened(array, axes="yxijk", **options):
    return lazypyr.open_pyramid(array, **{"axes": axes[: array.ndim], "chunks": (16, 16), "levels": 3, **options})


def image(dtype="f4"):
    return (random.normal(size=(40, 50, 3)) * 40 + 100).clip(0, 255).astype(dtype)


# rescale


@pytest.mark.parametrize(("dtype", "top"), [("u1", 255), ("i1", 127), ("u2", 65535), ("i2", 32767), ("f4", 1.0)])
def test_rescale_equals_numpy(dtype, top):
    z = image()
    z[3, 3, 0], z[4, 4, 1], z[5, 5, 2] = np.nan, np.inf, -1e9
    product = opened(z).map("rescale", vmin=20, vmax=150, dtype=dtype)
    assert product.dtype == dtype
    assert product.display["window"] == (0, top)
    for level in range(3):
        values = z[:: 2**level, :: 2**level].astype("f8")
        wanted = np.clip((values - 20) / 130, 0, 1) * top
        hole = ~np.isfinite(values)
        if dtype == "f4":
            wanted[hole] = np.nan
            np.testing.assert_allclose(product.read(level), wanted, rtol=1e-6)
        else:
            wanted[hole] = 0
            np.testing.assert_array_equal(product.read(level), np.rint(wanted))


def test_a_value_kept_for_holes():
    z = np.array([[0.0, 1.0, np.nan, -5.0]], "f4")
    low = opened(z).map("rescale", vmin=0, vmax=1, nodata=0)
    assert low.nodata == low.fill_value == 0
    np.testing.assert_array_equal(low.read(0), [[1, 255, 0, 1]])
    high = opened(z).map("rescale", vmin=0, vmax=1, nodata=255)
    np.testing.assert_array_equal(high.read(0), [[0, 254, 255, 0]])
    assert opened(z).map("rescale", vmin=0, vmax=1).nodata is None


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u4", "i8", "f2", "f8", "?"])
def test_no_overflow_of_small_integers(dtype):
    z = np.arange(120).reshape(10, 12).astype(dtype)
    got = opened(z).map("rescale", vmin=-100, vmax=300).read(0)
    np.testing.assert_array_equal(got, np.rint((z.astype("f8") + 100) / 400 * 255))


def test_percentiles_of_a_small_source_are_those_of_a_coarse_level():
    z = random.normal(size=(400, 400)).astype("f4")
    z[:50] = np.nan
    product = opened(z).map("rescale", percentiles=(5, 90))
    record = product.attrs["products"][0]
    low, high = np.nanpercentile(z.astype("f8"), (5, 90))
    assert (record["vmin"], record["vmax"], record["percentiles"]) == (low, high, [5.0, 90.0])
    np.testing.assert_array_equal(
        product.read(0), np.rint(np.clip((np.nan_to_num(z, nan=-9).astype("f8") - low) / (high - low), 0, 1) * 255)
    )
    half = opened(z).map("rescale", vmin=-1).attrs["products"][0]
    assert half["vmin"] == -1
    assert half["vmax"] == np.nanpercentile(z.astype("f8"), 98)
    again = pickle.loads(pickle.dumps(product))
    assert again.fingerprint == product.fingerprint == opened(z).map("rescale", percentiles=(5, 90)).fingerprint


def test_only_percentiles_that_were_estimated_are_recorded():
    phase = lazypyr.open_pyramid(np.ones((4, 4), "c8")).map("phase")
    for product, estimated in [
        (opened(image()).map("rescale", vmin=0, vmax=1), False),
        (opened(image()).map("rescale", vmin=0), True),
        (opened(image()).map("colormap", vmin=0, vmax=1), False),
        (opened(image()).map("colormap"), True),
        (phase.map("colormap"), False),  # its range is known
        (phase.map("colormap", percentiles=(5, 95)), True),
        (opened(image()).map("composite", windows=[(0, 1)] * 3), False),
        (opened(image()).map("composite"), True),
    ]:
        assert ("percentiles" in product.attrs["products"][-1]) == estimated, product.description


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.0])
def test_nothing_or_one_value_to_estimate_from(value):
    z = np.full((20, 30), value, "f4")
    got = opened(z).map("rescale")
    assert (got.read(0) == 0).all()
    record = got.attrs["products"][0]
    assert (record["vmin"], record["vmax"]) == ((3.0, 3.0) if value == 3 else (0.0, 1.0))


def test_what_is_given_of_a_range_stays_as_it_is():
    z = np.arange(100, 200, dtype="f4").reshape(10, 10)
    for end, value in (("vmin", 300), ("vmax", 50)):
        record = opened(z).map("rescale", **{end: value}).attrs["products"][0]
        assert record["vmin"] == record["vmax"] == value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rescale(3, 1), "above"),
        (lambda: rescale(np.nan, 1), "finite"),
        (lambda: rescale(percentiles=(9, 3)), "two ascending"),
        (lambda: rescale(percentiles=(0, 101)), "of 0 to 100"),
        (lambda: rescale("a"), "finite numbers, got vmin='a'"),
        (lambda: rescale(percentiles=2), "two ascending.*got 2 "),
        (lambda: rescale(percentiles="ab"), "two ascending.*got 'ab'"),
        (lambda: rescale(dtype="c8"), "integer of at most 32 bits or a float"),
        (lambda: rescale(dtype="nope"), "'nope' is not a dtype"),
        (lambda: product_of("unpremultiply", dtype="nope"), "'unpremultiply': 'nope' is not"),
        (lambda: composite((0, 1, 1.5)), "three bands.*1.5"),
        (lambda: composite(3), "three bands.*got 3"),
        (lambda: composite(windows=[1, 2, 3]), "three windows"),
        (lambda: rescale(nodata=7), "None, 0 or the largest"),
        (lambda: colormap("viridi"), "did you mean 'viridis'"),
        (lambda: colormap(["#00"]), "three parts"),
        (lambda: colormap([]), "one or more"),
        (lambda: colormap(["#zz0000"]), "#rrggbb"),
        (lambda: composite((1, 2)), "three bands"),
        (lambda: opened(image()).map("composite", bands=(0, 1, 3)), "there are 3"),
        (lambda: opened(image()).map("composite", axis="time"), "no channel axis 'time'"),
        (lambda: opened(image()[..., 0]).map("composite"), "needs bands"),
        (lambda: opened(image(), axes="yxc").map("unpremultiply"), "3 channels; expected red"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(PlanError, match=words):
        make()


# what estimates cost


class Big(Source):
    """A large source without memory; counts what is read of it."""

    def __init__(self, shape, axes, dtype="f4"):
        self.name, self.shape, self.dtype, self.axes = "big", shape, np.dtype(dtype), tuple(axes)
        self.chunks = tuple(512 if a in "yx" else 1 for a in axes)
        self.n_bytes, self.windows, self.broken = 0, [], False

    def read(self, window, step=None):
        if self.broken:
            raise SourceError("gone")
        self.windows.append(window)
        parts = [np.arange(a, b, dtype="f8") for a, b in window]
        y, x = (parts[self.axes.index(a)] for a in "yx")
        values = (np.add.outer(y, x) / sum(self.shape[self.axes.index(a)] for a in "yx")).astype(self.dtype)
        block = np.broadcast_to(
            values.reshape([len(p) if a in "yx" else 1 for p, a in zip(parts, self.axes)]), [len(p) for p in parts]
        )
        self.n_bytes += block.nbytes
        return block

    @property
    def fingerprint(self):
        return "big"


@pytest.mark.parametrize(
    ("axes", "shape", "name", "options"),
    [
        ("yx", (2**18, 2**18), "rescale", {}),
        ("yxi", (2**15, 2**15, 50), "rescale", {}),
        ("iyx", (4, 2**16, 2**16), "composite", {"bands": (3, 0, 1)}),
        ("yxi", (2**15, 2**15, 128), "pca", {}),
        ("yx", (3, 2**30), "colormap", {}),
    ],
)
def test_an_estimate_of_something_large_reads_little_of_all_over(axes, shape, name, options):
    source = Big(shape, axes)
    pyramid = lazypyr.open_pyramid(source)
    assert source.n_bytes == 0
    product = pyramid.map(name, **options)
    assert 0 < source.n_bytes <= SAMPLE_BYTES * (3 if name == "composite" else 1)
    assert len(source.windows) <= 64 * (3 if name == "composite" else 1)
    y = axes.index("y")
    assert min(w[y][0] for w in source.windows) < shape[y] / 8
    assert max(w[y][1] for w in source.windows) > shape[y] * 7 / 8
    assert product.fingerprint == lazypyr.open_pyramid(Big(shape, axes)).map(name, **options).fingerprint
    if name == "rescale":
        record = product.attrs["products"][0]
        # the sum of two even distributions: its 2 % quantile is 0.1
        assert (record["vmin"], record["vmax"]) == pytest.approx((0.1, 0.9), abs=0.06)


def test_an_estimate_of_large_chunks_decodes_few():
    source = Big((2**16, 2**16), "yx")
    source.chunks = (8192, 8192)  # 256 MiB each
    lazypyr.open_pyramid(source).map("rescale")
    assert len(source.windows) == 4


def test_an_estimate_reads_a_level_that_exists():
    fine, coarse = Big((2**14, 2**14), "yx"), Big((2**10, 2**10), "yx")
    pyramid = ReducedPyramid((fine, coarse), REDUCERS["mean"], factors=(16, 16), chunks=(256, 256))
    assert pyramid.n_stored_levels == 2
    pyramid.map("rescale")
    assert not fine.windows
    assert coarse.windows
    assert 2**20 >= ENOUGH


def test_an_estimate_of_a_broken_source_says_so():
    source = Big((64, 64), "yx")
    source.broken = True
    pyramid = lazypyr.open_pyramid(source)
    with pytest.raises(SourceError):
        pyramid.map("rescale")
    assert pyramid.map("rescale", vmin=0, vmax=1).dtype == "u1"


# colormap


@pytest.mark.parametrize("name", ["viridis", "twilight", "magma_r", "tab10"])
def test_colours_equal_matplotlib(name):
    import matplotlib as mpl

    z = image()[..., 0]
    z[2, 3] = np.nan
    product = opened(z).map("colormap", name=name, vmin=50, vmax=180)
    assert (product.axes, product.shape, product.chunks) == (("c", "y", "x"), (4, 40, 50), (1, 16, 16))
    norm = np.clip((z.astype("f8") - 50) / 130, 0, 1)
    wanted = mpl.colormaps[name](norm, bytes=True)
    wanted[2, 3] = 0
    np.testing.assert_array_equal(product.read(0), np.moveaxis(wanted, -1, 0))
    assert product.read(0)[3, 2, 3] == 0
    assert (product.read(0)[3] == 255).sum() == z.size - 1


def test_palettes():
    assert len(palette("Turbo256")) == 3 * 256  # bokeh
    assert len(palette("inferno")) == 3 * 256  # of either
    assert palette("Viridis") == palette("Viridis256")  # a family of bokeh
    assert len(palette("Category20")) == 3 * 20
    assert palette("gray_r")[:3] == b"\xff\xff\xff"
    assert palette(["#ff0000", (0, 0, 255)]) == b"\xff\x00\x00\x00\x00\xff"
    table = np.frombuffer(palette("phase"), "u1").reshape(-1, 3).astype(int)
    steps = np.abs(np.diff(np.concatenate([table, table[:1]]), axis=0)).max(axis=1)
    assert steps.max() <= 4  # the ends meet
    own = opened(np.array([[0.0, 0.4, 0.6, 1.0]], "f4")).map(colormap(["#010203", "#040506"], 0, 1, alpha=False))
    np.testing.assert_array_equal(own.read(0)[:, 0].T, [[1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6]])


def test_palettes_without_matplotlib_and_bokeh(monkeypatch):
    monkeypatch.setattr("lazypyr.products.palettes._installed", lambda module: None)
    for name in ("gray", "viridis", "phase", "viridis_r"):
        assert len(palette(name)) == 768
    with pytest.raises(PlanError, match="did you mean"):
        palette("twilight")


def test_a_phase_is_coloured_over_its_whole_turn():
    z = np.exp(1j * np.linspace(-np.pi, np.pi, 60)).astype("c8").reshape(6, 10, 1)
    product = opened(z).map("phase").map("colormap", name="phase")
    record = product.attrs["products"][-1]
    assert (record["vmin"], record["vmax"]) == pytest.approx((-np.pi, np.pi))
    ends = product.read(0).reshape(4, 60).astype(int)
    assert np.abs(ends[:, 0] - ends[:, -1]).max() <= 4


def test_other_channels_stay_and_names_do_not_clash():
    z = random.normal(size=(3, 2, 20, 30)).astype("f4")
    product = opened(z, axes="tcyx").map("colormap", vmin=-1, vmax=1)
    assert product.axes == ("t", "c", "rgb", "y", "x")
    one = opened(z[1, 1], axes="yx").map("colormap", vmin=-1, vmax=1)
    np.testing.assert_array_equal(product.read(1)[1, 1], one.read(1))
    both = lazypyr.open_pyramid(np.zeros((1, 1, 4, 4), "f4"), axes=("c", "rgb", "y", "x"))
    with pytest.raises(PlanError, match="take one channel"):
        both.map("colormap", vmin=0, vmax=1)


def test_colours_of_a_pixel_are_computed_once():
    calls = []

    def slow(z):
        calls.append(1)
        return z[()]

    engine = Engine()
    product = opened(image()[..., 0]).map(slow, dtype="f4").map("colormap", vmin=0, vmax=1)
    packed = []
    inner = product.parent.product.__class__.compute
    product.parent.product.__class__.compute = lambda self, *a: packed.append(1) or inner(self, *a)
    try:
        tiles = [engine.chunk(product, 0, (c, 1, 1)) for c in range(4)]
    finally:
        product.parent.product.__class__.compute = inner
    assert len(calls) == len(packed) == 1
    np.testing.assert_array_equal(np.concatenate(tiles), product.read(0, [slice(None), slice(16, 32), slice(16, 32)]))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rescale", {"vmin": 20, "vmax": 150, "nodata": 0}),
        ("colormap", {"vmin": 20, "vmax": 150}),
        ("composite", {"bands": (2, 0, 1), "windows": [(0, 200)] * 3, "alpha": True}),
    ],
)
def test_blocks_of_many_runs_have_the_bits_of_small_tiles(name, options):
    z = np.tile(image(), (9, 8, 1))[:350]
    assert 2 * STRIP < z[..., 0].size < 3 * STRIP
    z[::5, ::11, 0], z[330, 390, 1], z[7, 7, 2] = np.nan, np.inf, -50
    product = opened(z, chunks=(64, 64), levels=1).map(name, **options)
    whole = product.read(0)
    np.testing.assert_array_equal(whole, Engine().read(product, 0, tuple((0, n) for n in whole.shape)))
    turned = opened(z.transpose(2, 1, 0), axes="ixy", levels=1).map(name, **options).read(0)
    np.testing.assert_array_equal(whole, turned.transpose(2, 1, 0) if name == "rescale" else turned)


# composite


def test_composite_equals_numpy():
    z = image()
    z[7, 8, 1] = np.nan
    product = opened(z).map("composite", bands=(2, 0, -2), windows=[(0, 200), (50, 100), (10, 250)], alpha=True)
    wanted = np.empty((4, 40, 50))
    for n, (band, low, high) in enumerate([(2, 0, 200), (0, 50, 100), (1, 10, 250)]):
        wanted[n] = np.rint(np.clip((z[..., band].astype("f8") - low) / (high - low), 0, 1) * 255)
    wanted[3] = 255
    wanted[:, 7, 8] = 0
    np.testing.assert_array_equal(product.read(0), wanted)
    rgb = opened(z).map("composite", bands=(2, 0, 1), windows=[(0, 200), (50, 100), (10, 250)])
    np.testing.assert_array_equal(rgb.read(0), wanted[:3])
    assert rgb.display == {"window": (0, 255), "colors": ("FF0000", "00FF00", "0000FF"), "labels": ("R", "G", "B")}


def test_alpha_adds_nothing_where_viewers_add_up_channels():
    root = zarr.open(lazypyr.LazyPyramidStore(opened(image()).map("composite", alpha=True)), mode="r")
    channels = root.attrs["ome"]["omero"]["channels"]
    assert [c["color"] for c in channels] == ["FF0000", "00FF00", "0000FF", "000000"]
    assert [c["label"] for c in channels] == ["R", "G", "B", "A"]
    assert {c["window"]["end"] for c in channels} == {255.0}


def test_composite_estimates_each_band():
    z = np.stack([random.normal(size=(60, 60)), random.normal(size=(60, 60)) * 9 + 100], -1).astype("f4")
    record = opened(z).map("composite", bands=(0, 1, 1)).attrs["products"][0]
    for n, (low, high) in zip((0, 1, 1), record["windows"], strict=True):
        assert (low, high) == tuple(np.percentile(z[..., n].astype("f8"), (2, 98)))


def test_composite_takes_the_axis_of_bands():
    z = random.integers(0, 255, (5, 4, 30, 40)).astype("u1")
    pyramid = lazypyr.open_pyramid(z, axes=("t", "band", "y", "x"))
    product = pyramid.map("composite", bands=(3, 2, 1), windows=[(0, 255)] * 3)
    assert (product.axes, product.shape) == (("t", "c", "y", "x"), (5, 3, 30, 40))
    np.testing.assert_array_equal(product.read(0), z[:, [3, 2, 1]])
    times = pyramid.map("composite", axis="t", windows=[(0, 255)] * 3)
    np.testing.assert_array_equal(times.read(0), z[:3].swapaxes(0, 1))
    np.testing.assert_array_equal(pyramid.map("composite").read(0)[4].shape, (3, 30, 40))


@given(st.data())
def test_a_window_is_cut_out_of_the_whole(data):
    z = image()
    name = data.draw(st.sampled_from(["rescale", "colormap", "composite", "pca", "premultiply"]))
    pyramid = opened(np.concatenate([z, z[..., :1]], -1))
    product = pyramid.map(name)
    assert_windows_are_cut_out(data, product)


@given(st.data())
def test_bytes_and_colours_of_any_dtype_equal_numpy(data):
    dtype = data.draw(st.sampled_from(["u1", "i1", "i2", "u2", "i4", "f2", "f4", "f8", "?"]))
    ny, nx = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    z = np.random.default_rng(data.draw(st.integers(0, 99))).normal(60, 40, (ny, nx, 3)).clip(0, 127).astype(dtype)
    if dtype[0] == "f":
        z.flat[::7], z.flat[3::11] = np.nan, np.inf
    nodata = data.draw(st.sampled_from([None, 1]))
    low, high = data.draw(st.sampled_from([(0, 100), (-20, 60), (10.5, 10.5), (3, 4)]))
    pyramid, exact = opened(z, chunks=(8, 8), levels=1, nodata=nodata), z.astype("f8")
    bad = ~np.isfinite(exact) | (exact == nodata if nodata is not None else False)
    with np.errstate(invalid="ignore"):
        unit = np.clip((exact - low) / (high - low if high > low else 1), 0, 1)
    unit[bad] = 0
    np.testing.assert_array_equal(pyramid.map("rescale", vmin=low, vmax=high).read(0), np.rint(unit * 255))

    table = np.frombuffer(palette("viridis"), "u1").reshape(-1, 3)
    rgba = np.full((ny, nx, 3, 4), 255)
    rgba[..., :3] = table[np.minimum(unit * 256, 255).astype(int)]
    rgba[bad] = 0
    colours = pyramid.map("colormap", vmin=low, vmax=high)
    np.testing.assert_array_equal(colours.read(0), rgba.transpose(2, 3, 0, 1))

    planes = np.concatenate([np.rint(unit * 255)[..., [0, 2, 1]], np.full((ny, nx, 1), 255)], axis=-1)
    planes[bad.any(axis=-1)] = 0
    composed = pyramid.map("composite", bands=(0, 2, 1), windows=[(low, high)] * 3, alpha=True)
    np.testing.assert_array_equal(composed.read(0), planes.transpose(2, 0, 1))
