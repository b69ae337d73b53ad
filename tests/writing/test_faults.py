"""`materialize` under faults: rows W1-W11 and P3 of tests/fault_ids.txt."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

import lazypyr
from lazypyr import BusyError, ComputeError, DestinationError, LazyPyramidStore, PlanError, SourceError, materialize
from lazypyr.kvstore import local
from lazypyr.kvstore.local import LocalKVStore
from lazypyr.writing import run as jobs
from lazypyr.writing.lock import WriterLock
from support.faultstore import FaultStore
from support.paths import ROOT

INFLIGHT = 100_000  # several stages of several regions
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def array(tmp_path):
    array = zarr.create_array(tmp_path / "src.zarr", shape=(256, 320), chunks=(64, 64), dtype="f4")
    array[:] = np.random.default_rng(5).normal(size=array.shape)
    return array


def lazy(array, **more):
    return LazyPyramidStore(array, chunks=(32, 32), method="mean", **more)


def write(store, dest, **more):
    return materialize(store, dest, **{"inflight_bytes": INFLIGHT, "progress": False, **more})


def visible(dest):
    """Paths of the levels that plain zarr finds."""
    try:
        return sorted(zarr.open_group(dest, mode="r").array_keys())
    except FileNotFoundError:
        return []


def killed(folder, kills, *kinds, timeout):
    script = ROOT / "tests" / "support" / "sigkill.py"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", script, folder, str(kills), "11", *kinds],
        capture_output=True, text=True, timeout=timeout, check=False, env=ENV,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
@pytest.mark.fault("W1")
@pytest.mark.fault("W2")
@pytest.mark.timeout(300)
def test_killed_thirty_times(tmp_path):
    (facts,) = killed(tmp_path, 30, "local v3", timeout=280)
    assert facts["something kept"] >= 5, facts


# LAZYPYR_SIGKILLS=500 kills that often, over all kinds of destination together.
KILLS = int(os.environ.get("LAZYPYR_SIGKILLS", "10"))


@pytest.mark.slow
@pytest.mark.fault("W1")
@pytest.mark.fault("W2")
@pytest.mark.timeout(240 + 30 * KILLS)
def test_killed_over_every_kind_of_destination(tmp_path):
    """Folders of v2, v3 and shards, zarr's stores, mappings, fsspec, S3, dask's workers, overlays and disk caches."""
    facts = killed(tmp_path, KILLS, timeout=200 + 30 * KILLS)
    assert len(facts) == 10
    assert sum(kind["kills"] for kind in facts) == KILLS
    assert sum(kind["something kept"] for kind in facts) >= KILLS // 3, facts


@pytest.mark.fault("W1")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_whichever_document_is_the_last_one_every_listed_level_is_found(tmp_path, array, zarr_format, monkeypatch):
    """zarr 2 has the list of levels in one document, and in another the copy of all in which they are looked for."""
    store, put = LazyPyramidStore(array, chunks=(64, 64), levels=2, zarr_format=zarr_format), LocalKVStore.put_atomic
    truth, seen = {path: level[:] for path, level in zarr.open(store).arrays()}, set()
    for last in range(100):
        dest, written = tmp_path / str(last), []

        def put_atomic(self, key, *args, written=written, last=last, **more):
            if ".lazypyr" not in key:
                if len(written) == last:
                    raise OSError(errno.EIO, "Input/output error")
                written.append(key)
            put(self, key, *args, **more)

        monkeypatch.setattr(LocalKVStore, "put_atomic", put_atomic)
        with contextlib.suppress(DestinationError):
            write(store, dest)
        if visible(dest):
            group = zarr.open_group(dest, mode="r")
            attributes = group.attrs.get("ome", group.attrs)
            paths = [level["path"] for level in attributes["multiscales"][0]["datasets"]]
            for path in paths:
                np.testing.assert_array_equal(group[path][:], truth[path])
            seen.add(len(paths))
        if len(written) < last:
            break
    assert len(written) < last < 100
    assert len(seen) > 1


@pytest.mark.fault("W3")
def test_another_job_is_refused(tmp_path, array, monkeypatch):
    dest = tmp_path / "out"
    stopped_in_the_middle(monkeypatch, lazy(array), dest)
    for other, told in (
        (LazyPyramidStore(array, chunks=(32, 32), method="max"), "recipe was .*mean.* now .*max"),
        (lazy(array, compressor="zstd"), "compressor was null"),
        (lazy(array, zarr_format=2), "zarr_format was 3, now 2"),
    ):
        with pytest.raises(PlanError, match=told):
            write(other, dest)
    with pytest.raises(PlanError, match="arrays was"):
        write(lazy(array), dest, levels=[1])
    array[:5] = 0
    with pytest.raises(PlanError, match="fingerprint"):
        write(lazy(zarr.open(tmp_path / "src.zarr")), dest)
    (dest / ".lazypyr" / "journal.json").write_text("{")
    with pytest.raises(PlanError, match="delete"):
        write(lazy(array), dest)


def stopped_in_the_middle(monkeypatch, store, dest):
    class Enough(Exception):
        pass

    with monkeypatch.context() as patch:
        marked = []

        def mark(self, stage, region):
            marked.append(region)
            if len(marked) == 3:
                raise Enough
            MARK(self, stage, region)

        patch.setattr(jobs.Checkpoint, "mark", mark)
        with pytest.raises(Enough):
            write(store, dest)


MARK = jobs.Checkpoint.mark


@pytest.mark.fault("W3")
def test_what_is_not_ours_is_left_alone(tmp_path, array):
    dest = tmp_path / "out"
    zarr.create_group(dest)
    before = contents(dest)
    with pytest.raises(PlanError, match="not empty"):
        write(lazy(array), dest)
    assert contents(dest) == before
    write(lazy(array), tmp_path / "a")
    with pytest.raises(PlanError, match="not empty"):
        write(LazyPyramidStore(array, chunks=(32, 32), method="max"), tmp_path / "a")


@pytest.mark.fault("W2")
def test_left_over_files_are_removed(tmp_path, array, monkeypatch):
    dest = tmp_path / "out"
    stopped_in_the_middle(monkeypatch, lazy(array), dest)
    (dest / ".lazypyr" / "partial").mkdir(exist_ok=True)
    (dest / ".lazypyr" / "partial" / "12-3-abc").write_bytes(b"half")
    again = write(lazy(array), dest)
    assert again.skipped == 2
    write(lazy(array), tmp_path / "reference")
    assert contents(dest) == contents(tmp_path / "reference")


@pytest.mark.fault("W2")
def test_marks_before_a_loss_of_power_count_only_once_synced(tmp_path, array, monkeypatch):
    dest = tmp_path / "out"
    stopped_in_the_middle(monkeypatch, lazy(array), dest)
    monkeypatch.setattr("lazypyr.writing.checkpoint.boot_id", lambda: "the next day")
    assert write(lazy(array), dest).skipped == 0


@pytest.mark.fault("W4")
@pytest.mark.parametrize(
    ("name", "code"),
    [(name, errno.ENOSPC) for name in ("put", "put_atomic", "append", "lock", "sync")]
    + [("put", errno.EACCES), ("put_atomic", errno.EIO)],
)
def test_any_write_may_fail(tmp_path, array, monkeypatch, name, code):
    store, dest = lazy(array[:100, :90]), tmp_path / "out"
    write(store, tmp_path / "reference", inflight_bytes=20_000)
    wanted = contents(tmp_path / "reference")
    error = OSError(code, os.strerror(code))
    real = getattr(LocalKVStore, name)
    for n in range(1, 400, 11 if name == "put" else 1):
        calls = []

        def failing(*args, n=n, calls=calls, **kwargs):
            calls.append(n)
            if len(calls) == n:
                raise error
            return real(*args, **kwargs)

        shutil.rmtree(dest, ignore_errors=True)
        monkeypatch.setattr(LocalKVStore, name, failing)
        try:
            write(store, dest, inflight_bytes=20_000)
        except DestinationError as told:
            assert str(dest) in str(told)
            assert told.errno == code
            assert "bytes of" in str(told) or name != "put" or n == 1
        else:
            assert len(calls) < n
        monkeypatch.setattr(LocalKVStore, name, real)
        for path in visible(dest):
            assert contents(dest / path) == contents(tmp_path / "reference" / path)
        write(store, dest, inflight_bytes=20_000)
        assert contents(dest) == wanted
        if len(calls) < n:
            break
    assert n > 1


@pytest.mark.fault("W4")
@pytest.mark.parametrize("where", ["tmpfs", "file size"])
def test_the_disk_is_full(tmp_path, array, where):
    out = tmp_path / "out"
    command = (
        f"{sys.executable} -m lazypyr.cli materialize {tmp_path}/src.zarr {out} --chunks 32 --compressor none --quiet"
    )
    if where == "tmpfs":
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine allows no user namespaces")
        out.mkdir()
        script = f"mount -t tmpfs -o size=300k tmpfs {out} && {command}; code=$?; ls {out}; exit $code"
        argv = ["unshare", "-Urm", "sh", "-c", script]
    else:
        argv = ["sh", "-c", f"ulimit -f 4; exec {command}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False, env=ENV)
    assert done.returncode == 1, done.stderr
    assert "writing 4096 bytes of" in done.stderr or "can't be written to" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "zarr.json" not in done.stdout
    assert visible(out) == []
    write(lazy(array), out) if where == "file size" and not list(out.glob("[0-9]")) else None


@pytest.mark.fault("W5")
@pytest.mark.parametrize("key", ["c/0/0", "c/3/4"])
def test_a_region_fails(tmp_path, array, key):
    store = FaultStore(LocalStore(tmp_path / "src.zarr", read_only=True))
    store.script[key] = [OSError("the disk spoke in tongues")]
    source = lazy(store)
    with pytest.raises(SourceError, match="1 of .* regions of levels 0-1 failed.*tongues") as told:
        write(source, tmp_path / "out")
    assert told.value.level is not None
    assert "region" in str(told.value)
    assert visible(tmp_path / "out") == []
    again = write(source, tmp_path / "out")
    assert again.regions < again.regions + again.skipped
    write(lazy(array), tmp_path / "reference")
    assert visible(tmp_path / "out") == visible(tmp_path / "reference")
    for path in visible(tmp_path / "reference"):
        assert contents(tmp_path / "out" / path / "c") == contents(tmp_path / "reference" / path / "c")


@pytest.mark.fault("W5")
def test_levels_before_the_one_that_fails_are_kept(tmp_path, array):
    def read(level, window):
        if level == 2:
            raise ValueError("not this one")
        return np.full([b - a for a, b in window], level, "i2")

    pyramid = lazypyr.from_function(read, shape=(200, 200), dtype="i2", chunks=(32, 32))
    with pytest.raises(ComputeError, match="level 2 failed.*not this one"):
        materialize(pyramid, tmp_path / "out", progress=False)
    assert visible(tmp_path / "out") == ["0", "1"]
    assert (zarr.open(tmp_path / "out")["1"][:] == 1).all()


@pytest.mark.fault("W6")
def test_two_writers(tmp_path, array):
    dest = tmp_path / "out"
    script = (
        "import sys, time; from lazypyr.writing.lock import WriterLock; from lazypyr.kvstore.local import LocalKVStore\n"
        "with WriterLock(LocalKVStore(sys.argv[1])): print('mine', flush=True); time.sleep(1000)"
    )
    first = subprocess.Popen([sys.executable, "-c", script, dest], stdout=subprocess.PIPE, text=True, env=ENV)
    try:
        assert first.stdout.readline() == "mine\n"
        with pytest.raises(BusyError, match=f"written by process {first.pid} on "):
            write(lazy(array), dest)
    finally:
        first.kill()
        first.communicate()
    write(lazy(array), dest)
    assert not (dest / ".lazypyr").exists()


@pytest.mark.fault("W6")
def test_one_of_many_takes_over_the_lock_of_a_process_that_is_gone(tmp_path):
    kvstore = LocalKVStore(tmp_path)
    with WriterLock(kvstore):
        left = (tmp_path / ".lazypyr" / "lock").read_text()
        with pytest.raises(BusyError, match=f"process {os.getpid()}"), WriterLock(kvstore):
            pass
    together, held = threading.Barrier(8), []

    def take(_):
        together.wait(20)
        try:
            with WriterLock(kvstore):
                held.append(1)
                together.wait(20)
        except BusyError:
            held.append(0)
            together.wait(20)

    with ThreadPoolExecutor(8) as threads:
        for _ in range(25):
            (tmp_path / ".lazypyr" / "lock").write_text(left)
            held.clear()
            list(threads.map(take, range(8)))
            assert sorted(held) == [0] * 7 + [1]
    assert (tmp_path / ".lazypyr" / "lock").exists() is False


RUSH = """
import contextlib, os, sys
from lazypyr import BusyError
from lazypyr.writing.lock import WriterLock
from lazypyr.kvstore.local import LocalKVStore
kvstore, mine, refused = LocalKVStore(sys.argv[1]), 0, 0
for n in range(300):
    try:
        with WriterLock(kvstore):
            mine += 1
            kvstore.clear(".lazypyr/partial", ".*")  # as every job does when it begins: nobody else writes there
            kvstore.put_atomic(".lazypyr/journal.json", b"1", durable=False)
            kvstore.append(".lazypyr/done", b"x")
            kvstore.delete(".lazypyr/journal.json")
            kvstore.clear(".lazypyr/done", "")
    except BusyError:
        refused += 1
    for folder in (".lazypyr/partial", ".lazypyr"):
        with contextlib.suppress(OSError):
            os.rmdir(f"{sys.argv[1]}/{folder}")
