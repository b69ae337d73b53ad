"""Levels of packed numbers (CF), against xarray's decoding of the source, and against numpy on unpacked values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr.cli import main
from lazypyr.reducers import REDUCERS

AXES = ("y", "x")
SHAPE = (13, 18)


def source(data, attrs, zarr_format, fill_value=None):
    """A zarr array of these numbers and attributes, in a group, as xarray finds it."""
    group = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=zarr_format)
    options = {"dimension_names": AXES} if zarr_format == 3 else {"fill_value": fill_value}
    array = group.create_array("v", shape=data.shape, dtype=data.dtype, chunks=(8, 8), **options)
    array[...] = data
    array.attrs.update({**attrs, **({"_ARRAY_DIMENSIONS": list(AXES)} if zarr_format == 2 else {})})
    return group


def decoded(store, group=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.open_dataset(store, engine="zarr", group=group, consolidated=False)["v"].load()


def served(src, zarr_format=3, **options):
    return lazypyr.LazyPyramidStore(src, layout="{level}/v", chunks=8, levels=3, zarr_format=zarr_format, **options)


@st.composite
def packed(draw, fills=2):
    """Numbers, their attributes (as JSON has them), and the format of the source."""
    dtype = np.dtype(draw(st.sampled_from(["i1", "u1", "i2", "u2", "i4", "f4", "f8"])))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    values = random.integers(-100 if dtype.kind != "u" else 0, 100, SHAPE)
    values[values == -1] = 7
    unsigned = dtype.kind == "i" and draw(st.booleans())
    # Beyond all values, also where signed bytes are meant unsigned: no mean comes out as one of them.
    holes = draw(st.lists(st.sampled_from([-1] if unsigned else [120, 127]), max_size=fills, unique=True))
    for hole in holes:
        values[random.random(SHAPE) < 0.3] = hole
    values = values.astype(dtype)
    attrs = {}
    if draw(st.booleans()):
        attrs["scale_factor"] = draw(st.sampled_from([0.01, -0.5, 2.0, -1.0]))
    if draw(st.booleans()):
        attrs["add_offset"] = draw(st.sampled_from([273.15, -7.5, 0.0]))
    zarr_format, fill = draw(st.sampled_from([2, 3])), None
    if holes:
        (first, *rest) = holes
        if zarr_format == 2 and draw(st.booleans()):
            fill = first  # where xarray writes it in zarr v2
        elif dtype.kind in "iu" or zarr_format == 2:
            attrs["_FillValue"] = fill = first  # xarray reads that of v2 arrays of their fill value
        else:
            attrs["missing_value"] = float(first)
        if rest:
            attrs["missing_value"] = [float(v) if dtype.kind == "f" else v for v in holes]
    if unsigned:
        attrs["_Unsigned"] = "true"
    return values, attrs, zarr_format, fill


@given(packed(), st.sampled_from([2, 3]), st.sampled_from(["stride", "mean"]))
def test_level_0_is_decoded_as_the_source_is(numbers, zarr_format, method):
    data, attrs, source_format, fill = numbers
    group = source(data, attrs, source_format, fill)
    want = decoded(group.store)
    if zarr_format == 2 and not (attrs or fill is not None):
        return  # xarray takes the zero that fills any array of zarr v2 for no data
    store = served(group["v"], zarr_format, method=method)
    found = decoded(store, "0")
    xr.testing.assert_equal(found, want.drop_vars(list(want.coords)))
    assert found.dtype == want.dtype
    kept = {k: v for k, v in attrs.items() if k != "_FillValue"}
    assert {k: v for k, v in store_attrs(store).items() if k in kept} == kept


def store_attrs(store):
    return dict(zarr.open_array(store, path="0/v", mode="r").attrs)


@given(packed(), st.sampled_from(["mean", "min", "max", "median", "mode", "first_valid", "stride"]))
def test_level_k_is_made_of_the_values(numbers, method):
    data, attrs, source_format, fill = numbers
    group = source(data, attrs, source_format, fill)
    store = served(group["v"], method=method)
    values = decoded(group.store).values.astype("f8")
    if fill is None and not attrs:
        values = data.astype("f8")
    step = (
        abs(attrs.get("scale_factor", 1.0))
        if data.dtype.kind != "f"
        else 1e-5 * max(1.0, np.nanmax(np.abs(values), initial=0))
    )
    reducer, finer = REDUCERS[method], values
    for level in (1, 2):
        box = (2**level,) * 2 if not reducer.composable else (2, 2)
        wanted = reducer(values if not reducer.composable else finer, box)
        found = decoded(store, str(level)).values
        rounding = {"mean": level, "median": 1}.get(method, 0) if data.dtype.kind != "f" else 1
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
        tolerance = 1e-4 if found.dtype == "f4" else 1e-9
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=step * 0.5 * rounding + tolerance * 300)
        finer = wanted


@pytest.mark.parametrize("method", ["mean", "min", "max", "median", "mode", "first_valid"])
@pytest.mark.parametrize(
    ("attrs", "first"),
    [
        ({"_FillValue": -9999, "missing_value": 32000}, -9999),
        ({"missing_value": [-9999, 32000]}, -9999),
        ({"_FillValue": 32000, "valid_min": 0}, 32000),
        ({"valid_range": [0, 100]}, -1),
        ({"_FillValue": -9999, "valid_range": [0.0, 50.0], "scale_factor": 0.5}, -9999),
    ],
)
def test_every_value_that_holds_nothing_is_left_out(attrs, first, method):
    data = np.array([[10, 10, -9999, 32000, -9999, 32000], [10, -9999, 7, 7, 32000, -9999]], "i2")
    store = lazypyr.LazyPyramidStore(source(data, attrs, 3)["v"], method=method, levels=2)
    np.testing.assert_array_equal(zarr.open_array(store, path="0", mode="r")[...], data)  # as it is stored
    np.testing.assert_array_equal(zarr.open_array(store, path="1", mode="r")[...], [[10, 7, first]])


def test_numbers_that_are_meant_unsigned_are_reduced_so():
    meant = np.array([[127, 129, 0, 255], [127, 129, 255, 255]], "u1")
    attrs = {"_Unsigned": "true", "_FillValue": -1}
    for method, wanted in (("mean", [128, 0]), ("min", [127, 0]), ("max", [129, 0]), ("median", [128, 0])):
        store = lazypyr.LazyPyramidStore(source(meant.view("i1"), attrs, 3)["v"], method=method, levels=2)
        found = zarr.open_array(store, path="1", mode="r")[...]
        assert found.dtype == "i1"
        assert found.view("u1").tolist() == [wanted]


def test_a_negative_scale_turns_least_and_largest_round():
    data = np.array([[1, 2], [3, 9]], "i2")
    attrs = {"scale_factor": -1.0, "_FillValue": 9}
    for method, wanted in (("min", 3), ("max", 1), ("mode", 3)):
        store = lazypyr.LazyPyramidStore(source(data, attrs, 3)["v"], method=method, levels=2)
        assert zarr.open_array(store, path="1", mode="r")[...] == wanted


def test_one_value_or_none_is_reduced_without_a_look_at_the_packing(monkeypatch):
    """The usual path is no slower."""
    monkeypatch.setattr("lazypyr.pyramids.reduction.reduce_packed", None)
    plain = np.arange(64, dtype="i2").reshape(8, 8)
    for attrs in ({}, {"_FillValue": 3}, {"units": "m"}):
        lazypyr.open_pyramid(source(plain, attrs, 3)["v"], method="mean", levels=2).read(1)


def test_what_the_user_says_holds_nothing_is_all_that_does():
    data = np.array([[1, 2], [3, 6]], "i2")
    group = source(data, {"_FillValue": 1, "missing_value": [1, 2], "valid_range": [0, 5]}, 3)
    for nodata, wanted in (("declared", 3), (3, 2), (None, 3)):
        store = lazypyr.LazyPyramidStore(group["v"], method="mean", levels=2, nodata=nodata)
        assert zarr.open_array(store, path="1", mode="r")[...] == wanted
        attrs = zarr.open_array(store, path="0", mode="r").attrs
        assert attrs.get("_FillValue") == (1 if nodata == "declared" else nodata)
        assert ("missing_value" in attrs) == (nodata == "declared")


def test_a_recipe_keeps_several_values_that_hold_nothing(tmp_path):
    for number, attrs in enumerate(
        ({"_FillValue": 1, "missing_value": 2}, {"valid_min": 3}, {"_FillValue": 1, "valid_min": 3}, {"_FillValue": 1})
    ):
        array = zarr.create_array(tmp_path / f"{number}.zarr", data=np.arange(16, dtype="i2").reshape(4, 4))
        array.attrs.update(attrs)
        for options in ({}, {"nodata": 5}, {"nodata": None}):
            pyramid = lazypyr.open_pyramid(tmp_path / f"{number}.zarr", method="mean", levels=2, **options)
            again = lazypyr.open_pyramid(pyramid.to_recipe())
            assert again.fingerprint == pyramid.fingerprint
            np.testing.assert_array_equal(again.read(1), pyramid.read(1))


@pytest.mark.parametrize("method", ["sum", "rms", "p90"])
def test_what_the_packing_cannot_say_is_made_of_values(method):
    values = np.array([[280.0, 281.0], [290.0, np.nan]])
    attrs = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768, "units": "K"}
    counts = np.where(np.isnan(values), -32768, np.round((values - 273.15) / 0.01)).astype("i2")
    made = {
        "sum": ("sum", 851.0),
        "rms": ("rms", np.sqrt(np.nanmean(values**2))),
        "p90": (lazypyr.reducer(p90), np.nanpercentile(values, 90)),
    }
    chosen, wanted = made[method]
    store = lazypyr.LazyPyramidStore(source(counts, attrs, 3)["v"], method=chosen, levels=2, layout="{level}/v")
    for level, pixels in (("0", values), ("1", [[wanted]])):
        array = zarr.open_array(store, path=f"{level}/v", mode="r")
        assert array.dtype == "f8"
        assert dict(array.attrs) == {"units": "K"} | {k: v for k, v in array.attrs.items() if ":" in k}
        np.testing.assert_allclose(array[...], pixels)
        np.testing.assert_allclose(decoded(store, level).values, pixels)


def p90(boxes, axis):
    return np.nanpercentile(boxes, 90, axis=axis).astype(boxes.dtype)


def test_the_sum_of_packed_numbers_is_the_sum_of_their_values():
    attrs = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
    counts = np.full((2, 2), 685, "i2")  # 280 K
    for method, before, now in (("sum", 300.55, 1120.0), ("rms", 280.0, 280.0)):
        store = lazypyr.LazyPyramidStore(source(counts, attrs, 3)["v"], method=method, levels=2, layout="{level}/v")
        old = REDUCERS[method](counts, (2, 2), nodata=-32768)  # of counts, with the scale and offset of one
        np.testing.assert_allclose(old * 0.01 + 273.15, before)
        np.testing.assert_allclose(decoded(store, "1"), now)


@given(packed(), st.sampled_from(["mean", "min", "stride", "sum"]))
def test_decoded_levels_are_the_values(numbers, method):
    data, attrs, source_format, fill = numbers
    group = source(data, attrs, source_format, fill)
    want = decoded(group.store)
    if fill is None and not attrs:
        want = want.copy(data=data)
    pyramid = lazypyr.open_pyramid(group["v"], chunks=8, levels=2, method=method, decode=True)
    exact = method == "sum" and {"scale_factor", "add_offset"} & set(attrs)
    assert pyramid.dtype == (np.dtype("f8") if exact else want.dtype)
    np.testing.assert_allclose(pyramid.read(0), want.values, rtol=1e-6)
    np.testing.assert_allclose(
        pyramid.read(1), REDUCERS[method](want.values.astype(pyramid.dtype), (2, 2)), rtol=1e-5, atol=1e-3
    )
    served_attrs = set(zarr.open_array(lazypyr.LazyPyramidStore(pyramid), path="0", mode="r").attrs)
    assert not served_attrs & {"scale_factor", "add_offset", "missing_value", "_Unsigned"}


PACKED = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768, "units": "K"}


@pytest.fixture
def kelvin(tmp_path):
    """Path of a packed array of 280 and 290 K with a hole, as xarray writes it, and its values."""
    values = np.full((2, 40, 40), 280.0)
    values[1] = 290.0
    values[0, :8, :8] = np.nan
    data = xr.Dataset({"t2m": (("time", "lat", "lon"), values, {"units": "K"})})
    packing = {k: v for k, v in PACKED.items() if k != "units"}
    data.to_zarr(tmp_path / "t.zarr", zarr_format=3, encoding={"t2m": {"dtype": "i2", **packing}})
    return str(tmp_path / "t.zarr" / "t2m"), values


def test_a_recipe_of_decoded_levels_decodes_again(kelvin):
    path, _ = kelvin
    pyramid = lazypyr.open_pyramid(path, method="mean", decode=True, chunks=8)
    recipe = pyramid.to_recipe()
    assert recipe["decode"] is True
    again = lazypyr.open_pyramid(recipe)
    assert (again.dtype, again.fingerprint) == (pyramid.dtype, pyramid.fingerprint)
    for method in ("mean", "sum"):  # unpacked by the method: nothing to be said
        plain = lazypyr.open_pyramid(path, method=method, chunks=8)
        assert "decode" not in plain.to_recipe()
        assert lazypyr.open_pyramid(plain.to_recipe()).fingerprint == plain.fingerprint


def test_decode_is_an_option_of_stores_recipes_and_commands(kelvin, capsys):
    path, values = kelvin
    store = lazypyr.LazyPyramidStore(path, decode=True, layout="{level}/v")
    np.testing.assert_allclose(decoded(store, "0").values, values)
    assert zarr.open_array(store, path="0/v", mode="r").attrs["units"] == "K"
    assert main(["info", path, "--decode"]) == 0
    assert "float64" in capsys.readouterr().out
    with pytest.raises(lazypyr.PlanError, match="decode must be given where it is opened"):
        lazypyr.open_pyramid(lazypyr.open_pyramid(path), decode=True)


def test_decoding_what_is_not_packed_changes_nothing():
    plain = np.arange(64, dtype="i2").reshape(8, 8)
    for attrs in ({}, {"units": "m"}):
        array = source(plain, attrs, 3)["v"]
        assert lazypyr.open_pyramid(array, decode=True).fingerprint == lazypyr.open_pyramid(array).fingerprint


@pytest.mark.parametrize("source_product", [False, True])
def test_products_are_of_values(kelvin, source_product):
    path, values = kelvin
    if source_product:
        pyramid = lazypyr.open_pyramid(path, source_product="intf_0", method="mean", levels=2)
    else:
        pyramid = lazypyr.open_pyramid(path, method="mean", levels=2).map("intf_0")
    assert pyramid.attrs["units"] == "K"
    np.testing.assert_allclose(pyramid.read(0)[..., 1], values[0] - values[1], atol=1e-4)
    again = lazypyr.open_pyramid(pyramid.to_recipe())
    np.testing.assert_array_equal(again.read(1), pyramid.read(1))
    assert again.fingerprint == pyramid.fingerprint


def test_a_product_of_a_product_unpacks_once(kelvin):
    path, values = kelvin
    pyramid = lazypyr.open_pyramid(path).map("cast")
    np.testing.assert_allclose(pyramid.map(lambda z: z[0] * 2.0).read(0), values[0] * 2, rtol=1e-5)
    assert pyramid.map("cast").attrs["units"] == "K"


def test_packed_levels_are_written_and_read_again(kelvin, tmp_path):
    path, values = kelvin
    for method, exact in (("mean", False), ("sum", True)):
        pyramid = lazypyr.open_pyramid(path, method=method, chunks=8)
        lazypyr.materialize(pyramid, tmp_path / f"{method}.zarr", progress=False)
        again = lazypyr.open_pyramid(tmp_path / f"{method}.zarr")
        assert again.dtype == ("f8" if exact else "i2")
        for level in range(len(again.levels)):
            np.testing.assert_array_equal(again.read(level), pyramid.read(level))
        np.testing.assert_allclose(again.unpacked.read(0), values, atol=1e-6)


def test_a_refresh_reads_the_meaning_again(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", data=np.array([[1, 2], [3, 6]], "i2"), dimension_names=AXES)
    array.attrs.update({"scale_factor": 1.0, "_FillValue": 6})
    store = lazypyr.LazyPyramidStore(tmp_path / "a.zarr", method="mean", levels=2, layout="{level}/v")
    given = lazypyr.LazyPyramidStore(tmp_path / "a.zarr", method="mean", levels=2, layout="{level}/v", nodata=1)
    assert decoded(store, "1") == 2
    array.attrs.update({"scale_factor": 10.0, "_FillValue": 1, "missing_value": [1, 2]})
    for one in (store, given):
        one.refresh()
    assert decoded(store, "1") == 40  # of 3 and 6, half to even
    assert store.pyramid.unpacked.read(1) == 40
    assert decoded(given, "1") == 40  # of 2, 3 and 6


def levels_of(packings, dtype="i2", zarr_format=3):
    """A multiscale group of one field of 280 to 300 K, each level packed in its own way."""
    true = np.linspace(280, 300, 32 * 48).reshape(32, 48)
    true[:4, :4] = np.nan
    group = zarr.open_group({}, mode="w", zarr_format=zarr_format)
    values = []
    for k, attrs in enumerate(packings):
        level = true[:: 2**k, :: 2**k]
        numbers = (level - attrs.get("add_offset", 0.0)) / attrs.get("scale_factor", 1.0)
        hole = attrs.get("_FillValue", attrs.get("missing_value", -1))
        numbers = np.where(np.isnan(level), hole, np.round(numbers)).astype(dtype)
        said = {"_ARRAY_DIMENSIONS": list(AXES)} if zarr_format == 2 else {}
        names = {} if zarr_format == 2 else {"dimension_names": AXES}
        group.create_array(str(k), data=numbers, chunks=(16, 16), attributes={**attrs, **said}, **names)
        values.append(
            np.where(numbers == hole, np.nan, numbers * attrs.get("scale_factor", 1.0) + attrs.get("add_offset", 0.0))
        )
    axes = [{"name": name, "type": "space"} for name in AXES]
    steps = [{"type": "scale", "scale": [2.0**k] * 2} for k in range(len(packings))]
    datasets = [{"path": str(k), "coordinateTransformations": [step]} for k, step in enumerate(steps)]
    entry = {"axes": axes, "datasets": datasets}
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": [entry]}}
        if zarr_format == 3
        else {"multiscales": [{**entry, "version": "0.4"}]}
    )
    return group, values


FINE = {"scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -1}
MIXED = {
    "scale": [FINE, {**FINE, "scale_factor": 0.1}],
    "offset": [FINE, {**FINE, "add_offset": 200.0}],
    "no data": [FINE, {**FINE, "_FillValue": -2}],
    "no data of plain numbers": [{"_FillValue": -1}, {"_FillValue": -2}],
    "coarse one plain": [FINE, {"_FillValue": -1}],
    "three ways": [FINE, {**FINE, "scale_factor": 0.1}, {"scale_factor": 0.5, "missing_value": -9}],
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("kind", MIXED)
def test_levels_that_are_packed_in_several_ways_are_served_as_values(kind, decode, zarr_format):
    group, values = levels_of(MIXED[kind], zarr_format=zarr_format)
    pyramid = lazypyr.open_pyramid(group, method="mean", levels=len(values) + 1, decode=decode)
    assert pyramid.dtype.kind == "f"
    assert "scale_factor" not in pyramid.attrs
    store = lazypyr.LazyPyramidStore(pyramid, layout="{level}/v")
    for k, expected in enumerate(values):
        np.testing.assert_allclose(pyramid.read(k), expected, rtol=1e-6)
        np.testing.assert_allclose(decoded(store, str(k)), expected, rtol=1e-6)
    last = values[-1].reshape(values[-1].shape[0] // 2, 2, -1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(pyramid.read(len(values)), np.nanmean(last, axis=(1, 3)), rtol=1e-6)
    np.testing.assert_array_equal(pyramid.refreshed().read(1), pyramid.read(1))


@pytest.mark.parametrize("coarse", [FINE, {}, {"units": "K"}])
def test_levels_that_are_packed_alike_or_say_nothing_are_served_as_stored(coarse):
    group, _ = levels_of([FINE, FINE])
    group["1"].attrs.put(coarse)
    pyramid = lazypyr.open_pyramid(group, method="mean")
    assert pyramid.dtype == "i2"
    np.testing.assert_array_equal(pyramid.read(1), group["1"][...])


def test_levels_made_anew_are_packed_as_the_finest_one():
    group, _ = levels_of(MIXED["scale"])
    pyramid = lazypyr.open_pyramid(group, method="mean", levels="recompute")
    assert (pyramid.dtype, pyramid.attrs["scale_factor"]) == ("i2", 0.01)
