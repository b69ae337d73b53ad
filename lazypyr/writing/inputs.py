"""Pixels of a reduced pyramid under one region, made level by level in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.geometry.projection import axis_projections, chunk_projections
from lazypyr.geometry.windows import Window, overlap, slices_within
from lazypyr.pyramids.base import Pyramid, Reduction
from lazypyr.sources.base import Source
from lazypyr.writing.job import DestinationLost, Job, Parallel, put, serial, spill_key
from lazypyr.writing.stages import Stage, free_units, units_of

__all__ = ["RegionInput"]

Array = np.ndarray[Any, Any]


@dataclass
class RegionInput:
    """Pixels of one reduction under one region, at the levels of the stage: unit by unit, the last used ones kept.

    A *unit* is what is read at once along the axes that regions do not split, such as some dates of a stack.
    """

    job: Job
    stage: Stage
    number: int
    reduction: Reduction
    pyramid: Pyramid
    region: int
    parallel: Parallel = serial
    budget_bytes: int = 0  # for pixels that are kept
    kept: OrderedDict[tuple[int, ...], dict[int, Array]] = field(default_factory=OrderedDict)
    spilled: set[tuple[int, ...]] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @cached_property
    def window(self) -> Window:
        """The region, at the stage's last level."""
        return self.stage.region(self.pyramid, self.region)

    @cached_property
    def units(self) -> tuple[int | None, ...]:
        """Size of a unit by axis; see `free_units`."""
        return free_units(self.reduction, self.pyramid)

    def window_at(self, level: int, unit: tuple[int, ...]) -> Window:
        """Window of the region and a unit at a level, in the axes of the reduction."""
        region = dict(zip(self.pyramid.axes, self.window, strict=True))
        p, out, hi = self.reduction, [], self.stage.hi
        into, from_finer = p.between(min(level, hi), hi), p.between(min(level, hi), level)
        sizes = zip(p.axes, self.units, into, from_finer, p.levels[level].shape, unit, strict=True)
        for axis, size, f, coarse, n, number in sizes:
            if size is not None:
                out.append((number * size, min((number + 1) * size, n)))
            else:
                a, b = region[axis]
                out.append((a * f // coarse, min(windows.ceil_div(b * f, coarse), n)))
        return tuple(out)

    def serves(self, level: int) -> bool:
        """True for levels whose pixels are made here; those of boxes larger than regions are not."""
        return bool(self.stage.inputs) and self.stage.lo <= level <= self.stage.hi

    def read(self, level: int, window: Window) -> Array | None:
        """Pixels of a window, None if it reaches beyond the region."""
        in_units = tuple((0, 1) if size is None else span for size, span in zip(self.units, window, strict=True))
        units = list(windows.chunk_index_windows(in_units, [size or 1 for size in self.units]))
        first = self.window_at(level, units[0])
        spans = zip(self.units, first, window, strict=True)
        if not all(size is not None or (a <= c and d <= b) for size, (a, b), (c, d) in spans):
            return None
        if len(units) == 1:
            return self.block(level, units[0])[slices_within(window, first)]
        out = np.empty(windows.window_shape(window), self.reduction.dtype)
        for unit in units:
            of_unit = self.window_at(level, unit)
            part = overlap(of_unit, window)
            out[slices_within(part, window)] = self.block(level, unit)[slices_within(part, of_unit)]
        return out

    def block(self, level: int, unit: tuple[int, ...]) -> Array:
        """All pixels of the region and a unit at a level; not to be written to."""
        with self.lock:
            levels = self.kept.setdefault(unit, {})
            self.kept.move_to_end(unit)
            if level not in levels:
                levels[level] = block = self._make(level, unit)
                # At once: a unit that has been dropped would have to be read again.
                self._spill(unit)
                self._drop()
                return block
            return levels[level]

    def _drop(self) -> None:
        """Drop the least recently used units; one stays in any case."""
        held = {unit: sum(block.nbytes for block in levels.values()) for unit, levels in self.kept.items()}
        while len(held) > 1 and sum(held.values()) > self.budget_bytes:
            unit, _ = self.kept.popitem(last=False)
            del held[unit]

    def _make(self, level: int, unit: tuple[int, ...]) -> Array:
        p, earlier = self.reduction, self.stage.inputs[self.number]
        window = self.window_at(level, unit)
        if level <= p.last_stored_level:
            return self._stored(p.stored_levels[level], window, (1,) * p.ndim)
        if earlier is not None and not p.reducer.composable:
            return self._spilled(earlier, level, window, unit)
        if earlier is not None and level == self.stage.lo:
            finer = self._spilled(earlier, level - 1, self.window_at(level - 1, unit), unit)
            return p.reduce(finer, p.between(level - 1, level))
        if not p.reducer.composable:
            boxes = p.between(p.last_stored_level, level)
            return p.reduce(self.block(p.last_stored_level, unit), boxes)
        if p.reducer.samples_only and level == p.last_stored_level + 1 and p.last_stored_level not in self._written:
            base = p.stored_levels[-1]
            return self._stored(base, self.window_at(level - 1, unit), p.between(level - 1, level))
        if level == p.last_stored_level + 1 and p.last_stored_level not in self._written and self._whole_boxes(unit):
            return self._reduced(level, unit)
        return p.reduce(self.block(level - 1, unit), p.between(level - 1, level))

    @cached_property
    def _written(self) -> set[int]:
        """Levels of the stage that are written."""
        return set(self.job.arrays[self.stage.array].paths) & set(range(self.stage.lo, self.stage.hi + 1))

    def _whole_boxes(self, unit: tuple[int, ...]) -> bool:
        """True where the region holds whole chunks, and these whole boxes."""
        last = self.reduction.last_stored_level
        base, window = self.reduction.stored_levels[-1], self.window_at(last, unit)
        sizes = zip(window, base.chunks, base.shape, self.reduction.between(last, last + 1), strict=True)
        return all(a % c == 0 and (b % c == 0 or b == n) and (c % f == 0 or c >= n) for (a, b), c, n, f in sizes)

    def _reduced(self, level: int, unit: tuple[int, ...]) -> Array:
        """Make the first reduced level chunk by chunk: the level below is never in memory as a whole."""
        p, base = self.reduction, self.reduction.stored_levels[-1]
        finer, window = self.window_at(level - 1, unit), self.window_at(level, unit)
        out, factors = np.empty(windows.window_shape(window), p.dtype), p.between(level - 1, level)

        def reduce_chunk(index: tuple[int, ...]) -> None:
            chunk = overlap(windows.chunk_window(index, base.chunks, base.shape), finer)
            reduced = out[slices_within(windows.coarsen_window(chunk, factors), window)]
            p.reduce(base.read(chunk), factors, reduced)

        self.parallel(partial(reduce_chunk, index) for index in windows.chunk_index_windows(finer, base.chunks))
        return out

    def _stored(self, base: Source, window: Window, steps: tuple[int, ...]) -> Array:
        """Read a window of a stored level, chunk by chunk; those across its edges are cached for the regions beside it."""
        step = steps if max(steps) > 1 else None
        cut = not base.cheap_stride and any(
            a % c or (b % c and b < n) for (a, b), c, n in zip(window, base.chunks, base.shape, strict=True)
        )
        one = all(a // c == (b - 1) // c for (a, b), c in zip(window, base.chunks, strict=True))
        if not cut and (one or self.parallel is serial):
            return base.read(window, step)
        out = np.empty(
            [windows.ceil_div(b - a, s) for (a, b), s in zip(window, steps, strict=True)], self.reduction.dtype
        )

        by_axis = [axis_projections(a, b, s, c) for (a, b), s, c in zip(window, steps, base.chunks, strict=True)]

        def read_chunk(index: tuple[int, ...], inside: tuple[slice, ...], outside: tuple[slice, ...]) -> None:
            chunk = windows.chunk_window(index, base.chunks, base.shape)
            if overlap(chunk, window) == chunk:
                samples = tuple((a + s.start, a + s.stop) for (a, _), s in zip(chunk, inside, strict=True))
                out[outside] = base.read(samples, step)
            else:
                edge_chunk: Array = self.job.edge_chunks.get(
                    (base.identity, index), lambda: np.ascontiguousarray(base.read(chunk))
                )
                out[outside] = edge_chunk[inside]

        self.parallel(partial(read_chunk, *projection) for projection in chunk_projections(by_axis))
        return out

    def _spilled(self, earlier: int, level: int, window: Window, unit: tuple[int, ...]) -> Array:
        """Read the pixels that regions of an earlier stage have spilled."""
        job, p, stage = self.job, self.reduction, self.job.stages[earlier]
        out = np.empty(windows.window_shape(window), p.dtype)
        by_axis = {
            axis: (a * f, b * f)
            for axis, (a, b), f, size in zip(p.axes, window, p.between(stage.hi, level), self.units, strict=True)
            if size is None
        }
        shape = self.pyramid.levels[stage.hi].shape
        at_last_level = tuple(by_axis.get(axis, (0, n)) for axis, n in zip(self.pyramid.axes, shape, strict=True))
        columns = [span if place else (0, 1) for span, place in zip(at_last_level, self._places, strict=True)]
        touched = overlap(tuple(columns), windows.full_window(shape))
        for index in windows.chunk_index_windows(touched, stage.region_shape):
            number = int(np.ravel_multi_index(index, stage.counts(self.pyramid)))
            of_region = RegionInput(job, stage, self.number, p, self.pyramid, number).window_at(level, unit)
            key = spill_key(earlier, self.number, level, number, unit)
            raw, n_bytes = job.kvstore.get(key), windows.pixels_in(of_region) * p.dtype.itemsize
            if raw is None or len(raw) != n_bytes:
                got = "nothing" if raw is None else f"{len(raw)} bytes"
                raise DestinationLost(f"{job.kvstore.name}: {key} holds {got}, expected {n_bytes} bytes")
            block = np.frombuffer(raw, p.dtype).reshape(windows.window_shape(of_region))
            part = overlap(of_region, window)
            out[slices_within(part, window)] = block[slices_within(part, of_region)]
        return out

    def fetch(self) -> None:
        """Make the levels that are written, of as many units as are kept without one of them being dropped."""
        levels = [level for level in sorted(self._written) if self.serves(level)]
        held = 0
        for unit in units_of(self.reduction, self.pyramid) if levels else ():
            for level in levels:
                self.block(level, unit)
            unit_bytes = sum(block.nbytes for block in self.kept[unit].values())
            held += unit_bytes
            if held + unit_bytes > self.budget_bytes:
                break

    @property
    def _places(self) -> tuple[bool, ...]:
        return self.job.arrays[self.stage.array].places

    def spill(self) -> None:
        """Write the pixels that later stages go on from: the last region over them writes those that no other needed."""
        first, is_last = self.stage.column(self.pyramid, self._places, self.region)
        if is_last:
            for unit in units_of(self.reduction, self.pyramid):
                self._spill(unit, unless_there=self.region != first)

    def _spill(self, unit: tuple[int, ...], *, unless_there: bool = False) -> None:
        if unit in self.spilled:
            return
        self.spilled.add(unit)
        first, _ = self.stage.column(self.pyramid, self._places, self.region)
        for level in self.stage.spills[self.number]:
            key = spill_key(self.job.stages.index(self.stage), self.number, level, first, unit)
            if unless_there and self.job.kvstore.get_part(key, 0, 1) is not None:
                continue
            if level <= self.stage.hi:
                block = self.block(level, unit)
            else:
                factors = self.reduction.between(self.reduction.last_stored_level, level)
                block = self.reduction.reduce(self.block(self.reduction.last_stored_level, unit), factors)
            put(self.job.kvstore, key, np.ascontiguousarray(block).reshape(-1).view("B"))
