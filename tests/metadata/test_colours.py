"""Axes of colours: by what is declared, by name, of pictures without names; never a time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.metadata import DatasetMetadata
from lazypyr.metadata.colours import colour_axis, has_alpha
from lazypyr.plot.viewport import Viewport
from lazypyr.server.rendering import layers_of

RGB = ("FF0000", "00FF00", "0000FF")


@pytest.mark.parametrize(
    ("axes", "size", "dtype", "said", "colour"),
    [
        ("cyx", 3, "u1", {}, "c"),
        ("cyx", 3, "f4", {}, "c"),
        ("cyx", 2, "u1", {}, None),
        ("cyx", 5, "u2", {}, "c"),
        (("band", "y", "x"), 4, "f4", {}, "band"),
        (("y", "x", "rgb"), 3, "f8", {}, "rgb"),
        ("iyx", 3, "u1", {}, "i"),
        ("yxi", 4, "u2", {}, "i"),
        ("yxi", 5, "u1", {}, None),
        ("iyx", 3, "f4", {}, None),
        ("iyx", 3, "i2", {}, None),
        ("iyx", 3, "c8", {}, None),
        (("time", "y", "x"), 3, "u1", {}, None),
        (("time", "y", "x"), 4, "f4", {}, None),
        ("tyx", 3, "u1", {}, None),
        ("zyx", 3, "u1", {}, None),
        (("month", "y", "x"), 3, "u2", {}, None),
        ("iyx", 3, "u1", {"dims": {"i": "date"}}, None),
        ("iyx", 3, "f4", {"dims": {"i": "Band"}}, "i"),
        ("iyx", 3, "f4", {"attrs": {"photometric": "rgb"}}, "i"),
        ("iyx", 3, "f4", {"group_attrs": {"photometric": 2}}, "i"),
        ("iyx", 3, "u1", {"attrs": {"photometric": "minisblack"}}, "i"),
        ("iyx", 3, "f4", {"display": {"colors": RGB}}, "i"),
        ("cyx", 3, "u1", {"display": {"colors": ("0000FF", "00FF00", "FF0000")}}, None),
        ("cyx", 3, "u1", {"display": {"colors": "FFFFFF"}}, "c"),
    ],
)
def test_an_axis_is_colour_only_if_something_says_so(axes, size, dtype, said, colour):
    shape = tuple({"y": 9, "x": 7}.get(axis, size) for axis in axes)
    assert colour_axis(tuple(axes), shape, np.dtype(dtype), DatasetMetadata(**said)) == colour


def test_of_several_axes_the_surest_is_taken():
    plain = DatasetMetadata()
    assert colour_axis(("rgb", "band", "y", "x"), (3, 4, 9, 9), np.dtype("u1"), plain) == "rgb"
    assert colour_axis(("band", "y", "x", "rgba"), (7, 9, 9, 4), np.dtype("u1"), plain) == "rgba"
    assert colour_axis(("time", "c", "y", "x"), (3, 3, 9, 9), np.dtype("f4"), plain) == "c"
    assert colour_axis(("i", "y", "x", "j"), (3, 9, 9, 3), np.dtype("u1"), plain) == "j"


def test_a_fourth_band_is_no_alpha():
    assert has_alpha("i", 4, DatasetMetadata())
    assert has_alpha("c", 4, DatasetMetadata(display={"colors": (*RGB, "000000")}))
    assert not has_alpha("band", 4, DatasetMetadata())
    assert not has_alpha("i", 4, DatasetMetadata(dims={"i": "band"}))
    assert not has_alpha("i", 3, DatasetMetadata())


def faces(src):
    """Colour axis of the server's first layer, and of plots."""
    pyramid = lazypyr.open_pyramid(src)
    return next(iter(layers_of(pyramid).values())).colour_axis, Viewport(pyramid, Engine()).colour_axis


def test_page_and_plots_agree_on_colours():
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), "u1")
    assert faces(picture) == ("i", "i")
    dates = xr.DataArray(picture, dims=("y", "x", "time"))
    assert faces(dates) == (None, None)
    bands = xr.DataArray(np.dstack([picture, picture[..., :1]]), dims=("y", "x", "band"))
    viewport = Viewport(lazypyr.open_pyramid(bands), Engine())
    shown = viewport.frame(viewport.view(None, None, 512, 512)).pixels
    np.testing.assert_array_equal(shown[::-1], picture)


def test_old_and_new_guess_of_colours():
    """Until 0.1.0 any axis of three or four was red, green and blue in the server, and none was in plots but of products."""
    months = xr.DataArray(np.zeros((3, 40, 50), "f4"), dims=("month", "y", "x"))
    old, new = "month", None
    assert faces(months)[0] == new != old
    old, new = None, "i"
    assert faces(np.zeros((40, 50, 3), "u1"))[1] == new != old
