"""Levels as DataArray, dask array and DataTree: against xarray reading the same store, and numpy."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import lazypyr
from lazypyr import LazyPyramidStore, PlanError
from support import reference
from support.http import served

DATA = np.random.default_rng(0).normal(280, 9, (3, 120, 150)).astype("f4")


def field(**options):
    """Temperatures over time, latitudes that fall and longitudes."""
    coords = {
        "time": np.array(["2020-01-01", "2020-02-01", "2020-04-01"], "M8[ns]"),
        "lat": ("lat", 60 - 0.5 * np.arange(120), {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", 5 + 0.25 * np.arange(150), {"units": "degrees_east"}),
    }
    array = xr.DataArray(DATA, dims=("time", "lat", "lon"), coords=coords, name="t2m", attrs={"units": "K"})
    return lazypyr.open_pyramid(array, chunks=(32, 32), **options)


class Watched:
    """An array that remembers what was read of it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, 0

    def __getitem__(self, key):
        self.reads += 1
        return self.array[key]


@pytest.mark.parametrize("method", ["stride", "mean"])
@pytest.mark.parametrize("level", [0, 1, 2, -1])
def test_a_level_is_a_lazy_data_array(method, level):
    pyramid = field(method=method)
    number = level % len(pyramid.levels)
    array = pyramid.to_xarray(level)
    assert (array.name, array.dims, array.attrs["units"]) == ("t2m", ("time", "lat", "lon"), "K")
    assert array.chunks[1][0] == min(32, array.sizes["lat"])
    np.testing.assert_array_equal(array.values, pyramid.read(level))
    expected = reference.levels(DATA[0], (2, 2), number + 1, method)[number]
    np.testing.assert_allclose(array.values[0], expected, rtol=1e-6)
    offset = (2**number - 1) / 2 if method == "mean" else 0
    np.testing.assert_allclose(array.lat, 60 - 0.5 * (np.arange(array.sizes["lat"]) * 2**number + offset))
    np.testing.assert_allclose(array.lon, 5 + 0.25 * (np.arange(array.sizes["lon"]) * 2**number + offset))
    assert array.lat.attrs["units"] == "degrees_north"
    assert pickle.loads(pickle.dumps(array)).identical(array)


def test_nothing_is_read_before_values_are_asked_for():
    watched = Watched(DATA[0])
    pyramid = lazypyr.open_pyramid(watched, chunks=(32, 32))
    level, blocks, tree = pyramid.to_xarray(1), pyramid.to_dask(1), pyramid.to_datatree()
    assert watched.reads == 0
    assert level.name == "image"
    np.testing.assert_array_equal(level[:5, :5].values, DATA[0, :10:2, :10:2])
    assert watched.reads == 1
    np.testing.assert_array_equal(blocks.compute(), DATA[0, ::2, ::2])
    np.testing.assert_array_equal(tree["1/image"].values, DATA[0, ::2, ::2])


def test_values_without_coordinates():
    array = lazypyr.open_pyramid(DATA, chunks=(32, 32)).to_xarray(1)
    assert (array.dims, dict(array.coords)) == (("i", "y", "x"), {})
    np.testing.assert_array_equal(array.values, DATA[:, ::2, ::2])


def test_dask_has_the_numbers_as_stored():
    stored = np.arange(6000, dtype="i2").reshape(60, 100)
    packed = xr.DataArray(stored, dims=("y", "x"), attrs={"scale_factor": 0.1, "add_offset": 5.0, "_FillValue": -1})
    pyramid = lazypyr.open_pyramid(packed, chunks=(32, 32))
    blocks = pyramid.to_dask(1)
    assert blocks.dtype == "int16"
    assert blocks.chunks == ((30,), (32, 18))
    np.testing.assert_array_equal(blocks.compute(scheduler="threads"), pyramid.read(1))
    assert pyramid.to_dask(0, chunks=50).chunks == ((50, 10), (50, 50))
    raw, decoded = pyramid.to_xarray(1, decode=False), pyramid.to_xarray(1)
    np.testing.assert_array_equal(raw.values, pyramid.read(1))
    np.testing.assert_allclose(decoded.values, raw.values * 0.1 + 5, rtol=1e-6)


def test_blocks_may_be_chosen_by_the_names_of_the_source():
    array = field().to_xarray(0, chunks={"lat": 64, "time": 3})
    assert array.chunks[:2] == ((3,), (64, 56))


