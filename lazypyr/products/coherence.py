"""Coherence of pairs of complex images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lazypyr._util.checks import one_or_two
from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, by_channel, need_complex
from lazypyr.products.blocks import channels_of
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.products.insar import PAIRS, known_pairs, pair_sizes, real_of
from lazypyr.products.strip import rows_in_strip

__all__ = ["Coherence", "coherence"]


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

    def recipe_arguments(self) -> dict[str, Any]:
        return {"window": list(self.window), "pairs": self.pairs}

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
        z = channels_of(source, where, read)
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
    """Coherence of pairs of complex images, estimated over a boxcar around each pixel.

    ``|sum z1 conj(z2)| / sqrt(sum |z1|^2 sum |z2|^2)``, the usual sample estimate [1]_: from 0 to 1; NaN where either image
    has no valid pixel or no power. Invalid neighbours are left out.

    Parameters
    ----------
    window : int or (int, int), default 5
        Pixels of the boxcar along y and x, at the level it is applied to. An even one reaches further up and left. At the
        edge of the image only pixels that exist are summed; the result doesn't depend on chunks.
    pairs : {"all", "seq", "0"}, default "all"
        Pairs as in `intf`.

    Returns
    -------
    Product
        Floats of half the input's size; its axes are y, x, i (, j).

    Raises
    ------
    PlanError
        For another window or other pairs; when applied, for an input that isn't complex or has not one channel axis.

    See Also
    --------
    intf : Phase of the pairs.

    References
    ----------
    .. [1] R. Touzi, A. Lopes, J. Bruniquel, P. W. Vachon, "Coherence estimation for SAR imagery", IEEE Transactions on
       Geoscience and Remote Sensing 37 (1), 1999.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> same = np.ones((4, 4, 2), "c8")
    >>> pyramid = lazypyr.open_pyramid(same, axes="yxi").map(lazypyr.product.coherence(3, "seq"))
    >>> pyramid.read(0)[..., 0].min(), pyramid.units
    (np.float32(1.0), '1')
    """
    sizes = one_or_two(window, "coherence: window is one or two whole numbers of at least 1")
    return Coherence(sizes, known_pairs("coherence", pairs))
