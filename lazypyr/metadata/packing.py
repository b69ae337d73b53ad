"""Meaning of an array's numbers: CF packing (scale, offset, signedness), values that hold nothing, flags, units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from lazypyr._util.checks import as_scalar
from lazypyr.metadata.nodata import OF_NODATA, as_stored, declared_values, declares_nan, meant_dtype, viewed

__all__ = ["OF_PACKING", "Packing", "flags_of", "packing_of", "read_packing"]

Array = np.ndarray[Any, Any]

OF_PACKING = frozenset({*OF_NODATA, "scale_factor", "add_offset", "_Unsigned", "valid_min", "valid_max", "valid_range"})
"""Attributes that speak of the numbers as they are stored: false of unpacked ones."""


@dataclass(frozen=True)
class Packing:
    """Rule by which stored numbers are turned into the values that they mean, as xarray does it.

    Parameters
    ----------
    stored : numpy.dtype
        Dtype of the stored numbers.
    numbers : numpy.dtype
        Dtype as which they are to be taken: another one than `stored` where `_Unsigned` says so.
    scale, offset : float, optional
        ``value = number * scale + offset``; None where the attribute isn't there.
    nodata_values : tuple of scalar
        Values of `stored` that hold nothing, the one that is written first. NaN needs no mention.
    valid : (scalar or None, scalar or None)
        Smallest and largest of `numbers` that hold something.
    keeps_dtype : bool
        True where unpacked floats stay as wide as they are stored, see `dtype`.
    is_declared : bool
        False where the user said which values hold nothing.

    Examples
    --------
    >>> packing = read_packing({"scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -1}, np.dtype("int16"))
    >>> packing.unpack(np.array([0, 3, -1], "i2"))
    array([10. , 11.5,  nan])
    """

    stored: np.dtype[Any]
    numbers: np.dtype[Any]
    scale: Any = None
    offset: Any = None
    nodata_values: tuple[Any, ...] = ()
    valid: tuple[Any, Any] = (None, None)
    keeps_dtype: bool = False
    is_declared: bool = True

    @property
    def nodata(self) -> Any:
        """The first of `nodata_values`; None where there is none."""
        return self.nodata_values[0] if self.nodata_values else None

    @property
    def scales(self) -> bool:
        """True where values are other than the numbers, by a scale or an offset."""
        return self.scale is not None or self.offset is not None

    @property
    def descends(self) -> bool:
        """True where a larger number means a smaller value."""
        return self.scale is not None and bool(self.scale < 0)

    @property
    def has_range(self) -> bool:
        """True where numbers outside `valid` hold nothing."""
        return self.valid != (None, None)

    @property
    def says_more_than_nodata(self) -> bool:
        """True where the attributes declare more than one value says, so that recipes leave it to them."""
        more = self.has_range or self.keeps_dtype if self.nodata is None else len(self.nodata_values) > 1
        return self.is_declared and more

    @cached_property
    def is_plain(self) -> bool:
        """True where the stored numbers are the values, and one value at most holds nothing."""
        return not self.scales and self.numbers == self.stored and len(self.nodata_values) < 2 and not self.has_range

    @cached_property
    def hole(self) -> Any:
        """The one value of `numbers` that holds nothing in what is made of them; None where NaN or no value does."""
        if self.nodata_values:
            return viewed(self.nodata, self.stored, self.numbers)
        low, high = self.valid
        if self.numbers.kind not in "iu" or not self.has_range:
            return None
        # By definition what lies beside the valid numbers holds nothing.
        return self.numbers.type(int(low) - 1 if low is not None else int(high) + 1)

    @cached_property
    def _holes(self) -> tuple[Any, ...]:
        return tuple(viewed(value, self.stored, self.numbers) for value in self.nodata_values)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of unpacked values, which is xarray's, except that there are always floats where there is a scale."""
        if self.scales:
            return self._scaled_dtype()
        if (self._holes or self.has_range) and self.numbers.kind in "iu":
            return np.dtype("f4" if self.numbers.itemsize <= 2 else "f8")
        return self.numbers

    def _scaled_dtype(self) -> np.dtype[Any]:
        if self.numbers.kind == "c" or (self.keeps_dtype and self.numbers.kind == "f"):
            return self.numbers
        types = {np.result_type(type(value)) for value in (self.scale, self.offset) if value is not None}
        both = self.scale is not None and self.offset is not None
        wide = self.numbers.kind in "iu" and self.numbers.itemsize == 4
        if types == {np.dtype("f4")} and not (both and wide) and (both or self.offset is None):
            return np.dtype("f4")
        return np.dtype("f8")

    def invalid(self, block: Array) -> Array | None:
        """Mask of the pixels that a declaration says to hold nothing.

        Parameters
        ----------
        block : ndarray
            Of `numbers`, any shape.

        Returns
        -------
        ndarray of bool or None
            Of the block's shape; None where nothing is declared. NaN counts as declared by no one.
        """
        bad: Array | None = None
        for hole in self._holes:
            bad = block == hole if bad is None else np.logical_or(bad, block == hole, out=bad)
        low, high = self.valid
        for bound, outside in ((low, np.less), (high, np.greater)):
            if bound is not None:
                part = outside(block, bound)
                bad = part if bad is None else np.logical_or(bad, part, out=bad)
        return bad

    def unpack(self, block: Array, dtype: np.dtype[Any] | None = None) -> Array:
        """Values of stored numbers.

        Parameters
        ----------
        block : ndarray
            Of `stored`, any shape. It isn't written to.
        dtype : numpy.dtype, optional
            Float dtype of the values; by default `dtype`.

        Returns
        -------
        ndarray
            A new array of the block's shape; NaN where nothing is held.
        """
        numbers, to = block.view(self.numbers), self.dtype if dtype is None else dtype
        values = numbers.astype(to)
        bad = self.invalid(numbers)
        if bad is not None:
            values[bad] = np.nan
        with np.errstate(all="ignore"):
            if self.scale is not None:
                values *= self.scale
            if self.offset is not None:
                values += self.offset
        return values

    def values(self, block: Array, dtype: np.dtype[Any]) -> Array:
        """Values of stored numbers in a dtype that has NaN for those that hold nothing; in `numbers`, where `hole` has.

        Parameters
        ----------
        block : ndarray
            Of `stored`, any shape. It isn't written to.
        dtype : numpy.dtype
            `values_dtype`, or a float dtype.

        Returns
        -------
        ndarray
            Of the block's shape.
        """
        return self.unpack(block, dtype) if dtype.kind in "fc" else self.with_one_hole(block)

    @property
    def values_dtype(self) -> np.dtype[Any]:
        """Dtype of the values where integers that have no scale stay integers."""
        return self.dtype if self.scales else self.numbers

    def with_one_hole(self, block: Array) -> Array:
        """Numbers among which `hole` (of floats without one: NaN) stands for all that hold nothing.

        Parameters
        ----------
        block : ndarray
            Of `stored`, any shape. It isn't written to.

        Returns
        -------
        ndarray
            Of `numbers`; a view of the block where there is nothing to replace.
        """
        numbers = block.view(self.numbers)
        if len(self._holes) < 2 and not self.has_range:
            return numbers
        bad = self.invalid(numbers)
        if bad is None or not bad.any():
            return numbers
        replaced = numbers.copy()
        replaced[bad] = np.nan if self.hole is None else self.hole
        return replaced

    def __lazypyr_token__(self) -> Any:
        values = [str(value) for value in self.nodata_values]
        valid = [None if bound is None else str(bound) for bound in self.valid]
        scaling = [None if value is None else repr(float(value)) for value in (self.scale, self.offset)]
        return "packing", self.stored.str, self.numbers.str, scaling, values, valid, self.dtype.str


class HasNumbers(Protocol):
    """The part of `DatasetMetadata` that speaks of numbers."""

    @property
    def attrs(self) -> Mapping[str, Any]: ...
    @property
    def nodata_values(self) -> tuple[Any, ...]: ...
    @property
    def packing(self) -> Packing | None: ...


def read_packing(
    attrs: Mapping[str, Any],
    dtype: np.dtype[Any],
    *,
    nodata: Sequence[Any] | None = None,
    fill_value: Any = None,
    is_mask: bool = False,
) -> Packing:
    """Packing that the attributes of an array declare.

    Understood are CF's `scale_factor`, `add_offset`, `_FillValue`, `missing_value` (both of them, and lists),
    `valid_min`, `valid_max`, `valid_range`, netCDF's `_Unsigned`, and what `declared_values` reads. What isn't understood
    is passed over: it stays an attribute of the array.

    Parameters
    ----------
    attrs : Mapping
        Attributes of an array.
    dtype : numpy.dtype
        Of what is stored.
    nodata : sequence, optional
        Values that hold nothing, instead of those that are declared; an empty one for none, whatever the valid range.
    fill_value : scalar, optional
        Value of absent chunks, which holds nothing where nothing else is declared, unless it is zero: zero is what every
        array has to which nobody gave one.
    is_mask : bool, default False
        True of Zarr v2, whose fill value holds nothing whatever else is declared, as xarray reads and writes it; of packed
        numbers zero too.

    Returns
    -------
    Packing
        A plain one where nothing is declared.

    Examples
    --------
    >>> packing = read_packing({"_Unsigned": "true", "valid_range": [0, -2], "missing_value": [7, 9]}, np.dtype("int8"))
    >>> packing.numbers, packing.nodata_values, packing.valid
    (dtype('uint8'), (np.int8(7), np.int8(9)), (None, np.uint8(254)))
    """
    dtype = np.dtype(dtype)
    numbers = meant_dtype(attrs.get("_Unsigned"), dtype)
    scale, offset = (_number(attrs.get(name)) for name in ("scale_factor", "add_offset"))
    chosen = None if fill_value is None else as_scalar(fill_value, dtype)
    is_packed = numbers != dtype or scale is not None or offset is not None
    if chosen is None or chosen != chosen or not (chosen or (is_mask and is_packed)):  # noqa: PLR0124 - NaN needs no mention
        chosen = None
    if dtype.kind not in "iufc":
        stated = nodata if nodata is not None else () if chosen is None else (chosen,)
        held = [as_scalar(value, dtype) for value in stated]
        return Packing(dtype, dtype, nodata_values=tuple(v for v in held if v is not None), is_declared=nodata is None)
    if nodata is None:
        values = declared_values(attrs, dtype)
        keeps = not values and declares_nan(attrs, dtype)
        keeps = keeps or (is_mask and not values and fill_value is not None and fill_value != fill_value)  # noqa: PLR0124
        if chosen is not None and (is_mask or not values):
            values = (chosen, *(value for value in values if value != chosen))
    else:
        keeps = False
        values = tuple(v for given in nodata if (v := as_stored(given, dtype, numbers)) is not None)
    valid = (None, None) if nodata is not None and not nodata else _valid(attrs, dtype, numbers, scale, offset)
    return Packing(dtype, numbers, scale, offset, values, valid, bool(keeps), nodata is None)


def packing_of(metadata: HasNumbers, dtype: np.dtype[Any]) -> Packing:
    """Packing that goes with metadata: the one that was read at opening, else what the attributes and `nodata_values` say."""
    if metadata.packing is not None:
        return metadata.packing
    return read_packing(metadata.attrs, dtype, nodata=metadata.nodata_values)


def flags_of(attrs: Mapping[str, Any]) -> dict[Any, str]:
    """Meanings of an array's flags (CF's `flag_meanings`) by `flag_values`, or by `flag_masks` where there are no values.

    Parameters
    ----------
    attrs : Mapping
        Attributes of an array.

    Returns
    -------
    dict
        Text by number; empty where there are none, or not as many numbers as words.

    Examples
    --------
    >>> flags_of({"flag_values": [0, 1], "flag_meanings": "clear cloudy"})
    {0: 'clear', 1: 'cloudy'}
    """
    meanings, numbers = attrs.get("flag_meanings"), attrs.get("flag_values", attrs.get("flag_masks"))
    words = meanings.split() if isinstance(meanings, str) else list(meanings or ())
    values = np.ravel(np.asarray([] if numbers is None else numbers)).tolist()
    return dict(zip(values, map(str, words), strict=True)) if len(values) == len(words) else {}


def _number(value: Any) -> Any:
    """A finite real number, as Python or numpy has it, also out of a list of one; None for anything else."""
    if isinstance(value, list | tuple | np.ndarray):
        value = np.asarray(value).item() if np.size(value) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return value if math.isfinite(value) else None


def _valid(
    attrs: Mapping[str, Any], dtype: np.dtype[Any], numbers: np.dtype[Any], scale: Any, offset: Any
) -> tuple[Any, Any]:
    """Least and largest number that holds something; None where any does.

    They are numbers, except where they can't be: bounds with fractions of packed integers are of unpacked values, by the
    rule of netCDF that goes by their type.
    """
    if dtype.kind not in "iuf":
        return None, None
    pair = attrs.get("valid_range")
    if isinstance(pair, list | tuple | np.ndarray) and np.size(pair) == 2:
        stated = [_number(value) for value in np.ravel(np.asarray(pair)).tolist()]
    else:
        stated = [_number(attrs.get(name)) for name in ("valid_min", "valid_max")]
    scaled = scale is not None or offset is not None
    if scaled and dtype.kind in "iu" and any(isinstance(value, float | np.floating) for value in stated):
        # Rounded far beyond float64's error, so that a bound which is a number's value includes that number.
        factor, shift = 1.0 if scale is None else float(scale), 0.0 if offset is None else float(offset)
        unscaled = [None if v is None or not factor else round((v - shift) / factor, 6) for v in stated]
        low, high = unscaled[::-1] if factor < 0 else unscaled
    else:
        low, high = (value if value is None else _meant(value, dtype, numbers) for value in stated)
    if numbers.kind == "f":
        return tuple(None if v is None else numbers.type(v) for v in (low, high))  # type: ignore[return-value]
    info = np.iinfo(numbers)
    least = None if low is None or low <= info.min else math.ceil(low)
    most = None if high is None or high >= info.max else math.floor(high)
    if (least is not None and least > info.max) or (most is not None and most < info.min):
        return None, None
    if least is not None and most is not None and least > most:
        return None, None
    return tuple(None if v is None else numbers.type(v) for v in (least, most))  # type: ignore[return-value]


def _meant(value: Any, dtype: np.dtype[Any], numbers: np.dtype[Any]) -> Any:
    """A bound as a number: one that `_Unsigned` makes another is given as it is stored."""
    held = as_scalar(value, dtype) if numbers != dtype else None
    return value if held is None else viewed(held, dtype, numbers).item()
