"""A far store on loopback: what lies in a folder, over HTTP, with latency and faults, its requests counted."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import threading
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote, urlsplit

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class Far:
    """A server of `root`.

    ``fault(path, times)`` says what happens at the n-th request of a path and range: None (the file), a status, "reset",
    "cut", seconds to wait first, or an `asyncio.Event`-like object with ``is_set`` to wait for. ``headers`` go along
    with a status.
    """

    def __init__(self, latency=0.0):
        self.root = Path(tempfile.mkdtemp())
        self.latency, self.fault, self.headers, self.tags = latency, lambda path, times: None, {}, {}
        self.now = 0
        self.reset()
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        threading.Thread(target=self._run, args=(started,), daemon=True).start()
        assert started.wait(30)
        self.url = f"http://127.0.0.1:{self.port}"

    def reset(self):
        # Those that are still there are counted on.
        self.keys, self.bytes, self.most, self.gone, self.log, self.times = Counter(), 0, self.now, 0, [], []

    @property
    def chunks(self):
        """Requests of chunks, by path and range."""
        return Counter({k: n for k, n in self.keys.items() if not k.split()[1].endswith(METADATA)})

    @property
    def metadata(self):
        return Counter({k: n for k, n in self.keys.items() if k.split()[1].endswith(METADATA)})

    def starts(self, apart_s):
        """Times at which requests came, those that are less apart as one: round trips, where each takes longer than that."""
        starts = []
        for at in self.times:
            if not starts or at - starts[-1] > apart_s:
                starts.append(at)
        return starts

    def _run(self, started):
        asyncio.set_event_loop(self._loop)

        async def serve():
            server = await asyncio.start_server(self._client, "127.0.0.1", 0, backlog=256)
            self.port = server.sockets[0].getsockname()[1]
            started.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    async def _client(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                fields = {
                    k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)
                }
                path, part = unquote(urlsplit(target).path), fields.get("range", "")
                key = f"{method} {path} {part}".strip()
                self.keys[key] += 1
                self.log.append(key)
                self.times.append(time.monotonic())
                self.now += 1
                self.most = max(self.most, self.now)
                try:
                    if not await self._answer(reader, writer, method, path, part, self.keys[key]):
                        return
                finally:
                    self.now -= 1
        writer.close()

    async def _answer(self, reader, writer, method, path, part, times):
        await asyncio.sleep(self.latency)
        fault = self.fault(path, times)
        if hasattr(fault, "is_set"):
            while not fault.is_set():
                if reader.at_eof():
                    self.gone += 1
                    writer.close()
                    return False
                await asyncio.sleep(0.01)
            fault = None
        if isinstance(fault, float):
            await asyncio.sleep(fault)
            fault = None
        if fault == "reset":
            writer.transport.abort()
            return False
        file = self.root / path.lstrip("/")
        status, body, extra = fault if isinstance(fault, int) else 200, b"", dict(self.headers)
        if status == 200 and not file.is_file():
            status = 404
        if status == 200:
            body = file.read_bytes()
            extra["ETag"] = f'"{self.tags.get(path, file.stat().st_mtime_ns)}"'
            extra["Last-Modified"] = formatdate(1.7e9, usegmt=True)
            if found := re.fullmatch(r"bytes=(\d*)-(\d*)", part):
                a, b = found.groups()
                size = len(body)
                start = max(0, size - int(b)) if not a else int(a)
                stop = size if not a or not b else min(size, int(b) + 1)
                status, body = 206, body[start:stop]
                extra["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.bytes += len(body)
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in extra.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if method == "GET":
            writer.write(body[: len(body) // 2] if fault == "cut" else body)
        await writer.drain()
        if fault == "cut":
            writer.transport.abort()
        return fault != "cut"


def put_chunk(store, queue):
    """Work of another process: a chunk of a store, into a queue."""
    queue.put(bytes(store["0/c/0/0"]))
