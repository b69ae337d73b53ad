"""Band maths: formulas against numpy, and what is no formula."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr.cli import main

BANDS = np.random.default_rng(0).integers(0, 9, (6, 5, 3)).astype("f8")
PYRAMID = lazypyr.open_pyramid(BANDS, axes="yxc", method="mean", levels=2)
NAMES = ("b0", "b1", "b2")


def values(text, pyramid=PYRAMID, level=0, **options):
    return pyramid.map("expression", text=text, dtype="float64", **options).read(level)


numbers = st.sampled_from(["2", "0.5", "1e3", "7"])
formulas = st.recursive(
    st.sampled_from(NAMES) | numbers,
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from("+-*/"), part).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(part, st.sampled_from(["2", "-1", "0.5"])).map(lambda p: f"({p[0]}) ** {p[1]}"),
        part.map(lambda p: f"-({p})"),
        st.tuples(st.sampled_from(["abs", "sqrt", "log"]), part).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), part, part).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(part, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), part, part, part).map(
            lambda p: f"where({p[0]} {p[1]} {p[2]}, {p[3]}, {p[4]})"
        ),
    ),
    max_leaves=8,
)
WITH_NUMPY = {"where": np.where, "min": np.minimum, "max": np.maximum, "abs": np.abs, "sqrt": np.sqrt, "log": np.log}


@given(formulas)
def test_as_numpy_computes_it(text):
    used = [name for name in NAMES if name in text]
    if not used:
        with pytest.raises(lazypyr.PlanError, match="it has no band"):
            values(text)
        return
    with np.errstate(all="ignore"):
        names = {name: BANDS[..., n] for n, name in enumerate(NAMES)}
        expected = eval(text.replace("0.5", "np.float64(0.5)"), {**WITH_NUMPY, **names, "np": np})
        expected = np.broadcast_to(np.asarray(expected, "f8"), (6, 5))
    np.testing.assert_allclose(values(text), expected, rtol=1e-12)


@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_a_plan_error(text):
    try:
        values(text)
    except lazypyr.PlanError:
        pass


def test_ways_to_give_it(tmp_path, capsys):
    with np.errstate(all="ignore"):
        expected = ((BANDS[..., 1] - BANDS[..., 0]) / (BANDS[..., 1] + BANDS[..., 0])).astype("f4")
    formula = "(b1 - b0) / (b1 + b0)"
    for made in (
        PYRAMID.map("expression", text=formula),
        PYRAMID.map(f"expression:{formula}"),
        PYRAMID.map(lazypyr.product.expression("(n - r) / (n + r)", {"r": 0, "n": 1})),
        PYRAMID.map(lazypyr.product.expression("(n - r) / (n + r)", ["r", "n", "other"])),
        PYRAMID.map(lazypyr.product.expression("(n - r) / (n + r)", {"r": -3, "n": -2})),
        pickle.loads(pickle.dumps(PYRAMID.map("expression", text=formula))),
    ):
        assert (made.axes, made.dtype) == (("y", "x"), np.dtype("f4"))
        np.testing.assert_array_equal(made.read(0), expected)
    zarr.create_array(str(tmp_path / "a.zarr"), data=BANDS)
    assert main(["info", str(tmp_path / "a.zarr"), "--axes", "yxc", "--product", f"expression:{formula}"]) == 0
    assert main(["info", str(tmp_path / "a.zarr"), "--axes", "yxc", "--product", "expression:b0 +"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    coarse = np.asarray(PYRAMID.read(1))
    np.testing.assert_allclose(values("b0 * b1", level=1), coarse[..., 0] * coarse[..., 1])


def test_other_axes_and_plain_rasters():
    moved = lazypyr.open_pyramid(np.moveaxis(BANDS, -1, 0), axes="cyx")
    np.testing.assert_array_equal(values("b2 - b0", moved), BANDS[..., 2] - BANDS[..., 0])
    plain = lazypyr.open_pyramid(BANDS[..., 0], axes="yx")
    np.testing.assert_array_equal(values("sqrt(b0)", plain), np.sqrt(BANDS[..., 0]))
    dates = lazypyr.open_pyramid(np.stack([BANDS, BANDS + 1], 0), axes="tyxc")
    np.testing.assert_array_equal(values("b1 / 2", dates), np.stack([BANDS[..., 1], BANDS[..., 1] + 1], 0) / 2)


def test_nodata_and_nan_stay_missing():
    data = np.array([[[1.0, 5.0], [-9.0, 5.0], [2.0, np.nan]]])
    pyramid = lazypyr.open_pyramid(data, axes="yxc", nodata=-9)
    np.testing.assert_array_equal(values("where(b0 > 0, b1, 7)", pyramid), [[5, np.nan, np.nan]])
    np.testing.assert_array_equal(values("b0 * 2", pyramid), [[2, np.nan, 4]])  # of bands that are in it
    whole = lazypyr.open_pyramid(np.array([[[1, 0], [3, 255]]], "u1"), axes="yxc", nodata=255)
    np.testing.assert_array_equal(values("b0 - b1", whole), [[1, np.nan]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b0 +", "invalid syntax"),
        ("b0.real", "character 1: expected bands, numbers"),
        ("__import__('os')", "character 1: there is no function '__import__'"),
        ("b0 + sqr(b1)", r"character 6: there is no function 'sqr'; did you mean 'sqrt'\?"),
        ("(lambda: 1)()", "expected bands"),
        ("[b0]", "expected bands"),
        ("b0[0]", "expected bands"),
        ("'text'", "expected bands"),
        ("True", "expected bands"),
        ("1j", "expected bands"),
        ("b0 and b1", "expected bands"),
        ("b0 < b1 < b2", "expected bands"),
        ("min(b0)", "min takes 2 argument"),
        ("max(b0, b1, key=b2)", "expected bands"),
        ("max(*b0)", "takes 2"),
        ("sqrt(*b0)", "expected bands"),
        ("b0 ** 9", "an exponent is a number of at most 8"),
        ("2 ** b0", "an exponent is a number"),
        ("b0 ** -8.5", "an exponent is a number"),
        ("+".join(["b0"] * 40), "more than 64"),
        ("-" * 70 + "b0", "more than 64"),
        ("(" * 300 + "b0" + ")" * 300, "expression"),
        ("b0" * 600, "at most 1000 characters"),
        ("", "expected a formula"),
        ("1" + "0" * 400, "beyond those of float64"),
        ("b7", r"there is no band 'b7' of numpy array; there are b0, b1, b2"),
        ("1 + 2", "it has no band"),
        ("b0 @ b1", "expected bands"),
        ("b0 // b1", "expected bands"),
        ("b0\n; b1", "expression"),
    ],
    ids=map(str, range(30)),
)
def test_what_is_no_formula(text, message):
    with pytest.raises(lazypyr.PlanError, match=message):
        values(text)


def test_bad_options():
    for options, message in (
        ({"dtype": "int16"}, "expected float32 or float64"),
        ({"bands": {"b0": 7}}, "has 3"),
        ({"bands": ["red"]}, "there is no band 'b0'"),
    ):
        with pytest.raises(lazypyr.PlanError, match=message):
            PYRAMID.map("expression", text="b0", **options)
    with pytest.raises(lazypyr.PlanError, match="needs real numbers"):
        lazypyr.open_pyramid(np.ones((2, 2, 2), "c8"), axes="yxc").map("expression", text="b0")


def test_a_recipe_has_it(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=BANDS)

    def reopened(pyramid):
        (tmp_path / "a.lazypyr.json").write_text(json.dumps(pyramid.to_recipe(tmp_path)))
        return lazypyr.open_pyramid(tmp_path / "a.lazypyr.json")

    made = lazypyr.open_pyramid(tmp_path / "a.zarr", axes="yxc").map(
        "expression", text="r * 2", bands={"r": 1}, units="1"
    )
    again = reopened(made)
    assert again.fingerprint == made.fingerprint
    for name, options in (
        ("slope", {"unit": "percent"}),
        ("aspect", {"spacing": 3}),
        ("hillshade", {"altitude": 30, "spacing": (1, 2)}),
    ):
        made = lazypyr.open_pyramid(tmp_path / "a.zarr", axes="yxc").map(name, **options)
        assert reopened(made).fingerprint == made.fingerprint
