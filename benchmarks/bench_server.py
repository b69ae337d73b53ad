"""HTTP: warm tiles against the same bytes as plain files on the same uvicorn, cold tiles against Python, many clients at once.

    python benchmarks/bench_server.py [--seconds 3] [--crowd-seconds 60]

Needs wrk (Debian: apt-get install wrk). Each server is a process of its own; contenders take turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import zarr
from _bench import Report, Timing

import lazypyr

CHUNK, SIZE, TURNS = 256, 4096, 5
CLIENTS, CACHE_BYTES, INFLIGHT_BYTES = 64, 64 * 2**20, 64 * 2**20
SEED = 11


def picture():
    """8-bit data that compress as images do."""
    rng = np.random.default_rng(SEED)
    smooth = np.add.outer(np.sin(np.arange(SIZE) / 90), np.cos(np.arange(SIZE) / 70)) * 50
    return np.clip(128 + smooth + rng.normal(0, 3, (SIZE, SIZE)), 0, 255).astype("u1")


def child(kind, folder):
    """Serve until killed; prints the URL."""
    import uvicorn
    from starlette.staticfiles import StaticFiles

    from lazypyr.server.run import _listen

    if kind == "files":
        listener = _listen("127.0.0.1", 0)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        app = StaticFiles(directory=folder)
        config = uvicorn.Config(app, http="h11", loop="asyncio", lifespan="off", log_level="warning", access_log=False)
        uvicorn.Server(config).run([listener])
        return
    if kind == "deep":
        pyramid = lazypyr.from_function(deep, shape=(2**20, 2**20), dtype="u1", chunks=(CHUNK, CHUNK))
        bounds = {"cache_bytes": CACHE_BYTES, "inflight_bytes": INFLIGHT_BYTES}
        source = lazypyr.LazyPyramidStore(pyramid, compressor="zstd", **bounds)
    else:
        source = lazypyr.LazyPyramidStore(f"{folder}/source.zarr", compressor="zstd", chunks=(CHUNK, CHUNK))
    handle = lazypyr.serve({"a": source}, port=0, background=True)
    print(handle.url, flush=True)
    threading.Event().wait()


def deep(level, window):
    rows, columns = (np.arange(a, b) for a, b in window)
    return np.add.outer(rows * 7, columns * 13).astype("u1")


class Server:
    """A server in a process of its own."""

    def __init__(self, kind, folder):
        argv = [sys.executable, __file__, "--child", kind, str(folder)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()


class Load(NamedTuple):
    """What wrk says of a turn: answers a second, those that were errors, errors of sockets, latencies."""

    rate: float
    bad: int
    sockets: str
    p50_ms: float
    p99_ms: float


def wrk(url, paths, seconds, connections, folder):
    """Ask for `paths` at random, over connections that stay open."""
    script = Path(folder) / "paths.lua"
    script.write_text(
        "local paths = {" + ",".join(f'"{path}"' for path in paths) + "}\nmath.randomseed(os.time())\n"
        "request = function() return wrk.format('GET', paths[math.random(#paths)]) end\n"
    )
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(script), url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
    p50, p99 = (
        float(found[1]) * units[found[2]]
        for q in (50, 99)
        if (found := re.search(rf"{q}%\s+([\d.]+)(us|ms|s|m)\b", text))
    )
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return Load(rate, int(bad[1]) if bad else 0, sockets[1] if sockets else "", p50, p99)


def warm(report, folder, seconds):
    counts = SIZE // CHUNK
    ours = [f"/a/0/c/{i}/{j}" for i in range(counts) for j in range(counts)]
    files = [path.replace("/a/0/c", "/files/c") for path in ours]
    store = lazypyr.LazyPyramidStore(f"{folder}/source.zarr", compressor="zstd", chunks=(CHUNK, CHUNK))
    for path, key in zip(files, ours, strict=True):
        target = Path(f"{folder}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(store[key.removeprefix("/a/")])
    timings = {"lazypyr": Timing([]), "StaticFiles": Timing([])}
    with Server("lazypyr", folder) as mine, Server("files", folder) as theirs:
        for our, file in zip(ours, files, strict=True):  # the same bytes, and all of them warm
            assert fetched(mine.url + our) == fetched(theirs.url + file)
        turns = [("lazypyr", mine.url, ours), ("StaticFiles", theirs.url, files)]
        for turn in range(TURNS + 1):
            for name, url, paths in turns if turn % 2 else turns[::-1]:
                load = wrk(url, paths, seconds, 16, folder)
                assert not load.bad
                assert not load.sockets
                if turn:
                    timings[name].seconds.append(1 / load.rate)
    rates = ", ".join(f"{name} {1 / t.median:,.0f}/s" for name, t in timings.items())
    report.add("warm tiles of 256 x 256 u1, zstd, 16 connections", timings, reach=1.0, note=rates)


def cold(report, folder):
    counts = SIZE // CHUNK // 2
    keys = [f"1/c/{i}/{j}" for i in range(counts) for j in range(counts)]
    times = {"lazypyr": [], "in Python": []}
    for _ in range(3):
        store = lazypyr.LazyPyramidStore(f"{folder}/source.zarr", compressor="zstd", chunks=(CHUNK, CHUNK))
        with Server("lazypyr", folder) as server:
            where = urlsplit(server.url)
            connection = http.client.HTTPConnection(where.hostname, where.port)
            for key in keys:
                begin = time.perf_counter()
                connection.request("GET", f"/a/{key}")
                connection.getresponse().read()
                times["lazypyr"].append(time.perf_counter() - begin)
                begin = time.perf_counter()
                store[key]
                times["in Python"].append(time.perf_counter() - begin)
    timings = {name: Timing(seconds) for name, seconds in times.items()}
    p99 = ", ".join(f"{name} {1e3 * t.quantile(0.99):.1f} ms" for name, t in timings.items())
    report.add("cold tile of level 1 over HTTP", timings, note=f"p99: {p99}")


def mixed():
    """Paths of chunks of all levels and of pictures of all zooms, at random: most of them are cold."""
    rng, paths = np.random.default_rng(SEED), []
    for level in range(13):
        n = 2 ** (12 - level)
        paths += [f"/a/{level}/c/{i}/{j}" for i, j in rng.integers(0, n, (1200, 2))]
        paths += [f"/tiles/a/{12 - level}/{x}/{y}.png" for x, y in rng.integers(0, n, (300, 2))]
    return paths


def crowd(report, folder, seconds):
    """64 clients on mixed tiles; memory is looked at every half second. For half an hour of it see soak.py."""
    held, stop = [], threading.Event()
    with Server("deep", folder) as server:

        def look():
            while not stop.wait(0.5):
                held.append(json.loads(fetched(f"{server.url}/stats"))["memory_bytes"])

        watch = threading.Thread(target=look)
        watch.start()
        load = wrk(server.url, mixed(), seconds, CLIENTS, folder)
        stop.set()
        watch.join()
    assert not load.bad, f"{load.bad} answers were errors"
    assert not load.sockets, load.sockets
    third = max(1, len(held) // 3)
    note = (
        f"{load.rate:,.0f}/s, no error; memory {max(held) / 2**20:.0f} MiB at most (cache 64, in flight 64), "
        f"first third {np.mean(held[:third]) / 2**20:.0f}, last third {np.mean(held[-third:]) / 2**20:.0f}"
    )
    report.add(f"{CLIENTS} clients on mixed tiles for {seconds} s", {"lazypyr": Timing([1 / load.rate])}, note=note)


def fetched(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="of each turn of the warm tiles")
    parser.add_argument("--crowd-seconds", type=int, default=60)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    if shutil.which("wrk") is None:
        sys.exit("bench_server needs wrk: apt-get install wrk")
    report = Report("server", "Server", packages=["uvicorn", "starlette", "h11", "zarr"])
    with tempfile.TemporaryDirectory() as folder:
        zarr.create_array(f"{folder}/source.zarr", data=picture(), chunks=(512, 512))
        warm(report, folder, args.seconds)
        cold(report, folder)
        crowd(report, folder, args.crowd_seconds)
    report.save()


if __name__ == "__main__":
    main()
