"""Columns of points that xarray packed are what xarray decodes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import lazypyr

N = 400
PACKED = {"x": (0.001, 3.5e6), "y": (-0.001, 5.8e6), "z": (0.01, None), "height": (0.5, -10.0)}


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    columns = {
        "x": 3.5e6 + rng.integers(1, 20000, N) * 0.001,
        "y": 5.8e6 + rng.integers(1, 20000, N) * 0.001,
        "z": rng.integers(1, 100, N) * 0.01,
        "height": rng.integers(1, 100, N) * 0.5,
    }
    columns["height"][:20] = np.nan
    return columns


@pytest.fixture(params=[2, 3])
def cloud(values, tmp_path, request):
    encoding = {
        name: {
            "dtype": "i4",
            "scale_factor": scale,
            "_FillValue": -1,
            "chunks": (100,),
            **({} if offset is None else {"add_offset": offset}),
        }
        for name, (scale, offset) in PACKED.items()
    }
    dataset = xr.Dataset({name: ("point", column) for name, column in values.items()})
    dataset.to_zarr(tmp_path / "p.zarr", encoding=encoding, zarr_format=request.param)
    return tmp_path / "p.zarr"


def test_columns_are_what_xarray_reads(cloud, values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = xr.open_zarr(cloud)
    points = lazypyr.read_points(cloud, resolution=1.0, values="height", method="mean")
    assert max(points.shape) <= 22
    np.testing.assert_allclose(points.coords["x"].origin, np.floor(values["x"].min()) + 0.5, atol=1)
    for name in ("x", "y", "z"):
        column = getattr(points, name) if name != "z" else points.cloud.z
        np.testing.assert_array_equal(column.read(((0, N),)), dataset[name].values)
    np.testing.assert_array_equal(points.values.read(((0, N),)), dataset["height"].values)
    plain = lazypyr.from_points(
        *(dataset[name].values for name in ("x", "y", "height")), resolution=1.0, z=dataset["z"].values, method="mean"
    )
    for level in range(len(points.levels)):
        np.testing.assert_array_equal(points.read(level), plain.read(level))


def test_arrays_that_are_given_one_by_one(cloud, values):
    group = zarr.open_group(cloud, mode="r")
    raw = xr.open_zarr(cloud, mask_and_scale=False)
    lazy = xr.open_zarr(cloud, mask_and_scale=False, chunks={"point": 100})
    paths = {name: str(cloud / name) for name in PACKED}
    wanted = None
    for given in (group, raw.load(), lazy, paths):
        points = lazypyr.from_points(given["x"], given["y"], given["height"], resolution=1.0)
        found = points.read(0)
        wanted = found if wanted is None else wanted
        np.testing.assert_array_equal(found, wanted)
    assert wanted.dtype == "f8"
    again = lazypyr.open_pyramid(points.to_recipe())
    np.testing.assert_array_equal(again.read(0), wanted)


def test_points_whose_coordinates_hold_nothing_are_left_out(tmp_path):
    group = zarr.open_group(tmp_path / "p.zarr", mode="w")
    for name, column in (("x", [0, 1, -1]), ("y", [0, 3, 2])):
        array = group.create_array(name, data=np.array(column, "i4"))
        array.attrs.update({"_FillValue": -1})
    with pytest.warns(UserWarning, match="1 of 3 points"):
        points = lazypyr.read_points(tmp_path / "p.zarr", resolution=1.0)
        assert points.read(0).sum() == 2


def test_a_materialized_cloud_is_read_as_it_was_written(cloud, tmp_path):
    points = lazypyr.read_points(cloud, resolution=1.0, values="height")
    lazypyr.materialize(points, tmp_path / "out.zarr", progress=False)
    again = lazypyr.read_points(tmp_path / "out.zarr")
    for level in range(len(points.levels)):
        np.testing.assert_array_equal(again.read(level), points.read(level))
