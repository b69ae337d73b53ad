"""Arithmetic of pyramids: level shapes, chunks, windows.

Only integers and floats: no I/O, no zarr, no arrays. A *window* is a half-open pixel range for each axis,
``((start, stop), ...)``; a *factor* is how many pixels along an axis make one of the next level (1: not downsampled).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

__all__ = [
    "Window",
    "ceil_div",
    "chunk_count",
    "chunk_index_windows",
    "chunk_window",
    "coarsen_window",
    "full_window",
    "level_count",
    "level_factors",
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
    """Integer division rounded up.

    Parameters
    ----------
    a, b : int
        Dividend and divisor.

    Returns
    -------
    int
        The least integer that is not below ``a / b``.

    Examples
    --------
    >>> ceil_div(7, 2)
    4
    """
    return -(-a // b)


def level_shape(shape: Sequence[int], factors: Sequence[int], level: int) -> tuple[int, ...]:
    """Shape of a level: ``ceil(n / factor**level)`` along each axis.

    Halving level by level, rounding up each time, gives the same numbers.

    Parameters
    ----------
    shape : sequence of int
        Pixels of level 0 along each axis.
    factors : sequence of int
        Pixels along each axis that make one of the next level.
    level : int
        0 is the finest.

    Returns
    -------
    tuple[int, ...]
        Pixels along each axis.

    Examples
    --------
    >>> level_shape((5, 100, 70), (1, 2, 2), 3)
    (5, 13, 9)
    """
    return tuple(ceil_div(n, f**level) for n, f in zip(shape, factors, strict=True))


def level_factors(factors: Sequence[int], joins: Sequence[int], finer: int, coarser: int) -> tuple[int, ...]:
    """Pixels of a level in one pixel of a coarser one, along each axis.

    Parameters
    ----------
    factors : sequence of int
        Pixels along each axis that make one of the next level.
    joins : sequence of int
        Level from which on each axis is downsampled: levels up to this one are as long along it as level 0.
    finer, coarser : int
        The two levels.

    Returns
    -------
    tuple[int, ...]
        ``factor ** n`` where the axis is downsampled n times between them.

    Examples
    --------
    >>> level_factors((2, 2, 2), (1, 0, 0), 0, 3)
    (4, 8, 8)
    """
    return _level_factors(tuple(factors), tuple(joins), finer, coarser)


# A plan asks for the same few of them some forty times.
@lru_cache(maxsize=4096)
def _level_factors(factors: tuple[int, ...], joins: tuple[int, ...], finer: int, coarser: int) -> tuple[int, ...]:
    return tuple(f ** (max(coarser, j) - max(finer, j)) for f, j in zip(factors, joins, strict=True))


def level_count(shape: Sequence[int], factors: Sequence[int], chunks: Sequence[int]) -> int:
    """Number of levels until every downsampled axis fits in one chunk; at least 1.

    Parameters
    ----------
    shape : sequence of int
        Of level 0.
    factors : sequence of int
        As in `level_shape`.
    chunks : sequence of int
        Pixels of a chunk along each axis.

    Returns
    -------
    int
        Level 0 counts.

    Examples
    --------
    >>> level_count((1000, 600), (2, 2), (256, 256))
    3
    """
    count = 1
    for n, f, c in zip(shape, factors, chunks, strict=True):
        level = 0
        while f > 1 and ceil_div(n, f**level) > c:
            level += 1
        count = max(count, level + 1)
    return count


def chunk_count(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Number of chunks along each axis.

    Parameters
    ----------
    shape : sequence of int
        Pixels along each axis.
    chunks : sequence of int
        Pixels of a chunk along each axis.

    Returns
    -------
    tuple[int, ...]
        The last one may reach beyond the array.

    Examples
    --------
    >>> chunk_count((100, 70), (32, 32))
    (4, 3)
    """
    return tuple(ceil_div(n, c) for n, c in zip(shape, chunks, strict=True))


def chunk_window(index: Sequence[int], chunks: Sequence[int], shape: Sequence[int]) -> Window:
    """Window of a chunk, clipped at the edge of the array.

    Parameters
    ----------
    index : sequence of int
        Number of the chunk along each axis.
    chunks : sequence of int
        Pixels of a chunk along each axis.
    shape : sequence of int
        Where the last chunk is clipped.

    Returns
    -------
    Window
        Half-open ranges of pixels.

    Examples
    --------
    >>> chunk_window((0, 2), (32, 32), (100, 70))
    ((0, 32), (64, 70))
    """
    return tuple((i * c, min((i + 1) * c, n)) for i, c, n in zip(index, chunks, shape, strict=True))


