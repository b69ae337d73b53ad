"""A bounded, seeded look at the pixels of an input, for what has to be estimated: percentiles, principal components."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.windows import Window
from lazypyr.products.base import Input
from lazypyr.products.context import Array

__all__ = ["SAMPLE_BYTES", "enough", "sample_pixels"]

SAMPLE_BYTES = 32 * 2**20
"""Limit of what an estimate reads of the coarsest level that exists, in bytes of pixels."""

ENOUGH = 2**16
"""Values that make a good estimate: the coarsest level with as many is taken of small inputs."""

SIDE = 8
"""Large inputs are looked at in 8 x 8 windows, one in each field of a checkerboard; in fewer, at least 2 x 2, where .."""

DECODED_BYTES = 256 * 2**20
"""... their stored chunks would come to more than this."""


def sample_pixels(
    levels: Sequence[Input],
    chunks: tuple[int, ...],
    read: Callable[[int, Window], Array],
    channels: Sequence[int] | None,
    *,
    cost: Callable[[int], int],
) -> Array:
    """Pixels of some channels, from a read of at most `SAMPLE_BYTES` of the first level; the same pixels each time.

    Parameters
    ----------
    levels : sequence of Input
        The input at each level; those after the first are made of it.
    chunks : tuple[int, ...]
        Shape of its tiles, by axis; a window lies inside one tile.
    read : callable
        ``read(level, window)``.
    channels : sequence of int, optional
        Flat numbers of channels; a random one in each window without it.
    cost : callable
        ``cost(n)``: bytes that must be decoded to read a pixel of n channels.

    Returns
    -------
    ndarray
        Shape ``(n, channels)``, or ``(n, 1)`` without `channels`.
    """
    source = levels[0]
    every = _every(source, channels)
    y, x = source.axes.index("y"), source.axes.index("x")
    plane = source.shape[y] * source.shape[x]
    if plane * len(every) * source.dtype.itemsize <= SAMPLE_BYTES:
        level = enough(levels, channels)
        ny, nx = levels[level].shape[y], levels[level].shape[x]
        pixels = _columns(source, lambda window: read(level, window), ((0, ny), (0, nx)), every)
        return pixels if channels is not None else pixels.reshape(-1, 1)
    random = np.random.default_rng(0)
    at_once = len(channels) if channels else 1
    fields = min(SIDE, max(2, math.isqrt(DECODED_BYTES // max(1, cost(at_once)))))
    side = max(1, math.isqrt(SAMPLE_BYTES // (fields * fields * source.dtype.itemsize * at_once)))
    samples = []
    for row in range(fields):
        for column in range(fields):
            rows = _place((row + random.random()) / fields, source.shape[y], chunks[y], side)
            columns = _place((column + random.random()) / fields, source.shape[x], chunks[x], side)
            chosen = every if channels is not None else [int(random.integers(len(every)))]
            samples.append(_columns(source, lambda window: read(0, window), (rows, columns), chosen))
    return np.concatenate(samples)


def enough(levels: Sequence[Input], channels: Sequence[int] | None) -> int:
    """The coarsest level that has values enough for an estimate; 0 where none has."""

    def values(at: Input) -> int:
        return math.prod(at.shape[at.axes.index(a)] for a in SPATIAL_AXES) * len(_every(at, channels))

    return max((n for n, at in enumerate(levels) if values(at) >= ENOUGH), default=0)


def _every(source: Input, channels: Sequence[int] | None) -> Sequence[int]:
    return range(math.prod(source.channel_shape)) if channels is None else channels


def _place(share: float, n: int, chunk: int, side: int) -> tuple[int, int]:
    """A window of at most `side` pixels around the pixel at a share of an axis, inside one tile."""
    at = min(int(share * n), n - 1)
    first, last = at // chunk * chunk, min((at // chunk + 1) * chunk, n)
    start = max(first, min(at, last - side))
    return start, min(start + side, last)


def _columns(source: Input, read: Callable[[Window], Array], part: Window, channels: Sequence[int]) -> Array:
    shape = source.channel_shape

    def window(indices: Sequence[tuple[int, int]]) -> Window:
        channel = iter(indices)
        return tuple(part[SPATIAL_AXES.index(a)] if a in SPATIAL_AXES else next(channel) for a in source.axes)

    if 2 * len(channels) > math.prod(shape):
        # one read: all channels may lie in one stored chunk
        block = read(window([(0, n) for n in shape]))
        where = [n for n, a in enumerate(source.axes) if a not in SPATIAL_AXES]
        block = np.moveaxis(block, where, range(-len(where), 0)) if where else block[..., None]
        pixels: np.ndarray[Any, Any] = block.reshape(-1, math.prod(shape))[:, list(channels)]
        return pixels
    indices = (np.unravel_index(c, shape) for c in channels)
    return np.stack([read(window([(int(i), int(i) + 1) for i in at])).reshape(-1) for at in indices], axis=-1)
