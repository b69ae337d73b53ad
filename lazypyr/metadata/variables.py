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
            Of the same dtype, float64 between integers; itself for level 0. Beyond the ends, and between texts, the
            nearest pixel's coordinate holds.
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
        """Origin and step where the values are evenly spaced, else None. Reads the values."""
        values = self.values
        if len(values) < 2 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            return None
        values = values.astype("f8")
        step = (values[-1] - values[0]) / (len(values) - 1)
        if step and np.abs(np.diff(values) - step).max() <= abs(step) * 0.01:
            unit = self.attrs.get("units")
            return Coord(float(values[0]), float(step), unit if isinstance(unit, str) else None)
        return None


def _resampled(array: CoordArray, shape: int, scale: float, translation: float, dtype: np.dtype[Any]) -> Array:
    values, positions = array.values, (np.arange(shape) * scale + translation).clip(0, array.shape[0] - 1)
    before = np.floor(positions).astype("i8")
    start, end, between = values[before], values[np.minimum(before + 1, len(values) - 1)], positions - before
    if values.dtype.kind == "f" or dtype.kind == "f":
        return np.asarray(start + (end - start.astype("f8")) * between, dtype)
    if values.dtype.kind in "mM":
        start = start + ((end - start) * between).astype((end - start).dtype)
    return np.asarray(start)
