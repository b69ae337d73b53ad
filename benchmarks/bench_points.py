"""Point clouds: first tile, cold tiles, aggregates, boxes, nearest points and kept values, against those who do each best.

``--quick`` takes a tenth of the points and fewer turns; its figures are for looking, not for the docs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import datashader as ds
import numpy as np
import pandas as pd
import zarr
from _bench import Report, Timing, in_process, paired
from geoindex_rs import rtree
from scipy.spatial import cKDTree
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, from_points

PACKAGES = ["lazypyr", "zarr", "numba", "numpy", "datashader", "geoindex-rs", "scipy"]
SIDE = 20_000.0
ROWS = 65536
MORAINE = os.environ.get("LAZYPYR_MORAINE_PYTHON")

FIRST_OURS = """
import json, sys, time, zarr
from lazypyr import from_points
g = zarr.open_group(sys.argv[1], mode="r")
tiny = from_points([0.0, 900.0], [0.0, 900.0], [1, 2], resolution=1.0)
begin = time.perf_counter()
p = from_points(g["x"], g["y"], g["v"], resolution=1.0)
tile = p.read(-1)
print(json.dumps(time.perf_counter() - begin))
"""
FIRST_MORAINE = """
import json, sys, time, zarr, moraine.cli as mc
if __name__ == "__main__":
    s, out = sys.argv[1:]
    begin = time.perf_counter()
    mc.pc_pyramid(s + "/v", out, x=s + "/x", y=s + "/y", ras_resolution=1.0)
    top = max(int(p.stem) for p in __import__("pathlib").Path(out).iterdir() if p.stem.isdigit())
    tile = zarr.open(f"{out}/{top}.zarr", mode="r")[:]
    print(json.dumps(time.perf_counter() - begin))
"""
BOXES_MORAINE = """
import json, sys, time, zarr, numpy as np, moraine
if __name__ == "__main__":
    g = zarr.open_group(sys.argv[1], mode="r")
    n = 1_000_000
    x, y = g["x"][:n], g["y"][:n]
    gix = np.stack([np.rint(y).astype(np.int32), np.rint(x).astype(np.int32)], axis=-1)
    order = np.argsort(moraine.pc_hix(gix, (1 << 15, 1 << 15)), kind="stable")
    x, y = x[order], y[order]
    tree = moraine.HilbertRtree.build(x, y)
    out = []
    for box in np.load(sys.argv[2]):
        begin = time.perf_counter()
        tree.bbox_query(list(box), x, y)
        out.append(time.perf_counter() - begin)
    print(json.dumps(out[5:]))
"""


def cloud(kind: str, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeded points on the square: even, or in 200 clusters whose sizes differ by orders of magnitude."""
    rng = np.random.default_rng(2026)
    if kind == "uniform":
        x, y = rng.random(n) * SIDE, rng.random(n) * SIDE
    else:
        centre, size, which = rng.random((200, 2)) * SIDE, rng.lognormal(4, 1, 200), rng.integers(0, 200, n)
        x = np.clip(centre[which, 0] + rng.normal(size=n) * size[which], 0, SIDE)
        y = np.clip(centre[which, 1] + rng.normal(size=n) * size[which], 0, SIDE)
    return x, y, rng.random(n).astype("f4")


