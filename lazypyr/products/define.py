"""Definition of products by users' functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, overload

from lazypyr._util.checks import is_whole, one_or_two
from lazypyr.errors import PlanError
from lazypyr.products.base import converted
from lazypyr.products.user import KDIM_NAMES, Function, supported

__all__ = ["define"]

_NODATA = ("raw", "nan", "masked")
_FACTS = ("spacing", "coords", "level", "nodata")
P = ParamSpec("P")
R = TypeVar("R")


class FunctionOptions(TypedDict, total=False):
    """Keywords of `define`; see there."""

    kdims: int | Sequence[str] | Mapping[str, int | None] | None
    channels: Mapping[str, int] | None
    dtype: Any
    name: str | None
    units: str | None
    fill_value: Any
    depth: int | tuple[int, int]
    serial: bool
    version: str | None
    nodata: str


@overload
def define(func: Callable[P, R], /, **options: Unpack[FunctionOptions]) -> Function[P, R]: ...


@overload
def define(func: None = None, /, **options: Unpack[FunctionOptions]) -> Callable[[Callable[P, R]], Function[P, R]]: ...


def define(
    func: Callable[..., Any] | None = None,
    /,
    *,
    kdims: int | Sequence[str] | Mapping[str, int | None] | None = None,
    channels: Mapping[str, int] | None = None,
    dtype: Any = None,
    name: str | None = None,
    units: str | None = None,
    fill_value: Any = None,
    depth: int | tuple[int, int] = 0,
    serial: bool = False,
    version: str | None = None,
    nodata: str = "raw",
) -> Any:
    """Product of a function; as a decorator with or without options.

    The function is called in one of three ways. ``f(z, *kdims) -> ndarray (y, x)``, for each index of the kdims: ``z[i]``
    is the 2-D block of channel i, read only if asked for (`lazypyr.product.Channels`).
    ``f(data, xslice, yslice, *kdims) -> ndarray (y, x)``, known by those names: `data` is the whole level, read where it is
    indexed, as a zarr array is (also by steps, lists, ``oindex`` and ``vindex``); this is moraine's signature, x before y. With `channels`, ``f(block) -> ndarray (y, x, *channels)``: `block` has
    axes y, x and all channels of the input. Blocks are read-only, except for what is sliced of `data`, which is a copy; of a plain
    raster `z` itself is the block. The function should be pure: the same pixels from the same input, in any thread.

    Keyword-only parameters of these names are given facts of the level that is computed: `spacing`, the distance of pixels along
    y and x in units of the coordinates (in pixels of level 0 without any), which grows with the level; `coords`, the coordinates
    of the block's pixels, ``coords["y"]`` and ``coords["x"]``; `level`; and `nodata`, the declared value or None.

    Parameters
    ----------
    func : callable, optional
        The function; without it the result is a decorator.
    kdims : int, names, or names with sizes, optional
        The axes after y, x of the result. By default those of the function's arguments that have no default, and of ``*kdims`` after
        moraine's arguments as many as the input has channel axes; a size that isn't given is that of the input's channel axis at the
        same place, or of its last one.
    channels : mapping of names to sizes, optional
        Makes it a function of blocks, with these axes after y, x; ``{}`` for none.
    dtype : dtype-like, optional
        Dtype of the result. Without it the function is tried once, when applied, on one pixel of ones. Each block is
        checked; it is cast where that is safe and refused where it isn't.
    name : str, optional
        Name in messages and metadata; by default the function's own.
    units : str, optional
        UDUNITS name of the result.
    fill_value : scalar, optional
        Value where there is nothing; by default NaN for floats, otherwise 0.
    depth : int or (int, int), default 0
        Pixels along y and x around a block that the result depends on. Blocks come wider by that much (less at the edges of
        the level) and so does the result; it is cropped afterwards.
    serial : bool, default False
        Never run it in two threads at once.
    version : str, optional
        Stands for the source text in fingerprints, also of the functions that it calls. Without it any change of the text
        voids what an overlay has kept; a function without source text (made by ``exec``) is another one in each process.
    nodata : "raw", "nan" or "masked", default "raw"
        Pixels of the declared nodata value come as that value, as NaN (integers as floats), or, with those that are NaN or
        infinite, masked (`numpy.ma`); what is masked in the result is `fill_value`.

    Returns
    -------
    Product
        Callable like the function itself. It pickles if the function can be imported by its name or is one of a notebook or script
        (by cloudpickle, where that is installed), and always with cloudpickle.

    Raises
    ------
    PlanError
        For options that don't fit the function.

    See Also
    --------
    Product : Base of products that are more than a function.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> @lazypyr.product(units="1")
    ... def ratio(z, i):
    ...     return z[i] / z[0]
    >>> pyramid = lazypyr.open_pyramid(np.array([[[1.0, 2.0, 4.0]]]), axes="yxi").map(ratio)
    >>> pyramid.read(0)
    array([[[1., 2., 4.]]])
    """
    if func is None:
        return lambda func: define(
            func, kdims=kdims, channels=channels, dtype=dtype, name=name, units=units, fill_value=fill_value,
            depth=depth, serial=serial, version=version, nodata=nodata,
        )  # fmt: skip
    if not callable(func):
        raise PlanError(f"a product is a name, a function or a Product; got {func!r}")
    label = str(name or getattr(func, "__name__", type(func).__name__))
    style, axes = _signature(func, label, kdims, channels)
    reach = one_or_two(depth, f"product {label!r}: depth is one or two whole numbers of at least 0", 0)
    declared = None if dtype is None else supported(label, dtype)
    if nodata not in _NODATA:
        raise PlanError(f"product {label!r}: expected nodata {', '.join(map(repr, _NODATA))}, got {nodata!r}")
    asks = _asked(func)
    return Function(func, label, style, axes, declared, units, fill_value, reach, serial, version, nodata, asks)


def _asked(func: Callable[..., Any]) -> tuple[str, ...]:
    """Facts of the level that a function takes as keyword-only parameters."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name in _FACTS)


