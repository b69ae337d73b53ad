"""What xarray opens of a server, whatever the layout: lazy, right, with coordinates."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import lazypyr
from lazypyr import LazyPyramidStore
from support.http import ask, served

DATA = np.random.default_rng(0).normal(size=(120, 150)).astype("f4")
LAT, LON = 60 - 0.5 * np.arange(120), 5 + 0.25 * np.arange(150)


def field(**options):
    array = xr.DataArray(DATA, dims=("lat", "lon"), coords={"lat": LAT, "lon": LON}, name="t", attrs={"units": "K"})
    return lazypyr.open_pyramid(array, chunks=(32, 32), **options)


@pytest.fixture(scope="module")
def url():
    stores = {
        "plain": LazyPyramidStore(field()),
        "second": LazyPyramidStore(field(), zarr_format=2),
        "compressed": LazyPyramidStore(field(), compressor="zstd"),
        "tree": LazyPyramidStore(field(), layout="{level}/t", zarr_format=2),
        "many": lazypyr.collection({"a": field(), "b": field(method="mean")}),
    }
    with served(stores) as handle:
        yield handle.url


CASES = [
    ("plain", "", "image"),
    ("second", "", "image"),
    ("compressed", "", "image"),
    ("tree", "", "t"),
    ("many", "a/", "image"),
]


@pytest.mark.parametrize(("name", "inside", "image"), CASES)
def test_any_layout_opens_lazily_and_with_coordinates(url, name, inside, image):
    tree = xr.open_datatree(f"{url}/xarray/{name}/", engine="zarr", chunks={})
    level = xr.open_dataset(f"{url}/xarray/{name}/", engine="zarr", group=f"{inside}2", chunks={})
    for array in (tree[f"{inside}2/{image}"], level[image]):
        assert array.chunks is not None
        assert array.attrs["units"] == "K"
        y, x = array.dims
        np.testing.assert_allclose(array[y], LAT[::4])
        np.testing.assert_allclose(array[x], LON[::4])
        np.testing.assert_array_equal(array, DATA[::4, ::4])


def test_the_address_is_like_the_others(url):
    answer = ask(url, "/xarray/plain/1/image/c/0/0")
    assert answer.status == 200
    assert ask(url, "/xarray/plain/1/image/c/0/0", headers={"If-None-Match": answer.headers["etag"]}).status == 304
    assert answer.body == ask(url, "/plain/1/c/0/0").body
    head = ask(url, "/xarray/compressed/1/image/c/0/0", "HEAD")
    assert (head.status, head.body) == (200, b"")
    for path in (
        "/xarray/",
        "/xarray/nobody/zarr.json",
        "/xarray/plain/1/c/0/0",
        "/xarray/plain/9/zarr.json",
        "/xarray/xarray/",
    ):
        assert ask(url, path).status == 404
    with pytest.raises(lazypyr.PlanError, match="xarray"):
        lazypyr.serve({"xarray": DATA}, port=0, background=True)
