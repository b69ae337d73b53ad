"""Stores shaped like those that people show in the gallery of ways to look at Zarr: each opens as it stands, without an option."""

import json

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import lazypyr
from lazypyr import LazyPyramidStore
from support.http import serving

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(8)


def webknossos(dtype):
    def make():
        store = MemoryStore()
        values = RNG.integers(0, 200, (3, 64, 48, 20)).astype(dtype)
        array = zarr.create_array(
            store, name="color/4-4-1", data=values, chunks=(3, 32, 32, 16), zarr_format=2, order="F"
        )
        return array, {"": values}

    return make


def idr():
    store = MemoryStore()
    group = zarr.open_group(store, mode="w", zarr_format=2)
    values = RNG.integers(0, 999, (1, 2, 6, 90, 70)).astype(">u2")
    for level in range(3):
        group.create_array(str(level), data=values[..., :: 2**level, :: 2**level], chunks=(1, 1, 1, 32, 32))
    channels = [{"label": n, "color": c, "window": {"start": 0, "end": 99, "min": 0, "max": 999}, "active": True}
                for n, c in (("LaminB1", "FF0000"), ("Dapi", "0000FF"))]  # fmt: skip
    datasets = [{"path": str(k)} for k in range(3)]
    group.attrs.update({"multiscales": [{"version": "0.1", "datasets": datasets}], "omero": {"channels": channels}})
    return store, {"": values}


def cf(names, *, lat, bounds=False, attrs=None, zarr_format=2):
    def make():
        values = {name: RNG.random((3, 40, 60)).astype("f4") for name in names}
        y = np.linspace(-78, 78, 40)
        coords = {
            "time": ("time", [0.5, 31.0, 60.5], {"units": "days since 1850-01-01", "calendar": "noleap"}),
            lat[0]: (lat[0], y, {"units": "degrees_north", **({"bounds": f"{lat[0]}_bnds"} if bounds else {})}),
            lat[1]: (lat[1], np.arange(3.0, 363, 6), {"units": "degrees_east"}),
        }
        variables = {name: (("time", *lat), value, {"units": "K"}) for name, value in values.items()}
        if bounds:
            variables |= {f"{lat[0]}_bnds": ((lat[0], "bnds"), np.stack([y - 2, y + 2], -1)),
                          "time_bnds": (("time", "bnds"), np.ones((3, 2)))}  # fmt: skip
        store = MemoryStore()
        xr.Dataset(variables, coords).to_zarr(store, zarr_format=zarr_format, consolidated=True)
        return store, values if len(values) > 1 else {"": next(iter(values.values()))}

    return make


def ecco():
    store = MemoryStore()
    values = RNG.integers(0, 9, (13, 30, 30)).astype("i4")
    places = {name: (("face", "j", "i"), RNG.random((13, 30, 30))) for name in ("XC", "YC")}
    xr.Dataset({"basins": (("face", "j", "i"), values)}, places).to_zarr(store, zarr_format=2)
    return store, {"": values}


def carbonplan():
    store = MemoryStore()
    group = zarr.open_group(store, mode="w", zarr_format=2)
    values = RNG.random((2, 12, 64, 64)).astype("f4")
    for zoom in range(3):
        array = group.create_array(
            f"{zoom}/fire", data=values[..., :: 2 ** (2 - zoom), :: 2 ** (2 - zoom)], chunks=(1, 6, 16, 16)
        )
        array.attrs["_ARRAY_DIMENSIONS"] = ["year", "month", "y", "x"]
    datasets = [{"path": str(zoom), "pixels_per_tile": 16, "crs": "EPSG:3857"} for zoom in range(3)]
    group.attrs["multiscales"] = [{"datasets": datasets, "type": "reduce", "metadata": {"version": "0.1"}}]
    return store, {"": values}


