"""Labels, longitudes and latitudes of two axes, bounds and scalars lie beside the levels, as xarray reads them of the source."""

import pickle

import numpy as np
import pytest
import xarray as xr
import zarr

import lazypyr
from lazypyr import LazyPyramidStore

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS, COLUMNS = np.mgrid[0:60, 0:81]
LAT = 50 + 0.1 * ROWS + 0.01 * COLUMNS
LAT_1D = np.linspace(-88.5, 88.5, 60)
EDGES = np.linspace(-90, 90, 61)


def dataset():
    """A swath of three bands with all kinds of variables beside it."""
    data = np.arange(3 * 60 * 81, dtype="f4").reshape(3, 60, 81)
    return xr.Dataset(
        {"v": (("band", "y", "x"), data, {"units": "K"})},
        coords={
            "band": ["red", "green", "near infrared"],
            "lat": (("y", "x"), LAT, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": (("y", "x"), 10 + 0.1 * COLUMNS, {"units": "degrees_east"}),
            "height": ((), 2.0, {"units": "m"}),
            "wavelength": ("band", [665, 560, 842], {"units": "nm"}),
            "sensor": ("band", ["A", "B", "A"]),
            "land": (("y", "x"), (COLUMNS > 40).astype("i1"), {"flag_values": [0, 1], "flag_meanings": "sea land"}),
        },
    )


SOURCES = {
    "DataArray": lambda path: dataset().v,
    "v2": lambda path: written(path, 2),
    "v3": lambda path: written(path, 3),
    "array in v3": lambda path: written(path, 3) + "/v",
}


def written(path, zarr_format, data=None, **options):
    (dataset() if data is None else data).to_zarr(path / "a.zarr", zarr_format=zarr_format, **options)
    return str(path / "a.zarr")


@pytest.mark.parametrize("method", ["stride", "mean"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_everything_beside_the_array_lies_beside_each_level(tmp_path, source, zarr_format, method):
    src, expected = SOURCES[source](tmp_path), dataset()
    store = LazyPyramidStore(src, layout="{level}/v", zarr_format=zarr_format, method=method, levels=2)
    whole = xr.open_dataset(store, engine="zarr", group="0", decode_coords="all")
    assert set(expected.coords) <= set(whole.coords)
    for name in expected.coords:
        assert whole[name].dims == expected[name].dims
        np.testing.assert_array_equal(whole[name], expected[name])
        assert expected[name].attrs.items() <= whole[name].attrs.items()
    half = xr.open_dataset(store, engine="zarr", group="1", decode_coords="all")
    np.testing.assert_array_equal(half.band, expected.band)
    np.testing.assert_array_equal(half.sensor, expected.sensor)
    np.testing.assert_array_equal(half.land, expected.land[::2, ::2])
    sampled = expected[["lat", "lon"]].drop_vars(["height"])
    if method == "stride":
        sampled = sampled.isel(y=slice(None, None, 2), x=slice(None, None, 2))
    else:
        sampled = sampled.isel(x=slice(80)).coarsen(y=2, x=2).mean()
    for name in ("lat", "lon"):
        np.testing.assert_allclose(half[name][:, :40], sampled[name][:, :40], rtol=1e-12)


def test_what_is_written_has_them_too_and_opens_with_them_again(tmp_path):
    store = LazyPyramidStore(dataset().v, layout="{level}/v", method="mean", levels=2)
    lazypyr.materialize(store, tmp_path / "o.zarr", progress=False)
    for group in ("0", "1"):
        served = xr.open_dataset(store, engine="zarr", group=group)
        xr.testing.assert_identical(
            xr.open_dataset(tmp_path / "o.zarr", engine="zarr", group=group).load(), served.load()
        )
    again = LazyPyramidStore(tmp_path / "o.zarr", layout="{level}/v", levels=2)
    np.testing.assert_array_equal(xr.open_dataset(again, engine="zarr", group="0").lat, LAT)
    copied = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(xr.open_dataset(copied, engine="zarr", group="0").band, dataset().band)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_levels_in_one_group_have_those_of_level_0_beside_them(zarr_format):
    store = LazyPyramidStore(dataset().v, zarr_format=zarr_format, method="mean", levels=2)
    beside = xr.open_dataset(store, engine="zarr", drop_variables=["1"])
    np.testing.assert_array_equal(beside.lat, LAT)
    np.testing.assert_array_equal(beside.band, dataset().band)


def test_a_collection_is_the_same_collection_again(tmp_path):
    twice = dataset()
    twice["w"] = twice.v[0] + 1
    lazypyr.materialize(written(tmp_path, 3, twice), tmp_path / "o.zarr", method="mean", chunks=32, progress=False)
    again = LazyPyramidStore(tmp_path / "o.zarr")
    assert list(again.pyramids) == ["v", "w"]
    np.testing.assert_array_equal(zarr.open_array(again, path="v/land", mode="r")[...], twice.land)


@pytest.mark.parametrize("order", ["ascending", "descending", "south first"])
@pytest.mark.parametrize("method", ["stride", "mean"])
def test_bounds_are_those_of_the_boxes(tmp_path, order, method):
    lat, bounds = LAT_1D, np.stack([EDGES[:-1], EDGES[1:]], 1)
    if order != "ascending":
        lat, bounds = lat[::-1], bounds[::-1, ::-1] if order == "descending" else bounds[::-1]
    time = np.arange(2.0)
    data = xr.Dataset(
        {
            "hfls": (("time", "lat", "lon"), np.zeros((2, 60, 80), "f4")),
            "lat_bnds": (("lat", "bnds"), bounds),
            "time_bnds": (("time", "bnds"), np.stack([time, time + 1], 1)),
        },
        coords={
            "lat": ("lat", lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
            "lon": ("lon", np.arange(80) * 4.5, {"units": "degrees_east"}),
            "time": ("time", time, {"units": "days since 2000-01-01", "calendar": "noleap", "bounds": "time_bnds"}),
        },
    )
    store = LazyPyramidStore(
        written(tmp_path, 3, data), variable="hfls", layout="{level}/hfls", method=method, levels=3
    )
    for k in range(3):
        level = xr.open_dataset(store, engine="zarr", group=str(k), decode_times=False)
        assert (level.y.attrs["bounds"], level.time.attrs["bounds"]) == ("lat_bnds", "time_bnds")
        np.testing.assert_array_equal(level.time_bnds, data.time_bnds)
        step = 2**k
        if method == "stride":
            np.testing.assert_array_equal(level.lat_bnds, bounds[::step])
        else:
            boxes = bounds.reshape(-1, 2 * step) if 60 % step == 0 else None
            np.testing.assert_array_equal(level.lat_bnds.min("bnds"), boxes.min(1))
            np.testing.assert_array_equal(level.lat_bnds.max("bnds"), boxes.max(1))
            assert ((level.lat_bnds[:, 0] < level.lat_bnds[:, 1]) == (bounds[0, 0] < bounds[0, 1])).all()


@pytest.mark.parametrize("form", [180, 360])
def test_longitudes_are_averaged_the_short_way_round(form):
    lon = (179.35 + 0.1 * COLUMNS) % 360
    lon = np.where(lon >= form, lon - 360, lon) if form == 180 else (lon + 180) % 360
    array = xr.DataArray(
        np.zeros((60, 81), "f4"), dims=("y", "x"), coords={"lon": (("y", "x"), lon, {"units": "degrees_east"})}
    )
    store = LazyPyramidStore(array, layout="{level}/v", method="mean", levels=2)
    half = xr.open_dataset(store, engine="zarr", group="1").lon.values[:, :40]
    turned = np.angle(np.exp(1j * np.deg2rad(lon[:, :80])).reshape(60, 40, 2).mean(2)[::2], deg=True)
    np.testing.assert_allclose((half - turned + 180) % 360, 180, atol=1e-9)
    assert lon.min() - 0.1 <= half.min() and half.max() <= lon.max() + 0.1


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_packed_places_with_holes(tmp_path, zarr_format):
    lat = np.where((ROWS < 4) & (COLUMNS < 4), np.nan, LAT)
    data = xr.Dataset(
        {"v": (("y", "x"), LAT.astype("f4"))}, coords={"lat": (("y", "x"), lat, {"units": "degrees_north"})}
    )
    packed = {"lat": {"dtype": "i4", "scale_factor": 1e-4, "_FillValue": -999}}
    store = LazyPyramidStore(
        written(tmp_path, zarr_format, data, encoding=packed), layout="{level}/v", method="mean", levels=2
    )
    for k, wanted in enumerate((lat, lat[:, :80].reshape(30, 2, 40, 2).mean((1, 3)))):
        found = xr.open_dataset(store, engine="zarr", group=str(k)).lat.values[:, : wanted.shape[1]]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_variables_of_axes_that_a_product_changes_are_left_out():
    colours = LazyPyramidStore(dataset().v, layout="{level}/v", levels=2, product="composite:bands=0,1,2")
    names = set(xr.open_dataset(colours, engine="zarr", group="1").variables)
    assert {"lat", "lon"} <= names
    assert not {"sensor", "wavelength"} & names


def test_opening_reads_none_of_the_values(tmp_path):
    path = written(tmp_path, 3)
    for name in ("lat", "lon", "sensor"):
        for chunk in (tmp_path / "a.zarr" / name).rglob("c/**/*"):
            if chunk.is_file():
                chunk.write_bytes(b"spoilt")
    store = LazyPyramidStore(path, layout="{level}/v", levels=2)
    assert "1/lat/zarr.json" in store
    with pytest.raises(lazypyr.LazypyrError, match="lat"):
        store["1/lat/c/0/0"]
