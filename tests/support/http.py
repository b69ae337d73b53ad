"""HTTP without a client's good manners: bytes to a socket, and what comes back."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import h11

import lazypyr


@contextlib.contextmanager
def served(sources, **options):
    """A server of `sources` on a free port of loopback."""
    handle = lazypyr.serve(sources, port=0, background=True, **options)
    try:
        yield handle
    finally:
        handle.close(60)


def connect(url, timeout=60):
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), timeout=timeout)


class Answer:
    """Status, headers (a dict, lower case) and body of an answer."""

    def __init__(self, response, body):
        self.status, self.body = response.status_code, body
        self.fields = [(k.decode(), v.decode("latin-1")) for k, v in response.headers]
        self.headers = dict(self.fields)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:200]!r}"


def receive(sock, method="GET"):
    """One answer, its framing checked by h11; None when the server closes without one."""
    parser = h11.Connection(h11.CLIENT)
    with contextlib.suppress(h11.LocalProtocolError):
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
    response, body = None, b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data and response is None:
                return None
            parser.receive_data(data)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Answer(response, body)
        elif isinstance(event, h11.ConnectionClosed):
            raise AssertionError("the answer is cut short")


def raw(url, data, method="GET", timeout=60):
    """Send bytes as they are."""
    with connect(url, timeout) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        return receive(sock, method)


def ask(url, path, method="GET", headers=(), host="127.0.0.1", version="1.1"):
    """A request whose path and headers are sent as they are written."""
    lines = [f"{method} {path} HTTP/{version}", *([f"Host: {host}"] if host is not None else [])]
    lines += [f"{name}: {value}" for name, value in dict(headers).items()]
    text = "\r\n".join([*lines, "Connection: close", "", ""])
    return raw(url, text.encode("latin-1"), method)
