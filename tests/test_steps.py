"""The steps of docs/design.md, section 6: one chunk, one tile and one resumed region are traced, and begin in that order."""

import asyncio
import re
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.server import create_app
from lazypyr.writing import executors

PACKAGE = str(Path(lazypyr.__file__).parent)
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
MOST_STEPS = 12


def documented(title):
    """Names of the functions of a list of the design, in its order."""
    text = DESIGN.read_text(encoding="utf-8").partition(f"**{title}**\n")[2]
    block = text.strip().partition("\n\n")[0]
    numbered = re.findall(r"^(\d+)\. (.*)$", block, re.MULTILINE)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return [re.search(r"`([\w.]+)`", step)[1] for _, step in numbered]


class Trace:
    """Functions of lazypyr in the order of their first call, in threads that begin meanwhile too."""

    def __init__(self):
        self.names, self._lock = {}, threading.Lock()

    def _note(self, frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            with self._lock:
                self.names.setdefault(frame.f_code.co_qualname, len(self.names))

    def __enter__(self):
        self._before = sys.getprofile()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc):
        sys.setprofile(self._before)
        threading.setprofile(None)


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(5)
    values = (rng.normal(size=(512, 512, 3)) + 1j * rng.normal(size=(512, 512, 3))).astype("c8")
    zarr.create_array(tmp_path / "slc.zarr", data=values, chunks=(64, 64, 3))
    zarr.create_array(tmp_path / "image.zarr", data=values[..., 0].real.copy(), chunks=(64, 64))
    return tmp_path


def check(title, trace):
    steps = documented(title)
    assert 3 <= len(steps) <= MOST_STEPS
    assert not [step for step in steps if step not in trace.names]
    assert sorted(steps, key=trace.names.get) == steps


def test_a_chunk(source):
    store = lazypyr.LazyPyramidStore(source / "image.zarr", method="mean", chunks=(64, 64))
    with Trace() as trace:
        store["2/c/0/0"]
    check("A chunk, from its key to its bytes", trace)


def test_a_tile(source):
    pyramid = lazypyr.open_pyramid(source / "slc.zarr", axes="yxi").map("intf_all")
    with Trace() as trace:
        app = create_app({"intf": pyramid})

        async def get():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.get("/tiles/intf/0/0/0.png?product=raw&at=0,1")

        trace.names.clear()
        response = asyncio.run(get())
    assert response.status_code == 200
    check("A tile, from its URL to a PNG", trace)


def test_a_resumed_region(source, monkeypatch):
    options = {"method": "mean", "chunks": (64, 64), "progress": False, "workers": 1, "inflight_bytes": 2**20}
    run, calls = executors.run_region, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return run(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(executors, "run_region", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lazypyr.materialize(source / "image.zarr", source / "out", **options)
    with Trace() as trace:
        summary = lazypyr.materialize(source / "image.zarr", source / "out", **options)
    assert summary.skipped == 2
    check("A region of a job that was interrupted", trace)
