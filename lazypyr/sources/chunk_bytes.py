"""Stored chunks as bytes by key, read in the calling thread.

Reading through an event loop costs a hop; local files, mappings and zarr's own MemoryStore need none. Every other store
is far: see `lazypyr.sources.far`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from lazypyr._util.forksafe import remake_after_fork
from lazypyr.sources.base import identity_of
from lazypyr.sources.buffers import temporary_buffer
from lazypyr.sources.far.clients import ZarrStoreClient
from lazypyr.sources.far.requests import ASKED_ONCE, Requests
from lazypyr.sources.far.store import FarStore

__all__ = [
    "ByteStore",
    "LocalByteStore",
    "MappingByteStore",
    "MemoryByteStore",
    "StoredValue",
    "ZarrByteStore",
    "byte_store_of",
]

log = logging.getLogger("lazypyr")

# Asking a folder for its time takes 3 µs: all together half a second. The chunks of most arrays are in far fewer folders.
_MAX_FOLDERS = 2**17


class StoredValue(Protocol):
    """One stored value, open for reading."""

    size: int
    in_parts: bool  # reading a part costs less than reading all

    def read(self, start: int, length: int) -> bytes:
        """Bytes ``start <= i < start + length``, fewer at the end of the value."""

    def read_temporary(self, start: int, length: int) -> contextlib.AbstractContextManager[Any]:
        """The same bytes in a buffer that is valid within the block only."""


class ByteStore(ABC):
    """Stored values by key.

    Attributes
    ----------
    reads_parts : bool
        Reading a part of a value costs less than reading all of it.
    cheap_version : bool
        `version` costs so little that it may be asked at each read.
    changes_seen : str
        Words for the changes that `stamps` tell.
    """

    changes_seen = "metadata, not chunks"
    reads_parts = False
    cheap_version = False

    @abstractmethod
    def open(self, key: str) -> contextlib.AbstractContextManager[StoredValue | None]:
        """The value, or None if there is none under this key. Whatever else goes wrong raises."""

    @abstractmethod
    def version(self, key: str) -> object:
        """Value that changes when the stored one is written anew, None if there is none."""

    def document(self, key: str, version: Any) -> bytes:
        """The value of a small key whose present version is known."""
        return bytes(version)

    @property
    def requests(self) -> Requests | None:
        """Requests to a store that is far; None of one whose values are read in the calling thread."""
        return None

    def name_of(self, key: str) -> str:
        """Name of an array's key in the whole store."""
        return key

    def stamps(self, location: str, owner: Any, path: str, version: object) -> Iterator[str | None]:
        """Texts that differ between arrays, and between states of one; None where states can't be told from each other."""
        yield repr((location, version))

    def content_stamp(self) -> str | None:
        """Hash that changes when any stored value is written, also in place; None where only reading them all would tell."""
        return None


class _File:
    in_parts = True

    def __init__(self, fd: int) -> None:
        self.fd, self.size = fd, os.fstat(fd).st_size

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self.fd, length, start)

    @contextlib.contextmanager
    def read_temporary(self, start: int, length: int) -> Iterator[Any]:
        with temporary_buffer(length) as buffer:
            yield buffer[: os.preadv(self.fd, [buffer.data], start)]


class LocalByteStore(ByteStore):
    """Values that are files below a folder, as in zarr's LocalStore.

    Parameters
    ----------
    root : str or Path
    depth : int
        Folders between the root and a chunk.
    """

    reads_parts = cheap_version = True
    changes_seen = "metadata, and chunks that are renamed into their place, not those written in place"

    def __init__(self, root: str | Path, depth: int = 0) -> None:
        self.root, self.depth = str(root), depth

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[StoredValue | None]:
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

    def document(self, key: str, version: Any) -> bytes:
        return Path(self.root, key).read_bytes()

    def stamps(self, location: str, owner: Any, path: str, version: object) -> Iterator[str | None]:
        # A chunk that zarr writes is renamed into its folder, which changes the folder's time. However the array's path
        # was spelled, relative or through a link, it is the same array.
        for number, folder in enumerate(_folders(str(Path(self.root).resolve()), self.depth)):
            if number == _MAX_FOLDERS:
                # It can't be told that it is unchanged, so it isn't said: as of memory, each opening is another state.
                log.info(
                    "%s: more than %d folders: changes can't be told, each opening counts as one", location, number
                )
                yield None
                return
            with contextlib.suppress(FileNotFoundError):
                yield f"{folder}:{os.stat(folder).st_mtime_ns}"  # noqa: PTH116 - half of the time of Path's

    def content_stamp(self) -> str | None:
        digest, queue = hashlib.blake2b(digest_size=16), [self.root]
        while queue:
            folder = queue.pop()
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_dir():
                        queue.append(entry.path)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # a writer has renamed it meanwhile
                        stat = entry.stat()
                        name = os.fsencode(entry.path[len(self.root) :])
                        # Who writes may set the one time back (rsync, tar), not the other.
                        times = stat.st_mtime_ns, stat.st_ctime_ns
                        digest.update(name + b"\0%d\0%d\0%d\0" % (stat.st_size, *times))
        return digest.hexdigest()


class Value:
    """A value that is in memory whole."""

    in_parts = False

    def __init__(self, value: Any) -> None:
        self.value = memoryview(value).cast("B")
        self.size = len(self.value)

    def read(self, start: int, length: int) -> bytes:
        part = self.value[start : start + length]
        # Nothing is copied where the whole value is asked for and is bytes already.
        content = self.value.obj
        return content if len(part) == self.size and isinstance(content, bytes) else part.tobytes()

    @contextlib.contextmanager
    def read_temporary(self, start: int, length: int) -> Iterator[Any]:
        yield self.value[start : start + length]


