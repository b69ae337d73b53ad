"""What all tests share: hypothesis profiles, real data, a Python with zarr 2, a browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lazypyr.products.apply import PRODUCTS
from lazypyr.products.palettes import COLORMAPS
from lazypyr.reducers import REDUCERS
from lazypyr.sources.open import OPENERS
from lazypyr.store.layout import LAYOUTS
from support.paths import BUNDLED, DATA, ROOT
from support.tools import CI, unavailable

# No deadline: the first call of a kernel compiles it, and CI machines stall. Reruns of a pull request see the same examples.
settings.register_profile("default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "default"))

ZARR2 = ["zarr==2.18.7", "numcodecs<0.16", "numpy", "numba", "fsspec", "cachetools", "scipy"]


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real data; each set has SOURCE.txt and, where the upstream has one, its licence."""
    return DATA


@pytest.fixture(scope="session")
def demo_data():
    """The folder of the sets that the package itself carries: the radar stack and the LiDAR stadium."""
    return BUNDLED


def _works(python):
    probe = [python, "-c", "import zarr, numba, fsspec, cachetools, scipy; print(zarr.__version__)"]
    try:
        answer = subprocess.run(probe, capture_output=True, text=True, timeout=100, check=False)
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.startswith("2.18.")


@contextlib.contextmanager
def _alone(lock):
    """One process at a time: those of pytest-xdist all want the environment, and one of them makes it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _zarr2(config):
    """Path of a Python with zarr 2.18, or why there is none."""
    given = os.environ.get("LAZYPYR_ZARR2_PYTHON")
    if given:
        return (given, "") if _works(given) else (None, f"LAZYPYR_ZARR2_PYTHON={given} has no zarr 2.18")
    if not hasattr(config, "cache"):
        return None, "pytest runs without its cache, where the environment with zarr 2.18 is kept"
    folder = config.cache.mkdir("zarr2-venv")
    with _alone(folder.with_suffix(".lock")):
        return _made_zarr2(folder)


def _made_zarr2(folder):
    python = folder / "bin" / "python"
    if _works(python):
        return str(python), ""
    shutil.rmtree(folder, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True, check=False)
    if made.returncode == 0:
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "10", *ZARR2]
        made = subprocess.run(pip, capture_output=True, text=True, check=False)
    if made.returncode == 0 and _works(python):
        return str(python), ""
    return None, f"no environment with zarr 2.18 could be made: {(made.stderr or made.stdout).strip()[-500:]}"


ZARR2_MADE = pytest.StashKey()
MARK_OF = {
    "chromium": "browser",
    "zarr2_python": "network",
    "zarrita": "network",
    "vizarr": "network",
    "viv": "network",
}


def pytest_addoption(parser):
    parser.addoption("--fault", metavar="ID", help="only the tests that carry this id of tests/fault_ids.txt")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config, items):
    """Mark tests that drive the browser, or install packages, by the fixtures that do it; take those of one fault."""
    fault = config.getoption("fault")
    if fault is not None:
        items[:] = [item for item in items if any(fault in mark.args for mark in item.iter_markers("fault"))]
    for item in items:
        for fixture in MARK_OF.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(MARK_OF[fixture])


def pytest_collection_finish(session):
    """Make the zarr 2 environment before the first test: it takes longer than a test's timeout allows."""
    wanted = any("zarr2_python" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        session.config.stash[ZARR2_MADE] = _zarr2(session.config)


@pytest.fixture(scope="session")
def zarr2_python(pytestconfig):
    """Path of a Python that has zarr 2.18; run it with `zarr2_env` so that it finds this lazypyr.

    LAZYPYR_ZARR2_PYTHON names a ready one; otherwise a venv is made once and kept in pytest's cache folder.
    """
    python, reason = pytestconfig.stash[ZARR2_MADE]
    if python is None:
        unavailable(reason)
    return python


@pytest.fixture(scope="session")
def zarr2_env():
    """The environment in which `zarr2_python` imports this lazypyr."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def chromium():
    """Path of Debian's chromium."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        unavailable("no chromium on this machine: apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def redis_server():
    """Path of Debian's redis-server."""
    path = shutil.which("redis-server") or "/usr/bin/redis-server"
    if not Path(path).exists():
        unavailable("no redis-server on this machine: apt-get install redis-server")
    return path


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is gone after it."""
    for registry in (OPENERS, PRODUCTS, COLORMAPS, REDUCERS, LAYOUTS):
        monkeypatch.setattr(registry, "_objects", dict(registry._objects))
