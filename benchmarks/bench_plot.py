"""Plots: from the call to the first picture, and each view after it, against moraine and against hvplot with datashader.

``python bench_plot.py [--quick]``. moraine runs in its own environment (``LAZYPYR_MORAINE_PYTHON``), each contender in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
SIZE = 600  # pixels of the plot, both ways
N_VIEWS = 24


def views(bounds: tuple[float, float, float, float]) -> list[dict[str, Any]]:
    """Views as a hand makes them: zooming in on a place, then panning there; the deepest is a 32nd of the extent."""
    left, bottom, right, top = bounds
    out = []
    for n in range(N_VIEWS):
        zoom = 2.0 ** (5 * min(n, 15) / 15)
        drift = 0.02 * max(0, n - 15)
        x, y = left + (0.4 + drift / zoom) * (right - left), bottom + 0.6 * (top - bottom)
        half = (right - left) / zoom / 2, (top - bottom) / zoom / 2
        out.append(
            {
                "x_range": (x - half[0], x + half[0]),
                "y_range": (y - half[1], y + half[1]),
                "width": SIZE,
                "height": SIZE,
            }
        )
    return out


def pictured(plot: Any) -> None:
    """The picture as the browser gets it."""
    import holoviews as hv
    from bokeh.embed import json_item

    json_item(hv.render(plot))


def looked(plots: Any, key: tuple[int, ...], bounds: tuple[float, float, float, float]) -> list[float]:
    """Seconds of the callback of each view, seen for the second time."""
    seconds = []
    for turn in range(2):
        for view in views(bounds):
            for plot in plots:
                plot.event(**view)
            begin = time.perf_counter()
            for plot in plots:
                plot[key]
            if turn:
                seconds.append(time.perf_counter() - begin)
    return seconds


def show_raster(who: str, path: str, scratch: str) -> dict[str, Any]:
    """A stack's interferograms: the first picture, and views."""
    import zarr

    ny, nx = zarr.open(path, mode="r").shape[:2]
    times = {}
    if who == "moraine":
        from moraine.cli import ras_plot, ras_pyramid

        begin = time.perf_counter()
        ras_pyramid(path, scratch)
        times["prepare"] = time.perf_counter() - begin
        plot = ras_plot(scratch, post_proc="intf_0")
    else:
        from lazypyr.plot import ras_plot

        begin = time.perf_counter()
        plot = ras_plot(path, "intf_0", axes="yxi")
    plot.event(width=SIZE, height=SIZE)
    pictured(plot[1])
    times["first"] = time.perf_counter() - begin
    return {**times, "views": looked([plot], (1,), (0.0, 0.0, float(nx - 1), float(ny - 1)))}


def show_points(who: str, path: str, scratch: str) -> dict[str, Any]:
    """Points of a stack: the first picture, and views."""
    import zarr

    v, x, y = (f"{path}/{name}.zarr" for name in "vxy")
    columns = [zarr.open(column, mode="r")[:] for column in (x, y)]
    bounds = tuple(float(f(column)) for f in (min, max) for column in columns)
    times = {}
    if who == "moraine":
        from moraine.cli import pc_plot, pc_pyramid

        begin = time.perf_counter()
        pc_pyramid(v, scratch, x=x, y=y, ras_resolution=20)
        times["prepare"] = time.perf_counter() - begin
        plots = pc_plot(scratch, "intf_0", "intf_0")
    else:
        from lazypyr.plot import pc_plot

        begin = time.perf_counter()
        plots = pc_plot(v, y, x, 20, "intf_0")
    for plot in plots:
        plot.event(width=SIZE, height=SIZE)
    pictured(plots[0][1] * plots[1][1])
    times["first"] = time.perf_counter() - begin
    return {**times, "views": looked(plots, (1,), bounds)}


