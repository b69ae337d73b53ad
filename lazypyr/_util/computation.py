"""One computation of one key, shared by all that wait for it, and which computation needs which."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from lazypyr._util.lanes import Deferred, in_fast_lane

__all__ = ["Computation", "current_computation", "mark_urgent", "reaches", "result_of", "working_for"]

# Who waits in the fast lane looks this often whether it waits for something slow.
_LOOK_EVERY_S = 0.2
# The computation that this thread (or task) works for: zarr's sync() hands context over to its loop, so a user's
# function that reads its own store through zarr is recognised too.
working_for: ContextVar[Computation | None] = ContextVar("lazypyr_computation", default=None)


class Computation:
    """One computation of one key. Every attribute is guarded by the lock of its cache."""

    __slots__ = (
        "again",
        "compute",
        "deferred",
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
        # It belongs in the slow lane: nobody in the fast one waits for it.
        self.deferred = False
        # Asks for the same value anew.
        self.again: Callable[[], tuple[Any, None] | tuple[None, Computation]] | None = None
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


def current_computation() -> Computation | None:
    """The computation that this thread or task works for."""
    return working_for.get()


def result_of(computation: Computation, timeout_s: float | None) -> Any:
    """Value of a computation that another thread runs; in the fast lane `Deferred` once it turns out to belong in the slow one."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while in_fast_lane() and (deadline is None or deadline - time.monotonic() > _LOOK_EVERY_S):
        with contextlib.suppress(TimeoutError):
            return computation.future.result(_LOOK_EVERY_S)
        if computation.future.done():
            break
        if computation.deferred:
            raise Deferred
    return computation.future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))


def mark_urgent(computation: Computation) -> None:
    """Mark a computation as urgent, and all that it waits for."""
    stack = [computation]
    while stack:
        computation = stack.pop()
        if not computation.urgent:
            computation.urgent = True
            stack.extend(computation.waits_for)


def reaches(start: Computation, goal: Computation) -> bool:
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
