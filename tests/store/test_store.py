"""The store against zarr's own test suite for stores, and against an eager copy of itself."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import cpu, default_buffer_prototype
from zarr.core.sync import _collect_aiterator, sync
from zarr.storage import MemoryStore
from zarr.testing.store import StoreTests
from zarr.testing.strategies import basic_indices, orthogonal_indices, simple_arrays

from lazypyr import LazyPyramidStore, PlanError
from lazypyr.store.keys import Keys
from support.faultstore import FaultMapping, FaultStore, bytes_of
from support.running import together
from support.sources import random_array, zarr_array

READ_ONLY = "store was opened in read-only mode and does not support writing"
SOURCE = random_array(0, (50, 70), "<f4")


class Emptied(LazyPyramidStore):
    """A store with no keys of its own, into which the suite's back door puts some."""

    def __init__(self, src, *, read_only=True):
        if not read_only:
            raise ValueError("a LazyPyramidStore is read-only")
        super().__init__(src)
        self._keys = Keys({}, {}, 3)

    def inject(self, values):
        self._keys = Keys({**self._keys.documents, **{k: v.to_bytes() for k, v in values}}, {}, 3)

    async def _set_many(self, values):
        self.inject(values)


class TestStore(StoreTests[Emptied, cpu.Buffer]):
    """Overridden only where a read-only store must refuse."""

    store_cls, buffer_cls = Emptied, cpu.Buffer

    async def set(self, store, key, value):
        store.inject([(key, value)])

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store._keys.documents[key])

    @pytest.fixture
    def store_kwargs(self):
        return {"src": SOURCE}

    def test_store_repr(self, store):
        assert repr(store).startswith("<LazyPyramidStore v3 /: <ReducedPyramid 'numpy array'")

    def test_store_supports_writes(self, store):
        assert not store.supports_writes
        assert not store.supports_deletes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    def test_store_read_only(self, store):
        assert store.read_only
        with pytest.raises(AttributeError):
            store.read_only = False

    @pytest.mark.parametrize("read_only", [True, False])
    async def test_store_open_read_only(self, open_kwargs, read_only):
        if not read_only:
            with pytest.raises(ValueError, match="read-only"):
                await self.store_cls.open(**open_kwargs, read_only=False)
            return
        store = await self.store_cls.open(**open_kwargs, read_only=True)
        assert store._is_open
        assert store.read_only

    async def test_serializable_store(self, store):
        new_store = pickle.loads(pickle.dumps(store))
        assert new_store == store
        assert new_store.read_only
        assert await new_store.get("0/c/0/0", default_buffer_prototype()) is not None

    @pytest.mark.parametrize("key", ["zarr.json", "c/0", "foo/c/0.0", "foo/0/0"])
    @pytest.mark.parametrize("data", [b"\x01\x02\x03\x04", b""])
    async def test_set(self, store, key, data):
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.set(key, self.buffer_cls.from_bytes(data))
        assert not await store.exists(key)

    async def test_set_not_open(self, store_not_open):
        with pytest.raises(ValueError, match=READ_ONLY):
            await store_not_open.set("c/0", self.buffer_cls.from_bytes(b"0"))

    async def test_set_many(self, store):
        with pytest.raises(ValueError, match=READ_ONLY):
            await LazyPyramidStore._set_many(store, [("c/0", self.buffer_cls.from_bytes(b"0"))])

    async def test_set_if_not_exists(self, store):
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.set_if_not_exists("k", self.buffer_cls.from_bytes(b"0"))

    async def test_exists(self, store):
        assert not await store.exists("foo")
        await self.set(store, "foo/zarr.json", self.buffer_cls.from_bytes(b"bar"))
        assert await store.exists("foo/zarr.json")
        assert not await store.exists("foo")

    async def test_clear(self, store):
        with pytest.raises(ValueError, match=READ_ONLY):
            await store.clear()


FACES = [
    {"zarr_format": f, "layout": layout, "dimension_separator": s}
    for f in (2, 3)
    for layout in ("{level}", "{level}/image")
    for s in "/."
]


@pytest.fixture(params=FACES, ids=lambda face: "-".join(map(str, face.values())))
def store(request):
    return LazyPyramidStore(SOURCE, chunks=(8, 16), **request.param)


def eager(store):
    held = {key: default_buffer_prototype().buffer.from_bytes(store[key]) for key in store}
    return MemoryStore(held, read_only=True)


def folders(keys):
    return {"/".join(key.split("/")[:n]) for key in keys for n in range(key.count("/") + 1)}


async def listed(found):
    return sorted([key async for key in found])


