"""Level of a pyramid as a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.geometry.grid import Coord
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source

__all__ = ["LevelSource"]

Array = np.ndarray[Any, Any]


class LevelSource(Source):
    """A level of a pyramid as a source."""

    def __init__(self, pyramid: Pyramid, level: int = 0) -> None:
        self._pyramid, self._level = pyramid, level
        own_level = pyramid.levels[level]
        self.name, self.dtype, self.axes = f"{pyramid.name}, level {level}", pyramid.dtype, pyramid.axes
        self.shape, self.chunks, self.attrs, self.crs = own_level.shape, pyramid.chunks, pyramid.attrs, pyramid.crs
        self.nodata, self.fill_value = pyramid.nodata, pyramid.fill_value
        self.coords = {
            axis: Coord(coord.at(shift), coord.step * scale, coord.unit)
            for axis, scale, shift in zip(pyramid.axes, own_level.scale, own_level.translation, strict=True)
            if (coord := pyramid.coords.get(axis)) is not None
        }

    def read(self, window: windows.Window, step: Sequence[int] | None = None) -> Array:
        block = SERIAL.read(self._pyramid, self._level, window)
        return block[tuple(slice(None, None, s) for s in step)] if step else block

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._pyramid.sources

    @property
    def fingerprint(self) -> str:
        return f"{self._pyramid.fingerprint}:{self._level}"

    @property
    def identity(self) -> Any:
        return self._pyramid.identity, self._level

    def refreshed(self) -> Source:
        return LevelSource(self._pyramid.refreshed(), self._level)
