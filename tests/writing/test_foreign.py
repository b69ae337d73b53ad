"""Files of others in the folders that lazypyr cleans up: none is deleted."""

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, materialize
from lazypyr.kvstore.open import open_kvstore
from lazypyr.kvstore.zarr import ZarrKVStore
from lazypyr.writing.checkpoint import Checkpoint

MARK = Checkpoint.mark
FOREIGN = [
    ".lazypyr/notes.txt",
    ".lazypyr/done.txt",
    ".lazypyr/lock.bak",
    ".lazypyr/partial/photo.tif",
    ".lazypyr/partial/12",
    ".lazypyr/spill/thesis.pdf",
    ".lazypyr/spill/0/0/1/readme",
    ".lazypyr/spill/0/0/1/5-0.0.tif",
    ".lazypyr/tiles/backup.tar",
    ".lazypyr/tiles/0123456789abcdef0123456789abcdef/0/0.0.tif",
    ".lazypyr/tiles/0123456789abcdef0123456789abcdef/photos/0.0",
    "README",
    "0/c/notes",
]
SOURCE = np.arange(256 * 320, dtype="f4").reshape(256, 320)


def planted(kvstore):
    for key in FOREIGN:
        kvstore.put(key, key.encode())


def check(kvstore):
    assert [key for key in FOREIGN if kvstore.get(key) != key.encode()] == []


def write(source, dest):
    materialize(LazyPyramidStore(source, chunks=(32, 32), method="mean"), dest, progress=False, workers=1,
                inflight_bytes=100_000)  # fmt: skip


@pytest.mark.parametrize("place", ["folder", "memory://", "mapping"])
def test_files_of_others_survive_a_job(tmp_path, monkeypatch, place):
    MemoryFileSystem.store.clear()
    dest = {"folder": tmp_path / "out", "memory://": "memory://place/out", "mapping": {}}[place]
    zarr.create_array(tmp_path / "src.zarr", data=SOURCE, chunks=(64, 64))
    kvstore, calls = open_kvstore(dest), []

    def mark(self, *region):
        MARK(self, *region)
        calls.append(region)
        if len(calls) == 3:
            planted(kvstore)
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "mark", mark)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "src.zarr", dest)
    check(kvstore)
    write(tmp_path / "src.zarr", dest)
    assert len(calls) > 20
    check(kvstore)
    # What is ours has gone all the same.
    assert sorted(key for key, _ in kvstore.list_sizes(".lazypyr")) == sorted(k for k in FOREIGN if k[0] == ".")


@pytest.mark.parametrize("place", ["folder", "memory://", "mapping"])
def test_files_of_others_survive_the_disk_cache(tmp_path, place):
    MemoryFileSystem.store.clear()
    kept = {"folder": tmp_path / "kept", "memory://": "memory://place/kept", "mapping": {}}[place]
    array = zarr.create_array(tmp_path / "src.zarr", data=SOURCE, chunks=(64, 64))
    kvstore, limit = open_kvstore(kept), 20 * 4112
    for key in FOREIGN[:-2]:
        kvstore.put(key, bytes(2 * limit))
    options = {"chunks": (32, 32), "method": "mean", "overlay": kept, "write_through": True, "cache_bytes": 0}
    store = LazyPyramidStore(array, overlay_bytes=limit, **options)
    np.testing.assert_array_equal(zarr.open(store)["0"][:], SOURCE)
    assert limit // 2 < store.overlay.tile_bytes <= limit
    array[0, 0] = -1
    store.refresh()
    assert zarr.open(store)["0"][0, 0] == -1
    assert [key for key in FOREIGN[:-2] if kvstore.get(key) != bytes(2 * limit)] == []


@pytest.mark.fault("W2")
def test_a_value_of_ours_that_a_kill_has_left_without_its_bytes_is_found_and_deleted():
    """In a zarr store it is an array of one chunk, whose document is written first."""
    kvstore = ZarrKVStore(MemoryStore())
    for name in ("whole", "torn"):
        kvstore.put(f".lazypyr/done/{name}", b"done 0 0\n")
    del kvstore.store._store_dict[".lazypyr/done/torn/c/0"]
    assert dict(kvstore.list_sizes(".lazypyr/done")) == {".lazypyr/done/whole": 9, ".lazypyr/done/torn": 0}
    assert kvstore.read_log(".lazypyr/done") == [b"done 0 0"]
    kvstore.clear(".lazypyr/done", "whole|torn")
    assert not kvstore.store._store_dict
