"""Products of embeddings and of colours with alpha: codes times scales, principal components, premultiplied alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from lazypyr._util.checks import whole_number
from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, need_real
from lazypyr.products.color import RGBA_DISPLAY, ColorPlanes, band_axis, chosen_planes, read_as
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.products.fitted import map_pyramids, map_sources
from lazypyr.products.user import supported
from lazypyr.pyramids.base import Pyramid
from lazypyr.sources.base import Source

__all__ = ["dequantize", "pca", "premultiply", "unpremultiply"]

P = TypeVar("P", Pyramid, Source)


@dataclass(frozen=True)
class Dequantize(BuiltInProduct):
    """Codes times a scale for each pixel."""

    name = "dequantize"
    inputs = 2
    description = "codes times the scale of their pixel"

    def output_spec(self, *inputs: Input) -> Output:
        codes, scales = inputs
        for source in inputs:
            need_real(self.name, source)
        sizes = dict(zip(codes.channel_axes, codes.channel_shape, strict=True))
        shared = zip(scales.channel_axes, scales.channel_shape, strict=True)
        if any(sizes.get(axis) != n for axis, n in shared) or len(scales.channel_axes) >= max(len(sizes), 1):
            raise PlanError(
                f"dequantize: the scales {scales.name} have axes {scales.axes}; expected y and x only, or besides them axes "
                f"of the codes but for their bands, of the same sizes ({codes.axes}, {sizes})"
            )
        dtype = np.dtype("f8" if max(codes.dtype.itemsize, scales.dtype.itemsize) > 4 else "f4")
        return Output(codes.axes, dtype, units=scales.units)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        codes, scales = inputs
        ranges = dict(zip(codes.axes, where, strict=True))
        order = tuple(a for a in codes.axes if a in scales.axes)
        factor = read_as(scales, read, ranges, order, n=1)
        wide = tuple(len(r) if a in scales.axes else 1 for a, r in ranges.items())
        block = read(0, where)
        result = np.multiply(block, factor.reshape(wide), dtype=out.dtype)
        result[np.broadcast_to(scales.invalid(factor).reshape(wide), result.shape) | codes.invalid(block)] = np.nan
        return result


def dequantize(codes: P, scales: P) -> P:
    """Codes (y, x, bands) times a scale for each pixel (y, x), of each date perhaps: floats, NaN where the scale isn't finite.

    Parameters
    ----------
    codes, scales : two Pyramids, or two Sources
        Integers (int8 in embeddings) and floats over the same y and x. Scales may have axes of the codes besides (a time),
        but for that of the bands. A code of 0 is a value like any other. Of sources
        the result is a source: the product is reduced afterwards, not its factors.

    Returns
    -------
    Pyramid or Source
        Floats (float64 if either has 64 bits, else float32) with the axes of `codes`.

    Raises
    ------
    PlanError
        For inputs of different kinds or sizes, or that aren't real.

    See Also
    --------
    pca : Principal components of the bands.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> codes = lazypyr.open_pyramid(np.array([[[1, -2]]], "i1"), axes="yxi")
    >>> scales = lazypyr.open_pyramid(np.array([[0.5]], "f4"))
    >>> lazypyr.product.dequantize(codes, scales).read(0)
    array([[[ 0.5, -1. ]]], dtype=float32)
    """
    if isinstance(codes, Pyramid) and isinstance(scales, Pyramid):
        return map_pyramids([codes, scales], Dequantize())
    if isinstance(codes, Source) and isinstance(scales, Source):
        return map_sources([codes, scales], Dequantize())
    raise PlanError(
        f"dequantize: expected two pyramids or two sources, got {type(codes).__name__} and {type(scales).__name__}; "
        "open them with lazypyr.open_pyramid"
    )


@dataclass(frozen=True)
class Pca(BuiltInProduct):
    """Principal components of the bands."""

    n: int
    along: str | None
    mean: tuple[float, ...] = ()
    basis: tuple[tuple[float, ...], ...] = ()
    variance: tuple[float, ...] = ()

    name = "pca"

    @property
    def description(self) -> str:
        return f"first {self.n} principal components"

    needs_all_channels = True

    def fit(self, inputs: Sequence[Input], sample: Callable[[Sequence[int] | None], Array]) -> Product:
        (source,) = inputs
        along = self._checked(source)
        if self.basis:
            return self
        pixels = sample(range(source.channel_shape[0]))
        valid = pixels[~source.invalid(pixels).any(axis=1)].astype(np.float64)
        mean, basis, variance = _components(valid, self.n)
        return replace(
            self,
            along=along,
            mean=tuple(map(float, mean)),
            basis=tuple(tuple(map(float, row)) for row in basis),
            variance=tuple(map(float, variance)),
        )

    def recipe_arguments(self) -> dict[str, Any]:
        return {"n": self.n, "axis": self.along}

    def estimates(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "basis": [list(row) for row in self.basis], "variance": list(self.variance)}

    def with_estimates(self, **estimates: Any) -> Product:
        basis = tuple(tuple(map(float, row)) for row in estimates["basis"])
        mean, variance = (tuple(map(float, estimates[name])) for name in ("mean", "variance"))
        return replace(self, mean=mean, basis=basis, variance=variance)

    def _checked(self, source: Input) -> str:
        need_real(self.name, source)
        along = band_axis(self.name, source, self.along)
        if len(source.channel_axes) != 1:
            raise PlanError(f"pca: {source.name} has axes {source.axes}; it needs one channel axis besides y and x")
        if self.n > source.channel_shape[0]:
            raise PlanError(f"pca: {self.n} components of {source.channel_shape[0]} bands of {source.name}")
        return along

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        self._checked(source)
        sizes = {"component": self.n}
        spread = 3 * float(np.sqrt(max(self.variance, default=0.0)))
        return Output(
            ("y", "x", "component"),
            np.dtype("f4"),
            sizes,
            sizes,
            display={"window": (-spread, spread)} if spread else None,
            attrs={
                "basis": [list(row) for row in self.basis],
                "mean": list(self.mean),
                "explained_variance": list(self.variance),
            },
        )

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        rows, columns, chosen = where
        (band,) = source.channel_axes
        ranges = {"y": rows, "x": columns, band: range(source.channel_shape[0])}
        block = read_as(source, read, ranges, (band, "y", "x"))
        total = np.zeros((len(chosen), len(rows), len(columns)))
        bad = np.zeros(total.shape[1:], bool)
        # Band by band: the sum of a pixel then has the same order, and the same bits, in every tile.
        for n, plane in enumerate(block):
            bad |= source.invalid(plane)
            centred = plane.astype(np.float64) - self.mean[n]
            for k, component in enumerate(chosen):
                total[k] += self.basis[component][n] * centred
        total[:, bad] = np.nan
        return np.ascontiguousarray(np.moveaxis(total, 0, -1), out.dtype)


def _components(pixels: Array, n: int) -> tuple[Array, Array, Array]:
    """Mean, the first n principal axes (rows) and their variances; axes without variance are 0."""
    bands = pixels.shape[1]
    if len(pixels) < 2:
        return pixels.sum(axis=0), np.zeros((n, bands)), np.zeros(n)
    # Out of units of the largest value: squares of huge numbers don't overflow.
    unit = float(np.abs(pixels).max()) or 1.0
    mean = (pixels / unit).mean(axis=0)
    centred = pixels / unit - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / (len(pixels) - 1))
    values, vectors = values[::-1][:n], vectors[:, ::-1][:, :n].T
    kept = values > max(float(values[0]), 0.0) * bands * np.finfo(np.float64).eps
    # A sign that doesn't depend on the solver.
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1, keepdims=True), axis=1)
    basis = np.where(kept[:, None], vectors * np.sign(largest), 0.0)
    return mean * unit, basis, np.where(kept, values, 0.0) * unit * unit


def pca(n: int = 3, *, axis: str | None = None) -> Product:
    """The first `n` principal components of the bands, as float32; NaN where a band is invalid.

    Mean, basis and explained variance are estimated when the product is applied, of a bounded, seeded sample, and recorded
    in the attributes. The largest coefficient of each axis is positive; axes without variance give 0.

    Parameters
    ----------
    n : int, default 3
        Number of components, at least 1.
    axis : str, optional
        The axis of bands; by default "c" or "band" where there is one, else the last that isn't y or x.

    Returns
    -------
    Product
        Its axes are y, x, component.

    Raises
    ------
    PlanError
        For another `n`; when applied, for fewer bands than that, complex numbers, or several channel axes.

    See Also
    --------
    dequantize : Embeddings from codes and scales.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> bands = np.random.default_rng(0).normal(size=(8, 8, 4)).astype("f4")
    >>> pyramid = lazypyr.open_pyramid(bands, axes="yxc").map("pca", n=2)
    >>> pyramid.shape, pyramid.axes
    ((8, 8, 2), ('y', 'x', 'component'))
    """
    return Pca(whole_number(n, "pca: n", 1), axis)


@dataclass(frozen=True)
class Premultiply(BuiltInProduct):
    """Colours times their alpha, as floats."""

    name = "premultiply"
    description = "colours times alpha"

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        axis = _rgba_axis(self.name, source)
        return Output((*_others(source, axis), "y", "x", axis), np.dtype("f4"), {axis: 4}, {axis: 4})

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        block = _rgba(inputs[0], out, where, read)
        alpha = block[..., 3].astype(np.float64)
        result = np.empty((*alpha.shape, len(where[-1])), out.dtype)
        for n, channel in enumerate(where[-1]):
            result[..., n] = alpha if channel == 3 else block[..., channel] * alpha
        return result


def premultiply() -> Product:
    """Colours times alpha, and alpha, of an axis of red, green, blue, alpha, as float32.

    Averages of it weigh colours by alpha: ``open_pyramid(rgba, source_product="premultiply", method="mean")`` and then
    ``.map("unpremultiply")``.

    Returns
    -------
    Product
        Its axes are the other channel axes, y, x, and the axis of colours; four channels a chunk.

    Raises
    ------
    PlanError
        When applied, for an input without an axis of four colours.

    See Also
    --------
    unpremultiply : The colours again.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> rgba = lazypyr.open_pyramid(np.array([[[10, 20, 30, 2]]], "u1"), axes="yxc")
    >>> rgba.map("premultiply").read(0)
    array([[[20., 40., 60.,  2.]]], dtype=float32)
    """
    return Premultiply()


@dataclass(frozen=True)
class Unpremultiply(BuiltInProduct):
    """Premultiplied colours divided by their alpha again."""

    dtype: np.dtype[Any]
    axis: str = "c"

    name = "unpremultiply"
    description = "colours divided by alpha"

    @property
    def followed_by(self) -> Product | None:
        return ColorPlanes(self.axis)

    def fit(self, inputs: Sequence[Input], sample: Callable[[Sequence[int] | None], Array]) -> Product:
        return replace(self, axis=_rgba_axis(self.name, inputs[0]))

    def recipe_arguments(self) -> dict[str, Any]:
        return {"dtype": self.dtype.name}

    def estimates(self) -> dict[str, Any]:
        return {"axis": self.axis}

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        axis = _rgba_axis(self.name, source)
        axes = (*_others(source, axis), axis, "y", "x")
        return Output(axes, self.dtype, {axis: 4}, {axis: 4}, 0, display=RGBA_DISPLAY)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        block = _rgba(inputs[0], out, where, read).astype(np.float64)
        colours, alpha = block[..., :3, :, :], block[..., 3:, :, :]
        straight = np.where(alpha > 0, colours / np.where(alpha > 0, alpha, 1), 0)
        both = np.rint(np.clip(np.concatenate([straight, alpha], axis=-3), 0, np.iinfo(self.dtype).max))
        return chosen_planes(both, where[-3]).astype(self.dtype)


def unpremultiply(dtype: Any = "uint8") -> Product:
    """Colours of premultiplied ones, divided by their alpha; black and transparent where alpha is 0.

    Parameters
    ----------
    dtype : dtype-like, default "uint8"
        Unsigned integers.

    Returns
    -------
    Product
        Its axes are the other channel axes, then c, y, x.

    Raises
    ------
    PlanError
        For another dtype; when applied, for an input without an axis of four colours.

    See Also
    --------
    premultiply : Colours times alpha.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> rgba = lazypyr.open_pyramid(np.array([[[10, 20, 30, 2]]], "u1"), axes="yxc")
    >>> rgba.map("premultiply").map("unpremultiply").read(0)[:, 0, 0]
    array([10, 20, 30,  2], dtype=uint8)
    """
    kind = supported("unpremultiply", dtype)
    if kind.kind != "u":
        raise PlanError(f"unpremultiply: dtype is an unsigned integer, got {kind}")
    return Unpremultiply(kind)


def _rgba_axis(product: str, source: Input) -> str:
    need_real(product, source)
    sizes = dict(zip(source.axes, source.shape, strict=True))
    axis = band_axis(product, source, "c" if "c" in sizes else None)
    if sizes[axis] != 4:
        raise PlanError(f"{product}: axis {axis!r} of {source.name} has {sizes[axis]} channels; expected red, green, "
                        "blue, alpha")  # fmt: skip
    return axis


def _others(source: Input, axis: str) -> tuple[str, ...]:
    return tuple(a for a in source.channel_axes if a != axis)


def _rgba(source: Input, out: Output, where: Ranges, read: Read) -> Array:
    """Red, green, blue and alpha, whichever of them are wanted: as a rule they lie in one stored chunk."""
    ranges = dict(zip(out.axes, where, strict=True)) | {axis: range(4) for axis in out.sizes}
    return read_as(source, read, ranges, out.axes)
