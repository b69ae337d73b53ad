"""Stores shaped like those that are published: each opens as it stands, and every face draws it as its own field does."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
import zarr
from PIL import Image

import lazypyr
from lazypyr.display import axis_label, orientation_of
from lazypyr.engine.engine import Engine
from lazypyr.plot.viewport import Viewport
from lazypyr.server.rendering import RenderOptions, layers_of

warnings = pytest.mark.filterwarnings("ignore::Warning")
RNG = np.random.default_rng(0)
NORTH, EAST = {"units": "degrees_north", "axis": "Y"}, {"units": "degrees_east", "axis": "X"}


@dataclass
class Shown:
    """What is expected of a store.

    Attributes
    ----------
    source : object
        As a user gives it.
    drawn : ndarray
        First plane of the pixels as they are seen, the upper left one first.
    labels : (str, str)
        Names of y and x.
    variable : str, optional
        Path of the pyramid, of a collection.
    colours : str, optional
        Axis of red, green and blue.
    """

    source: Any
    drawn: Any
    labels: tuple[str, str] = ("y", "x")
    variable: str = ""
    colours: str | None = None


def seen_in_xarray(plane):
    """A plane as `DataArray.plot` has it on the screen, the upper left pixel first."""
    axes = matplotlib.figure.Figure().subplots()
    plane.plot(ax=axes)
    y, x = plane.dims
    ends = [(float(plane[x][k]), float(plane[y][k])) for k in (0, -1)]
    across, up = axes.transData.transform(ends).T
    return plane.values[:: 1 if up[0] > up[1] else -1, :: 1 if across[0] < across[1] else -1]


def field(ny, nx, *others):
    """Values that tell rows and columns and their directions apart."""
    ramp = np.add.outer(np.arange(ny) * 3.0, np.arange(nx) / 7)
    return (ramp + RNG.random((*others, ny, nx))).astype("f4")


def climate(folder, *, zarr_format, lat, lon, bounds, chunks, variables=("hfls",), names=("lat", "lon")):
    """A file of a climate model, written by xarray: variables over time, and bounds beside them."""
    y, x = names
    time = xr.date_range("2000-01-01", periods=3, freq="MS", calendar="noleap", use_cftime=True)
    data = {v: (("time", y, x), field(len(lat), len(lon), 3), {"units": "W m-2"}) for v in variables}
    data |= {
        f"{y}{bounds}": ((y, "bnds"), np.stack([lat, lat], 1)),
        f"{x}{bounds}": ((x, "bnds"), np.stack([lon, lon], 1)),
    }
    along = {"time": time, y: (y, lat, NORTH), x: (x, lon, EAST)}
    dataset = xr.Dataset(data, coords=along)
    dataset.to_zarr(
        folder,
        zarr_format=zarr_format,
        consolidated=zarr_format == 2,
        encoding={v: {"chunks": chunks} for v in variables},
    )
    plane = xr.open_zarr(folder)[variables[-1]][0]
    path = variables[-1] if len(variables) > 1 else ""
    return Shown(str(folder), seen_in_xarray(plane), names, path)


def power(folder):
    lat, lon = np.linspace(-90, 90, 73), np.arange(-180, 180, 2.5)
    return climate(
        folder, zarr_format=2, lat=lat, lon=lon, bounds="_x", chunks=(1, 40, 50), variables=("T2M", "RH2M", "WS10M")
    )


def cmip6(folder):
    lat, lon = np.linspace(-90, 90, 96), np.arange(0, 360, 2.5)
    return climate(folder, zarr_format=2, lat=lat, lon=lon, bounds="_bnds", chunks=(3, 96, 144))


def silam(folder):
    lat, lon = np.linspace(-89.8, 89.8, 89), np.arange(-180, 180, 2.0)
    return climate(folder, zarr_format=2, lat=lat, lon=lon, bounds="_b", chunks=(1, 23, 45))


def gpcp(folder):
    lat, lon = np.arange(-89.5, 90), np.arange(0.5, 360)
    names = ("latitude", "longitude")
    return climate(
        folder,
        zarr_format=3,
        lat=lat,
        lon=lon,
        bounds="_bounds",
        chunks=(1, 90, 180),
        variables=("precip",),
        names=names,
    )


def gaussian(folder):
    """Latitudes that fall, unevenly."""
    lat = np.degrees(np.arcsin(np.linspace(0.99, -0.99, 64)))
    return climate(folder, zarr_format=3, lat=lat, lon=np.arange(0, 360, 2.8125), bounds="_bnds", chunks=(1, 64, 64))


def webknossos(folder):
    """A cube (c, x, y, z) in Fortran order, without names; one section is shown, x to the right."""
    pixels = RNG.integers(0, 255, (1, 90, 60, 5), "u1")
    zarr.create_array(folder / "color" / "2-2-1", data=pixels, chunks=(1, 32, 32, 5), zarr_format=2, order="F")
    return Shown(str(folder / "color" / "2-2-1"), None)


def idr(folder):
    """OME-NGFF 0.1: t, c, z, y, x by the specification; green and red by omero."""
    pixels = RNG.integers(0, 4000, (1, 2, 6, 75, 71), "u2")
    pixels[0, 0, 0] = np.arange(75)[:, None] * 50
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    for k in range(3):
        level = pixels[..., :: 2**k, :: 2**k]
        zarr.create_array(folder / str(k), data=level, chunks=(1, 1, 1, 32, 32), zarr_format=2)
    channel = {"active": True, "window": {"start": 0, "end": 4000, "min": 0, "max": 65535}}
    channels = [{"label": "LaminB1", "color": "00FF00", **channel}, {"label": "Dapi", "color": "0000FF", **channel}]
    group.attrs.update(
        {
            "multiscales": [{"version": "0.1", "name": "6001240", "datasets": [{"path": str(k)} for k in range(3)]}],
            "omero": {"channels": channels},
        }
    )
    return Shown(str(folder), pixels[0, 0, 0])


def ome_image(folder):
    """OME-NGFF 0.4, micrometres that ascend: images run downwards."""
    pixels = field(80, 70, 3).astype("u2")
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "yx")]
    scales = [[{"type": "scale", "scale": [1, 0.5 * 2**k, 0.5 * 2**k]}] for k in range(3)]
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    for k in range(3):
        zarr.create_array(folder / str(k), data=pixels[:, :: 2**k, :: 2**k], chunks=(1, 32, 32), zarr_format=2)
    datasets = [{"path": str(k), "coordinateTransformations": scales[k]} for k in range(3)]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return Shown(str(folder), pixels[0], colours="c")


def ecco(folder):
    """Faces with latitudes and longitudes of two axes: rows as they lie."""
    basins = np.arange(13 * 30 * 40).reshape(13, 30, 40) % 9
    places = {
        name: (("face", "j", "i"), RNG.random((13, 30, 40)), {"units": u})
        for name, u in (("YC", "degrees_north"), ("XC", "degrees_east"))
    }
    dataset = xr.Dataset({"basins": (("face", "j", "i"), basins.astype("i4"))}, coords=places)
    dataset.to_zarr(folder, zarr_format=2)
    return Shown(str(folder / "basins"), basins[0], ("j", "i"))


def sentinel(folder):
    """Metres of a UTM zone, rows to the south, packed: a raster of EOPF."""
    y, x = 4_999_995.0 - 10 * np.arange(90), 300_005.0 + 10 * np.arange(80)
    counts = RNG.integers(1000, 9000, (90, 80), "u2")
    band = (("y", "x"), counts, {"scale_factor": 0.0001, "add_offset": -0.1, "grid_mapping": "spatial_ref"})
    crs = ((), np.int32(0), {"crs_wkt": "EPSG:32632"})
    dataset = xr.Dataset(
        {"b02": band, "spatial_ref": crs}, coords={"y": ("y", y, {"units": "m"}), "x": ("x", x, {"units": "m"})}
    )
    dataset.to_zarr(folder / "r10m", zarr_format=3)
    return Shown(str(folder / "r10m" / "b02"), seen_in_xarray(xr.open_zarr(folder / "r10m").b02))


def south_up_utm(folder):
    y, x = 4_000_005.0 + 10 * np.arange(90), 300_005.0 + 10 * np.arange(80)
    array = xr.DataArray(field(90, 80), dims=("northing", "easting"), coords={"northing": y, "easting": x}, name="h")
    array.to_dataset().to_zarr(folder, zarr_format=3)
    return Shown(str(folder), seen_in_xarray(array), ("northing", "easting"))


def turned(folder):
    """Longitudes first, and falling."""
    array = xr.DataArray(
        field(90, 80), dims=("lat", "lon"), coords={"lat": np.arange(90.0), "lon": -np.arange(80.0)}, name="h"
    )
    array.transpose("lon", "lat").to_dataset().to_zarr(folder, zarr_format=3)
    return Shown(str(folder), seen_in_xarray(array), ("lat", "lon"))


def life(folder):
    """Generations of a game, of which none says where it is."""
    alive = RNG.integers(0, 2, (50, 60)).astype("u1")
    zarr.create_array(folder, data=alive, chunks=(25, 25), zarr_format=2)
    return Shown(str(folder), alive)


def tessera(folder):
    """A band of embeddings in UTM: place and CRS are on the group."""
    group = zarr.open_group(folder, mode="w")
    pixels = field(64, 80, 1)
    made = group.create_array(
        "scales", shape=pixels.shape, dtype="f4", chunks=(1, 32, 32), dimension_names=("time", "y", "x")
    )
    made[...] = pixels
    group.attrs.update({"spatial:transform": [10.0, 0, 3e5, 0, -10.0, 5e6], "proj:code": "EPSG:32630"})
    return Shown(str(folder / "scales"), pixels[0])


GALLERY: dict[str, Callable[..., Shown]] = {
    made.__name__: made
    for made in (
        power,
        cmip6,
        silam,
        gpcp,
        gaussian,
        idr,
        ome_image,
        ecco,
        sentinel,
        south_up_utm,
        turned,
        life,
        tessera,
    )
}


@pytest.fixture(scope="module")
def shown(request, tmp_path_factory):
    return GALLERY[request.param](tmp_path_factory.mktemp("gallery") / "store.zarr")


def opened(case):
    store = lazypyr.LazyPyramidStore(case.source)
    return store, store.pyramids[case.variable]


def gray(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[..., 0]


@warnings
@pytest.mark.parametrize("shown", GALLERY, indirect=True)
def test_page_tiles_thumbnails_and_plots_draw_it_alike(shown):
    store, pyramid = opened(shown)
    layers = layers_of(pyramid)
    first = next(iter(layers.values()))
    assert first.colour_axis == shown.colours
    layer = layers["raw"]
    index = (0,) * len(layer.sizes)
    low, high = float(shown.drawn.min()), float(shown.drawn.max()) + 1e-3
    options = RenderOptions(index, (low, high), "gray")
    expected = np.clip((shown.drawn - low) / (high - low), 0, 1) * 255
    ny, nx = shown.drawn.shape
    assert layer.size == (ny, nx)
    tile = gray(layer.tile(store.engine, options, layer.max_zoom, 0, 2**layer.max_zoom - 1))[
        : min(ny, 256), : min(nx, 256)
    ]
    assert np.abs(tile - expected[:256, :256]).max() <= 2
    thumbnail = gray(layer.thumbnail(store.engine, options, 512))
    assert np.abs(thumbnail - expected).max() <= 2
    viewport = Viewport(layer.pyramid, store.engine, level_increase=-9)
    frame = viewport.frame(viewport.view(None, None, 4000, 4000, index))
    invert_x, invert_y = viewport.inverts
    seen = frame.pixels[:: -1 if invert_y else 1, :: -1 if invert_x else 1]
    np.testing.assert_allclose(seen, shown.drawn, rtol=1e-6)


@warnings
@pytest.mark.parametrize("shown", GALLERY, indirect=True)
def test_names_of_axes_and_every_level(shown):
    _, pyramid = opened(shown)
    assert tuple(axis_label(pyramid, axis)[0] for axis in "yx") == shown.labels
    whole = pyramid.read(0)
    back = orientation_of(pyramid)
    plane = np.moveaxis(whole, [pyramid.axes.index("y"), pyramid.axes.index("x")], [-2, -1])
    while plane.ndim > 2:
        plane = plane[0]
    if plane.dtype.kind == "f":
        np.testing.assert_allclose(back.applied(plane), shown.drawn, rtol=1e-6)
    for level in range(1, len(pyramid.levels)):
        step = tuple(slice(None, None, round(s)) for s in pyramid.levels[level].scale)
        np.testing.assert_array_equal(pyramid.read(level), whole[step])


@warnings
def test_units_are_those_of_each_axis(tmp_path):
    _, pyramid = opened(cmip6(tmp_path / "a.zarr"))
    assert [axis_label(pyramid, axis) for axis in "yx"] == [("lat", "degrees_north"), ("lon", "degrees_east")]
    _, pyramid = opened(gaussian(tmp_path / "b.zarr"))
    assert [axis_label(pyramid, axis) for axis in "yx"] == [("lat", "px"), ("lon", "degrees_east")]


@warnings
@pytest.mark.parametrize("name", ["power", "cmip6", "south_up_utm", "turned", "gaussian"])
def test_what_is_served_of_it_is_drawn_alike_again(name, tmp_path):
    case = GALLERY[name](tmp_path / "a.zarr")
    store, pyramid = opened(case)
    lazypyr.materialize(pyramid, tmp_path / "kept.zarr", progress=False)
    for again in (lazypyr.open_pyramid(tmp_path / "kept.zarr"), pyramid.refreshed()):
        assert orientation_of(again) == orientation_of(pyramid)


@warnings
def test_microscopes_images_run_downwards_after_they_were_written_too(tmp_path):
    _, pyramid = opened(ome_image(tmp_path / "a.zarr"))
    lazypyr.materialize(pyramid, tmp_path / "kept.zarr", progress=False)
    again = lazypyr.open_pyramid(tmp_path / "kept.zarr")
    assert orientation_of(again) == orientation_of(pyramid)
    assert Viewport(again, Engine()).inverts == (False, True)
