"""Far sources that fail, hang, change, and clients of them that go away; counted on loopback, not timed."""

from __future__ import annotations

import asyncio
import gc
import threading
from dataclasses import replace

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.errors import SourceError
from lazypyr.sources.far import requests
from support.far import METADATA, Far
from support.waiting import until

PIXELS = np.arange(1024 * 1024, dtype="f4").reshape(1024, 1024)
QUICK = replace(requests.LIMITS, backoff_s=0.01, hedge_share=0)
# What obstore doesn't take, so that fsspec reads it.
CLIENTS = {"obstore": {}, "fsspec": {"simple_links": True}}


@pytest.fixture(scope="module")
def far():
    return Far()


@pytest.fixture(autouse=True)
def healthy(far, monkeypatch):
    limits(monkeypatch, QUICK)
    yield
    far.fault, far.latency, far.headers, far.tags = lambda path, times: None, 0.0, {}, {}


def limits(monkeypatch, value):
    monkeypatch.setattr(requests, "LIMITS", value)


def opened(far, name="a", pixels=PIXELS, chunks=(64, 64), storage_options=None, **options):
    path = far.root / name
    if not path.exists():
        zarr.create_array(str(path), data=pixels, chunks=chunks, dimension_names=("y", "x"))
    store = lazypyr.LazyPyramidStore(f"{far.url}/{name}", storage_options=storage_options, **options)
    far.reset()
    return store


async def reached(far, count):
    while far.most < count:  # noqa: ASYNC110 - it is counted in another thread
        await asyncio.sleep(0.01)


def stats(store):
    return store.pyramid.sources[0].array.store.requests.stats


@pytest.mark.fault("N22")
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("fault", [500, 503, 429, "reset", "cut"])
def test_what_may_pass_is_asked_for_again(far, client, fault):
    """One of 256 requests; the overview is right, and the trouble is counted."""
    store = opened(far, method="mean", storage_options=CLIENTS[client])
    far.headers = {"Retry-After": "0.2"}
    far.fault = lambda path, times: fault if path.endswith("c/9/9") and times == 1 else None
    got = np.frombuffer(store["2/c/0/0"], "f4").reshape(256, 256)
    np.testing.assert_array_equal(got, lazypyr.open_pyramid(PIXELS, method="mean").read(2))
    chunks = far.chunks
    assert chunks.pop("GET /a/c/9/9") == 2
    assert set(chunks.values()) == {1}
    # aiohttp itself asks again where the server closed a connection that it kept.
    assert stats(store).retries == 1 or (client, fault) == ("fsspec", "reset")
    assert stats(store).failed == 0


@pytest.mark.fault("N22")
def test_retry_after_is_kept_to(far):
    """fsspec hands the header on: its seconds pass before the next try, though the backoff is shorter."""
    store = opened(far, storage_options=CLIENTS["fsspec"])
    far.headers = {"Retry-After": "1.5"}
    far.fault = lambda path, times: 429 if path.endswith("c/0/0") and times == 1 else None
    pauses = []
    sleep = asyncio.sleep
    requests.asyncio.sleep = lambda s: (pauses.append(s), sleep(0))[1]
    try:
        store["0/c/0/0"]
    finally:
        requests.asyncio.sleep = sleep
    assert max(pauses) >= 1.5


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("status", [401, 403, 400, 501])
def test_a_refusal_is_asked_for_once(far, client, status):
    store = opened(far, storage_options=CLIENTS[client])
    far.fault = lambda path, times: status if path.endswith("c/0/0") else None
    with pytest.raises(SourceError, match="c/0/0"):
        store["0/c/0/0"]
    assert far.chunks["GET /a/c/0/0"] == 1
    far.fault = lambda path, times: None
    assert store["0/c/0/0"] == PIXELS[:256, :256].tobytes()


def test_a_store_that_is_down_fails_fast_and_comes_back(far):
    store = opened(far)
    far.fault = lambda path, times: 503
    with pytest.raises(SourceError, match="503"):
        store["0/c/0/0"]
    far.reset()
    with pytest.raises(SourceError, match="503"):
        store["0/c/1/1"]
    assert set(far.chunks.values()) == {1}, "one try each while it is down"
    far.fault = lambda path, times: None
    assert store["0/c/1/1"] == PIXELS[256:512, 256:512].tobytes()
    far.fault = lambda path, times: 503 if times == 1 else None
    assert store["0/c/2/2"] == PIXELS[512:768, 512:768].tobytes()


