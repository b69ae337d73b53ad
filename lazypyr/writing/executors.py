"""Executors for regions: threads of this process, or anything with `submit` (dask.distributed, concurrent.futures)."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import queue
import threading
import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, Protocol

from lazypyr._util.checks import whole_number
from lazypyr._util.optional import need
from lazypyr._util.text import size_text
from lazypyr.engine.pools import DaemonThreadPool, cpu_count, run_tasks
from lazypyr.errors import PlanError
from lazypyr.writing.job import Cancelled, Job, RegionResult
from lazypyr.writing.region import run_region

__all__ = ["Executor", "FuturesExecutor", "ThreadExecutor", "connected", "executor_of", "result_of"]

Outcome = tuple[int, RegionResult | BaseException]
# Tasks that wait at each thread of a cluster, so that it never idles while a result travels.
TASKS_AHEAD = 2
_TICK_S = 0.2
# A recipe is some KiB; one that holds an array takes the array along with every region.
_MAX_PICKLE_BYTES = 16 * 2**20
# How long the end of a run waits for regions that are being computed.
_PATIENCE_S = 10.0


class Executor(Protocol):
    """Protocol: computation of regions, in any order."""

    def run(self, job: Job, stage: int, regions: Iterator[int], count: int) -> Generator[Outcome | None, None, None]:
        """Yield each region with its result or error, and None now and then while nothing is ready.

        `regions` is drawn from as there is room for more. Closing the iterator ends the work.
        """


class ThreadExecutor:
    """Threads of this process, one region each.

    Parameters
    ----------
    workers : int
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, job: Job, stage: int, regions: Iterator[int], count: int) -> Generator[Outcome | None, None, None]:
        results: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        drawing, stop = threading.Lock(), threading.Event()
        # Few regions: all threads work on each of them.
        pool = DaemonThreadPool(self.workers, "write") if self.workers > 1 and count < 2 * self.workers else None
        size = 1 if pool is not None else min(self.workers, max(count, 1))
        options: dict[str, Any] = (
            {} if pool is None else {"parallel": partial(run_tasks, pool), "threads": self.workers}
        )

        def work() -> None:
            while not stop.is_set():
                with drawing:
                    region = next(regions, None)
                if region is None:
                    break
                try:
                    result: RegionResult | BaseException = run_region(job, stage, region, stop=stop, **options)
                except Cancelled:
                    break
                except BaseException as error:
                    result = error
                results.put((region, result))
            results.put(None)

        threads = [threading.Thread(target=work, name=f"lazypyr-region-{n}", daemon=True) for n in range(size)]
        for thread in threads:
            thread.start()
        try:
            ended = 0
            while ended < size:
                try:
                    outcome = results.get(timeout=_TICK_S)
                except queue.Empty:
                    yield None
                    continue
                if outcome is None:
                    ended += 1
                else:
                    yield outcome
        finally:
            stop.set()
            deadline = time.monotonic() + _PATIENCE_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            if pool is not None:
                pool.close()


