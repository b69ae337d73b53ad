"""Key-value store within a group of others: new arrays at their places there, all else of a hierarchy aside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lazypyr.kvstore.base import HIDDEN, KVStore, LockFile
from lazypyr.sources.base import Source

__all__ = ["ASIDE", "KVStoreWithin"]

# Documents of the hierarchy that aren't of the new arrays, until the group's own metadata have been extended by them.
ASIDE = f"{HIDDEN}/added"


class KVStoreWithin(KVStore):
    """The arrays of a hierarchy, each at its own place in another store; nothing else there is written to.

    Parameters
    ----------
    base : KVStore
    paths : Mapping[str, str]
        Path in `base` of each array, by its path in the hierarchy.
    """

    def __init__(self, base: KVStore, paths: Mapping[str, str]) -> None:
        self.base, self.paths = base, dict(paths)
        self.name, self.local, self.is_shared = base.name, base.local, base.is_shared
        self.supports_overwrite, self.is_transaction = base.supports_overwrite, base.is_transaction

    def _key(self, key: str) -> str:
        if key == HIDDEN or key.startswith(f"{HIDDEN}/"):
            return key
        path = next((path for path in self.paths if key == path or key.startswith(f"{path}/")), None)
        return f"{ASIDE}/{key}" if path is None else self.paths[path] + key[len(path) :]

    def get(self, key: str) -> bytes | None:
        return self.base.get(self._key(key))

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        return self.base.get_part(self._key(key), start, length)

    def put(self, key: str, data: Any) -> None:
        self.base.put(self._key(key), data)

    def put_atomic(self, key: str, data: bytes, *, durable: bool = True) -> None:
        self.base.put_atomic(self._key(key), data, durable=durable)

    def delete(self, key: str) -> None:
        self.base.delete(self._key(key))

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        inside = self._key(folder)
        for key, size in self.base.list_sizes(inside):
            yield folder + key[len(inside) :], size

    def hold(self) -> None:
        self.base.hold()

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[LockFile | None]:
        with self.base.lock(key, wait=wait) as file:
            yield file

    def append(self, key: str, line: bytes) -> None:
        self.base.append(self._key(key), line)

    def read_log(self, key: str) -> list[bytes]:
        return self.base.read_log(self._key(key))

    def clear(self, folder: str, names: str) -> None:
        self.base.clear(self._key(folder), names)

    def sync(self) -> None:
        self.base.sync()

    def is_empty(self) -> bool:
        return not any(True for place in self.paths.values() for _ in self.base.list_keys(place))

    def overlaps(self, source: Source) -> bool:
        return False
