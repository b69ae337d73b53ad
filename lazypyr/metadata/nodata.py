"""Values that attributes of an array declare to hold nothing."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._util.checks import as_scalar

__all__ = ["OF_NODATA", "as_stored", "declared_nodata", "declared_values", "declares_nan", "meant_dtype", "viewed"]

OF_NODATA = ("_FillValue", "missing_value", "nodata", "_nodata", "nodatavals")
"""Attributes that declare values to hold nothing."""


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
    numbers = meant_dtype(attrs.get("_Unsigned"), dtype)
    stated = [attrs[name] for name in OF_NODATA[:2] if attrs.get(name) is not None]
    if not stated:
        other = next((attrs[name] for name in OF_NODATA[2:] if attrs.get(name) is not None), None)
        stated = [_entries(other, dtype)[:1]]
    found: dict[Any, None] = {}
    for value in stated:
        for entry in _entries(value, dtype):
            held = as_stored(_decoded(entry, dtype), dtype, numbers)
            if held is not None:
                found.setdefault(held)
    return tuple(found)


def meant_dtype(unsigned: Any, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Dtype as which stored integers are to be taken, given the attribute `_Unsigned`."""
    text = str(unsigned).lower()
    if dtype.kind == "i" and text == "true":
        return np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)
    if dtype.kind == "u" and text == "false":
        return np.dtype(f"i{dtype.itemsize}").newbyteorder(dtype.byteorder)
    return dtype


def viewed(value: Any, stored: np.dtype[Any], numbers: np.dtype[Any]) -> Any:
    """The scalar of the same bits in another dtype."""
    return np.asarray(value, stored).view(numbers)[()]


def as_stored(value: Any, dtype: np.dtype[Any], numbers: np.dtype[Any]) -> Any:
    """The same number in `dtype`, or of its bits where only `numbers` holds it; None for NaN and for others."""
    if isinstance(value, bool) or not isinstance(value, int | float | complex | np.number) or value != value:  # noqa: PLR0124
        return None
    held = as_scalar(value, dtype)
    if held is None and numbers != dtype:
        meant = as_scalar(value, numbers)
        held = None if meant is None else viewed(meant, numbers, dtype)
    return held


def declares_nan(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> bool:
    """True where `_FillValue` or `missing_value` is there and says no more than NaN."""
    return any(_is_nan(attrs.get(name), dtype) for name in OF_NODATA[:2])


def _is_nan(value: Any, dtype: np.dtype[Any]) -> bool:
    entries = [] if value is None else [_decoded(entry, dtype) for entry in _entries(value, dtype)]
    return bool(entries) and all(entry != entry for entry in entries)  # noqa: PLR0124 - NaN alone differs from itself


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
