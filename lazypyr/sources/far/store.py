"""A URL as a zarr store, so that zarr can read its metadata: asked as chunks are, each key once an opening."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from lazypyr.sources.far.clients import ByteRange, Client, Fetched, OwnStoreClient
from lazypyr.sources.far.obstore_client import ObstoreClient, obstore_config
from lazypyr.sources.far.requests import Requests
from lazypyr.sources.read_only_store import ReadOnlyStore, to_slice

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["FarStore", "expect_children", "far_store", "opening", "reads"]

_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class FarStore(ReadOnlyStore):
    """Store of what lies below a URL, read-only.

    Parameters
    ----------
    url : str
    options : Mapping
        Of fsspec.
    text : str
        Names it in fingerprints: what zarr's own store of this URL is called, whichever package reads it.
    """

    def __init__(self, url: str, options: Mapping[str, Any], text: str) -> None:
        super().__init__(read_only=True)
        self.url, self.options, self.text = url, dict(options), text
        self.requests = Requests(_ClientOf(url, self.options))
        self._documents: dict[str, Future[Fetched | None]] | None = None

    @property
    def client(self) -> Client:
        """Client that asks for values: by obstore, or by fsspec."""
        return self.requests.client

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.options, self.text)

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FarStore) and (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    @property
    def path(self) -> str:
        """The URL."""
        return self.url

    @cached_property
    def above(self) -> FarStore | None:
        """Store of the folder around it; None where a URL has none, or is signed."""
        parent, _, name = self.url.rstrip("/").rpartition("/")
        return None if not name or parent.endswith((":", "/")) or "?" in self.url else far_store(parent, self.options)

    # Documents

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Context in which no metadata document is asked for twice."""
        if self._documents is not None:
            yield
            return
        self._documents = {}
        try:
            yield
        finally:
            self._documents = None

    def expect(self, paths: Iterable[str], names: Iterable[str]) -> None:
        """Ask now, side by side, for the documents of groups or arrays that will be opened."""
        for path in paths:
            for name in names:
                self.ask(f"{path}/{name}" if path else name)

    def ask(self, key: str) -> Future[Fetched | None]:
        """Future of a value; within `opening` a document is asked for once."""
        documents = self._documents
        if documents is None or key.rpartition("/")[2] not in _DOCUMENTS:
            return self.requests.submit(key)
        if key not in documents:
            documents[key] = self.requests.submit(key)
        return documents[key]

    async def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        asked = self.ask(key) if byte_range is None else self.requests.submit(key, _part_of(byte_range))
        got = await asyncio.wrap_future(asked)
        return None if got is None else prototype.buffer.from_bytes(bytes(got.data))

    get = _get

    async def exists(self, key: str) -> bool:
        return await asyncio.wrap_future(self.ask(key)) is not None

    # Listing is seldom needed: fsspec's, on the loop of whoever lists

    def _listing(self) -> Any:
        return _fsspec_store(self.url, self.options)

    async def list(self) -> AsyncIterator[str]:
        async for key in self._listing().list():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._listing().list_prefix(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        async for key in self._listing().list_dir(prefix):
            yield key


class _ClientOf(Client):
    """Client of a URL: obstore's where that is installed and takes the options, else fsspec's; chosen anew after a fork."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url, self._options = url, options

    def start(self) -> None:
        config = obstore_config(self._url, self._options)
        self._client: Client = (
            OwnStoreClient(partial(_fsspec_store, self._url, self._options))
            if config is None
            else ObstoreClient(self._url, config)
        )
        self._client.start()

    async def get(self, key: str, part: ByteRange | None) -> Fetched | None:
        return await self._client.get(key, part)


def _fsspec_store(url: str, options: Mapping[str, Any]) -> Any:
    from zarr.storage import FsspecStore

    # Its connections are bound to the loop on which it is first asked: no other may share it.
    alone = {"skip_instance_cache": True, **options}
    return FsspecStore.from_url(url, storage_options=alone, read_only=True)


def reads(url: str) -> bool:
    """True for a URL of a store that is far: fsspec's others are near, or chains of several."""
    return url.partition("://")[0] in _CLASSES


def far_store(url: str, options: Mapping[str, Any]) -> FarStore:
    """A store of what lies below a URL.

    Raises
    ------
    ImportError
        When neither obstore nor what fsspec needs for it is installed.
    ValueError, TypeError, OSError
        When the URL or an option makes no sense.
    """
    if obstore_config(url, options) is None:
        text = str(_fsspec_store(url, options))
    else:
        scheme, _, rest = url.rstrip("/").partition("://")
        text = f"<FsspecStore({_CLASSES[scheme]}, {url.rstrip('/') if scheme.startswith('http') else rest})>"
    return FarStore(url, options, text)


# What fsspec calls its classes, in the fingerprints of sources that were opened before.
_CLASSES = {
    "http": "HTTPFileSystem",
    "https": "HTTPFileSystem",
    "s3": "S3FileSystem",
    "gs": "GCSFileSystem",
    "az": "AzureBlobFileSystem",
}


def _part_of(request: Any) -> ByteRange:
    to_slice(request, 0)  # raises for what is none
    if hasattr(request, "suffix"):
        return ByteRange(None, request.suffix)
    if hasattr(request, "offset"):
        return ByteRange(request.offset, None)
    return ByteRange(request.start, request.end - request.start)


@contextlib.contextmanager
def opening(store: Any, path: str = "") -> Iterator[None]:
    """Context of the opening of a node of a store; of a far one its documents are asked for at once, and none twice."""
    if not isinstance(store, FarStore):
        yield
        return
    with store.opening(), contextlib.ExitStack() as above:
        store.expect([path], _DOCUMENTS)
        if not path and store.above is not None:
            # An array may have been opened by its own URL, in a group that says more of it.
            above.enter_context(store.above.opening())
            store.above.expect([path], _DOCUMENTS)
        yield


def expect_children(group: Any, names: Iterable[str]) -> None:
    """Ask at once for the documents of the arrays of a zarr group, if it is far and doesn't have them."""
    if not isinstance(group.store, FarStore) or group.metadata.consolidated_metadata is not None:
        return
    documents = ("zarr.json",) if group.metadata.zarr_format == 3 else (".zarray", ".zgroup", ".zattrs")
    group.store.expect([f"{group.path}/{name}".lstrip("/") for name in names], documents)
