"""Readers that are not ours, over HTTP, in both zarr formats: they get exactly numpy's values."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import zarr

from lazypyr import LazyPyramidStore
from support.http import served
from support.npm import zarrita_client

RNG = np.random.default_rng(6)
SHAPES = {
    "u1": (70, 90),
    "u2": (33, 200),
    "i4": (3, 65, 64),
    "f4": (100, 100),
    "f8": (40, 41),
    "bool": (50, 70),
    "i8": (64, 32),
}
ARRAYS = {
    name: (RNG.random(shape) > 0.5 if name == "bool" else (RNG.random(shape) * 250).astype(f"<{name}"))
    for name, shape in SHAPES.items()
}
ARRAYS["f4"][::7, ::5] = np.nan
COMPLEX = (RNG.normal(size=(60, 70)) + 1j * RNG.normal(size=(60, 70))).astype("<c8")


def levels(array):
    """What `stride` makes of it, by the words of its definition."""
    found = [array]
    while max(found[-1].shape[-2:]) > 32:
        found.append(array[..., :: 2 ** len(found), :: 2 ** len(found)])
    return found


@pytest.fixture(scope="module")
def url():
    sources = {
        name: LazyPyramidStore(array, axes="cyx"[-array.ndim :], chunks=(32, 32), compressor="zstd")
        for name, array in ARRAYS.items()
    }
    sources["c8"] = LazyPyramidStore(COMPLEX, chunks=(32, 32))
    sources["tree"] = LazyPyramidStore(ARRAYS["u2"], chunks=(32, 32), layout="{level}/image", compressor="gzip")
    sources["plain"] = LazyPyramidStore(ARRAYS["u2"], chunks=(32, 32))
    sources["dotted"] = LazyPyramidStore(ARRAYS["u2"], chunks=(32, 32), dimension_separator=".", compressor="blosc")
    with served(sources) as handle:
        yield handle.url


def each():
    for name, array in [*ARRAYS.items(), ("plain", ARRAYS["u2"]), ("dotted", ARRAYS["u2"])]:
        yield from ((f"{folder}{name}", array) for folder in ("/", "/v2/"))


@pytest.mark.fault("H15")
def test_zarr_python_through_fsspec(url):
    for path, array in [*each(), ("/c8", COMPLEX), ("/v2/c8", COMPLEX)]:
        group = zarr.open_group(f"{url}{path}", mode="r")
        assert sorted(group.array_keys()) == [str(k) for k in range(len(levels(array)))], path
        for k, expected in enumerate(levels(array)):
            np.testing.assert_array_equal(group[str(k)][...], expected, err_msg=f"{path} {k}")


def test_zarr_2(url, zarr2_python):
    code = """
import sys, urllib.error, urllib.request
from collections.abc import MutableMapping
import zarr
class Web(MutableMapping):
    def __init__(self, url): self.url = url
    def __getitem__(self, key):
        try:
            return urllib.request.urlopen(f"{self.url}/{key}").read()
        except urllib.error.HTTPError as error:
            if error.code != 404: raise
            raise KeyError(key) from None
    def __setitem__(self, key, value): raise AssertionError
    __delitem__ = __iter__ = __len__ = __setitem__
for url in sys.argv[1:]:
    group = zarr.open_consolidated(Web(url), mode="r")
    print(zarr.__version__, *[f"{array.shape} {array[...].tobytes().hex()}" for _, array in sorted(group.arrays())], sep="|")
"""
    cases = [(path, array) for path, array in each() if path.startswith("/v2/")]
    done = subprocess.run(
        [zarr2_python, "-W", "ignore", "-c", code, *(url + path for path, _ in cases)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (path, array), line in zip(cases, done.stdout.splitlines(), strict=True):
        version, *found = line.split("|")
        assert version.startswith("2.18.")
        assert found == [f"{level.shape} {level.tobytes().hex()}" for level in levels(array)], path


@pytest.mark.fault("H15")
def test_tensorstore(url):
    import tensorstore as ts

    for path, array in each():
        driver = "zarr" if path.startswith("/v2/") else "zarr3"
        for k, expected in enumerate(levels(array)):
            opened = ts.open({"driver": driver, "kvstore": f"{url}{path}/{k}/"}, read=True, open=True).result()
            np.testing.assert_array_equal(opened.read().result(), expected, err_msg=f"{path} {k}")


@pytest.mark.fault("H15")
def test_obstore(url):
    from obstore import store as obstore
    from zarr.storage import ObjectStore

    for path in ("/u2", "/v2/u2"):
        store = ObjectStore(
            obstore.HTTPStore.from_url(f"{url}{path}", client_options={"allow_http": True}), read_only=True
        )
        for k, expected in enumerate(levels(ARRAYS["u2"])):
            np.testing.assert_array_equal(zarr.open_array(store, path=str(k), mode="r")[...], expected)


@pytest.mark.filterwarnings("ignore")
def test_xarray(url):
    import xarray as xr

    tree = xr.open_datatree(f"{url}/tree", engine="zarr", chunks=None)
    for k, expected in enumerate(levels(ARRAYS["u2"])):
        image = tree[f"{k}/image"]
        assert image.dims == ("y", "x")
        np.testing.assert_array_equal(image.values, expected)


@pytest.mark.filterwarnings("ignore")
def test_ome_zarr_py(url):
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    for path, array in (("/u2", ARRAYS["u2"]), ("/v2/u2", ARRAYS["u2"]), ("/i4", ARRAYS["i4"])):
        (node,) = Reader(parse_url(f"{url}{path}/"))()
        assert len(node.data) == len(levels(array))
        for data, expected in zip(node.data, levels(array), strict=True):
            np.testing.assert_array_equal(np.asarray(data), expected)


def test_validators(url):
    import ome_zarr_models
    import yaozarrs

    for path in ("/u2", "/v2/u2", "/i4", "/v2/i4", "/tree"):
        group = zarr.open_group(f"{url}{path}", mode="r")
        assert ome_zarr_models.open_ome_zarr(group).ome_zarr_version == ("0.4" if path.startswith("/v2") else "0.5")
        yaozarrs.validate_zarr_store(f"{url}{path}/")


def test_gdal(url):
    code = """
import sys, warnings
import rasterio
warnings.simplefilter("ignore")
for url in sys.argv[1:]:
    with rasterio.open(f'ZARR:"/vsicurl/{url}"') as image:
        print(image.read().tobytes().hex())
"""
    paths = [("/v2/plain", ARRAYS["u2"]), ("/v2/u1", ARRAYS["u1"]), ("/v2/i4", ARRAYS["i4"])]
    cases = [(f"{url}{path}/{k}", level) for path, array in paths for k, level in enumerate(levels(array))]
    done = subprocess.run(
        [sys.executable, "-c", code, *(case for case, _ in cases)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (case, level), line in zip(cases, done.stdout.split(), strict=True):
        assert line == level.tobytes().hex(), case


@pytest.fixture(scope="module")
def zarrita():
    """The command that runs the client in node."""
    return zarrita_client()


@pytest.mark.timeout(300)
@pytest.mark.fault("H15")
def test_zarrita_all_chunks_at_once(url, zarrita):
    cases = {f"{url}{path}/{k}": level for path, array in each() for k, level in enumerate(levels(array))}
    done = subprocess.run([*zarrita, *cases], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for case, level in cases.items():
        assert found[case]["shape"] == list(level.shape), case
        assert found[case]["sha256"] == hashlib.sha256(level.tobytes()).hexdigest(), case
