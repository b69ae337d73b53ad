"""A level of an image that is opened by its own path lies where the image's metadata put it."""

import ngff_zarr
import numpy as np
import pytest
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image

import lazypyr
from lazypyr import open_pyramid

pytestmark = pytest.mark.filterwarnings("ignore")
DATA = np.random.default_rng(0).integers(0, 1000, (8, 90, 120)).astype("u2")
UNITS = dict.fromkeys("zyx", "micrometer")


def by_ngff_zarr(path, version):
    image = ngff_zarr.to_ngff_image(
        DATA,
        list("zyx"),
        {"z": 2.0, "y": 0.5, "x": 0.25},
        {"z": 1.0, "y": 3.0, "x": 4.0},
        axes_units=UNITS,
        name="stack",
    )
    levels = ngff_zarr.to_multiscales(image, [2, 4], method=ngff_zarr.Methods.DASK_BIN_SHRINK, cache=False)
    ngff_zarr.to_ngff_zarr(str(path), levels, version=version)


def by_ome_zarr(path, zarr_format):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    fmt = {2: FormatV04, 3: FormatV05}[zarr_format]()
    options = {"chunks": (1, 64, 64)}
    write_image(DATA, group, axes="cyx", fmt=fmt, scaler=None, scale_factors=[2, 4], storage_options=options)
    attrs = dict(group.attrs)
    for dataset in attrs.get("ome", attrs)["multiscales"][0]["datasets"]:  # as its users add the size of a pixel
        for step in dataset["coordinateTransformations"]:
            step[step["type"]] = [a * b for a, b in zip(step[step["type"]], (1.0, 0.3, 0.4), strict=True)]
    group.attrs.update(attrs)


def of_a_label(path, version):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for k in range(2):
        group.create_array(f"s{k}", data=DATA[:, :: 2**k, :: 2**k].astype("u4"), chunks=(1, 64, 64))
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    datasets = [
        {"path": f"s{k}", "coordinateTransformations": [{"type": "scale", "scale": [7.0, 4.0 * 2**k, 4.0 * 2**k]}]}
        for k in range(2)
    ]
    group.attrs["multiscales"] = [{"version": version, "name": "cells", "axes": axes, "datasets": datasets}]
    group.attrs["image-label"] = {"version": version, "colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}


WRITTEN = {
    "ngff-zarr 0.4": (by_ngff_zarr, "0.4"),
    "ngff-zarr 0.5": (by_ngff_zarr, "0.5"),
    "ngff-zarr 0.6": (by_ngff_zarr, "0.6"),
    "ome-zarr 0.4": (by_ome_zarr, 2),
    "ome-zarr 0.5": (by_ome_zarr, 3),
    "labels": (of_a_label, "0.4"),
}
WAYS = {
    "path": lambda root, path: root / path,
    "array": lambda root, path: zarr.open_group(root, mode="r")[path],
    "array by itself": lambda root, path: zarr.open_array(root / path, mode="r"),
    "mapping": lambda root, path: zarr.open_array(zarr.storage.LocalStore(root), path=path, mode="r"),
    "link": lambda root, path: linked(root) / path,
}


def linked(root):
    link = root.with_name("link.zarr")
    if not link.exists():
        link.symlink_to(root)
    return link


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", WRITTEN)
def test_a_level_by_its_path_has_the_axes_and_the_place_of_the_image(tmp_path, kind, way):
    write, version = WRITTEN[kind]
    root = tmp_path / "group.zarr" / "a.zarr"
    write(root, version)
    image = open_pyramid(root)
    paths = [source.name.removeprefix(image.name).strip("/") for source in image.sources]
    paths[0] = lazypyr.metadata.read_multiscales(dict(zarr.open_group(root, mode="r").attrs)).datasets[0].path
    for number in (0, 1):
        level = open_pyramid(WAYS[way](root, paths[number]))
        assert level.axes == image.axes
        place = image.levels[number]
        for axis, scale, shift in zip(image.axes, place.scale, place.translation, strict=True):
            if axis in image.coords:
                expected, coord = image.coords[axis], level.coords[axis]
                assert coord.origin == pytest.approx(expected.at(shift))
                assert coord.step == pytest.approx(expected.step * scale)
                assert coord.unit == expected.unit
        assert level.metadata.ome.axes == image.metadata.ome.axes
        assert level.method == image.method
        assert level.refreshed().coords == level.coords
        # What is served of it says so again.
        lazypyr.materialize(lazypyr.LazyPyramidStore(level), tmp_path / f"{number}.zarr", progress=False)
        served = open_pyramid(tmp_path / f"{number}.zarr")
        assert (served.axes, served.coords) == (level.axes, level.coords)


def test_levels_of_versions_without_axes_have_those_of_the_version(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    for k in range(2):
        group.create_array(str(k), shape=(1, 2, 9, 90 >> k, 80 >> k), chunks=(1, 1, 1, 64, 64), dtype="u2")
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]
    for k in range(2):
        assert open_pyramid(tmp_path / "a.zarr" / str(k)).axes == ("t", "c", "z", "y", "x")


def test_arrays_that_no_metadata_list_are_none_of_the_levels(tmp_path):
    by_ome_zarr(tmp_path / "a.zarr", 3)
    zarr.create_array(tmp_path / "a.zarr" / "mask", shape=(8, 90, 120), dtype="u1")
    level = open_pyramid(tmp_path / "a.zarr" / "mask")
    assert dict(level.coords) == {}
    assert level.metadata.ome is None


def test_the_users_axes_win(tmp_path):
    by_ome_zarr(tmp_path / "a.zarr", 2)
    path = (
        lazypyr.metadata.read_multiscales(dict(zarr.open_group(tmp_path / "a.zarr", mode="r").attrs)).datasets[1].path
    )
    level = open_pyramid(tmp_path / "a.zarr" / path, axes="tyx")
    assert level.axes == ("t", "y", "x")
    assert level.coords["x"].step == pytest.approx(0.8)


@pytest.mark.parametrize(
    "attrs", [{"multiscales": 7}, {"multiscales": [{"datasets": []}]}, {"ome": {"multiscales": [1]}}]
)
def test_metadata_that_make_no_sense_stop_no_array_below_them(tmp_path, attrs):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", attributes=attrs)
    group.create_array("0", shape=(90, 80), dtype="u1")
    assert open_pyramid(tmp_path / "a.zarr" / "0").axes == ("y", "x")