def test_listings_are_those_of_an_eager_copy(store):
    copy, keys = eager(store), list(store)
    assert len(keys) == len(set(keys)) == len(store)
    assert sync(listed(store.list())) == sorted(keys)
    for folder in folders(keys) | {"nowhere", "0/c/9", "1/c/0/0", "zarr.json"}:
        for prefix in (folder, f"{folder}/") if folder else ("",):
            inside = sorted(key for key in keys if not folder or key.startswith(f"{folder}/"))
            assert sync(listed(store.list_prefix(prefix))) == inside, prefix
            names = sync(listed(store.list_dir(prefix)))
            assert names == sync(listed(copy.list_dir(prefix))) == sorted(set(names)), prefix
            assert sync(store.is_empty(prefix)) == (not inside)
    assert sync(listed(store.list_dir("/"))) == sync(listed(store.list_dir("")))
    computes = store.cache_info().computes
    fresh = LazyPyramidStore(SOURCE, chunks=(8, 16))
    sync(listed(fresh.list())), sync(fresh.getsize("1/c/0/0")), sync(fresh.exists("1/c/0/0")), "2/c/0/0" in fresh
    assert fresh.cache_info().computes == 0 < computes, "listing, sizes and existence compute nothing"


def test_levels_beyond_nine_are_not_below_level_one():
    store = LazyPyramidStore(np.zeros((2, 4096), "u1"), chunks=(1, 1))
    group = zarr.open(store)
    assert len(store.pyramid.levels) == 13
    assert group["1"].nchunks_initialized == group["1"].nchunks == 2048
    assert sync(store.getsize_prefix("1")) == len(store["1/zarr.json"]) + 2048


def test_array_that_is_its_own_directory_has_children(store):
    group = zarr.open(store)
    assert sorted(group) == [str(k) for k in range(len(store.pyramid.levels))]
    for key in group:
        node = group[key]
        array = node["image"] if isinstance(node, zarr.Group) else node
        assert array.nchunks_initialized == array.nchunks
        assert array.nbytes_stored() >= array.nbytes


@settings(max_examples=60)
@given(data=st.data())
def test_byte_ranges_are_slices(data):
    compressor = data.draw(st.sampled_from([None, "zstd"]), "compressor")
    store = BYTE_STORES[compressor]
    key = data.draw(st.sampled_from(["0/c/0/0", "1/c/2/0", "zarr.json", "3/zarr.json"]), "key")
    value = store[key]
    n = len(value)
    a, b = sorted(data.draw(st.tuples(st.integers(0, n + 9), st.integers(0, n + 9)), "range"))
    get = lambda request: sync(store.get(key, default_buffer_prototype(), request)).to_bytes()
    assert get(None) == value
    assert get(RangeByteRequest(a, b)) == value[a:b]
    assert get(OffsetByteRequest(a)) == value[a:]
    assert get(SuffixByteRequest(b)) == (value[-b:] if b else b"")
    assert sync(store.get("0/c/99/0", default_buffer_prototype(), RangeByteRequest(a, b))) is None
    parts = sync(store.get_partial_values(default_buffer_prototype(), [(key, RangeByteRequest(a, b)), ("no", None)]))
    assert parts[0].to_bytes() == value[a:b]
    assert parts[1] is None


BYTE_STORES = {c: LazyPyramidStore(SOURCE, chunks=(8, 16), compressor=c) for c in (None, "zstd")}
LEVELS = {k: zarr.open(BYTE_STORES[None])[str(k)] for k in range(4)}


@settings(max_examples=40)
@given(data=st.data())
def test_indexing_is_that_of_numpy(data):
    level = LEVELS[data.draw(st.sampled_from(sorted(LEVELS)), "level")]
    whole = level[...]
    index = data.draw(basic_indices(shape=whole.shape, allow_ellipsis=True), "basic")
    np.testing.assert_array_equal(level[index], whole[index])
    zindexer, npindexer = data.draw(orthogonal_indices(shape=whole.shape), "orthogonal")
    np.testing.assert_array_equal(level.oindex[zindexer], whole[npindexer])


@settings(max_examples=30)
@given(data=st.data())
def test_arrays_that_zarr_draws_as_sources(data):
    """Whatever zarr's own strategies make: opened and halved, or refused by name."""
    shape = data.draw(st.tuples(st.integers(0, 9), st.integers(1, 9)), "shape")
    array = data.draw(simple_arrays(shapes=st.just(shape)), "array")
    try:
        store = LazyPyramidStore(array, chunks=(2, 2))
    except PlanError as error:
        assert 0 in shape or array.dtype.kind not in "biufcmM" or array.dtype.itemsize > 16, error
        assert str(array.store_path) in str(error)
        return
    group, source = zarr.open(store), array[...]
    for k in range(len(store.pyramid.levels)):
        np.testing.assert_array_equal(group[str(k)][...], source[:: 2**k, :: 2**k])


@pytest.mark.parametrize("kind", ["zarr", "mapping"])
def test_opening_and_listing_read_no_pixel_and_write_nothing(kind):
    made = zarr_array(SOURCE, chunks=(16, 16))
    src = FaultStore(made.store) if kind == "zarr" else FaultMapping(bytes_of(made.store))
    store = LazyPyramidStore(src, chunks=(8, 8), method="mean")
    group = zarr.open(store)
    list(group.members()), dict(group.attrs), len(store), list(store), store.fingerprint, repr(store), hash(store)
    assert not src.chunk_reads()
    group["2"][...]
    assert src.chunk_reads()
    with pytest.raises(ValueError):
        group["2"][0, 0] = 1
    with pytest.raises(ValueError):
        group.create_group("new")
    assert kind == "mapping" or not src.writes


