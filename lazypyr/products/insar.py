"""Phase, amplitude, intensity, interferograms and coherence, with the meaning they have for InSAR people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, by_channel, need_complex, need_real
from lazypyr.products.blocks import channels_of
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.products.strip import scratch, strips

__all__ = ["Elementwise", "Interferogram", "amplitude", "intensity", "intf", "phase"]

PHASE_DISPLAY = {"window": (-float(np.pi), float(np.pi)), "colormap": "phase"}


def angle(z: Array, out: Array) -> None:
    """``numpy.angle`` into memory that is already there."""
    # of parts that lie apart it takes less time, the copies included, than of parts that alternate
    with scratch(out.dtype, out.dtype) as memory:
        for run, into in strips(z, out):
            imag, real = (buffer[: run.size] for buffer in memory)
            imag[...], real[...] = run.imag, run.real
            np.arctan2(imag, real, out=into)


def phase_between(a: Array, b: Array, out: Array, *, sign: int) -> None:
    """``sign * angle(a * conj(b))`` into memory that is already there; a `sign` of 0 is for ``a is b``.

    Images that change places then have exactly the opposite phase, and none with themselves: the complex product alone,
    with its fused multiply-add, gives neither. Runs are contiguous, so that it rounds the same in any tile.
    """
    with scratch(a.dtype, out.dtype, out.dtype) as memory:
        for one, other, into in strips(a, b, out):
            product, imag, real = (buffer[: one.size] for buffer in memory)
            np.conj(other, out=product)
            np.multiply(one, product, out=product)
            np.multiply(product.imag, out.dtype.type(sign), out=imag)
            real[...] = product.real
            np.arctan2(imag, real, out=into)


def _log_power(z: Array, out: Array) -> None:
    for run, into in strips(z, out):
        np.abs(run, out=into)
        np.square(into, out=into)
        np.log(into, out=into)
        if np.fmin.reduce(into) == -np.inf:
            into[into == -np.inf] = np.nan


def _magnitude(z: Array, out: Array) -> None:
    np.abs(z, out=out)


ELEMENTWISE: dict[str, tuple[Callable[[Array, Array], None], str, str | None, dict[str, Any]]] = {
    "phase": (angle, "phase angle(z)", "radian", {**PHASE_DISPLAY, "offered": {"plot": 2, "server": 2}}),
    # the server shows it of complex pixels anyway
    "amplitude": (_magnitude, "amplitude abs(z)", None, {"colormap": "gray", "offered": {"plot": 0}}),
    "intensity": (
        _log_power,
        "log intensity log(abs(z)**2)",
        None,
        {"colormap": "gray", "offered": {"plot": 1, "server": 1}, "default": True},
    ),
}


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 of complex64, float64 of complex128."""
    return np.empty(0, dtype).real.dtype


@dataclass(frozen=True)
class Elementwise(BuiltInProduct):
    """`phase`, `amplitude` or `intensity` of complex pixels; axes and chunks stay as they are."""

    kind: str

    @property
    def name(self) -> str:
        return self.kind

    @property
    def description(self) -> str:
        return ELEMENTWISE[self.kind][1]

    @property
    def display(self) -> Mapping[str, Any]:
        return ELEMENTWISE[self.kind][3]

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_complex(self.name, source)
        units = ELEMENTWISE[self.kind][2] or (source.units if self.kind == "amplitude" else None)
        return Output(source.axes, real_of(source.dtype), units=units)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        z = read(0, where)
        result = np.empty(z.shape, out.dtype)
        ELEMENTWISE[self.kind][0](z, result)
        if inputs[0].has_nodata:
            result[z == inputs[0].nodata] = np.nan
        return result


def phase() -> Product:
    """Phase ``numpy.angle(z)`` of complex pixels, in radians from -pi to pi.

    Returns
    -------
    Product
        Floats of half the input's size (float32 of complex64), with its axes and chunks; NaN where a pixel is `nodata`.

    See Also
    --------
    amplitude : Magnitude of complex pixels.
    intf : Phase of pairs of images.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[1, 1j], [-1, -1j]], "c8"))
    >>> pyramid.map("phase").read(0)
    array([[ 0.       ,  1.5707964],
           [ 3.1415927, -1.5707964]], dtype=float32)
    """
    return Elementwise("phase")


def amplitude() -> Product:
    """Amplitude ``numpy.abs(z)`` of complex pixels, in their units.

    Returns
    -------
    Product
        Floats of half the input's size (float32 of complex64), with its axes and chunks; NaN where a pixel is `nodata`.

    See Also
    --------
    intensity : Logarithm of the squared amplitude.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[3 + 4j, 1j]], "c8"))
    >>> pyramid.map("amplitude").read(0)
    array([[5., 1.]], dtype=float32)
    """
    return Elementwise("amplitude")


def intensity() -> Product:
    """Intensity ``log(abs(z)**2)`` of complex pixels: a natural logarithm, NaN where z is 0.

    Returns
    -------
    Product
        Floats of half the input's size (float32 of complex64), with its axes and chunks.

    See Also
    --------
    amplitude : Magnitude itself.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[1, 0]], "c8"))
    >>> pyramid.map("intensity").read(0)
    array([[ 0., nan]], dtype=float32)
    """
    return Elementwise("intensity")


