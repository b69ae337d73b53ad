"""What a server does when the source, a user's function, a client or its own end misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import uvicorn
import zarr

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.errors import LazypyrError
from lazypyr.server.metrics import Stats
from lazypyr.server.responses import SendLimiter
from support.faultstore import FaultStore
from support.http import ask, connect, receive, served
from support.running import ROOT, python, together, until
from support.sources import zarr_array

IMAGE = np.arange(64 * 64, dtype="<u2").reshape(64, 64)


def faulty():
    store = FaultStore(zarr_array(IMAGE, chunks=(32, 32)).store)
    return store, zarr.open_array(store, mode="r")


def function(read, **options):
    pyramid = lazypyr.from_function(read, shape=(64, 64), dtype="u1", levels=2, chunks=(32, 32), name="f")
    return LazyPyramidStore(pyramid, **options)


def counts(url, name="a"):
    return json.loads(ask(url, "/stats").body)["sources"][name]


@pytest.mark.fault("S4", "H12")
@pytest.mark.parametrize(
    "error", [OSError("disk /secret/place"), TimeoutError(), ConnectionResetError("s3://key:pw@host")]
)
def test_a_failed_read_is_502_and_the_next_one_is_good(error):
    store, array = faulty()
    store.script["c/0/1"] = [error]
    with served({"a": LazyPyramidStore(array, chunks=(32, 32))}) as handle:
        answer = ask(handle.url, "/a/0/c/0/1")
        assert answer.status == 502
        assert b"SourceError: /a/0/c/0/1" in answer.body
        assert b"secret" not in answer.body + b"".join(v.encode() for v in answer.headers.values())
        assert ask(handle.url, "/a/0/c/0/1").body == IMAGE[:32, 32:].tobytes()


@pytest.mark.fault("U1", "H11")
@pytest.mark.parametrize(
    "error", [ValueError, StopIteration, SystemExit, KeyboardInterrupt, MemoryError, RecursionError]
)
def test_a_function_that_raises_is_500_and_tells_nothing(error):
    fail = True

    def read(level, window):
        if fail:
            raise error(f"/home/me/secret {__file__}")
        return np.ones([b - a for a, b in window], "u1")

    with served({"a": function(read)}) as handle:
        answer = ask(handle.url, "/a/0/c/0/0")
        assert answer.status == 500
        assert answer.body.split(b": ")[1] == b"/a/0/c/0/0\n"
        assert not any(word in answer.body for word in (b"secret", b"Traceback", b".py", b"home"))
        fail = False
        assert ask(handle.url, "/a/0/c/0/0").body == b"\1" * 1024


@pytest.mark.fault("S6")
def test_a_hung_source_is_503_and_others_go_on():
    store, array = faulty()
    release = threading.Event()
    store.script.update({f"c/{i}/{j}": [release] for i in range(2) for j in range(2)})
    hung = LazyPyramidStore(array, chunks=(32, 32), timeout_s=2, workers=2)
    with served({"a": hung, "b": LazyPyramidStore(IMAGE, chunks=(32, 32), workers=2)}) as handle:
        with ThreadPoolExecutor(16) as pool:
            waiting = [pool.submit(ask, handle.url, f"/a/0/c/{i % 2}/{i // 2 % 2}") for i in range(16)]
            until(lambda: counts(handle.url)["in_flight"])
            assert ask(handle.url, "/b/0/c/0/0").body == IMAGE[:32, :32].tobytes()
            answers = [w.result() for w in waiting]
        assert {a.status for a in answers} == {503}
        assert {a.headers["retry-after"] for a in answers} == {"1"}
        assert sum(store.chunk_reads().values()) <= 4
        release.set()
        again = until(lambda: (answer := ask(handle.url, "/a/0/c/1/1")).status == 200 and answer)
        assert again.body == IMAGE[32:, 32:].tobytes()


@pytest.mark.fault("U4")
def test_a_function_that_never_returns_costs_threads_and_then_readiness():
    release = threading.Event()

    def read(level, window):
        release.wait(90)
        return np.zeros([b - a for a, b in window], "u1")

    def is_ready():
        return ask(handle.url, "/ready").status == 200

    with served({"a": function(read, workers=2, timeout_s=0.2)}) as handle:
        until(is_ready)
        before = threading.active_count()
        answers = together(8, lambda i: ask(handle.url, f"/a/0/c/{i % 2}/{i // 2 % 2}").status)
        assert answers == [503] * 8
        assert sum(t.name.startswith("lazypyr-request") for t in threading.enumerate()) <= before + 2
        assert ask(handle.url, "/ready").status == 503
        assert ask(handle.url, "/a/zarr.json").status == 200
        release.set()
        until(is_ready)
        until(lambda: ask(handle.url, "/a/0/c/0/0").status == 200)


@pytest.mark.fault("C1")
def test_64_clients_and_one_cold_tile():
    calls = []

    def read(level, window):
        calls.append(window)
        time.sleep(0.2)
        return np.full([b - a for a, b in window], 7, "u1")

    with served({"a": function(read)}) as handle:
        answers = together(64, lambda i: ask(handle.url, "/a/0/c/0/0"))
    assert {(a.status, a.body) for a in answers} == {(200, b"\7" * 1024)}
    assert len(calls) == 1


@pytest.mark.fault("C5")
def test_a_client_that_leaves_frees_its_place():
    release, calls = threading.Event(), []

    def read(level, window):
        calls.append(window)
        release.wait(90)
        return np.zeros([b - a for a, b in window], "u1")

    with served({"a": function(read, workers=1)}) as handle:
        socks = [connect(handle.url) for _ in range(4)]
        for k, sock in enumerate(socks):
            sock.sendall(f"GET /a/0/c/{k // 2}/{k % 2} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: calls and counts(handle.url)["in_flight"] == 4)
        for sock in socks[:3]:  # the one that is being computed, and two that wait for the only thread
            sock.close()
        until(lambda: json.loads(ask(handle.url, "/stats").body)["requests"].get("499") == 3)
        release.set()
        assert receive(socks[3]).status == 200
        assert calls[0] == ((0, 32), (0, 32))
        assert calls[1:] == [((32, 64), (32, 64))], "work that nobody waits for any more was done"
        until(lambda: counts(handle.url)["in_flight"] == 0)
        begin = len(calls)
        assert ask(handle.url, "/a/0/c/0/0").status == 200, "what had begun was kept"
        assert len(calls) == begin
        socks[3].close()


@pytest.mark.slow
@pytest.mark.fault("M4")
def test_clients_that_do_not_read_hold_little_and_are_dropped(monkeypatch):
    monkeypatch.setattr("lazypyr.server.limits.SEND_SECONDS", 2)
    monkeypatch.setattr("lazypyr.server.app._MAX_SENDING_BYTES", 70 * 2**20)
    big = np.zeros((2048, 2048), "f4")
    with served({"a": LazyPyramidStore(big, chunks=(2048, 2048))}) as handle:
        socks = [connect(handle.url) for _ in range(6)]
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(b"GET /a/0/c/0/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def held():
            now = json.loads(ask(handle.url, "/stats").body)["open_bytes"]
            assert now <= 70 * 2**20
            return now

        until(held)
        assert ask(handle.url, "/a/zarr.json").status == 200
        until(lambda: not held())  # the first are dropped, then those for which that made room
        monkeypatch.undo()
        assert len(ask(handle.url, "/a/0/c/0/0").body) == big.nbytes
        for sock in socks:
            sock.close()


@pytest.mark.fault("M4")
def test_answers_that_wait_for_others_hold_nothing(monkeypatch):
    monkeypatch.setattr("lazypyr.server.app._MAX_SENDING_BYTES", 32 * 2**20)
    begun = set()

    def read(level, window):
        begun.add(window)
        return np.ones([b - a for a, b in window], "u1")

    pyramid = lazypyr.from_function(read, shape=(4096, 4096 * 25), dtype="u1", levels=1, chunks=(4096, 4096))
    store = LazyPyramidStore(pyramid, cache_bytes=16 * 2**20, inflight_bytes=64 * 2**20)
    with served({"a": store}) as handle:
        base = json.loads(ask(handle.url, "/stats").body)["memory_bytes"]
        socks = [connect(handle.url) for _ in range(24)]
        for k, sock in enumerate(socks):
            sock.sendall(f"GET /a/0/c/0/{k} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: len(begun) == 24 and not counts(handle.url)["in_flight"])
        # Two answers and their copies on the way, and the cache; 24 of them would be 384 MiB.
        assert json.loads(ask(handle.url, "/stats").body)["memory_bytes"] - base < 200 * 2**20
        for sock in socks[:-1]:
            sock.close()
        assert receive(socks[-1]).body == b"\1" * 2**24
        socks[-1].close()


@pytest.mark.fault("M4", "C5")
async def test_whoever_leaves_while_a_place_becomes_free_takes_none():
    stats = Stats()
    send_limiter = SendLimiter(10, 60, stats)
    await send_limiter.acquire(10)
    leaves, stays = (asyncio.create_task(send_limiter.acquire(n)) for n in (6, 8))
    await asyncio.sleep(0)
    leaves.cancel()
    send_limiter.release(10)
    await stays
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert stats.open_bytes == 8
    send_limiter.release(8)
    assert stats.open_bytes == 0
    assert send_limiter.can_send_now(10)


@pytest.mark.slow
@pytest.mark.fault("M1")
def test_memory_of_500_cold_tiles_and_64_clients_is_bounded():
    code = """
