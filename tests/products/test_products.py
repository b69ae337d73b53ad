"""The interferogram family: every product equals the numpy formula on the strided or reduced source."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.product import NAMES, apply_to_source, coherence, product_of
from lazypyr.products.strip import STRIP
from lazypyr.sources.base import Source
from support.windows import assert_windows_are_cut_out

random = np.random.default_rng(4)


def stack(ny=70, nx=53, n=4, dtype="c8"):
    z = random.normal(size=(ny, nx, n)) + 1j * random.normal(size=(ny, nx, n))
    return z.astype(dtype)


def opened(array, axes=None, **options):
    options = {"chunks": (32, 32), "levels": 3, **options}
    return lazypyr.open_pyramid(array, axes=axes or "yxijk"[: array.ndim], **options)


def same_phase(a, b, tolerance=5e-6):
    """Equal as angles: -pi is pi; a phase is rounded by the last bits of a product."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    assert np.nanmax(np.abs(np.exp(1j * a.astype("f8")) - np.exp(1j * b.astype("f8"))), initial=0) < tolerance


REFERENCE = {
    "phase": np.angle,
    "intf_0": lambda z: np.angle(z[..., :1] * z.conj()),
    "intf_seq": lambda z: np.angle(z[..., :-1] * z[..., 1:].conj()),
    "intf_all": lambda z: np.angle(z[..., :, None] * z[..., None, :].conj()),
}


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("name", REFERENCE)
def test_phases_equal_numpy_at_every_level(name, dtype):
    z = stack(dtype=dtype)
    z[3, 5, 1] = np.nan
    z[2, 2, 2] = 0
    product = opened(z).map(name)
    assert product.units == product.attrs["units"] == "radian"
    assert product.dtype == ("f4" if dtype == "c8" else "f8")
    for level in range(3):
        same_phase(product.read(level), REFERENCE[name](z[:: 2**level, :: 2**level]))


def test_amplitude_and_intensity():
    z = stack()
    z[1, 1] = 0
    pyramid = opened(z)
    with np.errstate(divide="ignore"):
        power = np.log(np.abs(z) ** 2)
    power[1, 1] = np.nan
    np.testing.assert_array_equal(pyramid.map("amplitude").read(0), np.abs(z))
    np.testing.assert_array_equal(pyramid.map("intensity").read(0), power)
    assert pyramid.map("amplitude").chunks == pyramid.chunks
    assert np.isnan(pyramid.map("intensity").fill_value)


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_real_channels_give_differences_that_do_not_wrap(dtype):
    z = random.integers(0, 2 if dtype == "?" else 120, (20, 30, 3)).astype(dtype)
    exact = z.astype("f8")
    for name, wanted in [
        ("intf_0", exact[..., :1] - exact),
        ("intf_seq", exact[..., :-1] - exact[..., 1:]),
        ("intf_all", exact[..., :, None] - exact[..., None, :]),
    ]:
        np.testing.assert_array_equal(opened(z).map(name).read(0).astype("f8"), wanted)


@pytest.mark.parametrize("dtype", ["c8", "f4", "i2"])
def test_two_channel_axes_are_pairs_already(dtype):
    z = (random.normal(size=(20, 30, 3, 4)) * 50 + (30j if dtype == "c8" else 0)).astype(dtype)
    entry = np.angle(z) if dtype == "c8" else z
    pyramid = opened(z)
    for name, wanted in [
        ("intf_0", entry[:, :, 0]),
        ("intf_seq", np.stack([entry[:, :, i, i + 1] for i in range(3)], -1)),
        ("intf_all", entry),
    ]:
        got = pyramid.map(name)
        np.testing.assert_array_equal(got.read(0), wanted)
        assert got.chunks == (32, 32, *(1,) * (wanted.ndim - 2))


def test_no_phase_with_oneself_and_opposite_ones_the_other_way():
    ifg = opened(stack()).map("intf_all").read(0)
    assert not np.diagonal(ifg, axis1=2, axis2=3).any()
    np.testing.assert_array_equal(ifg, -ifg.swapaxes(2, 3))


@given(st.data())
def test_a_window_is_cut_out_of_the_whole(data):
    z = stack(37, 41, 3)
    name = data.draw(st.sampled_from([*REFERENCE, "amplitude", "intensity", "coherence"]))
    axes = data.draw(st.permutations("yxi"))
    pyramid = opened(z.transpose(["yxi".index(a) for a in axes]), axes="".join(axes), chunks=(16, 16)).map(name)
    assert_windows_are_cut_out(data, pyramid)