# Of an image with itself there is nothing to see: the first channel shown is the next one.
PAIRS: dict[str, tuple[tuple[str, ...], str, Callable[..., tuple[int, int]], dict[str, Any]]] = {
    "0": (("i",), "(0, i)", lambda i: (0, i), {"first_channel": 1}),
    "seq": (("i",), "(i, i+1)", lambda i: (i, i + 1), {"neighbours": True}),
    "all": (("i", "j"), "(i, j)", lambda i, j: (i, j), {"first_channel": 1}),
}


def pair_sizes(product: str, pairs: str, source: Input) -> dict[str, int]:
    """Sizes of the output axes of a set of pairs; PlanError where the input has no pairs."""
    shape = source.channel_shape
    if len(shape) not in (1, 2):
        raise PlanError(
            f"{product}: {source.name} has axes {source.axes}; it needs one channel axis besides y and x (one image "
            "each) or two (already pairs)"
        )
    first, last = shape[0], shape[-1]
    if pairs == "seq":
        if last < 2:
            raise PlanError(f"{product}: {source.name} has {last} channel(s); a pair of neighbours needs two")
        return {"i": min(first, last - 1)}
    return {"i": last} if pairs == "0" else {"i": first, "j": last}


def widened(dtype: np.dtype[Any], *, has_nodata: bool) -> np.dtype[Any]:
    """A dtype in which differences neither wrap nor, with `has_nodata`, lack a NaN."""
    if dtype.kind == "f":
        return dtype
    if has_nodata or dtype.itemsize == 8:
        return np.dtype("f4" if dtype.itemsize <= 2 else "f8")
    return np.dtype(f"i{2 * dtype.itemsize}")


@dataclass(frozen=True)
class Interferogram(BuiltInProduct):
    """Phase of pairs of complex images, difference of pairs of real ones, or the entry of an axis pair."""

    pairs: str

    @property
    def name(self) -> str:
        return f"intf_{self.pairs}"

    @property
    def description(self) -> str:
        return f"interferogram of the pairs {PAIRS[self.pairs][1]}: angle(z1 * conj(z2)), or z1 - z2 of real data"

    @property
    def display(self) -> Mapping[str, Any]:
        return {**PAIRS[self.pairs][3], "offered": {"plot": 3, "server": 3}}

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        kdims = PAIRS[self.pairs][0]
        sizes = pair_sizes(self.name, self.pairs, source)
        axes = ("y", "x", *kdims)
        if source.dtype.kind == "c":
            return Output(axes, real_of(source.dtype), sizes, units="radian", display=PHASE_DISPLAY)
        need_real(self.name, source)
        if len(source.channel_shape) == 2:
            return Output(
                axes, source.dtype, sizes, fill_value=source.fill_value, nodata=source.nodata, units=source.units
            )
        return Output(axes, widened(source.dtype, has_nodata=source.has_nodata), sizes, units=source.units)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        z = channels_of(source, where, read)
        pair, paired = PAIRS[self.pairs][2], len(source.channel_shape) == 2
        is_complex = source.dtype.kind == "c"

        def write(plane: Array, *k: int) -> None:
            i, j = pair(*k)
            if paired and is_complex:
                angle(z[i, j], plane)
            elif paired:
                plane[...] = z[i, j]
                return
            elif is_complex:
                first, second = sorted((i, j))
                phase_between(z[first], z[second], plane, sign=np.sign(j - i))
            else:
                np.subtract(z[i], z[j], out=plane, dtype=plane.dtype)
            if source.has_nodata:
                for block in (z[i, j],) if paired else (z[i], z[j]):
                    plane[block == source.nodata] = np.nan

        return by_channel(out, where, write)


def intf(pairs: Literal["0", "seq", "all"] = "all") -> Product:
    """Interferograms of pairs of images.

    Of complex images ``angle(z1 * conj(z2))``, in radians from -pi to pi. Of real ones the difference ``z1 - z2``, of
    integers in the next wider dtype, so that nothing wraps. Of an input with two channel axes its own entry, as phase where
    it is complex.

    Parameters
    ----------
    pairs : {"all", "seq", "0"}, default "all"
        Pairs ``(i, j)``, ``(i, i + 1)`` or ``(0, i)``.

    Returns
    -------
    Product
        Its axes are y, x, i for "seq" and "0", and y, x, i, j for "all"; one channel a chunk.

    Raises
    ------
    PlanError
        For other pairs; when applied, for an input without a channel axis.

    See Also
    --------
    coherence : Quality of the phase of a pair.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> stack = np.exp(1j * np.array([0.0, 0.5, 2.0])).astype("c8").reshape(1, 1, 3)
    >>> pyramid = lazypyr.open_pyramid(stack, axes="yxi")
    >>> pyramid.map(lazypyr.product.intf("seq")).read(0)
    array([[[-0.5, -1.5]]], dtype=float32)
    >>> pyramid.map("intf_all").shape
    (1, 1, 3, 3)
    """
    return Interferogram(known_pairs("intf", pairs))


def known_pairs(product: str, pairs: str) -> str:
    if not isinstance(pairs, str) or pairs not in PAIRS:
        raise PlanError(f"{product}: pairs={pairs!r} is not known; there are {', '.join(map(repr, PAIRS))}")
    return pairs
