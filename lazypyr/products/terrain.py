"""Terrain of a height raster: slope, aspect and hillshade by Horn's 3 x 3 window, the same at every level."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, need_real
from lazypyr.products.context import Array, ProductContext, Ranges, Read

__all__ = ["aspect", "hillshade", "slope"]

_METERS = {"m": 1.0, "meter": 1.0, "metre": 1.0, "km": 1000.0, "kilometer": 1000.0, "kilometre": 1000.0, "foot": 0.3048}
_METERS |= {"ft": 0.3048, "us survey foot": 1200 / 3937, "centimeter": 0.01, "micrometer": 1e-6, "nanometer": 1e-9}
_GEOGRAPHIC = ("EPSG:4326", "EPSG:4258", "EPSG:4269", "OGC:CRS84", "CRS84", "GEOGCS", "GEOGCRS", "GEODCRS")
_SLOPE_UNITS = {"degrees": "degree", "percent": "percent"}


@dataclass(frozen=True)
class _Terrain(BuiltInProduct):
    """A number of each pixel and its eight neighbours; subclasses say which, of the gradient towards east and north."""

    z_factor: float
    spacing: tuple[float, float] | None

    @property
    def depth(self) -> tuple[int, int]:
        return 1, 1

    @property
    def description(self) -> str:
        return self.name

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        self._steps(source)
        return self._output(source)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        block = read(0, where)
        heights = np.where(source.invalid(block), np.nan, block.astype("f8"))
        y, x = source.axes.index("y"), source.axes.index("x")
        heights = np.moveaxis(heights, (y, x), (-2, -1))
        dy, dx = self._steps(source)
        east, north = _gradient(heights, dy, dx)
        values = self._of(east * self.z_factor, north * self.z_factor).astype(out.dtype)
        return np.ascontiguousarray(np.moveaxis(values, (-2, -1), (y, x)))

    def _steps(self, source: Input) -> tuple[float, float]:
        """Distance to the next row and column towards north and east, in metres where the coordinates tell."""
        north, east = (
            math.copysign(1.0, source.coords[a].step) if a in source.coords else s for a, s in (("y", -1.0), ("x", 1.0))
        )
        if self.spacing is not None:
            sizes = [size * scale for size, scale in zip(self.spacing, source.scale, strict=True)]
            return north * sizes[0], east * sizes[1]
        units = {(source.coords[a].unit or "").lower() for a in ("y", "x") if a in source.coords}
        if any(unit.startswith("degree") for unit in units) or (source.crs or "").upper().startswith(_GEOGRAPHIC):
            raise PlanError(
                f"{self.name}: the coordinates of {source.name} are degrees, which are no distance: say how long a pixel is in "
                "the unit of the heights, spacing=(along y, along x), e.g. (30, 30), or reproject"
            )
        sizes = list(source.spacing)
        for n, axis in enumerate(("y", "x")):
            unit = (source.coords[axis].unit or "").lower() if axis in source.coords else ""
            sizes[n] *= _METERS.get(unit, 1.0)
        return north * sizes[0], east * sizes[1]

    @abstractmethod
    def _output(self, source: Input) -> Output: ...

    @abstractmethod
    def _of(self, east: Array, north: Array) -> Array: ...


def _gradient(heights: Array, dy: float, dx: float) -> tuple[Array, Array]:
    """Gradients of Horn towards east and north, as GDAL has them at edges and beside missing pixels.

    Beyond an edge heights go on straight; a missing neighbour counts as high as the pixel itself.
    """
    for axis in (-2, -1):
        beyond = [(0, 0)] * heights.ndim
        beyond[axis] = (1, 1)
        heights = np.pad(heights, beyond, mode="reflect", reflect_type="odd")  # one row alone is repeated
    ny, nx = heights.shape[-2] - 2, heights.shape[-1] - 2
    centre = heights[..., 1:-1, 1:-1]

    def at(row: int, column: int) -> Array:
        neighbour = heights[..., row : row + ny, column : column + nx]
        return np.where(np.isnan(neighbour), centre, neighbour)

    east = (at(0, 2) + 2 * at(1, 2) + at(2, 2)) - (at(0, 0) + 2 * at(1, 0) + at(2, 0))
    down = (at(2, 0) + 2 * at(2, 1) + at(2, 2)) - (at(0, 0) + 2 * at(0, 1) + at(0, 2))
    weight = np.where(np.isnan(centre), np.nan, 0.125)
    return east * weight / dx, down * weight / dy


@dataclass(frozen=True)
class Slope(_Terrain):
    """Steepness."""

    unit: str = "degrees"

    name = "slope"

    def _output(self, source: Input) -> Output:
        return Output(source.axes, np.dtype("f4"), units=_SLOPE_UNITS[self.unit])

    def _of(self, east: Array, north: Array) -> Array:
        rise: Array = np.hypot(east, north)
        return np.degrees(np.arctan(rise)) if self.unit == "degrees" else 100 * rise


@dataclass(frozen=True)
class Aspect(_Terrain):
    """Direction downhill."""

    name = "aspect"

    def recipe_arguments(self) -> dict[str, Any]:
        return {"spacing": self.spacing}

    def _output(self, source: Input) -> Output:
        return Output(
            source.axes, np.dtype("f4"), units="degree", display={"window": (0.0, 360.0), "colormap": "phase"}
        )

    def _of(self, east: Array, north: Array) -> Array:
        azimuth = np.degrees(np.arctan2(-east, -north)) % 360
        azimuth[azimuth >= 360] = 0
        azimuth[(east == 0) & (north == 0)] = np.nan
        return azimuth


@dataclass(frozen=True)
class Hillshade(_Terrain):
    """Light on slopes."""

    azimuth: float = 315
    altitude: float = 45

    name = "hillshade"

    def _output(self, source: Input) -> Output:
        return Output(
            source.axes, np.dtype("u1"), fill_value=0, nodata=0, display={"window": (1.0, 255.0), "colormap": "gray"}
        )

    def _of(self, east: Array, north: Array) -> Array:
        azimuth, altitude = math.radians(self.azimuth), math.radians(self.altitude)
        towards = math.sin(azimuth) * east + math.cos(azimuth) * north
        light = (math.sin(altitude) - math.cos(altitude) * towards) / np.sqrt(1 + east**2 + north**2)
        shade: Array = np.floor(1.5 + 254 * np.maximum(light, 0))
        return np.nan_to_num(shade, nan=0)


def _options(name: str, z_factor: float, spacing: Any) -> tuple[float, tuple[float, float] | None]:
    try:
        factor = float(z_factor)
        sizes = None if spacing is None else tuple(float(v) for v in np.broadcast_to(spacing, 2))
    except (TypeError, ValueError):
        factor, sizes = math.nan, None
    if not (math.isfinite(factor) and factor) or (sizes is not None and not all(0 < v < math.inf for v in sizes)):
        raise PlanError(
            f"{name}: expected a number other than 0 as z_factor, and one or two sizes above 0 as spacing, got {z_factor!r} "
            f"and {spacing!r}"
        )
    return factor, None if sizes is None else (sizes[0], sizes[1])


def slope(unit: str = "degrees", *, z_factor: float = 1, spacing: float | Sequence[float] | None = None) -> Product:
    """Steepness of heights, by Horn's formula; float32, NaN where there is no height.

    Each level's own pixel size is used, so that a plane is as steep at every level.

    Parameters
    ----------
    unit : "degrees" or "percent"
        Unit of the result.
    z_factor : float, default 1
        Factor of the heights, where their unit isn't that of the coordinates: 0.3048 for feet over metres.
    spacing : float or (float, float), optional
        Size of a pixel of level 0 along y and x, in the unit of the heights. By default the step of the coordinates, in metres
        where their unit is known; 1 without coordinates.

    Returns
    -------
    Product
        For rasters of heights.

    Raises
    ------
    PlanError
        When applied, for coordinates in degrees without `spacing`.

    See Also
    --------
    hillshade : Light on slopes.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> plane = np.add.outer(np.zeros(8), np.arange(8.0))
    >>> pyramid = lazypyr.open_pyramid(plane, method="mean", levels=2).map("slope")
    >>> pyramid.read(0)[4, 4], pyramid.read(1)[2, 2]
    (np.float32(45.0), np.float32(45.0))
    """
    if unit not in _SLOPE_UNITS:
        raise PlanError(f"slope: expected unit {' or '.join(map(repr, _SLOPE_UNITS))}, got {unit!r}")
    return Slope(*_options("slope", z_factor, spacing), unit)


def aspect(*, spacing: float | Sequence[float] | None = None) -> Product:
    """Direction in which heights fall: degrees clockwise from north; float32, NaN where it is flat.

    Parameters
    ----------
    spacing : float or (float, float), optional
        Size of a pixel of level 0 along y and x; see `slope`.

    Returns
    -------
    Product
        For rasters of heights. Rows run south where the coordinates don't say.

    Raises
    ------
    PlanError
        When applied, for coordinates in degrees without `spacing`.

    See Also
    --------
    slope : Steepness.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.open_pyramid(np.add.outer(np.zeros(8), np.arange(8.0))).map("aspect").read(0)[4, 4]
    np.float32(270.0)
    """
    return Aspect(*_options("aspect", 1, spacing))


def hillshade(
    azimuth: float = 315, altitude: float = 45, z_factor: float = 1, *, spacing: float | Sequence[float] | None = None
) -> Product:
    """Light of a lamp on heights, as GDAL's hillshade: uint8 of 1 (dark) to 255, 0 where there is no height.

    Parameters
    ----------
    azimuth, altitude : float
        Direction of the lamp, degrees clockwise from north and above the horizon.
    z_factor : float, default 1
        Factor of the heights.
    spacing : float or (float, float), optional
        Size of a pixel of level 0 along y and x; see `slope`.

    Returns
    -------
    Product
        For rasters of heights.

    Raises
    ------
    PlanError
        When applied, for coordinates in degrees without `spacing`.

    See Also
    --------
    slope : Steepness.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.open_pyramid(np.zeros((8, 8))).map("hillshade", altitude=90).read(0)[4, 4]
    np.uint8(255)
    """
    factor, sizes = _options("hillshade", z_factor, spacing)
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (azimuth, altitude)):
        raise PlanError(f"hillshade: expected degrees as azimuth and altitude, got {azimuth!r} and {altitude!r}")
    return Hillshade(factor, sizes, float(azimuth), float(altitude))