@pytest.mark.parametrize("name", [*REFERENCE, "amplitude", "intensity", "coherence"])
def test_blocks_of_many_runs_have_the_bits_of_small_tiles(name):
    z = stack(331, 409, 2)  # two runs of pixels and a bit
    assert 2 * STRIP < z[..., 0].size < 3 * STRIP
    z[200:300:7, ::11, 1], z[5, 5, 0], z[330, 408, 1] = 0, np.nan, 0
    product = opened(z, chunks=(64, 64), levels=1).map(name)
    whole = product.read(0)
    np.testing.assert_array_equal(whole, Engine().read(product, 0, tuple((0, n) for n in whole.shape)))
    turned = opened(z.transpose(2, 1, 0), axes="ixy", levels=1).map(name).read(0)
    np.testing.assert_array_equal(
        whole, turned.transpose(2, 1, 0) if name in ("phase", "amplitude", "intensity") else turned
    )


def test_any_order_of_axes():
    z = stack()
    wanted = opened(z).map("intf_all").read(1)
    for axes in ("iyx", "xyi", "ixy", "yix"):
        turned = z.transpose(["yxi".index(a) for a in axes])
        product = opened(turned, axes=axes).map("intf_all")
        assert product.axes == ("y", "x", "i", "j")
        np.testing.assert_array_equal(product.read(1), wanted)


def test_world_coordinates_and_levels_are_those_of_the_parent():
    parent = opened(stack(), method="mean", bounds=(10.0, 5.0, 62.0, -64.0))
    product = parent.map("intf_all")
    assert product.grid == parent.grid
    assert [level.scale[:2] for level in product.levels] == [level.scale[:2] for level in parent.levels]
    assert [level.translation for level in product.levels] == [(t, t, 0.0, 0.0) for t in (0.0, 0.5, 1.5)]


class Counted(Source):
    """A source that counts its reads."""

    def __init__(self, array, chunks):
        self.array, self.name, self.shape, self.dtype = array, "counted", array.shape, array.dtype
        self.axes, self.chunks, self.windows = ("y", "x", "i"), chunks, []

    def read(self, window, step=None):
        self.windows.append(window)
        block = self.array[tuple(slice(*w) for w in window)]
        return block if step is None else block[tuple(slice(None, None, s) for s in step)]

    @property
    def fingerprint(self):
        return f"counted {id(self)}"


def test_a_chunk_of_all_pairs_reads_exactly_two_tiles():
    source = Counted(np.broadcast_to(np.complex64(1 + 1j), (256, 256, 100)), (64, 64, 1))
    product = lazypyr.open_pyramid(source, chunks=(64, 64)).map("intf_all")
    assert product.shape == (256, 256, 100, 100)
    assert source.windows == []
    engine = Engine()
    engine.chunk(product, 0, (1, 2, 7, 93))
    assert sorted(source.windows) == [((64, 128), (128, 192), (i, i + 1)) for i in (7, 93)]
    engine.chunk(product, 0, (1, 2, 93, 8))
    assert len(source.windows) == 3  # tile 93 is there already, whatever product asks for it
    engine.chunk(product, 0, (1, 2, 5, 5))
    assert len(source.windows) == 4


def test_reduce_then_interfere_and_interfere_then_reduce():
    z = stack(64, 48, 3)
    boxes = lambda a: a.reshape(32, 2, 24, 2, *a.shape[2:]).mean(axis=(1, 3))
    after = opened(z, method="mean").map("intf_0").read(1)
    same_phase(after, REFERENCE["intf_0"](boxes(z)).astype("f4"))
    looks = opened(z, method="mean", source_product=lambda z, i, j: z[i] * z[j].conj())
    pairs = z[..., :, None] * z[..., None, :].conj()
    same_phase(looks.map("phase").read(1), np.angle(boxes(pairs)).astype("f4"), 2e-5)
    assert np.abs(np.exp(1j * looks.map("phase").read(1)[..., 0, :]) - np.exp(1j * after)).max() > 0.1


