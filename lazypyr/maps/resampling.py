"""Ways to take a value at a fractional position: the table of them, and the one that suits what the numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.maps import sampling
from lazypyr.metadata.packing import Packing, flags_of
from lazypyr.pyramids.base import Pyramid
from lazypyr.registry import nearest

__all__ = ["RESAMPLINGS", "Resampling", "chosen_resampling"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Resampling:
    """Facts of a way to resample, and the way itself; it stands where pyramids have their reducer.

    Parameters
    ----------
    name : str
        GDAL's name.
    interpolates : bool
        True: the result may be a value that no pixel has.
    of_area : bool
        True: of all that a pixel of the target covers.
    reach : float
        Pixels of the source on either side that have weight; of an area method besides half of what a pixel covers.
    kind : int
        Number of the weights in `lazypyr.maps.sampling`; 0 for none.
    """

    name: str
    interpolates: bool
    of_area: bool = False
    reach: float = 0.0
    kind: int = 0

    composable = False

    @property
    def resampling_name(self) -> str:
        """GDAL's name."""
        return self.name

    @property
    def record(self) -> Mapping[str, Any]:
        """Record of how levels are made, for metadata."""
        return {"method": self.name}

    def reaches(self, spans: tuple[float, float]) -> tuple[float, float]:
        """Pixels on either side that have weight, along rows and columns, where a pixel covers `spans` of them."""
        row, column = (self.reach + (span / 2 if self.of_area else 0.0) for span in spans)
        return row, column

    def take(
        self,
        block: Array,
        holds: Array,
        at: tuple[Array, Array],
        inside: Array,
        spans: tuple[float, float],
        hole: Any,
        out: Array,
    ) -> None:
        """Fill `out` (y, x) where `inside` with the values of a block at fractional rows and columns of it.

        No value that is computed is `hole`.
        """
        rows, columns = at
        if not self.interpolates:
            kernel = sampling.heaviest if self.of_area and block.dtype.kind != "c" else None
            source, target = (block, out) if kernel is not None and block.dtype != np.float16 else _bits(block, out)
            if kernel is not None:
                kernel(source, holds, rows, columns, inside, np.asarray(spans), target)
            else:
                sampling.nearest(source, holds, rows, columns, inside, target)
            return
        wide = np.dtype("c16" if block.dtype.kind == "c" else "f8")
        values = np.zeros(out.shape, wide)
        taken = block.astype("f4") if block.dtype == np.float16 else block
        # what isn't drawn stays as it is
        drawn = np.zeros(out.shape, bool)
        sampling.nearest(np.ones(block.shape, bool), holds, rows, columns, inside, drawn)
        sampling.weighted(taken, holds, rows, columns, inside, self.kind, np.asarray(spans), wide.type(0), values)
        out[drawn] = _beside(rounded(values[drawn], out.dtype), hole)


def rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values in a dtype, those of integers rounded half to even and within its limits."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    # float64 has all integers of 32 bits
    limits = np.iinfo(dtype)
    clipped = np.clip(np.rint(values), limits.min, limits.max)
    if dtype.itemsize < 8:
        return clipped.astype(dtype)
    exact = clipped.astype(dtype)
    exact[clipped >= float(limits.max)] = limits.max
    return exact


def _beside(values: Array, hole: Any) -> Array:
    """Values of which none is the one that means a hole: the next one stands for it."""
    if hole is None or np.isnan(hole):
        return values
    hit = values == hole
    if hit.any():
        if values.dtype.kind in "iu":
            values[hit] = hole - 1 if hole == np.iinfo(values.dtype).max else hole + 1
        elif values.dtype.kind == "f":
            values[hit] = np.nextafter(values.dtype.type(hole), values.dtype.type(np.inf))
    return values


def _bits(block: Array, out: Array) -> tuple[Array, Array]:
    """The same memory as unsigned integers, which kernels are compiled for once."""
    size = block.dtype.itemsize
    if block.dtype.kind == "b" or size not in (1, 2, 4, 8):
        return block, out
    same = np.dtype(f"u{size}")
    return np.ascontiguousarray(block).view(same), out.view(same)


RESAMPLINGS: dict[str, Resampling] = {
    way.name: way
    for way in (
        Resampling("nearest", interpolates=False),
        Resampling("bilinear", interpolates=True, reach=0.5, kind=1),
        Resampling("cubic", interpolates=True, reach=1.5, kind=2),
        Resampling("average", interpolates=True, of_area=True, kind=3),
        Resampling("mode", interpolates=False, of_area=True),
    )
}


def chosen_resampling(pyramid: Pyramid, name: str | None) -> Resampling:
    """The way of that name, by default what suits the numbers; PlanError where it would mix what can't be mixed."""
    if name is not None and name not in RESAMPLINGS:
        hint = nearest(name, RESAMPLINGS) if isinstance(name, str) else ""
        raise PlanError(f"method: expected one of {', '.join(RESAMPLINGS)}, got {name!r}{hint}")
    reason = why_not_mixed(pyramid)
    if name is None:
        return RESAMPLINGS["nearest" if reason else "bilinear"]
    if reason and RESAMPLINGS[name].interpolates:
        plain = ", ".join(repr(way.name) for way in RESAMPLINGS.values() if not way.interpolates)
        raise PlanError(f"{pyramid.name}: method {name!r} would mix values of {reason}; take one of {plain}")
    return RESAMPLINGS[name]


def why_not_mixed(pyramid: Pyramid) -> str | None:
    """Kind of the numbers, in words, where a value in between means nothing; None where it is a value too."""
    metadata, display = pyramid.metadata, pyramid.display or {}
    if pyramid.dtype.kind == "b":
        return "a mask"
    if pyramid.dtype.kind not in "iufc":
        return f"{pyramid.dtype} numbers"
    if flags_of(metadata.attrs) or {"flag_values", "flag_masks"} & set(metadata.attrs):
        return "flags (flag_meanings)"
    if metadata.ome is not None and metadata.ome.image_label is not None:
        return "labels (image-label)"
    if display.get("colormap") == "phase" and pyramid.dtype.kind == "f":
        return "a wrapped phase; reproject the complex numbers, then .map('phase')"
    same = RESAMPLINGS.get(pyramid.downsampling.resampling_name)
    if same is not None and same.of_area and not same.interpolates:
        return "classes (levels by their mode)"
    return None


def holding(packing: Packing, block: Array) -> Array:
    """Mask (y, x) of the pixels of stored numbers that hold something; empty where all do."""
    numbers = block.view(packing.numbers)
    holes = packing.invalid(numbers)
    if block.dtype.kind in "fc":
        nan = np.isnan(block)
        holes = nan if holes is None else holes | nan
    if holes is None or not holes.any():
        return np.zeros((0, 0), bool)
    held: Array = ~holes
    return held
