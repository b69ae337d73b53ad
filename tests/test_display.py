"""Display defaults: colour limits against numpy, planes against slices, products that apply."""

from __future__ import annotations

import math

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import open_pyramid
from lazypyr.display import (
    applicable_products,
    auto_limits,
    axis_label,
    declared_limits,
    orientation_of,
    other_axes,
    percentile_limits,
    read_plane,
)
from lazypyr.engine.engine import Engine
from lazypyr.geometry.grid import Coord
from lazypyr.metadata import DatasetMetadata, OmeMetadata
from lazypyr.metadata.variables import CoordArray
from lazypyr.plot.viewport import Viewport
from lazypyr.product import coherence, define
from lazypyr.server.rendering import layers_of
from lazypyr.sources.array import NumpySource

NAN = math.nan


@pytest.mark.parametrize(
    ("window", "limits"),
    [
        (None, None),
        ((0, 5), (0.0, 5.0)),
        ([0.5, 2], (0.5, 2.0)),
        ((5, 0), None),
        ((1, 1), None),
        ((NAN, 1), None),
        ((0, math.inf), None),
        ("ab", None),
        ((1, 2, 3), None),
        (7, None),
    ],
)
def test_only_usable_declared_limits_count(window, limits):
    pyramid = lazypyr.open_pyramid(np.zeros((4, 4)), levels=1)
    pyramid.display = {"window": window}
    assert declared_limits(pyramid) == limits


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (np.arange(101.0), (1.0, 99.0)),
        (np.array([]), None),
        (np.array([3.0]), (3.0, 3.0)),
        (np.array([0.0, *[2.0] * 500, 7.0]), (0.0, 7.0)),
    ],
)
def test_percentiles_or_the_extremes(values, limits):
    assert percentile_limits(values, (1, 99)) == limits


@pytest.mark.parametrize("axes", ["yxi", "iyx", "xyi", "yix"])
def test_a_plane_is_read_y_first_with_its_valid_pixels(axes):
    data = np.arange(5 * 7 * 3, dtype="f4").reshape(5, 7, 3)  # y, x, i
    data[1, 2, 1] = NAN
    data[0, 3, 1] = -9
    pyramid = lazypyr.open_pyramid(data.transpose(["yxi".index(a) for a in axes]), axes=axes, levels=1, nodata=-9)
    plane, valid = read_plane(pyramid, Engine(), 0, ((0, 4), (1, 6)), (1,))
    expected = data[0:4, 1:6, 1]
    np.testing.assert_array_equal(valid, np.isfinite(expected) & (expected != -9))
    np.testing.assert_array_equal(plane[valid], expected[valid])
    assert other_axes(pyramid) == {"i": 3}


def test_automatic_limits_read_the_middle_of_the_coarsest_level():
    data = np.zeros((1100, 1200), "f4")
    data[38:-38, 88:-88] = np.arange(1024 * 1024).reshape(1024, 1024)
    data[:38] = 1e9  # outside the part that is looked at
    pyramid = lazypyr.open_pyramid(data, levels=1)
    expected = np.percentile(data[38 : 38 + 1024, 88 : 88 + 1024], (0.5, 99.5))
    assert auto_limits(pyramid, Engine(), [()]) == pytest.approx(tuple(expected))
    assert auto_limits(lazypyr.open_pyramid(np.full((9, 9), 4.0)), Engine(), [()]) == (3.5, 4.5)
    assert auto_limits(lazypyr.open_pyramid(np.full((9, 9), NAN)), Engine(), [()]) == (0.0, 1.0)


def test_products_that_do_not_apply_are_left_out():
    names = ("amplitude", "phase", "intf_0", "intf_all")
    waves = lazypyr.open_pyramid(np.ones((8, 8, 2), "c8"), axes="yxi")
    assert list(applicable_products(waves, names)) == list(names)
    plain = lazypyr.open_pyramid(np.ones((8, 8), "f4"))
    assert "intf_all" not in applicable_products(plain, names)
    assert applicable_products(waves, ["phase"])["phase"].dtype == np.float32


FACTS = ("colormap", "first_channel", "neighbours")
STACK = (np.ones((40, 50, 4)) + 1j).astype("c8")


@pytest.mark.parametrize(
    ("product", "facts"),
    [
        ("amplitude", {"colormap": "gray"}),
        ("intensity", {"colormap": "gray"}),
        ("phase", {"colormap": "phase"}),
        ("intf_0", {"colormap": "phase", "first_channel": 1}),
        ("intf_seq", {"colormap": "phase", "neighbours": True}),
        ("intf_all", {"colormap": "phase", "first_channel": 1}),
        (coherence(3), {"colormap": "gray"}),
        (define(lambda z, i: z[i].real, name="intf_0"), {}),
        (define(lambda z, i: z[i].real, name="phase"), {}),
    ],
)
def test_facts_come_from_the_product_not_from_its_name(product, facts):
    def facts_of(pyramid):
        return {key: value for key, value in (pyramid.display or {}).items() if key in FACTS}

    pyramid = open_pyramid(STACK, axes="yxi", chunks=(16, 16)).map(product)
    assert facts_of(pyramid) == facts
    assert facts_of(open_pyramid(STACK, axes="yxi", source_product=product)) == facts
    assert facts_of(open_pyramid(STACK, axes="yxi", source_product=product, order=pyramid.axes[::-1])) == facts
    after = pyramid.map(lambda z, *k: z[k] * 2, kdims=list(pyramid.axes[2:]), dtype="f4")
    assert facts_of(after) == {key: value for key, value in facts.items() if key == "first_channel"}