@pytest.mark.fault("U7")
def test_phase_of_zero_of_nan_and_the_mean_across_the_cut():
    z = np.full((4, 4, 2), 1, "c8")
    z[:, :, 1] = np.exp(1j * np.where(np.indices((4, 4)).sum(0) % 2, 3.1, -3.1))
    z[0, 0, 0], z[0, 1, 0] = 0, np.nan
    phase = opened(z, levels=1).map("phase").read(0)
    assert phase[0, 0, 0] == 0
    assert np.isnan(phase[0, 1, 0])
    # a mean of phasors lies at the cut; a mean of angles would be 0
    mean = opened(z, levels=3, method="mean").map("phase").read(1)[..., 1]
    assert (np.abs(mean) > 3).all()


def numpy_coherence(a, b, window):
    """Boxcar coherence, pixel by pixel."""
    out = np.full(a.shape, np.nan)
    wy, wx = window
    for y, x in np.ndindex(a.shape):
        part = np.s_[max(0, y - wy // 2) : y - wy // 2 + wy, max(0, x - wx // 2) : x - wx // 2 + wx]
        p, q = a[part].astype("c16"), b[part].astype("c16")
        good = np.isfinite(p) & np.isfinite(q)
        p, q = p[good], q[good]
        power = (np.abs(p) ** 2).sum() * (np.abs(q) ** 2).sum()
        if np.isfinite(a[y, x]) and np.isfinite(b[y, x]) and power > 0:
            out[y, x] = np.abs((p * q.conj()).sum()) / np.sqrt(power)
    return out


@pytest.mark.parametrize("window", [1, 3, 4, (5, 2), 31])
def test_coherence_equals_numpy(window):
    z = stack(25, 22, 2)
    z[4, 4, 1] = np.nan
    z[10:13, 10:13] = 0
    product = opened(z, chunks=(8, 8), levels=1).map("coherence", window=window)
    wanted = numpy_coherence(z[..., 0], z[..., 1], (window, window) if isinstance(window, int) else window)
    got = product.read(0)
    assert got.dtype == "f4"
    np.testing.assert_allclose(got[..., 0, 1], wanted, atol=1e-6)
    np.testing.assert_array_equal(got[..., 0, 1], got[..., 1, 0])
    np.testing.assert_array_equal(got, Engine().read(product, 0, ((0, 25), (0, 22), (0, 2), (0, 2))))


def scipy_coherence(a, b, window):
    """The same sums in the same order by scipy.ndimage, which adds the terms of a footprint one by one."""
    bad = ~(np.isfinite(a) & np.isfinite(b))
    a, b = (np.where(bad, 0, z).astype("c16") for z in (a, b))

    def summed(block):
        down = ndimage.correlate(block, np.ones((window[0], 1)), mode="constant")
        return ndimage.correlate(down, np.ones((1, window[1])), mode="constant")

    real = summed(a.real * b.real + a.imag * b.imag)
    imag = summed(a.imag * b.real - a.real * b.imag)
    power = summed(a.real * a.real + a.imag * a.imag) * summed(b.real * b.real + b.imag * b.imag)
    power[(power == 0) | bad] = np.nan
    return np.minimum(np.sqrt((real * real + imag * imag) / power), 1.0).astype("f4")


@given(st.integers(1, 40), st.integers(1, 40), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(0, 2**32))
def test_coherence_has_the_bits_of_scipy(ny, nx, window, seed):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(ny, nx, 2)) + 1j * rng.normal(size=(ny, nx, 2))).astype("c8")
    z[rng.random(z.shape) < 0.05] = np.nan
    z[rng.random(z.shape) < 0.2] = 0
    got = opened(z, chunks=(16, 16), levels=1).map("coherence", window=window).read(0)
    np.testing.assert_array_equal(got[..., 0, 1], scipy_coherence(z[..., 0], z[..., 1], window))


def test_coherence_before_reduction():
    z = stack(40, 40, 2)
    pyramid = opened(z, source_product=coherence(3, pairs="seq"))
    np.testing.assert_array_equal(pyramid.read(1), opened(z).map(coherence(3, pairs="seq")).read(0)[::2, ::2])


def test_source_of_a_product_answers_with_steps():
    z = stack(40, 30, 3)
    base = opened(z)
    for product in ("intf_all", "amplitude", "coherence"):
        source = apply_to_source(base, product)
        whole = base.map(product).read(0)
        window = tuple((1, n) if n > 2 else (0, n) for n in source.shape)
        step = (3, 2, *(2,) * (len(window) - 2))
        cut = tuple(slice(a, b, s) for (a, b), s in zip(window, step, strict=True))
        np.testing.assert_array_equal(source.read(window, step), whole[cut])
        assert source.fingerprint == apply_to_source(base, product).fingerprint != base.fingerprint


