"""Who paints: the last view asked for, in a thread of its own, and something at once meanwhile.

HoloViews calls back in the thread that serves the browser. A picture that takes longer than a blink must not be computed
there: events would queue behind it, each with its own picture to compute, none of them wanted any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from lazypyr.plot.screen import Dropped

__all__ = ["Latest", "Painter", "session_later"]

# Seconds that a browser's event may wait for its picture: less than one sees, more than a cached picture takes.
PATIENCE_S = 0.08

Stale = Callable[[], bool]


class Latest:
    """Computes what was asked for last, one at a time; what was asked before is dropped, also half-way.

    Parameters
    ----------
    compute : callable
        ``compute(request, stale)``; raises `Dropped` when it sees ``stale()`` true.
    """

    def __init__(self, compute: Callable[[Any, Stale], Any]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._wanted: tuple[Any, Future[Any]] | None = None
        self._running: tuple[Any, Future[Any]] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._running is not None

    def ask(self, request: Any) -> Future[Any]:
        """The future of a request; equal requests share it. It fails with `Dropped` when another one comes after it."""
        with self._lock:
            latest = self._wanted or self._running
            if latest is not None and latest[0] == request:
                return latest[1]
            dropped, future = self._wanted, Future[Any]()
            self._wanted = (request, future)
            start = self._running is None
            if start:
                self._running, self._wanted = self._wanted, None
        if dropped is not None:
            dropped[1].set_exception(Dropped())
        if start:
            # A thread as long as there is something to do: nothing to close, nothing to re-make after a fork.
            threading.Thread(target=self._work, name="lazypyr-plot", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._running is None:
                    self._running, self._wanted = self._wanted, None
                if self._running is None:
                    return
                request, future = self._running
            try:
                result, error = self._compute(request, lambda: self._wanted is not None), None
            except BaseException as failure:
                result, error = None, failure
            with self._lock:
                self._running, self._wanted = self._wanted, None
                more = self._running is not None
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            if not more:
                return


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


class Painter:
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
        stopgap: Callable[[Any], Any],
        refresh: Callable[[], None],
        *,
        later: Callable[[], Callable[[Callable[[], None]], None] | None] = session_later,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._compute, self._stopgap, self._refresh = compute, stopgap, refresh
        self._later, self._patience_s = later, patience_s
        self._latest = Latest(compute)
        self._done: tuple[Any, Any] | None = None
        self._shown: Any = None

    @property
    def busy(self) -> bool:
        """Whether something is being computed."""
        return self._latest.busy

    def paint(self, request: Any) -> Any:
        """The picture to show now; None if there is none yet.

        Raises
        ------
        SourceError, ComputeError
            What failed, at the request that it failed for.
        """
        if self._done is not None and self._done[0] == request:
            self._shown = self._done[1]
            return self._shown
        later = self._later()
        if later is None:
            return self._keep(request, self._compute(request, bool))
        # Whoever found the painter busy doesn't wait: a burst of events would, each of them.
        patience_s = 0.0 if self.busy else self._patience_s
        future = self._latest.ask(request)
        if wait([future], patience_s).done:
            try:
                return self._keep(request, future.result())
            except Dropped:
                pass
        else:
            future.add_done_callback(lambda done: self._ready(request, done, later))
        meanwhile = self._stopgap(request)
        self._shown = self._shown if meanwhile is None else meanwhile
        return self._shown

    def _keep(self, request: Any, picture: Any) -> Any:
        self._done, self._shown = (request, picture), picture
        return picture

    def _ready(self, request: Any, done: Future[Any], later: Callable[[Callable[[], None]], None]) -> None:
        error = done.exception()
        if isinstance(error, Dropped):
            return
        if error is None:
            self._done = (request, done.result())
            later(self._refresh)
            return

        def fail() -> None:
            raise error

        later(fail)  # Bokeh logs what a session's callback raises
