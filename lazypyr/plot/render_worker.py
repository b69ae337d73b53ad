"""Background rendering of the latest view, with a preview until its picture is ready.

HoloViews calls back in the thread that serves the browser. A picture that takes longer than 0.1 s must not be computed
in that thread: events would queue behind it, and each would ask for a picture of a view that has changed since.
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

# Seconds that a browser's event may wait for its picture: not noticeable, and longer than a cached picture takes.
BLOCKING_TIMEOUT_S = 0.08
# Seconds that a new view waits for a cancelled one to stop. Between two tiles that takes milliseconds, but one coarse
# tile of a very large source may be minutes of reading.
_GRACE_S = 0.25
_MAX_AT_ONCE = 3

Stale = Callable[[], bool]
_Job = tuple[Any, Future[Any]]


class LatestOnlyWorker:
    """Worker that computes only the latest request; earlier ones are cancelled, also half-way.

    A computation that doesn't notice its cancellation runs to its end beside the latest one: two of them at most.

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
        """True while something is being computed."""
        return bool(self._running) or self._requested is not None

    def ask(self, request: Any) -> Future[Any]:
        """Future of a request; equal requests share it. A later request makes it fail with `RenderCancelled`."""
        with self._condition:
            same = [job for job in (*self._running, self._requested) if job is not None and job[0] == request]
            dropped = self._requested
            if same:
                if same[0] is dropped:
                    return dropped[1]
                self._requested, self._last = None, same[0][1]
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
            # The thread ends when there is no request: nothing has to be closed, or made again after a fork.
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
        """The next job; None without one, or if another thread is going to do it."""
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
    """Function that schedules a call in the browser session of the present event; None outside a Bokeh server."""
    from panel.io.state import state  # HoloViews sets Panel's current document, and not always Bokeh's

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
    """Renderer that returns the picture of a request if it is quick, else a preview, and refreshes the plot when it is ready.

    Parameters
    ----------
    compute : callable
        ``compute(request, stale)``, the picture itself.
    stopgap : callable
        ``preview(request)``: a picture that needs no computation (a cached coarser level), or None.
    refresh : callable
        Called in the browser's session when another picture is ready.
    later : callable
        As `session_later`; gives None where pictures can't be updated later.
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
        """True while something is being computed."""
        return self._latest.busy

    @property
    def failure(self) -> Exception | None:
        """Error of the latest request, if it failed in the background."""
        return None if self._failed is None else self._failed[1]

    def render(self, request: Any) -> Any:
        """Picture to show now; None if there is none yet.

        Outside a session an error is raised. In a session it is logged and kept as `failure`, the previous picture stays,
        and the next request clears it.

        Raises
        ------
        SourceError, ComputeError
            When the picture can't be computed.
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
        # No waiting for a busy renderer: each event of a burst would wait.
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
        """Record and log an error; False of a cancelled request, which isn't one."""
        if isinstance(error, RenderCancelled):
            return False
        if not isinstance(error, Exception):
            raise error
        _log.error("%s", error, exc_info=None if isinstance(error, LazypyrError) else error)
        self._failed = request, error
        return True
