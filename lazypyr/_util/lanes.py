"""Lanes of requests: one that reads much of its sources waits in a queue of its own, so that no other waits for it.

A computation finds out which lane it belongs in once its plan is known, before anything is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from lazypyr.errors import ComputeError

__all__ = ["SLOW_BYTES", "Abandoned", "Deferred", "SlowRun", "count_read", "in_fast_lane", "in_lane", "slow_run"]

SLOW_BYTES = 256 * 2**20
"""A request that reads more of its sources than this runs in the slow lane."""


class Deferred(BaseException):
    """The work belongs in the slow lane. It is no error, and no function that is called on the way may take it for one."""


class Abandoned(ComputeError):
    """Nobody waits any more for what is computed. Who has come meanwhile asks again."""


@dataclass
class SlowRun:
    """Work in the slow lane: its name, how much of its sources it will read at most, and how much it has read, in bytes.

    `share`: as many may run beside it.
    """

    name: str
    share: int
    total_bytes: int = 0
    read_bytes: int = 0


# None in threads that are no lane's: those of users.
_lane: ContextVar[SlowRun | bool | None] = ContextVar("lazypyr_lane", default=None)


def in_fast_lane() -> bool:
    """True in a thread, or on behalf of one, that others wait for."""
    return _lane.get() is True


def slow_run() -> SlowRun | None:
    """Run of the slow lane that this thread works for, None elsewhere."""
    lane = _lane.get()
    return lane if isinstance(lane, SlowRun) else None


@contextlib.contextmanager
def in_lane(run: SlowRun | None) -> Iterator[None]:
    """Context of work in the slow lane, or, without a `run`, in the fast one."""
    token = _lane.set(True if run is None else run)
    try:
        yield
    finally:
        _lane.reset(token)


def count_read(n_bytes: int) -> None:
    """Count bytes that were read of a source. No lock: of threads that race one may lose its count."""
    lane = _lane.get()
    if isinstance(lane, SlowRun):
        lane.read_bytes += n_bytes
