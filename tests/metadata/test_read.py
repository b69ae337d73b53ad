"""What others wrote is read: multiscales of every dialect, georeferencing, declared no-data."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio.transform
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.metadata import declared_nodata, georeference, read_multiscales

EXAMPLES = json.loads((Path(__file__).parent / "examples.json").read_text())


@pytest.mark.parametrize(
    ("example", "convention", "paths", "axes", "scale"),
    [
        ("legacy_0.1", "OME-NGFF 0.1", ["0", "1", "2"], None, None),
        ("ome_0.4", "OME-NGFF 0.4", ["0", "1", "2"], ("y", "x"), (4.0, 4.0)),
        ("ome_0.5", "OME-NGFF 0.5", ["0/image", "1/image", "2/image"], ("y", "x"), (4.0, 4.0)),
        ("ndpyramid", "ndpyramid", ["2", "1", "0"], None, None),
        ("geozarr", "zarr-conventions", ["0", "1", "2"], None, (4.0, 4.0)),
        ("all_in_one_v3", "OME-NGFF 0.5", ["0/image", "1/image", "2/image"], ("y", "x"), (4.0, 4.0)),
    ],
)
def test_the_examples(example, convention, paths, axes, scale):
    found = read_multiscales(EXAMPLES[example])
    assert (found.convention, [d.path for d in found.datasets], found.axes) == (convention, paths, axes)
    assert found.datasets[2].scale == scale
    assert found.datasets[2].translation == ((1.5, 1.5) if scale else None)
    if example == "ndpyramid":
        assert found.crs == "EPSG:3857"
    if example in ("geozarr", "all_in_one_v3"):
        assert found.crs == "EPSG:32633"
        assert found.coords == {"y": Coord(4_999_995.0, -10.0), "x": Coord(500_005.0, 10.0)}
    elif scale:
        assert found.coords == {}  # pixels counted from 0: nothing is known


def test_a_microscopes_group(data_dir):
    found = read_multiscales(
        zarr.open_group(data_dir / "micro_ome_zarr_ezzarr" / "tubhiswt4D_sub.zarr", mode="r").attrs
    )
    assert found.convention == "OME-NGFF 0.4"
    assert found.axes == ("t", "c", "z", "y", "x")
    assert found.types == ("time", "channel", "space", "space", "space")
    assert found.coords["x"].unit == "micrometer"
    assert found.datasets[0].scale == (1.0,) * 5


def test_nothing_is_none():
    assert read_multiscales({}) is None
    assert read_multiscales({"title": "t", "ome": {"plate": {}}}) is None


def test_0_3_has_names_only():
    found = read_multiscales(
        {"multiscales": [{"version": "0.3", "axes": ["t", "y", "x"], "datasets": [{"path": "s0"}]}]}
    )
    assert (found.convention, found.axes, found.types) == ("OME-NGFF 0.3", ("t", "y", "x"), (None, None, None))


def test_group_transformations_come_after_those_of_a_level():
    entry = copy.deepcopy(EXAMPLES["ome_0.4"]["multiscales"][0])
    entry["coordinateTransformations"] = [
        {"type": "scale", "scale": [0.5, 2.0]},
        {"type": "translation", "translation": [10.0, 20.0]},
    ]
    entry["axes"][0]["unit"] = "micrometer"
    found = read_multiscales({"multiscales": [entry]})
    assert found.coords == {"y": Coord(10.0, 0.5, "micrometer"), "x": Coord(20.0, 2.0)}
    assert found.datasets[2].translation == (1.5, 1.5)


def test_a_transformation_in_a_file_is_unknown():
    entry = copy.deepcopy(EXAMPLES["ome_0.4"]["multiscales"][0])
    entry["datasets"][1]["coordinateTransformations"] = [{"type": "affine", "path": "a"}]
    found = read_multiscales({"multiscales": [entry]})
    assert [d.scale for d in found.datasets] == [(1.0, 1.0), None, (4.0, 4.0)]


def layout(*entries, **more):
    return {"multiscales": {"layout": list(entries), **more}}


def test_layouts_are_sorted_and_chained():
    found = read_multiscales(
        layout(
            {"asset": "r20", "derived_from": "r10", "transform": {"scale": [2.0, 2.0], "translation": [0.5, 0.5]}},
            {"asset": "r10", "transform": {"scale": [1.0, 1.0]}},
            {"asset": "r40", "derived_from": "r20", "transform": {"scale": [2.0, 2.0], "translation": [0.5, 0.5]}},
            resampling_method="average",
        )
    )
    assert [(d.path, d.scale, d.translation) for d in found.datasets] == [
        ("r10", (1, 1), (0, 0)),
        ("r20", (2, 2), (0.5, 0.5)),
        ("r40", (4, 4), (1.5, 1.5)),
    ]
    with pytest.raises(PlanError, match="derives from itself"):
        read_multiscales(
            layout(
                {"asset": "a", "derived_from": "b", "transform": {"scale": [2]}},
                {"asset": "b", "derived_from": "a", "transform": {"scale": [2]}},
            )
        )
    found = read_multiscales(
        layout(
            {"asset": "r10", "transform": {"scale": [1, 1]}},
            {"asset": "r40", "derived_from": "r10", "transform": {"scale": [4, 4], "translation": [1.5, 1.5]}},
            {"asset": "r5", "derived_from": "r10", "transform": {"scale": [0.5, 0.5]}},
            resampling_method="average",
        )
    )
    assert [(d.path, d.scale) for d in found.datasets] == [("r5", (1, 1)), ("r10", (2, 2)), ("r40", (8, 8))]
    assert found.method == "average"


def broken(example, *changes):
    found = copy.deepcopy(EXAMPLES[example])
    for keys, value in changes:
        at = found
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value
    return found


M = ("multiscales", 0)
D = (*M, "datasets", 1)
T = (*D, "coordinateTransformations", 0)
L = ("multiscales", "layout", 1)


@pytest.mark.parametrize(
    ("example", "keys", "value", "words"),
    [
        ("ome_0.4", ("multiscales",), [], r"multiscales: expected a list with an entry, got \[\]"),
        ("ome_0.4", ("multiscales",), "x", "multiscales: expected a list"),
        ("ome_0.4", ("multiscales",), {"a": 1}, "multiscales: expected a list"),
        ("ome_0.4", M, 3, r"multiscales\[0\]: expected a mapping"),
        ("ome_0.4", (*M, "datasets"), None, r"multiscales\[0\].datasets: expected a list"),
        ("ome_0.4", D, "1", r"datasets\[1\]: expected a mapping"),
        ("ome_0.4", (*D, "path"), 1.5, r"datasets\[1\].path: expected a path"),
        ("ome_0.4", (*D, "path"), "../../secret", "below the group"),
        ("ome_0.4", (*D, "path"), "/", "below the group"),
        ("ome_0.4", (*M, "axes"), "yx", r"axes: expected a list"),
        ("ome_0.4", (*M, "axes", 1, "name"), "y", r"axes\[1\].name"),
        ("ome_0.4", (*M, "axes", 1), 4, r"axes\[1\]: expected a mapping"),
        ("ome_0.4", (*T, "scale"), [1.0], r"coordinateTransformations\[0\].scale: expected a list of 2 finite"),
        ("ome_0.4", (*T, "scale"), [1.0, "2"], "finite numbers"),
        ("ome_0.4", (*T, "scale"), [1.0, float("nan")], "finite numbers"),
        ("ome_0.4", (*T, "scale"), [1.0, 0], "scale of 0"),
        ("ome_0.4", T, None, r"coordinateTransformations\[0\]: expected a mapping"),
        ("ome_0.5", ("ome", "multiscales"), None, r"ome.multiscales: expected a list"),
        ("geozarr", ("multiscales", "layout"), [], "layout: expected a list with an entry"),
        ("geozarr", (*L, "asset"), "0", "there twice"),
        ("geozarr", (*L, "asset"), None, r"layout\[1\].asset"),
        ("geozarr", (*L, "derived_from"), "9", r"layout\[1\].derived_from"),
        ("geozarr", (*L, "transform"), 9, r"layout\[1\].transform"),
        ("geozarr", (*L, "transform", "scale"), [0, 2], "scale of 0"),
        ("geozarr", (*L, "transform", "translation"), [0], r"transform.translation: expected a list of 2"),
        ("geozarr", (*L, "spatial:transform"), [1, 2], r"layout\[1\].spatial:transform: expected a list of 6 or 9"),
    ],
)
def test_the_malformed_attribute_is_named(example, keys, value, words):
    with pytest.raises(PlanError, match=words):
        read_multiscales(broken(example, (keys, value)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "multiscales",
                    "layout",
                    "datasets",
                    "path",
                    "axes",
                    "name",
                    "type",
                    "scale",
                    "asset",
                    "coordinateTransformations",
                    "transform",
                    "derived_from",
                    "spatial:transform",
                    "translation",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(
    JSON, st.sampled_from(["multiscales", "ome", "spatial:transform", "spatial:shape", "GeoTransform", "crs", "_CRS"])
)
def test_no_garbage_ends_in_another_error(value, name):
    for attrs in ({name: value}, {"ome": {"multiscales": value}}, {"multiscales": [value]}, layout(value)):
        try:
            found = read_multiscales(attrs)
            assert found is None or found.datasets
        except PlanError as error:
            assert "attribute" in str(error) or "coordinate" in str(error)
        try:
            georeference(attrs, ("y", "x"), (10, 20))
        except PlanError as error:
            assert "attribute" in str(error) or "coordinate" in str(error)
        for dtype in ("u1", "f4", "c8", "M8[s]"):
            declared_nodata({"_FillValue": value}, np.dtype(dtype))


AFFINE = rasterio.transform.Affine(30.0, 0.0, 717600.0, 0.0, -30.0, 3481740.0)


@pytest.mark.parametrize(
    "attrs",
    [
        {"spatial:transform": list(AFFINE)[:6]},
        {"spatial:transform": list(AFFINE), "spatial:registration": "pixel", "transform": [1, 0, 0, 0, 1, 0]},
        {"spatial:transform": [30.0, 0.0, 717615.0, 0.0, -30.0, 3481725.0], "spatial:registration": "node"},
        {"spatial:transform": list(AFFINE)[:6], "spatial:shape": [10, 20]},
        {"proj:transform": list(AFFINE)[:6]},
        {"transform": list(AFFINE)[:6]},
        {"transform": np.array(AFFINE)},
        {"GeoTransform": " ".join(map(str, AFFINE.to_gdal()))},
        {"GeoTransform": list(AFFINE.to_gdal()), "transform": "log"},
    ],
)
def test_affines_of_every_dialect(attrs):
    coords, crs = georeference(attrs, ("y", "x", "i"), (10, 20, 3))
    assert crs is None
    for row, column in ((0, 0), (9, 19)):
        x, y = rasterio.transform.xy(AFFINE, row, column)
        assert (coords["x"].at(column), coords["y"].at(row)) == pytest.approx((x, y))


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"transform": "log"},
        {"transform": [1, 2]},
        {"transform": [1, 0.5, 0, 0, 1, 0]},
        {"transform": [0, 0, 0, 0, 1, 0]},
        {"transform": [np.nan, 0, 0, 0, 1, 0]},
        {"spatial:transform": list(AFFINE)[:6], "spatial:shape": [5, 10]},
        {"spatial:transform": [1], "spatial:transform_type": "rpc"},
    ],
)
def test_what_is_no_upright_grid_is_passed_over(attrs):
    assert georeference(attrs, ("y", "x"), (10, 20)) == ({}, None)


def test_a_malformed_convention_is_named():
    with pytest.raises(PlanError, match="spatial:transform"):
        georeference({"spatial:transform": [1, 2]}, ("y", "x"), (10, 20))


def test_only_axes_that_are_there():
    assert set(georeference({"transform": list(AFFINE)}, ("i", "x"), (10, 20))[0]) == {"x"}


@pytest.mark.parametrize(
    ("attrs", "crs"),
    [
        ({"proj:code": "EPSG:32633", "crs": "EPSG:1"}, "EPSG:32633"),
        ({"proj:wkt2": "PROJCRS[]"}, "PROJCRS[]"),
        ({"proj:projjson": {"type": "x"}}, '{"type": "x"}'),
        ({"proj:epsg": 4326}, "EPSG:4326"),
        ({"crs": "EPSG:32613"}, "EPSG:32613"),
        ({"crs": np.int64(4326)}, "EPSG:4326"),
        ({"crs_wkt": "PROJCS[]", "spatial_ref": "PROJCS[]"}, "PROJCS[]"),
        ({"_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/26711", "wkt": "PROJCRS[]"}}, "EPSG:26711"),
        ({"_CRS": {"wkt": "PROJCRS[]"}}, "PROJCRS[]"),
        ({"crs": {"name": "x"}}, None),
        ({"crs": True, "spatial_ref": " "}, None),
    ],
)
def test_the_crs_of_every_dialect(attrs, crs):
    assert georeference(attrs, ("y", "x"), (1, 1))[1] == crs


def test_what_rioxarray_and_gdal_write_is_understood(data_dir):
    attrs = dict(zarr.open_group(data_dir / "geo_elevation" / "elevation.zarr", mode="r").attrs)
    coords, crs = georeference(attrs, ("y", "x"), (100, 100))
    assert (coords["x"], coords["y"], crs) == (Coord(321499.0, 2.0), Coord(4298017.0, -2.0), "EPSG:26918")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "value"), [("f4", -9999.0), ("f8", 1e20), ("i2", -9999), ("u1", 255), ("f4", np.nan)]
)
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_no_data_as_xarray_declares_it(dtype, value, zarr_format):
    data = xr.DataArray(np.zeros((2, 2), dtype), dims=("y", "x"), name="a").assign_attrs(
        _FillValue=np.dtype(dtype).type(value)
    )
    store = zarr.storage.MemoryStore()
    data.to_dataset().to_zarr(store, zarr_format=zarr_format)
    array = zarr.open_array(store, path="a", mode="r")
    attrs = dict(array.attrs)
    if zarr_format == 2:  # xarray says it with the array's own fill value there, which is no declaration
        assert "_FillValue" not in attrs
        return
    found = declared_nodata(attrs, array.dtype)
    if np.isnan(value):
        assert found is None
    else:
        assert found == np.dtype(dtype).type(value)
        assert found.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("attrs", "dtype", "wanted"),
    [
        ({"_FillValue": -9999, "nodata": 3}, "i2", -9999),
        ({"missing_value": [-1.0, -2.0]}, "f4", -1.0),
        ({"nodata": "-32768"}, "i2", -32768),
        ({"nodata": "-1e5"}, "f4", -1e5),
        ({"nodata": -9999.0}, "i2", -9999),
        ({"_nodata": np.float32(7)}, "f4", 7),
        ({"nodatavals": [0, 0, 0]}, "u1", 0),
        ({"nodatavals": np.array([5])}, "u1", 5),
        ({"nodata": -3.40282346600000016e38}, "f4", np.finfo("f4").min),
        ({"nodata": "Infinity"}, "f4", np.inf),
        ({"_FillValue": ["AAAAAAAA8D8=", "AAAAAAAAAEA="]}, "c8", 1 + 2j),
        ({"_FillValue": "AADAfw=="}, "f4", None),  # NaN of four bytes
        ({"_FillValue": "AACAPw=="}, "f4", 1.0),
        ({"nodata": -9999}, "u1", None),
        ({"nodata": 0.5}, "u1", None),
        ({"nodata": 1e300}, "f4", None),
        ({"nodata": "none"}, "f4", None),
        ({"nodata": True}, "u1", None),
        ({"nodata": 1j}, "f4", None),
        ({"nodata": None}, "f4", None),
        ({"nodata": []}, "f4", None),
        ({"nodata": {}}, "f4", None),
        ({"nodata": 1}, "M8[D]", None),
        ({"fill_value": 0}, "u1", None),
        ({"nodata": 2**64 - 1}, "u8", 2**64 - 1),
    ],
)
def test_declared_nodata(attrs, dtype, wanted):
    found = declared_nodata(attrs, np.dtype(dtype))
    if wanted is None:
        assert found is None
    else:
        assert found == np.dtype(dtype).type(wanted)
        assert found.dtype == np.dtype(dtype)
