"""Products: output pixels made of input pixels at one level, with shape and dtype declared beforehand."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.products.context import Array, ProductContext, Ranges, Read

__all__ = [
    "BuiltInProduct",
    "Input",
    "Output",
    "Product",
    "by_channel",
    "converted",
    "empty_of",
    "need_complex",
    "need_real",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Input:
    """An input of a product: all that the product may know of it besides pixels.

    Parameters
    ----------
    name : str
        Name in messages.
    axes : tuple of str
        One name an axis, "y" and "x" among them.
    shape : tuple of int
        Shape of level 0 when a product is specified and fit, and of the level that is computed afterwards.
    dtype : numpy.dtype
        Dtype of the pixels.
    nodata : scalar, optional
        Value that declares a pixel to hold nothing.
    fill_value : scalar, default 0
        Value where there is nothing.
    units : str, optional
        UDUNITS name of the values.
    display : Mapping, optional
        Facts for viewers, as `Output` has them.
    level : int, default 0
        Level of the pyramid that is computed.
    coords : Mapping of str to Coord
        Coordinates of that level's pixels, of the axes that have any.
    scale : (float, float), default (1.0, 1.0)
        Pixels of level 0 along y and x that a pixel is apart from the next.
    crs : str, optional
        Coordinate reference system of x and y.
    chunks : tuple of int, optional
        Sizes of the chunks in which pixels are read.

    See Also
    --------
    Output : The result of a product.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> source = lazypyr.product.Input("stack", ("y", "x", "i"), (100, 200, 3), np.dtype("f4"), nodata=-1.0)
    >>> source.channel_axes, source.channel_shape, source.has_nodata
    (('i',), (3,), True)
    >>> source.invalid(np.array([1, -1, np.nan], "f4"))
    array([False,  True,  True])
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nodata: Any = None
    fill_value: Any = 0
    units: str | None = None
    display: Mapping[str, Any] | None = None
    level: int = 0
    coords: Mapping[str, Coord] = field(default_factory=dict)
    scale: tuple[float, float] = (1.0, 1.0)
    crs: str | None = None
    chunks: tuple[int, ...] | None = None

    @cached_property
    def spacing(self) -> tuple[float, float]:
        """Distance of pixels along y and x, in units of the coordinates; in pixels of level 0 where there are none."""
        steps = (self.coords[a].step if a in self.coords else s for a, s in zip(SPATIAL_AXES, self.scale, strict=True))
        along_y, along_x = map(abs, steps)
        return along_y, along_x

    @cached_property
    def channel_axes(self) -> tuple[str, ...]:
        """Every axis that is not y or x, in order."""
        return tuple(a for a in self.axes if a not in SPATIAL_AXES)

    @cached_property
    def channel_shape(self) -> tuple[int, ...]:
        """Sizes of `channel_axes`."""
        return tuple(n for a, n in zip(self.axes, self.shape, strict=True) if a not in SPATIAL_AXES)

    @cached_property
    def has_nodata(self) -> bool:
        """True where a declared value other than NaN marks pixels that hold nothing."""
        return self.nodata is not None and self.nodata == self.nodata

    def invalid(self, block: Array) -> Array:
        """Mask of pixels that hold nothing: NaN, infinite, or equal to `nodata`; bool of the block's shape."""
        bad = ~np.isfinite(block) if block.dtype.kind in "fc" else np.zeros(block.shape, bool)
        if self.has_nodata:
            bad |= block == self.nodata
        return bad

    def invalid_mask(self, run: Array, memory: Array) -> Array | None:
        """Mask as of `invalid` for a run of pixels; None where each is valid. `memory`: as many booleans at least."""
        if not self.has_nodata and run.dtype.kind not in "fc":
            return None
        good = np.isfinite(run, out=memory[: run.size])
        if self.has_nodata:
            good &= run != self.nodata
        return None if good.all() else ~good


