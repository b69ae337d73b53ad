"""Stored chunks of one far array, each fetched once for all that want it; chunks in shards by ranges of them."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as WaitTimeout
from dataclasses import dataclass
from typing import Any

from lazypyr._util.blocking import waiting_long
from lazypyr._util.computation import current_computation
from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.lanes import Abandoned
from lazypyr.sources.chunk_memory import ChunkMemory
from lazypyr.sources.decoder import ChunkDecoder
from lazypyr.sources.far.clients import ByteRange, Fetched
from lazypyr.sources.far.loop import LOCK, fetch_loop
from lazypyr.sources.far.requests import Requests
from lazypyr.sources.far.shards import ShardTables, runs_of

__all__ = ["ChunkFetcher", "Flight", "begin"]

Index = tuple[int, ...]
# A thread that waits for bytes looks this often for whether anybody still wants what it computes.
_LOOK_EVERY_S = 0.1
_MAX_REMEMBERED = 2**16
_TOGETHER_S = 0.002


class Flight:
    """One chunk on its way, or here; shared by all that hold it. Counts are guarded by `LOCK`."""

    __slots__ = ("expected_bytes", "fetcher", "future", "holders", "index", "memory", "task")

    def __init__(self, fetcher: ChunkFetcher, index: Index, memory: ChunkMemory | None) -> None:
        self.fetcher, self.index, self.memory = fetcher, index, memory
        self.expected_bytes = fetcher.expected_bytes
        self.future: Future[Fetched | None] = Future()
        self.future.set_running_or_notify_cancel()
        self.holders = 1
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> bool:
        """Hold it no longer; True for the last one, who has to `stop` it."""
        self.holders -= 1
        if self.holders:
            return False
        if self.fetcher.flights.get(self.index) is self:
            del self.fetcher.flights[self.index]
        return True

    def stop(self) -> None:
        """Don't fetch it any more, if that is still going on."""
        if not self.future.done():
            fetch_loop.call(self._cancel)

    def _cancel(self) -> None:
        if not self.future.done():
            self.future.set_exception(CancelledError())
            self.fetcher.requests.stats.cancelled += 1
        if self.task is not None:
            self.task.cancel()


def begin(flights: Sequence[Flight], priority: int) -> None:
    """Fetch chunks that have been joined."""
    if flights:
        fetch_loop.call(_begin, flights, priority)


def _begin(flights: Sequence[Flight], priority: int) -> None:
    by_shard: dict[tuple[ChunkFetcher, Index], list[Flight]] = collections.defaultdict(list)
    for flight in flights:
        if flight.future.done():
            continue
        if flight.fetcher.shards is None:
            flight.task = asyncio.ensure_future(flight.fetcher.fetch_whole(flight, priority))
        else:
            shard, _ = flight.fetcher.shards.shard_of(flight.index)
            by_shard[flight.fetcher, shard].append(flight)
    for (fetcher, shard), parts in by_shard.items():
        fetcher.begin_shard(shard, parts, priority)


@dataclass(frozen=True)
class FarArray:
    """An array whose chunks are fetched.

    Attributes
    ----------
    token : str
        Its identity.
    key_of : callable
        Key of a chunk or shard by its index, within the store.
    decoder : ChunkDecoder
    per_shard : tuple of int
        Chunks of a shard, by axis; () where there are none.
    grid : tuple of int
        Chunks of the array, by axis.
    """

    token: str
    key_of: Any
    decoder: ChunkDecoder
    per_shard: Index
    grid: Index


