"""Surroundings of a computation, as a pyramid sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.sources.far.ahead import reading_ahead

if TYPE_CHECKING:
    from lazypyr.pyramids.base import Pyramid

__all__ = ["SERIAL", "ComputeContext", "SerialContext"]

Array = np.ndarray[Any, Any]


class ComputeContext(Protocol):
    """Surroundings that a pyramid computes in: cached chunks of it and of others, threads, bounds on memory."""

    @property
    def cache_budget_bytes(self) -> int:
        """Bytes of chunks that may be put into the cache on the way; 0: nothing is kept."""

    @property
    def task_bytes(self) -> int:
        """Bytes that one task may hold."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at once."""

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        """Pixels of another pyramid, cached by chunk; read-only."""

    def get_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> Array | None:
        """The finished chunk (full-size chunk) if it is cached, without computing it."""

    def put_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        """Hand in a chunk (clipped to the level) that came out on the way; kept if there is room."""

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks, which wait for nothing, on all cores; returns when all are done, raises the first error."""


class SerialContext:
    """Context that computes here and now, in this thread, and keeps nothing; a task may hold `task_bytes`."""

    cache_budget_bytes = 0
    workers = 1

    def __init__(self, task_bytes: int = 64 * 2**20) -> None:
        self.task_bytes = task_bytes

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        with reading_ahead(pyramid.stored_chunks(level, window, self) if pyramid.is_far else iter(())):
            return pyramid.compute(level, window, self)

    def get_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> Array | None:
        return None

    def put_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        pass

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        for task in tasks:
            task()


SERIAL: ComputeContext = SerialContext()
