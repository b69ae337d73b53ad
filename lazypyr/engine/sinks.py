"""Stores of computed chunks beyond this process."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from lazypyr.pyramids.base import Pyramid

__all__ = ["ChunkSink"]

Array = np.ndarray[Any, Any]


class ChunkSink(Protocol):
    """Store of computed chunks beyond this process, such as `lazypyr.store.overlay.overlay.OverlayChunks`, for pyramids that it knows."""

    def get(self, pyramid: Pyramid, level: int, index: tuple[int, ...], *, quick: bool = False) -> Array | None:
        """The full-size chunk, None if it isn't here; `quick`: look only where that costs next to nothing."""

    def put(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        """Keep a full-size chunk, if that is wanted; never an error."""
