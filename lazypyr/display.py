"""Display defaults of a pyramid, for the server, the plots and other projects' viewers: colour limits, products, planes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.metadata.variables import CoordArray
from lazypyr.pyramids.base import Pyramid

__all__ = [
    "Orientation",
    "applicable_products",
    "auto_limits",
    "axis_label",
    "declared_limits",
    "orientation_of",
    "other_axes",
    "percentile_limits",
    "read_plane",
    "sampled_plane",
]

Array = np.ndarray[Any, Any]
Limits = tuple[float, float]
# Units of pixels that are seen through a lens.
_OF_IMAGES = frozenset({"millimeter", "micrometer", "nanometer", "picometer", "angstrom"})
# Sides of the part of the coarsest level that limits are taken from.
_SAMPLE_SIDE = 1024


@dataclass(frozen=True, slots=True)
class Orientation:
    """Way in which a raster is drawn, by every face of it.

    Attributes
    ----------
    flip_y : bool
        True where the first row of the array is the lowest of the picture.
    flip_x : bool
        True where the first column of the array is the rightmost of the picture.
    """

    flip_y: bool
    flip_x: bool

    def applied(self, plane: Array) -> Array:
        """Plane (row, column, ...) with the picture's upper left pixel first; a view."""
        return plane[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation_of(pyramid: Pyramid) -> Orientation:
    """Orientation of the pictures of a pyramid.

    x grow to the right. y with coordinates grow upwards, whichever way the rows run: north is up. Rows without coordinates
    (radar geometry), and those of images (OME-Zarr that lies nowhere on Earth), run downwards.
    """
    metadata = pyramid.metadata
    y_ascends, x_ascends = (_ascends(_coordinates(metadata, axis)) for axis in SPATIAL_AXES)
    return Orientation(flip_y=y_ascends is True and not _is_image(metadata), flip_x=x_ascends is False)


def _is_image(metadata: DatasetMetadata) -> bool:
    """True of OME images, unless something says that they lie on Earth: lazypyr serves rasters as OME-Zarr too."""
    if metadata.ome is None or metadata.crs:
        return False
    y = metadata.coords.get("y")
    unit = None if y is None else y.unit
    spatial = any(key.startswith("spatial:") for key in (*metadata.group_attrs, *metadata.attrs))
    return unit in _OF_IMAGES or not spatial


def _coordinates(metadata: DatasetMetadata, axis: str) -> Coord | CoordArray | None:
    return metadata.coords.get(axis) or metadata.coord_arrays.get(axis)


def _ascends(along: Coord | CoordArray | None) -> bool | None:
    """True if coordinates grow along their axis; None where there are none that could."""
    if along is None:
        return None
    if isinstance(along, Coord):
        return along.step > 0
    values = along.values
    return bool(values[0] < values[-1]) if len(values) > 1 and values.dtype.kind in "iufmM" else None


def axis_label(pyramid: Pyramid, axis: str) -> tuple[str, str | None]:
    """Name of an axis, as its source has it, and the unit of its coordinates, None where that isn't known.

    Along an axis of uneven coordinates positions are told in pixels, "px".
    """
    metadata = pyramid.metadata
    coord = metadata.coords.get(axis)
    unit = coord.unit if coord is not None else "px" if axis in metadata.coord_arrays else None
    return metadata.dims.get(axis, axis), unit


def other_axes(pyramid: Pyramid) -> dict[str, int]:
    """Sizes of the axes beside y and x, in the pyramid's order."""
    return {axis: size for axis, size in zip(pyramid.axes, pyramid.shape, strict=True) if axis not in SPATIAL_AXES}


def applicable_products(pyramid: Pyramid, names: Iterable[str]) -> dict[str, Pyramid]:
    """Pyramids of those of the named products that the pyramid allows. No pixel is read."""
    products = {}
    for name in names:
        try:
            products[name] = pyramid.map(name)
        except PlanError:
            continue
    return products


def declared_limits(pyramid: Pyramid, index: Sequence[int] | None = None) -> Limits | None:
    """Colour limits that come with the values: (-pi, pi) of phases, the window of an OME channel; None without usable ones.

    Parameters
    ----------
    pyramid : Pyramid
    index : sequence of int, optional
        Position along each of the other axes: of the channel, where each has its own.
    """
    window = (pyramid.display or {}).get("window")
    try:
        low, high = (float(value) for value in window)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        return _channel_window(pyramid, index)
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _channel_window(pyramid: Pyramid, index: Sequence[int] | None) -> Limits | None:
    """Window of the OME channel at an index; without one, that of all channels. All numbers of a dtype are no choice."""
    ome = pyramid.metadata.ome
    windows: tuple[Limits | None, ...] = () if ome is None else ome.windows()
    if not windows:
        return None
    axes = [axis for axis in other_axes(pyramid) if ome.is_channel(axis)]
    count = other_axes(pyramid)[axes[0]] if axes else 1
    if len(windows) != count:
        return None
    if index is None or not axes:
        window = windows[0] if len(set(windows)) == 1 else None
    else:
        window = windows[index[list(other_axes(pyramid)).index(axes[0])]]
    kind = np.iinfo(pyramid.dtype) if pyramid.dtype.kind in "iu" else None
    return None if kind is not None and window == (kind.min, kind.max) else window


def percentile_limits(values: Array, percentiles: tuple[float, float]) -> Limits | None:
    """Percentiles of valid values; where both are the same, the least and the largest value. None of no values."""
    if not values.size:
        return None
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def auto_limits(
    pyramid: Pyramid, engine: Engine, indices: Sequence[Sequence[int]], percentiles: tuple[float, float] = (0.5, 99.5)
) -> Limits:
    """Percentiles of the middle of the coarsest level: at most 1024 x 1024 pixels of each of some planes are read."""
    level = len(pyramid.levels) - 1
    shape = pyramid.levels[level].shape
    window = []
    for axis in SPATIAL_AXES:
        size = shape[pyramid.axes.index(axis)]
        start = max(0, (size - _SAMPLE_SIDE) // 2)
        window.append((start, min(size, start + _SAMPLE_SIDE)))
    planes = [read_plane(pyramid, engine, level, (window[0], window[1]), index) for index in indices]
    low, high = percentile_limits(np.concatenate([plane[valid] for plane, valid in planes]), percentiles) or (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def read_plane(
    pyramid: Pyramid,
    engine: Engine,
    level: int,
    window: tuple[tuple[int, int], tuple[int, int]],
    index: Sequence[int],
) -> tuple[Array, Array]:
    """Real values of a plane, y first, and the mask of valid ones.

    Parameters
    ----------
    pyramid : Pyramid
    engine : Engine
        Reads the chunks, through its cache.
    level : int
    window : ((int, int), (int, int))
        Rows and columns.
    index : sequence of int
        Position along each of the other axes.
    """
    return _real(pyramid, _plane(pyramid, engine, level, window, index))


def sampled_plane(
    pyramid: Pyramid, engine: Engine, level: int, rows: Array, columns: Array, index: Sequence[int]
) -> tuple[Array, Array]:
    """Some rows and columns of a plane, as `read_plane` gives it. Chunks are read one by one, so that no more is held.

    Parameters
    ----------
    pyramid : Pyramid
    engine : Engine
    level : int
    rows, columns : ndarray of int
        Ascending.
    index : sequence of int
        Position along each of the other axes.
    """
    samples = np.empty((rows.size, columns.size), pyramid.dtype)
    by_axis = [
        _runs(numbers, pyramid.chunks[pyramid.axes.index(axis)])
        for axis, numbers in zip(SPATIAL_AXES, (rows, columns), strict=True)
    ]

    def place(down: slice, right: slice) -> None:
        some_rows, some_columns = rows[down], columns[right]
        window = (int(some_rows[0]), int(some_rows[-1]) + 1), (int(some_columns[0]), int(some_columns[-1]) + 1)
        plane = _plane(pyramid, engine, level, window, index)
        samples[down, right] = plane[np.ix_(some_rows - some_rows[0], some_columns - some_columns[0])]

    engine.run_tasks(partial(place, down, right) for down in by_axis[0] for right in by_axis[1])
    return _real(pyramid, samples)


def _runs(numbers: Array, chunk: int) -> list[slice]:
    """Slices of ascending indices, one for each chunk that they lie in."""
    ends = [*(np.flatnonzero(np.diff(numbers // chunk)) + 1).tolist(), len(numbers)]
    return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _plane(
    pyramid: Pyramid,
    engine: Engine,
    level: int,
    window: tuple[tuple[int, int], tuple[int, int]],
    index: Sequence[int],
) -> Array:
    rows, columns = window
    other = iter(index)
    full = [rows if axis == "y" else columns if axis == "x" else (i := next(other), i + 1) for axis in pyramid.axes]
    block = engine.read(pyramid, level, tuple(full))
    y, x = pyramid.axes.index("y"), pyramid.axes.index("x")
    if y > x:
        block = np.swapaxes(block, y, x)
    plane: Array = block.reshape(rows[1] - rows[0], columns[1] - columns[0])
    return plane


def _real(pyramid: Pyramid, plane: Array) -> tuple[Array, Array]:
    valid = np.ones(plane.shape, bool) if pyramid.nodata is None else plane != pyramid.nodata
    if plane.dtype.kind in "mM":
        valid &= ~np.isnat(plane)
        plane = plane.astype("i8")
    if plane.dtype.kind == "c":
        plane = np.abs(plane)
    if plane.dtype.kind == "f":
        valid &= np.isfinite(plane)
    return plane, valid
