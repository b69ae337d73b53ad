"""Embeddings (codes times scales, principal components) and averages that weigh by alpha."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.product import LevelSource, dequantize
from lazypyr.products.embeddings import _components

random = np.random.default_rng(7)


def opened(array, axes="yxi", **options):
    return lazypyr.open_pyramid(array, **{"axes": axes[: array.ndim], "chunks": (16, 16), "levels": 3, **options})


def embedding(bands=8):
    codes = random.integers(-128, 128, (40, 50, bands)).astype("i1")
    scales = random.uniform(0.001, 0.02, (40, 50)).astype("f4")
    scales[:5], scales[6, 7], scales[8, 9] = np.nan, np.inf, -np.inf
    codes[20:25] = 0
    return codes, scales


def test_codes_times_scales():
    codes, scales = embedding()
    product = dequantize(opened(codes), opened(scales))
    assert (product.dtype, product.axes, product.chunks) == ("f4", ("y", "x", "i"), (16, 16, 1))
    for level in range(3):
        s = scales[:: 2**level, :: 2**level, None]
        wanted = codes[:: 2**level, :: 2**level].astype("f4") * np.where(np.isfinite(s), s, np.nan)
        np.testing.assert_array_equal(product.read(level), wanted)
    whole = product.read(0)
    np.testing.assert_array_equal(Engine().read(product, 0, ((0, 40), (0, 50), (0, 8))), whole)
    assert (whole[20:25] == 0).all()  # zero is a value
    assert np.isnan(whole[:5]).all()
    assert np.isnan(whole[[6, 8], [7, 9]]).all()


@pytest.mark.parametrize("axes", ["iyx", "xyi", "ixy"])
def test_codes_in_any_order(axes):
    codes, scales = embedding()
    turn = ["yxi".index(a) for a in axes]
    product = dequantize(opened(codes.transpose(turn), axes=axes), opened(scales.T, axes="xy"))
    np.testing.assert_array_equal(product.read(1), dequantize(opened(codes), opened(scales)).read(1).transpose(turn))


def test_before_reduction_it_is_the_product_that_is_averaged():
    codes, scales = embedding()
    source = dequantize(LevelSource(opened(codes)), LevelSource(opened(scales)))
    values = codes * np.where(np.isfinite(scales), scales, np.nan)[..., None]
    with np.errstate(invalid="ignore"):
        wanted = np.stack([values[a::2, b::2] for a in (0, 1) for b in (0, 1)])
    n = np.isfinite(wanted).sum(0)
    wanted = np.where(n, np.nansum(wanted, axis=0) / np.maximum(n, 1), np.nan)
    got = lazypyr.open_pyramid(source, method="mean", levels=2).read(1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("codes", "scales", "words"),
    [
        (np.zeros((4, 4, 2), "i1"), np.zeros((4, 5), "f4"), "same y and x"),
        (np.zeros((4, 4, 2), "i1"), np.zeros((4, 4, 2), "f4"), "y and x only"),
        (np.zeros((4, 4, 2), "c8"), np.zeros((4, 4), "f4"), "real numbers"),
    ],
)
def test_bad_codes_and_scales(codes, scales, words):
    with pytest.raises(PlanError, match=words):
        dequantize(opened(codes), opened(scales))
    with pytest.raises(PlanError, match="open them"):
        dequantize(codes, opened(np.zeros((4, 4), "f4")))


def test_declared_nodata_of_codes():
    codes, scales = embedding()
    got = dequantize(opened(codes, nodata=-128), opened(np.ones_like(scales))).read(0)
    np.testing.assert_array_equal(np.isnan(got), codes == -128)


# principal components


def test_components_equal_numpy():
    z = (random.normal(size=(60, 70, 5)) @ random.normal(size=(5, 5)) + 3).astype("f4")
    z[4, 5, 2] = np.nan
    product = opened(z).map("pca", n=3)
    assert (product.axes, product.shape, product.dtype) == (("y", "x", "component"), (60, 70, 3), "f4")
    pixels = z.reshape(-1, 5).astype("f8")
    good = pixels[np.isfinite(pixels).all(1)]
    values, vectors = np.linalg.eigh(np.cov(good.T))
    record = product.attrs["products"][0]
    np.testing.assert_allclose(record["explained_variance"], values[::-1][:3], rtol=1e-6)
    np.testing.assert_allclose(record["mean"], good.mean(0), rtol=1e-6)
    basis = np.array(record["basis"])
    np.testing.assert_allclose(np.abs(basis @ vectors[:, ::-1]), np.eye(3, 5), atol=1e-6)
    assert (basis[range(3), np.abs(basis).argmax(1)] > 0).all()
    wanted = (z.astype("f8") - good.mean(0)) @ basis.T
    np.testing.assert_allclose(product.read(0), wanted, rtol=1e-4, atol=1e-5)
    assert np.isnan(product.read(0)[4, 5]).all()
    np.testing.assert_array_equal(Engine().read(product, 1, ((0, 30), (0, 35), (0, 3))), product.read(1))


def test_the_preview_of_an_embedding():
    codes, scales = embedding(64)
    values = dequantize(opened(codes), opened(scales))
    preview = values.map("pca", n=3).map("composite", alpha=True)
    assert (preview.axes, preview.dtype, preview.shape) == (("c", "y", "x"), "u1", (4, 40, 50))
    picture = preview.read(0)
    np.testing.assert_array_equal(picture[3] == 0, ~np.isfinite(scales))
    assert picture[:3, 10:].std() > 20
    assert [p["name"] for p in preview.attrs["products"]] == ["dequantize", "pca", "composite"]


@pytest.mark.fault("U6")
@given(
    hnp.arrays(
        "f4",
        st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)),
        elements=st.sampled_from([0.0, 1.0, -2.5, 7.0, 3e38, -3e38, np.nan, np.inf, 1e-40]),
    ),
    st.integers(1, 4),
)
def test_components_of_anything_are_defined(z, n):
    pyramid = lazypyr.open_pyramid(z, axes="yxi")
    if n > z.shape[2]:
        with pytest.raises(PlanError, match="components of"):
            pyramid.map("pca", n=n)
        return
    product = pyramid.map("pca", n=n)
    record = product.attrs["products"][0]
    assert all(np.isfinite(record[key]).all() for key in ("basis", "mean", "explained_variance"))
    got = product.read(0)
    bad = ~np.isfinite(z).all(axis=2)
    assert np.isnan(got[bad]).all()
    assert not np.isnan(got[~bad]).any()


@pytest.mark.fault("U6")
@pytest.mark.parametrize(
    "pixels",
    [np.empty((0, 3)), np.ones((1, 3)), np.ones((9, 3)), np.zeros((9, 3)), np.outer(np.arange(9.0), [1, 2, 2])],
)
def test_axes_without_variance_give_zero(pixels):
    mean, basis, variance = _components(pixels, 3)
    rank = np.linalg.matrix_rank(pixels - pixels.mean(0)) if len(pixels) else 0
    assert (variance > 0).sum() == rank
    assert (np.abs(basis).sum(axis=1) > 0).sum() == rank
    if rank:
        np.testing.assert_allclose(basis[0], [1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(mean, pixels.mean(0) if len(pixels) else 0)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_bad_number_of_components(n):
    with pytest.raises(PlanError, match="whole number"):
        opened(np.zeros((4, 4, 3), "f4")).map("pca", n=n)


def test_the_memory_of_a_tile_counts_all_bands():
    codes = lazypyr.open_pyramid(np.zeros((512, 512, 128), "i1"), axes="yxi")
    window = ((0, 256), (0, 256), (0, 3))
    all_bands = 256 * 256 * 128
    assert codes.map("pca").working_bytes(0, window, 1) > all_bands
    assert codes.map("intf_seq").working_bytes(0, ((0, 256), (0, 256), (0, 1)), 1) < all_bands / 4


# alpha


def test_means_weigh_by_alpha():
    rgba = np.zeros((4, 4, 4), "u1")
    rgba[0, 0] = 200, 100, 0, 255  # one opaque pixel among transparent ones keeps its colour
    rgba[0, 2] = 200, 100, 0, 255
    rgba[1, 2] = 0, 0, 250, 85
    rgba[2:, 2:] = 250, 250, 250, 255  # no overflow of bytes
    product = opened(rgba, axes="yxc", source_product="premultiply", method="mean", levels=2).map("unpremultiply")
    assert (product.axes, product.dtype) == (("c", "y", "x"), "u1")
    fine, coarse = (np.moveaxis(product.read(level), 0, -1) for level in (0, 1))
    np.testing.assert_array_equal(fine, np.where(rgba[..., 3:] > 0, rgba, 0))
    np.testing.assert_array_equal(coarse[0, 0], [200, 100, 0, 64])
    np.testing.assert_array_equal(coarse[0, 1], [150, 75, 62, 85])
    np.testing.assert_array_equal(coarse[1], [[0, 0, 0, 0], [250, 250, 250, 255]])


@given(hnp.arrays("u1", (4, 6, 4)))
def test_means_weighed_by_alpha_equal_numpy(rgba):
    product = lazypyr.open_pyramid(rgba, axes="yxc", source_product="premultiply", method="mean", levels=2).map(
        "unpremultiply"
    )
    a = rgba[..., 3:].astype("f8")
    boxes = lambda z: z.reshape(2, 2, 3, 2, -1).sum(axis=(1, 3))
    total = boxes(a)
    wanted = np.where(total > 0, boxes(rgba[..., :3] * a) / np.where(total > 0, total, 1), 0)
    got = np.moveaxis(product.read(1), 0, -1).astype("f8")
    assert np.abs(got[..., :3] - wanted).max() <= 0.51
    assert np.abs(got[..., 3:] - total / 4).max() <= 0.5


def test_colours_of_a_colormap_are_of_the_mean_not_means_of_colours():
    z = np.array([[0.0, 10.0], [np.nan, 20.0]], "f4")
    product = opened(z, method="mean", levels=2).map("colormap", name="gray", vmin=0, vmax=20)
    np.testing.assert_array_equal(product.read(1)[:, 0, 0], [128, 128, 128, 255])
