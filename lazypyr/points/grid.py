"""Grid that points are put on: its origin and its number of pixels. It is never allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr._util.checks import positive
from lazypyr.errors import PlanError
from lazypyr.points.index import kernels
from lazypyr.points.lattice import Lattice
from lazypyr.sources.base import Source

__all__ = ["MAX_PIXELS", "PointGrid", "check_columns", "coordinate_blocks", "grid_of"]

Array = np.ndarray[Any, Any]

MAX_PIXELS = 2**31  # along a side: a Morton key has 62 bits
_MAX_EXACT = 2**53  # beyond this float64, in which boxes are given, misses integers


@dataclass(frozen=True)
class PointGrid:
    """A grid of pixels for points.

    Attributes
    ----------
    x0, y0 : scalar
        Smallest coordinates, in their own dtype: the centre of pixel (0, 0).
    resolution : float
        World units a pixel.
    nx, ny : int
        Pixels along x and y.
    n_points : int
        Points that came in.
    n_valid : int
        Points with finite x and y: these are on the grid.
    n_nan : int
        Points left out because of a NaN.
    n_outside : int
        Points left out because they lie outside the bounds that were given; what else is left out is infinite.
    lattice : Lattice or None
        Edges of pixels that were given; then (x0, y0) is the centre of pixel (0, 0), and `first` its number there.
    """

    x0: Any
    y0: Any
    resolution: float
    nx: int
    ny: int
    n_points: int
    n_valid: int
    n_nan: int
    n_outside: int = 0
    lattice: Lattice | None = None
    first: tuple[int, int] = (0, 0)

    def placed(self, x: Array, y: Array) -> tuple[Array, Array, tuple[Any, Any], float]:
        """Coordinates from which `rint((c - origin) / step)` is the pixel, NaN for none; origin and step."""
        if self.lattice is None:
            return x, y, (self.x0, self.y0), self.resolution
        columns, rows = self.lattice.inside((x, y), self.first, (self.nx, self.ny), self.resolution)
        return columns, rows, (0.0, 0.0), 1.0

    @property
    def key_bits(self) -> int:
        """Bits of a pixel's Morton key."""
        return 2 * max((self.nx - 1).bit_length(), (self.ny - 1).bit_length())

    @property
    def number_bits(self) -> int:
        """Bits of a point's number, at least 1."""
        return max(1, (self.n_points - 1).bit_length())

    @property
    def number_dtype(self) -> np.dtype[Any]:
        """Dtype of point numbers in the index."""
        return np.dtype("<u4" if self.n_points < 2**32 else "<i8")


def coordinate_blocks(x: Source, y: Source, rows: int) -> Iterator[tuple[int, Array, Array]]:
    """First point number and coordinates, `rows` points at a time."""
    for start in range(0, x.shape[0], rows):
        window = ((start, min(start + rows, x.shape[0])),)
        yield start, _kernel_ready(x.read(window)), _kernel_ready(y.read(window))


def _kernel_ready(block: Array) -> Array:
    return block.astype(np.float32) if block.dtype == np.float16 else block


def grid_of(x: Source, y: Source, resolution: float, rows: int, lattice: Lattice | None = None) -> PointGrid:
    """The grid of points, read `rows` at a time: ``x0 = min(x)``, ``nx = max(1, ceil((max(x) - min(x)) / resolution))``.

    With a `lattice` it is the pixels of that.

    Raises
    ------
    PlanError
        Where no point has finite coordinates, or the grid would have more than `MAX_PIXELS` along a side.
    """
    good = nans = 0
    ends: list[tuple[Any, Any, Any, Any]] = []
    for _, a, b in coordinate_blocks(x, y, rows):
        *four, n, n_nan = kernels.limits(a, b)
        good, nans = good + n, nans + n_nan
        if n:
            ends.append((a.dtype.type(four[0]), a.dtype.type(four[1]), b.dtype.type(four[2]), b.dtype.type(four[3])))
    if not good:
        raise PlanError(f"{x.name}, {y.name}: none of the {x.shape[0]} points has finite coordinates")
    x_low, x_high, y_low, y_high = (
        pick(side) for pick, side in zip((min, max, min, max), zip(*ends, strict=True), strict=True)
    )
    if lattice is not None:
        return _on_lattice(lattice, (x, y), (x_low, y_low, x_high, y_high), float(resolution), rows, (good, nans))
    nx, ny = _pixels(x_low, x_high, resolution, x.name), _pixels(y_low, y_high, resolution, y.name)
    return PointGrid(x_low, y_low, float(resolution), nx, ny, x.shape[0], good, nans)


def _on_lattice(
    lattice: Lattice,
    columns: tuple[Source, Source],
    ends: tuple[Any, Any, Any, Any],
    resolution: float,
    rows: int,
    counts: tuple[int, int],
) -> PointGrid:
    first, (nx, ny) = lattice.edges(ends[:2], ends[2:], resolution)
    if max(nx, ny) > MAX_PIXELS:
        raise PlanError(f"bounds: {nx} x {ny} pixels of {resolution}, more than 2**31 a side; use a larger resolution")
    inside = sum(
        int(np.count_nonzero(~np.isnan(lattice.inside((a, b), first, (nx, ny), resolution)[0])))
        for _, a, b in coordinate_blocks(*columns, rows)
    )
    if not inside:
        raise PlanError(
            f"bounds: none of the {counts[0]} points lies within {lattice.bounds}; they are from {ends[:2]} to {ends[2:]}"
        )
    x0, y0 = (np.float64(o + (k + 0.5) * resolution) for o, k in zip(lattice.origin, first, strict=True))
    n, (good, n_nan) = columns[0].shape[0], counts
    return PointGrid(x0, y0, resolution, nx, ny, n, inside, n_nan, good - inside, lattice, first)


def check_columns(x: Source, y: Source, resolution: float) -> None:
    """Refuse coordinates or a resolution that make no grid, before any coordinate is read."""
    for source in (x, y):
        if len(source.shape) != 1:
            raise PlanError(f"{source.name}: expected one number a point, got shape {source.shape}")
        if source.dtype.kind not in "iuf":
            raise PlanError(f"{source.name}: expected real numbers, got dtype {source.dtype}")
    if x.shape != y.shape:
        raise PlanError(f"{x.name} has {x.shape[0]} points, {y.name} has {y.shape[0]}: they must be as many")
    if not x.shape[0]:
        raise PlanError("the cloud is empty: x and y have no point")
    positive(resolution, "resolution", "a positive pixel size in the units of the coordinates")


def _pixels(low: Any, high: Any, resolution: float, name: str) -> int:
    if isinstance(low, np.integer):
        if max(abs(int(low)), abs(int(high))) > _MAX_EXACT:
            raise PlanError(f"{name}: integer coordinates beyond 2**53 (from {low} to {high}) can't be placed exactly")
        extent: Any = int(high) - int(low)
    else:
        with np.errstate(over="ignore"):
            extent = high - low
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = float(extent / type(extent)(resolution)) if not isinstance(extent, int) else extent / resolution
    if not steps <= MAX_PIXELS:
        raise PlanError(
            f"{name}: from {low} to {high} there are {steps:.4g} pixels of {resolution}, more than 2**31; "
            "use a larger resolution, or leave out the points that lie far off"
        )
    return max(1, math.ceil(steps))
