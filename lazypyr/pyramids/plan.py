"""How a window of a reduced pyramid is computed: what is read at once, what is kept on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Pyramid, Reduction
from lazypyr.sources.base import Source

__all__ = ["Plan", "bytes_of", "widened"]

Index = tuple[int, ...]
# From this many levels on, the first one is not kept on the way.
_DEEP = 3


@dataclass(frozen=True)
class Plan:
    """How a window of level `top` is computed.

    Attributes
    ----------
    top : int
        The level that is asked for.
    window : Window
        What is computed of it: the window asked for, and what else is decoded with it.
    block : int
        The level to which one leaf task brings what it reads.
    group : int
        The level up to which leaves are collected in one array before they are reduced on.
    keep : int
        The finest level that is offered to the cache.
    within_chunk : int
        How many levels a stored chunk can be reduced by itself: its size is a multiple of ``factor**within_chunk``.
    sizes : tuple of int
        Shape of one leaf's output, by axis, where leaves are aligned; else of a stored chunk.
    aligned : bool
        Whether leaves can be cut so that none shares a chunk with another. If not, a leaf is a stored chunk, read as it
        is (of stride: its samples at `block`), and what is collected is reduced together.
    steps : tuple of int
        Base pixels in a pixel of `block`, by axis.
    """

    top: int
    window: Window
    block: int
    group: int
    keep: int
    within_chunk: int
    sizes: Index
    aligned: bool
    steps: Index

    def leaves(self, window: Window) -> Iterator[Window]:
        """Cut a window of the blocks' level into the outputs of the leaves."""
        # Unaligned: the pixels whose samples lie in one chunk.
        steps = (1,) * len(window) if self.aligned else self.steps
        edges = [
            [windows.ceil_div(edge, step) for edge in range(a * step // size * size, b * step + size, size)]
            for (a, b), size, step in zip(window, self.sizes, steps, strict=True)
        ]
        parts = [
            [(max(low, a), min(high, b)) for low, high in itertools.pairwise(cuts) if max(low, a) < min(high, b)]
            for (a, b), cuts in zip(window, edges, strict=True)
        ]
        return itertools.product(*parts)

    @classmethod
    def of(cls, p: Reduction, top: int, window: Window, context: ComputeContext) -> Plan:
        base, depth = p.bases[-1], top - p.base_level
        wide = widened(p, base, window, tuple(f**depth for f in p.factors), p.levels[top].shape)
        if not context.cache_budget_bytes or bytes_of(wide, p) > context.cache_budget_bytes // 4:
            wide = window

        # The first level is a quarter of the source, and costs as much memory as all that can be kept of a view; one of
        # its tiles is soon made again. Further up, keeping costs next to nothing.
        room, keep = context.cache_budget_bytes, top
        while keep > p.base_level + (1 if depth < _DEEP else 2):
            finer = bytes_of(windows.refine_window(wide, p.factors, p.levels[keep - 1].shape, top - keep + 1), p)
            if finer > room:
                break
            keep, room = keep - 1, room - finer

        def leaf(block: int) -> list[int]:
            """Output of a leaf at `block` levels above the base: a tile, and at least what a chunk makes."""
            return [
                c if f == 1 else max(tile, windows.ceil_div(c, f**block))
                for c, f, tile in zip(base.chunks, p.factors, p.chunks, strict=True)
            ]

        def footprint(block: int) -> int:
            sizes = zip(leaf(block), p.factors, base.shape, strict=True)
            return math.prod(min(size * f**block, n) for size, f, n in sizes) * p.dtype.itemsize

        def count(block: int) -> int:
            cut = zip(wide, leaf(block), p.factors, strict=True)
            return math.prod(windows.ceil_div((b - a) * f ** (depth - block), size) for (a, b), size, f in cut)

        # Below this level several leaves would decode the same chunk.
        block = min(
            depth, max(1, *(_ceil_log(c, t, f) for c, t, f in zip(base.chunks, p.chunks, p.factors, strict=True)))
        )
        shared = zip(base.chunks, p.factors, base.shape, leaf(block), strict=True)
        aligned = all(f == 1 or n <= c or size * f**block % c == 0 for c, f, n, size in shared)
        if aligned:
            while (
                block < depth and count(block + 1) >= 2 * context.workers and footprint(block + 1) <= context.task_bytes
            ):
                block += 1
        else:
            block = max(keep - p.base_level, 1) if p.reducer.name == "stride" else 0

        def collected(group: int) -> int:
            """Bytes, at the blocks' level, of a tile of the group's level."""
            sizes = zip(wide, p.chunks, p.factors, strict=True)
            pixels: int = math.prod(min(c, b - a) * f ** (group - block) for (a, b), c, f in sizes)
            return pixels * p.dtype.itemsize

        # Of base pixels one group is collected at a time; of blocks there are the leaves' own bytes besides.
        most = context.task_bytes if aligned else context.task_bytes * context.workers
        group = block
        while group < depth and collected(group + 1) <= most:
            group += 1
        return cls(
            top,
            wide,
            p.base_level + block,
            p.base_level + group,
            keep,
            _common_depth(base, p.factors),
            tuple(leaf(block)) if aligned else base.chunks,
            aligned,
            tuple(f**block for f in p.factors),
        )


def widened(p: Pyramid, base: Source, window: Window, scale: Index, shape: Index) -> Window:
    """A window of a level, widened to all tiles that lie whole in the stored chunks under it."""
    wide = []
    for (a, b), tile, chunk, s, n in zip(window, p.chunks, base.chunks, scale, shape, strict=True):
        low, high = a * s // chunk * chunk, windows.ceil_div(b * s, chunk) * chunk
        first = min(windows.ceil_div(windows.ceil_div(low, s), tile) * tile, a)
        last = n if high >= n * s else max(high // s // tile * tile, b)
        wide.append((first, last))
    return tuple(wide)


def _common_depth(base: Source, factors: Index) -> int:
    """How many levels every chunk can be reduced by itself."""
    depths = [64]
    for chunk, n, f in zip(base.chunks, base.shape, factors, strict=True):
        if f > 1 and chunk < n:
            depths.append(next(d for d in itertools.count() if chunk % f ** (d + 1)))
    return min(depths)


def _ceil_log(n: int, tile: int, factor: int) -> int:
    level = 0
    while factor > 1 and tile * factor**level < n:
        level += 1
    return level


def bytes_of(window: Window, p: Pyramid) -> int:
    """Bytes of a window's pixels."""
    return windows.pixels_in(window) * p.dtype.itemsize
