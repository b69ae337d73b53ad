"""Ranges of values, given or estimated, and the product that spreads one over a dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, converted, need_real
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.products.strip import scratch, strips
from lazypyr.products.user import supported

__all__ = ["Sample", "Stretch", "rescale"]


Sample = Callable[[Sequence[int] | None], Array]


@dataclass(frozen=True)
class Stretch:
    """A range of values, given or to be estimated from percentiles."""

    low: float | None
    high: float | None
    percentiles: tuple[float, float] | None = None  # those that were, or will be, estimated

    @classmethod
    def of(cls, product: str, low: Any, high: Any, percentiles: Any) -> Stretch:
        """Checked; PlanError names what is wrong."""
        expected = f"{product}: vmin and vmax must be finite numbers, got vmin={low!r}, vmax={high!r}"
        bottom, top = converted(lambda: [None if v is None else float(v) for v in (low, high)], expected)
        if not all(v is None or np.isfinite(v) for v in (bottom, top)):
            raise PlanError(expected)
        expected = f"{product}: percentiles are two ascending numbers of 0 to 100, got {percentiles!r}"
        pair = converted(lambda: [float(p) for p in percentiles], expected)
        if len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= 100:
            raise PlanError(expected)
        if bottom is None or top is None:
            return cls(bottom, top, (pair[0], pair[1]))
        if bottom > top:
            raise PlanError(f"{product}: vmin={low!r} is above vmax={high!r}")
        return cls(bottom, top)

    def __lazypyr_token__(self) -> Any:
        return "stretch", self.low, self.high, self.percentiles

    @property
    def open(self) -> bool:
        """True where something has to be estimated."""
        return self.low is None or self.high is None

    def fit(self, values: Array) -> Stretch:
        """With the percentiles of valid values where nothing was given; 0 and 1 where there are none."""
        asked = self.percentiles or (0.0, 100.0)
        low, high = np.percentile(values.astype(np.float64), asked) if values.size else (0.0, 1.0)
        if self.low is not None:
            return replace(self, high=max(self.low, float(high)))
        if self.high is not None:
            return replace(self, low=min(self.high, float(low)))
        return replace(self, low=float(low), high=float(high))

    def with_estimates(self, *, vmin: float | None = None, vmax: float | None = None) -> Stretch:
        """With limits that were estimated before."""
        return self if vmin is None or vmax is None else replace(self, low=float(vmin), high=float(vmax))

    def unit(self, block: Array, result: Array) -> None:
        """0 at `low`, 1 at `high`, clipped; float64, so that nothing wraps. All 0 up to `low` where they coincide."""
        low, high = self.low or 0.0, self.high or 0.0
        result[...] = block
        if low:
            result -= low
        if high > low:
            result /= high - low
        np.clip(result, 0.0, 1.0, out=result)

    def recipe_arguments(self) -> dict[str, Any]:
        """Options of a product for recipes: limits that were given, or the percentiles of those that were estimated."""
        return {"percentiles": list(self.percentiles)} if self.percentiles else {"vmin": self.low, "vmax": self.high}

    def estimates(self) -> dict[str, Any]:
        """Limits for recipes, where any was estimated."""
        return {"vmin": self.low, "vmax": self.high} if self.percentiles and not self.open else {}

    def attrs(self) -> dict[str, Any]:
        """For the record."""
        estimated = {"percentiles": list(self.percentiles)} if self.percentiles else {}
        return {"vmin": self.low, "vmax": self.high, **estimated}


@dataclass(frozen=True)
class Rescale(BuiltInProduct):
    """A range of values spread over a dtype."""

    stretch: Stretch
    dtype: np.dtype[Any]
    nodata: int | None

    name = "rescale"

    @property
    def description(self) -> str:
        return f"{self.stretch.low:g} to {self.stretch.high:g} rescaled to {self.dtype}" if self.ready else "rescaled"

    @property
    def ready(self) -> bool:
        """True where the range is known."""
        return not self.stretch.open

    def fit(self, inputs: Sequence[Input], sample: Sample) -> Product:
        need_real(self.name, inputs[0])
        if self.ready:
            return self
        pixels = sample(None)
        return replace(self, stretch=self.stretch.fit(pixels[~inputs[0].invalid(pixels)]))

    def recipe_arguments(self) -> dict[str, Any]:
        return {**self.stretch.recipe_arguments(), "dtype": self.dtype.name, "nodata": self.nodata}

    def estimates(self) -> dict[str, Any]:
        return self.stretch.estimates()

    def with_estimates(self, **estimates: Any) -> Product:
        return replace(self, stretch=self.stretch.with_estimates(**estimates))

    def _range(self) -> tuple[float, float]:
        if self.dtype.kind == "f":
            return 0.0, 1.0
        top = int(np.iinfo(self.dtype).max)
        # the value that marks holes stays free for them
        return (1, top) if self.nodata == 0 else (0, top - 1) if self.nodata == top else (0, top)

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        fill = self.nodata if self.nodata is not None else 0 if self.dtype.kind != "f" else None
        return Output(
            source.axes,
            self.dtype,
            fill_value=fill,
            nodata=self.nodata,
            display={"window": self._range()},
            attrs=self.stretch.attrs(),
        )

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        block = read(0, where)
        result = np.empty(block.shape, out.dtype)
        with scratch("f8", "?") as (doubles, flags):
            for pixels, into in strips(block, result):
                unit = doubles[: pixels.size]
                self._scale(pixels, inputs[0].invalid_mask(pixels, flags), unit)
                into[...] = unit
        return result

    def _scale(self, block: Array, bad: Array | None, unit: Array) -> None:
        self.stretch.unit(block, unit)
        hole = np.nan if self.dtype.kind == "f" else self.nodata or 0
        if self.dtype.kind != "f":
            low, high = self._range()
            unit *= high - low
            if low:
                unit += low
            np.rint(unit, out=unit)
        if bad is not None:
            unit[bad] = hole


def rescale(
    vmin: float | None = None,
    vmax: float | None = None,
    *,
    percentiles: tuple[float, float] = (2, 98),
    dtype: Any = "uint8",
    nodata: int | None = None,
) -> Product:
    """Values from `vmin` to `vmax` spread over a dtype: 0 to its largest number, or 0.0 to 1.0 of floats.

    Parameters
    ----------
    vmin, vmax : float, optional
        Values that become the first and the last number. Those not given are estimated when the product is applied, from
        `percentiles` of a bounded sample.
    percentiles : (float, float), default (2, 98)
        Percentiles of the estimate, 0 to 100.
    dtype : dtype-like, default "uint8"
        Unsigned or signed integers up to 32 bits, or floats.
    nodata : {None, 0, largest}
        Number kept for pixels that hold nothing, and declared. Without it they are 0 (NaN in floats).

    Returns
    -------
    Product
        Axes of the input.

    Raises
    ------
    PlanError
        For other options; when applied, for complex numbers.

    See Also
    --------
    colormap : Colours instead of numbers.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[-1.0, 0.0, 1.0, 9.0]]))
    >>> pyramid.map("rescale", vmin=0, vmax=2).read(0)
    array([[  0,   0, 128, 255]], dtype=uint8)
    """
    kind = supported("rescale", dtype)
    if kind.kind not in "iuf" or (kind.kind != "f" and kind.itemsize > 4):
        raise PlanError(f"rescale: dtype is an integer of at most 32 bits or a float, got {kind}")
    if nodata is not None and (kind.kind == "f" or nodata not in (0, np.iinfo(kind).max)):
        raise PlanError(f"rescale: nodata is None, 0 or the largest integer of the dtype, got {nodata!r} for {kind}")
    return Rescale(Stretch.of("rescale", vmin, vmax, percentiles), kind, nodata)
