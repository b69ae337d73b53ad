"""A pyramid in the values that its stored numbers mean, for whatever shows them or derives something of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lazypyr._util.tokenize import tokenize
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.far.ahead import StoredChunk
from lazypyr.sources.unpacked import unpacked_fill, unpacked_metadata

__all__ = ["UnpackedPyramid"]

Array = np.ndarray[Any, Any]


class UnpackedPyramid(Pyramid):
    """Another pyramid's levels, unpacked after they were reduced.

    Parameters
    ----------
    parent : Pyramid
        Pyramid of stored numbers.
    """

    def __init__(self, parent: Pyramid) -> None:
        self.parent = parent
        packing = parent.packing
        self.name, self.axes, self.chunks, self.levels = parent.name, parent.axes, parent.chunks, parent.levels
        self.dtype, self.downsampling = packing.values_dtype, parent.downsampling
        self.metadata = unpacked_metadata(parent.metadata, packing, self.dtype)
        self.fill_value = unpacked_fill(packing, self.dtype, parent.fill_value)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parent,)

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        block = context.read(self.parent, level, window)
        values = self.parent.packing.values(block, self.dtype)
        return values.copy() if np.may_share_memory(values, block) else values

    def stored_chunks(self, level: int, window: Window, context: ComputeContext) -> Iterator[StoredChunk]:
        return self.parent.stored_chunks(level, window, context)

    @property
    def parents(self) -> tuple[Pyramid, ...]:
        return (self.parent,)

    @property
    def n_stored_levels(self) -> int:
        return self.parent.n_stored_levels

    def decoded_bytes(self, n_channels: int) -> int:
        return self.parent.decoded_bytes(n_channels)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return replace(self.parent.explain(level, window, context), what=what)

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        return super().working_bytes(level, window, block_bytes) + self.parent.working_bytes(level, window, block_bytes)

    def at_points(self, numbers: Array) -> Pyramid:
        return self.parent.at_points(numbers).unpacked

    @property
    def companion_arrays(self) -> Mapping[str, Pyramid]:
        return self.parent.companion_arrays

    @property
    def fingerprint(self) -> str:
        return f"{self.parent.fingerprint}, unpacked {tokenize(self.parent.packing)}"

    @property
    def identity(self) -> Hashable:
        return "unpacked", tokenize(self.parent.packing), self.parent.identity

    @property
    def description(self) -> str:
        return self.parent.description

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        # What derives something unpacks again, where the recipe is opened.
        return self.parent.recipe_arguments(place)

    def refreshed(self) -> Pyramid:
        fresh = self.parent.refreshed()
        return self if fresh is self.parent else fresh.unpacked
