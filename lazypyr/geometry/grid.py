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
    """World coordinate of one axis: pixel ``i`` of level 0 has its centre at ``origin + i * step``.

    Parameters
    ----------
    origin : float
        World coordinate of the centre of pixel 0.
    step : float
        World units a pixel, of either sign (north-up rasters have a negative one along y), never 0.
    unit : str or None
        UDUNITS name ("meter", "micrometer", "second"); None when it isn't known.

    Raises
    ------
    PlanError
        When `origin` or `step` is not finite, or `step` is 0.

    Examples
    --------
    >>> Coord(origin=500.0, step=-10.0, unit="meter").at(3)
    470.0
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
        """World coordinate of a pixel of level 0.

        Parameters
        ----------
        pixel : float
            Its number along the axis; fractions lie between centres.

        Returns
        -------
        float
            In the coordinate's unit.
        """
        return self.origin + pixel * self.step


@dataclass(frozen=True, slots=True)
class Grid:
    """Place of a raster in the plane of x and y.

    Parameters
    ----------
    x0 : float
        World coordinate of the **centre** of the first column.
    dx : float
        World units a column, of either sign.
    nx : int
        Columns of level 0.
    y0 : float
        World coordinate of the centre of the first row.
    dy : float
        World units a row, of either sign.
    ny : int
        Rows of level 0.
    centred : bool
        Samples of coarser levels sit at the centre of their box (mean, first_valid, ...: True) or on their level-0
        pixel (stride: False).

    Examples
    --------
    >>> grid = Grid(x0=5.0, dx=10.0, nx=100, y0=995.0, dy=-10.0, ny=100)
    >>> grid.extent()
    (0.0, 0.0, 1000.0, 1000.0)
    >>> grid.window_of((0, 200), (800, 1000), level=0)
    ((0, 20), (0, 20))
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
        """Grid of an array whose axes have these coordinates.

        Parameters
        ----------
        coords : Mapping[str, Coord]
            By axis; an axis that is not in it counts its pixels.
        nx, ny : int
            Pixels of level 0.
        centred : bool
            As in `Grid`.

        Returns
        -------
        Grid
            In the units of `coords`.
        """
        x, y = coords.get("x", Coord()), coords.get("y", Coord())
        return cls(x.origin, x.step, nx, y.origin, y.step, ny, centred)

    @classmethod
    def of_bounds(cls, bounds: Sequence[float], nx: int, ny: int, *, centred: bool = False) -> Grid:
        """Grid whose outer pixel **edges** are given, as rasterio's ``transform.from_bounds`` takes them.

        Parameters
        ----------
        bounds : (float, float, float, float)
            ``(left, bottom, right, top)``: edges of the first column, last row, last column and first row, in the units of
            the coordinates, as `extent` gives them. Rows that run to the north have a bottom above the top.
        nx, ny : int
            Pixels of level 0.
        centred : bool
            As in `Grid`.

        Returns
        -------
        Grid
            Centres half a pixel inside of the edges.

        Raises
        ------
        PlanError
            When `bounds` are not four finite numbers, or opposite edges coincide.

        Examples
        --------
        >>> Grid.of_bounds((0, 900, 100, 1000), nx=10, ny=10)
        Grid(x0=5.0, dx=10.0, nx=10, y0=995.0, dy=-10.0, ny=10, centred=False)
        """
        if len(bounds) != 4 or not all(math.isfinite(b) for b in bounds):
            raise PlanError(f"bounds: expected four finite numbers (left, bottom, right, top), got {tuple(bounds)!r}")
        left, bottom, right, top = map(float, bounds)
        dx, dy = (right - left) / nx, (bottom - top) / ny
        if dx == 0 or dy == 0:
            raise PlanError(f"bounds: opposite edges coincide in {tuple(bounds)!r} for {nx} x {ny} pixels (x, y)")
        return cls(left + dx / 2, dx, nx, top + dy / 2, dy, ny, centred)

    def coords(self, unit: str | None = None) -> dict[str, Coord]:
        """Coordinates of the axes y and x.

        Parameters
        ----------
        unit : str or None
            Of both.

        Returns
        -------
        dict[str, Coord]
            The grid as coordinates.
        """
        return {"y": Coord(self.y0, self.dy, unit), "x": Coord(self.x0, self.dx, unit)}

    def level_size(self, level: int) -> tuple[int, int]:
        """Pixels of a level.

        Parameters
        ----------
        level : int
            0 is the finest.

        Returns
        -------
        tuple[int, int]
            ``(ny, nx)``.
        """
        return ceil_div(self.ny, 2**level), ceil_div(self.nx, 2**level)

    def offset(self, level: int) -> float:
        """Distance from the first pixel of a box to the sample that stands for it.

        Parameters
        ----------
        level : int
            Whose boxes are ``2**level`` pixels wide.

        Returns
        -------
        float
            In level-0 pixels, along y and x.
        """
        return (2**level - 1) / 2 if self.centred else 0.0

    def nearest(self, x: float, y: float, level: int = 0) -> tuple[int, int] | None:
        """Sample of a level that is nearest to a point.

        Parameters
        ----------
        x, y : float
            World coordinates; between two samples the even one is taken, beyond the edge the last one.
        level : int
            0 is the finest.

        Returns
        -------
        tuple[int, int] or None
            ``(row, column)``; None when the point is not finite.
        """
        if not (math.isfinite(x) and math.isfinite(y)):
            return None
        ny, nx = self.level_size(level)
        scale: int = 2**level
        offset = self.offset(level)
        row = round(((y - self.y0) / self.dy - offset) / scale)
        column = round(((x - self.x0) / self.dx - offset) / scale)
        return min(max(row, 0), ny - 1), min(max(column, 0), nx - 1)

    def extent(self, level: int = 0, window: Window | None = None) -> tuple[float, float, float, float]:
        """Outer pixel edges.

        With ``dy > 0`` "bottom" is larger than "top": row 0 always comes first.

        Parameters
        ----------
        level : int
            0 is the finest.
        window : ((int, int), (int, int)), optional
            Half-open ranges of rows and columns at `level`; the whole level without it.

        Returns
        -------
        tuple[float, float, float, float]
            ``(left, bottom, right, top)``, edges of the first column, last row, last column, first row, in the units of the coordinates.
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
        """Window of a level that covers a view.

        Parameters
        ----------
        x_range, y_range : (float, float) or None
            World units, in either order; None, not finite or of zero size means the whole extent.
        level : int
            0 is the finest.

        Returns
        -------
        ((int, int), (int, int)) or None
            Half-open ranges of rows and columns; None for a view wholly outside.
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
        """Level whose pixels are just not larger than a screen pixel.

        Parameters
        ----------
        x_range, y_range : (float, float) or None
            World units, as in `window_of`.
        size : (int or None, int or None)
            Width and height in screen pixels, 300 where None or 0.
        max_level, min_level : int
            Limits of the result.
        increase : int
            Levels coarser, or finer where negative.

        Returns
        -------
        int
            Clamped after `increase`.
        """
        width, height = (s or 300 for s in size)
        xs, ys = clean_range(x_range), clean_range(y_range)
        across = abs(xs[1] - xs[0]) / abs(self.dx) if xs else self.nx
        down = abs(ys[1] - ys[0]) / abs(self.dy) if ys else self.ny
        ratio = min(across / width, down / height)
        level = math.floor(math.log2(ratio)) if ratio > 0 else min_level
        return min(max(level + increase, min_level), max_level)


def clean_range(view: Sequence[float] | None) -> tuple[float, float] | None:
    """Range of a view, ascending.

    Parameters
    ----------
    view : (float, float) or None
        Ends in either order.

    Returns
    -------
    tuple[float, float] or None
        None where the view means the whole extent: it is None, not finite, or of zero size.

    Examples
    --------
    >>> clean_range((3, 1))
    (1.0, 3.0)
    """
    if view is None or len(view) != 2 or any(v is None or not math.isfinite(v) for v in view):
        return None
    low, high = sorted(map(float, view))
    return (low, high) if low < high else None
