"""Sources that change while they are served."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import threading
import time

import numpy as np
import pytest
import redis
import zarr
from PIL import Image

from lazypyr import LazyPyramidStore
from support.faultstore import FaultMapping
from support.http import ask, served
from support.paths import ROOT
from support.running import python, until


def v2_array(value, generation):
    meta = {
        "zarr_format": 2, "shape": [64, 64], "chunks": [32, 32], "dtype": "|u1", "compressor": None, "fill_value": 0,
        "order": "C", "filters": None,
    }  # fmt: skip
    chunks = {f"{i}.{j}": bytes([value]) * 1024 for i in range(2) for j in range(2)}
    return {".zarray": json.dumps(meta).encode(), ".zattrs": json.dumps({"generation": generation}).encode(), **chunks}


@pytest.mark.fault("S7")
def test_immutable_and_revalidated(tmp_path):
    path = tmp_path / "a.zarr"
    first, second = np.full((64, 64), 1, "u1"), np.full((64, 64), 2, "u1")
    zarr.create_array(path, data=first, chunks=(32, 32))
    still = served({"a": LazyPyramidStore(str(path), chunks=(32, 32))})
    live = served({"a": LazyPyramidStore(str(path), chunks=(32, 32))}, revalidate=0.1)
    with still as immutable, live as followed:
        urls, key = (immutable.url, followed.url), "/a/1/c/0/0"
        before = [ask(url, key) for url in urls]
        assert {answer.body for answer in before} == {first[::2, ::2].tobytes()}
        zarr.open_array(path, mode="r+")[...] = second
        time.sleep(0.15)
        after = [ask(url, key, headers={"If-None-Match": before[0].headers["etag"]}) for url in urls]
        assert after[0].status == 304, "taken to be immutable"
        assert (after[1].status, after[1].body) == (200, second[::2, ::2].tobytes())
        assert after[1].headers["etag"] != before[1].headers["etag"]
        assert ask(followed.url, "/v2/a/0/0/0").body == second[:32, :32].tobytes()


@pytest.mark.fault("S7", "S8")
def test_a_change_while_a_tile_is_computed():
    """Half of the chunks are read before the change, half after it: such a tile goes to nobody and is not kept."""
    source = FaultMapping(v2_array(1, 0))
    begun, release = threading.Event(), threading.Event()

    def change(value):
        begun.set()
        assert release.wait(60)
        return value

    with served({"a": LazyPyramidStore(source, chunks=(64, 64), workers=1)}, revalidate=1000) as handle:
        old = ask(handle.url, "/a/0/c/0/0", "HEAD").headers["etag"]
        source.script["1.1"] = [change]
        answers = []
        client = threading.Thread(target=lambda: answers.append(ask(handle.url, "/a/0/c/0/0")))
        client.start()
        assert begun.wait(60)
        for key, value in v2_array(2, 1).items():
            dict.__setitem__(source, key, value)
        release.set()
        client.join(60)
        assert set(answers[0].body) == {2}
        assert answers[0].headers["etag"] != old
        assert set(ask(handle.url, "/a/0/c/0/0").body) == {2}


@pytest.mark.fault("S9")
def test_a_source_that_goes_away_is_502_and_comes_back():
    source = FaultMapping(v2_array(1, 0))
    with served({"a": LazyPyramidStore(source, chunks=(64, 64))}, revalidate=0) as handle:
        assert ask(handle.url, "/a/0/c/0/0").status == 200
        kept = dict(source)
        dict.clear(source)
        assert ask(handle.url, "/a/0/c/0/0").status == 502
        dict.update(source, kept)
        assert ask(handle.url, "/a/0/c/0/0").status == 200


FOLDER = """
import pickle, sys
from collections.abc import Mapping
from pathlib import Path
from lazypyr import LazyPyramidStore
from lazypyr.server.dataset import ServedDataset, Snapshot
class Folder(Mapping):
    def __init__(self, root): self.root = Path(root)
    def __getitem__(self, key):
        if key not in self: raise KeyError(key)
        return (self.root / key).read_bytes()
    def __contains__(self, key): return (self.root / key).is_file()
    def __iter__(self): return (path.name for path in self.root.iterdir())
    def __len__(self): return len(list(self.root.iterdir()))