def show_large(who: str, path: str, scratch: str) -> dict[str, Any]:
    """One large raster, full extent; of ours also a second plot of it, and what its stored chunks alone take to decode."""
    if who == "hvplot":
        import dask.array
        import hvplot.xarray  # noqa: F401
        import numpy as np
        import xarray

        begin = time.perf_counter()
        lazy = dask.array.from_zarr(path)
        ny, nx = lazy.shape
        raster = xarray.DataArray(lazy, dims=("y", "x"), coords={"y": np.arange(ny), "x": np.arange(nx)}, name="z")
        pictured(raster.hvplot.image(x="x", y="y", rasterize=True, width=SIZE, height=SIZE))
        return {"first": time.perf_counter() - begin}
    times = {}
    for turn in ("first", "again"):
        from lazypyr.plot import raster_plot

        begin = time.perf_counter()
        plot = raster_plot(path)
        plot.event(width=SIZE, height=SIZE)
        pictured(plot)
        times[turn] = time.perf_counter() - begin
    return {**times, "decoding": decoding(path)}


def decoding(path: str) -> float:
    """Seconds to read and decode every stored chunk of a zstd array, by as many threads as there are CPUs, keeping nothing."""
    from concurrent.futures import ThreadPoolExecutor

    import numcodecs
    import numpy as np
    import zarr

    array = zarr.open(path, mode="r")
    if not array.compressors:
        return 0.0
    files = [file for file in Path(path, "c").rglob("*") if file.is_file()]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def work(part: list[Path]) -> None:
        codec, out = numcodecs.Zstd(), np.empty(array.chunks, array.dtype)
        for file in part:
            codec.decode(file.read_bytes(), out)

    begin = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, [files[n::count] for n in range(count)]))
    return time.perf_counter() - begin


SHOWS = {"raster": show_raster, "points": show_points, "large": show_large, "raw": show_large}


