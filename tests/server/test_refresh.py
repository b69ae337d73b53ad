"""`refresh()` of a store that is served: new bytes, new ETag and Last-Modified in both formats; never one ETag for two bodies."""

from __future__ import annotations

import email.utils
import threading

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore
from lazypyr.sources.base import Source
from support.http import ask, served

pytestmark = pytest.mark.fault("N5")

KEYS = [
    "/v3/a/0/c/0/0",
    "/v2/a/0/0/0",
    "/v3/a/1/c/0/0",
    "/v2/a/1/0/0",
    "/v3/a/zarr.json",
    "/v2/a/.zmetadata",
    "/thumbnail/a.png?low=0&high=9",
]


def array_in(kind, tmp_path):
    store = MemoryStore() if kind == "memory" else tmp_path / "a.zarr"
    return zarr.create_array(store, shape=(512, 512), chunks=(256, 256), dtype="f4")


def source_of(kind, array, tmp_path):
    """A source of which a change is seen, or (memory: only its metadata tell) is not."""
    return array.store if kind == "memory" else tmp_path / "a.zarr"


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", ["files", "memory"])
def test_a_refresh_is_served(kind, zarr_format, tmp_path):
    array = array_in(kind, tmp_path)
    array[...] = 1
    store = LazyPyramidStore(source_of(kind, array, tmp_path), method="mean", zarr_format=zarr_format)
    seen = {key: {} for key in KEYS}
    modified = {}
    with served({"a": store}) as server:
        for value in (1, 2, 3):
            array[...] = value
            store.refresh()
            for key in KEYS:
                answer = ask(server.url, key)
                assert answer.status == 200, key
                etag, date = answer.headers["etag"], email.utils.parsedate_to_datetime(answer.headers["last-modified"])
                assert seen[key].setdefault(etag, answer.body) == answer.body
                assert date > modified.get(key, date.min.replace(tzinfo=date.tzinfo))
                modified[key] = date
                if "/0/0" in key or "/c/" in key:
                    assert set(np.frombuffer(answer.body, "f4")) == {value}
                assert ask(server.url, key, headers={"If-None-Match": etag}).status == 304
                for old in set(seen[key]) - {etag}:
                    assert ask(server.url, key, headers={"If-None-Match": old}).status == 200
    assert all(len(bodies) == 3 for bodies in seen.values())


def test_a_refresh_with_another_shape_is_served_in_both_formats(tmp_path):
    array = array_in("files", tmp_path)
    array[...] = 1
    store = LazyPyramidStore(tmp_path / "a.zarr", method="mean")
    with served({"a": store}) as server:
        assert ask(server.url, "/v2/a/0/2/2").status == ask(server.url, "/a/0/c/2/2").status == 404
        array.resize((700, 700))
        array[...] = 9
        store.refresh()
        for face in ("", "v2/", "v3/"):
            group = zarr.open_group(f"{server.url}/{face}a/", mode="r")
            assert group["0"].shape == (700, 700)
            np.testing.assert_array_equal(group["0"][...], 9)


class Blind(Source):
    """A source that is another one each time it is opened, and doesn't know it."""

    name, shape, dtype, axes, chunks = "blind", (512, 512), np.dtype("u2"), ("y", "x"), (256, 256)
    fingerprint = "blind"

    def __init__(self, value):
        self.value = self.identity = value

    identity = None

    def read(self, window, step=None):
        return np.full([-(-(b - a) // s) for (a, b), s in zip(window, step or (1, 1), strict=True)], self.value, "u2")

    def refreshed(self):
        return Blind(self.value + 1)


def test_no_etag_has_two_bodies_while_a_store_is_refreshed_again_and_again():
    """Every read in flight belongs to the state before or after a refresh, and its ETag says to which."""
    store = LazyPyramidStore(Blind(1))
    bodies, wrong, stop = {}, [], threading.Event()

    def client(url, key):
        while not stop.is_set():
            answer = ask(url, key)
            if bodies.setdefault((key, answer.headers["etag"]), answer.body) != answer.body:
                wrong.append(key)

    with served({"a": store}) as server:
        clients = [threading.Thread(target=client, args=(server.url, key)) for key in ("/a/0/c/0/0", "/v2/a/0/0/0")]
        for thread in clients:
            thread.start()
        versions = set()
        for _ in range(20):
            store.refresh()
            versions.add(store.version)
            ask(server.url, "/a/0/c/0/0")
        stop.set()
        for thread in clients:
            thread.join()
    assert not wrong
    assert len(versions) == 20
    assert len({etag for _, etag in bodies}) > 4
