"""DaemonThreadPool of daemon threads, and tasks that run in it side by side.

`concurrent.futures` is not used: it joins its threads at exit, so that a stuck source would hold up the interpreter
for ever.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial

from lazypyr._util.blocking import set_relief, waiting_long

__all__ = ["DaemonThreadPool", "cpu_count", "run_tasks"]

# Beyond the size of a pool, while others wait for bytes from afar.
_MOST_THREADS = 64
_SOON_S = 0.05


class DaemonThreadPool:
    """At most `size` daemon threads, started when first needed, taking calls in the order of their coming.

    `grows`: others are started while some wait for bytes from afar.
    """

    def __init__(self, size: int, name: str, *, grows: bool = True) -> None:
        self.size = size
        self._state = _PoolState(size, name, _MOST_THREADS if grows else 0)
        # The threads know the state only: a pool that nobody has any more lets them end.
        weakref.finalize(self, _dismiss, self._state)

    def submit(self, call: Callable[[], None]) -> None:
        """Have `call` run in one of the threads; it must not raise."""
        state = self._state
        with state.lock:
            state.calls.put(call)
            state.undone += 1
            state.start_threads()

    @property
    def n_done(self) -> int:
        """Number of calls and tasks that have ended."""
        return self._state.n_done

    def count_task(self) -> None:
        """Count a task that has ended. No lock: of threads that race one may lose its count."""
        self._state.n_done += 1

    def close(self) -> None:
        """Let the threads end when what was handed in has been done."""
        _dismiss(self._state)


class _PoolState:
    def __init__(self, size: int, name: str, more: int) -> None:
        self.size, self.name, self.more = size, name, more
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.threads = 0
        # Threads that wait for bytes from afar: as many others may work.
        self.waiting = 0
        # Calls that wait or run. A thread that has just taken one is not free for the next, which may be what it waits for.
        self.undone = 0
        self.n_done = 0

    def start_threads(self) -> None:
        """Start a thread if there is work for it; with the lock held."""
        if self.threads < min(self.undone, self.size + min(self.waiting, self.more)):
            self.threads += 1
            name = f"lazypyr-{self.name}-{self.threads}"
            threading.Thread(target=_serve, args=(self,), name=name, daemon=True).start()

    def relieve(self, change: int) -> None:
        """One of the threads begins to wait for bytes (1), or has them (-1)."""
        with self.lock:
            self.waiting += change
            if change > 0:
                self.start_threads()

    def is_crowded(self) -> bool:
        """True where a thread more than the size works, so that one that has ended its call can go."""
        return self.threads - self.waiting > self.size


def _serve(state: _PoolState) -> None:
    set_relief(state.relieve)
    while (call := state.calls.get()) is not None:
        call()
        del call  # so that an idle thread holds no chunk
        with state.lock:
            state.undone -= 1
            state.n_done += 1
            if state.is_crowded():
                break
    with state.lock:
        state.threads -= 1


def _dismiss(state: _PoolState) -> None:
    # No lock: a finalizer may run in a thread that holds it. SimpleQueue is made for that.
    for _ in range(state.threads):
        state.calls.put(None)


def run_tasks(pool: DaemonThreadPool, tasks: Iterable[Callable[[], None]]) -> None:
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
                pool.count_task()
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
        # It has begun: wait for its last task, which perhaps waits for bytes from afar.
        if not open_.acquire(blocking=False) and not done.acquire(timeout=_SOON_S):
            with waiting_long():
                done.acquire()
    _raise_first(failed)


def _raise_first(failed: list[BaseException]) -> None:
    if failed:
        raise failed[0]


def cpu_count() -> int:
    """Number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
