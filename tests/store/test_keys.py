"""Keys: what is one, and above all what isn't. A key that isn't one costs nothing and touches no source."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from lazypyr import LazyPyramidStore, collection
from support.faultstore import FaultMapping, bytes_of
from support.sources import random_array, zarr_array

FACES = [(f, layout, s) for f in (2, 3) for layout in ("{level}", "{level}/image", "pyramid/L{level}") for s in "/."]
METADATA = ["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"]
SOURCE = FaultMapping(bytes_of(zarr_array(random_array(0, (50, 70, 3), "<i2"), chunks=(16, 16, 3)).store))
STORES = {
    face: LazyPyramidStore(
        SOURCE, axes="yxc", chunks=(16, 16), zarr_format=face[0], layout=face[1], dimension_separator=face[2]
    )
    for face in FACES
}
KEYS = {face: set(store) for face, store in STORES.items()}


@pytest.fixture(params=FACES, ids=lambda face: "-".join(map(str, face)))
def store(request):
    return STORES[request.param]


def refused(store, key):
    """Not there, by every way of asking, and nobody looked into the source for it."""
    __tracebackhide__ = True
    before = sum(SOURCE.reads.values())
    assert key not in store
    with pytest.raises(KeyError):
        store[key]
    assert store.get(key) is None
    assert store.get(key, b"other") == b"other"
    assert sync(store.get(key, default_buffer_prototype())) is None
    assert not sync(store.exists(key))
    with pytest.raises(FileNotFoundError):
        sync(store.getsize(key))
    assert sum(SOURCE.reads.values()) == before
    assert store.cache_info().in_flight == 0


@pytest.mark.fault("K4")
def test_every_listed_key_is_there_and_means_what_it_says(store):
    for key in store:
        assert key in store
        chunk = store._keys.chunk(key)
        if chunk is None:
            assert store[key].startswith(b"{")
            continue
        path = next(path for path, served in store._keys.arrays.items() if served == chunk.served)
        assert store._keys.format(path, chunk.index) == key
        assert len(store[key]) == sync(store.getsize(key)) == 16 * 16 * 2
        assert sync(store.get(key, default_buffer_prototype())).to_bytes() == store[key]


@pytest.mark.fault("K1", "K2")
@pytest.mark.parametrize(
    "number",
    ["-1", "99", "1e9", "1000000000", "nan", "inf", "1.0", "0.5", "00", "01", "+1", "-0", " 1", "1 ", "1_0", "١", "１", "²",
     "0x1", "", "1" * 10000, str(2**64), "0\n", "\u200b0", "𝟎"],
)  # fmt: skip
def test_no_number_but_the_plain_one(number):
    for face, store in STORES.items():
        level, separator = face[1].format(level=0), face[2]
        first = f"{level}/c{separator}" if face[0] == 3 else f"{level}/"
        assert first + separator.join("000") in store
        for at in range(3):
            index = ["0", "0", "0"]
            index[at] = number
            refused(store, first + separator.join(index))
        refused(store, first + separator.join(["0", "0", "0", number]))
        refused(store, (first + separator.join("000")).replace("0", number, 1))


@pytest.mark.fault("K3", "K6")
@pytest.mark.parametrize(
    "key",
    ["..", "../0/c/0/0/0", "0/../0/c/0/0/0", "%2e%2e/zarr.json", "0/%2e%2e/zarr.json", "%252e%252e", "..%2fetc", "..\\etc",
     "C:/Windows", "//etc/passwd", "/etc/passwd", "%2fetc%2fpasswd", "zarr.json\0", "\0", "~", "~root", "./zarr.json",
     "zarr.json/", "/zarr.json", "//zarr.json", "0//zarr.json", "zarr.json/..", "ZARR.JSON", "zarr.json ", " zarr.json",
     "zarr%2ejson", "\ud800", "0/c/\udfff/0/0", "\xc0\xae\xc0\xae/zarr.json", "é" * 5000, "x" * 10000, "0/" * 5000, "/", "",
     "c", "0", "0/", "0/c", "0/c/", "0/c/0", "0/c/0/0/0/", "/0/c/0/0/0", "0/c//0/0/0", "0\\c\\0", "0/c/0/0/0?x=1"],
)  # fmt: skip
def test_no_way_out_of_the_hierarchy(key):
    for store in STORES.values():
        refused(store, key)


@pytest.mark.fault("K1", "K2", "K6")
@settings(max_examples=200)
@given(
    st.sampled_from(FACES),
    st.one_of(
        st.text(max_size=30),
        st.lists(st.sampled_from([*"01289c.", "/", "c/", "image", "zarr.json", ".zarray", "-1", "L0", "\0"])).map(
            "".join
        ),
    ),
)
@example((3, "{level}", "/"), "0/c/0.0.0")
def test_text_is_a_key_only_if_it_is_listed(face, key):
    assert (key in STORES[face]) == (key in KEYS[face])
    if key not in STORES[face]:
        refused(STORES[face], key)


@pytest.mark.fault("K2", "K4")
@settings(max_examples=200)
@given(st.data())
def test_a_key_with_one_character_changed(data):
    face = data.draw(st.sampled_from(FACES), "face")
    key = data.draw(st.sampled_from(sorted(KEYS[face])), "key")
    at = data.draw(st.integers(0, len(key)), "at")
    put = data.draw(st.sampled_from(["", "0", "1", "9", "/", ".", "+", "_", " ", "c", "\0", "٣", "%"]), "put")
    other = key[:at] + put + key[at + data.draw(st.integers(0, 1), "cut") :]
    assert (other in STORES[face]) == (other in KEYS[face])


@pytest.mark.fault("K5")
@pytest.mark.parametrize("face", FACES, ids=str)
def test_metadata_of_this_format_only(face):
    zarr_format, layout, _ = face
    store = STORES[face]
    arrays = [layout.format(level=k) for k in range(len(store.pyramid.levels))]
    groups = {"/".join(path.split("/")[:depth]) for path in arrays for depth in range(path.count("/") + 1)}
    inside = lambda folder, *names: {f"{folder}/{name}".lstrip("/") for name in names}
    if zarr_format == 3:
        declared = set().union(*(inside(node, "zarr.json") for node in [*arrays, *groups]))
        optional = set()
    else:
        declared = {".zmetadata"}.union(
            *(inside(path, ".zarray") for path in arrays), *(inside(group, ".zgroup") for group in groups)
        )
        optional = set().union(*(inside(node, ".zattrs") for node in [*arrays, *groups]))
    documents = {key for key in store if key.rpartition("/")[2] in METADATA}
    assert declared <= documents <= declared | optional
    for folder in [*arrays, *groups, f"{arrays[0]}/c", f"{arrays[0]}/c/0", f"{arrays[0]}/0", "nowhere"]:
        for key in inside(folder, *METADATA) - documents:
            refused(store, key)


@pytest.mark.fault("K1")
def test_refusing_takes_no_memory():
    store = STORES[3, "{level}", "/"]
    keys = ["9" * 10**6, "/" * 10**6, "0/c/" + "0/" * 10**6, "c/" * 10**6, "0/c/" + "9" * 10**6]
    tracemalloc.start()
    for key in keys:
        assert key not in store
        assert store.get(key) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**5


def test_keys_of_a_collection():
    store = collection({"a": np.zeros((20, 20), "u1"), "b": np.ones((30, 9), "f4")}, chunks=(16, 16))
    assert "a/0/c/1/1" in store
    assert "b/1/c/0/0" in store
    for key in ("0/c/0/0", "c/0/c/0/0", "a/2/c/0/0", "b/0/c/0/1", "a/b/0/c/0/0", "a", "a/"):
        refused(store, key)


@pytest.mark.parametrize("other", [None, 5, b"zarr.json", ("0", "c"), 1.5])
def test_what_is_no_text_is_no_key(other):
    for store in STORES.values():
        assert other not in store
