"""Chunk cache with single-flight computation, bounded in bytes.

Eviction is `cachetools.LRUCache`. A *computation* of a key is shared by everybody who asks for it meanwhile. It may be
submitted by one thread and run by another: a thread that needs its result and finds it not yet started runs it there
and then, so that no thread ever waits for work that is queued behind it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import cachetools

from lazypyr._util.computation import (
    Computation,
    mark_urgent,
    reaches,
    result_of,
    working_for,
)
from lazypyr._util.lanes import Abandoned, Deferred, in_fast_lane
from lazypyr.errors import BusyError, ComputeError

__all__ = ["CacheInfo", "CacheStorage", "SingleFlightCache"]


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """State of a cache: `currsize` and `maxsize` in bytes, the rest counts since it was made."""

    hits: int
    misses: int
    currsize: int
    maxsize: int
    entries: int
    computes: int
    in_flight: int


class CacheStorage:
    """Values of a cache, or of several that share a bound in bytes, and the lock that guards them."""

    def __init__(self, maxsize: int, sizeof: Callable[[Any], int], entry_bytes: int) -> None:
        self.entry_bytes = entry_bytes
        self.values: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(
            maxsize, getsizeof=lambda value: sizeof(value) + entry_bytes
        )
        self.lock = threading.Lock()


class SingleFlightCache:
    """Cache of the values used last, at most `maxsize` bytes, each computed by one thread at a time.

    Parameters
    ----------
    maxsize : int
        Bytes; 0 keeps nothing (running computations are still shared).
    sizeof : callable
        Bytes of a value.
    entry_bytes : int
        Bytes of an entry besides its value, its key among them, which count towards `maxsize`.
    storage : CacheStorage, optional
        Storage of another cache, to share its values and its bound; computations are apart.
    """

    def __init__(
        self,
        maxsize: int,
        sizeof: Callable[[Any], int],
        entry_bytes: int = 0,
        storage: CacheStorage | None = None,
    ) -> None:
        self.storage = storage or CacheStorage(maxsize, sizeof, entry_bytes)
        self._values, self._lock = self.storage.values, self.storage.lock
        self._computations: dict[Hashable, Computation] = {}
        # Takes computations that turn out to belong in the slow lane.
        self.defer: Callable[[Computation], None] | None = None
        self._generation = 0
        self._hits = self._misses = self._computes = 0

    def info(self) -> CacheInfo:
        """Counters and sizes, taken at one instant."""
        with self._lock:
            v = self._values
            return CacheInfo(
                self._hits,
                self._misses,
                int(v.currsize) - self.storage.entry_bytes * len(v),
                int(v.maxsize),
                len(v),
                self._computes,
                len(self._computations),
            )

    def peek(self, key: Hashable, *, count: bool = True) -> Any | None:
        """The value if it is here, else None; `count` says whether it makes a hit."""
        with self._lock:
            value = self._values.get(key)
            if value is not None and count:
                self._hits += 1
            return value

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._values

    def generation(self) -> int:
        """Number of the present generation: hand it to `put` with what was started in it."""
        with self._lock:
            return self._generation

    def put(self, key: Hashable, value: Any, generation: int) -> None:
        """Keep a by-product of another computation, unless the cache was cleared since `generation`."""
        with self._lock:
            if generation == self._generation:
                self._keep(key, value)

    def _keep(self, key: Hashable, value: Any) -> None:
        with contextlib.suppress(ValueError):  # larger than the whole cache
            self._values[key] = value

    def clear(self) -> None:
        """Forget all values; what is being computed goes to those who wait for it and is not kept."""
        with self._lock:
            self._generation += 1
            self._values.clear()
            self._computations.clear()

    def get(
        self, key: Hashable, compute: Callable[[], Any], *, timeout_s: float | None = None, urgent: bool = False
    ) -> Any:
        """The value, computed in this thread if nobody else is at it.

        Raises
        ------
        ComputeError
            When the value is needed, directly or in a circle, for computing itself.
        BusyError
            When another thread has been computing it for longer than `timeout_s` seconds.
        """
        caller = working_for.get()
        while True:
            try:
                return self._get(key, compute, timeout_s, urgent=urgent)
            except Abandoned:  # by others, before this thread came
                if caller is not None and caller.is_abandoned():
                    raise

    def _get(self, key: Hashable, compute: Callable[[], Any], timeout_s: float | None, *, urgent: bool) -> Any:
        caller = working_for.get()
        with self._lock:
            value, computation = self._submit(key, compute, urgent=urgent)
            if computation is None:
                return value
            alone = computation.waiting == 1 and not computation.started and not computation.deferred
            if alone:  # nobody else knows of it: it makes no circle, and this thread computes it
                computation.started = True
                self._computes += 1
                if caller is not None:
                    caller.wait_for(computation)
                    computation.urgent = computation.urgent or caller.urgent
        if alone:
            try:
                return self._run(computation)
            except Deferred:
                self.leave(computation)
                raise
            finally:
                if caller is not None:
                    with self._lock:
                        caller.has(computation)
        with self.waiting(computation):
            if computation.deferred and in_fast_lane():
                raise Deferred
            if self._start(computation):
                return self._run(computation)
            try:
                return result_of(computation, timeout_s)
            except TimeoutError:
                if computation.future.done():
                    raise
                msg = f"still computing after {timeout_s} s: {key!r}; try again"
                raise BusyError(msg) from None

    def submit(
        self, key: Hashable, compute: Callable[[], Any], *, urgent: bool = False
    ) -> tuple[Any, None] | tuple[None, Computation]:
        """The value, or the computation that will bring it: an existing one, or a new one that nobody has started.

        `urgent`: the caller holds a memory reservation that the computation might wait for.
        """
        with self._lock:
            return self._submit(key, compute, urgent=urgent)

    def _submit(
        self, key: Hashable, compute: Callable[[], Any], *, urgent: bool
    ) -> tuple[Any, None] | tuple[None, Computation]:
        """`submit` with the lock held."""
        value = self._values.get(key)
        if value is not None:
            self._hits += 1
            return value, None
        computation = self._computations.get(key)
        if computation is None:
            self._misses += 1
            computation = self._computations[key] = Computation(key, compute, self._generation)
        else:
            self._hits += 1
        computation.waiting += 1
        if urgent:
            mark_urgent(computation)
        return None, computation

    def leave(self, computation: Computation) -> None:
        """Withdraw from a computation; one that nobody waits for is not started."""
        with self._lock:
            computation.waiting -= 1
            dropped = (
                computation.waiting == 0
                and not computation.started
                and self._computations.get(computation.key) is computation
            )
            if dropped:
                del self._computations[computation.key]
        if dropped and computation.release is not None:
            computation.release()

    def run(self, computation: Computation) -> None:
        """Run a computation in this thread, unless it has been started or nobody waits for it any more."""
        if self._start(computation):
            self._run(computation)

    @contextlib.contextmanager
    def waiting(self, computation: Computation) -> Iterator[None]:
        """Record that the present computation waits_for `computation`; refuse a circle, which would wait for itself for ever."""
        caller = working_for.get()
        with self._lock:
            circle = caller is not None and reaches(computation, caller)
            if caller is not None and not circle:
                caller.wait_for(computation)
                if caller.urgent:
                    mark_urgent(computation)
        if circle:
            self.leave(computation)
            msg = f"a chunk needs itself: {computation.key!r} is being computed by what asks for it"
            raise ComputeError(msg)
        try:
            yield
        finally:
            if caller is not None:
                with self._lock:
                    caller.has(computation)
            self.leave(computation)

    def _start(self, computation: Computation) -> bool:
        with self._lock:
            if computation.started or computation.waiting == 0:
                return False
            computation.started = True
            # A neighbour's computation may have brought it on the way since it was asked for.
            value = self._values.get(computation.key)
            if value is None:
                self._computes += 1
                return True
        self._finish(computation)
        computation.future.set_result(value)
        return False

    def _run(self, computation: Computation) -> Any:
        token = working_for.set(computation)
        try:
            value = computation.compute()
        except Deferred:
            self._put_off(computation)
            raise
        except Exception as error:
            self._finish(computation)
            computation.future.set_exception(error)
            raise
        except BaseException as stop:  # Ctrl-C and the like are this thread's own; others only hear that it stopped
            self._finish(computation)
            failed = ComputeError(f"interrupted while computing {computation.key!r}")
            failed.__cause__ = stop
            computation.future.set_exception(failed)
            raise
        else:
            self._finish(computation, value)
            computation.future.set_result(value)
            return value
        finally:
            working_for.reset(token)

    def _put_off(self, computation: Computation) -> None:
        """Undo the start of a computation, and have it begun in the slow lane."""
        if self.defer is None:  # whoever waits for it asks again
            self._finish(computation)
            computation.future.set_exception(Abandoned(f"it belongs in the slow lane: {computation.key!r}"))
            return
        with self._lock:
            computation.started, computation.deferred = False, True
            self._computes -= 1
            wanted = computation.waiting > 0
            if not wanted and self._computations.get(computation.key) is computation:
                del self._computations[computation.key]
            release, computation.release = computation.release, None
        if release is not None:
            release()
        if wanted:
            self.defer(computation)

    def _finish(self, computation: Computation, value: Any = None) -> None:
        with self._lock:
            if self._computations.get(computation.key) is computation:
                del self._computations[computation.key]
            if value is not None and computation.generation == self._generation:
                self._keep(computation.key, value)
        if computation.release is not None:
            computation.release()
