"""Recipes as files: what is written opens as the same pyramid, with the same bits, and tells no secret."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import jsonschema
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazypyr
from lazypyr import PlanError, open_pyramid, product
from lazypyr.cli import main
from lazypyr.cli.serve import named_sources
from lazypyr.recipe import open_recipe, schema
from lazypyr.reducers import REDUCERS
from lazypyr.server.run import name_of
from lazypyr.sources.open import open_source
from lazypyr.sources.opener import Opener


def numbers(shape, dtype="f4", seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "c":
        return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(dtype)
    return (random.normal(size=shape) * 40 + 50).astype(dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sources of every kind that has a path."""
    root = tmp_path_factory.mktemp("sources")
    for name, data in {
        "dem": numbers((100, 70)),
        "codes": numbers((60, 50, 4), "i1"),
        "scales": numbers((60, 50)),
        "stack": numbers((60, 50, 3), "c8"),
        "rgba": numbers((60, 50, 4), "u1"),
    }.items():
        chunks = (32, 32, 1)[: data.ndim]
        zarr.create_array(root / f"{name}.zarr", data=data, chunks=chunks)
    zarr.create_array(
        root / "v2.zarr", data=numbers((100, 70), "i2"), chunks=(32, 32), zarr_format=2, attributes={"_FillValue": 7}
    )
    group = zarr.create_group(root / "group.zarr")
    group.create_array("only", data=numbers((40, 40)), chunks=(16, 16))
    lazypyr.materialize(
        str(root / "dem.zarr"), root / "levels.zarr", method="mean", chunks=(16, 16), levels=(0, 1), progress=False
    )
    with zarr.storage.ZipStore(root / "dem.zip", mode="w") as store:
        zarr.create_array(store, data=numbers((40, 40)), chunks=(16, 16))
    zarr.save_group(
        root / "points.zarr",
        **{n: np.random.default_rng(k).uniform(0, 50, 500) for k, n in enumerate(("x", "y", "z", "height"))},
    )
    return root


def again(pyramid, folder):
    """The pyramid of the recipe of another one, by way of a file."""
    document = pyramid.to_recipe(folder)
    jsonschema.validate(document, schema())
    (folder / "again.lazypyr.json").write_text(json.dumps(document), encoding="utf-8")
    return open_pyramid(folder / "again.lazypyr.json")


def check_same(pyramid, folder):
    opened = again(pyramid, folder)
    assert opened.fingerprint == pyramid.fingerprint
    assert opened.to_recipe(folder) == pyramid.to_recipe(folder)
    assert (opened.axes, opened.crs, dict(opened.coords)) == (pyramid.axes, pyramid.crs, dict(pyramid.coords))
    assert (opened.levels, opened.chunks, opened.attrs) == (pyramid.levels, pyramid.chunks, pyramid.attrs)
    for level in range(len(pyramid.levels)):
        a, b = pyramid.read(level), opened.read(level)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


