"""Limit on the bytes that computations hold together."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lazypyr.errors import BusyError

__all__ = ["MemoryLimiter"]

# Work that waits for memory looks this often for having become urgent.
_LOOK_EVERY_S = 0.05


@dataclass(eq=False, frozen=True)
class _Ticket:
    """Work that waits for memory."""

    n_bytes: int
    most: int
    slow: bool


class MemoryLimiter:
    """Limit on estimated bytes in use: work that doesn't fit waits its turn; work larger than the limit runs alone.

    Of work in the slow lane all together holds half of it at most, or one does, so that other work finds room.

    Parameters
    ----------
    max_bytes : int
    timeout_s : float
        Seconds that work waits before `BusyError`.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self.max_bytes, self.timeout_s = max_bytes, timeout_s
        self._used = self._slow = 0
        self._changed = threading.Condition()
        self._queue: collections.deque[_Ticket] = collections.deque()

    @property
    def used_bytes(self) -> int:
        """Bytes that are reserved at present."""
        return self._used

    def acquire(
        self,
        n_bytes: int,
        most: int | None = None,
        *,
        urgent: Callable[[], bool] = lambda: False,
        slow: bool = False,
    ) -> None:
        """Reserve `n_bytes`, first come, first served; work that is or becomes urgent doesn't wait.

        `most` bounds what is in use together with it, by default all that the limit allows.

        Raises
        ------
        BusyError
            When there was no room for `timeout_s` seconds.
        """
        with self._changed:
            ticket = _Ticket(n_bytes, self.max_bytes if most is None else most, slow)
            if self._queue or not self._fits(ticket) or not self._has_share(ticket):
                self._wait(ticket, urgent)
            self._used += n_bytes
            self._slow += n_bytes if slow else 0

    def release(self, n_bytes: int, *, slow: bool = False) -> None:
        """Return what `acquire` reserved."""
        with self._changed:
            self._used -= n_bytes
            self._slow -= n_bytes if slow else 0
            if self._queue:
                self._changed.notify_all()

    def _wait(self, ticket: _Ticket, urgent: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.timeout_s
        self._queue.append(ticket)
        try:
            while not (self._next() is ticket and self._fits(ticket)) and not urgent():
                left = deadline - time.monotonic()
                self._changed.wait(min(left, _LOOK_EVERY_S))
                if left <= 0:
                    msg = (
                        f"no room for {ticket.n_bytes} bytes of work within {self.timeout_s} s: {self._used} of "
                        f"{self.max_bytes} bytes are in use; try again, or raise inflight_bytes"
                    )
                    raise BusyError(msg)
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

    def _next(self) -> _Ticket | None:
        """The first one that waits; those for which only their lane has no room are passed by."""
        return next(filter(self._has_share, self._queue), None)

    def _has_share(self, ticket: _Ticket) -> bool:
        return not ticket.slow or not self._slow or self._slow + ticket.n_bytes <= ticket.most // 2

    def _fits(self, ticket: _Ticket) -> bool:
        return not self._used or self._used + ticket.n_bytes <= ticket.most
