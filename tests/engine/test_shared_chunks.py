"""Stored chunks that many tiles share are decoded once or a few times, within the memory that the cache may take."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import lazypyr
from lazypyr.sources.decoder import ChunkDecoder


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
@pytest.mark.parametrize("method", ["stride", "mean"])
def test_a_screen_decodes_each_chunk_once(chunks, method, decoded):
    """In one thread; of two that want all of a chunk and a part of it at the same moment, each decodes it."""
    pixels, source = array((1200, 1400), chunks, "f4")
    store = lazypyr.LazyPyramidStore(source, method=method, workers=1)
    got = zarr.open_group(store, mode="r")["0"][...]
    np.testing.assert_array_equal(got, pixels)
    assert decoded["chunks"] == np.prod([-(-n // c) for n, c in zip(pixels.shape, chunks, strict=True)])


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
