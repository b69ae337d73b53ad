"""Datasets of several rasters as xarray and zarr write them: which are pyramids, and that the rest is as it was."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore, WrapperStore

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, open_pyramid

pytestmark = pytest.mark.filterwarnings("ignore")
A = np.random.default_rng(1).random((2, 90, 180)).astype("f4")
AROUND = ("lat", "lon", "time", "station", "crs", "lat_bnds", "lon2")


def dataset():
    """Two rasters, and one of each kind of variable beside them."""
    return xr.Dataset(
        {
            "A": (("time", "lat", "lon"), A, {"units": "K", "grid_mapping": "crs"}),
            "B": (("lat", "lon"), A[0] * 2),
            "lat_bnds": (("lat", "bnds"), np.stack([np.arange(90.0), np.arange(90.0) + 1], -1)),
        },
        coords={
            "lat": ("lat", np.linspace(-89, 89, 90), {"units": "degrees_north", "bounds": "lat_bnds"}),
            "lon": ("lon", np.arange(1.0, 361, 2), {"units": "degrees_east"}),
            "time": np.array(["2020-01-01", "2020-02-01"], "M8[ns]"),
            "station": ("time", ["ab", "cde"]),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude"}),
            "lon2": (("lat", "lon"), A[0]),
        },
        attrs={"title": "POWER", "history": [1, 2.5]},
    )


def stored(source_format, *, consolidated=True):
    store = MemoryStore()
    dataset().to_zarr(store, zarr_format=source_format, consolidated=consolidated)
    return store


SOURCES = {
    "v2": lambda: stored(2),
    "v3": lambda: stored(3),
    "v2, not consolidated": lambda: stored(2, consolidated=False),
    "v3, not consolidated": lambda: stored(3, consolidated=False),
    "Dataset": dataset,
    "Dataset of dask": lambda: dataset().chunk({"lat": 30}),
    "opened Dataset": lambda: xr.open_zarr(stored(2), chunks=None),
    "opened Dataset of dask": lambda: xr.open_zarr(stored(3)),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_dataset_is_a_collection_and_the_rest_is_as_it_was(kind, zarr_format):
    store = LazyPyramidStore(SOURCES[kind](), zarr_format=zarr_format, method="mean", chunks=64)
    assert list(store.pyramids) == ["A", "B"]
    served = xr.open_zarr(store, consolidated=True)
    assert served.attrs == dataset().attrs
    for name in AROUND:
        expected = dataset()[name].reset_coords(drop=True)
        xr.testing.assert_identical(served[name].reset_coords(drop=True), expected)
    group = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(group["A/0"][...], A)
    box = A.astype("f8").reshape(2, 45, 2, 90, 2).mean((2, 4)).astype("f4")
    np.testing.assert_allclose(group["A/1"][...], box, rtol=1e-6)


@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_key_that_is_listed_is_there(zarr_format, separator, compressor):
    store = LazyPyramidStore(
        stored(3), zarr_format=zarr_format, dimension_separator=separator, compressor=compressor, chunks=64
    )
    keys = list(store)
    assert len(keys) == len(store) == len(set(keys))
    for key in keys:
        assert key in store, key
        assert store.size_of(key) in (None, len(store[key])), key
    assert {"A", "crs", "lat"} <= set(zarr.open_group(store, mode="r", use_consolidated=False).keys())
    assert "crs/c/0" not in store and "lat/c/7" not in store


class Counted(WrapperStore):
    """Counts what is asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.asked = Counter()

    async def get(self, key, *args, **options):
        self.asked[key] += 1
        return await self._store.get(key, *args, **options)

    def with_read_only(self, read_only=False):
        return self


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_opening_reads_coordinates_once_for_all_variables_and_no_pixel(zarr_format, consolidated):
    store = Counted(MemoryStore())
    wide = dataset().assign({f"V{n}": (("time", "lat", "lon"), A) for n in range(5)})
    wide.to_zarr(store._store, zarr_format=zarr_format, consolidated=consolidated)
    served = LazyPyramidStore(store)
    assert len(served.pyramids) == 7
    chunks = {key: n for key, n in store.asked.items() if key.rpartition("/")[2][0].isdecimal() or key.endswith("/c")}
    assert not {key for key in chunks if key[0] in "ABV"}
    assert max(chunks.values()) == 1
    if consolidated:  # the root, and what tells whether an array is still the one that was opened
        documents = [key for key in store.asked if key.endswith(("zarr.json", ".zarray", ".zattrs", ".zgroup"))]
        assert not {key for key in documents if key.startswith(("lat", "lon", "time", "crs", "station"))}


