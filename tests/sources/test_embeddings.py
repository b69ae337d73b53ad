"""Embeddings as Tessera publishes them: int8 codes and float scales in one group, with or without time, NaN on water."""

import json

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import LazyPyramidStore, open_pyramid

RNG = np.random.default_rng(2)
CODES = RNG.integers(-127, 128, (2, 8, 90, 70)).astype("i1")
SCALES = RNG.random((2, 90, 70)).astype("f4")
SCALES[:, :20, :30] = np.nan
VALUES = CODES * SCALES[:, None]


def write(group, *, time=True):
    codes, scales, names = (CODES, SCALES, ("time",)) if time else (CODES[0], SCALES[0], ())
    group.create_array(
        "embeddings", data=codes, chunks=(*codes.shape[:-2], 32, 32), dimension_names=(*names, "band", "y", "x")
    )
    group.create_array("scales", data=scales, chunks=(*scales.shape[:-2], 32, 32), dimension_names=(*names, "y", "x"))


@pytest.mark.parametrize("time", [True, False])
def test_a_group_of_codes_and_scales_opens_dequantised(time, tmp_path):
    write(zarr.open_group(tmp_path / "utm30.zarr", mode="w"), time=time)
    expected = VALUES if time else VALUES[0]
    for pyramid in (open_pyramid(tmp_path / "utm30.zarr"), LazyPyramidStore(tmp_path / "utm30.zarr").pyramid):
        assert pyramid.axes == (*(("time",) if time else ()), "band", "y", "x") and pyramid.dtype == "f4"
        np.testing.assert_array_equal(pyramid.read(0), expected)
    coarse = open_pyramid(tmp_path / "utm30.zarr", method="mean", chunks=32).read(1)
    boxes = expected.astype("f8").reshape(*expected.shape[:-2], 45, 2, 35, 2)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning)
        np.testing.assert_allclose(coarse, np.nanmean(boxes, axis=(-3, -1)), rtol=1e-5)
    assert open_pyramid(tmp_path / "utm30.zarr", variable="embeddings").dtype == "i1"
    assert open_pyramid(tmp_path / "utm30.zarr", variable="scales").shape == SCALES.shape[not time :]
    recipe = open_pyramid(tmp_path / "utm30.zarr").to_recipe(tmp_path)
    (tmp_path / "a.lazypyr.json").write_text(json.dumps(recipe))
    np.testing.assert_array_equal(open_pyramid(tmp_path / "a.lazypyr.json").read(0), expected)


def test_zones_side_by_side_are_a_collection():
    root = zarr.open_group({}, mode="w")
    for zone in ("utm30", "utm31"):
        write(root.create_group(zone))
    store = LazyPyramidStore(root)
    assert list(store.pyramids) == ["utm30", "utm31"]
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["utm31/0"][...], VALUES)
    assert open_pyramid(root, variable="utm30").dtype == "f4"
    assert open_pyramid(root, variable="utm30/embeddings").dtype == "i1"
    one_date = open_pyramid(root, variable="utm30", isel={"time": 1})
    np.testing.assert_array_equal(one_date.read(0), VALUES[1])


def test_each_date_has_its_scales(tmp_path):
    write(zarr.open_group(tmp_path, mode="w"))
    codes, scales = (open_pyramid(tmp_path, variable=name) for name in ("embeddings", "scales"))
    np.testing.assert_array_equal(lazypyr.product.dequantize(codes, scales).read(0), VALUES)
    later = open_pyramid(tmp_path, variable="scales", isel={"time": slice(0, 1)})
    with pytest.raises(lazypyr.PlanError, match="of the same sizes"):
        lazypyr.product.dequantize(codes, later)