def _signature(
    func: Callable[..., Any],
    label: str,
    kdims: int | Sequence[str] | Mapping[str, int | None] | None,
    channels: Mapping[str, int] | None,
) -> tuple[str, tuple[tuple[str, int | None], ...] | None]:
    """Style and kdims of a function, checked against its arguments; None of ``*kdims``, as many as there are channel axes."""
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        parameters = None
    style, given = "channels", 1
    if channels is not None:
        if kdims is not None:
            raise PlanError(f"product {label!r}: kdims= is for functions of channels, channels= for those of blocks")
        style = "block"
        expected = f"product {label!r}: channels is a mapping of names to sizes, got {channels!r}"
        axes: dict[str, int | None] = converted(lambda: dict(channels), expected)
    else:
        named = parameters or []
        names = [p.name for p in named]
        if names[1:3] == ["xslice", "yslice"]:
            style, given = "slices", 3
            if kdims is None and len(names) > given and named[given].kind is inspect.Parameter.VAR_POSITIONAL:
                return style, None
        axes = _named(label, kdims, parameters, given)
    for axis, size in axes.items():
        fine = isinstance(axis, str) and axis.isidentifier() and axis not in ("y", "x")
        if not fine or not ((size is None and style != "block") or is_whole(size, 1)):
            raise PlanError(f"product {label!r}: an axis needs a name other than y, x and a size above 0, got {axes!r}")
    if parameters is not None:
        count = given + (0 if style == "block" else len(axes))
        try:
            inspect.signature(func).bind(*range(count), **dict.fromkeys(_asked(func)))
        except TypeError as error:
            raise PlanError(
                f"product {label!r} is called with {count} argument(s) ({_call(style, axes)}), which its signature "
                f"{inspect.signature(func)} doesn't take: {error}"
            ) from None
    return style, tuple((axis, None if size is None else int(size)) for axis, size in axes.items())


def _call(style: str, axes: Mapping[str, Any]) -> str:
    first = {"channels": ["z"], "block": ["block"], "slices": ["data", "xslice", "yslice"]}[style]
    return ", ".join([*first, *([] if style == "block" else axes)])


def _named(
    label: str,
    kdims: int | Sequence[str] | Mapping[str, int | None] | None,
    parameters: list[inspect.Parameter] | None,
    given: int,
) -> dict[str, int | None]:
    """Names and sizes of the kdims, from what was declared or else from the function's arguments."""
    if isinstance(kdims, Mapping):
        return dict(kdims)
    if isinstance(kdims, int):
        if not 0 <= kdims <= len(KDIM_NAMES):
            raise PlanError(f"product {label!r}: kdims={kdims} is not between 0 and {len(KDIM_NAMES)}; give names")
        return dict.fromkeys(KDIM_NAMES[:kdims])
    if kdims is not None:
        expected = f"product {label!r}: kdims is a number, names, or names with sizes, got {kdims!r}"
        given_names = converted(lambda: dict.fromkeys(kdims), expected)
        if len(given_names) != len(tuple(kdims)):
            raise PlanError(f"product {label!r}: kdims {tuple(kdims)!r} has a name twice")
        return given_names
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if parameters is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        raise PlanError(f"product {label!r}: its arguments don't say which kdims it has; declare kdims=")
    plain = [p for p in parameters if p.kind not in open_ended and p.default is inspect.Parameter.empty]
    return dict.fromkeys(p.name for p in plain[given:])
