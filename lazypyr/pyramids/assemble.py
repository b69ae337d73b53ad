"""Pyramids of sources that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Grid
from lazypyr.geometry.windows import level_count
from lazypyr.metadata.packing import OF_PACKING, Packing, packing_of
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.isotropic import isotropic_joins
from lazypyr.pyramids.placement import completed_placements, transposed_placement
from lazypyr.pyramids.products import ProductLike, load_products, mapped
from lazypyr.pyramids.reduced import ReducedPyramid
from lazypyr.pyramids.settings import (
    ISOTROPIC,
    check_levels,
    chunk_shape,
    factors_by_axis,
    level_option,
    ordered_axes,
)
from lazypyr.reducers import REDUCERS, Reducer, reducer_of
from lazypyr.sources.open import OpenedSource
from lazypyr.sources.transposed import TransposedSource
from lazypyr.sources.unpacked import UnpackedSource

__all__ = ["assembled"]


def assembled(
    opened: OpenedSource,
    *,
    method: str | Callable[..., Any] | Reducer | None = None,
    product: ProductLike | Sequence[ProductLike] | None = None,
    source_product: ProductLike | None = None,
    order: str | Iterable[str] | None = None,
    levels: int | str | None = None,
    chunks: int | Sequence[int] | None = None,
    factors: Mapping[str, int] | str | None = None,
    bounds: Sequence[float] | None = None,
    decode: bool = False,
) -> Pyramid:
    """Pyramid of what was opened; the parameters are those of `open_pyramid`."""
    count, recompute = level_option(levels, opened.sources[0].name)
    if recompute:
        opened = replace(opened, sources=opened.sources[:1], scales=None)
    if source_product is not None:
        opened = OpenedSource((load_products().apply_to_source(opened.sources[0], source_product),))
    reducer = _default_reducer(opened) if method is None else reducer_of(method)
    opened = _decoded(opened, reducer, decode=decode)
    sizes = (256, 256) if chunks is None else chunks
    result = _reduced(opened, reducer, order, count, sizes, factors, bounds, recomputed=recompute)
    pyramid: Pyramid = mapped(result, product)
    return pyramid


def _default_reducer(opened: OpenedSource) -> Reducer:
    """The reducer by which lazypyr made the levels that are there, else the default: of labels their mode."""
    ome = opened.sources[0].metadata.ome
    default = "mode" if ome is not None and ome.image_label is not None else "stride"
    return Reducer.recorded(opened.attrs.get("lazypyr")) or REDUCERS[default]


def _decoded(opened: OpenedSource, reducer: Reducer, *, decode: bool) -> OpenedSource:
    """Levels unpacked where that is asked for, and where nothing right can be made of packed numbers.

    That is so of some reducers, and where levels are packed in several ways: one array's attributes are those of all.
    """
    packings = _packings(opened)
    first = packings[0]
    exact = first.scales and reducer.computes and not reducer.affine
    mixed = any(_meaning(packing) != _meaning(first) for packing in packings)
    dtype = np.dtype("f8") if exact and first.numbers.kind != "c" else np.result_type(*(p.dtype for p in packings))
    if not (exact or mixed or (decode and not (first.is_plain and first.nodata is None))):
        return opened
    levels = zip(opened.sources, packings, strict=True)
    return replace(
        opened, sources=tuple(UnpackedSource(s, dtype, is_recorded=decode, packing=packing) for s, packing in levels)
    )


def _packings(opened: OpenedSource) -> list[Packing]:
    """Packing of each level: its own, or where it states none that of the finest one."""
    found = [packing_of(source.metadata, source.dtype) for source in opened.sources]
    stated = [bool(OF_PACKING & set(source.metadata.attrs)) for source in opened.sources]
    return [packing if own else found[0] for packing, own in zip(found, stated, strict=True)]


def _meaning(packing: Packing) -> tuple[Any, ...]:
    return packing.numbers, packing.scale, packing.offset, set(packing.nodata_values), packing.valid


def _reduced(
    opened: OpenedSource,
    reducer: Reducer,
    order: str | Iterable[str] | None,
    levels: int | None,
    chunks: int | Sequence[int],
    factors: Mapping[str, int] | str | None,
    bounds: Sequence[float] | None,
    *,
    recomputed: bool,
) -> Pyramid:
    first = opened.sources[0]
    name, axes = first.name, first.axes
    for value in first.metadata.nodata_values or (None,):
        reducer.check(first.dtype, value)
    scales = opened.scales
    sources = opened.sources
    if bounds is not None:
        ny, nx = (first.shape[axes.index(a)] for a in SPATIAL_AXES)
        place = Grid.of_bounds(bounds, nx, ny).coords()
        for source in sources:
            source.metadata, source.given_bounds = source.metadata.placed(place), tuple(bounds)
    if order is not None:
        ordered = ordered_axes(order, axes, name)
        back = [axes.index(a) for a in ordered]
        sources = tuple(TransposedSource(source, ordered) for source in sources)
        scales = scales and tuple(place and transposed_placement(place, back) for place in scales)
        axes = ordered
    by_axis = factors_by_axis(factors, axes, name)
    scales = completed_placements(scales, [source.shape for source in sources], by_axis)
    chunk = chunk_shape(chunks, axes, first.dtype, name)
    check_levels(levels, name)
    if not reducer.computes:
        if levels is not None and levels > len(sources):
            raise PlanError(
                f"{name}: its {len(sources)} levels were made by the user's reducer {reducer.name!r}, of which the name is "
                f"known only; for {levels} levels give the function as method="
            )
        levels = levels or len(sources)
    sources, joins = sources[: levels or len(sources)], None
    if factors == ISOTROPIC:
        last = len(sources) - 1
        # Stored levels are as they are, whenever ours begin to halve z.
        scales = scales or tuple((tuple(float(f**k) for f in by_axis), None) for k in range(len(sources)))
        joins = isotropic_joins(sources[0], scales[last][0], last)
        in_plane = [f if axis in SPATIAL_AXES else 1 for axis, f in zip(axes, by_axis, strict=True)]
        levels = levels or last + level_count(sources[last].shape, in_plane, chunk)
    return ReducedPyramid(
        sources,
        reducer,
        factors=by_axis,
        joins=joins,
        chunks=chunk,
        levels=levels,
        nodata=first.nodata,
        scales=scales,
        recomputed=recomputed,
    )
