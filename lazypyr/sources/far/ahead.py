"""Stored chunks that are asked for before the work that needs them comes to them."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from lazypyr._util.lanes import slow_run
from lazypyr.sources.chunk_memory import ByteBudget, present_memory
from lazypyr.sources.far.chunks import ChunkFetcher, Flight, begin
from lazypyr.sources.far.loop import LOCK

__all__ = ["ReadAhead", "StoredChunk", "consumed", "in_background", "reading_ahead", "within"]

Index = tuple[int, ...]
StoredChunk = tuple[ChunkFetcher, Index]
# Without an engine, as much may be on its way for one read.
_ROOM_BYTES = 32 * 2**20
_FEW_CHUNKS = 64

_behind: ContextVar[bool] = ContextVar("lazypyr_behind", default=False)
_active: ContextVar[tuple[ReadAhead, ...]] = ContextVar("lazypyr_read_ahead", default=())


class ReadAhead:
    """Requests for chunks in the order in which they will be needed, as many as there is room for; the next ones follow.

    Parameters
    ----------
    chunks : iterator of (ChunkFetcher, tuple of int)
        In the order of need.
    budget : ByteBudget, optional
        What may be on its way for all together; whoever waits in a thread, or has no engine, asks at once.
    """

    def __init__(self, chunks: Iterator[StoredChunk], budget: ByteBudget | None = None) -> None:
        self._left, self._budget, self._memory = chunks, budget, present_memory()
        self._drawing = threading.Lock()
        self._held: dict[StoredChunk, Flight] = {}
        self._held_bytes, self._reserved = 0, 0
        self._closed = self._begun = False
        self._here: list[Callable[[], None]] = []
        slow = slow_run()
        # In the slow lane all that run hold half of it together: the other half is for tiles.
        self._room = _ROOM_BYTES if budget is None else max(1, budget.most // (2 if slow is None else 2 * slow.share))
        first, n_bytes = self._draw(self._room)
        self.count = len(first)
        # Few chunks are a tile of somebody who waits; an overview of all has time.
        few = slow is None and self.count < _FEW_CHUNKS and n_bytes < self._room
        self.priority = 2 if _behind.get() else 0 if few else 1
        if budget is None:
            self._begin(first, 0)
        elif first:
            n_bytes = min(n_bytes, self._room)
            budget.acquire(n_bytes, lambda: self._begin(first, n_bytes), priority=self.priority)
        else:
            self._begun = True

    def _draw(self, room: int) -> tuple[list[StoredChunk], int]:
        """The next chunks that fit, and their bytes."""
        drawn, n_bytes = [], 0
        with self._drawing:  # helpers of one computation take chunks side by side
            while n_bytes < room and (chunk := next(self._left, None)) is not None:
                n_bytes += chunk[0].expected_bytes
                drawn.append(chunk)
        return drawn, n_bytes

    def _begin(self, chunks: list[StoredChunk], reserved: int) -> None:
        """Ask for the first ones; their bytes have been reserved."""
        with LOCK:
            self._reserved, self._begun = reserved, True
            new = [] if self._closed else self._hold(chunks)
            give_back = self._reserved if self._closed else 0
            waiting, self._here = self._here, []
        if give_back and self._budget is not None:
            self._budget.release(give_back)
            return
        begin(new, self.priority)
        for call in waiting:
            self.when_here(call)

    def _hold(self, chunks: list[StoredChunk]) -> list[Flight]:
        """Flights of chunks, those that have to be begun; with the lock held."""
        new = []
        for fetcher, index in chunks:
            if (fetcher, index) in self._held:
                continue
            flight, is_new = fetcher.join(index, self._memory)
            self._held[fetcher, index] = flight
            self._held_bytes += flight.expected_bytes
            if is_new:
                new.append(flight)
        return new

    def when_here(self, call: Callable[[], None]) -> None:
        """Call `call` when all that was asked for first has come, or failed; at once for what needs many steps."""
        with LOCK:
            if not self._begun:
                self._here.append(call)
                return
            flights = [] if self.priority else list(self._held.values())
        left = itertools.count(len(flights) - 1, -1)

        def one(_: Any) -> None:
            # Each count is drawn once, by whichever thread.
            if next(left) == 0:
                call()

        for flight in flights:
            flight.future.add_done_callback(one)
        if not flights:
            call()

    def consumed(self, chunk: StoredChunk) -> None:
        """Let go of a chunk that was taken, and ask for the next ones."""
        with LOCK:
            flight = self._held.pop(chunk, None)
            if flight is None:
                return
            self._held_bytes -= flight.expected_bytes
            last, room = flight.leave(), self._room - self._held_bytes
        if last:
            flight.stop()
        more, _ = self._draw(room)
        with LOCK:
            new = [] if self._closed else self._hold(more)
        begin(new, self.priority)
        if not more:
            self._give_back(flight.expected_bytes)

    def _give_back(self, n_bytes: int) -> None:
        with LOCK:
            n_bytes = min(n_bytes, self._reserved)
            self._reserved -= n_bytes
        if self._budget is not None and n_bytes:
            self._budget.release(n_bytes)

    @property
    def is_closed(self) -> bool:
        """True once it has let go of all chunks."""
        return self._closed

    def close(self) -> None:
        """Let go of all chunks: those that nobody else waits for are not fetched any more."""
        with LOCK:
            self._closed = True
            dropped = [flight for flight in self._held.values() if flight.leave()]
            self._held.clear()
        for flight in dropped:
            flight.stop()
        self._give_back(self._reserved)


def consumed(chunk: StoredChunk) -> None:
    """Tell all that read ahead for this thread that a chunk has been taken."""
    for ahead in _active.get():
        ahead.consumed(chunk)


@contextlib.contextmanager
def within(ahead: ReadAhead) -> Iterator[None]:
    """Context of work that somebody reads ahead for."""
    token = _active.set((*_active.get(), ahead))
    try:
        yield
    finally:
        _active.reset(token)


@contextlib.contextmanager
def in_background() -> Iterator[None]:
    """Context of work that nobody waits for: its requests come after all others."""
    token = _behind.set(True)
    try:
        yield
    finally:
        _behind.reset(token)


@contextlib.contextmanager
def reading_ahead(
    chunks: Iterator[StoredChunk], budget: ByteBudget | None = None, *, again: bool = False
) -> Iterator[None]:
    """Context in which chunks are asked for ahead of the work, and let go of at its end.

    `again`: also where somebody reads ahead already, who perhaps didn't know of them; those that are there are shared.
    """
    if _active.get() and not again:
        yield
        return
    ahead = ReadAhead(chunks, budget)
    try:
        with within(ahead):
            yield
    finally:
        ahead.close()
