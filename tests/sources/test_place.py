"""Place and CRS of arrays by what lies around them, by every way in; references are xarray and rioxarray on the same store."""

from __future__ import annotations

import json
import pickle
import shutil
from importlib import import_module

import fsspec
import numpy as np
import pytest
import rioxarray  # noqa: F401 - the accessor `rio`
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, ZipStore

import lazypyr
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.variables import CoordArray

LAT, LON = np.linspace(-89.5, 89.5, 60), np.linspace(3.0, 357.0, 60)
GAUSSIAN = 90 * np.cos(np.linspace(0.01, np.pi - 0.01, 60))
WKT = xr.DataArray(0).rio.write_crs(4326).rio.crs.to_wkt()


def climate(lat=LAT, lon=LON, dims=("time", "lat", "lon"), **encoding):
    """As a dataset of CMIP6: coordinates, a grid mapping, dates of a calendar without leap days."""
    time = xr.date_range("2000-01-31", periods=2, freq="ME", calendar="noleap", use_cftime=True)
    sizes = dict(zip(dims, (2, len(lat), len(lon)), strict=True))
    values = np.broadcast_to(lat[None, :, None], tuple(sizes.values())).astype("f4")
    dataset = xr.Dataset(
        {"hfls": (dims, values, {"grid_mapping": "crs", "units": "W m-2"})},
        coords={
            "time": time,
            dims[1]: (dims[1], lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
            dims[2]: (dims[2], lon, {"units": "degrees_east"}),
            "crs": ((), 0, {"crs_wkt": WKT, "grid_mapping_name": "latitude_longitude"}),
            "lat_bnds": ((dims[1], "bnds"), np.stack([lat - 1, lat + 1], 1)),
        },
    )
    dataset.time.encoding |= {"units": "days since 1850-01-01", "calendar": "noleap"}
    return dataset


class Counting(dict):
    """Mapping that keeps a list of the keys whose values were read."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = []

    def __getitem__(self, key):
        self.asked.append(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.asked.append(key)
        return super().get(key, default)


def references(path):
    """Kerchunk's references to each file of a store."""
    refs = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        refs[file.relative_to(path).as_posix()] = [str(file)]
    return fsspec.filesystem("reference", fo={"version": 1, "refs": refs}).get_mapper("")


def zipped(path):
    shutil.make_archive(str(path), "zip", path)
    return f"{path}.zip"


DOCUMENTS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
WAYS = {
    "path of the array": lambda p: str(p / "hfls"),
    "path of the group": str,
    "zarr.Array": lambda p: zarr.open_group(p, mode="r")["hfls"],
    "zarr.Array, opened alone": lambda p: zarr.open_array(p / "hfls", mode="r"),
    "zarr.Group": lambda p: zarr.open_group(p, mode="r"),
    "store": lambda p: LocalStore(p, read_only=True),
    "store of the array": lambda p: LocalStore(p / "hfls", read_only=True),
    "mapping": lambda p: {f.relative_to(p).as_posix(): f.read_bytes() for f in p.rglob("*") if f.is_file()},
    "fsspec mapper": lambda p: fsspec.get_mapper(str(p)),
    "references": references,
    "zip": zipped,
    "zip store": lambda p: ZipStore(zipped(p), mode="r"),
    "DataArray": lambda p: xr.open_zarr(p, decode_coords="all").hfls,
    "DataArray, not decoded": lambda p: xr.open_zarr(p, decode_cf=False).set_coords("crs").hfls,
    "variable of a Dataset": lambda p: xr.open_zarr(p, chunks=None, decode_coords="all")["hfls"],
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_gives_the_coordinates_that_xarray_gives(tmp_path, way, zarr_format):
    climate().to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=way != "zarr.Group")
    pyramid = lazypyr.open_pyramid(WAYS[way](tmp_path / "a.zarr"))
    assert pyramid.axes == ("time", "y", "x")
    for axis, values in (("y", LAT), ("x", LON)):
        coord = pyramid.coords[axis]
        np.testing.assert_allclose([coord.at(i) for i in range(60)], values, atol=1e-9)
    assert [pyramid.coords[a].unit for a in "yx"] == ["degrees_north", "degrees_east"]
    metadata = pickle.loads(pickle.dumps(pyramid.metadata))
    assert metadata.crs == pyramid.crs == WKT
    assert metadata.dims == {"time": "time", "y": "lat", "x": "lon"}
    time = metadata.along["time"]
    assert (time.attrs["units"].partition(" 00:")[0], time.attrs["calendar"]) == ("days since 1850-01-01", "noleap")
    np.testing.assert_array_equal(time.values, [150 * 365 + 30, 150 * 365 + 58])


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_opening_reads_no_chunk_and_no_document_beside_the_array_twice(tmp_path, zarr_format, consolidated):
    climate().to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=consolidated)
    counted = Counting(WAYS["mapping"](tmp_path / "a.zarr"))
    metadata = lazypyr.open_pyramid(counted).metadata
    there = [key for key in counted.asked if key in counted]
    assert all(key.rpartition("/")[2] in DOCUMENTS for key in there)
    around = [key for key in there if key.split("/")[0] in ("lat", "lon", "time", "crs", "lat_bnds")]
    assert sorted(around) == sorted(set(around))
    assert metadata.coords["y"].step == pytest.approx(LAT[1] - LAT[0])
    chunks = [key for key in counted.asked if key.rpartition("/")[2] not in DOCUMENTS]
    assert {key.partition("/")[0] for key in chunks} <= {"lat", "lon", "time"}
    asked = len(counted.asked)
    assert metadata.coords and metadata.coord_arrays is not None
    assert len(counted.asked) == asked


