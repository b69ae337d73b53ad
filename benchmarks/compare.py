"""Two checkouts of lazypyr against each other: the same tasks, in turns, each turn in a process of its own.

Usage: python benchmarks/compare.py OLD [NEW] [--groups core tiles materialize points plot] [--rounds 9] [--most 40]

OLD and NEW are folders of checkouts (NEW: this one). Only calls that both have are used. For each task it prints the ratio
of the medians, new to old, with a 95 % bootstrap interval; rounds are added until every interval is narrower than
0.1 or `--most` is reached. The written table goes to results/compare.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
GROUPS = ("core", "tiles", "materialize", "points", "plot")
SIZE = 4096  # pixels along an axis of the rasters
Task = tuple[str, Callable[[], object], int]  # name, what is timed, calls a turn


def core() -> Iterator[Task]:
    import zarr

    from lazypyr import LazyPyramidStore

    def run(statement: str) -> None:
        subprocess.run([sys.executable, "-c", statement], check=True)

    yield "import lazypyr and its store", lambda: run("import lazypyr; lazypyr.LazyPyramidStore"), 3
    source = np.random.default_rng(0).random((4096, 4096), dtype="f4")
    yield "open and list the root", lambda: list(zarr.open(LazyPyramidStore(source))), 25
    for compressor in (None, "zstd"):
        root = zarr.open(LazyPyramidStore(source, method="mean", compressor=compressor))
        for level in ("0", "2"):
            window = (slice(256, 512), slice(0, 256))
            yield f"warm chunk of level {level}, {compressor}", lambda a=root[level], w=window: a[w], 200


def tiles() -> Iterator[Task]:
    from _sets import make

    from lazypyr import LazyPyramidStore

    for name in ("float32", "raw", "sharded", "complex64", "uint8"):
        path = make(name, SIZE)
        for method in ("stride", "mean"):
            store = LazyPyramidStore(
                path, method=method, axes="yxc"[: 2 if name in ("float32", "raw", "sharded") else 3]
            )
            rest = "/0" if store.pyramid.ndim == 3 else ""
            for level in (1, 2, 3, len(store.pyramid.levels) - 1):

                def cold(store: object = store, key: str = f"{level}/c/0/0{rest}") -> None:
                    store.engine.clear()
                    store[key]

                yield f"cold chunk: {name}, {method}, level {level}", cold, 9 if level < 3 else 3
    store = LazyPyramidStore(make("float32", SIZE), method="mean")

    def viewing() -> None:
        store.engine.clear()
        rng = np.random.default_rng(7)
        for _ in range(60):
            level = int(rng.integers(0, len(store.pyramid.levels)))
            counts = [-(-n // 256) for n in store.pyramid.levels[level].shape]
            store[f"{level}/c/" + "/".join(str(rng.integers(0, n)) for n in counts)]

    yield "60 chunks at random, mean", viewing, 3


def materialize() -> Iterator[Task]:
    from _sets import make

    import lazypyr

    for name, method, options in (
        ("float32", "mean", {}),
        ("float32", "stride", {}),
        ("float32", "median", {}),
        ("float32", "mean", {"copy_base": False}),
        ("complex64", "mean", {"axes": "yxc"}),
        ("sharded", "mean", {}),
    ):

        def write(name: str = name, method: str = method, options: dict[str, object] = options) -> None:
            extra = {k: v for k, v in options.items() if k == "axes"}
            store = lazypyr.LazyPyramidStore(make(name, SIZE), method=method, **extra)
            with tempfile.TemporaryDirectory() as folder:
                rest = {k: v for k, v in options.items() if k != "axes"}
                lazypyr.materialize(store, f"{folder}/out.zarr", progress=False, **rest)

        yield f"materialize: {name}, {method}{', no level 0' if 'copy_base' in options else ''}", write, 1


def points() -> Iterator[Task]:
    import zarr

    from lazypyr import LazyPyramidStore, from_points

    rng = np.random.default_rng(2026)
    n = 1_000_000
    x, y, values = rng.random(n) * 6000, rng.random(n) * 6000, rng.random(n).astype("f4")
    yield "index and first coarsest chunk, 1 M points", lambda: from_points(x, y, values, resolution=1.0).read(-1), 3
    cloud = from_points(x, y, values, resolution=1.0)
    for method in ("first_valid", "mean"):
        store = LazyPyramidStore(from_points(x, y, values, resolution=1.0, method=method))
        root = zarr.open(store, mode="r")
        for level in ("0", "2"):

            def cold(store: object = store, array: object = root[level]) -> None:
                store.engine.clear()
                array[256:512, 256:512]

            yield f"cold chunk of points, {method}, level {level}", cold, 15
    yield "200 boxes", lambda: [cloud.query((b, b, b + 300, b + 300)) for b in range(0, 4000, 20)], 5
    yield "200 nearest points", lambda: [cloud.nearest(b, b) for b in range(0, 4000, 20)], 5


def plot() -> Iterator[Task]:
    import holoviews as hv
    from _sets import make

    from lazypyr.plot import raster_plot

    hv.extension("bokeh")

    def shown(path: Path, product: str | None, **options: object) -> None:
        picture = raster_plot(path, product, **options)
        picture.event(width=600, height=600)
        hv.render(picture if not picture.kdims else picture[0] if len(picture.kdims) == 1 else picture[0, 1])

    yield "first picture of a raster", lambda: shown(make("float32", SIZE), None), 1
    yield "first picture of interferograms", lambda: shown(make("complex64", SIZE), "intf_0", axes="yxi"), 1


def work(group: str) -> None:
    """Run the tasks of a group, once to warm up, and print the median seconds of their calls."""
    out = {}
    for name, task, calls in globals()[group]():
        task()
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            task()
            seconds.append(time.perf_counter() - begin)
        out[name] = statistics.median(seconds)
    print(json.dumps(out))


def turn(checkout: Path, group: str) -> dict[str, float]:
    """One turn of a checkout: seconds by task."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), str(HERE)]), "PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, str(HERE / "compare.py"), "--work", group]
    done = subprocess.run(argv, env=env, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def interval(old: list[float], new: list[float]) -> tuple[float, float, float]:
    """Ratio of the medians, new to old, and its 95 % bootstrap interval over rounds."""
    a, b = np.array(old), np.array(new)
    pick = np.random.default_rng(0).integers(0, len(a), (4000, len(a)))
    ratios = np.median(b[pick], axis=1) / np.median(a[pick], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return statistics.median(new) / statistics.median(old), float(low), float(high)


def main() -> None:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", nargs="?", type=Path)
    parser.add_argument("new", nargs="?", type=Path, default=HERE.parent)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--work", choices=GROUPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work)
        return
    if args.old is None:
        parser.error("name the folder of the old checkout")
    lines = ["| task | old | new | new / old | 95 % | rounds |", "|---|---|---|---|---|---|"]
    for group in args.groups:
        seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: {"old": [], "new": []})
        count = 0
        for checkout in (args.old, args.new):
            turn(checkout.resolve(), group)  # compiles kernels and fills the file cache
        while count < args.most:
            order = [("old", args.old), ("new", args.new)]
            for name, checkout in order if count % 2 else order[::-1]:
                for task, value in turn(checkout.resolve(), group).items():
                    seconds[task][name].append(value)
            count += 1
            found = {task: interval(**both) for task, both in seconds.items()}
            if count >= args.rounds and all(high - low < 0.1 for _, low, high in found.values()):
                break
        for task, (ratio, low, high) in found.items():
            both = seconds[task]
            cells = [statistics.median(both["old"]) * 1e3, statistics.median(both["new"]) * 1e3]
            lines.append(
                f"| {group}: {task} | {cells[0]:.3g} ms | {cells[1]:.3g} ms | {ratio:.2f} | {low:.2f} to {high:.2f} | {count} |"
            )
            print(lines[-1], flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "compare.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
