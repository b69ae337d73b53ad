"""Computing ahead of the first viewer."""

from __future__ import annotations

import itertools
import math

from lazypyr._util.progress import progress_bar
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.pyramids.base import ComputeContext, Pyramid
from lazypyr.pyramids.context import LevelFilterContext

__all__ = ["finest_that_fits", "warm"]

# A step is what is done between two looks at Ctrl-C and two movements of the bar.
_STEP_BYTES = 64 * 2**20


def _level_bytes(pyramid: Pyramid, level: int) -> int:
    counts = windows.chunk_count(pyramid.levels[level].shape, pyramid.chunks)
    return math.prod(counts) * math.prod(pyramid.chunks) * pyramid.dtype.itemsize


def finest_that_fits(pyramid: Pyramid, n_bytes: int) -> int:
    """The finest level that fits in `n_bytes` together with all coarser ones; the coarsest if none does."""
    level = len(pyramid.levels) - 1
    left = n_bytes - _level_bytes(pyramid, level)
    while level > 0 and _level_bytes(pyramid, level - 1) <= left:
        level -= 1
        left -= _level_bytes(pyramid, level)
    return level


def warm(pyramid: Pyramid, engine: Engine, *, min_level: int | None = None, progress: bool = True) -> int:
    """Compute all chunks of the coarser levels, in one pass over the source.

    It may be interrupted at any time; what was computed stays.

    Parameters
    ----------
    pyramid : Pyramid
    engine : Engine
        Whose cache is filled.
    min_level : int, optional
        The finest level to compute; by default the finest that fits in half the cache together with all coarser ones.
    progress : bool
        Show a bar.

    Returns
    -------
    int
        The finest level that is warm now.

    Raises
    ------
    PlanError
        When there is no such level, or it can't be kept in the cache.
    """
    top = len(pyramid.levels) - 1
    finest = finest_that_fits(pyramid, engine.cache_budget_bytes) if min_level is None else min_level
    if not 0 <= finest <= top:
        raise PlanError(f"{pyramid.name}: min_level: expected 0 to {top}, got {min_level}")
    need = sum(_level_bytes(pyramid, level) for level in range(finest, top + 1))
    if need > engine.cache_bytes:
        raise PlanError(
            f"{pyramid.name}: levels {finest} to {top} take {need:,} bytes, the cache holds {engine.cache_bytes:,}: raise "
            f"cache_bytes, or min_level"
        )
    context = LevelFilterContext(engine, pyramid, finest)
    start = _first_step(pyramid, finest, context)
    levels = range(start, top + 1)
    counts = {level: windows.chunk_count(pyramid.levels[level].shape, pyramid.chunks) for level in levels}
    total = sum(math.prod(count) for count in counts.values())
    with progress_bar(total, f"warming {pyramid.name}, chunks", show=progress) as advance:
        for level in levels:
            for index in itertools.product(*map(range, counts[level])):
                engine.chunk(pyramid, level, index, context=context)
                advance(1)
    return finest


def _first_step(pyramid: Pyramid, finest: int, context: ComputeContext) -> int:
    """The level whose chunks are computed first: they bring the finer ones with them; what is coarser is made of them."""
    start = finest
    tile = math.prod(pyramid.chunks) * pyramid.dtype.itemsize
    for level in range(finest + 1, len(pyramid.levels)):
        if tile * math.prod(pyramid.levels[level].scale) > _STEP_BYTES:
            break
        shape = pyramid.levels[level].shape
        window = windows.chunk_window((0,) * pyramid.ndim, pyramid.chunks, shape)
        if pyramid.plan(level, window, context).finest_cached_level > finest:
            break
        start = level
    return start
