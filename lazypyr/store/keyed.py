"""Base of stores that know all their keys: listing, as zarr and as a mapping ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

from lazypyr.sources.read_only_store import ReadOnlyStore
from lazypyr.store.keys import Keys, size_of

__all__ = ["KeyedStore"]


class KeyedStore(ReadOnlyStore, MutableMapping[str, bytes]):
    """Read-only zarr store, and mapping, of the keys of a hierarchy."""

    supports_consolidated_metadata = True

    _keys: Keys

    def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The mapping's ``get(key, default)``; with a `BufferPrototype` as second argument, zarr's awaitable."""
        if hasattr(prototype, "buffer") and hasattr(prototype, "nd_buffer"):
            return self._get(key, prototype, byte_range)
        try:
            return self[key]
        except KeyError:
            return prototype

    def size_of(self, key: str) -> int | None:
        """Bytes of a value as far as they are known without computing it; None for a compressed chunk.

        Raises
        ------
        KeyError
            When there is no such key.
        """
        document = self._keys.documents.get(key)
        if document is not None:
            return len(document)
        chunk = self._keys.chunk(key) or self._keys.copied_chunk(key)
        if chunk is None:
            raise KeyError(key)
        return size_of(chunk.served.node)

    async def exists(self, key: str) -> bool:
        """Test for a key; nothing is computed."""
        return key in self._keys

    async def list(self) -> AsyncIterator[str]:
        """All keys; chunks are counted out, not computed."""
        for key in self._keys:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys in a folder: "1" is the folder "1", not the beginning of "10"."""
        for key in self._keys.below(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names directly in a folder."""
        for name in self._keys.names(prefix):
            yield name

    def with_read_only(self, read_only: bool = False) -> KeyedStore:  # noqa: FBT001, FBT002 - zarr's signature
        """The store itself: it is read-only."""
        # Of a writable one the base class says that there is none, in the words that zarr's callers look for.
        return self if read_only else super().with_read_only(read_only)  # type: ignore[return-value]

    def __setitem__(self, key: str, value: bytes) -> None:
        self._check_writable()

    def __delitem__(self, key: str) -> None:
        self._check_writable()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __bool__(self) -> bool:
        return True

    def __copy__(self) -> KeyedStore:
        """The store as it is now, which a `refresh` of the other leaves as it is."""
        other = type(self).__new__(type(self))
        other.__dict__ = dict(self.__dict__)
        return other

    def clear(self) -> Any:
        """Refused: the store is read-only."""
        self._check_writable()
