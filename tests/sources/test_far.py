"""Sources that are far: each stored byte is fetched once, many requests are on their way, counted on loopback."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorstore as ts
import zarr
from zarr.codecs import ShardingCodec

import lazypyr
from lazypyr.sources.far import requests
from lazypyr.sources.far.shards import ShardTable, runs_of
from support.far import METADATA, Far
from support.waiting import until

PIXELS = np.random.default_rng(0).random((1000, 1200), dtype="f4").round(1)


@pytest.fixture(scope="module")
def far():
    return Far()


@pytest.fixture(autouse=True)
def healthy(far, monkeypatch):
    # A busy machine is slow: what is asked for twice because of that would be counted.
    monkeypatch.setattr(requests, "LIMITS", replace(requests.LIMITS, hedge_share=0))
    yield
    far.fault, far.latency, far.headers, far.tags = lambda path, times: None, 0.0, {}, {}


def stored(far, name, pixels=PIXELS, **options):
    options = {"chunks": (128, 128), "dimension_names": tuple("tyx"[-pixels.ndim :]), **options}
    path = far.root / name
    if not path.exists():
        zarr.create_array(str(path), data=pixels, **options)
    return f"{far.url}/{name}"


class Together:
    """Answers of chunks are held back until so many requests are there: without them the test ends by its time limit."""

    def __init__(self, far, count):
        self.far, self.count = far, count
        far.fault = lambda path, times: None if path.endswith(METADATA) else self

    def is_set(self):
        return self.far.most >= self.count


def screen(store, level, rows, columns, **window):
    """Tiles of a level, all asked for at once, as zarr's store gives them."""
    keys = [f"{level}/c/{row}/{column}" for row in range(rows) for column in range(columns)]
    with zarr.config.set({"async.concurrency": 64}):
        array = zarr.open_group(store, mode="r")[str(level)]
        return keys, array[: rows * 256, : columns * 256]