root, sent, generation = sys.argv[1:]
if Path(sent).exists():
    dataset = pickle.loads(Path(sent).read_bytes())
else:
    dataset = ServedDataset("a", LazyPyramidStore(Folder(root), chunks=(32, 32)), 1.0)
    Path(sent).write_bytes(pickle.dumps(dataset))
print(dataset.snapshot.etag(3, "0/c/0/0"))
text = Path(root, ".zattrs").read_text()
Path(root, ".zattrs").write_text('{"generation": %s}' % generation)
print(Snapshot.of(dataset.store.refreshed()).etag(3, "0/c/0/0"))
Path(root, ".zattrs").write_text(text)
"""


@pytest.mark.slow
@pytest.mark.fault("S7")
def test_processes_agree_on_the_etags_of_a_mapping(tmp_path):
    """Each worker has the source that was sent to it, and looks at it by itself."""
    root, sent = tmp_path / "a", tmp_path / "sent"
    root.mkdir()
    for key, value in v2_array(1, 0).items():
        (root / key).write_bytes(value)
    first, second, third = (python(FOLDER, root, sent, generation).split() for generation in (1, 1, 2))
    assert first == second
    assert len({*first, *third}) == 3


def answers(client):
    with contextlib.suppress(redis.ConnectionError):
        return client.ping()


@pytest.fixture
def redis_url(redis_server, tmp_path):
    where = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [redis_server, "--port", "0", "--unixsocket", str(where), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis(unix_socket_path=str(where)) as client:
            until(lambda: where.exists() and answers(client))
        yield f"unix://{where}"
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.fault("S7")
def test_game_of_life_on_redis(redis_url):
    """Every picture that is put together of tiles of one version is one generation, and generations go on."""
    spec = importlib.util.spec_from_file_location("life", ROOT / "docs" / "examples" / "life_on_redis.py")
    life = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(life)
    boards, mapping, enough = {}, life.RedisMapping(redis_url), threading.Event()
    seen, refused, pause = [], 0, [0.03]

    def play():
        for generation, board in enumerate(life.generations()):
            boards[board.tobytes()] = generation
            mapping.replace(life.hierarchy(board, generation))
            if enough.wait(pause[0]):
                return

    writer = threading.Thread(target=play, daemon=True)
    writer.start()
    until(lambda: ".zarray" in mapping)
    with served({"life": life.RedisMapping(redis_url)}, chunks=(256, 256), revalidate=0) as handle:
        # A machine may be too slow to see four tiles of one generation: then it is played more slowly.
        while not enough.is_set() or seen[-1] < len(boards) - 1:
            version = json.loads(ask(handle.url, "/api/life/info").body)["version"]
            paths = [
                f"/tiles/life/1/{x}/{1 - y}.png?v={version}&low=0&high=1&palette=gray" for y in (0, 1) for x in (0, 1)
            ]
            tiles = [ask(handle.url, path) for path in paths]
            assert {tile.status for tile in tiles} <= {200, 404, 503}
            if any(tile.status != 200 for tile in tiles):
                refused += 1
                pause[0] *= 1.1
                continue
            images = [np.asarray(Image.open(io.BytesIO(tile.body)).convert("L")) // 255 for tile in tiles]
            board = np.block([[images[0], images[1]], [images[2], images[3]]]).astype("u1")
            seen.append(boards[board.tobytes()])
            if len(set(seen)) >= 5:
                enough.set()
                writer.join()
        chunk = ask(handle.url, "/life/1/c/0/0").body
    mapping.client.close()
    assert seen == sorted(seen), f"{len(seen)} pictures, {refused} refused"
    assert len(chunk) > 0
