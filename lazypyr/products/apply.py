"""Products by name, and their application to pyramids and sources."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.products.base import Product
from lazypyr.products.cast import cast
from lazypyr.products.coherence import coherence
from lazypyr.products.color import colormap, composite
from lazypyr.products.define import define
from lazypyr.products.embeddings import Dequantize, dequantize, pca, premultiply, unpremultiply
from lazypyr.products.expression import expression
from lazypyr.products.fitted import map_pyramids, map_sources
from lazypyr.products.insar import amplitude, intensity, intf, phase
from lazypyr.products.stretch import rescale
from lazypyr.products.terrain import aspect, hillshade, slope
from lazypyr.products.text import parsed_product
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.level_source import LevelSource
from lazypyr.pyramids.products import ProductLike
from lazypyr.pyramids.unpacked import UnpackedPyramid
from lazypyr.registry import Registry, nearest
from lazypyr.sources.base import Source

__all__ = [
    "NAMES",
    "PRODUCTS",
    "apply",
    "apply_to_source",
    "dequantize",
    "offered_products",
    "product_again",
    "product_of",
    "register_product",
    "unpacked",
]


def unpacked(pyramid: Pyramid) -> Pyramid:
    """The pyramid in the values that its packed numbers mean."""
    return UnpackedPyramid(pyramid)


def _as_maker(name: str, value: Any) -> Callable[..., Product]:
    if isinstance(value, Product):
        return lambda: value
    if not callable(value):
        raise PlanError(f"product {name!r}: expected a Product, or a function that makes one, got {value!r}")

    @functools.wraps(value)
    def make(*args: Any, **options: Any) -> Product:
        made = value(*args, **options)
        if not isinstance(made, Product):
            raise PlanError(
                f"product {name!r}: expected its function to make a Product, got {type(made).__name__}; "
                "decorate a function of pixels with lazypyr.product"
            )
        return made

    return make


_BUILT_IN: dict[str, Callable[..., Product]] = {
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
    "unpremultiply": unpremultiply,
    "hillshade": hillshade,
    "slope": slope,
    "aspect": aspect,
    "expression": expression,
}
# Products of several inputs, which only recipes make of a name.
_OF_SEVERAL: dict[str, Callable[..., Product]] = {"dequantize": Dequantize}
PRODUCTS: Registry[Callable[..., Product]] = Registry("lazypyr.products", "product", _BUILT_IN, _as_maker)
NAMES: tuple[str, ...] = tuple(_BUILT_IN)
"""Names of the built-in products."""


def register_product(name: str, product: Product | Callable[..., Product]) -> None:
    """Product by name: ``map(name)``, ``product=name`` and the command line find it afterwards, in this process.

    Parameters
    ----------
    name : str
        Its name; a registered one is replaced, a built-in one can't be.
    product : Product or callable
        Product (a function decorated with `lazypyr.product` is one), or a function or class that makes one of options.

    Raises
    ------
    PlanError
        For the name of a built-in product, or something that is neither.

    See Also
    --------
    define : Products of functions.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.register_product("squared", lazypyr.product(lambda z: z[()] ** 2, version="1"))
    >>> lazypyr.open_pyramid(np.array([[1.0, 3.0]])).map("squared").read(0)
    array([[1., 9.]])
    """
    PRODUCTS.register(name, product)


def _required_options(make: Callable[..., Product]) -> list[str]:
    """Options without a default: a product that has any can't be offered by its name alone."""
    parameters = inspect.signature(make).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@functools.cache
def offered_products(viewer: str) -> tuple[str, ...]:
    """Names of the products that a kind of viewer offers of every pyramid that allows them, in its order.

    Parameters
    ----------
    viewer : str
        "plot" or "server".

    Returns
    -------
    tuple of str
        Some of `NAMES`.

    See Also
    --------
    Product : Its `display` says who offers it.

    Examples
    --------
    >>> import lazypyr
    >>> lazypyr.product.offered_products("plot")[:3]
    ('amplitude', 'intensity', 'phase')
    """
    complete = {name: make for name, make in _BUILT_IN.items() if not _required_options(make)}
    ranks = {name: make().display.get("offered", {}).get(viewer) for name, make in complete.items()}
    return tuple(sorted((name for name in ranks if ranks[name] is not None), key=lambda name: ranks[name] or 0))


