"""What is to be written, and in which pieces: stages of levels, each cut into regions.

A *region* is the part of the field under one cell of a stage's coarsest level, with all finer levels of that stage under
it: what lies in it is read once, reduced level by level in memory, encoded and written. Stages follow each other: the
second begins where the first left off, from the pixels of its coarsest level, which are kept aside (*spilled*) as the
regions are done. Regions know nothing of each other, may be computed in any order, twice, or on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.coords import arrays_of
from lazypyr.pyramids.reduced import ReducedPyramid
from lazypyr.store.hierarchy import Face

__all__ = ["Family", "Stage", "families_of", "roots_of", "stages_of"]

# Regions of this size keep all threads busy and fit several times in memory; larger ones save nothing.
_PREFERRED_BYTES = 24 * 2**20
# Smaller regions than this cost more in calls than the threads gain.
_LEAST_BYTES = 12 * 2**20
# Tiles a region of a pyramid that isn't reduced from anything: each is computed by itself.
_LOOSE_TILES = 16


@dataclass(frozen=True)
class Family:
    """The levels of one pyramid, and the paths of those that are written.

    Attributes
    ----------
    pyramid : Pyramid
    paths : Mapping[int, str]
        By level.
    roots : tuple of ReducedPyramid
        What its pixels come from, if that is reduced level by level.
    """

    pyramid: Pyramid
    paths: Mapping[int, str]
    roots: tuple[ReducedPyramid, ...] = ()

    @property
    def factors(self) -> tuple[int, ...]:
        """By how much the axes that regions are cut along shrink from level to level; 1 for the others."""
        if not self.roots:
            return (1,) * self.pyramid.ndim
        known = dict(zip(self.roots[0].axes, self.roots[0].factors, strict=True))
        return tuple(known.get(axis, 1) for axis in self.pyramid.axes)


@dataclass(frozen=True)
class Stage:
    """Levels that are made together.

    Attributes
    ----------
    family : int
        Number of the family.
    lo, hi : int
        First and last level.
    cell : tuple[int, ...]
        Shape of a region at level `hi`, by axis.
    feeds : tuple of (int or None)
        For each root the stage whose spilled pixels it goes on from; None: it is read from its source.
    spills : tuple of tuple of int
        For each root the levels of which each region leaves its pixels to later stages.
    """

    family: int
    lo: int
    hi: int
    cell: tuple[int, ...]
    feeds: tuple[int | None, ...] = ()
    spills: tuple[tuple[int, ...], ...] = ()

    def to_json(self) -> list[Any]:
        """For the journal."""
        return [self.family, self.lo, self.hi, list(self.cell), list(self.feeds), [list(s) for s in self.spills]]

    @classmethod
    def of_json(cls, value: Any) -> Stage:
        """From the journal."""
        family, lo, hi, cell, feeds, spills = value
        return cls(family, lo, hi, tuple(cell), tuple(feeds), tuple(map(tuple, spills)))

    def counts(self, pyramid: Pyramid) -> tuple[int, ...]:
        """Regions along each axis."""
        return windows.chunk_count(pyramid.levels[self.hi].shape, self.cell)

    def region(self, pyramid: Pyramid, number: int) -> Window:
        """The window, at level `hi`, of a region."""
        index = []
        for count in reversed(self.counts(pyramid)):
            number, at = divmod(number, count)
            index.append(at)
        return windows.chunk_window(index[::-1], self.cell, pyramid.levels[self.hi].shape)


def roots_of(pyramid: Pyramid) -> tuple[ReducedPyramid, ...]:
    """The reduced pyramids whose pixels a pyramid is made of at each level; empty when it is made otherwise."""
    if isinstance(pyramid, ReducedPyramid):
        return (pyramid,)
    parents = getattr(pyramid, "parents", None) or (getattr(pyramid, "parent", None),)
    found: dict[Any, ReducedPyramid] = {}
    for parent in parents:
        roots = roots_of(parent) if isinstance(parent, Pyramid) else ()
        if not roots:
            return ()
        found |= {root.identity: root for root in roots}
    roots = tuple(found.values())
    scaled = [{a: f for a, f in zip(r.axes, r.factors, strict=True) if f > 1} for r in roots]
    same = all(s == scaled[0] and set(s) <= set(pyramid.axes) for s in scaled)
    return roots if same else ()


def families_of(pyramids: Mapping[str, Pyramid], face: Face, wanted: Collection[int] | None) -> list[Family]:
    """All arrays that are to be written; `wanted` are the levels, None for all."""
    families = []
    for group, pyramid in pyramids.items():
        prefix = f"{group}/" if group else ""
        for template, each in arrays_of(pyramid, face.layout).items():
            levelled = "{level}" in template
            paths = {
                level: prefix + template.format(level=level)
                for level in range(len(each.levels))
                if wanted is None or level in wanted or not levelled
            }
            if paths:
                families.append(Family(each, paths, roots_of(each)))
    return families


@dataclass
class _Planner:
    families: list[Family]
    shards: tuple[int, int] | None
    region_bytes: int
    workers: int
    stages: list[Stage] = field(default_factory=list)

    def plan(self) -> list[Stage]:
        for number, family in enumerate(self.families):
            top = max(family.paths)
            if not family.roots:
                for level in sorted(family.paths):
                    self._loose(number, level)
                continue
            stored = max(root.last_stored_level for root in family.roots)
            for level in range(min(stored, top + 1)):
                if level in family.paths:
                    self.stages.append(Stage(number, level, level, self._cell(family, level, stored=True),
                                             (None,) * len(family.roots), ((),) * len(family.roots)))  # fmt: skip
            self._chain(number, stored, top)
        return self.stages

    def _unit(self, pyramid: Pyramid) -> tuple[int, ...]:
        """What is written at once: a tile, or a shard."""
        return unit_shape(pyramid, self.shards)

    def _loose(self, number: int, level: int) -> None:
        pyramid = self.families[number].pyramid
        cell = list(self._unit(pyramid))
        shape = pyramid.levels[level].shape
        axes = sorted(range(len(cell)), key=lambda a: pyramid.axes[a] not in ("y", "x"))
        while math.prod(cell) < _LOOSE_TILES * math.prod(pyramid.chunks):
            axis = min(axes, key=lambda a: (cell[a] >= shape[a], cell[a] / shape[a]))
            if cell[axis] >= shape[axis]:
                break
            cell[axis] *= 2
        self.stages.append(Stage(number, level, level, tuple(cell)))

    def _cell(self, family: Family, hi: int, *, stored: bool) -> tuple[int, ...]:
        """Region at level `hi`: whole units over whole stored chunks; along axes that aren't cut, everything."""
        p = family.pyramid
        mine = len(family.roots) == 1 and family.roots[0] is p
        cell = []
        for axis, unit, f, n in zip(p.axes, self._unit(p), family.factors, p.levels[hi].shape, strict=True):
            chunk = 1
            for root in family.roots:
                if stored and axis in root.axes:
                    base = root.stored_levels[min(hi, root.last_stored_level)]
                    depth = max(0, hi - root.last_stored_level)
                    if base.cheap_stride:  # a part of a chunk is read as cheaply as the whole
                        continue
                    chunk = max(chunk, windows.ceil_div(base.chunks[root.axes.index(axis)], f**depth))
            cell.append(
                windows.ceil_div(min(chunk, n), unit) * unit if mine or f > 1 else windows.ceil_div(n, unit) * unit
            )
        return tuple(cell)

    def _bytes(self, family: Family, cell: tuple[int, ...], hi: int, finest: int, *, mixed: bool = False) -> int:
        """Bytes of the pixels of a region from level `finest` on; `mixed`: of all channels that go into one pixel."""
        sizes = dict(zip(family.pyramid.axes, cell, strict=True))
        total = 0
        for root in family.roots:
            n = root.dtype.itemsize
            at = max(finest, root.last_stored_level)
            for axis, f, size, chunk in zip(root.axes, root.factors, root.levels[at].shape,
                                            free_units(root, family.pyramid), strict=True):  # fmt: skip
                if chunk is None:
                    n *= min(sizes[axis] * f ** (hi - at), size)
                else:
                    n *= size if mixed and axis not in sizes else min(chunk, size)
            total += n + n // 3
        return total

    def _chain(self, number: int, stored: int, top: int) -> None:
        """Stages from the coarsest stored level on."""
        family, lo = self.families[number], stored
        feeds: tuple[int | None, ...] = (None,) * len(family.roots)
        boxed = [not root.reducer.composable for root in family.roots]
        # Up to which level the boxes of level 0 lie whole in a region, where they can't be reduced level by level.
        whole: int | None = None
        while lo <= top:
            if whole is not None and lo > whole:
                # Each tile for itself, in as many reads as its boxes need.
                self.stages.append(Stage(number, lo, lo, self._unit(family.pyramid), (), ((),) * len(family.roots)))
                lo += 1
                continue
            hi, cell = self._depth(family, lo, top if whole is None else min(top, whole), feeds, stored)
            if any(boxed) and whole is None and stored < hi < top:
                cut = [_whole(c, f) for c, f in zip(cell, family.factors, strict=True) if f > 1]
                whole = min(top, hi + min(cut))
            spills, after = [], []
            for root, feed in zip(family.roots, feeds, strict=True):
                if hi >= top or hi <= root.last_stored_level:
                    levels: tuple[int, ...] = ()
                elif root.reducer.composable:
                    levels = (hi,)
                else:
                    levels = tuple(range(hi + 1, (whole or hi) + 1)) if feed is None else ()
                spills.append(levels)
                after.append(len(self.stages) if levels else None if root.reducer.composable else feed)
            self.stages.append(Stage(number, lo, hi, cell, feeds, tuple(spills)))
            feeds, lo = tuple(after), hi + 1

    def _depth(
        self, family: Family, lo: int, top: int, feeds: tuple[int | None, ...], base: int
    ) -> tuple[int, tuple[int, ...]]:
        """The last level of a stage that begins at `lo`, and its cell."""
        stored = None in feeds
        finest = base if stored else lo - 1
        fits: list[tuple[int, tuple[int, ...], int]] = []
        for hi in range(lo, top + 1):
            cell = self._cell(family, hi, stored=stored)
            n_bytes = self._bytes(family, cell, hi, finest)
            # One level of its own is the least; of level 0 alone nothing would be gained.
            least = hi == lo or (hi == base + 1 and n_bytes <= 4 * self.region_bytes)
            if n_bytes > self.region_bytes and not least:
                break
            fits.append((hi, cell, n_bytes))
        if fits[0][2] > 4 * self.region_bytes * self.workers:
            raise PlanError(
                f"{family.pyramid.name}: one region of level {lo} needs {fits[0][2]} bytes (a chunk of the source"
                f"{', or a shard' if self.shards else ''}, and what is made of it); raise inflight_bytes"
            )
        # A chunk is read once where a region has room for every channel that its pixels are made of.
        fits = [
            fit for fit in fits if self._bytes(family, fit[1], fit[0], finest, mixed=True) <= self.region_bytes
        ] or fits
        best = fits[-1]
        aligned = all(
            last.chunks[a] % root.chunks[a] == 0 or root.chunks[a] % last.chunks[a] == 0
            or last.chunks[a] >= last.shape[a]
            for root in family.roots for last in root.stored_levels[-1:] for a in range(root.ndim) if root.factors[a] > 1
        )  # fmt: skip
        while aligned and len(fits) > 1 and best[0] > lo + 1:
            count = math.prod(windows.chunk_count(family.pyramid.levels[best[0]].shape, best[1]))
            before = fits[-2]
            if best[2] <= _PREFERRED_BYTES and (count >= 4 * self.workers or before[2] < _LEAST_BYTES):
                break
            fits.pop()
            best = fits[-1]
        return best[0], best[1]


