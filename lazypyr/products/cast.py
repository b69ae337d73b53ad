"""The same numbers in another dtype, for viewers that read only some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, need_real
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.sources.base import native

__all__ = ["cast"]

# What every viewer reads instead of what some don't.
_READ = {"bool": "uint8", "float16": "float32", "float64": "float32", "int64": "int32", "uint64": "uint32"}


@dataclass(frozen=True)
class Cast(BuiltInProduct):
    """The same numbers in another dtype."""

    dtype: np.dtype[Any] | None

    name = "cast"

    @property
    def description(self) -> str:
        return f"cast to {self.dtype}" if self.dtype is not None else "cast"

    def recipe_arguments(self) -> dict[str, Any]:
        return {"dtype": None if self.dtype is None else self.dtype.name}

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        dtype = self.dtype or np.dtype(_READ.get(source.dtype.name, source.dtype))
        if source.dtype.kind == "f" and dtype.kind != "f":
            raise PlanError(
                f"cast: {source.name} holds {source.dtype}, of which {dtype} keeps no fractions; see rescale"
            )
        nodata = None if source.nodata is None else self._same(source, "nodata", source.nodata, dtype)
        fill = 0 if source.fill_value is None else self._same(source, "fill value", source.fill_value, dtype)
        return Output(source.axes, dtype, fill_value=fill, nodata=nodata, units=source.units, display=source.display)

    def _same(self, source: Input, what: str, value: Any, dtype: np.dtype[Any]) -> Any:
        with np.errstate(all="ignore"):
            held = np.asarray(value, source.dtype)
            made = held.astype(dtype)
        if _lost(held, made).any():
            raise PlanError(f"cast: the {what} {value!r} of {source.name} does not fit {dtype}")
        return made[()].item()

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        block = read(0, where)
        with np.errstate(all="ignore"):
            result = block.astype(out.dtype)
        lost = _lost(block, result)
        if lost.any():
            raise context.error(f"{block[lost][0]} does not fit {out.dtype}")
        return result


def _lost(block: Array, result: Array) -> Array:
    """Mask of integers that have become others; floats are rounded to the nearest, or infinite, by intent."""
    if result.dtype.kind == "f" or np.can_cast(block.dtype, result.dtype, "safe"):
        return np.zeros(block.shape, bool)
    back: Array = result.astype(block.dtype) != block
    return back | ((result < 0) != (block < 0)) if block.dtype.kind in "iu" else back


def cast(dtype: Any = None) -> Product:
    """The same numbers in another dtype: viewers don't read bool, 64-bit integers or 64-bit floats.

    Floats are rounded to the nearest. An integer that doesn't fit fails its chunk, with the number; it never wraps.

    Parameters
    ----------
    dtype : dtype-like, optional
        Integers or floats. By default those that viewers read: uint8 of bool, float32 of other floats, 32 bits of integers
        of 64.

    Returns
    -------
    Product
        Axes, units, fill value and nodata of the input.

    Raises
    ------
    PlanError
        For another dtype; when applied, for complex numbers (see `phase`, `amplitude`), for floats as integers (see
        `rescale`), and for a nodata value that doesn't fit.

    See Also
    --------
    rescale : A range of values spread over a dtype.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.arange(4.0).reshape(2, 2))
    >>> pyramid.map("cast").read(0)
    array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    kind = None if dtype is None else native(dtype)
    if kind is not None and kind.kind not in "iuf":
        raise PlanError(f"cast: dtype is an integer or a float, got {kind}")
    return Cast(kind)