def sentinel():
    store = MemoryStore()
    group = zarr.open_group(store, mode="w", zarr_format=3).require_group("measurements/reflectance")
    values = {}
    for asset, n, names in (("r10m", 120, ("b02", "b08")), ("r20m", 60, ("b02", "b05")), ("r60m", 20, ("b02", "b05"))):
        for name in names:
            held = RNG.integers(0, 9999, (n, n)).astype("u2")
            array = group.create_array(f"{asset}/{name}", data=held, chunks=(20, 20), dimension_names=("y", "x"))
            array.attrs.update({"scale_factor": 0.0001, "add_offset": -0.1})
            values.setdefault(f"measurements/reflectance/{name}", held)
    layout = [{"asset": "r10m"}]
    for asset, base, f in (("r20m", "r10m", 2), ("r60m", "r20m", 3)):
        layout.append(
            {"asset": asset, "derived_from": base, "transform": {"scale": [f, f], "translation": [(f - 1) / 2] * 2}}
        )
    group.attrs.update({"multiscales": {"layout": layout}, "proj:code": "EPSG:32633",
                        "spatial:transform": [10, 0, 3e5, 0, -10, 5e6], "spatial:dimensions": ["y", "x"]})  # fmt: skip
    return store, values


def tessera():
    store = MemoryStore()
    root, values = zarr.open_group(store, mode="w", zarr_format=3), {}
    for zone in ("utm30", "utm31"):
        group = root.create_group(zone)
        group.attrs.update({"proj:code": f"EPSG:326{zone[3:]}", "spatial:transform": [10, 0, 3e5, 0, -10, 5e6]})
        codes, scales = RNG.integers(-99, 99, (2, 8, 64, 64)).astype("i1"), RNG.random((2, 64, 64)).astype("f4")
        group.create_array(
            "embeddings",
            data=codes,
            chunks=(1, 8, 16, 16),
            shards=(1, 8, 32, 32),
            dimension_names=("time", "band", "y", "x"),
        )
        group.create_array("scales", data=scales, chunks=(1, 32, 32), dimension_names=("time", "y", "x"))
        values[zone] = codes * scales[:, None]
    return store, values


def life():
    store = MemoryStore()
    group = zarr.open_group(store, mode="w", zarr_format=2)
    values = {str(n): RNG.integers(0, 2, (50, 50)).astype("u1") for n in range(3)}
    for name, value in values.items():
        group.create_array(name, data=value, chunks=(25, 25))
    return store, values


GALLERY = {
    "WebKnossos, c x y z": (webknossos("u1"), None),
    "WebKnossos, labels": (webknossos("u4"), None),
    "IDR 6001240, OME-NGFF 0.1": (idr, "tczyx"),
    "NASA POWER": (cf(("T2M", "RH2M", "WS10M"), lat=("lat", "lon")), ("time", "y", "x")),
    "CMIP6 hfls": (cf(("hfls",), lat=("lat", "lon"), bounds=True), ("time", "y", "x")),
    "SILAM SO2": (cf(("vmr_SO2_gas",), lat=("lat", "lon"), zarr_format=3), ("time", "y", "x")),
    "ECCO basins": (ecco, ("face", "y", "x")),
    "GPCP daily": (cf(("precip",), lat=("latitude", "longitude"), bounds=True), ("time", "y", "x")),
    "CarbonPlan fire": (carbonplan, ("year", "month", "y", "x")),
    "Game of life": (life, "yx"),
    "Sentinel-2 GeoZarr": (sentinel, "yx"),
    "Tessera": (tessera, ("time", "band", "y", "x")),
}


@pytest.mark.parametrize("name", GALLERY)
def test_a_store_of_the_gallery_opens_as_it_stands(name):
    make, axes = GALLERY[name]
    source, expected = make()
    store = LazyPyramidStore(source, chunks=32)
    assert sorted(store.pyramids) == sorted(expected) and not store.surroundings.unreadable
    group = zarr.open_group(store, mode="r")
    for path, values in expected.items():
        pyramid = store.pyramids[path]
        assert axes is None or pyramid.axes == tuple(axes)
        np.testing.assert_array_equal(group[f"{path}/0".lstrip("/")][...], values)
        last = len(pyramid.levels) - 1
        coarsest = group[f"{path}/{last}".lstrip("/")][...]
        assert coarsest.shape == pyramid.levels[last].shape
        if pyramid.n_stored_levels == 1:
            steps = tuple(slice(None, None, 2**last if axis in "yx" else 1) for axis in pyramid.axes)
            np.testing.assert_array_equal(coarsest, values[steps])


@pytest.mark.parametrize("name", [name for name, (make, _) in GALLERY.items() if "cf" in make.__qualname__])
def test_north_is_where_xarray_has_it(name):
    source, expected = GALLERY[name][0]()
    dataset = xr.open_zarr(source, decode_times=False)
    for path, pyramid in LazyPyramidStore(source).pyramids.items():
        array = dataset[path or next(v for v in dataset.data_vars if dataset[v].ndim == 3)]
        y, x = (array[array.dims[-2]], array[array.dims[-1]])
        assert pyramid.coords["y"].at(0) == y.values[0] and pyramid.coords["y"].step > 0  # drawn upwards
        assert np.isclose(pyramid.coords["x"].at(pyramid.shape[-1] - 1), x.values[-1])
        assert pyramid.metadata.units == "K"


