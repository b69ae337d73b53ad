"""Conventions know their keys: what they write is theirs, and nothing else takes it for a source's own."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lazypyr
from lazypyr.metadata.conventions import CONVENTIONS, Hierarchy, is_reserved, is_written, level_keys
from lazypyr.metadata.conventions.cf import CF


def pyramid(**attrs):
    import xarray as xr

    x, y = np.arange(70) * 10.0, np.arange(100) * -10.0
    data = xr.DataArray(np.zeros((100, 70), "u1"), {"y": y, "x": x}, ("y", "x"), "image", attrs)
    return lazypyr.open_pyramid(data, chunks=(32, 32))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("legacy", [False, True])
def test_keys_that_a_convention_writes_are_its_own(zarr_format, legacy):
    image = pyramid(units="m", lazypyr={"pca": 1})
    hierarchy = Hierarchy(zarr_format, ("0", "1", "2"), legacy, None, {"recipe": "r"})
    for convention in CONVENTIONS:
        for key in convention.group(image, hierarchy):
            assert convention.reserves(key) or key in convention.extended_keys
            assert is_written(key)
        written = convention.array(image, 1, zarr_format)
        passed_on = {"units"} if isinstance(convention, CF) else set()
        assert all(convention.reserves(key) for key in set(written) - passed_on)


def test_attributes_of_the_source_pass_unless_a_convention_writes_them():
    said = {
        "title": "t",
        "units": "m",
        "multiscales": "old",
        "ome": {"old": 1},
        "spatial:bbox": [9],
        "proj:code": "old",
    }
    store = lazypyr.LazyPyramidStore(pyramid(**said, lazypyr={"pca": 1}))
    attributes = json.loads(store["zarr.json"])["attributes"]
    assert attributes["title"] == "t"
    assert attributes["units"] == "m"
    assert "old" not in json.dumps(attributes)
    assert attributes["spatial:bbox"] == [-5.0, -995.0, 695.0, 5.0]
    assert attributes["lazypyr"]["pca"] == 1
    assert {"recipe", "method"} < set(attributes["lazypyr"])


def test_what_lists_levels_is_written_by_a_convention():
    inner = {"version"}  # of an entry in `ome` or `multiscales`
    assert all(is_written(key) for key in level_keys - inner)
    assert not is_reserved("lazypyr")
    assert not is_written("title")
