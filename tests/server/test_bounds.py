"""Bounds that hold in a server: many tiny values, probes of its health, pictures of arrays with one level."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.display import read_plane, sampled_plane
from lazypyr.engine.engine import Engine
from lazypyr.server.limits import TimeoutH11Protocol
from support.http import ask, connect, receive, served
from support.running import until


def zeros(_, window):
    return np.zeros([b - a for a, b in window], "u1")


@pytest.mark.fault("N12")
@pytest.mark.parametrize("value", [b"", b"x", np.zeros(2)])
def test_tiny_and_empty_values_are_bounded(value):
    engine = Engine(cache_bytes=2**20)
    for k in range(100_000):
        engine.get(("window", k), lambda: value)
    info = engine.cache_info()
    assert 500 <= info.entries <= 2**10
    assert info.currsize == info.entries * (value.nbytes if isinstance(value, np.ndarray) else len(value))


@pytest.mark.fault("N12")
def test_refused_pictures_and_probes_leave_nothing_behind():
    pyramid = lazypyr.from_function(zeros, shape=(200_000, 200_000), dtype="u1", levels=1)
    store = LazyPyramidStore(pyramid, cache_bytes=2**16)
    with served({"a": store}) as server:
        for k in range(200):
            assert ask(server.url, f"/tiles/a/0/0/0.png?low=0&high={k + 1}").status == 404
        assert store.cache_info().entries <= 64
        before = store.cache_info()
        for _ in range(200):
            assert ask(server.url, "/ready").status == 200
        assert store.cache_info() == before


@pytest.mark.fault("N14")
def test_a_server_that_makes_progress_is_ready():
    """More cold tiles are asked for than a second's work: the queue is long, and no thread is stuck."""
    asked = threading.Event()

    def slow(_, window):
        asked.set()
        time.sleep(0.1)
        return zeros(_, window)

    store = LazyPyramidStore(lazypyr.from_function(slow, shape=(65_536, 65_536), dtype="u1"), workers=2)
    with served({"a": store}) as server:
        clients = [threading.Thread(target=ask, args=(server.url, f"/a/0/c/{k}/0")) for k in range(60)]
        for client in clients:
            client.start()
        asked.wait(60)
        assert {ask(server.url, "/ready").status for _ in range(5)} == {200}
        for client in clients:
            client.join()


PICTURES = """
import threading, numpy as np, lazypyr
from pathlib import Path
from urllib.request import urlopen

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

pyramid = lazypyr.from_function(lambda _, w: np.ones([b - a for a, b in w], "c16"), shape=(8192, 8192), dtype="c16", levels=1)
store = lazypyr.LazyPyramidStore(pyramid, cache_bytes=32 * 2**20, inflight_bytes=32 * 2**20, workers=2)
with lazypyr.serve({"a": store}, port=0, background=True) as server:
    before = peak()
    def ask(k):
        assert urlopen(f"{server.url}/thumbnail/a.png?low=0&high={k + 1}", timeout=200).read()[:4] == b"\\x89PNG"
        assert urlopen(f"{server.url}/api/a/window", timeout=200).status == 200
    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(peak() - before)
"""


@pytest.mark.fault("N11")
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is of Linux")
def test_thumbnails_keep_within_the_bounds():
    done = subprocess.run([sys.executable, "-c", PICTURES], capture_output=True, text=True, timeout=280, check=True)
    assert float(done.stdout) < 32 + 32 + 64


@pytest.mark.parametrize("dtype", ["u1", "f4", "c8", "M8[s]"])
@pytest.mark.parametrize("axes", ["yx", "xy", "zyx", "yxz", "xzy"])
def test_sampled_planes_are_those_of_the_whole_plane(axes, dtype):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 9, [{"y": 70, "x": 90, "z": 3}[axis] for axis in axes]).astype("f4").astype(dtype)
    pyramid = lazypyr.open_pyramid(values, axes=axes, chunks=(16, 32), nodata=values.flat[0])
    index = (2,) * ("z" in axes)
    whole, valid = read_plane(pyramid, Engine(), 0, ((0, 70), (0, 90)), index)
    for rows, columns in (([0], [0]), ([3, 4, 5], [89]), (range(70), range(90)), (range(1, 70, 7), range(0, 90, 13))):
        rows, columns = np.array(rows), np.array(columns)  # noqa: PLW2901
        plane, good = sampled_plane(pyramid, Engine(), 0, rows, columns, index)
        np.testing.assert_array_equal(plane, whole[np.ix_(rows, columns)])
        np.testing.assert_array_equal(good, valid[np.ix_(rows, columns)])
        assert plane.dtype == whole.dtype


@pytest.mark.fault("N15")
def test_a_connection_too_many_costs_little(monkeypatch):
    """However many are idle, none of them is looked at but the one that makes room."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    held = min(4096, files[1] // 2 - 500)
    monkeypatch.setattr("lazypyr.server.limits.MAX_CONNECTIONS", held)
    seconds, accept = [], TimeoutH11Protocol.connection_made

    def timed(self, transport):
        began = time.thread_time()
        accept(self, transport)
        seconds.append(time.thread_time() - began)

    monkeypatch.setattr(TimeoutH11Protocol, "connection_made", timed)
    with served({"a": np.zeros((64, 64), "u1")}) as server:
        sockets = [connect(server.url) for _ in range(held)]
        try:
            until(lambda: len(seconds) == held)
            sockets[0].sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert receive(sockets[0]).status == 200  # it is the one that has been idle for the shortest time
            sockets += [connect(server.url) for _ in range(100)]
            until(lambda: len(seconds) == held + 100)
            assert statistics.median(seconds[held:]) < 0.0002
            sockets[0].sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert receive(sockets[0]).status == 200
            assert [sock.recv(1) for sock in sockets[1:100]] == [b""] * 99
        finally:
            for sock in sockets:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, files)
