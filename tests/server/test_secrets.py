"""Nothing secret and no local path in what is served, logged, printed or written: all outputs are searched for them."""

from __future__ import annotations

import functools
import http.server
import json
import logging
import pickle
import shutil
import threading
import traceback
from urllib.parse import urlsplit

import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr._names import public_name, without_paths, without_secrets
from lazypyr.cli import main
from support.http import ask, served

SECRET = "S3CR3T"
pytestmark = pytest.mark.fault("N7")


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def web(tmp_path):
    """Files below ``tmp_path/web`` over HTTP; host and port."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(_Handler, directory=tmp_path / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _KeyedMemory(MemoryFileSystem):
    """Object storage that wants a key, which its URL doesn't tell."""

    protocol = "keyed"
    store: dict = {}  # noqa: RUF012 - as the base class has it
    pseudo_dirs = [""]  # noqa: RUF012

    def __init__(self, *, key, **options):
        super().__init__(**options)
        assert SECRET in key

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("keyed://"))


fsspec.register_implementation("keyed", _KeyedMemory, clobber=True)

FORMS = {
    "file": "{tmp}/web/private project/a.zarr",
    "folder with a slash": "{tmp}/web/private project/a.zarr/",
    "file URL": "file://{tmp}/web/private project/a.zarr",
    "password": "http://alice:S3CR3T@{web}/private%20project/a.zarr",
    "user": "http://S3CR3T@{web}/private%20project/a.zarr",
    "keys": "keyed://bucket/a.zarr",
}


def written(tmp_path):
    path = tmp_path / "web" / "private project" / "a.zarr"
    array = zarr.create_array(path, shape=(600, 400), chunks=(256, 256), dtype="f4")
    array[...] = 1
    return path


def opened(form, tmp_path, web):
    path = written(tmp_path)
    location = FORMS[form].format(tmp=tmp_path, web=web)
    if form == "keys":
        files = _KeyedMemory(key=SECRET)
        for file in path.rglob("*"):
            if file.is_file():
                files.pipe(f"/bucket/a.zarr/{file.relative_to(path)}", file.read_bytes())
    options = {"storage_options": {"key": SECRET}} if form == "keys" else {}
    return location, LazyPyramidStore(location, method="mean", **options)


def forbidden(tmp_path, web, form):
    return [SECRET, str(tmp_path), tmp_path.name, "private"] + (
        [web] if web in FORMS[form].format(tmp="", web=web) else []
    )


def assert_clean(outputs, words):
    told = {name: word for name, text in outputs.items() for word in words if word in text}
    assert not told


def pages(url, name):
    """Bodies and headers of everything that a server tells of a source, found and not."""
    paths = ["/", "/stats", "/metrics", "/ready", f"/view/{name}", f"/thumbnail/{name}.png", f"/tiles/{name}/0/0/0.png"]
    paths += [f"/api/{name}/{end}" for end in ("info", "window", "value?z=0&row=1&col=1", "value?z=99&row=1&col=1")]
    for face, documents in {
        "": ("zarr.json", "0/zarr.json"),
        "v2/": (".zattrs", ".zgroup", ".zmetadata", "0/.zarray"),
    }.items():
        paths += [f"/{face}{name}/{document}" for document in documents]
    paths += [f"/{name}/{key}" for key in ("1/c/0/0", "0/c/0/1", "0/c/99/0", "nothing")]
    answers = {path: ask(url, path) for path in paths}
    return {
        path: f"{answer.status} {answer.headers} {answer.body.decode('latin-1')}" for path, answer in answers.items()
    }


