"""Kill a job many times, at random instants, and go on with it each time; run as a script in a process of its own.

Each run is a forked child, so that it begins within a millisecond. What this process finds wrong ends it with an error.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import zarr

from lazypyr import LazyPyramidStore, materialize


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return pid


def running(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def check_visible(dest, truth):
    """Whoever opens it with plain zarr finds levels that are whole, and no others."""
    if not (dest / "zarr.json").exists():
        return 0
    group = zarr.open_group(dest, mode="r")
    paths = sorted(group.array_keys())
    assert [d["path"] for d in group.attrs["ome"]["multiscales"][0]["datasets"]] == paths
    for path in paths:
        np.testing.assert_array_equal(group[path][:], truth[path])
    return len(paths)


def done_regions(dest):
    try:
        return (dest / ".lazypyr" / "done").read_bytes().count(b"done ")
    except FileNotFoundError:
        return 0


def main(folder, kills, seed):
    rng = random.Random(seed)
    source = zarr.create_array(folder / "src.zarr", shape=(400, 500), chunks=(64, 64), dtype="f4")
    source[:] = np.random.default_rng(seed).normal(size=source.shape)
    store = LazyPyramidStore(folder / "src.zarr", method="mean", chunks=(32, 32), compressor="zstd")
    truth = {path: array[:] for path, array in zarr.open(store).arrays()}
    options = {"inflight_bytes": 200_000, "progress": False}
    reference, dest = folder / "reference", folder / "dest"
    begin = time.perf_counter()
    whole = materialize(store, reference, **options)
    duration = time.perf_counter() - begin
    wanted = contents(reference)
    partly = seen = 0
    for kill in range(kills):
        shutil.rmtree(dest, ignore_errors=True)
        child = forked(lambda: materialize(store, dest, **options))
        if kill % 2:
            time.sleep(rng.uniform(0.0, 1.3) * duration)
        else:  # also where the machine is slower at times: in the midst of the work
            reached = rng.randrange(whole.regions)
            while done_regions(dest) < reached and running(child):
                time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen = max(seen, check_visible(dest, truth))
        kept = done_regions(dest)
        partly += 0 < kept < whole.regions
        again = materialize(store, dest, **options)
        assert again.regions <= whole.regions - kept, (again.regions, whole.regions, kept)
        found = contents(dest)
        assert found == wanted, sorted(set(found) ^ set(wanted))[:5] or "other bytes"
    print(json.dumps({"kills": kills, "in the middle": partly, "levels seen": seen, "regions": whole.regions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
