"""Rotated and sheared grids: their transform is carried to every level, and nothing takes them for north-up."""

import json

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - the accessor
import xarray as xr
import zarr
from rasterio.transform import Affine

import lazypyr
from lazypyr.cli import main
from lazypyr.display import orientation_of

pytestmark = pytest.mark.filterwarnings("ignore")
TURNED = Affine.translation(3e5, 5e6) * Affine.rotation(30) * Affine.scale(10, -20)
SHEARED = Affine(10, 2, 3e5, 0, -10, 5e6)
SHAPE = (61, 80)


def attributes(transform, form):
    t = list(transform)[:6]
    return {
        "spatial:transform": {"spatial:transform": t},
        "node": {
            "spatial:transform": list(transform * Affine.translation(0.5, 0.5))[:6],
            "spatial:registration": "node",
        },
        "transform": {"transform": t},
        "GeoTransform": {"GeoTransform": " ".join(map(repr, transform.to_gdal()))},
        "of the group": {"spatial:transform": t},
        "grid mapping": {"grid_mapping": "crs"},
    }[form]


def written(path, transform, form, zarr_format=3):
    if form == "GeoTIFF":
        profile = {"driver": "GTiff", "count": 1, "height": SHAPE[0], "width": SHAPE[1], "dtype": "float32"}
        with rasterio.open(path / "a.tif", "w", **profile, crs="EPSG:32633", transform=transform) as file:
            file.write(np.zeros((1, *SHAPE), "f4"))
        return path / "a.tif"
    group = zarr.open_group(path / "a.zarr", mode="w", zarr_format=zarr_format)
    attrs = {**attributes(transform, form), "crs": "EPSG:32633"}
    if form == "of the group":
        group.attrs.update(attrs)
        attrs = {}
    if form == "grid mapping":
        mapping = {"GeoTransform": " ".join(map(repr, transform.to_gdal()))}
        group.create_array("crs", shape=(), dtype="i4", attributes=mapping)
    if zarr_format == 2:
        attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    names = {"dimension_names": ("y", "x")} if zarr_format == 3 else {}
    group.create_array("v", data=np.zeros(SHAPE, "f4"), chunks=(32, 32), attributes=attrs, **names)
    return path / "a.zarr"


FORMS = ["spatial:transform", "node", "transform", "GeoTransform", "of the group", "grid mapping", "GeoTIFF"]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("transform", [TURNED, SHEARED], ids=["turned", "sheared"])
@pytest.mark.parametrize("form", FORMS)
def test_the_transform_of_every_level_is_that_of_its_pixels(tmp_path, form, transform, zarr_format):
    src = written(tmp_path, transform, form, zarr_format)
    for method, shift in (("mean", 0.0), ("stride", -0.5)):
        pyramid = lazypyr.open_pyramid(src, method=method, levels=3)
        assert not set(pyramid.coords) & {"y", "x"}
        assert not orientation_of(pyramid).flip_y  # as an image, rows downwards
        store = lazypyr.LazyPyramidStore(pyramid, zarr_format=zarr_format)
        group = zarr.open_group(store, mode="r")
        for k in range(3):
            size, moved = 2**k, shift * (2**k - 1)
            expected = transform * Affine.translation(moved, moved) * Affine.scale(size)
            np.testing.assert_allclose(group[str(k)].attrs["spatial:transform"], list(expected)[:6], atol=1e-6)
        corners = [transform * corner for corner in ((0, 0), (SHAPE[1], 0), (0, SHAPE[0]), SHAPE[::-1])]
        low, high = np.min(corners, 0), np.max(corners, 0)
        np.testing.assert_allclose(group.attrs["spatial:bbox"], [*low, *high])
        named = lazypyr.LazyPyramidStore(pyramid, layout="{level}/image", zarr_format=zarr_format)
        level = xr.open_dataset(named, engine="zarr", group="1", decode_coords="all").image
        assert not set(level.coords) & {"y", "x"}
        if method == "mean":
            np.testing.assert_allclose(level.rio.transform(), transform * Affine.scale(2), atol=1e-6)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_written_opens_again_with_it(tmp_path, zarr_format):
    src = written(tmp_path, TURNED, "GeoTransform")
    for layout in ("{level}", "{level}/image"):
        out = tmp_path / f"{len(layout)}.zarr"
        store = lazypyr.LazyPyramidStore(src, method="mean", levels=2, zarr_format=zarr_format, layout=layout)
        lazypyr.materialize(store, out, progress=False)
        for path, size in (("", 1), (layout.format(level=0), 1), (layout.format(level=1), 2)):
            again = lazypyr.open_pyramid(out / path)
            np.testing.assert_allclose(again.metadata.affine, list(TURNED * Affine.scale(size))[:6], atol=1e-6)
            assert not set(again.coords) & {"y", "x"}


def test_parts_and_bounds(tmp_path):
    src = written(tmp_path, TURNED, "transform")
    part = lazypyr.open_pyramid(src, isel={"y": slice(3, 40), "x": slice(7, 60)})
    np.testing.assert_allclose(part.metadata.affine, list(TURNED * Affine.translation(7, 3))[:6])
    given = lazypyr.open_pyramid(src, bounds=(0, 0, 80, 61))
    assert (given.metadata.affine, given.coords["x"].origin) == (None, 0.5)


def test_people_are_told(tmp_path, capsys):
    src = written(tmp_path, TURNED, "spatial:transform")
    assert "a grid rotated by 30 degrees" in repr(lazypyr.open_pyramid(src))
    main(["info", str(src)])
    assert "rotated" in capsys.readouterr().out
    main(["info", str(src), "--json"])
    assert json.loads(capsys.readouterr().out)["affine"] == pytest.approx(list(TURNED)[:6])