SOURCES = {
    "array": lambda f: open_pyramid(str(f / "dem.zarr"), chunks=(16, 16)),
    "path object": lambda f: open_pyramid(f / "dem.zarr", chunks=(16, 32)),
    "zip": lambda f: open_pyramid(f / "dem.zip", chunks=(16, 16)),
    "zarr v2 with declared nodata": lambda f: open_pyramid(f / "v2.zarr", method="mean", chunks=(16, 16)),
    "other nodata": lambda f: open_pyramid(f / "v2.zarr", method="mean", chunks=(16, 16), nodata=np.int16(50)),
    "no nodata": lambda f: open_pyramid(f / "v2.zarr", method="mean", chunks=(16, 16), nodata=None),
    "nodata of float32": lambda f: open_pyramid(f / "dem.zarr", method="mean", chunks=(16, 16), nodata=np.float32(0.1)),
    "complex nodata": lambda f: open_pyramid(f / "stack.zarr", method="mean", chunks=(16, 16), nodata=np.complex64(1j)),
    "group of one array": lambda f: open_pyramid(f / "group.zarr", chunks=(16, 16)),
    "levels": lambda f: open_pyramid(f / "levels.zarr", chunks=(16, 16)),
    "more levels": lambda f: open_pyramid(f / "levels.zarr", levels=4, chunks=(16, 16)),
    "the finest level": lambda f: open_pyramid(f / "levels.zarr", levels=1, chunks=(16, 16)),
    "zarr array": lambda f: open_pyramid(zarr.open_array(f / "dem.zarr", mode="r"), chunks=(16, 16)),
    "zarr array in a group": lambda f: open_pyramid(zarr.open_group(f / "levels.zarr", mode="r")["1"], chunks=(16, 16)),
    "zarr group": lambda f: open_pyramid(zarr.open_group(f / "levels.zarr", mode="r"), chunks=(16, 16)),
    "zarr store": lambda f: open_pyramid(zarr.storage.LocalStore(f / "dem.zarr", read_only=True), chunks=(16, 16)),
    "axes, order and factors": lambda f: open_pyramid(
        f / "stack.zarr", axes="yxi", order="iyx", factors={"i": 2, "y": 3}, chunks=(2, 16, 16), method="mean"
    ),
    "axes along x": lambda f: open_pyramid(f / "dem.zarr", axes="xy", chunks=(16, 32), method="mean"),
    "bounds": lambda f: open_pyramid(f / "dem.zarr", bounds=(0, 99, 69, 0.1), chunks=(16, 16)),
    "a pyramid transposed": lambda f: open_pyramid(
        open_pyramid(f / "stack.zarr", axes="yxi", chunks=(16, 16)).map("intf_seq"), order="iyx"
    ),
    "a product of a pyramid transposed": lambda f: open_pyramid(
        open_pyramid(f / "stack.zarr", axes="yxi", chunks=(16, 16)).map("intf_seq"), order="iyx"
    ).map("cast", dtype="f8"),
    "a level of a pyramid": lambda f: open_pyramid(
        product.LevelSource(open_pyramid(f / "dem.zarr", chunks=(16, 16)), 1), method="mean", chunks=(16, 16)
    ),
    "a source product": lambda f: open_pyramid(
        f / "stack.zarr", axes="yxi", source_product="intf_0", method="mean", chunks=(16, 16), bounds=(0, 0, 49, 59)
    ),
    "source products of two sources": lambda f: open_pyramid(
        product.apply_to_source(
            product.dequantize(
                product.LevelSource(open_pyramid(f / "codes.zarr", axes="yxi")),
                product.LevelSource(open_pyramid(f / "scales.zarr")),
            ),
            "pca",
        ),
        method="mean",
        chunks=(16, 16),
    ),
    "points in a file": lambda f: lazypyr.read_points(f / "points.zarr", resolution=1.0, values="height", chunks=(32, 32)),
    "another column": lambda f: lazypyr.read_points(f / "points.zarr", resolution=1.0, chunks=(32, 32)).with_values(
        "height", method="mean"
    ),
    "count of points": lambda f: lazypyr.read_points(f / "points.zarr", resolution=1.0, values=(), chunks=(32, 32)),
    "points by column": lambda f: lazypyr.from_points(
        f / "points.zarr/x", f / "points.zarr/y", f / "points.zarr/height", resolution=2.0, method="max", fill_value=-1,
        chunks=(32, 32), crs="EPSG:32633", attributes={"z2": f / "points.zarr/z"}, attrs={"instrument": "VLP-16"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_source_opens_again(kind, folder):
    check_same(SOURCES[kind](folder), folder)


@pytest.mark.parametrize("method", REDUCERS)
def test_method_opens_again(method, folder):
    check_same(open_pyramid(folder / "dem.zarr", method=method, chunks=(16, 16)), folder)


PRODUCTS = {
    "phase": ("stack", [("phase", {})]),
    "amplitude": ("stack", [("amplitude", {})]),
    "intensity": ("stack", [("intensity", {})]),
    "intf_0": ("stack", [("intf_0", {})]),
    "intf_seq": ("stack", [("intf_seq", {})]),
    "intf_all": ("stack", [("intf_all", {})]),
    "coherence": ("stack", [("coherence", {"window": (3, 5), "pairs": "seq"})]),
    "rescale": ("dem", [("rescale", {})]),
    "rescale one limit": ("dem", [("rescale", {"vmin": 3, "percentiles": (1, 90), "dtype": "u2", "nodata": 0})]),
    "rescale both limits": ("dem", [("rescale", {"vmin": 3, "vmax": 70.5})]),
    "cast": ("dem", [("cast", {})]),
    "cast to a dtype": ("dem", [("cast", {"dtype": "f8"})]),
    "colormap": ("dem", [("colormap", {})]),
    "colormap of a phase": ("stack", [("phase", {}), ("colormap", {"name": "phase", "alpha": False})]),
    "colormap of own colours": ("dem", [("colormap", {"name": ["#000000", (255, 3, 0)], "percentiles": (5, 95)})]),
    "colormap with limits": ("dem", [("colormap", {"vmin": 1, "vmax": 3, "percentiles": (5, 95)})]),
    "composite": ("codes", [("composite", {})]),
    "composite with windows": ("codes", [("composite", {"bands": (-1, 0, 1), "windows": [(0, 9), (None, 9), (1, 2)]})]),
    "pca": ("codes", [("pca", {"n": 2})]),
    "premultiply": ("rgba", [("premultiply", {}), ("unpremultiply", {})]),
    "unpremultiply": ("rgba", [("premultiply", {}), ("unpremultiply", {"dtype": "u2"})]),
    "hillshade": ("dem", [("hillshade", {"azimuth": 300, "spacing": (30, 20.5)})]),
    "slope": ("dem", [("slope", {"unit": "percent", "z_factor": 0.3048})]),
    "aspect": ("dem", [("aspect", {})]),
    "aspect with spacing": ("dem", [("aspect", {"spacing": 30})]),
    "expression": ("codes", [("expression", {"text": "(b1 - b0) / (b1 + b0 + 1)"})]),
    "several": ("stack", [("intf_seq", {}), ("cast", {"dtype": "f8"}), ("rescale", {}), ("colormap", {})]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_product_opens_again(name, folder):
    source, products = PRODUCTS[name]
    axes = None if source == "dem" else "yxi"
    pyramid = open_pyramid(folder / f"{source}.zarr", axes=axes, method="mean", chunks=(16, 16))
    for called, options in products:
        pyramid = pyramid.map(called, **options)
    check_same(pyramid, folder)


def test_table_has_every_product():
    assert {called for _, products in PRODUCTS.values() for called, _ in products} == set(product.NAMES)


def test_product_of_two_pyramids_opens_again(folder):
    codes = open_pyramid(folder / "codes.zarr", axes="yxi", chunks=(16, 16))
    check_same(product.dequantize(codes, open_pyramid(folder / "scales.zarr", chunks=(16, 16))).map("pca"), folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_options_open_again(data, folder):
    source = data.draw(st.sampled_from(["dem", "stack", "codes"]))
    axes = "yx" if source == "dem" else "".join(data.draw(st.permutations("yxi")))
    chunks = data.draw(st.sampled_from([(16, 16), (32, 8), (24, 40)]))
    options = {
        "order": "".join(data.draw(st.permutations(axes))),
        "method": data.draw(st.sampled_from(sorted(REDUCERS))),
        "levels": data.draw(st.none() | st.integers(1, 3)),
        "factors": data.draw(st.none() | st.fixed_dictionaries({"y": st.integers(2, 3)})),
        "nodata": data.draw(st.sampled_from(["declared", None, 3])),
        "bounds": data.draw(st.none() | st.tuples(st.just(0.0), st.just(1.0), st.floats(2, 9), st.floats(2, 9))),
    }
    try:
        pyramid = open_pyramid(folder / f"{source}.zarr", axes=axes, chunks=chunks, **options)
    except PlanError:  # a dtype that the method doesn't take
        return
    check_same(pyramid, folder)


def test_opening_reads_no_pixel_though_limits_were_estimated(folder, monkeypatch):
    pyramid = open_pyramid(folder / "dem.zarr", chunks=(16, 16)).map("rescale").map("colormap")
    document = pyramid.to_recipe(folder)
    monkeypatch.setattr("lazypyr.sources.zarr.ZarrSource.read", None)
    assert open_recipe(document, folder=folder).fingerprint == pyramid.fingerprint


def test_store_and_options_take_a_recipe(folder):
    pyramid = open_pyramid(folder / "stack.zarr", axes="yxi", chunks=(16, 16))
    (folder / "stack.lazypyr.json").write_text(json.dumps(pyramid.to_recipe(folder)))
    store = lazypyr.LazyPyramidStore(folder / "stack.lazypyr.json", product="intf_seq")
    assert store.pyramid.fingerprint == pyramid.map("intf_seq").fingerprint
    with pytest.raises(PlanError, match="is a pyramid already: method"):
        open_pyramid(folder / "stack.lazypyr.json", method="mean")


def test_hand_written_recipe_needs_its_source_only(folder):
    pyramid = open_recipe({"lazypyr_recipe": 1, "source": "dem.zarr"}, folder=folder)
    assert pyramid.fingerprint == open_pyramid(folder / "dem.zarr").fingerprint


def test_paths_are_relative_to_the_folder(folder, tmp_path):
    pyramid = open_pyramid(folder / "dem.zarr")
    assert pyramid.to_recipe(folder)["source"] == "dem.zarr"
    assert pyramid.to_recipe(tmp_path)["source"] == os.path.relpath(folder / "dem.zarr", tmp_path)


@pytest.mark.fault("N7")
@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://user:secret@host/a.zarr?sig=secret#f", "https://host/a.zarr"),
        ("s3://bucket/a@2.zarr", "s3://bucket/a@2.zarr"),
        ("simplecache::https://secret@host/a.zarr?x=secret", "simplecache::https://host/a.zarr"),
        ("zip://in/a.zarr::https://u:secret@host/b.zip?t=secret", "zip://in/a.zarr::https://host/b.zip"),
    ],
)
def test_no_secret_is_written(url, written):
    from lazypyr.pyramids.recipes import places_from

    assert places_from(".")(url) == written


@pytest.mark.fault("N7")
def test_no_secret_of_a_chain_of_urls_is_in_an_error():
    error = PlanError("can't open zip://in/a.zarr::https://u:secret@host/b.zip?t=secret: gone")
    assert str(error) == "can't open zip://in/a.zarr::https://host/b.zip: gone"


def test_storage_options_are_not_written_and_are_given_again():
    import fsspec

    zarr.create_array("memory://recipes/a.zarr", data=numbers((40, 40)), chunks=(16, 16), overwrite=True)
    pyramid = open_pyramid("memory://recipes/a.zarr", storage_options={"use_listings_cache": "secret"})
    document = pyramid.to_recipe()
    assert "secret" not in json.dumps(document)
    opened = open_pyramid(document, storage_options={"use_listings_cache": "secret"})
    assert opened.fingerprint == pyramid.fingerprint
    fsspec.filesystem("memory").pipe("/recipes/a.lazypyr.json", json.dumps({**document, "source": "a.zarr"}).encode())
    assert open_pyramid("memory://recipes/a.lazypyr.json").fingerprint == pyramid.fingerprint
    away = (
        "/etc/a.zarr",
        "file:///etc/a.zarr",
        "../../etc/a.zarr",
        "zip://a::file:///b.zip",
        "local:///a",
        "zip://a::/b",
    )
    for path in away:
        fsspec.filesystem("memory").pipe("/recipes/a.lazypyr.json", json.dumps({**document, "source": path}).encode())
        with pytest.raises(PlanError, match="may name URLs"):
            open_pyramid("memory://recipes/a.lazypyr.json")


@pytest.mark.fault("N7")
def test_what_is_served_and_written_carries_its_recipe_without_places(folder):
    pyramid = open_pyramid(folder / "stack.zarr", axes="yxi", method="mean", chunks=(16, 16)).map("coherence", window=3)
    lazypyr.materialize(pyramid, folder / "made.zarr", progress=False)
    text = (folder / "made.zarr" / "zarr.json").read_text()
    assert str(folder) not in text
    for group in (
        zarr.open_group(folder / "made.zarr", mode="r"),
        zarr.open_group(lazypyr.LazyPyramidStore(pyramid), mode="r"),
    ):
        document = group.attrs["lazypyr"]["recipe_document"]
        jsonschema.validate(document, schema())
        assert document == pyramid.to_recipe(folder)
        assert open_recipe(document, folder=folder).fingerprint == pyramid.fingerprint


@pytest.mark.fault("N7")
@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/home/somebody/a.zarr", "a.zarr"),
        ("../elsewhere/a.zarr/", "a.zarr"),
        ("/home/v1.zarr/deep/levels.zarr/s0/image", "levels.zarr/s0/image"),
        ("https://user:secret@host/data/a.zarr?sig=secret", "a.zarr"),
        ("s3://bucket/a.zarr/3", "a.zarr/3"),
        ("/home/somebody/rasters/dem", "dem"),
        ("zip://inner/b.zarr::https://u:secret@host/a.zip?x=secret", "a.zip"),
    ],
)
def test_places_are_published_by_name(place, name):
    pyramid = open_pyramid(np.zeros((4, 4)))
    pyramid.stored_levels[0].opened_as = place
    assert lazypyr.LazyPyramidStore(pyramid).pyramid is pyramid
    served = zarr.open_group(lazypyr.LazyPyramidStore(pyramid), mode="r").attrs["lazypyr"]["recipe_document"]
    assert served["source"] == name


def test_what_has_no_recipe_is_served_without():
    store = lazypyr.LazyPyramidStore(np.zeros((40, 40)))
    assert "recipe_document" not in zarr.open_group(store, mode="r").attrs["lazypyr"]


def test_command_line_writes_and_opens_recipes(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["recipe", "stack.zarr", "--axes", "yxi", "--product", "intf_seq", "-o", "pairs.lazypyr.json"]) == 0
    assert main(["recipe", "stack.zarr", "--axes", "yxi", "--product", "intf_seq"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "pairs.lazypyr.json").read_text())
    expected = open_pyramid("stack.zarr", axes="yxi", product="intf_seq")
    assert main(["info", "pairs.lazypyr.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fingerprint"] == expected.fingerprint
    assert main(["materialize", "pairs.lazypyr.json", "pairs.zarr", "--quiet"]) == 0
    np.testing.assert_array_equal(zarr.open_array("pairs.zarr/0", mode="r")[...], expected.read(0))
    assert main(["recipe", "nowhere.zarr"]) == 1


def test_file_of_sources_is_served(folder):
    recipe = open_pyramid(folder / "stack.zarr", axes="yxi", product="intf_seq").to_recipe(folder)
    (folder / "dem.lazypyr.json").write_text(json.dumps({"lazypyr_recipe": 1, "source": "dem.zarr", "method": "mean"}))
    sources = {"pairs": recipe, "height": "dem.lazypyr.json", "plain": "v2.zarr"}
    (folder / "sources.json").write_text(json.dumps(sources))
    texts = [str(folder / "sources.json"), f"more={folder / 'group.zarr'}", str(folder / "dem.lazypyr.json")]
    named = named_sources(texts, {"anon": True})
    assert list(named) == ["pairs", "height", "plain", "more", "dem"]
    with lazypyr.serve({n: named[n] for n in ("pairs",)}, storage_options={"anon": True}, port=0, background=True):
        pass
    with lazypyr.serve({**recipe, "source": str(folder / "stack.zarr")}, port=0, background=True) as server:
        assert zarr.open_group(f"{server.url}/{name_of(open_recipe(recipe, folder=folder).name)}/", mode="r")[
            "0"
        ].shape == (60, 50, 2)
    with lazypyr.serve(named, port=0, background=True) as server:
        for name, expected in {
            "pairs": open_pyramid(folder / "stack.zarr", axes="yxi", product="intf_seq"),
            "height": open_pyramid(folder / "dem.zarr", method="mean"),
            "dem": open_pyramid(folder / "dem.zarr", method="mean"),
        }.items():
            served = zarr.open_group(f"{server.url}/{name}/", mode="r")
            np.testing.assert_array_equal(served["0"][...], expected.read(0))
            assert served.attrs["lazypyr"]["method"] == expected.method
    (folder / "sources.json").write_text("[3]")
    assert main(["serve", str(folder / "sources.json")]) == 1


def spread(boxes, axis):
    return boxes.max(axis=axis) - boxes.min(axis=axis)


def doubled(z, i):
    return z[i] * 2


def test_functions_with_a_name_open_again(folder):
    lazypyr.register_reducer("spread", spread)
    lazypyr.register_product("doubled", product.define(doubled))
    pyramid = open_pyramid(folder / "stack.zarr", axes="yxi", chunks=(16, 16)).map("amplitude")
    pyramid = open_pyramid(product.LevelSource(pyramid), method="spread", chunks=(16, 16)).map("doubled")
    check_same(pyramid, folder)
    assert "def " not in json.dumps(pyramid.to_recipe(folder))


@dataclass(frozen=True)
class Scaled(lazypyr.Product):
    factor: float
    name = "scaled"
    description = "values times a factor"

    def output_spec(self, source):
        return product.Output(source.axes, source.dtype)

    def compute(self, inputs, out, where, read, context):
        return read(0, where) * out.dtype.type(self.factor)


@dataclass(frozen=True)
class Halved(Scaled):
    name = "halved"


def test_products_of_a_class_open_again(folder):
    lazypyr.register_product("scaled", Scaled)
    lazypyr.register_product("halved", Halved(0.5))
    pyramid = open_pyramid(folder / "dem.zarr", chunks=(16, 16)).map("scaled", factor=3).map("halved")
    assert pyramid.to_recipe(folder)["products"] == [{"name": "scaled", "arguments": {"factor": 3}}, {"name": "halved"}]
    check_same(pyramid, folder)
    with pytest.raises(PlanError, match="register_product"):
        open_pyramid(folder / "dem.zarr").map(Halved(0.25)).to_recipe()


class RowsOpener(Opener):
    def can_open(self, src):
        return isinstance(src, str) and src.startswith("rows:")

    def open(self, src, options):
        rows = np.array([[float(c) for c in row] for row in src[5:].split()])
        return open_source(rows, axes=options.axes, nodata=options.nodata)


def test_sources_of_a_package_open_again(folder):
    lazypyr.register_source("rows", RowsOpener)
    pyramid = open_pyramid("rows:12 34")
    assert pyramid.to_recipe(folder)["source"] == "rows:12 34"
    np.testing.assert_array_equal(again(pyramid, folder).read(0), [[1, 2], [3, 4]])


@pytest.mark.parametrize("kind", ["a source product", "bounds", "a level of a pyramid"])
def test_refreshed_pyramid_has_the_same_recipe_and_place(kind, folder):
    pyramid = SOURCES[kind](folder)
    assert pyramid.refreshed().to_recipe(folder) == pyramid.to_recipe(folder)
    assert dict(pyramid.refreshed().coords) == dict(pyramid.coords)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: open_pyramid(np.zeros((40, 40))), "path or URL.*store it as Zarr"),
        (lambda f: open_pyramid(f / "dem.zarr", method=np.ptp), "no code.*'ptp'.*register_reducer"),
        (lambda f: open_pyramid(f / "stack.zarr", axes="yxi").map(lambda z, i: z[i]), "no code.*register_product"),
        (lambda f: lazypyr.from_function(lambda level, window: 0, shape=(4, 4), dtype="u1"), "has no recipe"),
        (lambda f: lazypyr.from_points([0.0], [1.0], resolution=1.0), "path or URL"),
    ],
)
def test_what_can_not_be_written_is_refused(make, words, folder):
    with pytest.raises(PlanError, match=words):
        make(folder).to_recipe()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lazypyr_recipe": 2}, '"lazypyr_recipe": 1, got 2'),
        ({"metod": "mean"}, "no 'metod'"),
        ({"products": [{"nme": "cast"}]}, "schema"),
        ({"products": [{"name": "cats"}]}, "no product is called 'cats'"),
        ({"source": "nowhere.zarr"}, "no such file"),
        ({"axes": 3}, "schema"),
    ],
)
def test_what_is_no_recipe_is_refused(change, words, folder):
    with pytest.raises(PlanError, match=words):
        open_recipe({"lazypyr_recipe": 1, "source": "dem.zarr", **change}, folder=folder)


def test_file_that_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(PlanError, match="no such file"):
        open_pyramid(tmp_path / "x.lazypyr.json")
    (tmp_path / "x.lazypyr.json").write_text("{")
    with pytest.raises(PlanError, match="can't be read as JSON"):
        open_pyramid(tmp_path / "x.lazypyr.json")
    (tmp_path / "x.lazypyr.json").write_text("[1]")
    with pytest.raises(PlanError, match="expected a recipe"):
        open_pyramid(tmp_path / "x.lazypyr.json")
