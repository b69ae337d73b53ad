"""Values of single points, through the same products as the rasters of their cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.points.columns import gather
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.products.base import Product
from lazypyr.products.define import define
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source

__all__ = ["cloud_of", "gather_values", "product_of_numbers"]

Array = np.ndarray[Any, Any]


def cloud_of(pyramid: Pyramid) -> PointsPyramid:
    """Point pyramid at the base of a pyramid and its products."""
    while pyramid.parents:
        pyramid = pyramid.parents[0]
    if not isinstance(pyramid, PointsPyramid):
        raise PlanError(f"{pyramid.name}: expected points, as lazypyr.from_points gives, got {type(pyramid).__name__}")
    return pyramid


def gather_values(cloud: PointsPyramid, source: Source, numbers: Array, channel: tuple[int, ...] = ()) -> Array:
    """Values ``source[numbers, *channel]`` of a cloud's column."""
    return gather(source, numbers, channel, cloud.cloud.chunk_cache, SERIAL)


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
