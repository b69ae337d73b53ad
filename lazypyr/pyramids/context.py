"""Contexts that pyramids compute in, apart from the engine and the serial one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import DIRECT, Pyramid

__all__ = ["RecordingContext"]


class RecordingContext:
    """Context that hands out zeros, and records what was asked for.

    Attributes
    ----------
    requests : list of (Pyramid, int, Window)
        Windows of other pyramids, in the order in which they were read.
    """

    room_bytes, block_bytes, workers = 0, DIRECT.block_bytes, 1

    def __init__(self) -> None:
        self.requests: list[tuple[Pyramid, int, Window]] = []

    def read(self, pyramid: Pyramid, level: int, window: Window) -> np.ndarray[Any, Any]:
        self.requests.append((pyramid, level, window))
        return np.zeros(windows.window_shape(window), pyramid.dtype)

    peek, offer, parallel = DIRECT.peek, DIRECT.offer, DIRECT.parallel
