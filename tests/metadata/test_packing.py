"""Packing that attributes declare, against what xarray decodes of the same attributes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr.metadata.nodata import declared_values
from lazypyr.metadata.packing import flags_of, read_packing

SCALES = st.sampled_from([None, 0.01, -0.5, 2.0, np.float32(0.1), np.float64(1e-3), 3])
OFFSETS = st.sampled_from([None, 273.15, -7.5, 0.0, np.float32(10), 100])


def decoded(data, attrs):
    """What xarray makes of stored numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.conventions.decode_cf_variable("v", xr.Variable(("y", "x"), data, attrs), decode_times=False)


@st.composite
def packings(draw):
    dtype = np.dtype(draw(st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"])))
    if dtype.kind == "f":
        values = st.sampled_from([0.0, 1.5, -2.25, np.nan, 100.0, -9999.0 if dtype.itemsize > 2 else -99.0])
    else:
        info = np.iinfo(dtype)
        values = st.one_of(st.integers(info.min, info.max), st.sampled_from([info.min, info.max, 0, 1, 7]))
    numbers = draw(st.lists(values, min_size=6, max_size=6))
    data = np.array(numbers, dtype).reshape(2, 3)
    attrs = {"scale_factor": draw(SCALES), "add_offset": draw(OFFSETS)}
    attrs = {name: value for name, value in attrs.items() if value is not None}
    if isinstance(attrs.get("scale_factor"), int):
        attrs["scale_factor"] = float(
            attrs["scale_factor"]
        )  # xarray makes integers of others, and fails of fill values
    fills = st.sampled_from([data.flat[0].item(), data.flat[1].item(), data.flat[5].item()])
    if draw(st.booleans()):
        attrs["_FillValue"] = draw(fills)
    if draw(st.booleans()):
        attrs["missing_value"] = draw(st.one_of(fills, st.lists(fills, min_size=1, max_size=2)))
    unsigned = draw(st.sampled_from([None, "true", "false"])) if dtype.kind in "iu" else None
    # xarray compares a missing_value with the bits read otherwise, and takes one value only where there are both.
    # As floats, which it compares, neighbours among the largest of 64 bits are equal.
    exact = dtype.itemsize < 8 or "_FillValue" not in attrs
    if unsigned and "missing_value" not in attrs and not (dtype.kind == "u" and "_FillValue" in attrs) and exact:
        attrs["_Unsigned"] = unsigned
    return data, attrs


@given(packings())
def test_values_and_dtype_are_xarrays(packed):
    data, attrs = packed
    want = decoded(data, dict(attrs))
    packing = read_packing(attrs, data.dtype)
    got = packing.unpack(data)
    np.testing.assert_array_equal(got, want.values)
    assert got.dtype == want.dtype


@given(packings(), st.sampled_from([[-5, 50], [0, 100], [None, 20], [3, None]]))
def test_one_hole_stands_for_all(packed, bounds):
    data, attrs = packed
    attrs |= {name: v for name, v in zip(("valid_min", "valid_max"), bounds, strict=True) if v is not None}
    packing = read_packing(attrs, data.dtype)
    numbers = data.view(packing.numbers)
    bad = packing.invalid(numbers)
    bad = np.zeros(data.shape, bool) if bad is None else bad
    one = packing.with_one_hole(data)
    assert one.dtype == packing.numbers
    np.testing.assert_array_equal(one[~bad], numbers[~bad])
    hole = np.nan if packing.hole is None else packing.hole
    np.testing.assert_array_equal(one[bad], np.full(bad.sum(), hole, one.dtype))
    # and the hole is none of the values that hold something
    if bad.any() and packing.hole is not None:
        assert packing.invalid(np.array([packing.hole], one.dtype))[0]
    np.testing.assert_array_equal(
        np.isnan(packing.unpack(data)) if packing.dtype.kind == "f" else bad, bad | (data != data)
    )


@pytest.mark.parametrize(
    ("attrs", "dtype", "wanted"),
    [
        ({"_FillValue": -9999, "missing_value": 32000}, "i2", [-9999, 32000]),
        ({"missing_value": [-9999, 32000]}, "i2", [-9999, 32000]),
        ({"missing_value": np.array([-9999, 32000])}, "i2", [-9999, 32000]),
        ({"_FillValue": -9999, "missing_value": -9999}, "i2", [-9999]),
        ({"_FillValue": "AAAAAAAA+H8=", "missing_value": -9999.0}, "f4", [-9999]),  # xarray's NaN in zarr v3
        ({"_FillValue": "AAAAAICHw8A=", "missing_value": 1e20}, "f8", [-9999.0, 1e20]),
        ({"_FillValue": -9999, "missing_value": 255}, "u1", [255]),
        ({"_FillValue": -1, "_Unsigned": "true"}, "i1", [-1]),
        ({"missing_value": 255, "_Unsigned": "true"}, "i1", [-1]),
        ({"nodata": 0, "_nodata": 5}, "u1", [0]),
        ({"nodatavals": (3, 4)}, "u1", [3]),
        ({"missing_value": [[1, 2], [3, 4]]}, "c8", [1 + 2j, 3 + 4j]),
        ({"missing_value": []}, "f4", []),
        ({}, "f4", []),
    ],
)
def test_all_values_that_are_declared(attrs, dtype, wanted):
    found = declared_values(attrs, np.dtype(dtype))
    assert list(found) == [np.dtype(dtype).type(value) for value in wanted]
    assert all(value.dtype == np.dtype(dtype) for value in found)


@pytest.mark.parametrize(
    ("attrs", "dtype", "valid"),
    [
        ({"valid_range": [0, 100]}, "i2", (0, 100)),
        ({"valid_min": 0}, "i2", (0, None)),
        ({"valid_max": 250}, "u1", (None, 250)),
        ({"valid_range": [-32768, 32767]}, "i2", (None, None)),
        ({"valid_range": [0, -2], "_Unsigned": "true"}, "i1", (None, 254)),  # as it is stored
        ({"valid_range": [1, 254], "_Unsigned": "true"}, "i1", (1, 254)),  # as it is meant
        ({"valid_range": [-1.0, 1.0]}, "f4", (-1, 1)),
        # By netCDF's rule: of the type of the stored numbers, or of the values.
        ({"valid_range": [100, 200], "scale_factor": 0.1}, "i2", (100, 200)),
        ({"valid_range": [10.0, 20.0], "scale_factor": 0.1}, "i2", (100, 200)),
        ({"valid_range": [-3.0, 0.3], "scale_factor": -0.1, "add_offset": 0.1}, "i2", (-2, 31)),
        ({"valid_range": [5, 1]}, "i2", (None, None)),
        ({"valid_range": "0 100"}, "i2", (None, None)),
        ({"valid_range": [0, 1, 2]}, "i2", (None, None)),
        ({"valid_min": "low", "valid_max": None}, "i2", (None, None)),
        ({"valid_range": [1e9, 2e9]}, "i2", (None, None)),
    ],
)
def test_valid_range(attrs, dtype, valid):
    assert read_packing(attrs, np.dtype(dtype)).valid == valid


@pytest.mark.parametrize(
    ("nodata", "fill_value", "is_mask", "values", "valid"),
    [
        (None, None, False, [7], (0, 50)),
        (None, 9, False, [7], (0, 50)),
        (None, 9, True, [9, 7], (0, 50)),  # zarr v2
        (None, 0, True, [7], (0, 50)),  # which every array has
        ([3], 9, True, [3], (0, 50)),
        ([3, 4], None, False, [3, 4], (0, 50)),
        ([], 9, True, [], (None, None)),
    ],
)
def test_what_the_user_says_stands_for_what_is_declared(nodata, fill_value, is_mask, values, valid):
    attrs = {"_FillValue": 7, "valid_range": [0, 50]}
    packing = read_packing(attrs, np.dtype("i2"), nodata=nodata, fill_value=fill_value, is_mask=is_mask)
    assert list(packing.nodata_values) == values
    assert packing.valid == valid


@pytest.mark.parametrize("value", ["0.01", [0.1, 0.2], float("nan"), float("inf"), True, None, {}, []])
def test_what_is_no_number_packs_nothing(value):
    packing = read_packing({"scale_factor": value, "add_offset": value}, np.dtype("i2"))
    assert packing.is_plain
    assert read_packing({"scale_factor": [0.5]}, np.dtype("i2")).scale == 0.5


@pytest.mark.parametrize(
    ("attrs", "wanted"),
    [
        ({"flag_values": [0, 1, 2], "flag_meanings": "clear cloud snow"}, {0: "clear", 1: "cloud", 2: "snow"}),
        ({"flag_masks": np.array([1, 2], "u1"), "flag_meanings": "cloud shadow"}, {1: "cloud", 2: "shadow"}),
        ({"flag_values": [0, 1], "flag_meanings": "one"}, {}),
        ({}, {}),
    ],
)
def test_flags(attrs, wanted):
    assert flags_of(attrs) == wanted


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_levels_have_all_attributes_of_their_source(zarr_format):
    """All but those that are written anew, or false of a level; the calendar of its times was lost before."""
    kept = {
        "units": "days since 2000-01-01",
        "calendar": "noleap",
        "dtype": "timedelta64[ns]",
        "_Unsigned": "true",
        "scale_factor": 0.5,
        "missing_value": 3,
        "valid_range": [0, 9],
        "flag_values": [0, 1],
        "flag_meanings": "land sea",
        "cell_methods": "time: mean",
        "grid_mapping": "crs",
        "own": {"anything": [1, "a", None]},
    }
    dropped = {"multiscales": [], "ome": {}, "omero": {}, "lazypyr": {}, "title": "of the dataset"}
    place = {"GeoTransform": "0 1 0 0 0 1", "transform": [1, 0, 0, 0, 1, 0]}  # of level 0
    array = zarr.create_array({}, data=np.zeros((8, 8), "i2"), zarr_format=zarr_format, fill_value=3)
    array.attrs.update({**kept, **dropped, **place, "_FillValue": 3, "_ARRAY_DIMENSIONS": ["y", "x"]})
    for level in (0, 1):
        store = lazypyr.LazyPyramidStore(array, levels=2, zarr_format=zarr_format)
        found = dict(zarr.open_array(store, path=str(level), mode="r").attrs)
        assert {k: v for k, v in found.items() if k in kept} == kept
        assert found["_FillValue"] == 3
        assert not {*dropped, *place} & set(found)


@pytest.mark.parametrize(("nodata", "declared"), [("declared", True), (5, False), (None, False)])
def test_attributes_of_values_that_the_user_overrode_are_left_out(nodata, declared):
    array = zarr.create_array({}, data=np.zeros((8, 8), "i2"))
    array.attrs.update({"_FillValue": 3, "missing_value": 3, "nodata": 3, "valid_min": 0})
    store = lazypyr.LazyPyramidStore(array, levels=2, nodata=nodata)
    found = dict(zarr.open_array(store, path="1", mode="r").attrs)
    assert found.get("_FillValue") == (3 if declared else nodata)
    assert ("missing_value" in found, "nodata" in found, "valid_min" in found) == (declared, declared, True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("attrs", "data"),
    [
        ({"scale_factor": 0.5}, np.arange(64, dtype="i2")),  # zero is a value
        ({"_FillValue": np.nan, "scale_factor": 0.5}, np.arange(64, dtype="f4")),  # and stays float32
        ({"_FillValue": np.nan}, np.arange(64, dtype="f4")),
        ({"_FillValue": 5}, np.arange(64, dtype="i2")),
    ],
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_reads_what_the_source_says_in_either_format(attrs, data, zarr_format, tmp_path):
    values = xr.DataArray(data.reshape(8, 8), dims=("y", "x"), name="v").assign_attrs(attrs)
    values.to_dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    store = lazypyr.LazyPyramidStore(tmp_path / "a.zarr" / "v", layout="{level}/v", zarr_format=zarr_format, levels=1)
    found = xr.open_dataset(store, engine="zarr", group="0")["v"]
    xr.testing.assert_equal(found, xr.open_zarr(tmp_path / "a.zarr")["v"])
    assert found.dtype == xr.open_zarr(tmp_path / "a.zarr")["v"].dtype
