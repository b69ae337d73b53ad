"""Values of single points, through the same products as the rasters of their cloud."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.points.columns import gather
from lazypyr.points.companions import IndexPyramid
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.products.base import Product
from lazypyr.products.define import define
from lazypyr.products.mapped import MappedPyramid
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source

__all__ = ["cloud_of", "gather_values", "product_of_numbers", "points_as_row"]

Array = np.ndarray[Any, Any]


def cloud_of(pyramid: Pyramid) -> PointsPyramid:
    """Point pyramid at the base of a pyramid and its products."""
    while isinstance(pyramid, MappedPyramid):
        pyramid = pyramid.parent
    if not isinstance(pyramid, PointsPyramid):
        raise PlanError(f"{pyramid.name}: expected points, as lazypyr.from_points gives, got {type(pyramid).__name__}")
    return pyramid


def gather_values(cloud: PointsPyramid, source: Source, numbers: Array, channel: tuple[int, ...] = ()) -> Array:
    """Values ``source[numbers, *channel]`` of a cloud's column."""
    return gather(source, numbers, channel, cloud.cloud.chunk_cache, SERIAL)


class _PointsRow(Source):
    """Source with points as a raster of one row: axes ``y, x, *channels``, shape ``(1, n, *channels)``."""

    def __init__(self, pyramid: PointsPyramid | IndexPyramid, numbers: Array) -> None:
        self._pyramid, self._numbers = pyramid, numbers
        self.name, self.axes, self.dtype = pyramid.name, pyramid.axes, pyramid.dtype
        self.shape = (1, max(1, numbers.size), *pyramid.shape[2:])
        self.chunks = (1, self.shape[1], *(1 for _ in self.shape[2:]))
        self.nodata, self.fill_value, self.attrs = pyramid.nodata, pyramid.fill_value, pyramid.attrs

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        out = np.full(windows.window_shape(window), self.fill_value, self.dtype)
        numbers = self._numbers[slice(*window[1])]
        if not numbers.size:
            return out
        if isinstance(self._pyramid, IndexPyramid):
            out[0, :] = numbers
            return out
        if self._pyramid.values is None:  # such a pyramid counts
            out[:] = 1
            return out
        for position in np.ndindex(out.shape[2:]):
            channel = tuple(a + i for (a, _), i in zip(window[2:], position, strict=True))
            out[(0, slice(None), *position)] = gather_values(self._pyramid, self._pyramid.values, numbers, channel)
        return out

    @property
    def fingerprint(self) -> str:
        return f"{self._pyramid.fingerprint}:strip"

    @property
    def identity(self) -> Hashable:
        return "strip", id(self)


def points_as_row(pyramid: Pyramid, numbers: Array) -> Pyramid:
    """Pyramid of one row with the values of points by number, through the same products."""
    from lazypyr.pyramids.open import open_pyramid

    if isinstance(pyramid, MappedPyramid):
        return MappedPyramid([points_as_row(parent, numbers) for parent in pyramid.parents], pyramid.product)
    if not isinstance(pyramid, PointsPyramid | IndexPyramid):
        raise PlanError(f"{pyramid.name}: isn't made of points")
    return open_pyramid(_PointsRow(pyramid, numbers), levels=1, chunks=(1, 65536), nodata=pyramid.nodata)


def product_of_numbers(
    cloud: PointsPyramid, func: Callable[..., Any], n_kdim: int | None, argument_count: int
) -> Pyramid:
    """Pyramid of a function in moraine's signature for points, ``f(data, numbers, *kdims)``.

    `data` is the array of values, shape ``(n, *channels)``, in memory; `numbers` an array of point numbers.
    """
    if cloud.values is None:
        raise PlanError(f"{cloud.name} has no values to make anything of")
    count = argument_count - 2 if n_kdim is None else n_kdim
    channels = cloud.values.shape[1:]
    if not 0 <= count <= 4 or (count and not channels):
        raise PlanError(f"{cloud.name}: {count} key dimensions for values with {len(channels)} channel axes")
    sizes = {"ijkl"[n]: channels[min(n, len(channels) - 1)] for n in range(count)}
    data = np.asarray(cloud.values.read(windows.full_window(cloud.values.shape)))
    sample = np.asarray(func(data, np.zeros(1, np.int64), *(0,) * count))
    if sample.dtype.kind not in "fiub":
        raise PlanError(f"{getattr(func, '__name__', 'function')}: gives {sample.dtype}; a plot needs real numbers")
    dtype = sample.dtype if sample.dtype.kind == "f" else np.dtype("f8")

    def of_index(data_of_level: Any, xslice: slice, yslice: slice, *kdims: int) -> Array:
        index = data_of_level[yslice, xslice]
        out = np.full(index.shape, np.nan, dtype)
        occupied = index >= 0
        if occupied.any():
            out[occupied] = func(data, index[occupied], *kdims)
        return out

    made: Product = define(of_index, kdims=sizes, dtype=dtype, name=getattr(func, "__name__", "function"))
    return cloud.index.map(made)
