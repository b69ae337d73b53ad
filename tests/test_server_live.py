"""Sources that change while they are served."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import threading
import time

import numpy as np
import pytest
import zarr
from conftest import ROOT
from PIL import Image
from support.faultstore import FaultMapping
from support.http import ask, served

from lazypyr import LazyPyramidStore


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
        assert release.wait(10)
        return value

    with served({"a": LazyPyramidStore(source, chunks=(64, 64), workers=1)}, revalidate=1000) as handle:
        old = ask(handle.url, "/a/0/c/0/0", "HEAD").headers["etag"]
        source.script["1.1"] = [change]
        answers = []
        client = threading.Thread(target=lambda: answers.append(ask(handle.url, "/a/0/c/0/0")))
        client.start()
        assert begun.wait(10)
        for key, value in v2_array(2, 1).items():
            dict.__setitem__(source, key, value)
        release.set()
        client.join(10)
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


@pytest.fixture
def redis_url(redis_server, tmp_path):
    where = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [redis_server, "--port", "0", "--unixsocket", str(where), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 10
        while not where.exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield f"unix://{where}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.fault("S7")
@pytest.mark.timeout(60)
def test_game_of_life_on_redis(redis_url):
    """Every picture that is put together of tiles of one version is one generation, and generations go on."""
    spec = importlib.util.spec_from_file_location("life", ROOT / "docs" / "examples" / "life_on_redis.py")
    life = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(life)
    steps = 60
    boards = {board.tobytes(): n for n, board in zip(range(steps), life.generations(), strict=False)}
    mapping = life.RedisMapping(redis_url)
    life.write(mapping, steps=1, pause_s=0)
    seen, refused = [], 0
    with served({"life": life.RedisMapping(redis_url)}, chunks=(256, 256), revalidate=0) as handle:
        writer = threading.Thread(target=life.write, args=(mapping, steps, 0.05))
        writer.start()
        while writer.is_alive() or not seen or seen[-1] < steps - 1:
            version = json.loads(ask(handle.url, "/api/life/info").body)["version"]
            paths = [
                f"/tiles/life/1/{x}/{1 - y}.png?v={version}&low=0&high=1&palette=gray" for y in (0, 1) for x in (0, 1)
            ]
            tiles = [ask(handle.url, path) for path in paths]
            assert {tile.status for tile in tiles} <= {200, 404, 503}
            if any(tile.status != 200 for tile in tiles):
                refused += 1
                continue
            images = [np.asarray(Image.open(io.BytesIO(tile.body)).convert("L")) // 255 for tile in tiles]
            board = np.block([[images[0], images[1]], [images[2], images[3]]]).astype("u1")
            seen.append(boards[board.tobytes()])
        writer.join()
        chunk = ask(handle.url, "/life/1/c/0/0").body
    mapping.client.close()
    assert seen == sorted(seen)
    assert len(set(seen)) >= 3, f"{len(seen)} pictures, {refused} refused"
    assert len(chunk) > 0
