"""Virtual products: arrays that exist as a recipe, made at one level of a pyramid when somebody looks.

`apply` is what `Pyramid.map` calls. The module itself is the decorator of users' functions, so that
``@lazypyr.product`` and ``lazypyr.product.coherence`` are one name.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lazypyr.errors import PlanError
from lazypyr.product.base import Input, Output, Product
from lazypyr.product.blocks import Channels
from lazypyr.product.cast import cast
from lazypyr.product.colour import colormap, composite
from lazypyr.product.define import define
from lazypyr.product.embed import dequantise, pca, premultiply, straighten
from lazypyr.product.interfere import amplitude, coherence, intensity, intf, phase
from lazypyr.product.mapped import LevelSource, MappedPyramid, ProductSource, map_pyramids, map_sources
from lazypyr.product.stretch import rescale
from lazypyr.pyramid import Pyramid
from lazypyr.source.base import Source

__all__ = [
    "NAMES",
    "Channels",
    "Input",
    "LevelSource",
    "MappedPyramid",
    "Output",
    "Product",
    "ProductLike",
    "ProductSource",
    "amplitude",
    "apply",
    "apply_to_source",
    "cast",
    "coherence",
    "colormap",
    "composite",
    "define",
    "dequantise",
    "intensity",
    "intf",
    "pca",
    "phase",
    "premultiply",
    "product",
    "product_of",
    "rescale",
    "straighten",
]

ProductLike = str | Callable[..., Any] | Product

_MADE: dict[str, Callable[..., Product]] = {
    "phase": phase,
    "amplitude": amplitude,
    "intensity": intensity,
    "intf_0": lambda: intf("0"),
    "intf_seq": lambda: intf("seq"),
    "intf_all": lambda: intf("all"),
    "coherence": coherence,
    "rescale": rescale,
    "cast": cast,
    "colormap": colormap,
    "composite": composite,
    "pca": pca,
    "premultiply": premultiply,
    "straighten": straighten,
}

NAMES: tuple[str, ...] = tuple(_MADE)
"""Products that are known by name."""


def product_of(product: ProductLike, /, **options: Any) -> Product:
    """The product that a name, a function or a product means.

    Parameters
    ----------
    product : str, callable or Product
        One of `NAMES`; a function, as `define` describes; or what `define` and the functions of this module return.
    **options
        Of the named product or of `define`.

    Raises
    ------
    PlanError
        Unknown name or option; the known ones are listed.
    """
    if isinstance(product, Product):
        if options:
            raise PlanError(
                f"product {product.name!r} is made already; give its options where it is made, got {options}"
            )
        return product
    if isinstance(product, str):
        if product not in _MADE:
            near = difflib.get_close_matches(product, NAMES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if product == "dequantise":
                hint = "; it has two inputs: lazypyr.product.dequantise(codes, scales)"
            raise PlanError(f"no product is called {product!r}; there are {', '.join(NAMES)}{hint}")
        make: Callable[..., Product] = _MADE[product]
    elif callable(product):
        func = product

        def make(**given: Any) -> Product:
            made: Product = define(func, **given)
            return made

    else:
        raise PlanError(f"a product is a name ({', '.join(NAMES)}), a function or a Product; got {product!r}")
    known = inspect.signature(make if isinstance(product, str) else define).parameters
    extra = [name for name in options if name not in known or name == "func"]
    if extra:
        takes = ", ".join(name for name in known if name != "func") or "none"
        raise PlanError(f"product {product!r}: unknown option(s) {', '.join(extra)}; it takes {takes}")
    return make(**options)


def apply(pyramid: Pyramid, product: ProductLike, /, **options: Any) -> Pyramid:
    """The pyramid of a product, after reduction: what `Pyramid.map` calls.

    No pixel is read, except by products that estimate something when they are applied (percentiles, principal
    components): they read a bounded sample, here and now.

    Raises
    ------
    PlanError
        When the product is unknown or isn't for this pyramid.
    SourceError, ComputeError
        When the sample of an estimate can't be read.
    """
    return map_pyramids([pyramid], product_of(product, **options))


def apply_to_source(source: Source | Pyramid, product: ProductLike, /, **options: Any) -> Source:
    """The source of a product, before reduction; of a pyramid its level 0. As `apply` otherwise."""
    base = LevelSource(source) if isinstance(source, Pyramid) else source
    return map_sources([base], product_of(product, **options))


if TYPE_CHECKING:
    product = define
else:

    class _Decorator(ModuleType):
        """The import system sets ``lazypyr.product`` to this module whenever it likes; so the module can be called."""

        def __call__(self, *args: Any, **options: Any) -> Any:
            return define(*args, **options)

    product = sys.modules[__name__]
    product.__class__ = _Decorator
