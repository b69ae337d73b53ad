"""OME metadata of every version, and levels that others made, are placed as their own metadata, shapes and coordinates say."""

from __future__ import annotations

import copy
import json

import ngff_zarr
import numpy as np
import pytest
import xarray as xr
import zarr

import lazypyr
from lazypyr import PlanError, open_pyramid
from lazypyr.cli import main
from lazypyr.metadata import read_multiscales

SCALE, SHIFT = {"z": 2.0, "y": 0.5, "x": 0.25}, {"z": 1.0, "y": 3.0, "x": 4.0}


def group_of(folder, attrs, shapes, *, zarr_format=2, names=None, dtype="u2", paths=None):
    """A group with arrays of ones."""
    group = zarr.open_group(folder, mode="w", zarr_format=zarr_format)
    for k, shape in enumerate(shapes):
        named = {"dimension_names": names} if zarr_format == 3 else {}
        path = str(k) if paths is None else paths[k]
        array = group.create_array(path, data=np.ones(shape, dtype), chunks=tuple(min(64, n) for n in shape), **named)
        if names is not None and zarr_format == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = list(names)
    group.attrs.update(attrs)
    return str(folder)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The same image as ngff-zarr writes it in every version that it knows."""
    data = np.random.default_rng(0).integers(0, 1000, (8, 90, 120)).astype("u2")
    units = dict.fromkeys(SCALE, "micrometer")
    image = ngff_zarr.to_ngff_image(
        data, dims=list("zyx"), scale=SCALE, translation=SHIFT, axes_units=units, name="stack"
    )
    levels = ngff_zarr.to_multiscales(image, [2, 4], method=ngff_zarr.Methods.DASK_BIN_SHRINK, cache=False)
    folder = tmp_path_factory.mktemp("ngff")
    for version in ("0.4", "0.5", "0.6"):
        ngff_zarr.to_ngff_zarr(str(folder / f"{version}.zarr"), levels, version=version)
    return folder, data


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_what_ngff_zarr_writes_is_placed_as_it_reads_it(written, version):
    folder, data = written
    path = str(folder / f"{version}.zarr")
    pyramid, theirs = open_pyramid(path), ngff_zarr.from_ngff_zarr(path, version=version)
    assert pyramid.axes == ("z", "y", "x")
    for level, image in zip(pyramid.levels, theirs.images, strict=True):
        assert level.shape == image.data.shape
        for axis, scale, shift in zip(pyramid.axes, level.scale, level.translation, strict=True):
            coord = pyramid.coords[axis]
            assert coord.unit == image.axes_units[axis] == "micrometer"
            np.testing.assert_allclose(coord.step * scale, image.scale[axis])
            np.testing.assert_allclose(coord.at(shift), image.translation[axis])
    np.testing.assert_array_equal(pyramid.read(0), data)


def systems(*datasets, names=("physical",), **more):
    """Attributes of 0.6."""
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    entry = {
        "name": "stack",
        "coordinateSystems": [{"name": name, "axes": axes} for name in names],
        "datasets": [{"path": f"s{k}", "coordinateTransformations": [t]} for k, t in enumerate(datasets)],
        **more,
    }
    return {"ome": {"version": "0.6", "multiscales": [entry]}}


def scaled(k, output="physical", source="s"):
    return {
        "type": "sequence",
        "input": {"path": f"{source}{k}"},
        "output": {"name": output},
        "transformations": [
            {"type": "scale", "scale": [2.0, 0.5 * 2**k, 0.5 * 2**k]},
            {"type": "translation", "translation": [0, 0.25 * (2**k - 1), 0.25 * (2**k - 1)]},
        ],
    }


def test_rfc_5_is_understood():
    found = read_multiscales(systems(scaled(0), scaled(1)))
    assert (found.convention, found.axes, found.types) == ("OME-NGFF 0.6", ("z", "y", "x"), ("space",) * 3)
    assert [(d.scale, d.translation) for d in found.datasets] == [((1, 1, 1), (0, 0, 0)), ((1, 2, 2), (0, 0.5, 0.5))]
    assert (found.coords["z"].step, found.coords["x"].step, found.coords["x"].unit) == (2.0, 0.5, "micrometer")
    # As the drafts had it: names as plain strings, a nested sequence, an identity.
    inner = {"type": "sequence", "transformations": [{"type": "scale", "scale": [2, 4, 4]}, {"type": "identity"}]}
    draft = {"type": "sequence", "input": "s1", "output": "physical", "transformations": [{"type": "identity"}, inner]}
    found = read_multiscales(systems({"type": "identity", "input": "s0", "output": "physical"}, draft))
    assert [d.scale for d in found.datasets] == [(1, 1, 1), (2, 4, 4)]
    # Further systems are reached from the one in which the levels lie, whose place is taken.
    further = [
        {"type": "rotation", "input": {"name": "physical"}, "output": {"name": "stage"}, "rotation": [[0, 1], [1, 0]]}
    ]
    more = systems(scaled(0), names=("physical", "stage"), coordinateTransformations=further)
    assert read_multiscales(more).coords["z"].step == 2.0


@pytest.mark.parametrize(
    "step",
    [
        {"type": "affine", "affine": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]},
        {"type": "rotation", "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"type": "mapAxis", "mapAxis": [0, 2, 1]},
        {"type": "displacements", "path": "field"},
        {"type": "byDimension", "transformations": []},
        {"type": "scale", "path": "scales"},
        {
            "type": "sequence",
            "transformations": [{"type": "scale", "scale": [1, 1, 1]}, {"type": "affine", "affine": []}],
        },
        {},
    ],
)
def test_other_transformations_of_rfc_5_are_refused(step):
    with pytest.raises(PlanError, match=r"datasets\[1\].*(isn't supported; expected identity, scale, translation)"):
        read_multiscales(systems(scaled(0), {**step, "output": {"name": "physical"}}))


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        (
            systems(scaled(0), scaled(1, "other"), names=("physical", "other")),
            "the same for all levels; got 'other', 'phys",
        ),
        (systems(scaled(0, "elsewhere")), "one of the coordinate systems 'physical'"),
        (systems({"type": "scale", "scale": [1, 2]}), "a list of 3 finite numbers"),
    ],
)
def test_levels_without_one_system_are_refused(attrs, words):
    with pytest.raises(PlanError, match=words):
        read_multiscales(attrs)


@pytest.mark.parametrize("version", ["0.1", "0.2", None])
def test_versions_without_axes_imply_five(tmp_path, version):
    entry = {"datasets": [{"path": "0"}, {"path": "1"}], **({"version": version} if version else {})}
    shapes = [(1, 2, 4, 96, 80), (1, 2, 4, 48, 40)]
    pyramid = open_pyramid(group_of(tmp_path / "five.zarr", {"multiscales": [entry]}, shapes))
    assert pyramid.axes == ("t", "c", "z", "y", "x")
    assert lazypyr.metadata.why_not_ome(pyramid) is None
    # An array that names its axes knows better, and one of other than five axes isn't meant.
    named = group_of(tmp_path / "named.zarr", {"multiscales": [entry]}, shapes, names="abcyx")
    assert open_pyramid(named).axes == ("a", "b", "c", "y", "x")
    assert open_pyramid(group_of(tmp_path / "two.zarr", {"multiscales": [entry]}, [(96, 80), (48, 40)])).axes == (
        "y",
        "x",
    )


SHAPES = {
    "z halved as well": ("zyx", [(40, 600, 500), (20, 300, 250), (10, 150, 125)]),
    "a quarter at each level": ("yx", [(600, 500), (150, 125)]),
    "a third": ("yx", [(600, 300), (200, 100)]),
    "odd": ("zyx", [(41, 601, 501), (20, 300, 250)]),
    "channels": ("cyx", [(3, 200, 200), (3, 50, 50)]),
}


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("version", ["0.3", "0.4"])
def test_levels_without_transformations_cover_the_field_of_level_0(tmp_path, case, version):
    axes, shapes = SHAPES[case]
    kinds = {"c": "channel"}
    entries = list(axes) if version == "0.3" else [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    entry = {"version": version, "axes": entries, "datasets": [{"path": str(k)} for k in range(len(shapes))]}
    pyramid = open_pyramid(group_of(tmp_path / "g.zarr", {"multiscales": [entry]}, shapes), method="mean", levels=4)
    for level, shape in zip(pyramid.levels, shapes, strict=False):
        assert level.shape == shape
        np.testing.assert_allclose(level.scale, np.divide(shapes[0], shape))
        np.testing.assert_allclose(level.translation, (np.divide(shapes[0], shape) - 1) / 2)
    last = pyramid.levels[len(shapes) - 1]
    y = axes.index("y")
    assert pyramid.levels[len(shapes)].scale[y] == 2 * last.scale[y]  # the next one is ours


def test_one_level_of_three_says_nothing(tmp_path):
    steps = [[{"type": "scale", "scale": [0.5, 0.5]}], [{"type": "scale", "scale": [2, 2]}], None]
    datasets = [
        {"path": str(k), **({"coordinateTransformations": step} if step else {})} for k, step in enumerate(steps)
    ]
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    entry = {"version": "0.4", "axes": axes, "datasets": datasets}
    pyramid = open_pyramid(group_of(tmp_path / "g.zarr", {"multiscales": [entry]}, [(800, 800), (200, 200), (50, 50)]))
    assert [level.scale for level in pyramid.levels] == [(1, 1), (4, 4), (16, 16)]
    assert pyramid.coords["x"].step == 0.5


def topozarr(levels):
    """Attributes as topozarr 0.0.4 writes them: scales to level 0, translations to the level before."""
    entries = [
        {
            "asset": str(k),
            "transform": {"scale": [2.0**k, 2.0**k], "translation": [0.5, 0.5] if k else [0.0, 0.0]},
            **({"derived_from": str(k - 1), "resampling_method": "mean"} if k else {}),
        }
        for k in range(levels)
    ]
    return {"multiscales": {"layout": entries, "resampling_method": "mean"}, "proj:code": "EPSG:4326"}


def by_the_convention(levels):
    """The same as the convention reads: all is relative to the entry that is derived from."""
    attrs = topozarr(levels)
    for entry in attrs["multiscales"]["layout"][1:]:
        entry["transform"]["scale"] = [2.0, 2.0]
    return attrs


def ndpyramid(levels):
    """Attributes as ndpyramid 0.4 writes them; 0 is the coarsest level."""
    datasets = [{"path": str(k), "pixels_per_tile": 128, "crs": "EPSG:3857"} for k in range(levels)]
    return {"multiscales": [{"datasets": datasets, "type": "reduce", "metadata": {"method": "pyramid_coarsen"}}]}


@pytest.mark.parametrize("writer", [topozarr, by_the_convention, ndpyramid])
@pytest.mark.parametrize("size", [(96, 128), (101, 90)])
def test_levels_made_by_xarray_lie_where_their_coordinates_say(tmp_path, writer, size):
    fine = xr.Dataset(
        {"v": (("time", "y", "x"), np.zeros((2, *size), "f4"))}, {"y": np.arange(size[0]), "x": np.arange(size[1])}
    )
    levels = [fine]
    for _ in range(3):
        levels.append(levels[-1].coarsen(y=2, x=2, boundary="trim").mean())
    for k, level in enumerate(levels):
        path = str(3 - k if writer is ndpyramid else k)
        level.to_zarr(tmp_path / "tree.zarr", group=path, mode="a", consolidated=False)
    zarr.open_group(tmp_path / "tree.zarr", mode="a").attrs.update(writer(4))
    pyramid = open_pyramid(str(tmp_path / "tree.zarr"))
    for mine, theirs in zip(pyramid.levels, levels, strict=False):
        for axis, name in ((1, "y"), (2, "x")):
            centres = theirs[name].values
            np.testing.assert_allclose(mine.translation[axis], centres[0], atol=0.01)
            np.testing.assert_allclose(mine.scale[axis], centres[1] - centres[0], rtol=0.01)


def several(tmp_path):
    axes = [{"name": a, "type": "space"} for a in "yx"]
    entries = [
        {"version": "0.4", "name": name, "axes": axes, "datasets": [{"path": path} for path in paths]}
        for name, paths in (("fine", ["0", "1"]), ("coarse", [1]))
    ]
    return group_of(tmp_path / "several.zarr", {"multiscales": entries}, [(80, 60), (40, 30)])


@pytest.mark.parametrize(("choice", "shape"), [(None, (80, 60)), (0, (80, 60)), (1, (40, 30)), ("coarse", (40, 30))])
def test_one_of_several_multiscales_is_chosen(tmp_path, choice, shape):
    path = several(tmp_path)
    options = {} if choice is None else {"multiscale": choice}
    pyramid = open_pyramid(path, **options)
    assert pyramid.shape == shape
    assert lazypyr.LazyPyramidStore(path, **options).pyramid == pyramid
    recipe = pyramid.to_recipe()
    assert recipe.get("multiscale") == choice
    assert open_pyramid(json.loads(json.dumps(recipe))) == pyramid


def test_choices_that_nothing_has(tmp_path, capsys):
    path = several(tmp_path)
    with pytest.raises(PlanError, match=r"has 2 entries: 0 \('fine'\), 1 \('coarse'\)"):
        open_pyramid(path, multiscale="third")
    with pytest.raises(PlanError, match="has 2 entries"):
        open_pyramid(path, multiscale=2)
    with pytest.raises(PlanError, match="no group with multiscale metadata"):
        open_pyramid(path + "/0", multiscale=1)
    assert main(["info", path, "--multiscale", "coarse", "--json"]) in (None, 0)
    assert json.loads(capsys.readouterr().out)["levels"][0]["shape"] == [40, 30]


def test_levels_are_made_anew(tmp_path, capsys):
    ids = np.zeros((2, 96, 96), "u4")
    ids[:, 30:61, 30:61] = 1000
    spoilt = ((ids[:, ::2, ::2] + np.roll(ids[:, ::2, ::2], 1, 2)) // 2).astype("u4")
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    steps = [{"type": "scale", "scale": [2.0, 0.5 * 2**k, 0.5 * 2**k]} for k in range(2)]
    datasets = [{"path": str(k), "coordinateTransformations": [step]} for k, step in enumerate(steps)]
    group = zarr.open_group(tmp_path / "ids.zarr", mode="w", zarr_format=2)
    for k, level in enumerate((ids, spoilt)):
        group.create_array(str(k), data=level, chunks=(1, 32, 32))
    group.attrs["multiscales"] = [{"version": "0.4", "name": "ids", "axes": axes, "datasets": datasets}]
    path = str(tmp_path / "ids.zarr")
    stored = open_pyramid(path, method="mode", chunks=32)
    assert np.unique(stored.read(1)).tolist() == [0, 500, 1000]
    anew = open_pyramid(path, method="mode", chunks=32, levels="recompute")
    assert np.unique(anew.read(1)).tolist() == [0, 1000]
    assert (anew.axes, anew.coords, len(anew.levels)) == (stored.axes, stored.coords, 3)
    again = open_pyramid(json.loads(json.dumps(anew.to_recipe())))
    assert again == anew
    np.testing.assert_array_equal(again.read(2), anew.read(2))
    assert len(open_pyramid(path, levels="recompute:2", chunks=32).levels) == 2
    assert anew.transposed(("y", "x", "z")).to_recipe()["levels"] == "recompute:3"
    assert main(["info", path, "--method", "mode", "--chunks", "32"]) in (None, 0)
    told = capsys.readouterr().out
    assert [line.split()[-1] for line in told.splitlines() if line[:1].isdigit()] == ["stored", "stored", "mode"]
    assert "--levels recompute makes them anew" in told
    main(["info", path, "--levels", "recompute", "--chunks", "32", "--json"])
    assert [level["made"] for level in json.loads(capsys.readouterr().out)["levels"]] == [
        "as stored",
        "stride",
        "stride",
    ]
    for wrong in ("anew", "recompute:", "recompute:x", "recompute:0"):
        with pytest.raises(PlanError, match="levels"):
            open_pyramid(path, levels=wrong)


def test_paths_may_be_integers(tmp_path):
    entry = {
        "version": "0.4",
        "axes": [{"name": a, "type": "space"} for a in "yx"],
        "datasets": [{"path": 0}, {"path": 1}],
    }
    path = group_of(tmp_path / "g.zarr", {"multiscales": [entry]}, [(80, 60), (40, 30)])
    assert [level.shape for level in open_pyramid(path, levels=2).levels] == [(80, 60), (40, 30)]
    for wrong in (True, -1, 1.0, None):
        bad = copy.deepcopy(entry)
        bad["datasets"][1]["path"] = wrong
        with pytest.raises(PlanError, match=r"datasets\[1\].path: expected a path"):
            read_multiscales({"multiscales": [bad]})
