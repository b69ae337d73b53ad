"""Key-value store of the values of a zarr store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from lazypyr._names import without_secrets
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.sources.base import Source

__all__ = ["ZarrKVStore"]


class ZarrKVStore(KVStore):
    """Values of a zarr store.

    One that can't delete (a zip file) gets each value once and no keys of ours, which are held in memory: a job that was
    interrupted can't be resumed there.
    """

    def __init__(self, store: Any) -> None:
        from zarr.storage import MemoryStore

        self.store = store
        self.name = without_secrets(str(store))
        self.is_shared = not isinstance(store, MemoryStore)
        self.supports_overwrite = bool(getattr(store, "supports_deletes", True))
        self._hidden: dict[str, bytes] = {}

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        from zarr.core.sync import sync

        async def in_loop() -> Any:
            if not getattr(self.store, "_is_open", True):
                await self.store._ensure_open()  # noqa: SLF001 - as zarr.open does
            # Called in the loop, where some stores want to be called, not only awaited there.
            answer = call(*arguments)
            return [key async for key in answer] if hasattr(answer, "__aiter__") else await answer

        return sync(in_loop())

    def _is_held_here(self, key: str) -> bool:
        return not self.supports_overwrite and key.startswith(HIDDEN)

    def get(self, key: str) -> bytes | None:
        from zarr.core.buffer import default_buffer_prototype

        if self._is_held_here(key):
            return self._hidden.get(key)
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

        if self._is_held_here(key):
            self._hidden[key] = bytes(data)
        else:
            self._run(self.store.set, key, default_buffer_prototype().buffer.from_bytes(bytes(data)))

    def delete(self, key: str) -> None:
        if self._is_held_here(key):
            self._hidden.pop(key, None)
            return
        with contextlib.suppress(FileNotFoundError, KeyError):
            self._run(self.store.delete, key)

    def list_keys(self, folder: str) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        yield from [key for key in self._hidden if key.startswith(prefix)]
        yield from [] if self._is_held_here(prefix) else self._run(self.store.list_prefix, prefix)

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        for key in self.list_keys(folder):
            hidden = self._hidden.get(key)
            yield key, int(self._run(self.store.getsize, key)) if hidden is None else len(hidden)

    def is_empty(self) -> bool:
        return {key.rstrip("/") for key in self._run(self.store.list_dir, "")} <= {HIDDEN}

    def overlaps(self, source: Source) -> bool:
        return any(medium is self.store for medium in source.media)
