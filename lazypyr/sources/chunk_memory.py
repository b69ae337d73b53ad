"""Stored and decoded chunks that reads share: kept in the cache of the engine that computes, each kind within its part of it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from lazypyr._util.blocking import waiting_long
from lazypyr._util.cache import CacheStorage

__all__ = ["ChunkMemory", "present_memory", "using_memory"]

Array = np.ndarray[Any, Any]
_present: ContextVar[ChunkMemory | None] = ContextVar("lazypyr_chunk_memory", default=None)


class ChunkMemory:
    """Memory for chunks of sources.

    Parameters
    ----------
    storage : CacheStorage
        Of the engine's cache: what is kept here counts in its bound.
    fetch_bytes : int
        Bytes that may be on their way, or have come and wait to be decoded.
    """

    def __init__(self, storage: CacheStorage, fetch_bytes: int) -> None:
        most = int(storage.values.maxsize)
        self._storage, self.fetch = storage, ByteBudget(fetch_bytes)
        self._sharing = threading.Lock()
        self._running: dict[Hashable, _Decoding] = {}
        # By-products must not push out all that was computed of them.
        self._decoded, self._stored = _Share(storage, most // 2), _Share(storage, most // 4)

    def decode_once(self, key: Hashable, decode: Callable[..., Array], *, temporary: bool, keep: bool) -> Array:
        """A decoded chunk; threads that want the same one at the same time decode it once.

        Parameters
        ----------
        key : hashable
        decode : callable
            Decodes it, given ``temporary=True`` into memory that will be used again.
        temporary : bool
            It is needed for a moment.
        keep : bool
            Keep it, if there is room.
        """
        kept: Array | None = self._decoded.get(key)
        if kept is not None:
            return kept
        with self._sharing:
            running = self._running.get(key)
            if running is None:
                mine = self._running[key] = _Decoding()
            else:
                running.wanted = running.wanted or threading.Event()
        if running is not None:
            return self._of_another(key, running, keep=keep)
        try:
            # Another thread has perhaps ended a moment ago.
            ended: Array | None = self._decoded.get(key)
            if ended is None:
                block = decode(temporary=temporary and not keep)
                self._keep(key, block, keep=keep)
            else:
                block = ended
        except BaseException as error:
            mine.error = error
            raise
        finally:
            with self._sharing:
                del self._running[key]
            if mine.wanted is not None:
                if mine.error is None:
                    # Those who wait can't have memory that is used again.
                    mine.block = block.copy() if temporary and not keep else block
                mine.wanted.set()
        return block

    def _of_another(self, key: Hashable, running: _Decoding, *, keep: bool) -> Array:
        assert running.wanted is not None
        with waiting_long():
            running.wanted.wait()
        if running.error is not None:
            raise running.error
        assert running.block is not None
        self._keep(key, running.block, keep=keep)
        return running.block

    def _keep(self, key: Hashable, block: Array, *, keep: bool) -> None:
        if keep:
            block.flags.writeable = False
            self._decoded.put(key, block, block.nbytes)

    def peek_decoded(self, key: Hashable) -> Array | None:
        """A decoded chunk if it is kept."""
        kept: Array | None = self._decoded.get(key)
        return kept

    def get_stored(self, key: Hashable) -> Any | None:
        """Stored bytes if they are kept."""
        return self._stored.get(key)

    def put_stored(self, key: Hashable, value: Any, n_bytes: int) -> None:
        """Keep stored bytes if there is room."""
        self._stored.put(key, value, n_bytes)

    def drop_stored(self, key: Hashable) -> None:
        """Keep stored bytes no longer."""
        self._stored.drop(key)

    def room_for_decoded(self, n_bytes: int) -> bool:
        """True where a chunk of so many bytes can be kept."""
        return self._decoded.fits(n_bytes)

    def forget(self, token: Hashable) -> None:
        """Drop all chunks whose key begins with a token."""
        self._decoded.forget(token)
        self._stored.forget(token)

    def parts(self) -> dict[str, int]:
        """Bytes of the cache, and of what is on its way, by what holds them."""
        with self._storage.lock:
            values = self._storage.values
            total, entries = int(values.currsize), self._storage.entry_bytes * len(values)
        decoded, stored = self.decoded_bytes, self.stored_bytes
        return {
            "tiles": max(0, total - entries - decoded - stored),
            "decoded_chunks": decoded,
            "stored_chunks": stored,
            "entries": entries,
            "fetching": self.fetch.used,
        }

    @property
    def decoded_bytes(self) -> int:
        """Bytes of decoded chunks that are kept."""
        return self._decoded.n_bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes of stored chunks that are kept."""
        return self._stored.n_bytes


