"""Products in recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazypyr._util.tokenize import tokenize
from lazypyr.errors import PlanError
from lazypyr.metadata.json_values import clean
from lazypyr.products.base import Product
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.products import load_products
from lazypyr.sources.base import Source

__all__ = ["recipe_of"]


def recipe_of(
    key: str, parents: Sequence[Pyramid | Source], product: Product, place: Callable[[str], str]
) -> dict[str, Any]:
    """Members of the recipe of a product: those of its first input, and an entry more under `key`."""
    first, *others = (parent.recipe_arguments(place) for parent in parents)
    if key == "source_products" and ("order" in first or "bounds" in first):
        raise PlanError(
            f"product {product.name!r}: a recipe has order and bounds for what a source product makes, not for its input"
        )
    if product == getattr(getattr(parents[0], "product", None), "followed_by", None):
        return first
    return {**first, key: [*first.get(key, ()), _entry(product, others)]}


def _entry(product: Product, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A product and its further inputs as a recipe has them; PlanError where its name doesn't make it."""
    for arguments in (product.recipe_arguments(), {}):  # a product that is registered as it is takes none
        facts = {"arguments": arguments, "estimates": product.estimates(), "with": list(others)}
        entry = {"name": product.name, **{key: value for key, value in facts.items() if value}}
        try:
            made = load_products().product_again(clean(entry, "of the recipe"))
        except (PlanError, TypeError):
            continue
        if tokenize(made) == tokenize(product):
            return entry
    raise PlanError(
        f"product {product.name!r}: a recipe has no code, and this is a function or class of yours: give it this name, "
        f"lazypyr.register_product({product.name!r}, ...), also where the recipe is opened"
    )
