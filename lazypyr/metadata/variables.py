"""Variables of a dataset beside the pixels: coordinates, bounds, grid mappings. Their values are read when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from lazypyr.geometry.grid import Coord

__all__ = ["CoordArray", "Variable"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable of a dataset beside the pixels. Picklable.

    Parameters
    ----------
    name : str
        As the dataset has it ("lat").
    dims : tuple[str, ...]
        Names of its dimensions, as the dataset has them; () of a scalar.
    shape : tuple[int, ...]
        Its length along each of them.
    dtype : numpy.dtype
        Of its values.
    read : callable
        Gives all values, as stored.
    attrs : Mapping[str, Any]
        As stored, JSON-like.

    Examples
    --------
    >>> Variable("crs", (), (), np.dtype("i4"), lambda: np.array(0), {"grid_mapping_name": "mercator"}).values
    array(0)
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], Array]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def values(self) -> Array:
        """All values, read once."""
        values = np.asarray(self.read())
        values.flags.writeable = False
        return values

    @cached_property
    def digest(self) -> str:
        """Hash of its content: equal for variables of equal values, names and attributes. Reads the values."""
        said = repr((self.name, self.dims, self.dtype.str, self.shape, sorted(self.attrs.items(), key=str)))
        values = self.values
        content = repr(values.tolist()).encode() if values.dtype.hasobject else np.ascontiguousarray(values).tobytes()
        return hashlib.blake2b(said.encode() + content, digest_size=16).hexdigest()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True, eq=False)
class CoordArray(Variable):
    """World coordinates along one axis as an array: one value a pixel, of any spacing.

    Parameters
    ----------
    name : str
        As the dataset has it ("lat").
    dims : tuple[str]
        Name of its dimension.
    shape : tuple[int]
        Its length.
    dtype : numpy.dtype
        Of its values.
    read : callable
        Gives all values, as stored.
    attrs : Mapping[str, Any]
        As stored, JSON-like.

    Examples
    --------
    >>> latitudes = np.array([10.0, 12.0, 17.0])
    >>> CoordArray("lat", ("lat",), (3,), latitudes.dtype, lambda: latitudes, {"units": "degrees_north"}).even is None
    True
    """

    def at(self, shape: int, scale: float, translation: float) -> CoordArray:
        """Coordinates of a level's samples, between two pixels by linear interpolation.

        Parameters
        ----------
        shape : int
            Samples of the level.
        scale, translation : float
            Pixels of level 0 from one sample to the next, and of the first one.

        Returns
        -------
        CoordArray
            Of the same dtype, float64 between integers; itself for level 0. Between texts the first one's holds; beyond
            the ends even coordinates go on, others end.
        """
        if (shape, scale, translation) == (self.shape[0], 1, 0):
            return self
        between = self.dtype.kind in "iu" and not (float(scale).is_integer() and float(translation).is_integer())
        dtype = np.dtype("f8") if between else self.dtype
        return replace(
            self, shape=(shape,), dtype=dtype, read=partial(_resampled, self, shape, scale, translation, dtype)
        )

    @cached_property
    def even(self) -> Coord | None:
        """Origin and step where no pixel is further than a tenth of a step from where they put it, else None.

        What the dtype of the values can't express is no unevenness: longitudes in float32 are even. Dates are even only if all
        of them are exactly where origin and step put them. Reads the values.
        """
        numbers = self._numbers
        if numbers is None or len(numbers) < 2:
            return None
        step = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
        away = np.abs(numbers - (numbers[0] + step * np.arange(len(numbers)))).max()
        rounding = np.spacing(np.abs(self.values).max()) if self.values.dtype.kind == "f" else 0.0
        if self.is_time:
            is_even = away <= 1e-9 * np.abs(numbers).max()
        else:
            is_even = away <= max(0.1 * abs(step), float(rounding) * abs(self._scale))
        unit = self.attrs.get("units")
        return (
            Coord(float(numbers[0]), float(step), unit if isinstance(unit, str) else None) if step and is_even else None
        )

    @property
    def is_time(self) -> bool:
        """True for dates, and numbers that are counted from one."""
        return self.dtype.kind == "M" or " since " in str(self.attrs.get("units", ""))

    def or_stated(self, coord: Coord) -> CoordArray:
        """Coordinates that a transform states where the values are no more than numbers of pixels: 0, 1, 2, ... without unit."""
        dtype = np.dtype("f8") if self.dtype.kind in "iu" else self.dtype
        return replace(self, dtype=dtype, read=partial(_or_stated, self, coord, dtype))

    @property
    def _scale(self) -> float:
        scale = self.attrs.get("scale_factor", 1.0)
        return float(scale) if isinstance(scale, int | float) else 1.0

    @cached_property
    def _numbers(self) -> Array | None:
        """Values as float64, unpacked; None where they aren't finite numbers."""
        values = self.values
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            return None
        offset = self.attrs.get("add_offset", 0.0)
        numbers: Array = values.astype("f8") * self._scale + (offset if isinstance(offset, int | float) else 0.0)
        return numbers if np.isfinite(numbers).all() else None


def _or_stated(array: CoordArray, coord: Coord, dtype: np.dtype[Any]) -> Array:
    if array.even != Coord():
        return array.values.astype(dtype)
    return np.asarray(coord.origin + coord.step * np.arange(array.shape[0]), dtype)


def _resampled(array: CoordArray, shape: int, scale: float, translation: float, dtype: np.dtype[Any]) -> Array:
    values, positions = array.values, np.arange(shape) * scale + translation
    inside = positions.clip(0, array.shape[0] - 1)
    before = np.floor(inside).astype("i8")
    start, end, between = values[before], values[np.minimum(before + 1, len(values) - 1)], inside - before
    if values.dtype.kind in "mM":
        return np.asarray(start + ((end - start) * between).astype((end - start).dtype))
    if dtype.kind != "f":
        return np.asarray(start)
    step = (float(values[-1]) - float(values[0])) / (len(values) - 1) if array.even is not None else 0.0
    return np.asarray(start + (end - start.astype("f8")) * between + step * (positions - inside), dtype)