M = np.linspace(*np.log(np.tan(np.pi / 4 + np.deg2rad([50, 50.8]) / 2)), 12000)
SECONDS = 50 + np.arange(36000) / 3600
EVEN = {
    "rows even in Mercator": (np.rad2deg(2 * np.arctan(np.exp(M)) - np.pi / 2), False),
    "arc seconds in float32": (SECONDS.astype("f4"), True),
    "longitudes in float32": ((np.arange(3600) * 0.1).astype("f4"), True),
    "finer than float32": ((170 + np.arange(5000) * 1e-6).astype("f4"), True),
    "descending": (LAT[::-1], True),
    "integers": (np.arange(90, -91, -1, "i2"), True),
    "a Gaussian grid": (GAUSSIAN, False),
    "one step is wrong": (np.r_[LAT[:30], LAT[30:] + 0.5 * (LAT[1] - LAT[0])], False),
    "a tenth of a step": (np.r_[LAT[:-2], LAT[-2] + 0.09 * (LAT[1] - LAT[0]), LAT[-1]], True),
    "goes round": ((LON + 180) % 360 - 180, False),
    "with NaN": (np.r_[LAT[:-1], np.nan], False),
    "all the same": (np.full(60, 4.0), False),
    "one value": (LAT[:1], False),
}


@pytest.mark.parametrize("kind", EVEN)
def test_coordinates_are_even_where_every_pixel_is_at_its_place(kind):
    values, is_even = EVEN[kind]
    pixels = np.broadcast_to(np.float32(0), (len(values), 2))
    array = xr.DataArray(pixels, dims=("lat", "lon"), coords={"lat": values, "lon": [0.0, 1.0]})
    metadata = lazypyr.open_pyramid(array).metadata
    assert ("y" in metadata.coords, "y" in metadata.coord_arrays) == (is_even, not is_even)
    if is_even:
        coord = metadata.coords["y"]
        found = coord.origin + coord.step * np.arange(len(values))
        assert np.abs(found - values).max() <= max(0.1 * abs(coord.step), np.spacing(np.abs(values).max()))
    else:
        np.testing.assert_array_equal(metadata.coord_arrays["y"].values, values)


def test_dates_are_even_only_where_they_are_exact():
    """Months are never more than a tenth of one from their place; a date that is a day off is a wrong date."""
    for unit, is_even in (("D", True), ("M", False)):
        dates = np.datetime64("2001-01", unit) + np.arange(12)
        array = xr.DataArray(np.zeros((12, 3, 3)), dims=("time", "y", "x"), coords={"time": dates.astype("M8[ns]")})
        assert ("time" in lazypyr.open_pyramid(array).coords) is is_even


def test_durations_are_numbers_with_their_unit():
    array = xr.DataArray(
        np.zeros((3, 4, 4)), dims=("step", "y", "x"), coords={"step": np.array([0, 6, 12], "m8[h]").astype("m8[ns]")}
    )
    pyramid = lazypyr.open_pyramid(array)
    assert pyramid.coords["step"] == Coord(0.0, 6.0, "hours")
    level = xr.open_dataset(
        lazypyr.LazyPyramidStore(pyramid, layout="{level}/image"), engine="zarr", group="0", decode_timedelta=True
    )
    np.testing.assert_array_equal(level.step, array.step)


NAMED = {
    "coordinates names 1-D variables": {"lat": ("j", LAT, {}), "lon": ("i", LON, {})},
    "of two axes": {"lat": (("j", "i"), np.add.outer(LAT, LON), {}), "lon": (("j", "i"), np.add.outer(LAT, LON), {})},
}