class FuturesExecutor:
    """Workers of an executor: anything with ``submit(function, *args)`` that gives futures.

    Parameters
    ----------
    executor : dask.distributed.Client or concurrent.futures.Executor
    """

    def __init__(self, executor: Any) -> None:
        if not callable(getattr(executor, "submit", None)):
            raise PlanError(
                f"executor: expected a dask.distributed.Client or a concurrent.futures executor, got {executor!r}"
            )
        self._executor = executor
        self._dask = callable(getattr(executor, "scheduler_info", None))
        self.workers, self.threads_each = self._size()

    def _size(self) -> tuple[int, int]:
        """Number of threads of the whole cluster, and of one worker process."""
        if self._dask:
            threads = list(self._executor.nthreads().values())
            if not threads:
                raise PlanError(
                    "executor: the cluster has no workers yet; wait for them with client.wait_for_workers(n)"
                )
            return sum(threads), max(threads)
        return int(getattr(self._executor, "_max_workers", 1)), 1

    def run(self, job: Job, stage: int, regions: Iterator[int], count: int) -> Generator[Outcome | None, None, None]:
        blob = _pickled(job)
        name = f"lazypyr-{hashlib.blake2b(blob, digest_size=8).hexdigest()}-{time.time_ns():x}-{stage}"
        finished: queue.SimpleQueue[int] = queue.SimpleQueue()
        waiting: dict[int, Any] = {}

        def submit(region: int) -> None:
            # The key names the region; a task that a lost worker leaves is run again by the scheduler.
            named = {"key": f"{name}-{region}", "pure": False} if self._dask else {}
            waiting[region] = future = self._executor.submit(run_pickled, blob, stage, region, **named)
            future.add_done_callback(lambda _, region=region: finished.put(region))

        try:
            most = self.workers * (1 + TASKS_AHEAD)
            for region in regions:
                submit(region)
                if len(waiting) >= most:
                    break
            while waiting:
                try:
                    region = finished.get(timeout=_TICK_S)
                except queue.Empty:
                    yield None
                    continue
                future = waiting.pop(region)
                following = next(regions, None)
                if following is not None:
                    submit(following)
                yield region, result_of(future)
        finally:
            for future in waiting.values():
                with contextlib.suppress(Exception):
                    future.cancel()
            # A running one can't be cancelled: its writes must not meet those of the next run.
            deadline = time.monotonic() + _PATIENCE_S
            while not self._dask and any(not f.done() for f in waiting.values()) and time.monotonic() < deadline:
                time.sleep(_TICK_S / 4)


def executor_of(
    executor: Any, workers: int | None, inflight_bytes: int
) -> tuple[ThreadExecutor | FuturesExecutor, int]:
    """Executor that a user means, and the bytes that one of its regions may hold."""
    inflight_bytes = whole_number(inflight_bytes, "inflight_bytes", 1)
    if executor is None:
        threads = cpu_count() if workers is None else whole_number(workers, "workers", 1)
        return ThreadExecutor(threads), max(1, inflight_bytes // (2 * threads))
    if workers is not None:
        raise PlanError("workers belong to the executor, which is given")
    futures = FuturesExecutor(executor)
    return futures, max(1, inflight_bytes // (2 * futures.threads_each))


def result_of(future: Any) -> RegionResult | BaseException:
    """The result of a future that is done, or its error."""
    try:
        result: RegionResult = future.result()
        return result
    except Exception as error:
        return error


def _pickled(job: Job) -> bytes:
    if not job.kvstore.is_shared:
        raise PlanError(f"{job.kvstore.name}: workers in other processes can't write to what is in this one's memory")
    try:
        blob = pickle.dumps(job)
    except Exception as plain:
        try:
            cloudpickle = need("cloudpickle", feature="sending this recipe to workers", extra="dask")
            blob = bytes(cloudpickle.dumps(job))
        except Exception:
            raise PlanError(f"the recipe can't be sent to workers: {plain}") from plain
    if len(blob) > _MAX_PICKLE_BYTES:
        raise PlanError(
            f"executor: expected a recipe of at most {size_text(_MAX_PICKLE_BYTES)}, which is sent with every region, got "
            f"{size_text(len(blob))}: it holds pixels in memory; write them to a zarr array that the workers can read"
        )
    return blob


_jobs: dict[bytes, Job] = {}
_MAX_JOBS = 4


def run_pickled(blob: bytes, stage: int, region: int) -> RegionResult:
    """Compute a region in a worker, which keeps the job for the next one."""
    job = _jobs.get(blob)
    if job is None:
        job = pickle.loads(blob)  # noqa: S301 - of our own making
        while len(_jobs) >= _MAX_JOBS:
            _jobs.pop(next(iter(_jobs)), None)
        _jobs[blob] = job
    return run_region(job, stage, region)


def connected(address: str) -> Any:
    """Client of the dask.distributed scheduler at an address, a context manager.

    Raises
    ------
    MissingExtra, PlanError
    """
    distributed = need("distributed", feature="a scheduler", extra="dask")
    try:
        return distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise PlanError(f"no scheduler at {address}: {error}") from error
