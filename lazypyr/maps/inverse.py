"""Positions in a source of the pixels of a target: exact at the nodes of a control grid, bounded in error in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lazypyr.maps.sampling import fill_cells
from lazypyr.metadata.projection import transform

__all__ = ["CELL", "TOLERANCE", "Positions", "positions_of"]

Array = np.ndarray[Any, Any]
CELL = 256
_STEP = 8  # pixels between nodes
TOLERANCE = 0.03  # of an output pixel
_N = CELL // (2 * _STEP)


class Grid(Protocol):
    """Place of a raster on a regular grid, as `lazypyr.maps.place.Place` has it."""

    @property
    def crs(self) -> str: ...
    @property
    def period(self) -> float: ...
    @property
    def y(self) -> Any: ...
    @property
    def x(self) -> Any: ...
    def once(self, columns: Array, /) -> Array:
        """Columns of the same meridians nearest to the raster."""

    def holds(self, rows: Array, columns: Array, /) -> Array:
        """Mask of positions within the outer edges."""


@dataclass(frozen=True)
class Positions:
    """Rows and columns of level 0 of a source for the pixels of one cell.

    Parameters
    ----------
    rows, columns : ndarray of float64
        (256, 256); NaN where there is no such place.
    scale : float
        Source pixels in a pixel, the median over the cell.
    spans : (float, float)
        Source pixels along rows and along columns that a pixel reaches over, the medians.
    """

    rows: Array
    columns: Array
    scale: float
    spans: tuple[float, float]


def positions_of(place: Grid, crs: str, left: float, top: float, resolution: float) -> Positions:
    """Positions of a cell whose outer corner is `left`, `top`."""
    edges = np.arange(2 * _N + 1) * (_STEP * resolution)
    nodes = np.stack(_inverse(place, crs, *np.meshgrid(left + edges, top - edges)))
    # Of each piece of the control grid its 3 x 3 nodes, unwrapped about the middle one.
    pieces = np.ascontiguousarray(sliding_window_view(nodes, (3, 3), axis=(1, 2))[:, ::2, ::2])
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if place.period:
            c = pieces[1]
            c -= place.period * np.rint((c - c[..., 1:2, 1:2]) / place.period)
        row_scale, column_scale = (_steepness(g) for g in pieces)
        error = _bend(pieces[0]) / row_scale[0] + _bend(pieces[1]) / column_scale[0]
        good = np.isfinite(error) & (error < 4 * TOLERANCE)
    rows, columns = (np.full((CELL, CELL), np.nan) for _ in "yx")
    fill_cells(pieces, good, _STEP, rows, columns)
    # A piece all of whose nodes are outside of the projection has no pixel.
    exactly = ~good & np.isfinite(pieces).any(axis=(0, 3, 4))
    if exactly.any():
        wanted = np.repeat(np.repeat(exactly, 2 * _STEP, 0), 2 * _STEP, 1)
        i, j = np.nonzero(wanted)
        rows[i, j], columns[i, j] = _inverse(place, crs, left + (j + 0.5) * resolution, top - (i + 0.5) * resolution)
    columns = place.once(columns)
    sizes = _sizes(place, pieces, row_scale, column_scale)
    return Positions(rows, columns, *sizes)


def _inverse(place: Grid, crs: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Rows and columns of points; NaN where the source's CRS has no such point."""
    east, north = transform(crs, place.crs, x, y)
    bad = ~(np.isfinite(east) & np.isfinite(north))
    if bad.any():
        east, north = np.where(bad, np.nan, east), np.where(bad, np.nan, north)
    return place.y.position(north), place.x.position(east)


def _bend(g: Array) -> Array:
    """Largest difference of the middle nodes of pieces from the mean of those around them."""
    a, b, c, d = g[..., 0, 0], g[..., 0, 2], g[..., 2, 0], g[..., 2, 2]
    off = [
        g[..., 1, 1] - (a + b + c + d) / 4,
        g[..., 0, 1] - (a + b) / 2,
        g[..., 1, 0] - (a + c) / 2,
        g[..., 1, 2] - (b + d) / 2,
        g[..., 2, 1] - (c + d) / 2,
    ]
    worst: Array = np.abs(off).max(axis=0)
    return worst


def _steepness(g: Array) -> tuple[Array, Array]:
    """Change of a position in one pixel, of either direction together, and of the larger of the two."""
    down = (g[..., 2, :] - g[..., 0, :]).mean(-1) / (2 * _STEP)
    across = (g[..., :, 2] - g[..., :, 0]).mean(-1) / (2 * _STEP)
    return np.hypot(down, across), np.maximum(np.abs(down), np.abs(across))


def _sizes(
    place: Grid, pieces: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]
) -> tuple[float, tuple[float, float]]:
    """Median size of a pixel in source pixels, of those that lie within the source as far as some do."""
    inside = place.holds(pieces[0], place.once(pieces[1])).any(axis=(-1, -2))
    sizes = np.stack([rows[0], columns[0]])
    known = np.isfinite(sizes).all(axis=0)
    chosen = known & inside if (known & inside).any() else known
    if not chosen.any():
        return 1.0, (1.0, 1.0)
    row, column = (max(float(np.median(size[chosen])), 1e-9) for size in sizes)
    return float(np.sqrt(row * column)), (row, column)
