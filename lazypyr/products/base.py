"""What a product is: output pixels made of input pixels at one level, with its shape and dtype declared beforehand."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from lazypyr.errors import ComputeError, PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.windows import Window

__all__ = ["BuiltInProduct", "Input", "Output", "ProductContext", "Product", "Read"]

Array = np.ndarray[Any, Any]
Ranges = tuple[range, ...]
T = TypeVar("T")
Read = Callable[[int, Ranges], Array]
"""``read(n, ranges)``: pixels of input number `n`, one range for each of its axes; not to be written to."""


@dataclass(frozen=True)
class Input:
    """What a product may know of one of its inputs besides pixels; the fields mean what they mean there.

    `shape` is that of level 0 when a product is planned and fitted, and of the level at hand when it is computed.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nodata: Any = None
    fill_value: Any = 0
    units: str | None = None
    display: Mapping[str, Any] | None = None

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
        """Whether a declared value other than NaN marks pixels that hold nothing."""
        return self.nodata is not None and self.nodata == self.nodata

    def invalid(self, block: Array) -> Array:
        """Where a block of this input holds nothing: NaN, infinite, or equal to `nodata`; bool of the block's shape."""
        bad = ~np.isfinite(block) if block.dtype.kind in "fc" else np.zeros(block.shape, bool)
        if self.has_nodata:
            bad |= block == self.nodata
        return bad

    def invalid_mask(self, run: Array, memory: Array) -> Array | None:
        """As `invalid`, of a run of pixels; None where each holds something. `memory`: booleans, as many at least."""
        if not self.has_nodata and run.dtype.kind not in "fc":
            return None
        good = np.isfinite(run, out=memory[: run.size])
        if self.has_nodata:
            good &= run != self.nodata
        return None if good.all() else ~good


@dataclass(frozen=True)
class Output:
    """What a product declares of its result.

    Attributes
    ----------
    axes : tuple[str, ...]
        Those that are not in `sizes` are the first input's, with its level shapes and chunks.
    sizes, chunks : Mapping[str, int]
        Size, and size of a tile (1 where not given), of the axes that the product makes.
    dtype : numpy.dtype
    fill_value : scalar
        What stands for "nothing here"; NaN for floats unless given.
    nodata : scalar or None
        A value that the result declares to hold nothing.
    units : str or None
        UDUNITS name of the result ("radian", "1").
    display : Mapping or None
        How a viewer may show it: ``window`` (low, high), ``colors`` and ``labels``, one a channel, and what
        `Product.display` has.
    attrs : Mapping
        What was found out when the product was fitted, JSON-like.
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


@dataclass(slots=True)
class ProductContext:
    """Where a product is being computed, for its error messages."""

    product: str
    of: str
    level: int
    axes: tuple[str, ...]
    window: Window

    def error(self, problem: str) -> ComputeError:
        """The error that says what went wrong, of which product, at which level and window."""
        where = ", ".join(f"{axis} {a}:{b}" for axis, (a, b) in zip(self.axes, self.window, strict=True))
        return ComputeError(
            f"product {self.product!r} of {self.of}, level {self.level}, {where}: {problem}",
            key=self.product,
            level=self.level,
            window=self.window,
        )


@dataclass(frozen=True)
class Product(ABC):
    """Output pixels of input pixels at one level. An immutable value; picklable unless a user's function isn't.

    Attributes
    ----------
    name : str
        How messages, metadata and caches call it.
    inputs : int
        Number of inputs.
    depth : tuple[int, int]
        Pixels along y and x around a window that its result depends on. The caller widens the window, clipped at the
        edges of the level, and crops the result.
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
        """Whether a pixel depends on the input pixels at its own y, x only, and not on where that is."""
        return self.depth == (0, 0)

    @property
    def needs_all_channels(self) -> bool:
        """Whether it reads all channels of its input at once."""
        return False

    @property
    @abstractmethod
    def description(self) -> str:
        """The product in words, for the recipe."""

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
    """What an option means; PlanError with what was expected where it is of another kind altogether."""
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
    """What stands for "nothing here" in a dtype, unless something else is said: NaN, NaT, otherwise 0."""
    if dtype.kind in "fc":
        return dtype.type(complex(np.nan, np.nan) if dtype.kind == "c" else np.nan)
    return np.array("NaT", dtype)[()] if dtype.kind in "mM" else dtype.type(0)