def first_tile(report: Report, kind: str, points: tuple[np.ndarray, ...], folder: Path) -> None:
    group = zarr.open_group(folder / kind, mode="w")
    for name, column in zip("xyv", points, strict=True):
        group.create_array(name, shape=column.shape, chunks=(ROWS,), dtype=column.dtype)[:] = column
    scripts = {}
    for name, code in (("ours", FIRST_OURS), ("moraine", FIRST_MORAINE)):
        scripts[name] = folder / f"first_{name}.py"
        scripts[name].write_text(code)
    timings = {}
    seconds, peaks = [], []
    for _ in range(4):  # the first compiles and warms the file cache
        answer, timing = in_process([scripts["ours"], folder / kind])
        seconds.append(answer)
        peaks.append(timing.peak_bytes)
    timings["lazypyr"] = Timing(seconds[1:], max(peaks[1:]))
    if MORAINE and kind == "uniform":  # some minutes for either
        answer, timing = in_process([scripts["moraine"], folder / kind, folder / "moraine"], python=MORAINE)
        timings["moraine"] = Timing([answer], timing.peak_bytes)
        shutil.rmtree(folder / "moraine")
    note = "peak memory: a fifth is the aim"
    reach = 20 if len(timings) > 1 else None
    report.add(f"{kind}: zarr columns to one tile of the coarsest level", timings, reach=reach, note=note)


def cold_tiles(report: Report, kind: str, points: tuple[np.ndarray, ...], repeats: int) -> None:
    x, y, v = points
    pyramid = from_points(x, y, v, resolution=1.0, max_memory_bytes=16 * 2**30)
    store = LazyPyramidStore(pyramid)
    root = zarr.open(store, mode="r")
    for level, at in enumerate(pyramid.levels):
        # a tile that clusters fill as well as even clouds do: the one with the most points
        busy = np.unravel_index(np.argmax(_tile_counts(x, y, level)), (64, 64))
        window = tuple(slice(256 * i, min(256 * (i + 1), n)) for i, n in zip(busy, at.shape, strict=True))
        lazy = root[str(level)]
        ready = zarr.create_array(MemoryStore(), shape=at.shape, chunks=(256, 256), dtype="f4", compressors=None)
        ready[window] = lazy[window]
        timings = paired(
            {"lazypyr": lambda a, w=window: a[w], "ready-made": lambda a, w=window: a[w]},
            setup={"lazypyr": lambda a=lazy: store.engine.clear() or a, "ready-made": lambda a=ready: a},
            repeats=repeats,
        )
        shown = int(np.isfinite(ready[window]).sum())
        report.add(
            f"{kind}, {x.size / 1e6:g} M points: cold tile of level {level}", timings, reach=0.5, note=f"{shown} pixels"
        )


def _tile_counts(x: np.ndarray, y: np.ndarray, level: int) -> np.ndarray:
    tile = 256.0 * 2**level
    some = slice(None, None, 100)
    return np.histogram2d(y[some], x[some], bins=64, range=((0, 64 * tile), (0, 64 * tile)))[0]


def aggregates(report: Report, kind: str, points: tuple[np.ndarray, ...], repeats: int) -> None:
    x, y, v = points
    frame = pd.DataFrame({"x": x, "y": y, "v": v})
    pyramid = from_points(x, y, v, resolution=1.0)
    methods = {"first": ("first_valid", ds.first("v")), "count": ("count", ds.count()), "mean": ("mean", ds.mean("v"))}
    for view, (low, high) in {"full extent": (0.0, SIDE), "1 % zoom": (4000.0, 6000.0)}.items():
        for name, (method, aggregate) in methods.items():
            ours = from_points(x, y, resolution=1.0) if method == "count" else pyramid.with_values(v, method=method)
            canvas = ds.Canvas(600, 400, x_range=(low, high), y_range=(low, high))
            grid = ours.grid
            level = grid.level_of((low, high), (low, high), (600, 400), len(ours.levels) - 1)
            window = grid.window_of((low, high), (low, high), level)
            timings = paired(
                {
                    "lazypyr": lambda p=ours, k=level, w=window: p.read(k, w),
                    "datashader": lambda c=canvas, a=aggregate: c.points(frame, "x", "y", agg=a),
                },
                repeats=repeats,
            )
            size = " x ".join(str(b - a) for a, b in reversed(window))
            report.add(f"{kind}: {name}, {view}, 600 x 400", timings, reach=10, note=f"ours: level {level}, {size}")


