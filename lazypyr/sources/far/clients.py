"""Clients: one request for a stored value or a part of it, and what may be hoped for after an error."""

from __future__ import annotations

import asyncio
import contextlib
import re
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lazypyr.sources.far.loop import fetch_loop

__all__ = ["ByteRange", "Client", "Fetched", "OwnStoreClient", "ZarrStoreClient", "part_of"]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Part of a value: `length` bytes from `start` on; the last `length` where `start` is None; to the end where length is."""

    start: int | None
    length: int | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes of a value, or of a part of it, and the tag that its store gave it, if it gave one."""

    data: memoryview
    tag: str | None = None


class Client(ABC):
    """A store, as far as its values are got. Used on one event loop only."""

    @abstractmethod
    def start(self) -> None:
        """Make ready, also in a child that was forked: connections of its parent are not for it."""

    @abstractmethod
    async def get(self, key: str, part: ByteRange | None) -> Fetched | None:
        """A value, or a part of it; None if there is none under this key. Whatever else goes wrong raises."""

    def pause_after(self, error: Exception) -> float | None:
        """Seconds after which it may pay to ask again, at least; None where it does not."""
        return pause_after(error)


class ZarrStoreClient(Client):
    """Values of any zarr store, asked for on zarr's event loop: its connections may belong to that.

    Parameters
    ----------
    store : zarr.abc.store.Store
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    def start(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self, key: str, part: ByteRange | None) -> Fetched | None:
        from zarr.core.buffer import default_buffer_prototype

        if self._loop is None:
            self._loop = _zarr_loop()
        work = self.store.get(key, default_buffer_prototype(), _byte_request(part))
        value = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        return _fetched(value, part)


class OwnStoreClient(Client):
    """Values of a zarr store of our own, made by a function on the loop that fetches, and anew in a forked child."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def start(self) -> None:
        self._store: Any = None

    async def get(self, key: str, part: ByteRange | None) -> Fetched | None:
        from zarr.core.buffer import default_buffer_prototype

        if self._store is None:
            self._store = self._make()
            weakref.finalize(self, _close, self._store)
        value = await self._store.get(key, default_buffer_prototype(), _byte_request(part))
        return _fetched(value, part)


def _fetched(value: Any, part: ByteRange | None) -> Fetched | None:
    if value is None:
        return None
    data = memoryview(value.as_numpy_array()).cast("B")
    # Some servers hand out whole files only.
    too_long = part is not None and part.length is not None and len(data) > part.length
    return Fetched(part_of(data, part) if part is not None and too_long else data)


def part_of(data: memoryview, part: ByteRange) -> memoryview:
    """Part of a whole value."""
    if part.start is None:
        return data[-(part.length or 0) :]
    return data[part.start : None if part.length is None else part.start + part.length]


def _close(store: Any) -> None:
    """Close the connections of a file system of fsspec, which does it by itself only where it isn't asynchronous."""
    session = getattr(store.fs, "_session", None)
    close = getattr(session, "close", None)
    if asyncio.iscoroutinefunction(close):
        fetch_loop.run(close())


def _zarr_loop() -> asyncio.AbstractEventLoop:
    from zarr.core.sync import sync

    async def here() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    # zarr's sync() refuses to be called where a loop runs, which it does in this thread: it is another one.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        loop: asyncio.AbstractEventLoop = thread.submit(lambda: sync(here())).result()
    return loop


def _byte_request(part: ByteRange | None) -> Any:
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

    if part is None:
        return None
    if part.start is None:
        assert part.length is not None
        return SuffixByteRequest(part.length)
    return (
        OffsetByteRequest(part.start) if part.length is None else RangeByteRequest(part.start, part.start + part.length)
    )


# Server errors, and those of a client that was too fast or too slow. 501 and 505 will not pass.
_PASSING = {408, 425, 429, 500, 502, 503, 504, 507, 509}
_STATUS = re.compile(r"status(?: code)?:?\s*(\d{3})\b", re.IGNORECASE)
_BUSY_S = 1.0
# Classes for connections that broke, by package.
_BREAKS = {
    "aiohttp.ClientConnectionError",
    "aiohttp.ClientPayloadError",
    "botocore.ConnectionError",
    "botocore.HTTPClientError",
}
# What the clients call connections that broke, and bodies that ended early, where they have no class for it.
_BROKEN = re.compile(
    r"connection (?:reset|closed|refused|error)|error sending request|body|incomplete|timed? ?out|slow ?down|reduce your request rate"
    r"|decoding response|channel closed|dns error",
    re.IGNORECASE,
)


def pause_after(error: BaseException) -> float | None:
    """Seconds after which it may pay to ask again, at least; None where it doesn't: refused, absent, or wrong.

    Clients have classes of their own: what counts is the status that they carry or tell, then what kind of builtin they are.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if kinds & _BREAKS:
        return 0.0
    status = status_of(error)
    if status is not None:
        if status not in _PASSING:
            return None
        return max(_retry_after(error), _BUSY_S if status == 429 else 0.0)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return None
    if isinstance(error, TimeoutError | ConnectionError | EOFError | asyncio.IncompleteReadError):
        return 0.0
    if "obstore.BaseError" in kinds or isinstance(error, OSError):
        return 0.0 if _BROKEN.search(str(error)[:500]) else None
    return None


def status_of(error: BaseException) -> int | None:
    """HTTP status that an error carries or tells, None if it has none."""
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 100 <= value < 600:
            return value
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        code = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(code, int):
            return code
    found = _STATUS.search(str(error)[:500])
    if found:
        return int(found[1])
    return None if error.__cause__ is None else status_of(error.__cause__)


def _retry_after(error: BaseException) -> float:
    headers = getattr(error, "headers", None)
    if headers is None:
        response = getattr(error.__cause__ or error, "response", None)
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders") if isinstance(response, dict) else None
    with contextlib.suppress(Exception):
        lower = {str(name).lower(): value for name, value in (headers or {}).items()}
        return min(60.0, max(0.0, float(lower["retry-after"])))
    return 0.0
