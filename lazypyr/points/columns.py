"""Columns of points: coordinates and values by point number, wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lazypyr._names import public_name
from lazypyr._util.cache import SingleFlightCache
from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.places import is_url, local_path, place_of
from lazypyr.errors import LazypyrError, PlanError
from lazypyr.geometry.windows import Window, ceil_div, chunk_window
from lazypyr.metadata.packing import Packing, read_packing
from lazypyr.pyramids.base import ComputeContext
from lazypyr.sources.array import ArraySource, NumpySource
from lazypyr.sources.base import Source, fresh_identity, identity_of, native
from lazypyr.sources.codec_guard import known_codecs_only
from lazypyr.sources.unpacked import UnpackedSource
from lazypyr.sources.zarr import ZarrSource

__all__ = [
    "ChunkCache",
    "Column",
    "ColumnSlice",
    "RowGather",
    "ScaledColumn",
    "StackedColumns",
    "array_of",
    "as_column",
    "in_memory",
    "gather",
]

Array = np.ndarray[Any, Any]
_ROWS = 65536  # in a chunk of what has none of its own


class Column(NumpySource):
    """Rows in memory: a numpy array of shape ``(n, *channels)``. It is not copied."""

    def __init__(self, array: Array, *, name: str, axes: Sequence[str] | None = None) -> None:
        self._given = array
        # a foreign byte order is put right once: kernels know the native one only
        column = array.astype(native(array.dtype), copy=False).view()
        column.flags.writeable = False
        super().__init__(column, tuple(axes) if axes else axis_names(array.ndim), name=name)
        self.chunks = (max(1, min(array.shape[0], _ROWS)), *(1,) * (array.ndim - 1))

    def _new_identity(self) -> Hashable:
        return identity_of(self._given)

    def _digest(self) -> str:
        digest = hashlib.blake2b(f"{self.shape}{self.dtype.str}".encode(), digest_size=16)
        for start in range(0, self.shape[0], _ROWS):
            digest.update(np.ascontiguousarray(self.array[start : start + _ROWS]).reshape(-1).view("u1").data)
        return digest.hexdigest()

    def refreshed(self) -> Source:
        fresh = Column(self._given, name=self.name, axes=self.axes)
        if self._fingerprint is not None and fresh.fingerprint == self._fingerprint:
            return self
        fresh._identity = fresh_identity("points")
        return fresh


class DerivedColumn(Source):
    """Column computed from other columns and some numbers, from which its identity follows."""

    def __init__(self, parents: tuple[Source, ...], *numbers: float) -> None:
        self._parents, self._numbers = parents, numbers
        self.name = ", ".join(s.name for s in parents)
        self.fill_value = np.zeros((), self.dtype)[()]

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(root for parent in self._parents for root in parent.sources)

    @property
    def fingerprint(self) -> str:
        return ":".join([*(s.fingerprint for s in self._parents), *map(str, self._numbers)])

    @property
    def identity(self) -> Hashable:
        return type(self), tuple(s.identity for s in self._parents), self._numbers

    def refreshed(self) -> Source:
        made: Callable[..., Source] = type(self)
        return made(*(s.refreshed() for s in self._parents), *self._numbers)


class ColumnSlice(DerivedColumn):
    """One entry of the last axis of another column."""

    def __init__(self, source: Source, entry: int) -> None:
        self.shape, self.chunks, self.axes = source.shape[:-1], source.chunks[:-1], source.axes[:-1]
        self.dtype, self._entry = source.dtype, entry
        super().__init__((source,), entry)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        steps = tuple(step or (1,) * len(window))
        return self._parents[0].read((*window, (self._entry, self._entry + 1)), (*steps, 1))[..., 0]


class ScaledColumn(DerivedColumn):
    """Another column times `scale` plus `offset`, float64."""

    def __init__(self, source: Source, scale: float, offset: float) -> None:
        self.shape, self.chunks, self.axes = source.shape, source.chunks, source.axes
        self.dtype, self._scale, self._offset = np.dtype("<f8"), scale, offset
        super().__init__((source,), scale, offset)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        return self._parents[0].read(window, step) * self._scale + self._offset


class StackedColumns(DerivedColumn):
    """Columns of one number a point as the channels of one column."""

    def __init__(self, *sources: Source) -> None:
        self.shape, self.chunks = (sources[0].shape[0], len(sources)), (sources[0].chunks[0], 1)
        self.dtype, self.axes = np.result_type(*(s.dtype for s in sources)), axis_names(2)
        super().__init__(sources)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        rows, (first, stop) = window
        steps = tuple(step or (1, 1))
        blocks = [s.read((rows,), steps[:1]) for s in self._parents[first : stop : steps[1]]]
        if not blocks:
            return np.empty((len(range(*rows, steps[0])), 0), self.dtype)
        return np.stack(blocks, axis=1).astype(self.dtype, copy=False)


def axis_names(ndim: int) -> tuple[str, ...]:
    """Names of the axes of a column: points, then channels as products call them."""
    channels = ("i", "j", "k", "l", "m")
    return ("point", *(channels[a] if a < len(channels) else f"channel{a}" for a in range(ndim - 1)))


def as_column(data: Any, name: str, storage_options: Mapping[str, Any] | None = None, *, unpack: bool = True) -> Source:
    """A column of a numpy, zarr, dask or xarray array, a list, a pandas column, a Source, or the path of a zarr array.

    Numbers that attributes of zarr or xarray declare to be packed, or to hold nothing, are unpacked, with NaN for what holds
    nothing, unless `unpack` is False.

    Raises
    ------
    PlanError
        When it is none of these, or has no axis.
    """
    if isinstance(data, Source):
        column = data
    elif (place := place_of(data)) is not None:
        text = place.text if is_url(place.text) else local_path(place.text)
        array = _opened(text, {**place.storage_options, **(storage_options or {})})
        stored = _zarr_column(array, name, text)
        stored.opened_as = text
        column = _unpacked(stored, array if unpack else None)
    elif all(hasattr(data, name) for name in ("store", "attrs", "chunks", "dtype")):
        column = _unpacked(_zarr_column(data, name, None), data if unpack else None)
    elif hasattr(data, "dask") or (hasattr(data, "chunks") and hasattr(data, "shape") and data.chunks):
        array = getattr(data, "data", data) if hasattr(data, "dims") else data
        rows = max(array.chunks[0]) if isinstance(array.chunks[0], tuple) else int(array.chunks[0])
        others = (1,) * (len(array.shape) - 1)
        lazy = ArraySource(array, axis_names(len(array.shape)), name=name, chunks=(rows, *others))
        column = _unpacked(lazy, data if unpack else None)
    else:
        array = _array(data, name)
        packing = _packing_of(data, array.dtype) if unpack else None
        column = Column(array if packing is None else packing.unpack(array), name=name)
    if not column.shape:
        raise PlanError(f"{name}: expected one entry a point, got a single value")
    return column


def _unpacked(column: Source, declared_by: Any) -> Source:
    """The column in the values that the attributes of an array declare."""
    packing = None if declared_by is None else _packing_of(declared_by, column.dtype)
    if packing is None:
        return column
    column.metadata = column.metadata.replaced(packing=packing)
    return UnpackedSource(column, packing.dtype)


def _packing_of(array: Any, dtype: np.dtype[Any]) -> Packing | None:
    """Packing that an array of zarr or xarray declares; None where its numbers are the values."""
    attrs = getattr(array, "attrs", None)
    if not isinstance(attrs, Mapping) or not (hasattr(array, "dims") or hasattr(array, "store")):
        return None
    if dtype.kind not in "iufc":
        return None
    is_v2 = getattr(getattr(array, "metadata", None), "zarr_format", 3) == 2
    packing = read_packing(attrs, dtype, fill_value=array.fill_value if is_v2 else None, is_mask=is_v2)
    return None if packing.is_plain and packing.nodata is None else packing


def _array(data: Any, name: str) -> Array:
    try:
        array = data if type(data) is np.ndarray else np.asanyarray(data)
    except (TypeError, ValueError) as error:
        raise PlanError(f"{name}: expected an array, got {type(data).__name__}: {error}") from error
    _check_numbers(array.dtype, name)
    array = _unmasked(array, name)
    if not array.ndim:
        raise PlanError(f"{name}: expected one entry a point, got a single value")
    return array


def _unmasked(array: Array, name: str) -> Array:
    """A plain array; NaN or NaT where it was masked."""
    if not np.ma.is_masked(array):
        return array.view(np.ndarray)
    if array.dtype.kind not in "fcmM":
        raise PlanError(
            f"{name}: masked entries of {array.dtype} have nothing to stand for them; fill them, or use floats"
        )
    filled = np.array(array, copy=True, subok=False)
    filled[np.ma.getmaskarray(array)] = "NaT" if array.dtype.kind in "mM" else np.nan
    return filled


def _check_numbers(dtype: Any, name: str) -> None:
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufcmM":
        raise PlanError(f"{name}: expected numbers, bools or dates, got dtype {dtype}")
    if dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise PlanError(
            f"{name}: {dtype} is no dtype of zarr arrays; convert it to {'complex128' if dtype.kind == 'c' else 'float64'}"
        )


def _opened(path: str, storage_options: Mapping[str, Any]) -> Any:
    import zarr

    try:
        with known_codecs_only(public_name(path)):
            return zarr.open_array(path, mode="r", storage_options=dict(storage_options) or None)
    except LazypyrError:
        raise
    except Exception as error:
        raise PlanError(f"{path}: no zarr array can be opened there: {error}") from error


def _zarr_column(array: Any, name: str, path: str | None) -> Source:
    _check_numbers(array.dtype, name)
    names = getattr(getattr(array, "metadata", None), "dimension_names", None)
    axes = axis_names(len(array.shape))
    if names and all(names) and len(set(names)) == len(names) and not {"x", "y"} & set(names):
        axes = ("point", *map(str, names[1:]))
    return ZarrSource(array, axes, name=path or name)


def in_memory(source: Source) -> Array | None:
    """The whole column if it is in memory anyway."""
    return source.array if isinstance(source, Column) else None


def array_of(array: Array, channel: tuple[int, ...]) -> Array:
    """One channel of a column in memory: a view, shape ``(n,)``."""
    index: tuple[Any, ...] = (slice(None), *channel)
    view: Array = array[index]
    return view


class ChunkCache:
    """Decoded chunks of columns that are not in memory, a bounded number of bytes of them; made anew after a fork."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        remake_after_fork(self._make_cache)

    def _make_cache(self) -> None:
        self.cache = SingleFlightCache(self.max_bytes, _n_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        return ChunkCache, (self.max_bytes,)

    def has_room_for(self, rows: int, dtype: np.dtype[Any]) -> bool:
        """True where so many values find room beside others."""
        return rows * max(4, dtype.itemsize) <= self.max_bytes // 4


def _n_bytes(block: Array) -> int:
    return int(block.nbytes)


def gather(source: Source, rows: Array, channel: tuple[int, ...], cache: ChunkCache, context: ComputeContext) -> Array:
    """``source[rows, *channel]``, see `RowGather`."""
    return RowGather(source, rows).gather(channel, cache, context)


class RowGather:
    """Rows of a column that are gathered from the chunks that hold them: of a channel only these are read, each once.

    Parameters
    ----------
    rows : ndarray
        Point numbers, any order, integer, shape ``(m,)``.
    """

    def __init__(self, source: Source, rows: Array) -> None:
        self.source, self.rows = source, rows
        if in_memory(source) is not None:
            return
        self._number = rows // source.chunks[0]
        n_chunks = ceil_div(source.shape[0], source.chunks[0])
        # 16-bit keys are sorted by radix
        order = np.argsort(self._number.astype(np.uint16) if n_chunks <= 65536 else self._number, kind="stable")
        self._parts = np.split(order, np.flatnonzero(np.diff(self._number[order])) + 1) if rows.size else []

    def gather(self, channel: tuple[int, ...], cache: ChunkCache, context: ComputeContext) -> Array:
        """Values of the rows in a channel, which is one number for each axis after the first."""
        source, rows = self.source, self.rows
        array = in_memory(source)
        if array is not None:
            return array_of(array, channel).take(rows)
        out = np.empty(rows.size, source.dtype)
        chunk = tuple(c // n for c, n in zip(channel, source.chunks[1:], strict=True))
        offset = tuple(c % n for c, n in zip(channel, source.chunks[1:], strict=True))

        def read_chunk(part: Array) -> None:
            index = (int(self._number[part[0]]), *chunk)
            window = chunk_window(index, source.chunks, source.shape)
            block = cache.cache.get((source.identity, index), partial(source.read, window))
            out[part] = block[(rows[part] - index[0] * source.chunks[0], *offset)]

        context.run_tasks(partial(read_chunk, part) for part in self._parts)
        return out
