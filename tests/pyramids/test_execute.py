"""What is read, how often, and in how much memory; and that none of it changes a pixel."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lazypyr import LazyPyramidStore, PlanError, SourceError, open_pyramid
from lazypyr.engine.engine import Engine
from lazypyr.pyramids.plan import Strategy
from lazypyr.pyramids.reduced import ReducedPyramid
from support import reference
from support.faultstore import FaultMapping, FaultStore, bytes_of
from support.running import python, together
from support.sources import random_array, stored, zarr_array


def counted(kind, array, **options):
    """A source that counts what is read of it: through zarr's own codecs, or by ours."""
    made = zarr_array(array, **options)
    return FaultStore(made.store) if kind == "zarr" else FaultMapping(bytes_of(made.store))


def read_level(store, level):
    """All tiles of a level, one after the other."""
    served = store.pyramid.levels[level]
    for index in np.ndindex(*(-(-n // c) for n, c in zip(served.shape, store.pyramid.chunks, strict=True))):
        store[f"{level}/c/" + "/".join(map(str, index))]


SHAPES = [
    ((16, 16), (16, 16)),
    ((8, 8), (16, 16)),
    ((64, 64), (16, 16)),
    ((32, 8), (8, 8)),
    ((256, 16), (16, 16)),
]


@pytest.mark.parametrize("kind", ["zarr", "mapping"])
@pytest.mark.parametrize(("chunks", "tile"), SHAPES)
def test_one_pass_decodes_each_chunk_once_and_leaves_the_levels_warm(kind, chunks, tile):
    src = counted(kind, random_array(0, (256, 192), "<f4"), chunks=chunks)
    store = LazyPyramidStore(src, method="mean", chunks=tile, workers=2)
    assert not src.chunk_reads(), "opening reads no pixel"
    top = len(store.pyramid.levels) - 1
    read_level(store, top)
    assert set(src.chunk_reads().values()) == {1}
    assert len(src.chunk_reads()) == 256 // chunks[0] * 192 // chunks[1]
    for level in range(2, top):
        read_level(store, level)
    assert set(src.chunk_reads().values()) == {1}, "levels 2 and up are warm after the coarsest tile"


@pytest.mark.parametrize("kind", ["zarr", "mapping"])
@pytest.mark.parametrize(("chunks", "tile"), SHAPES)
def test_one_pass_of_stride(kind, chunks, tile):
    """Where a step is longer than a chunk, chunks are skipped; where it isn't, finer levels come along."""
    src = counted(kind, random_array(0, (256, 192), "<f4"), chunks=chunks)
    store = LazyPyramidStore(src, chunks=tile, workers=2)
    top = len(store.pyramid.levels) - 1
    read_level(store, top)
    skips = min(chunks) < 2**top
    assert set(src.chunk_reads().values()) == {1}
    assert (len(src.chunk_reads()) < 256 // chunks[0] * 192 // chunks[1]) == skips
    if not skips:
        for level in range(2, top):
            read_level(store, level)
        assert set(src.chunk_reads().values()) == {1}


@pytest.mark.parametrize("kind", ["zarr", "mapping"])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("workers", [1, 4])
def test_tiles_of_one_chunk_share_its_decoding(kind, level, workers):
    src = counted(kind, random_array(0, (128, 128), "<f4"), chunks=(64, 64))
    store = LazyPyramidStore(src, method="mean", chunks=(16, 16), workers=workers)
    zarr.open(store)[str(level)][...]
    assert set(src.chunk_reads().values()) == {1}
    assert len(src.chunk_reads()) == 4


@settings(max_examples=15)
@given(st.tuples(*[st.sampled_from([2, 3, 4, 8, 9, 16])] * 2), st.integers(1, 5), st.sampled_from(["zarr", "mapping"]))
def test_stride_reads_no_more_chunks_than_pixels(chunks, level, kind):
    source = random_array(0, (48, 41), "<i2")
    src = counted(kind, source, chunks=chunks)
    store = LazyPyramidStore(src, chunks=(4, 4), levels=6, cache_bytes=0, workers=1)
    tile = np.frombuffer(store[f"{level}/c/0/0"], "<i2").reshape(4, 4)
    expected = reference.stride(source, (2, 2), level)[:4, :4]
    np.testing.assert_array_equal(tile[: expected.shape[0], : expected.shape[1]], expected)
    reads, step = src.chunk_reads(), 2**level
    holding = {f"c/{y * step // chunks[0]}/{x * step // chunks[1]}" for y, x in np.ndindex(expected.shape)}
    if step >= max(chunks):
        assert set(reads) == holding
        assert len(reads) <= expected.size
    # Chunks that aren't a multiple of the step may be split between two parts of the work.
    assert set(reads.values()) <= ({1} if all(c in (2, 4, 8, 16) for c in chunks) else {1, 2})


def test_index_of_a_shard_is_read_once(tmp_path, monkeypatch):
    source = random_array(0, (128, 128), "<f4")
    zarr_array(source, store=tmp_path / "a", chunks=(16, 16), shards=(64, 64))
    reads, pread = Counter(), os.pread

    def counting(fd, length, start):
        reads[(os.readlink(f"/proc/self/fd/{fd}"), start, length)] += 1
        return pread(fd, length, start)

    monkeypatch.setattr(os, "pread", counting)
    store = LazyPyramidStore(tmp_path / "a", method="mean", chunks=(16, 16), workers=1)
    read_level(store, len(store.pyramid.levels) - 1)
    indices = {key: n for key, n in reads.items() if key[2] == 16 * 16 + 4}
    assert len(indices) == 4, "one for each shard"
    assert set(indices.values()) == {1}
    assert set(reads.values()) == {1}, "and every chunk of it once"


@settings(max_examples=40)
@given(data=st.data())
def test_room_and_threads_change_no_pixel(data):
    method = data.draw(st.sampled_from(["stride", "mean", "max", "median"]), "method")
    shape = tuple(data.draw(st.integers(1, 60)) for _ in "yx")
    source = random_array(1, shape, "<f4")
    src = data.draw(st.one_of(stored(source), st.just(source)), "source")
    tile = tuple(data.draw(st.integers(1, 12)) for _ in "yx")
    store = LazyPyramidStore(
        src,
        method=method,
        chunks=tile,
        cache_bytes=data.draw(st.sampled_from([0, 1, 700, 5000, 10**7]), "cache"),
        inflight_bytes=data.draw(st.sampled_from([20000, 60000, 10**7]), "in flight"),
        workers=data.draw(st.sampled_from([1, 2, 4]), "workers"),
    )
    count = len(store.pyramid.levels)
    expected = reference.levels(source, (2, 2), count, method)
    group = zarr.open(store)
    for k in data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6), "levels in turn"):
        np.testing.assert_array_equal(group[str(k)][...], expected[k])
    info = store.cache_info()
    assert info.currsize <= info.maxsize
    assert info.in_flight == 0
    assert store.engine.inflight_used == 0


@settings(max_examples=15)
@given(data=st.data())
def test_recipe_alone_computes_any_window(data):
    """Without an engine, and with one: the same pixels of any window."""
    source = random_array(2, (45, 38), "<f4")
    pyramid = open_pyramid(
        data.draw(stored(source)), method=data.draw(st.sampled_from(["stride", "mean"])), chunks=(7, 8)
    )
    level = data.draw(st.integers(0, len(pyramid.levels) - 1), "level")
    whole = reference.levels(source, (2, 2), level + 1, pyramid.method)[level]
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in whole.shape]
    window = tuple(slice(a, b) for a, b in bounds)
    np.testing.assert_array_equal(pyramid.read(level, window), whole[window])
    assume(all(a < b for a, b in bounds))
    run = Engine(workers=2)
    np.testing.assert_array_equal(run.read(pyramid, level, tuple(map(tuple, bounds))), whole[window])


@pytest.mark.fault("M2")
def test_a_tile_larger_than_the_gate_is_made_block_by_block():
    source = random_array(0, (512, 512), "<f4")
    expected = reference.stride(source, (2, 2), 4)
    store = LazyPyramidStore(zarr_array(source, chunks=(32, 32)), chunks=(32, 32), inflight_bytes=5000, workers=2)
    np.testing.assert_array_equal(zarr.open(store)["4"][...], expected)
    store = LazyPyramidStore(zarr_array(source, chunks=(32, 32)), chunks=(8, 8), inflight_bytes=2000, method="median")
    with pytest.raises(PlanError, match=r"4096 bytes.*inflight_bytes allows .*raise it"):
        store["5/c/0/0"]
    assert store.engine.inflight_used == 0
    assert zarr.open(store)["1"][:2, :2].shape == (2, 2)


VIRTUAL = """
import sys
import numpy as np
from lazypyr import LazyPyramidStore
from lazypyr.sources.base import Source

class Ramp(Source):
    name, dtype, axes, chunks, fingerprint = "ramp", np.dtype("<f4"), ("y", "x"), (1024, 1024), "ramp"

    def __init__(self, n):
        self.shape = n, n

    def read(self, window, step=None):
        y, x = (np.arange(a, b, s, dtype="f4") for (a, b), s in zip(window, step or (1, 1)))
        return np.add.outer(y, x)

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024

def coarsest(n, method):
    store = LazyPyramidStore(Ramp(n), method=method, cache_bytes=64 * 2**20, inflight_bytes=64 * 2**20, workers=2)
    top = len(store.pyramid.levels) - 1
    tile = np.frombuffer(store[f"{top}/c/0/0"], "<f4").reshape(256, 256)
    scale, offset = 2**top, (2**top - 1) / 2 if method == "mean" else 0
    assert np.allclose(tile[3, 5], (3 + 5) * scale + 2 * offset), tile[3, 5]

method, n = sys.argv[1], int(sys.argv[2])
coarsest(1024, method)
before = peak()
coarsest(n, method)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["stride", "mean"])
def test_memory_of_the_coarsest_tile_does_not_grow_with_the_source(method):
    """1 GiB and 16 GiB (4 GiB for means) of float32: the same peak, within cache and gate."""
    small, large = (int(python(VIRTUAL, method, n)) for n in (16384, 65536 if method == "stride" else 32768))
    assert large < small + 32, f"{small} MiB for 1 GiB, {large} MiB for the larger one"
    assert large < 64 + 64 + 50


@pytest.mark.fault("S10")
@pytest.mark.parametrize("n", [2**40, 2**50])
def test_planning_huge_arrays_takes_no_memory(n):
    from lazypyr import from_function

    def corner(level, window):
        return np.full([b - a for a, b in window], level, "u1")

    tracemalloc.start()
    store = LazyPyramidStore(from_function(corner, shape=(n, n), dtype="u1"))
    group = zarr.open(store)
    count = len(store.pyramid.levels)
    last = group["0"].cdata_shape[0] - 1
    assert store[f"0/c/{last}/{last}"] == bytes(65536)
    assert group[str(count - 1)][0, 0] == count - 1
    assert f"0/c/{last + 1}/0" not in store
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == n.bit_length() - 8
    assert peak < 10e6


@pytest.mark.fault("S10")
def test_planning_a_huge_stored_array_takes_no_memory():
    made = zarr.create_array({}, shape=(2**40, 2**40), chunks=(2**20, 2**20), dtype="u1", fill_value=7)
    tracemalloc.start()
    store = LazyPyramidStore(made)
    group = zarr.open(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert group["32"].shape == (256, 256)
    assert peak < 10e6


def test_neighbours_at_the_same_time():
    """Sixteen threads, sixteen neighbouring tiles: they share one pass."""
    src = counted("mapping", random_array(0, (256, 256), "<f4"), chunks=(128, 128))
    store = LazyPyramidStore(src, method="mean", chunks=(32, 32), workers=2)
    group = zarr.open(store)["1"]
    got = together(16, lambda i: group[i // 4 * 32 : i // 4 * 32 + 32, i % 4 * 32 : i % 4 * 32 + 32])
    assert all(tile.shape == (32, 32) for tile in got)
    assert set(src.chunk_reads().values()) == {1}


def test_neighbours_of_a_pass_that_fails():
    """One pass fails once; each neighbour then finds out by itself, and nobody is left waiting."""
    src = counted("mapping", random_array(0, (128, 128), "<f4"), chunks=(64, 64))
    store = LazyPyramidStore(src, method="mean", chunks=(16, 16), workers=2)
    for _ in range(5):
        src.script["c/0/0"] = [OSError("once")]
        got = together(4, lambda i: store[f"1/c/{i // 2}/{i % 2}"])
        failed = [error for error in got if isinstance(error, Exception)]
        assert len(failed) == 1
        assert isinstance(failed[0], SourceError)
        assert store.cache_info().in_flight == 0
        assert store.engine.inflight_used == 0
        store.engine.clear()


@pytest.mark.parametrize("method", ["mean", "stride", "median"])
@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_cold_chunk_is_planned_once_and_the_recipe_remembers_nothing(method, level, monkeypatch):
    pyramid = open_pyramid(
        zarr_array(random_array(4, (256, 192), "<f4"), chunks=(32, 32)), method=method, chunks=(16, 16)
    )
    planned, recipe = [], dict(vars(pyramid), key=pyramid.key)

    def plan(self, *window_and_context):
        planned.append(window_and_context[:2])
        return plan_of(self, *window_and_context)

    plan_of = ReducedPyramid.plan
    monkeypatch.setattr(ReducedPyramid, "plan", plan)
    LazyPyramidStore(pyramid)[f"{level}/c/0/1"]
    assert planned == [(level, ((0, 16), (16, min(32, pyramid.levels[level].shape[1]))))]
    assert {name: value for name, value in vars(pyramid).items() if name in recipe} == recipe


@pytest.mark.parametrize(
    ("method", "level", "strategy"),
    [
        ("mean", 0, Strategy.STORED),
        ("mean", 2, Strategy.LEVEL_BY_LEVEL),
        ("median", 2, Strategy.WHOLE_BOXES),
        ("stride", 2, Strategy.LEVEL_BY_LEVEL),
        ("stride", 6, Strategy.SAMPLED),
    ],
)
def test_a_plan_tells_what_is_computed_together(method, level, strategy):
    pyramid = open_pyramid(
        zarr_array(random_array(4, (256, 192), "<f4"), chunks=(32, 32)), method=method, chunks=(8, 8), levels=7
    )
    window = tuple((0, min(8, n)) for n in pyramid.levels[level].shape)
    plan = pyramid.plan(level, window, Engine())
    assert (plan.level, plan.window, plan.strategy) == (level, window, strategy)
    assert all(a <= c and d <= b for (a, b), (c, d) in zip(plan.region, window, strict=True))
    assert 0 < plan.finest_cached_level <= level or level == 0
    assert (plan.blocks is not None) == (strategy is Strategy.LEVEL_BY_LEVEL)
    np.testing.assert_array_equal(pyramid.execute(plan, Engine()), pyramid.read(level, window))
