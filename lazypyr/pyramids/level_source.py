"""One level of a pyramid as a source, for pyramids and products made of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source, placed_as
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["LevelSource"]


class LevelSource(Source):
    """Level of a pyramid as a source; each read computes it, in the reading thread.

    Parameters
    ----------
    pyramid : Pyramid
        Pyramid whose level it is.
    level : int, default 0
        Number of the level, 0 the finest. Level 0 has the pyramid's name and fingerprint.

    See Also
    --------
    lazypyr.product.dequantize : Product of two pyramids, or of two sources.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> source = lazypyr.product.LevelSource(lazypyr.open_pyramid(np.arange(16.0).reshape(4, 4)))
    >>> source.read(((0, 2), (0, 4)))
    array([[0., 1., 2., 3.],
           [4., 5., 6., 7.]])
    """

    def __init__(self, pyramid: Pyramid, level: int = 0) -> None:
        self._pyramid, self._level = pyramid, level
        at = pyramid.levels[level]
        self.name = f"{pyramid.name}, level {level}" if level else pyramid.name
        self.dtype, self.axes, self.fill_value = pyramid.dtype, pyramid.axes, pyramid.fill_value
        self.shape, self.chunks = at.shape, pyramid.chunks
        # Limits of the values may be others after a product that is made of it.
        self.metadata = pyramid.metadata.at(pyramid.axes, at).replaced(display=None)

    def read(self, window: Window, step: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
        block = SERIAL.read(self._pyramid, self._level, window)
        return block if step is None else block[tuple(slice(None, None, s) for s in step)]

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        return self._pyramid.stored_chunks(self._level, window, SERIAL)

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._pyramid.sources

    def decoded_bytes(self, n_channels: int) -> int:
        return self._pyramid.decoded_bytes(n_channels)

    @property
    def fingerprint(self) -> str:
        return f"{self._pyramid.fingerprint}:{self._level}" if self._level else self._pyramid.fingerprint

    @property
    def identity(self) -> Hashable:
        return "level", self._level, self._pyramid.identity

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        bounds = {} if self.given_bounds is None else {"bounds": [float(b) for b in self.given_bounds]}
        return {"source": self._pyramid.recipe_arguments(place), "level": self._level, **bounds}

    def refreshed(self) -> Source:
        pyramid = self._pyramid.refreshed()
        return self if pyramid is self._pyramid else placed_as(LevelSource(pyramid, self._level), self)
