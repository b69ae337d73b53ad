"""Key-value store of the values of a zarr store."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from lazypyr._names import without_secrets
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.metadata.json_values import dump
from lazypyr.sources.base import Source

__all__ = ["ZarrKVStore"]


_VALUE, _DOCUMENT = "/c/0", "/zarr.json"
_CHUNK = re.compile(r"(.+)/c(/\d+)*")


class ZarrKVStore(KVStore):
    """Values of a zarr store, all under keys that zarr has: a value of ours is the one chunk of an array of bytes.

    One that can't delete (a zip file) gets each value once and no values of ours, which are held in memory: a job that was
    interrupted can't be resumed there.
    """

    def __init__(self, store: Any) -> None:
        from zarr.storage import MemoryStore

        self.store = store
        text = str(store)
        self.name = type(store).__name__ if " object at 0x" in text else without_secrets(text)
        self.is_transaction = hasattr(store, "session")
        self.is_shared = not isinstance(store, MemoryStore) and not self.is_transaction
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
        return not self.supports_overwrite and _is_ours(key)

    def get(self, key: str) -> bytes | None:
        if self._is_held_here(key):
            return self._hidden.get(key)
        return self._get(f"{key}{_VALUE}" if _is_ours(key) else key)

    def get_part(self, key: str, start: int, length: int) -> bytes | None:
        from zarr.abc.store import RangeByteRequest, SuffixByteRequest

        part = SuffixByteRequest(-start) if start < 0 else RangeByteRequest(start, start + length)
        return self._get(f"{key}{_VALUE}" if _is_ours(key) else key, part)

    def _get(self, key: str, part: Any = None) -> bytes | None:
        from zarr.core.buffer import default_buffer_prototype

        try:
            value = self._run(self.store.get, key, default_buffer_prototype(), part)
        except Exception:
            # Some stores have chunks only of arrays that are there.
            array = _CHUNK.fullmatch(key)
            if array is None or self._get(f"{array[1]}{_DOCUMENT}") is not None:
                raise
            return None
        return None if value is None else bytes(value.to_bytes())

    def put(self, key: str, data: Any) -> None:
        if self._is_held_here(key):
            self._hidden[key] = bytes(data)
        elif _is_ours(key):
            self._set(f"{key}{_DOCUMENT}", _array_of_bytes(len(data)))
            self._set(f"{key}{_VALUE}", bytes(data))
        else:
            self._set(key, bytes(data))

    def _set(self, key: str, data: bytes) -> None:
        from zarr.core.buffer import default_buffer_prototype

        self._run(self.store.set, key, default_buffer_prototype().buffer.from_bytes(data))

    def delete(self, key: str) -> None:
        if self._is_held_here(key):
            self._hidden.pop(key, None)
            return
        for stored in (f"{key}{_VALUE}", f"{key}{_DOCUMENT}") if _is_ours(key) else (key,):
            with contextlib.suppress(FileNotFoundError, KeyError):
                self._run(self.store.delete, stored)

    def list_keys(self, folder: str) -> Iterator[str]:
        prefix = f"{folder}/" if folder else ""
        yield from [key for key in self._hidden if key.startswith(prefix)]
        if self._is_held_here(prefix):
            return
        try:
            stored = self._run(self.store.list_prefix, prefix)
        except Exception:
            if not prefix:
                raise
            # Some stores list groups and arrays only; our folders are neither.
            stored = [key for key in self._run(self.store.list_prefix, "") if key.startswith(prefix)]
        yield from [key for key in stored if not _is_ours(key)]
        # Who is killed between the two leaves a document without its value, which is to be found and deleted too.
        ours = (
            key.removesuffix(end) for key in stored if _is_ours(key) for end in (_VALUE, _DOCUMENT) if key.endswith(end)
        )
        yield from dict.fromkeys(ours)

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        for key in self.list_keys(folder):
            size = len(self._hidden.get(key, b""))
            if key not in self._hidden:
                with contextlib.suppress(FileNotFoundError, KeyError):  # a document without its value
                    size = int(self._run(self.store.getsize, f"{key}{_VALUE}" if _is_ours(key) else key))
            yield key, size

    def is_empty(self) -> bool:
        if self.is_transaction:  # groups that have no document are not listed there
            return all(key.startswith(f"{HIDDEN}/") for key in self._run(self.store.list_prefix, ""))
        return {key.rstrip("/") for key in self._run(self.store.list_dir, "")} <= {HIDDEN}

    def overlaps(self, source: Source) -> bool:
        return any(medium is self.store for medium in source.media)


def _is_ours(key: str) -> bool:
    return key.startswith(f"{HIDDEN}/")


def _array_of_bytes(size: int) -> bytes:
    return dump(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [max(1, size)],
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(1, size)]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes"}],
            "attributes": {},
        }
    )