def test_a_tree_of_all_levels():
    tree = field(method="mean").to_datatree()
    assert [tree[name].t2m.shape[1:] for name in tree.children] == [(120, 150), (60, 75), (30, 38), (15, 19)]
    assert all(tree[name].t2m.chunks is not None for name in tree.children)
    for name in tree.children:
        assert tree[name].t2m.drop_attrs().equals(field(method="mean").to_xarray(int(name)).drop_attrs())
    near = tree["2"].t2m.sel(lat=40, lon=20, method="nearest")
    assert abs(float(near.lat) - 40) <= 1


def test_what_xarray_opens_of_a_served_pyramid_is_the_same():
    pyramid = field(method="mean")
    with served({"t": LazyPyramidStore(pyramid, layout="{level}/t2m")}) as handle:
        url = f"{handle.url}/t/"
        tree = xr.open_datatree(url, engine="zarr", chunks={})
        level = xr.open_dataset(url, engine="zarr", group="1", chunks={})
        for array in (tree["1/t2m"], level.t2m):
            assert array.chunks is not None
            np.testing.assert_array_equal(array.values, pyramid.read(1))
            np.testing.assert_allclose(array.y, pyramid.to_xarray(1).lat)
            np.testing.assert_allclose(array.x, pyramid.to_xarray(1).lon)


@pytest.mark.parametrize("name", ["lat", "y", "a/b", "{level}", "zarr.json", "c", "größe", ""])
def test_names_that_can_not_be_paths_are_kept_all_the_same(name):
    array = xr.DataArray(DATA[0], dims=("lat", "lon"), name=name)
    got = lazypyr.open_pyramid(array, chunks=(32, 32)).to_xarray(1)
    assert got.name == (name or "image")
    np.testing.assert_array_equal(got.values, DATA[0, ::2, ::2])


def test_products_and_an_engine_of_the_users():
    engine = lazypyr.Engine(cache_bytes=2**24)
    wide = field().map("cast", dtype="f8").to_xarray(1, engine=engine)
    assert wide.dtype == "f8"
    np.testing.assert_array_equal(wide.values, DATA[:, ::2, ::2])
    assert engine.cache_info().currsize > 0


def test_levels_that_are_not_there():
    for ask in (field().to_xarray, field().to_dask):
        with pytest.raises(PlanError, match="no level 9"):
            ask(9)


ORDERS = {
    "lazypyr first": "import lazypyr, sys; assert 'xarray' not in sys.modules; import xarray",
    "xarray first": "import xarray, lazypyr",
    "lazypyr alone": "import lazypyr, sys; assert 'xarray' not in sys.modules; import numpy, xarray.core.dataarray, xarray",
    "twice": "import lazypyr, importlib, xarray; importlib.reload(xarray); import lazypyr.representations.accessor as a; "
    "a.register_with_xarray()",
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_accessor_is_there_in_either_order(order):
    code = f"""{ORDERS[order]}
import numpy, sys
array = xarray.DataArray(numpy.arange(80.0).reshape(8, 10), dims=("lat", "lon"), name="a")
assert type(array.lazypyr) is type(array[0].lazypyr) is lazypyr.representations.accessor.PyramidAccessor
assert not [f for f in sys.meta_path if f.__class__.__module__.startswith("lazypyr")]
print(xarray.__spec__.loader.__class__.__name__)"""
    done = subprocess.run(
        [sys.executable, "-W", "error::Warning:xarray", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "SourceFileLoader"), done.stderr


def test_what_the_accessor_makes():
    array = xr.DataArray(DATA[0], dims=("lat", "lon"), name="t2m")
    assert array.lazypyr.pyramid(method="mean").method == "mean"
    assert isinstance(array.lazypyr.store(chunks=32), LazyPyramidStore)
    assert list(array.lazypyr.to_datatree(chunks=64, levels=2).children) == ["0", "1"]
    assert array.lazypyr.level(3).shape == (15, 19)
    with pytest.raises(PlanError, match="no level 3"):
        array.lazypyr.level(3, levels=2)
    assert array.lazypyr.plot()[()].data.shape == (120, 150)
    with array.lazypyr.serve(port=0) as handle:
        np.testing.assert_array_equal(
            xr.open_dataset(f"{handle.url}/t2m/", engine="zarr", drop_variables=["1"])["0"], DATA[0]
        )


def test_datasets_have_an_accessor_too():
    plane = (("lat", "lon"), DATA[0])
    dataset = xr.Dataset({"t2m": plane, "rain": plane})
    assert list(dataset.lazypyr.store(chunks=32).pyramids) == ["t2m", "rain"]
    with dataset.lazypyr.serve(port=0) as handle:
        tree = xr.open_datatree(f"{handle.url}/xarray/dataset/", engine="zarr", chunks={})
        np.testing.assert_array_equal(tree["rain/0/image"], DATA[0])