@dataclass(frozen=True)
class Output:
    """Declaration of a product's result: axes, sizes, dtype and metadata.

    Parameters
    ----------
    axes : tuple of str
        Axes of the result; those that are not in `sizes` are the first input's, with its level shapes and chunks.
    dtype : numpy.dtype
        Dtype of the pixels.
    sizes, chunks : Mapping of str to int, optional
        Size, and size of a chunk (1 where not given), of the axes that the product makes.
    fill_value : scalar, optional
        Value where there is nothing; NaN for floats unless given.
    nodata : scalar, optional
        Value that declares a pixel of the result to hold nothing.
    units : str, optional
        UDUNITS name of the result ("radian", "1").
    display : Mapping, optional
        Facts for viewers: ``window`` (low, high), ``colors`` and ``labels``, one a channel, and those of `Product.display`.
    attrs : Mapping, optional
        Estimates of the product, JSON-like.

    See Also
    --------
    Input : An input of a product.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> lazypyr.product.Output(("y", "x", "c"), np.dtype("u1"), {"c": 3}).axes
    ('y', 'x', 'c')
    """

    axes: tuple[str, ...]
    dtype: np.dtype[Any]
    sizes: Mapping[str, int] = field(default_factory=dict)
    chunks: Mapping[str, int] = field(default_factory=dict)
    fill_value: Any = None
    nodata: Any = None
    units: str | None = None
    display: Mapping[str, Any] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Product(ABC):
    """Output pixels of input pixels at one level. An immutable value; picklable unless a user's function isn't.

    Subclasses are frozen dataclasses. They have a `name`, a `description` and the methods `output_spec` and `compute`; the
    other attributes have defaults.

    Attributes
    ----------
    name : str
        Name in messages, metadata and caches.
    inputs : int
        Number of inputs.
    depth : (int, int)
        Pixels along y and x around a window that its result depends on. The caller widens the window, clipped at the edges
        of the level, and crops the result.

    See Also
    --------
    define : Products of functions.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import lazypyr
    >>> import numpy as np
    >>> @dataclass(frozen=True)
    ... class Scaled(lazypyr.Product):
    ...     factor: float
    ...     name = "scaled"
    ...     description = "values times a factor"
    ...
    ...     def output_spec(self, source):
    ...         return lazypyr.product.Output(source.axes, source.dtype)
    ...
    ...     def compute(self, inputs, out, where, read, context):
    ...         return read(0, where) * out.dtype.type(self.factor)
    >>> lazypyr.open_pyramid(np.array([[1.0, 2.0]])).map(Scaled(10)).read(0)
    array([[10., 20.]])
    """

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def inputs(self) -> int:
        return 1

    @property
    def depth(self) -> tuple[int, int]:
        return 0, 0

    @property
    def pixelwise(self) -> bool:
        """True where a pixel depends on the input pixels at its own y, x only, and not on where that is."""
        return self.depth == (0, 0)

    @property
    def needs_all_channels(self) -> bool:
        """True where it reads all channels of its input at once."""
        return False

    @property
    @abstractmethod
    def description(self) -> str:
        """Description in words, for that of the pyramid."""

    @property
    def display(self) -> Mapping[str, Any]:
        """Facts for viewers that hold whatever the inputs are; `Output.display` has more, and has the last word.

        ``colormap``: name of a palette. ``first_channel``: index along the last channel axis that is shown first.
        ``neighbours``: True where a channel is a pair of neighbouring images. ``offered``: kinds of viewers ("plot",
        "server") that offer the product of every pyramid that allows it, with its place in their lists; ``default``: True
        where the server begins with it.
        """
        return {}

    @property
    def followed_by(self) -> Product | None:
        """A product that is always applied to this one's result."""
        return None

    def fit(self, inputs: Sequence[Input], sample: Callable[[Sequence[int] | None], Array]) -> Product:
        """The product with its data-dependent numbers found out; itself where there are none.

        ``sample(channels)`` gives pixels of the first input, shape ``(n, channels)``, from a bounded read: of the
        given flat channel numbers, or with None of any, as one column.
        """
        return self

    def recipe_arguments(self) -> dict[str, Any]:
        """Options, JSON-like, with which `lazypyr.product.product_of` makes it of its name, for recipes."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def estimates(self) -> dict[str, Any]:
        """Numbers that `fit` has found out, JSON-like, for recipes."""
        return {}

    def with_estimates(self, **estimates: Any) -> Product:
        """The product with numbers that `estimates` gave; `fit` then changes nothing."""
        return replace(self, **estimates)

    @abstractmethod
    def output_spec(self, *inputs: Input) -> Output:
        """Axes, sizes and dtype of the result, without reading a pixel.

        Raises
        ------
        PlanError
            When the inputs are not what the product is for.
        """

    @abstractmethod
    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        """Output pixels ``where`` (one range for each axis of ``out``), of its dtype, in memory nobody else holds."""

    def __lazypyr_token__(self) -> Any:
        """Class and values, for fingerprints: the class of a user's own product counts by its source text."""
        return "product", type(self), _values(self)


class BuiltInProduct(Product):
    """Product of lazypyr, whose name stands for it in fingerprints, wherever its class lives."""

    def __lazypyr_token__(self) -> Any:
        return f"product:{self.name}", _values(self)


def _values(product: Product) -> tuple[Any, ...]:
    return tuple(getattr(product, f.name) for f in fields(product))


def by_channel(out: Output, where: Ranges, write: Callable[..., None]) -> Array:
    """Fill an output of axes ``y, x, *kdims`` one plane at a time: ``write(plane, *indices)`` fills a (y, x) block.

    Several planes lie one behind the other in memory, so that each is written in one run.
    """
    rows, columns, *kdims = where
    size = len(rows), len(columns)
    if all(len(k) == 1 for k in kdims):
        # an array that owns its memory: what is handed to a cache needs no copy
        single = np.empty((*size, *[1] * len(kdims)), out.dtype)
        write(single.reshape(size), *[k.start for k in kdims])
        return single
    result = np.empty((*map(len, kdims), *size), out.dtype)
    for at in itertools.product(*(range(len(k)) for k in kdims)):
        write(result[at], *(k[n] for k, n in zip(kdims, at, strict=True)))
    return np.moveaxis(result, (-2, -1), (0, 1))


def converted(convert: Callable[[], T], expected: str) -> T:
    """Value of an option; PlanError with the expected kind where it is of another one altogether."""
    try:
        return convert()
    except (TypeError, ValueError, OverflowError) as error:
        raise PlanError(f"{expected} ({error})") from None


def need_real(product: str, source: Input) -> None:
    """PlanError where the input is neither integer nor floating."""
    if source.dtype.kind == "c":
        raise PlanError(
            f"{product}: {source.name} is {source.dtype}; it needs real numbers: apply 'phase', 'amplitude' or "
            "'intensity' first"
        )
    if source.dtype.kind not in "biuf":
        raise PlanError(f"{product}: {source.name} is {source.dtype}; it needs integers or floats")


def need_complex(product: str, source: Input) -> None:
    """PlanError where the input isn't complex."""
    if source.dtype.kind != "c":
        raise PlanError(f"{product}: {source.name} is {source.dtype}; it needs complex numbers")


def empty_of(dtype: np.dtype[Any]) -> Any:
    """Default fill value of a dtype: NaN, NaT, otherwise 0."""
    if dtype.kind in "fc":
        return dtype.type(complex(np.nan, np.nan) if dtype.kind == "c" else np.nan)
    return np.array("NaT", dtype)[()] if dtype.kind in "mM" else dtype.type(0)
