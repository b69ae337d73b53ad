"""A level as numpy sees it: an array whose pixels are computed when they are indexed."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lazypyr.geometry.axes import axes_label
from lazypyr.pyramids.level import Level

__all__ = ["LevelArray"]

Array = np.ndarray[Any, Any]


class SupportsRead(Protocol):
    """Members of a pyramid that its levels need."""

    name: str
    axes: tuple[str, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    levels: tuple[Level, ...]

    def read(self, level: int, window: Sequence[tuple[int, int]]) -> Array:
        """Pixels of a window."""


class LevelArray:
    """Level of a pyramid that is indexed as a numpy array is; just the pixels of the selection are computed.

    Integers, slices of any step and ``...`` select; what comes out is an ndarray (a scalar where every axis has an integer),
    computed in this thread, without a cache, as by `Pyramid.read`.

    Parameters
    ----------
    pyramid : Pyramid
    level : int
        0 is the finest.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    axes : tuple of str
    chunks : tuple of int

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> pyramid = lazypyr.open_pyramid(np.arange(600 * 400, dtype="f4").reshape(600, 400), method="mean")
    >>> pyramid[1]
    <level 1 of 'numpy array': yx 300 x 200 float32>
    >>> pyramid[1][0, :2], pyramid[-1][::-1, 0].shape
    (array([200.5, 202.5], dtype=float32), (150,))
    """

    def __init__(self, pyramid: SupportsRead, level: int) -> None:
        self._pyramid, self._level = pyramid, level
        self.shape, self.dtype = pyramid.levels[level].shape, pyramid.dtype
        self.axes, self.chunks = pyramid.axes, pyramid.chunks

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> Any:
        ranges, dropping = self._ranges(selection if isinstance(selection, tuple) else (selection,))
        out = np.empty([len(r) for r in ranges], self.dtype)
        for places in itertools.product(*(_places(r, c) for r, c in zip(ranges, self.chunks, strict=True))):
            parts = [r[place] for r, place in zip(ranges, places, strict=True)]
            window = [(min(part[0], part[-1]), max(part[0], part[-1]) + 1) for part in parts]
            block = self._pyramid.read(self._level, window)
            out[places] = block[tuple([slice(None, None, part.step) for part in parts])]
        return out[dropping]

    def _ranges(self, selection: tuple[Any, ...]) -> tuple[list[range], tuple[Any, ...]]:
        """Indices along each axis, and the index that then drops the axes of which one pixel was asked for."""
        n_ellipses = sum(part is Ellipsis for part in selection)
        n_given = len(selection) - n_ellipses
        if n_ellipses > 1 or n_given > self.ndim:
            raise IndexError(f"{self!r}: expected at most {self.ndim} indices and one ..., got {selection!r}")
        parts: list[Any] = []
        for part in selection if n_ellipses else (*selection, Ellipsis):
            parts += [slice(None)] * (self.ndim - n_given) if part is Ellipsis else [part]
        chosen = [self._range(axis, part) for axis, part in enumerate(parts)]
        dropping: list[Any] = [slice(None) if isinstance(part, slice) else 0 for part in parts]
        # numpy: a scalar without an ellipsis, with one an array of no axes
        return chosen, tuple(dropping + [Ellipsis] * n_ellipses)

    def _range(self, axis: int, part: Any) -> range:
        n = self.shape[axis]
        if isinstance(part, slice):
            return range(*part.indices(n))
        try:
            if part is None or isinstance(part, bool | np.bool_):
                raise TypeError
            index = operator.index(part)
        except TypeError:
            raise IndexError(
                f"{self!r}: expected integers, slices and ... along {self.axes[axis]!r}, got {part!r}; read the pixels first "
                f"and index the array that comes, as in pyramid[{self._level}][:9, :9][None]"
            ) from None
        if not -n <= index < n:
            raise IndexError(f"{self!r}: index {index} along {self.axes[axis]!r} is outside its {n} pixels")
        return range(index % n, index % n + 1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001 - numpy's signature
        if copy is False:
            raise ValueError(f"{self!r}: its pixels are computed, an array without a copy can't be had")
        return np.asarray(self[...], dtype)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"<level {self._level} of {self._pyramid.name!r}: {axes_label(self.axes)} {size} {self.dtype}>"


def _places(indices: range, chunk: int) -> Sequence[slice]:
    """Parts of a selection along one axis that are read by themselves: indices that are a chunk or more apart."""
    if abs(indices.step) < chunk or len(indices) < 2:
        return [slice(0, len(indices))] if len(indices) else []
    return [slice(k, k + 1) for k in range(len(indices))]
