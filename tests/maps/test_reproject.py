"""Reprojected pyramids: values against GDAL, holes, kinds of numbers, chunks read, recipes, what is refused."""

from __future__ import annotations

import json
import pickle

import jsonschema
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject
from scipy.ndimage import map_coordinates

import lazypyr
from lazypyr import PlanError
from lazypyr.recipe import schema
from support.scenes import SCENES, Scene
from support.sources import zarr_array

BOUNDS = (400000.0, 5600000.0, 430000.0, 5630000.0)  # 300 x 300 pixels of 100 m, UTM zone 30


def pyramid_of(array, method="mean", crs="EPSG:32630", bounds=BOUNDS, **options):
    pyramid = lazypyr.open_pyramid(array, method=method, bounds=bounds, **options)
    pyramid.crs = crs
    return pyramid


def smooth(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:n, 0:n] / n
    return (100 * np.sin(7 * x) * np.cos(5 * y) + 20 * rng.random((n, n))).astype("f4")


def gdal(array, pyramid, level, method, nodata=None, crs="EPSG:32630", bounds=BOUNDS):
    left, _, right, top = bounds
    edge, at = pyramid.grid.extent(level), pyramid.levels[level]
    pixel = (edge[2] - edge[0]) / at.shape[1]
    out = np.full(at.shape, np.nan if nodata is None else nodata, array.dtype)
    reproject(
        array, out, src_transform=from_origin(left, top, (right - left) / array.shape[1], (right - left) / array.shape[1]),
        src_crs=crs, dst_transform=from_origin(edge[0], edge[3], pixel, pixel), dst_crs=pyramid.crs,
        resampling=Resampling[method], src_nodata=nodata, dst_nodata=np.nan if nodata is None else nodata, tolerance=0,
        init_dest_nodata=True,
    )  # fmt: skip
    return out


TARGETS = [("EPSG:3857", 100), ("EPSG:4326", 7e-4), ("EPSG:32631", 80)]


@pytest.mark.parametrize(("method", "order"), [("nearest", 0), ("bilinear", 1)])
@pytest.mark.parametrize(("crs", "pixel"), TARGETS)
def test_values_are_those_at_exact_positions(method, order, crs, pixel):
    data, scene = smooth(), Scene("EPSG:32630", 400050.0, 100.0, 300, 5629950.0, -100.0, 300)
    pyramid = pyramid_of(data).reproject(crs, method=method, resolution=pixel)
    row, column, inside = scene.positions(pyramid, 0)
    expected = map_coordinates(
        data.astype("f8"), [np.nan_to_num(row), np.nan_to_num(column)], order=order, mode="nearest"
    )
    values = pyramid.read(0)
    np.testing.assert_array_equal(np.isfinite(values), inside)
    off = np.abs(values - expected)[inside]
    assert (off > 0.01).mean() <= 0.002  # nearest: ties
    assert np.median(off) < 1e-3


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
@pytest.mark.parametrize(("crs", "pixel"), TARGETS)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_rows_and_columns_lie_where_gdal_has_them(method, crs, pixel):
    for ramp in np.mgrid[0:300, 0:300].astype("f4"):
        pyramid = pyramid_of(ramp).reproject(crs, method=method, resolution=pixel)
        ours, theirs = pyramid.read(0), gdal(ramp, pyramid, 0, method)
        both = np.isfinite(ours) & np.isfinite(theirs)
        # GDAL cuts edges by weights, we by the pixel's centre
        assert (np.isfinite(ours) ^ np.isfinite(theirs)).mean() <= 0.02
        # GDAL interpolates the transform to an eighth of a pixel
        assert np.percentile(np.abs(ours - theirs)[both], 99) <= 0.13


