"""Sources that lack chunks, or whose chunks fail: what is absent is fill value, what failed is an error, each time."""

from __future__ import annotations

import shutil
import threading

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, SourceError
from lazypyr.sources.base import counters
from support.faultstore import FaultMapping, FaultStore, bytes_of
from support.running import together
from support.sources import Place, random_array, zarr_array
from support.waiting import set_when, waiting_in

SOURCE = random_array(0, (64, 64), "<i4")
KINDS = pytest.mark.parametrize("kind", Place.KINDS)
CODECS = {
    "raw": {"compressors": None},
    "zstd": {"compressors": ZstdCodec()},
    "gzip": {"compressors": GzipCodec()},
    "blosc": {"compressors": BloscCodec(cname="lz4")},
    "crc32c": {"compressors": [Crc32cCodec()]},
    "zstd crc32c": {"compressors": [ZstdCodec(), Crc32cCodec()]},
    "v2 zlib": {"zarr_format": 2, "compressors": {"id": "zlib", "level": 1}},
    "v2 blosc": {"zarr_format": 2, "compressors": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1}},
    "v2 shuffle": {"zarr_format": 2, "compressors": None, "filters": [numcodecs.Shuffle(4)]},
    "big-endian": {"compressors": None, "serializer": BytesCodec(endian="big")},
}
DAMAGE = {
    "half": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "empty": lambda data: b"",
    "garbage": lambda data: bytes(np.random.default_rng(0).integers(0, 256, max(40, len(data) // 3), "u1")),
}


def key_of(options, *index):
    return ".".join(map(str, index)) if options.get("zarr_format") == 2 else f"c/{'/'.join(map(str, index))}"


def whole(store):
    return [zarr.open(store)[str(k)][...] for k in range(len(store.pyramid.levels))]


@KINDS
@pytest.mark.fault("S1")
@pytest.mark.parametrize("method", ["stride", "mean", "max"])
@pytest.mark.parametrize("shards", [None, (32, 32)])
def test_absent_chunks_are_fill_value(kind, method, shards, tmp_path):
    """Which counts as data unless it is declared to be none."""
    filled = SOURCE.copy()
    filled[16:32, 32:48] = filled[32:64, 0:32] = -7
    options = {"chunks": (16, 16), "shards": shards, "fill_value": -7}
    place = Place(kind, tmp_path, filled if shards else SOURCE, **options)
    if shards:
        assert "c/1/0" not in place.content, "zarr doesn't store what is fill value, inside of shards too"
    else:
        for key in ("c/1/2", "c/2/0", "c/2/1", "c/3/0", "c/3/1"):
            del place[key]
    expected, before = LazyPyramidStore(filled, method=method, chunks=(8, 8)), counters.absent_chunks
    for got, level in zip(
        whole(LazyPyramidStore(place.src, method=method, chunks=(8, 8))), whole(expected), strict=True
    ):
        np.testing.assert_array_equal(got, level)
    assert counters.absent_chunks > before
    nodata = {"method": method, "chunks": (8, 8), "nodata": -7}
    for got, level in zip(
        whole(LazyPyramidStore(place.src, **nodata)), whole(LazyPyramidStore(filled, **nodata)), strict=True
    ):
        np.testing.assert_array_equal(got, level)


@KINDS
@pytest.mark.fault("S2")
@pytest.mark.parametrize("codec", CODECS)
def test_damaged_chunks(kind, codec, tmp_path):
    """An error that names key, level and window; nothing kept of it; other tiles fine; whole again after repair."""
    options = CODECS[codec]
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16), **options)
    key = key_of(options, 1, 2)
    for damage in DAMAGE.values():
        store = LazyPyramidStore(place.src, method="mean", chunks=(16, 16), workers=2)
        group = zarr.open(store)
        place[key] = damage(place.before[key])
        for level, window in ((0, ((16, 32), (32, 48))), (1, ((0, 16), (16, 32))), (2, ((0, 16), (0, 16)))):
            for _ in range(2):
                with pytest.raises(SourceError) as caught:
                    group[str(level)][tuple(slice(*w) for w in window)]
                assert (caught.value.level, caught.value.window) == (level, window)
                assert caught.value.__cause__ is not None
                assert caught.value.key == key
        np.testing.assert_array_equal(group["0"][:16], SOURCE[:16])
        np.testing.assert_array_equal(group["0"][32:], SOURCE[32:])
        assert not any(f"{k}/c/0/{i}" in cached(store) for k, i in ((1, 1), (2, 0)))
        place.restore()
        for got, level in zip(
            whole(store), whole(LazyPyramidStore(SOURCE, method="mean", chunks=(16, 16))), strict=True
        ):
            np.testing.assert_array_equal(got, level)


def cached(store):
    peek = lambda level, index: store.engine.get_cached(store.pyramid, level, index) is not None
    return {key for key in store if "/c/" in key and peek(int(key[0]), tuple(map(int, key.split("/")[2:])))}


@KINDS
@pytest.mark.fault("S2", "S3")
@pytest.mark.parametrize("codec", ["crc32c", "zstd crc32c"])
@pytest.mark.parametrize("at", [0, 5, -1])
def test_flipped_bits_under_a_checksum(kind, codec, at, tmp_path):
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16), **CODECS[codec])
    flipped = bytearray(place.content["c/0/0"])
    flipped[at] ^= 4
    place["c/0/0"] = bytes(flipped)
    with pytest.raises(SourceError, match="checksum"):
        LazyPyramidStore(place.src, chunks=(16, 16))["0/c/0/0"]


