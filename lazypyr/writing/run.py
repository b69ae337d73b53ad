"""`materialize`: a lazy store's levels written once, as an ordinary Zarr hierarchy."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any, Unpack

from lazypyr._names import without_secrets
from lazypyr._util.progress import progress_bar
from lazypyr.engine.engine import DEFAULT_INFLIGHT_BYTES
from lazypyr.errors import BusyError, ComputeError, LazypyrError, PlanError, SourceError
from lazypyr.geometry import windows
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.kvstore.open import open_kvstore
from lazypyr.pyramids.open import open_pyramid
from lazypyr.registry import check_options
from lazypyr.store.options import WrittenStoreOptions
from lazypyr.store.store import LazyPyramidStore
from lazypyr.writing.around import copy_around
from lazypyr.writing.checkpoint import Checkpoint
from lazypyr.writing.commit import check_apart, check_whole, commit, complete, declare, tidy, withdraw
from lazypyr.writing.executors import Executor, FuturesExecutor, ThreadExecutor, executor_of
from lazypyr.writing.into_source import plan_addition
from lazypyr.writing.job import DestinationLost, Job, RegionResult, clear_spilled, destination_error
from lazypyr.writing.lock import WriterLock
from lazypyr.writing.sharding import shard_pair
from lazypyr.writing.source_watch import SourceWatch
from lazypyr.writing.stages import Stage, arrays_to_write, plan_stages, unit_shape
from lazypyr.writing.summary import Summary

__all__ = ["materialize", "plan_job"]

# Chunks are flushed to the disk this often; those that a loss of power takes are computed again.
_SYNC_EVERY_S = 10.0
# After so many failed regions the source is given up.
_MAX_FAILED = 20


def materialize(
    src: Any,
    dest: Any = None,
    *,
    levels: Collection[int] | None = None,
    shards: int | tuple[int, int] | None = None,
    compressor: Any = "same",
    executor: Any = None,
    workers: int | None = None,
    inflight_bytes: int = DEFAULT_INFLIGHT_BYTES,
    copy_base: bool = True,
    into_source: bool = False,
    name: str | None = None,
    progress: bool = True,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **options: Unpack[WrittenStoreOptions],
) -> Summary:
    """Write the levels of a pyramid, once, as an ordinary Zarr hierarchy.

    The bytes are those that the lazy store serves. Each chunk of the source is decoded once for all levels, as far as
    memory allows; memory is bounded and doesn't grow with the array. A level becomes visible when it is whole. The same
    call after an interruption goes on where the earlier one was.

    Parameters
    ----------
    src : LazyPyramidStore, Pyramid, or any source of `LazyPyramidStore`
        Pyramid to write.
    dest : path, URL (fsspec), mapping of bytes, or zarr store
        Destination: empty, or with an interrupted run of the same job. None with `into_source`.
    levels : collection of int, optional
        Numbers of the levels to write; all by default.
    shards : int or (int, int), optional
        Pixels of a shard along y and x, multiples of the chunk (zarr v3); by default each chunk has a key of its own.
    compressor : None, str or codec, optional
        Compressor of the chunks; by default that of the store, or "zstd" where `src` isn't a store.
    executor : dask.distributed.Client or concurrent.futures.Executor, optional
        Executor whose workers compute the regions; by default threads of this process.
    workers : int, optional
        Number of threads of this process; by default one for each CPU.
    inflight_bytes : int, optional
        Bound of the memory in use at once, in bytes, for each process.
    copy_base : bool, optional
        False leaves level 0 out: ``LazyPyramidStore(src, overlay=dest)`` then serves all levels.
    into_source : bool, optional
        Add the levels that the source lacks to its own Zarr group, or a product as one array. Nothing that is there is
        written anew but the group's metadata, last.
    name : str, optional
        Path of a product's array in that group; by default the product's name.
    progress : bool, optional
        Show a progress bar and a summary on stderr.
    dry_run : bool, optional
        Write nothing; the summary has chunks and bytes.
    storage_options : mapping, optional
        Options of fsspec, with a URL as `dest`.
    **options : dict
        Options of `LazyPyramidStore`, where `src` isn't one: `method`, `axes`, `chunks`, `zarr_format`, ...

    Returns
    -------
    Summary
        Chunks, bytes and regions written.

    Raises
    ------
    PlanError
        For invalid input, a destination that overlaps the source, or one that holds something else.
    BusyError
        When another process is writing there.
    SourceError
        When chunks of the source can't be read, with the regions that failed. Levels that were whole before stay
        visible; the same call again writes the rest.
    ComputeError
        When the computation of regions fails, with the same consequences.
    DestinationError
        When a value can't be written, with its key and bytes.

    See Also
    --------
    LazyPyramidStore : Lazy store; its `overlay` serves materialized levels.
    LazyPyramidStore.warm : Levels computed ahead in the cache of this process.

    Examples
    --------
    >>> import numpy as np, lazypyr, zarr
    >>> image = np.arange(64.0 * 64.0).reshape(64, 64)
    >>> summary = lazypyr.materialize(image, "image.zarr", chunks=(32, 32), method="mean", progress=False)
    >>> summary.chunks
    5
    >>> zarr.open("image.zarr")["1"][0, :3]
    array([32.5, 34.5, 36.5])
    """
    began = time.monotonic()
    check_options("materialize", options, materialize, LazyPyramidStore, open_pyramid)
    store = _store_of(src, compressor, options)
    regions_executor, region_bytes = executor_of(executor, workers, inflight_bytes)
    if into_source == (dest is not None) or (name is not None and not into_source):
        raise PlanError("give either a destination, or into_source=True (with name= for a product)")
    addition = None
    if into_source:
        store, addition = plan_addition(store, name, storage_options)
        levels = addition.chosen(levels)
        if not levels or addition.is_done():
            if addition.was_left():
                with WriterLock(addition.base):
                    addition.clear()
                tidy(addition.base)
            return Summary(addition.base.name, {})
    kvstore = open_kvstore(dest, storage_options) if addition is None else addition.kvstore
    job = plan_job(store, kvstore, levels, shards, region_bytes, regions_executor.workers, copy_base=copy_base)
    arrays = _sizes(job)
    total = {"chunks": sum(n for n, _ in arrays.values()), "pixel_bytes": sum(size for _, size in arrays.values())}
    check_apart(job)
    if dry_run:
        regions = sum(math.prod(stage.counts(job.arrays[stage.array].pyramid)) for stage in job.stages)
        summary = Summary(kvstore.name, arrays, **total, regions=regions, dry_run=True)
    else:
        with _os_errors(kvstore), WriterLock(kvstore) as lock:
            kvstore.hold()
            summary = _run(job, regions_executor, lock, arrays, began, shown=progress)
            if addition is not None:
                addition.finish()
        tidy(kvstore)
    if progress:
        print(summary, file=sys.stderr, flush=True)  # noqa: T201 - that is what progress=True asks for
    return summary


def _store_of(src: Any, compressor: Any, options: WrittenStoreOptions) -> LazyPyramidStore:
    same = isinstance(compressor, str) and compressor == "same"
    if isinstance(src, LazyPyramidStore):
        if options:
            raise PlanError(f"{', '.join(options)}: belong to the store, which is given")
        store = src
    else:
        store = LazyPyramidStore(src, compressor="zstd" if same else compressor, **options)
    return store if same else store.with_layout(compressor=compressor)


def plan_job(
    store: LazyPyramidStore,
    kvstore: Any,
    levels: Collection[int] | None,
    shards: Any,
    region_bytes: int,
    workers: int,
    *,
    copy_base: bool,
) -> Job:
    """Plan the writing of a store's levels; the parameters are those of `materialize`."""
    layout, pyramids = store.layout, dict(store.pyramids)
    present = range(max(len(p.levels) for p in pyramids.values()))
    if isinstance(levels, int) or (levels is not None and not set(levels) <= set(present)):
        raise PlanError(f"levels: expected numbers from 0 to {present[-1]}, e.g. [1, 2], got {levels!r}")
    wanted = set(present if levels is None else levels) - (set() if copy_base else {0})
    arrays = arrays_to_write(pyramids, layout, None if wanted == set(present) else wanted)
    if not arrays:
        raise PlanError("levels: there is nothing left to write")
    pair = shard_pair(shards, layout.zarr_format)
    for array in arrays:
        unit_shape(array.pyramid, pair)
    stages = plan_stages(arrays, shards=pair, region_bytes=region_bytes, workers=workers)
    return Job(pyramids, layout, arrays, stages, pair, kvstore, region_bytes, store.surroundings)


