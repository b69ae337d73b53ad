"""World coordinates: of one axis (`Coord`) and of the plane of x and y (`Grid`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lazypyr.errors import PlanError
from lazypyr.geometry.windows import Window, ceil_div

__all__ = ["Coord", "Grid", "clean_range"]


@dataclass(frozen=True, slots=True)
class Coord:
    """Where the samples of one axis lie in the world: pixel ``i`` of level 0 has its centre at ``origin + i * step``.

    `step` has either sign (north-up rasters have a negative one along y) and is never 0. `unit` is a UDUNITS name
    ("meter", "micrometer", "second") or None when it isn't known.
    """

    origin: float = 0.0
    step: float = 1.0
    unit: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.origin) and math.isfinite(self.step) and self.step != 0):
            raise PlanError(
                f"a coordinate needs a finite origin and a finite step that isn't 0, got origin={self.origin!r}, "
                f"step={self.step!r}"
            )

    def at(self, pixel: float) -> float:
        """World coordinate of a (fractional) level-0 pixel."""
        return self.origin + pixel * self.step


@dataclass(frozen=True, slots=True)
class Grid:
    """A raster's place in the plane: `x0, y0` the **centre** of pixel (0, 0), `dx, dy` world units a pixel, either sign.

    `nx, ny` are the level-0 sizes. `centred` says where the samples of coarser levels sit: at the centre of their box
    (mean, first_valid, ...: True) or on their level-0 pixel (stride: False).
    """

    x0: float = 0.0
    dx: float = 1.0
    nx: int = 1
    y0: float = 0.0
    dy: float = 1.0
    ny: int = 1
    centred: bool = field(default=False)

    @classmethod
    def of(cls, coords: Mapping[str, Coord], nx: int, ny: int, *, centred: bool) -> Grid:
        """The grid of an array whose axes have these coordinates (pixels where `coords` says nothing)."""
        x, y = coords.get("x", Coord()), coords.get("y", Coord())
        return cls(x.origin, x.step, nx, y.origin, y.step, ny, centred)

    @classmethod
    def of_bounds(cls, bounds: Sequence[float], nx: int, ny: int, *, centred: bool = False) -> Grid:
        """The grid whose first and last pixel **centres** are at ``bounds = (x_first, y_first, x_last, y_last)``."""
        if len(bounds) != 4 or not all(math.isfinite(b) for b in bounds):
            raise PlanError(
                f"bounds: expected four finite numbers (x_first, y_first, x_last, y_last), got {tuple(bounds)!r}"
            )
        xa, ya, xb, yb = map(float, bounds)
        dx = (xb - xa) / (nx - 1) if nx > 1 else 1.0
        dy = (yb - ya) / (ny - 1) if ny > 1 else 1.0
        if dx == 0 or dy == 0:
            raise PlanError(
                f"bounds: first and last centre coincide in {tuple(bounds)!r} for {nx} x {ny} pixels (x, y)"
            )
        return cls(xa, dx, nx, ya, dy, ny, centred)

    def coords(self, unit: str | None = None) -> dict[str, Coord]:
        """The same as `Coord` of the axes y and x."""
        return {"y": Coord(self.y0, self.dy, unit), "x": Coord(self.x0, self.dx, unit)}

    def level_size(self, level: int) -> tuple[int, int]:
        """``(ny, nx)`` of a level."""
        return ceil_div(self.ny, 2**level), ceil_div(self.nx, 2**level)

    def offset(self, level: int) -> float:
        """How far, in level-0 pixels, the samples of a level lie behind their box's first pixel."""
        return (2**level - 1) / 2 if self.centred else 0.0

    def nearest(self, x: float, y: float, level: int = 0) -> tuple[int, int] | None:
        """``(row, column)`` of the level's sample nearest to a point: half to even, clamped; None when not finite."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return None
        ny, nx = self.level_size(level)
        scale: int = 2**level
        offset = self.offset(level)
        row = round(((y - self.y0) / self.dy - offset) / scale)
        column = round(((x - self.x0) / self.dx - offset) / scale)
        return min(max(row, 0), ny - 1), min(max(column, 0), nx - 1)

    def extent(self, level: int = 0, window: Window | None = None) -> tuple[float, float, float, float]:
        """Outer edges ``(left, bottom, right, top)`` = ``(x of first, y of last, x of last, y of first)`` pixel edge.

        `window` is ``((row, row), (column, column))`` at `level`, half-open; the whole level without it. With
        ``dy > 0`` "bottom" is larger than "top": row 0 always comes first.
        """
        ny, nx = self.level_size(level)
        (r0, r1), (c0, c1) = window or ((0, ny), (0, nx))
        scale: int = 2**level
        offset = self.offset(level)

        def edge(origin: float, step: float, pixel: int) -> float:
            return origin + step * ((pixel - 0.5) * scale + offset)

        return (
            edge(self.x0, self.dx, c0),
            edge(self.y0, self.dy, r1),
            edge(self.x0, self.dx, c1),
            edge(self.y0, self.dy, r0),
        )

    def window_of(self, x_range: Sequence[float] | None, y_range: Sequence[float] | None, level: int) -> Window | None:
        """Rows and columns of `level` that cover a view, half-open; None for a view wholly outside.

        A range that is None, not finite or of zero size means the whole extent; descending ranges are sorted.
        """
        ny, nx = self.level_size(level)
        rows = self._axis_window(y_range, self.y0, self.dy, ny, level)
        columns = self._axis_window(x_range, self.x0, self.dx, nx, level)
        return None if rows is None or columns is None else (rows, columns)

    def _axis_window(
        self, view: Sequence[float] | None, origin: float, step: float, n: int, level: int
    ) -> tuple[int, int] | None:
        clean = clean_range(view)
        if clean is None:
            return 0, n
        scale: int = 2**level
        offset = self.offset(level)
        a, b = sorted(((v - origin) / step - offset) / scale for v in clean)
        first, last = max(math.floor(a + 0.5), 0), min(math.ceil(b - 0.5), n - 1)
        return (first, last + 1) if first <= last else None

    def level_of(
        self,
        x_range: Sequence[float] | None,
        y_range: Sequence[float] | None,
        size: tuple[int | None, int | None],
        max_level: int,
        *,
        min_level: int = 0,
        increase: int = 0,
    ) -> int:
        """The level whose pixels are just not larger than a screen pixel, clamped after `increase`.

        ``size`` is ``(width, height)`` in screen pixels, 300 where None or 0.
        """
        width, height = (s or 300 for s in size)
        xs, ys = clean_range(x_range), clean_range(y_range)
        across = abs(xs[1] - xs[0]) / abs(self.dx) if xs else self.nx
        down = abs(ys[1] - ys[0]) / abs(self.dy) if ys else self.ny
        ratio = min(across / width, down / height)
        level = math.floor(math.log2(ratio)) if ratio > 0 else min_level
        return min(max(level + increase, min_level), max_level)


def clean_range(view: Sequence[float] | None) -> tuple[float, float] | None:
    """A view's range, ascending; None where it means the whole extent (None, not finite, zero size)."""
    if view is None or len(view) != 2 or any(v is None or not math.isfinite(v) for v in view):
        return None
    low, high = sorted(map(float, view))
    return (low, high) if low < high else None
