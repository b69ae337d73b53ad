"""Kernels where numba is absent, off, or has no place for its cache, and a second process that compiles nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from support.paths import ROOT

# every method on odd shapes, with NaN, ties and nodata; prints digests of the results and what numba did
SCRIPT = """
import hashlib, json, sys
if "absent" in sys.argv:
    sys.modules["numba"] = None
import numpy as np
import lazypyr.reducers
from lazypyr.errors import PlanError
from lazypyr.reducers import REDUCERS, dispatch, kernels, kernels_2x2
from lazypyr.reducers.jit import Kernel, jit_enabled
assert "numba" not in sys.modules or "absent" in sys.argv, "importing lazypyr.reducers imported numba"

names = sys.argv[1].split(",")
few = "few" in sys.argv
rng = np.random.default_rng(0)
digests = {}
for dtype in ["f4"] if few else ["?", "i1", "u2", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "M8[s]"]:
    for shape, factors in [((8, 6), (2, 2)), ((7, 9), (2, 2)), ((3, 9, 7), (2, 2, 2)), ((5, 6, 3), (2, 2, 1)), ((9, 9), (8, 8))]:
        block = rng.integers(0, 200, shape)
        block = (block.astype(np.int64).view("M8[s]") if dtype == "M8[s]" else block.astype(dtype))
        if block.dtype.kind == "c":
            block += 1j * rng.integers(-5, 5, shape).astype(block.real.dtype)
            block *= block.dtype.type(0.1)
        if block.dtype.kind == "f":
            block *= block.dtype.type(0.1)
        if block.dtype.kind in "ui" and block.dtype.itemsize == 8:
            block[::2] = np.iinfo(block.dtype).max
            block[1::3] = np.iinfo(block.dtype).min
        if block.dtype.kind in "fc":
            block[::3, ::2] = np.nan
        if block.dtype.kind == "f":
            block[1::3, ::5] = np.inf
            block[0, 0] = -0.0
        for name in names:
            try:
                REDUCERS[name].check(block.dtype)
            except PlanError:
                continue
            for nodata in (None, block.reshape(-1)[-1]):
                out = REDUCERS[name](block, factors, nodata=nodata)
                if block.dtype.kind in "fc":
                    out[np.isnan(out)] = np.nan  # one NaN is as good as another
                digests[f"{name} {dtype} {shape} {nodata}"] = hashlib.sha256(out.tobytes()).hexdigest()[:12]
compiled = [k.compiled for m in (kernels, kernels_2x2) for k in vars(m).values() if isinstance(k, Kernel) and k._compiled]
stats = [d.stats for d in compiled if hasattr(d, "stats")]
print(json.dumps({
    "digests": digests,
    "enabled": jit_enabled(),
    "hits": sum(sum(s.cache_hits.values()) for s in stats),
    "misses": sum(sum(s.cache_misses.values()) for s in stats),
}))
"""

pytestmark = pytest.mark.timeout(300)  # each compiles everything, some twice

METHODS = "mean,min,max,first_valid,sum,rms,median,mode"


def run(*arguments, cwd=ROOT, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**env, **environment}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def with_numba():
    return run(METHODS)


@pytest.mark.fault("P5")
@pytest.mark.parametrize("how", [{"arguments": ["absent"]}, {"NUMBA_DISABLE_JIT": "1"}], ids=["absent", "disabled"])
def test_without_numba_every_method_gives_the_same_bits(with_numba, how):
    assert with_numba["enabled"]
    plain = run(METHODS, *how.pop("arguments", []), **how)
    assert not plain["enabled"]
    assert plain["digests"].keys() == with_numba["digests"].keys()
    different = [k for k, v in plain["digests"].items() if with_numba["digests"][k] != v]
    assert different == []


@pytest.mark.slow
@pytest.mark.fault("P5")
def test_a_fresh_process_with_a_warm_cache_compiles_nothing(tmp_path):
    first = run("mean,min", "few", NUMBA_CACHE_DIR=str(tmp_path))
    assert first["misses"] > 0
    second = run("mean,min", "few", NUMBA_CACHE_DIR=str(tmp_path))
    assert second["misses"] == 0
    assert second["hits"] > 0
    assert second["digests"] == first["digests"]


@pytest.mark.slow
@pytest.mark.fault("P5")
def test_no_place_for_the_cache(tmp_path):
    # what numba calls "no locator available": it can write neither beside the module nor in the home
    shutil.copytree(ROOT / "lazypyr", tmp_path / "lazypyr", ignore=shutil.ignore_patterns("__pycache__", "data"))
    (tmp_path / "lazypyr" / "reducers" / "__pycache__").write_text("in the way")
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    got = run("mean", "few", cwd=tmp_path, NUMBA_THREADING_LAYER="workqueue", **nowhere)
    assert got["enabled"]
    assert not [*tmp_path.rglob("*.nbi")]


@pytest.mark.slow
@pytest.mark.fault("P5")
def test_a_torn_cache_is_gone_around(tmp_path):
    first = run("mean", "few", NUMBA_CACHE_DIR=str(tmp_path))
    files = [f for f in tmp_path.rglob("*") if f.suffix in (".nbi", ".nbc")]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    assert run("mean", "few", NUMBA_CACHE_DIR=str(tmp_path))["digests"] == first["digests"]


@pytest.mark.fault("P5")
def test_a_cache_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    got = run("mean", "few", NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert got["digests"]


def test_kernels_are_shared_by_all_shapes():
    from lazypyr.reducers import REDUCERS as table
    from lazypyr.reducers.kernels_2x2 import quad_mean

    table["mean"](np.zeros((8, 8), "i2"), (2, 2))
    known = len(quad_mean.compiled.signatures)
    window = np.zeros((20, 20, 20), "i2")[3:9, 2:10]
    window.flags.writeable = False
    for block in (np.zeros((3, 6, 8), "i2"), np.zeros((6, 8, 3), "i2"), window):
        table["mean"](block, tuple(2 if n in (6, 8) else 1 for n in block.shape))
    assert len(quad_mean.compiled.signatures) == known
