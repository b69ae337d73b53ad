"""Opening: everything that is a source, and a clear error for everything that isn't."""

from __future__ import annotations

import functools
import http.server
import threading
import zipfile

import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import FsspecStore, LocalStore, WrapperStore, ZipStore

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, SourceError, from_function, open_pyramid
from lazypyr.pyramids.reduced import ReducedPyramid
from support import reference
from support.faultstore import bytes_of
from support.sources import random_array, zarr_array

SOURCE = random_array(0, (50, 70), "<f4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    zarr_array(SOURCE, store=folder / "v3.zarr", chunks=(16, 20), dimension_names=["row", "col"])
    zarr_array(SOURCE, store=folder / "v2.zarr", chunks=(16, 20), zarr_format=2)
    zarr_array(SOURCE, store=folder / "sharded.zarr", chunks=(8, 10), shards=(16, 20))
    with zipfile.ZipFile(folder / "v3.zip", "w") as file:
        for path in (folder / "v3.zarr").rglob("*"):
            file.write(path, path.relative_to(folder / "v3.zarr"))
    return folder


class Recording(http.server.SimpleHTTPRequestHandler):
    seen: list = []

    def log_message(self, *args):
        type(self).seen.append(self.headers.get("X-Token"))


@pytest.fixture(scope="module")
def url(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Recording, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def same_levels(store, source=SOURCE, method="stride"):
    group = zarr.open(store)
    expected = reference.levels(source, (2,) * source.ndim, len(store.pyramid.levels), method)
    for k in reversed(range(len(expected))):
        np.testing.assert_array_equal(group[str(k)][...], expected[k])


def lazy_backend(folder):
    """A DataArray whose pixels xarray reads from the file when they are asked for."""
    zarr.create_group(folder / "named.zarr", overwrite=True)
    zarr_array(SOURCE, store=folder / "named.zarr", name="a", chunks=(16, 20), dimension_names=["y", "x"])
    array = xr.open_dataset(folder / "named.zarr", engine="zarr", chunks=None, consolidated=False)["a"]
    assert not isinstance(array.variable._data, np.ndarray)
    return array


def in_fsspec_memory(folder):
    files = fsspec.filesystem("memory")
    for path in (folder / "v3.zarr").rglob("*"):
        if path.is_file():
            files.pipe(f"/lazypyr/{path.relative_to(folder / 'v3.zarr')}", path.read_bytes())
    return "memory://lazypyr"


SOURCES = {
    "path": lambda f: str(f / "v3.zarr"),
    "Path of v2": lambda f: f / "v2.zarr",
    "sharded": lambda f: f / "sharded.zarr",
    "file URL": lambda f: f"file://{f}/v3.zarr",
    "local URL": lambda f: f"local://{f}/v2.zarr",
    "memory URL": in_fsspec_memory,
    "zip": lambda f: f / "v3.zip",
    "array": lambda f: zarr.open(f / "v3.zarr", mode="r"),
    "array of v2": lambda f: zarr.open(f / "v2.zarr", mode="r"),
    "array opened for writing": lambda f: zarr.open(f / "v3.zarr", mode="r+"),
    "array in a group": lambda f: zarr_array(SOURCE, name="deep/down", chunks=(9, 9)),
    "local store": lambda f: LocalStore(f / "v3.zarr"),
    "memory store": lambda f: zarr_array(SOURCE, chunks=(9, 9)).store,
    "wrapper store": lambda f: WrapperStore(LocalStore(f / "v2.zarr")),
    "zip store": lambda f: ZipStore(f / "v3.zip", mode="r"),
    "fsspec store": lambda f: FsspecStore.from_url(f"local://{f}/v3.zarr", read_only=True),
    "dict": lambda f: bytes_of(zarr_array(SOURCE, chunks=(9, 9)).store),
    "dict of buffers": lambda f: dict(zarr_array(SOURCE, chunks=(9, 9)).store._store_dict),
    "FSMap": lambda f: fsspec.get_mapper(str(f / "v2.zarr")),
    "group of one array": lambda f: zarr.open_group(zarr_array(SOURCE, name="only", chunks=(9, 9)).store, mode="r"),
    "numpy": lambda f: SOURCE,
    "numpy, Fortran order": lambda f: np.asfortranarray(SOURCE),
    "numpy, a view with negative strides": lambda f: SOURCE[::-1, ::-1].copy()[::-1, ::-1],
    "numpy, big-endian": lambda f: SOURCE.astype(">f4"),
    "memmap": lambda f: memmap(f),
    "dask": lambda f: da.from_array(SOURCE, chunks=(13, 40)),
    "xarray over numpy": lambda f: xr.DataArray(SOURCE, dims=("lat", "lon")),
    "xarray over dask": lambda f: xr.DataArray(SOURCE, dims=("y", "x")).chunk({"y": 13}),
    "xarray over a file": lazy_backend,
    "source": lambda f: open_pyramid(SOURCE).stored_levels[0],
}


def memmap(folder):
    np.save(folder / "map.npy", SOURCE)
    return np.load(folder / "map.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", SOURCES)
def test_sources(kind, folder):
    src = SOURCES[kind](folder)
    store = LazyPyramidStore(src, chunks=(16, 16), method="mean")
    assert store.pyramid.axes == ("y", "x")
    assert [level.shape for level in store.pyramid.levels] == [(50, 70), (25, 35), (13, 18), (7, 9)]
    same_levels(store, method="mean")
    again = store.pyramid.refreshed()
    np.testing.assert_array_equal(again.read(2), reference.levels(SOURCE, (2, 2), 3, "mean")[2])


def test_http(url):
    """Through fsspec, with its options."""
    Recording.seen.clear()
    store = LazyPyramidStore(f"{url}/v3.zarr", storage_options={"headers": {"X-Token": "secret"}}, chunks=(16, 16))
    same_levels(store)
    assert set(Recording.seen) == {"secret"}
    assert "secret" not in repr(store) + str(store) + store["zarr.json"].decode()
    same_levels(LazyPyramidStore(f"{url}/v2.zarr", chunks=(16, 16)))
    same_levels(LazyPyramidStore(f"{url}/sharded.zarr", chunks=(16, 16)))
    with pytest.raises(PlanError, match="nowhere"):
        LazyPyramidStore(f"{url}/nowhere.zarr")


def test_a_server_that_goes_away(folder):
    """Whatever can't be reached is an error, and no fill value."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Recording, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    store = LazyPyramidStore(f"http://127.0.0.1:{server.server_address[1]}/v3.zarr", chunks=(16, 16))
    warm = store["0/c/0/0"]
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError):
        store["0/c/2/2"]
    assert store["0/c/0/0"] == warm


def test_lazy_stores_are_unwrapped(folder):
    inner = LazyPyramidStore(folder / "v3.zarr", chunks=(16, 16), method="mean")
    root = zarr.open(inner)
    for src in (inner, inner.pyramid, root):
        assert open_pyramid(src) is inner.pyramid
    assert open_pyramid(root["0"]) == inner.pyramid
    again = LazyPyramidStore(root["1"], chunks=(16, 16), method="mean", axes="yx")
    expected = reference.levels(SOURCE, (2, 2), 3, "mean")
    np.testing.assert_array_equal(zarr.open(again)["1"][...], expected[2])
    layered = zarr.open(LazyPyramidStore(SOURCE, layout="{level}/image", chunks=(16, 16)))
    np.testing.assert_array_equal(open_pyramid(layered["1/image"]).read(0), SOURCE[::2, ::2])
    turned = LazyPyramidStore(inner, order="xy")
    np.testing.assert_array_equal(zarr.open(turned)["1"][...], expected[1].T)
    for options in ({"method": "max"}, {"levels": 2}, {"factors": {"y": 3}}, {"bounds": (0, 0, 1, 1)}):
        with pytest.raises(PlanError, match="is a pyramid already"):
            LazyPyramidStore(inner, **options)
    with pytest.raises(PlanError, match="its axes are 'yx'"):
        LazyPyramidStore(inner, axes="xy")


def test_multiscale_groups(data_dir):
    """The levels that an OME-Zarr has are served as they are; coarser ones are made of the last of them."""
    (path,) = (data_dir / "micro_ome_zarr_ezzarr").glob("*.zarr")
    group = zarr.open(path, mode="r")
    multiscale = (group.attrs.get("ome") or group.attrs)["multiscales"][0]
    stored = [group[dataset["path"]] for dataset in multiscale["datasets"]]
    store = LazyPyramidStore(path, chunks=(16, 16), method="mean")
    served = zarr.open(store)
    assert len(store.pyramid.levels) > len(stored)
    for k, array in enumerate(stored):
        np.testing.assert_array_equal(served[str(k)][...], array[...])
    last = stored[-1][...]
    factors = tuple(2 if axis in "yx" else 1 for axis in store.pyramid.axes)
    made = reference.levels(last, factors, len(store.pyramid.levels) - len(stored) + 1, "mean")
    for k, level in enumerate(made):
        np.testing.assert_array_equal(served[str(len(stored) - 1 + k)][...], level)
    assert store.pyramid.axes == tuple(axis["name"] for axis in multiscale["axes"])
    scale = next(t["scale"] for t in multiscale["datasets"][0]["coordinateTransformations"] if t["type"] == "scale")
    assert store.pyramid.coords["y"].step == scale[store.pyramid.axes.index("y")]


def test_a_plain_group_of_levels(tmp_path):
    """Levels 0, 1, 2, ... without any metadata, as InSAR pyramids have them: one of its arrays must be named."""
    group = zarr.create_group(tmp_path / "pyramid.zarr")
    for k in range(3):
        zarr_array(SOURCE[:: 2**k, :: 2**k], store=tmp_path / "pyramid.zarr", name=str(k), chunks=(16, 16))
    with pytest.raises(PlanError, match=r"'0', '1', '2'"):
        LazyPyramidStore(group)
    same_levels(LazyPyramidStore(group["0"], chunks=(16, 16)))
    same_levels(LazyPyramidStore(tmp_path / "pyramid.zarr" / "0", chunks=(16, 16)))
    group.attrs["multiscales"] = [{"version": "0.1", "datasets": [{"path": str(k)} for k in range(3)]}]
    store = LazyPyramidStore(tmp_path / "pyramid.zarr", chunks=(16, 16))
    assert len(store.pyramid.stored_levels) == 3
    same_levels(store)


def test_levels_in_any_order(tmp_path):
    """ndpyramid puts the coarsest first."""
    group = zarr.create_group(tmp_path / "p.zarr")
    for k in range(3):
        zarr_array(SOURCE[:: 2**k, :: 2**k], store=tmp_path / "p.zarr", name=f"{2 - k}/a", chunks=(16, 16))
    group.attrs["multiscales"] = [{"datasets": [{"path": str(k)} for k in range(3)], "type": "reduce"}]
    same_levels(LazyPyramidStore(tmp_path / "p.zarr", chunks=(16, 16)))


@pytest.mark.parametrize("order", ["yxi", "iyx", "xiy", ["i", "y", "x"]])
def test_order(order):
    source = random_array(0, (20, 30, 3), "<f4")
    store = LazyPyramidStore(source, axes="yxi", order=order, chunks=(8, 8))
    back = ["yxi".index(a) for a in order]
    assert store.pyramid.axes == tuple(order)
    np.testing.assert_array_equal(zarr.open(store)["1"][...], source[::2, ::2].transpose(back))
    assert store.pyramid.chunks == tuple(1 if a == "i" else 8 for a in order)


@pytest.mark.parametrize(
    ("shape", "chunks", "names", "axes"),
    [
        ((9, 9, 9), (4, 4, 1), None, "yxi"),
        ((9, 9, 9), (1, 4, 4), None, "iyx"),
        ((9, 9, 9), (4, 4, 4), None, "iyx"),
        ((9, 9, 2, 2), (4, 4, 1, 1), None, "yxij"),
        ((2, 2, 9, 9), (1, 1, 4, 4), None, "ijyx"),
        ((9, 9, 9), (1, 4, 4), ["lat", "lon", "t"], "yxt"),
        ((9, 9, 9), (1, 4, 4), ["t", "Y", "X"], "tyx"),
        ((9, 9), (4, 4), ["azimuth", "range"], "yx"),
        ((9, 9, 9), (4, 4, 1), ["a", "b", "c"], None),
        ((9, 9), (4, 4), [None, None], "yx"),
    ],
)
def test_axes_are_taken_from_names_or_chunks(shape, chunks, names, axes):
    array = zarr_array(np.zeros(shape, "u1"), chunks=chunks, dimension_names=names)
    found = open_pyramid(array).axes
    assert {"y", "x"} <= set(found)
    if axes is not None:
        assert found == tuple(axes)


def test_axes_of_v2_attributes():
    array = zarr_array(np.zeros((3, 9, 9), "u1"), zarr_format=2, attributes={"_ARRAY_DIMENSIONS": ["time", "y", "x"]})
    assert open_pyramid(array).axes == ("time", "y", "x")


def test_from_function():
    def read(level, window):
        (a, b), (c, d) = window
        return np.add.outer(np.arange(a, b), np.arange(c, d)).astype("i8") * 2**level

    pyramid = from_function(read, shape=(100, 60), dtype="i8", chunks=(16, 16), centred=True, bounds=(-5, 995, 595, -5))
    assert [level.shape for level in pyramid.levels] == [(100, 60), (50, 30), (25, 15), (13, 8)]
    assert pyramid.levels[2].translation == (1.5, 1.5)
    assert pyramid.coords["x"].step == 10
    group = zarr.open(LazyPyramidStore(pyramid))
    for k in range(4):
        np.testing.assert_array_equal(group[str(k)][...], np.add.outer(*map(np.arange, group[str(k)].shape)) * 2**k)
    for options, said in [
        ({"shape": (0, 5)}, "shape"),
        ({"shape": (5,)}, "shape"),
        ({"shape": (5, -1)}, "shape"),
        ({"shape": (5, 2.5)}, "shape"),
        ({"dtype": "O"}, "can't be shown"),
        ({"dtype": [("a", "i4")]}, "can't be shown"),
        ({"levels": 0}, "levels"),
        ({"axes": "ab"}, "'y' and an 'x'"),
        ({"chunks": (0, 1)}, "chunks"),
    ]:
        with pytest.raises(PlanError, match=said):
            from_function(read, **{"shape": (10, 10), "dtype": "i8", **options})
    with pytest.raises(PlanError, match="expected a function"):
        from_function(5, shape=(5, 5), dtype="u1")


def test_bounds_and_nodata():
    store = LazyPyramidStore(SOURCE, bounds=(95, 405, 795, 905), nodata=-9999.0, method="mean", chunks=(16, 16))
    assert store.pyramid.coords["x"].step == 10
    assert store.pyramid.coords["y"].step == -10
    assert store.pyramid.nodata == -9999
    declared = zarr_array(SOURCE, attributes={"_FillValue": -1.0})
    assert open_pyramid(declared).nodata == -1
    assert open_pyramid(declared, nodata=None).nodata is None


@pytest.mark.parametrize("bounds", [(100, 400, 800, 900), (-180, 90, 180, -90), (5, -3, -7, 2)])
def test_bounds_are_those_of_rasterio(bounds):
    """Until 0.1.0 they were centres, (x_first, y_first, x_last, y_last), and row 0 was at the second number."""
    import rasterio.transform as rasterio

    ny, nx = 50, 70
    affine = rasterio.from_bounds(*bounds, nx, ny)
    for pyramid in (
        open_pyramid(np.zeros((ny, nx), "u1"), bounds=bounds),
        from_function(lambda level, window: None, shape=(ny, nx), dtype="u1", bounds=bounds),
    ):
        x, y = pyramid.coords["x"], pyramid.coords["y"]
        assert rasterio.xy(affine, 0, 0) == pytest.approx((x.origin, y.origin))
        assert rasterio.xy(affine, ny - 1, nx - 1) == pytest.approx((x.at(nx - 1), y.at(ny - 1)))
        assert pyramid.grid.extent() == pytest.approx(bounds)
        assert pyramid.grid.extent() == pytest.approx(rasterio.array_bounds(ny, nx, affine))


def test_old_and_new_value_of_bounds():
    grid = open_pyramid(np.zeros((50, 70), "u1"), bounds=(0, 0, 690, 490)).grid
    old = {"x0": 0, "dx": 10, "y0": 0, "dy": 10}
    new = {"x0": 690 / 140, "dx": 690 / 70, "y0": 490 - 4.9, "dy": -9.8}
    assert {name: getattr(grid, name) for name in old} == pytest.approx(new)


def test_levels_option():
    assert len(open_pyramid(SOURCE, levels=1).levels) == 1
    assert len(open_pyramid(SOURCE, levels=9).levels) == 9
    assert open_pyramid(SOURCE, levels=9).levels[-1].shape == (1, 1)
    assert isinstance(open_pyramid(np.zeros((1, 1))), ReducedPyramid)
    with pytest.raises(PlanError, match="a collection has no pyramid"):
        lazypyr.collection({"a": SOURCE}).pyramid
    for names in ({}, {"": SOURCE}, {"a/b": SOURCE}, {".hidden": SOURCE}, {"c": SOURCE}, {5: SOURCE}):
        with pytest.raises(PlanError, match="collection"):
            lazypyr.collection(names)
