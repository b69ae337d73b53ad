"""Plan of the writing: stages of levels, each cut into regions.

A *region* is a part of a stage's coarsest level, with all finer levels of that stage under
it: what lies in it is read once, reduced level by level in memory, encoded and written. Stages follow each other: the
second begins where the first left off, from the pixels of its coarsest level, which are kept aside (*spilled*) as the
regions are done. Regions know nothing of each other, may be computed in any order, twice, or on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid, Reduction
from lazypyr.pyramids.coords import arrays_of
from lazypyr.store.layout import StoreLayout

__all__ = ["ArrayLevels", "Stage", "arrays_to_write", "plan_stages"]

# Regions of this size keep all threads busy and fit several times in memory; larger ones save nothing.
_PREFERRED_BYTES = 24 * 2**20
# Smaller regions than this cost more in calls than the threads gain.
_LEAST_BYTES = 12 * 2**20
# Tiles a region of a pyramid that isn't reduced from anything: each is computed by itself.
_LOOSE_TILES = 16
# Regions are at most this part of a job, so that progress is seen and an interruption keeps what was done,
_LEAST_REGIONS = 20
# and at most this much output, which a function in Python takes about ten seconds for.
_MOST_BYTES = 512 * 2**20
# Output that a product makes in some tenths of a second.
_LEAST_PRODUCT_BYTES = 4 * 2**20


@dataclass(frozen=True)
class ArrayLevels:
    """Levels of one pyramid that are written, and their paths.

    Attributes
    ----------
    pyramid : Pyramid
    paths : Mapping[int, str]
        By level.
    reductions : tuple of Reduction
        Reduced pyramids that all its pixels are made of; empty when they are made otherwise.
    """

    pyramid: Pyramid
    paths: Mapping[int, str]
    reductions: tuple[Reduction, ...] = ()

    @property
    def factors(self) -> tuple[int, ...]:
        """Factors from level to level along the axes that regions are cut along; 1 for the others."""
        return self._by_axis(self.reductions[0].factors) if self.reductions else (1,) * self.pyramid.ndim

    def between(self, finer: int, coarser: int) -> tuple[int, ...]:
        """Pixels of a level in one of a coarser one, along the axes that regions are cut along; 1 for the others."""
        return (
            self._by_axis(self.reductions[0].between(finer, coarser)) if self.reductions else (1,) * self.pyramid.ndim
        )

    def _by_axis(self, factors: tuple[int, ...]) -> tuple[int, ...]:
        by_axis = dict(zip(self.reductions[0].axes, factors, strict=True))
        return tuple(by_axis.get(axis, 1) for axis in self.pyramid.axes)

    @property
    def places(self) -> tuple[bool, ...]:
        """True for axes along which regions take other pixels of the inputs: for products, those that are downsampled."""
        is_reduction = self.reductions == (self.pyramid,)
        return tuple(is_reduction or f > 1 for f in self.factors)


@dataclass(frozen=True)
class Stage:
    """Levels that are made together.

    Attributes
    ----------
    array : int
        Index of the array in `Job.arrays`.
    lo, hi : int
        First and last level.
    region_shape : tuple[int, ...]
        Shape of a region at level `hi`, by axis.
    inputs : tuple of (int or None)
        For each reduction the stage whose spilled pixels it goes on from; None: it is read from its source.
    spills : tuple of tuple of int
        For each reduction the levels whose pixels each region leaves to later stages.
    """

    array: int
    lo: int
    hi: int
    region_shape: tuple[int, ...]
    inputs: tuple[int | None, ...] = ()
    spills: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> list[Any]:
        """JSON for the checkpoint."""
        return [
            self.array,
            self.lo,
            self.hi,
            list(self.region_shape),
            list(self.inputs),
            [list(s) for s in self.spills],
        ]

    @classmethod
    def from_json(cls, value: Any) -> Stage:
        """Stage of its JSON."""
        array, lo, hi, region_shape, inputs, spills = value
        return cls(array, lo, hi, tuple(region_shape), tuple(inputs), tuple(map(tuple, spills)))

    def counts(self, pyramid: Pyramid) -> tuple[int, ...]:
        """Number of regions along each axis."""
        return windows.chunk_count(pyramid.levels[self.hi].shape, self.region_shape)

    def region(self, pyramid: Pyramid, number: int) -> Window:
        """Window of a region at level `hi`."""
        return windows.chunk_window(self._index(pyramid, number), self.region_shape, pyramid.levels[self.hi].shape)

    def _index(self, pyramid: Pyramid, number: int) -> tuple[int, ...]:
        return tuple(int(i) for i in np.unravel_index(number, self.counts(pyramid)))

    def column(self, pyramid: Pyramid, places: tuple[bool, ...], number: int) -> tuple[int, bool]:
        """Number of the first of the regions at one place in the inputs, and True for the last of them.

        `places` is true for axes along which regions lie at another place; see `ArrayLevels.places`.
        """
        counts, index = self.counts(pyramid), self._index(pyramid, number)
        first = [i if place else 0 for i, place in zip(index, places, strict=True)]
        is_last = all(place or i == n - 1 for i, place, n in zip(index, places, counts, strict=True))
        return int(np.ravel_multi_index(first, counts)), is_last


def arrays_to_write(
    pyramids: Mapping[str, Pyramid], layout: StoreLayout, wanted: Collection[int] | None
) -> list[ArrayLevels]:
    """Arrays that are to be written, of the levels `wanted`; None for all."""
    arrays = []
    for group, pyramid in pyramids.items():
        prefix = f"{group}/" if group else ""
        for template, array in arrays_of(pyramid, layout.level_path).items():
            by_level = "{level}" in template
            paths = {
                level: prefix + template.format(level=level)
                for level in range(len(array.levels))
                if wanted is None or level in wanted or not by_level
            }
            if paths:
                arrays.append(ArrayLevels(array, paths, array.reductions))
    return arrays


@dataclass
class _Planner:
    arrays: list[ArrayLevels]
    shards: tuple[int, int] | None
    region_bytes: int
    workers: int
    stages: list[Stage] = field(default_factory=list)

    def __post_init__(self) -> None:
        written = [(array.pyramid, level) for array in self.arrays for level in array.paths]
        self._job_bytes = sum(math.prod(p.levels[level].shape) * p.dtype.itemsize for p, level in written)
        self._job_tiles = sum(math.prod(windows.chunk_count(p.levels[level].shape, p.chunks)) for p, level in written)

    def plan(self) -> list[Stage]:
        for number, array in enumerate(self.arrays):
            top = max(array.paths)
            if not array.reductions:
                for level in sorted(array.paths):
                    self._loose(number, level)
                continue
            stored = max(reduction.last_stored_level for reduction in array.reductions)
            for level in range(min(stored, top + 1)):
                if level in array.paths:
                    self.stages.append(Stage(number, level, level, self._region_shape(array, level, stored=True),
                                             (None,) * len(array.reductions), ((),) * len(array.reductions)))  # fmt: skip
            self._chain(number, stored, top)
        return self.stages

    def _unit(self, pyramid: Pyramid) -> tuple[int, ...]:
        """Shape of a chunk, or of a shard: what is written under one key."""
        return unit_shape(pyramid, self.shards)

    def _loose(self, number: int, level: int) -> None:
        pyramid = self.arrays[number].pyramid
        region_shape = list(self._unit(pyramid))
        shape = pyramid.levels[level].shape
        axes = sorted(range(len(region_shape)), key=lambda a: pyramid.axes[a] not in ("y", "x"))
        tiles = min(_LOOSE_TILES, self._job_tiles // _LEAST_REGIONS)
        while math.prod(region_shape) * 2 <= tiles * math.prod(pyramid.chunks):
            axis = min(axes, key=lambda a: (region_shape[a] >= shape[a], region_shape[a] / shape[a]))
            if region_shape[axis] >= shape[axis]:
                break
            region_shape[axis] *= 2
        self.stages.append(Stage(number, level, level, tuple(region_shape)))

    def _region_shape(self, array: ArrayLevels, hi: int, *, stored: bool) -> tuple[int, ...]:
        """Region at level `hi`: whole units over whole stored chunks; along axes that aren't cut, everything."""
        p = array.pyramid
        region_shape = []
        for axis, unit, n, place in zip(p.axes, self._unit(p), p.levels[hi].shape, array.places, strict=True):
            chunk = 1
            for reduction in array.reductions:
                if stored and axis in reduction.axes:
                    base = reduction.stored_levels[min(hi, reduction.last_stored_level)]
                    if base.cheap_stride:  # a part of a chunk is read as cheaply as the whole
                        continue
                    a = reduction.axes.index(axis)
                    box = reduction.between(min(hi, reduction.last_stored_level), hi)[a]
                    chunk = max(chunk, windows.ceil_div(base.chunks[a], box))
            region_shape.append(
                windows.ceil_div(min(chunk, n), unit) * unit if place else windows.ceil_div(n, unit) * unit
            )
        return tuple(region_shape)

    def _bytes(
        self, array: ArrayLevels, region_shape: tuple[int, ...], hi: int, finest: int, *, mixed: bool = False
    ) -> int:
        """Bytes of the pixels of a region from level `finest` on; `mixed`: of all channels that go into one pixel."""
        sizes = dict(zip(array.pyramid.axes, region_shape, strict=True))
        total = 0
        for reduction in array.reductions:
            n = reduction.dtype.itemsize
            level = max(finest, reduction.last_stored_level)
            for axis, f, size, chunk in zip(reduction.axes, reduction.between(level, hi), reduction.levels[level].shape,
                                            free_units(reduction, array.pyramid), strict=True):  # fmt: skip
                if chunk is None:
                    n *= min(sizes[axis] * f, size)
                else:
                    n *= size if mixed and axis not in sizes else min(chunk, size)
            total += n + n // 3
        return total

    def _chain(self, number: int, stored: int, top: int) -> None:
        """Stages from the coarsest stored level on."""
        array, lo = self.arrays[number], stored
        inputs: tuple[int | None, ...] = (None,) * len(array.reductions)
        takes_boxes = [not reduction.reducer.composable for reduction in array.reductions]
        # The last level whose boxes of level 0 lie whole in a region, for reducers that don't go level by level.
        last_whole: int | None = None
        while lo <= top:
            if last_whole is not None and lo > last_whole:
                # Each chunk by itself, in as many reads as its boxes need.
                self._check_boxes(array, lo)
                self.stages.append(Stage(number, lo, lo, self._unit(array.pyramid), (), ((),) * len(array.reductions)))
                lo += 1
                continue
            hi, region_shape = self._depth(
                array, lo, top if last_whole is None else min(top, last_whole), inputs, stored
            )
            if any(takes_boxes) and last_whole is None and stored < hi < top:
                last_whole = _last_whole(array, hi, top, region_shape)
            spills, next_inputs = [], []
            for reduction, earlier in zip(array.reductions, inputs, strict=True):
                if hi >= top or hi <= reduction.last_stored_level:
                    levels: tuple[int, ...] = ()
                elif reduction.reducer.composable:
                    levels = (hi,)
                else:
                    levels = tuple(range(hi + 1, (last_whole or hi) + 1)) if earlier is None else ()
                spills.append(levels)
                next_inputs.append(len(self.stages) if levels else None if reduction.reducer.composable else earlier)
            self.stages.append(Stage(number, lo, hi, region_shape, inputs, tuple(spills)))
            inputs, lo = tuple(next_inputs), hi + 1

    def _check_boxes(self, array: ArrayLevels, level: int) -> None:
        for reduction in array.reductions:
            box = math.prod(reduction.between(reduction.last_stored_level, level)) * reduction.dtype.itemsize
            if not reduction.reducer.composable and box > self.region_bytes:
                raise PlanError(
                    f"{array.pyramid.name}: one pixel of level {level} by {reduction.reducer.name!r} needs {box} bytes of level "
                    f"{reduction.last_stored_level} at once, a region may hold {self.region_bytes}; raise inflight_bytes, "
                    f"or take fewer levels="
                )

    def _depth(
        self, array: ArrayLevels, lo: int, top: int, inputs: tuple[int | None, ...], base: int
    ) -> tuple[int, tuple[int, ...]]:
        """The last level of a stage that begins at `lo`, and the shape of its regions there."""
        stored = None in inputs
        finest = base if stored else lo - 1
        fits: list[tuple[int, tuple[int, ...], int]] = []
        for hi in range(lo, top + 1):
            region_shape = self._region_shape(array, hi, stored=stored)
            n_bytes = self._bytes(array, region_shape, hi, finest)
            # One level of its own is the least; of level 0 alone nothing would be gained.
            least = hi == lo or (hi == base + 1 and n_bytes <= 4 * self.region_bytes)
            if n_bytes > self.region_bytes and not least:
                break
            fits.append((hi, region_shape, n_bytes))
        if fits[0][2] > 4 * self.region_bytes * self.workers:
            raise PlanError(
                f"{array.pyramid.name}: one region of level {lo} needs {fits[0][2]} bytes (a chunk of the source"
                f"{', or a shard' if self.shards else ''}, and what is made of it); raise inflight_bytes"
            )
        # A chunk is read once where a region has room for every channel that its pixels are made of.
        fits = [
            fit for fit in fits if self._bytes(array, fit[1], fit[0], finest, mixed=True) <= self.region_bytes
        ] or fits
        best = fits[-1]
        aligned = all(
            last.chunks[a] % reduction.chunks[a] == 0 or reduction.chunks[a] % last.chunks[a] == 0
            or last.chunks[a] >= last.shape[a]
            for reduction in array.reductions for last in reduction.stored_levels[-1:] for a in range(reduction.ndim) if reduction.factors[a] > 1
        )  # fmt: skip
        while aligned and len(fits) > 1 and best[0] > lo + 1:
            count = math.prod(windows.chunk_count(array.pyramid.levels[best[0]].shape, best[1]))
            before = fits[-2]
            if best[2] <= _PREFERRED_BYTES and (count >= 4 * self.workers or before[2] < _LEAST_BYTES):
                break
            fits.pop()
            best = fits[-1]
        while len(fits) > 1 and best[0] > lo + 1 and self._excess(array, best[0], lo, best[1]) > 1:
            fits.pop()
            best = fits[-1]
        return best[0], self._split(array, best[0], lo, best[1])

    def _excess(self, array: ArrayLevels, hi: int, lo: int, region_shape: tuple[int, ...]) -> float:
        """Output of a region by what it may be at most."""
        p = array.pyramid
        sizes = zip(region_shape, array.between(lo, hi), p.levels[lo].shape, strict=True)
        n_bytes = math.prod(min(size * f, n) for size, f, n in sizes) * p.dtype.itemsize
        least = _PREFERRED_BYTES if array.reductions == (p,) else _LEAST_PRODUCT_BYTES
        return n_bytes / min(max(self._job_bytes // _LEAST_REGIONS, least), _MOST_BYTES)

    def _split(self, array: ArrayLevels, hi: int, lo: int, region_shape: tuple[int, ...]) -> tuple[int, ...]:
        """A region cut along the axes that aren't downsampled, the longest first, as far as it is too large."""
        p, sizes = array.pyramid, list(region_shape)
        parts = math.ceil(self._excess(array, hi, lo, region_shape))
        for axis in sorted(range(p.ndim), key=lambda a: -p.shape[a]):
            if not array.places[axis] and parts > 1:
                unit = self._unit(p)[axis]
                count = min(parts, windows.ceil_div(p.shape[axis], unit))
                sizes[axis] = windows.ceil_div(windows.ceil_div(p.shape[axis], count), unit) * unit
                parts = windows.ceil_div(parts, count)
        return tuple(sizes)


def plan_stages(
    arrays: list[ArrayLevels], *, shards: tuple[int, int] | None, region_bytes: int, workers: int
) -> tuple[Stage, ...]:
    """Stages that make all arrays, each after those that it goes on from."""
    return tuple(_Planner(arrays, shards, region_bytes, workers).plan())


def unit_shape(pyramid: Pyramid, shards: tuple[int, int] | None) -> tuple[int, ...]:
    """Shape of a chunk, or of a shard of chunks along y and x: what is written under one key."""
    if shards is None or not {"y", "x"} <= set(pyramid.axes):
        return pyramid.chunks
    sizes = {"y": shards[0], "x": shards[1]}
    unit = tuple(sizes.get(axis, c) for axis, c in zip(pyramid.axes, pyramid.chunks, strict=True))
    if any(u % c or u < c for u, c in zip(unit, pyramid.chunks, strict=True)):
        raise PlanError(
            f"shards: expected multiples of the tile {'x'.join(map(str, pyramid.chunks))} along y and x, got {shards!r}"
        )
    return unit


def free_units(reduction: Reduction, pyramid: Pyramid) -> tuple[int | None, ...]:
    """Read size along the axes that regions do not split; None for axes that they do split."""
    if reduction is pyramid:
        return (None,) * reduction.ndim
    base = reduction.stored_levels[-1]
    return tuple(
        None if f > 1 else windows.ceil_div(max(tile, min(chunk, n)), tile) * tile
        for f, tile, chunk, n in zip(reduction.factors, reduction.chunks, base.chunks, base.shape, strict=True)
    )


def units_of(reduction: Reduction, pyramid: Pyramid) -> Iterator[tuple[int, ...]]:
    """Indices of the pieces of `free_units` along the axes that regions do not split."""
    units = free_units(reduction, pyramid)
    shape = reduction.levels[0].shape
    counts = [1 if unit is None else windows.ceil_div(n, unit) for n, unit in zip(shape, units, strict=True)]
    return windows.chunk_index_windows(tuple((0, n) for n in counts), (1,) * len(counts))


def _last_whole(array: ArrayLevels, hi: int, top: int, region_shape: tuple[int, ...]) -> int:
    """The last level, up to `top`, whose boxes divide a region of level `hi` along the axes that regions are cut along."""
    sizes = [(size, axis) for axis, (size, f) in enumerate(zip(region_shape, array.factors, strict=True)) if f > 1]
    level = hi
    while level < top and all(size % array.between(hi, level + 1)[axis] == 0 for size, axis in sizes):
        level += 1
    return level
