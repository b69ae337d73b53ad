"""Functions of users in plots: products whose key dimensions are as long as the sliders that are made for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import Product
from lazypyr.products.define import define
from lazypyr.products.mapped import input_of
from lazypyr.products.user import KDIM_NAMES, Function
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.products import ProductLike

__all__ = ["OPEN_SIZE", "Shown", "arguments_of", "as_product", "count_of_kdims", "shown_pyramid"]

# Length of a key dimension of which only the function knows where it ends.
OPEN_SIZE = 2**31 - 1


@dataclass(frozen=True)
class Shown:
    """Pyramid that a plot draws.

    Attributes
    ----------
    pyramid : Pyramid
    sizes : tuple of int or None, optional
        Lengths of the sliders of a user's function, None where nothing says one; its key dimensions may be longer
        (`redim` says so) or shorter. Without it they are those of the pyramid.
    """

    pyramid: Pyramid
    sizes: tuple[int | None, ...] | None = None


def shown_pyramid(pyramid: Pyramid, post_proc: ProductLike | None, n_kdim: int | None) -> Shown:
    """Pyramid of what `post_proc` makes of another one."""
    if post_proc is None:
        return Shown(pyramid)
    source = input_of(pyramid, 0)
    made = as_product(post_proc, n_kdim, len(source.channel_axes))
    if made is post_proc:
        return Shown(pyramid.map(made))
    product = cast("Function[..., Any]", made)
    kdims = product.kdims or ()
    channels = source.channel_shape
    own = [channels[min(n, len(channels) - 1)] if channels else None for n in range(len(kdims))]
    sizes = tuple(size or default for (_, size), default in zip(kdims, own, strict=True))
    opened = replace(product, kdims=tuple((name, size or OPEN_SIZE) for name, size in kdims))
    return Shown(pyramid.map(replace(opened, dtype=_dtype(opened, pyramid))), sizes)


def _dtype(product: Function[..., Any], pyramid: Pyramid) -> np.dtype[Any] | None:
    """Dtype that holds whatever real numbers a function gives: those of one index aren't those of all."""
    try:
        tried = product.fit([input_of(pyramid, 0)], lambda _: np.empty((0, 1))).output_spec(input_of(pyramid, 0)).dtype
    except PlanError:  # one pixel of ones is no window that every function takes
        return np.dtype("f8")
    return np.dtype("f8") if tried.kind in "biuf" else tried


def as_product(post_proc: ProductLike, n_kdim: int | None, n_channel_axes: int | None = None) -> ProductLike:
    """Product of a name, a product, or a function, also one in moraine's signature with arguments of any names.

    ``*kdims`` are as many as `n_kdim` says, else as there are channel axes.
    """
    if isinstance(post_proc, str | Product) or not callable(post_proc):
        if n_kdim is not None and not isinstance(post_proc, str | Product):
            raise PlanError(f"post_proc: expected a name or a function, got {post_proc!r}")
        return post_proc
    func: Callable[..., Any] = post_proc
    plain, is_open = arguments_of(func)
    if is_open and n_kdim is None:
        n_kdim = n_channel_axes
    slices = plain[1:3] == ["xslice", "yslice"]
    given = len(plain) - 3
    moraine = not slices and (
        (n_kdim is not None and (given == n_kdim or (is_open and given == 0)))
        or (len(plain) >= 3 and plain[1][:1] == "x" and plain[2][:1] == "y")
    )
    if moraine:
        n_kdim = given if n_kdim is None else n_kdim

        def sliced(data: Any, xslice: slice, yslice: slice, *kdims: int) -> Any:
            return func(data, xslice, yslice, *kdims)

        made: Product = define(sliced, kdims=n_kdim, name=getattr(func, "__name__", "function"))
        return made
    plain_product: Product = define(func, kdims=n_kdim)
    return plain_product


def arguments_of(func: Callable[..., Any]) -> tuple[list[str], bool]:
    """Names of the required positional arguments of a function, and True if it takes any number of further ones."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return [], False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    plain = [p.name for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    return plain, any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)


def count_of_kdims(n_kdim: int | None, given: int, *, is_open: bool, n_channel_axes: int) -> int:
    """Number of key dimensions of a function of point numbers."""
    count = n_kdim if n_kdim is not None else n_channel_axes if is_open else given
    if not 0 <= count <= len(KDIM_NAMES):
        raise PlanError(f"n_kdim: expected 0 to {len(KDIM_NAMES)} key dimensions, got {count}")
    return count
