"""World coordinates as arrays beside the levels, where each level has a group of its own: xarray finds them there."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid
from lazypyr.pyramids.explanation import Explanation

__all__ = ["Coordinates", "arrays_of"]

_CHUNK = 4096
# Readers load the coordinates of an axis whole.
_MAX_PIXELS = 2**24


class Coordinates(Pyramid):
    """World coordinates of the pixels along one axis: float64, in the axis's unit, position every level.

    Parameters
    ----------
    parent : Pyramid
    axis : str
        One of those that `parent.coords` knows.
    """

    def __init__(self, parent: Pyramid, axis: str) -> None:
        self._parent, self._coord = parent, parent.coords[axis]
        position = parent.axes.index(axis)
        self.name, self.axes, self.downsampling = f"{parent.name}, {axis}", (axis,), parent.downsampling
        self.dtype, self.chunks, self.fill_value = np.dtype("<f8"), (_CHUNK,), np.float64("nan")
        self.levels = tuple(
            Level((n.shape[position],), (n.scale[position],), (n.translation[position],)) for n in parent.levels
        )
        self.attrs = {} if self._coord.unit is None else {"units": self._coord.unit}

    def compute(self, level: int, window: Window, context: ComputeContext) -> np.ndarray[Any, Any]:
        ((start, stop),), size = window, self.levels[level]
        pixels = np.arange(start, stop, dtype=np.float64) * size.scale[0] + size.translation[0]
        return self._coord.origin + pixels * self._coord.step

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return Explanation(what, f"{self.description}, from origin and step")

    @property
    def fingerprint(self) -> str:
        return f"{self._parent.fingerprint}, {self.axes[0]}"

    @property
    def identity(self) -> Hashable:
        return "coordinates", self.axes, self._coord, self.levels

    @property
    def description(self) -> str:
        return f"coordinates along {self.axes[0]}"


def arrays_of(pyramid: Pyramid, layout: str) -> Mapping[str, Pyramid]:
    """All arrays that are served of a pyramid, by path with "{level}" for the level's number; the pixels come first."""
    folder, _, name = layout.rpartition("/")
    arrays: dict[str, Pyramid] = {layout: pyramid}
    if "{level}" in folder and "{level}" not in name:
        for axis, n in zip(pyramid.axes, pyramid.shape, strict=True):
            if axis in pyramid.coords and axis != name and n <= _MAX_PIXELS:
                arrays[f"{folder}/{axis}"] = Coordinates(pyramid, axis)
    return {**arrays, **pyramid.companion_arrays}
