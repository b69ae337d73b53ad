"""What a zarr array says of itself: its metadata document, where its chunks are stored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lazypyr.sources.chunk_bytes import LocalFiles, MappingBytes, MemoryBytes, StoredBytes
from lazypyr.sources.store_bytes import StoreBytes

__all__ = ["document_of", "folders_of", "layout_of", "stored_of"]

_MAX_FOLDERS = 4096


def document_of(array: Any) -> dict[str, Any]:
    """The array's metadata document, v2 or v3, as JSON has it."""
    document: dict[str, Any] = json.loads(json.dumps(array.metadata.to_dict(), default=_plain))
    return document


def _plain(value: Any) -> Any:
    for attribute in ("get_config", "to_dict", "tolist"):
        if hasattr(value, attribute):
            return getattr(value, attribute)()
    return str(value)


def layout_of(document: Mapping[str, Any]) -> list[Any]:
    """What of a metadata document decides how chunks are read (all but attributes and fill value)."""
    return [document.get(k) for k in ("shape", "chunks", "dtype", "data_type", "chunk_grid", "order")]


def stored_of(array: Any, mapping: Mapping[str, Any] | None) -> StoredBytes:
    """Its chunks as bytes by key."""
    path = array.path
    if mapping is not None:
        return MappingBytes(mapping, f"{path}/" if path else "")
    from zarr.storage import LocalStore, MemoryStore

    store = array.store
    # Exact types: what a subclass or wrapper does on the way must be done.
    if type(store) is LocalStore:
        return LocalFiles(Path(store.root, path) if path else store.root)
    kind = MemoryBytes if type(store) is MemoryStore else StoreBytes
    return kind(store, f"{path}/" if path else "")


def folders_of(root: str) -> Iterator[str]:
    """The array's folders, breadth first, as far as that is cheap."""
    queue, seen = [root], 0
    while queue:
        folder = queue.pop(0)
        yield folder
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MAX_FOLDERS:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
        except OSError:
            return
