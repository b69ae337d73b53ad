"""What everybody pays: importing, opening, listing, reading a warm tile through zarr."""

from __future__ import annotations

import argparse
import subprocess
import sys

import numpy as np
import zarr
from _bench import Report, paired

from lazypyr import LazyPyramidStore

PACKAGES = ["lazypyr", "zarr", "numpy"]


def imports(report: Report, repeats: int) -> None:
    def run(statement: str) -> None:
        subprocess.run([sys.executable, "-c", statement], check=True)

    timings = paired(
        {
            "lazypyr": lambda: run("import zarr, lazypyr; lazypyr.LazyPyramidStore"),
            "zarr": lambda: run("import zarr"),
        },
        repeats=repeats,
    )
    report.add("a process that imports it and zarr, against zarr alone", timings, reach=1 / 1.3)
    timings = paired({"lazypyr": lambda: run("import lazypyr"), "zarr": lambda: run("import zarr")}, repeats=repeats)
    report.add("a process that imports it, against one that imports zarr", timings, reach=1 / 1.3)


def warm_reads(report: Report, repeats: int) -> None:
    source = np.random.default_rng(0).random((4096, 4096), dtype="f4")
    for compressor in (None, "zstd"):
        store = LazyPyramidStore(source, method="mean", compressor=compressor)
        memory: dict[str, zarr.core.buffer.Buffer] = {}
        for name in store:
            memory[name] = zarr.core.buffer.cpu.Buffer.from_bytes(store[name])
        lazy = zarr.open(store)
        ready = zarr.open(zarr.storage.MemoryStore(memory, read_only=True), mode="r")
        for level in (0, 2):
            window = (slice(256, 512), slice(0, 256))
            timings = paired(
                {
                    "lazypyr": lambda level=level, window=window: lazy[str(level)][window],
                    "MemoryStore": lambda level=level, window=window: ready[str(level)][window],
                },
                repeats=repeats,
                number=50,
            )
            what = "uncompressed" if compressor is None else compressor
            report.add(f"warm tile of level {level}, {what}, group[k][tile] through zarr", timings, reach=1 / 1.3)


def opening(report: Report, repeats: int) -> None:
    source = np.zeros((2**14, 2**14), "u1")
    memory: dict[str, zarr.core.buffer.Buffer] = {}
    store = LazyPyramidStore(source)
    for name in store:
        if name.endswith("zarr.json"):
            memory[name] = zarr.core.buffer.cpu.Buffer.from_bytes(store[name])
    timings = paired(
        {
            "lazypyr": lambda: list(zarr.open(LazyPyramidStore(source))),
            "MemoryStore": lambda: list(zarr.open(zarr.storage.MemoryStore(memory, read_only=True), mode="r")),
        },
        repeats=repeats,
        number=5,
    )
    report.add("open and list the root", timings, note="the store itself is made anew each time")
    assert store.cache_info().computes == 0, "opening computed a tile"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    repeats = 3 if parser.parse_args().quick else 9
    report = Report("core", "What everybody pays", PACKAGES)
    imports(report, repeats)
    warm_reads(report, repeats)
    opening(report, repeats)
    report.save()


if __name__ == "__main__":
    main()
