"""Lock of a destination: rows W6, N18 and N19 of tests/fault_ids.txt."""

import errno
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import MemoryStore

from lazypyr import BusyError, DestinationError, LazyPyramidStore, materialize
from lazypyr.kvstore import local
from lazypyr.kvstore.open import open_kvstore
from lazypyr.writing import lock as locks
from lazypyr.writing.lock import WriterLock
from support.paths import ROOT

KEY = ".lazypyr/lock"
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
HOLD = (
    "import sys; from lazypyr.writing.lock import WriterLock; from lazypyr.kvstore.local import LocalKVStore\n"
    "with WriterLock(LocalKVStore(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)
TAKE = (
    "import sys; from lazypyr.writing.lock import WriterLock; from lazypyr.kvstore.local import LocalKVStore\n"
    "from lazypyr import BusyError\n"
    "try:\n    with WriterLock(LocalKVStore(sys.argv[1])): print('taken')\nexcept BusyError as error: print(error)"
)


def in_namespace(code, folder):
    """Command in a PID namespace of its own, with the host's name, as a container has it."""
    return ["unshare", "-Urpf", "--mount-proc", sys.executable, "-c", code, str(folder)]


@pytest.fixture(params=["folder without locks", "memory://", "mapping", "zarr"])
def leased(request, tmp_path, monkeypatch):
    """A key-value store of a medium without locks."""
    monkeypatch.setattr(locks, "_RENEW_S", 0.05)
    monkeypatch.setattr(local, "_locked", lambda *_: False)
    MemoryFileSystem.store.clear()
    places = {"folder without locks": tmp_path, "memory://": "memory://place", "mapping": {}, "zarr": MemoryStore()}
    return open_kvstore(places[request.param])


def of_another(kvstore, **change):
    """Write the lease of another process."""
    kvstore.delete(KEY)
    with WriterLock(kvstore):
        record = json.loads(kvstore.get(KEY))
    kvstore.put(KEY, json.dumps({**record, "process": "another", "nonce": "x", "host": "elsewhere", **change}).encode())


@pytest.mark.fault("N19")
@pytest.mark.parametrize("second", ["another namespace", "this one"])
def test_two_pid_namespaces_with_one_host_name(tmp_path, second):
    if subprocess.run(["unshare", "-Urpf", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no user namespaces")
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": ENV}
    first = subprocess.Popen(in_namespace(HOLD, tmp_path), **options)
    command = in_namespace(TAKE, tmp_path) if second == "another namespace" else [sys.executable, "-c", TAKE, tmp_path]
    try:
        assert first.stdout.readline() == "held\n"
        assert "is being written by process" in subprocess.run(command, **{**options, "stdin": None}, check=True).stdout
    finally:
        first.communicate("")
    assert subprocess.run(command, **{**options, "stdin": None}, check=True).stdout == "taken\n"


@pytest.mark.fault("W6")
def test_a_lease_of_another_is_refused_until_it_lapses(leased):
    of_another(leased)
    with pytest.raises(BusyError, match="elsewhere"), WriterLock(leased):
        pass
    of_another(leased, renewed=time.time() - 61)
    with WriterLock(leased):
        pass
    assert leased.get(KEY) is None
    for unreadable in (b"", b"{", b"[]"):
        leased.put(KEY, unreadable)
        with WriterLock(leased):
            pass


@pytest.mark.fault("W6")
def test_a_lease_of_a_clock_that_is_behind_is_renewed_meanwhile(leased, monkeypatch):
    of_another(leased, renewed=time.time() - 3600)

    def sleep(_):
        leased.put(KEY, json.dumps({**json.loads(leased.get(KEY)), "renewed": time.time() - 3599}).encode())

    monkeypatch.setattr(locks.time, "sleep", sleep)
    with pytest.raises(BusyError, match="elsewhere"), WriterLock(leased):
        pass


@pytest.mark.fault("W6")
def test_a_lease_is_renewed_and_two_of_one_process_exclude_each_other(leased):
    with WriterLock(leased) as lock:
        first = leased.get(KEY)
        with pytest.raises(BusyError, match=f"process {os.getpid()}"), WriterLock(leased):
            pass
        deadline = time.monotonic() + 30
        while leased.get(KEY) == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        lock.check()
    assert leased.get(KEY) is None


@pytest.mark.fault("W6")
def test_who_has_lost_its_lease_is_told_and_leaves_the_other_alone(leased):
    with WriterLock(leased) as lock:
        leased.put(KEY, json.dumps({"nonce": "another", "host": "elsewhere", "pid": 7}).encode())
        with pytest.raises(BusyError, match="process 7 on elsewhere"):
            lock.check()
    assert json.loads(leased.get(KEY))["pid"] == 7


class Torn(dict):
    """A mapping whose values are written in steps: two of three readers come while one is cut to nothing."""

    reads = 0

    def __getitem__(self, key):
        self.reads += 1
        return super().__getitem__(key) if self.reads % 3 == 0 else b""


@pytest.mark.fault("N19")
def test_a_lease_that_is_just_being_renewed_is_read_again():
    leased = open_kvstore(Torn())
    with WriterLock(leased) as lock:
        for _ in range(5):
            lock.check()
            with pytest.raises(BusyError, match=f"process {os.getpid()}"), WriterLock(leased):
                pass


class Medium(dict):
    """A mapping that turns read-only after its first chunk, until it is mended."""

    broken, mended = False, False

    def __setitem__(self, key, value):
        self.write()
        super().__setitem__(key, value)
        self.broken = key.startswith("0/c/") and not self.mended

    def pop(self, key, default=None):
        self.write()
        return super().pop(key, default)

    def write(self):
        if self.broken and not self.mended:
            raise OSError(errno.EROFS, "Read-only file system")


@pytest.mark.fault("N18")
def test_an_own_lock_that_was_left_is_no_obstacle():
    medium = Medium()
    with pytest.raises(DestinationError, match="Read-only"):
        materialize(np.ones((512, 512), "f4"), medium, progress=False)
    assert KEY in medium
    medium.mended = True
    materialize(np.ones((512, 512), "f4"), medium, progress=False)
    assert KEY not in medium
    wanted = {}
    materialize(np.ones((512, 512), "f4"), wanted, progress=False)
    assert medium.keys() == wanted.keys()


@pytest.mark.fault("N18")
def test_a_folder_that_is_read_only_for_a_while(tmp_path, monkeypatch):
    source, dest = np.arange(512.0 * 512).reshape(512, 512), tmp_path / "out"

    def failing(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    def mark(self, *region):
        for name in ("put", "put_atomic", "append", "delete"):
            monkeypatch.setattr(local.LocalKVStore, name, failing)
        failing()

    monkeypatch.setattr("lazypyr.writing.checkpoint.Checkpoint.mark", mark)
    with pytest.raises(DestinationError, match="Read-only"):
        materialize(source, dest, progress=False)
    assert (dest / KEY).exists()
    monkeypatch.undo()
    materialize(source, dest, progress=False)
    np.testing.assert_array_equal(zarr.open(dest)["0"][:], source)
    assert not (dest / ".lazypyr").exists()


@pytest.mark.fault("N17")
@pytest.mark.parametrize("lacking", ["hard links", "locks", "rename that replaces at once"])
def test_file_systems_that_lack(tmp_path, monkeypatch, lacking):
    """exFAT, SMB, 9p and FUSE; without the last one a reader may find nothing for a moment, never a part."""

    def refused(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    def renamed(source, target):
        if os.path.exists(target):
            os.unlink(target)
        os.rename(source, target)

    if lacking == "hard links":
        monkeypatch.setattr(os, "link", refused)
    elif lacking == "locks":
        monkeypatch.setattr(local.fcntl, "flock", refused)
    else:
        monkeypatch.setattr(os, "replace", renamed)
    source, dest, kept = np.arange(512.0 * 512).reshape(512, 512), tmp_path / "out", tmp_path / "kept"
    materialize(source, dest, progress=False)
    np.testing.assert_array_equal(zarr.open(dest)["0"][:], source)
    assert not (dest / ".lazypyr").exists()
    store = LazyPyramidStore(source, overlay=kept, write_through=True, overlay_bytes=10**7)
    np.testing.assert_array_equal(zarr.open(store)["0"][:], source)
    assert store.overlay.tile_bytes > source.nbytes
