"""Kernels that draw a mesh of positions into the pixels of a target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["boxes_of", "paint"]

Array = np.ndarray[Any, Any]


@jit
def boxes_of(x: Array, y: Array, n: int, turn: float, boxes: Array) -> None:
    """Boxes (left, bottom, right, top) of blocks of n x n cells of a mesh, x unwrapped within a block."""
    height, width = x.shape
    for bi in range(boxes.shape[0]):
        for bj in range(boxes.shape[1]):
            x0, x1, y0, y1, first = np.inf, -np.inf, np.inf, -np.inf, np.nan
            for i in range(bi * n, min(bi * n + n + 1, height)):
                for j in range(bj * n, min(bj * n + n + 1, width)):
                    a, b = x[i, j], y[i, j]
                    if not (math.isfinite(a) and math.isfinite(b)):
                        continue
                    if math.isnan(first):
                        first = a
                    if turn > 0:
                        a -= turn * np.rint((a - first) / turn)
                    x0, x1, y0, y1 = min(x0, a), max(x1, a), min(y0, b), max(y1, b)
            boxes[bi, bj, 0], boxes[bi, bj, 1], boxes[bi, bj, 2], boxes[bi, bj, 3] = x0, y0, x1, y1


@jit
def paint(
    x: Array, y: Array, rows: Array, columns: Array, height: int, width: int, resolution: float, left: float, top: float,
    turn: float, out_rows: Array, out_columns: Array,
) -> None:  # fmt: skip
    """Rows and columns of the pixels of a target under the triangles of a mesh whose node (i, j) is that row and column.

    At the border of the raster triangles reach half a pixel further out, as pixels do.
    """
    size = out_rows.shape[0]
    px, py, pr, pc = np.empty(4), np.empty(4), np.empty(4), np.empty(4)
    order = ((0, 1, 2), (3, 2, 1))
    shifts = 1 if turn > 0 else 0
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            whole = True
            for k in range(4):
                a, b = i + (k >> 1), j + (k & 1)
                px[k], py[k], pr[k], pc[k] = x[a, b], y[a, b], rows[a], columns[b]
                whole = whole and math.isfinite(px[k]) and math.isfinite(py[k])
            if not whole:
                continue
            if turn > 0:
                for k in range(1, 4):
                    px[k] -= turn * np.rint((px[k] - px[0]) / turn)
            for k in range(2):
                _reach_out(px, py, pr, k, k + 2, height)
            for k in (0, 2):
                _reach_out(px, py, pc, k, k + 1, width)
            for shift in range(-shifts, shifts + 1):
                for t in range(2):
                    a, b, c = order[t]
                    ax = (px[a] + shift * turn - left) / resolution - 0.5
                    bx = (px[b] + shift * turn - left) / resolution - 0.5
                    cx = (px[c] + shift * turn - left) / resolution - 0.5
                    ay, by, cy = (
                        (top - py[a]) / resolution - 0.5,
                        (top - py[b]) / resolution - 0.5,
                        (top - py[c]) / resolution - 0.5,
                    )
                    x0, x1 = (
                        max(math.ceil(min(ax, bx, cx) - 1e-9), 0),
                        min(math.floor(max(ax, bx, cx) + 1e-9), size - 1),
                    )
                    y0, y1 = (
                        max(math.ceil(min(ay, by, cy) - 1e-9), 0),
                        min(math.floor(max(ay, by, cy) + 1e-9), size - 1),
                    )
                    det = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
                    if x0 > x1 or y0 > y1 or det == 0:
                        continue
                    for v in range(y0, y1 + 1):
                        for u in range(x0, x1 + 1):
                            f = ((u - ax) * (cy - ay) - (cx - ax) * (v - ay)) / det
                            g = ((bx - ax) * (v - ay) - (u - ax) * (by - ay)) / det
                            if f >= -1e-9 and g >= -1e-9 and f + g <= 1 + 1e-9:
                                out_rows[v, u] = pr[a] + f * (pr[b] - pr[a]) + g * (pr[c] - pr[a])
                                out_columns[v, u] = pc[a] + f * (pc[b] - pc[a]) + g * (pc[c] - pc[a])


@jit
def _reach_out(px: Array, py: Array, p: Array, k: int, m: int, n: int) -> None:
    """Move corners k and m, numbered `p`, half a pixel beyond the ends of n pixels."""
    step = p[m] - p[k]
    dx, dy = (px[m] - px[k]) / step, (py[m] - py[k]) / step
    if p[k] == 0:
        px[k], py[k], p[k] = px[k] - dx / 2, py[k] - dy / 2, -0.5
    if p[m] == n - 1:
        px[m], py[m], p[m] = px[m] + dx / 2, py[m] + dy / 2, n - 0.5
