"""Interface of key-value stores: bytes by key, read and written in the calling thread."""

from __future__ import annotations

import contextlib
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from lazypyr.sources.base import Source

__all__ = ["HIDDEN", "KVStore", "LockFile", "is_named"]

# Folder of all keys of ours that aren't part of the hierarchy: what is being written, and the disk cache.
HIDDEN = ".lazypyr"


class LockFile(Protocol):
    """Content of a lock: a few bytes that only its holder reads and writes."""

    def read(self) -> bytes:
        """The bytes that were written last."""

    def write(self, data: bytes) -> None:
        """Replace the bytes."""


class KVStore(ABC):
    """Bytes by key. Errors of the medium are passed on as they are; a key that isn't there is no error.

    Attributes
    ----------
    name : str
        For messages.
    local : Path or None
        The folder, if it is one.
    is_shared : bool
        Whether a pickled copy in another process writes to the same medium.
    supports_overwrite : bool
        Whether a value can be replaced or deleted.
    is_transaction : bool
        Whether its user makes all that is written visible at once; chunks are then taken of arrays only that are there.
    """

    name: str
    local: Path | None = None
    is_shared = True
    supports_overwrite = True
    is_transaction = False

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The bytes, None if there are none."""

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        """Bytes of a value from `start` (counted from the end where negative), None if there is no value."""
        value = self.get(key)
        return None if value is None else value[start:][:length]

    @abstractmethod
    def put(self, key: str, data: Any) -> None:
        """Write a value. After a crash it may be there in part."""

    def put_atomic(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Write a value so that any reader finds the old one or the new one; `durable`: also after a loss of power."""
        self.put(key, data)

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete a value, if there is one."""

    @abstractmethod
    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """Keys below a folder ("" is all) and their sizes in bytes (0 where they can't be known at no cost)."""

    def list_keys(self, folder: str) -> Iterator[str]:
        """Keys below a folder."""
        yield from (key for key, _ in self.list_sizes(folder))

    def hold(self) -> None:  # noqa: B027 - most media have no place that another one can take
        """Write to the place that is there now, and to no other that comes in its stead."""

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[LockFile | None]:
        """Exclusive lock, over all processes, of a file; None where the medium has no locks.

        Parameters
        ----------
        key : str
        wait : bool
            Wait some seconds for another one that holds it.

        Raises
        ------
        TimeoutError
            When another one holds it.
        """
        yield None

    def append(self, key: str, line: bytes) -> None:
        """Add a line to a log, in one piece, if need be as a value of its own."""
        self.put(f"{key}/{uuid.uuid4().hex}", line)

    def read_log(self, key: str) -> list[bytes]:
        """The lines of a log, in any order; a line that was not written to its end is left out."""
        values = [self.get(line_key) for line_key, _ in list(self.list_sizes(key))]
        return [value[:-1] for value in values if value and value.endswith(b"\n")]

    def clear(self, folder: str, names: str) -> None:
        """Delete the keys below a folder that have names of ours: what others put there stays.

        Parameters
        ----------
        folder : str
        names : str
            Regular expression of the rest of the key; "" is the folder's own.
        """
        for key in [key for key in self.list_keys(folder) if is_named(key, folder, names)]:
            self.delete(key)

    def sync(self) -> None:  # noqa: B027 - most media keep what they said they have
        """Flush everything written so far, so that it survives a loss of power."""

    def is_empty(self) -> bool:
        """True when nothing but keys of ours is there."""
        return all(key.startswith(f"{HIDDEN}/") for key, _ in self.list_sizes(""))

    @abstractmethod
    def overlaps(self, source: Source) -> bool:
        """True when writing here could change a source: it is this store, lies in it, or around it."""


def is_named(key: str, folder: str, names: str) -> bool:
    """True when the rest of a key below a folder is a name of a kind, given as a regular expression."""
    return re.fullmatch(names, key.removeprefix(folder).lstrip("/")) is not None