@settings(max_examples=8, deadline=None)
@given(
    zone=st.integers(1, 60), south=st.booleans(), east=st.floats(2e5, 7e5), north=st.floats(1e6, 8e6), step=st.floats(20, 900),
    up=st.booleans(), mirrored=st.booleans(), data=st.data(),
)  # fmt: skip
def test_any_scene_lies_where_pyproj_puts_it(zone, south, east, north, step, up, mirrored, data):
    ny, nx = data.draw(st.integers(40, 120)), data.draw(st.integers(40, 120))
    scene = Scene(
        f"EPSG:{327 if south else 326}{zone:02}",
        east, -step if mirrored else step, nx, north, step if up else -step, ny,
    )  # fmt: skip
    tiling = data.draw(st.sampled_from(["WebMercatorQuad", "WorldCRS84Quad"]))
    pyramid = scene.pyramid().reproject(tiling=tiling)
    for level in range(len(pyramid.levels)):
        if np.prod(pyramid.levels[level].shape) > 2**21:
            continue
        row, column, inside = scene.positions(pyramid, level)
        if inside.sum() < 100:
            continue
        values = pyramid.read(level)
        with np.errstate(invalid="ignore"):
            size = max(float(np.nanmedian(np.abs(np.diff(np.where(inside, g, np.nan), axis=a)))) for g, a in
                       ((row, 0), (row, 1), (column, 0), (column, 1)))  # fmt: skip
        _, _, drawn = scene.drawn(values)
        core = drawn & scene.inside(row, column, margin=max(size, 1.0))
        assert (scene.away(values, row, column)[core] <= 0.1 * size + 0.01).all()
        assert not (scene.inside(row, column, margin=0.1 * size) & ~drawn).any()
        assert not (drawn & ~scene.inside(row, column, margin=-0.1 * size)).any()


