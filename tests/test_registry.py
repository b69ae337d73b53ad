"""Names that installed packages and notebooks add: reducers, products, sources, beside the built-in ones."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.registry import Registry, nearest

MODULE = """
import numpy as np, lazypyr
from lazypyr.sources.open import open_source
from lazypyr.sources.opener import Opener

def span(boxes, axis):
    return np.ptp(boxes, axis=axis)

corner = lazypyr.reducer(lambda boxes, axis: boxes[:, 0, :, 0], composable=False, name="corner", version="1")

@lazypyr.product(version="1")
def doubled(z):
    return z[()] * 2

def scaled(factor=3):
    return lazypyr.product(lambda z: z[()] * factor, name="scaled", version=str(factor))

class Rows(Opener):
    def can_open(self, src):
        return isinstance(src, str) and src.endswith(".rows")

    def open(self, src, options):
        with open(src) as file:
            return open_source(np.array([[float(c) for c in line.strip()] for line in file]), axes=options.axes)

def tame(boxes, axis):
    raise AssertionError("a built-in name")
"""
ENTRY_POINTS = """
[lazypyr.reducers]
span = lazypyr_plugin:span
corner = lazypyr_plugin:corner
mean = lazypyr_plugin:tame
broken = lazypyr_plugin:no_such_thing
[lazypyr.products]
doubled = lazypyr_plugin:doubled
scaled = lazypyr_plugin:scaled
[lazypyr.sources]
broken = no_such_module:Opener
rows = lazypyr_plugin:Rows
"""


@pytest.fixture
def plugin(tmp_path):
    """A folder with a package that is installed, as pip would have left it, and a run of Python that sees it."""
    (tmp_path / "site" / "lazypyr_plugin-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "lazypyr_plugin.py").write_text(MODULE)
    info = tmp_path / "site" / "lazypyr_plugin-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazypyr-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "a.rows").write_text("12\n34\n")
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.arange(16.0).reshape(4, 4))

    def run(*command):
        paths = [str(tmp_path / "site"), str(Path(lazypyr.__file__).parents[1])]
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(paths), "HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100
        )

    return run


SCRIPT = """
import json, warnings
import lazypyr, numpy as np
warnings.simplefilter("error")
table = np.arange(16.0).reshape(4, 4)
results = {
    "span": lazypyr.open_pyramid(table, method="span", levels=2).read(1).tolist(),
    "corner": lazypyr.open_pyramid(table, method="corner", levels=2).read(1).tolist(),
    "mean": lazypyr.open_pyramid(table, method="mean", levels=2).read(1).tolist(),
    "doubled": lazypyr.open_pyramid(table).map("doubled").read(0)[0].tolist(),
    "scaled": lazypyr.open_pyramid(table).map("scaled", factor=10).read(0)[0].tolist(),
    "store": np.frombuffer(lazypyr.LazyPyramidStore(table, method="span", levels=2, compressor=None)["1/c/0/0"])[:2].tolist(),
}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    results["rows"] = lazypyr.open_pyramid("a.rows").read(0).tolist()
results["warned"] = [str(w.message) for w in caught]
for name, call in {
    "misspelt": lambda: lazypyr.open_pyramid(table, method="spam"),
    "broken": lambda: lazypyr.open_pyramid(table, method="broken"),
    "option": lambda: lazypyr.open_pyramid(table).map("scaled", facto=2),
}.items():
    try:
        call()
    except lazypyr.PlanError as error:
        results[name] = str(error)
print(json.dumps(results))
"""


def test_what_a_package_brings_is_used_by_name(plugin):
    done = plugin("-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["span"] == [[5.0, 5.0], [5.0, 5.0]]
    assert got["corner"] == [[0.0, 2.0], [8.0, 10.0]]
    assert got["mean"] == [[2.5, 4.5], [10.5, 12.5]]  # built-in names are nobody else's
    assert got["doubled"] == [0.0, 2.0, 4.0, 6.0]
    assert got["scaled"] == [0.0, 10.0, 20.0, 30.0]
    assert got["store"] == [5.0, 5.0]
    assert got["rows"] == [[1.0, 2.0], [3.0, 4.0]]
    assert len(got["warned"]) == 1
    assert "the source 'broken' of the package lazypyr-plugin can't be loaded: ModuleNotFoundError" in got["warned"][0]
    assert got["misspelt"].endswith("got 'spam'; did you mean 'span'?")
    assert "the reducer 'broken' of the package lazypyr-plugin can't be loaded: AttributeError" in got["broken"]
    assert "unknown option(s) facto; it takes factor" in got["option"]


def test_the_command_line_knows_the_names_of_packages(plugin):
    done = plugin("-m", "lazypyr.cli", "info", "a.zarr", "--method", "span", "--product", "doubled")
    assert done.returncode == 0, done.stderr
    assert "span" in done.stdout
    assert "doubled" in done.stdout
    done = plugin("-m", "lazypyr.cli", "info", "a.zarr", "--product", "dubled")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("did you mean 'doubled'?")
    assert "Traceback" not in done.stderr


@pytest.fixture
def table():
    return Registry("lazypyr.no_such_group", "thing", {"own": 1}, lambda name, value: int(value))


def test_names_of_this_process(table):
    table.register("other", "2")
    assert (list(table), table["other"], dict(table)) == (["own", "other"], 2, {"own": 1, "other": 2})
    table.register("other", "3")
    assert list(table.added()) == [3]
    assert table.get("missing") is None
    assert len(table) == 2
    with pytest.raises(lazypyr.PlanError, match="'own' is the name of a built-in thing"):
        table.register("own", 4)
    with pytest.raises(lazypyr.PlanError, match="expected a name, got 5"):
        table.register(5, 4)


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        (lazypyr.register_reducer, 3, "expected a callable, got 3"),
        (lazypyr.register_product, 3, "expected a Product, or a function that makes one, got 3"),
        (lazypyr.register_source, 3, "expected a subclass of lazypyr.sources.opener.Opener, got 3"),
    ],
)
def test_only_what_fits_is_registered(register, value, message):
    with pytest.raises(lazypyr.PlanError, match=message):
        register("unfit", value)


def test_a_function_of_pixels_is_no_maker_of_products():
    lazypyr.register_product("undecorated", lambda: np.ones(3))
    with pytest.raises(lazypyr.PlanError, match="decorate a function of pixels with lazypyr.product"):
        lazypyr.open_pyramid(np.ones((2, 2))).map("undecorated")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("meen", "; did you mean 'mean' or 'median'?"),
        ("MODE", "; did you mean 'mode'?"),
        ("zzz", ""),
        ("medan", "; did you mean 'median' or 'mean'?"),
    ],
)
def test_nearest_names(name, hint):
    assert nearest(name, ["mean", "median", "mode"]) == hint


def test_entry_points_are_not_looked_for_where_a_built_in_name_is_asked_for(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: pytest.fail("looked"))
    table = Registry("lazypyr.no_such_group", "thing", {"own": 1}, lambda name, value: value)
    assert (table["own"], "own" in table) == (1, True)
