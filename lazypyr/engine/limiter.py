"""Limit on the bytes that computations hold together."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable

from lazypyr.errors import BusyError

__all__ = ["MemoryLimiter"]

# Work that waits for memory looks this often for having become urgent.
_LOOK_EVERY_S = 0.05


class MemoryLimiter:
    """Limit on estimated bytes in use: work that doesn't fit waits its turn; work larger than the limit runs alone.

    Parameters
    ----------
    max_bytes : int
    timeout_s : float
        Seconds that work waits before `BusyError`.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self.max_bytes, self.timeout_s = max_bytes, timeout_s
        self._used = 0
        self._changed = threading.Condition()
        self._queue: collections.deque[object] = collections.deque()

    @property
    def used_bytes(self) -> int:
        """Bytes that are reserved at present."""
        return self._used

    def acquire(self, n_bytes: int, most: int | None = None, *, urgent: Callable[[], bool] = lambda: False) -> None:
        """Reserve `n_bytes`, first come, first served; work that is or becomes urgent doesn't wait.

        `most` bounds what is in use together with it, by default all that the limit allows.

        Raises
        ------
        BusyError
            When there was no room for `timeout_s` seconds.
        """
        with self._changed:
            if self._queue or not self._fits(n_bytes, most):
                self._wait(n_bytes, most, urgent)
            self._used += n_bytes

    def release(self, n_bytes: int) -> None:
        """Return what `acquire` reserved."""
        with self._changed:
            self._used -= n_bytes
            if self._queue:
                self._changed.notify_all()

    def _wait(self, n_bytes: int, most: int | None, urgent: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.timeout_s
        ticket = object()
        self._queue.append(ticket)
        try:
            while not (self._queue[0] is ticket and self._fits(n_bytes, most)) and not urgent():
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

    def _fits(self, n_bytes: int, most: int | None) -> bool:
        return not self._used or self._used + n_bytes <= (self.max_bytes if most is None else most)
