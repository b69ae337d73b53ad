"""Cold tiles, viewings, warm tiles and memory, against tensorstore's downsample driver.

``--quick`` takes smaller sets and fewer turns; its figures are for looking, not for the docs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import threading
import time
from pathlib import Path

import numcodecs
import numpy as np
import tensorstore as ts
import zarr
from _bench import Report, Timing, in_process, paired
from _sets import make

from lazypyr import LazyPyramidStore
from lazypyr.geometry import windows

MIB = 2**20
PACKAGES = ["lazypyr", "zarr", "numcodecs", "numba", "numpy", "tensorstore"]


class Theirs:
    """tensorstore's downsample driver over a set, with a cache of its own."""

    def __init__(self, path: Path, method: str, cache_bytes: int = 2**30) -> None:
        context = ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}})
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
        base = ts.open(spec, context=context, read=True).result()
        rest = [1] * (base.ndim - 2)
        self.rest = (0,) * (base.ndim - 2)
        levels = range(1, 20)
        self.levels = [base, *(ts.downsample(base, [2**k, 2**k, *rest], method=method) for k in levels)]

    def tile(self, level: int, y: int, x: int) -> np.ndarray:
        array = self.levels[level]
        window = tuple(slice(256 * i, min(256 * (i + 1), n)) for i, n in zip((y, x), array.shape, strict=False))
        return np.asarray(array[(*window, *self.rest)].read().result())


def ours(path: Path, method: str, **options: object) -> LazyPyramidStore:
    axes = "yxc"[: zarr.open_array(path).ndim]
    return LazyPyramidStore(path, method=method, axes=axes, **options)


def key(store: LazyPyramidStore, level: int, y: int = 0, x: int = 0) -> str:
    return "/".join([f"{level}/c/{y}/{x}", *["0"] * (store.pyramid.ndim - 2)])