@pytest.mark.parametrize("kind", NAMED)
def test_auxiliary_coordinates(tmp_path, kind):
    values = xr.DataArray(np.zeros((60, 60), "f4"), dims=("j", "i"), coords=NAMED[kind], name="v")
    values.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    metadata = lazypyr.open_pyramid(tmp_path / "a.zarr" / "v").metadata
    if kind == "of two axes":
        assert not metadata.coords
        np.testing.assert_array_equal(metadata.variables["lat"].values, np.add.outer(LAT, LON))
    else:
        assert metadata.coords["y"].origin == LAT[0]


TRANSFORM = [10.0, 0.0, 3e5, 0.0, -10.0, 6e6]
PLACED = {"y": Coord(5999995.0, -10.0), "x": Coord(300005.0, 10.0)}
GROUPS = {
    "spatial: on the group": ({"spatial:transform": TRANSFORM, "proj:code": "EPSG:32630"}, {}, PLACED, "EPSG:32630"),
    "crs and transform": ({"transform": TRANSFORM, "crs": "EPSG:32630"}, {}, PLACED, "EPSG:32630"),
    "the array's own wins": (
        {"spatial:transform": TRANSFORM, "proj:wkt2": "PROJCRS[1]"},
        {"proj:code": "EPSG:32631"},
        PLACED,
        "EPSG:32631",
    ),
    "other dimensions": ({"spatial:transform": TRANSFORM, "spatial:dimensions": ["row", "column"]}, {}, {}, None),
    "another shape": ({"spatial:transform": TRANSFORM, "spatial:shape": [70, 80]}, {}, {}, None),
    "rotated": ({"spatial:transform": [10.0, 1.0, 3e5, 1.0, -10.0, 6e6]}, {}, {}, None),
    "GDAL's CRS": ({"_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/32630"}}, {}, {}, "EPSG:32630"),
}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", GROUPS)
def test_conventions_of_groups_hold_for_the_arrays_in_them(tmp_path, kind, depth):
    """A transform holds for direct children (the README of `spatial:`), a CRS for all below."""
    of_group, own, coords, crs = GROUPS[kind]
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group = root.create_group("utm30")
    (group if depth == 1 else root).attrs.update(of_group)
    for name in ("a", "b"):
        group.create_array(name, data=np.ones((70, 90), "f4"), dimension_names=("y", "x"), attributes=own)
    for source in (tmp_path / "a.zarr/utm30/a", zarr.open_group(tmp_path / "a.zarr", mode="r")["utm30/a"]):
        pyramid = lazypyr.open_pyramid(source)
        assert (dict(pyramid.coords), pyramid.crs) == (coords if depth == 1 else {}, crs)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_level_that_is_opened_alone_lies_where_it_is(tmp_path, zarr_format):
    """The transform of a multiscale group is that of its finest level."""
    array = xr.DataArray(
        np.zeros((600, 400), "f4"), dims=("y", "x"), attrs={"transform": TRANSFORM, "crs": "EPSG:32630"}
    )
    store = lazypyr.LazyPyramidStore(array, method="mean", zarr_format=zarr_format)
    lazypyr.materialize(store, tmp_path / "a.zarr", progress=False)
    for level in (0, 1):
        found = lazypyr.open_pyramid(tmp_path / "a.zarr" / str(level))
        step = 10.0 * 2**level
        assert found.coords["y"] == Coord(6e6 - step / 2, -step)
        assert found.crs == "EPSG:32630"
    for level in (0, 1):  # of somebody who wrote it for the group only
        attrs = zarr.open_array(tmp_path / "a.zarr" / str(level), mode="r+").attrs
        attrs.put({"_ARRAY_DIMENSIONS": ["y", "x"]} if zarr_format == 2 else {})
    found = [dict(lazypyr.open_pyramid(tmp_path / "a.zarr" / str(level)).coords) for level in (0, 1)]
    assert found[0]["y"] == PLACED["y"]
    assert found[1] in ({}, {"y": Coord(6e6 - 10.0, -20.0), "x": Coord(3e5 + 10.0, 20.0)})


def raster():
    return xr.DataArray(
        np.zeros((30, 40), "f4"),
        dims=("y", "x"),
        coords={"y": 5e6 - 10 * (np.arange(30) + 0.5), "x": 3e5 + 10 * (np.arange(40) + 0.5)},
    )


CRS = {
    "rioxarray": lambda: raster().rio.write_crs(32633),
    "rioxarray, another name": lambda: raster().rio.write_crs(32633, grid_mapping_name="utm"),
    "rioxarray, transform only": lambda: (
        raster().drop_vars(["x", "y"]).rio.write_crs(32633).rio.write_transform(raster().rio.transform())
    ),
    "attribute": lambda: raster().assign_attrs(crs="EPSG:32633"),
    "odc-geo": lambda: import_module("odc.geo.xr") and raster().odc.assign_crs("EPSG:32633"),
    "CF without WKT": lambda: _without_wkt(raster().rio.write_crs(32633)),
}


