"""Values of single points, through the same products as the rasters of their cloud."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.plot.functions import OPEN_SIZE, Shown, count_of_kdims
from lazypyr.points.columns import ChunkCache, gather, in_memory
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.products.base import Product
from lazypyr.products.context import Ranges
from lazypyr.products.define import define
from lazypyr.products.sliced import SlicedArray
from lazypyr.products.user import KDIM_NAMES
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source

__all__ = ["ColumnValues", "cloud_of", "gather_values", "product_of_numbers"]

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


class ColumnValues(SlicedArray):
    """Values of points, shape ``(n, *channels)``, read where they are indexed; what points share of a chunk is read once."""

    def __init__(self, source: Source, cache: ChunkCache | None = None) -> None:
        self._source, self._cache = source, cache
        super().__init__(source.shape, source.dtype, source.chunks, self._block)

    def __lazypyr_token__(self) -> str:
        return f"values of points {self._source.identity!r}"

    def _block(self, ranges: Ranges) -> Array:
        source, cache = self._source, self._cache
        array = in_memory(source)
        if array is not None:
            return array[tuple(slice(r.start, r.stop) for r in ranges)]
        window = tuple((r.start, r.stop) for r in ranges)
        indices = list(windows.chunk_index_windows(window, source.chunks)) if all(map(len, ranges)) else []
        if cache is None or len(indices) != 1:
            return np.asarray(source.read(window))
        chunk = windows.chunk_window(indices[0], source.chunks, source.shape)
        block: Array = cache.cache.get((source.identity, indices[0]), partial(source.read, chunk))
        return block[windows.slices_within(window, chunk)]


def product_of_numbers(
    cloud: PointsPyramid, func: Callable[..., Any], n_kdim: int | None, given: int, *, is_open: bool
) -> Shown:
    """Pyramid of a function in moraine's signature for points, ``f(data, numbers, *kdims)``.

    `data` is a `ColumnValues`; `numbers` an array of point numbers; `given` the number of kdims that the function names.
    """
    if cloud.values is None:
        raise PlanError(f"{cloud.name} has no values to make anything of")
    channels = cloud.values.shape[1:]
    count = count_of_kdims(n_kdim, given, is_open=is_open, n_channel_axes=len(channels))
    sizes = tuple(channels[min(n, len(channels) - 1)] if channels else None for n in range(count))
    data = ColumnValues(cloud.values, cloud.cloud.chunk_cache)
    name = getattr(func, "__name__", "function")
    try:
        sample = np.asarray(func(data, np.zeros(1, np.int64), *(0,) * count))
    except Exception as error:
        raise PlanError(f"{name}: could not be tried on point 0: {type(error).__name__}: {error}") from error
    if sample.dtype.kind not in "fiub":
        raise PlanError(f"{name}: gives {sample.dtype}; a plot needs real numbers")

    def of_index(data_of_level: Any, xslice: slice, yslice: slice, *kdims: int) -> Array:
        index = data_of_level[yslice, xslice]
        out = np.full(index.shape, np.nan)
        occupied = index >= 0
        if occupied.any():
            out[occupied] = func(data, index[occupied], *kdims)
        return out

    made: Product = define(of_index, kdims=dict.fromkeys(KDIM_NAMES[:count], OPEN_SIZE), dtype="f8", name=name)
    return Shown(cloud.index.map(made), sizes)
