"""Metadata document of a zarr array, and the check that the array is still the one that was opened."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from lazypyr.errors import SourceError
from lazypyr.sources.chunk_bytes import ByteStore

__all__ = ["ArrayMetadata"]

# Stores that can't be asked cheaply are asked this often.
_VERIFY_EVERY_S = 1.0


class ArrayMetadata:
    """Metadata of a zarr array, as they were when it was opened.

    Parameters
    ----------
    array : zarr.Array
    store : ByteStore
        Of its keys.
    name : str
        For messages.
    version : object, optional
        Of its document, where that is known (in a copy of another process); asked of the store otherwise.
    """

    def __init__(self, array: Any, store: ByteStore, name: str, version: object = None) -> None:
        self.document, self._store, self._name = _document_of(array), store, name
        self.key = "zarr.json" if self.document["zarr_format"] == 3 else ".zarray"
        self.version = store.version(self.key) if version is None else version
        self._verified = time.monotonic()

    def fingerprint(self, location: str, owner: Any, path: str) -> str:
        """Hash of the metadata, of the array's location, and of the times at which its folders last changed."""
        digest = hashlib.blake2b(json.dumps(self.document, sort_keys=True, default=str).encode(), digest_size=16)
        for stamp in self._store.stamps(location, owner, path, self.version):
            digest.update(stamp.encode())
        return digest.hexdigest()

    def verify(self, *, now: bool) -> None:
        """Refuse to go on with an array that is gone or has become another one.

        Parameters
        ----------
        now : bool
            False: a store that can't be asked cheaply is asked once a second.

        Raises
        ------
        SourceError
            When the document is gone, can't be read, or says another shape, type or chunks.
        """
        if not now and not self._store.cheap_version:
            if time.monotonic() - self._verified < _VERIFY_EVERY_S:
                return
            self._verified = time.monotonic()
        version = self._store.version(self.key)
        if version == self.version:
            return
        if version is None:
            raise SourceError(f"{self._name}: the array is gone ({self.key} is no longer there)", key=self.key)
        content = self._store.document(self.key, version)
        try:
            changed = _layout_of(json.loads(content)) != _layout_of(self.document)
        except ValueError as error:
            raise SourceError(f"{self._name}: {self.key} can't be read any more: {error}", key=self.key) from error
        if changed:
            msg = f"{self._name}: the array has changed its shape, type or chunks since it was opened; call refresh()"
            raise SourceError(msg, key=self.key)
        self.version = version


def _document_of(array: Any) -> dict[str, Any]:
    """The array's metadata document, v2 or v3, as JSON has it."""
    document: dict[str, Any] = json.loads(json.dumps(array.metadata.to_dict(), default=_plain))
    return document


def _plain(value: Any) -> Any:
    for attribute in ("get_config", "to_dict", "tolist"):
        if hasattr(value, attribute):
            return getattr(value, attribute)()
    return str(value)


def _layout_of(document: Mapping[str, Any]) -> list[Any]:
    """Members of a metadata document that decide how chunks are read (all but attributes and fill value)."""
    return [document.get(k) for k in ("shape", "chunks", "dtype", "data_type", "chunk_grid", "order")]