print(mine, refused)
"""


@pytest.mark.fault("W6")
@pytest.mark.timeout(120)
def test_many_writers_that_begin_and_end_at_once(tmp_path):
    argv = [sys.executable, "-c", RUSH, str(tmp_path)]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=ENV) for _ in range(3)]
    for process in running:
        told, _ = process.communicate(timeout=110)
        assert process.returncode == 0
        assert sum(map(int, told.split())) == 300


@pytest.mark.slow
@pytest.mark.fault("W7")
@pytest.mark.fault("P3")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path, number):
    source = zarr.create_array(tmp_path / "src.zarr", shape=(2048, 2048), chunks=(256, 256), dtype="f4")
    source[:] = np.random.default_rng(0).normal(size=source.shape)
    dest = tmp_path / "out"
    # Nice, so that it isn't done before we, who watch it, have our turn.
    argv = ["nice", "-n", "19", sys.executable, "-m", "lazypyr.cli", "materialize", tmp_path / "src.zarr", dest,
            "--chunks", "32", "--method", "mean", "--memory", "4", "--quiet"]  # fmt: skip
    running = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=ENV)
    log = dest / ".lazypyr" / "done"

    def marks():
        return log.read_bytes().count(b"done") if log.exists() else 0

    while running.poll() is None and marks() <= 2:
        time.sleep(0.005)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert told == "lazypyr: interrupted\n"
    assert not (dest / ".lazypyr" / "lock").exists()
    assert visible(dest) == [], "it went on to the end of a level"
    again = materialize(
        LazyPyramidStore(tmp_path / "src.zarr", method="mean", chunks=(32, 32), compressor="zstd"), dest, progress=False
    )
    assert again.skipped > 2


@pytest.mark.fault("W8")
def test_nothing_but_fill_value(tmp_path, monkeypatch):
    array = zarr.create_array(tmp_path / "src.zarr", shape=(256, 320), chunks=(64, 64), dtype="f4")
    dest = tmp_path / "out"
    stopped_in_the_middle(monkeypatch, lazy(array), dest)
    assert visible(dest) == []
    assert write(lazy(array), dest).skipped == 2
    assert len(list((dest / "0" / "c").rglob("*/*"))) == 80


@pytest.mark.fault("W11")
@pytest.mark.parametrize("one_call", [True, False])
def test_the_order_that_survives_a_loss_of_power(tmp_path, array, monkeypatch, one_call):
    log = []
    real = {name: getattr(os, name) for name in ("replace", "fsync", "open", "sync")}
    opened = {}

    def open_(path, *args, **kwargs):
        fd = real["open"](path, *args, **kwargs)
        opened[fd] = str(path)
        return fd

    def fsync(fd):
        log.append(("fsync", opened.get(fd, "?")))
        real["fsync"](fd)

    def replace(a, b):
        log.append(("replace", str(a), str(b)))
        real["replace"](a, b)

    put, append = LocalKVStore.put, LocalKVStore.append
    monkeypatch.setattr(LocalKVStore, "put", lambda s, k, d: (log.append(("put", k)), put(s, k, d))[1])
    monkeypatch.setattr(LocalKVStore, "append", lambda s, k, d: (log.append(("line", d)), append(s, k, d))[1])
    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "sync", lambda: log.append(("sync",)))
    monkeypatch.setattr(local, "_sync_file_system", lambda fd: one_call and (log.append(("sync",)) or True))
    dest = tmp_path / "out"
    write(lazy(array), dest)

    at = {}
    for n, entry in enumerate(log):
        at.setdefault(entry, []).append(n)
    synced = [n for n, entry in enumerate(log) if entry == ("sync",)]
    # every chunk of a level reaches the disk before the level's metadata are written
    documents = [(n, e[1], e[2]) for n, e in enumerate(log) if e[0] == "replace" and e[2].endswith("zarr.json")]
    for n, partial, name in documents:
        path = Path(name).parent.relative_to(dest)
        chunks = [m for m, e in enumerate(log) if e[0] == "put" and e[1].startswith(f"{path}/c/")]
        if chunks:
            assert any(max(chunks) < s < n for s in synced), name
        # its own bytes, then its name, then its folder
        assert at["fsync", partial][-1] < n
        assert any(m > n for m in at["fsync", str(Path(name).parent)])
    root = [n for n, _, name in documents if name == str(dest / "zarr.json")]
    arrays = [n for n, _, name in documents if name != str(dest / "zarr.json")]
    assert max(root) > max(arrays)
    # and before the line that says so
    for n in at["line", b"synced\n"]:
        assert any(s < n for s in synced)
