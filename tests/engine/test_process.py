"""Pickles, forks, spawned processes, and the end of the interpreter."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import numpy as np
import pytest
import zarr

from lazypyr import LazyPyramidStore, collection, from_function, open_pyramid
from lazypyr.engine.engine import Engine
from support.faultstore import bytes_of
from support.jobs import level_sum
from support.running import python
from support.sources import random_array, zarr_array

SOURCE = random_array(0, (100, 80), "<f4")


@pytest.fixture
def path(tmp_path):
    zarr_array(SOURCE, store=tmp_path / "a.zarr", chunks=(32, 32))
    return tmp_path / "a.zarr"


def ramp(level, window):
    (a, b), (c, d) = window
    return np.add.outer(np.arange(a, b), np.arange(c, d)).astype("f8")


STORES = {
    "path": lambda path: LazyPyramidStore(path, chunks=(16, 16), method="mean"),
    "v2": lambda path: LazyPyramidStore(
        path, chunks=(16, 16), zarr_format=2, layout="{level}/image", compressor="zstd"
    ),
    "order": lambda path: LazyPyramidStore(path, axes="xy", order="yx", chunks=(16, 16)),
    "array": lambda path: LazyPyramidStore(zarr.open(path, mode="r"), nodata=0.0, bounds=(0, 0, 10, 20)),
    "fsspec": lambda path: LazyPyramidStore(f"local://{path}", chunks=(16, 16)),
    "function": lambda path: LazyPyramidStore(from_function(ramp, shape=(300, 200), dtype="f8", chunks=(64, 64))),
    "levels": lambda path: LazyPyramidStore(path, levels=2),
    "reducer": lambda path: LazyPyramidStore(path, method=np.nanmax, chunks=(16, 16)),
    "collection": lambda path: collection({"a": path, "b": path}, chunks=(16, 16)),
}


@pytest.mark.fault("P2")
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("kind", STORES)
def test_a_pickle_is_the_recipe(kind, pickler, path):
    """Equal, small, no tile in it; settings of the engine are kept."""
    store = STORES[kind](path)
    before = {key: store[key] for key in store}
    data = pickler.dumps(store)
    assert len(data) < 10_000
    again = pickle.loads(data)
    assert again == store
    assert hash(again) == hash(store)
    assert again.fingerprint == store.fingerprint
    assert again.cache_info().entries == 0
    assert again.cache_info().maxsize == store.cache_info().maxsize
    assert {key: again[key] for key in again} == before
    pyramids = list(store.pyramids.values())
    assert pickle.loads(pickler.dumps(pyramids)) == pyramids


@pytest.mark.fault("P2")
def test_pickling_an_engine_and_sources_in_memory(path):
    engine = Engine(cache_bytes=123456, inflight_bytes=10**6, workers=3, timeout_s=7)
    again = pickle.loads(pickle.dumps(engine))
    assert (again.cache_bytes, again.inflight_bytes, again.workers, again.timeout_s) == (123456, 10**6, 3, 7)
    for src in (SOURCE, bytes_of(zarr_array(SOURCE, chunks=(32, 32)).store), zarr_array(SOURCE)):
        store = LazyPyramidStore(src, chunks=(16, 16))
        assert pickle.loads(pickle.dumps(store))["1/c/0/0"] == store["1/c/0/0"]
    group = zarr.open(LazyPyramidStore(path, chunks=(16, 16)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(group))["1"][...], SOURCE[::2, ::2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(group["1"]))[...], SOURCE[::2, ::2])


@pytest.mark.fault("P2")
def test_a_function_that_does_not_pickle_is_named(path):
    def local(boxes, axis):
        return boxes.max(axis=axis)

    for src, options in (
        (path, {"method": local}),
        (from_function(lambda level, window: None, shape=(9, 9), dtype="f4"), {}),
    ):
        store = LazyPyramidStore(src, **options)
        with pytest.raises((AttributeError, pickle.PicklingError), match=r"local|lambda"):
            pickle.dumps(store)
    assert pickle.loads(cloudpickle.dumps(LazyPyramidStore(path, method=local, chunks=(16, 16))))["1/c/0/0"]


@pytest.mark.fault("P2")
def test_unequal_stores(path):
    stores = [make(path) for kind, make in STORES.items() if kind != "fsspec"]
    for i, one in enumerate(stores):
        for j, other in enumerate(stores):
            assert (one == other) == (i == j)
    assert stores[0] != "text"
    assert open_pyramid(path) == open_pyramid(path)
    assert open_pyramid(path) != open_pyramid(path, method="mean")
    assert open_pyramid(path) != open_pyramid(path, chunks=(16, 16))


@pytest.mark.fault("P3")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes(method, path):
    store = LazyPyramidStore(path, chunks=(16, 16))
    expected = [level_sum(store, k) for k in range(3)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(level_sum, [store] * 3, range(3))) == expected


DASK = """
import sys
from distributed import Client, LocalCluster
from lazypyr import LazyPyramidStore
from support.jobs import level_sum

