"""Key-value store of the values of a mapping."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from lazypyr.kvstore.base import KVStore
from lazypyr.sources.base import Source

__all__ = ["MappingKVStore"]


class MappingKVStore(KVStore):
    """Values of a mapping."""

    def __init__(self, mapping: MutableMapping[str, bytes]) -> None:
        self.mapping = mapping
        self.name = f"{type(mapping).__name__} at {id(mapping):#x}"
        # A dict is copied by pickling; a mapping that looks elsewhere (fsspec's) is not.
        self.is_shared = not isinstance(mapping, dict)

    def get(self, key: str) -> bytes | None:
        try:
            return self.mapping[key]
        except KeyError:
            return None

    def put(self, key: str, data: Any) -> None:
        self.mapping[key] = bytes(data)

    def delete(self, key: str) -> None:
        self.mapping.pop(key, None)

    def list_sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        start = f"{folder}/" if folder else ""
        for key in [key for key in self.mapping if key.startswith(start)]:
            yield key, len(self.mapping[key])

    def overlaps(self, source: Source) -> bool:
        return any(medium is self.mapping for medium in source.media)