def cold_tiles(report: Report, name: str, n: int, repeats: int) -> None:
    path = make(name, n)
    top = len(ours(path, "stride").pyramid.levels) - 1
    for method in ("stride", "mean"):
        for level in sorted({1, 2, 3, min(5, top), top}):
            timings = paired(
                {
                    "lazypyr": lambda s, level=level: s[key(s, level)],
                    "tensorstore": lambda s, level=level: s.tile(level, 0, 0),
                },
                setup={
                    "lazypyr": lambda method=method: ours(path, method),
                    "tensorstore": lambda method=method: Theirs(path, method),
                },
                repeats=repeats if level < top - 1 else max(2, repeats // 3),
            )
            reach = 3.0 if name == "raw" and method == "stride" and level >= 3 else 1.2
            report.add(
                f"{name}: cold tile, level {level}{' (coarsest)' if level == top else ''}, {method}",
                timings,
                reach=reach,
            )


def decode_all(path: Path) -> None:
    """Every chunk read and decoded once into memory that is used again, in as many threads as there are cores."""
    files = [p for p in sorted((path / "c").glob("*/*")) if p.is_file()]
    work, codec = iter(files), numcodecs.Zstd()
    lock = threading.Lock()

    def run() -> None:
        decoded, stored = np.empty(512 * 512, "f4"), bytearray(2 * MIB)
        while True:
            with lock:
                file = next(work, None)
            if file is None:
                return
            fd = os.open(file, os.O_RDONLY)
            size = os.preadv(fd, [stored], 0)
            os.close(fd)
            codec.decode(memoryview(stored)[:size], out=decoded)

    threads = [threading.Thread(target=run) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def floor(report: Report, n: int, repeats: int) -> None:
    path = make("float32", n)
    for method in ("stride", "mean"):
        timings = paired(
            {
                "lazypyr": lambda s: s[key(s, len(s.pyramid.levels) - 1)],
                "decoding alone": lambda: decode_all(path),
            },
            setup={"lazypyr": lambda method=method: ours(path, method)},
            repeats=repeats,
        )
        report.add(f"float32: coarsest tile, {method}, against decoding each chunk once", timings, reach=1 / 1.3)


def requests(store: LazyPyramidStore, count: int = 200) -> list[tuple[int, int, int]]:
    """A viewing: random pans of one tile and zooms of one level, all levels alike, beginning with the overview."""
    rng = random.Random(7)
    counts = [[windows.ceil_div(s, 256) for s in level.shape[:2]] for level in store.pyramid.levels]
    level, y, x = top, _, _ = len(counts) - 1, 0, 0
    out = [(level, y, x)]
    while len(out) < count:
        move = rng.choice(["in", "out", "pan", "pan"])
        if move == "in" and level > 0:
            level, y, x = level - 1, 2 * y + rng.randint(0, 1), 2 * x + rng.randint(0, 1)
        elif move == "out" and level < top:
            level, y, x = level + 1, y // 2, x // 2
        else:
            y, x = y + rng.randint(-1, 1), x + rng.randint(-1, 1)
        y, x = (min(max(i, 0), n - 1) for i, n in zip((y, x), counts[level], strict=True))
        out.append((level, y, x))
    return out


def viewing(report: Report, name: str, n: int, repeats: int) -> None:
    path = make(name, n)
    views = requests(ours(path, "stride"))
    for method in ("stride", "mean"):
        timings = paired(
            {
                "lazypyr": lambda s: [s[key(s, *view)] for view in views],
                "tensorstore": lambda s: [s.tile(*view) for view in views],
            },
            setup={
                "lazypyr": lambda method=method: ours(path, method, cache_bytes=256 * MIB),
                "tensorstore": lambda method=method: Theirs(path, method, 256 * MIB),
            },
            repeats=repeats,
        )
        report.add(f"{name}: a viewing of {len(views)} pans and zooms, {method}, 256 MiB of cache", timings, reach=10)


def warm(report: Report, n: int) -> None:
    """Every tile of level 3 and above after one overview, read through zarr, against the same tiles in a MemoryStore."""
    store = ours(make("float32", n), "mean")
    levels = range(min(3, len(store.pyramid.levels) - 1), len(store.pyramid.levels))
    store[key(store, levels[-1])]
    computes = store.cache_info().computes
    memory: dict[str, zarr.core.buffer.Buffer] = {}
    ready = zarr.open_group(zarr.storage.MemoryStore(memory), mode="w")
    for k in levels:
        source = zarr.open(store)[str(k)]
        array = ready.create_array(
            str(k), shape=source.shape, chunks=source.chunks, dtype=source.dtype, compressors=None
        )
        array[...] = source[...]
    assert store.cache_info().computes == computes, "a tile was not warm"
    lazy, there = zarr.open(store), zarr.open_group(zarr.storage.MemoryStore(memory), mode="r")
    timings = {"lazypyr": Timing([]), "MemoryStore": Timing([])}
    for _ in range(3):
        for k in levels:
            ours_k, theirs_k = lazy[str(k)], there[str(k)]
            for i, j in itertools.product(*(range(windows.ceil_div(s, 256)) for s in ours_k.shape)):
                window = (slice(256 * i, 256 * i + 256), slice(256 * j, 256 * j + 256))
                for name, array in (("lazypyr", ours_k), ("MemoryStore", theirs_k)):
                    begin = time.perf_counter()
                    array[window]
                    timings[name].seconds.append(time.perf_counter() - begin)
    report.add(
        f"every tile of level {levels[0]} and above after one overview, through zarr: median", timings, reach=1 / 1.3
    )
    p95 = {name: Timing([timing.quantile(0.95)]) for name, timing in timings.items()}
    report.add("the same: 95th percentile", p95, reach=1 / 3)


_MEMORY = r"""
import json, re, sys
from pathlib import Path
import numpy, numba, zarr, lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.reducers import REDUCERS
REDUCERS["mean"](numpy.zeros((4, 4), "f4"), (2, 2))
store = LazyPyramidStore(sys.argv[1], method="mean")

def peak():  # ru_maxrss would begin with what the parent had
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
top = len(store.pyramid.levels) - 1
store[f"{top}/c/0/0"]
print(json.dumps(peak() - before))
"""


def memory(report: Report, n: int) -> None:
    more, _ = in_process(["-c", _MEMORY, str(make("float32", n))])
    report.add(
        f"peak memory of the coarsest tile over the interpreter's: {more / 1024:.0f} MiB",
        {},
        note="to stay below 300 MiB",
    )


def readers(report: Report, n: int) -> None:
    """What reading 256 MiB of chunks costs by each way there is: the evidence for reading them ourselves."""
    path = make("float32", n)
    window = (slice(0, min(n, 8192)), slice(0, min(n, 8192)))
    box = tuple((s.start, s.stop) for s in window)
    source = ours(path, "stride").pyramid.stored_levels[0]
    ts_array = Theirs(path, "stride", 0).levels[0]
    array = zarr.open_array(path, mode="r")
    halves = [((box[0][0], box[0][1] // 2), box[1]), ((box[0][1] // 2, box[0][1]), box[1])]

    def in_threads() -> None:
        threads = [threading.Thread(target=source.read, args=(half,)) for half in halves]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def with_zarrs() -> None:
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            zarr.open_array(path, mode="r")[window]

    contenders = {
        "lazypyr": in_threads,
        "zarr-python": lambda: array[window],
        "tensorstore": lambda: np.asarray(ts_array[window].read().result()),
    }
    try:
        import zarrs  # noqa: F401
    except ImportError:
        print("zarrs is not installed: left out", file=sys.stderr)
    else:
        contenders["zarr-python with zarrs"] = with_zarrs
    report.add("reading 8192 x 8192 pixels of level 0", paired(contenders, repeats=5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    n, repeats = (4096, 3) if quick else (16384, 7)
    report = Report("tiles", "Tiles of rasters", PACKAGES)
    for name in ("float32", "raw", "sharded", "complex64", "uint8"):
        cold_tiles(report, name, n, repeats)
    floor(report, n, max(3, repeats // 2))
    for name in ("float32", "complex64", "uint8"):
        viewing(report, name, n, 1)
    warm(report, n)
    memory(report, n)
    readers(report, n)
    report.save()


if __name__ == "__main__":
    main()
