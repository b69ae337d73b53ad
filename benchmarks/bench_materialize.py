"""`materialize` against those who write pyramids eagerly: levels 1 to 5, each writer in processes of its own, in turns.

``--quick`` takes small sets and one turn. moraine needs LAZYPYR_MORAINE_PYTHON (see README.md).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import zarr
from _bench import Report, Timing, in_process
from _sets import folder, make

HERE = Path(__file__).resolve().parent
MORAINE = os.environ.get("LAZYPYR_MORAINE_PYTHON")
RIVALS = {
    "mean": ["topozarr", "ngff_zarr", "ome_zarr", "xarray_multiscale"],
    "stride": ["ngff_zarr", "ome_zarr", "xarray_multiscale"],  # topozarr has none
}

# Each with its default codec: zstd at level 1 is ours, at level 3 (called 0) moraine's. What both take on disk is in the note.
OURS_AS_MORAINE = """
import json, sys, time
import lazypyr.product
from lazypyr import materialize
begin = time.perf_counter()
materialize(sys.argv[1], sys.argv[2], method="stride", axes="yxi"[: int(sys.argv[3])], chunks=(256, 256), progress=False)
print(json.dumps(time.perf_counter() - begin))
"""
MORAINE_RUN = """
import json, sys, time
import moraine.cli as mc
if __name__ == "__main__":
    begin = time.perf_counter()
    mc.ras_pyramid(sys.argv[1], sys.argv[2])
    print(json.dumps(time.perf_counter() - begin))
"""


def turns(writers, method, source, repeats):
    """Seconds as each process measured them, without its imports, and the largest peak of memory."""
    timings = {name: Timing([], 0) for name in writers}
    for turn in range(repeats):
        for name in writers[turn % len(writers) :] + writers[: turn % len(writers)]:
            with tempfile.TemporaryDirectory(dir=folder()) as scratch:
                argv = ["-W", "ignore", HERE / "_write.py", name, method, source, Path(scratch) / "out"]
                seconds, process = in_process([str(a) for a in argv])
            timings[name].seconds.append(seconds)
            timings[name].peak_bytes = max(timings[name].peak_bytes or 0, process.peak_bytes or 0)
    return timings


def peaks(timings):
    ours = timings["lazypyr"].peak_bytes
    return ", ".join(f"{ours / t.peak_bytes:.2f} of the memory of {n}" for n, t in timings.items() if n != "lazypyr")


def against_writers(report, n, repeats):
    source = make("float32", n)
    for method, rivals in RIVALS.items():
        timings = turns(["lazypyr", *rivals], method, source, repeats)
        report.add(f"levels 1-5, {method}, float32 {n}²", timings, reach=3, note=peaks(timings))
        for rival, reach, what in (
            ("tensorstore", 1, "level from level"),
            ("floor", 1 / 1.3, "decode and encode only"),
        ):
            timings = turns(["lazypyr", rival], method, source, repeats + 1)
            report.add(f"the same, {method}, against {what}", timings, reach=round(reach, 2), note=peaks(timings))


def against_moraine(report, quick, repeats):
    if not MORAINE:
        return
    sizes = [
        ((2500, 1834), (1000, 1000), "f4"),
        ((2500, 1834, 17), (1000, 1000, 1), "c8"),
        ((8192, 8192, 4), (1024, 1024, 1), "c8"),
    ]
    for shape, chunks, dtype in sizes[:1] if quick else sizes:
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            path = Path(scratch) / "src.zarr"
            array = zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype)
            rng = np.random.default_rng(0)
            for i in range(shape[2] if len(shape) > 2 else 1):
                block = rng.normal(size=shape[:2]) + (1j * rng.normal(size=shape[:2]) if dtype == "c8" else 0)
                array[(slice(None), slice(None), *((i,) if len(shape) > 2 else ()))] = block.astype(dtype)
            timings, sizes = {"lazypyr": Timing([], 0), "moraine": Timing([], 0)}, {}
            scripts = {"lazypyr": OURS_AS_MORAINE, "moraine": MORAINE_RUN}
            for _ in range(repeats):
                for name, script in scripts.items():
                    out, code = Path(scratch) / "out", Path(scratch) / f"run_{name}.py"
                    code.write_text(script, encoding="utf-8")
                    python = {"python": MORAINE} if name == "moraine" else {}
                    seconds, process = in_process(
                        ["-W", "ignore", str(code), str(path), str(out), str(len(shape))], **python
                    )
                    sizes[name] = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
                    shutil.rmtree(out, ignore_errors=True)
                    timings[name].seconds.append(seconds)
                    timings[name].peak_bytes = max(timings[name].peak_bytes, process.peak_bytes)
            report.add(f"with level 0, {dtype} {' x '.join(map(str, shape))}", timings, reach=5,
                       note=f"{peaks(timings)}, {sizes['lazypyr'] / sizes['moraine']:.2f} of its size on disk")  # fmt: skip


def memory(report, sizes):
    """The peak doesn't grow with the array; its chunks are one file under many names, so that the sets cost no disk."""
    found = []
    for ny, nx in sizes:
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            path = Path(scratch) / "src.zarr"
            array = zarr.create_array(path, shape=(ny, nx), chunks=(512, 512), dtype="f4")
            array[:512, :512] = np.random.default_rng(0).integers(0, 999, (512, 512))
            for y, x in itertools.product(range(ny // 512), range(nx // 512)):
                (path / "c" / str(y)).mkdir(exist_ok=True)
                if (y, x) != (0, 0):
                    os.link(path / "c" / "0" / "0", path / "c" / str(y) / str(x))
            timings = turns(["lazypyr"], "mean", path, 1)
        found.append(timings["lazypyr"].peak_bytes)
        share = f"{found[-1] / found[0]:.2f} of the memory of the first" if len(found) > 1 else ""
        report.add(f"peak memory, {ny * nx * 4 / 2**30:g} GiB", timings, note=share)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    packages = [
        "lazypyr",
        "zarr",
        "tensorstore",
        "topozarr",
        "ngff-zarr",
        "ome-zarr",
        "xarray-multiscale",
        "dask",
        "dask-image",
    ]
    report = Report("materialize", "Writing a pyramid", packages=packages)
    n, repeats = (2048, 1) if args.quick else (16384, 3)
    turns(["lazypyr"], "mean", make("float32", 2048), 1)  # kernels come from the disk, as rivals' come compiled
    against_writers(report, n, repeats)
    against_moraine(report, args.quick, repeats)
    memory(report, [(4096, 4096), (8192, 16384)] if args.quick else [(16384, 16384), (32768, 65536)])
    report.save()


if __name__ == "__main__":
    main()
