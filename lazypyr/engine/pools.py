"""Threads and memory that the engine hands out: a small pool of daemon threads, and a gate counted in bytes.

`concurrent.futures` is not used for the pool because it joins its threads at exit: a stuck source would hold up the
interpreter for ever.
"""

from __future__ import annotations

import collections
import contextvars
import itertools
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial

from lazypyr.errors import BusyError

__all__ = ["ByteGate", "Pool"]

# Work that waits for room looks this often whether it has become urgent.
_LOOK_EVERY_S = 0.05


class Pool:
    """At most `size` daemon threads, started when first needed, taking calls in the order of their coming."""

    def __init__(self, size: int, name: str) -> None:
        self.size, self._name = size, name
        self._state = _PoolState()
        # The threads know the state only: a pool that nobody has any more lets them end.
        weakref.finalize(self, _dismiss, self._state)

    def submit(self, call: Callable[[], None]) -> None:
        """Have `call` run in one of the threads; it must not raise."""
        state = self._state
        with state.lock:
            state.calls.put(call)
            state.undone += 1
            if state.threads < min(state.undone, self.size):
                state.threads += 1
                name = f"lazypyr-{self._name}-{state.threads}"
                threading.Thread(target=_serve, args=(state,), name=name, daemon=True).start()

    def close(self) -> None:
        """Let the threads end when what was handed in has been done."""
        _dismiss(self._state)


class _PoolState:
    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.threads = 0
        # Calls that wait or run. A thread that has just taken one is not free for the next, which may be what it waits for.
        self.undone = 0


def _serve(state: _PoolState) -> None:
    while (call := state.calls.get()) is not None:
        call()
        del call  # so that an idle thread holds no tile
        with state.lock:
            state.undone -= 1
    with state.lock:
        state.threads -= 1


def _dismiss(state: _PoolState) -> None:
    # No lock: a finalizer may run in a thread that holds it. SimpleQueue is made for that.
    for _ in range(state.threads):
        state.calls.put(None)


def run_parallel(pool: Pool, tasks: Iterable[Callable[[], None]]) -> None:
    """Run tasks that wait for nothing, in this thread and in the pool's; returns when all are done.

    Tasks are drawn one at a time, so a generator of millions costs nothing. This thread takes its share, so the
    pool may be busy, or be where this thread comes from, and the work goes on.

    Raises
    ------
    Exception
        The first error of a task; tasks not yet drawn are dropped.
    """
    source, drawing = iter(tasks), threading.Lock()
    failed: list[BaseException] = []

    def draw() -> Callable[[], None] | None:
        with drawing:
            if failed:
                return None
            try:
                return next(source, None)
            except BaseException as error:
                failed.append(error)
                return None

    def work() -> None:
        while (task := draw()) is not None:
            try:
                task()
            except BaseException as error:
                failed.append(error)

    def assist(context: contextvars.Context, open_: threading.Lock) -> None:
        # Acquired by whoever comes first, the helper or the owner who no longer needs it.
        if open_.acquire(blocking=False):
            try:
                context.run(work)
            finally:
                done.release()

    first = draw()
    if first is None:
        _raise_first(failed)
        return
    second = draw()
    source = itertools.chain([first] if second is None else [first, second], source)
    helpers: list[threading.Lock] = []
    done = threading.Semaphore(0)
    if second is not None:
        for _ in range(pool.size - 1):
            open_ = threading.Lock()
            helpers.append(open_)
            # The helper works on behalf of this thread's computation, under its admission.
            pool.submit(partial(assist, contextvars.copy_context(), open_))
    work()
    for open_ in helpers:
        if not open_.acquire(blocking=False):  # it has begun: wait for its last task
            done.acquire()
    _raise_first(failed)


def _raise_first(failed: list[BaseException]) -> None:
    if failed:
        raise failed[0]


class ByteGate:
    """Lets work in while its estimated bytes fit; the rest waits its turn.

    Work larger than the whole gate is let in alone.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self.max_bytes, self.timeout_s = max_bytes, timeout_s
        self._used = 0
        self._changed = threading.Condition()
        self._queue: collections.deque[object] = collections.deque()

    @property
    def used_bytes(self) -> int:
        """Bytes that are let in at present."""
        return self._used

    def enter(self, n_bytes: int, *, urgent: Callable[[], bool] = lambda: False) -> None:
        """Take `n_bytes` of the gate, in the order of coming; work that is or becomes urgent doesn't wait for room.

        Raises
        ------
        BusyError
            When there was no room for `timeout_s` seconds.
        """
        with self._changed:
            if self._queue or not self._fits(n_bytes):
                self._wait(n_bytes, urgent)
            self._used += n_bytes

    def leave(self, n_bytes: int) -> None:
        """Give back what `enter` took."""
        with self._changed:
            self._used -= n_bytes
            if self._queue:
                self._changed.notify_all()

    def _wait(self, n_bytes: int, urgent: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.timeout_s
        ticket = object()
        self._queue.append(ticket)
        try:
            while not (self._queue[0] is ticket and self._fits(n_bytes)) and not urgent():
                left = deadline - time.monotonic()
                self._changed.wait(min(left, _LOOK_EVERY_S))
                if left <= 0:
                    msg = (
                        f"no room for {n_bytes} bytes of work within {self.timeout_s} s: {self._used} of "
                        f"{self.max_bytes} bytes are in use; try again, or raise inflight_bytes"
                    )
                    raise BusyError(msg)
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

    def _fits(self, n_bytes: int) -> bool:
        return not self._used or self._used + n_bytes <= self.max_bytes
