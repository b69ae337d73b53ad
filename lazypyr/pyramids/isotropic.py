"""Levels whose pixels come as near to cubes as halving allows."""

from __future__ import annotations

from collections.abc import Sequence

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.conventions.units import metres
from lazypyr.sources.base import Source

__all__ = ["isotropic_joins"]

# What spacings in floating point, and in units of different size, may differ by.
_TOLERANCE = 1e-6


def isotropic_joins(source: Source, scale: Sequence[float], level: int) -> tuple[int, ...]:
    """Level from which on each axis is downsampled: z is as soon as its spacing is no larger than that of y and x.

    Parameters
    ----------
    source : Source
        Level 0.
    scale : sequence of float
        Pixels of level 0 in a pixel of `level`, by axis.
    level : int
        The last one that is stored.

    Raises
    ------
    PlanError
        Where the spacing isn't known.
    """
    z, *plane = (_spacing(source, axis, scale) for axis in ("z", *SPATIAL_AXES))
    join, finest = level, min(plane)
    while z > finest * (1 + _TOLERANCE):
        join, finest = join + 1, finest * 2
    return tuple(join if axis == "z" and join > level else 0 for axis in source.axes)


def _spacing(source: Source, axis: str, scale: Sequence[float]) -> float:
    """Distance between pixels along an axis, in metres where its unit is one of length."""
    coords = source.coords
    coord = coords.get(axis)
    units = {coords[a].unit if a in coords else None for a in ("z", *SPATIAL_AXES)}
    lengths = {unit: metres(unit) for unit in units}
    if "z" not in coords or (len(units) > 1 and None in lengths.values()):
        known = (
            ", ".join(f"{a}: {coords[a].step:g} {coords[a].unit or 'of no unit'}" for a in coords) or "none is known"
        )
        raise PlanError(
            f"{source.name}: factors='isotropic' compares the spacings along z, y and x; their coordinates need units of "
            f"length, or the same unit; got {known}. Give factors={{'z': 2}} instead"
        )
    step = abs((coord or Coord()).step) * scale[source.axes.index(axis)]
    length = lengths[coord.unit if coord else None]
    return step if length is None else step * length
