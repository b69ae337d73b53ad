"""Arithmetic of pyramids: level shapes, chunks, windows.

Only integers and floats: no I/O, no zarr, no arrays. A *window* is a half-open pixel range for each axis,
``((start, stop), ...)``; a *factor* is how many pixels along an axis make one of the next level (1: not downsampled).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

__all__ = [
    "Window",
    "ceil_div",
    "chunk_count",
    "chunk_index_windows",
    "chunk_window",
    "coarsen_window",
    "full_window",
    "level_count",
    "level_shape",
    "overlap",
    "pixels_in",
    "refine_window",
    "slices_within",
    "touched_chunks",
    "window_shape",
]

Window = tuple[tuple[int, int], ...]


def ceil_div(a: int, b: int) -> int:
    """Integer division rounded up."""
    return -(-a // b)


def level_shape(shape: Sequence[int], factors: Sequence[int], level: int) -> tuple[int, ...]:
    """Shape of a level: ``ceil(n / factor**level)`` along each axis.

    Halving level by level, rounding up each time, gives the same numbers.
    """
    return tuple(ceil_div(n, f**level) for n, f in zip(shape, factors, strict=True))


def level_count(shape: Sequence[int], factors: Sequence[int], chunks: Sequence[int]) -> int:
    """Number of levels until every downsampled axis fits in one chunk; at least 1."""
    count = 1
    for n, f, c in zip(shape, factors, chunks, strict=True):
        level = 0
        while f > 1 and ceil_div(n, f**level) > c:
            level += 1
        count = max(count, level + 1)
    return count


def chunk_count(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Number of chunks along each axis."""
    return tuple(ceil_div(n, c) for n, c in zip(shape, chunks, strict=True))


def chunk_window(index: Sequence[int], chunks: Sequence[int], shape: Sequence[int]) -> Window:
    """Window of chunk `index`, clipped at the edge of the array."""
    return tuple((i * c, min((i + 1) * c, n)) for i, c, n in zip(index, chunks, shape, strict=True))


def chunk_index_windows(window: Window, chunks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Indices of the chunks that a window touches, in row-major order."""
    return itertools.product(*(range(a // c, ceil_div(b, c)) for (a, b), c in zip(window, chunks, strict=True)))


def touched_chunks(window: Window, chunks: Sequence[int]) -> int:
    """Number of the chunks that a window touches."""
    return pixels_in(coarsen_window(window, chunks))


def full_window(shape: Sequence[int]) -> Window:
    """The window that covers a whole array."""
    return tuple((0, n) for n in shape)


def window_shape(window: Window) -> tuple[int, ...]:
    """Shape of the array that a window cuts out."""
    return tuple(b - a for a, b in window)


def pixels_in(window: Window) -> int:
    """Number of pixels in a window."""
    return math.prod(window_shape(window))


def refine_window(window: Window, factors: Sequence[int], shape: Sequence[int], levels: int = 1) -> Window:
    """The pixels, `levels` finer, that the boxes of `window` cover, clipped to the finer `shape`."""
    return tuple(
        (min(a * f**levels, n), min(b * f**levels, n)) for (a, b), f, n in zip(window, factors, shape, strict=True)
    )


def coarsen_window(window: Window, factors: Sequence[int], levels: int = 1) -> Window:
    """The coarser pixels whose boxes touch `window`."""
    return tuple((a // f**levels, ceil_div(b, f**levels)) for (a, b), f in zip(window, factors, strict=True))


def overlap(a: Window, b: Window) -> Window:
    """The pixels that two windows have in common."""
    return tuple((max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True))


def slices_within(part: Window, window: Window) -> tuple[slice, ...]:
    """Slices that cut a part out of the array of a window that holds it."""
    return tuple([slice(a - w, b - w) for (a, b), (w, _) in zip(part, window, strict=True)])
