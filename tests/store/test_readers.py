"""Other people's readers and validators on what the store serves."""

from __future__ import annotations

import json

import ngff_zarr
import numpy as np
import ome_zarr_models
import pytest
import xarray as xr
import zarr

from lazypyr import LazyPyramidStore, from_function, materialize
from support import reference
from support.sources import random_array, zarr_array

SOURCE = random_array(0, (50, 70), "<i4")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_xarray_opens_a_datatree(zarr_format, consolidated):
    src = xr.DataArray(
        SOURCE, dims=("y", "x"), coords={"x": 100 + 20.0 * np.arange(70), "y": 900 - 20.0 * np.arange(50)}
    )
    store = LazyPyramidStore(src, method="mean", chunks=(16, 16), zarr_format=zarr_format, layout="{level}/image")
    expected = reference.levels(SOURCE, (2, 2), 4, "mean")
    with xr.open_datatree(store, engine="zarr", consolidated=consolidated, mask_and_scale=False) as tree:
        assert sorted(tree.children) == ["0", "1", "2", "3"]
        for k, level in enumerate(expected):
            image = tree[f"{k}/image"]
            assert image.dims == ("y", "x")
            np.testing.assert_array_equal(image.values, level)
            assert image.dtype == SOURCE.dtype
            # the mean's pixels sit at the centres of their boxes
            width = 2**k
            np.testing.assert_allclose(image.x, 100 + 20.0 * (np.arange(level.shape[1]) * width + (width - 1) / 2))
            np.testing.assert_allclose(image.y, 900 - 20.0 * (np.arange(level.shape[0]) * width + (width - 1) / 2))
    with xr.open_dataset(store, engine="zarr", group="2", consolidated=False, mask_and_scale=False) as level:
        np.testing.assert_array_equal(level["image"].values, expected[2])
        nearest = level["image"].sel(x=460.0, y=600.0, method="nearest")
        assert nearest.values == expected[2][(900 - 600) // 80, (460 - 100) // 80]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_coordinates_beside_the_levels(tmp_path, zarr_format):
    """They have units, are kept with what is materialized, and are left out where nobody knows or could load them."""
    src = xr.DataArray(SOURCE, dims=("y", "x"), coords={"x": 5.0 * np.arange(70)})
    src.x.attrs["units"] = "meter"
    store = LazyPyramidStore(src, chunks=(16, 16), zarr_format=zarr_format, layout="{level}/image")
    materialize(store, tmp_path / "kept.zarr", progress=False)
    for root in (zarr.open_group(store, mode="r"), zarr.open_group(tmp_path / "kept.zarr", mode="r")):
        assert sorted(name for name, _ in root["1"].arrays()) == ["image", "x"]
        np.testing.assert_array_equal(root["1/x"][...], 10.0 * np.arange(35))
        assert root["1/x"].attrs["units"] == "meter"
    level = xr.open_dataset(tmp_path / "kept.zarr", engine="zarr", group="1", consolidated=False)
    np.testing.assert_array_equal(level["image"].x, 10.0 * np.arange(35))
    assert "x" not in zarr.open_group(LazyPyramidStore(src, zarr_format=zarr_format), mode="r")
    endless = from_function(lambda *_: None, shape=(2**40, 64), dtype="u1", bounds=(0, 2**40, 64, 0))
    vast = LazyPyramidStore(endless, layout="{level}/image")
    assert "0/x/zarr.json" in vast
    assert "0/y/zarr.json" not in vast


def test_xarray_with_dask(tmp_path):
    """Chunks of the store are blocks of dask, computed in dask's threads."""
    zarr_array(SOURCE, store=tmp_path / "a.zarr", chunks=(16, 16))
    store = LazyPyramidStore(tmp_path / "a.zarr", chunks=(16, 16), layout="{level}/image", workers=1)
    with xr.open_datatree(store, engine="zarr", chunks={}, mask_and_scale=False) as tree:
        image = tree["1/image"]
        assert image.chunks == ((16, 9), (16, 16, 3))
        assert int(image.sum()) == int(SOURCE[::2, ::2].sum())


IMAGES = {
    "plane": (SOURCE, {}),
    "channels": (random_array(1, (2, 40, 50), "|u1"), {"axes": "cyx"}),
    "stack": (random_array(1, (40, 50, 3), "<u2"), {"axes": "yxc", "order": "cyx"}),
    "volume": (random_array(1, (1, 2, 3, 40, 50), "<u2"), {"axes": "tczyx", "factors": {"z": 2}}),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("kind", "layout"), [*((kind, "{level}") for kind in IMAGES), ("plane", "{level}/image")])
def test_ome_validators(zarr_format, layout, kind):
    source, options = IMAGES[kind]
    store = LazyPyramidStore(source, chunks=(16, 16), method="mean", zarr_format=zarr_format, layout=layout, **options)
    group = zarr.open_group(store, mode="r")
    model = ome_zarr_models.open_ome_zarr(group)
    version = "0.5" if zarr_format == 3 else "0.4"
    assert type(model).__module__.split(".")[1] == f"v{version.replace('.', '')}"
    attributes = json.loads(store["zarr.json"])["attributes"] if zarr_format == 3 else json.loads(store[".zattrs"])
    ngff_zarr.validate(attributes, version=version, model="image", strict=True)
    images = ngff_zarr.from_ngff_zarr(store, validate=True).images
    assert len(images) == len(store.pyramid.levels)
    for image, level in zip(images, store.pyramid.levels, strict=True):
        assert image.data.shape == level.shape
    axis = images[0].dims.index("x")
    assert images[1].scale["x"] == 2 * images[0].scale["x"]
    assert images[1].translation["x"] - images[0].translation["x"] == pytest.approx(0.5)
    np.testing.assert_array_equal(images[-1].data.compute(), group[layout.format(level=len(images) - 1)][...])
    assert images[0].data.shape[axis] == source.shape[options.get("axes", "yx").index("x")]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_tensorstore_reads_a_copy(zarr_format, tmp_path):
    """Byte for byte what a C++ implementation takes for zarr."""
    import tensorstore as ts

    store = LazyPyramidStore(SOURCE, chunks=(16, 16), method="mean", zarr_format=zarr_format, compressor="zstd")
    for key, value in store.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(value)
    for k in range(4):
        spec = {"driver": "zarr" if zarr_format == 2 else "zarr3", "kvstore": f"file://{tmp_path}/{k}/"}
        np.testing.assert_array_equal(ts.open(spec).result().read().result(), zarr.open(store)[str(k)][...])
