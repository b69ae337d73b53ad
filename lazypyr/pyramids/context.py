"""Contexts that pyramids compute in, apart from the engine and the serial one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Pyramid, SerialContext

__all__ = ["LevelFilterContext", "RecordingContext"]

Array = np.ndarray[Any, Any]


class RecordingContext(SerialContext):
    """Context that hands out zeros, and records what was asked for.

    Attributes
    ----------
    requests : list of (Pyramid, int, Window)
        Windows of other pyramids, in the order in which they were read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[Pyramid, int, Window]] = []

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        self.requests.append((pyramid, level, window))
        return np.zeros(windows.window_shape(window), pyramid.dtype)


class LevelFilterContext:
    """Another context, but of one pyramid only levels from `finest` on are kept on the way."""

    def __init__(self, context: ComputeContext, pyramid: Pyramid, finest: int) -> None:
        self.cache_budget_bytes, self.task_bytes = context.cache_budget_bytes, context.task_bytes
        self.workers, self.read = context.workers, context.read
        self.get_cached, self.run_tasks = context.get_cached, context.run_tasks
        self._put_cached, self._pyramid, self._finest = context.put_cached, pyramid, finest

    def put_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        if pyramid is not self._pyramid or level >= self._finest:
            self._put_cached(pyramid, level, index, chunk)
