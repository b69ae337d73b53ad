"""The slow lane: what reads much of its sources, one at a time or a few, in threads of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from lazypyr._util.cache import SingleFlightCache
from lazypyr._util.computation import Computation, current_computation
from lazypyr._util.lanes import SLOW_BYTES, Abandoned, Deferred, SlowRun, in_fast_lane, in_lane, slow_run
from lazypyr.engine.pools import DaemonThreadPool
from lazypyr.errors import PlanError

__all__ = ["LaneInfo", "SlowLane", "choose_lane", "run_fast", "while_wanted"]


@dataclass(frozen=True)
class LaneInfo:
    """State of the slow lane: computations that run and wait, those that ever came; of those that run, bytes of sources."""

    running: int
    waiting: int
    total: int
    read_bytes: int
    total_bytes: int


class SlowLane:
    """Threads of the slow lane, one less than `workers`, and at least one.

    Unlike other threads they have no others beside them while they wait for bytes: the work at hand stays bounded.
    """

    def __init__(self, workers: int) -> None:
        self._size = max(1, workers - 1)
        self._pool = DaemonThreadPool(self._size, "slow", grows=False)
        self._lock = threading.Lock()
        self._running: list[SlowRun] = []
        self._waiting = self._total = 0

    def serving(self, cache: SingleFlightCache) -> SingleFlightCache:
        """A cache whose computations it takes."""
        cache.defer = partial(self.take, run=partial(_quietly, cache))
        return cache

    def take(self, computation: Computation, run: Callable[[Computation], None]) -> None:
        """Have `run` called with a computation when its turn comes."""
        with self._lock:
            self._waiting += 1
            self._total += 1
        self._pool.submit(partial(self._run, computation, run))

    def _run(self, computation: Computation, run: Callable[[Computation], None]) -> None:
        mine = SlowRun("", self._size)
        with self._lock:
            self._waiting -= 1
            self._running.append(mine)
        try:
            with in_lane(mine):
                run(computation)
        finally:
            with self._lock:
                self._running = [other for other in self._running if other is not mine]

    def runs(self) -> list[SlowRun]:
        """Runs at present."""
        with self._lock:
            return list(self._running)

    @property
    def info(self) -> LaneInfo:
        """Counts, and the progress of what runs."""
        runs = self.runs()
        with self._lock:
            waiting, total = self._waiting, self._total
        read = sum(min(run.read_bytes, run.total_bytes) for run in runs)
        return LaneInfo(len(runs), waiting, total, read, sum(run.total_bytes for run in runs))

    @property
    def n_done(self) -> int:
        """Number of calls that have ended."""
        return self._pool.n_done

    def close(self) -> None:
        """Let the threads end when what was handed in has been done."""
        self._pool.close()


def choose_lane(what: str, read_bytes: int, request_bytes: int | None) -> None:
    """Tell the lane of work whose plan reads `read_bytes`; in threads that are no lane's everything may go on.

    Raises
    ------
    PlanError
        Where it is more than a request may read.
    Deferred
        Where it belongs in the slow lane, and isn't in it.
    """
    run, fast = slow_run(), in_fast_lane()
    if request_bytes is not None and read_bytes > request_bytes and (fast or run is not None):
        msg = (
            f"{what} reads up to {read_bytes} bytes of its sources, request_bytes={request_bytes} allows a request fewer: "
            "ask for a finer level, write the coarse ones with lazypyr materialize, or have it raised"
        )
        raise PlanError(msg)
    if read_bytes <= SLOW_BYTES:
        return
    if fast:
        raise Deferred
    if run is not None:
        run.name = run.name or what
        run.total_bytes += read_bytes
        computation = current_computation()
        if computation is not None:
            computation.deferred = True


def while_wanted(tasks: Iterable[Callable[[], None]]) -> Iterable[Callable[[], None]]:
    """The tasks; in the slow lane only as long as somebody waits for what they are part of.

    Raises
    ------
    Abandoned
        When nobody does.
    """
    computation = current_computation()
    return tasks if computation is None or slow_run() is None else _drawn(tasks, computation)


def _drawn(tasks: Iterable[Callable[[], None]], computation: Computation) -> Iterator[Callable[[], None]]:
    for task in tasks:
        if computation.is_abandoned():
            raise Abandoned("nobody waits any more for what was being computed")
        yield task


def run_fast(cache: SingleFlightCache, computation: Computation) -> None:
    """Run a computation in the fast lane."""
    with in_lane(None):
        _quietly(cache, computation)


def _quietly(cache: SingleFlightCache, computation: Computation) -> None:
    """Run a computation, unless nobody waits for it any more."""
    # The error is the future's; in a pool's thread there is nobody else to tell.
    with contextlib.suppress(BaseException):
        cache.run(computation)
