"""`materialize`: write what a lazy store shows, once, as an ordinary Zarr hierarchy."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lazypyr._util.checks import one_or_two
from lazypyr._util.progress import progress_bar
from lazypyr._util.text import size_text
from lazypyr.engine.engine import DEFAULT_INFLIGHT_BYTES, Engine
from lazypyr.errors import BusyError, ComputeError, DestinationError, LazypyrError, PlanError, SourceError
from lazypyr.geometry import windows
from lazypyr.kvstore.base import HIDDEN
from lazypyr.kvstore.open import open_kvstore
from lazypyr.metadata import Codec
from lazypyr.store.store import LazyPyramidStore
from lazypyr.writing.checkpoint import Journal, Lock
from lazypyr.writing.commit import check_apart, commit, complete
from lazypyr.writing.executors import Cluster, Crew, Threads
from lazypyr.writing.job import Done, Job, spill_folder
from lazypyr.writing.stages import Stage, families_of, stages_of, unit_shape

__all__ = ["Summary", "materialize"]

# Chunks are made to survive a loss of power this often; what is lost with it is computed again.
_SYNC_EVERY_S = 10.0
# After so many failed regions the source is taken to be beyond reading.
_MAX_FAILED = 20


@dataclass(frozen=True)
class Summary:
    """What a job came to, or would.

    Attributes
    ----------
    destination : str
    arrays : dict[str, tuple[int, int]]
        Chunks (or shards) and bytes of pixels of each array, by path.
    chunks, pixel_bytes : int
        Written by this run, before compression; of the whole job when it was a dry run.
    written_bytes : int
        After compression.
    regions, skipped : int
        Regions computed by this run, and those that an earlier run had done.
    seconds : float
    dry_run : bool
    """

    destination: str
    arrays: dict[str, tuple[int, int]]
    chunks: int = 0
    pixel_bytes: int = 0
    written_bytes: int = 0
    regions: int = 0
    skipped: int = 0
    seconds: float = 0.0
    dry_run: bool = False

    def __str__(self) -> str:
        if self.dry_run:
            lines = [f"  {path}: {n:,} chunks, {size_text(size)}" for path, (n, size) in self.arrays.items()]
            total = f"{self.destination} would get {self.chunks:,} chunks, {size_text(self.pixel_bytes)} uncompressed"
            return "\n".join([*lines, total])
        if not self.regions and not self.chunks:
            return f"{self.destination}: {len(self.arrays)} arrays, already whole"
        rate = self.pixel_bytes / self.seconds if self.seconds else 0.0
        again = f", {self.skipped} of {self.skipped + self.regions} regions were there" if self.skipped else ""
        return (
            f"{self.destination}: {len(self.arrays)} arrays, {self.chunks:,} chunks, {size_text(self.pixel_bytes)} of "
            f"pixels in {size_text(self.written_bytes)}, {self.seconds:.1f} s ({size_text(int(rate))}/s){again}"
        )


def materialize(
    src: Any,
    dest: Any,
    *,
    levels: Collection[int] | None = None,
    shards: int | tuple[int, int] | None = None,
    compressor: Any = "same",
    executor: Any = None,
    workers: int | None = None,
    inflight_bytes: int = DEFAULT_INFLIGHT_BYTES,
    copy_base: bool = True,
    progress: bool = True,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Summary:
    """Write the levels of a pyramid, once, as an ordinary Zarr hierarchy: the same bytes that the lazy store serves.

    Each chunk of the source is decoded once for all levels, memory is bounded and doesn't grow with the array. A level
    becomes visible when it is whole. Run again after an interruption, it goes on where it was.

    Parameters
    ----------
    src : LazyPyramidStore, Pyramid, or whatever `LazyPyramidStore` takes
    dest : path, URL (fsspec), mapping of bytes, or zarr store
    levels : collection of int, optional
        Numbers of the levels to write, all by default.
    shards : int or (int, int), optional
        Pixels of a shard along y and x, multiples of the tile (zarr v3). None: a file for each chunk.
    compressor : None, str or codec
        By default that of the store; "zstd" where `src` isn't a store.
    executor : dask.distributed.Client or concurrent.futures executor, optional
        Whose workers compute; threads of this process by default.
    workers : int, optional
        Threads of this process, one for each CPU by default.
    inflight_bytes : int
        What may be in memory at once, in a process, in bytes.
    copy_base : bool
        False leaves level 0 out: ``LazyPyramidStore(src, overlay=dest)`` then serves all levels.
    progress : bool
        Show how far it is, and a summary at the end, on stderr.
    dry_run : bool
        Write nothing; the summary has chunks and bytes.
    storage_options : mapping, optional
        For fsspec, with a URL as `dest`.
    **options
        For `LazyPyramidStore`, where `src` isn't one: `method`, `axes`, `chunks`, `zarr_format`, ...

    Returns
    -------
    Summary

    Raises
    ------
    PlanError
        Bad input; a destination within the source, or one that holds something else.
    BusyError
        When another process is writing there.
    SourceError, ComputeError
        What failed, and in which regions; levels that were whole before stay visible, the rest can be gone on with.
    DestinationError
        What could not be written, and where.
    """
    began = time.monotonic()
    store = _store_of(src, compressor, options)
    crew, region_bytes = _crew_of(executor, workers, inflight_bytes)
    kvstore = open_kvstore(dest, storage_options)
    job = _job_of(store, kvstore, levels, shards, region_bytes, crew.workers, copy_base=copy_base)
    arrays = _sizes(job)
    whole = {"chunks": sum(n for n, _ in arrays.values()), "pixel_bytes": sum(size for _, size in arrays.values())}
    check_apart(job)
    if dry_run:
        summary = Summary(kvstore.name, arrays, **whole, dry_run=True)
    else:
        with _os_errors(kvstore.name), Lock(kvstore):
            summary = _run(job, crew, arrays, began, shown=progress)
        _tidy(job)
    if progress:
        print(summary, file=sys.stderr, flush=True)  # noqa: T201 - that is what progress=True asks for
    return summary


def _store_of(src: Any, compressor: Any, options: dict[str, Any]) -> LazyPyramidStore:
    same = isinstance(compressor, str) and compressor == "same"
    if isinstance(src, LazyPyramidStore):
        if options:
            raise PlanError(f"{', '.join(options)}: belong to the store, which is given")
        store = src
    else:
        store = LazyPyramidStore(src, compressor="zstd" if same else compressor, **options)
    return store if same else _with_codec(store, compressor)


def _with_codec(store: LazyPyramidStore, compressor: Any) -> LazyPyramidStore:
    from lazypyr.store.derived import shown

    return shown(store, codec=Codec.of(compressor))


def _crew_of(executor: Any, workers: int | None, inflight_bytes: int) -> tuple[Threads | Cluster, int]:
    settings = Engine(cache_bytes=0, inflight_bytes=inflight_bytes, workers=workers)  # checks both
    if executor is None:
        return Threads(settings.workers), max(1, settings.inflight_bytes // (2 * settings.workers))
    if workers is not None:
        raise PlanError("workers belong to the executor, which is given")
    cluster = Cluster(executor)
    return cluster, max(1, settings.inflight_bytes // (2 * cluster.threads_each))


def _job_of(
    store: LazyPyramidStore,
    kvstore: Any,
    levels: Collection[int] | None,
    shards: Any,
    region_bytes: int,
    workers: int,
    *,
    copy_base: bool,
) -> Job:
    from lazypyr.store.derived import face_of

    face, pyramids = face_of(store), dict(store.pyramids)
    known = range(max(len(p.levels) for p in pyramids.values()))
    if isinstance(levels, int) or (levels is not None and not set(levels) <= set(known)):
        raise PlanError(f"levels: expected numbers from 0 to {known[-1]}, e.g. [1, 2], got {levels!r}")
    wanted = set(known if levels is None else levels) - (set() if copy_base else {0})
    families = families_of(pyramids, face, None if wanted == set(known) else wanted)
    if not families:
        raise PlanError("levels: there is nothing left to write")
    pair = _shards(shards, face.zarr_format)
    for family in families:
        unit_shape(family.pyramid, pair)
    stages = stages_of(families, shards=pair, region_bytes=region_bytes, workers=workers)
    return Job(pyramids, face, families, stages, pair, kvstore, region_bytes)


def _shards(shards: Any, zarr_format: int) -> tuple[int, int] | None:
    if shards is None:
        return None
    if zarr_format != 3:
        raise PlanError("shards: are of zarr v3, the store is zarr_format=2")
    return one_or_two(shards, "shards: expected pixels along y and x")


def _sizes(job: Job) -> dict[str, tuple[int, int]]:
    sizes = {}
    for family in job.families:
        unit = unit_shape(family.pyramid, job.shards)
        for level, path in family.paths.items():
            shape = family.pyramid.levels[level].shape
            sizes[path] = (
                math.prod(windows.chunk_count(shape, unit)),
                math.prod(shape) * family.pyramid.dtype.itemsize,
            )
    return sizes


def _about(job: Job) -> dict[str, Any]:
    """What makes it the same job when it is run again."""
    face = job.face
    return {
        "recipe": {path: p.recipe for path, p in job.pyramids.items()},
        "fingerprint of recipe and source": {path: p.fingerprint for path, p in job.pyramids.items()},
        "zarr_format": face.zarr_format,
        "layout": face.layout,
        "compressor": None if face.codec is None else face.codec.numcodecs_config(),
        "dimension_separator": face.separator,
        "legacy": face.legacy,
        "shards": None if job.shards is None else list(job.shards),
        "arrays": [path for family in job.families for path in family.paths.values()],
    }


def _run(
    job: Job, crew: Threads | Cluster, arrays: dict[str, tuple[int, int]], began: float, *, shown: bool
) -> Summary:
    kvstore = job.kvstore
    if complete(job):
        return Summary(kvstore.name, arrays, seconds=time.monotonic() - began)
    journal = Journal.of(kvstore, _about(job), job.stages)
    job = replace(job, stages=journal.stages)
    kvstore.clear(f"{HIDDEN}/partial")
    journal.begin()
    totals, regions, skipped = [0, 0, 0], 0, 0
    counts = [math.prod(s.counts(job.families[s.family].pyramid)) for s in job.stages]
    left = [_stage_bytes(job, s) for s in job.stages[journal.finished :]]
    with progress_bar(sum(left), f"materialize {kvstore.name}", show=shown, in_bytes=True) as advance:
        for number in range(journal.finished, len(job.stages)):
            stage = job.stages[number]
            before = journal.count(number)
            skipped += before
            advance(_stage_bytes(job, stage) * before // counts[number])
            with contextlib.closing(_regions(job, crew, journal, number, counts[number])) as results:
                for done in results:
                    regions += 1
                    totals = [t + n for t, n in zip(totals, (done.chunks, done.pixels, done.written), strict=True)]
                    advance(done.pixels)
            journal.checkpoint()
            if kvstore.supports_overwrite or number == len(job.stages) - 1:
                commit(job, number)
            journal.finish(number)
            for feed in {feed for feed in stage.feeds if feed is not None}:
                if not any(feed in later.feeds for later in job.stages[number + 1 :]):
                    kvstore.clear(spill_folder(feed))
    # Also what a run that was killed right after a stage had no time for.
    kvstore.clear(f"{HIDDEN}/spill")
    journal.remove()
    chunks, pixels, written = totals
    return Summary(kvstore.name, arrays, chunks, pixels, written, regions, skipped, time.monotonic() - began)


def _regions(job: Job, crew: Crew, journal: Journal, stage: int, count: int) -> Generator[Done, None, None]:
    """What each region of a stage came to; the errors of those that failed, together, at the end."""
    todo = (region for region in range(count) if not journal.is_done(stage, region))
    failed: dict[int, LazypyrError] = {}
    synced = time.monotonic()
    outcomes = crew.run(job, stage, todo, count - journal.count(stage))
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            if time.monotonic() - synced > _SYNC_EVERY_S:
                journal.checkpoint()
                synced = time.monotonic()
            if outcome is None:
                continue
            region, done = outcome
            if isinstance(done, Done):
                journal.mark(stage, region)
                yield done
            elif isinstance(done, SourceError | ComputeError | BusyError):
                failed[region] = done
                if len(failed) >= _MAX_FAILED:
                    break
            else:
                raise done
    if failed:
        raise _failure(job, stage, failed, count)


def _failure(job: Job, stage: int, failed: dict[int, LazypyrError], count: int) -> LazypyrError:
    at = job.stages[stage]
    pyramid = job.families[at.family].pyramid
    windows = "; ".join(f"region {r} = {at.region(pyramid, r)} of level {at.hi}" for r in sorted(failed)[:5])
    first = failed[min(failed)]
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    msg = (
        f"{job.kvstore.name}: {len(failed)} of {count} regions of {_words(job, at)} failed, which are not visible there; "
        f"run again to go on. {windows}{more}. The first: {first}"
    )
    kind = type(first) if isinstance(first, SourceError | ComputeError) else ComputeError
    error = kind(msg, key=getattr(first, "key", None), level=getattr(first, "level", None),
                 window=getattr(first, "window", None))  # fmt: skip
    error.__cause__ = first
    return error


def _words(job: Job, stage: Stage) -> str:
    family = job.families[stage.family]
    levels = f"level {stage.lo}" if stage.lo == stage.hi else f"levels {stage.lo}-{stage.hi}"
    return (
        levels if len(job.families) == 1 else f"{family.paths[min(family.paths)].rpartition('/')[0]} {levels}".strip()
    )


def _stage_bytes(job: Job, stage: Stage) -> int:
    family = job.families[stage.family]
    return sum(
        math.prod(family.pyramid.levels[k].shape) * family.pyramid.dtype.itemsize
        for k in range(stage.lo, stage.hi + 1)
        if k in family.paths
    )


def _tidy(job: Job) -> None:
    """Leave nothing of ours beside a hierarchy that is whole."""
    local = job.kvstore.local
    if local is not None:
        for folder in (local / HIDDEN / "partial", local / HIDDEN / "spill", local / HIDDEN):
            with contextlib.suppress(OSError):  # other things are in it
                folder.rmdir()


@contextlib.contextmanager
def _os_errors(name: str) -> Iterator[None]:
    """What the medium says of journal and lock, as an error of the destination."""
    try:
        yield
    except LazypyrError:
        raise
    except OSError as error:
        msg = f"{name}: can't be written to: {type(error).__name__}: {error}"
        raise DestinationError(*((error.errno, msg) if error.errno else (msg,))) from error
