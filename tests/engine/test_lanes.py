"""Requests that read much of a source: they hold up nobody, and stop when nobody waits for them."""

import asyncio
import threading

import numpy as np
import pytest
from zarr.core.buffer import default_buffer_prototype

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr._util.lanes import Abandoned
from lazypyr.engine.limiter import MemoryLimiter
from support.http import ask, served
from support.running import until

N = 2**20  # 4 TiB of float32


class Huge:
    """An array that nobody has; beyond the first `free` columns reads are counted and wait for `go`."""

    def __init__(self, n=N, free=512):
        self.shape, self.dtype, self.chunks, self.ndim = (n, n), np.dtype("f4"), (512, 512), 2
        self.free, self.go, self.reads = free, threading.Event(), 0

    def __getitem__(self, key):
        if key[1].stop > self.free:
            self.reads += 1
            self.go.wait()
        rows, columns = (np.arange(k.start, k.stop, k.step, "f4") for k in key)
        return rows[:, None] + columns


def asked(store, *keys):
    return [asyncio.ensure_future(store.get(key, default_buffer_prototype())) for key in keys]


async def until_async(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def level0(row):
    return np.add.outer(np.arange(256.0, dtype="f4") + 256 * row, np.arange(256.0, dtype="f4")).tobytes()


def square(z):
    return z * z


RECIPES = {
    "mean": lambda source: lazypyr.open_pyramid(source, method="mean"),
    "median": lambda source: lazypyr.open_pyramid(source, method="median", levels=10),
    "product": lambda source: lazypyr.open_pyramid(source, method="mean").map(square),
    "turned": lambda source: lazypyr.open_pyramid(source, method="mean", order="xy"),
}


@pytest.mark.fault("N13")
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("recipe", RECIPES)
async def test_overviews_hold_up_no_tile_and_stop_with_their_clients(workers, recipe):
    source = Huge()
    store = LazyPyramidStore(RECIPES[recipe](source), workers=workers)
    top = len(store.pyramid.levels) - 1
    engine = store.engine
    try:
        near = "0/c/0/{}".format if recipe == "turned" else "0/c/{}/0".format
        overviews = asked(store, f"{top}/c/0/0", *(f"{top - 2}/c/{k // 4}/{k % 4}" for k in range(3 * workers)))
        await until_async(lambda: source.reads >= 1 and engine.slow_lane.running == max(1, workers - 1))
        tiles = [await one for one in asked(store, *(near(k) for k in range(2 * workers)))]
        if recipe == "mean":
            assert [tile.to_bytes() for tile in tiles] == [level0(row) for row in range(2 * workers)]
        assert not any(overview.done() for overview in overviews)
        assert engine.slow_lane.waiting > 0 and engine.slow_lane.total_bytes > 2**28
        for overview in overviews:
            overview.cancel()
        await asyncio.gather(*overviews, return_exceptions=True)
        source.go.set()
        await until_async(lambda: engine.slow_lane.running == engine.slow_lane.waiting == 0)
        assert source.reads <= 128, "the tasks at hand, and none of the millions that follow"
        assert engine.cache_info().in_flight == engine.inflight_used == 0
    finally:
        source.go.set()


class HalfHeld(Huge):
    """The thread of the lane reads on, its helpers wait for `go`."""

    def __getitem__(self, key):
        helps = not threading.current_thread().name.startswith("lazypyr-slow")
        self.helped = self.helped or helps
        if not helps:
            with self.both:
                self.both.wait_for(lambda: self.begun, 60)
        elif not self.go.is_set():
            self.go.wait()
        return np.ones([k.stop - k.start for k in key], "f4")


@pytest.mark.fault("N13")
async def test_who_comes_while_others_give_up_gets_the_tile(monkeypatch):
    given_up = threading.Event()

    class Told(Abandoned):
        def __init__(self, *args):
            super().__init__(*args)
            given_up.set()

    monkeypatch.setattr("lazypyr.engine.lanes.Abandoned", Told)
    source = HalfHeld(n=2**14)
    source.helped = source.begun = False
    source.both = threading.Condition()
    store = LazyPyramidStore(source, method="mean", workers=2)
    key = f"{len(store.pyramid.levels) - 1}/c/0/0"
    (one,) = asked(store, key)
    await until_async(lambda: source.helped)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    with source.both:
        source.begun = True
        source.both.notify_all()
    await until_async(given_up.is_set)  # and now it waits for its helper
    (two,) = asked(store, key)
    await asyncio.sleep(0.1)
    source.go.set()
    assert set(np.frombuffer((await two).to_bytes(), "f4")) <= {0, 1}
    assert store.engine.slow_lane.total == 2, "begun anew"


async def test_the_lane_changes_no_value():
    source = Huge(n=2**14)
    source.go.set()
    by_lane, by_thread = (LazyPyramidStore(source, method="mean", workers=2) for _ in range(2))
    for key in (key for key in by_lane if key.startswith(("4/c", "6/c"))):
        (got,) = asked(by_lane, key)
        assert (await got).to_bytes() == by_thread[key]
    assert by_lane.engine.slow_lane.total > 0 == by_thread.engine.slow_lane.total


@pytest.mark.fault("N13")
def test_over_http_pictures_and_chunks():
    source = Huge()
    store = LazyPyramidStore(source, method="mean", workers=2)
    top = len(store.pyramid.levels) - 1
    clients = []
    with served({"a": store}) as server:
        try:
            for path in ("/thumbnail/a.png", "/tiles/a/0/0/0.png", f"/a/{top}/c/0/0", f"/a/{top - 1}/c/1/0") * 2:
                clients.append(threading.Thread(target=ask, args=(server.url, path), daemon=True))
                clients[-1].start()
            until(lambda: source.reads and store.engine.slow_lane.waiting >= 2)
            for row in range(4):
                assert ask(server.url, f"/xarray/a/0/image/c/{row}/0").status == 200
            assert ask(server.url, "/ready").status == 200
            told = ask(server.url, "/metrics").body.decode()
            assert 'lazypyr_slow_running{source="a"} 1\n' in told
            assert 'lazypyr_slow_total_bytes{source="a"} 4' in told
        finally:
            source.go.set()
            store.engine.timeout_s = 0.1


def test_nothing_is_refused_by_size_unless_it_is_said():
    source = Huge(n=2**13)
    source.go.set()
    free, bounded = (LazyPyramidStore(source, method="mean", request_bytes=most) for most in (None, 2**24))
    key = f"{len(free.pyramid.levels) - 1}/c/0/0"
    with served({"free": free, "bounded": bounded}) as server:
        assert ask(server.url, f"/free/{key}").status == 200
        refused = ask(server.url, f"/bounded/{key}")
        assert (refused.status, refused.body) == (403, f"PlanError: /bounded/{key}\n".encode())
        assert ask(server.url, "/bounded/1/c/0/0").status == 200
    assert bounded[key] == free[key], "in a thread of one's own nothing is refused"
    with pytest.raises(lazypyr.PlanError, match="request_bytes: expected"):
        LazyPyramidStore(source, request_bytes=0)


@pytest.mark.fault("N13")
def test_the_slow_lane_holds_half_of_the_memory():
    gate = MemoryLimiter(100, timeout_s=0.2)
    gate.acquire(40, slow=True)
    with pytest.raises(lazypyr.BusyError):
        gate.acquire(20, slow=True)
    waits = threading.Thread(target=lambda: gate.acquire(20, slow=True))
    gate.timeout_s = 60
    waits.start()
    until(lambda: gate._queue)
    gate.acquire(50)  # not behind what waits for its lane
    gate.release(40, slow=True)
    waits.join(60)
    assert (gate.used_bytes, gate._slow) == (70, 20)
