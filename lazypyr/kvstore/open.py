"""Opening of the key-value store that a user means."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from lazypyr._util.places import is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.kvstore.base import KVStore
from lazypyr.kvstore.fsspec import FsspecKVStore
from lazypyr.kvstore.local import LocalKVStore
from lazypyr.kvstore.mapping import MappingKVStore
from lazypyr.kvstore.zarr import ZarrKVStore

__all__ = ["open_kvstore"]


def open_kvstore(destination: Any, storage_options: Mapping[str, Any] | None = None) -> KVStore:
    """The key-value store that a user means.

    Parameters
    ----------
    destination : path, URL (fsspec), MutableMapping, zarr store, or KVStore
    storage_options : mapping, optional
        For fsspec, with a URL.

    Raises
    ------
    PlanError
        For anything else, and for what can't be written to.
    """
    if isinstance(destination, KVStore):
        return destination
    place = place_of(destination)
    if place is not None:
        if is_url(place.text):
            return FsspecKVStore(place.text, {**place.storage_options, **(storage_options or {})})
        if storage_options:
            raise PlanError(f"storage_options are for URLs, the destination is {place.text}")
        if not place.text:
            raise PlanError("an empty path is no destination")
        return LocalKVStore(local_path(place.text))
    if storage_options:
        raise PlanError(f"storage_options are for URLs, the destination is {type(destination).__name__}")
    if hasattr(destination, "list_prefix") and hasattr(destination, "supports_writes"):
        if not destination.supports_writes or getattr(destination, "read_only", False):
            raise PlanError(f"{destination}: a read-only store can't be written to")
        from zarr.storage import LocalStore

        if type(destination) is LocalStore:  # a store of the user's that derives from it may do more than write files
            return LocalKVStore(destination.root)
        return ZarrKVStore(destination)
    if isinstance(destination, MutableMapping):
        return MappingKVStore(destination)
    raise PlanError(
        f"can't write to a {type(destination).__name__}: give a path, a URL, a mapping of bytes or a zarr store"
    )
