"""Metadata document of a zarr array, and the check that the array is still the one that was opened."""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from lazypyr.errors import SourceError
from lazypyr.sources.chunk_bytes import ByteStore
from lazypyr.sources.codec_guard import known_codecs_only

__all__ = ["ArrayMetadata", "chunk_shape", "document_of", "same_layout", "shard_shape", "written_document"]

# Stores that can't be asked cheaply are asked this often.
_VERIFY_EVERY_S = 1.0
# Where chunks come with tags of their version, which tell more.
_VERIFY_TAGGED_EVERY_S = 10.0
_VERY_SOON_S = 0.25


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

    Attributes
    ----------
    tells_changes : bool
        False where each opening counts as another state of the array, since nothing tells.
    """

    def __init__(self, array: Any, store: ByteStore, name: str, version: object = None) -> None:
        self.document, self._store, self._name = document_of(array.metadata), store, name
        self._read: Callable[[Any], Any] = type(array.metadata).from_dict
        self.key = "zarr.json" if self.document["zarr_format"] == 3 else ".zarray"
        self.version = store.version(self.key) if version is None else version
        self._verified, self._asked = time.monotonic(), -math.inf
        self._answer: Future[Any] | None = None
        self.tells_changes = True

    def fingerprint(self, location: str, owner: Any, path: str) -> str:
        """Hash of the metadata, of the array's location, and of the times at which its folders last changed."""
        digest = hashlib.blake2b(json.dumps(self.document, sort_keys=True, default=str).encode(), digest_size=16)
        for stamp in self._store.stamps(location, owner, path, self.version):
            self.tells_changes = self.tells_changes and stamp is not None
            digest.update((uuid.uuid4().hex if stamp is None else stamp).encode())
        return digest.hexdigest()

    @property
    def changes_seen(self) -> str:
        """Words for the changes of the array that its fingerprint tells."""
        return (
            self._store.changes_seen
            if self.tells_changes
            else "none: too many folders, so each opening counts as a change"
        )

    def is_there(self) -> bool:
        """True where the store still has the document."""
        return self._store.version(self.key) is not None

    def verify(self, *, now: bool) -> None:
        """Refuse to go on with an array that is gone or has become another one.

        Parameters
        ----------
        now : bool
            False: a store that can't be asked cheaply is asked once a second.

        Raises
        ------
        SourceError
            When the document is gone, can't be read, or says anything else of how chunks are found and decoded.
        """
        if not now and not self._store.cheap_version:
            if time.monotonic() - self._verified < _VERIFY_EVERY_S:
                return
            self._verified = time.monotonic()
        self._compare(self._store.version(self.key))

    def verify_absent(self) -> None:
        """Refuse to take chunks as absent if the array is gone: it is asked of once for all chunks that are found to be absent meanwhile."""
        if self._store.requests is None or time.monotonic() - self._asked >= _VERIFY_EVERY_S:
            asked = time.monotonic()
            self.verify(now=True)
            self._asked = asked

    def verify_beside(self) -> Callable[[], None]:
        """Ask whether the array is still the same, beside what is read of it.

        Returns
        -------
        callable
            Called after the reading: raises as `verify` does, if the answer has come by then, or very soon. What comes later
            counts at the next time.
        """
        requests = self._store.requests
        if requests is None:
            return partial(self.verify, now=False)
        every = _VERIFY_TAGGED_EVERY_S if requests.tags else _VERIFY_EVERY_S
        now = time.monotonic()
        if self._answer is None and now - self._verified >= every:
            self._verified = now
            self._answer = requests.submit(self._store.name_of(self.key))
        return self._compare_answer

    def _compare_answer(self) -> None:
        answer = self._answer
        if answer is None:
            return
        try:
            got = answer.result(_VERY_SOON_S)
        except TimeoutError:
            if not answer.done():
                return
            raise
        finally:
            if answer.done():
                self._answer = None
        self._compare(None if got is None else bytes(got.data))

    def _compare(self, version: Any) -> None:
        if version == self.version:
            return
        if version is None:
            msg = f"{self._name}: the array is gone ({self.key} is no longer there); if it was written anew, call refresh()"
            raise SourceError(msg, key=self.key)
        content = self._store.document(self.key, version)
        try:
            # Through zarr, which spells out what a document may leave out.
            with known_codecs_only(self._name):
                changed = _differences(document_of(self._read(json.loads(content))), self.document)
        except Exception as error:
            raise SourceError(f"{self._name}: {self.key} can't be read any more: {error}", key=self.key) from error
        if changed:
            msg = f"{self._name}: the array has changed since it was opened (its {', '.join(changed)}); call refresh()"
            raise SourceError(msg, key=self.key)
        self.version = version


def document_of(metadata: Any) -> dict[str, Any]:
    """Metadata of zarr, v2 or v3, as a JSON document has them."""
    document: dict[str, Any] = json.loads(json.dumps(metadata.to_dict(), default=_plain))
    return document


def written_document(metadata: Any) -> bytes:
    """Document of an array as zarr-python writes it: of one that consolidated metadata tell, nobody asks for its own."""
    from zarr.core.buffer import default_buffer_prototype

    key = "zarr.json" if metadata.zarr_format == 3 else ".zarray"
    document = json.loads(metadata.to_buffer_dict(default_buffer_prototype())[key].to_bytes())
    return json.dumps(document, indent=2).encode()


def same_layout(one: Any, other: Any) -> bool:
    """True for two arrays of zarr whose chunks are found and decoded in the same way."""
    return not _differences(document_of(one.metadata), document_of(other.metadata))


def _plain(value: Any) -> Any:
    for attribute in ("get_config", "to_dict", "tolist"):
        if hasattr(value, attribute):
            return getattr(value, attribute)()
    return str(value)


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Members that differ, of those that say how chunks are found and decoded, and what stands for absent ones."""
    names = sorted({*one, *other} - {"attributes", "dimension_names", "consolidated_metadata"})
    # As text: NaN is like NaN.
    return [name for name in names if json.dumps(one.get(name)) != json.dumps(other.get(name))]


def chunk_shape(array: Any) -> tuple[int, ...]:
    """Shape of the chunks of a zarr array (in shards, of those in them); of a rectilinear grid, of its largest ones."""
    try:
        return tuple(array.chunks)
    except NotImplementedError:
        return tuple(max(sizes) for sizes in array.read_chunk_sizes)


def shard_shape(array: Any) -> tuple[int, ...]:
    """Shape of the shards of a zarr array, of its largest ones, () where it has none."""
    try:
        return tuple(array.shards or ())
    except NotImplementedError:
        return tuple(max(sizes) for sizes in array.write_chunk_sizes)
