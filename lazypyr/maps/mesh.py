"""Place of a raster each of whose pixels has a longitude and a latitude: curvilinear grids and radar geometry."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.maps import triangles
from lazypyr.maps.inverse import CELL, TOLERANCE, Positions
from lazypyr.metadata.projection import period_of, transform

__all__ = ["MeshPlace", "mesh_of"]

Array = np.ndarray[Any, Any]
_BLOCK = 32  # cells of the mesh along each side of a block, whose box is kept


@dataclass(frozen=True)
class _Projected:
    """The mesh in the CRS of a target, and the boxes of its blocks: left, bottom, right, top."""

    x: Array
    y: Array
    boxes: Array
    turn: float


class MeshPlace:
    """Rows and columns of level 0 by the longitude and latitude of each pixel; they may be NaN.

    Parameters
    ----------
    lon, lat : ndarray of float64
        In degrees, WGS 84, of the shape of level 0 in y and x.
    """

    crs = "OGC:CRS84"
    period, goes_round = 0.0, False

    def __init__(self, lon: Array, lat: Array) -> None:
        self.lon, self.lat = lon, lat
        self._projected: dict[str, _Projected] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.lon, self.lat)

    def __lazypyr_token__(self) -> Any:
        return "lonlat", self.digest

    @cached_property
    def digest(self) -> str:
        """Hash of all longitudes and latitudes."""
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=16)
        for values in (self.lon, self.lat):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MeshPlace) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.lon.shape
        return rows, columns

    def holds(self, rows: Array, columns: Array) -> Array:
        """Mask of the positions that are any."""
        return np.asarray(np.isfinite(rows) & np.isfinite(columns))

    def points(self, rows: Array, columns: Array, crs: str) -> tuple[Array, Array]:
        """Points of a grid of fractional rows and columns in a CRS, half a pixel beyond the mesh too."""
        (r, i), (c, j) = (_split(p, n) for p, n in zip((rows, columns), self.shape, strict=True))
        r, c = r[:, None], c[None, :]
        corners = [(a, b) for a in (0, 1) for b in (0, 1)]
        weights = [(r if a else 1 - r) * (c if b else 1 - c) for a, b in corners]
        first = self.lon[np.ix_(i, j)]
        lon, lat = np.zeros(first.shape), np.zeros(first.shape)
        for (a, b), weight in zip(corners, weights, strict=True):
            there = self.lon[np.ix_(i + a, j + b)]
            lon += weight * (there - 360 * np.rint((there - first) / 360))
            lat += weight * self.lat[np.ix_(i + a, j + b)]
        return transform(self.crs, crs, lon, np.clip(lat, -90, 90))

    def _in(self, crs: str) -> _Projected:
        with self._lock:
            if crs not in self._projected:
                x, y = transform(self.crs, crs, self.lon, np.clip(self.lat, -90, 90))
                rows, columns = (-(-(n - 1) // _BLOCK) for n in self.shape)
                boxes, turn = np.empty((rows, columns, 4)), period_of(crs)
                triangles.boxes_of(x, y, _BLOCK, turn, boxes)
                self._projected[crs] = _Projected(x, y, boxes, turn)
            return self._projected[crs]

    def positions(self, crs: str, left: float, top: float, resolution: float) -> Positions:
        """Positions of a cell: the mesh drawn into it, in triangles of which several pixels of the target are long."""
        mesh, size = self._in(crs), CELL * resolution
        rows, columns = (np.full((CELL, CELL), np.nan) for _ in "yx")
        part = _touching(mesh, (left, top - size, left + size, top), 2 * resolution)
        if part is None:
            return Positions(rows, columns, 1.0, (1.0, 1.0))
        r0, c0 = part[0].start, part[1].start
        x, y = mesh.x[part], mesh.y[part]
        sides = [side / resolution for side in _sides(x, y, mesh.turn)]
        step = _step(x, y, mesh.turn, resolution, sides)
        i, j = (np.unique(np.append(np.arange(0, n, step), n - 1)) for n in x.shape)
        at = np.ix_(i, j)
        triangles.paint(
            x[at], y[at], (i + r0).astype("f8"), (j + c0).astype("f8"), *self.shape, resolution, left, top, mesh.turn,
            rows, columns,
        )  # fmt: skip
        spans = 1 / sides[0], 1 / sides[1]
        return Positions(rows, columns, float(np.sqrt(spans[0] * spans[1])), spans)


def mesh_of(name: str, lonlat: Any, shape: tuple[int, int]) -> MeshPlace:
    """Place by longitudes and latitudes: arrays, or pyramids, of which level 0 is read."""
    if not isinstance(lonlat, list | tuple) or len(lonlat) != 2:
        raise PlanError(f"lonlat: expected longitudes and latitudes, (lon, lat), got {type(lonlat).__name__}")
    arrays = []
    for kind, given in zip(("longitudes", "latitudes"), lonlat, strict=True):
        # copied: the caller may write to his
        values = np.array(given.unpacked.read(0) if hasattr(given, "unpacked") else given, dtype="f8")
        if values.shape != shape or min(shape) < 2:
            raise PlanError(
                f"{name}: lonlat: {kind} of shape {values.shape} for {shape[0]} x {shape[1]} pixels; one a pixel is needed"
            )
        arrays.append(values)
    lon, lat = arrays
    # false of NaN too
    bad = ~((np.abs(lat) <= 90 + 1e-6) & (np.abs(lon) <= 720))
    if bad.all():
        raise PlanError(f"{name}: lonlat: no pixel has a longitude and a latitude in degrees")
    if bad.any():
        lon, lat = np.where(bad, np.nan, lon), np.where(bad, np.nan, lat)
    return MeshPlace(lon, lat)


def _split(positions: Array, n: int) -> tuple[Array, Array]:
    first = np.clip(np.floor(positions), 0, n - 2).astype("i8")
    return positions - first, first


def _touching(mesh: _Projected, box: tuple[float, float, float, float], margin: float) -> tuple[slice, slice] | None:
    """The part of a mesh whose blocks touch a box."""
    left, bottom, right, top = box
    b = mesh.boxes
    # A triangle at the border reaches half a pixel further.
    wide, high = margin + (b[..., 2] - b[..., 0]) / _BLOCK, margin + (b[..., 3] - b[..., 1]) / _BLOCK
    with np.errstate(invalid="ignore"):
        hit = (b[..., 1] - high <= top) & (b[..., 3] + high >= bottom)
        across = np.zeros(hit.shape, bool)
        for shift in (-mesh.turn, 0.0, mesh.turn) if mesh.turn else (0.0,):
            across |= (b[..., 0] + shift - wide <= right) & (b[..., 2] + shift + wide >= left)
    i, j = np.nonzero(hit & across)
    if not len(i):
        return None
    rows = slice(int(i.min()) * _BLOCK, min(mesh.x.shape[0], (int(i.max()) + 1) * _BLOCK + 1))
    return rows, slice(int(j.min()) * _BLOCK, min(mesh.x.shape[1], (int(j.max()) + 1) * _BLOCK + 1))


def _sides(x: Array, y: Array, turn: float) -> list[float]:
    """Median length of a step from row to row and from column to column."""
    i, j = (max(n // 64, 1) for n in x.shape)
    found = []
    for axis in (0, 1):
        dx, dy = np.diff(x, axis=axis)[::i, ::j], np.diff(y, axis=axis)[::i, ::j]
        with np.errstate(invalid="ignore"):
            length = np.hypot(dx - turn * np.rint(dx / turn) if turn else dx, dy)
        known = length[np.isfinite(length) & (length > 0)]
        found.append(float(np.median(known)) if known.size else 1.0)
    return found


def _step(x: Array, y: Array, turn: float, resolution: float, sides: list[float]) -> int:
    """Rows and columns of the mesh in a triangle: of about four pixels, fewer where it bends."""
    step = int(2 ** np.floor(np.log2(max(4 / min(sides), 1.0))))
    while step > 1:
        worst = 0.0
        for g, period in ((x, turn), (y, 0.0)):
            n, m = ((size - 1) // (2 * step) * 2 * step + 1 for size in g.shape)
            s = g[:n:step, :m:step]
            if min(s.shape) < 3:
                worst = np.inf
                break
            middle, around = s[1:-1:2, 1:-1:2], [s[a:n:2, b:m:2] for a in (0, 2) for b in (0, 2)]
            h, w = middle.shape
            off = np.zeros(middle.shape)
            for corner in around:
                d = corner[:h, :w] - middle
                off += (d - period * np.rint(d / period) if period else d) / 4
            off = off[np.isfinite(off)]
            worst = max(worst, float(np.abs(off).max()) if off.size else 0.0)
        if worst < 4 * TOLERANCE * resolution:
            return step
        step //= 2
    return 1
