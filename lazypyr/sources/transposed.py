"""A source with its axes in another order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from lazypyr.geometry.windows import Window
from lazypyr.sources.base import Source
from lazypyr.sources.derived import DerivedSource
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["TransposedSource"]

Array = np.ndarray[Any, Any]


class TransposedSource(DerivedSource):
    """Another source with its axes in another order."""

    def __init__(self, source: Source, order: tuple[str, ...]) -> None:
        super().__init__(source)
        self.axes = order
        self._from = tuple(source.axes.index(axis) for axis in order)
        self._to = tuple(order.index(axis) for axis in source.axes)
        self.dtype, self.metadata, self.fill_value = source.dtype, source.metadata, source.fill_value
        self.shape = tuple(source.shape[a] for a in self._from)
        self.chunks = tuple(source.chunks[a] for a in self._from)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        source_window = tuple(window[a] for a in self._to)
        steps = tuple(step[a] for a in self._to) if step else None
        return self._source.read(source_window, steps).transpose(self._from)

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        steps = tuple(step[a] for a in self._to) if step else None
        return self._source.stored_chunks(tuple(window[a] for a in self._to), steps)

    @property
    def preferred_read_shape(self) -> tuple[int, ...]:
        return tuple(self._source.preferred_read_shape[a] for a in self._from)

    @contextlib.contextmanager
    def read_temporary(self, window: Window) -> Iterator[Array]:
        with self._source.read_temporary(tuple(window[a] for a in self._to)) as block:
            yield block.transpose(self._from)

    @property
    def fingerprint(self) -> str:
        return f"{self._source.fingerprint}:{''.join(map(str, self._from))}"

    @property
    def identity(self) -> Hashable:
        return self._source.identity, self._from

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        return {**self._source.recipe_arguments(place), "order": list(self.axes)}

    def refreshed(self) -> Source:
        return TransposedSource(self._source.refreshed(), self.axes)