@pytest.mark.parametrize("chunks", [(128, 128), (100, 100), (225, 450), (384, 384), (700, 900)])
@pytest.mark.parametrize("method", ["stride", "mean"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_screen_fetches_each_stored_chunk_once(far, chunks, method, level):
    url = stored(far, f"of-{chunks[0]}-{chunks[1]}", chunks=chunks)
    store = lazypyr.LazyPyramidStore(url, method=method, workers=2)
    far.reset()
    _, got = screen(store, level, 4, 5)
    whole = lazypyr.LazyPyramidStore(PIXELS, method=method).pyramid.read(level)
    np.testing.assert_array_equal(got, whole[: got.shape[0], : got.shape[1]])
    assert set(far.chunks.values()) == {1}, far.chunks.most_common(3)
    assert len(far.chunks) == np.prod([-(-n // c) for n, c in zip(PIXELS.shape, chunks, strict=True)])


def test_more_are_on_their_way_than_there_are_threads(far):
    """At most 64, and all that one tile needs at once: a tile is one round trip."""
    url = stored(far, "small", chunks=(64, 64))
    store = lazypyr.LazyPyramidStore(url, method="mean", workers=1)
    far.reset()
    Together(far, 64)
    np.testing.assert_array_equal(
        np.frombuffer(store["1/c/0/0"], "f4").reshape(256, 256),
        lazypyr.LazyPyramidStore(PIXELS, method="mean").pyramid.read(1)[:256, :256],
    )
    assert far.most == 64
    assert len(far.chunks) == 64


@pytest.mark.parametrize("method", ["stride", "mean", "median"])
def test_a_plain_read_asks_ahead_as_well(far, method):
    url = stored(far, "small", chunks=(64, 64))
    pyramid = lazypyr.open_pyramid(url, method=method)
    far.reset()
    Together(far, 33)
    np.testing.assert_array_equal(pyramid.read(1), lazypyr.open_pyramid(PIXELS, method=method).read(1))
    assert set(far.chunks.values()) == {1}


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_shards_are_read_by_their_index_and_by_ranges(far, index_location):
    """The index once, neighbours in one range, nothing of what isn't needed."""
    name = f"shards-{index_location}"
    if not (far.root / name).exists():
        codec = ShardingCodec(chunk_shape=(128, 128), index_location=index_location)
        array = zarr.create_array(
            str(far.root / name), shape=PIXELS.shape, chunks=(512, 640), dtype="f4", serializer=codec,
            compressors=None, filters=None, dimension_names=("y", "x"),
        )  # fmt: skip
        array[...] = PIXELS
    store = lazypyr.LazyPyramidStore(f"{far.url}/{name}", workers=2)
    far.reset()
    _, got = screen(store, 0, 1, 2)
    np.testing.assert_array_equal(got, PIXELS[:256, :512])
    # 8 of the 20 chunks of one shard, in two rows of it.
    assert len(far.chunks) <= 3
    assert far.bytes < 13 * 128 * 128 * 4
    far.reset()
    screen(store, 0, 2, 4)
    assert not [key for key in far.chunks if "c/0/0" in key and ("=0-" in key or "=-" in key)], "its index is known"


@pytest.mark.parametrize("shards", [(1024, 1024), (2048, 2048)])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_screen_over_shards_takes_at_most_one_request_more_a_shard_than_tensorstore(far, shards, level):
    name = f"big-{shards[0]}"
    if not (far.root / name).exists():
        pixels = np.random.default_rng(1).random((2048, 2048), dtype="f4")
        stored(far, name, pixels, chunks=(512, 512), shards=shards, compressors=None)
    size = min(768, 2048 >> level), min(1024, 2048 >> level)
    spec = {"driver": "zarr3", "kvstore": {"driver": "http", "base_url": far.url, "path": f"/{name}/"}}
    theirs = ts.downsample(ts.open(spec).result(), [2**level] * 2, "stride")[: size[0], : size[1]]
    far.reset()
    expected = theirs.read().result()
    n_theirs, opened, n_bytes = sum(far.chunks.values()), {key.split()[1] for key in far.chunks}, far.bytes
    store = lazypyr.LazyPyramidStore(f"{far.url}/{name}", workers=2)
    far.reset()
    far.latency = 0.1  # as of a far store: tiles that come after each other find each other waiting
    with zarr.config.set({"async.concurrency": 64}):
        got = zarr.open_group(store, mode="r")[str(level)][: size[0], : size[1]]
    np.testing.assert_array_equal(got, expected)
    assert sum(far.chunks.values()) <= n_theirs + len(opened), far.log
    assert far.bytes <= 1.05 * n_bytes


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_a_small_shard_of_which_all_is_wanted_comes_in_one_request(far, index_location):
    name = f"whole-{index_location}"
    if not (far.root / name).exists():
        codec = ShardingCodec(chunk_shape=(128, 128), index_location=index_location)
        options = {"chunks": (256, 256), "serializer": codec, "compressors": None, "filters": None}
        pixels = PIXELS[:600, :500].copy()
        pixels[:128, :128] = 0  # absent
        array = zarr.create_array(
            str(far.root / name), shape=(600, 500), dtype="f4", dimension_names=("y", "x"), **options
        )
        array[...] = pixels
    expected = zarr.open_array(str(far.root / name), mode="r")[...]
    store = lazypyr.LazyPyramidStore(f"{far.url}/{name}", method="mean", workers=2)
    far.reset()
    _, got = screen(store, 0, 3, 2)
    np.testing.assert_array_equal(got, expected)
    assert set(far.chunks) == {f"GET /{name}/c/{i}/{j}" for i in range(3) for j in range(2)}
    assert set(far.chunks.values()) == {1}
    far.reset()
    store.engine.clear()
    assert not np.any(store.pyramid[0][:100, :100])
    np.testing.assert_array_equal(store.pyramid[0][300:310, 300:310], expected[300:310, 300:310])
    assert sum(far.chunks.values()) == 1, "its index is known, and what is absent"


@pytest.mark.parametrize("seed", range(5))
def test_much_of_a_shard_comes_in_at_most_one_span_more_than_it_has_runs(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 2**20, 64)
    starts = np.concatenate([[0], np.cumsum(lengths + rng.choice([0, 2**18 + 1], 64, p=(0.9, 0.1)))[:-1]])
    table = ShardTable(np.stack([starts, lengths], 1).astype("u8"), None)
    wanted = sorted(rng.choice(64, 48, replace=False))
    spans = runs_of(table, [(n, n) for n in rng.permutation(wanted)]).spans
    ends = {n: starts[n] + lengths[n] for n in wanted}
    n_runs = 1 + sum(starts[b] - ends[a] > 2**18 for a, b in zip(wanted, wanted[1:], strict=False))
    assert len(spans) <= n_runs + 1
    assert sorted(n for _, _, parts in spans for _, _, n in parts) == wanted
    for start, stop, parts in spans:
        assert [(offset, length) for offset, length, _ in parts] == [(starts[n], lengths[n]) for _, _, n in parts]
        assert (start, stop) == (parts[0][0], parts[-1][0] + parts[-1][1])


@pytest.mark.parametrize("options", [
    {"chunks": (128, 128)}, {"chunks": (100, 100)}, {"chunks": (384, 384)},
    {"chunks": (100, 100), "shards": (300, 400)}, {"chunks": (128, 128), "shards": (512, 640), "compressors": None},
])  # fmt: skip
@pytest.mark.parametrize("method", ["stride", "mean", "median"])
def test_explain_tells_the_requests_and_bytes_of_a_tile(far, options, method):
    name = "-".join(["explain", *(str(n) for shape in (options["chunks"], options.get("shards", ())) for n in shape)])
    store = lazypyr.LazyPyramidStore(stored(far, name, **options), method=method, workers=2, cache_bytes=2**26)
    for key in ("0/c/0/0", "0/c/1/1", "0/c/1/1", "1/c/0/1", "0/c/2/2", "2/c/0/0"):
        told = store.explain(key)
        far.reset()
        assert store[key] is not None
        made = sum(far.chunks.values())
        assert (told.total_requests > 0) == (made > 0), key
        # How long the chunks are that were not seen yet, nobody knows.
        assert abs(told.total_requests - made) <= (1 if "shards" in options else 0), (key, str(told), far.log)
        assert told.total_request_bytes >= 0.9 * far.bytes * (told.total_requests >= made)
    assert lazypyr.LazyPyramidStore(PIXELS, method=method).explain("1/c/0/0").total_requests == 0
    assert store.explain("0/c/0/0").total_requests == 0, "it is cached"


def test_explain_tells_the_requests_of_a_product_and_of_absent_chunks(far):
    url = stored(
        far, "explain-product", np.arange(2 * 300 * 300).reshape(2, 300, 300).astype("c8"), chunks=(1, 300, 300)
    )
    store = lazypyr.LazyPyramidStore(url, product=lambda z: z[0] + z[1])
    told = store.explain("0/c/0/0")
    assert (told.total_requests, told.total_request_bytes) == (2, 2 * 300 * 300 * 8)
    assert str(told).count("requests: 1, about 720,000 bytes") == 2
    assert [part["requests"] for part in told.as_dict()["inputs"]] == [1, 1]
    far.reset()
    store["0/c/0/0"]
    assert sum(far.chunks.values()) == 2
    absent = lazypyr.LazyPyramidStore(stored(far, "absent-explained", np.zeros((256, 256), "f4")))
    assert absent.explain("0/c/0/0").total_requests == 4
    absent["0/c/0/0"]
    absent.engine.clear()
    assert absent.explain("0/c/0/0").total_requests == 0


@pytest.mark.parametrize("options", [{}, {"shards": (512, 640)}, {"chunks": (384, 384)}], ids=str)
def test_all_memory_is_within_the_bounds_and_told_by_its_parts(far, options):
    """Tiles, pictures, stored and decoded chunks, indices, what is on its way and what is computed: one sum."""
    url = stored(far, f"memory-{'-'.join(options)}", **options)
    cache_bytes, inflight_bytes = 3 * 2**20, 4 * 2**20
    store = lazypyr.LazyPyramidStore(
        url, method="mean", cache_bytes=cache_bytes, inflight_bytes=inflight_bytes, workers=2
    )
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(store.stats()["memory"])
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    far.latency = 0.02
    try:
        for level in (1, 0, 2):
            screen(store, level, 4, 5)
    finally:
        done.set()
        thread.join()
    seen.append(store.stats()["memory"])
    parts = {"tiles", "decoded_chunks", "stored_chunks", "entries", "fetching", "computing", "indices"}
    assert all(set(memory) == parts and min(memory.values()) >= 0 for memory in seen)
    assert max(sum(memory.values()) for memory in seen) <= cache_bytes + inflight_bytes
    most = {part: max(memory[part] for memory in seen) for part in parts}
    assert all(most[part] > 0 for part in parts - {"indices", "decoded_chunks"}), most
    assert (most["indices"] > 0) == ("shards" in options)
    kept = ("tiles", "decoded_chunks", "stored_chunks", "entries")
    assert sum(seen[-1][part] for part in kept) == store.engine.cache_storage.values.currsize
    until(lambda: store.stats()["memory"]["fetching"] == store.stats()["memory"]["computing"] == 0)


def test_absent_chunks_are_asked_for_once(far):
    url = stored(far, "absent", np.zeros((512, 512), "f4"))
    store = lazypyr.LazyPyramidStore(url, cache_bytes=2**20, workers=2)
    far.reset()
    for _ in range(2):
        store.engine.clear()
        assert not np.any(store.pyramid[0][:])
        assert not np.frombuffer(store["0/c/0/0"], "f4").any()
    assert sum(far.chunks.values()) == 16
    assert sum(far.metadata.values()) <= 2, "that the array is still there is asked once for all of them"


def test_inputs_of_a_product_are_read_side_by_side(far):
    stack = np.arange(2 * 300 * 300).reshape(2, 300, 300).astype("c8")
    url = stored(far, "stack", stack, chunks=(1, 300, 300))
    store = lazypyr.LazyPyramidStore(url, product="intf_0", workers=1)
    array = zarr.open_group(store, mode="r")["0"]
    array[0, :10, :10]  # compiles
    far.reset()
    store.engine.clear()
    Together(far, 2)
    array[0, :10, :10]
    assert far.most == len(far.chunks) > 1
