"""Kernels that take values of a block at fractional positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["fill_cells", "heaviest", "mark", "nearest", "weighted"]

Array = np.ndarray[Any, Any]


@jit
def fill_cells(nodes: Array, good: Array, step: int, rows: Array, columns: Array) -> None:
    """Positions of the pixels of each good cell, two by two nodes apart, from its 3 x 3 nodes (of row and column)."""
    inverse = 1.0 / step
    for i in range(good.shape[0]):
        for j in range(good.shape[1]):
            if not good[i, j]:
                continue
            for a in range(2 * step):
                p = a // step
                u = (a % step + 0.5) * inverse
                for b in range(2 * step):
                    q = b // step
                    v = (b % step + 0.5) * inverse
                    y, x = i * 2 * step + a, j * 2 * step + b
                    for k in range(2):
                        g = nodes[k, i, j]
                        value = (g[p, q] * (1 - v) + g[p, q + 1] * v) * (1 - u)
                        value += (g[p + 1, q] * (1 - v) + g[p + 1, q + 1] * v) * u
                        if k == 0:
                            rows[y, x] = value
                        else:
                            columns[y, x] = value


@jit
def pixel_at(position: float, size: int) -> int:
    """Number of the pixel about a position, of those beyond the ends the last one."""
    return min(max(math.floor(position + 0.5), 0), size - 1)


@jit
def mark(
    rows: Array,
    columns: Array,
    inside: Array,
    reach_row: float,
    reach_column: float,
    row_part: Array,
    column_part: Array,
    used: Array,
) -> None:
    """Mark the parts of a block (numbers by row and column) that hold a pixel within reach of a position."""
    height, width = len(row_part), len(column_part)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if not inside[i, j]:
                continue
            a = row_part[pixel_at(rows[i, j] - reach_row, height)]
            b = row_part[pixel_at(rows[i, j] + reach_row, height)]
            c = column_part[pixel_at(columns[i, j] - reach_column, width)]
            d = column_part[pixel_at(columns[i, j] + reach_column, width)]
            for p in range(a, b + 1):
                for q in range(c, d + 1):
                    used[p, q] = True


@jit
def nearest(block: Array, holds: Array, rows: Array, columns: Array, inside: Array, out: Array) -> None:
    """Nearest pixel, where it holds something; `holds` is empty where all of them do."""
    height, width = block.shape
    checked = holds.shape[0] > 0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if inside[i, j]:
                r = pixel_at(rows[i, j], height)
                c = pixel_at(columns[i, j], width)
                if not checked or holds[r, c]:
                    out[i, j] = block[r, c]


@jit
def weights_of(position: float, kind: int, span: float, weights: Array) -> tuple[int, int]:
    """First pixel and number of `weights` of a position: 1 linear, 2 cubic (Catmull-Rom), 3 share of `span` pixels."""
    if kind == 1:
        first = math.floor(position)
        f = position - first
        weights[0], weights[1] = 1 - f, f
        return first, 2
    if kind == 2:
        first = math.floor(position) - 1
        f = position - first - 1
        weights[0] = ((-0.5 * f + 1) * f - 0.5) * f
        weights[1] = (1.5 * f - 2.5) * f * f + 1
        weights[2] = ((-1.5 * f + 2) * f + 0.5) * f
        weights[3] = (0.5 * f - 0.5) * f * f
        return first, 4
    low, high = position - span / 2, position + span / 2
    first, last = math.floor(low + 0.5), math.ceil(high - 0.5)
    last = min(max(last, first), first + len(weights) - 1)
    for k in range(last - first + 1):
        weights[k] = max(min(high, first + k + 0.5) - max(low, first + k - 0.5), 0.0)
    return first, last - first + 1


@jit
def weighted(
    block: Array,
    holds: Array,
    rows: Array,
    columns: Array,
    inside: Array,
    kind: int,
    spans: Array,
    zero: Any,
    out: Array,
) -> None:
    """Weighted mean of the pixels about a position that hold something, where the nearest one does.

    Where a cubic window has a hole or an edge, the mean is linear. `zero` is that of `out`, real or complex.
    """
    height, width = block.shape
    checked = holds.shape[0] > 0
    longest = int(max(spans[0], spans[1])) + 6
    row_weights, column_weights = np.empty(longest), np.empty(longest)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if not inside[i, j]:
                continue
            row, column = rows[i, j], columns[i, j]
            r, c = pixel_at(row, height), pixel_at(column, width)
            if checked and not holds[r, c]:
                continue
            used = kind
            while True:
                first_row, n_rows = weights_of(row, used, spans[0], row_weights)
                first_column, n_columns = weights_of(column, used, spans[1], column_weights)
                total, complete = 0.0, True
                value = zero
                for a in range(n_rows):
                    y = first_row + a
                    for b in range(n_columns):
                        x = first_column + b
                        weight = row_weights[a] * column_weights[b]
                        if weight == 0:
                            continue
                        if y < 0 or y >= height or x < 0 or x >= width or (checked and not holds[y, x]):
                            complete = False
                        else:
                            value += weight * block[y, x]
                            total += weight
                if used == 2 and not complete:
                    used = 1
                    continue
                break
            out[i, j] = value / total if total > 0 else block[r, c]


@jit
def heaviest(block: Array, holds: Array, rows: Array, columns: Array, inside: Array, spans: Array, out: Array) -> None:
    """Value of the largest share of the pixels under `spans`, the smallest of equals; a hole where the nearest one is."""
    height, width = block.shape
    checked = holds.shape[0] > 0
    longest = int(max(spans[0], spans[1])) + 6
    row_weights, column_weights = np.empty(longest), np.empty(longest)
    values, shares = np.empty(longest * longest, block.dtype), np.empty(longest * longest)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if not inside[i, j]:
                continue
            row, column = rows[i, j], columns[i, j]
            r, c = pixel_at(row, height), pixel_at(column, width)
            if checked and not holds[r, c]:
                continue
            first_row, n_rows = weights_of(row, 3, spans[0], row_weights)
            first_column, n_columns = weights_of(column, 3, spans[1], column_weights)
            n = 0
            for a in range(max(n_rows, 0)):
                for b in range(max(n_columns, 0)):
                    y, x = first_row + a, first_column + b
                    if y < 0 or y >= height or x < 0 or x >= width or (checked and not holds[y, x]):
                        continue
                    k = 0
                    while k < n and values[k] != block[y, x]:
                        k += 1
                    if k == n:
                        values[n], shares[n] = block[y, x], 0.0
                        n += 1
                    shares[k] += row_weights[a] * column_weights[b]
            best = 0
            for k in range(1, n):
                close = 1e-9 * shares[best]
                if shares[k] > shares[best] + close or (
                    abs(shares[k] - shares[best]) <= close and values[k] < values[best]
                ):
                    best = k
            out[i, j] = values[best] if n else block[r, c]
