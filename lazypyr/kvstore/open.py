"""Places that aren't folders: URLs, mappings, zarr stores; and how a user's destination becomes a place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.kvstore.base import HIDDEN, LocalPlace, Place

__all__ = ["MappingPlace", "StorePlace", "UrlPlace", "place_of"]


class MappingPlace(Place):
    """Values of a mapping."""

    def __init__(self, mapping: MutableMapping[str, bytes]) -> None:
        self.mapping = mapping
        self.name = f"{type(mapping).__name__} at {id(mapping):#x}"
        # A dict is copied by pickling; a mapping that looks elsewhere (fsspec's) is not.
        self.shared = not isinstance(mapping, dict)

    def get(self, key: str) -> bytes | None:
        try:
            return self.mapping[key]
        except KeyError:
            return None

    def put(self, key: str, data: Any) -> None:
        self.mapping[key] = bytes(data)

    def delete(self, key: str) -> None:
        self.mapping.pop(key, None)

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        start = f"{folder}/" if folder else ""
        for key in [key for key in self.mapping if key.startswith(start)]:
            yield key, len(self.mapping[key])


class UrlPlace(Place):
    """Objects below a URL, through fsspec."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._url, self._options = url, dict(storage_options or {})
        self.name = url
        self._open()

    def _open(self) -> None:
        import fsspec

        try:
            self._files, path = fsspec.core.url_to_fs(self._url, **self._options)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise PlanError(f"can't open {self._url}: {error}") from error
        self._root = path.rstrip("/")
        protocol = self._files.protocol
        self.shared = "memory" not in ((protocol,) if isinstance(protocol, str) else protocol)

    def __reduce__(self) -> tuple[Any, ...]:
        return UrlPlace, (self._url, self._options)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(f"{self._root}/{key}"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        end = None if start < 0 else start + length
        try:
            return bytes(self._files.cat_file(f"{self._root}/{key}", start=start, end=end))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def put(self, key: str, data: Any) -> None:
        path = f"{self._root}/{key}"
        try:
            self._files.pipe_file(path, bytes(data))
        except FileNotFoundError:  # file systems with real folders
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, bytes(data))

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{key}")

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        self._files.invalidate_cache()
        top = f"{self._root}/{folder}".rstrip("/")
        with contextlib.suppress(FileNotFoundError):
            for path, facts in self._files.find(top, detail=True).items():
                inside = path[path.index(self._root.strip("/")) + len(self._root.strip("/")) :]
                yield inside.lstrip("/"), int(facts.get("size") or 0)

    def clear(self, folder: str) -> None:
        self._files.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(f"{self._root}/{folder}", recursive=True)

    def is_empty(self) -> bool:
        self._files.invalidate_cache()
        try:
            names = [path.rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False)]
        except FileNotFoundError:
            return True
        return set(names) <= {HIDDEN, self._root.rpartition("/")[2]}


class StorePlace(Place):
    """Values of a zarr store.

    One that can't delete (a zip file) gets no notes of ours and each value once: what was begun there can't be gone on with.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        self.name = str(store)
        self.shared = "memory" not in type(store).__name__.lower()
        self.final = not getattr(store, "supports_deletes", True)
        self._notes: dict[str, bytes] = {}

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        from zarr.core.sync import sync

        async def there() -> Any:
            if not getattr(self.store, "_is_open", True):
                await self.store._ensure_open()  # noqa: SLF001 - as zarr.open does
            # Called in the loop, where some stores want to be called, not only awaited there.
            found = call(*arguments)
            return [each async for each in found] if hasattr(found, "__aiter__") else await found

        return sync(there())

    def _aside(self, key: str) -> bool:
        return self.final and key.startswith(HIDDEN)

    def get(self, key: str) -> bytes | None:
        from zarr.core.buffer import default_buffer_prototype

        if self._aside(key):
            return self._notes.get(key)
        value = self._run(self.store.get, key, default_buffer_prototype())
        return None if value is None else bytes(value.to_bytes())

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        part = SuffixByteRequest(-start) if start < 0 else RangeByteRequest(start, start + length)
        value = self._run(self.store.get, key, default_buffer_prototype(), part)
        return None if value is None else bytes(value.to_bytes())

    def put(self, key: str, data: Any) -> None:
        from zarr.core.buffer import default_buffer_prototype

        if self._aside(key):
            self._notes[key] = bytes(data)
        else:
            self._run(self.store.set, key, default_buffer_prototype().buffer.from_bytes(bytes(data)))

    def delete(self, key: str) -> None:
        if self._aside(key):
            self._notes.pop(key, None)
            return
        with contextlib.suppress(FileNotFoundError, KeyError):
            self._run(self.store.delete, key)

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        prefix = f"{folder}/" if folder else ""
        for key in [key for key in self._notes if key.startswith(prefix)]:
            yield key, len(self._notes[key])
        for key in [] if self._aside(prefix) else self._run(self.store.list_prefix, prefix):
            yield key, int(self._run(self.store.getsize, key))

    def is_empty(self) -> bool:
        return {key.rstrip("/") for key in self._run(self.store.list_dir, "")} <= {HIDDEN}


def place_of(destination: Any, storage_options: Mapping[str, Any] | None = None) -> Place:
    """The place that a user means.

    Parameters
    ----------
    destination : path, URL (fsspec), MutableMapping, zarr store, or Place
    storage_options : mapping, optional
        For fsspec, with a URL.

    Raises
    ------
    PlanError
        For anything else, and for what can't be written to.
    """
    if isinstance(destination, Place):
        return destination
    if isinstance(destination, str | os.PathLike):
        text = os.fspath(destination)
        if "://" in text and not text.startswith("file://"):
            return UrlPlace(text, storage_options)
        if storage_options:
            raise PlanError(f"storage_options are for URLs, the destination is {text}")
        if not text:
            raise PlanError("an empty path is no destination")
        return LocalPlace(text.removeprefix("file://"))
    if storage_options:
        raise PlanError(f"storage_options are for URLs, the destination is {type(destination).__name__}")
    if hasattr(destination, "list_prefix") and hasattr(destination, "supports_writes"):
        if not destination.supports_writes or getattr(destination, "read_only", False):
            raise PlanError(f"{destination}: a read-only store can't be written to")
        root = getattr(destination, "root", None)
        if type(destination).__name__ == "LocalStore" and root is not None:
            return LocalPlace(root)
        return StorePlace(destination)
    if isinstance(destination, MutableMapping):
        return MappingPlace(destination)
    raise PlanError(
        f"can't write to a {type(destination).__name__}: give a path, a URL, a mapping of bytes or a zarr store"
    )