class _Decoding:
    """A chunk that a thread decodes; `wanted` once others wait for it."""

    __slots__ = ("block", "error", "wanted")

    def __init__(self) -> None:
        self.wanted: threading.Event | None = None
        self.block: Array | None = None
        self.error: BaseException | None = None


class Kept:
    """A value in the cache's storage whose bytes are not all that it is."""

    __slots__ = ("nbytes", "value")

    def __init__(self, value: Any, nbytes: int) -> None:
        self.value, self.nbytes = value, nbytes


class _Share:
    """Part of a cache's storage: the values used last, at most `most` bytes, or fewer where others have pushed them out."""

    def __init__(self, storage: CacheStorage, most: int) -> None:
        self._storage, self._most = storage, most
        self._sizes: OrderedDict[Hashable, int] = OrderedDict()
        self._held = 0

    def fits(self, n_bytes: int) -> bool:
        return n_bytes + self._storage.entry_bytes <= self._most

    def get(self, key: Hashable) -> Any | None:
        with self._storage.lock:
            kept = self._storage.values.get(key)
            if kept is None:
                return None
            if key in self._sizes:
                self._sizes.move_to_end(key)
            return kept.value

    def put(self, key: Hashable, value: Any, n_bytes: int) -> None:
        if not self.fits(n_bytes):
            return
        with self._storage.lock:
            self._held += n_bytes - self._sizes.pop(key, 0)
            self._sizes[key] = n_bytes
            # Those that the whole cache has pushed out are among the oldest here.
            while self._held > self._most:
                oldest, size = self._sizes.popitem(last=False)
                self._held -= size
                self._storage.values.pop(oldest, None)
            with contextlib.suppress(ValueError):
                self._storage.values[key] = Kept(value, n_bytes)

    def drop(self, key: Hashable) -> None:
        with self._storage.lock:
            self._held -= self._sizes.pop(key, 0)
            self._storage.values.pop(key, None)

    def forget(self, token: Hashable) -> None:
        with self._storage.lock:
            for key in [key for key in self._sizes if isinstance(key, tuple) and key[1] == token]:
                self._held -= self._sizes.pop(key)
                self._storage.values.pop(key, None)

    @property
    def n_bytes(self) -> int:
        with self._storage.lock:
            return sum(size for key, size in self._sizes.items() if key in self._storage.values)


class ByteBudget:
    """Bytes that may be asked for at a time: who wants more waits for a callback, the least first; one always gets its turn."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._used, self._count = 0, itertools.count()
        self._queue: list[tuple[int, int, int, Callable[[], None]]] = []
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are taken at present."""
        return self._used

    def acquire(self, n_bytes: int, granted: Callable[[], None], *, priority: int = 0) -> None:
        """Call `granted` when there is room: now, or in a thread that gives some back."""
        with self._lock:
            if not self._queue and self._fits(n_bytes):
                self._used += n_bytes
            else:
                heapq.heappush(self._queue, (priority, next(self._count), n_bytes, granted))
                return
        granted()

    def release(self, n_bytes: int) -> None:
        """Give back what `acquire` took."""
        turns = []
        with self._lock:
            self._used -= n_bytes
            while self._queue and self._fits(self._queue[0][2]):
                _, _, size, granted = heapq.heappop(self._queue)
                self._used += size
                turns.append(granted)
        for granted in turns:
            granted()

    def _fits(self, n_bytes: int) -> bool:
        return not self._used or self._used + n_bytes <= self.most


def present_memory() -> ChunkMemory | None:
    """Memory of the engine that this thread computes for, None where nobody keeps chunks."""
    return _present.get()


@contextlib.contextmanager
def using_memory(memory: ChunkMemory) -> Iterator[None]:
    """Context in which sources keep chunks in a memory."""
    token = _present.set(memory)
    try:
        yield
    finally:
        _present.reset(token)