def test_declared_nodata_is_no_phase():
    z = stack()
    z[5, 5, 0] = 0
    product = opened(z, nodata=0).map("intf_0").read(0)
    assert np.isnan(product[5, 5]).all()
    assert np.isnan(product).sum() == 4
    assert np.isfinite(opened(z).map("intf_0").read(0)).all()  # zero is data unless declared otherwise
    real = opened(np.array([[[7, 3]], [[-1, 3]]], "i2"), nodata=-1).map("intf_seq")
    np.testing.assert_array_equal(real.read(0), [[[4.0]], [[np.nan]]])


@pytest.mark.parametrize(
    ("array", "name", "options", "words"),
    [
        (stack(), "intf_9", {}, "there are phase, amplitude"),
        (stack(), "intf-all", {}, "did you mean 'intf_all'"),
        (stack(), "dequantize", {}, r"two inputs: lazypyr.product.dequantize\(codes, scales\)"),
        (stack(), "phase", {"vmin": 3}, "unknown option.*vmin"),
        (stack(), 5, {}, "a function or a Product"),
        (stack(), "coherence", {"window": 0}, "at least 1"),
        (stack(), "coherence", {"window": 2.5}, "whole numbers"),
        (stack(), "coherence", {"pairs": "some"}, "'seq'"),
        (stack(), "coherence", {"pairs": ["seq"]}, "'seq'"),
        (stack().real, "phase", {}, "needs complex"),
        (stack().real, "amplitude", {}, "needs complex"),
        (stack().real, "coherence", {}, "needs complex"),
        (stack(), "rescale", {}, "'phase', 'amplitude' or 'intensity'"),
        (stack(), "colormap", {}, "'phase', 'amplitude' or 'intensity'"),
        (stack(), "composite", {}, "'phase', 'amplitude' or 'intensity'"),
        (stack(), "pca", {}, "'phase', 'amplitude' or 'intensity'"),
        (stack()[..., 0], "intf_all", {}, "one channel axis"),
        (stack(n=1), "intf_seq", {}, "needs two"),
        (np.zeros((4, 4, 2), "M8[s]"), "intf_all", {}, "integers or floats"),
    ],
)
def test_bad_input_is_said_when_applied(array, name, options, words):
    with pytest.raises(PlanError, match=words):
        opened(array).map(name, **options)


def test_options_belong_to_where_a_product_is_made():
    with pytest.raises(PlanError, match="made already"):
        opened(stack()).map(coherence(3), window=5)


def test_channels_must_be_the_same_at_all_levels():
    pyramid = opened(stack(), factors={"i": 2})
    with pytest.raises(PlanError, match="don't downsample"):
        pyramid.map("intf_all")
    assert pyramid.map("phase").levels[2].shape == (18, 14, 1)


def test_identity_fingerprint_and_recipe():
    z = stack()
    parent = opened(z)
    one, two = parent.map("intf_all"), parent.map("intf_all")
    assert one == two
    assert hash(one) == hash(two)
    assert one.fingerprint == two.fingerprint
    others = [
        parent.map("intf_0"),
        parent.map("coherence"),
        parent.map("coherence", window=3),
        opened(z[:40]).map("intf_all"),
    ]
    assert len({p.fingerprint for p in (one, *others)}) == 5
    assert one.description.startswith(parent.description)
    assert "interferogram" in one.description
    assert one.attrs["products"][0]["name"] == "intf_all"
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.read(2), one.read(2))
    assert again.fingerprint == one.fingerprint
    assert len(pickle.dumps(product_of("intf_all"))) < 500


def test_attributes_of_values_do_not_pass_through_a_product():
    class Described(Counted):
        attrs = {"units": "meter", "long_name": "height", "title": "a scene", "omero": {}}

    source = Described(stack().real.astype("f4"), (64, 64, 1))
    ifg = lazypyr.open_pyramid(source).map("intf_seq")
    assert ifg.units == "meter"
    assert {k: v for k, v in ifg.attrs.items() if k != "products"} == {"title": "a scene", "units": "meter"}
    assert "units" not in ifg.map("rescale", vmin=0, vmax=1).attrs


def test_all_names_can_be_made():
    needed = {"expression": {"text": "b0 + b0"}}
    assert [product_of(name, **needed.get(name, {})).name.partition(":")[0] for name in NAMES] == list(NAMES)
