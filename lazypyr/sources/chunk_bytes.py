"""Where stored chunks come from: bytes by key, read in the calling thread.

Reading through zarr's event loop costs a hop and shares its threads; local files, mappings and zarr's own
MemoryStore need neither. Every other store is asked there, for whole values.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from lazypyr._util.buffers import lease

__all__ = ["LocalFiles", "MappingBytes", "MemoryBytes", "Stored", "StoredBytes"]


class Stored(Protocol):
    """One stored value, open for reading."""

    size: int
    in_parts: bool  # whether reading a part costs less than reading all

    def read(self, start: int, length: int) -> bytes:
        """Bytes ``start <= i < start + length``, fewer at the end of the value."""

    def borrowed(self, start: int, length: int) -> contextlib.AbstractContextManager[Any]:
        """The same as a buffer that is there within the block only."""


class StoredBytes(Protocol):
    """Stored values by key."""

    def open(self, key: str) -> contextlib.AbstractContextManager[Stored | None]:
        """The value, or None if there is none under this key. Whatever else goes wrong raises."""

    def version(self, key: str) -> object:
        """Something that changes when the value is written anew, None if there is no value."""


class _File:
    in_parts = True

    def __init__(self, fd: int) -> None:
        self.fd, self.size = fd, os.fstat(fd).st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self.fd, length, start)

    @contextlib.contextmanager
    def borrowed(self, start: int, length: int) -> Iterator[Any]:
        with lease(length) as buffer:
            yield buffer[: os.preadv(self.fd, [buffer.data], start)]


class LocalFiles:
    """Values that are files below a folder, as in zarr's LocalStore."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Stored | None]:
        try:
            fd = os.open(f"{self.root}/{key}", os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            yield _File(fd)
        finally:
            os.close(fd)

    def version(self, key: str) -> object:
        try:
            stat = Path(self.root, key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class Value:
    """A value that is in memory whole."""

    in_parts = False

    def __init__(self, value: Any) -> None:
        self.value = memoryview(value).cast("B")
        self.size = len(self.value)

    def read(self, start: int, length: int) -> bytes:
        part = self.value[start : start + length]
        # Nothing is copied where the whole value is asked for and is bytes already.
        whole = self.value.obj
        return whole if len(part) == self.size and isinstance(whole, bytes) else part.tobytes()

    @contextlib.contextmanager
    def borrowed(self, start: int, length: int) -> Iterator[Any]:
        yield self.value[start : start + length]


class MappingBytes:
    """Values of any mapping from keys to bytes (a dict, zarr 2's stores, fsspec's FSMap)."""

    def __init__(self, mapping: Mapping[str, Any] | MutableMapping[str, Any], prefix: str = "") -> None:
        self.mapping, self.prefix = mapping, prefix

    def get(self, key: str) -> Any | None:
        # KeyError means absent only if the mapping also says that the key isn't there: a KeyError out of the
        # mapping's own machinery must not turn into fill values.
        name = self.prefix + key
        try:
            value = self.mapping[name]
        except KeyError:
            if name in self.mapping:
                raise
            return None
        return value.to_bytes() if hasattr(value, "as_numpy_array") else value

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Stored | None]:
        value = self.get(key)
        yield None if value is None else Value(value)

    def version(self, key: str) -> object:
        value = self.get(key)
        return None if value is None else bytes(value)


class MemoryBytes:
    """Values of a zarr store whose `get` never has to wait for anything (MemoryStore)."""

    def __init__(self, store: Any, prefix: str) -> None:
        self.store, self.prefix = store, prefix

    def get(self, key: str) -> Any | None:
        from zarr.core.buffer import default_buffer_prototype

        step = self.store.get(self.prefix + key, default_buffer_prototype())
        try:
            step.send(None)
        except StopIteration as done:
            return done.value
        step.close()
        msg = f"{self.store!r} waits for something: it is no store in memory"
        raise RuntimeError(msg)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[Stored | None]:
        value = self.get(key)
        yield None if value is None else Value(value.as_numpy_array())

    def version(self, key: str) -> object:
        value = self.get(key)
        return None if value is None else value.to_bytes()
