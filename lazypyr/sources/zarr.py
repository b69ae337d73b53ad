"""Zarr arrays as sources: their chunks decoded in our own threads where that can be, through zarr where not."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._util.buffers import lease
from lazypyr.errors import LazypyrError, SourceError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.projection import axis_projections, chunk_projections
from lazypyr.geometry.windows import Window
from lazypyr.sources.base import Source, identity_of, native, tally
from lazypyr.sources.chunk_bytes import LocalFiles, MemoryBytes, Stored
from lazypyr.sources.decoder import ChunkDecoder, Sharding, decoder_of
from lazypyr.sources.documents import document_of, folders_of, layout_of, stored_of
from lazypyr.sources.store_bytes import StoreBytes

__all__ = ["ZarrSource"]

Array = np.ndarray[Any, Any]
# A shard larger than this is read chunk by chunk even where zarr would rather fetch it whole.
_MAX_SHARD_BYTES = 64 * 2**20
# As many chunks are asked for side by side where each is a trip.
_AT_ONCE = 16
_BATCH_BYTES = 16 * 2**20
# Stores that can't be asked cheaply are asked this often whether the array is still what it was.
_VERIFY_EVERY_S = 1.0
_SHARD_INDEX_BYTES = 32 * 2**20


class ZarrSource(Source):
    """One zarr array, v2 or v3, of any store.

    Parameters
    ----------
    array : zarr.Array
        Opened for reading; never written to.
    axes : tuple of str
        One name an axis.
    mapping : Mapping[str, bytes], optional
        The mapping that the array's store wraps, read directly.
    reopen : callable, optional
        Opens the array anew, for `refreshed`.
    owner : object, optional
        Whose identity tells an array in memory from others; its store, if not given.
    """

    def __init__(
        self,
        array: Any,
        axes: tuple[str, ...],
        *,
        name: str,
        mapping: Mapping[str, Any] | None = None,
        reopen: Callable[[], Any] | None = None,
        owner: Any = None,
        nodata: Any = None,
        coords: Mapping[str, Coord] | None = None,
        crs: str | None = None,
    ) -> None:
        self.array, self.axes, self.name, self.mapping = array, axes, name, mapping
        self._owner = array.store if owner is None else owner
        self.shape, self.dtype = tuple(array.shape), native(array.dtype)
        self.nodata, self.coords, self.crs, self._reopen = nodata, dict(coords or {}), crs, reopen
        self.attrs = dict(array.attrs)
        fill = array.fill_value
        if fill is None:  # v2 leaves it open; zarr-python hands out NaT for times, else zero
            fill = np.array("NaT" if self.dtype.kind in "mM" else 0, self.dtype)
        self.fill_value = np.asarray(fill).astype(self.dtype)[()]
        self._setup()
        self._fingerprint = self._digest()

    def _setup(self) -> None:
        """What reading needs and a pickle doesn't carry."""
        array = self.array
        self._document = document_of(array)
        shards = getattr(array, "shards", None)
        self.inner = tuple(array.chunks)
        self.shards = tuple(shards) if shards else None
        self.stored = stored_of(array, self.mapping)
        self._meta_key = "zarr.json" if self._document["zarr_format"] == 3 else ".zarray"
        self._decoder = decoder_of(self._document, np.dtype(array.dtype), self.inner, self.shards)
        self.chunks = self.inner
        if self.shards is not None and (self._decoder is None or self._remote):
            if math.prod(self.shards) * self.dtype.itemsize <= _MAX_SHARD_BYTES:
                self.chunks = self.shards
            else:
                self._decoder = None
        self.cheap_stride = self._decoder is not None and self._decoder.raw and isinstance(self.stored, LocalFiles)
        self._version = self.stored.version(self._meta_key)
        self._verified = time.monotonic()
        self._indices: dict[str, tuple[int, Array]] = {}

    @property
    def batch(self) -> tuple[int, ...]:
        # The chunks of one window are asked for side by side, which hides the way to them.
        room = max(1, _BATCH_BYTES // (math.prod(self.chunks) * self.dtype.itemsize))
        many = min(math.isqrt(_AT_ONCE), math.isqrt(room)) if self._remote else 1
        return tuple(c * many if axis in SPATIAL_AXES else c for c, axis in zip(self.chunks, self.axes, strict=True))

    @property
    def _remote(self) -> bool:
        """Whether every value costs a trip through zarr's event loop, and perhaps through a network."""
        return isinstance(self.stored, StoreBytes)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("stored", "_owner", "_decoder", "_indices", "_document")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._owner = self.array.store
        version, fingerprint = self._version, self._fingerprint
        self._setup()
        self._version, self._fingerprint = version, fingerprint

    # Identity

    def _digest(self) -> str:
        """Hash of the metadata, of where the array is, and of the times at which its folders last changed.

        A chunk that zarr writes is renamed into its folder, which changes the folder's time: no chunk is looked at.
        """
        digest = hashlib.blake2b(json.dumps(self._document, sort_keys=True, default=str).encode(), digest_size=16)
        # Memory has no name that means the same tomorrow: it is what the object is, in this process and in copies of it.
        inside = isinstance(self.stored, MemoryBytes) and not self._remote
        where = (identity_of(self._owner), self.array.path) if inside else str(self.array.store_path)
        if isinstance(self.stored, LocalFiles):
            # However it was spelled, relative or through a link, it is the same array.
            root = Path(self.stored.root).resolve()
            for folder in map(Path, folders_of(str(root))):
                digest.update(f"{folder}:{folder.stat().st_mtime_ns}".encode())
        else:
            digest.update(repr((where, self._version)).encode())
        return digest.hexdigest()

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def identity(self) -> Hashable:
        return self._fingerprint

    def refreshed(self) -> Source:
        try:
            array = (self._reopen or self._opened_again)()
        except Exception as error:
            raise SourceError(f"{self.name}: can't be opened again: {error}", key=self._meta_key) from error
        return ZarrSource(
            array,
            self.axes,
            name=self.name,
            mapping=self.mapping,
            reopen=self._reopen,
            owner=self._owner,
            nodata=self.nodata,
            coords=self.coords,
            crs=self.crs,
        )

    def place(self, key: str, shard: Stored, inner: int, sharding: Sharding) -> tuple[int, int] | None:
        """Where an inner chunk lies in its shard: offset and length, None if it is absent."""
        known = self._indices.get(key)
        # A shard is written whole: another size is another shard. One of the same size is caught by `refreshed`.
        if known is None or known[0] != shard.size:
            start = shard.size - sharding.index_size if sharding.at_end else 0
            if start < 0:
                msg = f"a shard of {shard.size} bytes can't hold its index of {sharding.index_size} bytes"
                raise ValueError(msg)
            table = sharding.index_of(shard.read(start, sharding.index_size))
            known = (shard.size, table)
            # Single steps of a dict need no lock, which a fork could leave locked.
            if len(self._indices) * table.nbytes >= _SHARD_INDEX_BYTES:
                self._indices.clear()
            self._indices[key] = known
        offset, length = (int(v) for v in known[1][inner])
        if offset == length == 2**64 - 1:
            return None
        if offset + length > shard.size:
            msg = f"a chunk of {length} bytes at {offset} reaches beyond its shard of {shard.size} bytes"
            raise ValueError(msg)
        return offset, length

    def _opened_again(self) -> Any:
        import zarr

        return zarr.open_array(
            store=self.array.store, path=self.array.path, mode="r", zarr_format=self._document["zarr_format"]
        )

    def verify(self, *, now: bool) -> None:
        """Refuse to go on with an array that is gone or has become another one."""
        if not now and (self._remote or not isinstance(self.stored, LocalFiles | MemoryBytes)):
            if time.monotonic() - self._verified < _VERIFY_EVERY_S:
                return
            self._verified = time.monotonic()
        version = self.stored.version(self._meta_key)
        if version == self._version:
            return
        if version is None:
            raise SourceError(
                f"{self.name}: the array is gone ({self._meta_key} is no longer there)", key=self._meta_key
            )
        raw: Any = version
        if isinstance(self.stored, LocalFiles):
            raw = Path(self.stored.root, self._meta_key).read_bytes()
        try:
            changed = layout_of(json.loads(raw)) != layout_of(self._document)
        except ValueError as error:
            raise SourceError(
                f"{self.name}: {self._meta_key} can't be read any more: {error}", key=self._meta_key
            ) from error
        if changed:
            msg = f"{self.name}: the array has changed its shape, type or chunks since it was opened; call refresh()"
            raise SourceError(msg, key=self._meta_key)
        self._version = version

    # Reading

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        steps = tuple(step) if step else (1,) * len(window)
        if self._decoder is None:
            return self._read_through_zarr(window, steps)
        try:
            self.verify(now=False)
        except OSError as error:
            raise _failed(self.name, self._meta_key, error) from error
        return self._read_chunks(window, steps, self._decoder)

    def _read_through_zarr(self, window: Window, steps: tuple[int, ...]) -> Array:
        try:
            self.verify(now=False)
            selection = tuple(slice(a, b, s) for (a, b), s in zip(window, steps, strict=True))
            block = np.asarray(self.array[selection])
            # Fill values, or NaN, are perhaps there because the array is gone.
            if ((block == self.fill_value) | np.not_equal(block, block)).any():
                self.verify(now=True)
        except SourceError:
            raise
        except Exception as error:
            msg = f"{self.name}: reading {window} failed: {type(error).__name__}: {error}"
            raise SourceError(msg, key=str(getattr(self.array, "path", ""))) from error
        return block.astype(self.dtype, copy=False)

    @contextlib.contextmanager
    def borrowed(self, window: Window) -> Iterator[Array]:
        decoder = self._decoder
        ends = tuple(min(a + c, n) for (a, _), c, n in zip(window, self.inner, self.shape, strict=True))
        one = all(a % c == 0 and b <= end for (a, b), c, end in zip(window, self.inner, ends, strict=True))
        if decoder is None or decoder.raw or not one:
            yield self.read(window)
            return
        self.verify(now=False)
        with _Opened(self, decoder) as chunks, lease(decoder.n_bytes) as memory:
            index = tuple(a // c for (a, _), c in zip(window, self.inner, strict=True))
            yield chunks.part(index, tuple(slice(0, b - a) for a, b in window), memory)

    def _read_chunks(self, window: Window, steps: tuple[int, ...], decoder: ChunkDecoder) -> Array:
        shape = tuple(windows.ceil_div(b - a, s) for (a, b), s in zip(window, steps, strict=True))
        parts = [axis_projections(a, b, s, c) for (a, b), s, c in zip(window, steps, self.inner, strict=True)]
        with _Opened(self, decoder) as chunks:
            if all(len(part) == 1 for part in parts) and shape == decoder.shape:
                ((index, there, _),) = chunk_projections(parts)
                return chunks.part(index, there, None)
            out = np.empty(shape, self.dtype)
            with lease(0 if decoder.raw else decoder.n_bytes) as memory:
                todo = chunk_projections(parts)
                while some := list(itertools.islice(todo, _AT_ONCE)):
                    chunks.fetch(index for index, _, _ in some)
                    for index, there, here in some:
                        out[here] = chunks.part(index, there, memory)
        return out


class _Opened:
    """The stored chunks of an array during one read: each shard is opened once."""

    def __init__(self, source: ZarrSource, decoder: ChunkDecoder) -> None:
        self.source, self.decoder, self.stored = source, decoder, source.stored
        self.stack = contextlib.ExitStack()
        self.opened: dict[str, Stored | None] = {}
        self.fetched: dict[str, Stored | BaseException | None] = {}
        self.verified = False

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def fetch(self, indices: Iterable[tuple[int, ...]]) -> None:
        """Ask for chunks side by side, where each is a trip."""
        if isinstance(self.stored, StoreBytes) and self.decoder.sharding is None:
            self.fetched = self.stored.get_many([self.source.array.metadata.encode_chunk_key(i) for i in indices])

    @contextlib.contextmanager
    def value(self, key: str) -> Iterator[Stored | None]:
        """What is stored under a key."""
        if key not in self.fetched:
            with self.stored.open(key) as value:
                yield value
            return
        fetched = self.fetched.pop(key)
        if isinstance(fetched, BaseException):
            raise fetched
        yield fetched

    def part(self, index: tuple[int, ...], part: tuple[slice, ...], memory: Array | None) -> Array:
        """Samples of a chunk, decoded in `memory` (in fresh memory for None); the fill value where it is absent."""
        source, decoder, key = self.source, self.decoder, ""
        try:
            if decoder.sharding is None:
                key = source.array.metadata.encode_chunk_key(index)
                with self.value(key) as value:
                    if value is not None and decoder.raw:
                        return _raw_part(value, decoder, part)
                    if value is not None:
                        with value.borrowed(0, value.size) as data:
                            return decoder.decode(data, memory)[part]
            else:
                assert source.shards is not None
                per_shard = tuple(s // c for s, c in zip(source.shards, source.inner, strict=True))
                key = source.array.metadata.encode_chunk_key(
                    tuple(i // n for i, n in zip(index, per_shard, strict=True))
                )
                if key not in self.opened:
                    self.opened[key] = self.stack.enter_context(self.stored.open(key))
                shard = self.opened[key]
                inner = int(np.ravel_multi_index([i % n for i, n in zip(index, per_shard, strict=True)], per_shard))
                place = None if shard is None else source.place(key, shard, inner, decoder.sharding)
                if shard is not None and place is not None:
                    with shard.borrowed(*place) as data:
                        return decoder.decode(data, memory)[part]
            # No chunk: what it would hold is the fill value, if the array is still there.
            if not self.verified:
                source.verify(now=True)
                self.verified = True
            tally.absent_chunks += 1
        except (LazypyrError, MemoryError):
            raise
        except Exception as error:
            raise _failed(source.name, key, error) from error
        return np.broadcast_to(source.fill_value, decoder.shape)[part]


def _failed(name: str, key: str, error: Exception) -> SourceError:
    return SourceError(f"{name}: chunk {key!r} failed: {type(error).__name__}: {error}", key=key)


def _raw_part(value: Stored, decoder: ChunkDecoder, part: tuple[slice, ...]) -> Array:
    """Samples of a chunk that is stored as it is: only the rows that hold one are read, if that saves anything."""
    if value.size != decoder.n_bytes:
        msg = f"expected {decoder.n_bytes} bytes, got {value.size}"
        raise ValueError(msg)
    dtype, shape = decoder.stored_dtype, decoder.shape
    axis = next((a for a, n in enumerate(shape[:-1]) if n > 1), len(shape) - 2)
    rows = range(*part[axis].indices(shape[axis]))
    row_bytes = decoder.n_bytes // shape[axis]
    # One call for each row costs about as much as copying 4 KiB more.
    if not value.in_parts or len(rows) * (row_bytes + 4096) >= decoder.n_bytes:
        return np.frombuffer(value.read(0, value.size), dtype).reshape(shape)[part]
    raw = b"".join([value.read(row * row_bytes, row_bytes) for row in rows])
    block = np.frombuffer(raw, dtype).reshape(*shape[:axis], len(rows), *shape[axis + 1 :])
    return block[(*part[:axis], slice(None), *part[axis + 1 :])]
