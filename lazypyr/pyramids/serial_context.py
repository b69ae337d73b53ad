"""The context of computations without an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.sources.far.ahead import reading_ahead

__all__ = ["SerialContext"]

Array = np.ndarray[Any, Any]


class SerialContext:
    """Context that computes here and now, in this thread, and keeps nothing; a task may hold `task_bytes`."""

    cache_budget_bytes = 0
    workers = 1

    def __init__(self, task_bytes: int = 64 * 2**20) -> None:
        self.task_bytes = task_bytes

    def read(self, pyramid: Any, level: int, window: Window) -> Array:
        with reading_ahead(pyramid.stored_chunks(level, window, self) if pyramid.is_far else iter(())):
            pixels: Array = pyramid.compute(level, window, self)
        return pixels

    def get_cached(self, pyramid: Any, level: int, index: tuple[int, ...]) -> Array | None:
        return None

    def put_cached(self, pyramid: Any, level: int, index: tuple[int, ...], chunk: Array) -> None:
        pass

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        for task in tasks:
            task()
