"""Stored chunks that many tiles share are decoded once or a few times, within the memory that the cache may take."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import lazypyr
from lazypyr.sources.chunk_memory import using_memory
from lazypyr.sources.decoder import ChunkDecoder
from support.waiting import until


@pytest.fixture
def decoded(monkeypatch):
    """Count of the chunks that are decoded."""
    count = Counter()
    decode = ChunkDecoder.decode

    def counted(self, stored, memory=None):
        count["chunks"] += 1
        return decode(self, stored, memory)

    monkeypatch.setattr(ChunkDecoder, "decode", counted)
    return count


def array(shape, chunks, dtype="i2"):
    pixels = np.random.default_rng(0).integers(0, 4000, shape).astype(dtype)
    names = ("time", "y", "x")[-len(shape) :]
    return pixels, zarr.create_array(MemoryStore(), data=pixels, chunks=chunks, dimension_names=names)


@pytest.mark.parametrize("mib", [16, 256])
@pytest.mark.parametrize("frames", [100, 500])
def test_small_frames_in_one_chunk(frames, mib, decoded):
    pixels, source = array((frames, 64, 64), (frames, 64, 64))
    store = lazypyr.LazyPyramidStore(source, cache_bytes=mib * 2**20)
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0"][...], pixels)
    assert decoded["chunks"] <= 4


@pytest.mark.parametrize(("mib", "level"), [(2, 0), (12, 0), (256, 0), (12, 1)])
def test_dates_of_chunks_that_hold_all_of_them(mib, level, decoded):
    """A tile of each of 60 dates: there is no size of cache below which each date decodes all chunks again."""
    pixels, source = array((60, 300, 300), (60, 10, 10))
    store = lazypyr.LazyPyramidStore(source, cache_bytes=mib * 2**20)
    got = [zarr.open_group(store, mode="r")[str(level)][date, 5, 5] for date in range(60)]
    np.testing.assert_array_equal(got, pixels[:, 5 * 2**level, 5 * 2**level])
    chunks = 26 * 26 if level == 0 else 30 * 30
    assert decoded["chunks"] <= {256: 1, 12: 4, 2: 20}[mib] * chunks


def test_a_series_of_a_thousand_dates_decodes_each_chunk_of_its_tile_once(decoded):
    pixels, source = array((1000, 64, 64), (1000, 16, 16))
    store = lazypyr.LazyPyramidStore(source, chunks=(64, 64))
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0"][:, 5, 5], pixels[:, 5, 5])
    assert decoded["chunks"] == 16
    decoded.clear()
    np.testing.assert_array_equal(store.pyramid.read(0, np.s_[:, 5:6, 5:6]).ravel(), pixels[:, 5, 5])
    assert decoded["chunks"] == 1, "one pixel, read by itself, is in one chunk"


def test_a_chunk_larger_than_the_cache(decoded):
    """As many tiles of it are kept as there is room for: 64 tiles of 2 MiB, of which 4 MiB are cached, in 20 passes at most."""
    pixels, source = array((4096, 4096), (4096, 4096), "u1")
    store = lazypyr.LazyPyramidStore(source, cache_bytes=4 * 2**20)
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["0"][...], pixels)
    assert decoded["chunks"] <= 20


@pytest.mark.parametrize("chunks", [(100, 100), (225, 450), (384, 384), (1000, 1000)])
@pytest.mark.parametrize("method", ["stride", "mean", "median"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_screen_decodes_each_chunk_once(chunks, method, level, decoded):
    """In one thread; of two, one may want all of a chunk for a moment, which is not kept, and another one a part of it later."""
    pixels, source = array((1200, 1400), chunks, "f4")
    store = lazypyr.LazyPyramidStore(source, method=method, workers=1)
    got = zarr.open_group(store, mode="r")[str(level)][...]
    np.testing.assert_array_equal(got, lazypyr.open_pyramid(pixels, method=method).read(level))
    assert decoded["chunks"] == np.prod([-(-n // c) for n, c in zip(pixels.shape, chunks, strict=True)])


WHOLE, PART, OTHER = ((0, 100), (0, 100)), ((10, 60), (0, 100)), ((20, 100), (30, 150))


@pytest.mark.parametrize("cache_bytes", [0, 2**24])
@pytest.mark.parametrize("windows", list(itertools.permutations([WHOLE, PART, OTHER], 2)))
def test_threads_that_want_a_chunk_at_one_moment_decode_it_once(windows, cache_bytes, monkeypatch):
    """All of it and a part of it, in memory that is used again or not, kept or not."""
    pixels, source = array((200, 200), (100, 100), "f4")
    opened = lazypyr.open_pyramid(source).sources[0]
    engine = lazypyr.Engine(cache_bytes=cache_bytes)
    memory, decode, count = engine.chunk_memory, ChunkDecoder.decode, Counter()

    def slow(self, stored, buffer=None):
        count["began"] += 1
        # The first chunk of each window is the same one: the other thread comes for it while it is decoded.
        until(lambda: count["began"] > 1 or any(entry.wanted for entry in memory._running.values()), 10)
        block = decode(self, stored, buffer)
        count[block[0, 0].item()] += 1
        return block

    monkeypatch.setattr(ChunkDecoder, "decode", slow)
    got = {}

    def read(number, window):
        with using_memory(memory), opened.read_temporary(window) as block:
            got[number] = block.copy()

    threads = [threading.Thread(target=read, args=pair) for pair in enumerate(windows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(got[number], pixels[tuple(slice(*span) for span in window)])
    assert count[pixels[0, 0].item()] == 1
    assert not memory._running


def test_an_error_of_decoding_reaches_all_and_is_not_kept(monkeypatch):
    memory = lazypyr.Engine().chunk_memory

    def fails(*, temporary):
        until(lambda: memory._running["key"].wanted is not None, 10)
        raise ValueError("damaged")

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(memory.decode_once, "key", fails, temporary=False, keep=keep) for keep in (True, False)]
        for call in calls:
            with pytest.raises(ValueError, match="damaged"):
                call.result(30)
    block = memory.decode_once("key", lambda *, temporary: np.ones(3), temporary=True, keep=True)
    assert memory.peek_decoded("key") is block
    assert not block.flags.writeable


@pytest.mark.parametrize("level", [0, 1])
def test_decoded_chunks_that_live_are_those_that_the_cache_counts(level, monkeypatch):
    _, source = array((60, 300, 300), (60, 10, 10))
    decode, alive = ChunkDecoder.decode, []

    def followed(self, stored, memory=None):
        block = decode(self, stored, memory)
        alive.append(weakref.ref(block))
        return block

    monkeypatch.setattr(ChunkDecoder, "decode", followed)
    store = lazypyr.LazyPyramidStore(source, cache_bytes=4 * 2**20)
    for date in range(30):
        store[f"{level}/c/{date}/0/0"]
    gc.collect()
    n_bytes = sum(block.nbytes for block in (one() for one in alive) if block is not None)
    assert n_bytes <= store.engine.chunk_memory.decoded_bytes <= 4 * 2**20


@pytest.mark.parametrize("cache_bytes", [0, 2**20, 8 * 2**20])
def test_shared_chunks_count_in_the_bound_of_the_cache(cache_bytes):
    pixels, source = array((1200, 1400), (384, 384), "f4")
    store = lazypyr.LazyPyramidStore(source, method="mean", cache_bytes=cache_bytes)
    for level in ("0", "1"):
        zarr.open_group(store, mode="r")[level][...]
        values = store.engine.cache_storage.values
        assert values.currsize <= cache_bytes
        kept = store.engine.chunk_memory
        assert kept.decoded_bytes + kept.stored_bytes <= values.currsize
