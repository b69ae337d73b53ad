"""Place and CRS of what is served and written, as GDAL, rioxarray, pyproj, xarray and lazypyr itself read them."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 - the accessor `rio`
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import lazypyr

CODE, WKT = "EPSG:32633", rasterio.crs.CRS.from_epsg(32633).to_wkt()
GAUSSIAN = 90 * np.cos(np.linspace(0.01, np.pi - 0.01, 70))


def raster(crs):
    return xr.DataArray(
        np.zeros((600, 800), "f4"),
        dims=("y", "x"),
        coords={"y": 5e6 - 10 * (np.arange(600) + 0.5), "x": 3e5 + 10 * (np.arange(800) + 0.5)},
        attrs={"crs": crs},
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("layout", ["{level}", "{level}/image"])
@pytest.mark.parametrize("crs", [CODE, WKT, pyproj.CRS(CODE).to_json()], ids=["code", "WKT", "PROJJSON"])
def test_gdal_finds_the_crs_of_what_is_written(tmp_path, crs, layout):
    """The GDAL of rasterio's wheels for Python 3.11 reads v2 only, and places by coordinates beside the array."""
    store = lazypyr.LazyPyramidStore(raster(crs), zarr_format=2, layout=layout, method="mean")
    lazypyr.materialize(store, tmp_path / "o.zarr", progress=False)
    for level in (0, 1):
        with rasterio.open(f'ZARR:"{tmp_path / "o.zarr"}":/{layout.format(level=level)}') as opened:
            assert opened.crs.to_epsg() == 32633
            if layout != "{level}":
                step = 10.0 * 2**level
                assert tuple(opened.transform)[:6] == (step, 0.0, 3e5, 0.0, -step, 5e6)


