"""A cache bounded in bytes whose entries are computed once at a time, whoever asks for them.

Eviction is `cachetools.LRUCache`; what is ours is the *flight*: one computation of one key, shared by everybody who
asks meanwhile. A flight may be started by one thread and computed by another: whoever needs its result and finds it
not yet begun does it there and then, so that nobody ever waits for work that is queued behind him.
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

__all__ = ["CacheInfo", "Flight", "FlightCache"]

# The flight on whose behalf this thread (or task) works: zarr's sync() hands context over to its loop, so a user's
# function that reads its own store through zarr is recognised too.
_working_for: ContextVar[Flight | None] = ContextVar("lazypyr_flight", default=None)


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


class Flight:
    """One computation of one key. Every attribute is guarded by the lock of its cache."""

    __slots__ = ("begun", "compute", "future", "generation", "key", "needs", "urgent", "waiting")

    def __init__(self, key: Hashable, compute: Callable[[], Any], generation: int) -> None:
        self.key, self.compute, self.generation = key, compute, generation
        self.future: Future[Any] = Future()
        # A future that is marked running can't be cancelled by one of its waiters.
        self.future.set_running_or_notify_cancel()
        self.begun = False
        # Work that holds room waits for it: it must not wait for room itself.
        self.urgent = False
        self.waiting = 0
        self.needs: list[Flight] = []


class FlightCache:
    """Least recently used values, at most `maxsize` bytes of them, each computed by one flight at a time.

    Parameters
    ----------
    maxsize : int
        Bytes; 0 keeps nothing (flights are still shared).
    sizeof : callable
        Bytes of a value.
    """

    def __init__(self, maxsize: int, sizeof: Callable[[Any], int]) -> None:
        self._sizeof = sizeof
        self._values: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(maxsize, getsizeof=sizeof)
        self._flights: dict[Hashable, Flight] = {}
        self._lock = threading.Lock()
        self._generation = 0
        self._hits = self._misses = self._computes = 0

    def info(self) -> CacheInfo:
        """Counters and sizes, taken at one instant."""
        with self._lock:
            v = self._values
            return CacheInfo(
                self._hits, self._misses, int(v.currsize), int(v.maxsize), len(v), self._computes, len(self._flights)
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
        """Number of the present generation: hand it to `offer` with what was begun in it."""
        with self._lock:
            return self._generation

    def offer(self, key: Hashable, value: Any, generation: int) -> None:
        """Keep a value that came out on the way, unless the cache was cleared since `generation`."""
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
            self._flights.clear()

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
        mine = _working_for.get()
        with self._lock:
            value, flight = self._joined(key, compute, urgent=urgent)
            if flight is None:
                return value
            alone = flight.waiting == 1 and not flight.begun
            if alone:  # nobody else knows of it: it makes no circle, and this thread computes it
                flight.begun = True
                self._computes += 1
                if mine is not None:
                    mine.needs.append(flight)
                    flight.urgent = flight.urgent or mine.urgent
        if alone:
            try:
                return self._run(flight)
            finally:
                if mine is not None:
                    with self._lock:
                        mine.needs.remove(flight)
        with self.waiting(flight):
            if self._begin(flight):
                return self._run(flight)
            try:
                return flight.future.result(timeout_s)
            except TimeoutError:
                if flight.future.done():
                    raise
                msg = f"still computing after {timeout_s} s: {key!r}; try again"
                raise BusyError(msg) from None

    def join(
        self, key: Hashable, compute: Callable[[], Any], *, urgent: bool = False
    ) -> tuple[Any, None] | tuple[None, Flight]:
        """The value, or the flight that will bring it: an existing one, or a new one that nobody has begun.

        `urgent` says that whoever asks holds room in the gate that the computation might wait for.
        """
        with self._lock:
            return self._joined(key, compute, urgent=urgent)

    def _joined(
        self, key: Hashable, compute: Callable[[], Any], *, urgent: bool
    ) -> tuple[Any, None] | tuple[None, Flight]:
        """`join` with the lock held."""
        value = self._values.get(key)
        if value is not None:
            self._hits += 1
            return value, None
        flight = self._flights.get(key)
        if flight is None:
            self._misses += 1
            flight = self._flights[key] = Flight(key, compute, self._generation)
        else:
            self._hits += 1
        flight.waiting += 1
        if urgent:
            _hurry(flight)
        return None, flight

    def leave(self, flight: Flight) -> None:
        """Say that one of those who joined no longer waits; a flight that nobody waits for is not begun."""
        with self._lock:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.begun and self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    def run(self, flight: Flight) -> None:
        """Compute a flight in this thread, unless somebody has begun it or nobody waits for it any more."""
        if self._begin(flight):
            self._run(flight)

    @contextlib.contextmanager
    def waiting(self, flight: Flight) -> Iterator[None]:
        """Note that the present flight needs `flight`; refuse a circle, which would wait for itself for ever."""
        mine = _working_for.get()
        with self._lock:
            circle = mine is not None and _reaches(flight, mine)
            if mine is not None and not circle:
                mine.needs.append(flight)
                if mine.urgent:
                    _hurry(flight)
        if circle:
            self.leave(flight)
            msg = f"a tile needs itself: {flight.key!r} is being computed by what asks for it"
            raise ComputeError(msg)
        try:
            yield
        finally:
            if mine is not None:
                with self._lock:
                    mine.needs.remove(flight)
            self.leave(flight)

    def _begin(self, flight: Flight) -> bool:
        with self._lock:
            if flight.begun or flight.waiting == 0:
                return False
            flight.begun = True
            # A neighbour's computation may have brought it on the way since it was asked for.
            value = self._values.get(flight.key)
            if value is None:
                self._computes += 1
                return True
        self._land(flight)
        flight.future.set_result(value)
        return False

    def _run(self, flight: Flight) -> Any:
        token = _working_for.set(flight)
        try:
            value = flight.compute()
        except Exception as error:
            self._land(flight)
            flight.future.set_exception(error)
            raise
        except BaseException as stop:  # Ctrl-C and the like are this thread's own; others only hear that it stopped
            self._land(flight)
            failed = ComputeError(f"interrupted while computing {flight.key!r}")
            failed.__cause__ = stop
            flight.future.set_exception(failed)
            raise
        else:
            self._land(flight, value)
            flight.future.set_result(value)
            return value
        finally:
            _working_for.reset(token)

    def _land(self, flight: Flight, value: Any = None) -> None:
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]
            if value is not None and flight.generation == self._generation:
                self._keep(flight.key, value)


def current_flight() -> Flight | None:
    """The flight on whose behalf this thread or task works."""
    return _working_for.get()


def _hurry(flight: Flight) -> None:
    """Make a flight urgent, and all that it waits for."""
    stack = [flight]
    while stack:
        flight = stack.pop()
        if not flight.urgent:
            flight.urgent = True
            stack.extend(flight.needs)


def _reaches(start: Flight, goal: Flight) -> bool:
    """Whether `start` waits, directly or through others, for `goal`."""
    seen: set[int] = set()
    stack = [start]
    while stack:
        flight = stack.pop()
        if flight is goal:
            return True
        if id(flight) not in seen:
            seen.add(id(flight))
            stack.extend(flight.needs)
    return False