def test_a_source_that_grows_is_seen_after_refresh():
    """Game of life: arrays made one after another while it is looked at."""
    store, _ = life()
    before = LazyPyramidStore(store)
    zarr.open_group(store, mode="a").create_array("3", data=np.ones((50, 50), "u1"), chunks=(25, 25))
    assert list(before.pyramids) == ["0", "1", "2"] and list(LazyPyramidStore(store).pyramids) == ["0", "1", "2", "3"]


def test_infos_are_json():
    from lazypyr.cli.info import describe

    for make, _ in GALLERY.values():
        for pyramid in LazyPyramidStore(make()[0]).pyramids.values():
            assert json.loads(json.dumps(describe(pyramid)))["name"]
            assert lazypyr.open_pyramid(pyramid) == pyramid


def on_disk(store, folder):
    zarr.consolidate_metadata(store)
    for key, value in store._store_dict.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())


@pytest.mark.parametrize("name", [name for name in GALLERY if "WebKnossos" not in name])
def test_over_http_it_is_the_same(name, tmp_path):
    source, expected = GALLERY[name][0]()
    on_disk(source, tmp_path)
    here = LazyPyramidStore(tmp_path, chunks=32)
    with serving(tmp_path) as url:
        there = LazyPyramidStore(url, chunks=32)
        assert sorted(there.pyramids) == sorted(here.pyramids) == sorted(expected)
        for path, pyramid in there.pyramids.items():
            own = here.pyramids[path]
            assert (pyramid.axes, pyramid.coords, pyramid.crs) == (own.axes, own.coords, own.crs)
            for level in (0, len(pyramid.levels) - 1):
                np.testing.assert_array_equal(pyramid.read(level), own.read(level))


@pytest.mark.parametrize("name", [name for name, (make, _) in GALLERY.items() if "cf" in make.__qualname__])
def test_as_objects_of_xarray_it_is_the_same(name):
    source, _ = GALLERY[name][0]()
    stored, lazy = LazyPyramidStore(source, chunks=32), LazyPyramidStore(xr.open_zarr(source), chunks=32)
    assert sorted(stored.pyramids) == sorted(lazy.pyramids)
    for path, pyramid in lazy.pyramids.items():
        assert (pyramid.axes, pyramid.coords) == (stored.pyramids[path].axes, stored.pyramids[path].coords)
        np.testing.assert_array_equal(pyramid.read(1), stored.pyramids[path].read(1))


@pytest.mark.parametrize("dtype", ["u1", "u4"])
def test_a_webknossos_layer_says_its_axes_for_each_magnification(dtype, tmp_path):
    """As its server publishes it: the layer lists its magnifications, the axes are c x y z, and the order is F."""
    layer = zarr.open_group(tmp_path / "l4.zarr", mode="w", zarr_format=2).create_group("color")
    values = RNG.integers(0, 200, (1, 64, 48, 20)).astype(dtype)
    datasets = []
    for mag, step in (((2, 2, 1), 1), ((4, 4, 1), 2)):
        name = "-".join(map(str, mag))
        layer.create_array(name, data=values[:, ::step, ::step], chunks=(1, 32, 32, 32), order="F")
        scale = {"type": "scale", "scale": [1.0, 11.24 * mag[0], 11.24 * mag[1], 28.0 * mag[2]]}
        datasets.append({"path": name, "coordinateTransformations": [scale]})
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "nanometer"} for n in "xyz")]
    layer.attrs["multiscales"] = [{"version": "0.4", "name": "color", "axes": axes, "datasets": datasets}]
    for path, mag in (("color", 2), ("color/2-2-1", 2), ("color/4-4-1", 4)):
        pyramid = lazypyr.open_pyramid(tmp_path / "l4.zarr" / path)
        assert pyramid.axes == ("c", "x", "y", "z")
        assert [pyramid.coords[axis].step for axis in "xyz"] == pytest.approx([11.24 * mag, 11.24 * mag, 28])
        np.testing.assert_array_equal(pyramid.read(0), values if mag == 2 else values[:, ::2, ::2])
