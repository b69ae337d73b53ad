"""A source that is a function: the Mandelbrot set, 40 levels of 1024-pixel tiles, 2**49 pixels a side.

Opening it reads nothing and takes milliseconds, though level 0 alone would be 2**98 bytes; each tile is computed at its own
level when somebody looks at it.

    python docs/examples/mandelbrot.py           # print the levels, read one tile of each of a few
    python docs/examples/mandelbrot.py --serve   # look at it in a browser
"""

from __future__ import annotations

import math
import sys
import time

import numba
import numpy as np
import zarr

import lazypyr

TILE = 1024
LEVELS = 40
SIZE = TILE * 2 ** (LEVELS - 1)  # pixels a side at level 0
WIDTH = 4.0  # of the plane that is shown: real and imaginary parts from the corner on
CORNER = complex(-2.5, -2.0)
SEAHORSE = complex(-0.743643887037151, 0.131825904205330)  # worth zooming into, all the way


@numba.njit(nogil=True)
def escape_time(x0, y0, step, out, limit):
    """Fill `out` with smooth escape times in colours 1 to 255, 0 inside the set; (x0, y0) is the centre of the first pixel."""
    for row in range(out.shape[0]):
        y = y0 + row * step
        for column in range(out.shape[1]):
            x = x0 + column * step
            re = im = 0.0
            n = 0
            while n < limit and re * re + im * im < 256.0:
                re, im = re * re - im * im + x, 2.0 * re * im + y
                n += 1
            if n < limit:
                smooth = n + 1.0 - math.log2(0.5 * math.log2(re * re + im * im))
                out[row, column] = 1 + int(127.0 * (1.0 - math.cos(0.35 * math.sqrt(max(smooth, 0.0)) * 2.0)))


def read_tile(level, window):
    """Pixels of ``window = ((row, row), (column, column))``, half-open, of `level`: uint8."""
    (top, bottom), (left, right) = window
    step = WIDTH / SIZE * 2.0**level
    out = np.zeros((bottom - top, right - left), "uint8")
    depth = LEVELS - 1 - level
    escape_time(CORNER.real + (left + 0.5) * step, CORNER.imag + (top + 0.5) * step, step, out, 256 + 96 * depth)
    return out


def open_mandelbrot():
    """The set as a pyramid: a recipe."""
    return lazypyr.from_function(read_tile, shape=(SIZE, SIZE), dtype="uint8", levels=LEVELS, chunks=(TILE, TILE))


def tile_at(point, level):
    """Rows and columns of the tile of `level` that a point of the plane lies in."""
    step = WIDTH / SIZE * 2.0**level
    row, column = int((point.imag - CORNER.imag) / step), int((point.real - CORNER.real) / step)
    top, left = row - row % TILE, column - column % TILE
    return slice(top, top + TILE), slice(left, left + TILE)


def main():
    """Open it, say how long that took, and read a tile at every eighth level down to level 0."""
    begin = time.perf_counter()
    store = lazypyr.LazyPyramidStore(open_mandelbrot())
    root = zarr.open(store, mode="r")
    print(f"{LEVELS} levels, {SIZE:,} x {SIZE:,} pixels, opened in {1e3 * (time.perf_counter() - begin):.1f} ms")
    if "--serve" in sys.argv[1:]:
        lazypyr.serve({"mandelbrot": store})
        return
    for level in [*range(LEVELS - 1, 0, -8), 0]:
        begin = time.perf_counter()
        tile = root[str(level)][tile_at(SEAHORSE, level)]
        print(f"level {level:2}: {len(np.unique(tile)):3} colours, {1e3 * (time.perf_counter() - begin):7.1f} ms")


if __name__ == "__main__":
    main()
