"""Variables beside the levels of a pyramid: labels, longitudes and latitudes of two axes, bounds, scalars; reduced with the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lazypyr.metadata.dataset import EMPTY
from lazypyr.metadata.nodata import declared_values
from lazypyr.metadata.protocol import SupportsMultiscales
from lazypyr.metadata.variables import CoordArray, Variable

__all__ = ["Place", "variables_beside"]

Array = np.ndarray[Any, Any]
Place = tuple[int, float, float]
"""Samples of a level along an axis, and scale and translation in pixels of level 0."""

# Readers load coordinates whole.
_MAX_PIXELS = 2**24
# Attributes that name others, or are written anew.
_LEFT_OUT = frozenset({"_ARRAY_DIMENSIONS", "bounds", "climatology", "coordinates", "grid_mapping"})
_LONGITUDES = {"degrees_east", "degree_east", "degrees_e", "degree_e"}


def variables_beside(pyramid: SupportsMultiscales, level: int) -> dict[str, Variable]:
    """Variables that belong beside a level's array, by name, their dimensions named as the pyramid's axes.

    Values between two pixels are interpolated, longitudes the short way round; of texts, flags and whole numbers without a scale
    the pixel before counts. Bounds of a box are the outer ones of its pixels. The grid mapping is written by itself. No
    value is read.

    Parameters
    ----------
    pyramid : SupportsMultiscales
    level : int

    Examples
    --------
    >>> import numpy as np, xarray as xr, lazypyr
    >>> array = xr.DataArray(np.zeros((2, 8, 8)), dims=("band", "y", "x"), coords={"band": ["red", "nir"], "lon": (("y", "x"), np.ones((8, 8)))})
    >>> pyramid = lazypyr.open_pyramid(array, chunks=4)
    >>> {name: variable.shape for name, variable in variables_beside(pyramid, 1).items()}
    {'lon': (4, 4), 'band': (2,)}
    """
    metadata = getattr(pyramid, "metadata", EMPTY)
    axes = {metadata.dims.get(axis, axis): axis for axis in pyramid.axes}
    size, first = pyramid.levels[level], pyramid.levels[0]
    places = dict(zip(pyramid.axes, zip(size.shape, size.scale, size.translation, strict=True), strict=True))
    whole = dict(zip(pyramid.axes, first.shape, strict=True))
    bounds = {str(c.attrs.get("bounds")): axis for axis, c in metadata.along.items() if isinstance(c, CoordArray)}
    found: dict[str, Variable] = {}
    for name, variable in metadata.variables.items():
        if name == metadata.grid_mapping or name in pyramid.axes or not _is_servable(variable):
            continue
        dims = tuple(axes.get(dim, dim) for dim in variable.dims)
        if any(dim in whole and whole[dim] != n for dim, n in zip(dims, variable.shape, strict=True)):
            continue  # of an axis that a product has made another one of
        attrs = {key: value for key, value in variable.attrs.items() if key not in _LEFT_OUT}
        at = tuple(places.get(dim, (n, 1.0, 0.0)) for dim, n in zip(dims, variable.shape, strict=True))
        if name in bounds and dims[:1] == (bounds[name],) and len(dims) == 2:
            found[name] = _reduced(replace(variable, dims=dims, attrs=attrs), at, _bounds)
        elif name not in bounds or at == tuple((n, 1.0, 0.0) for n in variable.shape):
            found[name] = _reduced(replace(variable, dims=dims, attrs=attrs), at, _sampled)
    for axis in pyramid.axes:
        labels = metadata.along.get(axis)
        if isinstance(labels, CoordArray) and labels.dtype.kind in "UOT" and labels.shape == (whole[axis],):
            attrs = {key: value for key, value in labels.attrs.items() if key not in _LEFT_OUT}
            text = Variable(axis, (axis,), labels.shape, labels.dtype, labels.read, attrs)
            found[axis] = _reduced(text, (places[axis],), _sampled)
    return found


def _is_servable(variable: Variable) -> bool:
    named = len(set(variable.dims)) == len(variable.dims) == len(variable.shape) and all(variable.dims)
    return named and math.prod(variable.shape) <= _MAX_PIXELS and "/" not in variable.name


def _reduced(variable: Variable, at: Sequence[Place], how: Any) -> Variable:
    """A variable of a level; itself at level 0."""
    if all(place == (n, 1.0, 0.0) for place, n in zip(at, variable.shape, strict=True)):
        return variable
    dtype = np.dtype("f8") if _is_number(variable) and variable.dtype.kind in "iu" else variable.dtype
    attrs = variable.attrs
    if dtype != variable.dtype and "_FillValue" in attrs:
        attrs = {key: value for key, value in attrs.items() if key not in ("_FillValue", "missing_value")}
    shape = tuple(n for n, _, _ in at)
    return replace(variable, shape=shape, dtype=dtype, attrs=attrs, read=partial(how, variable, tuple(at), dtype))


def _is_number(variable: Variable) -> bool:
    """True for values that may be interpolated."""
    kind, attrs = variable.dtype.kind, variable.attrs
    return kind == "f" or (
        kind in "iu" and ("scale_factor" in attrs or "units" in attrs) and "flag_values" not in attrs
    )


def _numbers(variable: Variable) -> Array:
    """Values as float64, NaN for what holds nothing."""
    holes = declared_values(variable.attrs, variable.dtype)
    return np.where(np.isin(variable.values, holes), np.nan, variable.values.astype("f8"))


def _sampled(variable: Variable, at: Sequence[Place], dtype: np.dtype[Any]) -> Array:
    if not _is_number(variable):
        picked = [np.floor(_positions(place, n)).astype("i8") for place, n in zip(at, variable.shape, strict=True)]
        return np.asarray(variable.values[np.ix_(*picked)])
    values, turn = _numbers(variable), _turn(variable)
    for axis, (place, n) in enumerate(zip(at, variable.shape, strict=True)):
        if place == (n, 1.0, 0.0):
            continue
        positions = _positions(place, n)
        before = np.floor(positions).astype("i8")
        start, end = values.take(before, axis), values.take(np.minimum(before + 1, n - 1), axis)
        part = (positions - before).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        away = end - start if turn is None else (end - start + turn / 2) % turn - turn / 2
        values = np.where(part > 0, start + away * part, start)
    if turn is not None:
        low = np.nanmin(_numbers(variable), initial=0.0)
        values = np.where(values < low, values + turn, np.where(values >= low + turn, values - turn, values))
    return values.astype(dtype)


def _positions(place: Place, n: int) -> Array:
    count, scale, shift = place
    return (np.arange(count) * scale + shift).clip(0, n - 1)


def _turn(variable: Variable) -> float | None:
    """A full circle in stored numbers, of longitudes; None of other values."""
    attrs = variable.attrs
    is_longitude = str(attrs.get("units")).lower() in _LONGITUDES or "longitude" in str(attrs.get("standard_name"))
    scale = attrs.get("scale_factor", 1.0)
    return 360.0 / abs(scale) if is_longitude and isinstance(scale, int | float) and scale else None


def _bounds(variable: Variable, at: Sequence[Place], dtype: np.dtype[Any]) -> Array:
    """Outer bounds of the pixels of each box; of a level that takes single pixels, theirs."""
    (count, scale, shift), n = at[0], variable.shape[0]
    half = 0.0 if not shift else (scale - 1) / 2
    centres = np.arange(count) * scale + shift
    first = np.round(centres - half).clip(0, n - 1).astype("i8")
    last = np.round(centres + half).clip(0, n - 1).astype("i8")
    values = variable.values
    both = np.concatenate([values[first], values[last]], axis=1)
    low, high = both.min(axis=1), both.max(axis=1)
    ascends = values[first, 0] <= values[first, -1]
    return np.stack([np.where(ascends, low, high), np.where(ascends, high, low)], axis=1).astype(dtype)