def boxes_of(tree: object, x: np.ndarray, y: np.ndarray, hits: int, many: int) -> np.ndarray:
    """Squares around points with about `hits` points in them."""
    rng = np.random.default_rng(hits)
    out = []
    for i in rng.integers(0, x.size, many):
        half = 1.0
        for _ in range(80):
            found = tree((x[i] - half, y[i] - half, x[i] + half, y[i] + half)).size
            if found > hits * 1.2:
                half *= 0.9
            elif found < hits * 0.8:
                half *= 1.15
            else:
                break
        out.append((x[i] - half, y[i] - half, x[i] + half, y[i] + half))
    return np.array(out)


def each(call: Callable[[object], object], items: list) -> Callable[[], object]:
    """A call that takes the next item each time."""
    turn = itertools.cycle(items)
    return lambda: call(next(turn))


def boxes_against_all(
    report: Report, kind: str, points: tuple[np.ndarray, ...], trees: tuple, folder: Path, hits: int, repeats: int
) -> None:
    x, y, _ = points
    pyramid, kd, packed = trees
    boxes = boxes_of(pyramid.query, x, y, hits, 300 if hits == 100 else 100)
    rows = [tuple(map(float, box)) for box in boxes]
    balls = [(((a + c) / 2, (b + d) / 2), (c - a) / 2) for a, b, c, d in rows]
    contenders = {
        "lazypyr": each(pyramid.query, rows),
        "cKDTree": each(lambda ball: kd.query_ball_point(*ball, p=np.inf), balls),
        "geoindex-rs": each(lambda box: np.asarray(rtree.search(packed, *box)), rows),
        "geoindex-rs, sorted": each(lambda box: np.sort(np.asarray(rtree.search(packed, *box))), rows),
    }
    timings = paired(contenders, repeats=repeats, number=len(rows))
    report.add(f"{kind}: box of {hits} points", timings, reach=1, note="ours ascending, geoindex-rs in tree order")
    if not MORAINE or kind != "uniform":
        return
    few = from_points(x[:1_000_000], y[:1_000_000], resolution=1.0)
    boxes = boxes_of(few.query, x[:1_000_000], y[:1_000_000], hits, 50)
    np.save(folder / "boxes.npy", boxes)
    (folder / "boxes.py").write_text(BOXES_MORAINE)
    answer, _ = in_process([folder / "boxes.py", folder / kind, folder / "boxes.npy"], python=MORAINE)
    mine = paired({"lazypyr": each(few.query, list(map(tuple, boxes.tolist())))}, repeats=repeats, number=len(boxes))
    report.add(f"{kind}, 1 M points: box of {hits} points", {**mine, "moraine": Timing(answer)}, reach=1)


def questions(report: Report, kind: str, points: tuple[np.ndarray, ...], folder: Path, repeats: int) -> None:
    x, y, _ = points
    n = x.size
    pyramid = from_points(x, y, resolution=1.0)
    pyramid.read(-1)

    def packed() -> object:
        builder = rtree.RTreeBuilder(num_items=n)
        builder.add(x, y, x, y)
        return builder.finish()

    def ours() -> object:
        fresh = from_points(x, y, resolution=1.0)
        return fresh.query((0.0, 0.0, 1.0, 1.0))

    trees = {"cKDTree": lambda: cKDTree(np.c_[x, y]), "geoindex-rs": packed}
    report.add(f"{kind}: build for boxes and nearest points", paired({"lazypyr": ours, **trees}, repeats=2), reach=1)
    kd, packed_tree = trees["cKDTree"](), packed()
    for hits in (100, 10_000):
        boxes_against_all(report, kind, points, (pyramid, kd, packed_tree), folder, hits, repeats)
    rng = np.random.default_rng(3)
    some = rng.integers(0, n, 1000)
    px, py = x[some] + rng.normal(size=1000) * 3, y[some] + rng.normal(size=1000) * 3
    pairs = [(float(a), float(b)) for a, b in zip(px, py, strict=True)]
    timings = paired(
        {
            "lazypyr": each(lambda at: pyramid.nearest(*at), pairs),
            "cKDTree": each(kd.query, pairs),
            "geoindex-rs": each(lambda at: rtree.neighbors(packed_tree, *at, max_results=1), pairs),
        },
        repeats=repeats,
        number=1000,
    )
    report.add(f"{kind}: nearest point, one at a time", timings, reach=1)
    timings = paired(
        {"lazypyr": lambda: pyramid.nearest(px, py), "cKDTree": lambda: kd.query(np.c_[px, py])}, repeats=repeats
    )
    report.add(f"{kind}: nearest points of 1000 places", timings, reach=1)


