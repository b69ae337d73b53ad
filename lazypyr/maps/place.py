"""Place of a raster on the earth: from coordinates in its CRS to rows and columns of level 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.maps.inverse import Positions, positions_of
from lazypyr.maps.mesh import MeshPlace, mesh_of
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.metadata.projection import checked_crs, period_of, transform
from lazypyr.metadata.variables import CoordArray, Variable
from lazypyr.pyramids.base import Pyramid

__all__ = ["Axis", "Place", "place_of"]

Array = np.ndarray[Any, Any]
_NORTH = ("degrees_north", "degree_north", "degrees_n")
_EAST = ("degrees_east", "degree_east", "degrees_e")


@dataclass(frozen=True)
class Axis:
    """World coordinates along one axis of level 0, both ways.

    Parameters
    ----------
    size : int
    origin, step : float
        Of pixel centres that are even.
    values : tuple of float, optional
        Of pixel centres that aren't.
    """

    size: int
    origin: float = 0.0
    step: float = 1.0
    values: tuple[float, ...] = ()

    def position(self, world: Array) -> Array:
        """Fractional pixels of world coordinates, beyond the ends too."""
        if not self.values:
            return (world - self.origin) / self.step
        known = np.asarray(self.values)
        numbers = np.arange(self.size, dtype="f8")
        if known[-1] < known[0]:
            known, numbers = known[::-1], numbers[::-1]
        inside = np.interp(world, known, numbers)
        low, high = (
            (numbers[1] - numbers[0]) / (known[1] - known[0]),
            (numbers[-1] - numbers[-2]) / (known[-1] - known[-2]),
        )
        before, after = np.minimum(world - known[0], 0) * low, np.maximum(world - known[-1], 0) * high
        return np.asarray(inside + before + after)

    def world(self, position: Array) -> Array:
        """World coordinates of fractional pixels."""
        if not self.values:
            return self.origin + position * self.step
        known, last = np.asarray(self.values), self.size - 1
        inside = np.interp(position, np.arange(self.size), known)
        before = np.minimum(position, 0) * (known[1] - known[0])
        after = np.maximum(position - last, 0) * (known[-1] - known[-2])
        return np.asarray(inside + before + after)


@dataclass(frozen=True)
class Place:
    """Rows and columns of level 0 in a CRS.

    Parameters
    ----------
    crs : str
    y, x : Axis
    period : float
        Columns after which the same meridian comes again; 0 where none does.
    """

    crs: str
    y: Axis
    x: Axis
    period: float = 0.0

    @property
    def goes_round(self) -> bool:
        """True where the columns cover the whole circle."""
        return self.period > 0 and self.x.size > self.period - 0.5

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y.size, self.x.size

    def positions(self, crs: str, left: float, top: float, resolution: float) -> Positions:
        """Positions of a cell of a target whose outer corner is `left`, `top`."""
        return positions_of(self, crs, left, top, resolution)

    def points(self, rows: Array, columns: Array, crs: str) -> tuple[Array, Array]:
        """Points of a grid of fractional rows and columns, in another CRS."""
        x, y = np.meshgrid(self.x.world(columns), self.y.world(rows))
        return transform(self.crs, crs, x, y)

    def once(self, columns: Array) -> Array:
        """Columns of the same meridians nearest to the raster; where it goes round, of its first turn."""
        if not self.period:
            return columns
        first = -0.5 if self.goes_round else (self.x.size - 1 - self.period) / 2
        return np.asarray(columns - self.period * np.floor((columns - first) / self.period))

    def holds(self, rows: Array, columns: Array) -> Array:
        """Mask of positions within the outer edges; false of what is no number."""
        inside = (rows >= -0.5) & (rows <= self.y.size - 0.5)
        if self.goes_round:
            return np.asarray(inside & np.isfinite(columns))
        return np.asarray(inside & (columns >= -0.5) & (columns <= self.x.size - 0.5))


def place_of(pyramid: Pyramid, crs: str | None = None, lonlat: Any = None) -> Place | MeshPlace:
    """Place of level 0 of a pyramid, in `crs` or by `lonlat` if they are given; PlanError where nothing says it.

    A grid whose CRS is known goes before longitudes and latitudes of its pixels.
    """
    metadata = pyramid.metadata
    sizes = dict(zip(pyramid.axes, pyramid.shape, strict=True))
    if lonlat is not None:
        return mesh_of(pyramid.name, lonlat, (sizes["y"], sizes["x"]))
    if crs is None and (pyramid.crs is None or not {"y", "x"} <= set(metadata.along)):
        found = _lonlat(metadata, (sizes["y"], sizes["x"]))
        if found is not None:
            return mesh_of(pyramid.name, found, (sizes["y"], sizes["x"]))
    axes = {axis: _axis(pyramid.name, axis, sizes[axis], metadata.along) for axis in ("y", "x")}
    if crs is None:
        crs = checked_crs(pyramid.crs if pyramid.crs is not None else _assumed(pyramid.name, metadata))
    period = period_of(crs)
    x = axes["x"]
    columns = 0.0 if x.values or not period else period / abs(x.step)
    return Place(crs, axes["y"], x, columns)


def _lonlat(metadata: DatasetMetadata, shape: tuple[int, int]) -> tuple[Array, Array] | None:
    """Longitudes and latitudes of two axes that the dataset has."""
    planes = [variable for variable in metadata.variables.values() if variable.shape == shape]
    found = [
        next(
            (v for v in planes if v.attrs.get("standard_name") == name or str(v.attrs.get("units")).lower() in units),
            None,
        )
        for name, units in (("longitude", _EAST), ("latitude", _NORTH))
    ]
    lon, lat = found
    return None if lon is None or lat is None else (_values(lon), _values(lat))


def _values(variable: Variable) -> Array:
    """Values as float64, NaN for what holds nothing, unpacked."""
    values = variable.values.astype("f8")
    for key in ("_FillValue", "missing_value"):
        hole = variable.attrs.get(key)
        if isinstance(hole, int | float):
            values[variable.values == hole] = np.nan
    scale, offset = (variable.attrs.get(key, plain) for key, plain in (("scale_factor", 1.0), ("add_offset", 0.0)))
    return np.asarray(values * scale + offset)


def _axis(name: str, axis: str, size: int, along: Mapping[str, Coord | CoordArray]) -> Axis:
    known = along.get(axis)
    even = known.even if isinstance(known, CoordArray) else known
    if even is not None:
        return Axis(size, even.origin, even.step)
    if not isinstance(known, CoordArray):
        raise PlanError(
            f"{name}: no coordinates along {axis!r} are known, so its place on the earth isn't; give them: "
            "lazypyr.open_pyramid(source, bounds=(left, bottom, right, top))"
        )
    values = known.values
    steps = np.diff(values.astype("f8")) if values.dtype.kind in "iuf" else np.zeros(1)
    if len(steps) == 0 or not ((steps > 0).all() or (steps < 0).all()):
        raise PlanError(f"{name}: coordinates along {axis!r} neither ascend nor descend: they say no place")
    return Axis(size, values=tuple(values.astype("f8").tolist()))


def _assumed(name: str, metadata: DatasetMetadata) -> str:
    """WGS 84 where the coordinates are longitudes and latitudes, as CF has it."""
    said = [_says(metadata.along.get(axis), known, words) for axis, known, words in
            (("y", "latitude", _NORTH), ("x", "longitude", _EAST))]  # fmt: skip
    if all(said):
        return "OGC:CRS84"
    raise PlanError(
        f"{name}: its CRS isn't known; say source_crs='EPSG:32633', or write it beside the source (docs/datasets.md)"
    )


def _says(known: Coord | CoordArray | None, standard: str, units: tuple[str, ...]) -> bool:
    attrs = known.attrs if isinstance(known, CoordArray) else {"units": getattr(known, "unit", None)}
    return attrs.get("standard_name") == standard or str(attrs.get("units")).lower() in units
