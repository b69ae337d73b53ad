"""Collections over HTTP: names with "/", keys, tiles and pages of each pyramid, products by their text."""

from io import BytesIO
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np
import pytest
import xarray as xr
import zarr

import lazypyr

A = np.random.default_rng(3).random((4, 90, 180)).astype("f4")


@pytest.fixture(scope="module")
def url():
    dataset = xr.Dataset(
        {"A": (("band", "lat", "lon"), A), "inner_B": (("lat", "lon"), A[0])},
        {"lat": np.linspace(89, -89, 90), "lon": np.arange(1.0, 361, 2)},
    )
    sources = {"power": dataset, "power/A": A[0] + 1, "deep/er/name": A[1]}
    with lazypyr.serve(sources, port=0, background=True) as server:
        yield server.url


def get(url):
    with urlopen(url) as response:
        return response.read()


@pytest.mark.parametrize("spelling", [str, lambda path: quote(path, safe="")])
@pytest.mark.parametrize("version", ["", "v3/"])
def test_names_are_matched_longest_first_however_they_are_spelled(url, spelling, version):
    for path, expected in {
        "power/inner_B/0": A[0],
        "power/A/0": A[0] + 1,  # the source of this name comes before the raster of the other one
        "deep/er/name/0": A[1],
    }.items():
        array = zarr.open_array(f"{url}/{version}{path}", mode="r")
        np.testing.assert_array_equal(array[...], expected)
        assert get(f"{url}/{version}{spelling(f'{path}/zarr.json')}") == get(f"{url}/{version}{path}/zarr.json")


@pytest.mark.parametrize("spelling", [str, lambda path: quote(path, safe="")])
def test_tiles_pages_and_facts_have_the_same_names(url, spelling):
    for name in ("power/inner_B", "power/A", "deep/er/name"):
        assert get(f"{url}/tiles/{spelling(f'{name}/0/0/0.png')}")[:4] == b"\x89PNG"
        assert get(f"{url}/thumbnail/{spelling(name)}.png")[:4] == b"\x89PNG"
        assert name.encode() in get(f"{url}/view/{spelling(name)}")
        assert f'"name": "{name}"'.encode() in get(f"{url}/api/{spelling(name)}/info")


def test_the_index_lists_every_raster(url):
    page = get(f"{url}/").decode()
    for name in ("power/A", "power/inner_B", "deep/er/name"):
        assert f"/view/{name}" in page


def test_what_is_no_name_is_not_found(url):
    for path in ("power/C/zarr.json", "deep/er/zarr.json", "tiles/deep/er/0/0/0.png", "view/deep", "api/power/info"):
        with pytest.raises(HTTPError, match="404"):
            get(f"{url}/{path}")


def test_names_that_no_url_can_tell_are_refused():
    for name in ("view/a", "a//b", "/a", "a/", "a/../b", "v2"):
        with pytest.raises(lazypyr.PlanError, match="can't be the name of a source"):
            lazypyr.serve({name: A[0]}, port=0, background=True)


@pytest.mark.parametrize("products", [["composite:bands=2,1,0;percentiles=0,100"], ["pca:n=3", "composite"]])
def test_products_in_urls_are_those_of_python(products, tmp_path):
    from PIL import Image

    source = lazypyr.open_pyramid(A, axes="cyx")
    made = source
    for text in products:
        made = made.map(text)
    query = "&".join(f"product={quote(text)}" for text in products)
    with lazypyr.serve({"a": source}, port=0, background=True) as server:
        picture = np.asarray(Image.open(BytesIO(get(f"{server.url}/tiles/a/0/0/0.png?{query}"))))
        # By the same text on the command line, and as a list in Python.
        assert lazypyr.open_pyramid(A, axes="cyx", product=products) == made
        for wrong in ("product=nosuch", "product=pca:m=3", "product=pca:3", "product=pca:n=99", f"product={'x' * 501}"):
            with pytest.raises(HTTPError, match="404"):
                get(f"{server.url}/tiles/a/0/0/0.png?{wrong}")
    assert picture.shape[-1] in (3, 4)
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 100
