"""Tour of real data: a radar stack and a LiDAR cloud, read at every level, timed, and drawn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lazypyr
from lazypyr._util.optional import need
from lazypyr._util.text import table
from lazypyr.demo import contact_sheet
from lazypyr.geometry import windows

__all__ = ["DATA", "tour"]

Array = np.ndarray[Any, Any]
Row = tuple[str, list[contact_sheet.Panel]]

DATA = Path(__file__).resolve().parent / "data"

CREDITS = "Data: AFRL Gotcha Volumetric SAR Data Set (public release); Autzen Stadium LiDAR, Aaron Reyna, Watershed Sciences, Inc. (CC BY 4.0)"

LEVELS = 4  # panels in a line
TILE = (64, 64)  # small tiles give the 512-pixel scene as many levels


def tour(out: Path, *, echo: Callable[[str], None] = print) -> Path:
    """Open the bundled data, print levels and times, draw a contact sheet.

    Parameters
    ----------
    out : Path
        Folder for the picture; made if it isn't there.
    echo : callable
        Function that prints a line of text.

    Returns
    -------
    Path
        The picture, PNG.
    """
    need("PIL", feature="lazypyr demo", extra="plot")  # fails before the work, not after it
    echo(
        f"lazypyr {lazypyr.__version__}: levels are computed when they are read. Times are for one tile, in ms: the first tile read, the median of all tiles uncached, and the median when cached."
    )
    rows = [_radar(echo), _interferogram(echo), _stadium(echo)]
    out.mkdir(parents=True, exist_ok=True)
    path = out / "levels.png"
    contact_sheet.draw(
        path,
        "lazypyr: every Zarr array is already a pyramid",
        "No pyramid was written: each picture was computed from the source when it was read. Times are for one tile.",
        rows,
        CREDITS,
    )
    echo(f"\n{CREDITS}\n{path}")
    return path


def _radar(echo: Callable[[str], None]) -> Row:
    heading = "X-band radar (AFRL Gotcha): cars on a parking lot and corner reflectors; rms amplitude in dB"

    def recipe() -> lazypyr.Pyramid:
        return lazypyr.open_pyramid(
            DATA / "sar_gotcha_xband" / "slc.zarr" / "slc", axes="yxi", method="rms", chunks=TILE
        )

    return heading, _levels(heading, recipe, (0,), contact_sheet.amplitude, echo)


def _interferogram(echo: Callable[[str], None]) -> Row:
    heading = "Interferogram of two looks, multilooked: hue is the phase, brightness the amplitude; computed from the stack, not stored"

    def recipe() -> lazypyr.Pyramid:
        return lazypyr.open_pyramid(
            DATA / "sar_gotcha_xband" / "slc.zarr" / "slc",
            axes="yxi",
            source_product=_interfere,
            method="mean",
            chunks=TILE,
        )

    return heading, _levels(heading, recipe, (0, 1), lambda z: contact_sheet.phase(np.angle(z), z), echo)


def _interfere(z: Any, i: int, j: int) -> Any:
    return z[i] * np.conj(z[j])


def _stadium(echo: Callable[[str], None]) -> Row:
    import zarr

    heading = "LiDAR (Autzen Stadium, Oregon): 983,795 points, no raster anywhere; coloured by elevation"
    cloud: Any = zarr.open(DATA / "lidar_autzen" / "stadium.zarr", mode="r")
    # stored as hundredths of a foot from an offset, which is left out
    x, y, z = (cloud[name][:] * 0.01 for name in "xyz")
    low, high = np.percentile(z, (1, 99.5))

    def recipe() -> lazypyr.Pyramid:
        return lazypyr.from_points(x, y, z.astype("float32"), resolution=1.5, chunks=(128, 128))

    return heading, _levels(heading, recipe, (), lambda h: contact_sheet.elevation(h, (low, high)), echo)


def _levels(
    heading: str,
    recipe: Callable[[], lazypyr.Pyramid],
    channel: tuple[int, ...],
    paint: Callable[[Array], Array],
    echo: Callable[[str], None],
) -> list[contact_sheet.Panel]:
    """Panels of the finest levels, read tile by tile with an empty cache and then again."""
    begin = time.perf_counter()
    pyramid = recipe()
    count = min(LEVELS, len(pyramid.levels))
    _read(_open(pyramid, count - 1), channel)
    loaded = time.perf_counter() - begin
    begin = time.perf_counter()
    pyramid = recipe()
    _open(pyramid, 0)
    opened = time.perf_counter() - begin
    rows, panels = [], []
    for level in range(count):
        array = _open(pyramid, level)
        pixels, cold = _read(array, channel)
        _, warm = _read(array, channel)
        size = " x ".join(map(str, array.shape))
        first, uncached, cached = (f"{ms:.2f}" for ms in (cold[0], statistics.median(cold), statistics.median(warm)))
        rows.append((level, size, len(cold), first, uncached, cached))
        detail = (
            f"{len(cold)} tile{'s' * (len(cold) > 1)}: first {first} ms, uncached {uncached} ms, cached {cached} ms"
        )
        panels.append(contact_sheet.Panel(paint(pixels), f"level {level}: {size}", detail))
    axes, n_ms = "".join(pyramid.axes), f"{1e3 * opened:.1f} ms"
    echo(
        f"\n{heading}\n{axes}, {pyramid.dtype}; opened in {n_ms} (the first time, with all imports and kernels: {loaded:.1f} s)"
    )
    echo(table(["level", "shape", "tiles", "first", "uncached", "cached"], rows))
    return panels


def _open(pyramid: lazypyr.Pyramid, level: int) -> Any:
    """Level as a zarr array, through a store with an empty cache."""
    import zarr

    root: Any = zarr.open(lazypyr.LazyPyramidStore(pyramid), mode="r")
    return root[str(level)]


def _read(array: Any, channel: tuple[int, ...]) -> tuple[Array, list[float]]:
    """Plane of an array, read tile by tile, and the milliseconds of each tile."""
    shape, chunks = array.shape[:2], array.chunks[:2]
    plane = np.empty(shape, array.dtype)
    times = []
    for index in np.ndindex(windows.chunk_count(shape, chunks)):
        selection = tuple(slice(a, b) for a, b in windows.chunk_window(index, chunks, shape))
        begin = time.perf_counter()
        plane[selection] = array[(*selection, *channel)]
        times.append(1e3 * (time.perf_counter() - begin))
    return plane, times