@pytest.mark.fault("N21")
@pytest.mark.parametrize("client", CLIENTS)
def test_chunks_that_hang_hold_nobody_else(far, client):
    """Two tiles hang, and as many overviews as there are threads; every other tile comes."""
    store = opened(far, workers=2, storage_options=CLIENTS[client])
    go = threading.Event()
    far.fault = lambda path, times: go if path.endswith(("c/0/0", "c/0/4")) else None
    array = {level: zarr.open_group(store, mode="r")[str(level)] for level in (0, 1, 2)}
    hung = [
        lambda: array[0][:256, :256],
        lambda: array[0][:256, 256:512],
        lambda: array[2][:],
        lambda: array[1][:256, :256],
    ]
    threads = [threading.Thread(target=call, daemon=True) for call in hung]
    for thread in threads:
        thread.start()
    until(lambda: far.keys["GET /a/c/0/0"] and far.keys["GET /a/c/0/4"])
    np.testing.assert_array_equal(array[0][512:, 512:], PIXELS[512:, 512:])
    np.testing.assert_array_equal(array[1][256:, 256:], PIXELS[::2, ::2][256:, 256:])
    assert all(thread.is_alive() for thread in threads[:3])
    go.set()
    for thread in threads:
        thread.join(60)
    np.testing.assert_array_equal(array[2][:], PIXELS[::4, ::4])


@pytest.mark.fault("N21")
def test_what_always_hangs_is_an_error_at_the_deadline(far, monkeypatch):
    limits(monkeypatch, replace(QUICK, attempt_s=0.2, deadline_s=0.5, tries=3))
    store = opened(far)
    go = threading.Event()
    far.fault = lambda path, times: go if path.endswith("c/0/0") else None
    with pytest.raises(SourceError, match="c/0/0"):
        store["0/c/0/0"]
    assert 2 <= far.chunks["GET /a/c/0/0"] <= 3
    assert store["0/c/1/1"] == PIXELS[256:512, 256:512].tobytes()
    go.set()


@pytest.mark.fault("N21")
def test_what_takes_too_long_is_asked_for_once_more_beside_it(far, monkeypatch):
    """The first answer wins; at most a twentieth of the requests are such."""
    limits(monkeypatch, replace(QUICK, hedge_share=0.05, unknown_s=0.2))
    store = opened(far, method="mean")
    go = threading.Event()
    far.fault = lambda path, times: go if path.endswith("c/3/3") and times == 1 else None
    got = np.frombuffer(store["2/c/0/0"], "f4").reshape(256, 256)
    np.testing.assert_array_equal(got, lazypyr.open_pyramid(PIXELS, method="mean").read(2))
    assert far.chunks["GET /a/c/3/3"] == 2
    assert 1 <= stats(store).hedged <= 0.05 * stats(store).requests
    go.set()


def test_few_are_asked_for_beside_others_though_all_are_slow(far, monkeypatch):
    limits(monkeypatch, replace(QUICK, hedge_share=0.05, unknown_s=0.2, attempt_s=1.0))
    store = opened(far, method="mean")
    far.fault = lambda path, times: 0.4 if path.endswith(tuple(f"/{n}" for n in range(8))) else None
    store["2/c/0/0"]
    assert stats(store).hedged <= max(1, 0.05 * stats(store).requests)


