"""Meaning of an array's numbers: CF packing (scale, offset, signedness), values that hold nothing, flags, units."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr._util.checks import as_scalar

__all__ = ["OF_PACKING", "Packing", "declared_nodata", "declared_values", "flags_of", "read_packing"]

Array = np.ndarray[Any, Any]

OF_NODATA = ("_FillValue", "missing_value", "nodata", "_nodata", "nodatavals")
"""Attributes that declare values to hold nothing."""
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
    def is_plain(self) -> bool:
        """True where the stored numbers are the values, and one value at most holds nothing."""
        return not self.scales and self.numbers == self.stored and len(self.nodata_values) < 2 and not self.has_range

    @cached_property
    def hole(self) -> Any:
        """The one value of `numbers` that holds nothing in what is made of them; None where NaN or no value does."""
        if self.nodata_values:
            return _viewed(self.nodata, self.stored, self.numbers)
        low, high = self.valid
        if self.numbers.kind not in "iu" or not self.has_range:
            return None
        # By definition what lies beside the valid numbers holds nothing.
        return self.numbers.type(int(low) - 1 if low is not None else int(high) + 1)

    @cached_property
    def _holes(self) -> tuple[Any, ...]:
        return tuple(_viewed(value, self.stored, self.numbers) for value in self.nodata_values)

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
        True of Zarr v2, whose fill value holds nothing whatever else is declared, as xarray reads it.

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
    numbers = _numbers(attrs.get("_Unsigned"), dtype)
    if dtype.kind not in "iufc":
        values = tuple(as_scalar(value, dtype) for value in nodata or ())
        return Packing(dtype, dtype, nodata_values=tuple(v for v in values if v is not None))
    scale, offset = (_number(attrs.get(name)) for name in ("scale_factor", "add_offset"))
    values, keeps = declared_values(attrs, dtype), False
    if nodata is not None:
        held = (_as_stored(value, dtype, numbers) for value in nodata)
        values = tuple(value for value in held if value is not None)
    else:
        keeps = not values and any(_is_nan(attrs.get(name), dtype) for name in ("_FillValue", "missing_value"))
        chosen = None if fill_value is None else as_scalar(fill_value, dtype)
        if chosen is not None and chosen and chosen == chosen and (is_mask or not values):  # noqa: PLR0124 - not NaN
            values = (chosen, *(value for value in values if value != chosen)) if is_mask else (chosen,)
        keeps = keeps or (is_mask and not values and fill_value is not None and fill_value != fill_value)  # noqa: PLR0124
    valid = (None, None) if nodata is not None and not values else _valid(attrs, dtype, numbers, scale, offset)
    return Packing(dtype, numbers, scale, offset, values, valid, bool(keeps))


def declared_nodata(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> Any:
    """Value that attributes declare to mean "no data": the first of `declared_values`.

    Parameters
    ----------
    attrs : Mapping
        Attributes of an array, or of the group around it.
    dtype : numpy.dtype
        Of the array.

    Returns
    -------
    scalar or None
        Of `dtype`; None where nothing is declared.

    Examples
    --------
    >>> declared_nodata({"_FillValue": -9999}, np.dtype("int16"))
    np.int16(-9999)
    >>> declared_nodata({"_FillValue": -9999}, np.dtype("uint8")) is None
    True
    """
    return next(iter(declared_values(attrs, dtype)), None)


def declared_values(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Values that attributes declare to mean "no data".

    All of `_FillValue` and `missing_value`, which may be lists; where neither is there, `nodata`, `_nodata` or
    `nodatavals`, the first that is. xarray writes a float `_FillValue` in zarr v3 as base64 of a little-endian double. The
    array's own fill value, which is what absent chunks read as, is no declaration.

    Parameters
    ----------
    attrs : Mapping
        Attributes of an array, or of the group around it.
    dtype : numpy.dtype
        Of the array.

    Returns
    -------
    tuple of scalar
        Of `dtype`, each once. Values that the dtype can't hold (-9999 in uint8) can't occur, and NaN needs no declaration:
        they are left out. With `_Unsigned` values may be given as they are stored, or as they are meant.

    Examples
    --------
    >>> declared_values({"_FillValue": -9999, "missing_value": [-9999, 32000]}, np.dtype("int16"))
    (np.int16(-9999), np.int16(32000))
    """
    if dtype.kind not in "iufc":
        return ()
    numbers = _numbers(attrs.get("_Unsigned"), dtype)
    stated = [attrs[name] for name in OF_NODATA[:2] if attrs.get(name) is not None]
    if not stated:
        other = next((attrs[name] for name in OF_NODATA[2:] if attrs.get(name) is not None), None)
        stated = [_entries(other, dtype)[:1]]
    found: dict[Any, None] = {}
    for value in stated:
        for entry in _entries(value, dtype):
            held = _as_stored(_decoded(entry, dtype), dtype, numbers)
            if held is not None:
                found.setdefault(held)
    return tuple(found)


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


