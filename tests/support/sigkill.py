"""Kill work at random instants, and go on with it each time, over every kind of destination; a script in a process of its own.

    python -P sigkill.py FOLDER KILLS SEED [KIND ...]    # -P: the http.py beside it is not Python's

Each run is a forked child, so that it begins within a millisecond. What this process finds wrong ends it with an error;
otherwise it prints, for each kind, how many kills there were and in how many of them something was kept.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from lazypyr import BusyError, LazyPyramidStore, materialize
from lazypyr.writing import lock

# What is no folder has a lease instead of a lock, and a process that was killed leaves it: a minute is too long here.
lock._RENEW_S, lock._LEASE_S = 0.05, 0.3


class OfTheirs(LocalStore):
    """A store that isn't taken for the folder below it."""


class Folder:
    """A destination whose values are files, however they are written."""

    def __init__(self, root, open_as=str, *, zarr_format=3, at_once=True, **options):
        self.root, self._open_as, self.zarr_format, self.options = root, open_as, zarr_format, options
        self.at_once = at_once  # a document is replaced at once, or may be found in part after a kill

    def run(self, store):
        return materialize(store, self._open_as(self.root), inflight_bytes=100_000, progress=False, **self.options)

    def contents(self):
        files = {}
        for path in self.root.rglob("*"):
            # What is being written is renamed and removed meanwhile; zarr leaves such files when it is killed.
            with contextlib.suppress(IsADirectoryError, FileNotFoundError):
                if path.suffix != ".partial":
                    files[path.relative_to(self.root).as_posix()] = path.read_bytes()
        return files

    def count(self):
        return sum(len(names) for _, _, names in os.walk(self.root))

    def clear(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def close(self):
        pass


class Bucket(Folder):
    """S3, by moto in a process of its own: a client with threads can't be forked."""

    def __init__(self, root):
        import boto3
        import s3fs  # noqa: F401 - here, not in each child

        super().__init__(root)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        address = ["-H", "127.0.0.1", "-p", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._server = subprocess.Popen([sys.executable, "-m", "moto.server", *address], **quiet)
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
        self._endpoint = f"http://127.0.0.1:{port}"
        self._client = boto3.client("s3", endpoint_url=self._endpoint, **keys)
        for _ in range(600):
            try:
                self._client.create_bucket(Bucket="bucket")
                break
            except Exception:
                time.sleep(0.1)

    def run(self, store):
        options = {
            "key": "x",
            "secret": "x",
            "client_kwargs": {"endpoint_url": self._endpoint, "region_name": "us-east-1"},
        }
        url, small = "s3://bucket/out.zarr", {"inflight_bytes": 100_000, "progress": False}
        return materialize(store, url, storage_options=options, **small)

    def _keys(self):
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="out.zarr/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def contents(self):
        get = lambda key: self._client.get_object(Bucket="bucket", Key=key)["Body"].read()
        return {key.removeprefix("out.zarr/"): get(key) for key in self._keys()}

    def count(self):
        return len(self._keys())

    def clear(self):
        for key in self._keys():
            self._client.delete_object(Bucket="bucket", Key=key)

    def close(self):
        self._server.kill()


class Workers(Folder):
    """Regions computed by dask workers, which outlive the process that is killed."""

    SERVE = (
        "from distributed import LocalCluster as C; c = C(n_workers=2, threads_per_worker=1, dashboard_address=None)"
    )

    def __init__(self, root):
        super().__init__(root)
        script = f"if __name__ == '__main__':\n {self.SERVE}\n print(c.scheduler_address, flush=True)\n input()"
        file = Path(tempfile.mkdtemp(dir=root.parent), "cluster.py")
        file.write_text(script)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._cluster = subprocess.Popen([sys.executable, "-W", "ignore", file], **pipes)
        self._address = self._cluster.stdout.readline().strip()

    def run(self, store):
        from distributed import Client

        with Client(self._address) as client:
            small = {"inflight_bytes": 100_000, "progress": False}
            return materialize(store, str(self.root), executor=client, **small)

    def contents(self):
        time.sleep(0.3)  # a task that a worker had begun goes on
        return super().contents()

    def close(self):
        self._cluster.communicate("\n", timeout=60)


class Overlay(Folder):
    """Chunks that are kept as they are read; bounded, they are a disk cache."""

    def __init__(self, root, bound=None):
        super().__init__(root)
        self._bound = bound

    def run(self, store):
        kept = LazyPyramidStore(store.pyramid, overlay=str(self.root), write_through=True, overlay_bytes=self._bound)
        for path, array in zarr.open_group(kept, mode="r").arrays():
            np.testing.assert_array_equal(array[:], TRUTH[path])

    def contents(self):
        found = super().contents()
        if self._bound is not None:
            tiles = sum(len(value) for key, value in found.items() if key.startswith(".lazypyr/tiles/"))
            assert tiles <= self._bound, f"{tiles} bytes, more than {self._bound}"
            return {}  # which ones are kept is a matter of the order
        return {key: value for key, value in found.items() if not key.startswith(".lazypyr/partial/")}


KINDS = {
    "local v3": Folder,
    "local v2": lambda root: Folder(root, zarr_format=2),
    "sharded": lambda root: Folder(root, shards=64),
    "zarr store": lambda root: Folder(root, OfTheirs),
    "mapping on disk": lambda root: Folder(root, mapping, at_once=False),
    "fsspec": lambda root: Folder(root, "local://{}".format, at_once=False),
    "s3": Bucket,
    "dask": Workers,
    "overlay": Overlay,
    "disk cache": lambda root: Overlay(root, bound=150_000),
}
TRUTH = {}


def mapping(root):
    import fsspec

    return fsspec.get_mapper(str(root))


def forked(work):
    """A child that does some work, and the end of a pipe from which its result can be read."""
    results, to = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(results)
        try:
            result = work()
            with contextlib.suppress(BrokenPipeError):  # of one that is to be killed nobody reads it
                os.write(to, json.dumps(getattr(result, "regions", 0)).encode())
            os._exit(0)
        except BaseException as error:
            print(repr(error)[:2000], flush=True)
            os._exit(1)
    os.close(to)
    return pid, results


def gone_on(place, store):
    """Number of regions that another run had to compute, which waits for the lease of the one that was killed to lapse."""

    def work():
        for _ in range(200):
            try:
                return place.run(store)
            except BusyError:
                time.sleep(0.1)
        raise TimeoutError("still locked")

    pid, results = forked(work)
    with os.fdopen(results) as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(said)


def running(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def levels_seen(place, contents):
    """Whoever opens it with plain zarr finds levels that are whole, and no others."""
    if not place.at_once:  # a document that is cut off is an error for every reader
        cut_off = {key for key, value in contents.items() if key.endswith("zarr.json") and not value.endswith(b"}")}
        assert len(cut_off) <= 1, cut_off
        contents = {key: value for key, value in contents.items() if key not in cut_off}
    if not {"zarr.json", ".zgroup"} & set(contents):
        return 0
    make = default_buffer_prototype().buffer.from_bytes
    store = MemoryStore({key: make(value) for key, value in contents.items()})
    for consolidated in (None, False):
        group = zarr.open_group(store, mode="r", use_consolidated=consolidated)
        paths = set(group.array_keys())
        attributes = group.attrs.get("ome", group.attrs)
        listed = [d["path"] for d in attributes["multiscales"][0]["datasets"]]
        # Arrays have their documents before those of the group around them: there may be more than are listed.
        assert set(listed) <= paths, (listed, paths)
        for path in paths:
            np.testing.assert_array_equal(group[path][:], TRUTH[path])
    return len(listed)


def done_regions(contents):
    log = contents.get(".lazypyr/done", b"").count(b"done ")
    return log + sum(value.startswith(b"done ") for key, value in contents.items() if key.startswith(".lazypyr/done/"))


def kill_some(place, store, kills, rng):
    place.clear()
    began = time.perf_counter()
    whole = gone_on(place, store)
    duration, most, wanted = time.perf_counter() - began, place.count(), place.contents()
    kept_something = seen = ended = 0
    for kill in range(kills):
        place.clear()
        child, results = forked(lambda: place.run(store))
        os.close(results)
        if kill % 3 == 0:
            time.sleep(rng.uniform(0.0, 1.2) * duration)
        else:  # also where the machine is slower at times: in the midst of the work
            reached = rng.randrange(most)
            while place.count() < reached and running(child):
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.02))
        ended += not running(child)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        contents = place.contents()
        seen = max(seen, levels_seen(place, contents))
        kept = done_regions(contents)
        kept_something += place.count() > 0
        again = gone_on(place, store)
        assert again <= whole - kept, (again, whole, kept)
        found = place.contents()
        assert found == wanted, sorted(set(found) ^ set(wanted))[:5] or [k for k in wanted if found[k] != wanted[k]][:5]
    return {"kills": kills, "after its end": ended, "something kept": kept_something, "levels seen": seen}


def main(folder, kills, seed, kinds):
    rng = random.Random(seed)
    source = zarr.create_array(folder / "src.zarr", shape=(256, 320), chunks=(64, 64), dtype="f4")
    source[:] = np.random.default_rng(seed).normal(size=source.shape)
    for number, kind in enumerate(kinds):
        place = KINDS[kind](folder / f"dest-{number}")
        options = {"method": "mean", "chunks": (32, 32), "compressor": "zstd", "zarr_format": place.zarr_format}
        store = LazyPyramidStore(folder / "src.zarr", **options)
        TRUTH.update({path: array[:] for path, array in zarr.open(store).arrays()})
        try:
            share = kills // len(kinds) + (number < kills % len(kinds))
            print(json.dumps({"kind": kind, **kill_some(place, store, share, rng)}), flush=True)
        finally:
            place.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or list(KINDS))
