"""Computing and writing one region."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import numpy as np

from lazypyr.engine.engine import checked_tile
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid, SerialContext
from lazypyr.writing.inputs import Root
from lazypyr.writing.job import Done, Job, Parallel, Stopped, put, serial
from lazypyr.writing.sharding import shard_of
from lazypyr.writing.stages import Stage, unit_shape

__all__ = ["run_region"]

Array = np.ndarray[Any, Any]


class RegionContext(SerialContext):
    """Context within a region: pixels of the roots come from the region's inputs, the rest is computed here and now."""

    def __init__(self, job: Job, stage: Stage, roots: list[Root]) -> None:
        super().__init__(max(1, job.region_bytes // 4))
        self._job = job
        self._roots: dict[Hashable, Root] = {each.root.identity: each for each in roots}

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        root = self._roots.get(pyramid.identity)
        if root is None:
            return pyramid.compute(level, window, self)
        if root.serves(level):
            block = root.read(level, window)
            if block is not None:
                return block
        return self._job.beyond.read(pyramid, level, window)


def run_region(
    job: Job,
    stage: int,
    region: int,
    *,
    parallel: Parallel = serial,
    threads: int = 1,
    stop: threading.Event | None = None,
) -> Done:
    """Compute a region and write its chunks, whole. Doing it again does no harm.

    Parameters
    ----------
    job : Job
    stage, region : int
        Numbers.
    parallel : callable
        Runs tasks, one after the other by default.
    threads : int
        Threads that `parallel` runs them on: they share the memory that is theirs together.
    stop : threading.Event, optional
        Ends the work when it is set.

    Raises
    ------
    SourceError, ComputeError
        What failed, with level and window.
    DestinationError
        What could not be written.
    Stopped
        When `stop` was set meanwhile.
    """
    return _Work(job, job.stages[stage], region, parallel, threads, stop).run()


class _Work:
    def __init__(
        self, job: Job, stage: Stage, region: int, parallel: Parallel, threads: int, stop: threading.Event | None
    ) -> None:
        self.job, self.stage, self.parallel, self.stop = job, stage, parallel, stop
        self.family = job.families[stage.family]
        self.pyramid = self.family.pyramid
        self.window = stage.region(self.pyramid, region)
        self.roots = [
            Root(job, stage, n, root, self.pyramid, region, parallel, threads * job.region_bytes)
            for n, root in enumerate(self.family.roots)
        ]
        self.context = RegionContext(job, stage, self.roots)
        self.done: list[Done] = []

    def run(self) -> Done:
        if self.parallel is not serial:  # read on all threads, then write on all threads
            for root in self.roots:
                root.fetch()
        self.parallel(partial(self._write, level, index) for level, index in self._units())
        for root in self.roots:
            root.spill()
        return Done(*(sum(getattr(d, name) for d in self.done) for name in ("chunks", "written", "pixels")))

    def _window_at(self, level: int) -> Window:
        shape = self.pyramid.levels[level].shape
        return windows.refine_window(self.window, self.family.factors, shape, self.stage.hi - level)

    def _units(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Chunks (or shards) of the region: along the axes that aren't cut first, so that inputs are used together."""
        shape = unit_shape(self.pyramid, self.job.shards)
        levels = [k for k in range(self.stage.lo, self.stage.hi + 1) if k in self.family.paths]
        if len(self.roots) == 1 and self.roots[0].root is self.pyramid:
            for level in levels:
                yield from ((level, index) for index in windows.chunk_index_windows(self._window_at(level), shape))
            return
        cut = [f > 1 for f in self.family.factors]
        indices = [(k, i) for k in levels for i in windows.chunk_index_windows(self._window_at(k), shape)]
        indices.sort(key=lambda at: [i for i, f in zip(at[1], cut, strict=True) if not f])
        yield from indices

    def _write(self, level: int, index: tuple[int, ...]) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Stopped
        job, pyramid = self.job, self.pyramid
        path, shape = self.family.paths[level], pyramid.levels[level].shape
        unit = unit_shape(pyramid, job.shards)
        if job.shards is None or unit == pyramid.chunks:
            data = job.encode(self._tile(level, index))
        else:
            inner = tuple(u // c for u, c in zip(unit, pyramid.chunks, strict=True))
            counts = windows.chunk_count(shape, pyramid.chunks)
            data = shard_of(index, inner, counts, lambda tile: job.encode(self._tile(level, tile)))
        put(
            job.kvstore,
            job.keys.format(path, index),
            data,
            level=level,
            window=windows.chunk_window(index, unit, shape),
        )
        pixels = windows.pixels_in(windows.chunk_window(index, unit, shape)) * pyramid.dtype.itemsize
        self.done.append(Done(1, len(data), pixels))

    def _tile(self, level: int, index: tuple[int, ...]) -> Array:
        p = self.pyramid
        window = windows.chunk_window(index, p.chunks, p.levels[level].shape)
        return checked_tile(p, level, window, lambda: self._pixels(level, window))

    def _pixels(self, level: int, window: Window) -> Array:
        if self.roots and self.roots[0].root is self.pyramid and self.roots[0].serves(level):
            block = self.roots[0].read(level, window)
            assert block is not None, "a chunk lies in its region"
            return block
        return self.pyramid.compute(level, window, self.context)
