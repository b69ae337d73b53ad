"""Threads of a pool that wait for something outside: the pool may start another one meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

__all__ = ["set_relief", "waiting_long"]


class _Thread(threading.local):
    relief: Callable[[int], None] | None = None


_thread = _Thread()


def set_relief(relief: Callable[[int], None]) -> None:
    """Set what this thread's pool is told by: 1 as a wait begins, -1 at its end."""
    _thread.relief = relief


@contextlib.contextmanager
def waiting_long() -> Iterator[None]:
    """Context of a wait that needs no processor and may last."""
    relief = _thread.relief
    if relief is None:
        yield
        return
    relief(1)
    try:
        yield
    finally:
        relief(-1)
