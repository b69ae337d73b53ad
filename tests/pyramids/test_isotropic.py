"""Levels that become isotropic: z is halved from the level on at which it is sampled as densely as y and x."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lazypyr import LazyPyramidStore, PlanError, materialize, open_pyramid
from support import reference

RNG = np.random.default_rng(7)
SOURCE = RNG.integers(0, 500, (9, 34, 42)).astype("u2")
METHODS = ["mean", "stride", "max", "median", "mode"]


def image(folder, source, scale, units=("micrometer",) * 3, *, chunks=(5, 8, 12), levels=()):
    """An OME-Zarr of an image and, perhaps, of coarser levels with their scales."""
    group = zarr.open_group(folder, mode="w", zarr_format=2)
    axes = [{"name": a, "type": "space", **({"unit": u} if u else {})} for a, u in zip("zyx", units, strict=True)]
    datasets = []
    for k, (array, step) in enumerate([(source, scale), *levels]):
        group.create_array(
            str(k), data=array, chunks=tuple(min(c, n) for c, n in zip(chunks, array.shape, strict=True))
        )
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": list(step)}]})
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return str(folder)


def expected(source, joins, count, method):
    """Levels by numpy alone: each of the one before, or of level 0 where the method wants whole boxes."""
    levels, total = [source], np.array((1, 1, 1))
    for k in range(1, count):
        step = np.array((2 if k > joins else 1, 2, 2))
        total = total * step
        if method == "stride":
            levels.append(levels[-1][tuple(slice(None, None, n) for n in step)])
            continue
        finer, box = (source, total) if method in ("median", "mode") else (levels[-1], step)
        levels.append(reference.reduced(finer, tuple(map(int, box)), method))
    return levels


# Spacing of z, y and x, and the level from which on z is halved.
SPACINGS = [((2.0, 0.5, 0.5), 2), ((1.0, 0.5, 0.5), 1), ((0.5, 0.5, 0.5), 0), ((0.2, 0.5, 0.5), 0),
            ((1.5, 0.5, 0.6), 2), ((4.0, 0.65, 0.5), 3)]  # fmt: skip


@pytest.mark.parametrize(("scale", "joins"), SPACINGS)
@pytest.mark.parametrize("method", METHODS)
def test_levels_are_those_of_numpy(tmp_path, scale, joins, method):
    pyramid = open_pyramid(
        image(tmp_path / "v.zarr", SOURCE, scale), method=method, factors="isotropic", chunks=(4, 8, 8)
    )
    wanted = expected(SOURCE, joins, len(pyramid.levels), method)
    store = LazyPyramidStore(pyramid)
    group = zarr.open_group(store, mode="r")
    for k, level in reversed(list(enumerate(wanted))):
        assert pyramid.levels[k].shape == level.shape
        np.testing.assert_array_equal(group[str(k)][...], level)
        np.testing.assert_array_equal(pyramid.read(k), level)
        assert pyramid.levels[k].scale == (2.0 ** max(0, k - joins), 2.0**k, 2.0**k)
        shift = np.subtract(pyramid.levels[k].scale, 1) / 2 if method != "stride" else (0, 0, 0)
        np.testing.assert_allclose(pyramid.levels[k].translation, shift)
    # Until y and x fit in a chunk, as without z.
    assert len(pyramid.levels) == len(open_pyramid(SOURCE, axes="zyx", chunks=(4, 8, 8)).levels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inflight", [2**20, 2**28])
def test_what_is_written_is_what_is_computed(tmp_path, method, inflight):
    path = image(tmp_path / "v.zarr", SOURCE, (2.0, 0.5, 0.5))
    pyramid = open_pyramid(path, method=method, factors="isotropic", chunks=(4, 8, 8))
    materialize(pyramid, tmp_path / "out.zarr", progress=False, inflight_bytes=inflight)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    for k, level in enumerate(expected(SOURCE, 2, len(pyramid.levels), method)):
        np.testing.assert_array_equal(group[str(k)][...], level)
    steps = [d["coordinateTransformations"][0]["scale"] for d in group.attrs["ome"]["multiscales"][0]["datasets"]]
    assert steps[:4] == [[2, 0.5, 0.5], [2, 1, 1], [2, 2, 2], [4, 4, 4]]


@given(
    st.tuples(*(st.integers(1, 9) for _ in range(3))),
    st.tuples(*(st.integers(1, 12) for _ in range(3))),
    st.tuples(*(st.integers(1, 9) for _ in range(3))),
    st.sampled_from([1, 2, 3, 5, 9]),
    st.sampled_from(METHODS),
    st.permutations("zyx"),
)
def test_any_shape(shape, stored, chunks, spacing, method, order):
    import dask.array as da
    import xarray as xr

    source = RNG.integers(0, 99, shape).astype("u1")
    coords = {"z": np.arange(shape[0]) * float(spacing), "y": np.arange(shape[1]) * 1.0, "x": np.arange(shape[2]) * 1.0}
    for axis, n in zip("zyx", shape, strict=True):
        if n == 1:
            del coords[axis]
    if "z" not in coords:
        return
    array = xr.DataArray(da.from_array(source, chunks=stored), dims=tuple("zyx"), coords=coords)
    by_axis = dict(zip("zyx", chunks, strict=True))
    pyramid = open_pyramid(
        array, method=method, factors="isotropic", levels=5, order=order, chunks=[by_axis[a] for a in order]
    )
    joins = next(k for k in range(9) if spacing <= 2**k)
    for k, level in enumerate(expected(source, joins, 5, method)):
        np.testing.assert_array_equal(pyramid.read(k), level.transpose(["zyx".index(a) for a in order]))


def test_products_go_on_from_it(tmp_path):
    source = (RNG.normal(size=(12, 40, 40)) + 1j * RNG.normal(size=(12, 40, 40))).astype("c8")
    path = image(tmp_path / "c.zarr", source, (1.0, 0.5, 0.5))
    pyramid = open_pyramid(path, method="mean", factors="isotropic", chunks=(4, 8, 8))
    made = pyramid.map("amplitude")
    materialize(made, tmp_path / "out.zarr", progress=False)
    for k in range(len(made.levels)):
        np.testing.assert_array_equal(zarr.open_group(tmp_path / "out.zarr", mode="r")[str(k)][...], made.read(k))
        np.testing.assert_allclose(made.read(k), np.abs(pyramid.read(k)), rtol=1e-6)


def test_it_goes_on_from_stored_levels(tmp_path):
    one = reference.reduced(SOURCE, (1, 2, 2), "mean")
    path = image(tmp_path / "s.zarr", SOURCE, (2.0, 0.5, 0.5), levels=[(one, (2.0, 1.0, 1.0))])
    pyramid = open_pyramid(path, method="mean", factors="isotropic", chunks=(4, 8, 8))
    for k, level in enumerate(expected(SOURCE, 2, len(pyramid.levels), "mean")):
        np.testing.assert_array_equal(pyramid.read(k), level)
    assert [level.scale[0] for level in pyramid.levels] == [1, 1, 1, 2]
    assert open_pyramid(path, factors="isotropic", levels=1).levels[0].shape == SOURCE.shape


def test_recipes_and_copies_keep_it(tmp_path):
    path = image(tmp_path / "v.zarr", SOURCE, (2.0, 0.5, 0.5))
    pyramid = open_pyramid(path, method="mean", factors="isotropic", chunks=(4, 8, 8))
    recipe = json.loads(json.dumps(pyramid.to_recipe()))
    assert recipe["factors"] == "isotropic"
    again = open_pyramid(recipe)
    assert (again, again.fingerprint) == (pyramid, pyramid.fingerprint)
    assert pyramid != open_pyramid(path, method="mean", factors={"z": 2}, chunks=(4, 8, 8), levels=len(pyramid.levels))
    for same in (pyramid.with_chunks((2, 8, 8)), pyramid.refreshed()):
        assert [level.shape for level in same.levels] == [level.shape for level in pyramid.levels]
    turned = pyramid.transposed(("x", "z", "y"))
    assert [level.shape for level in turned.levels] == [(x, z, y) for z, y, x in (lv.shape for lv in pyramid.levels)]
    assert "z from level 2 on" in pyramid.description
    # Where z joins at once nothing is special.
    equal = open_pyramid(image(tmp_path / "e.zarr", SOURCE, (0.5,) * 3), factors="isotropic", levels=3)
    assert equal == open_pyramid(str(tmp_path / "e.zarr"), factors={"z": 2}, levels=3)


def test_units_are_compared_as_lengths(tmp_path):
    path = image(tmp_path / "u.zarr", SOURCE, (2000.0, 0.5, 0.5), ("nanometer", "micrometer", "micrometer"))
    assert [level.scale[0] for level in open_pyramid(path, factors="isotropic", levels=4).levels] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("scale", "units", "words"),
    [
        ((1.0, 1.0, 1.0), (None,) * 3, "got none is known"),
        ((2.0, 0.5, 0.5), (None, "micrometer", "micrometer"), "z: 2 of no unit"),
    ],
)
def test_spacings_must_be_known(tmp_path, scale, units, words):
    with pytest.raises(PlanError, match=words):
        open_pyramid(image(tmp_path / "u.zarr", SOURCE, scale, units), factors="isotropic")


def test_it_needs_z():
    with pytest.raises(PlanError, match="names the axis 'z'"):
        open_pyramid(np.zeros((40, 40)), factors="isotropic")
    with pytest.raises(PlanError, match="or 'isotropic'"):
        open_pyramid(np.zeros((40, 40)), factors="cubic")
