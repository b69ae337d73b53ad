"""Handler of the keys of a store: only keys that the pyramid has are looked up, no path comes from a client."""

from __future__ import annotations

from collections.abc import Container
from typing import Any
from urllib.parse import unquote_plus

from starlette.types import Receive, Scope, Send
from zarr.core.buffer import default_buffer_prototype

from lazypyr.server.dataset import ServedDataset, Snapshot
from lazypyr.server.responses import SendLimiter, cancel_on_disconnect, is_not_modified, range_response, reply

__all__ = ["serve_key"]


async def serve_key(
    dataset: ServedDataset,
    address: str,
    key: str,
    scope: Scope,
    receive: Receive,
    send: Send,
    send_limiter: SendLimiter,
) -> None:
    """Answer GET or HEAD of a key. HEAD, 304 and 404 compute nothing."""

    async def get(snapshot: Snapshot) -> Any:
        return await snapshot.store_at(address).get(key, default_buffer_prototype())

    async def read() -> tuple[Snapshot, memoryview | None]:
        async with cancel_on_disconnect(receive):
            snapshot, value = await dataset.read(get)
        if value is None:
            return snapshot, None
        body = memoryview(value.as_numpy_array()).cast("B")
        snapshot.record_length(address, key, body.nbytes)
        return snapshot, body

    snapshot = await dataset.current()
    if scope["query_string"]:
        key = _with_question_mark(key, scope["query_string"].decode("latin-1"), snapshot.store_at(address))
    if key not in snapshot.store_at(address):
        await reply(scope, send, 404)
        return
    headers = _headers(snapshot, address, key)
    if is_not_modified(scope, headers["ETag"]):
        await reply(scope, send, 304, headers={**headers, "Content-Length": ""})
        return
    if scope["method"] == "HEAD":
        length = _length(snapshot, address, key)
        await reply(scope, send, 200, headers={**headers, "Content-Length": "" if length is None else str(length)})
        return
    snapshot, body = await read()
    if body is None:  # the source has changed its shape meanwhile
        await reply(scope, send, 404)
        return
    n_bytes = body.nbytes
    if not send_limiter.can_send_now(n_bytes):
        body = None  # many waiting requests would hold more memory than the cache may
    async with cancel_on_disconnect(receive):
        await send_limiter.acquire(n_bytes)
    try:
        if body is None:
            snapshot, body = await read()
        if body is None:
            await reply(scope, send, 404)
        else:
            await range_response(scope, send, body, _headers(snapshot, address, key))
    finally:
        send_limiter.release(n_bytes)


def _with_question_mark(key: str, query: str, keys: Container[str]) -> str:
    """The key in which "?" is part of a name: clients that append names to a URL as they are make a query of what follows."""
    spelling = f"{key}?{unquote_plus(query)}"
    return spelling if spelling in keys else key


def _headers(snapshot: Snapshot, address: str, key: str) -> dict[str, str]:
    document = key.rpartition("/")[2] in ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
    return {
        "Content-Type": "application/json" if document else "application/octet-stream",
        **snapshot.validators(address, key),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
    }


def _length(snapshot: Snapshot, address: str, key: str) -> int | None:
    size = snapshot.store_at(address).size_of(key)
    return snapshot.lengths.get((address, key)) if size is None else size
