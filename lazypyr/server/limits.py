"""HTTP/1.1 of uvicorn with timeouts for receiving a request and for sending a response, and a limit on connections.

uvicorn by itself waits for ever for the rest of a header, and for a client that doesn't read its response, and accepts
connections until no file descriptor is left.
"""

from __future__ import annotations

import asyncio
import weakref

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

__all__ = ["MAX_CONNECTIONS", "RECEIVE_SECONDS", "SEND_SECONDS", "TimeoutH11Protocol"]

MAX_CONNECTIONS = 4096
RECEIVE_SECONDS = 15.0
SEND_SECONDS = 60.0

# File descriptors left to sources, files and the interpreter.
_SPARE_FILES = 128
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def max_connections() -> int:
    """`MAX_CONNECTIONS`, or fewer where the process may not open as many files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files < 0 else max(1, min(MAX_CONNECTIONS, files - _SPARE_FILES))


# The idle connections of each server, those first that have been so for longest.
_idle: weakref.WeakKeyDictionary[ServerState, dict[TimeoutH11Protocol, None]] = weakref.WeakKeyDictionary()


class TimeoutH11Protocol(H11Protocol):
    """One connection. Above the limit it replaces the one that has been idle for longest, or is refused with 503."""

    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it where all others are busy."""
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            longest = next(iter(self._idle), None)
            if longest is not None:
                del self._idle[longest]
                longest.transport.abort()
            else:
                transport.write(_FULL)
                transport.close()
        self._note_idleness()
        self._expect_request()

    @property
    def _idle(self) -> dict[TimeoutH11Protocol, None]:
        return _idle.setdefault(self.server_state, {})

    def _note_idleness(self) -> None:
        """Record that no request is being answered, or that one is."""
        self._idle.pop(self, None)
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._idle[self] = None

    def on_response_complete(self) -> None:
        """Note that the connection is idle, unless its next request has come already."""
        super().on_response_complete()
        self._note_idleness()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers of the connection."""
        self._idle.pop(self, None)
        for timer in (self._receiving, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive data; the timeout runs from the first byte of a request to its last."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._note_idleness()
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect_request()
        elif self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def pause_writing(self) -> None:
        """Start the timeout of a client that is slow to read."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Stop the timeout: the client has read."""
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its client never reads what is still on its way."""
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def _expect_request(self) -> None:
        if self._receiving is None:
            self._receiving = self.loop.call_later(RECEIVE_SECONDS, self.transport.abort)

    def _expect_reading(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(SEND_SECONDS, self.transport.abort)