@KINDS
@pytest.mark.fault("S3")
def test_flipped_bits_without_a_checksum_go_unseen(kind, tmp_path):
    """As the documentation says: nobody can know. Other pixels are right."""
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16), compressors=None)
    flipped = bytearray(place.content["c/0/0"])
    flipped[5] ^= 4
    place["c/0/0"] = bytes(flipped)
    level = zarr.open(LazyPyramidStore(place.src, chunks=(16, 16)))["0"][...]
    assert (level != SOURCE).sum() == 1


@KINDS
@pytest.mark.fault("S2")
@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("damage", ["index", "chunk", "half", "empty", "beyond"])
def test_damaged_shards(kind, damage, index_location, tmp_path):
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(16, 16), codecs=[BytesCodec(), ZstdCodec()], index_location=index_location
    )
    place = Place(kind, tmp_path, SOURCE, chunks=(32, 32), serializer=codec, compressors=None)
    data = bytearray(place.content["c/0/1"])
    index = len(data) - 68 if index_location == "end" else 0
    if damage == "index":
        data[index + 3] ^= 1
    elif damage == "chunk":
        offset, length = np.frombuffer(bytes(data[index : index + 16]), "<u8")
        data[int(offset) : int(offset + length)] = bytes(int(length))
    elif damage == "half":
        data = data[: len(data) // 2] if index_location == "end" else data[:100]
    elif damage == "empty":
        data = b""
    else:
        table = np.frombuffer(bytes(data[index : index + 64]), "<u8").copy()
        table[1] = 10**6
        body = table.tobytes()
        from google_crc32c import value

        data[index : index + 68] = body + value(body).to_bytes(4, "little")
    place["c/0/1"] = bytes(data)
    store = LazyPyramidStore(place.src, method="mean", chunks=(16, 16), workers=2)
    group = zarr.open(store)
    with pytest.raises(SourceError):
        group["0"][:16, 32:48]
    with pytest.raises(SourceError):
        group["2"][...]
    np.testing.assert_array_equal(group["0"][32:], SOURCE[32:])
    np.testing.assert_array_equal(group["0"][:, :32], SOURCE[:, :32])
    if damage == "chunk" and kind != "zarr":  # where a shard is got whole, it fails whole
        np.testing.assert_array_equal(group["0"][16:32, 48:], SOURCE[16:32, 48:])
    place.restore()
    store.refresh()
    np.testing.assert_array_equal(zarr.open(store)["0"][...], SOURCE)


@pytest.mark.fault("S4", "S5")
@pytest.mark.parametrize("kind", ["zarr", "mapping"])
@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), TimeoutError("too slow"), ConnectionResetError("gone"), KeyError("bug"),
     FileNotFoundError("bug"), RuntimeError("bug"), StopIteration("bug")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_a_read_that_fails_once(kind, error):
    """Never fill value, nor KeyError out of the mapping; the next read tries again."""
    made = zarr_array(SOURCE, chunks=(16, 16))
    src = FaultStore(made.store) if kind == "zarr" else FaultMapping(bytes_of(made.store))
    store = LazyPyramidStore(src, method="mean", chunks=(16, 16), workers=2)
    group = zarr.open(store)
    for level, ask in ((1, lambda: store["1/c/0/0"]), (2, lambda: group["2"][...])):
        src.script["c/1/1"] = [error]
        with pytest.raises(SourceError) as caught:
            ask()
        assert caught.value.level == level
        assert type(error).__name__ in str(caught.value) or "StopIteration" in repr(caught.value.__cause__)
        assert not src.script["c/1/1"]
    expected = whole(LazyPyramidStore(SOURCE, method="mean", chunks=(16, 16)))
    for got, level in zip(whole(store), expected, strict=True):
        np.testing.assert_array_equal(got, level)


@pytest.mark.fault("S4")
def test_many_readers_of_a_read_that_fails_once():
    src = FaultMapping(bytes_of(zarr_array(SOURCE, chunks=(64, 64)).store))
    gate = threading.Event()
    store = LazyPyramidStore(src, chunks=(64, 64), workers=2)

    def fail(value):
        assert gate.wait(60)
        raise OSError("once")

    src.script["c/0/0"] = [fail]
    set_when(gate, lambda: waiting_in(store.engine._cache) >= 32)
    got = together(32, lambda i: store["0/c/0/0"])
    assert {type(e) for e in got} == {SourceError}
    assert src.reads["c/0/0"] == 1
    assert store["0/c/0/0"] == SOURCE.tobytes()