def chunk_index_windows(window: Window, chunks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Indices of the chunks that a window touches, in row-major order.

    Parameters
    ----------
    window : Window
        Half-open ranges of pixels.
    chunks : sequence of int
        Pixels of a chunk along each axis.

    Returns
    -------
    iterator of tuple[int, ...]
        The last axis fastest.

    Examples
    --------
    >>> list(chunk_index_windows(((0, 33), (64, 70)), (32, 32)))
    [(0, 2), (1, 2)]
    """
    return itertools.product(*(range(a // c, ceil_div(b, c)) for (a, b), c in zip(window, chunks, strict=True)))


def touched_chunks(window: Window, chunks: Sequence[int]) -> int:
    """Number of the chunks that a window touches.

    Parameters
    ----------
    window : Window
        Ranges that need not begin with a chunk.
    chunks : sequence of int
        Pixels of a chunk along each axis.

    Returns
    -------
    int
        Counted over all axes.

    Examples
    --------
    >>> touched_chunks(((0, 33), (64, 70)), (32, 32))
    2
    """
    return pixels_in(coarsen_window(window, chunks))


def full_window(shape: Sequence[int]) -> Window:
    """Window that covers a whole array.

    Parameters
    ----------
    shape : sequence of int
        Lengths of the axes.

    Returns
    -------
    Window
        From 0 on, along each axis.

    Examples
    --------
    >>> full_window((100, 70))
    ((0, 100), (0, 70))
    """
    return tuple((0, n) for n in shape)


def window_shape(window: Window) -> tuple[int, ...]:
    """Shape of the array that a window cuts out.

    Parameters
    ----------
    window : Window
        Ranges to cut out.

    Returns
    -------
    tuple[int, ...]
        Length of each range.

    Examples
    --------
    >>> window_shape(((0, 32), (64, 70)))
    (32, 6)
    """
    return tuple(b - a for a, b in window)


def pixels_in(window: Window) -> int:
    """Number of pixels in a window.

    Parameters
    ----------
    window : Window
        Half-open ranges, perhaps empty.

    Returns
    -------
    int
        Product of their lengths.

    Examples
    --------
    >>> pixels_in(((0, 32), (64, 70)))
    192
    """
    return math.prod(window_shape(window))


def refine_window(window: Window, factors: Sequence[int], shape: Sequence[int], levels: int = 1) -> Window:
    """Window of the finer pixels that the boxes of a window cover.

    Parameters
    ----------
    window : Window
        Half-open ranges of coarse pixels.
    factors : sequence of int
        Pixels along each axis that make one of the next level.
    shape : sequence of int
        Pixels of the finer level, where the window is clipped.
    levels : int
        Number of levels between the two.

    Returns
    -------
    Window
        Half-open ranges of fine pixels.

    Examples
    --------
    >>> refine_window(((0, 2), (3, 5)), (2, 2), (9, 9))
    ((0, 4), (6, 9))
    """
    return tuple(
        (min(a * f**levels, n), min(b * f**levels, n)) for (a, b), f, n in zip(window, factors, shape, strict=True)
    )


def coarsen_window(window: Window, factors: Sequence[int], levels: int = 1) -> Window:
    """Window of the coarser pixels whose boxes touch a window.

    Parameters
    ----------
    window : Window
        Half-open ranges of fine pixels.
    factors : sequence of int
        As in `refine_window`.
    levels : int
        How much coarser the result is.

    Returns
    -------
    Window
        Half-open ranges of coarse pixels.

    Examples
    --------
    >>> coarsen_window(((0, 4), (5, 9)), (2, 2))
    ((0, 2), (2, 5))
    """
    return tuple((a // f**levels, ceil_div(b, f**levels)) for (a, b), f in zip(window, factors, strict=True))


def overlap(a: Window, b: Window) -> Window:
    """Window of the pixels that two windows have in common.

    Parameters
    ----------
    a, b : Window
        Of the same array.

    Returns
    -------
    Window
        Along an axis where they have none its stop is not above its start.

    Examples
    --------
    >>> overlap(((0, 4), (0, 4)), ((2, 9), (3, 9)))
    ((2, 4), (3, 4))
    """
    return tuple((max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True))


def slices_within(part: Window, window: Window) -> tuple[slice, ...]:
    """Slices that cut a part out of the array of a window that holds it.

    Parameters
    ----------
    part : Window
        Pixels that are wanted.
    window : Window
        Pixels of the array, those of `part` among them.

    Returns
    -------
    tuple[slice, ...]
        One an axis.

    Examples
    --------
    >>> slices_within(((5, 7),), ((4, 9),))
    (slice(1, 3, None),)
    """
    return tuple([slice(a - w, b - w) for (a, b), (w, _) in zip(part, window, strict=True)])