@pytest.mark.fault("N23")
@pytest.mark.parametrize("levels", [(1, 2), (0,)])
def test_abandoned_requests_leave_nothing_to_do(far, levels):
    """64 of overviews, or of tiles: what they asked for is given up, and the next tile waits for its own chunks only."""
    store = opened(far, workers=2, method="mean")
    go = threading.Event()
    far.fault = lambda path, times: None if path.endswith(METADATA) else go

    async def abandoned():
        from zarr.core.buffer import default_buffer_prototype

        keys = [key for key in store if key.partition("/c/")[0] in map(str, levels) and "/c/" in key]
        gets = (store.get(keys[n % len(keys)], default_buffer_prototype()) for n in range(64))
        tasks = [asyncio.ensure_future(get) for get in gets]
        await reached(far, 64)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(abandoned())
    until(lambda: far.now == 0)
    assert far.gone >= 64, "connections were given up, none was answered"
    until(lambda: store.engine.chunk_memory.fetch.used == 0)
    assert not store.pyramid.sources[0]._chunks.fetcher.flights
    far.reset()
    go.set()
    assert store["0/c/0/0"] == PIXELS[:256, :256].tobytes()
    assert len(far.chunks) == sum(far.chunks.values()) == 16


@pytest.mark.fault("N23")
def test_an_overview_that_is_abandoned_waits_for_no_chunk(far, monkeypatch):
    """In the slow lane threads wait for bytes; they stop while the source still hangs."""
    for module in ("engine.far", "engine.lanes", "pyramids.planner"):
        monkeypatch.setattr(f"lazypyr.{module}.SLOW_BYTES", 0)
    store = opened(far, workers=2, method="mean")
    go = threading.Event()
    far.fault = lambda path, times: None if path.endswith(METADATA) else go

    async def abandoned():
        from zarr.core.buffer import default_buffer_prototype

        task = asyncio.ensure_future(store.get("2/c/0/0", default_buffer_prototype()))
        await reached(far, 2)
        assert store.engine.slow_lane.running == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        asyncio.run(abandoned())
        until(lambda: store.engine.slow_lane.running == 0, timeout=30)  # below the deadline of a read
    finally:
        go.set()


def test_one_who_waits_keeps_what_another_gives_up(far):
    store = opened(far, workers=2)
    go = threading.Event()
    far.fault = lambda path, times: None if path.endswith(METADATA) else go

    async def both():
        from zarr.core.buffer import default_buffer_prototype

        one, two = (asyncio.ensure_future(store.get("0/c/0/0", default_buffer_prototype())) for _ in range(2))
        await reached(far, 16)
        one.cancel()
        go.set()
        return (await two).to_bytes()

    assert asyncio.run(both()) == PIXELS[:256, :256].tobytes()
    assert set(far.chunks.values()) == {1}


@pytest.mark.fault("N24")
@pytest.mark.parametrize("shards", [None, (256, 256)])
def test_a_tile_is_never_of_two_versions(far, shards, tmp_path):
    """A chunk comes with another tag than before: what was read of the other version is forgotten, and it is read again."""
    name = f"changes-{shards is None}"
    options = {"chunks": (64, 64), "shards": shards, "dimension_names": ("y", "x"), "compressors": None}
    one, two = np.full((256, 512), 1, "f4"), np.full((256, 512), 2, "f4")
    zarr.create_array(str(far.root / name), data=one, **options)
    store = lazypyr.LazyPyramidStore(f"{far.url}/{name}", cache_bytes=0)
    assert set(np.frombuffer(store["0/c/0/0"], "f4")) == {1}
    far.reset()
    written = threading.Event()

    def change(path, times):
        if "/c/" in path and not written.is_set() and (shards or path.endswith("c/2/2")):
            written.set()
            zarr.create_array(str(far.root / name), data=two, overwrite=True, **options)

    far.fault = change
    assert set(np.frombuffer(store["0/c/0/0"], "f4")) == {2}
    assert store.pyramid.sources[0].epoch == 1


def test_requests_are_counted_for_those_who_watch(far):
    from lazypyr.server.metrics import Stats

    store = opened(far)
    far.fault = lambda path, times: 503 if path.endswith("c/0/0") and times == 1 else None
    before = Stats().document({})["far"]
    store["0/c/0/0"]
    after = Stats().document({})["far"]
    assert after["requests"] - before["requests"] >= 17
    assert after["retries"] - before["retries"] >= 1
    assert after["bytes"] - before["bytes"] >= far.bytes
    assert "lazypyr_far_retries_total" in Stats().text({"a": store.engine})
    # Counters don't fall when a source is closed.
    del store
    gc.collect()
    assert Stats().document({})["far"]["requests"] >= after["requests"]
