"""Selections by coordinate and index, against xarray's own."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, PlanError, materialize, open_pyramid
from lazypyr.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")
A = np.random.default_rng(5).random((24, 90, 180)).astype("f4")


def dataset():
    times = pd.date_range("2020-01-15", periods=24, freq="15D")
    coords = {
        "time": times,
        "lat": np.linspace(89, -89, 90),
        "lon": np.arange(1.0, 361, 2),
        "name": ("time", list("abcdefghijklmnopqrstuvwx")),
    }
    variables = {"A": (("time", "lat", "lon"), A), "B": (("lat", "lon"), A[0] * 2)}
    return xr.Dataset(variables, coords)


def stored(zarr_format=3):
    store = MemoryStore()
    dataset().to_zarr(store, zarr_format=zarr_format)
    return store


SOURCES = {
    "DataArray": (lambda: dataset()["A"], {}),
    "DataArray of dask": (lambda: dataset().chunk({"time": 5})["A"], {}),
    "Dataset": (dataset, {"variable": "A"}),
    "zarr v2": (lambda: stored(2), {"variable": "A"}),
    "zarr v3": (lambda: stored(3), {"variable": "A"}),
}
SEL = [
    {"time": "2020-02"},
    {"time": "2020-02-14"},
    {"time": slice("2020-03", "2020-05")},
    {"time": slice("2020-12", None)},
    {"lat": slice(60, 10)},
    {"lat": slice(60, 10), "lon": slice(100, 199), "time": slice("2020-03", "2020-05")},
]
ISEL = [{"time": 3}, {"time": -1}, {"time": slice(2, 5)}, {"time": slice(-3, None)}, {"lat": slice(10, 20), "time": 0}]


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_selected_is_what_xarray_selects(kind):
    make, options = SOURCES[kind]
    source = make()
    for name, selections in (("sel", SEL), ("isel", ISEL)):
        for given in selections:
            expected = getattr(dataset()["A"], name)(given)
            pyramid = open_pyramid(source, **options, **{name: given})
            assert pyramid.shape == expected.shape, given
            np.testing.assert_array_equal(pyramid.read(0), expected.values)
            assert pyramid.coords["y"].origin == expected.lat.values[0]


REFUSED = {
    "no such month": ({"sel": {"time": "1999-01"}}, "'time' has no '1999-01'.*it runs from 2020-01-15"),
    "no such latitude": ({"sel": {"lat": 88.0}}, "lat"),
    "against its order": ({"sel": {"lat": slice(10, 60)}}, "is nothing; it runs from 89.0 to -89.0"),
    "a row": ({"isel": {"lat": 3}}, "leaves the axes y and x"),
    "no such dimension": ({"isel": {"depth": 0}}, "'depth'.*'time'"),
    "beyond the end": ({"isel": {"time": 24}}, "'time' has 24 entries, got 24"),
    "every second": ({"isel": {"time": slice(0, 9, 2)}}, "one by one"),
    "an empty range": ({"isel": {"time": slice(5, 5)}}, "expected a range of the 24 entries"),
    "no mapping": ({"sel": "2020"}, "expected a mapping"),
    "twice": ({"sel": {"time": "2020-02"}, "isel": {"time": 0}}, "both select along 'time'"),
    "no index": ({"isel": {"time": "2020"}}, "expected an index or a slice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_there_is_refused(case):
    options, said = REFUSED[case]
    for source in (dataset()["A"], stored()):
        with pytest.raises(PlanError, match=said):
            open_pyramid(source, **({} if isinstance(source, xr.DataArray) else {"variable": "A"}), **options)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("make", [dataset, stored])
def test_a_collection_is_selected_with_what_lies_around_it(make, zarr_format):
    for given in ({"time": slice(2, 5)}, {"time": 3}):
        store = LazyPyramidStore(make(), isel=given, zarr_format=zarr_format)
        served, expected = xr.open_zarr(store), dataset().isel(given)
        assert {path: p.shape for path, p in store.pyramids.items()} == {"A": expected.A.shape, "B": (90, 180)}
        for name in ("time", "name", "lat", "lon"):
            np.testing.assert_array_equal(served[name].values, expected[name].values)
    with pytest.raises(PlanError, match="no raster has a dimension 'depth'"):
        LazyPyramidStore(make(), isel={"depth": 0})


def test_levels_that_are_there_are_selected_too(tmp_path):
    materialize(open_pyramid(A, axes="tyx", chunks=32, method="mean"), tmp_path / "a.zarr", progress=False)
    pyramid = open_pyramid(tmp_path / "a.zarr", isel={"t": slice(3, 6)})
    assert len(pyramid.stored_levels) > 2
    whole = open_pyramid(tmp_path / "a.zarr")
    for level in range(len(pyramid.levels)):
        np.testing.assert_array_equal(pyramid.read(level), whole.read(level)[3:6])
    cut = open_pyramid(tmp_path / "a.zarr", isel={"y": slice(1, 80)}, chunks=32)
    assert len(cut.stored_levels) == 1
    np.testing.assert_array_equal(cut.read(0), A[:, 1:80])


def test_recipes_and_commands_select(tmp_path, capsys):
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    pyramid = open_pyramid(tmp_path / "a.zarr", variable="A", isel={"time": slice(2, 5)}, sel={"lat": slice(60, 10)})
    recipe = json.loads(json.dumps({**pyramid.to_recipe(tmp_path), "source": str(tmp_path / "a.zarr")}))
    assert recipe["isel"] == {"time": {"from": 2, "to": 5}} and recipe["sel"] == {"lat": {"from": 60, "to": 10}}
    assert open_pyramid(recipe) == pyramid
    assert pyramid.refreshed() == pyramid
    call = ["info", str(tmp_path / "a.zarr"), "--json", "--variable", "A", "--isel", "time=2..5", "--sel", "lat=60..10"]
    assert main([*call, "--product", "rescale:vmin=0;vmax=1", "--product", "cast:dtype=float32"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["levels"][0]["shape"] == [3, 25, 180] and facts["dtype"] == "float32"
    assert main(["info", str(tmp_path / "a.zarr"), "--isel", "time=1"]) == 0
    out = capsys.readouterr().out
    assert "a collection of 2 pyramids" in out and "served as it is: 'lat', 'lon', 'name', 'time'" in out
    assert main(["info", str(tmp_path / "a.zarr"), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["collection"]) == ["A", "B"]
    assert main(["info", str(tmp_path / "a.zarr"), "--isel", "depth=1"]) == 1
    assert "no raster has a dimension 'depth'" in capsys.readouterr().err
    for wrong in ("time", "time=", "time=a"):
        with pytest.raises(SystemExit):
            main(["info", str(tmp_path / "a.zarr"), "--isel", wrong])
