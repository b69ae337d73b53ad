"""Who computes the regions: threads of this process, or the workers of an executor such as a dask.distributed client."""

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

from lazypyr._util.optional import need
from lazypyr.engine.pools import DaemonThreadPool, run_tasks
from lazypyr.errors import PlanError
from lazypyr.writing.job import Done, Job, Stopped
from lazypyr.writing.region import run_region

__all__ = ["Cluster", "Crew", "Threads", "connected"]

Outcome = tuple[int, Done | BaseException]
# Tasks that wait at each thread of a cluster, so that it never runs dry while an answer travels.
_AHEAD = 2
_TICK_S = 0.2
# How long the end of a run waits for what is being computed.
_PATIENCE_S = 10.0


class Crew(Protocol):
    """Computes regions, in any order."""

    def run(self, job: Job, stage: int, regions: Iterator[int], count: int) -> Generator[Outcome | None, None, None]:
        """Each region with what it came to, or its error; None now and then while nothing is ready.

        `regions` is drawn from as there is room for more. Closing the iterator ends the work.
        """


class Threads:
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
        more: dict[str, Any] = {} if pool is None else {"parallel": partial(run_tasks, pool), "threads": self.workers}

        def work() -> None:
            while not stop.is_set():
                with drawing:
                    region = next(regions, None)
                if region is None:
                    break
                try:
                    done: Done | BaseException = run_region(job, stage, region, stop=stop, **more)
                except Stopped:
                    break
                except BaseException as error:
                    done = error
                results.put((region, done))
            results.put(None)

        threads = [threading.Thread(target=work, name=f"lazypyr-region-{n}", daemon=True) for n in range(size)]
        for thread in threads:
            thread.start()
        try:
            ended = 0
            while ended < size:
                try:
                    result = results.get(timeout=_TICK_S)
                except queue.Empty:
                    yield None
                    continue
                if result is None:
                    ended += 1
                else:
                    yield result
        finally:
            stop.set()
            deadline = time.monotonic() + _PATIENCE_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            if pool is not None:
                pool.close()


class Cluster:
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
        """Threads of the whole cluster, and of one worker process."""
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
            room = self.workers * (1 + _AHEAD)
            for region in regions:
                submit(region)
                if len(waiting) >= room:
                    break
            while waiting:
                try:
                    region = finished.get(timeout=_TICK_S)
                except queue.Empty:
                    yield None
                    continue
                future = waiting.pop(region)
                more = next(regions, None)
                if more is not None:
                    submit(more)
                yield region, _outcome(future)
        finally:
            for future in waiting.values():
                with contextlib.suppress(Exception):
                    future.cancel()
            # One that runs can't be cancelled: whoever comes next must not meet its writes.
            deadline = time.monotonic() + _PATIENCE_S
            while not self._dask and any(not f.done() for f in waiting.values()) and time.monotonic() < deadline:
                time.sleep(_TICK_S / 4)


def _outcome(future: Any) -> Done | BaseException:
    try:
        done: Done = future.result()
        return done
    except Exception as error:
        return error


def _pickled(job: Job) -> bytes:
    if not job.kvstore.is_shared:
        raise PlanError(f"{job.kvstore.name}: workers in other processes can't write to what is in this one's memory")
    try:
        return pickle.dumps(job)
    except Exception as plain:
        try:
            cloudpickle = need("cloudpickle", feature="sending this recipe to workers", extra="dask")
            return bytes(cloudpickle.dumps(job))
        except Exception:
            raise PlanError(f"the recipe can't be sent to workers: {plain}") from plain


_jobs: dict[bytes, Job] = {}
_MAX_JOBS = 4


def run_pickled(blob: bytes, stage: int, region: int) -> Done:
    """Compute a region in a worker, which keeps the job for the next one."""
    job = _jobs.get(blob)
    if job is None:
        job = pickle.loads(blob)  # noqa: S301 - of our own making
        while len(_jobs) >= _MAX_JOBS:
            _jobs.pop(next(iter(_jobs)), None)
        _jobs[blob] = job
    return run_region(job, stage, region)


def connected(address: str) -> Any:
    """A client of the dask.distributed scheduler at an address, to be used in a ``with``.

    Raises
    ------
    MissingExtra, PlanError
    """
    distributed = need("distributed", feature="a scheduler", extra="dask")
    try:
        return distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise PlanError(f"no scheduler at {address}: {error}") from error
