"""Stored chunks of stores that only zarr's event loop can ask: networks, archives, wrappers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lazypyr.sources.chunk_bytes import MemoryBytes, Stored, Value

__all__ = ["StoreBytes"]


class StoreBytes(MemoryBytes):
    """Values of any other zarr store, got whole through zarr's event loop."""

    def get(self, key: str) -> Any | None:
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        return sync(self.store.get(self.prefix + key, default_buffer_prototype()))

    def get_many(self, keys: Sequence[str]) -> dict[str, Stored | BaseException | None]:
        """Several values, asked for side by side; what went wrong stands in the place of its value."""
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        async def gather() -> list[Any]:
            prototype = default_buffer_prototype()
            asked = (self.store.get(self.prefix + key, prototype) for key in keys)
            return await asyncio.gather(*asked, return_exceptions=True)

        got = zip(keys, sync(gather()), strict=True)
        return {key: Value(value.as_numpy_array()) if hasattr(value, "as_numpy_array") else value for key, value in got}