import threading
import numpy as np
import lazypyr
from support.http import ask
MB = 2**20
def read(level, window):
    return np.ones([b - a for a, b in window], "f4")
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
pyramid = lazypyr.from_function(read, shape=(2**20, 2**20), dtype="f4", chunks=(512, 512))
store = lazypyr.LazyPyramidStore(pyramid, cache_bytes=32 * MB, inflight_bytes=32 * MB)
with lazypyr.serve({"a": store}, port=0, background=True) as handle:
    ask(handle.url, "/a/0/c/0/0")
    base = peak()
    failures = []
    def client(k):
        for i in range(8):
            answer = ask(handle.url, f"/a/0/c/{k}/{i}")
            if answer.status != 200 or len(answer.body) != MB:
                failures.append(answer)
    threads = [threading.Thread(target=client, args=(k,)) for k in range(64)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(len(failures), peak() - base)
"""
    failures, grown = map(int, python(code, timeout=110).split())
    assert failures == 0
    # cache, in flight, answers on their way, and what the 64 clients of the same process hold (up to 3 MB each)
    assert grown < 32 + 32 + 128 + 64 * 3


@pytest.mark.fault("H13")
def test_closing_with_a_stuck_compute():
    release, begun = threading.Event(), threading.Event()

    def read(level, window):
        begun.set()
        release.wait(90)
        return np.zeros([b - a for a, b in window], "u1")

    handle = lazypyr.serve({"a": function(read)}, port=0, background=True)
    port = int(handle.url.rpartition(":")[2])
    with connect(handle.url) as sock:
        sock.sendall(b"GET /a/0/c/0/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(60)
        handle.close(60)
    socket.create_server(("127.0.0.1", port)).close()
    release.set()


@pytest.mark.fault("H13")
def test_a_server_that_does_not_stop_is_reported(monkeypatch):
    release = threading.Event()

    async def stuck(self, sockets=None, shutdown=uvicorn.Server.shutdown):
        release.wait(90)
        await shutdown(self, sockets)

    monkeypatch.setattr("uvicorn.Server.shutdown", stuck)
    with served({"a": IMAGE}) as handle:
        with pytest.raises(LazypyrError, match="still runs"):
            handle.close(0.1)
        release.set()


@pytest.mark.fault("P4")
def test_the_interpreter_ends_while_it_serves_and_computes():
    code = """
import socket, threading, time
import numpy as np
import lazypyr
begun = threading.Event()
def read(level, window):
    begun.set()
    time.sleep(100)
pyramid = lazypyr.from_function(read, shape=(64, 64), dtype="u1", chunks=(32, 32))
handle = lazypyr.serve({"a": pyramid}, port=0, background=True)
sock = socket.create_connection(("127.0.0.1", int(handle.url.rpartition(":")[2])))
sock.sendall(b"GET /a/0/c/0/0 HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
assert begun.wait(60)
"""
    done = python(code, timeout=70, check=False)  # less than the computation takes
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def command(*args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "lazypyr", "serve", *map(str, args)],
        **options,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.fault("P4")
def test_command_serves_until_interrupted(tmp_path):
    zarr.save_array(tmp_path / "my image.zarr", IMAGE)
    server = command(
        tmp_path / "my image.zarr", f"two={tmp_path / 'my image.zarr'}", "--port", 0, "--warm", "--chunks", 32
    )
    try:
        url = server.stdout.readline().split()[2].rstrip("/")
        assert f"{url}/my-image/" in server.stdout.readline()
        for name in ("my-image", "two"):
            group = zarr.open_group(f"{url}/{name}/", mode="r")
            np.testing.assert_array_equal(group["1"][:], IMAGE[::2, ::2])
        server.send_signal(signal.SIGINT)
        _, complaint = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 130
    assert complaint.splitlines()[-1] == "lazypyr: interrupted"


@pytest.mark.fault("X2")
@pytest.mark.parametrize("seconds", [0, 1.5])
def test_ctrl_c_while_processes_still_start(tmp_path, seconds):
    zarr.save_array(tmp_path / "a.zarr", IMAGE)
    server = command(tmp_path / "a.zarr", "--port", 0, "--workers", 2, start_new_session=True)
    try:
        server.stdout.readline()  # and now they import
        time.sleep(seconds)
        os.killpg(server.pid, signal.SIGINT)  # as of a terminal: to all of them
        _, complaint = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 130
    assert complaint.splitlines() == ["lazypyr: interrupted"]


def test_command_with_several_processes(tmp_path):
    zarr.save_array(tmp_path / "a.zarr", IMAGE)
    kept = tmp_path / "kept"
    server = command(
        tmp_path / "a.zarr", "--port", 0, "--workers", 2, "--chunks", 32, "--overlay", kept, "--write-through"
    )
    try:
        url = server.stdout.readline().split()[2].rstrip("/")
        seen = {}

        def both():
            with connect(url, timeout=60) as sock:  # one connection is one process
                sock.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
                pid = json.loads(receive(sock).body)["pid"]
                sock.sendall(b"GET /a/0/c/0/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                seen[pid] = receive(sock).headers["etag"]
            return len(seen) == 2

        until(both, 90)
        assert len(set(seen.values())) == 1
        assert until(lambda: list(kept.rglob("*"))), "what one process computes the other one finds"
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["nowhere.zarr"], 1, "nowhere.zarr"),
        (["a.zarr", "--host", "0.0.0.0"], 1, "allow_host"),
        (["a.zarr", "--viewer-dir", "nowhere"], 1, "index.html"),
        (["a.zarr", "--zarr-format", "4"], 2, "--zarr-format"),
        ([], 2, "SRC"),
    ],
)
def test_command_says_what_is_wrong_in_a_line(tmp_path, monkeypatch, args, code, words):
    zarr.save_array(tmp_path / "a.zarr", IMAGE)
    monkeypatch.chdir(tmp_path)
    server = command(*args, "--port", 0)
    _, complaint = server.communicate(timeout=60)
    assert server.returncode == code
    assert words in complaint
    assert complaint.count("\n") == 1
