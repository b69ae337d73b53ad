"""Phase, amplitude, intensity, interferograms and coherence, with the meaning they have for InSAR people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lazypyr._util.checks import one_or_two
from lazypyr.errors import PlanError
from lazypyr.products.base import (
    Array,
    BuiltInProduct,
    Input,
    Output,
    Product,
    ProductContext,
    Ranges,
    Read,
    by_channel,
    need_complex,
    need_real,
)
from lazypyr.products.blocks import Blocks, Channels
from lazypyr.products.strip import rows_in_strip, scratch, strips

__all__ = ["Coherence", "Elementwise", "Interferogram", "amplitude", "coherence", "intensity", "intf", "phase"]

PHASE_DISPLAY = {"window": (-float(np.pi), float(np.pi)), "colormap": "phase"}


def angle(z: Array, out: Array) -> None:
    """``numpy.angle`` into memory that is already there."""
    # of parts that lie apart it takes less time, the copies included, than of parts that alternate
    with scratch(out.dtype, out.dtype) as memory:
        for run, into in strips(z, out):
            imag, real = (each[: run.size] for each in memory)
            imag[...], real[...] = run.imag, run.real
            np.arctan2(imag, real, out=into)


def phase_between(a: Array, b: Array, out: Array, *, sign: int) -> None:
    """``sign * angle(a * conj(b))`` into memory that is already there; a `sign` of 0 is for ``a is b``.

    Images that change places then have exactly the opposite phase, and none with themselves: the complex product alone,
    with its fused multiply-add, gives neither. Runs are contiguous, so that it rounds the same in any tile.
    """
    with scratch(a.dtype, out.dtype, out.dtype) as memory:
        for one, other, into in strips(a, b, out):
            product, imag, real = (each[: one.size] for each in memory)
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
    """``numpy.angle(z)`` in radians, of complex pixels."""
    return Elementwise("phase")


def amplitude() -> Product:
    """``abs(z)`` of complex pixels."""
    return Elementwise("amplitude")


def intensity() -> Product:
    """``log(abs(z)**2)`` of complex pixels; NaN where z is 0."""
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
        rows, columns = where[:2]
        z = Channels(source, rows, columns, Blocks(lambda ranges: read(0, ranges)))
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
    """Interferograms of the pairs ``(0, i)``, ``(i, i + 1)`` or ``(i, j)``; output axes y, x, i (, j).

    Of complex images ``angle(z1 * conj(z2))``, of real ones the difference ``z1 - z2`` (integers in the next wider
    dtype, so that nothing wraps), of an input with two channel axes its own entry, as phase where it is complex.
    """
    return Interferogram(_known_pairs("intf", pairs))


def _known_pairs(product: str, pairs: str) -> str:
    if not isinstance(pairs, str) or pairs not in PAIRS:
        raise PlanError(f"{product}: pairs={pairs!r} is not known; there are {', '.join(map(repr, PAIRS))}")
    return pairs


@dataclass(frozen=True)
class Coherence(BuiltInProduct):
    """Boxcar estimate of the coherence of pairs of complex images."""

    window: tuple[int, int]
    pairs: str

    name = "coherence"

    @property
    def description(self) -> str:
        return f"coherence of the pairs {PAIRS[self.pairs][1]} over {self.window[0]} x {self.window[1]} (y, x) pixels"

    @property
    def display(self) -> Mapping[str, Any]:
        return {"window": (0.0, 1.0), "colormap": "gray"}

    @property
    def depth(self) -> tuple[int, int]:
        return self.window[0] // 2, self.window[1] // 2

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_complex(self.name, source)
        if len(source.channel_shape) != 1:
            raise PlanError(f"{self.name}: {source.name} has axes {source.axes}; it needs one channel axis")
        sizes = pair_sizes(self.name, self.pairs, source)
        return Output(("y", "x", *sizes), real_of(source.dtype), sizes, units="1")

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        rows, columns = where[:2]
        z = Channels(source, rows, columns, Blocks(lambda ranges: read(0, ranges)))
        pair = PAIRS[self.pairs][2]

        def write(plane: Array, *k: int) -> None:
            i, j = pair(*k)
            # half of it: the sums need several doubles a pixel
            above, strip = self.window[0] // 2, max(2 * self.window[0], rows_in_strip(plane) // 2)
            for start in range(0, len(plane), strip):
                first, last = max(0, start - above), start + strip + self.window[0] - above - 1
                part = self._estimated(source, z[i][first:last], z[j][first:last])
                plane[start : start + strip] = part[start - first :][:strip]

        return by_channel(out, where, write)

    def _estimated(self, source: Input, a: Array, b: Array) -> Array:
        bad = source.invalid(a) | source.invalid(b)
        # in double precision: products of float32 are then exact
        a, b = a.astype(np.complex128), b.astype(np.complex128)
        if bad.any():
            a[bad] = b[bad] = 0
        real = self._sum(a.real * b.real + a.imag * b.imag)
        imag = self._sum(a.imag * b.real - a.real * b.imag)
        power = self._sum(a.real * a.real + a.imag * a.imag)
        power *= self._sum(b.real * b.real + b.imag * b.imag)
        power[(power == 0) | bad] = np.nan
        result: Array = np.minimum(np.sqrt((real * real + imag * imag) / power), 1.0)
        return result

    def _sum(self, block: Array) -> Array:
        """Sum over the window around each pixel; beyond the edge nothing is added. Same order in every tile."""
        (ny, nx), (h, w) = self.window, block.shape
        wide = np.zeros((h + ny - 1, w + nx - 1))
        wide[ny // 2 : ny // 2 + h, nx // 2 : nx // 2 + w] = block
        columns = wide[:h].copy()
        for k in range(1, ny):
            columns += wide[k : k + h]
        total = columns[:, :w].copy()
        for k in range(1, nx):
            total += columns[:, k : k + w]
        return total


def coherence(window: int | tuple[int, int] = 5, pairs: Literal["0", "seq", "all"] = "all") -> Product:
    """Coherence ``|sum z1 conj(z2)| / sqrt(sum |z1|^2 sum |z2|^2)`` over a boxcar around each pixel.

    Parameters
    ----------
    window : int or (int, int)
        Pixels of the boxcar along y and x, at the level it is applied to. An even one reaches further up and left.
        At the edge of the image only what is there is summed; the result doesn't depend on tiles.
    pairs : {"all", "seq", "0"}
        As in `intf`; output axes y, x, i (, j).

    Notes
    -----
    Between 0 and 1; NaN where either image has no valid pixel or no power. Invalid neighbours are left out.
    """
    sizes = one_or_two(window, "coherence: window is one or two whole numbers of at least 1")
    return Coherence(sizes, _known_pairs("coherence", pairs))