def test_a_store_of_several_is_pickled_with_what_lies_around_it(tmp_path):
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    store = LazyPyramidStore(tmp_path / "a.zarr")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert {key: copy[key] for key in store} == {key: store[key] for key in store}


# What is chosen

ONE = {
    "one variable and its bounds": (lambda: dataset()[["A", "lat_bnds"]], {}, [""]),
    "the same as a collection": (lambda: dataset()[["A", "lat_bnds"]], {"as_collection": True}, ["A"]),
    "one of two": (lambda: dataset(), {"variable": "B"}, [""]),
    "an array as a collection": (lambda: dataset()["A"], {"as_collection": True}, ["image"]),
}


@pytest.mark.parametrize("case", ONE)
def test_one_raster_stays_a_pyramid_at_the_root(case):
    make, options, paths = ONE[case]
    assert list(LazyPyramidStore(make(), **options).pyramids) == paths


def test_a_variable_is_named_by_its_path_or_the_end_of_it(tmp_path):
    tree = xr.DataTree.from_dict({"/r10m": dataset(), "/r20m": dataset()[["A"]]})
    tree.to_zarr(tmp_path / "t.zarr", zarr_format=3)
    for source in (tree, tmp_path / "t.zarr"):
        assert list(LazyPyramidStore(source).pyramids) == ["r10m/A", "r10m/B", "r20m/A"]
        assert open_pyramid(source, variable="B").shape == (90, 180)
        assert open_pyramid(source, variable="r20m/A").shape == (2, 90, 180)
        with pytest.raises(PlanError, match=r"variable='A' is 2 rasters; give one of 'r10m/A', 'r20m/A'"):
            open_pyramid(source, variable="A")
        with pytest.raises(PlanError, match=r"no raster is called 'C'.*'r10m/A', 'r10m/B', 'r20m/A'"):
            open_pyramid(source, variable="C")
        with pytest.raises(PlanError, match=r"3 rasters; name one with variable=.*'r10m/A', 'r10m/B', 'r20m/A'"):
            open_pyramid(source)
        with pytest.raises(PlanError, match="3 rasters"):
            LazyPyramidStore(source, as_collection=False)
    with pytest.raises(PlanError, match="is one raster, not several"):
        open_pyramid(A, variable="A")


def test_a_recipe_names_the_variable(tmp_path):
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    pyramid = open_pyramid(tmp_path / "a.zarr", variable="B", method="mean")
    recipe = pyramid.to_recipe(tmp_path)
    assert recipe["source"] == "a.zarr" and recipe["variable"] == "B"
    assert open_pyramid(json.loads(json.dumps({**recipe, "source": str(tmp_path / "a.zarr")}))) == pyramid
    assert pyramid.refreshed().to_recipe(tmp_path) == recipe


# What can't be read

SPOILT = {
    "dtype": lambda d: d.update(data_type="myfloat24"),
    "order F": lambda d: d["codecs"].insert(0, {"name": "transpose", "configuration": {"order": "F"}}),
    "codec": lambda d: d["codecs"].insert(0, {"name": "no.such.codec", "configuration": {}}),
    "chunks": lambda d: d["chunk_grid"]["configuration"].update(chunk_shape=[1] * 5),
    "json": None,
}


def spoilt(folder, kind, name, *, consolidated):
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    for member in ("A", "B", "C"):
        group.create_array(member, shape=(64, 64), chunks=(32, 32), dtype="u1")
    path = folder / name / "zarr.json"
    document, change = json.loads(path.read_text()), SPOILT[kind]
    if change is not None:
        change(document)
    path.write_text(json.dumps(document)[: None if change else 50])
    if consolidated and change:
        root = json.loads((folder / "zarr.json").read_text())
        members = {m: json.loads((folder / m / "zarr.json").read_text()) for m in ("A", "B", "C")}
        root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": members}
        (folder / "zarr.json").write_text(json.dumps(root))


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("kind", SPOILT)
def test_one_that_cannot_be_read_does_not_stop_the_others(kind, consolidated, tmp_path):
    spoilt(tmp_path, kind, "B", consolidated=consolidated)
    store = LazyPyramidStore(tmp_path)
    assert list(store.pyramids) == ["A", "C"] and set(store.surroundings.unreadable) == {"B"}
    assert store.surroundings.unreadable["B"]
    with pytest.raises(PlanError, match="'B' can't be opened: "):
        open_pyramid(tmp_path, variable="B")


