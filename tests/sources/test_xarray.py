"""DataArrays as they come out of xarray: picked, sliced, turned, lazy or not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import lazypyr

DATA = np.arange(3 * 60 * 80, dtype="f4").reshape(3, 60, 80)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xarray")
    dataset = xr.Dataset(
        {"t": (("time", "lat", "lon"), DATA, {"units": "K"})},
        coords={"time": [1, 2, 3], "lat": np.linspace(-29.5, 29.5, 60), "lon": 0.5 + np.arange(80)},
    )
    dataset.to_zarr(folder / "d.zarr", encoding={"t": {"chunks": (1, 25, 30)}}, zarr_format=2)
    dataset.to_zarr(folder / "d3.zarr", encoding={"t": {"chunks": (1, 25, 30)}}, zarr_format=3)
    dataset.to_netcdf(folder / "d.nc", engine="h5netcdf", encoding={"t": {"chunksizes": (1, 20, 20)}})
    return folder


OPENED = {
    "zarr": lambda f: xr.open_dataset(f / "d.zarr", engine="zarr").t,
    "zarr v3": lambda f: xr.open_dataset(f / "d3.zarr", engine="zarr").t,
    "dask": lambda f: xr.open_dataset(f / "d.zarr", engine="zarr", chunks={}).t,
    "one dask block": lambda f: xr.open_dataset(f / "d.zarr", engine="zarr", chunks=-1).t,
    "netcdf": lambda f: xr.open_dataset(f / "d.nc", engine="h5netcdf").t,
    "loaded": lambda f: xr.open_dataset(f / "d.zarr", engine="zarr").t.load(),
}
SELECTED = {
    "whole": lambda a: a,
    "isel": lambda a: a.isel(time=0),
    "sel": lambda a: a.sel(time=2),
    "nearest": lambda a: a.sel(time=2.2, method="nearest"),
    "a part": lambda a: a.isel(time=1, lat=slice(5, 50), lon=slice(3, 70)),
    "every third": lambda a: a.isel(time=0, lat=slice(None, None, 3)),
    "backwards": lambda a: a.isel(time=0, lat=slice(None, None, -1)),
    "some rows": lambda a: a.isel(time=0, lat=[40, 3, 3, 17, *range(20)]),
    "by label": lambda a: a.sel(time=1, lat=slice(-10, 20)),
    "turned": lambda a: a.transpose("lon", "time", "lat"),
    "turned and picked": lambda a: a.isel(time=2).transpose("lon", "lat"),
    "one more axis": lambda a: a.isel(time=0).expand_dims("member"),
    "renamed": lambda a: a.isel(time=0).rename(lat="y", lon="x"),
    "squeezed": lambda a: a.isel(time=slice(0, 1)).squeeze(),
    "computed": lambda a: a.isel(time=0) * 2,
    "mean": lambda a: a.mean("time", keep_attrs=True),
}


@pytest.mark.parametrize("selected", SELECTED)
@pytest.mark.parametrize("opened", OPENED)
def test_every_level_of_a_selection_is_right(opened, selected, files):
    array = SELECTED[selected](OPENED[opened](files))
    pyramid = lazypyr.open_pyramid(array, chunks=(16, 16))
    assert pyramid.shape == array.shape
    step = [2 if axis in "yx" else 1 for axis in pyramid.axes]
    values = array.values
    np.testing.assert_array_equal(pyramid.read(0), values)
    np.testing.assert_array_equal(pyramid.read(1), values[tuple(slice(None, None, s) for s in step)])


@pytest.mark.parametrize("method", ["stride", "mean", "median"])
def test_methods_on_a_selection_that_is_not_of_dask(method, files):
    lazy = xr.open_dataset(files / "d.zarr", engine="zarr").t.isel(time=0)
    loaded = lazypyr.open_pyramid(DATA[0], method=method, chunks=(16, 16))
    for level in (0, 1, 2):
        got = lazypyr.open_pyramid(lazy, method=method, chunks=(16, 16)).read(level)
        np.testing.assert_array_equal(got, loaded.read(level))


@pytest.mark.parametrize(
    ("encoding", "chunks"),
    [
        ({"chunks": (25, 30), "preferred_chunks": {"lat": 25, "lon": 30}}, (25, 30)),
        ({"chunks": (1, 25, 30), "preferred_chunks": {"time": 1, "lat": 25, "lon": 30}}, (25, 30)),
        ({"chunks": (1, 25, 30)}, None),
        ({"chunks": (30, 25), "preferred_chunks": {"lon": 30, "lat": 25}}, (25, 30)),
        ({"preferred_chunks": {"lat": (25, 25, 10), "lon": 200}}, (25, 80)),
        ({"chunksizes": (20, 20)}, (20, 20)),
        ({"chunksizes": (20, 20), "original_shape": (3, 60, 80)}, None),
        ({"chunks": (0, 20)}, None),
        ({"chunks": None}, None),
        ({"chunks": ("a", "b")}, None),
        ({}, None),
    ],
)
def test_chunks_of_the_encoding_count_where_they_are_about_this_array(encoding, chunks, files):
    array = xr.open_dataset(files / "d.zarr", engine="zarr").t.isel(time=0)
    array.encoding = encoding
    source = lazypyr.open_pyramid(array).stored_levels[0]
    assert source.chunks == (chunks or (60, 80))
