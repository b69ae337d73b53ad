"""GeoTIFF and COG written by rasterio, against rasterio reading the same file; the opener comes by its entry point."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pickle
import subprocess
import sys
import tomllib

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy
from rasterio.transform import Affine, from_origin

import lazypyr
from lazypyr import PlanError, SourceError, open_pyramid
from lazypyr.cli import main
from support.http import serving_elsewhere
from support.paths import ROOT

RNG = np.random.default_rng(0)
PLACE = {"crs": "EPSG:32633", "transform": from_origin(500000, 4200000, 10, 20)}


def test_it_comes_by_its_entry_point():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lazypyr.sources"]
    installed = {e.name: e.value for e in importlib.metadata.entry_points(group="lazypyr.sources")}
    assert declared.items() <= installed.items(), "install the package again: pip install -e ."
    named = subprocess.run(["git", "grep", "-l", "geotiff", "--", "lazypyr"], cwd=ROOT, capture_output=True, text=True)
    assert set(named.stdout.split()) <= {"lazypyr/sources/geotiff.py"}, "nothing else knows of it"


def written(path, shape, dtype="uint8", *, overviews=(), fill=None, **options):
    count = shape[0] if len(shape) == 3 else 1
    high = 200 if np.dtype(dtype).kind in "iu" else 1
    values = (RNG.random((count, *shape[-2:])) * high).astype(dtype)
    if np.dtype(dtype).kind == "c":
        values = values + (1j * RNG.random(values.shape)).astype(dtype)
    if fill is not None:
        values[:, :5] = fill
        options["nodata"] = fill
    profile = {"driver": "GTiff", "count": count, "height": shape[-2], "width": shape[-1], "dtype": dtype, **PLACE}
    with rasterio.open(path, "w", **{**profile, **options}) as file:
        file.write(values)
    with rasterio.open(path, "r+") as file:
        if overviews:
            file.build_overviews(list(overviews), Resampling.average)
    return path


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
KINDS = {
    "strips": ((150, 170), "uint8", {}),
    "tiles": ((150, 170), "float32", {**TILED, "compress": "deflate", "predictor": 3}),
    "bands by pixel": ((3, 150, 170), "uint8", {**TILED, "interleave": "pixel", "photometric": "RGB"}),
    "bands one by one": ((4, 150, 170), "int16", {**TILED, "interleave": "band", "compress": "lzw"}),
    "JPEG": ((3, 128, 192), "uint8", {**TILED, "compress": "jpeg", "photometric": "YCBCR"}),
    "complex": ((150, 170), "complex64", {"compress": "deflate"}),
    "BigTIFF": ((150, 170), "uint16", {"BIGTIFF": "YES"}),
    "bits": ((150, 170), "uint8", {"NBITS": 7}),
    "signed bytes": ((150, 170), "int8", {}),
    "one column": ((150, 1), "float64", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_rasterio(kind, tmp_path):
    shape, dtype, options = KINDS[kind]
    path = written(tmp_path / "a.tif", shape, dtype, **options)
    with rasterio.open(path) as file:
        expected = file.read() if file.count > 1 else file.read(1)
    for src in (path, str(path), path.as_uri()):
        pyramid = open_pyramid(src, chunks=64, method="stride")
        assert (pyramid.dtype, pyramid.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(pyramid.read(0), expected)
        np.testing.assert_array_equal(pyramid.read(1), expected[..., ::2, ::2])
        np.testing.assert_array_equal(pyramid[0][..., 3:140:7, :1], expected[..., 3:140:7, :1])
    if len(shape) == 3:
        np.testing.assert_array_equal(pyramid[0][2:0:-1, 7, :50:3], expected[2:0:-1, 7, :50:3])


@pytest.mark.parametrize("shape", [(512, 640), (701, 533), (3, 257, 300)])
@pytest.mark.parametrize("overviews", [(2, 4), (3, 9), (4,)])
def test_overviews_are_levels_where_they_lie(shape, overviews, tmp_path):
    path = written(tmp_path / "a.tif", shape, overviews=overviews, **TILED)
    pyramid = open_pyramid(path, method="mean", chunks=64)
    assert len(pyramid.stored_levels) == 1 + len(overviews)
    for level in range(1 + len(overviews)):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as file:
            np.testing.assert_array_equal(pyramid.read(level), file.read().reshape(pyramid.levels[level].shape))
            t, coords = file.transform, pyramid.metadata.at(pyramid.axes, pyramid.levels[level]).coords
            assert (coords["x"].step, coords["y"].step) == pytest.approx((t.a, t.e))
            assert (coords["x"].origin, coords["y"].origin) == pytest.approx((t.c + t.a / 2, t.f + t.e / 2))


def test_a_cog_with_overviews_of_its_own_making(tmp_path):
    written(tmp_path / "a.tif", (700, 900), "int16", fill=-9999)
    copy(tmp_path / "a.tif", tmp_path / "cog.tif", driver="COG", blocksize=128, overview_resampling="nearest")
    with rasterio.open(tmp_path / "cog.tif") as file:
        expected = file.read(1, out_shape=(350, 450))
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    pyramid = open_pyramid(tmp_path / "cog.tif", method="mean", chunks=128)
    assert (len(pyramid.stored_levels), pyramid.nodata) == (4, -9999)
    np.testing.assert_array_equal(pyramid.read(1), expected)


PLACES = {
    "north up": PLACE,
    "south up": {"crs": "EPSG:3035", "transform": Affine(25, 0, 4321000, 0, 25, 3210000)},
    "degrees": {"crs": "EPSG:4326", "transform": from_origin(-10.5, 52, 0.25, 0.5)},
    "feet": {"crs": "EPSG:2263", "transform": from_origin(1000000, 200000, 5, 5)},
    "a CRS without a code": {
        "crs": "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=m",
        "transform": from_origin(300, 200, 1, 1),
    },
    "no CRS": {"crs": None, "transform": from_origin(7, 9, 2, 3)},
    "nowhere": {"crs": None, "transform": None},
    "rotated": {"crs": "EPSG:32633", "transform": Affine(10, 3, 500000, 3, -10, 4200000)},
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning:rasterio|tests")
@pytest.mark.parametrize("place", PLACES)
def test_place_is_that_of_rasterio(place, tmp_path):
    path = written(tmp_path / "a.tif", (60, 70), **PLACES[place])
    pyramid = open_pyramid(path, chunks=32)
    with rasterio.open(path) as file:
        crs, transform, xy = file.crs, file.transform, file.xy(41, 13)
        units = (
            None
            if not crs
            else "degree"
            if crs.is_geographic
            else "m"
            if "metre" in crs.linear_units
            else crs.linear_units
        )
    assert (rasterio.CRS.from_user_input(pyramid.crs) if pyramid.crs else None) == crs
    if transform.b or not PLACES[place]["transform"]:
        assert not pyramid.coords, "no place rather than a wrong one"
        return
    assert (pyramid.coords["x"].at(13), pyramid.coords["y"].at(41)) == pytest.approx(xy)
    assert pyramid.coords["x"].unit == units
    lazypyr.materialize(path, tmp_path / "a.zarr", chunks=32, progress=False)
    again = open_pyramid(tmp_path / "a.zarr")
    assert again.coords["x"].at(13) == pytest.approx(xy[0])
    assert (rasterio.CRS.from_user_input(again.crs) if again.crs else None) == crs


def test_names_colours_nodata_and_scale_of_bands(tmp_path):
    path = written(tmp_path / "a.tif", (4, 60, 70), "uint16", fill=0, photometric="RGB", alpha="unspecified")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B04", "B03", "B02", None)
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined)
        file.scales, file.offsets, file.units = (0.0001,) * 4, (-0.1,) * 4, ("1",) * 4
        file.update_tags(sensor="MSI")
    pyramid = open_pyramid(path, method="mean", chunks=32)
    assert pyramid.axes == ("band", "y", "x")
    assert pyramid.nodata == 0
    assert (pyramid.read(1)[:, 0] == 0).all()
    source = pyramid.sources[0]
    assert source.display == {
        "labels": ["B04", "B03", "B02", "band 4"],
        "colors": ["FF0000", "00FF00", "0000FF", "FFFFFF"],
    }
    assert source.attrs.items() >= {"scale_factor": 0.0001, "add_offset": -0.1, "units": "1", "sensor": "MSI"}.items()
    assert open_pyramid(path, nodata=7).nodata == 7
    assert open_pyramid(path, nodata=None).nodata is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize(
    "scales, offsets",
    [((0.1, 0.1, 0.1), (5.0, 5.0, 5.0)), ((0.1, 0.2, 1.0), (0.0, 0.0, 0.0)), ((1.0, 1.0, 1.0), (0.0, -50.0, 0.0))],
)
@pytest.mark.parametrize("decode", [False, True])
def test_scales_of_bands_mean_what_they_mean_to_gdal(tmp_path, dtype, scales, offsets, decode):
    path = written(tmp_path / "a.tif", (3, 60, 70), dtype, fill=7, overviews=(2,), **TILED)
    for overview in (None, 0):
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = scales, offsets
        with rasterio.open(path, **({} if overview is None else {"overview_level": overview})) as file:
            stored = file.read(masked=True).astype("f8").filled(np.nan)
        expected = stored * np.reshape(scales, (-1, 1, 1)) + np.reshape(offsets, (-1, 1, 1))
        pyramid = open_pyramid(path, decode=decode)
        level = 0 if overview is None else 1
        np.testing.assert_allclose(pyramid.unpacked.read(level), expected, rtol=1e-6)
        np.testing.assert_allclose(
            pyramid.map("expression", text="b1 - b2").read(level), (expected[1] - expected[2]), atol=1e-3
        )
        part = open_pyramid(path, decode=True, isel={"band": slice(1, 3)}).read(level) if level == 0 else expected[1:]
        np.testing.assert_allclose(part, expected[1:], rtol=1e-6)


def test_names_of_bands_are_served(tmp_path):
    path = written(tmp_path / "a.tif", (3, 60, 70), photometric="RGB")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("near infrared", None, "green")
    group = zarr.open_group(lazypyr.LazyPyramidStore(path), mode="r")
    channels = group.attrs["ome"]["omero"]["channels"]
    assert [(c["label"], c["color"]) for c in channels] == [
        ("near infrared", "FF0000"),
        ("green", "00FF00"),
        ("green", "0000FF"),
    ]


def test_it_is_pickled_read_by_many_threads_and_read_anew(tmp_path):
    path = written(tmp_path / "a.tif", (600, 700), "float32", overviews=[2], **TILED)
    store = lazypyr.LazyPyramidStore(path, method="mean", chunks=64, workers=4)
    with rasterio.open(path) as file:
        expected = file.read(1)
    np.testing.assert_array_equal(zarr.open(store, mode="r")["0"][:], expected)
    copied = pickle.loads(pickle.dumps(store.pyramid))
    np.testing.assert_array_equal(copied.read(2), store.pyramid.read(2))
    fingerprint = store.pyramid.fingerprint
    assert copied.fingerprint == fingerprint == open_pyramid(path, method="mean", chunks=64).fingerprint
    os.replace(written(tmp_path / "b.tif", (600, 700), "float32", overviews=[2], **TILED), path)
    store.refresh()
    assert store.pyramid.fingerprint != fingerprint
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(zarr.open(store, mode="r")["0"][:], file.read(1))


def test_behind_a_url(tmp_path):
    path = written(tmp_path / "a.tif", (900, 700), "uint16", overviews=[2, 4], **TILED)
    with serving_elsewhere(tmp_path) as url, rasterio.open(path) as file:
        pyramid = open_pyramid(f"{url}/a.tif", chunks=64)
        assert (len(pyramid.stored_levels), pyramid.crs, pyramid.name) == (3, "EPSG:32633", "a.tif")
        window = rasterio.windows.Window(64, 128, 60, 50)
        np.testing.assert_array_equal(pyramid[0][128:178, 64:124], file.read(1, window=window))


def test_options_of_fsspec_are_refused():
    with pytest.raises(PlanError, match="GDAL reads it by its own settings"):
        open_pyramid("https://example.org/a.tif", storage_options={"token": "x"})


def test_recipes_and_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "dem.tif", (150, 170), "float32", fill=np.nan, overviews=[2])
    assert main(["info", "dem.tif", "--method", "mean"]) == 0
    assert "EPSG:32633" in capsys.readouterr().out
    assert main(["materialize", "dem.tif", "dem.zarr", "--method", "mean", "--chunks", "64", "--quiet"]) == 0
    pyramid = open_pyramid("dem.tif", method="mean", chunks=64)
    np.testing.assert_array_equal(zarr.open("dem.zarr", mode="r")["1"][:], pyramid.read(1))
    (tmp_path / "a.lazypyr.json").write_text(json.dumps(pyramid.map("slope").to_recipe(tmp_path)))
    np.testing.assert_array_equal(open_pyramid("a.lazypyr.json").read(1), pyramid.map("slope").read(1))
    assert path.exists()


def test_without_rasterio_the_extra_is_named(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / "a.tif", (60, 70))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(lazypyr.MissingExtra, match=r"reading a.tif needs rasterio: pip install 'lazypyr\[geotiff\]'"):
        open_pyramid(path)
    assert main(["info", str(path)]) != 0
    assert "lazypyr[geotiff]" in capsys.readouterr().err


def test_a_file_that_is_damaged_is_an_error(tmp_path):
    path = written(tmp_path / "a.tif", (600, 700), "uint16", compress="deflate", **TILED)
    raw = path.read_bytes()
    path.write_bytes(raw[:100])
    with pytest.raises(PlanError):
        open_pyramid(path)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(SourceError):
        open_pyramid(path).read(0)
