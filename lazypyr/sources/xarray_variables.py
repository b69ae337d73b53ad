"""Surroundings of an xarray DataArray: its coordinates as stored variables, its grid mapping, its indexes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.metadata.place import Surroundings
from lazypyr.metadata.variables import Variable

__all__ = ["crs_of_indexes", "surroundings_of"]


def surroundings_of(array: Any, attrs: Mapping[str, Any]) -> Surroundings:
    """Surroundings of a DataArray.

    Parameters
    ----------
    array : xarray.DataArray
    attrs : Mapping
        Its attributes, and those of its encoding that speak of what is stored.
    """
    said = {key: array.encoding[key] for key in ("grid_mapping", "coordinates") if key in array.encoding}
    others = tuple(str(name) for name in array.coords if name not in array.dims)
    dims = tuple(str(dim) for dim in array.dims)
    return Surroundings({**said, **attrs}, dims, array.shape, [], partial(_find, array), named=others)


def crs_of_indexes(array: Any) -> str | None:
    """The CRS that an index of a DataArray has, as xproj and rasterix keep it."""
    for index in array.xindexes.values():
        crs: Any = getattr(index, "crs", None)
        if hasattr(crs, "to_authority"):
            authority = crs.to_authority()
            return ":".join(authority) if authority else str(crs.to_wkt())
    return None


def _find(array: Any, name: str) -> Variable | None:
    by_name = {str(key): value for key, value in array.coords.items()}
    if name not in by_name:
        return None
    variable = _stored(by_name[name].variable, name)
    attrs = {**{k: v for k, v in variable.encoding.items() if k in ("bounds", "units", "calendar")}, **variable.attrs}
    dims = tuple(str(dim) for dim in variable.dims)
    dtype = np.asarray(variable.values).astype(str).dtype if variable.dtype.kind in "OUT" else np.dtype(variable.dtype)
    return Variable(name, dims, tuple(variable.shape), dtype, partial(_values, variable, dtype), attrs)


def _values(variable: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    return np.array(variable.values, dtype)


def _stored(variable: Any, name: str) -> Any:
    """Variable with dates as numbers, in the unit and calendar in which they were stored."""
    if variable.dtype.kind not in "mMO" or (variable.dtype.kind == "O" and not _is_date(variable)):
        return variable
    xarray = need("xarray", feature="dates of xarray", extra="xarray")
    encoded = xarray.conventions.encode_cf_variable(variable, name=name)
    encoded.attrs.pop("_FillValue", None)
    return encoded


def _is_date(variable: Any) -> bool:
    return variable.size > 0 and hasattr(variable.values.flat[0], "calendar")
