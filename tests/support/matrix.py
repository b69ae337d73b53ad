"""A script for tests/engine/test_deadlocks.py: 32 threads read all levels of every kind of source through zarr.

Arguments: workers, threads of zarr (0: its default), a scratch folder.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import zarr
from zarr.storage import WrapperStore

from lazypyr import LazyPyramidStore, collection
from lazypyr.engine.engine import Engine
from support.faultstore import bytes_of
from support.running import together
from support.sources import zarr_array

READERS = 32


def kinds(folder, source, workers):
    """Name and source; all hold the same pixels."""
    import dask.array as da

    options = {"chunks": (32, 32), "workers": workers}
    made = zarr_array(source, store=folder / "a.zarr", chunks=(64, 64))
    memory = zarr_array(source, chunks=(64, 64), compressors=None)
    sharded = zarr_array(source, chunks=(32, 32), shards=(64, 64))
    nested = LazyPyramidStore(LazyPyramidStore(made, **options), **options)
    wrapped = lambda store: zarr.open(WrapperStore(store), mode="r")["0"]
    once = wrapped(LazyPyramidStore(made, **options))
    twice = wrapped(LazyPyramidStore(once, **options))
    shared = Engine(workers=workers)
    inner = LazyPyramidStore(made, chunks=(32, 32), engine=shared)
    yield "numpy", source
    yield "local zstd", made
    yield "memory", memory
    yield "sharded, wrapped", zarr.open(WrapperStore(sharded.store), mode="r")
    yield "dask", da.from_array(source, chunks=(64, 64))
    yield "dask over zarr", da.from_zarr(made)
    yield "dask over a lazy store", da.from_zarr(zarr.open(LazyPyramidStore(made, **options))["0"])
    yield "mapping", bytes_of(memory.store)
    yield "lazy store", LazyPyramidStore(made, **options)
    yield "lazy store of a lazy store", nested
    yield "lazy array", zarr.open(nested)["0"]
    yield "wrapped lazy array", once
    yield "lazy array wrapped twice", twice
    yield (
        "mapping of a lazy store",
        {k.removeprefix("0/"): v for k, v in inner.items() if k[:2] == "0/"},
    )
    yield "lazy mapping", Below(LazyPyramidStore(made, **options), "0/")
    yield "wrapped lazy array in the same engine", (wrapped(inner), shared)


class Below(dict):
    """A mapping that computes what is asked of it."""

    def __init__(self, store, prefix):
        self.store, self.prefix = store, prefix

    def __getitem__(self, key):
        return self.store[self.prefix + key]

    def __contains__(self, key):
        return self.prefix + key in self.store

    def __iter__(self):
        return (key.removeprefix(self.prefix) for key in self.store if key.startswith(self.prefix))

    def keys(self):
        return list(self)


def read_all(name, src, workers, source):
    src, engine = src if isinstance(src, tuple) else (src, Engine(workers=workers))
    store = LazyPyramidStore(src, engine=engine, **({} if lazy(src) else {"chunks": (16, 16), "method": "mean"}))
    group = zarr.open(store)
    levels = [group[str(k)] for k in range(len(store.pyramid.levels))]

    def read(i):
        rng = random.Random(i)
        for _ in range(4):
            level = rng.choice(levels)
            y, x = (rng.randrange(0, n, 16) for n in level.shape)
            level[y : y + 40, x : x + 24]
        return levels[-1][...]

    got = together(READERS, read, timeout=50)
    failed = [error for error in got if isinstance(error, BaseException)]
    if failed:
        raise failed[0]
    assert all(np.array_equal(tile, got[0]) for tile in got)
    np.testing.assert_array_equal(levels[0][...], source)
    info = store.cache_info()
    assert info.in_flight == 0, info
    print("done:", name, info.computes)


def lazy(src):
    return isinstance(src, LazyPyramidStore) or isinstance(getattr(src, "store", None), LazyPyramidStore)


def main():
    workers, threads, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    if threads:
        zarr.config.set({"threading.max_workers": threads, "async.concurrency": 4})
    source = np.random.default_rng(0).normal(size=(256, 192)).astype("f4")
    for name, src in kinds(folder, source, workers):
        read_all(name, src, workers, source)
    several = collection({"a": source, "b": zarr_array(source, chunks=(64, 64))}, chunks=(16, 16), workers=workers)
    root = zarr.open(several)
    assert all(
        np.array_equal(level, source[::2, ::2]) for level in together(READERS, lambda i: root["ab"[i % 2]]["1"][...])
    )
    print("done: all")


if __name__ == "__main__":
    main()
