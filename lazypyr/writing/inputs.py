"""Pixels of a reduced pyramid under one region, made level by level in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from lazypyr.errors import DestinationError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.reduced import ReducedPyramid
from lazypyr.sources.base import Source
from lazypyr.writing.job import Job, Parallel, inside, overlap, put, serial, spill_key
from lazypyr.writing.stages import Stage, free_units, units_of

__all__ = ["Root"]

Array = np.ndarray[Any, Any]


@dataclass
class Root:
    """One root under one region: its pixels at the levels of the stage, unit by unit, the last used ones kept."""

    job: Job
    stage: Stage
    number: int
    root: ReducedPyramid
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
        """See `free_units`."""
        return free_units(self.root, self.pyramid)

    def window_at(self, level: int, unit: tuple[int, ...]) -> Window:
        """Window of the region and a unit at a level, in the root's axes."""
        region = dict(zip(self.pyramid.axes, self.window, strict=True))
        away = self.stage.hi - level
        out = []
        for axis, size, f, n, at in zip(
            self.root.axes, self.units, self.root.factors, self.root.levels[level].shape, unit, strict=True
        ):
            if size is not None:
                out.append((at * size, min((at + 1) * size, n)))
            else:
                a, b = region[axis]
                out.append(
                    (a * f**away, min(b * f**away, n)) if away >= 0 else (a // f**-away, windows.ceil_div(b, f**-away))
                )
        return tuple(out)

    def serves(self, level: int) -> bool:
        """Whether a level's pixels are made here; those of boxes larger than regions are not."""
        return bool(self.stage.feeds) and self.stage.lo <= level <= self.stage.hi

    def read(self, level: int, window: Window) -> Array | None:
        """Pixels of a window, None if it reaches beyond the region."""
        counts = [
            range(1) if size is None else range(a // size, windows.ceil_div(b, size))
            for size, (a, b) in zip(self.units, window, strict=True)
        ]
        indices = [
            tuple(i) for i in windows.chunk_index_windows(tuple((r.start, r.stop) for r in counts), (1,) * len(counts))
        ]
        here = self.window_at(level, indices[0])
        within = all(
            size is not None or (a <= c and d <= b)
            for size, (a, b), (c, d) in zip(self.units, here, window, strict=True)
        )
        if not within:
            return None
        if len(indices) == 1:
            return self.block(level, indices[0])[inside(window, here)]
        out = np.empty(windows.window_shape(window), self.root.dtype)
        for index in indices:
            there = self.window_at(level, index)
            part = overlap(there, window)
            out[inside(part, window)] = self.block(level, index)[inside(part, there)]
        return out

    def block(self, level: int, unit: tuple[int, ...]) -> Array:
        """All pixels of the region and a unit at a level; not to be written to."""
        with self.lock:
            levels = self.kept.setdefault(unit, {})
            self.kept.move_to_end(unit)
            if level not in levels:
                levels[level] = made = self._made(level, unit)
                # At once: a unit that has been dropped would have to be read again.
                self._spill(unit)
                self._drop()
                return made
            return levels[level]

    def _drop(self) -> None:
        """Forget the units not used for longest; one stays in any case."""
        held = {unit: sum(block.nbytes for block in levels.values()) for unit, levels in self.kept.items()}
        while len(held) > 1 and sum(held.values()) > self.budget_bytes:
            unit, _ = self.kept.popitem(last=False)
            del held[unit]

    def _made(self, level: int, unit: tuple[int, ...]) -> Array:
        p, feed = self.root, self.stage.feeds[self.number]
        window = self.window_at(level, unit)
        if level <= p.last_stored_level:
            return self._stored(p.stored_levels[level], window, (1,) * p.ndim)
        if feed is not None and not p.reducer.composable:
            return self._spilled(feed, level, window, unit)
        if feed is not None and level == self.stage.lo:
            finer = self._spilled(feed, level - 1, self.window_at(level - 1, unit), unit)
            return p.reducer(finer, p.factors, nodata=p.nodata)
        if not p.reducer.composable:
            depth = level - p.last_stored_level
            return p.reducer(self.block(p.last_stored_level, unit), tuple(f**depth for f in p.factors), nodata=p.nodata)
        if p.reducer.name == "stride" and level == p.last_stored_level + 1 and p.last_stored_level not in self._needed:
            base = p.stored_levels[-1]
            return self._stored(base, self.window_at(level - 1, unit), p.factors)
        if level == p.last_stored_level + 1 and p.last_stored_level not in self._needed and self._whole_boxes(unit):
            return self._reduced(level, unit)
        return p.reducer(self.block(level - 1, unit), p.factors, nodata=p.nodata)

    @cached_property
    def _needed(self) -> set[int]:
        return set(self.job.families[self.stage.family].paths) & set(range(self.stage.lo, self.stage.hi + 1))

    def _whole_boxes(self, unit: tuple[int, ...]) -> bool:
        """Whether the region holds whole chunks, and these whole boxes."""
        base, window = self.root.stored_levels[-1], self.window_at(self.root.last_stored_level, unit)
        sizes = zip(window, base.chunks, base.shape, self.root.factors, strict=True)
        return all(a % c == 0 and (b % c == 0 or b == n) and (c % f == 0 or c >= n) for (a, b), c, n, f in sizes)

    def _reduced(self, level: int, unit: tuple[int, ...]) -> Array:
        """The first level that is made, chunk by chunk: level 0 is never in memory as a whole."""
        p, base = self.root, self.root.stored_levels[-1]
        finer, window = self.window_at(level - 1, unit), self.window_at(level, unit)
        out = np.empty(windows.window_shape(window), p.dtype)

        def part(index: tuple[int, ...]) -> None:
            here = overlap(windows.chunk_window(index, base.chunks, base.shape), finer)
            there = out[inside(windows.coarsen_window(here, p.factors), window)]
            p.reducer(base.read(here), p.factors, nodata=p.nodata, out=there)

        self.parallel(partial(part, index) for index in windows.chunk_index_windows(finer, base.chunks))
        return out

    def _stored(self, base: Source, window: Window, steps: tuple[int, ...]) -> Array:
        """Read a window of a stored level, chunk by chunk; those across its edges are kept for the regions beside it."""
        step = steps if max(steps) > 1 else None
        cut = not base.cheap_stride and any(
            a % c or (b % c and b < n) for (a, b), c, n in zip(window, base.chunks, base.shape, strict=True)
        )
        one = all(a // c == (b - 1) // c for (a, b), c in zip(window, base.chunks, strict=True))
        if not cut and (one or self.parallel is serial):
            return base.read(window, step)
        out = np.empty([windows.ceil_div(b - a, s) for (a, b), s in zip(window, steps, strict=True)], self.root.dtype)

        def part(index: tuple[int, ...]) -> None:
            chunk = windows.chunk_window(index, base.chunks, base.shape)
            # From the chunk's first sample: samples are counted from the window's first pixel.
            here = tuple(
                (a + windows.ceil_div(max(0, c - a), s) * s, min(b, d))
                for (a, b), (c, d), s in zip(window, chunk, steps, strict=True)
            )
            if any(a >= b for a, b in here):
                return
            there = tuple(
                slice((c - a) // s, windows.ceil_div(d - a, s))
                for (a, _), (c, d), s in zip(window, here, steps, strict=True)
            )
            if overlap(chunk, window) == chunk:
                out[there] = base.read(here, step)
            else:
                known: Array = self.job.across.get(
                    (base.identity, index), lambda: np.ascontiguousarray(base.read(chunk))
                )
                out[there] = known[inside(here, chunk)][tuple(slice(None, None, s) for s in steps)]

        self.parallel(partial(part, index) for index in windows.chunk_index_windows(window, base.chunks))
        return out

    def _spilled(self, feed: int, level: int, window: Window, unit: tuple[int, ...]) -> Array:
        """Pixels that regions of an earlier stage have left."""
        job, p = self.job, self.root
        before = job.stages[feed]
        out = np.empty(windows.window_shape(window), p.dtype)
        scale = level - before.hi
        names = dict(zip(p.axes, zip(window, p.factors, strict=True), strict=True))
        at = []
        for axis, n, cell in zip(self.pyramid.axes, self.pyramid.levels[before.hi].shape, before.cell, strict=True):
            own = p.axes.index(axis) if axis in p.axes else -1
            if own < 0 or self.units[own] is not None:
                at.append((0, windows.ceil_div(n, cell)))
            else:
                (a, b), f = names[axis]
                at.append((a * f**scale // cell, windows.ceil_div(min(b * f**scale, n), cell)))
        counts = before.counts(self.pyramid)
        for index in windows.chunk_index_windows(tuple(at), (1,) * len(at)):
            number = int(np.ravel_multi_index(index, counts))
            there = Root(job, before, self.number, p, self.pyramid, number).window_at(level, unit)
            key = spill_key(feed, self.number, level, number, unit)
            raw = job.kvstore.get(key)
            if raw is None or len(raw) != windows.pixels_in(there) * p.dtype.itemsize:
                got = "nothing" if raw is None else f"{len(raw)} bytes"
                msg = f"{job.kvstore.name}: {key} holds {got}, expected {windows.pixels_in(there) * p.dtype.itemsize} bytes"
                raise DestinationError(msg)
            block = np.frombuffer(raw, p.dtype).reshape(windows.window_shape(there))
            part = overlap(there, window)
            out[inside(part, window)] = block[inside(part, there)]
        return out

    def fetch(self) -> None:
        """Make the levels that are written, of as many units as are kept without one of them being dropped."""
        levels = [level for level in sorted(self._needed) if self.serves(level)]
        held = 0
        for unit in units_of(self.root, self.pyramid) if levels else ():
            for level in levels:
                self.block(level, unit)
            unit_bytes = sum(block.nbytes for block in self.kept[unit].values())
            held += unit_bytes
            if held + unit_bytes > self.budget_bytes:
                break

    def spill(self) -> None:
        """Leave to later stages what they go on from."""
        for unit in units_of(self.root, self.pyramid):
            self._spill(unit)

    def _spill(self, unit: tuple[int, ...]) -> None:
        if unit in self.spilled:
            return
        self.spilled.add(unit)
        for level in self.stage.spills[self.number]:
            if level <= self.stage.hi:
                block = self.block(level, unit)
            else:
                depth = level - self.root.last_stored_level
                factors = tuple(f**depth for f in self.root.factors)
                block = self.root.reducer(
                    self.block(self.root.last_stored_level, unit), factors, nodata=self.root.nodata
                )
            this = self.job.stages.index(self.stage)
            key = spill_key(this, self.number, level, self.region, unit)
            put(self.job.kvstore, key, np.ascontiguousarray(block).reshape(-1).view("B"))
