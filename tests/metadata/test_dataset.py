"""`DatasetMetadata`: members as attributes of sources and pyramids, coordinates of levels."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest

import lazypyr
from lazypyr.geometry.grid import Coord
from lazypyr.metadata import CoordArray, DatasetMetadata
from lazypyr.pyramids.level import Level
from lazypyr.sources.base import Source


class Ramp(Source):
    name, shape, dtype, axes, chunks = "ramp", (100, 70), np.dtype("f4"), ("y", "x"), (32, 32)
    fingerprint = "ramp 1"
    nodata, crs, coords = -1.0, "EPSG:32633", {"y": Coord(5.0, -10.0)}

    def read(self, window, step=None):
        return np.zeros([b - a for a, b in window], "f4")[tuple(slice(None, None, s) for s in step or (1, 1))]


def array(values, dtype=None, **attrs):
    values = np.asarray(values, dtype)
    return CoordArray("lat", ("lat",), values.shape, values.dtype, partial(np.copy, values), attrs)


def test_class_attributes_of_a_source_are_members_of_its_metadata():
    metadata = Ramp().metadata
    assert (metadata.nodata, metadata.crs, metadata.coords) == (-1.0, "EPSG:32633", {"y": Coord(5.0, -10.0)})
    pyramid = lazypyr.open_pyramid(Ramp())
    assert (pyramid.metadata.crs, pyramid.crs, pyramid.nodata) == ("EPSG:32633", "EPSG:32633", -1.0)


def test_attributes_that_are_set_are_members_of_the_metadata():
    pyramid = lazypyr.open_pyramid(np.zeros((4, 4)))
    pyramid.crs, pyramid.attrs, pyramid.nodata = "EPSG:4326", {"units": "K", "long_name": "warmth"}, 7
    metadata = pickle.loads(pickle.dumps(pyramid)).metadata
    assert (metadata.crs, metadata.units, metadata.long_name, metadata.nodata) == ("EPSG:4326", "K", "warmth", 7)
    assert metadata == pyramid.metadata


def test_pyramids_made_of_pyramids_have_the_same_metadata():
    source = Ramp()
    source.metadata = DatasetMetadata(along={"y": array([1.0, 2.0, 4.0, 8.0] * 25)}, name="depth", dims={"y": "lat"})
    pyramid = lazypyr.open_pyramid(source, method="mean")
    for other in (pyramid, lazypyr.open_pyramid(pyramid, order="xy"), pyramid.map(lambda x: x + 1)):
        assert (other.metadata.name, other.metadata.dims, other.crs) == ("depth", {"y": "lat"}, "EPSG:32633")


@pytest.mark.parametrize(
    ("values", "scale", "translation", "expected"),
    [
        ([1.0, 2.0, 4.0, 8.0, 16.0], 2, 0.0, [1.0, 4.0, 16.0]),
        ([1.0, 2.0, 4.0, 8.0, 16.0], 2, 0.5, [1.5, 6.0, 16.0]),
        (np.array([1, 2, 4, 8], "i2"), 2, 0.5, [1.5, 6.0]),
        (np.array([1, 2, 4, 8], "i2"), 2, 0, np.array([1, 4], "i2")),
        (np.array([1, 2, 4, 8], "f4"), 2, 0.5, np.array([1.5, 6], "f4")),
        (np.array(["2020-01-01", "2020-01-03"], "M8[D]"), 2, 0.5, np.array(["2020-01-02"], "M8[D]")),
        (np.array(["a", "b", "c"]), 2, 0.5, np.array(["a", "c"])),
    ],
)
def test_coordinates_of_a_level_are_those_of_its_samples(values, scale, translation, expected):
    expected = np.asarray(expected)
    level = Level(expected.shape, (float(scale),), (float(translation),))
    at = DatasetMetadata(along={"y": array(values)}).at(("y",), level).along["y"]
    np.testing.assert_array_equal(at.values, expected)
    assert at.dtype == at.values.dtype == expected.dtype
