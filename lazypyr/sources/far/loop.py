"""The event loop of this process that fetches stored bytes, in a thread of its own; a forked child has one of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from lazypyr._util.forksafe import remake_after_fork

__all__ = ["LOCK", "FetchLoop", "fetch_loop"]

T = TypeVar("T")


class FetchLoop:
    """An event loop in a daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        remake_after_fork(self._start)

    def _start(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="lazypyr-fetch", daemon=True).start()
            return self._loop

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called on the loop, soon."""
        self.loop.call_soon_threadsafe(function, *args)

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Future of a coroutine that the loop runs."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)


class _Lock:
    """A lock that a forked child has anew, since whoever holds it in the parent isn't there."""

    def __init__(self) -> None:
        remake_after_fork(self._start)

    def _start(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


fetch_loop = FetchLoop()
# Guards all flights and all that read ahead: they hold each other, across arrays, and do little while they hold it.
LOCK = _Lock()
