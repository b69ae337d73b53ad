"""Sources over what is already an array: numpy, dask, xarray, and anything that slices like one."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._util.checks import is_whole
from lazypyr.errors import SourceError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.windows import Window
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.sources.base import Source, fresh_identity, identity_of, native

__all__ = ["ArraySource", "NumpySource", "dask_chunks", "encoded_chunks"]

Array = np.ndarray[Any, Any]


class ArraySource(Source):
    """Anything with `shape`, `dtype` and slicing: dask and xarray arrays, h5py datasets, arrays of zarr 2.

    A dask array is computed block by block with its synchronous scheduler: the threads are ours, and nothing of ours
    waits in dask's pools.
    """

    def __init__(
        self,
        array: Any,
        axes: tuple[str, ...],
        *,
        name: str,
        chunks: Sequence[int] | None = None,
        metadata: DatasetMetadata | None = None,
    ) -> None:
        self._array, self.axes, self.name = array, axes, name
        self.metadata = metadata or DatasetMetadata()
        self.shape, self.dtype = tuple(int(n) for n in array.shape), native(array.dtype)
        planes = tuple(min(n, 512) if axis in SPATIAL_AXES else 1 for n, axis in zip(self.shape, axes, strict=True))
        self.chunks = tuple(int(c) for c in chunks) if chunks else planes
        self.fill_value = np.zeros((), self.dtype)[()]
        self._identity = self._new_identity()
        self._fingerprint: str | None = None

    def _new_identity(self) -> Hashable:
        return fresh_identity("array")

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        selection = tuple(slice(a, b, s) for (a, b), s in zip(window, step or (1,) * len(window), strict=True))
        try:
            block = self._array[selection]
            if hasattr(block, "compute"):
                block = block.compute(scheduler="synchronous")
            return np.asarray(block).astype(self.dtype, copy=False)
        except Exception as error:
            msg = f"{self.name}: reading {window} failed: {type(error).__name__}: {error}"
            raise SourceError(msg, key=self.name) from error

    @property
    def fingerprint(self) -> str:
        if self._fingerprint is None:
            self._fingerprint = self._digest()
        return self._fingerprint

    def _digest(self) -> str:
        # dask names its arrays by a hash of how they are made; others have nothing but their identity.
        name = getattr(self._array, "name", None) if hasattr(self._array, "dask") else None
        return hashlib.blake2b(
            repr((name or self._identity, self.shape, self.dtype)).encode(), digest_size=16
        ).hexdigest()

    @property
    def identity(self) -> Hashable:
        return self._identity

    def has_changed(self) -> bool:
        return False  # each refresh counts as another state, since nothing tells

    def refreshed(self) -> Source:
        fresh = copy.copy(self)
        fresh._identity, fresh._fingerprint = self._new_identity(), None  # noqa: SLF001 - of its own class
        return fresh


class NumpySource(ArraySource):
    """A numpy array. It is not copied: whoever changes it calls `refresh()` on the store."""

    cheap_stride = True

    @property
    def changes_seen(self) -> str:
        return "all, by a hash of the pixels"

    def _new_identity(self) -> Hashable:
        return identity_of(self._array)

    def has_changed(self) -> bool:
        return self._digest() != self.fingerprint

    @property
    def array(self) -> Array:
        """The array itself."""
        array: Array = self._array
        return array

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        view = super().read(window, step).view()
        view.flags.writeable = False
        return view

    def _digest(self) -> str:
        digest = hashlib.blake2b(f"{self.shape}{self.dtype}".encode(), digest_size=16)
        for row in self._array:
            digest.update(np.ascontiguousarray(row).tobytes())
        return digest.hexdigest()


def encoded_chunks(array: Any) -> tuple[int, ...] | None:
    """Chunks that a DataArray was stored in, by its own axes; None where its encoding doesn't tell, or tells of another array.

    The encoding outlives `isel`, `transpose` and `expand_dims`. xarray's `preferred_chunks` go by dimension; `chunks` (zarr) and
    `chunksizes` (netCDF) are in the order that the axes had.
    """
    encoding = array.encoding
    preferred = encoding.get("preferred_chunks")
    if isinstance(preferred, Mapping) and all(dim in preferred for dim in array.dims):
        sizes = [preferred[dim] for dim in array.dims]
    else:
        stored = encoding.get("chunks") or encoding.get("chunksizes") or ()
        original = encoding.get("original_shape", array.shape)
        sizes = list(stored) if len(stored) == len(original) == array.ndim else []
    largest = [max(size, default=0) if isinstance(size, Sequence) else size for size in sizes]
    if not largest or not all(is_whole(size, 1) for size in largest):
        return None
    return tuple(min(int(size), n) for size, n in zip(largest, array.shape, strict=True))


def dask_chunks(array: Any, window_limit: int = 4096) -> tuple[int, ...]:
    """The largest block of a dask array along each axis, at most `window_limit`."""
    return tuple(min(max(sizes), window_limit) for sizes in array.chunks)