if __name__ == "__main__":
    store = LazyPyramidStore(sys.argv[1], chunks=(16, 16))
    with LocalCluster(1, threads_per_worker=2, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        got = client.gather(client.map(level_sum, [store] * 3, range(3), pure=False))
    print(got == [level_sum(store, k) for k in range(3)])
"""


@pytest.mark.slow
@pytest.mark.fault("P3")
def test_dask_processes(path):
    """A store goes to the processes of a dask cluster and works there."""
    assert python(DASK, path).splitlines()[-1] == "True"


FORKS = """
import os, random, signal, sys, threading, time
import numpy as np, zarr
from lazypyr import LazyPyramidStore

store = LazyPyramidStore(sys.argv[1], chunks=(16, 16), method="mean", workers=2, cache_bytes=20000)
keys = [key for key in store if "/c/" in key]
before = {key: store[key] for key in keys}
stop = threading.Event()

def load(seed):
    rng = random.Random(seed)
    while not stop.is_set():
        store.engine.clear()
        store[rng.choice(keys)]

threads = [threading.Thread(target=load, args=(i,), daemon=True) for i in range(6)]
for t in threads: t.start()
children = []
for i in range(int(sys.argv[2])):
    time.sleep(0.02)
    pid = os.fork()
    if pid == 0:
        signal.alarm(80)
        same = all(store[key] == before[key] for key in keys)
        info = store.cache_info()
        os._exit(0 if same and info.in_flight == 0 and store.engine.inflight_used == 0 else 3)
    children.append(pid)
ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for t in threads: t.join(60)
assert all(store[key] == before[key] for key in keys)
print(ends.count(0), ends)
"""


@pytest.mark.slow
@pytest.mark.fault("P1")
def test_forks_under_load(path):
    """The child computes on, with a cache and threads of its own; the parent doesn't notice."""
    said = python(FORKS, path, 30)
    assert said.startswith("30 "), said


@pytest.mark.fault("P1")
def test_a_fork_that_reads_through_zarr(path):
    """zarr's own loop is made anew in a child; ours must get along with it."""
    code = """
import os, signal, sys, zarr
from lazypyr import LazyPyramidStore
group = zarr.open(LazyPyramidStore(sys.argv[1], chunks=(16, 16)))
total = group["1"][...].tobytes()
pid = os.fork()
if pid == 0:
    signal.alarm(80)
    os._exit(0 if group["1"][...].tobytes() == total and group["0"][...].shape == (100, 80) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert python(code, path) == "0\n"


END = """
import sys, threading, time
import numpy as np, zarr
from lazypyr import LazyPyramidStore, from_function
hang = threading.Event()
def read(level, window):
    hang.wait(1000)
    return np.zeros([b - a for a, b in window], "u1")
store = LazyPyramidStore(from_function(read, shape=(640, 640), dtype="u1", chunks=(64, 64)), workers=2, timeout_s=1000)
kind = sys.argv[1]
if kind == "mapping":
    threading.Thread(target=lambda: store["0/c/0/0"], daemon=True).start()
elif kind == "zarr":
    threading.Thread(target=lambda: zarr.open(store)["0"][...], daemon=True).start()
else:
    import asyncio
    from zarr.core.buffer import default_buffer_prototype
    async def main():
        try:
            await asyncio.wait_for(store.get("0/c/0/0", default_buffer_prototype()), 0.2)
        except asyncio.TimeoutError:
            pass
    asyncio.run(main())
time.sleep(0.3)
print("end", flush=True)
"""


@pytest.mark.fault("P4")
@pytest.mark.parametrize("kind", ["mapping", "zarr", "asyncio"])
def test_the_interpreter_ends_during_a_compute(kind):
    done = python(END, kind, timeout=80, check=False)
    assert done.stdout == "end\n"
    assert done.returncode == 0, "it waited for what it computes"
    assert "Traceback" not in done.stderr


def test_nothing_of_a_store_is_left_behind():
    """Threads go with `close`, and idle ones hold no tile."""
    code = """
import gc, threading, weakref
import numpy as np, zarr
from lazypyr import LazyPyramidStore
zarr.open(LazyPyramidStore(np.zeros((9, 9), "u1")))["0"][...]
before = threading.active_count()
for _ in range(20):
    with LazyPyramidStore(np.zeros((300, 300), "u1"), chunks=(16, 16), workers=4) as store:
        zarr.open(store)["0"][...]
from support.running import until
gone = weakref.ref(store.engine)
print(until(lambda: threading.active_count() <= before))
del store
print(until(lambda: gc.collect() >= 0 and gone() is None))
"""
    assert python(code).split() == ["True", "True"]


def test_threads_are_daemons():
    store = LazyPyramidStore(SOURCE, workers=2)
    zarr.open(store)["0"][...]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("lazypyr"))


@pytest.mark.fault("N25")
def test_a_zip_archive_alive_at_fork_is_read_by_each_child(tmp_path):
    """Parent and children share the position in a file that is open: bytes of one would end up in another."""
    pixels = np.random.default_rng(0).integers(0, 4000, (512, 512), "u2")
    archive = zarr.storage.ZipStore(tmp_path / "a.zip", mode="w")
    zarr.create_array(archive, data=pixels, chunks=(32, 32))
    archive.close()
    python(
        """
import os, sys, threading, numpy as np, zarr, lazypyr
opened = zarr.storage.ZipStore(sys.argv[1], mode="r")
expected = zarr.open_array(opened, mode="r")[...]
stores = [lazypyr.LazyPyramidStore(src, chunks=(32, 32), cache_bytes=0, workers=2) for src in (sys.argv[1], opened)]
def right():
    return all(np.array_equal(zarr.open_group(store, mode="r")["0"][...], expected) for store in stores)
assert right()
reading = threading.Thread(target=lambda: [right() for _ in range(3)])
reading.start()
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        os._exit(0 if right() else 1)
    children.append(pid)
assert right()
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
reading.join()
""",
        tmp_path / "a.zip",
    )
