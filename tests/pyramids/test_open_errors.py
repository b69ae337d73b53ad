"""Bad input: refused at opening, with what it is, what was expected, and where."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore

from lazypyr import LazyPyramidStore, MissingExtra, PlanError
from support.faultstore import FaultStore
from support.sources import random_array, zarr_array

SOURCE = random_array(0, (50, 70), "<f4")


BAD = {
    "nothing": (lambda: None, {}, "NoneType"),
    "number": (lambda: 5, {}, "can't open a int"),
    "list": (lambda: [[1, 2], [3, 4]], {}, "can't open a list"),
    "object": (object, {}, "can't open a object"),
    "0-d": (lambda: np.zeros(()), {}, r"numpy array.*at least 2 axes.*\(\)"),
    "1-d": (lambda: np.zeros(5), {}, r"numpy array.*at least 2 axes.*\(5,\)"),
    "1-d zarr": (lambda: zarr_array(np.zeros(5)), {}, "memory://.*at least 2 axes"),
    "no rows": (lambda: np.zeros((0, 5)), {}, r"axis of length 0.*\(0, 5\)"),
    "no columns": (lambda: zarr.create_array({}, shape=(5, 0), chunks=(5, 1), dtype="u1"), {}, "axis of length 0"),
    "structured": (lambda: np.zeros((5, 5), [("a", "i4"), ("b", "f4")]), {}, r"numpy array.*\[\('a'.*expected numbers"),
    "objects": (lambda: np.full((5, 5), None), {}, "object.*expected numbers"),
    "strings": (lambda: np.full((5, 5), "text"), {}, "<U4.*expected numbers"),
    "long double": (lambda: np.zeros((5, 5), "clongdouble"), {}, "complex256|expected numbers"),
    "dataset": (
        lambda: xr.Dataset({"a": (("y", "x"), SOURCE), "b": (("y", "x"), SOURCE)}),
        {"as_collection": False},
        "'a', 'b'",
    ),
    "missing file": (lambda: "/no/such/file.zarr", {}, "no such file or folder: /no/such/file.zarr"),
    "unknown protocol": (lambda: "nosuch://x/y", {}, "nosuch"),
    "options for a path": (lambda: SOURCE, {"storage_options": {"a": 1}}, "storage_options are for URLs"),
    "too few axes": (lambda: SOURCE, {"axes": "y"}, "numpy array.*names 1 axes, the array has 2"),
    "an axis twice": (lambda: SOURCE, {"axes": "yy"}, "each axis once"),
    "no x": (lambda: SOURCE, {"axes": "yz"}, "'y' and an 'x'"),
    "order of others": (lambda: SOURCE, {"order": "yz"}, "order|'y' and an 'x'"),
    "order too short": (lambda: np.zeros((3, 4, 5)), {"axes": "iyx", "order": "yx"}, "3"),
    "method": (lambda: SOURCE, {"method": "average"}, "'average'.*stride.*mean|stride.*mean.*'average'"),
    "method of no name": (lambda: SOURCE, {"method": 5}, "method"),
    "min of complex": (lambda: SOURCE.astype("c8"), {"method": "min"}, "complex numbers have no order"),
    "median of complex": (lambda: SOURCE.astype("c8"), {"method": "median"}, "median"),
    "nodata too large": (lambda: np.zeros((5, 5), "u1"), {"nodata": 300, "method": "mean"}, "nodata.*300.*uint8"),
    "nodata fraction": (lambda: np.zeros((5, 5), "i2"), {"nodata": 0.5, "method": "mean"}, "nodata"),
    "nodata list": (lambda: np.zeros((5, 5), "i2"), {"nodata": [1, 2], "method": "mean"}, "nodata"),
    "levels 0": (lambda: SOURCE, {"levels": 0}, "levels: expected a whole number from 1"),
    "levels fraction": (lambda: SOURCE, {"levels": 1.5}, "levels"),
    "levels true": (lambda: SOURCE, {"levels": True}, "levels"),
    "levels many": (lambda: SOURCE, {"levels": 1000}, "levels"),
    "chunks 0": (lambda: SOURCE, {"chunks": (0, 8)}, "chunks: expected 2 sizes above 0"),
    "chunks negative": (lambda: SOURCE, {"chunks": (-8, 8)}, "chunks"),
    "chunks huge": (lambda: SOURCE, {"chunks": (10**6, 10**6)}, "chunks.*bytes, at most"),
    "chunks fraction": (lambda: SOURCE, {"chunks": (8.5, 8)}, "chunks"),
    "chunks true": (lambda: SOURCE, {"chunks": (True, 8)}, "chunks"),
    "chunks too many": (lambda: SOURCE, {"chunks": (8, 8, 8)}, "chunks"),
    "chunks number": (lambda: SOURCE, {"chunks": 8.5}, "chunks"),
    "chunks text": (lambda: SOURCE, {"chunks": "auto"}, "chunks"),
    "factor 0": (lambda: SOURCE, {"factors": {"y": 0}}, "factor along 'y'"),
    "factor of no axis": (lambda: SOURCE, {"factors": {"z": 2}}, "'z'"),
    "factors of 1": (lambda: SOURCE, {"factors": {"y": 1, "x": 1}}, "downsamples no axis"),
    "bounds of three": (lambda: SOURCE, {"bounds": (0, 1, 2)}, "bounds"),
    "bounds of NaN": (lambda: SOURCE, {"bounds": (0, 0, np.nan, 1)}, "bounds"),
    "bounds of no width": (lambda: SOURCE, {"bounds": (0, 0, 0, 1)}, "bounds.*coincide"),
    "zarr format": (lambda: SOURCE, {"zarr_format": 4}, "zarr_format: expected 2 or 3, got 4"),
    "layout": (lambda: SOURCE, {"layout": "level"}, "layout"),
    "layout above": (lambda: SOURCE, {"layout": "../{level}"}, "layout"),
    "layout field": (lambda: SOURCE, {"layout": "{level}/{name}"}, "layout"),
    "separator": (lambda: SOURCE, {"dimension_separator": "-"}, "dimension_separator"),
    "compressor": (lambda: SOURCE, {"compressor": "zip"}, "zip"),
    "empty store": (MemoryStore, {}, "neither a Zarr array nor a group"),
    "empty mapping": (dict, {}, "neither a Zarr array nor a group"),
}


@pytest.mark.fault("S10")
@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_at_opening(kind):
    make, options, said = BAD[kind]
    with pytest.raises(PlanError, match=said) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LazyPyramidStore(make(), **options)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 500


CORRUPT = {
    "no JSON": b"{not json",
    "empty": b"",
    "bytes": bytes(range(256)),
    "null": b"null",
    "list": b"[]",
    "no node type": b'{"zarr_format": 3}',
    "array without a shape": b'{"zarr_format": 3, "node_type": "array", "data_type": "uint8"}',
    "unknown type": b'{"zarr_format": 3, "node_type": "table"}',
    "later format": b'{"zarr_format": 9, "node_type": "array"}',
}


@pytest.mark.parametrize("kind", CORRUPT)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray"])
@pytest.mark.parametrize("via", ["path", "mapping", "store"])
def test_corrupt_metadata(kind, name, via, tmp_path):
    (tmp_path / name).write_bytes(CORRUPT[kind])
    src = {
        "path": lambda: tmp_path,
        "mapping": lambda: {name: CORRUPT[kind]},
        "store": lambda: FaultStore(LocalStore(tmp_path)),
    }[via]()
    with pytest.raises(PlanError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        LazyPyramidStore(src)
    assert via != "path" or str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("shape", [-5, 5]),
        ("shape", "text"),
        ("shape", [5]),
        ("data_type", "no such type"),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0, 4]}}),
        ("chunk_grid", {"name": "no such grid"}),
        ("codecs", [{"name": "no such codec"}]),
        ("codecs", []),
        ("fill_value", "text"),
    ],
)
def test_metadata_that_makes_no_sense(change, value, tmp_path):
    zarr_array(SOURCE, store=tmp_path / "a.zarr", chunks=(16, 16))
    document = json.loads((tmp_path / "a.zarr" / "zarr.json").read_bytes())
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps({**document, change: value}))
    with pytest.raises(PlanError, match=r"a\.zarr"):
        LazyPyramidStore(tmp_path / "a.zarr")


def test_multiscales_that_name_what_is_not_there(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    ]
    with pytest.raises(PlanError, match=r"g\.zarr.*'0'"):
        LazyPyramidStore(tmp_path / "g.zarr")
    zarr_array(SOURCE, store=tmp_path / "g.zarr", name="0")
    zarr_array(SOURCE.astype("f8")[::2, ::2], store=tmp_path / "g.zarr", name="1")
    group.attrs["multiscales"] = [{"version": "0.4", "datasets": [{"path": "0"}, {"path": "1"}]}]
    with pytest.raises(PlanError, match="level '1' is float64"):
        LazyPyramidStore(tmp_path / "g.zarr")


def test_a_file_that_is_no_store(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*")
    with pytest.raises(PlanError, match=r"a\.tif is a file"):
        LazyPyramidStore(tmp_path / "a.tif")
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(PlanError, match=r"a\.zip"):
        LazyPyramidStore(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("http://127.0.0.1:9/a", "aiohttp", "http"),
        ("https://127.0.0.1:9/a", "aiohttp", "http"),
        ("s3://a/b", "s3fs", "s3"),
    ],
)
def test_a_url_whose_reader_is_not_installed(url, package, extra):
    code = f"""
import sys
sys.modules[{package!r}] = sys.modules["obstore"] = None
import lazypyr
try:
    lazypyr.open_pyramid({url!r})
except lazypyr.MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.strip() == f"reading {url} needs {package}: pip install 'lazypyr[{extra}]'"


def test_missing_extra_says_how_to_get_it():
    error = MissingExtra("plots", "holoviews", "plot")
    assert str(error) == "plots needs holoviews: pip install 'lazypyr[plot]'"
    assert isinstance(error, ImportError)
