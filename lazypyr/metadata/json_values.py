"""Values in JSON: dtypes, fill values, attributes. Strict: no NaN or Infinity literal, which JavaScript refuses."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from lazypyr._util.checks import as_scalar
from lazypyr.errors import PlanError

__all__ = ["clean", "dump", "fill_json", "nodata_json", "recorded", "restored", "v2_dtype", "v3_dtype"]

_V3_NAMES = {"f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128"}


def v3_dtype(dtype: np.dtype[Any]) -> str | dict[str, Any]:
    """`data_type` of zarr v3; datetimes in the form that zarr-python writes ("numpy.datetime64")."""
    if dtype.kind in "Mm":
        unit, count = np.datetime_data(dtype)
        name = "numpy.datetime64" if dtype.kind == "M" else "numpy.timedelta64"
        return {"name": name, "configuration": {"unit": unit, "scale_factor": count}}
    if dtype.kind in "biu":
        return dtype.name
    name = _V3_NAMES.get(f"{dtype.kind}{dtype.itemsize}", "")
    if not name:
        raise PlanError(
            f"no zarr data type for {dtype}; expected bool, an integer, a float of at most 64 bits, a complex of at "
            f"most 128, datetime64 or timedelta64"
        )
    return name


def v2_dtype(dtype: np.dtype[Any]) -> str:
    """`dtype` of zarr v2: numpy's, little-endian."""
    v3_dtype(dtype)
    return dtype.newbyteorder("<").str


def fill_json(value: Any, dtype: np.dtype[Any]) -> Any:
    """A fill value as JSON, the same in zarr v2 and v3.

    Floats that aren't finite become "NaN", "Infinity", "-Infinity"; complex numbers pairs; datetimes their integer
    (NaT the least one, as zarr-python writes it). None becomes zero: v3 has no undefined fill value.
    """
    scalar = np.zeros((), dtype)[()] if value is None else as_scalar(value, dtype)
    if scalar is None:
        raise PlanError(f"fill_value: {value!r} is no value of dtype {dtype}")
    if dtype.kind == "c":
        return [_float(scalar.real.item()), _float(scalar.imag.item())]
    if dtype.kind == "f":
        return _float(scalar.item())
    if dtype.kind in "Mm":
        return scalar.view(np.int64).item()
    return scalar.item()


def nodata_json(value: Any, dtype: np.dtype[Any], *, zarr_format: int, keeps_nan: bool = False) -> Any:
    """The attribute `_FillValue` that *declares* no data; None where nothing needs to be declared, as NaN does not.

    In v3 floats are base64 of eight little-endian bytes, which is how xarray writes and reads them.
    """
    if value is None or dtype.kind not in "iufc" or (np.isnan(value) and not keeps_nan):
        return None
    document = fill_json(value, dtype)
    if zarr_format == 2 or dtype.kind in "iu":
        return document
    scalar = as_scalar(value, dtype)
    if dtype.kind == "c":
        return [_base64(scalar.real), _base64(scalar.imag)]
    return _base64(scalar)


def recorded(value: Any) -> Any:
    """A scalar, or None, as JSON from which `restored` makes one of the same text, whatever dtype it is compared with."""
    if isinstance(value, complex | np.complexfloating):
        return [recorded(value.real), recorded(value.imag)]
    if isinstance(value, np.floating):
        return _float(float(str(value)))  # the fewest digits that tell it from others of its dtype
    return clean(value, "value")


def restored(value: Any) -> Any:
    """The scalar of which `recorded` made JSON."""
    if isinstance(value, list):
        return complex(*map(restored, value))
    if isinstance(value, str):
        return float(value) if value in ("NaN", "Infinity", "-Infinity") else np.datetime64(value)
    return value


def _base64(value: Any) -> str:
    return base64.standard_b64encode(struct.pack("<d", float(value))).decode()


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def clean(value: Any, where: str) -> Any:
    """A value of plain JSON types: numpy scalars and arrays unpacked, tuples as lists, "NaN" for NaN.

    Raises
    ------
    PlanError
        Naming `where`, for what has no JSON form.
    """
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, np.ndarray):
        return clean(value.tolist() if value.dtype.kind not in "Mm" else value.astype(str).tolist(), where)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, np.generic):
        return clean(value.item(), where)
    if isinstance(value, float):
        return _float(float(value))
    if isinstance(value, complex):
        return [_float(value.real), _float(value.imag)]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {_key(key, where): clean(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise PlanError(
        f"attribute {where}: a {type(value).__name__} has no JSON form; leave it out or make it a string, number, "
        f"list or dict"
    )


def _key(key: Any, where: str) -> str:
    if isinstance(key, str | int | float | np.integer):
        return str(key)
    raise PlanError(f"attribute {where}: the key {key!r} is no string")


def dump(document: Mapping[str, Any]) -> bytes:
    """JSON bytes of a clean document: ASCII, compact, in the order given."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
