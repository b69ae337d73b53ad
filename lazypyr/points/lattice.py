"""Pixel edges that a user fixes, so that the grids of neighbouring tiles and of reruns coincide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError

__all__ = ["Lattice"]

Array = np.ndarray[Any, Any]

# Pixels within which a coordinate counts as lying on an edge, whatever its rounding.
_NEAR = 1e-3


@dataclass(frozen=True)
class Lattice:
    """Edges ``origin + k * resolution`` along x and y, and the part of them that is shown.

    Attributes
    ----------
    origin : (float, float)
        One edge along x, and one along y.
    bounds : (float, float, float, float) or None
        Outer edges ``x0, y0, x1, y1``, snapped outwards; None: those of the points.
    """

    origin: tuple[float, float]
    bounds: tuple[float, float, float, float] | None

    @classmethod
    def of(cls, origin: Any, bounds: Any, resolution: float) -> Lattice | None:
        """The lattice that arguments of users ask for; None for neither."""
        if bounds is None and origin is None:
            return None
        sides = (
            None
            if bounds is None
            else _numbers(bounds, "bounds", "(x0, y0, x1, y1), the outer edges, low sides first", 4)
        )
        if sides is not None and not (sides[0] < sides[2] and sides[1] < sides[3]):
            raise PlanError(f"bounds: expected (x0, y0, x1, y1), the outer edges, low sides first, got {bounds!r}")
        if origin is None:
            assert sides is not None, "one of both is given"
            # the same for all bounds that lie whole pixels apart
            corner = tuple(_remainder(side, resolution) for side in sides[:2])
        else:
            corner = _numbers(origin, "origin", "(x, y), a corner of a pixel", 2)
        return cls((corner[0], corner[1]), None if sides is None else (sides[0], sides[1], sides[2], sides[3]))

    def edges(
        self, low: Sequence[Any], high: Sequence[Any], resolution: float
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """First pixel, and number of pixels, along x and y, for points between two corners."""
        first, size = [], []
        for i in range(2):
            if self.bounds is None:
                ends = self.numbers(np.asarray([low[i], high[i]]), i, resolution)
                start, stop = int(ends[0]), int(ends[1]) + 1
            else:
                start, stop = (
                    _snapped((side - self.origin[i]) / resolution, up=up)
                    for side, up in ((self.bounds[i], False), (self.bounds[i + 2], True))
                )
            first.append(start)
            size.append(stop - start)
        return (first[0], first[1]), (size[0], size[1])

    def numbers(self, values: Array, axis: int, resolution: float) -> Array:
        """Number of the half-open pixel that each coordinate lies in, whole float64; NaN for what isn't finite."""
        wide = values.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            position = (wide - self.origin[axis]) / resolution
            nearest = np.rint(position)
            eps = np.finfo(values.dtype).eps if values.dtype.kind == "f" else np.finfo(np.float64).eps
            rounding = np.minimum(_NEAR, 2 * eps * (np.abs(wide) / resolution + 1))
            numbers: Array = np.where(np.abs(position - nearest) <= rounding, nearest, np.floor(position))
        numbers[~np.isfinite(numbers)] = np.nan
        return numbers

    def inside(
        self, columns: tuple[Array, Array], first: tuple[int, int], size: tuple[int, int], resolution: float
    ) -> tuple[Array, Array]:
        """Column and row of each point among those shown, whole float64; both NaN for a point in none."""
        pixels = [self.numbers(values, i, resolution) - first[i] for i, values in enumerate(columns)]
        with np.errstate(invalid="ignore"):
            inside = (pixels[0] >= 0) & (pixels[0] < size[0]) & (pixels[1] >= 0) & (pixels[1] < size[1])
        for numbers in pixels:
            numbers[~inside] = np.nan
        return pixels[0], pixels[1]

    def record(self) -> dict[str, Any]:
        """Arguments by which `of` makes it again."""
        return {"origin": list(self.origin), **({} if self.bounds is None else {"bounds": list(self.bounds)})}


def _numbers(given: Any, name: str, expected: str, n: int) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, given))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise PlanError(f"{name}: expected {expected}, got {given!r}")
    return numbers


def _snapped(position: float, *, up: bool) -> int:
    nearest = round(position)
    return nearest if abs(position - nearest) <= _NEAR else math.ceil(position) if up else math.floor(position)


def _remainder(side: float, resolution: float) -> float:
    position = side / resolution
    whole = round(position)
    near = abs(position - whole) <= 8 * np.finfo(float).eps * max(1.0, abs(position))
    return 0.0 if near else side - math.floor(position) * resolution
