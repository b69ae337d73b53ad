"""Pictures of the server run as xarray's own plot draws them: x to the right, y upwards, images downwards."""

from __future__ import annotations

import io
import json

import matplotlib.figure
import numpy as np
import pytest
import xarray as xr
from PIL import Image

import lazypyr
from lazypyr.display import Orientation, orientation_of
from lazypyr.engine.engine import Engine
from lazypyr.plot import raster_plot, save_picture
from lazypyr.server.rendering import RenderOptions, layers_of
from support.http import ask, served

SHAPE = 600, 900
SIGNS = [(y, x) for y in (1, -1) for x in (1, -1)]


def placed(dy, dx, shape=SHAPE, **options):
    """A ramp that tells rows, columns and their directions apart, over evenly spaced latitudes and longitudes."""
    ny, nx = shape
    lat, lon = 10 + 0.1 * np.arange(ny)[::dy], 20 + 0.1 * np.arange(nx)[::dx]
    ramp = np.add.outer(np.arange(ny) * 3.0, np.arange(nx) / 7).astype("f4")
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    return xr.DataArray(ramp, dims=("lat", "lon"), coords=coords, name="v", **options)


def drawn_by_xarray(array):
    """An array with its upper left pixel first, as `DataArray.plot` has it on the screen."""
    axes = matplotlib.figure.Figure().subplots()
    array.plot(ax=axes)
    y, x = array.dims
    across, up = axes.transData.transform([(array[x].values[c], array[y].values[r]) for r, c in ((0, 0), (-1, -1))]).T
    return array.values[:: 1 if up[0] > up[1] else -1, :: 1 if across[0] < across[1] else -1]


def unit_of(values):
    """Steps of gray of values between 0 and 2000, as pictures have them."""
    return 1 + np.minimum(np.clip(values / 2000, 0, 1) * 255, 254).astype("u1")


def picture(png):
    image = Image.open(io.BytesIO(png))
    return np.asarray(image)


@pytest.mark.parametrize(("dy", "dx"), SIGNS)
def test_tiles_and_thumbnails_are_drawn_as_xarray_draws(dy, dx):
    array = placed(dy, dx)
    seen = drawn_by_xarray(array)
    (layer, *_) = layers_of(lazypyr.open_pyramid(array)).values()
    engine, options = Engine(), RenderOptions((), (0.0, 2000.0), "gray")
    assert layer.max_zoom == 2
    for zoom in range(3):
        n, step = 2**zoom, 2 ** (2 - zoom)
        whole = np.zeros((256 * n, 256 * n), "u1")
        for x in range(n):
            for y in range(n):
                assert layer.has_tile(zoom, x, y) == (x * 256 * step < 900 and (n - 1 - y) * 256 * step < 600)
                if layer.has_tile(zoom, x, y):
                    rows = slice((n - 1 - y) * 256, (n - y) * 256)
                    whole[rows, x * 256 : (x + 1) * 256] = picture(layer.tile(engine, options, zoom, x, y))
        height, width = SHAPE[0] // step, SHAPE[1] // step
        # Stride samples: the picture pixel shows one of the step x step pixels below it.
        blocks = seen.reshape(height, step, width, step)
        low, high = unit_of(blocks.min((1, 3))), unit_of(blocks.max((1, 3)))
        assert (low <= whole[:height, :width]).all() and (whole[:height, :width] <= high).all()
        assert (whole[height:] == 0).all() and (whole[:, width:] == 0).all()
    small = picture(layer.thumbnail(engine, options, 90))
    blocks = seen.reshape(60, 10, 90, 10)
    assert (unit_of(blocks.min((1, 3))) <= small).all() and (small <= unit_of(blocks.max((1, 3)))).all()


@pytest.mark.parametrize(("dy", "dx"), SIGNS)
@pytest.mark.parametrize("shape", [(257, 391), (5, 2), (64, 1000)])
def test_level_0_of_any_shape_is_shown_to_the_last_pixel(dy, dx, shape):
    array = placed(dy, dx, shape)
    (layer, *_) = layers_of(lazypyr.open_pyramid(array, chunks=(64, 64))).values()
    shown = picture(layer.picture(Engine(), RenderOptions((), (0.0, 2000.0), "gray"), (0, 0), shape, 1.0))
    np.testing.assert_array_equal(shown, unit_of(drawn_by_xarray(array)))


@pytest.mark.parametrize(("dy", "dx"), SIGNS)
def test_plots_and_saved_pictures_too(dy, dx, tmp_path):
    array = placed(dy, dx)
    seen = drawn_by_xarray(array)
    image = raster_plot(array, level_increase=-9)[()]
    np.testing.assert_array_equal(image.data, seen)
    assert not raster_plot(array).opts.get("plot").kwargs.get("invert_yaxis", False)
    saved = Image.open(save_picture(array, tmp_path / "a.png", cmap="gray", size=(300, 200))).convert("L")
    inside = np.asarray(saved).astype(float)[45:235, 100:390]
    # Which corner is the brightest is the same.
    corners = [np.unravel_index(np.argmax(a), a.shape) for a in (inside[::189, ::289], seen[::599, ::899])]
    assert corners[0] == corners[1]


def test_rows_without_coordinates_run_downwards():
    (layer, *_) = layers_of(lazypyr.open_pyramid(placed(1, 1).values)).values()
    shown = picture(layer.picture(Engine(), RenderOptions((), (0.0, 2000.0), "gray"), (0, 0), SHAPE, 1.0))
    np.testing.assert_array_equal(shown, unit_of(placed(1, 1).values))
    assert orientation_of(layer.pyramid) == Orientation(flip_y=False, flip_x=False)


def test_old_and_new_orientation_of_tiles():
    """Until 0.1.0 the server drew row 0 at the top, and with it the south of a latitude that ascends."""
    array = placed(1, 1)
    (layer, *_) = layers_of(lazypyr.open_pyramid(array)).values()
    shown = picture(layer.picture(Engine(), RenderOptions((), (0.0, 2000.0), "gray"), (0, 0), SHAPE, 1.0))
    old, new = unit_of(array.values), unit_of(array.values[::-1])
    assert (shown == new).all() and not (shown == old).all()


def test_names_and_units_of_x_and_y_are_their_own():
    with served({"v": placed(1, 1), "plain": np.zeros((30, 40), "u1")}) as handle:
        info = json.loads(ask(handle.url, "/api/v/info").body)
        assert (info["x"]["unit"], info["y"]["unit"]) == ("degrees_east", "degrees_north")
        assert info["flip"] == {"x": False, "y": True}
        plain = json.loads(ask(handle.url, "/api/plain/info").body)
        assert (plain["x"], plain["flip"]) == ({"name": "x", "unit": "px"}, {"x": False, "y": False})
    x, y = raster_plot(placed(1, 1))[()].kdims
    assert (x.unit, y.unit) == ("degrees_east", "degrees_north")


def test_points_are_drawn_north_up():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1000, (2, 20_000))
    points = lazypyr.from_points(x, y, y.astype("f4"), resolution=10.0)
    (layer, *_) = layers_of(points).values()
    options = RenderOptions((), (0.0, 1000.0), "gray")
    for shown in (layer.thumbnail(Engine(), options, 100), layer.tile(Engine(), options, 0, 0, 0)):
        pixels = np.asarray(Image.open(io.BytesIO(shown)).convert("RGBA")).astype(int)
        rows = np.flatnonzero(pixels[..., 3].any(1))
        top, bottom = (pixels[row][pixels[row][:, 3] > 0][:, 0].mean() for row in (rows[1], rows[-2]))
        assert top > 200 > 60 > bottom
