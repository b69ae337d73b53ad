"""Array that is read where it is indexed, in zarr's ways: what users' functions are handed instead of all pixels."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazypyr.products.context import Array, Ranges

__all__ = ["SlicedArray"]

_Index = range | Array


class SlicedArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Array that is read where it is indexed, as a zarr array is; what it gives belongs to the caller, who may write to it.

    ``a[key]`` takes integers, slices of any step, ``...``, lists, arrays of integers and masks: as in zarr, integers and lists
    for all axes are points (`vindex`), lists beside slices are taken one axis at a time (`oindex`). Where numpy needs an
    array, all of it is read.

    Parameters
    ----------
    shape, dtype, chunks
        Facts of the array. Of lists and steps, only chunks that hold what was asked for are read.
    read : callable
        ``read(ranges) -> ndarray``, one range of step 1 for each axis.

    Attributes
    ----------
    shape : tuple of int
    chunks : tuple of int
    dtype : numpy.dtype
    ndim, size : int
    """

    def __init__(
        self, shape: Sequence[int], dtype: np.dtype[Any], chunks: Sequence[int], read: Callable[[Ranges], Array]
    ) -> None:
        self.shape, self.dtype, self.chunks = tuple(shape), dtype, tuple(chunks)
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self._read = read

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("the array has no axes")
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's protocol
        if copy is False:
            raise ValueError("the pixels are read: there is no array of which this could be a view")
        return np.asarray(self[...], dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        read = [one[...] if isinstance(one, SlicedArray) else one for one in inputs]
        return getattr(ufunc, method)(*read, **options)

    def __getitem__(self, key: Any) -> Any:
        if _is_mask(key) and np.ndim(key) == self.ndim:
            return self._points(list(self._mask(key)))
        parts = self._parts(key)
        listed = [part for part in parts if not isinstance(part, int | range)]
        if not listed or any(isinstance(part, range) for part in parts):
            return self._orthogonal(parts)
        return self._points(parts)

    @property
    def oindex(self) -> _Indexer:
        """Indexing in which each axis has integers, a slice, a list or a mask of its own."""
        return _Indexer(lambda key: self._orthogonal(self._parts(key)))

    @property
    def vindex(self) -> _Indexer:
        """Indexing by the coordinates of points, or by a mask of the array's shape."""
        return _Indexer(self._vectorized)

    def _vectorized(self, key: Any) -> Any:
        if _is_mask(key) and np.ndim(key) == self.ndim:
            return self._points(list(self._mask(key)))
        parts = self._parts(key)
        full = [part == range(n) for part, n in zip(parts, self.shape, strict=True) if isinstance(part, range)]
        if full:
            raise IndexError(f"vindex: expected integers or arrays for each of the {self.ndim} axes, got {key!r}")
        return self._points(parts)

    def _mask(self, key: Any) -> tuple[Array, ...]:
        mask = np.asarray(key)
        if mask.shape != self.shape:
            raise IndexError(f"expected a mask of shape {self.shape}, got {mask.shape}")
        return np.nonzero(mask)

    def _parts(self, key: Any) -> list[int | _Index]:
        """An integer, a range or an array of positions for each axis."""
        parts = list(key) if isinstance(key, tuple) else [key]
        given = sum(part is not Ellipsis for part in parts)
        if given > self.ndim:
            raise IndexError(f"{given} indices given for {self.ndim} axes")
        at = next((n for n, part in enumerate(parts) if part is Ellipsis), len(parts))
        parts[at : at + 1] = [slice(None)] * (self.ndim - given)
        return [_position(part, n) for part, n in zip(parts, self.shape, strict=True)]

    def _orthogonal(self, parts: list[int | _Index]) -> Any:
        keep = tuple(0 if isinstance(part, int) else slice(None) for part in parts)
        along = [range(part, part + 1) if isinstance(part, int) else part for part in parts]
        if any(isinstance(index, np.ndarray) and index.ndim != 1 for index in along):
            raise IndexError("an axis takes a list or an array of one dimension; vindex takes others")
        if all(isinstance(index, range) and index.step == 1 for index in along):
            return self._read(tuple(along))[keep].copy()  # type: ignore[arg-type]
        out = np.empty([len(index) for index in along], self.dtype)
        groups = [_by_chunk(index, chunk) for index, chunk in zip(along, self.chunks, strict=True)]
        for cell in itertools.product(*groups):
            block = self._read(tuple(within for _, within, _ in cell))
            out[np.ix_(*(places for places, _, _ in cell))] = block[np.ix_(*(offsets for _, _, offsets in cell))]
        return out[keep]

    def _points(self, parts: list[int | _Index]) -> Any:
        """Values at points, whose coordinates are broadcast against each other."""
        coordinates = np.broadcast_arrays(*(np.asarray(part) for part in parts))
        shape = coordinates[0].shape
        flat = [axis.reshape(-1) for axis in coordinates]
        out = np.empty(flat[0].size, self.dtype)
        cells = np.zeros(flat[0].size, np.int64)
        for axis, n, chunk in zip(flat, self.shape, self.chunks, strict=True):
            cells = cells * -(-n // chunk) + axis // chunk
        order = np.argsort(cells, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1) if order.size else ():
            inside = [axis[members] for axis in flat]
            within = tuple(range(int(axis.min()), int(axis.max()) + 1) for axis in inside)
            block = self._read(within)
            out[members] = block[tuple(axis - r.start for axis, r in zip(inside, within, strict=True))]
        return out.reshape(shape)[()]


class _Indexer:
    """The brackets of `SlicedArray.oindex` and `SlicedArray.vindex`."""

    def __init__(self, get: Callable[[Any], Any]) -> None:
        self._get = get

    def __getitem__(self, key: Any) -> Any:
        return self._get(key)


def _by_chunk(index: _Index, chunk: int) -> list[tuple[Array, range, Array]]:
    """Parts of an axis' positions, one a chunk: where they go, the range that is read for them, and where in it they are."""
    if isinstance(index, range) and index.step == 1:
        return [(np.arange(len(index)), index, np.arange(len(index)))]
    positions = np.asarray(index, np.int64)
    order = np.argsort(positions // chunk, kind="stable")
    parts = []
    for places in np.split(order, np.flatnonzero(np.diff(positions[order] // chunk)) + 1) if order.size else ():
        there = positions[places]
        within = range(int(there.min()), int(there.max()) + 1)
        parts.append((places, within, there - within.start))
    return parts


def _is_mask(key: Any) -> bool:
    return isinstance(key, np.ndarray | list) and np.asarray(key).dtype == bool


def _position(part: Any, n: int) -> int | _Index:
    """Index of one axis as an integer, a range, or an array of positions that are not negative."""
    if isinstance(part, slice):
        start, stop, step = part.indices(n)
        return range(start, max(start, stop) if step > 0 else stop, step)
    if isinstance(part, np.ndarray | list | tuple | range) and np.ndim(part):
        listed = np.asarray(part)
        if listed.dtype == bool:
            if listed.shape != (n,):
                raise IndexError(f"expected a mask of {n} entries, got shape {listed.shape}")
            return np.flatnonzero(listed)
        if not listed.size:
            return listed.astype(np.int64)
        if listed.dtype.kind not in "iu":
            raise IndexError(f"expected integers as indices, got {listed.dtype}")
        low, high = int(listed.min()), int(listed.max())
        if low < -n or high >= n:
            raise IndexError(f"index {low if low < -n else high} is out of range: there are {n}")
        return np.where(listed < 0, listed + n, listed) if low < 0 else listed.astype(np.int64, copy=False)
    i = operator.index(part)
    if not -n <= i < n:
        raise IndexError(f"index {i} is out of range: there are {n}")
    return i % n
