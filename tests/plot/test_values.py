"""Plots, pictures, taps and pages show the values that packed numbers mean, with their units."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import zarr
from PIL import Image

import lazypyr
from lazypyr.display import auto_limits
from lazypyr.engine.engine import Engine
from lazypyr.plot import raster_plot, save_picture, timeseries_plot
from lazypyr.server.rendering import layers_of
from support.http import ask

ATTRS = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768, "missing_value": 9, "units": "K"}


@pytest.fixture
def array():
    """280 K left, 290 K right, two corners without data."""
    counts = np.full((2, 64, 64), 685, "i2")
    counts[:, :, 32:] = 1685
    counts[0, :4, :4], counts[0, -4:, -4:] = -32768, 9
    made = zarr.create_array({}, data=counts, chunks=(1, 32, 32), dimension_names=("time", "y", "x"))
    made.attrs.update(ATTRS)
    return made


def test_plots_show_values_with_their_units(array):
    image = raster_plot(array, method="mean")[0]
    values = image.dimension_values(2)
    np.testing.assert_allclose(np.unique(values[~np.isnan(values)]), [280, 290])
    assert np.isnan(values).sum() == 32
    assert image.vdims[0].pprint_label == "z (K)"
    difference = raster_plot(array, "intf_0")[1]
    values = difference.dimension_values(2)
    np.testing.assert_allclose(values[~np.isnan(values)], 0)
    assert difference.vdims[0].pprint_label.endswith("(K)")


def test_pictures_differ_by_values_only(array, tmp_path):
    plain = np.where(np.isin(array[0], [-32768, 9]), np.nan, array[0] * 0.01 + 273.15)
    for name, src in (("packed", array[0]), ("values", plain)):
        made = zarr.create_array({}, data=src, dimension_names=("y", "x"))
        made.attrs.update(ATTRS if name == "packed" else {"units": "K"})
        save_picture(lazypyr.open_pyramid(made), tmp_path / f"{name}.png", size=(64, 64))
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("packed", "values")]
    np.testing.assert_array_equal(*(picture[40:] for picture in pictures))  # below the titles


def test_a_tap_draws_values(array):
    series = timeseries_plot(array, [1, 2], raster_plot(array))
    series.event(x=40, y=10)
    assert series[()].vdims[0].unit == "K"
    np.testing.assert_allclose(series[()].dimension_values("v"), [290, 290])


def test_limits_are_of_values(array):
    pyramid = lazypyr.open_pyramid(array)
    engine = Engine()
    np.testing.assert_allclose(layers_of(pyramid)["raw"].auto_limits(engine, (1,)), (280, 290))
    np.testing.assert_allclose(auto_limits(pyramid.unpacked, engine, [(1,)]), (280, 290))
    engine.close()


def test_pages_show_values_with_their_units(array):
    flags = zarr.create_array({}, data=np.ones((8, 8), "u1"), dimension_names=("y", "x"))
    flags.attrs.update(flag_values=[0, 1], flag_meanings="clear cloudy")
    handle = lazypyr.serve({"t2m": array, "flags": flags}, port=0, background=True)
    try:
        value = json.loads(ask(handle.url, "/api/t2m/value?z=0&row=10&col=40").body)
        assert value["text"] == "290 K"
        assert json.loads(ask(handle.url, "/api/flags/value?z=0&row=1&col=1").body)["text"] == "1: cloudy"
        window = json.loads(ask(handle.url, "/api/t2m/window?at=1").body)
        np.testing.assert_allclose([window["low"], window["high"]], [280, 290])
        tile = ask(handle.url, "/tiles/t2m/0/0/0.png?low=280&high=290&palette=gray")
        picture = np.asarray(Image.open(io.BytesIO(tile.body)).convert("RGBA"))
        assert (picture[..., 3] > 0).sum() == 64 * 64 - 32
        assert sorted(np.unique(picture[picture[..., 3] > 0][:, 0])) == [0, 255]
    finally:
        handle.close()