def _sizes(job: Job) -> dict[str, tuple[int, int]]:
    sizes = {}
    for array in job.arrays:
        unit = unit_shape(array.pyramid, job.shards)
        for level, path in array.paths.items():
            shape = array.pyramid.levels[level].shape
            sizes[path] = (
                math.prod(windows.chunk_count(shape, unit)),
                math.prod(shape) * array.pyramid.dtype.itemsize,
            )
    return sizes


def _about(job: Job, watch: SourceWatch) -> dict[str, Any]:
    """Facts that make it the same job when it is run again."""
    layout = job.layout
    return {
        "recipe": {path: without_secrets(p.description) for path, p in job.pyramids.items()},
        "fingerprint of recipe and source": {path: p.fingerprint for path, p in job.pyramids.items()},
        "chunks of the source": watch.stamps,
        "zarr_format": layout.zarr_format,
        "layout": layout.level_path,
        "compressor": None if layout.compressor is None else layout.compressor.numcodecs_config(),
        "dimension_separator": layout.dimension_separator,
        "legacy": layout.legacy,
        "shards": None if job.shards is None else list(job.shards),
        "arrays": [path for array in job.arrays for path in array.paths.values()],
    }


def _run(
    job: Job,
    executor: ThreadExecutor | FuturesExecutor,
    lock: WriterLock,
    arrays: dict[str, tuple[int, int]],
    began: float,
    *,
    shown: bool,
) -> Summary:
    kvstore = job.kvstore
    if complete(job):
        return Summary(kvstore.name, arrays, seconds=time.monotonic() - began)
    watch = SourceWatch(job)
    checkpoint = Checkpoint.open(kvstore, _about(job, watch), job.stages)
    job = replace(job, stages=checkpoint.stages)
    kvstore.clear(f"{HIDDEN}/partial", r"\d+-\d+-[0-9a-f]+")
    _withdraw_if_lost(job, checkpoint)
    checkpoint.begin()
    declare(job)
    try:
        return _write_stages(job, executor, lock, checkpoint, watch, arrays, began, shown=shown)
    except OSError as error:
        with contextlib.suppress(Exception):  # all is gone, or nothing can be written
            _withdraw_if_lost(job, checkpoint, known=isinstance(error, DestinationLost))
        raise


