"""Overlays and interrupted jobs of users' functions after an upgrade of Python, numpy or zarr: row N26 of tests/fault_ids.txt."""

import os
import subprocess
import sys

import numpy as np
import pytest
import zarr

from support.paths import ROOT

ENV = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
JOB = """
import sys, os, numpy as np, lazypyr
from lazypyr.writing import run

SCALE = 3
options = eval(sys.argv[2])

def scaled(z):
    return np.sqrt(np.abs(z[()])) * SCALE

if "text" in options:
    exec(options.pop("text"))

def store(**more):
    pyramid = lazypyr.open_pyramid("src.zarr", method=lazypyr.reducer(lambda boxes, axis: boxes.max(axis)), chunks=(32, 32))
    return lazypyr.LazyPyramidStore(pyramid.map(lazypyr.product(scaled, **options)), **more)

if sys.argv[1] == "begin":
    mark, done = run.Checkpoint.mark, []
    def mark_and_stop(self, *region):
        mark(self, *region)
        done.append(region)
        if len(done) == 3:
            os._exit(0)
    store(overlay="kept", write_through=True)["1/c/0/0"]
    run.Checkpoint.mark = mark_and_stop
for what in (lambda: store(overlay="kept", write_through=True).overlay.tile_bytes,
             lambda: lazypyr.materialize(store(), "out", progress=False, workers=1, inflight_bytes=100_000).skipped):
    try:
        print(what())
    except lazypyr.PlanError as error:
        print(error)
"""
# The modules tell other versions than those of the first run.
UPGRADED = """
import runpy, sys, platform, numpy, zarr
numpy.__version__ = numpy.version.version = "9.1.0"
zarr.__version__ = "9.2.0"
platform.python_version = lambda: "3.99.0"
sys.version = "3.99.0 (main)"
sys.argv = ["job.py", *sys.argv[1:]]
runpy.run_path("job.py", run_name="__main__")
"""


def after_an_upgrade(tmp_path, options):
    """What a second process prints of the overlay and the job of the first one."""
    (tmp_path / "job.py").write_text(JOB)
    array = zarr.create_array(tmp_path / "src.zarr", shape=(256, 256), chunks=(64, 64), dtype="f4")
    array[:] = np.arange(256.0 * 256).reshape(256, 256)
    call = {"cwd": tmp_path, "env": ENV, "text": True, "check": True, "stdout": subprocess.PIPE}
    subprocess.run([sys.executable, "-W", "ignore", "job.py", "begin", repr(options)], **call)
    records = [tmp_path / "kept" / ".lazypyr" / "overlay.json", tmp_path / "out" / ".lazypyr" / "journal.json"]
    for record in records:
        assert not any(version in record.read_text() for version in (np.__version__, zarr.__version__, sys.version[:6]))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UPGRADED, "go", repr(options)], **call
    ).stdout.splitlines()


@pytest.mark.fault("N26")
@pytest.mark.parametrize(
    "options", [{}, {"version": "1"}, {"text": "def scaled(z): return z[()] * 2", "version": "1"}],
    ids=["by text", "by version", "without text, by version"],
)  # fmt: skip
def test_goes_on(tmp_path, options):
    assert after_an_upgrade(tmp_path, options) == [str(32 * 32 * 4 + 16), "3"]


@pytest.mark.fault("N26")
def test_says_what_cannot_be_known(tmp_path):
    overlay, job = after_an_upgrade(tmp_path, {"text": "def scaled(z): return z[()] * 2"})
    for message in (overlay, job):
        assert "source text can't be found" in message
        assert 'version="1"' in message
