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
from urllib.parse import urlsplit

import numpy as np
import zarr
from _bench import Report, Timing

import lazypyr

CHUNK, SIZE, TURNS = 256, 4096, 5
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
        source = lazypyr.LazyPyramidStore(pyramid, cache_bytes=64 * 2**20, inflight_bytes=64 * 2**20, compressor="zstd")
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


def wrk(url, paths, seconds, connections, folder):
    """Requests a second, and answers that were none."""
    script = Path(folder) / "paths.lua"
    script.write_text(
        "local paths = {" + ",".join(f'"{path}"' for path in paths) + "}\nmath.randomseed(7)\n"
        "request = function() return wrk.format('GET', paths[math.random(#paths)]) end\n"
    )
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency", "-s", str(script), url]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    sockets = re.search(r"Socket errors: (.*)", text)
    return (
        float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        int(bad[1]) if bad else 0,
        sockets[1] if sockets else "",
    )


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
        turns = [("lazypyr", mine.url, ours), ("StaticFiles", theirs.url, files)]
        for turn in range(TURNS + 1):
            for name, url, paths in turns if turn % 2 else turns[::-1]:
                rate, bad, errors = wrk(url, paths, seconds, 16, folder)
                assert not bad
                assert not errors
                if turn:
                    timings[name].seconds.append(1 / rate)
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


def crowd(report, folder, seconds):
    """64 clients on mixed tiles of all levels, most of them cold; memory is looked at every half second."""
    rng, paths = np.random.default_rng(SEED), []
    for level in range(13):
        n = max(1, 2 ** (12 - level))
        paths += [f"/a/{level}/c/{i}/{j}" for i, j in rng.integers(0, n, (1500, 2))]
    held, stop = [], threading.Event()
    with Server("deep", folder) as server:

        def look():
            while not stop.wait(0.5):
                with urllib.request.urlopen(f"{server.url}/stats") as answer:
                    held.append(json.load(answer)["memory_bytes"])

        watch = threading.Thread(target=look)
        watch.start()
        rate, bad, errors = wrk(server.url, paths, seconds, 64, folder)
        stop.set()
        watch.join()
    assert not bad, f"{bad} answers were errors"
    assert not errors, errors
    third = max(1, len(held) // 3)
    note = (
        f"{rate:,.0f}/s, no error; memory {max(held) / 2**20:.0f} MiB at most (cache 64, in flight 64), "
        f"first third {np.mean(held[:third]) / 2**20:.0f}, last third {np.mean(held[-third:]) / 2**20:.0f}"
    )
    report.add(f"64 clients on mixed tiles for {seconds} s", {"lazypyr": Timing([1 / rate])}, note=note)


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
