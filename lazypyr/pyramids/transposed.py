"""A pyramid with its axes in another order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from lazypyr.geometry.axes import axes_label
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.plan import ReadPlan

__all__ = ["TransposedPyramid"]

T = TypeVar("T")


class TransposedPyramid(Pyramid):
    """Another pyramid, its axes in another order: a virtual transpose."""

    def __init__(self, pyramid: Pyramid, order: tuple[str, ...]) -> None:
        self.parent, self.axes = pyramid, order
        self._from = tuple(pyramid.axes.index(axis) for axis in order)
        self._to = tuple(order.index(axis) for axis in pyramid.axes)
        self.name, self.dtype, self.fill_value = pyramid.name, pyramid.dtype, pyramid.fill_value
        self.downsampling, self.metadata = pyramid.downsampling, pyramid.metadata
        self.chunks = self._permuted(pyramid.chunks)
        self.levels = tuple(
            Level(self._permuted(level.shape), self._permuted(level.scale), self._permuted(level.translation))
            for level in pyramid.levels
        )

    def _permuted(self, values: Sequence[T]) -> tuple[T, ...]:
        return tuple(values[a] for a in self._from)

    def _inner(self, window: Window) -> Window:
        return tuple(window[a] for a in self._to)

    def compute(self, level: int, window: Window, context: ComputeContext) -> np.ndarray[Any, Any]:
        return self.parent.compute(level, self._inner(window), context).transpose(self._from)

    def plan(self, level: int, window: Window, context: ComputeContext) -> ReadPlan:
        inner = self.parent.plan(level, self._inner(window), context)
        return replace(super().plan(level, window, context), read_bytes=inner.read_bytes)

    @property
    def parents(self) -> tuple[Pyramid, ...]:
        return (self.parent,)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return replace(self.parent.explain(level, self._inner(window), context), what=what)

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        return self.parent.working_bytes(level, self._inner(window), block_bytes)

    @property
    def companion_arrays(self) -> Mapping[str, Pyramid]:
        return self.parent.companion_arrays

    @property
    def fingerprint(self) -> str:
        return f"{self.parent.fingerprint}:{''.join(map(str, self._from))}"

    @property
    def identity(self) -> Hashable:
        return self.parent.identity, self._from

    @property
    def description(self) -> str:
        return f"{self.parent.description}, axes as {axes_label(self.axes)}"

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        return {"source": self.parent.recipe_arguments(place), "order": list(self.axes)}

    def refreshed(self) -> Pyramid:
        return TransposedPyramid(self.parent.refreshed(), self.axes)
