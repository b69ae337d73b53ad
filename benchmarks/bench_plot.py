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

    array = zarr.open(path, mode="r")
    ny, nx = array.shape[:2]
    bounds = (0.0, 0.0, float(nx - 1), float(ny - 1))
    times = {}
    begin = time.perf_counter()
    if who == "moraine":
        import moraine.cli
        import moraine.plot

        begin = time.perf_counter()
        moraine.cli.ras_pyramid(path, scratch)
        times["prepare"] = time.perf_counter() - begin
        plot = moraine.plot.ras_plot(array, post_proc="intf_0")
    else:
        from lazypyr.plot import ras_plot

        begin = time.perf_counter()
        plot = ras_plot(path, "intf_0", axes="yxi")
    plot.event(width=SIZE, height=SIZE)
    pictured(plot[1])
    times["first"] = time.perf_counter() - begin
    return {**times, "views": looked([plot], (1,), bounds)}


def show_points(who: str, path: str, scratch: str) -> dict[str, Any]:
    """Points of a stack: the first picture, and views."""
    import zarr

    columns = {name: zarr.open(f"{path}/{name}.zarr", mode="r") for name in ("x", "y", "v")}
    x, y = columns["x"][:], columns["y"][:]
    bounds = tuple(float(f(c)) for f in (min, max) for c in (x, y))
    times = {}
    if who == "moraine":
        import moraine.cli
        import moraine.plot

        begin = time.perf_counter()
        moraine.cli.pc_pyramid(f"{path}/v.zarr", scratch, x=f"{path}/x.zarr", y=f"{path}/y.zarr", ras_resolution=20)
        times["prepare"] = time.perf_counter() - begin
        plots = moraine.plot.pc_plot(columns["v"][:], columns["y"][:], columns["x"][:], 20, "intf_0")
    else:
        from lazypyr.plot import pc_plot

        begin = time.perf_counter()
        plots = pc_plot(columns["v"][:], columns["y"][:], columns["x"][:], 20, "intf_0")
    for plot in plots:
        plot.event(width=SIZE, height=SIZE)
    pictured(plots[0][1] * plots[1][1])
    times["first"] = time.perf_counter() - begin
    return {**times, "views": looked(plots, (1,), bounds)}


def show_large(who: str, path: str, scratch: str) -> dict[str, Any]:
    """One large raster, full extent."""
    if who == "hvplot":
        import dask.array
        import hvplot.xarray  # noqa: F401
        import numpy as np
        import xarray

        begin = time.perf_counter()
        lazy = dask.array.from_zarr(path)
        ny, nx = lazy.shape
        raster = xarray.DataArray(lazy, dims=("y", "x"), coords={"y": np.arange(ny), "x": np.arange(nx)}, name="z")
        plot = raster.hvplot.image(x="x", y="y", rasterize=True, width=SIZE, height=SIZE)
    else:
        from lazypyr.plot import raster_plot

        begin = time.perf_counter()
        plot = raster_plot(path)
        plot.event(width=SIZE, height=SIZE)
    pictured(plot)
    return {"first": time.perf_counter() - begin}


SHOWS = {"raster": show_raster, "points": show_points, "large": show_large}


def child(kind: str, who: str, path: str, small: str) -> None:
    """Run one contender in this process, on a small set first so that all is imported and compiled, and print what it took."""
    import holoviews as hv

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
    }
    full = small
    if not quick:
        full = {
            "raster": make_stack(place / "stack.zarr", (2500, 1834, 17)),
            "points": make_points(place / "points", 740_000, 17),
            "large": make("float32"),
        }
    moraine = os.environ.get("LAZYPYR_MORAINE_PYTHON")
    env = {"PYTHONPATH": str(HERE.parent)}

    def run(kind: str, who: str) -> dict[str, Any]:
        python = (moraine if who == "moraine" else None) or sys.executable
        argv = [HERE / "bench_plot.py", "--child", kind, who, full[kind], small[kind]]
        answer: dict[str, Any] = in_process(argv, python=python, env=env if who == "lazypyr" else None)[0]
        return answer

    def turns(kind: str, rival: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        pairs = [(run(kind, "lazypyr"), run(kind, rival)) for _ in range(1 if quick else 3)]
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
        pyramid = sorted(r["prepare"] for r in theirs)[len(theirs) // 2]
        report.add(
            f"{name}, {sizes[kind]}: call to first picture",
            first,
            reach=10,
            note=f"moraine's pyramid {pyramid:.1f} s of it",
        )
        bare = {**first, "moraine": Timing([r["first"] - r["prepare"] for r in theirs])}
        report.add(f"{name}, {sizes[kind]}: the same without moraine's pyramid", bare)
        warm = {
            who: Timing([s for r in rs for s in r["views"]]) for who, rs in (("lazypyr", ours), ("moraine", theirs))
        }
        report.add(f"{name}, {sizes[kind]}: a view, warm", warm, reach=1)
    ours, theirs = turns("large", "hvplot")
    both = {"lazypyr": Timing([r["first"] for r in ours]), "hvplot": Timing([r["first"] for r in theirs])}
    side = 2048 if quick else 16384
    report.add(f"{side} x {side} float32, full extent, nothing prepared", both, reach=50)
    if not quick:
        report.save()


if __name__ == "__main__":
    main()
