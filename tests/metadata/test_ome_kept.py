"""Names, colours, windows, labels and axes of an OME-Zarr are served and written as it has them, in v2 and v3, new levels and all."""

from __future__ import annotations

import copy
import json

import ngff_zarr
import numpy as np
import ome_zarr.format
import ome_zarr.writer
import ome_zarr_models
import pytest
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from lazypyr import LazyPyramidStore, materialize, open_pyramid
from lazypyr.geometry.grid import Coord
from lazypyr.metadata import DatasetMetadata, OmeMetadata, read_multiscales
from lazypyr.metadata.documents import GroupNode, documents
from lazypyr.metadata.write import multiscale_attributes

OMERO = {
    "id": 1,
    "channels": [
        {
            "label": "DAPI",
            "color": "0000FF",
            "active": True,
            "window": {"min": 0, "max": 4095, "start": 100, "end": 1500.5},
        },
        {
            "label": "GFP",
            "color": "00FF00",
            "active": False,
            "window": {"min": 0, "max": 4095, "start": 50, "end": 900},
        },
    ],
    "rdefs": {"model": "color", "defaultZ": 1, "defaultT": 0},
}
LABEL = {
    "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}],
    "properties": [{"label-value": 1, "area (pixels)": 12, "class": "nucleus"}],
    "source": {"image": "../../"},
}
FORMATS = {2: ome_zarr.format.FormatV04, 3: ome_zarr.format.FormatV05}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An image of two channels with labels, as ome-zarr-py writes them in 0.4 and 0.5."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("ome")
    ids = np.zeros((3, 64, 80), "u2")
    ids[:, 9:30, 9:40] = 7
    for zarr_format, version in FORMATS.items():
        group = zarr.open_group(folder / f"{zarr_format}.zarr", mode="w", zarr_format=zarr_format)
        common = {"fmt": version(), "scale_factors": [2], "axes_units": dict.fromkeys("zyx", "micrometer")}
        image = rng.integers(0, 4000, (2, 3, 64, 80)).astype("u2")
        scale = {"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
        ome_zarr.writer.write_image(image, group, axes="czyx", name="cells", scale=scale, **common)
        more = {"axes": "zyx", "label_metadata": copy.deepcopy(LABEL), "scale": {a: scale[a] for a in "zyx"}}
        ome_zarr.writer.write_labels(ids, group, name="nuclei", scaler=None, **more, **common)
        if zarr_format == 3:
            group.attrs["ome"] = {**group.attrs["ome"], "omero": OMERO}
        else:
            group.attrs["omero"] = OMERO
        group.attrs["microscope"] = {"lab": 3}
    return folder


def ome_of(node, zarr_format):
    attrs = dict(zarr.open_group(node, mode="r").attrs)
    return attrs["ome"] if zarr_format == 3 else attrs


@pytest.mark.parametrize("there", [2, 3])
@pytest.mark.parametrize("here", [2, 3])
@pytest.mark.parametrize("how", ["served", "materialized"])
def test_what_ome_zarr_py_writes_is_kept(written, tmp_path, there, here, how):
    source, version = str(written / f"{there}.zarr"), {2: "0.4", 3: "0.5"}[here]
    for path, key, wanted in (("", "omero", OMERO), ("/labels/nuclei", "image-label", LABEL)):
        store = LazyPyramidStore(open_pyramid(source + path, chunks=16), zarr_format=here)
        node = store
        if how == "materialized":
            node = tmp_path / f"{key}.zarr"
            materialize(store, node, progress=False)
        ours, theirs = ome_of(node, here), ome_of(source + path, there)
        kept, stored = dict(ours[key]), dict(theirs[key])
        assert kept.pop("version", version) == version
        stored.pop("version", None)
        assert json.dumps(kept) == json.dumps(stored)  # in their order, too
        assert kept == wanted
        one, other = ours["multiscales"][0], theirs["multiscales"][0]
        assert (one["name"], one["axes"]) == (other["name"], other["axes"])
        assert len(one["datasets"]) == len(store.pyramid.levels) > len(other["datasets"])
        for mine, stored in zip(one["datasets"], other["datasets"], strict=False):
            for a, b in zip(mine["coordinateTransformations"], stored["coordinateTransformations"], strict=False):
                np.testing.assert_allclose(a[a["type"]], b[b["type"]])
        assert dict(zarr.open_group(node, mode="r").attrs)["microscope"] == {"lab": 3}  # that of the groups around, too
        whole = json.loads(json.dumps(dict(zarr.open_group(node, mode="r").attrs)))
        ngff_zarr.validate(whole, version=version, model="label" if key != "omero" else "image")
        ome_zarr_models.open_ome_zarr(zarr.open_group(node, mode="r"))
        yaozarrs.validate_ome_object(
            ours if here == 3 else {k: ours[k] for k in ("multiscales", "omero", "image-label") if k in ours}
        )


@pytest.mark.parametrize("there", [2, 3])
@pytest.mark.parametrize("here", [2, 3])
def test_the_reader_of_napari_sees_the_same(written, tmp_path, there, here):
    """napari-ome-zarr shows the metadata of ome-zarr-py's nodes."""
    shown = ("name", "axes", "channel_names", "colormap", "contrast_limits", "visible", "color", "properties")
    for path, name in (("", "cells"), ("/labels/nuclei", "nuclei")):
        source, target = str(written / f"{there}.zarr") + path, tmp_path / name
        materialize(LazyPyramidStore(open_pyramid(source, chunks=4), zarr_format=here), target, progress=False)
        theirs, ours = (
            next(node for node in Reader(parse_url(str(place), mode="r"))() if node.metadata.get("name") == name)
            for place in (source, target)
        )
        for key in shown[: -3 if path else None]:
            assert theirs.metadata.get(key) == ours.metadata.get(key), key
        assert theirs.metadata.get("channel_names") == (None if path else ["DAPI", "GFP"])
        assert ours.metadata.get("color") == theirs.metadata.get("color")
        assert len(ours.data) > len(theirs.data)
        for one, other in zip(theirs.data, ours.data, strict=False):
            np.testing.assert_array_equal(one.compute(), other.compute())


def test_labels_have_the_mode(written):
    for there in (2, 3):
        source = str(written / f"{there}.zarr")
        labels = open_pyramid(source + "/labels/nuclei", chunks=16)
        assert labels.method == "mode"
        assert set(np.unique(labels.read(-1))) <= {0, 7}
        assert open_pyramid(source + "/labels/nuclei", method="stride").method == "stride"
        assert open_pyramid(source).method == "stride"
        again = open_pyramid(json.loads(json.dumps(labels.to_recipe())))
        assert again == labels


def test_what_is_not_so_any_more_is_left_out(written):
    source = str(written / "3.zarr")
    scaled = LazyPyramidStore(source, product="rescale")
    ome = ome_of(scaled, 3)
    assert "DAPI" not in json.dumps(ome)
    assert ome["multiscales"][0]["name"] == "rescale(3.zarr)"
    assert [axis.get("unit") for axis in ome["multiscales"][0]["axes"]] == [None, *["micrometer"] * 3]
    # Bounds of the user's have no unit that anybody knows.
    bounded = ome_of(LazyPyramidStore(source, bounds=(0, 64, 80, 0)), 3)
    assert [axis.get("unit") for axis in bounded["multiscales"][0]["axes"]] == [None, "micrometer", None, None]
    assert bounded["omero"] == OMERO
    # All levels are as they were: so is what was said of how they were made.
    kept = ome_of(LazyPyramidStore(source, levels=2), 3)["multiscales"][0]
    before = ome_of(source, 3)["multiscales"][0]
    assert (kept.get("type"), kept.get("metadata")) == (before.get("type"), before.get("metadata"))
    assert ome_of(LazyPyramidStore(source, levels="recompute", chunks=16), 3)["multiscales"][0]["type"] == "stride"


def test_attributes_of_a_flat_group_are_passed_on(tmp_path):
    group = zarr.open_group(tmp_path / "flat.zarr", mode="w")
    array = group.create_array("img", data=np.ones((60, 50), "u1"), chunks=(32, 32))
    group.attrs.update({"microscope": "lab 3", "stain": "group's", "multiscale": 3})
    array.attrs["stain"] = "H&E"
    for zarr_format in (2, 3):
        attrs = dict(zarr.open_group(LazyPyramidStore(tmp_path / "flat.zarr", zarr_format=zarr_format), mode="r").attrs)
        assert (attrs["microscope"], attrs["stain"], attrs["multiscale"]) == ("lab 3", "H&E", 3)


def first_of(src, **options):
    return ome_of(LazyPyramidStore(src, **options), 3)["omero"]


@pytest.mark.parametrize("axis", ["c", "band", "channel", "rgb"])
@pytest.mark.parametrize(("dtype", "most"), [("u1", 255), ("u2", 65535)])
def test_three_bands_are_a_colour_picture(axis, dtype, most):
    omero = first_of(np.zeros((3, 60, 70), dtype), axes=(axis, "y", "x"))
    assert omero["rdefs"]["model"] == "color"
    assert [(c["color"], c["active"], c["window"]["end"]) for c in omero["channels"]] == [
        ("FF0000", True, most), ("00FF00", True, most), ("0000FF", True, most)]  # fmt: skip


def test_three_of_something_else_are_none():
    assert first_of(np.zeros((3, 60, 70), "u1"), axes=("look", "y", "x"))["rdefs"]["model"] == "greyscale"
    assert first_of(np.zeros((2, 60, 70), "u1"), axes=("band", "y", "x"))["rdefs"]["model"] == "greyscale"
    assert "omero" not in ome_of(LazyPyramidStore(np.zeros((3, 60, 70), "u2"), axes=("look", "y", "x")), 3)


@pytest.mark.parametrize(("product", "shown"), [("intf_0", 1), ("intf_seq", 0)])
def test_the_pair_with_fringes_is_shown_first(product, shown):
    z = np.exp(1j * np.random.default_rng(0).uniform(-3, 3, (60, 60, 4))).astype("c8")
    made = open_pyramid(z, axes="yxi").map(product)
    omero = first_of(made, order="iyx")
    assert [k for k, channel in enumerate(omero["channels"]) if channel["active"]] == [shown]
    level = open_pyramid(made, order="iyx").read(0)
    assert len(np.unique(level[shown])) > 1


AXES = [
    ("space", "z", ["micrometer", "nanometer", "m", "parsec"]), ("time", "t", ["second", "hour"]),
    ("channel", "c", [None, "odd unit"]), ("wavelength", "lambda", ["nanometer"]),
]  # fmt: skip
TEXTS = st.text(max_size=6)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
UNLIKE = {
    "version",
    "path",
    "name",
    "type",
    "unit",
    "multiscales",
    "omero",
    "image-label",
    "datasets",
    "axes",
    "metadata",
}


@st.composite
def images(draw):
    """OME attributes of an image, in 0.4 or 0.5, and the names of its axes."""
    others = draw(st.lists(st.sampled_from(AXES[1:]), max_size=1)) + draw(st.sampled_from([[], [AXES[0]]]))
    named = [*others, ("space", "y", ["micrometer"]), ("space", "x", ["micrometer", "inch"])]
    axes = []
    for kind, name, units in named:
        unit = draw(st.sampled_from([None, *units]))
        more = draw(st.dictionaries(TEXTS.filter(lambda k: k not in UNLIKE), JSONS, max_size=2))
        axes.append({"name": name, "type": kind, **({"unit": unit} if unit else {}), **more})
    scale = [draw(st.sampled_from([1, 0.5, 2.25, 1e-6])) for _ in axes]
    step = {"type": "scale", "scale": scale}
    entry = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [step]}], "name": draw(TEXTS)}
    settings = draw(st.fixed_dictionaries({}, optional={"omero": st.just(OMERO), "image-label": st.just(LABEL)}))
    more = draw(st.dictionaries(TEXTS.filter(lambda k: k not in {*UNLIKE, "ome"}), JSONS, max_size=2))
    if draw(st.booleans()):
        return {"ome": {"version": "0.5", "multiscales": [entry], **settings, **more}}, settings, more
    return {"multiscales": [{**entry, "version": "0.4"}], **settings}, settings, {}


