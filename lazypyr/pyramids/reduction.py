"""A reduced pyramid as its planner and its writers see it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.geometry import windows
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.packed import reduce_packed
from lazypyr.reducers import Reducer
from lazypyr.sources.base import Source

__all__ = ["Reduction"]

Array = np.ndarray[Any, Any]


class Reduction(Pyramid):
    """A pyramid as its planner sees it: levels that are stored, and a reducer for those beyond.

    Attributes
    ----------
    stored_levels : tuple[Source, ...]
        Levels that exist, finest first; all of the same axes and dtype.
    reducer : Reducer
    factors : tuple[int, ...]
        Pixels of the level before in one pixel, by axis; 1 where an axis is not downsampled.
    joins : tuple[int, ...]
        Level from which on each axis is downsampled.
    """

    stored_levels: tuple[Source, ...]
    reducer: Reducer
    factors: tuple[int, ...]
    joins: tuple[int, ...]

    def between(self, finer: int, coarser: int) -> tuple[int, ...]:
        """Pixels of a level in one of a coarser one, by axis."""
        return windows.level_factors(self.factors, self.joins, finer, coarser)

    def reduce(self, block: Array, factors: tuple[int, ...], out: Array | None = None) -> Array:
        """Reduced block of stored numbers, in which what holds nothing is left out; see `Reducer.__call__`."""
        if self.packing.is_plain:
            return self.reducer(block, factors, nodata=self.nodata, out=out)
        return reduce_packed(self.reducer, self.packing, block, factors, out)

    @property
    def last_stored_level(self) -> int:
        """The coarsest level that is read, not computed."""
        return len(self.stored_levels) - 1
