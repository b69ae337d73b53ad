"""Half an hour of 64 clients on mixed tiles, most of them cold: no answer may be an error, and memory must stay where it is.

    python benchmarks/soak.py [--minutes 30]

Needs wrk (Debian: apt-get install wrk). Not one of those that `_bench.py` runs. It writes results/soak.json, docs/soak.svg
and its place in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from _bench import DOCS, RESULTS, into_docs, machine, versions
from bench_server import CACHE_BYTES, CLIENTS, INFLIGHT_BYTES, Server, mixed, wrk

SVG = DOCS.with_name("soak.svg")
WIDTH, PANEL, LEFT, TOP = 640, 92, 64, 22


class Watch:
    """Looks at a server twice a second: its memory, its open files, its threads."""

    def __init__(self, server):
        self.server, self.held, self._stop = server, [], threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        process = Path(f"/proc/{self.server.process.pid}")
        while not self._stop.wait(0.5):
            with urllib.request.urlopen(f"{self.server.url}/stats") as answer:
                memory = json.load(answer)["memory_bytes"]
            files, threads = (sum(1 for _ in (process / of).iterdir()) for of in ("fd", "task"))
            self.held.append((memory, files, threads))

    def take(self):
        """The largest of each since the last call."""
        held, self.held = self.held, []
        return [max(column) for column in zip(*held, strict=True)]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()


def soak(minutes, folder):
    """One row a minute."""
    rows, busy = [], []
    with Server("deep", folder) as server, Watch(server) as watch:
        for minute in range(minutes):
            load = wrk(server.url, mixed(), 60, CLIENTS, folder)
            memory, files, threads = watch.take()
            rows.append({"minute": minute + 1, **load._asdict(), "memory": memory, "files": files, "threads": threads})
            busy.append(os.getloadavg()[0])
            print(rows[-1], f"load {busy[-1]:.1f}", flush=True)
        with urllib.request.urlopen(f"{server.url}/stats") as answer:
            requests = json.load(answer)["requests"]
    return rows, requests, sum(busy) / len(busy)


def curve(rows):
    """The curves as SVG, minute by minute, one above the other."""
    mib = 2**20
    panels = [
        ("memory, MiB", [("", "#1f6f8b", [row["memory"] / mib for row in rows])]),
        ("requests/s", [("", "#1f6f8b", [row["rate"] for row in rows])]),
        (
            "latency, ms",
            [
                ("p50", "#1f6f8b", [row["p50_ms"] for row in rows]),
                ("p99", "#c0562f", [row["p99_ms"] for row in rows]),
            ],
        ),
    ]
    height, right = TOP + len(panels) * (PANEL + TOP) + 18, WIDTH - 44
    step = (right - LEFT) / max(1, len(rows) - 1)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    bottom = 0
    for number, (title, lines) in enumerate(panels):
        top = TOP + number * (PANEL + TOP)
        bottom, peak = top + PANEL, max(max(values) for _, _, values in lines) or 1
        out += [
            f'<text x="{LEFT}" y="{top - 6}" fill="#1d2430">{title}</text>',
            f'<path d="M{LEFT} {top}V{bottom}H{right}" fill="none" stroke="#99a"/>',
            f'<text x="{LEFT - 6}" y="{top + 8}" text-anchor="end" fill="#66707f">{peak:,.0f}</text>',
            f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end" fill="#66707f">0</text>',
        ]
        for name, colour, values in lines:
            points = [(LEFT + k * step, bottom - PANEL * value / peak) for k, value in enumerate(values)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            out.append(f'<text x="{right + 5}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{name}</text>')
    for minute in (1, len(rows)):
        x = LEFT + (minute - 1) * step
        out.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#66707f">{minute} min</text>')
    return "\n".join([*out, "</svg>", ""])


def words(rows, requests, load):
    """What the curve says, as Markdown."""
    mib, total = 2**20, sum(requests.values())
    by_status = ", ".join(f"{n:,} × {status}" for status, n in requests.items())
    third = max(1, len(rows) // 3)
    early, late = (max(row["memory"] for row in part) / mib for part in (rows[:third], rows[-third:]))
    errors = sum(row["bad"] for row in rows), "; ".join(row["sockets"] for row in rows if row["sockets"]) or "none"
    here, used = machine(), ", ".join(f"{k} {v}" for k, v in versions(["uvicorn", "starlette", "h11"]).items())
    bounds = f"cache {CACHE_BYTES // mib} MiB, in flight at most {INFLIGHT_BYTES // mib} MiB"
    files, threads = (max(row[of] for row in rows) for of in ("files", "threads"))
    return f"""### Server: {CLIENTS} clients for {len(rows)} minutes

![memory, requests a second and latency by minute]({SVG.name})

{total:,} answers ({by_status}), of mixed chunks and pictures, most of them cold. Errors: {errors[0]} (499 is a client that had left, its
minute being over); errors of sockets and timeouts of 20 s: {errors[1]}. Memory at most {early:.0f} MiB in the first third and {late:.0f} MiB
in the last ({bounds}; the rest is the interpreter and its libraries); open files at most {files},
threads at most {threads}.

Run by hand with `benchmarks/soak.py`. Server, clients and other work shared {here["cores"]} cores of {here["cpu"]} (load average {load:.1f}, of which
server and clients are about two): rates and latencies say little, no error and a level memory are the point.
Python {here["python"]}; {used}."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    minutes = parser.parse_args().minutes
    if shutil.which("wrk") is None:
        sys.exit("soak needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        rows, requests, load = soak(minutes, folder)
    RESULTS.mkdir(exist_ok=True)
    record = {
        "machine": machine(),
        "requests": requests,
        "load": load,
        "rows": rows,
        "ended": time.strftime("%Y-%m-%d"),
    }
    (RESULTS / "soak.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    SVG.write_text(curve(rows), encoding="utf-8")
    into_docs("soak", words(rows, requests, load))


if __name__ == "__main__":
    main()