@given(images(), st.sampled_from([2, 3]))
def test_any_metadata_come_back(image, zarr_format):
    attrs, settings, more = image
    found = read_multiscales(attrs)
    entry = attrs.get("ome", attrs)["multiscales"][0]
    names = [axis["name"] for axis in entry["axes"]]
    source = np.zeros([2 if name not in "yx" else 20 for name in names], "u1")
    pyramid = open_pyramid(source, axes=names, chunks=8)
    pyramid.metadata = DatasetMetadata(along=found.coords, ome=found.ome)
    said = multiscale_attributes(pyramid, zarr_format=zarr_format, paths=["0", "1", "2"])
    key = "zarr.json" if zarr_format == 3 else ".zattrs"
    document = json.loads(documents(GroupNode({}, said), zarr_format=zarr_format)[key])
    home = document["attributes"]["ome"] if zarr_format == 3 else document
    written = home["multiscales"][0]
    assert json.dumps(written["axes"]) == json.dumps(entry["axes"])
    assert written["name"] == entry["name"] or not entry["name"]
    first = written["datasets"][0]["coordinateTransformations"][0]
    assert first == {
        "type": "scale",
        "scale": [float(s) for s in entry["datasets"][0]["coordinateTransformations"][0]["scale"]],
    }
    for name, value in {**settings, **more}.items():
        assert json.dumps(home[name]) == json.dumps(value)
    again = read_multiscales(document.get("attributes", document))
    assert again.ome.axes == found.ome.axes
    # Where x has a place y has one, too, if only its pixels' numbers.
    assert all(again.coords.get(name, Coord()) == found.coords.get(name, Coord()) for name in names)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("part", "labels"),
    [
        ({"c": slice(0, 1)}, ["DAPI"]),
        ({"c": 1}, ["GFP"]),
        ({"c": -1}, ["GFP"]),
        ({"z": 0}, ["DAPI", "GFP"]),
        ({"c": slice(1, None), "z": 1}, ["GFP"]),
    ],
)
def test_a_selection_has_the_settings_of_its_channels(written, zarr_format, part, labels):
    for there in (2, 3):
        pyramid = open_pyramid(str(written / f"{there}.zarr"), isel=part)
        ome = ome_of(LazyPyramidStore(pyramid, zarr_format=zarr_format), zarr_format)
        assert [channel["label"] for channel in ome["omero"]["channels"]] == labels
        assert ome["multiscales"][0]["name"] == "cells"


def test_channels_of_a_selection():
    ome = OmeMetadata("0.5", omero=OMERO)
    assert [c["label"] for c in ome.with_channels([1]).omero["channels"]] == ["GFP"]
    assert ome.with_channels([1, 0]).omero["rdefs"] == OMERO["rdefs"]
    assert OmeMetadata("0.5").with_channels([0]).omero is None