def product_of(product: ProductLike, /, **options: Any) -> Product:
    """Product of a name, a function or a product.

    Parameters
    ----------
    product : str, callable or Product
        One of `NAMES`, or a name that is registered, perhaps with options, "pca:n=3" (see `lazypyr.products.text`);
        "expression:" and a formula; a function, as `define` describes; or a result of `define` and the functions of this module.
    **options : dict
        Options of the named product or of `define`.

    Returns
    -------
    Product
        The product itself where one is given.

    Raises
    ------
    PlanError
        For an unknown name or option, with those that there are.

    See Also
    --------
    apply : Product of a pyramid.

    Examples
    --------
    >>> import lazypyr
    >>> lazypyr.product.product_of("coherence", window=3).depth
    (1, 1)
    """
    if isinstance(product, Product):
        if options:
            raise PlanError(
                f"product {product.name!r} is made already; give its options where it is made, got {options}"
            )
        return product
    if isinstance(product, str):
        product, given = parsed_product(product)
        options = {**given, **options}
        if product not in PRODUCTS:
            hint = nearest(product, PRODUCTS)
            if product == "dequantize":
                hint = "; it has two inputs: lazypyr.product.dequantize(codes, scales)"
            raise PlanError(f"no product is called {product!r}; there are {', '.join(PRODUCTS)}{hint}")
        make: Callable[..., Product] = PRODUCTS[product]
    elif callable(product):
        func = product

        def make(**given: Any) -> Product:
            made: Product = define(func, **given)
            return made

    else:
        raise PlanError(f"a product is a name ({', '.join(PRODUCTS)}), a function or a Product; got {product!r}")
    parameters = inspect.signature(make if isinstance(product, str) else define).parameters
    extra = [name for name in options if name not in parameters or name == "func"]
    if extra:
        takes = ", ".join(name for name in parameters if name != "func") or "none"
        raise PlanError(f"product {product!r}: unknown option(s) {', '.join(extra)}; it takes {takes}")
    return make(**options)


def product_again(entry: Mapping[str, Any], /) -> Product:
    """Product of an entry of a recipe: by name and arguments, with what was estimated when the recipe was written."""
    name, arguments, estimates = entry["name"], entry.get("arguments", {}), entry.get("estimates", {})
    if name in _OF_SEVERAL:
        return _OF_SEVERAL[name](**arguments)
    product = product_of(name, **arguments)
    return product.with_estimates(**estimates) if estimates else product


def apply(pyramid: Pyramid, product: ProductLike, /, **options: Any) -> Pyramid:
    """Pyramid of a product, after reduction: `Pyramid.map` as a function.

    No pixel is read, except by products that estimate something when they are applied (percentiles, principal components):
    they read a bounded sample, at once.

    Parameters
    ----------
    pyramid : Pyramid
        First input of the product.
    product : str, callable or Product
        Product as in `product_of`.
    **options : dict
        Options of the named product or of `define`.

    Returns
    -------
    Pyramid
        The product at every level of `pyramid`, computed when it is read.

    Raises
    ------
    PlanError
        When the product is unknown or isn't for this pyramid.
    SourceError, ComputeError
        When the sample of an estimate can't be read.

    See Also
    --------
    apply_to_source : Product before reduction.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[3 + 4j]], "c8"))
    >>> lazypyr.product.apply(pyramid, "amplitude").read(0)
    array([[5.]], dtype=float32)
    """
    return map_pyramids([pyramid], product_of(product, **options))


def apply_to_source(source: Source | Pyramid, product: ProductLike, /, **options: Any) -> Source:
    """Source of a product, before reduction; of a pyramid the product of its level 0.

    Parameters
    ----------
    source : Source or Pyramid
        First input of the product.
    product : str, callable or Product
        Product as in `product_of`.
    **options : dict
        Options of the named product or of `define`.

    Returns
    -------
    Source
        The product at full resolution, computed when it is read.

    Raises
    ------
    PlanError
        When the product is unknown or isn't for this source.
    SourceError, ComputeError
        When the sample of an estimate can't be read.

    See Also
    --------
    apply : Product after reduction.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[3 + 4j]], "c8"))
    >>> lazypyr.product.apply_to_source(pyramid, "amplitude").read(((0, 1), (0, 1)))
    array([[5.]], dtype=float32)
    """
    base = LevelSource(source) if isinstance(source, Pyramid) else source
    return map_sources([base], product_of(product, **options))
