"""Any mapping from keys to bytes as a zarr store, so that zarr can read its metadata."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from lazypyr.sources.chunk_bytes import MappingByteStore
from lazypyr.sources.read_only_store import ReadOnlyStore, to_slice

__all__ = ["MappingStore"]


class MappingStore(ReadOnlyStore):
    """A read-only zarr store over a mapping whose values are bytes.

    Values are got in a thread of its own: a mapping may itself read through zarr, which must not happen on zarr's
    event loop nor in the threads that zarr decodes in.
    """

    def __init__(self, mapping: Mapping[str, Any]) -> None:
        super().__init__(read_only=True)
        self.mapping = mapping
        self._token = uuid.uuid4().hex
        self._threads: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_threads": None}

    def __str__(self) -> str:
        return f"mapping://{type(self.mapping).__name__}-{self._token}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MappingStore) and other.mapping is self.mapping

    __hash__ = None  # type: ignore[assignment]

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(4, thread_name_prefix="lazypyr-mapping")
        loop = asyncio.get_running_loop()
        value = await loop.run_in_executor(self._threads, MappingByteStore(self.mapping).get, key)
        if value is None:
            return None
        data = bytes(value)
        return prototype.buffer.from_bytes(data[to_slice(byte_range, len(data))])

    _get = get

    async def exists(self, key: str) -> bool:
        return key in self.mapping

    async def list(self) -> AsyncIterator[str]:
        for key in self.mapping:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self.mapping:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for name in {key[len(start) :].split("/")[0] for key in self.mapping if key.startswith(start)}:
            yield name
