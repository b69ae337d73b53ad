"""HTTP responses: status, headers, ranges, disconnecting and slow clients, errors without the text of their message."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from lazypyr._names import without_paths
from lazypyr.errors import BusyError, ComputeError, LazypyrError, PlanError
from lazypyr.server.metrics import Stats
from lazypyr.server.ranges import Verdict, etag_matches, parse_range

__all__ = [
    "ALLOWED",
    "ClientDisconnected",
    "SendLimiter",
    "error_response",
    "header",
    "range_response",
    "reply",
    "cancel_on_disconnect",
    "is_not_modified",
]

ALLOWED = "GET, HEAD, OPTIONS"
# A body below this is sent in one message; a longer one counts until its client has received it.
_SMALL = 64 * 1024
log = logging.getLogger("lazypyr.server")


class ClientDisconnected(Exception):
    """The client has closed the connection before its answer was ready."""


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request; None where there is none, or several."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


async def reply(
    scope: Scope, send: Send, status: int, body: Any = b"", *, headers: Mapping[str, str] | None = None
) -> None:
    """Send a response. `body` is bytes-like; of HEAD only its length is sent.

    A header ``Content-Length`` in `headers` describes a body that isn't sent; an empty one leaves the header out.
    """
    view = memoryview(body)
    fields = {"Content-Length": str(view.nbytes), **(headers or {})}
    raw = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in fields.items() if v]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    if scope["method"] == "HEAD" or view.nbytes < _SMALL:
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else view})
        return
    await send({"type": "http.response.body", "body": view, "more_body": True})
    # uvicorn accepts a message only when the client has received most of the one before.
    await send({"type": "http.response.body", "body": b""})


def is_not_modified(scope: Scope, etag: str) -> bool:
    """True if the client has this value already."""
    return etag_matches(header(scope, b"if-none-match"), etag)


async def range_response(scope: Scope, send: Send, body: Any, headers: Mapping[str, str]) -> None:
    """Send a value, or the range of it that the request asks for; `headers` has its ETag."""
    view = memoryview(body)
    size = view.nbytes
    condition = header(scope, b"if-range")
    requested = header(scope, b"range") if scope["method"] == "GET" else None
    part = parse_range(requested if condition in (None, headers["ETag"]) else None, size)
    if part is Verdict.WHOLE:
        await reply(scope, send, 200, view, headers=headers)
    elif part is Verdict.UNSATISFIABLE:
        await reply(scope, send, 416, headers={**headers, "Content-Range": f"bytes */{size}"})
    else:
        start, stop = part
        partial = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        await reply(scope, send, 206, view[start:stop], headers=partial)


def error_response(error: BaseException, key: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers for an error: its class and the key; the log has its message, at level debug all of it."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
    name = type(error).__name__
    if isinstance(error, BusyError | MemoryError):
        status, headers["Retry-After"] = 503, "1"
    elif isinstance(error, PlanError):  # this server won't, however often it is asked
        status = 403
    elif isinstance(error, LazypyrError) and not isinstance(error, ComputeError):
        status = 502
    else:
        status = 500
    log.warning("%s: %s: %s", key, name, without_paths(str(error)))
    log.debug("%s: %s", key, name, exc_info=error)
    return status, f"{name}: {key}\n".encode(errors="replace"), headers


@contextlib.asynccontextmanager
async def cancel_on_disconnect(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block with `ClientDisconnected` when the client closes the connection.

    The connection is watched only once the event loop turns: a block that doesn't wait costs nothing.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watchers: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    start = loop.call_soon(lambda: watchers.append(loop.create_task(watch())))
    try:
        yield
    except asyncio.CancelledError:
        if gone:
            task.uncancel()
            raise ClientDisconnected from None
        raise
    finally:
        start.cancel()
        for watcher in watchers:
            watcher.cancel()


class SendLimiter:
    """Limit on the bytes of bodies that are being sent at once.

    Parameters
    ----------
    max_bytes : int
        A body larger than this is sent alone.
    timeout_s : float
        Longest wait for the turn of a body.
    """

    def __init__(self, max_bytes: int, timeout_s: float, stats: Stats) -> None:
        self.max_bytes, self.timeout_s, self._stats = max_bytes, timeout_s, stats
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def can_send_now(self, n_bytes: int) -> bool:
        """True if `n_bytes` may be sent without waiting."""
        return not self._waiting and self._fits(n_bytes)

    async def deliver(self, scope: Scope, send: Send, body: Any, headers: Mapping[str, str]) -> None:
        """Send a `range_response` when its turn comes."""
        n_bytes = memoryview(body).nbytes
        await self.acquire(n_bytes)
        try:
            await range_response(scope, send, body, headers)
        finally:
            self.release(n_bytes)

    async def acquire(self, n_bytes: int) -> None:
        """Wait until `n_bytes` may be sent; return them by `release`.

        Raises
        ------
        BusyError
            When other bodies took longer than `timeout_s`.
        """
        if self.can_send_now(n_bytes):
            self._stats.open_bytes += n_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((n_bytes, turn))
        try:
            async with asyncio.timeout(self.timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(n_bytes)
            else:
                turn.cancel()
                self._admit_waiting()
            if isinstance(error, TimeoutError):
                msg = f"other clients hold {self._stats.open_bytes} bytes that they do not read"
                raise BusyError(msg) from None
            raise

    def release(self, n_bytes: int) -> None:
        """Return bytes that were sent, or given up."""
        self._stats.open_bytes -= n_bytes
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        for n_bytes, turn in self._admissible():
            self._stats.open_bytes += n_bytes
            turn.set_result(None)

    def _admissible(self) -> Iterator[tuple[int, asyncio.Future[None]]]:
        # A waiting request that was cancelled is still in the queue.
        while self._waiting and (self._waiting[0][1].cancelled() or self._fits(self._waiting[0][0])):
            n_bytes, turn = self._waiting.popleft()
            if not turn.cancelled():
                yield n_bytes, turn

    def _fits(self, n_bytes: int) -> bool:
        used = self._stats.open_bytes
        return used == 0 or used + n_bytes <= self.max_bytes


def counting_send(send: Send) -> tuple[Send, list[int]]:
    """A `send` that records status and bytes in the list beside it."""
    seen = [0, 0]

    async def through(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen[0] = message["status"]
        else:
            seen[1] += len(message.get("body", b""))
        await send(message)

    return through, seen
