"""Screens of cold tiles of a far store, beside tensorstore and zarr-python, in turns.

    python benchmarks/bench_remote.py [latency in s ...]

The store is a server of this file in a process of its own (``serve FOLDER``), with latency before the first byte and 40 MB/s a
connection. Prints the median seconds, requests and MB of each reader.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import zarr

BYTES_PER_S = 40e6
ROUNDS = 3
state = {"latency": 0.0, "requests": 0, "bytes": 0}


async def client(reader, writer):
    root = Path(sys.argv[2])
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            if path.startswith("/__"):
                answer = f"{state['requests']} {state['bytes']}".encode()
                state.update(latency=float(path[3:]), requests=0, bytes=0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
                continue
            state["requests"] += 1
            await asyncio.sleep(state["latency"])
            file = root / path.lstrip("/")
            body = file.read_bytes() if file.is_file() else b""
            status, extra = ("200 OK" if file.is_file() else "404 Not Found"), ""
            if body and (part := re.search(r"^range: bytes=(\d*)-(\d*)", head, re.IGNORECASE | re.MULTILINE)):
                a, b = part.groups()
                start = max(0, len(body) - int(b)) if not a else int(a)
                stop = min(len(body), int(b) + 1) if a and b else len(body)
                status, extra = "206 Partial Content", f"Content-Range: bytes {start}-{stop - 1}/{len(body)}\r\n"
                body = body[start:stop]
            state["bytes"] += len(body)
            writer.write(
                f"HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode()
            )
            if not head.startswith("HEAD"):
                began = time.monotonic()
                for at in range(0, len(body), 2**16):
                    writer.write(body[at : at + 2**16])
                    await writer.drain()
                    await asyncio.sleep(max(0.0, began + (at + 2**16) / BYTES_PER_S - time.monotonic() - 0.002))
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()


async def serve():
    server = await asyncio.start_server(client, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def ours(url, level, rows, columns):
    import lazypyr

    array = zarr.open_group(lazypyr.LazyPyramidStore(url), mode="r")[str(level)]
    return lambda: array[rows, columns]


def tensorstore(url, level, rows, columns):
    import tensorstore as ts

    base, _, path = url.rpartition("/")
    store = ts.open({"driver": "zarr3", "kvstore": {"driver": "http", "base_url": base, "path": f"/{path}/"}}).result()
    view = ts.downsample(store, [2**level] * 2, "stride")[rows, columns]
    return lambda: view.read().result()


def obstore(url, level, rows, columns):
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store = HTTPStore.from_url(url, client_options={"allow_http": True})
    array, step = zarr.open_array(ObjectStore(store, read_only=True), mode="r"), 2**level
    return lambda: array[rows.start * step : rows.stop * step : step, columns.start * step : columns.stop * step : step]


def fsspec(url, level, rows, columns):
    array, step = zarr.open_array(url, mode="r"), 2**level
    return lambda: array[rows.start * step : rows.stop * step : step, columns.start * step : columns.stop * step : step]


def main():
    zarr.config.set({"async.concurrency": 64})
    with tempfile.TemporaryDirectory() as folder:
        n = np.arange(4096, dtype="f4")
        pixels = (
            np.sin(n[:, None] / 200) + np.cos(n / 300) + np.random.default_rng(0).random((4096, 4096), "f4").round(2)
        )
        for name, options in {
            "plain 512": {"chunks": (512, 512)},
            "shards 2048 of 512": {"chunks": (512, 512), "shards": (2048, 2048)},
            "unaligned 384": {"chunks": (384, 384)},
        }.items():
            zarr.create_array(f"{folder}/{name.replace(' ', '_')}", data=pixels, dimension_names=("y", "x"), **options)
        server = subprocess.Popen([sys.executable, __file__, "serve", folder], stdout=subprocess.PIPE, text=True)
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"

        def control(latency):
            return urllib.request.urlopen(f"{url}/__{latency}").read().split()

        readers = {"lazypyr": ours, "tensorstore": tensorstore, "zarr obstore": obstore, "zarr fsspec": fsspec}
        try:
            for latency in map(float, sys.argv[1:] or (0, 0.02, 0.05, 0.1)):
                for name in ("plain 512", "shards 2048 of 512", "unaligned 384"):
                    for level in (0, 1, 2):
                        size = min(768, 4096 >> level), min(1024, 4096 >> level)
                        rows, columns = slice(0, size[0]), slice(0, size[1])
                        taken = {reader: [] for reader in readers}
                        for turn in range(ROUNDS + 1):
                            for reader, opened in readers.items():
                                read = opened(f"{url}/{name.replace(' ', '_')}", level, rows, columns)
                                control(latency)
                                began = time.perf_counter()
                                read()
                                took = time.perf_counter() - began
                                if turn:
                                    taken[reader].append((took, *map(int, control(latency))))
                        row = "; ".join(
                            f"{reader} {statistics.median(t for t, _, _ in got) * 1e3:.0f} ms, {got[-1][1]}, {got[-1][2] / 1e6:.1f} MB"
                            for reader, got in taken.items()
                        )
                        print(f"{latency * 1e3:.0f} ms, {name}, level {level}: {row}", flush=True)
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:2] == ["serve"] else main()
