"""Products of pyramids and sources, fitted to what they are of before they are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.products.base import Product
from lazypyr.products.context import Array
from lazypyr.products.mapped import MappedPyramid, ProductSource, input_of, input_of_source
from lazypyr.products.sampling import enough, sample_pixels
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.sources.base import Source
from lazypyr.sources.unpacked import unpacked_source

__all__ = ["map_pyramids", "map_sources"]


def map_pyramids(parents: Sequence[Pyramid], product: Product) -> MappedPyramid:
    """The pyramid of a product of values, fitted to its first input if it has anything to fit."""
    parents = [parent.unpacked for parent in parents]
    first = parents[0]
    levels = [input_of(first, level) for level in range(len(first.levels))]

    def sample(channels: Sequence[int] | None) -> Array:
        base = enough(levels[: first.n_stored_levels], channels)
        return sample_pixels(
            levels[base:],
            first.chunks,
            lambda level, window: SERIAL.read(first, base + level, window),
            channels,
            cost=first.decoded_bytes,
        )

    _counted(product, parents)
    product = product.fit([input_of(p, 0) for p in parents], sample)
    mapped = MappedPyramid(parents, product)
    return mapped if product.followed_by is None else map_pyramids([mapped], product.followed_by)


def map_sources(parents: Sequence[Source], product: Product) -> ProductSource:
    """The source of a product of values, fitted to its first input if it has anything to fit."""
    parents = [unpacked_source(parent) for parent in parents]
    first = parents[0]
    inputs = [input_of_source(s) for s in parents]

    def sample(channels: Sequence[int] | None) -> Array:
        return sample_pixels(
            inputs[:1],
            first.chunks,
            lambda _, window: first.read(window),
            channels,
            cost=first.decoded_bytes,
        )

    _counted(product, parents)
    product = product.fit(inputs, sample)
    mapped = ProductSource(parents, product)
    return mapped if product.followed_by is None else map_sources([mapped], product.followed_by)


def _counted(product: Product, parents: Sequence[Any]) -> None:
    if len(parents) != product.inputs:
        raise PlanError(f"product {product.name!r} is of {product.inputs} input(s), got {len(parents)}")
