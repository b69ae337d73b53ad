"""Other looks at a store: its pyramids in another format, and what is known of a value before it is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lazypyr.store.hierarchy import Face
from lazypyr.store.keys import size_of
from lazypyr.store.store import LazyPyramidStore

__all__ = ["face_of", "known_size", "renewed", "shown"]


def face_of(store: LazyPyramidStore) -> Face:
    """How a store shows its pyramids."""
    return store._face  # noqa: SLF001 - the same room


def shown(store: LazyPyramidStore, **changes: Any) -> LazyPyramidStore:
    """The same pyramids on the same engine, shown otherwise: ``shown(store, zarr_format=2)``; see `Face`."""
    other = object.__new__(type(store))
    other._set_up(store.pyramids, replace(face_of(store), **changes), store.engine)
    return other


def renewed(store: LazyPyramidStore) -> LazyPyramidStore:
    """A store of the sources as they are now, on the same engine and overlay; the store itself if nothing changed."""
    pyramids = {path: pyramid.refreshed() for path, pyramid in store.pyramids.items()}
    if all(pyramid.fingerprint == store.pyramids[path].fingerprint for path, pyramid in pyramids.items()):
        return store
    other = object.__new__(type(store))
    other._overlay_config, other._overlay = store._overlay_config, store._overlay  # noqa: SLF001
    other._set_up(pyramids, face_of(store), store.engine, strict=False)
    return other


def known_size(store: LazyPyramidStore, key: str) -> int | None:
    """Bytes of a value as far as they are known without making it; None for a compressed chunk.

    Raises
    ------
    KeyError
        When there is no such key.
    """
    keys = store._keys  # noqa: SLF001
    document = keys.documents.get(key)
    if document is not None:
        return len(document)
    chunk = keys.chunk(key)
    if chunk is None:
        raise KeyError(key)
    return size_of(chunk.served.node)
