"""Computation and writing of one region."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from lazypyr.engine.chunks import checked_chunk
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid, SerialContext
from lazypyr.writing.inputs import RegionInput
from lazypyr.writing.job import Cancelled, Job, Parallel, RegionResult, put, serial
from lazypyr.writing.sharding import shard_of
from lazypyr.writing.stages import Stage, unit_shape

__all__ = ["run_region"]

Array = np.ndarray[Any, Any]


class RegionContext(SerialContext):
    """Context of one region: its inputs' pixels are those of the region; all else is computed here and now."""

    def __init__(self, job: Job, inputs: list[RegionInput]) -> None:
        super().__init__(max(1, job.region_bytes // 4))
        self._engine, self._inputs = job.engine, {region_input.reduction.key: region_input for region_input in inputs}

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        region_input = self._inputs.get(pyramid.key)
        if region_input is None:
            return pyramid.compute(level, window, self)
        block = region_input.read(level, window) if region_input.serves(level) else None
        return self._engine.read(pyramid, level, window) if block is None else block


def run_region(
    job: Job,
    stage: int,
    region: int,
    *,
    parallel: Parallel = serial,
    threads: int = 1,
    stop: threading.Event | None = None,
) -> RegionResult:
    """Compute a region and write its chunks, whole. Doing it again does no harm.

    Parameters
    ----------
    job : Job
    stage, region : int
        Index of the stage in `job.stages`, number of the region in it.
    parallel : callable
        Function that runs tasks; one after the other by default.
    threads : int
        Number of threads that `parallel` uses: the region may hold the memory of all of them.
    stop : threading.Event, optional
        Cancels the work when it is set.

    Raises
    ------
    SourceError, ComputeError
        With level and window.
    DestinationError
        With key and bytes.
    Cancelled
        When `stop` was set meanwhile.
    """
    return _Work(job, job.stages[stage], region, parallel, threads, stop).run()


class _Work:
    def __init__(
        self, job: Job, stage: Stage, region: int, parallel: Parallel, threads: int, stop: threading.Event | None
    ) -> None:
        self.job, self.stage, self.parallel, self.stop = job, stage, parallel, stop
        self.array = job.arrays[stage.array]
        self.pyramid = self.array.pyramid
        self.window = stage.region(self.pyramid, region)
        self.inputs = [
            RegionInput(job, stage, n, reduction, self.pyramid, region, parallel, threads * job.region_bytes)
            for n, reduction in enumerate(self.array.reductions)
        ]
        self.context = RegionContext(job, self.inputs)
        self.results: list[RegionResult] = []

    def run(self) -> RegionResult:
        if self.parallel is not serial:  # read on all threads, then write on all threads
            for region_input in self.inputs:
                region_input.fetch()
        self.parallel(partial(self._write, level, index) for level, index in self._units())
        for region_input in self.inputs:
            region_input.spill()
        return RegionResult(*map(sum, zip(*self.results, strict=True)))

    def _window_at(self, level: int) -> Window:
        shape = self.pyramid.levels[level].shape
        return windows.refine_window(self.window, self.array.between(level, self.stage.hi), shape)

    def _units(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Chunks (or shards) of the region: along the axes that aren't cut first, so that inputs are used together."""
        shape = unit_shape(self.pyramid, self.job.shards)
        levels = [k for k in range(self.stage.lo, self.stage.hi + 1) if k in self.array.paths]
        if len(self.inputs) == 1 and self.inputs[0].reduction is self.pyramid:
            for level in levels:
                yield from ((level, index) for index in windows.chunk_index_windows(self._window_at(level), shape))
            return
        cut = [f > 1 for f in self.array.factors]
        indices = [(k, i) for k in levels for i in windows.chunk_index_windows(self._window_at(k), shape)]
        indices.sort(key=lambda unit: [i for i, f in zip(unit[1], cut, strict=True) if not f])
        yield from indices

    def _write(self, level: int, index: tuple[int, ...]) -> None:
        if self.stop is not None and self.stop.is_set():
            raise Cancelled
        job, pyramid = self.job, self.pyramid
        path, shape = self.array.paths[level], pyramid.levels[level].shape
        unit = unit_shape(pyramid, job.shards)
        if job.shards is None or unit == pyramid.chunks:
            data = job.encode(self._tile(level, index))
        else:
            inner = tuple(u // c for u, c in zip(unit, pyramid.chunks, strict=True))
            counts = windows.chunk_count(shape, pyramid.chunks)
            data = shard_of(index, inner, counts, lambda chunk: job.encode(self._tile(level, chunk)))
        window = windows.chunk_window(index, unit, shape)
        put(job.kvstore, job.keys.format(path, index), data, level=level, window=window)
        self.results.append(RegionResult(1, len(data), windows.pixels_in(window) * pyramid.dtype.itemsize))

    def _tile(self, level: int, index: tuple[int, ...]) -> Array:
        p = self.pyramid
        window = windows.chunk_window(index, p.chunks, p.levels[level].shape)
        return checked_chunk(p, level, window, lambda: self._pixels(level, window))

    def _pixels(self, level: int, window: Window) -> Array:
        if self.inputs and self.inputs[0].reduction is self.pyramid and self.inputs[0].serves(level):
            block = self.inputs[0].read(level, window)
            assert block is not None, "a chunk lies in its region"
            return block
        return self.pyramid.compute(level, window, self.context)