def _without_wkt(array):
    for name in ("crs_wkt", "spatial_ref"):
        del array.spatial_ref.attrs[name]
    return array


@pytest.mark.parametrize("stored", [None, 2, 3])
@pytest.mark.parametrize("kind", CRS)
def test_the_crs_is_the_one_that_rioxarray_and_pyproj_read(tmp_path, kind, stored):
    import pyproj

    array = CRS[kind]()
    if stored:
        array.to_dataset(name="v").to_zarr(tmp_path / "a.zarr", zarr_format=stored)
    pyramid = lazypyr.open_pyramid(tmp_path / "a.zarr" / "v" if stored else array)
    assert pyproj.CRS(pyramid.crs).equals(pyproj.CRS(32633), ignore_axis_order=True) or kind == "CF without WKT"
    assert (
        "UTM" in pyproj.CRS(pyramid.crs).to_wkt() or pyproj.CRS(pyramid.crs).coordinate_operation.method_code == "9807"
    )
    assert dict(pyramid.coords) == {"y": Coord(4999995.0, -10.0), "x": Coord(300005.0, 10.0)}


@pytest.mark.parametrize(
    ("said", "semi_major", "inverse_flattening"),
    [
        ({"earth_radius": 6371229.0}, 6371229.0, 0.0),
        ({"semi_major_axis": 6371229.0}, 6371229.0, 0.0),
        ({"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}, 6378137.0, 298.257223563),
    ],
)
def test_the_figure_of_the_earth_is_the_one_of_the_grid_mapping(said, semi_major, inverse_flattening):
    import pyproj

    mapping = xr.Variable((), 0, {"grid_mapping_name": "latitude_longitude", **said})
    array = xr.DataArray(np.zeros((4, 4)), dims=("lat", "lon"), coords={"crs": mapping}, attrs={"grid_mapping": "crs"})
    ellipsoid = pyproj.CRS(lazypyr.open_pyramid(array).crs).ellipsoid
    assert (ellipsoid.semi_major_metre, ellipsoid.inverse_flattening) == (semi_major, inverse_flattening)


def test_the_crs_of_an_index_is_read():
    """As xproj keeps it: an index over a scalar coordinate without attributes."""
    import pyproj

    class CRSIndex(xr.Index):
        crs = pyproj.CRS(32633)

    array = raster().assign_coords(xr.Coordinates({"spatial_ref": xr.Variable((), 0)}, {"spatial_ref": CRSIndex()}))
    assert lazypyr.open_pyramid(array).crs == "EPSG:32633"


def test_numbers_of_pixels_are_no_coordinates_where_a_transform_is_stated(tmp_path):
    array = raster().assign_coords(y=np.arange(30), x=np.arange(40)).assign_attrs({"spatial:transform": TRANSFORM})
    array.to_dataset(name="v").to_zarr(tmp_path / "a.zarr", zarr_format=3)
    for source in (array, tmp_path / "a.zarr" / "v"):
        assert dict(lazypyr.open_pyramid(source).coords) == PLACED


def test_a_refreshed_source_has_the_coordinates_that_are_there_now(tmp_path):
    path = tmp_path / "a.zarr"
    climate().to_zarr(path, zarr_format=2)
    store = lazypyr.LazyPyramidStore(path / "hfls", layout="{level}/image")
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0/y"][...], LAT)
    climate(lat=GAUSSIAN).to_zarr(path, zarr_format=2, mode="w")
    store.refresh()
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0/y"][...], GAUSSIAN)
    assert "y" in store.pyramid.metadata.coord_arrays


def test_bounds_of_the_user_win_and_stay_after_a_refresh(tmp_path):
    climate().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    pyramid = lazypyr.open_pyramid(tmp_path / "a.zarr" / "hfls", bounds=(0, 0, 60, 120))
    for one in (pyramid, pyramid.refreshed()):
        assert (one.coords["y"], one.coords["x"]) == (Coord(119.0, -2.0), Coord(0.5, 1.0))
        assert isinstance(one.metadata.along["time"], CoordArray)


def test_an_array_that_nobody_can_read_beside_it_stops_nothing(tmp_path):
    climate().to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    document = json.loads((tmp_path / "a.zarr/lon/zarr.json").read_text())
    (tmp_path / "a.zarr/lon/zarr.json").write_text(json.dumps({**document, "data_type": "r7"}))
    pyramid = lazypyr.open_pyramid(tmp_path / "a.zarr" / "hfls")
    assert ("y" in pyramid.coords, "x" in pyramid.coords) == (True, False)


def test_arrays_in_memory_have_no_groups_above():
    array = zarr.create_array(MemoryStore(), data=np.zeros((4, 4)), dimension_names=("y", "x"))
    assert not lazypyr.open_pyramid(array).coords