def kept_values(report: Report, kind: str, points: tuple[np.ndarray, ...], folder: Path, repeats: int) -> None:
    x, y, v = points
    array = zarr.create_array(
        folder / f"{kind}-values", shape=(x.size, 100), chunks=(ROWS, 1), dtype="c8", overwrite=True
    )
    for c in (1, 2):  # the others hold zeros, which take no room: sixteen gigabytes would only take time
        array[:, c] = np.exp(1j * (v * 6.28 + c)).astype("c8")
    pyramid = from_points(x, y, array, resolution=1.0)
    begin = time.perf_counter()
    kept = pyramid.keep(folder / f"{kind}-kept")
    seconds = time.perf_counter() - begin
    for level in (0, 2, 4, len(pyramid.levels) - 1):
        window = (*((0, min(256, n)) for n in pyramid.levels[level].shape[:2]), (1, 2))
        reads = {}

        def cold(p: object) -> object:
            p.cloud.chunk_cache._make_cache()
            return p

        for name, p in (("kept", kept), ("source", pyramid)):
            source = p.indexed_values if name == "kept" else p.raw["values"]
            really, seen = source.read, []
            source.read = lambda w, step=None, r=really, s=seen: s.append(w) or r(w, step)
            cold(p).read(level, window)
            reads[name] = len(seen)
            del source.read
        timings = paired(
            {
                "lazypyr": lambda p, k=level, w=window: p.read(k, w),
                "source order": lambda p, k=level, w=window: p.read(k, w),
            },
            setup={"lazypyr": lambda: cold(kept), "source order": lambda: cold(pyramid)},
            repeats=repeats,
        )
        assert reads["kept"] <= 7, reads
        note = f"chunks read: {reads['kept']} against {reads['source']} of {-(-x.size // ROWS)}; keeping took {seconds:.0f} s"
        report.add(
            f"{kind}: one of 100 channels, complex64, kept, a tile of level {level}", timings, reach=10, note=note
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", help="first, tiles, large, aggregates, questions, kept")
    options = parser.parse_args()
    wanted = set(options.only or ("first", "tiles", "large", "aggregates", "questions", "kept"))
    warnings.simplefilter("ignore")
    n, repeats = (1_000_000, 3) if options.quick else (10_000_000, 9)
    folder = Path(os.environ.get("LAZYPYR_BENCH_DIR") or tempfile.mkdtemp()) / "points"
    folder.mkdir(parents=True, exist_ok=True)
    report = Report("points", "Point clouds", packages=PACKAGES)
    try:
        for kind in ("uniform", "clustered"):
            points = cloud(kind, n)
            if "first" in wanted or "questions" in wanted:
                first_tile(report, kind, points, folder)
            if "tiles" in wanted:
                cold_tiles(report, kind, points, repeats)
            if "aggregates" in wanted:
                aggregates(report, kind, points, repeats)
            if "questions" in wanted:
                questions(report, kind, points, folder, repeats)
            if "kept" in wanted and kind == "uniform":
                kept_values(report, kind, points, folder, repeats)
        if "large" in wanted and not options.quick:
            cold_tiles(report, "uniform", cloud("uniform", 10 * n), repeats)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.quick and not options.only:
        report.save()


if __name__ == "__main__":
    main()