@pytest.mark.parametrize("with_pyproj", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("crs", [CODE, WKT], ids=["code", "WKT"])
def test_rioxarray_and_pyproj_find_the_crs(crs, zarr_format, with_pyproj, monkeypatch):
    if not with_pyproj:
        monkeypatch.setattr("lazypyr.metadata.crs._cf", lambda crs: ())
    store = lazypyr.LazyPyramidStore(raster(crs), zarr_format=zarr_format, layout="{level}/image", method="mean")
    image = xr.open_dataset(store, engine="zarr", group="1").image
    assert image.rio.crs.to_epsg() == 32633
    assert tuple(image.rio.transform())[:6] == (20.0, 0.0, 3e5, 0.0, -20.0, 5e6)
    assert pyproj.CRS.from_cf(image.spatial_ref.attrs).to_epsg() == 32633
    # The parameters of CF, where pyproj is installed; text that the source has comes through without it.
    assert ("grid_mapping_name" in image.spatial_ref.attrs) is with_pyproj
    assert ("crs_wkt" in image.spatial_ref.attrs) is (with_pyproj or crs == WKT)


@pytest.mark.parametrize("layout", ["{level}", "{level}/image"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_uneven_coordinates_are_served_as_they_are_and_no_affine_is(tmp_path, zarr_format, layout):
    values = np.zeros((70, 40), "f4")
    attrs = {"units": "degrees_north", "standard_name": "latitude"}
    array = xr.DataArray(
        values,
        dims=("lat", "lon"),
        coords={"lat": ("lat", GAUSSIAN, attrs), "lon": np.arange(40) * 0.9},
        attrs={"crs": "EPSG:4326"},
    )
    store = lazypyr.LazyPyramidStore(array, zarr_format=zarr_format, layout=layout, method="mean", chunks=16)
    lazypyr.materialize(store, tmp_path / "o.zarr", progress=False)
    for root in (zarr.open_group(store, mode="r"), zarr.open_group(tmp_path / "o.zarr", mode="r")):
        nodes = [root, root[layout.format(level=0)], root[layout.format(level=1)]]
        said = {key for node in nodes for key in node.attrs}
        assert not said & {"spatial:bbox", "spatial:transform", "spatial:dimensions"}
        latitudes = root["y" if layout == "{level}" else "0/y"]
        np.testing.assert_array_equal(latitudes[...], GAUSSIAN)
        assert attrs.items() <= dict(latitudes.attrs).items()
    if layout != "{level}":
        pairs = (GAUSSIAN[::2] + GAUSSIAN[1::2]) / 2
        np.testing.assert_allclose(zarr.open_group(store, mode="r")["1/y"][...], pairs)
    again = lazypyr.open_pyramid(tmp_path / "o.zarr")
    np.testing.assert_array_equal(again.metadata.coord_arrays["y"].values, GAUSSIAN)
    assert (again.crs, again.coords["x"].step) == ("EPSG:4326", pytest.approx(0.9))


def test_only_attributes_of_a_projected_mapping_are_kept_that_hold_for_a_level():
    source = raster(CODE).drop_attrs().rio.write_crs(32633).rio.write_transform()
    store = lazypyr.LazyPyramidStore(source, layout="{level}/image", method="stride")
    root = zarr.open_group(store, mode="r")
    first, second = (root[f"{level}/spatial_ref"].attrs["GeoTransform"].split() for level in (0, 1))
    assert [float(number) for number in first] == [3e5, 10, 0, 5e6, 0, -10]
    # A stride's sample sits on its pixel of level 0, so that its own begins half a pixel before.
    assert [float(number) for number in second] == [3e5 - 5, 20, 0, 5e6 + 5, 0, -20]
    flat = zarr.open_group(lazypyr.LazyPyramidStore(source), mode="r")
    assert "GeoTransform" not in flat["spatial_ref"].attrs


AXES = ("time", "y", "x")


@st.composite
def datasets(draw):
    order = draw(st.permutations(AXES))
    sizes = {"time": 3, "y": draw(st.integers(5, 20)), "x": draw(st.integers(5, 20))}
    coords = {}
    for axis in ("y", "x"):
        step = draw(st.sampled_from([-10.0, 0.25, 1 / 3600, 1000.0])) * draw(st.sampled_from([1, -1]))
        even = draw(st.sampled_from([-180.0, 0.0, 5e6])) + step * np.arange(sizes[axis])
        bent = even + step * 0.3 * np.sin(np.arange(sizes[axis]))
        values = draw(st.sampled_from([even, bent])).astype(draw(st.sampled_from(["f8", "f4"])))
        coords[axis] = (axis, values, {"units": draw(st.sampled_from(["m", "degrees_north"]))} if axis == "y" else {})
    calendar = draw(st.sampled_from(["standard", "noleap", "360_day", "proleptic_gregorian"]))
    start = draw(st.sampled_from(["1850-01-01", "2000-02-28", "2020-12-30"]))
    freq = draw(st.sampled_from(["D", "6h", "MS"]))
    use_cftime = calendar not in ("standard", "proleptic_gregorian")
    coords["time"] = xr.date_range(start, periods=3, freq=freq, calendar=calendar, use_cftime=use_cftime)
    shape = [sizes[axis] for axis in order]
    return xr.DataArray(np.zeros(shape, "f4"), dims=order, coords=coords, name="v", attrs={"crs": CODE})


@given(
    array=datasets(),
    zarr_format=st.sampled_from([2, 3]),
    stored=st.booleans(),
    method=st.sampled_from(["stride", "mean"]),
)
@settings(max_examples=12, deadline=None)
def test_coordinates_come_back_as_they_were(array, zarr_format, stored, method):
    source = array
    if stored:
        source = zarr.storage.MemoryStore()
        array.to_dataset().to_zarr(source, zarr_format=zarr_format, consolidated=True)
    store = lazypyr.LazyPyramidStore(source, zarr_format=zarr_format, layout="{level}/image", method=method, chunks=4)
    found = xr.open_dataset(store, engine="zarr", group="0")
    for axis in AXES:
        np.testing.assert_array_equal(found[axis].values, array[axis].values)
        assert found[axis].dtype == array[axis].dtype or axis == "time"
        assert found[axis].attrs.items() >= array[axis].attrs.items()
    assert found.image.dims == array.dims
    coarser = xr.open_dataset(store, engine="zarr", group="1")
    np.testing.assert_array_equal(coarser.time.values, array.time.values)
    if method == "stride":
        np.testing.assert_array_equal(coarser.y.values, array.y.values[::2])
    again = lazypyr.open_pyramid(dict(store))
    assert again.crs == CODE
    assert sorted(again.metadata.coord_arrays) == sorted(store.pyramid.metadata.coord_arrays)
    for axis, coord in store.pyramid.coords.items():
        assert again.coords[axis].origin == coord.origin
        assert again.coords[axis].step == coord.step
