"""Reading ahead around a view of a far source: what, when, and that nobody waits for it; counted on loopback."""

from __future__ import annotations

import pickle
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.engine.read_ahead import ViewReader
from lazypyr.sources.far import requests
from support.far import METADATA, Far
from support.waiting import until

PIXELS = np.arange(2048 * 2048, dtype="f4").reshape(2048, 2048)


@pytest.fixture(scope="module")
def far():
    far = Far()
    zarr.create_array(str(far.root / "a"), data=PIXELS, chunks=(256, 256), dimension_names=("y", "x"))
    return far


@pytest.fixture(autouse=True)
def healthy(far):
    yield
    far.fault = lambda path, times: None
    for views in list(ALL):  # what one test reads ahead would be counted in the next one
        until(lambda views=views: not views._running, 20)


ALL = weakref.WeakSet()


@pytest.fixture(autouse=True)
def followed(monkeypatch):
    made = ViewReader.__init__
    monkeypatch.setattr(ViewReader, "__init__", lambda self, *args: (ALL.add(self), made(self, *args))[1])


def keys(level, rows, columns):
    return {f"{level}/c/{i}/{j}" for i in rows for j in columns}


def cached(store):
    """Keys of the tiles that are in the cache."""
    kept = [key for key in list(store.engine.cache_storage.values) if isinstance(key[0], tuple) or len(key) == 3]
    return {f"{key[1]}/c/{key[2][0]}/{key[2][1]}" for key in kept if isinstance(key[1], int)}


def test_the_ring_and_the_next_level_come_after_a_tile(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/a", method="mean", engine=Engine(read_ahead=True))
    zarr.open_group(store, mode="r")["0"][600:700, 600:700]
    expected = keys(0, (1, 2, 3), (1, 2, 3)) | {"1/c/1/1"}
    until(lambda: cached(store) == expected, 20)
    far.reset()
    array = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(array["0"][300:900, 300:900], PIXELS[300:900, 300:900])
    np.testing.assert_array_equal(
        array["1"][256:512, 256:512], lazypyr.open_pyramid(PIXELS, method="mean").read(1, np.s_[256:512, 256:512])
    )
    assert not {key for key in far.chunks if key.split()[1][5:] in {f"c/{i}/{j}" for i in (1, 2, 3) for j in (1, 2, 3)}}


def test_scripts_read_what_they_ask_for(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/a")
    far.reset()
    zarr.open_group(store, mode="r")["0"][600:700, 600:700]
    assert not store.engine.read_ahead
    assert len(far.chunks) == 1


def test_near_sources_are_not_read_ahead():
    store = lazypyr.LazyPyramidStore(PIXELS, engine=Engine(read_ahead=True))
    zarr.open_group(store, mode="r")["0"][600:700, 600:700]
    assert not store.engine._views._wanted


def test_nothing_is_read_ahead_while_somebody_waits(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/a", engine=Engine(read_ahead=True, workers=2))
    held = threading.Event()
    far.fault = lambda path, times: held if path.endswith("c/7/7") else None
    slow = threading.Thread(target=lambda: store["0/c/7/7"])
    slow.start()
    until(lambda: store.engine.cache_info().in_flight == 1, 20)
    far.reset()
    zarr.open_group(store, mode="r")["0"][600:700, 600:700]
    until(lambda: len(store.engine._views._wanted) == 9, 20)
    assert {key.split()[1] for key in far.chunks} <= {"/a/c/2/2", "/a/c/7/7"}
    held.set()
    slow.join(20)
    until(lambda: keys(0, (1, 2, 3), (1, 2, 3)) <= cached(store), 20)


def test_a_view_elsewhere_comes_first_and_the_edge_has_no_ring_beyond(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/a", engine=Engine(read_ahead=True))
    for row, column in ((0, 0), (7, 7)):
        zarr.open_group(store, mode="r")["0"][row * 256, column * 256]
    until(lambda: keys(0, (0, 1), (0, 1)) | keys(0, (6, 7), (6, 7)) <= cached(store), 20)
    until(lambda: not store.engine._views._running, 20)
    assert {"1/c/0/0", "1/c/3/3"} <= cached(store)
    assert len(cached(store)) == 10


def test_plots_and_servers_read_ahead_and_an_engine_keeps_it_in_a_pickle(far):
    from lazypyr.plot.raster import shared_engine
    from lazypyr.server import create_app

    assert shared_engine().read_ahead
    assert pickle.loads(pickle.dumps(Engine(read_ahead=True))).read_ahead
    assert Engine(read_ahead=True).beside().read_ahead
    for sources in (f"{far.url}/a", {"one": f"{far.url}/a"}):
        app = create_app(sources)
        assert all(dataset.store.engine.read_ahead for dataset in app.datasets.values())


def test_what_fails_ahead_is_told_to_who_asks_for_it(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/a", engine=Engine(read_ahead=True))
    far.fault = lambda path, times: 403 if path.endswith("c/2/3") else None
    zarr.open_group(store, mode="r")["0"][600, 600]
    until(lambda: not store.engine._views._running, 20)
    with pytest.raises(lazypyr.errors.SourceError, match="403|c/2/3"):
        store["0/c/2/3"]
    assert all(path.endswith(METADATA) or "/a/c/" in path for path in far.keys)


def test_a_window_is_read_from_its_centre(far, monkeypatch):
    monkeypatch.setattr(requests, "LIMITS", replace(requests.LIMITS, in_flight=1, hedge_share=0))
    pyramid = lazypyr.open_pyramid(f"{far.url}/a")
    far.reset()
    got = Engine(workers=1).read(pyramid, 0, ((256, 1536), (512, 1792)))
    np.testing.assert_array_equal(got, PIXELS[256:1536, 512:1792])
    asked = [tuple(map(int, key.split("/c/")[1].split("/"))) for key in far.log if "/c/" in key]
    assert len(asked) == 25
    distances = [(i - 3) ** 2 + (j - 4) ** 2 for i, j in asked]
    assert distances == sorted(distances)
