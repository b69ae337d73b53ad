"""Windows of a source's level that hold the pixels which a cell of the target needs, and the block that is made of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.maps.sampling import mark

__all__ = ["Extract", "extract_of"]

Array = np.ndarray[Any, Any]
Span = tuple[int, int]


@dataclass(frozen=True)
class Extract:
    """Block of a level: row ranges and column ranges side by side, and which of their parts are read.

    Parameters
    ----------
    rows, columns : tuple of (int, int)
        Half-open ranges of the level, cut at its chunks; columns may begin again at the first one.
    used : ndarray of bool
        By range of rows and of columns.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    used: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the block."""
        height, width = (sum(b - a for a, b in parts) for parts in (self.rows, self.columns))
        return height, width

    def windows(self) -> Iterator[tuple[Window, Window]]:
        """Rectangles to read: (rows, columns) of the level, and where they lie in the block."""
        row_starts, column_starts = _starts(self.rows), _starts(self.columns)
        i = 0
        while i < len(self.rows):
            n = i + 1
            while n < len(self.rows) and (self.used[n] == self.used[i]).all():
                n += 1
            rows, at = (self.rows[i][0], self.rows[n - 1][1]), (row_starts[i], row_starts[n])
            for j, k in _runs(self.used[i], self.columns):
                columns = self.columns[j][0], self.columns[k - 1][1]
                yield (rows, columns), (at, (column_starts[j], column_starts[k]))
            i = n

    def read(self, read: Callable[[Window], Array], planes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Block (..., rows, columns) made of rectangles that `read` gives in that order of axes."""
        parts = list(self.windows())
        if len(parts) == 1 and parts[0][1] == ((0, self.shape[0]), (0, self.shape[1])):
            return read(parts[0][0])
        block = np.zeros((*planes, *self.shape), dtype)
        for window, ((r0, r1), (c0, c1)) in parts:
            block[..., r0:r1, c0:c1] = read(window)
        return block


def extract_of(
    rows: Array, columns: Array, inside: Array, reach: tuple[float, float], shape: Span, chunks: Span, turn: float
) -> tuple[Extract, Array, Array] | None:
    """Extract of a level for positions in it, and these positions as rows and columns of the block; None for no pixel.

    Parameters
    ----------
    rows, columns : ndarray of float64
        Positions in pixels of the level.
    inside : ndarray of bool
        The positions that count.
    reach : (float, float)
        Pixels about a position that have weight.
    shape, chunks : (int, int)
        Of the level.
    turn : float
        Columns after which the first comes again; 0 where none does.
    """
    if not inside.any():
        return None
    rows, columns = _dyadic(rows), _dyadic(columns)
    height, width = shape
    low, high = _range(rows[inside], reach[0])
    low, high = min(max(low, 0), height - 1), max(min(high, height), 1)
    row_parts = _cut(low, high, chunks[0])
    shifted = columns
    if turn:
        width = min(width, int(np.ceil(turn - 1e-6)))
        column_parts, shifted = _around(columns, inside, reach[1], width, turn, chunks[1])
        first = 0
    else:
        left, right = _range(columns[inside], reach[1])
        left, right = min(max(left, 0), width - 1), max(min(right, width), 1)
        column_parts, first = _cut(left, right, chunks[1]), left
    in_rows, in_columns = rows - low, shifted - first
    used = np.zeros((len(row_parts), len(column_parts)), bool)
    mark(in_rows, in_columns, inside, *reach, _numbers(row_parts), _numbers(column_parts), used)
    return Extract(row_parts, column_parts, used), in_rows, in_columns


def _around(
    columns: Array, inside: Array, reach: float, width: int, turn: float, chunk: int
) -> tuple[tuple[Span, ...], Array]:
    """Column ranges of a level that goes round, from behind the widest gap on, and the positions in them."""
    # Between the last column and the first one there may be less than a pixel.
    last = width - 1
    beyond = np.maximum(columns - last, 0.0) / max(turn - last, 1e-9)
    even = np.where(columns > last, last + beyond, np.where(columns < 0, columns / max(turn - last, 1e-9), columns))
    even, margin = _dyadic(even), int(np.ceil(reach)) + 1
    found = np.unique(np.floor(even[inside]).astype("i8") % width)
    gaps = np.diff(np.append(found, found[0] + width))
    widest = int(gaps.argmax())
    if gaps[widest] <= 2 * margin + 2:
        start, count = -margin, width + 2 * margin
    else:
        begin = int(found[(widest + 1) % len(found)])
        start, count = begin - margin, int(width - gaps[widest]) + 2 * margin + 2
    parts: list[Span] = []
    at, end = start, start + count
    while at < end:
        a = at % width
        n = min(width - a, end - at)
        parts += _cut(a, a + n, chunk)
        at += n
    return tuple(parts), np.mod(even - start, width) if count < width else np.mod(even + 0.5, width) - 0.5 - start


def _dyadic(positions: Array) -> Array:
    """Positions to a millionth of a pixel, so that a window's origin is subtracted without rounding."""
    return np.asarray(np.rint(positions * 2.0**20) * 2.0**-20)


def _range(positions: Array, reach: float) -> Span:
    return int(np.floor(positions.min() - reach + 0.5)), int(np.floor(positions.max() + reach + 0.5)) + 1


def _cut(start: int, stop: int, chunk: int) -> tuple[Span, ...]:
    edges = [start, *range((start // chunk + 1) * chunk, stop, chunk), stop]
    return tuple(itertools.pairwise(edges))


def _numbers(parts: tuple[Span, ...]) -> Array:
    """Number of the part that each row, or column, of a block is in."""
    return np.repeat(np.arange(len(parts)), [b - a for a, b in parts])


def _starts(parts: tuple[Span, ...]) -> list[int]:
    starts = [0]
    for a, b in parts:
        starts.append(starts[-1] + b - a)
    return starts


def _runs(used: Array, parts: tuple[Span, ...]) -> Iterator[Span]:
    """Runs of parts that are used and follow one another in the level."""
    j = 0
    while j < len(parts):
        if not used[j]:
            j += 1
            continue
        k = j + 1
        while k < len(parts) and used[k] and parts[k][0] == parts[k - 1][1]:
            k += 1
        yield j, k
        j = k