class ChunkFetcher:
    """Stored chunks of one array.

    Parameters
    ----------
    array : FarArray
    requests : Requests
        To its store.

    Attributes
    ----------
    epoch : int
        Grows when a stored value is found to be another one than before.
    """

    def __init__(self, array: FarArray, requests: Requests) -> None:
        self.array, self.requests = array, requests
        self.epoch = 0
        remake_after_fork(self._start)

    def _start(self) -> None:
        sharding = self.array.decoder.sharding
        self.flights: dict[Index, Flight] = {}
        self.shards: ShardTables | None = None
        if sharding is not None:
            self.shards = ShardTables(self.array.token, self.array.per_shard, self.array.grid, sharding)
        self._absent: set[Index] = set()
        self._tags: dict[str, str] = {}
        self._sizes = (0, 0)
        # Chunks that wait for the index of their shard.
        self._queues: dict[Index, list[Flight]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def expected_bytes(self) -> int:
        """Stored bytes of a chunk, by those that came before; of the first ones as many as it decodes to."""
        count, total = self._sizes
        n_bytes = self.array.decoder.n_bytes
        return n_bytes if count < 4 else min(n_bytes, int(1.25 * total / count) + 1024)

    def is_absent(self, index: Index) -> bool:
        """True for a chunk that was found to be absent."""
        return index in self._absent

    def key(self, kind: str, index: Index) -> tuple[Any, ...]:
        """Key of a chunk in a `ChunkMemory`."""
        return kind, self.array.token, index

    def join(self, index: Index, memory: ChunkMemory | None) -> tuple[Flight, bool]:
        """The flight of a chunk, and True if the caller has to begin it; with `LOCK` held."""
        flight = self.flights.get(index)
        if flight is not None:  # one that has failed too: its error is for all that hold it
            flight.holders += 1
            return flight, False
        flight = self.flights[index] = Flight(self, index, memory)
        if index in self._absent:
            flight.future.set_result(None)
            return flight, False
        kept = None if memory is None else memory.get_stored(self.key("stored", index))
        if kept is None:
            return flight, True
        flight.future.set_result(kept)
        return flight, False

    def take(self, index: Index, memory: ChunkMemory | None) -> Fetched | None:
        """Stored bytes of a chunk, None if it is absent; waits for them.

        Raises
        ------
        Abandoned
            When nobody wants any more what this thread computes.
        Exception
            What went wrong in fetching it.
        """
        with LOCK:
            flight, is_new = self.join(index, memory)
        if is_new:
            begin([flight], 0)
        try:
            return flight.future.result(0) if flight.future.done() else _wait(flight)
        finally:
            with LOCK:
                last = flight.leave()
            if last:
                flight.stop()

    def drop(self, index: Index, memory: ChunkMemory | None) -> None:
        """Keep nothing of a chunk that turned out to be damaged: it may be mended."""
        if memory is not None:
            memory.drop_stored(self.key("stored", index))
        if self.shards is not None:
            fetch_loop.call(self.shards.clear)

    # On the loop

    async def fetch_whole(self, flight: Flight, priority: int) -> None:
        """Fetch a chunk that is a value by itself."""
        key = self.array.key_of(flight.index)
        try:
            got = await self.requests.get(key, n_bytes=self.expected_bytes, priority=priority)
        except BaseException as error:
            self._failed(flight, error)
            return
        self._seen(key, got)
        self._arrived(flight, got)

    def begin_shard(self, shard: Index, flights: list[Flight], priority: int) -> None:
        """Fetch chunks of one shard, together with those that are asked for at about the same time."""
        queue = self._queues.setdefault(shard, [])
        queue.extend(flights)
        if len(queue) == len(flights):
            task = asyncio.ensure_future(self._fetch_shard(shard, priority))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch_shard(self, shard: Index, priority: int) -> None:
        assert self.shards is not None
        key = self.array.key_of(shard)
        try:
            # The tiles of a screen come one by one.
            await asyncio.sleep(_TOGETHER_S)
            if await self._fetched_whole(key, shard, priority):
                return
            memory = next((flight.memory for flight in self._queues[shard] if flight.memory is not None), None)
            table = await self.shards.table(key, self.requests, priority, memory)
        except BaseException as error:
            for flight in self._queues.pop(shard):
                self._failed(flight, error)
            return
        flights = [flight for flight in self._queues.pop(shard) if not flight.future.done()]
        self._seen(key, Fetched(memoryview(b""), table.tag))
        runs = runs_of(table, [(self.shards.shard_of(flight.index)[1], flight) for flight in flights])
        for flight in runs.absent:
            self._arrived(flight, None)
        for run in runs.spans:
            _while_wanted(asyncio.ensure_future(self._fetch_run(key, run, priority)), [who for _, _, who in run[2]])

    async def _fetched_whole(self, key: str, shard: Index, priority: int) -> bool:
        """Fetch a shard in one request if all of it is wanted; False where it is to be read by its index."""
        assert self.shards is not None
        queue = [flight for flight in self._queues[shard] if not flight.future.done()]
        memory = queue[0].memory if queue else None
        whole = self.shards.comes_whole(shard, [flight.index for flight in queue], self.expected_bytes)
        if not whole or self.shards.peek(key, memory) is not None:
            return False
        asked = asyncio.ensure_future(
            self.requests.get(key, n_bytes=len(queue) * self.expected_bytes, priority=priority)
        )
        _while_wanted(asked, queue)
        try:
            got = await asked
        except asyncio.CancelledError:
            if not asked.cancelled():
                raise
            return False  # nobody wanted it any more; who has come since then does
        table = None if got is None else self.shards.table_in(key, got, memory)
        self._seen(key, got)
        runs = runs_of(table, [(self.shards.shard_of(flight.index)[1], flight) for flight in self._queues.pop(shard)])
        for flight in runs.absent:
            self._arrived(flight, None)
        for _, _, parts in runs.spans:
            assert got is not None
            self._hand_out(got, 0, parts)
        return True

    async def _fetch_run(self, key: str, run: tuple[int, int, list[tuple[int, int, Flight]]], priority: int) -> None:
        start, stop, parts = run
        try:
            got = await self.requests.get(key, ByteRange(start, stop - start), n_bytes=stop - start, priority=priority)
            if got is None or len(got.data) != stop - start:
                n_bytes = "nothing" if got is None else f"{len(got.data)} bytes"
                msg = f"a chunk reaches beyond its shard: bytes {start} to {stop} were asked for, got {n_bytes}"
                raise ValueError(msg)
        except BaseException as error:
            for _, _, flight in parts:
                self._failed(flight, error)
            return
        self._seen(key, got)
        self._hand_out(got, start, parts)

    def _hand_out(self, got: Fetched, start: int, parts: list[tuple[int, int, Flight]]) -> None:
        """Give the chunks their parts of bytes that begin at `start` in the shard."""
        for offset, length, flight in parts:
            part = got.data[offset - start : offset - start + length]
            if len(part) != length:
                msg = f"a chunk of {length} bytes at {offset} reaches beyond its shard of {start + len(got.data)} bytes"
                self._failed(flight, ValueError(msg))
                continue
            # A copy: a part of it would keep all of the span.
            whole = len(part) == len(got.data)
            self._arrived(flight, got if whole else Fetched(memoryview(bytes(part)), got.tag))

    def _arrived(self, flight: Flight, got: Fetched | None) -> None:
        if got is None:
            if len(self._absent) >= _MAX_REMEMBERED:
                self._absent.clear()
            self._absent.add(flight.index)
        else:
            count, total = self._sizes
            self._sizes = count + 1, total + len(got.data)
            if flight.memory is not None:
                flight.memory.put_stored(self.key("stored", flight.index), got, len(got.data))
        if not flight.future.done():
            flight.future.set_result(got)

    def _failed(self, flight: Flight, error: BaseException) -> None:
        if not flight.future.done():
            flight.future.set_exception(CancelledError() if isinstance(error, asyncio.CancelledError) else error)

    def _seen(self, key: str, got: Fetched | None) -> None:
        """Compare the tag that came with a value to the one that came before."""
        if got is None or got.tag is None:
            return
        before = self._tags.get(key)
        if before is None:
            if len(self._tags) >= _MAX_REMEMBERED:
                self._tags.clear()
            self._tags[key] = got.tag
        elif before != got.tag:
            self.forget()
            self._tags[key] = got.tag

    def forget(self) -> None:
        """Take nothing of what was fetched before for the array as it is now."""
        with LOCK:  # who holds one that has come keeps it, but nobody else takes it
            self.epoch += 1
            self.flights.clear()
        self._tags.clear()
        self._absent.clear()
        if self.shards is not None:
            self.shards.clear()


def _while_wanted(task: asyncio.Future[Any], flights: Sequence[Flight]) -> None:
    """Stop a task once none of the flights that it serves needs it any more."""
    wanted = len(flights)

    def one() -> None:
        nonlocal wanted
        wanted -= 1
        if not wanted:
            task.cancel()

    for flight in flights:
        flight.future.add_done_callback(lambda _: fetch_loop.call(one))


def _wait(flight: Flight) -> Fetched | None:
    began = time.monotonic()
    computation = current_computation()
    with waiting_long():
        while True:
            try:
                return flight.future.result(_LOOK_EVERY_S)
            except WaitTimeout:
                if flight.future.done():
                    return flight.future.result()
            if computation is not None and computation.is_abandoned():
                msg = (
                    f"nobody waits any more for what needs chunk {flight.index}, after {time.monotonic() - began:.1f} s"
                )
                raise Abandoned(msg)
