"""Indices of far shards, each fetched once, and the ranges by which chunks of one shard are fetched together."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
_TABLE_BYTES = 32 * 2**20
_ABSENT = 2**64 - 1


@dataclass(frozen=True)
class ShardTable:
    """Offset and length of each chunk in one shard, shape ``(count, 2)``, and the tag of the shard."""

    offsets: np.ndarray[Any, Any]
    tag: str | None


class ShardTables:
    """Indices of shards: the last ones used, at most 32 MiB. Used on the loop that fetches.

    Parameters
    ----------
    per_shard, grid : tuple of int
        Chunks of a shard, and of the array, by axis.
    sharding : Sharding
    """

    def __init__(self, per_shard: Index, grid: Index, sharding: Sharding) -> None:
        self.per_shard, self._grid, self._sharding = per_shard, grid, sharding
        self._most = max(1, _TABLE_BYTES // (16 * sharding.count))
        self._tables: OrderedDict[str, asyncio.Future[ShardTable | None]] = OrderedDict()

    def shard_of(self, index: Index) -> tuple[Index, int]:
        """Index of the shard that holds a chunk, and the chunk's number within it."""
        inside = [i % n for i, n in zip(index, self.per_shard, strict=True)]
        shard = tuple(i // n for i, n in zip(index, self.per_shard, strict=True))
        return shard, int(np.ravel_multi_index(inside, self.per_shard))

    def comes_whole(self, key: str, shard: Index, wanted: Iterable[Index], chunk_bytes: int) -> bool:
        """True for a shard that is fetched in one: all of it is wanted, which isn't much, and its index isn't here."""
        axes = zip(shard, self.per_shard, self._grid, strict=True)
        count = math.prod(min(n, all_ - i * n) for i, n, all_ in axes)
        return key not in self._tables and count * chunk_bytes <= _WHOLE_BYTES and len(set(wanted)) == count

    def table_in(self, key: str, got: Fetched) -> ShardTable:
        """Index of a shard that is here whole; it is kept."""
        size = self._sharding.index_size
        data = got.data[-size:] if self._sharding.at_end else got.data[:size]
        table = ShardTable(self._sharding.index_of(bytes(data)), got.tag)
        done: asyncio.Future[ShardTable | None] = asyncio.get_running_loop().create_future()
        done.set_result(table)
        self._tables[key] = done
        return table

    async def table(self, key: str, requests: Requests, priority: int) -> ShardTable | None:
        """Index of a shard, None where there is no shard."""
        task = self._tables.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._tables[key] = asyncio.ensure_future(self._fetch(key, requests, priority))
        self._tables.move_to_end(key)
        while len(self._tables) > self._most:
            self._tables.popitem(last=False)
        # One who goes away leaves it to the others.
        return await asyncio.shield(task)

    async def _fetch(self, key: str, requests: Requests, priority: int) -> ShardTable | None:
        size = self._sharding.index_size
        got = await requests.get(
            key, ByteRange(None if self._sharding.at_end else 0, size), n_bytes=size, priority=priority
        )
        return None if got is None else ShardTable(self._sharding.index_of(bytes(got.data)), got.tag)

    def clear(self) -> None:
        """Forget all indices."""
        self._tables.clear()

    def peek(self, key: str) -> ShardTable | None:
        """Index of a shard if it is here, in any thread."""
        task = self._tables.get(key)
        there = task is not None and task.done() and not task.cancelled() and task.exception() is None
        return task.result() if task is not None and there else None

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