def child(kind: str, who: str, path: str, small: str) -> None:
    """Run one contender in this process, on a small set first so that all is imported and compiled, and print what it took."""
    import logging

    import holoviews as hv

    logging.getLogger("bokeh").setLevel(logging.ERROR)  # it warns that a page without a server has no callbacks
    hv.extension("bokeh", logo=False)
    scratch = tempfile.mkdtemp(prefix="lazypyr-bench-")
    try:
        SHOWS[kind](who, small, f"{scratch}/small")
        print(json.dumps(SHOWS[kind](who, path, f"{scratch}/full")), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def make_stack(path: Path, shape: tuple[int, int, int]) -> Path:
    """A stack of complex64 images with fringes and speckle, chunks (1000, 1000, 1)."""
    import numpy as np
    import zarr

    if not path.exists():
        rng = np.random.default_rng(1)
        y, x = np.ogrid[: shape[0], : shape[1]]
        array = zarr.create_array(path, shape=shape, chunks=(1000, 1000, 1), dtype="c8")
        for i in range(shape[2]):
            noise = rng.normal(size=shape[:2]) + 1j * rng.normal(size=shape[:2])
            array[:, :, i] = np.exp(1j * (y / 90 + x / (30 + i))) + 0.4 * noise
    return path


def make_points(path: Path, n: int, n_dates: int) -> Path:
    """Scatterers: clustered positions over 20 km, complex64 values."""
    import numpy as np
    import zarr

    if not path.exists():
        rng = np.random.default_rng(2)
        towns = rng.random((200, 2)) * 20000
        place = towns[rng.integers(0, 200, n)] + rng.normal(size=(n, 2)) * 600
        values = np.exp(1j * (place[:, :1] / 900 * np.arange(n_dates))) + 0.3 * rng.normal(size=(n, n_dates))
        for name, data in {"x": place[:, 0], "y": place[:, 1], "v": values.astype("c8")}.items():
            chunks = (65536, *(1,) * (data.ndim - 1))
            zarr.create_array(path / f"{name}.zarr", data=np.ascontiguousarray(data), chunks=chunks)
    return path


def main() -> None:
    """Make the sets, run the contenders in turns, save the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small sets, to see that it runs; nothing is saved")
    parser.add_argument("--child", nargs=4, metavar=("KIND", "WHO", "PATH", "SMALL"))
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    sys.path.insert(0, str(HERE))
    from _bench import Report, Timing, in_process
    from _sets import folder, make

    quick = args.quick
    place = folder()
    small = {
        "raster": make_stack(place / "stack-small.zarr", (600, 500, 5)),
        "points": make_points(place / "points-small", 20_000, 5),
        "large": make("float32", 2048),
        "raw": make("raw", 2048),
    }
    full = small
    if not quick:
        full = {
            "raster": make_stack(place / "stack.zarr", (2500, 1834, 17)),
            "points": make_points(place / "points", 740_000, 17),
            "large": make("float32"),
            "raw": make("raw"),
        }
    moraine = os.environ.get("LAZYPYR_MORAINE_PYTHON")
    env = {"PYTHONPATH": str(HERE.parent)}

    def run(kind: str, who: str) -> dict[str, Any]:
        python = (moraine if who == "moraine" else None) or sys.executable
        argv = [HERE / "bench_plot.py", "--child", kind, who, full[kind], small[kind]]
        answer: dict[str, Any] = in_process(argv, python=python, env=env if who == "lazypyr" else None)[0]
        return answer

    def turns(kind: str, rival: str, count: int = 3) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        pairs = [(run(kind, "lazypyr"), run(kind, rival)) for _ in range(1 if quick else count)]
        return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]

    report = Report("plot", "Plots: first picture and views", packages=["holoviews", "bokeh", "datashader", "hvplot"])
    sizes = {
        "raster": "600 x 500 x 5" if quick else "2500 x 1834 x 17",
        "points": "20,000 x 5" if quick else "740,000 x 17",
    }
    for kind in ("raster", "points") if moraine else ():
        name = {"raster": "intf_0 of a stack", "points": "intf_0 of points"}[kind]
        ours, theirs = turns(kind, "moraine")
        first = {"lazypyr": Timing([r["first"] for r in ours]), "moraine": Timing([r["first"] for r in theirs])}
        pyramid = median(r["prepare"] for r in theirs)
        report.add(
            f"{name}, {sizes[kind]}: call to first picture",
            first,
            reach=10,
            note=f"moraine's pyramid {pyramid:.1f} s of it",
        )
        bare = {**first, "moraine": Timing([r["first"] - r["prepare"] for r in theirs])}
        report.add(f"{name}, {sizes[kind]}: the same, its pyramid being there already, ours not", bare)
        warm = {
            who: Timing([s for r in rs for s in r["views"]]) for who, rs in (("lazypyr", ours), ("moraine", theirs))
        }
        report.add(f"{name}, {sizes[kind]}: a view, warm, on its finished pyramid", warm, reach=1)
    side = 2048 if quick else 16384
    for kind, stored in (("large", "zstd"), ("raw", "uncompressed")):
        ours, theirs = turns(kind, "hvplot", 2)
        hvplot = Timing([r["first"] for r in theirs])
        note, decoded = "", median(r["decoding"] for r in ours)
        if decoded:
            note = f"decoding all chunks takes {decoded:.2f} s, so {hvplot.median / decoded:.0f} x is the most there is"
        task = f"{side} x {side} float32, {stored}: full extent"
        both = {"lazypyr": Timing([r["first"] for r in ours]), "hvplot": hvplot}
        report.add(f"{task}, nothing prepared", both, reach=50, note=note)
        again = {"lazypyr": Timing([r["again"] for r in ours]), "hvplot": hvplot}
        report.add(
            f"{task}, a second plot of it in the same process",
            again,
            reach=50,
            note="hvplot's first one: it keeps nothing, so that a second one reads all again",
        )
    if not quick:
        report.save()


if __name__ == "__main__":
    main()
