"""The engine: one compute a tile, errors to all who wait, memory within its bounds, nothing left behind."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

import lazypyr
from lazypyr import BusyError, LazyPyramidStore, PlanError, Pyramid, from_function, open_pyramid
from lazypyr.engine.engine import Engine
from lazypyr.engine.limiter import MemoryLimiter
from lazypyr.engine.pools import DaemonThreadPool, run_tasks
from lazypyr.pyramids.base import Level
from support.running import python, together, until
from support.waiting import admitted


class Boom(Exception):
    pass


class Scripted(Pyramid):
    """One level of 8 x 8 tiles; `script` computes: ``script(run, window) -> block``."""

    axes, dtype, chunks, fill_value, description = ("y", "x"), np.dtype("u1"), (8, 8), 0, "scripted"

    def __init__(self, name, script, need=64):
        self.name, self.script, self.need = name, script, need
        self.levels = (Level((64, 64), (1.0, 1.0), (0.0, 0.0)),)
        self.calls = 0

    def compute(self, level, window, run):
        self.calls += 1
        return self.script(run, window)

    def working_bytes(self, level, window, block_bytes):
        return self.need

    fingerprint = property(lambda self: self.name)
    identity = property(id)


def block_of(window, value=0):
    return np.full([b - a for a, b in window], value, "u1")


def idle(engine):
    assert engine.cache_info().in_flight == 0
    assert engine.inflight_used == 0


@pytest.mark.fault("C1")
@pytest.mark.parametrize("face", ["engine", "mapping", "tasks", "zarr"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_64_readers_of_one_cold_tile_are_one_compute(face, compressor):
    calls = []

    def read(level, window):
        calls.append(window)
        time.sleep(0.05)
        return block_of(window, 7)

    store = LazyPyramidStore(from_function(read, shape=(64, 64), dtype="u1", chunks=(8, 8)), compressor=compressor)

    async def task():
        return await store.get("1/c/1/2", default_buffer_prototype())

    async def tasks():
        return await asyncio.gather(*(task() for _ in range(64)))

    group = zarr.open(store)
    ways = {
        "engine": lambda: together(64, lambda i: store.engine.chunk(store.pyramid, 1, (1, 2))),
        "mapping": lambda: together(64, lambda i: store["1/c/1/2"]),
        "tasks": lambda: asyncio.run(tasks()),
        "zarr": lambda: together(64, lambda i: group["1"][8:16, 16:24]),
    }
    got = ways[face]()
    assert len(got) == 64
    assert not any(isinstance(value, BaseException) for value in got)
    assert calls == [((8, 16), (16, 24))]
    idle(store.engine)


@pytest.mark.fault("C3", "C9")
@pytest.mark.parametrize("cache_bytes", [0, 1, 63])
def test_tiles_larger_than_the_cache_work_uncached(cache_bytes):
    source = np.random.default_rng(0).integers(0, 255, (40, 40), "u1")
    store = LazyPyramidStore(source, chunks=(8, 8), method="mean", cache_bytes=cache_bytes)
    reference = LazyPyramidStore(source, chunks=(8, 8), method="mean")
    got = together(8, lambda i: [zarr.open(store)[str(k)][...] for k in range(4)])
    for levels in got:
        for k, level in enumerate(levels):
            np.testing.assert_array_equal(level, zarr.open(reference)[str(k)][...])
    assert store.cache_info().currsize == store.cache_info().entries == 0
    idle(store.engine)


@pytest.mark.fault("C9")
@pytest.mark.parametrize(
    ("name", "value"),
    [("cache_bytes", -1), ("cache_bytes", 1.5), ("cache_bytes", "1 GB"), ("cache_bytes", True), ("inflight_bytes", 0),
     ("inflight_bytes", -5), ("workers", 0), ("workers", -1), ("workers", 2.5), ("timeout_s", 0), ("timeout_s", -3),
     ("timeout_s", float("nan"))],
)  # fmt: skip
def test_bad_settings(name, value):
    with pytest.raises(PlanError, match=name):
        LazyPyramidStore(np.zeros((4, 4)), **{name: value})
    with pytest.raises(PlanError, match=name):
        Engine(**{name: value})


@pytest.mark.fault("C9")
def test_none_means_the_default():
    assert LazyPyramidStore(np.zeros((4, 4)), cache_bytes=None).cache_info().maxsize == 256 * 2**20
    with pytest.raises(PlanError, match="belong to the engine"):
        LazyPyramidStore(np.zeros((4, 4)), cache_bytes=5, engine=Engine())


@pytest.mark.fault("C4", "S8")
def test_refresh_during_a_compute():
    """What was begun before goes to those who wait; it is never kept as the state after."""
    source, begun, gate = np.zeros((16, 16), "u1"), threading.Event(), threading.Event()

    def slow(boxes, axis):
        seen = boxes.max(axis=axis)
        if not gate.is_set():
            begun.set()
            assert gate.wait(60)
        return seen

    store = LazyPyramidStore(source, method=slow, chunks=(8, 8), workers=2)
    got = []
    thread = threading.Thread(target=lambda: got.append(store["1/c/0/0"]), daemon=True)
    thread.start()
    assert begun.wait(60)
    source[...] = 5
    store.refresh()
    threading.Timer(0.1, gate.set).start()
    assert store["1/c/0/0"] == bytes([5]) * 64
    thread.join(60)
    assert got == [bytes(64)]
    assert store["1/c/0/0"] == bytes([5]) * 64
    idle(store.engine)


@pytest.mark.fault("C4", "S8")
def test_tiles_that_come_out_on_the_way_are_not_kept_after_refresh():
    source, begun, gate = np.zeros((64, 64), "u1"), threading.Event(), threading.Event()

    def slow(boxes, axis):
        seen = boxes.max(axis=axis)
        if seen.shape[0] <= 8 and not gate.is_set():
            begun.set()
            assert gate.wait(60)
        return seen

    store = LazyPyramidStore(source, method=slow, chunks=(8, 8), workers=1)
    thread = threading.Thread(target=lambda: store["3/c/0/0"], daemon=True)
    thread.start()
    assert begun.wait(60)
    source[...] = 5
    store.refresh()
    gate.set()
    thread.join(60)
    for k in range(4):
        assert set(np.unique(zarr.open(store)[str(k)][...])) == {5}, k


@pytest.mark.fault("C5")
def test_a_waiter_that_is_cancelled():
    """Others get the tile, and it is kept; the computation isn't cancelled with one of those who wait for it."""
    gate, calls = threading.Event(), []

    def read(level, window):
        calls.append(window)
        assert gate.wait(60)
        return block_of(window, 3)

    store = LazyPyramidStore(from_function(read, shape=(64, 64), dtype="u1", chunks=(8, 8)), workers=1)
    get = lambda key: store.get(key, default_buffer_prototype())

    async def race():
        gone, stays = asyncio.create_task(get("0/c/0/0")), asyncio.create_task(get("0/c/0/0"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(get("0/c/0/0"), 0.05)
        queued = [asyncio.create_task(get(f"0/c/1/{i}")) for i in range(8)]
        wanted = asyncio.create_task(get("0/c/2/2"))
        joined = lambda: store.cache_info().in_flight >= 10
        await asyncio.get_running_loop().run_in_executor(None, until, joined)
        for task in (gone, *queued):
            task.cancel()
        await asyncio.gather(gone, *queued, return_exceptions=True)
        gate.set()
        return (await asyncio.wait_for(stays, 60)).to_bytes(), (await asyncio.wait_for(wanted, 60)).to_bytes()

    stays, wanted = asyncio.run(race())
    assert stays == wanted == bytes([3]) * 64
    assert len(calls) == 2, "what nobody waits for any more isn't begun"
    assert store["0/c/0/0"] == stays
    assert len(calls) == 2
    idle(store.engine)


@pytest.mark.fault("C5")
def test_all_waiters_gone_and_one_comes_back():
    gate = threading.Event()

    def read(level, window):
        assert gate.wait(60)
        return block_of(window, 3)

    store = LazyPyramidStore(from_function(read, shape=(16, 16), dtype="u1", chunks=(8, 8)), workers=1)
    get = lambda key: store.get(key, default_buffer_prototype())

    async def race():
        tasks = [asyncio.create_task(get(f"0/c/{i}/0")) for i in range(2)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        again = [asyncio.create_task(get(f"0/c/{i}/0")) for i in range(2)]
        await asyncio.sleep(0.05)
        gate.set()
        return [value.to_bytes() for value in await asyncio.wait_for(asyncio.gather(*again), 60)]

    assert asyncio.run(race()) == [bytes([3]) * 64] * 2
    idle(store.engine)


@pytest.mark.fault("M3")
@pytest.mark.parametrize("face", ["mapping", "zarr"])
def test_memory_error(face):
    failing = [True]

    def read(level, window):
        if failing[0]:
            raise MemoryError("no more")
        return block_of(window, 2)

    store = LazyPyramidStore(Scripted("m", lambda run, window: read(0, window)))
    ask = {"mapping": lambda: store["0/c/0/0"], "zarr": lambda: zarr.open(store)["0"][:8, :8]}[face]
    with pytest.raises(MemoryError, match="no more"):
        ask()
    idle(store.engine)
    assert store.cache_info().entries == 0
    failing[0] = False
    assert np.all(np.frombuffer(store["0/c/0/0"], "u1") == 2)


MANY = """
import sys
import numpy as np
from lazypyr import LazyPyramidStore
from lazypyr.sources.base import Source
from support.running import together, until

class Noise(Source):
    name, dtype, axes, chunks, fingerprint = "noise", np.dtype("<f4"), ("y", "x"), (512, 512), "noise"
    shape = 2**15, 2**15

    def read(self, window, step=None):
        y, x = (np.arange(a, b, s, dtype="f4") for (a, b), s in zip(window, step or (1, 1)))
        return np.add.outer(y, x)

store = LazyPyramidStore(Noise(), method="mean", cache_bytes=16 * 2**20, inflight_bytes=32 * 2**20, workers=2)
engine, pyramid = store.engine, store.pyramid
engine.chunk(pyramid, 3, (0, 0))
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
before, worst = peak(), 0

def some(i):
    global worst
    for j in range(8):
        k = (i + j) % 4
        n = pyramid.levels[k].shape[0] // 256
        engine.chunk(pyramid, k, ((i * 37 + j * 11) % n, (i * 17 + j * 5) % n))
        worst = max(worst, engine.inflight_used)

failed = [e for e in together(64, some, timeout=90) if e is not None]
assert not failed, failed[:3]
assert store.cache_info().currsize <= 16 * 2**20
assert worst <= 32 * 2**20, worst
print(round(peak() - before))
"""


@pytest.mark.slow
@pytest.mark.fault("M1")
def test_memory_under_load():
    """512 cold tiles asked for by 64 threads: the cache, the gate and a margin."""
    assert int(python(MANY, timeout=105)) < 16 + 32 + 60


def test_gate_lets_in_what_fits():
    gate, worst, lock = MemoryLimiter(100, 30), [0], threading.Lock()

    def work(i):
        with admitted(gate, 10 + i % 60):
            with lock:
                worst[0] = max(worst[0], gate.used_bytes)
            time.sleep(0.02)

    assert together(40, work) == [None] * 40

    assert gate.used_bytes == 0
    assert 60 < worst[0] <= 100
    with admitted(gate, 1000):
        assert gate.used_bytes == 1000, "what is larger than the gate goes alone"
    with pytest.raises(Boom), admitted(gate, 5):
        raise Boom
    assert gate.used_bytes == 0


def test_gate_that_stays_full():
    gate = MemoryLimiter(100, 0.1)
    with admitted(gate, 80), pytest.raises(BusyError, match=r"no room for 50 bytes .* 80 of 100 .*inflight_bytes"), admitted(gate, 50):  # fmt: skip
        pass
    assert gate.used_bytes == 0


def test_gate_and_flights_do_not_wait_for_each_other():
    """An admitted tile needs another one whose thread still waits for room: it must be let in."""
    engine = Engine(workers=2, inflight_bytes=100, timeout_s=20)
    inner_joined, outer_admitted = threading.Event(), threading.Event()
    inner = Scripted("inner", lambda run, window: block_of(window, 1), need=80)

    def outer_script(run, window):
        outer_admitted.set()
        assert inner_joined.wait(60)
        time.sleep(0.2)  # the other thread has begun the inner tile and stands at the gate
        return run.read(inner, 0, window)

    outer = Scripted("outer", outer_script, need=80)

    def ask(i):
        if i == 0:
            return engine.chunk(outer, 0, (0, 0))
        assert outer_admitted.wait(60)
        inner_joined.set()
        return engine.chunk(inner, 0, (0, 0))

    got = together(2, ask)
    assert [tile.sum() for tile in got] == [64, 64], "neither gave up after timeout_s"
    assert inner.calls == 1
    idle(engine)


def test_pool_and_parallel():
    pool, seen = DaemonThreadPool(3, "test"), []
    run_tasks(pool, (lambda i=i: seen.append((i, threading.get_ident())) for i in range(200)))
    assert sorted(i for i, _ in seen) == list(range(200))
    assert len({thread for _, thread in seen}) <= 3
    run_tasks(pool, iter(()))

    def fail():
        raise Boom

    done = []
    with pytest.raises(Boom):
        run_tasks(pool, [fail, *[lambda: done.append(1)] * 50])
    with pytest.raises(Boom):
        run_tasks(pool, (fail() for _ in range(3)))
    with pytest.raises(SystemExit):
        run_tasks(pool, [lambda: (_ for _ in ()).throw(SystemExit), lambda: None])
    inner = []
    run_tasks(pool, [lambda: run_tasks(pool, [lambda: inner.append(1)] * 4)] * 6)
    assert len(inner) == 24
    pool.close()
    run_tasks(pool, [lambda: inner.append(1)] * 4)
    assert len(inner) == 28


def test_a_call_does_not_wait_behind_another_while_the_pool_may_have_more_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads stop between any two steps
    try:
        for _ in range(500):
            pool, idle, first, second = DaemonThreadPool(2, "test"), *(threading.Event() for _ in range(3))
            pool.submit(idle.set)
            assert idle.wait(60)
            pool.submit(partial(first.wait, 100))
            pool.submit(second.set)
            assert second.wait(60)
            first.set()
            pool.close()
    finally:
        sys.setswitchinterval(before)


def test_shared_engine():
    engine = Engine()
    source = np.arange(256, dtype="u1").reshape(16, 16)
    one, two = (LazyPyramidStore(source, chunks=(8, 8), engine=engine) for _ in range(2))
    one["1/c/0/0"]
    assert two["1/c/0/0"] == one["1/c/0/0"]
    assert engine.cache_info().computes == 1, "the same recipe over the same array is computed once"
    other = LazyPyramidStore(source, chunks=(8, 8), engine=engine, method="max")
    assert other["1/c/0/0"] != one["1/c/0/0"]


def test_cache_info_counts():
    store = LazyPyramidStore(np.zeros((16, 16), "u1"), chunks=(8, 8), levels=1)
    info = store.cache_info()
    assert (info.hits, info.misses, info.currsize, info.computes) == (0, 0, 0, 0)
    for _ in range(3):
        store["0/c/0/0"]
    info = store.cache_info()
    assert (info.hits, info.misses, info.computes) == (2, 1, 1)
    assert info.currsize == 64 * info.entries
    store.refresh()
    assert store.cache_info().currsize == 0


def test_padding_of_edge_tiles_is_the_fill_value():
    source = np.full((5, 3), 7, "i2")
    tile = np.frombuffer(LazyPyramidStore(source, chunks=(4, 4), nodata=-1)["0/c/1/0"], "<i2").reshape(4, 4)
    assert tile.tolist() == [[7, 7, 7, -1], [-1] * 4, [-1] * 4, [-1] * 4]


def test_pyramid_windows_are_checked():
    pyramid = open_pyramid(np.zeros((10, 20), "u1"), chunks=(8, 8))
    assert pyramid.read(-1).shape == pyramid.levels[-1].shape
    assert pyramid.read(0, (slice(2, None),)).shape == (8, 20)
    assert pyramid.read(0, ((0, 0), (0, 5))).shape == (0, 5)
    for level, window, said in [
        (9, None, "no level 9"),
        (-9, None, "no level"),
        (0, (slice(0, 5, 2),), "every pixel"),
        (0, ((0, 11),), "outside level 0"),
        (0, ((-1, 5),), "outside"),
        (0, ((5, 2),), "outside"),
        (0, ((0, 1),) * 3, "3 axes"),
    ]:
        with pytest.raises(PlanError, match=said):
            pyramid.read(level, window)


def test_public_names_are_lazy():
    assert lazypyr.LazyPyramidStore is LazyPyramidStore
    assert "numba" not in python("import sys, lazypyr, lazypyr.engine; print(*sys.modules)").split()
