"""Every level is what a loop over pixels says, whatever the source is stored in and however it is served."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore
from support import reference
from support.sources import DTYPES, random_array, shapes, stored, zarr_array


def equal(got, expected):
    __tracebackhide__ = True
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@st.composite
def faces(draw):
    zarr_format = draw(st.sampled_from([2, 3]))
    return {
        "zarr_format": zarr_format,
        "layout": draw(st.sampled_from(["{level}", "{level}/image"])),
        "dimension_separator": draw(st.sampled_from(["/", "."])),
        "compressor": draw(st.sampled_from([None, None, "zstd"])),
    }


@pytest.mark.slow
@pytest.mark.fault("S10")
@settings(max_examples=40)
@given(data=st.data())
def test_levels_of_stored_arrays(data):
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    method = data.draw(st.sampled_from(["stride", "mean"]), "method")
    source = random_array(data.draw(st.integers(0, 99)), data.draw(shapes(most=24)), dtype)
    tile = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)), "tile")
    face = data.draw(faces(), "face")
    store = LazyPyramidStore(data.draw(stored(source)), method=method, chunks=tile, workers=2, **face)
    group = zarr.open(store)
    expected = reference.levels(source, (2, 2), len(store.pyramid.levels), method)
    assert all(n <= c for n, c in zip(expected[-1].shape, tile, strict=True))
    for k in data.draw(st.permutations(range(len(expected))), "order of reading"):
        equal(group[face["layout"].format(level=k)][...], expected[k])


@settings(max_examples=25)
@given(data=st.data())
def test_levels_of_stacks_in_another_order(data):
    """Three axes, transposed on the way: the same pixels as of the transposed array."""
    dtype = data.draw(st.sampled_from(["<f4", ">c8", "|u1", "<i2"]), "dtype")
    method = data.draw(st.sampled_from(["stride", "mean"]), "method")
    axes = "".join(data.draw(st.permutations("yxi"), "axes"))
    order = "".join(data.draw(st.permutations("yxi"), "order"))
    source = random_array(data.draw(st.integers(0, 99)), data.draw(shapes(ndim=3, most=14)), dtype)
    made = data.draw(st.sampled_from([True, False]), "stored")
    src = data.draw(stored(source)) if made else source
    store = LazyPyramidStore(src, axes=axes, order=order, method=method, chunks=(4, 3), levels=3)
    factors = tuple(1 if a == "i" else 2 for a in order)
    expected = reference.levels(source.transpose([axes.index(a) for a in order]), factors, 3, method)
    group = zarr.open(store)
    for k in (2, 0, 1):
        equal(group[str(k)][...], expected[k])
    assert group["0"].metadata.dimension_names == tuple(order)


@settings(max_examples=25)
@given(data=st.data())
def test_mapping_store_and_eager_copy_are_the_same_bytes(data):
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    source = random_array(0, data.draw(shapes(most=20)), dtype)
    face = data.draw(faces(), "face")
    options = {"method": data.draw(st.sampled_from(["stride", "mean"])), "chunks": (4, 5), **face}
    store, again = LazyPyramidStore(source, **options), LazyPyramidStore(source, **options)
    copy = {key: store[key] for key in store}
    prototype = default_buffer_prototype()
    for key, value in copy.items():
        assert type(value) is bytes
        assert sync(again.get(key, prototype)).to_bytes() == value
        assert sync(again.getsize(key)) == len(value)
    held = {key: prototype.buffer.from_bytes(value) for key, value in copy.items()}
    eager, lazy = zarr.open(MemoryStore(held), mode="r"), zarr.open(again)
    for k in range(len(store.pyramid.levels)):
        path = face["layout"].format(level=k)
        equal(lazy[path][...], eager[path][...])
        assert lazy[path].metadata == eager[path].metadata
    assert dict(lazy.attrs) == dict(eager.attrs)


@pytest.mark.parametrize("method", ["min", "max", "first_valid", "median", "mode"])
@pytest.mark.parametrize("dtype", ["<f4", ">i2", "|u1"])
def test_other_methods(method, dtype):
    source = random_array(5, (37, 22), dtype)
    if source.dtype.kind in "iu":
        source %= 7
    store = LazyPyramidStore(zarr_array(source, chunks=(10, 7)), method=method, chunks=(8, 8), workers=2)
    expected = reference.levels(source, (2, 2), len(store.pyramid.levels), method)
    for k, level in enumerate(expected):
        equal(zarr.open(store)[str(k)][...], level)


@pytest.mark.parametrize("method", ["mean", "min", "max", "first_valid", "median", "mode"])
@pytest.mark.fault("S11")
def test_nodata_is_left_out(method):
    source = (random_array(6, (33, 20), "<i2") % 5).astype("<i2")
    store = LazyPyramidStore(source, method=method, nodata=3, chunks=(4, 4))
    expected = reference.levels(source, (2, 2), len(store.pyramid.levels), method, nodata=3)
    for k, level in enumerate(expected):
        equal(zarr.open(store)[str(k)][...], level)
    tile = store["0/c/8/0"]
    assert np.frombuffer(tile, "<i2").reshape(4, 4)[1:].tolist() == [[3] * 4] * 3, "beyond the edge: nodata"


@settings(max_examples=30)
@given(data=st.data())
def test_factors_of_volumes(data):
    """Boxes of any size along any axis."""
    factors = {a: data.draw(st.sampled_from([1, 2, 3, 4]), a) for a in "zyx"}
    if set(factors.values()) == {1}:
        factors["z"] = 2
    method = data.draw(st.sampled_from(["stride", "mean", "median", "mode", "max"]), "method")
    source = random_array(3, data.draw(shapes(ndim=3, most=16)), "<f4")
    tile = tuple(data.draw(st.integers(1, 6)) for _ in range(3))
    store = LazyPyramidStore(
        data.draw(stored(source)), axes="zyx", factors=factors, method=method, chunks=tile, levels=3, workers=2
    )
    expected = reference.levels(source, tuple(factors[a] for a in "zyx"), 3, method)
    for k in (2, 1, 0):
        equal(zarr.open(store)[str(k)][...], expected[k])


def test_agrees_with_xarray_coarsen():
    """Float means against somebody else's code too."""
    import xarray as xr

    source = np.random.default_rng(1).normal(size=(64, 48)).astype("f4")
    level = xr.DataArray(source, dims=("y", "x"))
    group = zarr.open(LazyPyramidStore(source, method="mean", chunks=(8, 8)))
    for k in (1, 2, 3):
        level = level.coarsen(y=2, x=2, boundary="pad", side="left").mean()
        np.testing.assert_allclose(group[str(k)][...], level.values, rtol=1e-5, atol=1e-6)


def test_agrees_with_tensorstore_downsample():
    import tensorstore as ts

    source = np.random.default_rng(1).normal(size=(64, 32)).astype("f4")
    group = zarr.open(LazyPyramidStore(source, chunks=(8, 8)))
    for k in (1, 2, 3):
        view = ts.downsample(ts.array(source), [2**k, 2**k], method="stride")
        equal(group[str(k)][...], view.read().result())


@pytest.mark.parametrize("name", ["geo_elevation", "geo_landsat_peru", "micro_fly_kc167", "sar_s1_morocco_ifg"])
def test_real_data(data_dir, name):
    """Real scenes, as they are: stride of every level, and one level of means."""
    (root,) = (data_dir / name).glob("*.zarr")
    node = zarr.open(root, mode="r")
    arrays = [node] if isinstance(node, zarr.Array) else [a for _, a in node.arrays() if a.ndim >= 2]
    assert arrays
    for array in arrays[:2]:
        store = LazyPyramidStore(array, chunks=(64, 64))
        factors = tuple(2 if a in "yx" else 1 for a in store.pyramid.axes)
        group = zarr.open(store)
        for k in reversed(range(len(store.pyramid.levels))):
            equal(group[str(k)][...], reference.stride(array[...], factors, k))
