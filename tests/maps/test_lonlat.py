"""Rasters each of whose pixels has a longitude and a latitude, against the projections that these were made by."""

from __future__ import annotations

import pickle

import numpy as np
import pyproj
import pytest
import xarray as xr
import zarr

import lazypyr
from lazypyr import PlanError
from support.scenes import ROTATED, SCENES, Scene


def rotated(lat, lon):
    return pyproj.CRS.from_cf({
        "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": lat, "grid_north_pole_longitude": lon
    }).to_wkt()  # fmt: skip


MESHES = {
    "rotated pole": SCENES["rotated pole"],
    "over the antimeridian": Scene(rotated(30.0, 0.0), -20.0, 0.2, 200, -15.0, 0.2, 150, 1800.0),
    "the north pole inside": Scene(rotated(0.0, 0.0), -20.0, 0.2, 200, -15.0, 0.2, 150, 1800.0),
    "utm, mirrored": SCENES["utm, mirrored"],
    "descending": Scene(rotated(50.0, -100.0), 20.0, -0.02, 300, 15.0, -0.02, 260, 18000.0),
}


def lonlat_of(scene):
    x, y = np.meshgrid(scene.x0 + scene.dx * np.arange(scene.nx), scene.y0 + scene.dy * np.arange(scene.ny))
    return pyproj.Transformer.from_crs(scene.crs, "OGC:CRS84", always_xy=True).transform(x, y)


def placeless(scene):
    pyramid = scene.pyramid()
    pyramid.crs, pyramid.coords = None, {}
    return pyramid


@pytest.mark.parametrize("tiling", ["WebMercatorQuad", "WorldCRS84Quad"])
@pytest.mark.parametrize("name", MESHES)
def test_pixels_lie_where_their_longitudes_and_latitudes_put_them(name, tiling):
    scene = MESHES[name]
    pyramid = placeless(scene).reproject(tiling=tiling, lonlat=lonlat_of(scene))
    for level in range(len(pyramid.levels)):
        row, column, inside = scene.positions(pyramid, level)
        values = pyramid.read(level)
        with np.errstate(invalid="ignore"):
            size = float(np.sqrt(np.nanmedian(np.hypot(np.diff(row, axis=0)[:, :-1], np.diff(row, axis=1)[:-1])[inside[1:, 1:]])
                                 * np.nanmedian(np.hypot(np.diff(column, axis=0)[:, :-1], np.diff(column, axis=1)[:-1])[inside[1:, 1:]])))  # fmt: skip
        _, _, drawn = scene.drawn(values)
        core = drawn & scene.inside(row, column, margin=max(size, 1.0))
        away = scene.away(values, row, column)[core] / size
        assert core.sum() > 500
        assert np.percentile(away, 99) <= 0.1
        assert away.max() <= 0.5
        assert not (scene.inside(row, column, margin=0.1 * size) & ~drawn).any()
        assert not (drawn & ~scene.inside(row, column, margin=-0.1 * size)).any()


def test_coordinates_of_two_axes_are_found_in_the_dataset(tmp_path):
    scene = MESHES["rotated pole"]
    lon, lat = lonlat_of(scene)
    rows = np.broadcast_to(np.arange(scene.ny, dtype="f4")[:, None], (scene.ny, scene.nx))
    along = {
        "lat": (("y", "x"), lat, {"units": "degrees_north"}),
        "lon": (("y", "x"), lon, {"standard_name": "longitude"}),
    }
    xr.Dataset({"t": (("y", "x"), rows)}, along).to_zarr(tmp_path / "a.zarr")
    found = lazypyr.open_pyramid(tmp_path / "a.zarr", variable="t").reproject(tiling="WebMercatorQuad")
    given = lazypyr.open_pyramid(tmp_path / "a.zarr", variable="t").reproject(
        tiling="WebMercatorQuad", lonlat=(lon, lat)
    )
    assert np.isfinite(found.read(0)).any()
    np.testing.assert_array_equal(found.read(0), given.read(0))
    again = lazypyr.open_pyramid(found.to_recipe("."))
    assert again.fingerprint == found.fingerprint
    with pytest.raises(PlanError, match="a recipe has no pixels"):
        given.to_recipe()


def test_windows_pickles_and_stores_have_the_same_bits_and_holes_stay():
    scene = MESHES["over the antimeridian"]
    lon, lat = lonlat_of(scene)
    lon[40:60, 50:80] = np.nan
    pyramid = placeless(scene).reproject(tiling="WebMercatorQuad", lonlat=(lon, lat))
    whole = pyramid.read(0)
    row, column, _ = scene.positions(pyramid, 0)
    hole = (row > 41) & (row < 58) & (column > 51) & (column < 78)
    assert hole.any()
    assert np.isnan(whole[hole]).all()
    h, w = whole.shape[:2]
    window = (h // 3, h // 3 + 90), (w // 4, w // 4 + 300), (0, 2)
    np.testing.assert_array_equal(pyramid.read(0, window), whole[tuple(slice(*part) for part in window)])
    same = pickle.loads(pickle.dumps(pyramid))
    assert same == pyramid
    assert same.fingerprint == pyramid.fingerprint
    np.testing.assert_array_equal(zarr.open_group(lazypyr.LazyPyramidStore(same), mode="r")["0"][...], whole)
    moved = placeless(scene).reproject(tiling="WebMercatorQuad", lonlat=(lon + 1e-3, lat))
    assert moved.fingerprint != pyramid.fingerprint


def test_a_tile_reads_few_chunks_of_a_mesh():
    scene = Scene(ROTATED, -20.0, 0.02, 1024, 15.0, -0.02, 1024, 18000.0)
    data = np.ones((1024, 1024), "f4")
    source = lazypyr.open_pyramid(zarr.array(data, chunks=(128, 128)), method="stride", chunks=128, levels=1)
    pyramid = source.reproject(tiling="WebMercatorQuad", lonlat=lonlat_of(scene))
    row, column, inside = scene.positions(pyramid, 0)
    told, needed = 0, 0
    for top in range(0, pyramid.shape[0], 256):
        for left in range(0, pyramid.shape[1], 256):
            part = (slice(top, top + 256), slice(left, left + 256))
            if inside[part].any():
                i, j = (np.clip(g[part][inside[part]], 0, 1023) // 128 for g in (row, column))
                needed += len(np.unique(i * 8 + j))
                told += pyramid.explain(0, ((top, top + 256), (left, left + 256))).total_chunks
    assert needed <= told <= 1.1 * needed


@pytest.mark.parametrize(
    ("lonlat", "message"),
    [
        (3, "expected longitudes and latitudes"),
        ((np.zeros((3, 3)), np.zeros((3, 3))), "one a pixel is needed"),
        ((np.full((150, 200), np.nan), np.zeros((150, 200))), "no pixel has a longitude"),
        ((np.zeros((150, 200)), np.full((150, 200), 4e6)), "no pixel has a longitude"),
    ],
    ids=range(4),
)
def test_what_can_not_be_is_told(lonlat, message):
    with pytest.raises(PlanError, match=message):
        placeless(MESHES["rotated pole"]).reproject(tiling="WebMercatorQuad", lonlat=lonlat)
