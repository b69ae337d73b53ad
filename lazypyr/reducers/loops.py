"""From a block and its factors to the loops of a kernel: arithmetic on shapes and strides.

A block is cut into regions in which all boxes have the same shape: the interior, and the clipped boxes at the end of each
axis. A region is a nest of loops over boxes and a list of element offsets within a box, in row-major order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lazypyr.errors import PlanError
from lazypyr.geometry.windows import ceil_div

__all__ = ["Loop", "Nest", "nests", "reduced_shape", "regions"]


def reduced_shape(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """Shape of a reduced block, ``ceil(n / factor)`` along each axis; PlanError for factors that don't fit."""
    if len(shape) != len(factors) or any(f < 1 for f in factors):
        raise PlanError(
            f"factors: expected one integer of at least 1 for each of {len(shape)} axes, got {tuple(factors)}"
        )
    return tuple(ceil_div(n, f) for n, f in zip(shape, factors, strict=True))


def regions(shape: Sequence[int], factors: Sequence[int]) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """For each region, ``(first box, boxes, pixels of a box)`` along each axis. Nothing for an empty block."""
    axes = []
    for n, f in zip(shape, factors, strict=True):
        whole, rest = divmod(n, f)
        axes.append([part for part in ((0, whole, f), (whole, 1, rest)) if part[1] and part[2]])
    yield from itertools.product(*axes)


@dataclass(frozen=True, slots=True)
class Loop:
    """`count` boxes, `step` source elements and `to` result elements apart."""

    count: int
    step: int
    to: int


@dataclass(frozen=True, slots=True)
class Quad:
    """Boxes of 2 x 2 pixels of `channels` elements each, `columns` side by side.

    `pitch` elements are from a box's first row to its second.
    """

    planes: Loop
    rows: Loop
    columns: int
    channels: int
    pitch: int


@dataclass(frozen=True, slots=True)
class Nest:
    """At most three loops from element `start` of the source to element `to` of the result, and a box's offsets."""

    start: int
    to: int
    loops: tuple[Loop, ...]
    offsets: tuple[int, ...]

    @property
    def quad(self) -> Quad | None:
        """The same as 2 x 2 boxes over contiguous rows, if that is what it is."""
        loops, channels = list(self.loops), 1
        if len(self.offsets) != 4 or not loops:
            return None
        if len(loops) > 1 and (loops[-1].step, loops[-1].to) == (1, 1):
            channels = loops.pop().count
        _, side, pitch, corner = self.offsets
        columns = loops.pop()
        if (columns.step, columns.to, side, corner) != (2 * channels, channels, channels, side + pitch):
            return None
        one = Loop(1, 0, 0)
        planes, rows = [one, one, *loops][-2:]
        return Quad(planes, rows, columns.count, channels, pitch)


def nests(
    shape: Sequence[int], factors: Sequence[int], strides: Sequence[int], out_strides: Sequence[int]
) -> Iterator[Nest]:
    """The nests that reduce a block; strides count elements."""
    for region in regions(shape, factors):
        loops: list[Loop] = []
        spans = []
        start = to = 0
        for (first, count, box), f, s, d in zip(region, factors, strides, out_strides, strict=True):
            start += first * f * s
            to += first * d
            spans.append(range(0, box * s, s) if s else [0] * box)
            if count > 1:
                loop = Loop(count, f * s, d)
                if loops and (loops[-1].step, loops[-1].to) == (loop.step * count, d * count):
                    loop = Loop(loops.pop().count * count, loop.step, d)
                loops.append(loop)
        offsets = tuple(map(sum, itertools.product(*spans)))
        outer, inner = loops[:-3], tuple(loops[-3:])
        for index in itertools.product(*(range(loop.count) for loop in outer)):
            yield Nest(
                start + sum(i * loop.step for i, loop in zip(index, outer, strict=True)),
                to + sum(i * loop.to for i, loop in zip(index, outer, strict=True)),
                inner,
                offsets,
            )
