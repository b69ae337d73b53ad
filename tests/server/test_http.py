"""HTTP as it is spoken, and as it is misspoken: raw sockets against a real server."""

from __future__ import annotations

import http.client
import itertools
import json
import pickle
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.cli import main
from lazypyr.errors import PlanError
from lazypyr.server.limits import RECEIVE_SECONDS
from lazypyr.server.run import build_app
from support.faultstore import FaultStore
from support.http import ask, connect, raw, receive, served
from support.running import until
from support.sources import zarr_array

IMAGE = np.arange(70 * 90, dtype="<u2").reshape(70, 90)
CHUNK = np.zeros((32, 32), "<u2")
CHUNK[...] = IMAGE[:32, 32:64]
SOURCE = FaultStore(MemoryStore())
ZARR = zarr_array(IMAGE, store=SOURCE._store, chunks=(16, 16))


def source():
    return zarr.open_array(SOURCE, mode="r")


@pytest.fixture(scope="module")
def url():
    plain = LazyPyramidStore(source(), chunks=(32, 32))
    with served({"img": plain, "small": LazyPyramidStore(IMAGE, chunks=(32, 32), compressor="zstd")}) as handle:
        yield handle.url


def test_both_formats_of_a_source(url):
    for path in ("/img/zarr.json", "/v3/img/zarr.json", "/v2/img/.zgroup", "/v2/img/.zattrs", "/v2/img/0/.zarray"):
        answer = ask(url, path)
        assert answer.status == 200, path
        assert answer.headers["content-type"] == "application/json"
        json.loads(answer.body, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    for path in ("/img/0/c/0/1", "/v2/img/0/0/1"):
        assert ask(url, path).body == CHUNK.tobytes()


@pytest.mark.fault("K5")
@pytest.mark.parametrize(
    "path",
    ["/img/.zgroup", "/img/0/.zarray", "/img/.zmetadata", "/v2/img/zarr.json", "/v2/img/0/zarr.json", "/img/0/0/1",
     "/v2/img/0/c/0/1", "/img/0/c/zarr.json", "/img/0/c/0/1/zarr.json", "/img", "/img/", "/img/0", "/img/0/c", "/v2/img",
     "/v2", "/v4/img/zarr.json", "/nobody/zarr.json"],
)  # fmt: skip
def test_what_is_not_declared_is_not_there(url, path):
    answer = ask(url, path)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.fault("K4")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_every_key_of_a_store_is_served(zarr_format, separator, compressor):
    store = LazyPyramidStore(
        IMAGE, chunks=(32, 32), zarr_format=zarr_format, dimension_separator=separator, compressor=compressor
    )
    keys = list(store)
    assert len(keys) > 15
    with served({"img": store}) as handle:
        where = urlsplit(handle.url)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
        for folder in ("", f"/v{zarr_format}"):
            for key in keys:
                for method in ("HEAD", "GET"):
                    connection.request(method, f"{folder}/img/{key}")
                    answer = connection.getresponse()
                    body = answer.read()
                    assert answer.status == 200, (method, key)
                assert body == bytes(store[key]), key
        connection.close()


@pytest.mark.fault("H1", "H2", "H3")
@pytest.mark.parametrize(
    ("header", "status", "content_range", "part"),
    [
        ("bytes=0-9", 206, "bytes 0-9/2048", slice(0, 10)),
        ("bytes=2000-", 206, "bytes 2000-2047/2048", slice(2000, None)),
        ("bytes=-48", 206, "bytes 2000-2047/2048", slice(2000, None)),
        ("bytes=-9999", 206, "bytes 0-2047/2048", slice(None)),
        ("bytes=2040-9999", 206, "bytes 2040-2047/2048", slice(2040, None)),
        ("bytes=2048-", 416, "bytes */2048", slice(0)),
        ("bytes=-0", 416, "bytes */2048", slice(0)),
        ("items=0-5", 200, None, slice(None)),
        ("bytes=5-2", 200, None, slice(None)),
        ("bytes=0-1,4-5", 200, None, slice(None)),
        ("bytes=" + "9" * 5000 + "-", 200, None, slice(None)),
    ],
)
def test_ranges(url, header, status, content_range, part):
    answer = ask(url, "/img/0/c/0/1", headers={"Range": header})
    assert (answer.status, answer.headers.get("content-range")) == (status, content_range)
    assert answer.body == CHUNK.tobytes()[part]
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.fault("H3")
def test_two_range_headers_are_none(url):
    text = "GET /img/0/c/0/1 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n"
    assert raw(url, text.encode()).status == 200


@pytest.mark.fault("H4")
def test_head_tells_the_length_and_computes_nothing():
    with served({"img": LazyPyramidStore(source(), chunks=(32, 32), compressor=None)}) as handle:
        before = sum(SOURCE.chunk_reads().values())
        for path, size in (("/img/1/c/0/0", 2048), ("/v2/img/1/0/0", 2048), ("/img/zarr.json", None)):
            head = ask(handle.url, path, "HEAD", {"Range": "bytes=0-1"})
            assert head.status == 200
            assert head.body == b""
            if size:
                assert head.headers["content-length"] == str(size)
        assert ask(handle.url, "/img/9/c/0/0", "HEAD").status == 404
        assert sum(SOURCE.chunk_reads().values()) == before
        head, got = (ask(handle.url, "/img/1/c/0/0", method).fields for method in ("HEAD", "GET"))
        assert [f for f in head if f[0] != "date"] == [f for f in got if f[0] != "date"]


@pytest.mark.fault("H4")
def test_head_of_a_compressed_chunk_knows_its_length_once_it_was_served():
    with served({"img": LazyPyramidStore(IMAGE, chunks=(32, 32), compressor="zstd")}) as handle:
        assert "content-length" not in ask(handle.url, "/img/0/c/0/0", "HEAD").headers
        body = ask(handle.url, "/img/0/c/0/0").body
        assert ask(handle.url, "/img/0/c/0/0", "HEAD").headers["content-length"] == str(len(body))


@pytest.mark.fault("H8")
def test_etags():
    with served({"img": LazyPyramidStore(source(), chunks=(32, 32))}) as handle:
        url, before = handle.url, sum(SOURCE.chunk_reads().values())
        paths = ["/img/zarr.json", "/img/0/c/0/1", "/img/0/c/0/0", "/v2/img/0/0/1"]
        tags = {path: ask(url, path, "HEAD").headers["etag"] for path in paths}
        assert len(set(tags.values())) == 4
        assert all(re.fullmatch(r'"[0-9a-f]+"', tag) for tag in tags.values())
        tag = tags["/img/0/c/0/1"]
        answer = ask(url, "/img/0/c/0/1", headers={"If-None-Match": f'"x", {tag}'})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert sum(SOURCE.chunk_reads().values()) == before
        part = {"Range": "bytes=0-1"}
        assert ask(url, "/img/0/c/0/1", headers={**part, "If-Range": tag}).status == 206
        assert ask(url, "/img/0/c/0/1", headers={**part, "If-Range": '"other"'}).status == 200
        assert ask(url, "/img/0/c/0/1", headers={**part, "If-Range": "Sat, 21 Nov 2026 00:00:00 GMT"}).status == 200
    with served({"img": LazyPyramidStore(source(), chunks=(32, 32))}) as handle:
        assert ask(handle.url, "/img/0/c/0/1", "HEAD").headers["etag"] == tag
    with served({"img": LazyPyramidStore(source(), chunks=(32, 32), method="mean")}) as handle:
        assert ask(handle.url, "/img/0/c/0/1", "HEAD").headers["etag"] != tag


@pytest.mark.fault("H5")
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "TRACE", "get", "BREW", "PROPFIND"])
def test_other_methods(url, method):
    answer = ask(url, "/img/0/c/0/0", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert not SOURCE.writes


@pytest.mark.fault("H5", "H6")
def test_options_and_preflight(url):
    plain = ask(url, "/img/zarr.json", "OPTIONS")
    assert (plain.status, plain.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    want = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    answer = ask(url, "/img/zarr.json", "OPTIONS", want)
    assert (answer.status, answer.body) == (204, b"")
    assert not {"content-length", "content-type"} & set(answer.headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Range" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-private-network" not in answer.headers
    assert "access-control-allow-credentials" not in answer.headers
    private = ask(url, "/img/zarr.json", "OPTIONS", {**want, "Access-Control-Request-Private-Network": "true"})
    assert private.headers["access-control-allow-private-network"] == "true"
    assert ask(url, "/img/zarr.json", "OPTIONS", {**want, "Access-Control-Request-Method": "PUT"}).status == 400


@pytest.mark.fault("H6")
def test_cors_of_answers(url):
    origin = {"Origin": "https://a.example"}
    for path in ("/img/zarr.json", "/img/0/c/0/0", "/img/9/c/0/0"):
        answer = ask(url, path, headers=origin)
        assert answer.headers["access-control-allow-origin"] == "*", path
        assert {"Content-Range", "ETag", "Content-Length"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        assert "access-control-allow-credentials" not in answer.headers
    with served({"img": IMAGE}, cors=["https://a.example"]) as handle:
        mine = ask(handle.url, "/img/zarr.json", headers=origin)
        assert mine.headers["access-control-allow-origin"] == "https://a.example"
        assert "Origin" in mine.headers["vary"]
        assert (
            "access-control-allow-origin"
            not in ask(handle.url, "/img/zarr.json", headers={"Origin": "https://b.example"}).headers
        )
    with served({"img": IMAGE}, cors=None) as handle:
        assert "access-control-allow-origin" not in ask(handle.url, "/img/zarr.json", headers=origin).headers


@pytest.mark.fault("H7")
@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1", True), ("localhost", True), ("localhost:8000", True), ("LOCALHOST", True), ("[::1]:8000", True),
        ("evil.example", False), ("", False), (None, False), ("localhost:80:80", False), ("localhost.", False),
        ("127.0.0.1.nip.io", False), ("[::2]", False), ("localhost, evil.example", False), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_host_is_checked_before_any_work(url, host, good):
    for path in ("/img/0/c/0/0", "/stats", "/"):
        assert (ask(url, path, host=host).status == 400) is not good


@pytest.mark.fault("H7")
def test_two_hosts(url):
    assert raw(url, b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n").status == 400
    assert raw(url, b"GET http://evil.example/img/zarr.json HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 400


@pytest.mark.fault("H10")
@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 64_000 + b"\r\n\r\n",
        b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /img/zarr.json HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /img/zarr.json\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /img/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)  # fmt: skip
def test_malformed_requests(url, data):
    answer = raw(url, data)
    assert answer is None or answer.status in (400, 404, 414, 431, 501)
    assert ask(url, "/img/zarr.json").status == 200


@pytest.mark.fault("H10")
def test_a_smuggled_request_is_not_answered_twice(url):
    text = b"POST /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"
    with connect(url) as sock:
        sock.sendall(text + b"ET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = b""
        while part := sock.recv(65536):
            data += part
    assert data.startswith(b"HTTP/1.1 400")
    assert data.count(b"HTTP/1.1") == 1


@pytest.mark.fault("K1", "K2", "K3", "K6")
@pytest.mark.parametrize(
    "key",
    ["0/c/-1/0", "0/c/99/0", "0/c/0", "0/c/0/0/0", "0/c/1e0/0", "0/c/nan/0", "0/c/" + "9" * 10_000 + "/0", "0/c/0.0/0",
     "0/c/00/0", "0/c/+1/0", "0/c/1_0/0", "0/c/%D9%A1/0", "0/c/%20 1/0".replace(" ", ""), "../secret", "..%2fsecret",
     "%2e%2e/secret", "%252e%252e/secret", "..\\secret", "C:/secret", "/etc/passwd", "%2fetc%2fpasswd", "0%00", "~/x",
     "0/../../secret", "0/./c/0/0", "0//c/0/0", "0/c/0/0/", "%30/c/0/0", "%ED%A0%80", "%C0%AE%C0%AE/x", "x" * 10_000],
)  # fmt: skip
def test_keys_that_are_none(tmp_path, url, key):
    before = sum(SOURCE.reads.values())
    for prefix in ("/img/", "/v2/img/", "/", "/tiles/", "/api/"):
        answer = ask(url, prefix + key)
        assert answer.status == 404 or (len(key) > 5000 and answer.status in (400, 414)), (prefix, answer)
    assert sum(SOURCE.reads.values()) == before


@pytest.mark.fault("K3")
def test_nothing_beside_the_source_can_be_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    zarr.save_array(tmp_path / "a.zarr", IMAGE)
    (tmp_path / "a.zarr" / "link").symlink_to(tmp_path / "secret")
    with served({"a": str(tmp_path / "a.zarr")}) as handle:
        for path in (
            "/a/link",
            "/a/../secret",
            "/a/%2e%2e/secret",
            "/a/..%2fsecret",
            f"/a/{tmp_path}/secret",
            f"/{tmp_path}/secret",
        ):
            answer = ask(handle.url, path)
            assert answer.status == 404
            assert b"secret" not in answer.body


STATUSES = {200, 204, 206, 304, 400, 404, 405, 416}


@pytest.mark.fault("H14", "H17", "K1")
@settings(max_examples=150)
@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "POST", "X"]),
    parts=st.lists(
        st.sampled_from(
            ["img", "small", "v2", "v3", "0", "1", "c", "zarr.json", ".zarray", "tiles", "api", "view", "static", "stats",
             "..", "", "%2e", "-1", "00", "bokeh.min.js", "value", "window", "0.png", "thumbnail", "a?source=/etc/passwd",
             "value?row=1&col=1&level=0", "x?url=http://127.0.0.1/&path=/etc/passwd&product=phase&palette=../x"]
        ),
        max_size=6,
    ),
    headers=st.dictionaries(
        st.sampled_from(["Range", "If-None-Match", "If-Range", "Origin", "Accept-Encoding", "Expect", "Cookie"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip),
        max_size=3,
    ),
)  # fmt: skip
def test_no_request_breaks_the_server(url, method, parts, headers):
    answer = ask(url, "/" + "/".join(parts), method, headers)
    assert answer.status in STATUSES
    assert b"root:" not in answer.body
    if method != "HEAD" and answer.status not in (204, 304):
        assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.fault("H9")
def test_a_crowd_of_slow_clients_does_not_stop_the_others(url):
    crowd = [connect(url) for _ in range(200)]
    try:
        for sock in crowd:
            sock.sendall(b"GET /img/zarr.json HT")
        begin = time.monotonic()
        assert ask(url, "/img/zarr.json").status == 200
        assert time.monotonic() - begin < RECEIVE_SECONDS, "it was served before they were dropped"
    finally:
        for sock in crowd:
            sock.close()


@pytest.mark.fault("H9")
def test_slow_requests_and_idle_connections_are_dropped(monkeypatch):
    request = b"GET /img/zarr.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served({"img": IMAGE}) as handle:
        second = connect(handle.url)
        second.sendall(request)
        assert receive(second).status == 200
        monkeypatch.setattr("lazypyr.server.limits.RECEIVE_SECONDS", 0.4)
        second.sendall(request[:9])
        silent, trickling, body = (connect(handle.url) for _ in range(3))
        body.sendall(b"POST /img/zarr.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")

        def dropped(sock):
            sock.setblocking(False)
            try:
                return not sock.recv(1) if sock is silent else not sock.send(b"G")
            except BlockingIOError:
                return False
            except OSError:
                return True

        until(lambda: {dropped(sock) for sock in (silent, trickling, body, second)} == {True})
        monkeypatch.undo()
        assert ask(handle.url, "/img/zarr.json").status == 200
        for sock in (silent, trickling, body, second):
            sock.close()


@pytest.mark.fault("H9")
def test_connections_are_capped(monkeypatch):
    monkeypatch.setattr("lazypyr.server.limits.MAX_CONNECTIONS", 5)
    release = threading.Event()

    def read(level, window):
        release.wait(90)
        return np.zeros([b - a for a, b in window], "u1")

    slow = LazyPyramidStore(lazypyr.from_function(read, shape=(64, 320), dtype="u1", levels=1, chunks=(64, 64)))
    with served({"img": IMAGE, "slow": slow}) as handle:
        crowd = [connect(handle.url) for _ in range(5)]
        assert ask(handle.url, "/img/zarr.json").status == 200, "the oldest of the idle made room"
        assert crowd[0].recv(1) == b""
        busy = [connect(handle.url) for _ in range(5)]
        for k, sock in enumerate(busy):
            sock.sendall(f"GET /slow/0/c/0/{k} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: slow.engine.cache_info().in_flight == 5)
        with connect(handle.url) as late:
            assert receive(late).status == 503
        release.set()
        assert [receive(sock).status for sock in busy] == [200] * 5
        for sock in (*crowd, *busy):
            sock.close()


@pytest.mark.fault("H16")
def test_other_machines_are_let_in_only_on_purpose():
    with pytest.raises(PlanError, match="allow_host"):
        lazypyr.serve({"img": IMAGE}, host="0.0.0.0", port=0, background=True)
    with served({"img": IMAGE}, host="0.0.0.0", allow_host=["box.example"]) as handle:
        local = handle.url.replace("0.0.0.0", "127.0.0.1")
        assert ask(local, "/img/zarr.json", host="box.example:8000").status == 200
        assert ask(local, "/img/zarr.json", host="evil.example").status == 400


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(OSError, match="can't listen on 127.0.0.1:"):
        lazypyr.serve({"img": IMAGE}, port=busy.getsockname()[1], background=True)


@pytest.mark.parametrize("name", ["v2", "v2/b", "a//b", "a/..", "..", "", "a b", "stats", ".x"])
def test_names_that_would_hide_something(name):
    with pytest.raises(PlanError, match="name of a source"):
        lazypyr.serve({name: IMAGE}, port=0, background=True)


@pytest.mark.fault("H16", "C9")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 99999}, "port: expected 0"), ({"port": -1}, "port: expected 0"), ({"workers": 0}, "workers: expected"),
        ({"workers": 2}, "leave out workers"), ({"revalidate": -1}, "0 or more"), ({"revalidate": float("nan")}, "0 or more"),
        ({"cors": "a.example"}, "https://example.org:8000"), ({"cors": ["https://a.example/x"]}, "without a path"),
        ({"allow_host": ["http://a.example"]}, "without scheme"), ({"allow_host": ["a.example:80"]}, "without scheme and port"),
        ({"allow_host": ["*.a*"]}, "allow_host"), ({"allow_host": [""]}, "allow_host"), ({"cache_bytes": -1}, "cache_bytes"),
        ({"timeout_s": 0}, "timeout_s"), ({"compressor": "rar"}, "zstd"),
        ({"write_through": True}, "overlay"), ({"viewer_dir": "nowhere"}, "index.html"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options, words):
    with pytest.raises(PlanError, match=re.escape(words)):
        lazypyr.serve({"img": IMAGE}, **{"port": 0, "background": True, **options})


def test_a_source_that_can_not_be_sent_to_several_processes():
    pyramid = lazypyr.from_function(lambda level, window: None, shape=(64, 64), dtype="u1")
    with pytest.raises(PlanError, match="img: several workers are processes"):
        lazypyr.serve({"img": pyramid}, port=0, workers=2)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a={0}", "a={0}"], "two sources are called 'a'"),
        (["{0}", "--write-through"], "--overlay PATH"),
        (["{0}", "{0}", "--overlay", "x"], "--overlay belongs to one source"),
        (["{0}", "--port", "70000"], "port: expected"),
        (["{0}", "--cors", "everybody"], "cors: expected"),
        (["{0}", "--cache-mb", "-1"], "cache_bytes"),
    ],
)
def test_command_says_what_makes_no_sense(tmp_path, capsys, args, words):
    zarr.save_array(tmp_path / "a.zarr", IMAGE)
    assert main(["serve", *(arg.format(tmp_path / "a.zarr") for arg in args)]) == 1
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


def test_one_source_without_a_name():
    with served(IMAGE) as handle:
        assert ask(handle.url, "/numpy-array/zarr.json").status == 200


def test_stats_and_metrics():
    with served({"img": LazyPyramidStore(IMAGE, chunks=(32, 32))}) as handle:
        for path in ("/img/0/c/0/0", "/img/0/c/0/0", "/img/none"):
            ask(handle.url, path)
        stats = json.loads(ask(handle.url, "/stats").body)
        assert stats["requests"] == {"200": 2, "404": 1}
        assert stats["sent_bytes"] == 2 * 2048
        assert (stats["sources"]["img"]["computes"], stats["sources"]["img"]["hits"]) == (1, 1)
        assert stats["memory_bytes"] > 10**6
        text = ask(handle.url, "/metrics").body.decode()
        assert re.search(r'^lazypyr_requests_total\{status="200"\} 3$', text, re.MULTILINE)
        assert 'lazypyr_computes_total{source="img"} 1' in text
        for line in text.splitlines():
            assert re.fullmatch(r'# TYPE \w+ \w+|\w+(\{\w+="[^"]*"\})? [0-9.e+-]+', line), line


def test_answers_do_not_wait_for_acknowledgements():
    """With Nagle's algorithm on, each answer on a kept connection would take 40 ms: it is off on every connection."""
    with served({"img": IMAGE}, chunks=(32, 32)) as handle, connect(handle.url) as first, connect(handle.url) as second:
        for sock in (first, second, first):
            sock.sendall(b"GET /img/0/c/0/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert receive(sock).status == 200
        connections = handle._server.server_state.connections
        sockets = [connection.transport.get_extra_info("socket") for connection in connections]
        assert [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets] == [1, 1]


def test_a_vizarr_of_the_user(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("<p>vizarr")
    (tmp_path / "secret").write_text("secret")
    (site / "link").symlink_to(tmp_path / "secret")
    with served({"img": IMAGE}, viewer_dir=site) as handle:
        assert ask(handle.url, "/viewers/vizarr/").body == b"<p>vizarr"
        for path in ("none.js", "../secret", "%2e%2e/secret", "link", "..", "//etc/passwd"):
            answer = ask(handle.url, f"/viewers/vizarr/{path}")
            assert answer.status == 404, path
        assert b"/viewers/vizarr/?source=" in ask(handle.url, "/").body


def test_sources_by_name_share_one_cache_and_no_threads():
    stack = {f"s{k}": np.full((512, 512), k, "u1") for k in range(3)}
    n_bytes, held = 4 * 256 * 256, 3 * 256 * 256  # the keys of entries count too
    app = build_app(
        stack,
        {"compressor": None, "cache_bytes": n_bytes},
        hosts=("localhost",),
        cors=None,
        revalidate=None,
        viewer_dir=None,
    )
    for served_app in (app, pickle.loads(pickle.dumps(app))):
        engines = [dataset.store.engine for dataset in served_app.datasets.values()]
        assert len({id(engine) for engine in engines}) == 3
        for dataset in served_app.datasets.values():
            for i, j in itertools.product(range(2), range(2)):
                dataset.store[f"0/c/{i}/{j}"]
        infos = [engine.cache_info() for engine in engines]
        assert {(info.currsize, info.maxsize) for info in infos} == {(held, n_bytes)}
        assert [info.computes for info in infos] == [4, 4, 4]
        engines[0].clear()
        assert engines[2].cache_info().currsize == 0
    own = LazyPyramidStore(IMAGE)
    app = build_app({"own": own, "other": IMAGE}, {}, hosts=("localhost",), cors=None, revalidate=None, viewer_dir=None)
    assert app.datasets["own"].store.engine is own.engine