@pytest.mark.fault("C12")
async def test_any_event_loop_brings_the_same_bytes(tmp_path):
    """This loop, zarr's loop, loops in other threads, and none: at the same time, of local, memory and fsspec sources."""
    zarr_array(SOURCE, store=tmp_path / "a", chunks=(16, 16))
    copy = FaultStore(zarr_array(SOURCE, chunks=(16, 16)).store)
    for src in (tmp_path / "a", copy, f"local://{tmp_path}/a"):
        store = LazyPyramidStore(src, chunks=(8, 8), method="mean", workers=2, compressor="zstd")
        keys = [key for key in store if "/c/" in key]
        prototype = default_buffer_prototype()

        async def read(store=store, keys=keys, prototype=prototype):
            return [value.to_bytes() for value in await asyncio.gather(*(store.get(k, prototype) for k in keys))]

        ways = [lambda: asyncio.run(read()), lambda: asyncio.run(read()), lambda: sync(read()), lambda: [store[k] for k in keys]]  # fmt: skip
        others = asyncio.get_running_loop().run_in_executor(None, together, 4, lambda i, ways=ways: ways[i]())
        here, elsewhere = await asyncio.wait_for(asyncio.gather(read(), others), 60)
        expected = [LazyPyramidStore(SOURCE, chunks=(8, 8), method="mean", compressor="zstd")[k] for k in keys]
        assert elsewhere == [expected] * 4
        assert here == expected


def test_a_slow_tile_does_not_hold_up_the_event_loop():
    """Metadata and warm tiles answer while a tile computes."""
    gate = threading.Event()
    made = zarr_array(SOURCE, chunks=(64, 80))
    src = FaultStore(made.store)
    src.script["c/0/0"] = [gate]
    store = LazyPyramidStore(src, chunks=(8, 8), workers=1)

    async def race():
        slow = asyncio.create_task(store.get("0/c/0/0", default_buffer_prototype()))
        await asyncio.sleep(0.05)
        quick = await asyncio.wait_for(store.get("zarr.json", default_buffer_prototype()), 20)
        assert not slow.done()
        gate.set()
        return quick, await asyncio.wait_for(slow, 60)

    quick, slow = asyncio.run(race())
    assert quick.to_bytes() == store["zarr.json"]
    assert slow.to_bytes() == store["0/c/0/0"]


def test_context_manager_and_close():
    with LazyPyramidStore(SOURCE) as store:
        first = store["0/c/0/0"]
    assert store.cache_info().entries == 0
    assert store["0/c/0/0"] == first, "it starts afresh"
    assert store.with_read_only(True) is store
    with pytest.raises(NotImplementedError, match="with_read_only is not implemented"):
        store.with_read_only(False)


def test_keys_are_counted_out_one_at_a_time():
    """The first of 2**40 keys comes at once."""
    from lazypyr import from_function

    store = LazyPyramidStore(from_function(lambda level, window: None, shape=(2**40, 2**40), dtype="u1"))

    async def first(found):
        return await anext(aiter(found))

    assert sync(first(store.list())) == "zarr.json"
    assert not sync(store.is_empty("3"))
    assert sync(_collect_aiterator(store.list_dir("nowhere"))) == ()
    assert bool(store)
    with pytest.raises(OverflowError):
        len(store)


def test_stats_tell_which_changes_are_seen(tmp_path):
    """What each kind says of itself is what `refreshed` does when a chunk is renamed into place, and when one is written in place."""
    array = zarr_array(SOURCE, store=tmp_path / "a", chunks=(16, 16), compressors=None)
    memory = zarr_array(SOURCE, chunks=(16, 16))
    pixels = SOURCE.copy()
    in_place = next(path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file())

    def written_in_place():
        with in_place.open("r+b") as file:
            file.write(bytes(4))

    def of_numpy():
        pixels[0] += 1

    for src, seen, change in (
        (tmp_path / "a", "renamed into their place", lambda: array.__setitem__((0, 0), -1)),
        (tmp_path / "a", "not those written in place", written_in_place),
        (memory, "not chunks", lambda: memory.__setitem__((0, 0), -1)),
        (pixels, "all", of_numpy),
    ):
        store = LazyPyramidStore(src, cache_bytes=10**6)
        (told,) = store.stats()["sources"]
        assert seen in told["changes_seen"]
        before = store.pyramid.sources[0].has_changed()
        change()
        assert (before, store.pyramid.sources[0].has_changed()) == (False, "not" not in seen), told
    store["0/c/0/0"]
    stats = json.loads(json.dumps(store.stats()))
    assert stats["cache"]["currsize"] == len(store["0/c/0/0"])
    assert stats["cache"]["maxsize"] == stats["bounds"]["cache_bytes"] == 10**6
    assert stats["overlay"] is None
    kept = LazyPyramidStore(SOURCE, overlay={}, write_through=True, overlay_bytes=10**7)
    kept["0/c/0/0"]
    assert kept.stats()["overlay"] == {"tile_bytes": kept.overlay.tile_bytes, "bound": 10**7}