@pytest.mark.parametrize("kind", SPOILT)
def test_a_level_that_cannot_be_read_is_named(kind, tmp_path):
    spoilt(tmp_path, kind, "B", consolidated=False)
    axes = [{"name": c, "type": "space"} for c in "yx"]
    datasets = [
        {"path": p, "coordinateTransformations": [{"type": "scale", "scale": [s, s]}]} for p, s in (("A", 1), ("B", 2))
    ]
    attributes = {"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}
    zarr.open_group(tmp_path, mode="a").attrs.update(attributes)
    with pytest.raises(PlanError, match="'?B'?"):
        open_pyramid(tmp_path)


def test_a_group_without_a_raster_says_what_it_holds(tmp_path):
    group = zarr.open_group(tmp_path, mode="w")
    group.create_array("x", shape=(4,), dtype="f4")
    group.create_group("inner").create_array("names", shape=(2, 2), dtype="U4")
    with pytest.raises(PlanError, match=r"without a raster; it holds 'inner', 'inner/names', 'x'"):
        open_pyramid(tmp_path)


def test_collections_hold_datasets():
    store = lazypyr.collection({"power": dataset(), "b": A[0]})
    assert list(store.pyramids) == ["power/A", "power/B", "b"]
    xr.testing.assert_identical(xr.open_zarr(store, group="power")["station"].load(), dataset()["station"])


@pytest.mark.parametrize("zarr_format, options", [(2, {}), (3, {}), (3, {"shards": 128})])
def test_materialize_writes_the_whole_dataset(zarr_format, options, tmp_path):
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    options = {"zarr_format": zarr_format, "method": "mean", "chunks": 64, "progress": False, **options}
    lazypyr.materialize(tmp_path / "a.zarr", tmp_path / "b.zarr", **options)
    written = xr.open_zarr(tmp_path / "b.zarr")
    assert written.attrs == dataset().attrs
    for name in AROUND:
        xr.testing.assert_identical(written[name].reset_coords(drop=True), dataset()[name].reset_coords(drop=True))
    lazy = LazyPyramidStore(tmp_path / "a.zarr", method="mean", chunks=64)
    again = LazyPyramidStore(tmp_path / "b.zarr")
    assert list(again.pyramids) == ["A", "B"]
    for path, pyramid in lazy.pyramids.items():
        for level in range(len(pyramid.levels)):
            stored = zarr.open_array(tmp_path / "b.zarr" / path / str(level), mode="r")[...]
            np.testing.assert_array_equal(stored, pyramid.read(level))
            np.testing.assert_array_equal(again.pyramids[path].read(level), stored)
    assert {key: len(again[key]) for key in again}  # every key has a value
    assert lazypyr.materialize(tmp_path / "a.zarr", tmp_path / "b.zarr", **options).chunks == 0


def test_what_was_copied_before_an_interruption_is_not_copied_again(tmp_path, monkeypatch):
    dataset().to_zarr(tmp_path / "a.zarr", zarr_format=3)
    options = {"chunks": 64, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr("lazypyr.writing.run.commit", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            lazypyr.materialize(tmp_path / "a.zarr", tmp_path / "b.zarr", **options)
    assert not (tmp_path / "b.zarr" / "zarr.json").exists()
    copied = tmp_path / "b.zarr" / "lat_bnds" / "c" / "0" / "0"
    before = copied.stat().st_mtime_ns
    lazypyr.materialize(tmp_path / "a.zarr", tmp_path / "b.zarr", **options)
    assert copied.stat().st_mtime_ns == before
    assert list(xr.open_zarr(tmp_path / "b.zarr")["station"].values) == ["ab", "cde"]
