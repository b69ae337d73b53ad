"""What a pyramid says of itself: valid by other people's validators, and every convention puts a sample where it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ngff_zarr
import numpy as np
import ome_zarr_models
import ome_zarr_models.v04.image
import ome_zarr_models.v05.image
import pytest
import rasterio.transform
import xarray as xr
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord, Grid
from lazypyr.geometry.windows import level_shape
from lazypyr.metadata import (
    Codec,
    GroupNode,
    documents,
    level_node,
    multiscale_attributes,
    read_multiscales,
    why_not_ome,
)
from lazypyr.pyramids.base import Level
from lazypyr.reducers import REDUCERS

SIZES = {"t": 4, "c": 3, "z": 5, "y": 1000, "x": 777, "i": 6, "j": 6, "date": 4, "y2": 9}


@dataclass(frozen=True)
class Recipe:
    """As much of a pyramid as metadata are made of."""

    axes: tuple[str, ...] = ("y", "x")
    method: str = "mean"
    coords: dict = field(default_factory=dict)
    crs: str | None = None
    dtype: np.dtype = np.dtype("<u2")
    fill_value: Any = 0
    nodata: Any = None
    attrs: dict = field(default_factory=dict)
    display: dict | None = None
    name: str = "https://x.org/a/lazy?token=secret"
    description: str = "a recipe"
    count: int = 3
    sizes: dict = field(default_factory=lambda: SIZES)

    @property
    def downsampling(self):
        return REDUCERS[self.method]

    @property
    def chunks(self):
        return tuple(256 if a in "yx" else 1 for a in self.axes)

    @property
    def levels(self):
        factors = [2 if a in "yx" else 1 for a in self.axes]
        centred = self.method != "stride"
        return tuple(
            Level(
                level_shape([self.sizes[a] for a in self.axes], factors, k),
                tuple(float(f**k) for f in factors),
                tuple((f**k - 1) / 2 if centred else 0.0 for f in factors),
            )
            for k in range(self.count)
        )


NORTH_UP = {"y": Coord(4_999_995.0, -10.0, "m"), "x": Coord(500_005.0, 10.0, "m")}


def paths_of(recipe, pattern="{}"):
    return [pattern.format(k) for k in range(len(recipe.levels))]


def attributes(recipe, zarr_format=3, pattern="{}", **options):
    found = multiscale_attributes(recipe, zarr_format=zarr_format, paths=paths_of(recipe, pattern), **options)
    docs = documents(GroupNode({}, found), zarr_format=zarr_format)
    return json.loads(docs["zarr.json"])["attributes"] if zarr_format == 3 else json.loads(docs[".zattrs"])


def group(recipe, zarr_format=3, pattern="{}", **options):
    nodes = {
        str(k): level_node(recipe, k, codec=Codec.of("zstd"), zarr_format=zarr_format)
        for k in range(len(recipe.levels))
    }
    if pattern != "{}":
        nodes = {k: GroupNode({"image": node}) for k, node in nodes.items()}
    said = multiscale_attributes(recipe, zarr_format=zarr_format, paths=paths_of(recipe, pattern), **options)
    docs = documents(GroupNode(nodes, said), zarr_format=zarr_format)
    store = MemoryStore({key: cpu.Buffer.from_bytes(value) for key, value in docs.items()}, read_only=True)
    return zarr.open_group(store, mode="r")


VALID = ["yx", "zyx", "cyx", "tyx", "tcyx", "czyx", "tzyx", "tczyx", "iyx", "tiyx", ("date", "y", "x")]
INVALID = {
    "yxi": "y, x last",
    "xy": "y, x last",
    "cij" + "yx": "at most one",
    "ctyx": "time first",
    "zcyx": "space last",
    "tijzyx": "two to five",
    "yzx": "y, x last",
    "ijyx": "at most one",
    "yxij": "y, x last",
}


@pytest.mark.parametrize("axes", VALID, ids="".join)
@pytest.mark.parametrize("pattern", ["{}", "{}/image"])
@pytest.mark.parametrize("method", ["mean", "stride"])
def test_other_peoples_validators_accept_it(axes, pattern, method):
    recipe = Recipe(tuple(axes), method, {"z": Coord(3.0, 0.5, "um"), **NORTH_UP}, "EPSG:32633", np.dtype("u1"))
    assert why_not_ome(recipe) is None
    for zarr_format, version in ((2, "0.4"), (3, "0.5")):
        found = attributes(recipe, zarr_format, pattern)
        ngff_zarr.validate(found, version=version, model="image", strict=True)
        opened = group(recipe, zarr_format, pattern)
        model = ome_zarr_models.open_ome_zarr(opened)
        assert isinstance(
            model, ome_zarr_models.v05.image.Image if zarr_format == 3 else ome_zarr_models.v04.image.Image
        )
        whole = {"ome": found["ome"]} if zarr_format == 3 else {k: found[k] for k in ("multiscales", "omero")}
        yaozarrs.validate_ome_object(whole if zarr_format == 2 else whole["ome"])
        scales = (found["ome"] if zarr_format == 3 else found)["multiscales"][0]["datasets"]
        assert all(s > 0 for d in scales for s in d["coordinateTransformations"][0]["scale"])
        for path in paths_of(recipe, pattern):
            assert opened[path].ndim == len(axes)


@pytest.mark.parametrize(("axes", "words"), INVALID.items())
def test_axes_that_ome_cannot_express_are_said_otherwise(axes, words):
    recipe = Recipe(tuple(axes))
    assert words in why_not_ome(recipe)
    new, old = attributes(recipe, 3), attributes(recipe, 2)
    assert "ome" not in new
    assert [e["asset"] for e in new["multiscales"]["layout"]] == ["0", "1", "2"]
    assert old["multiscales"] == [{"version": "0.1", "datasets": [{"path": p} for p in "012"]}]
    assert "omero" not in old
    assert group(recipe, 3)["1"].metadata.dimension_names == tuple(axes)
    assert group(recipe, 2)["1"].attrs["_ARRAY_DIMENSIONS"] == list(axes)


def test_legacy_is_the_seeds_form(shared_examples):
    recipe = Recipe(dtype=np.dtype("u1"))
    assert attributes(recipe, 2, legacy=True) == shared_examples["legacy_0.1"]
    ngff_zarr.validate(attributes(recipe, 2, legacy=True), version="0.1", model="image")
    with pytest.raises(PlanError, match="zarr_format=2"):
        attributes(recipe, 3, legacy=True)


@pytest.fixture(scope="module")
def shared_examples():
    """The forms that readers were tried with, written by hand from the specifications."""
    return json.loads((Path(__file__).parent / "examples.json").read_text())


def _trimmed(found, example):
    """`found` without the keys that the example leaves out."""
    if isinstance(example, dict):
        return {k: _trimmed(found[k], v) for k, v in example.items()}
    if isinstance(example, list):
        assert len(found) == len(example)
        return [_trimmed(f, e) for f, e in zip(found, example, strict=True)]
    return found


@pytest.mark.parametrize(("example", "zarr_format", "pattern"), [("ome_0.4", 2, "{}"), ("ome_0.5", 3, "{}/image")])
def test_ome_is_as_in_the_example(shared_examples, example, zarr_format, pattern):
    window = {"window": (0, 65535), "colors": ["FF0000"], "labels": ["c0"]}
    recipe = Recipe(name="lazy", description="computed on demand", display=window)
    found, wanted = attributes(recipe, zarr_format, pattern), shared_examples[example]
    inner = wanted.get("ome", wanted)
    inner["omero"]["rdefs"]["model"] = "greyscale"  # one channel
    assert _trimmed(found, wanted) == wanted


def test_layout_is_as_in_the_example(shared_examples):
    recipe = Recipe(coords=NORTH_UP, crs="EPSG:32633")
    found, wanted = attributes(recipe), shared_examples["geozarr"]
    assert {c["uuid"] for c in found["zarr_conventions"]} == {c["uuid"] for c in wanted["zarr_conventions"]}
    for name in ("proj:code", "spatial:dimensions", "spatial:bbox"):
        assert found[name] == wanted[name]
    for ours, theirs in zip(found["multiscales"]["layout"], wanted["multiscales"]["layout"], strict=True):
        for name in ("asset", "spatial:transform", "spatial:shape"):
            assert ours[name] == theirs[name]
        assert ours.get("derived_from") == theirs.get("derived_from")
        if "transform" in theirs:
            assert ours["transform"]["scale"] == theirs["transform"]["scale"]
        # With `spatial:transform` the convention counts from pixel edges, which all levels of a mean share.
        assert ours["transform"]["translation"] == [0.0, 0.0]
    assert found["multiscales"]["resampling_method"] == wanted["multiscales"]["resampling_method"]
    # The convention lets each fact stand once: in the layout, not beside it.
    assert not {"spatial:transform", "spatial:shape"} & set(found)
    # Without a place in the world the numbers are OME's and the example's: between centres.
    bare = attributes(Recipe())["multiscales"]["layout"]
    assert [e["transform"]["translation"] for e in bare] == [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]]


@given(
    st.sampled_from(["mean", "stride", "median", "first_valid"]),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.sampled_from([-30.0, -0.25, 1e-4, 1.0, 10.0]),
    st.sampled_from([-30.0, -0.25, 1e-4, 1.0, 10.0]),
    st.sampled_from(["yx", "cyx", "yxi"]),
)
def test_every_convention_puts_each_sample_where_the_grid_does(method, x0, y0, dx, dy, axes):
    recipe = Recipe(tuple(axes), method, {"y": Coord(y0, dy, "m"), "x": Coord(x0, dx, "m")}, count=5)
    grid = Grid.of(recipe.coords, 777, 1000, centred=method != "stride")
    new, old = attributes(recipe, 3), attributes(recipe, 2)
    y, x = axes.index("y"), axes.index("x")
    edge_base = np.zeros(2), np.ones(2)  # of level 0, in its own edge coordinates: shift, scale
    chain = {"0": edge_base}
    for k, entry in enumerate(new["multiscales"]["layout"]):
        offset = grid.offset(k)
        for i, j in ((0, 0), (3, 17), (62, 48)):
            wanted = [y0 + dy * (i * 2**k + offset), x0 + dx * (j * 2**k + offset)]
            close = {"rtol": 1e-12, "atol": 1e-9 * max(abs(dx), abs(dy), 1)}
            # spatial:transform, of the layout and of the array, as rasterio understands an affine
            node = level_node(recipe, k, codec=None)
            assert node.attributes["spatial:transform"] == entry["spatial:transform"]
            affine = rasterio.transform.Affine(*entry["spatial:transform"])
            px, py = rasterio.transform.xy(affine, i, j)
            np.testing.assert_allclose([py, px], wanted, **close)
            # OME, whose axes run along the rows and columns
            if "ome" in new:
                for source in (new["ome"], old):
                    steps = source["multiscales"][0]["datasets"][k]["coordinateTransformations"]
                    scale = np.array(steps[0]["scale"])
                    shift = np.array(steps[1]["translation"] if len(steps) > 1 else [0.0] * len(axes))
                    at = scale[[y, x]] * [i, j] + shift[[y, x]]
                    np.testing.assert_allclose(at * np.sign([dy, dx]), wanted, **close)
            # the relative transforms, chained, between edges
            base_shift, base_scale = chain[entry.get("derived_from", "0")]
            scale = np.array(entry["transform"]["scale"])[[y, x]]
            shift = np.array(entry["transform"]["translation"])[[y, x]]
            chain[entry["asset"]] = base_shift + base_scale * shift, base_scale * scale
            total_shift, total_scale = chain[entry["asset"]]
            centre = total_scale * (np.array([i, j]) + 0.5) + total_shift - 0.5
            np.testing.assert_allclose([y0, x0] + np.array([dy, dx]) * centre, wanted, **close)
        # the outer edges are those that plots draw
        a, _, c, _, e, f = entry["spatial:transform"]
        ny, nx = grid.level_size(k)
        np.testing.assert_allclose([c, f + e * ny, c + a * nx, f], grid.extent(k), rtol=1e-12, atol=1e-9)
    left, bottom, right, top = rasterio.transform.array_bounds(
        1000, 777, rasterio.transform.Affine(*new["multiscales"]["layout"][0]["spatial:transform"])
    )
    box = [min(left, right), min(bottom, top), max(left, right), max(bottom, top)]
    np.testing.assert_allclose(new["spatial:bbox"], box, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("axes", ["yx", "tczyx", "yxi"])
@pytest.mark.parametrize("method", ["mean", "stride", "median"])
def test_what_is_written_is_read_back(zarr_format, axes, method):
    recipe = Recipe(tuple(axes), method, {"t": Coord(0.0, 6.0, "day"), **NORTH_UP}, "EPSG:32633")
    found = read_multiscales(attributes(recipe, zarr_format))
    assert [d.path for d in found.datasets] == ["0", "1", "2"]
    assert found.crs == "EPSG:32633"
    units = {"t": "day", "y": "meter", "x": "meter"} if axes != "yxi" else {}
    coords = {a: replace(recipe.coords[a], unit=units.get(a)) for a in axes if a in recipe.coords}
    assert {a: found.coords[a] for a in coords} == pytest.approx(coords)
    assert set(found.coords) == set(coords)
    if axes == "yxi" and zarr_format == 2:
        assert all(d.scale is None for d in found.datasets)
        return
    for dataset, level in zip(found.datasets, recipe.levels, strict=True):
        assert dataset.scale == pytest.approx(level.scale)
        assert dataset.translation == pytest.approx(level.translation)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("slc.zarr", "slc.zarr"),
        ("/data/me/slc.zarr/", "slc.zarr"),
        ("C:\\data\\slc.zarr", "slc.zarr"),
        ("phase(/data/slc.zarr)", "phase(slc.zarr)"),
        ("s3://key:secret@host/a b.zarr?X-Signature=secret/1", "a b.zarr"),
        ("numpy array", "numpy array"),
    ],
)
def test_nothing_private_is_published(name, wanted):
    recipe = Recipe(
        name=name, description=f"mean of https://me:secret@host/x.zarr?sig=secret ({name.partition(':')[0]})"
    )
    entry = attributes(recipe)["ome"]["multiscales"][0]
    assert entry["name"] == wanted
    assert "secret" not in json.dumps(entry)
    assert "https://host/x.zarr (" in entry["metadata"]["description"]


def test_without_coordinates_nothing_is_said_of_the_world():
    found = attributes(Recipe())
    assert not [k for k in found if k.startswith(("spatial:", "proj:"))]
    assert [c["name"] for c in found["zarr_conventions"]] == ["multiscales"]
    assert "zarr_conventions" not in attributes(Recipe(), 2)
    assert level_node(Recipe(), 0, codec=None).attributes == {}
    assert found["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": [1.0, 1.0]}
    ]


@pytest.mark.parametrize(
    ("crs", "wanted"),
    [
        ("epsg:32633", {"proj:code": "EPSG:32633"}),
        ('PROJCRS["x",ID["EPSG",1]]', {"proj:wkt2": 'PROJCRS["x",ID["EPSG",1]]'}),
        ('{"type": "ProjectedCRS"}', {"proj:projjson": {"type": "ProjectedCRS"}}),
        ("{broken", {}),
        ("+proj=utm +zone=33", {}),
    ],
)
def test_the_crs_has_three_forms(crs, wanted):
    found = attributes(Recipe(coords=NORTH_UP, crs=crs))
    assert {k: v for k, v in found.items() if k.startswith("proj:")} == wanted
    assert ("proj:" in [c["name"] for c in found["zarr_conventions"]]) == bool(wanted)


def test_the_sources_attributes_pass_unless_they_clash():
    attrs = {
        "title": "mine",
        "multiscales": "old",
        "ome": "old",
        "spatial:transform": [1],
        "proj:code": "EPSG:1",
        "_FillValue": 3,
        "units": "m",
        "long_name": "height",
    }
    found = attributes(Recipe(attrs=attrs))
    assert (found["title"], found["units"]) == ("mine", "m")
    assert not {"spatial:transform", "proj:code", "_FillValue"} & set(found)
    assert "layout" in found["multiscales"]
    assert level_node(Recipe(attrs=attrs), 1, codec=None).attributes == {"units": "m", "long_name": "height"}
    assert "secret" not in json.dumps(found)


@pytest.mark.parametrize(
    ("unit", "axis", "wanted"),
    [
        ("m", "x", "meter"),
        ("Metres", "x", "meter"),
        ("µm", "x", "micrometer"),
        ("feet", "x", "foot"),
        ("degrees_east", "x", None),
        ("seconds", "t", "second"),
        ("days", "t", "day"),
        ("second", "x", None),
        ("m", "c", None),
        (None, "x", None),
    ],
)
def test_units_are_named_as_ome_names_them(unit, axis, wanted):
    axes = attributes(Recipe(("t", "c", "y", "x"), coords={axis: Coord(0, 2.0, unit)}))["ome"]["multiscales"][0]["axes"]
    assert next(a for a in axes if a["name"] == axis).get("unit") == wanted


class TestOmero:
    def of(self, **options):
        return attributes(Recipe(**options))["ome"].get("omero")

    def test_bytes_have_their_range(self):
        found = self.of(dtype=np.dtype("u1"))
        assert [c["window"] for c in found["channels"]] == [{"start": 0.0, "end": 255.0, "min": 0.0, "max": 255.0}]
        assert found["channels"][0]["color"] == "FFFFFF"
        assert found["rdefs"]["model"] == "greyscale"

    @pytest.mark.parametrize("dtype", ["u2", "f4", "i8", "?"])
    def test_others_have_none_until_a_window_is_known(self, dtype):
        assert self.of(dtype=np.dtype(dtype)) is None

    def test_three_bytes_are_a_colour_picture(self):
        found = self.of(axes=("c", "y", "x"), dtype=np.dtype("u1"))
        assert [c["color"] for c in found["channels"]] == ["FF0000", "00FF00", "0000FF"]
        assert all(c["active"] for c in found["channels"])
        assert found["rdefs"]["model"] == "color"

    def test_of_a_stack_the_first_is_shown(self):
        found = self.of(axes=("i", "y", "x"), display={"window": (-np.pi, np.pi)}, dtype=np.dtype("f4"))
        assert [c["active"] for c in found["channels"]] == [True] + [False] * 5
        assert found["channels"][5]["window"]["end"] == np.pi
        assert found["channels"][5]["label"] == "lazy 5"

    def test_windows_are_finite_and_never_empty(self):
        assert self.of(display={"window": (0.0, np.inf)}) is None
        assert self.of(display={"window": (3, 3)})["channels"][0]["window"]["end"] == 4
        found = self.of(axes=("c", "y", "x"), display={"window": [(0, 1), (0, 2)], "labels": ["a", "b", "c"]})
        assert [c["window"]["end"] for c in found["channels"]] == [1, 2, 2]
        assert [c["label"] for c in found["channels"]] == ["a", "b", "c"]

    def test_thousands_of_channels_are_not_listed(self):
        assert self.of(axes=("i", "y", "x"), dtype=np.dtype("u1"), sizes={**SIZES, "i": 1000}) is None

    def test_given_settings_win(self):
        window = {"start": 1, "end": 2, "min": 0, "max": 3}
        given = {"channels": [{"color": "00FF00", "window": window}]}
        assert attributes(Recipe(), omero=given)["ome"]["omero"] == given
        assert attributes(Recipe(), 2, omero=given)["omero"] == {"version": "0.4", **given}
        for bad in ({}, {"channels": 3}, {"channels": [{}]}, {"channels": [{"window": {**window, "end": np.nan}}]}):
            with pytest.raises(PlanError, match="omero"):
                attributes(Recipe(), omero=bad)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("u2", 65535), ("i2", -9999), ("f4", -3.4028234663852886e38), ("f4", -9999)]
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_masks_declared_nodata(dtype, nodata, zarr_format):
    recipe = Recipe(dtype=np.dtype(dtype), nodata=np.dtype(dtype).type(nodata), fill_value=nodata)
    opened = xr.open_datatree(group(recipe, zarr_format, "{}/image").store, engine="zarr", chunks=None)
    image = opened["2/image"].variable[:2, :2]
    assert image.dtype.kind == "f"
    assert np.isnan(image.values).all()


def test_nan_needs_no_declaration():
    assert level_node(Recipe(dtype=np.dtype("f4"), nodata=np.nan), 0, codec=None).attributes == {}
    assert level_node(Recipe(dtype=np.dtype("M8[D]"), nodata=np.datetime64("NaT")), 0, codec=None).attributes == {}


def test_bad_arguments_are_named():
    with pytest.raises(PlanError, match="2 or 3"):
        multiscale_attributes(Recipe(), zarr_format=4, paths=["0", "1", "2"])
    with pytest.raises(PlanError, match="3 levels"):
        multiscale_attributes(Recipe(), zarr_format=3, paths=["0"])


def test_fifty_levels_stay_exact():
    recipe = Recipe(count=51, method="stride", sizes={"y": 2**50, "x": 2**50})
    last = attributes(recipe)["ome"]["multiscales"][0]["datasets"][50]
    assert last["coordinateTransformations"][0]["scale"] == [2.0**50, 2.0**50]
    assert group(recipe)["50"].shape == (1, 1)
    assert group(recipe)["0"].shape == (2**50, 2**50)