@KINDS
@pytest.mark.fault("S9")
def test_a_source_that_is_gone(kind, tmp_path):
    """Its chunks are absent then, and that must not read as fill value."""
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16))
    store = LazyPyramidStore(place.src, chunks=(16, 16))
    warm = store["0/c/0/0"]
    if kind == "local":
        shutil.rmtree(place.folder)
    else:
        for key in list(place.content):
            del place[key]
    with pytest.raises(SourceError):
        store["0/c/1/1"]
    with pytest.raises(SourceError):
        store["2/c/0/0"]
    assert store["0/c/0/0"] == warm, "what is cached is of the source as it was opened"
    with pytest.raises(SourceError):
        store.refresh()


@KINDS
@pytest.mark.fault("S9")
def test_a_source_that_changed_its_shape(kind, tmp_path):
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16))
    store = LazyPyramidStore(place.src, chunks=(16, 16), method="mean")
    cold = LazyPyramidStore(place.src, chunks=(16, 16))
    first, mark = store["1/c/0/0"], store.fingerprint
    other = random_array(1, (40, 48), "<i4")
    new = bytes_of(zarr_array(other, chunks=(8, 8)).store)
    for key in list(place.content):
        del place[key]
    for key, value in new.items():
        place[key] = value
    # Stores that cost a question are asked each second only; the chunk doesn't fit either.
    said = "refresh" if kind in ("local", "memory") else "expected 1024 decoded bytes|refresh"
    with pytest.raises(SourceError, match=said):
        cold["0/c/1/1"]

    assert store["1/c/0/0"] == first
    store.refresh()
    assert store.fingerprint != mark
    expected = whole(LazyPyramidStore(other, method="mean", chunks=(16, 16)))
    for got, level in zip(whole(store), expected, strict=False):
        np.testing.assert_array_equal(got, level)
    assert zarr.open(store)["0"].shape == (40, 48)


@pytest.mark.parametrize("kind", ["local", "mapping", "memory"])
def test_refresh_sees_new_values(kind, tmp_path):
    place = Place(kind, tmp_path, SOURCE, chunks=(16, 16), compressors=None)
    store = LazyPyramidStore(place.src, chunks=(16, 16))
    before = whole(store)
    for key in [key for key in place.content if key.startswith("c/")]:
        place[key] = (np.frombuffer(place.before[key], "<i4") + 1).tobytes()
    np.testing.assert_array_equal(whole(store)[1], before[1])
    store.refresh()
    for old, new in zip(before, whole(store), strict=True):
        np.testing.assert_array_equal(new, old + 1)


@pytest.mark.fault("S9")
def test_lost_metadata_of_a_source(tmp_path):
    place = Place("local", tmp_path, SOURCE, chunks=(16, 16))
    store = LazyPyramidStore(place.src, chunks=(16, 16))
    place["zarr.json"] = b"{not json"
    with pytest.raises(SourceError, match=r"zarr\.json"):
        store["0/c/0/0"]
    with pytest.raises(SourceError):
        store.refresh()


def test_chunks_that_grow_while_the_store_is_open(tmp_path):
    """A chunk that comes later is seen when its tile is read for the first time."""
    empty = zarr.create_array(tmp_path / "a", shape=(64, 64), chunks=(16, 16), dtype="<i4", fill_value=0)
    store = LazyPyramidStore(tmp_path / "a", chunks=(16, 16))
    assert store["0/c/0/0"] == bytes(1024)
    empty[...] = SOURCE
    assert store["0/c/0/0"] == bytes(1024), "cached"
    assert store["0/c/2/2"] == SOURCE[32:48, 32:48].tobytes()
    store.refresh()
    np.testing.assert_array_equal(zarr.open(store)["0"][...], SOURCE)


def test_errors_survive_a_pickle():
    import pickle

    error = SourceError("m", key="c/0", level=2, window=((0, 1),))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.key, again.level, again.window) == (SourceError, "m", "c/0", 2, ((0, 1),))
    assert isinstance(again, OSError)


def test_a_memory_store_that_is_not_quite_one():
    """A subclass of MemoryStore does what it does: it is read through zarr, not through what it holds."""

    class Inverted(MemoryStore):
        async def get(self, key, prototype, byte_range=None):
            value = await super().get(key, prototype, byte_range)
            if value is None or "c/" not in key:
                return value
            return prototype.buffer.from_bytes(bytes(255 - b for b in value.to_bytes()))

    made = zarr_array(np.arange(64, dtype="u1").reshape(8, 8), store=Inverted(), compressors=None)
    np.testing.assert_array_equal(
        zarr.open(LazyPyramidStore(made))["0"][...], 255 - np.arange(64, dtype="u1").reshape(8, 8)
    )
