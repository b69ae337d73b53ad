"""Disk cache: chunks one by one, each with its checksum, together within a bound."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict

from lazypyr._util.forksafe import remake_after_fork
from lazypyr.kvstore.base import HIDDEN, KVStore, LockFile, is_named

__all__ = ["LOCK", "TILES", "TILE_NAMES", "DiskCache"]

TILES = f"{HIDDEN}/tiles"
# Fingerprint, level and index: files of other names are somebody else's.
TILE_NAMES = r"[^/]{16,32}/\d+/\d+(\.\d+)*"
# Lock held while chunks are counted, deleted or written where there is a bound; its content is their total in bytes.
LOCK = f"{HIDDEN}/tiles.lock"
# A chunk's file: this, the crc32c of its bytes and their number, then the bytes as they are in memory.
_MAGIC = b"LPT1"
_HEAD_BYTES = 16
# A store that can't lock the medium counts again when it has written this share of the bound, ...
_UNCOUNTED = 20
# ... and leaves twice as much free: another store may have written as much since.
_SPARE = 10

log = logging.getLogger("lazypyr")


class DiskCache:
    """Chunks by key in a key-value store; where there is a bound, the least recently used ones are deleted.

    Folders are locked while a chunk is written, and the lock's file has the total of all chunks: the bound holds at any time,
    however many stores and processes write. Where the medium has no locks, each store counts again after a twentieth of the bound and
    stays a tenth below it: the bound holds for two, and may be exceeded by a twentieth for each further one.

    Parameters
    ----------
    kvstore : KVStore
    limit_bytes : int, optional
        Bytes that the chunks' files may take.
    """

    def __init__(self, kvstore: KVStore, limit_bytes: int | None) -> None:
        self.kvstore, self.limit_bytes = kvstore, limit_bytes
        self._known: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._used: int | None = None
        self._uncounted = 0
        remake_after_fork(self._make_locks)

    def _make_locks(self) -> None:
        self._lock, self._keeping = threading.Lock(), threading.Lock()

    @property
    def total_bytes(self) -> int:
        """Bytes of the chunks that this store knows of."""
        with self._lock:
            return self._total

    def count(self) -> int:
        """List the chunks that are there, whichever store wrote them; their total in bytes."""
        sizes = OrderedDict(entry for entry in self.kvstore.list_sizes(TILES) if is_named(entry[0], TILES, TILE_NAMES))
        with self._lock:
            # The order of use is kept.
            for key in self._known:
                if key in sizes:
                    sizes.move_to_end(key)
            self._known, self._total = sizes, sum(sizes.values())
            return self._total

    def shrink(self) -> None:
        """Delete chunks until the total is within a bound that may be lower than that of earlier runs."""
        if self.limit_bytes is None or self.total_bytes <= self.limit_bytes:
            return
        with self._keeping, self.kvstore.lock(LOCK) as lock_file:
            self._evict(0, self.limit_bytes, locked=lock_file is not None)

    def knows(self, key: str) -> bool:
        """True for a chunk that is believed to be here; it counts as used."""
        with self._lock:
            is_known = key in self._known
            if is_known:
                self._known.move_to_end(key)
            return is_known

    @property
    def is_empty(self) -> bool:
        """True when no chunk is known."""
        return not self._known

    def get(self, key: str, size: int) -> bytes | None:
        """The bytes of a chunk, None unless all `size` of them are there as they were written."""
        try:
            raw = self.kvstore.get(key)
        except Exception as error:
            log.warning("overlay %s: %s: %s", self.kvstore.name, key, error)
            raw = None
        if raw is not None and len(raw) == _HEAD_BYTES + size:
            body = raw[_HEAD_BYTES:]
            if raw[:_HEAD_BYTES] == _head(body):
                self._add(key, len(raw))
                return body
        if raw is not None:
            with contextlib.suppress(Exception):  # it stays, and is found damaged each time
                self.kvstore.delete(key)
        with self._lock:
            self._total -= self._known.pop(key, 0)
        return None

    def put(self, key: str, body: bytes) -> None:
        """Write the bytes of a chunk if the bound allows it, after deleting others if need be; errors of the medium pass."""
        data = _head(body) + body
        if self.limit_bytes is None:
            self.kvstore.put_atomic(key, data, durable=False)
            self._add(key, len(data))
            return
        limit, size = self.limit_bytes, len(data)
        with self._keeping, self.kvstore.lock(LOCK) as lock_file:
            used = self._used_bytes(lock_file, size, limit)
            if used is None or used + size > limit >= size:
                self._used = None
                used = self._evict(size if size <= limit else 0, limit, locked=lock_file is not None)
            self._used = used
            if size > limit:
                return
            # Recorded first: a process killed in between leaves too large a number, which the next count corrects.
            self._used += size
            self._uncounted += size
            if lock_file is not None:
                lock_file.write(b"%d" % self._used)
            self.kvstore.put_atomic(key, data, durable=False)
            self._add(key, size)

    def _used_bytes(self, lock_file: LockFile | None, size: int, limit: int) -> int | None:
        """Total of all chunks, None if it must be counted: stores without a bound record nothing."""
        if lock_file is None:
            return None if self._uncounted + size > limit // _UNCOUNTED else self._used
        total = lock_file.read()
        return int(total) if self._used is not None and total.isdigit() else None

    def _evict(self, size: int, limit: int, *, locked: bool) -> int:
        """Count, and delete the least recently used until `size` more fit; the bytes that stay."""
        self._uncounted = 0
        most = limit if locked else limit - limit // _SPARE
        if self.count() + size <= most:
            return self.total_bytes
        doomed = []
        with self._lock:
            # A twentieth more than needed, so that not every chunk counts again.
            while self._known and self._total + size > most - limit // _UNCOUNTED:
                key, n_bytes = self._known.popitem(last=False)
                self._total -= n_bytes
                doomed.append(key)
            total = self._total
        for key in doomed:
            self.kvstore.delete(key)
        return total

    def _add(self, key: str, size: int) -> None:
        with self._lock:
            self._total += size - self._known.pop(key, 0)
            self._known[key] = size


def _head(body: bytes) -> bytes:
    from google_crc32c import value as crc32c  # a dependency of zarr

    return _MAGIC + int(crc32c(body)).to_bytes(4, "little") + len(body).to_bytes(8, "little")
