"""Grids that rasters are reprojected to: of tile matrix sets, or given by pixel size and bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.maps.mesh import MeshPlace
from lazypyr.maps.place import Place
from lazypyr.metadata.projection import axis_unit, checked_crs, is_geographic, period_of
from lazypyr.registry import nearest

__all__ = ["TILINGS", "Target", "Tiling", "plain_target", "tiled_target", "tiling_of"]

Array = np.ndarray[Any, Any]
Bounds = tuple[float, float, float, float]
_TILE = 256
# Points along each side of a raster whose places say how far it reaches, and which pixels it has.
_ALONG = 257
_DEEPEST = 30
# Pixels along an axis: points near the edge of a projection lie millions of kilometres away.
_MOST = 2**31


@dataclass(frozen=True)
class Tiling:
    """Tile matrix set whose zooms halve the pixels: OGC's of two dimensions.

    Parameters
    ----------
    name : str
        Identifier of OGC.
    crs : str
    bounds : (left, bottom, right, top)
        Outer edges, in the CRS.
    resolution : float
        Size of a pixel at zoom 0.
    """

    name: str
    crs: str
    bounds: Bounds
    resolution: float

    def tiles(self, zoom: int) -> tuple[int, int]:
        """Rows and columns of tiles."""
        left, bottom, right, top = self.bounds
        size = self.resolution * _TILE / 2**zoom
        return round((top - bottom) / size), round((right - left) / size)


_HALF = math.pi * 6378137.0
TILINGS = {
    "WebMercatorQuad": Tiling("WebMercatorQuad", "EPSG:3857", (-_HALF, -_HALF, _HALF, _HALF), 2 * _HALF / _TILE),
    "WorldCRS84Quad": Tiling("WorldCRS84Quad", "OGC:CRS84", (-180.0, -90.0, 180.0, 90.0), 180 / _TILE),
}


@dataclass(frozen=True)
class Target:
    """Grid of level 0.

    Parameters
    ----------
    crs : str
    left, top : float
        Outer corner of the first pixel.
    resolution : float
        Size of a pixel, of both axes.
    shape : (int, int)
        Rows and columns.
    levels : int, optional
        How many; by default until y and x fit in one chunk.
    tiling : str, optional
        Name of the tile matrix set that it is a part of.
    zoom : int, optional
        Zoom of level 0.
    first_tile : (int, int)
        Row and column, at that zoom, of the tile that it begins with.
    """

    crs: str
    left: float
    top: float
    resolution: float
    shape: tuple[int, int]
    levels: int | None = None
    tiling: str | None = None
    zoom: int | None = None
    first_tile: tuple[int, int] = (0, 0)

    def coords(self) -> dict[str, Coord]:
        """Coordinates of the centres of level 0."""
        half, unit = self.resolution / 2, axis_unit(self.crs)
        y, x = ("degrees_north", "degrees_east") if is_geographic(self.crs) else (unit, unit)
        return {
            "y": Coord(self.top - half, -self.resolution, y),
            "x": Coord(self.left + half, self.resolution, x),
        }

    def limits(self) -> list[dict[str, Any]]:
        """Tiles of each level as OGC's `tileMatrixSetLimits`; empty where it isn't one of a tile matrix set."""
        if self.zoom is None or self.levels is None:
            return []
        found = []
        for k in range(self.levels):
            (row, column), size = (n >> k for n in self.first_tile), _TILE << k
            rows, columns = (math.ceil(n / size) for n in self.shape)
            found.append({
                "tileMatrix": str(self.zoom - k),
                "minTileRow": row, "maxTileRow": row + rows - 1,
                "minTileCol": column, "maxTileCol": column + columns - 1,
            })  # fmt: skip
        return found


def tiling_of(tiling: Any) -> Tiling:
    """Tile matrix set by name; PlanError for another."""
    if isinstance(tiling, Tiling):
        return tiling
    if isinstance(tiling, str) and tiling in TILINGS:
        return TILINGS[tiling]
    hint = nearest(tiling, TILINGS) if isinstance(tiling, str) else ""
    raise PlanError(f"tiling: expected one of {', '.join(TILINGS)}, got {tiling!r}{hint}")


def tiled_target(
    name: str, place: Place | MeshPlace, tiling: Tiling, zoom: Sequence[int] | None, *, world: bool
) -> Target:
    """Part of a tile matrix set that a raster covers, out to the tiles of the coarsest zoom; all of it for `world`."""
    x, y = _points(place, tiling.crs)
    left, bottom, right, top = reach = _reach(name, place, tiling.crs, tiling.bounds, x, y)
    finest = round(math.log2(tiling.resolution / _pixel(name, place, tiling.crs, x, y))) if zoom is None else 0
    low, high = _zooms(zoom) if zoom is not None else (None, min(max(finest, 0), _DEEPEST))
    if low is None:
        across = max(right - left, top - bottom) / (tiling.resolution * _TILE)
        low = 0 if world else min(max(math.floor(-math.log2(max(across, 2.0**-_DEEPEST))), 0), high)
    rows, columns = tiling.tiles(low)
    size = tiling.resolution * _TILE / 2**low
    first_row, last_row, first_column, last_column = 0, rows - 1, 0, columns - 1
    if not world:
        near = 1e-9
        first_row = max(math.floor((tiling.bounds[3] - reach[3]) / size + near), 0)
        last_row = min(math.ceil((tiling.bounds[3] - reach[1]) / size - near) - 1, rows - 1)
        first_column = max(math.floor((reach[0] - tiling.bounds[0]) / size + near), 0)
        last_column = min(math.ceil((reach[2] - tiling.bounds[0]) / size - near) - 1, columns - 1)
        last_row, last_column = max(last_row, first_row), max(last_column, first_column)
    depth = high - low
    return Target(
        tiling.crs,
        tiling.bounds[0] + first_column * size,
        tiling.bounds[3] - first_row * size,
        tiling.resolution / 2**high,
        ((last_row - first_row + 1) * _TILE << depth, (last_column - first_column + 1) * _TILE << depth),
        depth + 1,
        tiling.name,
        high,
        (first_row << depth, first_column << depth),
    )


def plain_target(
    name: str, place: Place | MeshPlace, crs: Any, resolution: float | None, bounds: Sequence[float] | None
) -> Target:
    """Grid in a CRS: of the pixel size and bounds given, else of those of the raster."""
    text = checked_crs(crs)
    x, y = _points(place, text)
    reach = _reach(name, place, text, None, x, y)
    if resolution is None:
        resolution = _pixel(name, place, text, x, y)
    elif not (isinstance(resolution, int | float) and math.isfinite(resolution) and resolution > 0):
        raise PlanError(f"resolution: expected the size of a pixel in units of {text}, got {resolution!r}")
    if bounds is None:
        # Whole multiples of the pixel size, as GDAL's -tap has it: rasters of equal pixel size line up.
        left, bottom, right, top = (
            edge(value / resolution + slack) * resolution
            for edge, value, slack in zip(
                (math.floor, math.floor, math.ceil, math.ceil), reach, (1e-6, 1e-6, -1e-6, -1e-6), strict=True
            )
        )
    else:
        if (
            len(bounds) != 4
            or not all(math.isfinite(b) for b in bounds)
            or bounds[0] >= bounds[2]
            or bounds[1] >= bounds[3]
        ):
            raise PlanError(f"bounds: expected left < right and bottom < top in units of {text}, got {tuple(bounds)!r}")
        left, bottom, right, top = map(float, bounds)
        turn = period_of(text)
        shifts = [0.0, -turn, turn] if turn else [0.0]
        if reach[1] >= top or reach[3] <= bottom or all(reach[0] + s >= right or reach[2] + s <= left for s in shifts):
            raise PlanError(
                f"{name}: bounds {tuple(bounds)!r} don't meet the raster, which reaches over {reach!r} in {text}"
            )
    rows, columns = (max(math.ceil((b - a) / resolution - 1e-6), 1) for a, b in ((bottom, top), (left, right)))
    if max(rows, columns) > _MOST:
        raise PlanError(
            f"{name}: its pixels of {resolution:g} would be {rows} x {columns} in {text}, where it reaches over "
            f"{(left, bottom, right, top)!r}; give bounds or a larger resolution"
        )
    return Target(text, left, top, float(resolution), (rows, columns))


def _zooms(zoom: Sequence[int]) -> tuple[int, int]:
    low, high = (zoom, zoom) if isinstance(zoom, int) else tuple(zoom)
    if not 0 <= low <= high <= _DEEPEST:
        raise PlanError(f"zoom: expected (coarsest, finest) from 0 to {_DEEPEST}, got {zoom!r}")
    return int(low), int(high)


def _points(place: Place | MeshPlace, crs: str) -> tuple[Array, Array]:
    """Points of a raster, out to its edges, in another CRS."""
    rows = np.linspace(-0.5, place.shape[0] - 0.5, _ALONG)
    columns = np.linspace(-0.5, place.shape[1] - 0.5, _ALONG)
    return place.points(rows, columns, crs)


def _reach(name: str, place: Place | MeshPlace, crs: str, domain: Bounds | None, x: Array, y: Array) -> Bounds:
    """Left, bottom, right and top of a raster in a CRS, within the domain of a tile matrix set or cylindrical projection."""
    turn = period_of(crs)
    finite = np.isfinite(x) & np.isfinite(y)
    if domain is None and turn and not is_geographic(crs):
        domain = (-math.inf, -turn / 2, math.inf, turn / 2)
    if domain is not None:
        y = np.clip(y, domain[1], domain[3])
    if not finite.any():
        raise PlanError(f"{name}: no point of it has coordinates in {crs}; it lies outside of that projection")
    left, right, bottom, top = (
        float(value) for value in (x[finite].min(), x[finite].max(), y[finite].min(), y[finite].max())
    )
    if turn and right - left > turn / 2:
        # Across the antimeridian neighbours lie a turn apart; all of the circle is seen then.
        jumps = np.abs(np.diff(x, axis=1)) > turn / 2
        if jumps.any() or place.goes_round:
            middle = 0.0 if domain is None or not math.isfinite(domain[0]) else (domain[0] + domain[2]) / 2
            left, right = middle - turn / 2, middle + turn / 2
    if domain is not None:
        left, right = max(left, domain[0]), min(right, domain[2])
    if not (left < right and bottom < top):
        raise PlanError(f"{name}: it lies outside of {crs}, or on its edge: {(left, bottom, right, top)!r}")
    return left, bottom, right, top


def _pixel(name: str, place: Place | MeshPlace, crs: str, x: Array, y: Array) -> float:
    """Median size of the pixels of a raster in another CRS."""
    rows, columns = (place.shape[0] / (_ALONG - 1), place.shape[1] / (_ALONG - 1))
    turn = period_of(crs)
    with np.errstate(invalid="ignore"):
        dx = np.diff(x, axis=1)[:-1]
        if turn:
            dx = dx - turn * np.rint(dx / turn)
        ddx = np.diff(x, axis=0)[:, :-1]
        if turn:
            ddx = ddx - turn * np.rint(ddx / turn)
        across = np.hypot(dx, np.diff(y, axis=1)[:-1]) / columns
        down = np.hypot(ddx, np.diff(y, axis=0)[:, :-1]) / rows
        size = np.sqrt(across * down)
    known = size[np.isfinite(size) & (size > 0)]
    if not known.size:
        raise PlanError(f"{name}: its pixels have no size in {crs}: its transform is singular, or it lies outside")
    return float(np.median(known))
