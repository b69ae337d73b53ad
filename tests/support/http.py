"""HTTP without a client's good manners: bytes to a socket, and what comes back."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
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


class _Files(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, in parts too, as object stores serve them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.translate_path(self.path)
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or not os.path.isfile(path):
            return super().do_GET()
        size, (first, last) = os.path.getsize(path), wanted.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= size:
            return self.send_error(416)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with open(path, "rb") as file:
            file.seek(start)
            self.wfile.write(file.read(stop - start))
        return None


@contextlib.contextmanager
def serving(folder):
    """The URL at which the files of a folder are served by a plain web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving_elsewhere(folder):
    """The same by a process of its own, for readers that keep Python from answering meanwhile."""
    code = f"from support.http import serving\nwith serving({str(folder)!r}) as url: print(url, flush=True); input()"
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.path.dirname(tests)])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], env=env, **pipes) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