class WholeValueStore(ByteStore):
    """Values that are got whole."""

    @abstractmethod
    def get(self, key: str) -> Any | None:
        """The value as a buffer; None if there is none under this key."""

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[StoredValue | None]:
        value = self.get(key)
        yield None if value is None else Value(value)

    def version(self, key: str) -> object:
        value = self.get(key)
        return None if value is None else bytes(value)


class MappingByteStore(WholeValueStore):
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

    def stamps(self, location: str, owner: Any, path: str, version: object) -> Iterator[str | None]:
        stamp = self.content_stamp()
        yield repr((location, version) if stamp is None else (path, version, stamp))

    def content_stamp(self) -> str | None:
        # Mappings over a file know when it was written.
        stamp = getattr(self.mapping, "stamp", None)
        return str(stamp()) if callable(stamp) else None


class ZarrByteStore(WholeValueStore):
    """Values of any zarr store, got through zarr's event loop: networks, archives, wrappers."""

    def __init__(self, store: Any, prefix: str) -> None:
        self.store, self.prefix = store, prefix

    @cached_property
    def requests(self) -> Requests | None:
        from zarr.storage import FsspecStore, ObjectStore

        # Of any other store nobody knows what a request does: it is asked once, and its errors are its own.
        knows = type(self.store) in (FsspecStore, ObjectStore)
        return Requests(ZarrStoreClient(self.store), None if knows else ASKED_ONCE)

    def name_of(self, key: str) -> str:
        return self.prefix + key

    def get(self, key: str) -> Any | None:
        assert self.requests is not None
        got = self.requests.submit(self.name_of(key)).result()
        return None if got is None else got.data

    def stamps(self, location: str, owner: Any, path: str, version: object) -> Iterator[str | None]:
        session: Any = getattr(self.store, "session", None)
        if hasattr(session, "snapshot_id"):
            # A commit is the same wherever it is opened; what isn't committed is known in this process only.
            inside = identity_of(owner) if session.has_uncommitted_changes else None
            yield repr((path, version, session.snapshot_id, inside))
            return
        # The URL of what lies within another file (an archive, a list of references) doesn't tell which file that is.
        files = getattr(self.store, "fs", None)
        files = getattr(files, "sync_fs", files)
        within = getattr(files, "storage_options", {}).get("fo")
        references = getattr(files, "references", None)
        told = references if isinstance(references, dict) else within
        yield repr((location, version) if told is None else (location, version, _hash(told)))


class FarByteStore(ZarrByteStore):
    """Values below a URL that was opened here."""

    @property
    def requests(self) -> Requests | None:
        requests: Requests = self.store.requests
        return requests

    def get(self, key: str) -> Any | None:
        got = self.store.ask(self.name_of(key)).result()
        return None if got is None else got.data


class MemoryByteStore(ZarrByteStore):
    """Values of a zarr store whose `get` never has to wait for anything (MemoryStore)."""

    cheap_version = True

    def get(self, key: str) -> Any | None:
        # Zarr's default one is looked up in its configuration, at each call.
        from zarr.core.buffer.cpu import buffer_prototype

        step = self.store.get(self.prefix + key, buffer_prototype)
        try:
            step.send(None)
        except StopIteration as done:
            return None if done.value is None else done.value.as_numpy_array()
        step.close()
        msg = f"{self.store!r} waits for something: it is no store in memory"
        raise RuntimeError(msg)

    @property
    def requests(self) -> Requests | None:
        return None

    def stamps(self, location: str, owner: Any, path: str, version: object) -> Iterator[str | None]:
        # Memory has no name that means the same tomorrow: it is what the object is, in this process and in copies of it.
        yield repr(((identity_of(owner), path), version))


class ZipByteStore(ZarrByteStore):
    """Values of zarr's ZipStore. A forked child opens the file anew: it would share its position with its parent."""

    def __init__(self, store: Any, prefix: str) -> None:
        super().__init__(store, prefix)
        self._process = os.getpid()
        remake_after_fork(self._reopen)

    def _reopen(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self.store.__setstate__(self.store.__getstate__())  # as its copy in another process is opened


def byte_store_of(array: Any, mapping: Mapping[str, Any] | None) -> ByteStore:
    """The store of a zarr array's chunks; `mapping` is what its zarr store wraps, if that is one of ours."""
    prefix = f"{array.path}/" if array.path else ""
    if mapping is not None:
        return MappingByteStore(mapping, prefix)
    from zarr.storage import LocalStore, MemoryStore, ZipStore

    store = array.store
    # Exact types: what a subclass or wrapper does on the way must be done.
    if type(store) is LocalStore:
        first = array.metadata.encode_chunk_key((0,) * array.ndim)
        return LocalByteStore(Path(store.root, array.path), first.count("/"))
    kinds: dict[type, type[ZarrByteStore]] = {
        MemoryStore: MemoryByteStore,
        ZipStore: ZipByteStore,
        FarStore: FarByteStore,
    }
    return kinds.get(type(store), ZarrByteStore)(store, prefix)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _folders(root: str, depth: int) -> Iterator[str]:
    """Folders of an array down to those that hold its chunks, `depth` below the first, level by level."""
    folders = [root]
    for left in range(depth, -1, -1):
        yield from folders
        # Those that hold chunks have no folders in them, and are long to list.
        folders = [folder for parent in folders for folder in _folders_in(parent)] if left else []


def _folders_in(parent: str) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return []
