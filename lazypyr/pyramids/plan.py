"""Plan of a pass over a reduced pyramid: the windows that are read together, the levels that are cached on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Pyramid, Reduction
from lazypyr.sources.base import Source

__all__ = ["ReadPlan", "bytes_of", "expand_to_chunks"]

Index = tuple[int, ...]
# From this many levels on, the first one is not cached on the way.
_KEEP_FIRST_LEVEL_BELOW = 3


@dataclass(frozen=True)
class ReadPlan:
    """Plan of a pass: what is read together, reduced together and cached on the way to a window of one level.

    Attributes
    ----------
    target_level : int
        The level that is asked for.
    window : Window
        What is computed of it: the window asked for, and what else is decoded with it.
    block_level : int
        The level to which one task brings what it reads, a *block*.
    group_level : int
        The level up to which blocks are collected in one array before they are reduced on.
    finest_cached_level : int
        The finest level that is put into the cache.
    within_chunk : int
        How many levels a stored chunk can be reduced by itself: its size is a multiple of ``factor**within_chunk``.
    sizes : tuple of int
        Shape of one block, by axis, where blocks are aligned; else of a stored chunk.
    aligned : bool
        True where blocks can be cut so that none shares a chunk with another. If not, a block is a stored chunk, read as
        it is (of a reducer that samples: its samples at `block_level`), and what is collected is reduced together.
    steps : tuple of int
        Pixels of the last stored level in a pixel of `block_level`, by axis.
    """

    target_level: int
    window: Window
    block_level: int
    group_level: int
    finest_cached_level: int
    within_chunk: int
    sizes: Index
    aligned: bool
    steps: Index

    def blocks(self, window: Window) -> Iterator[Window]:
        """Windows of the blocks that a window of `block_level` is cut into."""
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
    def of(cls, p: Reduction, level: int, window: Window, context: ComputeContext) -> ReadPlan:
        """Plan of a window of a level that is reduced level by level."""
        stored, depth = p.stored_levels[-1], level - p.last_stored_level
        wide = expand_to_chunks(p, stored, window, tuple(f**depth for f in p.factors), p.levels[level].shape)
        if not context.cache_budget_bytes or bytes_of(wide, p) > context.cache_budget_bytes // 4:
            wide = window
        finest = _finest_cached_level(p, level, wide, context)
        block, aligned = _block_depth(p, depth, wide, finest, context)

        def collected(group: int) -> int:
            """Bytes, at the blocks' level, of a chunk of the group's level."""
            sizes = zip(wide, p.chunks, p.factors, strict=True)
            pixels: int = math.prod(min(c, b - a) * f ** (group - block) for (a, b), c, f in sizes)
            return pixels * p.dtype.itemsize

        # Of stored pixels one group is collected at a time; of blocks there are the tasks' own bytes besides.
        most = context.task_bytes if aligned else context.task_bytes * context.workers
        group = block
        while group < depth and collected(group + 1) <= most:
            group += 1
        return cls(
            level,
            wide,
            p.last_stored_level + block,
            p.last_stored_level + group,
            finest,
            _common_depth(stored, p.factors),
            _block_shape(p, block) if aligned else stored.chunks,
            aligned,
            tuple(f**block for f in p.factors),
        )


def _finest_cached_level(p: Reduction, level: int, wide: Window, context: ComputeContext) -> int:
    # The first level is a quarter of the source, and costs as much memory as all that can be kept of a view; one of its
    # chunks is soon made again. Further up, keeping costs next to nothing.
    first = p.last_stored_level + (1 if level - p.last_stored_level < _KEEP_FIRST_LEVEL_BELOW else 2)
    budget, finest = context.cache_budget_bytes, level
    while finest > first:
        finer = windows.refine_window(wide, p.factors, p.levels[finest - 1].shape, level - finest + 1)
        budget -= bytes_of(finer, p)
        if budget < 0:
            break
        finest -= 1
    return finest


def _block_shape(p: Reduction, depth: int) -> Index:
    """Shape of a block, `depth` levels above the last stored one: a chunk, and at least what a stored chunk makes."""
    sizes = zip(p.stored_levels[-1].chunks, p.factors, p.chunks, strict=True)
    return tuple(stored if f == 1 else max(chunk, windows.ceil_div(stored, f**depth)) for stored, f, chunk in sizes)


def _block_depth(p: Reduction, depth: int, wide: Window, finest: int, context: ComputeContext) -> tuple[int, bool]:
    """Levels from the last stored one to that of the blocks, and True where blocks share no chunk."""
    stored = p.stored_levels[-1]

    def footprint(block: int) -> int:
        sizes = zip(_block_shape(p, block), p.factors, stored.shape, strict=True)
        return math.prod(min(size * f**block, n) for size, f, n in sizes) * p.dtype.itemsize

    def count(block: int) -> int:
        cut = zip(wide, _block_shape(p, block), p.factors, strict=True)
        return math.prod(windows.ceil_div((b - a) * f ** (depth - block), size) for (a, b), size, f in cut)

    # Below this level several blocks would decode the same chunk.
    least = max(1, *(_ceil_log(c, t, f) for c, t, f in zip(stored.chunks, p.chunks, p.factors, strict=True)))
    block = min(depth, least)
    shared = zip(stored.chunks, p.factors, stored.shape, _block_shape(p, block), strict=True)
    if not all(f == 1 or n <= c or size * f**block % c == 0 for c, f, n, size in shared):
        return max(finest - p.last_stored_level, 1) if p.reducer.samples_only else 0, False
    while block < depth and count(block + 1) >= 2 * context.workers and footprint(block + 1) <= context.task_bytes:
        block += 1
    return block, True


def expand_to_chunks(p: Pyramid, base: Source, window: Window, scale: Index, shape: Index) -> Window:
    """Window of a level with all chunks that lie whole in the stored chunks under it."""
    wide = []
    for (a, b), chunk, stored, s, n in zip(window, p.chunks, base.chunks, scale, shape, strict=True):
        low, high = a * s // stored * stored, windows.ceil_div(b * s, stored) * stored
        first = min(windows.ceil_div(windows.ceil_div(low, s), chunk) * chunk, a)
        last = n if high >= n * s else max(high // s // chunk * chunk, b)
        wide.append((first, last))
    return tuple(wide)


def _common_depth(base: Source, factors: Index) -> int:
    """Number of levels that every chunk can be reduced by itself."""
    depths = [64]
    for chunk, n, f in zip(base.chunks, base.shape, factors, strict=True):
        if f > 1 and chunk < n:
            depths.append(next(d for d in itertools.count() if chunk % f ** (d + 1)))
    return min(depths)


def _ceil_log(n: int, chunk: int, factor: int) -> int:
    level = 0
    while factor > 1 and chunk * factor**level < n:
        level += 1
    return level


def bytes_of(window: Window, p: Pyramid) -> int:
    """Bytes of a window's pixels."""
    return windows.pixels_in(window) * p.dtype.itemsize
