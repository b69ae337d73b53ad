"""The mapping face: what vizarr's widget, imjoy-rpc and anything that wants keys and bytes sees."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import fsspec
import numpy as np
import pytest
import zarr
from imjoy_rpc.utils import encode_zarr_store
from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore
from support.faultstore import FaultStore
from support.sources import random_array, zarr_array

SOURCE = random_array(0, (50, 70), "<f4")


@pytest.fixture
def store():
    return LazyPyramidStore(SOURCE, chunks=(16, 16), method="mean")


def test_it_is_a_store_and_a_mapping(store):
    assert isinstance(store, Store)
    assert isinstance(store, MutableMapping)
    assert isinstance(store, Mapping)
    assert bool(store)


def test_get_of_both_kinds(store):
    key = "1/c/0/0"
    assert store.get(key) == store[key] == store.get(key, None) == store.get(key, b"x")
    assert store.get("no") is None
    assert store.get("no", "x") == "x"
    assert store.get("no", default_buffer_prototype) == default_buffer_prototype, "the function is no prototype"
    assert sync(store.get(key, default_buffer_prototype())).to_bytes() == store[key]
    assert sync(store.get(key=key, prototype=default_buffer_prototype(), byte_range=None)).to_bytes() == store[key]


def test_mixins(store):
    copy = dict(store)
    assert copy.keys() == set(store.keys()) == set(store)
    assert len(copy) == len(store)
    assert dict(store.items()) == copy
    assert sorted(store.values()) == sorted(copy.values())
    assert [*store] == [*store.keys()]
    assert store.setdefault("zarr.json", b"") == copy["zarr.json"]


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.__setitem__("0/c/0/0", b""),
        lambda s: s.__delitem__("0/c/0/0"),
        lambda s: s.pop("0/c/0/0"),
        lambda s: s.popitem(),
        lambda s: s.clear(),
        lambda s: s.update({"x": b""}),
        lambda s: s.setdefault("x", b""),
    ],
    ids=["set", "del", "pop", "popitem", "clear", "update", "setdefault"],
)
def test_writing_is_refused(store, write):
    before = dict(store)
    with pytest.raises(ValueError, match="read-only"):
        write(store)
    assert dict(store) == before


def test_asking_whether_a_key_is_there_computes_nothing(store):
    assert all(key in store for key in store)
    assert "9/c/0/0" not in store
    assert store.cache_info().computes == 0


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_imjoy_serves_keys_and_chunks(zarr_format):
    """As vizarr in a notebook reads a group or an array over RPC."""
    store = LazyPyramidStore(SOURCE, chunks=(16, 16), zarr_format=zarr_format)
    root = zarr.open(store)
    first = "0/0/0" if zarr_format == 2 else "0/c/0/0"
    for node, prefix in ((root, ""), (root["0"], "0/")):
        coded = encode_zarr_store(node)
        assert coded["_rtype"] == ("zarr-group" if node is root else "zarr-array")
        key = first.removeprefix(prefix)
        assert coded["getItem"](key) == store[first]
        assert type(coded["getItem"](key)) is bytes
        assert coded["containsItem"](key)
        assert not coded["containsItem"]("9/9/9")
        assert coded["containsItem"](".zarray" if zarr_format == 2 else "zarr.json") == (prefix == "0/" or zarr_format == 3 or None)  # fmt: skip
        with pytest.raises(KeyError):
            coded["getItem"]("no")
        with pytest.raises(ValueError, match="read-only"):
            coded["setItem"](key, b"")


def test_a_group_hands_the_same_object_on(store):
    root = zarr.open(store)
    assert root.store is store
    assert root["1"].store is store
    assert zarr.open_group(store, mode="r").store is store
    assert zarr.open_array(store, path="0", mode="r").store is store
    assert root.store["0/c/0/0"] == store["0/c/0/0"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_needs_no_listing(zarr_format):
    store = LazyPyramidStore(SOURCE, chunks=(16, 16), zarr_format=zarr_format)
    root = zarr.open_consolidated(store, mode="r")
    assert root.metadata.consolidated_metadata is not None
    assert sorted(root) == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(root["1"][...], SOURCE[::2, ::2])
    np.testing.assert_array_equal(zarr.open_group(store, mode="r", use_consolidated=False)["2"][...], SOURCE[::4, ::4])


def test_a_copy_into_any_mapping_is_an_ordinary_hierarchy(store, tmp_path):
    folder = fsspec.get_mapper(str(tmp_path / "copy.zarr"))
    folder.update(store)
    for name in ("0", "1", "2"):
        copied = zarr.open_array(tmp_path / "copy.zarr", path=name, mode="r")
        np.testing.assert_array_equal(copied[...], zarr.open(store)[name][...])


def test_writes_never_reach_the_source():
    made = zarr_array(SOURCE, chunks=(16, 16))
    src = FaultStore(made.store)
    root = zarr.open(LazyPyramidStore(src, chunks=(16, 16)))
    for write in (
        lambda: root["0"].__setitem__(0, 1),
        lambda: root.attrs.update({"a": 1}),
        lambda: root["0"].attrs.update({"a": 1}),
        lambda: root.create_array("new", shape=(4,), dtype="u1"),
        lambda: root["0"].resize((9, 9)),
        lambda: zarr.create_array(root.store, name="0", shape=(4,), dtype="u1", overwrite=True),
        lambda: zarr.open(root.store, mode="w"),
        lambda: zarr.open(root.store, mode="a")["0"].append(SOURCE),
    ):
        with pytest.raises((ValueError, NotImplementedError, PermissionError)):
            write()
    assert not src.writes


def test_zarr_copies_it_into_a_store_of_its_own(store):
    target = MemoryStore()
    copy = zarr.create_array(target, data=zarr.open(store)["1"])
    np.testing.assert_array_equal(copy[...], zarr.open(store)["1"][...])
