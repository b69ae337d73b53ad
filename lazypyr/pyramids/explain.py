"""Account of a pass over a reduced pyramid: the chunks that it will read, and the cached ones that it will use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.execute import ReadPass
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.plan import Strategy
from lazypyr.sources.far.ahead import StoredChunk
from lazypyr.sources.far.cost import requests_for

__all__ = ["explain_pass", "stored_chunks_of"]


# Requests for more chunks than these are not gone through one by one.
_MANY = 2**14


def explain_pass(work: ReadPass, what: str) -> Explanation:
    """Explanation of the plan of a pass."""
    told = _explained(work, what)
    if not work.pyramid.is_far or not told.chunks:
        return told
    if told.chunks > _MANY:
        return replace(told, requests=told.chunks, request_bytes=told.n_bytes)
    requests, n_bytes = requests_for(stored_chunks_of(work))
    return replace(told, requests=requests, request_bytes=n_bytes)


def _explained(work: ReadPass, what: str) -> Explanation:
    p, plan = work.pyramid, work.plan
    level, window, strategy = plan.level, plan.window, plan.strategy
    base = p.stored_levels[min(level, p.last_stored_level)]
    depth = max(level - p.last_stored_level, 0)
    steps = p.between(level - depth, level)
    chunk_bytes = math.prod(base.chunks) * p.dtype.itemsize
    if strategy is Strategy.SAMPLED:
        chunks = math.prod(
            len({(i * s) // c for i in range(a, b)}) for (a, b), s, c in zip(window, steps, base.chunks, strict=True)
        )
        n_bytes = windows.pixels_in(window) * p.dtype.itemsize if base.cheap_stride else chunks * chunk_bytes
        return Explanation(what, "only the chunks that hold a sample", False, base.name, chunks, n_bytes)
    if strategy is Strategy.LEVEL_BY_LEVEL:
        chunks, cached = _needs(work, level, plan.region)
        how = f"{p.reducer.name} of {'finer chunks and ' if cached else ''}one pass over the chunks under it"
        keeps = tuple(range(plan.finest_cached_level, level)) if chunks else ()
        return Explanation(what, how, False, base.name, chunks, chunks * chunk_bytes, cached, keeps)
    chunks = windows.touched_chunks(windows.refine_window(window, steps, base.shape), base.chunks)
    how = "as stored" if strategy is Strategy.STORED else f"{p.reducer.name} of boxes of level {p.last_stored_level}"
    return Explanation(what, how, False, base.name, chunks, chunks * chunk_bytes)


def stored_chunks_of(work: ReadPass) -> Iterator[StoredChunk]:
    """Far chunks that a pass will fetch, in the order in which it comes to them."""
    p, plan = work.pyramid, work.plan
    base, depth = p.stored_levels[min(plan.level, p.last_stored_level)], max(0, plan.level - p.last_stored_level)
    if plan.strategy is Strategy.STORED:
        yield from base.stored_chunks(plan.region)
    elif plan.strategy is Strategy.LEVEL_BY_LEVEL:
        yield from _chunks_of_node(work, plan.level, plan.region)
    elif plan.strategy is Strategy.SAMPLED:
        steps = p.between(plan.level - depth, plan.level)
        yield from base.stored_chunks(work.samples(plan.window, steps), steps)
    else:
        yield from base.stored_chunks(
            windows.refine_window(plan.window, p.between(plan.level - depth, plan.level), base.shape)
        )


def _chunks_of_node(work: ReadPass, level: int, window: Window) -> Iterator[StoredChunk]:
    if level <= work.blocks.group_level and not work.any_cached(level, window):
        yield from _chunks_of_group(work, level, window)
        return
    for finer in work.finer_windows(level, window):
        if not _cached_chunks(work, level - 1, finer):
            yield from _chunks_of_node(work, level - 1, finer)


def _chunks_of_group(work: ReadPass, level: int, window: Window) -> Iterator[StoredChunk]:
    p, blocks, base = work.pyramid, work.blocks, work.pyramid.stored_levels[-1]
    depth = blocks.block_level - p.last_stored_level
    wide = windows.refine_window(window, p.between(blocks.block_level, level), p.levels[blocks.block_level].shape)
    for block in blocks.cut(wide):
        if depth and _cached_chunks(work, blocks.block_level, block):
            continue
        if blocks.aligned:
            yield from base.stored_chunks(
                windows.refine_window(block, p.between(p.last_stored_level, blocks.block_level), base.shape)
            )
        else:
            yield from base.stored_chunks(work.samples(block, blocks.steps), blocks.steps)


def _needs(work: ReadPass, level: int, window: Window) -> tuple[int, int]:
    """Numbers of stored chunks, and of cached chunks of the pyramid, that a pass over a window of `level` uses."""
    if level <= work.blocks.group_level and not work.any_cached(level, window):
        return _of_group(work, level, window)
    stored = cached = 0
    for finer in work.finer_windows(level, window):
        n_cached = _cached_chunks(work, level - 1, finer)
        more = (0, n_cached) if n_cached else _needs(work, level - 1, finer)
        stored, cached = stored + more[0], cached + more[1]
    return stored, cached


def _of_group(work: ReadPass, level: int, window: Window) -> tuple[int, int]:
    p, blocks, base = work.pyramid, work.blocks, work.pyramid.stored_levels[-1]
    wide = windows.refine_window(window, p.between(blocks.block_level, level), p.levels[blocks.block_level].shape)
    if blocks.block_level == p.last_stored_level:
        return windows.touched_chunks(wide, base.chunks), 0
    stored = cached = 0
    for block in blocks.cut(wide):
        n_cached = _cached_chunks(work, blocks.block_level, block)
        cached += n_cached
        if not n_cached:
            under = windows.refine_window(block, p.between(p.last_stored_level, blocks.block_level), base.shape)
            stored += windows.touched_chunks(under, base.chunks)
    return stored, cached


def _cached_chunks(work: ReadPass, level: int, window: Window) -> int:
    """Number of chunks that make a window of a level, 0 if one of them isn't cached."""
    p = work.pyramid
    indices = list(windows.chunk_index_windows(window, p.chunks))
    return len(indices) if all(work.context.get_cached(p, level, index) is not None for index in indices) else 0
