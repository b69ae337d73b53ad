"""Place of the levels that a source has: as its metadata say, else as their shapes do."""

from __future__ import annotations

from collections.abc import Sequence

from lazypyr.geometry.windows import level_shape
from lazypyr.metadata.multiscales import Placement

__all__ = ["Placements", "completed_placements", "transposed_placement"]

Placements = tuple[Placement, ...]


def completed_placements(
    known: Sequence[Placement | None] | None, shapes: Sequence[Sequence[int]], factors: Sequence[int]
) -> Placements | None:
    """Place of each level; None where all levels are as `factors` make them, of level 0.

    Where nothing is stated, every level covers the field of level 0: along each axis its scale is the size of level 0
    over its own, unless that is what the factor of the axis gives.

    Parameters
    ----------
    known : sequence of (scale, translation) or None
        What metadata state, for each level.
    shapes : sequence of (int, ...)
        Of the levels, finest first.
    factors : sequence of int
        Pixels of one level in a pixel of the next, by axis.
    """
    regular = all(tuple(shape) == level_shape(shapes[0], factors, k) for k, shape in enumerate(shapes))
    known = known or (None,) * len(shapes)
    if regular and not any(known):
        return None
    return tuple(
        place if place is not None else (_scale(shapes[0], shape, factors, k), None)
        for k, (place, shape) in enumerate(zip(known, shapes, strict=False))
    )


def _scale(first: Sequence[int], shape: Sequence[int], factors: Sequence[int], level: int) -> tuple[float, ...]:
    made = level_shape(first, factors, level)
    return tuple(float(f**level) if n == m else n0 / n for n0, n, m, f in zip(first, shape, made, factors, strict=True))


def transposed_placement(place: Placement, back: Sequence[int]) -> Placement:
    """The place of a level whose axes are put in another order: `back` is the place of each in the old one."""
    scale, shift = place
    return tuple(scale[a] for a in back), None if shift is None else tuple(shift[a] for a in back)