@pytest.mark.parametrize("name", ["utm", "globe, odd", "south pole"])
@pytest.mark.parametrize("method", ["bilinear", "average"])
def test_windows_chunks_and_what_is_written_are_the_same_bits(name, method, tmp_path):
    pyramid = SCENES[name].pyramid().reproject(tiling="WebMercatorQuad", method=method)
    whole = [level[...] for level in pyramid]
    lazypyr.materialize(pyramid, tmp_path / "out.zarr")
    store = zarr.open_group(lazypyr.LazyPyramidStore(pyramid), mode="r")
    for k, level in enumerate(whole):
        np.testing.assert_array_equal(zarr.open_group(tmp_path / "out.zarr", mode="r")[str(k)][...], level)
        np.testing.assert_array_equal(store[str(k)][...], level)
        h, w = level.shape[:2]
        window = ((h // 3, h // 3 + 100), (w // 4, w // 4 + 77), (0, 2))
        np.testing.assert_array_equal(pyramid.read(k, window), level[tuple(slice(*part) for part in window)])


def test_zero_is_a_value_and_the_declared_nodata_is_a_hole():
    data = np.zeros((300, 300), "i2")
    data[:, 150:] = 1
    data[50:80, 50:80] = -9
    pyramid = pyramid_of(data, nodata=-9).reproject("EPSG:3857")
    values = pyramid.read(0)
    assert pyramid.nodata == -9
    assert set(np.unique(values)) == {-9, 0, 1}
    assert pyramid.fill_value == -9
    # -1 and 1 with -0 as a hole: what is computed never becomes one
    data = np.where(np.mgrid[0:300, 0:300].sum(0) % 2, -1, 1).astype("i2")
    mixed = pyramid_of(data, method="stride", nodata=0).reproject("EPSG:3857", method="bilinear")
    inside = (
        pyramid_of(np.ones_like(data), method="stride", nodata=0).reproject("EPSG:3857", method="bilinear").read(0) == 1
    )
    assert inside.any()
    assert (mixed.read(0)[inside] != 0).all()


def test_packed_numbers_are_interpolated_as_values_and_rounded_back():
    values = smooth()
    packed = xr.DataArray(
        np.round((values + 200) / 0.5).astype("u2"), dims=("y", "x"),
        attrs={"scale_factor": 0.5, "add_offset": -200.0, "_FillValue": np.uint16(65535)},
    )  # fmt: skip
    packed[10:60, 10:60] = 65535
    theirs = pyramid_of(lazypyr.open_pyramid(packed).read(0) * np.float32(1)).reproject("EPSG:3857")
    pyramid = pyramid_of(packed).reproject("EPSG:3857")
    assert pyramid.dtype == "uint16"
    assert pyramid.packing.scale == 0.5
    hole = pyramid.read(0) == 65535
    numbers = np.where(hole, 0, pyramid.read(0)).astype("f8")
    plain = theirs.read(0)
    rim = np.isfinite(plain) & ~hole & (plain < 1000)
    assert np.abs(numbers - plain)[rim].max() <= 0.5 + 1e-3
    assert pyramid.unpacked.read(0)[rim].max() < 300


CLASSES = xr.DataArray(
    np.random.default_rng(1).integers(0, 3, (300, 300)).astype("u1"), dims=("y", "x"),
    attrs={"flag_values": [0, 1, 2], "flag_meanings": "water land cloud"},
)  # fmt: skip
MIXED = "would mix values of"


@pytest.mark.parametrize(
    ("make", "default", "refused"),
    [
        (lambda: pyramid_of(smooth()), "bilinear", None),
        (lambda: pyramid_of(smooth().astype("u1")), "bilinear", None),
        (lambda: pyramid_of(smooth() > 0, method="stride"), "nearest", "a mask"),
        (lambda: pyramid_of(CLASSES, method="stride"), "nearest", "flags"),
        (lambda: pyramid_of(CLASSES.data, method="mode"), "nearest", "classes"),
        (lambda: pyramid_of((smooth() + 1j).astype("c8")), "bilinear", None),
        (lambda: pyramid_of((smooth() + 1j).astype("c8")).map("phase"), "nearest", "a wrapped phase"),
    ],
    ids=["heights", "pictures", "mask", "flags", "classes", "complex", "phase"],
)
def test_the_default_follows_the_data_and_classes_are_never_mixed(make, default, refused):
    pyramid = make()
    assert pyramid.reproject("EPSG:3857").method == default
    if refused:
        for method in ("bilinear", "cubic", "average"):
            with pytest.raises(PlanError, match=f"{MIXED} {refused}"):
                pyramid.reproject("EPSG:3857", method=method)
        values = pyramid.reproject("EPSG:3857", method="mode").read(0)
        kept = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        assert set(np.unique(kept)) <= {*np.unique(pyramid.read(0)).tolist(), 0}


def test_mode_is_the_value_of_the_largest_share():
    data = np.zeros((300, 300), "u1")
    data[::3] = 7  # one row of three
    pyramid = pyramid_of(data, method="stride", levels=1, nodata=255).reproject(
        "EPSG:3857", method="mode", resolution=1600
    )
    values = pyramid.read(0)
    assert (values == 0).sum() > 200
    assert (values == 7).sum() <= 2 * values.shape[0] + 2 * values.shape[1]


def test_products_stand_before_and_behind():
    rng = np.random.default_rng(3)
    stack = (rng.normal(size=(300, 300, 3)) + 1j * rng.normal(size=(300, 300, 3))).astype("c8")
    before = pyramid_of(stack, axes="yxi").map("intensity").reproject("EPSG:3857")
    assert before.shape[2:] == (3,)
    behind = before.map("expression", text="(b1 - b0) / (b1 + b0)")
    b0, b1, _ = np.moveaxis(before.read(0), -1, 0)
    np.testing.assert_allclose(behind.read(0), (b1 - b0) / (b1 + b0), rtol=1e-5)
    turned = lazypyr.open_pyramid(before, order="iyx")
    np.testing.assert_array_equal(turned.read(0), np.moveaxis(before.read(0), -1, 0))


# How much is read


class Counted(lazypyr.Source):
    """Array that records which of its chunks are read."""

    def __init__(self, inner):
        self.inner, self.name = inner, "counted"
        self.shape, self.dtype, self.axes, self.chunks = inner.shape, inner.dtype, ("y", "x"), inner.chunks
        self.fill_value, self.seen = 0, set()

    def read(self, window, step=None):
        (a, b), (c, d) = window
        self.seen |= {(i, j) for i in range(a // self.chunks[0], -(-b // self.chunks[0]))
                      for j in range(c // self.chunks[1], -(-d // self.chunks[1]))}  # fmt: skip
        return self.inner[a:b, c:d][:: step[0] if step else 1, :: step[1] if step else 1]

    @property
    def fingerprint(self):
        return "counted"


@pytest.mark.parametrize(
    ("scene", "tiling"),
    [
        (Scene("EPSG:32630", 4e5, 100.0, 1024, 57e5, -100.0, 1024), "WebMercatorQuad"),
        (Scene("EPSG:3031", -3e6, 6e3, 1024, 3e6, -6e3, 1024), "WebMercatorQuad"),
        (Scene("EPSG:4326", 0.125, 0.25, 1440, 89.875, -0.25, 720, 1440.0), "WebMercatorQuad"),
        (Scene("EPSG:4326", 0.125, 0.25, 1440, 89.875, -0.25, 720, 1440.0), "WorldCRS84Quad"),
    ],
)
def test_a_tile_reads_the_chunks_that_its_pixels_need(scene, tiling):
    data = np.random.default_rng(0).random((scene.ny, scene.nx)).astype("f4")
    source = Counted(zarr_array(data, chunks=(64, 64)))
    parent = scene.placed(lazypyr.open_pyramid(source, method="stride", chunks=64, levels=1))
    pyramid = parent.reproject(tiling=tiling, zoom=8 if scene.crs == "EPSG:32630" else 2)
    row, column, inside = scene.positions(pyramid, 0)
    counts, needs = [], []
    for top in range(0, pyramid.shape[0], 256):
        for left in range(0, pyramid.shape[1], 256):
            part = slice(top, top + 256), slice(left, left + 256)
            ins = inside[part]
            if not ins.any():
                continue
            r, c = row[part][ins], column[part][ins]
            need: set[tuple[int, int]] = set()
            for dr in (0, 1):
                for dc in (0, 1):
                    i = np.clip(np.floor(r).astype(int) + dr, 0, scene.ny - 1) // 64
                    j = np.floor(c).astype(int) + dc
                    j = (j % scene.nx if scene.goes_round else np.clip(j, 0, scene.nx - 1)) // 64
                    need |= {divmod(int(n), 1000) for n in np.unique(i * 1000 + j)}
            source.seen = set()
            window = (top, min(top + 256, pyramid.shape[0])), (left, min(left + 256, pyramid.shape[1]))
            told = pyramid.explain(0, window)
            assert not source.seen
            pyramid.read(0, window)
            assert need <= source.seen
            assert told.total_chunks >= len(source.seen)
            counts.append(len(source.seen))
            needs.append(len(need))
    assert counts
    assert sum(counts) <= 1.05 * sum(needs)


def test_a_coarse_tile_reads_a_coarse_level():
    pyramid = pyramid_of(smooth(1024), levels=3)
    tiles = pyramid.reproject(tiling="WebMercatorQuad", zoom=(8, 12))
    coarse = tiles.explain(4, ((0, 256), (0, 256)))
    assert "level 2" in str(coarse)
    assert "level 0" in str(tiles.explain(0, ((2560, 2816), (2560, 2816))))


# What it is


def test_tiles_are_those_of_the_tile_matrix_set():
    pyramid = pyramid_of(smooth()).reproject(tiling="WebMercatorQuad")
    limits = pyramid.attrs["tile_matrix_limits"]
    assert [limit["tileMatrix"] for limit in limits] == ["10", "9"]
    world = 2 * np.pi * 6378137.0
    for k, limit in enumerate(limits):
        tile = world / 2 ** int(limit["tileMatrix"])
        left, bottom, right, top = pyramid.grid.extent(k)
        assert left == pytest.approx(-world / 2 + limit["minTileCol"] * tile)
        assert right == pytest.approx(-world / 2 + (limit["maxTileCol"] + 1) * tile)
        assert top == pytest.approx(world / 2 - limit["minTileRow"] * tile)
        assert bottom == pytest.approx(world / 2 - (limit["maxTileRow"] + 1) * tile)
    whole = pyramid_of(smooth()).reproject(tiling="WebMercatorQuad", zoom=(0, 3), extent="world")
    assert [level.shape for level in whole.levels] == [(2048, 2048), (1024, 1024), (512, 512), (256, 256)]
    crs84 = pyramid_of(smooth()).reproject(tiling="WorldCRS84Quad", zoom=(0, 1), extent="world")
    assert [level.shape for level in crs84.levels] == [(512, 1024), (256, 512)]
    assert crs84.grid.extent() == (-180.0, -90.0, 180.0, 90.0)


def test_a_store_says_the_place_to_rioxarray_and_gdal(tmp_path):
    pyramid = pyramid_of(smooth()).reproject("EPSG:3857", resolution=500)
    lazypyr.materialize(pyramid, tmp_path / "out.zarr", layout="{level}/image")
    import rioxarray  # noqa: F401

    opened = xr.open_dataset(tmp_path / "out.zarr" / "0", engine="zarr", consolidated=False)["image"]
    assert opened.rio.crs.to_epsg() == 3857
    assert opened.rio.bounds() == pytest.approx(np.array(pyramid.grid.extent()))


def test_recipes_and_pickles_give_the_same_pixels(tmp_path):
    zarr_array(smooth(), store=str(tmp_path / "a.zarr"), chunks=(100, 100), attributes={"proj:code": "EPSG:32630"})
    source = lazypyr.open_pyramid(tmp_path / "a.zarr", method="mean", bounds=BOUNDS)
    pyramid = source.reproject(tiling="WebMercatorQuad", method="cubic").map("slope", spacing=1)
    recipe = pyramid.to_recipe(tmp_path)
    jsonschema.validate(recipe, schema())
    (tmp_path / "a.lazypyr.json").write_text(json.dumps(recipe))
    for same in (lazypyr.open_pyramid(tmp_path / "a.lazypyr.json"), pickle.loads(pickle.dumps(pyramid))):
        assert same.fingerprint == pyramid.fingerprint
        np.testing.assert_array_equal(same.read(1), pyramid.read(1))
    other = source.reproject(tiling="WebMercatorQuad", method="bilinear")
    assert other.fingerprint != source.reproject(tiling="WebMercatorQuad", method="cubic").fingerprint
    told = source.reproject("EPSG:3857", source_crs="EPSG:32631")
    (tmp_path / "b.lazypyr.json").write_text(json.dumps(told.to_recipe(tmp_path)))
    assert lazypyr.open_pyramid(tmp_path / "b.lazypyr.json").fingerprint == told.fingerprint


def test_longitudes_and_latitudes_without_a_crs_are_wgs84_as_cf_has_it():
    along = {"lat": ("lat", np.linspace(50, 40, 60), {"units": "degrees_north"}),
             "lon": ("lon", np.linspace(0, 12, 70), {"units": "degrees_east"})}  # fmt: skip
    given = xr.DataArray(np.ones((60, 70), "f4"), dims=("lat", "lon"), coords=along)
    assert lazypyr.open_pyramid(given).reproject("EPSG:3857").read(0)[20:40, 20:40].min() == 1
    # latitudes of a Gaussian grid are no even ones
    uneven = given.assign_coords(lat=("lat", 50 - 10 * np.linspace(0, 1, 60) ** 1.5, {"units": "degrees_north"}))
    ramp = uneven.copy(data=np.broadcast_to(uneven.lat.data[:, None], (60, 70)).astype("f4"))
    pyramid = lazypyr.open_pyramid(ramp, method="stride", levels=1).reproject("EPSG:4326", resolution=0.05)
    values, y = pyramid.read(0), pyramid.coords["y"].at(np.arange(pyramid.shape[0]))
    known = np.isfinite(values) & (y < 49.9)[:, None] & (y > 40.2)[:, None]
    assert known.sum() > 10_000
    assert np.abs(values - y[:, None])[known].max() < 2e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.reproject(), "either crs"),
        (lambda p: p.reproject("EPSG:3857", tiling="WebMercatorQuad"), "either crs"),
        (lambda p: p.reproject("EPSG:99999"), "expected a CRS such as"),
        (lambda p: p.reproject("nonsense"), "expected a CRS such as"),
        (lambda p: p.reproject(tiling="WebMercatorQad"), "did you mean 'WebMercatorQuad'"),
        (lambda p: p.reproject(tiling="WebMercatorQuad", resolution=10), "leave resolution and bounds out"),
        (lambda p: p.reproject("EPSG:3857", zoom=3), "are those of a tiling"),
        (lambda p: p.reproject(tiling="WebMercatorQuad", zoom=(5, 3)), "zoom: expected"),
        (lambda p: p.reproject(tiling="WebMercatorQuad", extent="globe"), "extent: expected"),
        (lambda p: p.reproject("EPSG:3857", method="lanczos"), "method: expected one of"),
        (lambda p: p.reproject("EPSG:3857", resolution=-1), "resolution: expected"),
        (lambda p: p.reproject("EPSG:3857", bounds=(0, 0, -1, 1)), "bounds: expected left < right"),
        (lambda p: p.reproject("EPSG:3857", bounds=(0, 0, 1, 1)), "don't meet the raster"),
        (lambda p: p.reproject("EPSG:3857", source_crs="EPSG:0"), "expected a CRS such as"),
        (lambda p: lazypyr.open_pyramid(np.ones((9, 9)), bounds=BOUNDS).reproject("EPSG:3857"), "its CRS isn't known"),
        (lambda p: lazypyr.open_pyramid(np.ones((9, 9))).reproject("EPSG:3857"), "no coordinates along 'y'"),
        (lambda p: SCENES["globe, odd"].pyramid().reproject("EPSG:3413"), "give bounds or a larger resolution"),
    ],
    ids=range(17),
)
def test_what_can_not_be_is_told(call, message):
    with pytest.raises(PlanError, match=message):
        call(pyramid_of(smooth()))