def array_of(values, **attrs):
    values = np.asarray(values)
    return CoordArray("lat", ("lat",), values.shape, values.dtype, lambda: values, attrs)


UP, DOWN = Coord(10.0, 1.0, "degrees_north"), Coord(40.0, -1.0, "degrees_north")
GAUSSIAN = array_of([-80.0, -50.0, 10.0, 70.0], units="degrees_north")


@pytest.mark.parametrize(
    ("said", "flip_y", "flip_x", "inverted"),
    [
        ({}, False, False, (False, True)),
        ({"along": {"y": UP}}, True, False, (False, False)),
        ({"along": {"y": DOWN}}, False, False, (False, False)),
        ({"along": {"y": UP, "x": DOWN}}, True, True, (False, False)),
        ({"along": {"y": GAUSSIAN}}, True, False, (False, False)),
        ({"along": {"y": array_of(GAUSSIAN.values[::-1]), "x": array_of([9, 3, 2])}}, False, True, (True, True)),
        ({"along": {"y": array_of(np.array(["b", "c", "a"]))}}, False, False, (False, True)),
        ({"along": {"y": array_of(np.array(["2001", "2002", "2009"], "M8[D]"))}}, True, False, (False, False)),
        ({"along": {"y": UP}, "ome": OmeMetadata("0.4")}, False, False, (False, True)),
        ({"along": {"y": UP}, "ome": OmeMetadata("0.4"), "crs": "EPSG:4326"}, True, False, (False, False)),
        (
            {"along": {"y": UP}, "ome": OmeMetadata("0.4"), "group_attrs": {"spatial:bbox": []}},
            True,
            False,
            (False, False),
        ),
        (
            {"along": {"y": Coord(0, 2, "micrometer")}, "ome": OmeMetadata("0.4"), "attrs": {"spatial:transform": []}},
            False,
            False,
            (False, True),
        ),
        ({"along": {"y": DOWN}, "ome": OmeMetadata("0.4")}, False, False, (False, False)),
    ],
)
def test_north_is_up_and_images_run_downwards(said, flip_y, flip_x, inverted):
    source = NumpySource(np.zeros((4, 3), "f4"), ("y", "x"), name="a", metadata=DatasetMetadata(**said))
    pyramid = open_pyramid(source)
    way = orientation_of(pyramid)
    assert (way.flip_y, way.flip_x) == (flip_y, flip_x)
    assert Viewport(pyramid, Engine()).inverts == inverted


def test_labels_of_axes():
    said = DatasetMetadata(along={"y": GAUSSIAN, "x": UP}, dims={"y": "lat"})
    pyramid = open_pyramid(NumpySource(np.zeros((4, 3), "f4"), ("y", "x"), name="a", metadata=said))
    assert [axis_label(pyramid, axis) for axis in "yx"] == [("lat", "px"), ("x", "degrees_north")]


def channels(*windows, dtype="u2", zarr_format=2):
    """An OME image of as many channels, each with its window."""
    group = zarr.open_group({}, mode="w", zarr_format=zarr_format)
    data = (np.arange(64 * 64).reshape(64, 64) % 4000).astype(dtype)
    group.create_array("0", data=data[None].repeat(len(windows), 0), chunks=(1, 32, 32))
    axes = [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")]
    omero = {"channels": [{"color": "FFFFFF", "window": window} for window in windows]}
    entry = {"axes": axes, "datasets": [{"path": "0"}]}
    if zarr_format == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [entry], "omero": omero}
    else:
        group.attrs.update({"multiscales": [{**entry, "version": "0.4"}], "omero": omero})
    return open_pyramid(group)


SHOWN = {"min": 0, "max": 65535, "start": 100, "end": 900}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("windows", "index", "limits"),
    [
        ([SHOWN], None, (100.0, 900.0)),
        ([SHOWN, SHOWN], None, (100.0, 900.0)),
        ([SHOWN, {**SHOWN, "end": 3000}], None, None),
        ([SHOWN, {**SHOWN, "end": 3000}], (1,), (100.0, 3000.0)),
        ([SHOWN, {"min": 0, "max": 9}], (1,), None),
        ([{**SHOWN, "start": 900}], (0,), None),
        ([{**SHOWN, "end": "a"}, None], (0,), None),
        ([{**SHOWN, "start": 0, "end": 65535}], (0,), None),  # all numbers of the dtype: nobody chose them
    ],
)
def test_windows_of_channels_are_their_limits(windows, index, limits, zarr_format):
    pyramid = channels(*windows, zarr_format=zarr_format)
    assert declared_limits(pyramid, index) == limits
    if index is not None or limits is not None:
        engine, place = Engine(), index or (0,)
        assert (layers_of(pyramid)["raw"].auto_limits(engine, place) == limits) == (limits is not None)
        assert (Viewport(pyramid, engine).limits(place) == limits) == (limits is not None)


def test_what_is_made_of_channels_has_not_their_windows():
    pyramid = channels(SHOWN, SHOWN, SHOWN).map("expression", text="b0 - b1")
    assert declared_limits(pyramid) is None
