"""Key-value store of the objects below a URL, through fsspec."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lazypyr._names import without_secrets
from lazypyr.errors import PlanError
from lazypyr.kvstore.base import HIDDEN, KVStore, is_named
from lazypyr.sources.base import Source

__all__ = ["FsspecKVStore"]


class FsspecKVStore(KVStore):
    """Objects below a URL, through fsspec."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._url, self._options = url, dict(storage_options or {})
        self.name = without_secrets(url)
        self._open()

    def _open(self) -> None:
        import fsspec

        try:
            self._files, path = fsspec.core.url_to_fs(self._url, **self._options)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise PlanError(f"can't open {self._url}: {error}") from error
        self._root = path.rstrip("/")
        protocol = self._files.protocol
        self.is_shared = "memory" not in ((protocol,) if isinstance(protocol, str) else protocol)

    def __reduce__(self) -> tuple[Any, ...]:
        return FsspecKVStore, (self._url, self._options)

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

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        self._files.invalidate_cache()
        top = f"{self._root}/{folder}".rstrip("/")
        with contextlib.suppress(FileNotFoundError):
            for path, facts in self._files.find(top, detail=True).items():
                inside = path[path.index(self._root.strip("/")) + len(self._root.strip("/")) :]
                yield inside.lstrip("/"), int(facts.get("size") or 0)

    def clear(self, folder: str, names: str) -> None:
        # Object stores delete many at once.
        paths = [f"{self._root}/{key}" for key in self.list_keys(folder) if is_named(key, folder, names)]
        if paths:
            self._files.rm(paths)

    def is_empty(self) -> bool:
        self._files.invalidate_cache()
        try:
            names = [path.rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False)]
        except FileNotFoundError:
            return True
        return set(names) <= {HIDDEN, self._root.rpartition("/")[2]}

    def overlaps(self, source: Source) -> bool:
        here, there = f"{self._url.rstrip('/')}/", f"{source.location.rstrip('/')}/"
        return here.startswith(there) or there.startswith(here)
