"""Part of a source along some of its axes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.windows import Window
from lazypyr.sources.base import Source
from lazypyr.sources.derived import DerivedSource
from lazypyr.sources.far.ahead import StoredChunk
from lazypyr.sources.opened import OpenedSource
from lazypyr.sources.selection import Selection, Taken, selected_metadata
from lazypyr.sources.tree import SourceTree

__all__ = ["SelectedSource", "select", "select_tree"]

Array = np.ndarray[Any, Any]


class SelectedSource(DerivedSource):
    """Range, or one entry, of some axes of another source.

    Parameters
    ----------
    source : Source
    taken : Mapping[str, int or slice]
        By axis; an axis of which one entry is taken is dropped.
    selection : Selection
        As the user gave it.
    """

    def __init__(self, source: Source, taken: Mapping[str, Taken], selection: Selection) -> None:
        super().__init__(source)
        self._taken, self._selection = dict(taken), selection
        parts = [self._taken.get(axis, slice(0, n)) for axis, n in zip(source.axes, source.shape, strict=True)]
        self._parts = [part if isinstance(part, slice) else slice(part, part + 1) for part in parts]
        self._kept = [number for number, part in enumerate(parts) if isinstance(part, slice)]
        self.axes = tuple(source.axes[a] for a in self._kept)
        self.shape = tuple(self._parts[a].stop - self._parts[a].start for a in self._kept)
        self.chunks = tuple(min(source.chunks[a], n) for a, n in zip(self._kept, self.shape, strict=True))
        self.dtype, self.fill_value = source.dtype, source.fill_value
        self.metadata = selected_metadata(source.metadata, self._taken)

    @property
    def taken(self) -> dict[str, Taken]:
        """Index or range by dimension, as the other source calls it."""
        dims = self._source.metadata.dims
        return {dims.get(axis, axis): part for axis, part in self._taken.items()}

    def _window(self, window: Window) -> Window:
        """Window of the other source."""
        whole = [(part.start, part.stop) for part in self._parts]
        for axis, (start, stop) in zip(self._kept, window, strict=True):
            first = self._parts[axis].start
            whole[axis] = first + start, first + stop
        return tuple(whole)

    def _steps(self, step: Sequence[int] | None) -> tuple[int, ...] | None:
        if step is None:
            return None
        steps = [1] * len(self._parts)
        for axis, s in zip(self._kept, step, strict=True):
            steps[axis] = s
        return tuple(steps)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        block = self._source.read(self._window(window), self._steps(step))
        return block[tuple(slice(None) if a in self._kept else 0 for a in range(len(self._parts)))]

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        return self._source.stored_chunks(self._window(window), self._steps(step))

    @property
    def preferred_read_shape(self) -> tuple[int, ...]:
        shape = self._source.preferred_read_shape
        return tuple(min(shape[a], n) for a, n in zip(self._kept, self.shape, strict=True))

    @property
    def fingerprint(self) -> str:
        text = f"{self._source.fingerprint}:{sorted(self._taken.items())}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def identity(self) -> Hashable:
        return self._source.identity, repr(sorted(self._taken.items()))

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        return {**self._source.recipe_arguments(place), **self._selection.recorded()}

    def refreshed(self) -> Source:
        fresh = self._source.refreshed()
        return SelectedSource(fresh, self._selection.taken(fresh.axes, fresh.shape, fresh.metadata), self._selection)


def select(opened: OpenedSource, selection: Selection) -> OpenedSource:
    """Part of what was opened, of the levels that it has: of level 0 alone where y or x are cut.

    Raises
    ------
    PlanError
        For dimensions, labels and indices that aren't there.
    """
    first = opened.sources[0]
    taken = selection.taken(first.axes, first.shape, first.metadata)
    n = len(opened.sources)
    cut = [first.axes.index(axis) for axis in taken]
    whole = all(source.shape[a] == first.shape[a] for source in opened.sources for a in cut)
    if any(axis in SPATIAL_AXES for axis in taken) or not whole:
        n = 1
    sources = tuple(SelectedSource(source, taken, selection) for source in opened.sources[:n])
    kept = [a for a, axis in enumerate(first.axes) if not isinstance(taken.get(axis), int)]
    scales = None
    if opened.scales is not None and n > 1:
        scales = tuple(
            place and (tuple(place[0][a] for a in kept), None if place[1] is None else tuple(place[1][a] for a in kept))
            for place in opened.scales
        )
    return OpenedSource(sources, scales, opened.name, opened.attrs)


def select_tree(tree: SourceTree, selection: Selection) -> SourceTree:
    """Part of all rasters that have the dimensions, and of the arrays around them.

    Raises
    ------
    PlanError
        When no raster has one of the dimensions, or none has the labels.
    """
    rasters: dict[str, OpenedSource] = {}
    failed: dict[str, str] = {}
    parts: dict[str, dict[str, Taken]] = {}
    known: set[str] = set()
    for path, opened in tree.rasters.items():
        first = opened.sources[0]
        dims = {*first.axes, *first.metadata.dims.values()}
        own = selection.among(tuple(dims))
        known |= dims
        try:
            rasters[path] = select(opened, own) if own else opened
        except PlanError as error:
            failed[path] = str(error)
            continue
        chosen = rasters[path].sources[0]
        if isinstance(chosen, SelectedSource):
            parts.setdefault(path.rpartition("/")[0], {}).update(chosen.taken)
    missing = [dim for dim in selection.dims if dim not in known]
    if missing or not rasters:
        problem = f"no raster has a dimension {missing[0]!r}" if missing else next(iter(failed.values()))
        raise PlanError(f"{tree.location}: {problem}")
    everywhere = {dim: part for of_folder in parts.values() for dim, part in of_folder.items()}
    arrays = {
        path: array.selected({**everywhere, **parts.get(path.rpartition("/")[0], {})})
        for path, array in tree.surroundings.arrays.items()
    }
    around = replace(tree.surroundings, arrays=arrays, unreadable={**tree.surroundings.unreadable, **failed})
    return replace(tree, rasters=rasters, surroundings=around)
