"""The disk tier: tiles one by one, each with its checksum, together no more than a bound."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict

from lazypyr.kvstore.base import HIDDEN, KVStore, LockFile

__all__ = ["LOCK", "TILES", "DiskTier"]

TILES = f"{HIDDEN}/tiles"
# Held while tiles are counted, deleted or written where there is a bound; its content is what they take.
LOCK = f"{HIDDEN}/tiles.lock"
# A tile's file: this, the crc32c of its bytes and their number, then the bytes as they are in memory.
_MAGIC = b"LPT1"
_HEAD_BYTES = 16
# A store that can't lock the medium counts anew when it has written this share of the bound, ...
_UNCOUNTED = 20
# ... and leaves twice as much free: another one may have written as much since.
_SPARE = 10

log = logging.getLogger("lazypyr")


class DiskTier:
    """Tiles by key in a place, those not used for longest deleted where there is a bound.

    Folders are locked while a tile is kept, and the lock's file says what all tiles take: the bound holds at any time, however
    many stores and processes write. Where the medium has no locks, each store counts anew after a twentieth of the bound and
    stays a tenth below it: the bound holds for two, and may be exceeded by a twentieth for each further one.

    Parameters
    ----------
    kvstore : KVStore
    limit_bytes : int, optional
        What the tiles' files may take.
    """

    def __init__(self, kvstore: KVStore, limit_bytes: int | None) -> None:
        self.kvstore, self.limit_bytes = kvstore, limit_bytes
        self._known: OrderedDict[str, int] = OrderedDict()
        self._total = 0
        self._used: int | None = None
        self._uncounted = 0
        self.restart()

    def restart(self) -> None:
        """Begin afresh in a forked child: the parent's locks may be held by threads that aren't there."""
        self._lock, self._keeping = threading.Lock(), threading.Lock()

    @property
    def total_bytes(self) -> int:
        """What the tiles that this store knows of take."""
        with self._lock:
            return self._total

    def count(self) -> int:
        """Learn what is there, of whoever wrote it; its bytes."""
        known = OrderedDict(self.kvstore.list_sizes(TILES))
        with self._lock:
            # What has been used lately stays behind what has not.
            for key in self._known:
                if key in known:
                    known.move_to_end(key)
            self._known, self._total = known, sum(known.values())
            return self._total

    def shrink(self) -> None:
        """Bring what earlier runs have left below a bound that is lower than theirs."""
        if self.limit_bytes is None or self.total_bytes <= self.limit_bytes:
            return
        with self._keeping, self.kvstore.lock(LOCK) as note:
            self._make_room(0, self.limit_bytes, locked=note is not None)

    def knows(self, key: str) -> bool:
        """Whether a tile is thought to be here; it counts as used."""
        with self._lock:
            there = key in self._known
            if there:
                self._known.move_to_end(key)
            return there

    @property
    def is_empty(self) -> bool:
        """Whether no tile is known."""
        return not self._known

    def get(self, key: str, size: int) -> bytes | None:
        """The bytes of a tile, None unless all `size` of them are there as they were written."""
        try:
            raw = self.kvstore.get(key)
        except Exception as error:
            log.warning("overlay %s: %s: %s", self.kvstore.name, key, error)
            raw = None
        if raw is not None and len(raw) == _HEAD_BYTES + size:
            body = raw[_HEAD_BYTES:]
            if raw[:_HEAD_BYTES] == _head(body):
                self._note(key, len(raw))
                return body
        if raw is not None:
            with contextlib.suppress(Exception):  # it stays; what is wrong with it is seen each time
                self.kvstore.delete(key)
        with self._lock:
            self._total -= self._known.pop(key, 0)
        return None

    def put(self, key: str, body: bytes) -> None:
        """Keep the bytes of a tile if there is, or can be made, room for them; whatever the medium raises."""
        data = _head(body) + body
        if self.limit_bytes is None:
            self.kvstore.put_atomic(key, data, durable=False)
            self._note(key, len(data))
            return
        limit, size = self.limit_bytes, len(data)
        with self._keeping, self.kvstore.lock(LOCK) as note:
            used = self._used_bytes(note, size, limit)
            if used is None or used + size > limit >= size:
                self._used = None
                used = self._make_room(size if size <= limit else 0, limit, locked=note is not None)
            self._used = used
            if size > limit:
                return
            # Said before it is done: who is killed in between leaves too large a number, and the next count puts it right.
            self._used += size
            self._uncounted += size
            if note is not None:
                note.write(b"%d" % self._used)
            self.kvstore.put_atomic(key, data, durable=False)
            self._note(key, size)

    def _used_bytes(self, note: LockFile | None, size: int, limit: int) -> int | None:
        """What all tiles take, None if it must be counted: whoever had no bound has said nothing."""
        if note is None:
            return None if self._uncounted + size > limit // _UNCOUNTED else self._used
        said = note.read()
        return int(said) if self._used is not None and said.isdigit() else None

    def _make_room(self, size: int, limit: int, *, locked: bool) -> int:
        """Count, and delete what is not used for longest until there is room for `size` more; the bytes that stay."""
        self._uncounted = 0
        most = limit if locked else limit - limit // _SPARE
        if self.count() + size <= most:
            return self.total_bytes
        doomed = []
        with self._lock:
            # A twentieth more than needed: not every tile is to count anew.
            while self._known and self._total + size > most - limit // _UNCOUNTED:
                key, gone = self._known.popitem(last=False)
                self._total -= gone
                doomed.append(key)
            total = self._total
        for key in doomed:
            self.kvstore.delete(key)
        return total

    def _note(self, key: str, size: int) -> None:
        with self._lock:
            self._total += size - self._known.pop(key, 0)
            self._known[key] = size


def _head(body: bytes) -> bytes:
    from google_crc32c import value as crc32c  # a dependency of zarr

    return _MAGIC + int(crc32c(body)).to_bytes(4, "little") + len(body).to_bytes(8, "little")
