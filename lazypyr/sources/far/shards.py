"""Indices of far shards, each fetched once, and the ranges by which chunks of one shard are fetched together."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr.sources.chunk_memory import ChunkMemory
from lazypyr.sources.decoder import Sharding
from lazypyr.sources.far.clients import ByteRange, Fetched
from lazypyr.sources.far.requests import Requests

__all__ = ["Runs", "ShardTable", "ShardTables", "runs_of"]

Index = tuple[int, ...]
# Neighbours in one request: what lies between costs less than another request.
_GAP_BYTES = 256 * 2**10
# What is much is fetched in two halves, side by side: more requests a shard would cost more than they bring.
_SPAN_BYTES = 4 * 2**20
_LONGEST_SPAN_BYTES = 32 * 2**20
# All of a shard comes about as soon by itself as by its index and in two halves, up to this size.
_WHOLE_BYTES = 16 * 2**20
# Of the indices used last, besides those that the memory of an engine keeps.
_TABLE_BYTES = 2**20
_ABSENT = 2**64 - 1


@dataclass(frozen=True)
class ShardTable:
    """Offset and length of each chunk in one shard, shape ``(count, 2)``, and the tag of the shard."""

    offsets: np.ndarray[Any, Any]
    tag: str | None


class ShardTables:
    """Indices of shards: those used last, and those that there is room for in the memory of who reads. Used on the loop that fetches.

    Parameters
    ----------
    token : str
        Identity of the array.
    per_shard, grid : tuple of int
        Chunks of a shard, and of the array, by axis.
    sharding : Sharding
    """

    def __init__(self, token: str, per_shard: Index, grid: Index, sharding: Sharding) -> None:
        self._token, self.per_shard, self._grid, self._sharding = token, per_shard, grid, sharding
        self._most = max(1, _TABLE_BYTES // (16 * sharding.count))
        self._tables: OrderedDict[str, ShardTable] = OrderedDict()
        self._coming: dict[str, asyncio.Task[ShardTable]] = {}
        self._version = 0

    def shard_of(self, index: Index) -> tuple[Index, int]:
        """Index of the shard that holds a chunk, and the chunk's number within it."""
        inside = [i % n for i, n in zip(index, self.per_shard, strict=True)]
        shard = tuple(i // n for i, n in zip(index, self.per_shard, strict=True))
        return shard, int(np.ravel_multi_index(inside, self.per_shard))

    def comes_whole(self, shard: Index, wanted: Iterable[Index], chunk_bytes: int) -> bool:
        """True for a shard that is better fetched in one than by its index: all of it is wanted, which isn't much."""
        axes = zip(shard, self.per_shard, self._grid, strict=True)
        count = math.prod(min(n, all_ - i * n) for i, n, all_ in axes)
        return count * chunk_bytes <= _WHOLE_BYTES and len(set(wanted)) == count

    def table_in(self, key: str, got: Fetched, memory: ChunkMemory | None) -> ShardTable:
        """Index of a shard that is here whole; it is kept."""
        size = self._sharding.index_size
        data = got.data[-size:] if self._sharding.at_end else got.data[:size]
        return self._keep(key, ShardTable(self._sharding.index_of(bytes(data)), got.tag), memory)

    async def table(self, key: str, requests: Requests, priority: int, memory: ChunkMemory | None) -> ShardTable:
        """Index of a shard; all its chunks are absent where there is no shard."""
        kept = self.peek(key, memory)
        if kept is not None:
            return self._keep(key, kept, None)
        task = self._coming.get(key)
        if task is None:
            task = self._coming[key] = asyncio.ensure_future(self._fetch(key, requests, priority, memory))
            task.add_done_callback(lambda _: self._coming.pop(key, None))
        # One who goes away leaves it to the others.
        return await asyncio.shield(task)

    async def _fetch(self, key: str, requests: Requests, priority: int, memory: ChunkMemory | None) -> ShardTable:
        size, version = self._sharding.index_size, self._version
        part = ByteRange(None if self._sharding.at_end else 0, size)
        got = await requests.get(key, part, n_bytes=size, priority=priority)
        if got is None:
            offsets = np.full((self._sharding.count, 2), _ABSENT, "u8")
        else:
            offsets = self._sharding.index_of(bytes(got.data))
        table = ShardTable(offsets, None if got is None else got.tag)
        return self._keep(key, table, memory) if version == self._version else table

    def _keep(self, key: str, table: ShardTable, memory: ChunkMemory | None) -> ShardTable:
        self._tables[key] = table
        self._tables.move_to_end(key)
        while len(self._tables) > self._most:
            self._tables.popitem(last=False)
        if memory is not None:
            memory.put_stored(self._kept_key(key), table, table.offsets.nbytes)
        return table

    def _kept_key(self, key: str) -> tuple[Any, ...]:
        return "index", self._token, (self._version, key)

    def peek(self, key: str, memory: ChunkMemory | None) -> ShardTable | None:
        """Index of a shard if it is here, in any thread."""
        table = self._tables.get(key)
        if table is None and memory is not None:
            table = memory.get_stored(self._kept_key(key))
        return table

    def clear(self) -> None:
        """Forget all indices."""
        self._version += 1
        self._tables.clear()

    def supposed(self, chunk_bytes: int) -> ShardTable:
        """Index of a shard as it would be, were its chunks of one size, in their order."""
        starts = np.arange(self._sharding.count) * chunk_bytes
        return ShardTable(np.stack([starts, np.full_like(starts, chunk_bytes)], axis=1), None)

    @property
    def index_bytes(self) -> int:
        """Bytes of one index as it is stored."""
        return self._sharding.index_size

    @property
    def n_bytes(self) -> int:
        """Bytes of the indices that are kept."""
        return 16 * self._sharding.count * len(self._tables)


@dataclass
class Runs:
    """Bytes to fetch of one shard: spans of bytes ``(start, stop, parts)`` with ``(offset, length, who)`` in them."""

    spans: list[tuple[int, int, list[tuple[int, int, Any]]]] = field(default_factory=list)
    absent: list[Any] = field(default_factory=list)


def _longest_span(lengths: Sequence[int], table: ShardTable | None) -> int:
    total = sum(lengths)
    if table is not None and total <= _WHOLE_BYTES and len(lengths) == (table.offsets[:, 0] != _ABSENT).sum():
        return _LONGEST_SPAN_BYTES
    # No span is full before it has more than half of all: they are at most one more than if none were.
    return min(_LONGEST_SPAN_BYTES, max(_SPAN_BYTES, total // 2 + max(lengths, default=0)))


def runs_of(table: ShardTable | None, wanted: Sequence[tuple[int, Any]]) -> Runs:
    """Spans of a shard that hold the chunks of some numbers; neighbours share one."""
    runs, parts = Runs(), []
    for number, who in wanted:
        offset, length = (_ABSENT, _ABSENT) if table is None else (int(v) for v in table.offsets[number])
        if offset == length == _ABSENT:
            runs.absent.append(who)
        else:
            parts.append((offset, length, who))
    most = _longest_span([length for _, length, _ in parts], table)
    for offset, length, who in sorted(parts, key=lambda part: part[:2]):
        start, stop, together = runs.spans[-1] if runs.spans else (0, 0, [])
        if runs.spans and offset - stop <= _GAP_BYTES and offset + length - start <= most:
            together.append((offset, length, who))
            runs.spans[-1] = start, max(stop, offset + length), together
        else:
            runs.spans.append((offset, offset + length, [(offset, length, who)]))
    return runs