def stages_of(
    families: list[Family], *, shards: tuple[int, int] | None, region_bytes: int, workers: int
) -> tuple[Stage, ...]:
    """The stages that make all families, each after those that it goes on from."""
    return tuple(_Planner(families, shards, region_bytes, workers).plan())


def unit_shape(pyramid: Pyramid, shards: tuple[int, int] | None) -> tuple[int, ...]:
    """Shape of what is written under one key: a tile, or a shard of tiles along y and x."""
    if shards is None or not {"y", "x"} <= set(pyramid.axes):
        return pyramid.chunks
    sizes = {"y": shards[0], "x": shards[1]}
    unit = tuple(sizes.get(axis, c) for axis, c in zip(pyramid.axes, pyramid.chunks, strict=True))
    if any(u % c or u < c for u, c in zip(unit, pyramid.chunks, strict=True)):
        raise PlanError(
            f"shards: expected multiples of the tile {'x'.join(map(str, pyramid.chunks))} along y and x, got {shards!r}"
        )
    return unit


def free_units(root: ReducedPyramid, pyramid: Pyramid) -> tuple[int | None, ...]:
    """For each axis of a root how much of it is read at once where regions aren't cut along it; None where they are."""
    if root is pyramid:
        return (None,) * root.ndim
    base = root.stored_levels[-1]
    return tuple(
        None if f > 1 else windows.ceil_div(max(tile, min(chunk, n)), tile) * tile
        for f, tile, chunk, n in zip(root.factors, root.chunks, base.chunks, base.shape, strict=True)
    )


def units_of(root: ReducedPyramid, pyramid: Pyramid) -> Iterator[tuple[int, ...]]:
    """Indices of all the units along the axes that regions aren't cut along."""
    units = free_units(root, pyramid)
    shape = root.levels[0].shape
    counts = [1 if unit is None else windows.ceil_div(n, unit) for n, unit in zip(shape, units, strict=True)]
    return windows.chunk_index_windows(tuple((0, n) for n in counts), (1,) * len(counts))


def _whole(size: int, factor: int) -> int:
    depth = 0
    while size % factor ** (depth + 1) == 0:
        depth += 1
    return depth
