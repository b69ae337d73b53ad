"""The pass that computes the levels of a reduced pyramid.

A chunk of level k needs ``4**k`` chunks of level 0. They are read in *blocks*, each at least a stored chunk in size, so
that every chunk is decoded once; a block is reduced level by level as far as chunks and boxes fit, and whatever comes
out on the way is offered to the cache as long as there is room for the whole level.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.lanes import count_read
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window, overlap, slices_within
from lazypyr.pyramids.base import ComputeContext, Reduction
from lazypyr.pyramids.plan import BlockPlan, ReadPlan, Strategy
from lazypyr.pyramids.planner import sampled_bytes
from lazypyr.sources.base import Source

__all__ = ["ReadPass"]

Array = np.ndarray[Any, Any]
Index = tuple[int, ...]
# Reading a few rows of a chunk takes less than handing the interpreter from thread to thread (measured: 1 ms for 16
# chunks in one thread, 4 ms in two).
_FEW_CHUNKS = 64
# A look into the cache costs about a microsecond.
_MAX_LOOKS = 64


@dataclass(frozen=True)
class ReadPass:
    """One computation of a window, with all that comes out on the way."""

    pyramid: Reduction
    plan: ReadPlan
    context: ComputeContext

    def compute(self) -> Array:
        """Pixels of the plan's window; what else comes out of its region is cached."""
        plan = self.plan
        if plan.strategy is Strategy.SAMPLED:
            return self._sampled(plan.level, plan.window)
        if plan.strategy is Strategy.WHOLE_BOXES:
            return self._boxes(plan.level, plan.window)
        if plan.strategy is Strategy.STORED:
            block = self.pyramid.stored_levels[plan.level].read(plan.region)
        else:
            block = self._node(plan.level, plan.region)
        if plan.region == plan.window:
            return block
        self._put_cached(plan.level, plan.region, block, except_=plan.window)
        return block[slices_within(plan.window, plan.region)].copy()

    @property
    def blocks(self) -> BlockPlan:
        """Blocks of a plan that goes level by level."""
        assert self.plan.blocks is not None
        return self.plan.blocks

    def _run(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks that each decode a stored chunk at a time: at once as many as chunks may be in memory."""
        context, base = self.context, self.pyramid.stored_levels[-1]
        most = context.task_bytes * 4 * context.workers
        at_once = context.workers if base.cheap_stride else max(1, most // base.chunk_bytes)
        if at_once >= context.workers:
            context.run_tasks(tasks)
            return
        remaining = iter(list(tasks))

        def some() -> None:
            for task in remaining:
                task()

        context.run_tasks(some for _ in range(at_once))

    # Stride without what lies between

    def _sampled(self, level: int, window: Window) -> Array:
        p, base = self.pyramid, self.pyramid.stored_levels[-1]
        steps = p.between(p.last_stored_level, level)
        out = np.empty(windows.window_shape(window), p.dtype)

        def part(piece: Window) -> None:
            out[slices_within(piece, window)] = base.read(self.samples(piece, steps), steps)
            count_read(sampled_bytes(p, piece, steps))

        # A part is at least a chunk's worth of samples along each axis, so that no chunk is decoded twice.
        sizes = [max(1, c // s) for c, s in zip(base.chunks, steps, strict=True)]
        chunks = math.prod(windows.ceil_div(b - a, s) for (a, b), s in zip(window, sizes, strict=True))
        if base.cheap_stride and chunks < _FEW_CHUNKS:
            part(window)
        else:
            self._run(partial(part, w) for w in self._parts(window, sizes))
        return out

    def samples(self, window: Window, steps: Index) -> Window:
        """Window of the last stored level that has the samples of a window, from the first to the last of them."""
        sizes = zip(window, steps, self.pyramid.stored_levels[-1].shape, strict=True)
        return tuple((a * s, min((b - 1) * s + 1, n)) for (a, b), s, n in sizes)

    def _parts(self, window: Window, sizes: list[int]) -> Iterator[Window]:
        """Cut a window into some pieces for each worker, at multiples of `sizes` along the first axis that is long."""
        counts = [windows.ceil_div(b, s) - a // s for (a, b), s in zip(window, sizes, strict=True)]
        axis = counts.index(max(counts))
        a, b = window[axis]
        size = sizes[axis] * max(1, counts[axis] // (8 * self.context.workers))
        first = a // size * size
        for low in range(first, b, size):
            piece = (max(low, a), min(low + size, b))
            yield (*window[:axis], piece, *window[axis + 1 :])

    # Reducers that need the whole box of level 0

    def _boxes(self, level: int, window: Window) -> Array:
        p, base = self.pyramid, self.pyramid.stored_levels[-1]
        factors = p.between(p.last_stored_level, level)
        box = math.prod(factors) * p.dtype.itemsize
        if box > self.context.task_bytes * 4 * self.context.workers:
            msg = (
                f"{p.name}: one pixel of level {level} by {p.reducer.name!r} needs {box} bytes of level {p.last_stored_level} at "
                f"once, inflight_bytes allows {self.context.task_bytes * 4 * self.context.workers}: raise it, or take fewer levels="
            )
            raise PlanError(msg)
        out = np.empty(windows.window_shape(window), p.dtype)

        def part(piece: Window) -> None:
            block = base.read(windows.refine_window(piece, factors, base.shape))
            count_read(block.nbytes)
            p.reduce(block, factors, out[slices_within(piece, window)])

        # Pieces as near to squares as the bytes allow, whole chunks wherever a chunk holds more than a box.
        sizes = [max(1, windows.ceil_div(c, f)) for c, f in zip(base.chunks, factors, strict=True)]
        order = sorted(range(len(sizes)), key=lambda a: p.factors[a], reverse=True)
        while math.prod(sizes) * box > self.context.task_bytes and max(sizes) > 1:
            largest = max(order, key=lambda a: sizes[a])
            sizes[largest] = windows.ceil_div(sizes[largest], 2)
        self._run(partial(part, w) for w in _cells(window, sizes))
        return out

    # Reducers that work level by level

    def _node(self, level: int, window: Window) -> Array:
        """Pixels of a window of `level`: by blocks, or of the level before where chunks of it are cached."""
        p = self.pyramid
        if level <= self.blocks.group_level and not self.any_cached(level, window):
            return self._reduce_group(level, window)
        out = np.empty(windows.window_shape(window), p.dtype)
        for piece, finer in self._parts_of(level, window):
            block = self._cached(level - 1, finer)
            if block is None:
                block = self._node(level - 1, finer)
                if level - 1 >= self.plan.finest_cached_level:
                    self._put_cached(level - 1, finer, block)
            p.reduce(block, p.between(level - 1, level), out[slices_within(piece, window)])
        return out

    def _parts_of(self, level: int, window: Window) -> Iterator[tuple[Window, Window]]:
        """Parts of a window, each with the window of the level before that it is made of: one chunk, where chunks halve."""
        p = self.pyramid
        factors = p.between(level - 1, level)
        for piece in _cells(window, [max(1, c // f) for c, f in zip(p.chunks, factors, strict=True)]):
            yield piece, windows.refine_window(piece, factors, self._shape(level - 1))

    def finer_windows(self, level: int, window: Window) -> Iterator[Window]:
        """The windows of the level before of which a window is put together."""
        return (finer for _, finer in self._parts_of(level, window))

    def any_cached(self, level: int, window: Window) -> bool:
        """True where some chunk between the blocks and `level` is cached, as far as looking costs little."""
        p, context = self.pyramid, self.context
        for k in range(level - 1, self.blocks.block_level, -1):
            finer = windows.refine_window(window, p.between(k, level), self._shape(k))
            if not context.cache_budget_bytes or windows.touched_chunks(finer, p.chunks) > _MAX_LOOKS:
                return False
            if any(
                context.get_cached(p, k, index) is not None for index in windows.chunk_index_windows(finer, p.chunks)
            ):
                return True
        return False

    def _cached(self, level: int, window: Window) -> Array | None:
        """The pixels of a window if every chunk of it is cached."""
        p, context = self.pyramid, self.context
        if not context.cache_budget_bytes:
            return None
        out: Array | None = None
        for index in windows.chunk_index_windows(window, p.chunks):
            chunk = context.get_cached(p, level, index)
            if chunk is None:
                return None
            if out is None:
                out = np.empty(windows.window_shape(window), p.dtype)
            chunk_window = windows.chunk_window(index, p.chunks, self._shape(level))
            part = overlap(chunk_window, window)
            out[slices_within(part, window)] = chunk[slices_within(part, chunk_window)]
        return out

    def _reduce_group(self, level: int, window: Window) -> Array:
        """Pixels of a window whose blocks are computed side by side, then reduced on to `level`."""
        p, plan, blocks = self.pyramid, self.plan, self.blocks
        blocks_at = blocks.block_level
        wide = windows.refine_window(window, p.between(blocks_at, level), self._shape(blocks_at))
        out = np.empty(windows.window_shape(wide), p.dtype)

        def block(piece: Window) -> None:
            target = out[slices_within(piece, wide)]
            cached = self._cached(blocks_at, piece) if blocks_at > p.last_stored_level else None
            if cached is not None:
                target[...] = cached
            elif blocks.aligned:
                self._block(blocks_at, piece, target)
            else:
                target[...] = p.stored_levels[-1].read(self.samples(piece, blocks.steps), blocks.steps)
                count_read(windows.pixels_in(piece) * math.prod(blocks.steps) * p.dtype.itemsize)
            if cached is None and blocks.aligned and plan.finest_cached_level <= blocks_at < plan.level:
                self._put_cached(blocks_at, piece, target)

        self._run(partial(block, piece) for piece in blocks.cut(wide))
        if not blocks.aligned and plan.finest_cached_level <= blocks_at < level:
            self._put_cached(blocks_at, wide, out)
        for coarser in range(blocks_at + 1, level + 1):
            out = p.reduce(out, p.between(coarser - 1, coarser))
            if plan.finest_cached_level <= coarser < level:
                self._put_cached(
                    coarser, windows.refine_window(window, p.between(coarser, level), self._shape(coarser)), out
                )
        return out

    def _shape(self, level: int) -> tuple[int, ...]:
        return self.pyramid.levels[level].shape

    def _block(self, level: int, window: Window, out: Array) -> None:
        """Read the chunks under a window of `level` and reduce each by itself as far as its boxes are whole."""
        p, plan, base = self.pyramid, self.plan, self.pyramid.stored_levels[-1]
        within_chunk = self.blocks.within_chunk
        footprint = windows.refine_window(window, p.between(p.last_stored_level, level), base.shape)
        if within_chunk:
            reach, pieces = (
                min(level, p.last_stored_level + within_chunk),
                _cells(footprint, base.preferred_read_shape),
            )
        else:
            reach, pieces = level, iter([footprint])
        levels: dict[int, tuple[Window, Array]] = {level: (window, out)}
        for k in range(max(p.last_stored_level + 1, min(plan.finest_cached_level, reach)), level):
            part = windows.refine_window(window, p.between(k, level), self._shape(k))
            levels[k] = part, np.empty(windows.window_shape(part), p.dtype)
        for piece in pieces:
            self._reduce_piece(base, piece, reach, levels)
        for k in range(reach + 1, level + 1):
            p.reduce(levels[k - 1][1], p.between(k - 1, k), levels[k][1])
        for k, (part, block) in levels.items():
            if plan.finest_cached_level <= k < level:
                self._put_cached(k, part, block)

    def _reduce_piece(self, base: Source, piece: Window, reach: int, levels: dict[int, tuple[Window, Array]]) -> None:
        p = self.pyramid
        count_read(windows.pixels_in(piece) * p.dtype.itemsize)
        first = p.last_stored_level + 1
        if p.reducer.samples_only:
            # Samples of the finest level that is wanted are samples of all coarser ones: nothing lies between.
            first = min(levels)
            block = base.read(piece, p.between(p.last_stored_level, first))
            self._reduce_part(block, piece, first, reach, levels)
            return
        parts, factors = self._parts_of_piece(piece, reach), p.between(first - 1, first)
        if base.cheap_stride:
            for part in parts:
                with base.read_temporary(part) as finest:
                    self._reduce_part(p.reduce(finest, factors), part, first, reach, levels)
            return
        with base.read_temporary(piece) as whole:
            for part in parts:
                block = p.reduce(whole[slices_within(part, piece)], factors)
                self._reduce_part(block, part, first, reach, levels)

    def _parts_of_piece(self, piece: Window, reach: int) -> Iterator[Window]:
        """Cut what is read together into what is reduced together: whole boxes of level `reach` within a task's bytes.

        Along the first axes first: of chunks that are stored as they are whole rows are read.
        """
        p = self.pyramid
        sizes = list(windows.window_shape(piece))
        for axis, box in enumerate(p.between(p.last_stored_level, reach)):
            while math.prod(sizes) * p.dtype.itemsize > self.context.task_bytes and sizes[axis] > box:
                sizes[axis] = windows.ceil_div(sizes[axis], 2 * box) * box
        return _cells(piece, sizes, [a for a, _ in piece])

    def _reduce_part(
        self, block: Array, piece: Window, first: int, reach: int, levels: dict[int, tuple[Window, Array]]
    ) -> None:
        """Reduce a block of level `first` on to `reach`, and place what is wanted of it."""
        p = self.pyramid
        for k in range(first, reach + 1):
            if k > first:
                block = p.reduce(block, p.between(k - 1, k))
            if k in levels:
                part, array = levels[k]
                array[slices_within(windows.coarsen_window(piece, p.between(p.last_stored_level, k)), part)] = block

    def _put_cached(self, level: int, window: Window, block: Array, *, except_: Window | None = None) -> None:
        """Cache the chunks that lie whole in a window; not those of `except_`, which the caller returns."""
        p, context = self.pyramid, self.context
        if not context.cache_budget_bytes:
            return
        shape = self._shape(level)
        returned = set(windows.chunk_index_windows(except_, p.chunks)) if except_ else ()
        for index in windows.chunk_index_windows(window, p.chunks):
            chunk = windows.chunk_window(index, p.chunks, shape)
            if index not in returned and all(a <= c and d <= b for (a, b), (c, d) in zip(window, chunk, strict=True)):
                context.put_cached(p, level, index, block if chunk == window else block[slices_within(chunk, window)])


def _cells(window: Window, sizes: Sequence[int], origin: Sequence[int] | None = None) -> Iterator[Window]:
    """Cut a window at the multiples of `sizes` from `origin` on, by default from 0."""
    edges = []
    for (a, b), size, start in zip(window, sizes, origin or (0,) * len(sizes), strict=True):
        first = start + (a - start) // size * size
        edges.append([(max(low, a), min(low + size, b)) for low in range(first, b, size)])
    return itertools.product(*edges)
