"""Entrance to the products, which build on this package: the package root says how they are imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["ProductLike", "load_products", "mapped", "provide_products"]


class SupportsName(Protocol):
    """A product, as far as this package knows one: `lazypyr.product.Product` is."""

    @property
    def name(self) -> str:
        """Name in messages and metadata."""


ProductLike = str | Callable[..., Any] | SupportsName
"""A product by name, a function, or a `lazypyr.product.Product`."""


def mapped(pyramid: Any, products: ProductLike | Sequence[ProductLike] | None) -> Any:
    """Pyramid after one product, or several in their order."""
    chain = products if isinstance(products, list | tuple) else [] if products is None else [products]
    for product in chain:
        pyramid = pyramid.map(product)
    return pyramid


class Products(Protocol):
    """Application of products to pyramids and sources, implemented by `lazypyr.products`, which builds on this package."""

    def apply(self, pyramid: Any, product: ProductLike, /, **options: Any) -> Any:
        """The product of a pyramid, after reduction."""

    def apply_to_source(self, source: Any, product: ProductLike, /, **options: Any) -> Any:
        """The product of a source, before reduction."""

    def unpacked(self, pyramid: Any, /) -> Any:
        """The pyramid in the values that its packed numbers mean."""

    def dequantize(self, codes: Any, scales: Any, /) -> Any:
        """Codes times the scale of their pixel, of two sources."""

    def product_again(self, entry: Mapping[str, Any], /) -> Any:
        """The product that a recipe has as `entry`."""


_load: Callable[[], Products]


def provide_products(load: Callable[[], Products]) -> None:
    """Set the function that imports `lazypyr.products`; the package root does, so that imports run one way."""
    global _load
    _load = load


def load_products() -> Products:
    """The products, imported when first asked for."""
    return _load()
