"""Computations whose pixels are far: what they need is asked for at once, and a thread takes them up when it has come."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.computation import Computation
from lazypyr._util.lanes import SLOW_BYTES
from lazypyr.errors import SourceError
from lazypyr.geometry import windows
from lazypyr.pyramids.base import ComputeContext, Pyramid
from lazypyr.pyramids.plan import ReadPlan
from lazypyr.sources.chunk_memory import ChunkMemory, using_memory
from lazypyr.sources.far.ahead import ReadAhead, StoredChunk, reading_ahead, within

__all__ = ["ChunksOf", "ask_ahead", "execute", "run_when_here"]

Array = np.ndarray[Any, Any]
ChunksOf = tuple[Pyramid, int, Collection[tuple[int, ...]]]
"""A pyramid, a level, and indices of chunks of it."""

log = logging.getLogger("lazypyr")
# A tile is computed again if its source is found to have changed meanwhile, up to this many times in all.
_VERSIONS = 4


def run_when_here(
    computation: Computation,
    of: ChunksOf,
    context: ComputeContext,
    memory: ChunkMemory,
    run: Callable[[], None],
    submit: Callable[[Callable[[], None]], None],
) -> None:
    """Ask for the far chunks that a computation needs, and `run` it when they have come; `submit` hands work to a thread."""
    if computation.prepared:
        return
    computation.prepared = True
    if not of[0].parents and _read_bytes(of, context) > SLOW_BYTES:  # it asks when its turn comes
        run()
        return
    prepare = partial(_ask_and_run, computation, of, context, memory, run)
    if of[0].parents:  # what a product needs is known only once its function has been compiled
        submit(prepare)
    else:
        prepare()


def _read_bytes(of: ChunksOf, context: ComputeContext) -> int:
    pyramid, level, indices = of
    shape, n_bytes = pyramid.levels[level].shape, 0
    for index in indices:
        with contextlib.suppress(Exception):  # the computation will tell
            n_bytes += pyramid.plan(level, windows.chunk_window(index, pyramid.chunks, shape), context).read_bytes
    return n_bytes


def _ask_and_run(
    computation: Computation, of: ChunksOf, context: ComputeContext, memory: ChunkMemory, run: Callable[[], None]
) -> None:
    if computation.started or computation.is_abandoned():
        return
    try:
        with using_memory(memory):
            ahead = ReadAhead(_stored_chunks(of, context), memory.fetch)
    except Exception:  # the computation will tell
        run()
        return
    compute = computation.compute

    def compute_within() -> Any:
        if ahead.is_closed:  # in the slow lane, for which it asks anew
            return compute()
        with within(ahead):
            return compute()

    computation.compute, computation.release = compute_within, ahead.close
    if computation.future.done() or computation.is_abandoned():
        ahead.close()
    else:
        ahead.when_here(run)


def ask_ahead(of: ChunksOf, context: ComputeContext, memory: ChunkMemory) -> Any:
    """Context in which the far chunks under some chunks of a pyramid are asked for ahead of the work."""
    with using_memory(memory):
        return reading_ahead(_stored_chunks(of, context), memory.fetch)


def _stored_chunks(of: ChunksOf, context: ComputeContext) -> Iterator[StoredChunk]:
    pyramid, level, indices = of
    shape = pyramid.levels[level].shape
    for index in indices:
        if context.get_cached(pyramid, level, index) is None:
            window = windows.chunk_window(index, pyramid.chunks, shape)
            yield from pyramid.stored_chunks(level, window, context)


def execute(
    pyramid: Pyramid, plan: ReadPlan, context: ComputeContext, memory: ChunkMemory, forget: Callable[[], None]
) -> Array:
    """Pixels of a plan, all of one version of its sources.

    Raises
    ------
    SourceError
        When they change each time that it is computed.
    """
    with using_memory(memory):
        if not pyramid.is_far:
            return pyramid.execute(plan, context)
        for _ in range(_VERSIONS):
            before = [source.epoch for source in pyramid.sources]
            with reading_ahead(pyramid.stored_chunks(plan.level, plan.window, context), memory.fetch):
                block = pyramid.execute(plan, context)
            if [source.epoch for source in pyramid.sources] == before:
                return block
            log.warning("%s has changed while it was read: what was computed of it before is forgotten", pyramid.name)
            forget()
    msg = f"{pyramid.name}: changes again and again while it is read; try again later, or read a copy"
    raise SourceError(msg, key=pyramid.name, level=plan.level, window=plan.window)
