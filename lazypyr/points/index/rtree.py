"""Packed R-tree over the points in Morton order, for boxes and nearest points.

Up to sixteen points in a row make a block, up to sixteen blocks a node, and so on; each knows the smallest rectangle
around its points. They are cut where Morton order leaves a cell, so that rectangles hardly overlap, and they follow the
points, so that clusters cost no more than even clouds. A node that lies wholly in a box is copied without a look at
its points.

The tree holds pixel coordinates, ``pixel_x = float32((x - x0) / resolution)``. These never descend as x grows, so one
beyond that of a box's side settles the matter; only a point whose pixel coordinate *equals* the side's is looked up in the
world coordinates. Answers are exact at a third of the memory traffic of sorted float64 coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr.geometry.windows import ceil_div
from lazypyr.points.index.rtree_kernels import in_box, nearest_of, nearest_to
from lazypyr.reducers.jit import jit

__all__ = ["PackedRTree"]

Array = np.ndarray[Any, Any]

_ROOT = 63  # above the level of any cell


@jit
def _pixel_coordinates(order: Any, x: Any, y: Any, x0: Any, y0: Any, resolution: Any, pixel_xy: Any) -> Any:
    for i in range(order.size):
        pixel_xy[i, 0] = np.float32((np.float64(x[order[i]]) - x0) / resolution)
        pixel_xy[i, 1] = np.float32((np.float64(y[order[i]]) - y0) / resolution)


@jit
def _tops(pixel_xy: Any, top: Any) -> Any:
    """The coarsest cell that each point is the first of in Morton order: level 0 is a 64th of a pixel."""
    top[0] = _ROOT
    for i in range(1, top.size):
        dx = np.int64((pixel_xy[i, 0] + 0.5) * 64) ^ np.int64((pixel_xy[i - 1, 0] + 0.5) * 64)
        dy = np.int64((pixel_xy[i, 1] + 0.5) * 64) ^ np.int64((pixel_xy[i - 1, 1] + 0.5) * 64)
        bits = max(dx, dy)
        level = -1
        while bits > 0:
            bits >>= 1
            level += 1
        top[i] = level


@jit
def _cuts(top: Any, slack: Any, start: Any) -> Any:
    """Cut items in Morton order into groups of at most 16 and write where each starts; returns how many.

    ``top[i]`` is the coarsest level whose cell item i is the first of. A group is a cell, or neighbouring cells of one
    level: what it crosses inside is at most `slack` levels above what bounds it.
    """
    n = top.size
    groups = 0
    a = 0
    while a < n:
        start[groups] = a
        groups += 1
        crossed = -2
        best = a + 1
        for b in range(a + 1, min(a + 16, n) + 1):
            after = top[b] if b < n else _ROOT
            if crossed <= min(top[a], after) + slack:
                best = b
            if b < n:
                if top[b] > top[a] + slack:
                    break
                crossed = max(crossed, top[b])
        a = best
    return groups


@jit
def _block_bounds(pixel_xy: Any, start: Any, bounds: Any) -> Any:
    for j in range(start.size - 1):
        a = start[j]
        xl, yl, xh, yh = pixel_xy[a, 0], pixel_xy[a, 1], pixel_xy[a, 0], pixel_xy[a, 1]
        for i in range(a + 1, start[j + 1]):
            xl, xh = min(xl, pixel_xy[i, 0]), max(xh, pixel_xy[i, 0])
            yl, yh = min(yl, pixel_xy[i, 1]), max(yh, pixel_xy[i, 1])
        bounds[j, 0], bounds[j, 1], bounds[j, 2], bounds[j, 3] = xl, yl, xh, yh


@jit
def _join_bounds(fine: Any, start: Any, coarse: Any) -> Any:
    for j in range(start.size - 1):
        for side in range(4):
            v = fine[start[j], side]
            for i in range(start[j] + 1, start[j + 1]):
                v = min(v, fine[i, side]) if side < 2 else max(v, fine[i, side])
            coarse[j, side] = v


@dataclass(frozen=True, eq=False)
class PackedRTree:
    """Packed R-tree: points in Morton order and the rectangles around groups of them.

    Attributes
    ----------
    order : ndarray
        Number of the point of each rank, shape ``(n,)``.
    pixel_xy : ndarray
        Coordinates of the point of each rank, in pixels from ``(x0, y0)``, float32, shape ``(n, 2)``.
    bounds : ndarray
        ``(x low, y low, x high, y high)``, inclusive, of blocks, then of nodes level by level up to the root; float32.
        Each level is followed by one row that is no node.
    child, first : ndarray
        First child (a row of `bounds`; a rank for blocks) and first rank of each node, the next row says where both stop.
    leaves : int
        Rows below this one are blocks.
    x, y : ndarray
        Coordinates by point number.
    x0, y0, resolution : float
        Origin and unit of `pixel_xy`.
    """

    order: Array
    pixel_xy: Array
    bounds: Array
    child: Array
    first: Array
    leaves: int
    x: Array
    y: Array
    x0: float
    y0: float
    resolution: float

    @classmethod
    def of(
        cls,
        order: Array,
        x: Array,
        y: Array,
        grid: tuple[float, float, float],
        *,
        pixel_xy: Array | None = None,
    ) -> PackedRTree:
        """The tree over points in Morton order.

        `order` has their numbers, `grid` is ``(x0, y0, resolution)``; `pixel_xy` may be given as a buffer.
        """
        pixel_xy = np.empty((order.size, 2), np.float32) if pixel_xy is None else pixel_xy
        _pixel_coordinates(order, x, y, *grid, pixel_xy)
        top = np.empty(order.size, np.int8)
        _tops(pixel_xy, top)
        children, firsts, bounds = [], [], []
        fine: Array | None = None
        base = 0
        first = np.empty(0, np.int64)
        while fine is None or fine.shape[0] > 1:
            start = _grouped(top)
            edges = np.append(start, top.size)
            level_bounds = np.zeros((start.size + 1, 4), np.float32)
            if fine is None:
                _block_bounds(pixel_xy, edges, level_bounds)
                first = edges
                leaves = start.size + 1
            else:
                _join_bounds(fine, edges, level_bounds)
                first = first[edges]
            children.append(edges + base if fine is not None else edges)
            firsts.append(first)
            bounds.append(level_bounds)
            base += 0 if fine is None else fine.shape[0] + 1
            fine, top = level_bounds[:-1], top[start]
        return cls(
            order,
            pixel_xy,
            np.concatenate(bounds),
            np.concatenate(children),
            np.concatenate(firsts),
            leaves,
            x,
            y,
            *grid,
        )

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        arrays = (self.order, self.pixel_xy, self.bounds, self.child, self.first, self.leaves, self.x, self.y)
        return (*arrays, self.x0, self.y0, self.resolution)

    def in_box(self, xa: float, ya: float, xb: float, yb: float, *, closed: bool) -> Array:
        """Numbers of the points in a box, ascending, int64; the high sides belong to it only if `closed`."""
        numbers: Array = self._in_box(self._parts, xa, ya, xb, yb, closed)
        return numbers

    def nearest_to(self, x: float, y: float, reach: float) -> tuple[int, float]:
        """Number (-1 if there is none) of and distance to the nearest point."""
        nearest: tuple[int, float] = self._nearest_to(self._parts, x, y, reach)
        return nearest

    def nearest(self, x: Array, y: Array, reach: float) -> tuple[Array, Array]:
        """Numbers (int64, -1 where there is none) of and distances to the nearest points; flat float64 `x` and `y`."""
        index, distance = np.empty(x.size, np.int64), np.empty(x.size, np.float64)
        nearest_of(self._parts, x, y, reach, index, distance)
        return index, distance

    # Called once by the careful way, a kernel is compiled for the types of this tree; a question takes microseconds, and
    # the careful way half of one.

    @cached_property
    def _in_box(self) -> Any:
        in_box(self._parts, self.x0, self.y0, self.x0, self.y0, False)
        return in_box.compiled

    @cached_property
    def _nearest_to(self) -> Any:
        nearest_to(self._parts, self.x0, self.y0, 0.0)
        return nearest_to.compiled


def _grouped(top: Array) -> Array:
    """First items of groups; where cells group badly (fewer than four to a group on average), sixteen in a row."""
    start = np.empty(top.size, np.int64)
    groups = _cuts(top, 1, start)
    if groups > ceil_div(top.size, 4):
        groups = _cuts(top, 2 * _ROOT, start)
    return start[:groups].copy()