def _withdraw_if_lost(job: Job, checkpoint: Checkpoint, *, known: bool = False) -> None:
    """Withdraw the levels of a job some of whose chunks are gone, so that it begins anew; `known`: some are."""
    try:
        for number in range(0 if known else checkpoint.finished):
            check_whole(job, number)
    except DestinationLost:
        known = True
    if known:
        withdraw(job, checkpoint.finished)
        checkpoint.restart()


def _write_stages(
    job: Job,
    executor: ThreadExecutor | FuturesExecutor,
    lock: WriterLock,
    checkpoint: Checkpoint,
    watch: SourceWatch,
    arrays: dict[str, tuple[int, int]],
    began: float,
    *,
    shown: bool,
) -> Summary:
    kvstore = job.kvstore
    totals, regions, skipped = [0, 0, 0], 0, 0
    if not checkpoint.finished:
        copy_around(job)
    counts = [math.prod(s.counts(job.arrays[s.array].pyramid)) for s in job.stages]
    left = [_stage_bytes(job, s) for s in job.stages[checkpoint.finished :]]
    with progress_bar(sum(left), f"materialize {kvstore.name}", show=shown, in_bytes=True) as advance:
        for number in range(checkpoint.finished, len(job.stages)):
            stage = job.stages[number]
            before = checkpoint.count(number)
            skipped += before
            advance(_stage_bytes(job, stage) * before // counts[number])
            sources = job.arrays[stage.array].pyramid.sources
            with contextlib.closing(_regions(job, executor, lock, checkpoint, number, counts[number])) as results:
                for result in results:
                    watch.check_at_times(sources)
                    regions += 1
                    totals = [t + n for t, n in zip(totals, result, strict=True)]
                    advance(result.pixels)
            checkpoint.flush()
            watch.check(sources)
            lock.check()
            check_whole(job, number)
            if kvstore.supports_overwrite or number == len(job.stages) - 1:
                commit(job, number)
            checkpoint.finish(number)
            for earlier in {earlier for earlier in stage.inputs if earlier is not None}:
                if not any(earlier in later.inputs for later in job.stages[number + 1 :]):
                    clear_spilled(kvstore, earlier)
    for number in range(len(job.stages) - 1):
        check_whole(job, number)
    # A run that was killed right after a stage left its spilled pixels.
    clear_spilled(kvstore)
    checkpoint.remove()
    chunks, written, pixels = totals
    return Summary(kvstore.name, arrays, chunks, pixels, written, regions, skipped, time.monotonic() - began)


def _regions(
    job: Job, executor: Executor, lock: WriterLock, checkpoint: Checkpoint, stage: int, count: int
) -> Generator[RegionResult, None, None]:
    """Yield the result of each region of a stage; the errors of those that failed are raised together at the end."""
    todo = (region for region in range(count) if not checkpoint.is_done(stage, region))
    failed: dict[int, LazypyrError] = {}
    synced = time.monotonic()
    outcomes = executor.run(job, stage, todo, count - checkpoint.count(stage))
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            if time.monotonic() - synced > _SYNC_EVERY_S:
                checkpoint.flush()
                synced = time.monotonic()
            if outcome is None:
                continue
            region, result = outcome
            if isinstance(result, RegionResult):
                lock.check()
                checkpoint.mark(stage, region)
                yield result
            elif isinstance(result, SourceError | ComputeError | BusyError):
                failed[region] = result
                if len(failed) >= _MAX_FAILED:
                    break
            else:
                raise result
    if failed:
        raise _failure(job, stage, failed, count)


def _failure(job: Job, number: int, failed: dict[int, LazypyrError], count: int) -> LazypyrError:
    stage = job.stages[number]
    pyramid = job.arrays[stage.array].pyramid
    windows = "; ".join(f"region {r} = {stage.region(pyramid, r)} of level {stage.hi}" for r in sorted(failed)[:5])
    first = failed[min(failed)]
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    msg = (
        f"{job.kvstore.name}: {len(failed)} of {count} regions of {_levels_label(job, stage)} failed, which are not visible there; "
        f"run again to go on. {windows}{more}. The first: {first}"
    )
    kind = type(first) if isinstance(first, SourceError | ComputeError) else ComputeError
    error = kind(msg, key=getattr(first, "key", None), level=getattr(first, "level", None),
                 window=getattr(first, "window", None))  # fmt: skip
    error.__cause__ = first
    return error


def _levels_label(job: Job, stage: Stage) -> str:
    array = job.arrays[stage.array]
    levels = f"level {stage.lo}" if stage.lo == stage.hi else f"levels {stage.lo}-{stage.hi}"
    return levels if len(job.arrays) == 1 else f"{array.paths[min(array.paths)].rpartition('/')[0]} {levels}".strip()


def _stage_bytes(job: Job, stage: Stage) -> int:
    array = job.arrays[stage.array]
    return sum(
        math.prod(array.pyramid.levels[k].shape) * array.pyramid.dtype.itemsize
        for k in range(stage.lo, stage.hi + 1)
        if k in array.paths
    )


@contextlib.contextmanager
def _os_errors(kvstore: KVStore) -> Iterator[None]:
    """Raise errors of the medium, met at the checkpoint or the lock, as DestinationError."""
    try:
        yield
    except LazypyrError:
        raise
    except OSError as error:
        raise destination_error(kvstore, "can't be written to", error) from error
