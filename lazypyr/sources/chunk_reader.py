"""Chunks of a zarr array, fetched and decoded during one read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, SourceError
from lazypyr.sources.array_metadata import ArrayMetadata
from lazypyr.sources.base import counters
from lazypyr.sources.buffers import temporary_buffer
from lazypyr.sources.chunk_bytes import ByteStore, StoredValue
from lazypyr.sources.decoder import ChunkDecoder, Sharding

__all__ = ["ChunkReader", "ShardIndices", "StoredChunks", "read_error"]

Array = np.ndarray[Any, Any]
_SHARD_INDEX_BYTES = 32 * 2**20


class ShardIndices:
    """Indices of shards that were read before, at most 32 MiB of them.

    Parameters
    ----------
    per_shard : tuple of int
        Chunks of a shard, by axis.
    """

    def __init__(self, per_shard: tuple[int, ...]) -> None:
        self.per_shard = per_shard
        self._tables: dict[str, tuple[int, Array]] = {}

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
    may_lack: bool = True


class ChunkReader:
    """Reader of stored chunks during one read of their array: each shard is opened once."""

    def __init__(self, chunks: StoredChunks) -> None:
        self._chunks, self._decoder = chunks, chunks.decoder
        self._stack = contextlib.ExitStack()
        self._shards: dict[str, StoredValue | None] = {}
        self._fetched: dict[str, StoredValue | BaseException | None] = {}
        self._verified = False
        self._memory: Array | None = None

    def __enter__(self) -> ChunkReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fetch(self, indices: Iterable[tuple[int, ...]]) -> None:
        """Ask for chunks side by side, where each is a trip."""
        chunks = self._chunks
        if chunks.store.is_remote and self._decoder.sharding is None:
            self._fetched = chunks.store.get_many([chunks.key_of(index) for index in indices])

    def read(self, index: tuple[int, ...], selection: tuple[slice, ...], *, temporary: bool) -> Array:
        """Samples of a chunk; the fill value, which takes no memory, where it is absent.

        Parameters
        ----------
        index : tuple of int
        selection : tuple of slice
            Within the chunk.
        temporary : bool
            Decode it in memory that is valid until the next chunk is read, or this reader is left.

        Returns
        -------
        ndarray
            Not to be written to.

        Raises
        ------
        SourceError
            When the chunk fails to be read or decoded, or is absent because the array is gone.
        """
        chunks, sharding = self._chunks, self._decoder.sharding
        shard, number = (index, 0) if sharding is None else chunks.shards.shard_of(index)
        key = ""
        try:
            key = chunks.key_of(shard)
            if sharding is None:
                with self._value(key) as value:
                    if value is not None and self._decoder.raw:
                        return _raw_part(value, self._decoder, selection)
                    if value is not None:
                        return self._decoded(value, (0, value.size), temporary=temporary)[selection]
            else:
                value = self._shard(key)
                if value is not None:
                    byte_range = chunks.shards.chunk_byte_range(key, value, number, sharding)
                    if byte_range is not None:
                        return self._decoded(value, byte_range, temporary=temporary)[selection]
            # No chunk: its pixels are the fill value, if the array is still there.
            if not self._verified:
                chunks.metadata.verify(now=True)
                self._verified = True
            if value is None and not chunks.may_lack:
                msg = "there is none, and zarr's read_missing_chunks is False: no fill value stands for it"
                raise FileNotFoundError(msg)
            counters.absent_chunks += 1
        except (LazypyrError, MemoryError):
            raise
        except Exception as error:
            raise read_error(chunks.name, key, error) from error
        return np.broadcast_to(chunks.fill_value, self._decoder.shape)[selection]

    @contextlib.contextmanager
    def _value(self, key: str) -> Iterator[StoredValue | None]:
        if key not in self._fetched:
            with self._chunks.store.open(key) as value:
                yield value
            return
        fetched = self._fetched.pop(key)
        if isinstance(fetched, BaseException):
            raise fetched
        yield fetched

    def _shard(self, key: str) -> StoredValue | None:
        if key not in self._shards:
            self._shards[key] = self._stack.enter_context(self._chunks.store.open(key))
        return self._shards[key]

    def _decoded(self, value: StoredValue, byte_range: tuple[int, int], *, temporary: bool) -> Array:
        most = self._decoder.stored_bytes_at_most
        if byte_range[1] > most:
            msg = f"expected at most {most} stored bytes, got {byte_range[1]}"
            raise ValueError(msg)
        if temporary and self._memory is None:
            self._memory = self._stack.enter_context(temporary_buffer(self._decoder.n_bytes))
        with value.read_temporary(*byte_range) as data:
            return self._decoder.decode(data, self._memory if temporary else None)


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
