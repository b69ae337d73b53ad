"""Who paints: the last view asked for, in a thread of its own, and something at once meanwhile.

HoloViews calls back in the thread that serves the browser. A picture that takes longer than a blink must not be computed
there: events would queue behind it, each with its own picture to compute, none of them wanted any more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from lazypyr.errors import LazypyrError
from lazypyr.plot.viewport import RenderCancelled

__all__ = ["LatestOnlyWorker", "ViewRenderer", "session_later"]

_log = logging.getLogger("lazypyr.plot")

# Seconds that a browser's event may wait for its picture: less than one sees, more than a cached picture takes.
BLOCKING_TIMEOUT_S = 0.08
# Seconds that a new view leaves to one that nobody wants any more for noticing it. Between two tiles that takes
# milliseconds, but one coarse tile of a very large source may be minutes of reading.
_GRACE_S = 0.25
_MAX_AT_ONCE = 3

Stale = Callable[[], bool]
_Job = tuple[Any, Future[Any]]


class LatestOnlyWorker:
    """Computes what was asked for last; what was asked before is dropped, also half-way.

    What doesn't notice that it was dropped is left to end by itself, beside what is wanted now: two of them at most.

    Parameters
    ----------
    compute : callable
        ``compute(request, stale)``; raises `RenderCancelled` when it sees ``stale()`` true.
    """

    def __init__(self, compute: Callable[[Any, Stale], Any]) -> None:
        self._compute = compute
        self._condition = threading.Condition()
        self._requested: _Job | None = None
        self._running: list[_Job] = []
        self._last: Future[Any] | None = None
        self._next_waits = False

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return bool(self._running) or self._requested is not None

    def ask(self, request: Any) -> Future[Any]:
        """The future of a request; equal requests share it. It fails with `RenderCancelled` when another one comes after it."""
        with self._condition:
            known = [job for job in (*self._running, self._requested) if job is not None and job[0] == request]
            dropped = self._requested
            if known:
                if known[0] is dropped:
                    return dropped[1]
                self._requested, self._last = None, known[0][1]
            else:
                self._last = Future[Any]()
                self._requested = request, self._last
            future = self._last
            start = self._requested is not None and not self._next_waits
            self._next_waits = self._next_waits or start
            self._condition.notify_all()
        if dropped is not None:
            dropped[1].set_exception(RenderCancelled())
        if start:
            # A thread as long as there is something to do: nothing to close, nothing to re-make after a fork.
            threading.Thread(target=self._work, name="lazypyr-plot", daemon=True).start()
        return future

    def _work(self) -> None:
        job = self._take(wait_first=True)
        while job is not None:
            self._do(job)
            job = self._take(wait_first=False)

    def _do(self, job: _Job) -> None:
        request, future = job
        result, error = None, None
        try:
            result = self._compute(request, lambda: self._last is not future)
        except BaseException as failure:
            error = failure
        with self._condition:
            self._running.remove(job)
            if self._last is not future:
                error = RenderCancelled()
            self._condition.notify_all()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _take(self, *, wait_first: bool) -> _Job | None:
        """What to compute now; None if there is nothing, or somebody else is going to do it."""
        with self._condition:
            if wait_first:
                self._condition.wait_for(lambda: not self._running or self._requested is None, _GRACE_S)
                self._condition.wait_for(lambda: len(self._running) < _MAX_AT_ONCE or self._requested is None)
                self._next_waits = False
            job, self._requested = self._requested, None
            if job is not None:
                self._running.append(job)
            return job


def session_later() -> Callable[[Callable[[], None]], None] | None:
    """How a thread hands work to the browser session that is being served here; None outside a Bokeh server."""
    from panel.io.state import state  # HoloViews tells Panel whose event it is working on, and not always Bokeh

    doc = state.curdoc
    if doc is None or doc.session_context is None:
        return None

    def later(call: Callable[[], None]) -> None:
        try:
            doc.add_next_tick_callback(call)
        except RuntimeError:  # the session has ended, and its loop with it
            return

    return later


class ViewRenderer:
    """The picture for each request: now if it is quick, else what is there, and the picture as soon as it is ready.

    Parameters
    ----------
    compute : callable
        ``compute(request, stale)``, the picture itself.
    stopgap : callable
        ``stopgap(request)``: a picture that costs nothing (of a coarser level that is cached), or None.
    refresh : callable
        Makes HoloViews ask again; called in the browser's session.
    later : callable
        As `session_later`, which says whether anybody can be told later.
    """

    def __init__(
        self,
        compute: Callable[[Any, Stale], Any],
        preview: Callable[[Any], Any],
        refresh: Callable[[], None],
        *,
        later: Callable[[], Callable[[Callable[[], None]], None] | None] = session_later,
        blocking_timeout_s: float = BLOCKING_TIMEOUT_S,
    ) -> None:
        self._compute, self._preview, self._refresh = compute, preview, refresh
        self._later, self._blocking_timeout_s = later, blocking_timeout_s
        self._latest = LatestOnlyWorker(compute)
        self._done: tuple[Any, Any] | None = None
        self._failed: tuple[Any, Exception] | None = None
        self._shown: Any = None

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._latest.busy

    @property
    def failure(self) -> Exception | None:
        """Why the picture asked for last isn't there, if it failed in the background."""
        return None if self._failed is None else self._failed[1]

    def render(self, request: Any) -> Any:
        """The picture to show now; None if there is none yet.

        A failure is raised where nobody can be told later. In a session it is logged and stays as `failure`, beside the
        picture that is there, until another one is asked for.

        Raises
        ------
        SourceError, ComputeError
            What failed.
        """
        if self._done is not None and self._done[0] == request:
            self._failed, self._shown = None, self._done[1]
            return self._shown
        later = self._later()
        if later is None:
            return self._keep(request, self._compute(request, bool))
        if self._failed is not None and self._failed[0] == request:
            return self._shown
        self._failed = None
        # Whoever found the painter busy doesn't wait: a burst of events would, each of them.
        blocking_timeout_s = 0.0 if self.busy else self._blocking_timeout_s
        future = self._latest.ask(request)
        if wait([future], blocking_timeout_s).done:
            error = future.exception()
            if error is None:
                return self._keep(request, future.result())
            self._fail(request, error)
        else:
            future.add_done_callback(lambda done: self._ready(request, done, later))
        meanwhile = self._preview(request)
        self._shown = self._shown if meanwhile is None else meanwhile
        return self._shown

    def _keep(self, request: Any, picture: Any) -> Any:
        self._done, self._shown = (request, picture), picture
        return picture

    def _ready(self, request: Any, done: Future[Any], later: Callable[[Callable[[], None]], None]) -> None:
        error = done.exception()
        if error is None:
            self._done = (request, done.result())
        elif not self._fail(request, error):
            return
        later(self._refresh)

    def _fail(self, request: Any, error: BaseException) -> bool:
        """Note why there is no picture; False if it is only that nobody wants it any more."""
        if isinstance(error, RenderCancelled):
            return False
        if not isinstance(error, Exception):
            raise error
        _log.error("%s", error, exc_info=None if isinstance(error, LazypyrError) else error)
        self._failed = request, error
        return True