@pytest.mark.parametrize("form", FORMS)
def test_no_output_tells_secrets_or_places(form, tmp_path, web, caplog, capfd):
    caplog.set_level(logging.INFO)
    location, store = opened(form, tmp_path, web)
    words = forbidden(tmp_path, web, form)
    with served({"a": store}) as server:
        outputs = pages(server.url, "a")
    assert sum(text.startswith("200") for text in outputs.values()) > 12
    lazypyr.materialize(store, tmp_path / "out.zarr", progress=False)
    outputs |= {path.name: path.read_text("latin-1") for path in (tmp_path / "out.zarr").rglob("*") if path.is_file()}
    kept = LazyPyramidStore(store.pyramid, overlay=tmp_path / "kept", write_through=True)
    kept["2/c/0/0"]
    outputs |= {str(path.name): path.read_text("latin-1") for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    source = store.pyramid.sources[0]
    explained = store.explain("2/c/0/0")
    for value in (store, store.pyramid, source, explained, store.pyramid.map("rescale", vmin=0, vmax=1)):
        outputs[f"repr {type(value).__name__}"] = f"{value!r} {value}"
    outputs |= {"log": caplog.text, "printed": "".join(capfd.readouterr())}
    assert_clean(outputs, words)
    assert source.name == "a.zarr"
    assert source.location.removeprefix("file://").rstrip("/") == location.removeprefix("file://").rstrip("/")


@pytest.mark.parametrize("form", ["file", "password", "keys"])
def test_errors_tell_no_secrets_and_the_server_no_places(form, tmp_path, web, caplog):
    caplog.set_level(logging.INFO)
    _, store = opened(form, tmp_path, web)
    words = forbidden(tmp_path, web, form)
    if form == "keys":
        _KeyedMemory.store.clear()
    else:
        for chunk in (tmp_path / "web").rglob("c/0/*"):
            chunk.write_bytes(b"x")
        shutil.rmtree(tmp_path / "web", ignore_errors=True)
        (tmp_path / "web").write_bytes(b"")
    with served({"a": store}) as server:
        answers = {path: ask(server.url, path) for path in ("/a/1/c/0/0", "/tiles/a/0/0/0.png", "/api/a/window")}
    outputs = {path: f"{answer.headers} {answer.body!r}" for path, answer in answers.items()}
    assert_clean({**outputs, "log": caplog.text}, words)
    messages = []
    for fails in (lambda: store["1/c/0/1"], store.refresh, store.pyramid.refreshed):
        try:
            fails()
        except Exception as error:
            messages.append(f"{error} {error!r}")
    assert messages or form == "keys"
    assert_clean({"errors": " ".join(messages)}, [SECRET])


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:S3CR3T@127.0.0.1:1/a.zarr", "http://127.0.0.1:1/a.zarr?sig=S3CR3T&x=1", "http://127.0.0.1:1/a.zarr#S3CR3T",
        "nothing://S3CR3T@host/a.zarr", "memory://S3CR3T@b/a.zarr?X-Amz-Signature=S3CR3T",
    ],
)  # fmt: skip
def test_an_error_at_opening_tells_no_secret(url, tmp_path, capfd):
    for opens in (
        lambda: lazypyr.open_pyramid(url),
        lambda: LazyPyramidStore(np.ones((300, 300)), overlay=url, write_through=True)["1/c/0/0"],
        lambda: lazypyr.materialize(np.ones((300, 300)), url, progress=False),
    ):
        try:
            message = str(opens())
        except Exception as error:
            message = f"{error} {error!r}"
        assert SECRET not in message, message
    main(["info", url])
    assert SECRET not in "".join(capfd.readouterr())


def test_the_owner_is_told_where_it_is(tmp_path, capfd, web):
    path = written(tmp_path)
    assert main(["info", "--json", str(path)]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["name"] == "a.zarr"
    assert [urlsplit(location).path for location in facts["locations"]] == [str(path)]
    main(["info", FORMS["password"].format(web=web)])
    printed = "".join(capfd.readouterr())
    assert web in printed
    assert SECRET not in printed


def test_arrays_of_one_name_in_two_places_differ(tmp_path):
    for folder in ("one", "two"):
        zarr.create_array(tmp_path / folder / "a.zarr", shape=(300, 300), chunks=(64, 64), dtype="u1")
    one, two = (lazypyr.open_pyramid(tmp_path / folder / "a.zarr") for folder in ("one", "two"))
    assert one.name == two.name == "a.zarr"
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/home/alice/a.zarr", "a.zarr"), ("a b (1).zarr", "a b (1).zarr"), ("/home/al ice/a (1).zarr/", "a (1).zarr"),
        ("C:\\data\\a.zarr", "a.zarr"), ("https://u:p@h:8000/x/a.zarr?sig=1/2#f/3", "a.zarr"), ("s3://key:secret@bucket", "s3://bucket"),
        ("https://u:p#q@h/a.zarr", "a.zarr"), ("zip://a.zarr::https://u:p@h/b.zip?sig=1", "b.zip"), ("memory://140", "memory://140"),
        ("file:///home/alice/a.zarr", "a.zarr"), ("https://h?sig=1", "https://h"), ("http://u:p@[::1]:8000/a.zarr?sig=1", "a.zarr"),
        ("http://h/a.zarr;jsessionid=1", "a.zarr"), ("https://u:p/q@h/a.zarr", "a.zarr"), ("simplecache::zip://a::http://[::1]/b.zip", "b.zip"),
    ],
)  # fmt: skip
def test_public_names(location, name):
    assert public_name(location) == name


