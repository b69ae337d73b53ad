"""Rasters whose values tell where they are, in many projections, and the exact positions of the pixels of another grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj

import lazypyr
from lazypyr.geometry.grid import Coord

ROTATED = pyproj.CRS.from_cf({
    "grid_mapping_name": "rotated_latitude_longitude",
    "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}).to_wkt()  # fmt: skip
TURN = 2 * np.pi * 6378137.0


@dataclass(frozen=True)
class Scene:
    """Grid of centres x0 + i * dx, y0 + j * dy; `turn`: columns after which the same meridian comes again."""

    crs: str
    x0: float
    dx: float
    nx: int
    y0: float
    dy: float
    ny: int
    turn: float = 0.0

    @property
    def goes_round(self):
        return bool(self.turn) and self.nx > self.turn - 0.5

    @property
    def circle(self):
        """Columns that a whole circle of the values of `pyramid` stands for."""
        return self.turn if self.goes_round else 2 * self.nx

    def pyramid(self, method="mean", chunks=64, **options):
        """Channel 0: column as an angle; channel 1: row."""
        z = np.empty((self.ny, self.nx, 2), "c16")
        z[..., 0] = np.exp(2j * np.pi * np.arange(self.nx) / self.circle)
        z[..., 1] = np.arange(self.ny)[:, None]
        return self.placed(lazypyr.open_pyramid(z, axes="yxi", method=method, chunks=(chunks, chunks, 2), **options))

    def placed(self, pyramid):
        pyramid.crs = self.crs
        pyramid.coords = {"y": Coord(self.y0, self.dy), "x": Coord(self.x0, self.dx)}
        return pyramid

    def positions(self, pyramid, level):
        """Exact row and column of each pixel of a level of a pyramid on another grid, and which of them lie inside."""
        (h, w), at = pyramid.levels[level].shape[:2], pyramid.levels[level]
        (y, x), (sy, sx), (ty, tx) = ((pyramid.coords[a] for a in "yx"), at.scale[:2], at.translation[:2])
        X, Y = np.meshgrid(x.at(np.arange(w) * sx + tx), y.at(np.arange(h) * sy + ty))
        east, north = pyproj.Transformer.from_crs(pyramid.crs, self.crs, always_xy=True).transform(X, Y)
        bad = ~np.isfinite(east)
        row, column = (
            np.where(bad, np.nan, (v - o) / d) for v, o, d in ((north, self.y0, self.dy), (east, self.x0, self.dx))
        )
        if self.turn:
            first = -0.5 if self.goes_round else (self.nx - 1 - self.turn) / 2
            column = column - self.turn * np.floor((column - first) / self.turn)
        return row, column, self.inside(row, column)

    def inside(self, row, column, margin=0.0):
        """Positions within the outer edges, by a margin."""
        rows = (row >= -0.5 + margin) & (row <= self.ny - 0.5 - margin)
        return rows & (self.goes_round | ((column >= -0.5 + margin) & (column <= self.nx - 0.5 - margin)))

    def drawn(self, values):
        """Rows, columns (of the circle) and the mask of what holds something, of values of `pyramid`."""
        angle = np.angle(values[..., 0]) / (2 * np.pi) * self.circle
        return values[..., 1].real, angle, np.isfinite(values[..., 0].real)

    def away(self, values, row, column):
        """Distance of the values from exact positions, in source pixels."""
        rows, columns, _ = self.drawn(values)
        half = self.circle / 2
        return np.hypot(rows - row, (columns - column + half) % self.circle - half)


SCENES = {
    "utm": Scene("EPSG:32630", 4e5, 400.0, 200, 57e5, -400.0, 168),
    "utm, rows to the north": Scene("EPSG:32630", 4e5, 400.0, 200, 56e5, 400.0, 168),
    "utm, mirrored": Scene("EPSG:32630", 48e4, -400.0, 200, 56e5, 400.0, 168),
    "globe 0 to 360": Scene("EPSG:4326", 0.5, 1.0, 360, 89.5, -1.0, 180, 360.0),
    "globe -180 to 180, rows to the north": Scene("EPSG:4326", -179.5, 1.0, 360, -89.5, 1.0, 180, 360.0),
    "globe, odd": Scene("EPSG:4326", 0.0, 360 / 313, 313, 89.5, -1.0, 180, 313.0),
    "globe, first meridian twice": Scene("EPSG:4326", 0.0, 1.0, 361, 89.5, -1.0, 180, 360.0),
    "degrees over the antimeridian": Scene("EPSG:4326", 170.05, 0.1, 230, 20.0, -0.1, 210, 3600.0),
    "degrees over the antimeridian, west": Scene("EPSG:4326", -189.95, 0.1, 230, 20.0, -0.1, 210, 3600.0),
    "south pole": Scene("EPSG:3031", -3e6, 3e4, 201, 3e6, -3e4, 201),
    "north, over the antimeridian": Scene("EPSG:3413", -2e6, 2e4, 201, 1e6, -2e4, 151),
    "equal area": Scene("EPSG:3035", 2.6e6, 2e4, 221, 5.4e6, -2e4, 221),
    "mercator over the antimeridian": Scene("EPSG:3857", 1.9e7, 1e4, 230, 1e6, -1e4, 230, TURN / 1e4),
    "rotated pole": Scene(ROTATED, -20.0, 0.2, 200, 15.0, -0.2, 150, 1800.0),
}