def _numbers(unsigned: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    text = str(unsigned).lower()
    if dtype.kind == "i" and text == "true":
        return np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)
    if dtype.kind == "u" and text == "false":
        return np.dtype(f"i{dtype.itemsize}").newbyteorder(dtype.byteorder)
    return dtype


def _viewed(value: Any, stored: np.dtype[Any], numbers: np.dtype[Any]) -> Any:
    return np.asarray(value, stored).view(numbers)[()]


def _as_stored(value: Any, dtype: np.dtype[Any], numbers: np.dtype[Any]) -> Any:
    """The same number in `dtype`, or of its bits where only `numbers` holds it; None for NaN and for others."""
    if isinstance(value, bool) or not isinstance(value, int | float | complex | np.number) or value != value:  # noqa: PLR0124
        return None
    held = as_scalar(value, dtype)
    if held is None and numbers != dtype:
        meant = as_scalar(value, numbers)
        held = None if meant is None else _viewed(meant, numbers, dtype)
    return held


def _number(value: Any) -> Any:
    """A finite real number, as Python or numpy has it, also out of a list of one; None for anything else."""
    if isinstance(value, list | tuple | np.ndarray):
        value = np.asarray(value).item() if np.size(value) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return value if math.isfinite(value) else None


def _is_nan(value: Any, dtype: np.dtype[Any]) -> bool:
    entries = [] if value is None else [_decoded(entry, dtype) for entry in _entries(value, dtype)]
    return bool(entries) and all(entry != entry for entry in entries)  # noqa: PLR0124 - NaN alone differs from itself


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
    return value if held is None else _viewed(held, dtype, numbers).item()


def _entries(value: Any, dtype: np.dtype[Any]) -> Sequence[Any]:
    """Values of a list, or the one that isn't in any; a pair of numbers is one complex number."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        pair = dtype.kind == "c" and len(value) == 2 and not any(isinstance(part, list | tuple) for part in value)
        return [value] if pair else list(value)
    return [] if value is None else [value]


def _decoded(value: Any, dtype: np.dtype[Any]) -> Any:
    """A Python number, or None where the text is none."""
    if isinstance(value, list | tuple):
        if dtype.kind == "c" and len(value) == 2:
            real, imag = (_decoded(part, np.dtype("f8")) for part in value)
            plain = isinstance(real, int | float) and isinstance(imag, int | float)
            return complex(real, imag) if plain else None
        return _decoded(value[0], dtype) if value else None
    if not isinstance(value, str):
        return value.item() if isinstance(value, np.generic) else value
    try:
        return complex(value) if dtype.kind == "c" else float(value) if dtype.kind == "f" else int(value)
    except ValueError:
        pass
    try:
        content = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(content) == 8 and dtype.kind == "f":
        return struct.unpack("<d", content)[0]
    return np.frombuffer(content, dtype.newbyteorder("<"))[0].item() if len(content) == dtype.itemsize else None
