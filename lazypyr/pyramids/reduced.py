"""The pyramid of a source and a reducer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr._util.tokenize import tokenize
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES, axes_label
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid, Reduction
from lazypyr.pyramids.execute import ReadPass
from lazypyr.pyramids.explain import explain_pass, stored_chunks_of
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.placement import Placements, transposed_placement
from lazypyr.pyramids.plan import ReadPlan
from lazypyr.pyramids.planner import plan_reduced
from lazypyr.pyramids.settings import ISOTROPIC
from lazypyr.reducers import Reducer, reducer_of
from lazypyr.sources.base import Source, bytes_of_pixel
from lazypyr.sources.far.ahead import StoredChunk
from lazypyr.sources.transposed import TransposedSource

__all__ = ["ReducedPyramid"]

Array = np.ndarray[Any, Any]


class ReducedPyramid(Reduction):
    """Levels of a source: those that it has are read, coarser ones are reduced from the last of them.

    Parameters
    ----------
    stored_levels : tuple of Source
        What exists, finest first; all of the same axes and dtype.
    reducer : Reducer
    levels : int, optional
        How many; by default until every downsampled axis fits in one chunk.
    factors : tuple of int
        Pixels of the level before in one pixel, by axis; 1 where an axis is not downsampled.
    joins : tuple of int, optional
        Level from which on each axis is downsampled; by default level 0.
    chunks : tuple of int
        Shape of a chunk, by axis.
    nodata : scalar, optional
        Value that is left out of the reduction.
    scales : tuple of ((float, ...), (float, ...) or None), optional
        Scale and translation of the stored levels; where it is None they are as `factors` and `reducer` make them.
    recomputed : bool
        True where the source has coarser levels that are made anew.
    """

    def __init__(
        self,
        stored_levels: tuple[Source, ...],
        reducer: Reducer,
        *,
        factors: tuple[int, ...],
        joins: tuple[int, ...] | None = None,
        chunks: tuple[int, ...],
        levels: int | None = None,
        nodata: Any = None,
        scales: Placements | None = None,
        recomputed: bool = False,
    ) -> None:
        base = stored_levels[0]
        self.stored_levels, self.reducer, self.factors, self.chunks = stored_levels, reducer, factors, chunks
        self.joins = joins or (0,) * len(factors)
        self.name, self.axes, self.dtype = base.name, base.axes, base.dtype
        # Limits of the values are those of level 0 only: a sum may lie beyond them.
        shown = {key: value for key, value in (base.display or {}).items() if key != "window"} or None
        self.metadata, self.downsampling = base.metadata.replaced(display=shown), reducer
        if nodata is None or nodata != base.nodata:
            self.nodata = nodata
        self.fill_value = base.fill_value if nodata is None else np.asarray(nodata).astype(base.dtype)[()]
        last = stored_levels[-1]
        if levels is None:
            levels = len(stored_levels) - 1 + windows.level_count(last.shape, factors, chunks)
        self._scales, self._recomputed = scales, recomputed
        self.levels = tuple(self._level(k) for k in range(levels))

    def _level(self, k: int) -> Level:
        n_stored, last = len(self.stored_levels), self.stored_levels[-1]
        shape = (
            self.stored_levels[k].shape
            if k < n_stored
            else tuple(map(windows.ceil_div, last.shape, self.between(n_stored - 1, k)))
        )
        nearest = min(k, n_stored - 1)
        stated = None
        if self._scales is not None:
            scale, stated = self._scales[nearest]
        else:
            scale = tuple(map(float, self.between(0, nearest)))
        translation = stated or tuple((s - 1) / 2 if self.reducer.centred else 0.0 for s in scale)
        more = tuple(map(float, self.between(nearest, k)))
        if self.reducer.centred:
            translation = tuple(t + s * (m - 1) / 2 for t, s, m in zip(translation, scale, more, strict=True))
        return Level(shape, tuple(s * m for s, m in zip(scale, more, strict=True)), translation)

    # What it is

    @property
    def description(self) -> str:
        made = f"{len(self.stored_levels)} levels as stored, then " if len(self.stored_levels) > 1 else ""
        late = [f"{axis} from level {j} on" for axis, j in zip(self.axes, self.joins, strict=True) if j]
        how = ", ".join([f"{self.reducer.name} of {'x'.join(map(str, self.factors))} ({axes_label(self.axes)})", *late])
        return f"{self.name}: {made}{how}"

    def _key(self) -> tuple[Hashable, ...]:
        nodata = None if self.nodata is None else str(self.nodata)
        # Samples are as they are stored, whatever they mean.
        packing = () if self.packing.is_plain or self.reducer.samples_only else (tokenize(self.packing),)
        late = (self.joins,) if any(self.joins) else ()
        return self.reducer, self.factors, self.chunks, len(self.levels), nodata, *packing, *late

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(tokenize(self._key()).encode(), digest_size=16)
        for base in self.stored_levels:
            digest.update(base.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> Hashable:
        return (tuple(base.identity for base in self.stored_levels), *self._key())

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        by_axis = dict(zip(self.axes, self.chunks, strict=True))
        plain = all(by_axis[axis] == 1 for axis in self.axes if axis not in SPATIAL_AXES)
        return {
            **self.stored_levels[0].recipe_arguments(place),
            **self._method_argument(),
            "factors": ISOTROPIC if any(self.joins) else dict(zip(self.axes, self.factors, strict=True)),
            "levels": f"recompute:{len(self.levels)}" if self._recomputed else len(self.levels),
            "chunks": [by_axis[axis] for axis in SPATIAL_AXES] if plain else list(self.chunks),
        }

    def _method_argument(self) -> dict[str, str]:
        name = self.reducer.name
        if not self.reducer.computes:  # recorded by the levels that are there
            return {}
        try:
            known = tokenize(reducer_of(name)) == tokenize(self.reducer)
        except PlanError:
            known = False
        if not known:
            raise PlanError(
                f"method: a recipe has no code, and {name!r} is a function of yours: give it a name, "
                f"lazypyr.register_reducer({name!r}, ...), also where the recipe is opened"
            )
        return {"method": name}

    def _again(self, stored_levels: tuple[Source, ...], **changes: Any) -> Pyramid:
        """The same of other sources, but for some of the arguments."""
        same: dict[str, Any] = {
            "factors": self.factors,
            "joins": self.joins,
            "chunks": self.chunks,
            "levels": len(self.levels),
            "nodata": self.nodata,
            "scales": self._scales,
            "recomputed": self._recomputed,
        }
        return ReducedPyramid(stored_levels, self.reducer, **{**same, **changes})

    def refreshed(self) -> Pyramid:
        before, fresh = self.stored_levels[0], tuple(source.refreshed() for source in self.stored_levels)
        return self._again(fresh, nodata=fresh[0].nodata if self.nodata is before.nodata else self.nodata)

    def with_chunks(self, chunks: tuple[int, ...]) -> Pyramid:
        return self._again(self.stored_levels, chunks=chunks)

    def transposed(self, order: tuple[str, ...]) -> Pyramid:
        back = [self.axes.index(axis) for axis in order]
        return self._again(
            tuple(TransposedSource(base, order) for base in self.stored_levels),
            **{name: tuple(getattr(self, name)[a] for a in back) for name in ("factors", "joins", "chunks")},
            scales=self._scales and tuple(transposed_placement(place, back) for place in self._scales),
        )

    # Facts

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(root for base in self.stored_levels for root in base.sources)

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        return (self,)

    @property
    def n_stored_levels(self) -> int:
        return len(self.stored_levels)

    def decoded_bytes(self, n_channels: int) -> int:
        return bytes_of_pixel(self.stored_levels[-1], n_channels)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return explain_pass(ReadPass(self, self.plan(level, window, context), context), what)

    # Computing

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        if windows.pixels_in(window) == 0:
            return np.empty(windows.window_shape(window), self.dtype)
        return self.execute(self.plan(level, window, context), context)

    def plan(self, level: int, window: Window, context: ComputeContext) -> ReadPlan:
        return plan_reduced(self, level, window, context)

    def stored_chunks(self, level: int, window: Window, context: ComputeContext) -> Iterator[StoredChunk]:
        if windows.pixels_in(window) == 0:
            return iter(())
        return stored_chunks_of(ReadPass(self, self.plan(level, window, context), context))

    def execute(self, plan: ReadPlan, context: ComputeContext) -> Array:
        return ReadPass(self, plan, context).compute()

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        depth = level - self.last_stored_level
        footprint = windows.pixels_in(window) * self.dtype.itemsize
        if depth > 0 and not (self.reducer.samples_only and self.stored_levels[-1].cheap_stride):
            footprint *= math.prod(self.between(self.last_stored_level, level))
        base = self.stored_levels[-1]
        if base.cheap_stride or base.chunk_bytes * 4 <= block_bytes:
            most = block_bytes
        else:  # every thread decodes a chunk, as many as inflight_bytes allows, and one in any case
            most = max(4 * block_bytes, base.chunk_bytes)
        return min(footprint + base.chunk_bytes, most) + 3 * windows.pixels_in(window) * self.dtype.itemsize
