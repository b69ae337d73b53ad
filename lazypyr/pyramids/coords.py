"""World coordinates as arrays beside the levels, where xarray and GDAL find them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.metadata.beside import variables_beside
from lazypyr.metadata.variables import CoordArray
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid
from lazypyr.pyramids.explanation import Explanation

__all__ = ["Coordinates", "arrays_of"]

_CHUNK = 4096
# Readers load the coordinates of an axis whole.
_MAX_PIXELS = 2**24
# Attributes of a coordinate variable that name others, or are written anew.
_LEFT_OUT = frozenset({"_ARRAY_DIMENSIONS", "_FillValue", "climatology", "coordinates", "grid_mapping"})


class Coordinates(Pyramid):
    """World coordinates of the pixels along one axis, position every level.

    Values are as the source has them, of its dtype; float64 where only origin and step are known, and between integers.

    Parameters
    ----------
    parent : Pyramid
    axis : str
        One whose coordinates `parent.metadata` knows.
    n_levels : int
        How many levels of the parent.
    """

    # Zero is a date, and the first column: nothing stands for what isn't there.
    has_fill_value = False

    def __init__(self, parent: Pyramid, axis: str, n_levels: int) -> None:
        coordinate = parent.metadata.along.get(axis)
        assert coordinate is not None, "that is what arrays_of looks at"
        self._parent, self._coord = parent, coordinate
        position = parent.axes.index(axis)
        self.name, self.axes, self.downsampling = f"{parent.name}, {axis}", (axis,), parent.downsampling
        self.levels = tuple(
            Level((n.shape[position],), (n.scale[position],), (n.translation[position],))
            for n in parent.levels[:n_levels]
        )
        self.chunks, self.dtype, self.attrs = (_CHUNK,), np.dtype("<f8"), {}
        if isinstance(coordinate, CoordArray):
            left_out = (
                _LEFT_OUT if coordinate.attrs.get("bounds") in variables_beside(parent, 0) else {*_LEFT_OUT, "bounds"}
            )
            self.attrs = {key: value for key, value in coordinate.attrs.items() if key not in left_out}
            self._arrays = tuple(coordinate.at(n.shape[0], n.scale[0], n.translation[0]) for n in self.levels)
            self.dtype = np.result_type(*(array.dtype for array in self._arrays)).newbyteorder("<")
        elif coordinate.unit is not None:
            self.attrs = {"units": coordinate.unit}
        self.fill_value = np.asarray("nan" if self.dtype.kind == "f" else 0).astype(self.dtype)[()]

    def compute(self, level: int, window: Window, context: ComputeContext) -> np.ndarray[Any, Any]:
        ((start, stop),), size = window, self.levels[level]
        if isinstance(self._coord, CoordArray):
            return self._arrays[level].values[start:stop].astype(self.dtype)
        pixels = np.arange(start, stop, dtype=np.float64) * size.scale[0] + size.translation[0]
        return self._coord.origin + pixels * self._coord.step

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        of = "the source's own" if isinstance(self._coord, CoordArray) else "origin and step"
        return Explanation(what, f"{self.description}, from {of}")

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
    """All arrays that are served of a pyramid, by path with "{level}" for the level's number; the pixels come first.

    Coordinates lie beside each level where that has a group of its own. Where all levels lie in one group, there are those of
    level 0 that an origin and a step don't tell.
    """
    folder, _, name = layout.rpartition("/")
    arrays: dict[str, Pyramid] = {layout: pyramid}
    by_level = "{level}" in folder
    taken = {name.format(level=k) for k in range(len(pyramid.levels))}
    for axis, n in zip(pyramid.axes, pyramid.shape, strict=True):
        if axis not in taken and n <= _MAX_PIXELS and _is_served(pyramid, axis, by_level=by_level):
            path = f"{folder}/{axis}" if folder else axis
            arrays[path] = Coordinates(pyramid, axis, len(pyramid.levels) if by_level else 1)
    return {**arrays, **pyramid.companion_arrays}


def _is_served(pyramid: Pyramid, axis: str, *, by_level: bool) -> bool:
    coordinate = pyramid.metadata.along.get(axis)
    if not isinstance(coordinate, CoordArray):
        return by_level and coordinate is not None
    is_told = coordinate.even is not None and not coordinate.is_time
    return (by_level or not is_told) and coordinate.values.dtype.kind in "biufmM"
