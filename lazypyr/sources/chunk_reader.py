"""Chunks of a zarr array, fetched and decoded during one read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, SourceError
from lazypyr.sources.array_metadata import ArrayMetadata
from lazypyr.sources.base import counters
from lazypyr.sources.buffers import temporary_buffer
from lazypyr.sources.chunk_bytes import ByteStore, StoredValue, Value
from lazypyr.sources.chunk_memory import present_memory
from lazypyr.sources.decoder import ChunkDecoder, Sharding
from lazypyr.sources.far.ahead import consumed
from lazypyr.sources.far.chunks import ChunkFetcher

__all__ = ["ChunkReader", "ShardIndices", "StoredChunks", "read_error"]

Array = np.ndarray[Any, Any]
_SHARD_INDEX_BYTES = 4 * 2**20


class ShardIndices:
    """Indices of shards that were read before, at most 4 MiB of them.

    Parameters
    ----------
    per_shard : tuple of int
        Chunks of a shard, by axis.
    """

    def __init__(self, per_shard: tuple[int, ...]) -> None:
        self.per_shard = per_shard
        self._tables: dict[str, tuple[int, Array]] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of the indices."""
        return sum(table.nbytes for _, table in list(self._tables.values()))

    def shard_of(self, index: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Index of the shard that holds a chunk, and the chunk's number within it."""
        inside = [i % n for i, n in zip(index, self.per_shard, strict=True)]
        shard = tuple(i // n for i, n in zip(index, self.per_shard, strict=True))
        return shard, int(np.ravel_multi_index(inside, self.per_shard))

    def chunk_byte_range(self, key: str, shard: StoredValue, number: int, sharding: Sharding) -> tuple[int, int] | None:
        """Offset and length of a chunk in its shard, None if it is absent."""
        size, table = self._tables.get(key, (-1, None))
        # A shard is written whole: another size is another shard. One of the same size is caught by `refreshed`.
        if table is None or size != shard.size:
            start = shard.size - sharding.index_size if sharding.at_end else 0
            if start < 0:
                msg = f"a shard of {shard.size} bytes can't hold its index of {sharding.index_size} bytes"
                raise ValueError(msg)
            table = sharding.index_of(shard.read(start, sharding.index_size))
            # Single steps of a dict need no lock, which a fork could leave locked.
            if len(self._tables) * table.nbytes >= _SHARD_INDEX_BYTES:
                self._tables.clear()
            self._tables[key] = shard.size, table
        offset, length = (int(v) for v in table[number])
        if offset == length == 2**64 - 1:
            return None
        if offset + length > shard.size:
            msg = f"a chunk of {length} bytes at {offset} reaches beyond its shard of {shard.size} bytes"
            raise ValueError(msg)
        return offset, length


@dataclass(frozen=True)
class StoredChunks:
    """Chunks of one array as they are stored, and the way to decode them.

    Attributes
    ----------
    name : str
        Of the array, for messages.
    store : ByteStore
    metadata : ArrayMetadata
    key_of : callable
        Key of a chunk, or of a shard, by its index.
    decoder : ChunkDecoder
    fill_value : scalar
        Value of the pixels of chunks that are absent.
    shards : ShardIndices
    fetcher : ChunkFetcher or None
        Of an array whose store is far.
    token : str
        Names the array, as it is now, among all chunks that are kept.
    may_lack : bool
        False where a value that is absent is an error (zarr's ``read_missing_chunks=False``).
    """

    name: str
    store: ByteStore
    metadata: ArrayMetadata
    key_of: Callable[[tuple[int, ...]], str]
    decoder: ChunkDecoder
    fill_value: Any
    shards: ShardIndices
    fetcher: ChunkFetcher | None
    token: str
    may_lack: bool = True


class ChunkReader:
    """Reader of stored chunks during one read of their array: each shard is opened once."""

    def __init__(self, chunks: StoredChunks) -> None:
        self._chunks, self._decoder = chunks, chunks.decoder
        self._stack = contextlib.ExitStack()
        self._shards: dict[str, StoredValue | None] = {}
        self._verified = False
        self._memory: Array | None = None

    def __enter__(self) -> ChunkReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(
        self, index: tuple[int, ...], selection: tuple[slice, ...], *, temporary: bool, whole: bool = True
    ) -> Array:
        """Samples of a chunk; the fill value, which takes no memory, where it is absent.

        Parameters
        ----------
        index : tuple of int
        selection : tuple of slice
            Within the chunk.
        temporary : bool
            Decode it in memory that is valid until the next chunk is read, or this reader is left.
        whole : bool
            False where other pixels of the chunk are perhaps wanted by others: it is kept, if somebody keeps chunks.

        Returns
        -------
        ndarray
            Not to be written to.

        Raises
        ------
        SourceError
            When the chunk fails to be read or decoded, or is absent because the array is gone.
        """
        chunks, memory = self._chunks, present_memory()
        keeps = not (whole or memory is None or self._decoder.raw) and memory.room_for_decoded(self._decoder.n_bytes)
        if memory is not None and not self._decoder.raw:
            kept = memory.peek_decoded(self._kept_key(index))
            if kept is not None:
                self._consumed(index)
                return kept[selection]
        key = ""
        try:
            key = self._key_of(index)
            with self._value(index, key) as value:
                if isinstance(value, _Missing):
                    # No chunk: its pixels are the fill value, if the array is still there.
                    self._check_absent(value)
                    return np.broadcast_to(chunks.fill_value, self._decoder.shape)[selection]
                if self._decoder.raw:
                    return _raw_part(value.value, self._decoder, selection)
                if memory is None:
                    return self._decoded(value, temporary=temporary)[selection]
                return memory.decode_once(
                    self._kept_key(index), partial(self._decoded, value), temporary=temporary, keep=keeps
                )[selection]
        except (LazypyrError, MemoryError):
            raise
        except Exception as error:
            if chunks.fetcher is not None:
                chunks.fetcher.drop(index, memory)
            raise read_error(chunks.name, key, error) from error

    def _kept_key(self, index: tuple[int, ...]) -> tuple[Any, ...]:
        return "decoded", self._chunks.token, index

    def _consumed(self, index: tuple[int, ...]) -> None:
        if self._chunks.fetcher is not None:
            consumed((self._chunks.fetcher, index))

    def _key_of(self, index: tuple[int, ...]) -> str:
        chunks = self._chunks
        return chunks.key_of(index if self._decoder.sharding is None else chunks.shards.shard_of(index)[0])

    def _check_absent(self, missing: _Missing) -> None:
        chunks = self._chunks
        if not self._verified:
            chunks.metadata.verify_absent()
            self._verified = True
        if missing.of_value and not chunks.may_lack:
            msg = "there is none, and zarr's read_missing_chunks is False: no fill value stands for it"
            raise FileNotFoundError(msg)
        counters.absent_chunks += 1

    @contextlib.contextmanager
    def _value(self, index: tuple[int, ...], key: str) -> Iterator[_Part | _Missing]:
        """Stored bytes of a chunk, open for reading."""
        chunks, sharding = self._chunks, self._decoder.sharding
        if chunks.fetcher is not None:
            got = chunks.fetcher.take(index, present_memory())
            self._consumed(index)
            yield _Missing(sharding is None) if got is None else _Part(Value(got.data), 0, len(got.data))
        elif sharding is None:
            with chunks.store.open(key) as value:
                yield _Missing(True) if value is None else _Part(value, 0, value.size)
        else:
            shard = self._shard(key)
            if shard is None:
                yield _Missing(True)
                return
            number = chunks.shards.shard_of(index)[1]
            byte_range = chunks.shards.chunk_byte_range(key, shard, number, sharding)
            yield _Missing(False) if byte_range is None else _Part(shard, *byte_range)

    def _shard(self, key: str) -> StoredValue | None:
        if key not in self._shards:
            self._shards[key] = self._stack.enter_context(self._chunks.store.open(key))
        return self._shards[key]

    def _decoded(self, part: _Part, *, temporary: bool) -> Array:
        most = self._decoder.stored_bytes_at_most
        if part.length > most:
            msg = f"expected at most {most} stored bytes, got {part.length}"
            raise ValueError(msg)
        if temporary and self._memory is None:
            self._memory = self._stack.enter_context(temporary_buffer(self._decoder.n_bytes))
        with part.value.read_temporary(part.start, part.length) as data:
            return self._decoder.decode(data, self._memory if temporary else None)


@dataclass(frozen=True, slots=True)
class _Part:
    """Stored bytes of a chunk: part of a value."""

    value: StoredValue
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Missing:
    """Stands for a chunk that is absent; `of_value`: so is the value that would hold it."""

    of_value: bool


def read_error(name: str, key: str, error: Exception) -> SourceError:
    """Error that names the array and the key of the chunk."""
    return SourceError(f"{name}: chunk {key!r} failed: {type(error).__name__}: {error}", key=key)


def _raw_part(value: StoredValue, decoder: ChunkDecoder, selection: tuple[slice, ...]) -> Array:
    """Samples of a chunk that is stored as it is: only the rows that hold one are read, if that saves anything."""
    if value.size != decoder.n_bytes:
        msg = f"expected {decoder.n_bytes} bytes, got {value.size}"
        raise ValueError(msg)
    dtype, shape = decoder.stored_dtype, decoder.shape
    axis = next((a for a, n in enumerate(shape[:-1]) if n > 1), len(shape) - 2)
    rows = range(*selection[axis].indices(shape[axis]))
    row_bytes = decoder.n_bytes // shape[axis]
    # One call for each row costs about as much as copying 4 KiB more.
    if not value.in_parts or len(rows) * (row_bytes + 4096) >= decoder.n_bytes:
        return np.frombuffer(value.read(0, value.size), dtype).reshape(shape)[selection]
    raw = b"".join([value.read(row * row_bytes, row_bytes) for row in rows])
    block = np.frombuffer(raw, dtype).reshape(*shape[:axis], len(rows), *shape[axis + 1 :])
    return block[(*selection[:axis], slice(None), *selection[axis + 1 :])]
