"""Chunk cache with single-flight computation, bounded in bytes.

Eviction is `cachetools.LRUCache`. A *computation* of a key is shared by everybody who asks for it meanwhile. It may be
submitted by one thread and run by another: a thread that needs its result and finds it not yet started runs it there
and then, so that no thread ever waits for work that is queued behind it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import cachetools

from lazypyr.errors import BusyError, ComputeError

__all__ = ["CacheInfo", "CacheStorage", "Computation", "SingleFlightCache"]

# The computation that this thread (or task) works for: zarr's sync() hands context over to its loop, so a user's
# function that reads its own store through zarr is recognised too.
_working_for: ContextVar[Computation | None] = ContextVar("lazypyr_computation", default=None)


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


class Computation:
    """One computation of one key. Every attribute is guarded by the lock of its cache."""

    __slots__ = (
        "compute",
        "future",
        "generation",
        "key",
        "needed_by",
        "prepared",
        "release",
        "started",
        "urgent",
        "waiting",
        "waits_for",
    )

    def __init__(self, key: Hashable, compute: Callable[[], Any], generation: int) -> None:
        self.key, self.compute, self.generation = key, compute, generation
        self.future: Future[Any] = Future()
        # A future that is marked running can't be cancelled by one of its waiters.
        self.future.set_running_or_notify_cancel()
        self.started = self.prepared = False
        # A task that holds a memory reservation waits for this one; it must bypass the limiter, or both deadlock.
        self.urgent = False
        self.waiting = 0
        self.waits_for: list[Computation] = []
        self.needed_by: list[Computation] = []
        # What was asked for on its behalf is let go of when it ends, or when nobody wants it.
        self.release: Callable[[], None] | None = None

    def is_abandoned(self) -> bool:
        """True where nobody waits for it, or only computations for which nobody does. No lock: a glance, to be repeated."""
        needed_by = list(self.needed_by)
        return self.waiting <= len(needed_by) and all(other.is_abandoned() for other in needed_by)

    def wait_for(self, other: Computation) -> None:
        """Record that it needs another one."""
        self.waits_for.append(other)
        other.needed_by.append(self)

    def has(self, other: Computation) -> None:
        """Record that it no longer waits for another one."""
        self.waits_for.remove(other)
        other.needed_by.remove(self)


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
        caller = _working_for.get()
        with self._lock:
            value, computation = self._submit(key, compute, urgent=urgent)
            if computation is None:
                return value
            alone = computation.waiting == 1 and not computation.started
            if alone:  # nobody else knows of it: it makes no circle, and this thread computes it
                computation.started = True
                self._computes += 1
                if caller is not None:
                    caller.wait_for(computation)
                    computation.urgent = computation.urgent or caller.urgent
        if alone:
            try:
                return self._run(computation)
            finally:
                if caller is not None:
                    with self._lock:
                        caller.has(computation)
        with self.waiting(computation):
            if self._start(computation):
                return self._run(computation)
            try:
                return computation.future.result(timeout_s)
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
            _mark_urgent(computation)
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
        caller = _working_for.get()
        with self._lock:
            circle = caller is not None and _reaches(computation, caller)
            if caller is not None and not circle:
                caller.wait_for(computation)
                if caller.urgent:
                    _mark_urgent(computation)
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
        token = _working_for.set(computation)
        try:
            value = computation.compute()
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
            _working_for.reset(token)

    def _finish(self, computation: Computation, value: Any = None) -> None:
        with self._lock:
            if self._computations.get(computation.key) is computation:
                del self._computations[computation.key]
            if value is not None and computation.generation == self._generation:
                self._keep(computation.key, value)
        if computation.release is not None:
            computation.release()


def current_computation() -> Computation | None:
    """The computation that this thread or task works for."""
    return _working_for.get()


def _mark_urgent(computation: Computation) -> None:
    """Mark a computation as urgent, and all that it waits for."""
    stack = [computation]
    while stack:
        computation = stack.pop()
        if not computation.urgent:
            computation.urgent = True
            stack.extend(computation.waits_for)


def _reaches(start: Computation, goal: Computation) -> bool:
    """Test for `start` waiting, directly or through others, for `goal`."""
    seen: set[int] = set()
    stack = [start]
    while stack:
        computation = stack.pop()
        if computation is goal:
            return True
        if id(computation) not in seen:
            seen.add(id(computation))
            stack.extend(computation.waits_for)
    return False
