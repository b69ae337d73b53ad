"""Planner of reduced pyramids: the strategy, the windows that are read together, the levels that are cached on the way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

from lazypyr._util.lanes import SLOW_BYTES
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.windows import Window, level_factors
from lazypyr.pyramids.base import ComputeContext, Reduction
from lazypyr.pyramids.plan import BlockPlan, ReadPlan, Strategy
from lazypyr.sources.base import Source

__all__ = ["plan_reduced", "sampled_bytes"]

Index = tuple[int, ...]
# From this many levels on, the first one is not cached on the way.
_KEEP_FIRST_LEVEL_BELOW = 3
# Bytes of a cached chunk besides its pixels.
_ENTRY_BYTES = 1024
# A look into the cache costs about a microsecond.
_MAX_LOOKS = 64


def plan_reduced(p: Reduction, level: int, window: Window, context: ComputeContext) -> ReadPlan:
    """Plan of a window of a reduced pyramid."""
    strategy, region, finest, blocks = _strategy(p, level), window, level, None
    if strategy is Strategy.LEVEL_BY_LEVEL:
        depth = level - p.last_stored_level
        region = _expanded(p, p.stored_levels[-1], level, window, depth, context.cache_budget_bytes // 2)
        finest = _finest_cached_level(p, level, region, context)
        blocks = _plan_blocks(p, depth, region, finest, context)
    elif strategy is Strategy.STORED and not p.stored_levels[level].cheap_stride:
        region = _expanded(p, p.stored_levels[level], level, window, 0, context.cache_budget_bytes)
    need = max(
        p.working_bytes(level, window, context.task_bytes * context.workers),
        windows.pixels_in(region) * p.dtype.itemsize,
    )
    return ReadPlan(
        level, window, region, need, finest, strategy, blocks, _read_bytes(p, level, region, strategy, context)
    )


def _read_bytes(p: Reduction, level: int, region: Window, strategy: Strategy, context: ComputeContext) -> int:
    """Bytes of the last stored level, or of `level`, that are read at most; few where the level before is cached."""
    base, itemsize = p.stored_levels[min(level, p.last_stored_level)], p.dtype.itemsize
    steps = p.between(min(level, p.last_stored_level), level)
    if strategy is Strategy.SAMPLED:
        return sampled_bytes(p, region, steps)
    n_bytes = windows.pixels_in(windows.refine_window(region, steps, base.shape)) * itemsize
    if n_bytes > SLOW_BYTES and strategy is Strategy.LEVEL_BY_LEVEL and level > p.last_stored_level + 1:
        finer = windows.refine_window(region, p.between(level - 1, level), p.levels[level - 1].shape)
        indices = windows.chunk_index_windows(finer, p.chunks)
        if windows.touched_chunks(finer, p.chunks) <= _MAX_LOOKS and all(
            context.get_cached(p, level - 1, index) is not None for index in indices
        ):
            return windows.pixels_in(finer) * itemsize
    return n_bytes


def sampled_bytes(p: Reduction, window: Window, steps: Index) -> int:
    """Bytes that samples of a window take: of whole chunks, unless samples are read by themselves."""
    base = p.stored_levels[-1]
    if base.cheap_stride:
        return windows.pixels_in(window) * p.dtype.itemsize
    chunks = [
        b - a if s > c else (b - 1) * s // c + 1 - a * s // c
        for (a, b), s, c in zip(window, steps, base.chunks, strict=True)
    ]
    return math.prod(chunks) * math.prod(base.chunks) * p.dtype.itemsize


def _strategy(p: Reduction, level: int) -> Strategy:
    if level <= p.last_stored_level:
        return Strategy.STORED
    if p.reducer.samples_only:
        # Where few chunks hold a sample, or a sample costs no more than itself.
        base, boxes = p.stored_levels[-1], p.between(p.last_stored_level, level)
        if base.cheap_stride or any(1 < box > c for box, c in zip(boxes, base.chunks, strict=True)):
            return Strategy.SAMPLED
    return Strategy.LEVEL_BY_LEVEL if p.reducer.composable else Strategy.WHOLE_BOXES


def _expanded(p: Reduction, base: Source, level: int, window: Window, depth: int, most: int) -> Window:
    """Window of a level with the chunks that lie whole in the stored chunks under it: as many as take `most` bytes in the cache."""
    wide = []
    for (a, b), chunk, stored, f, n in zip(
        window, p.chunks, base.chunks, p.factors, p.levels[level].shape, strict=True
    ):
        s = f**depth
        low, high = a * s // stored * stored, windows.ceil_div(b * s, stored) * stored
        first = min(windows.ceil_div(windows.ceil_div(low, s), chunk) * chunk, a)
        last = n if high >= n * s else max(high // s // chunk * chunk, b)
        wide.append((first, last))
    if tuple(wide) == window:
        return window
    room = most // (math.prod(p.chunks) * p.dtype.itemsize + _ENTRY_BYTES)
    return _within(room, p, window, wide)


def _within(room: int, p: Reduction, window: Window, wide: Sequence[tuple[int, int]]) -> Window:
    """Window as wide as `room` chunks allow: along y and x first, which a screen shows, then along the last of the other axes."""
    region = list(window)
    counts = [windows.ceil_div(b, c) - a // c for (a, b), c in zip(window, p.chunks, strict=True)]
    for axis in sorted(range(len(region)), key=lambda axis: (p.axes[axis] not in SPATIAL_AXES, -axis)):
        (a, b), (first, last), chunk = window[axis], wide[axis], p.chunks[axis]
        fitting = room * counts[axis] // math.prod(counts)
        whole = windows.ceil_div(last, chunk) - first // chunk
        if fitting < whole:
            # Groups of as many chunks lie side by side, so that neighbours have the same one.
            start = first + (a - first) // (fitting * chunk) * fitting * chunk if fitting > counts[axis] else a
            first, last = start, min(start + fitting * chunk, last)
            if (start == a and fitting <= counts[axis]) or not (first <= a and b <= last):
                continue
        region[axis] = first, last
        counts[axis] = min(fitting, whole)
    return tuple(region)


def _plan_blocks(p: Reduction, depth: int, region: Window, finest: int, context: ComputeContext) -> BlockPlan:
    stored, last = p.stored_levels[-1], p.last_stored_level
    block, aligned = _block_depth(p, depth, region, finest, context)

    def collected(group: int) -> int:
        """Bytes, at the blocks' level, of a chunk of the group's level."""
        sizes = zip(region, p.chunks, p.between(last + block, last + group), strict=True)
        pixels: int = math.prod(min(c, b - a) * f for (a, b), c, f in sizes)
        return pixels * p.dtype.itemsize

    # Of stored pixels one group is collected at a time; of blocks there are the tasks' own bytes besides.
    most = context.task_bytes if aligned else context.task_bytes * context.workers
    group = block
    while group < depth and collected(group + 1) <= most:
        group += 1
    return BlockPlan(
        p.last_stored_level + block,
        p.last_stored_level + group,
        _common_depth(tuple(stored.chunks), tuple(stored.shape), p.factors, p.joins, last),
        _block_shape(p, block) if aligned else stored.chunks,
        aligned,
        p.between(last, last + block),
    )


def _finest_cached_level(p: Reduction, level: int, wide: Window, context: ComputeContext) -> int:
    # The first level is a quarter of the source, and costs as much memory as all that can be kept of a view; one of its
    # chunks is soon made again. Further up, keeping costs next to nothing.
    first = p.last_stored_level + (1 if level - p.last_stored_level < _KEEP_FIRST_LEVEL_BELOW else 2)
    budget, finest = context.cache_budget_bytes, level
    while finest > first:
        finer = windows.refine_window(wide, p.between(finest - 1, level), p.levels[finest - 1].shape)
        budget -= windows.pixels_in(finer) * p.dtype.itemsize
        if budget < 0:
            break
        finest -= 1
    return finest


def _block_shape(p: Reduction, depth: int) -> Index:
    """Shape of a block, `depth` levels above the last stored one: a chunk, and at least what a stored chunk makes."""
    boxes = p.between(p.last_stored_level, p.last_stored_level + depth)
    sizes = zip(p.stored_levels[-1].chunks, p.factors, boxes, p.chunks, strict=True)
    return tuple(stored if f == 1 else max(chunk, windows.ceil_div(stored, box)) for stored, f, box, chunk in sizes)


def _block_depth(p: Reduction, depth: int, wide: Window, finest: int, context: ComputeContext) -> tuple[int, bool]:
    """Levels from the last stored one to that of the blocks, and True where blocks share no chunk."""
    stored, last = p.stored_levels[-1], p.last_stored_level

    def footprint(block: int) -> int:
        sizes = zip(_block_shape(p, block), p.between(last, last + block), stored.shape, strict=True)
        return math.prod(min(size * f, n) for size, f, n in sizes) * p.dtype.itemsize

    def count(block: int) -> int:
        cut = zip(wide, _block_shape(p, block), p.between(last + block, last + depth), strict=True)
        return math.prod(windows.ceil_div((b - a) * f, size) for (a, b), size, f in cut)

    # Below this level several blocks would decode the same chunk.
    least = max(1, _least_depth(tuple(stored.chunks), p.factors, p.joins, last, p.chunks))
    block = min(depth, least)
    boxes = p.between(last, last + block)
    shared = zip(stored.chunks, p.factors, boxes, stored.shape, _block_shape(p, block), strict=True)
    if not all(f == 1 or n <= c or size * box % c == 0 for c, f, box, n, size in shared):
        return max(finest - p.last_stored_level, 1) if p.reducer.samples_only else 0, False
    while block < depth and count(block + 1) >= 2 * context.workers and footprint(block + 1) <= context.task_bytes:
        block += 1
    return block, True


# Depths follow from the shapes alone, and each plan asks for both.
@lru_cache(maxsize=1024)
def _common_depth(chunks: Index, shape: Index, factors: Index, joins: Index, last: int) -> int:
    """Number of levels that every chunk of the last stored level can be reduced by itself."""
    depths = [64]
    for axis, (chunk, n, f) in enumerate(zip(chunks, shape, factors, strict=True)):
        if f > 1 and chunk < n:
            depths.append(
                next(d for d in itertools.count() if chunk % level_factors(factors, joins, last, last + d + 1)[axis])
            )
    return min(depths)


@lru_cache(maxsize=1024)
def _least_depth(chunks: Index, factors: Index, joins: Index, last: int, coarse: Index) -> int:
    """Number of levels until no chunk of the last stored level is longer than one of the pyramid, of shape `coarse`."""
    return max(
        next(d for d in itertools.count() if f == 1 or chunk * level_factors(factors, joins, last, last + d)[axis] >= n)
        for axis, (n, chunk, f) in enumerate(zip(chunks, coarse, factors, strict=True))
    )