@pytest.mark.parametrize(
    ("text", "plain", "placeless"),
    [
        ("reading https://u:p@h/a.zarr?sig=1: 404", "reading https://h/a.zarr: 404", "reading a.zarr: 404"),
        ("[Errno 2] No such file: '/home/a/b c.zarr'", "[Errno 2] No such file: '/home/a/b c.zarr'", "[Errno 2] No such file: 'b c.zarr'"),
        ("url='https://h/a#x', 1/c/0/0 and 3 / 4", "url='https://h/a', 1/c/0/0 and 3 / 4", "url='a', 1/c/0/0 and 3 / 4"),
        ("<FsspecStore(HTTP, http://u:p@h/a.zarr?s=1)>", "<FsspecStore(HTTP, http://h/a.zarr)>", None),
        ("http://[::1]:80/a.zarr?s=1: 404", "http://[::1]:80/a.zarr: 404", "a.zarr: 404"),
        ("at https://h:80/b/a@2.zarr, https://h:443 refused", "at https://h:80/b/a@2.zarr, https://h:443 refused", "at a@2.zarr, https://h:443 refused"),
        ('{"url": "https://h/a?x=1", "level": 1}', '{"url": "https://h/a", "level": 1}', '{"url": "a", "level": 1}'),
        ("basic colours, token rings, sigma = 3", "basic colours, token rings, sigma = 3", None),
    ],
)  # fmt: skip
def test_texts(text, plain, placeless):
    assert without_secrets(text) == plain
    assert placeless is None or without_paths(text) == placeless


@pytest.mark.parametrize(
    "text",
    [
        *(f"https://alice:p{mark}{SECRET}@h/a.zarr: 404" for mark in "'\"|<> /#?:@%&"),
        *(f"https://h/a.zarr?sig=p{mark}{SECRET}: 404" for mark in "'\"|<>/#?:@%&"),
        f"zip://in/a.zarr::https://u:p'{SECRET}@h/b.zip", f"HTTPS://u:{SECRET}@h/a", f"https:/u:{SECRET}@h/a", f"//u:{SECRET}@h/share/a.zarr",
        f"http://h/a.zarr;jsessionid={SECRET}?a=1", f"http://[::1]:1/a.zarr?sig={SECRET}", f'Invalid bucket name "AKIA:{SECRET}@bucket"',
        f"Authorization: Bearer {SECRET}", f"{{'Authorization': 'Basic {SECRET}=='}}", f"{{'token': '{SECRET}', 'anon': False}}",
        f"AccountName=a;AccountKey={SECRET};", f"X-Amz-Signature={SECRET}&x=1", f"aws_secret_access_key: {SECRET}", f"password={SECRET}",
    ],
)  # fmt: skip
def test_secrets_of_any_spelling_are_in_no_text(text):
    assert SECRET not in without_secrets(text)
    assert SECRET not in without_paths(text)
    for kind in (lazypyr.PlanError, lazypyr.SourceError, lazypyr.ComputeError, lazypyr.DestinationError):
        error = kind(f"{text}: it fails")
        copy = pickle.loads(pickle.dumps(error))
        assert SECRET not in f"{error} {error!r} {error.args} {vars(error)} {copy} {copy.args}"


def test_errors_that_can_not_be_changed_are_no_obstacle():
    class Fixed(Exception):
        @property
        def args(self):
            return (f"https://u:{SECRET}@h/a",)

        def __getattr__(self, name):
            raise RuntimeError(name)

    with pytest.raises(lazypyr.PlanError, match="it fails"):
        try:
            raise Fixed
        except Fixed as error:
            raise lazypyr.PlanError("it fails") from error


@pytest.mark.parametrize("name", ["a.zarr", "a.nc", "a.zip", "a.ome.tif", "a.lazypyr.json", "a.las", "a.parquet"])
@pytest.mark.parametrize(
    "place",
    ["http://{web}/{name}?sig=S3CR3T", "http://u:S3CR3T@{web}/{name}", "reference::http://u:S3CR3T@{web}/{name}"],
)
def test_a_traceback_tells_no_secret_of_the_errors_that_led_to_it(place, name, web):
    location = place.format(web=web, name=name)
    reads_points = name.endswith((".las", ".parquet"))
    with pytest.raises(lazypyr.LazypyrError) as caught:
        lazypyr.read_points(location, resolution=1) if reads_points else lazypyr.open_pyramid(location)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in "\n".join(line for line in shown.splitlines() if not line.startswith("  "))


def test_the_log_of_the_server_has_no_place_that_an_error_of_another_package_names(caplog):
    """The owner, who reads it at level DEBUG, is told all."""

    class Told(lazypyr.Source):
        name, shape, dtype, axes, chunks = "told", (64, 64), np.dtype("u1"), ("y", "x"), (64, 64)
        fingerprint = "told"

        def read(self, window, step=None):
            raise OSError(
                f"can't read '/home/alice/{SECRET}/a b.zarr' of https://alice:{SECRET}@host/a.zarr?sig={SECRET}"
            )

    with served({"told": LazyPyramidStore(Told())}) as server, caplog.at_level(logging.WARNING, "lazypyr.server"):
        assert ask(server.url, "/told/0/c/0/0").status in (500, 502)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "a b.zarr" in message
    assert "a.zarr" in message
    assert not {SECRET, "alice", "host"} & set(message.replace("/", " ").replace("@", " ").replace("'", " ").split()), (
        message
    )
    assert SECRET not in message
