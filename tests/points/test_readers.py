"""Where points come from, and what of their index is kept: files, zarr, the index on disk, more points than memory."""

from __future__ import annotations

import gzip
import importlib.util
import json
import multiprocessing
import os
import pickle
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import DestinationError, PlanError, SourceError, from_points, read_points
from lazypyr.points.columns import as_column
from lazypyr.points.index import external_sort
from lazypyr.points.index.build import PointIndex
from support.paths import BUNDLED, DATA, ROOT

STADIUM = BUNDLED / "lidar_autzen" / "stadium.zarr"
COPC = DATA / "copc" / "points.copc.laz"
AMSTERDAM = DATA / "ps_amsterdam" / "points.zarr"


@pytest.fixture
def rng():
    return np.random.default_rng(42)


def cloud(rng, n=5000, side=300.0):
    return rng.random(n) * side, rng.random(n) * side


def saved(folder, **arrays):
    group = zarr.open_group(str(folder), mode="w")
    for name, (array, chunks) in arrays.items():
        group.create_array(name, shape=array.shape, chunks=chunks, dtype=array.dtype)[:] = array
    return zarr.open_group(str(folder), mode="r")


def assert_same(a: PointIndex, b: PointIndex):
    np.testing.assert_array_equal(a.starts, b.starts)
    np.testing.assert_array_equal(a.key, b.key)
    won = a.starts[-2]
    np.testing.assert_array_equal(a.point[:won], b.point[:won])
    np.testing.assert_array_equal(a.rank[:won], b.rank[:won])
    np.testing.assert_array_equal(np.sort(a.point), np.sort(b.point))


class Counting:
    """A store wrapper's worth of counting: which chunks of a column are read."""

    def __init__(self, source):
        self.source, self.windows = source, []
        self.read_really = source.read
        source.read = self

    def __call__(self, window, step=None):
        self.windows.append(window)
        return self.read_really(window, step)


class CountingStore(zarr.storage.WrapperStore):
    """A store that remembers which chunks were asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.keys = []

    async def get(self, key, prototype, byte_range=None):
        if "zarr.json" not in key:
            self.keys.append(key)
        return await super().get(key, prototype, byte_range)


# Columns in zarr


def test_zarr_columns_give_what_numpy_gives(rng, tmp_path):
    x, y = cloud(rng)
    values = (rng.random((5000, 3)) + 1j).astype("c8")
    group = saved(tmp_path / "p", x=(x, (700,)), y=(y, (900,)), values=(values, (512, 2)))
    lazy = from_points(group["x"], group["y"], group["values"], resolution=1.0, chunks=(64, 64))
    eager = from_points(x, y, values, resolution=1.0, chunks=(64, 64))
    for level in range(len(eager.levels)):
        np.testing.assert_array_equal(lazy.read(level), eager.read(level))
    assert (
        lazy.with_values(group["values"], method="last").read(2).tobytes()
        == eager.with_values(values, method="last").read(2).tobytes()
    )
    np.testing.assert_array_equal(lazy.query((10, 10, 50, 60)), eager.query((10, 10, 50, 60)))
    assert lazy.nearest(5.0, 5.0)[0] == eager.nearest(5.0, 5.0)[0]
    again = pickle.loads(
        pickle.dumps(from_points(str(tmp_path / "p" / "x"), tmp_path / "p" / "y", group["values"], resolution=1.0))
    )
    np.testing.assert_array_equal(again.read(0), eager.read(0))


def test_one_channel_is_read_and_each_chunk_once(rng, tmp_path):
    x, y = cloud(rng)
    values = rng.random((5000, 10)).astype("f4")
    group = saved(tmp_path / "p", values=(values, (500, 1)))
    pyramid = from_points(x, y, group["values"], resolution=1.0, chunks=(64, 64))
    count = Counting(pyramid.values)
    pyramid.read(-1, ((0, 20), (0, 20), (4, 5)))
    pyramid.read(0, ((0, 64), (0, 64), (4, 5)))
    assert {w[1] for w in count.windows} == {(4, 5)}
    assert len(count.windows) == len(set(count.windows)) <= 10


@pytest.mark.fault("S4")
def test_a_failing_chunk_is_an_error_and_the_next_read_tries_again(rng, tmp_path):
    x, y = cloud(rng)
    group = saved(tmp_path / "p", values=(rng.random(5000), (500,)))
    pyramid = from_points(x, y, group["values"], resolution=1.0)
    chunk = tmp_path / "p" / "values" / "c" / "3"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:50])
    with pytest.raises(SourceError, match="c/3"):
        pyramid.read(-1)
    chunk.write_bytes(data)
    assert np.isfinite(pyramid.read(-1)).any()


def test_dask_xarray_and_pandas_columns(rng):
    x, y = cloud(rng, n=1000)
    expected = from_points(x, y, x, resolution=1.0).read(1)
    import dask.array as da

    lazy = from_points(
        da.from_array(x, chunks=300), da.from_array(y, chunks=300), da.from_array(x, chunks=100), resolution=1.0
    )
    np.testing.assert_array_equal(lazy.read(1), expected)
    import xarray as xr

    array = xr.DataArray(x, dims="point")
    np.testing.assert_array_equal(
        from_points(array, xr.DataArray(y, dims="point"), array, resolution=1.0).read(1), expected
    )
    import pandas as pd

    frame = pd.DataFrame({"x": x, "y": y})
    np.testing.assert_array_equal(from_points(frame.x, frame.y, frame["x"], resolution=1.0).read(1), expected)


# Files


def test_the_stadium():
    pyramid = read_points(STADIUM, resolution=1.5, values="rgb")
    assert pyramid.shape == (800, 800, 3)
    assert pyramid.coords["x"].unit == "international foot"
    assert pyramid.crs.startswith("PROJCS")
    group = zarr.open_group(str(STADIUM), mode="r")
    x = group["x"][:] * 0.01 + 637291.0
    y = group["y"][:] * 0.01 + 851210.0
    np.testing.assert_array_equal(pyramid.x.read(((0, 983795),)), x)
    box = (636900.0, 851600.0, 637000.0, 851650.0)
    inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    assert inside.sum() > 1000
    np.testing.assert_array_equal(pyramid.query(box), np.flatnonzero(inside))
    index = pyramid.index.read(2)
    red = group["red"][:]
    np.testing.assert_array_equal(pyramid.read(2)[..., 0][index >= 0], red[index[index >= 0]])
    count = read_points(STADIUM, resolution=1.5, values=())
    assert count.method == "count"
    assert count.read(-1).sum() == count.read(0).sum() == 983795
    assert read_points(STADIUM, resolution=1.5).with_values("z").dtype == np.float64


def test_persistent_scatterers_of_amsterdam():
    pyramid = read_points(AMSTERDAM, resolution=1.0, x="pixel", y="line", values="deformation", chunks=(64, 64))
    group = zarr.open_group(str(AMSTERDAM), mode="r")
    deformation = group["deformation"][:]
    assert pyramid.axes == ("y", "x", "date")
    index = pyramid.index.read(0)
    row, col = (np.minimum(group[n][:] - group[n][:].min(), np.ptp(group[n][:]) - 1) for n in ("line", "pixel"))
    assert (index >= 0).sum() == np.unique(np.c_[row, col], axis=0).shape[0]
    np.testing.assert_array_equal(pyramid.read(0)[index >= 0], deformation[index[index >= 0]])
    series = pyramid.map("intf_0").read(0)
    np.testing.assert_allclose(
        series[index >= 0], deformation[index[index >= 0]][:, :1] - deformation[index[index >= 0]]
    )


def test_yx_and_the_names_of_coordinates(rng, tmp_path):
    x, y = cloud(rng, n=100)
    saved(tmp_path / "yx", yx=(np.c_[y, x], (50, 2)), values=(x, (40,)))
    saved(tmp_path / "ll", longitude=(x, (50,)), latitude=(y, (50,)), values=(x, (40,)))
    expected = from_points(x, y, x, resolution=1.0).read(0)
    for name in ("yx", "ll"):
        np.testing.assert_array_equal(read_points(tmp_path / name, resolution=1.0).read(0), expected)
    with pytest.raises(PlanError, match="no column 'depth'; there are"):
        read_points(tmp_path / "ll", resolution=1.0, values="depth")
    saved(tmp_path / "a", a=(x, (50,)))
    with pytest.raises(PlanError, match="no columns x and y; say x=... and y=...: there are a"):
        read_points(tmp_path / "a", resolution=1.0)
    with pytest.raises(PlanError, match="name both"):
        read_points(tmp_path / "ll", resolution=1.0, x="longitude")


@pytest.fixture
def las_file(tmp_path):
    import laspy

    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = [0.01] * 3, [1000.0, 2000.0, 0.0]
    las = laspy.LasData(header)
    steps = np.arange(1000.0)
    las.x, las.y, las.z = 1000 + steps % 40, 2000 + steps // 40, steps / 10
    las.intensity, las.classification = steps.astype("u2"), (steps % 5).astype("u1")
    las.add_extra_dim(laspy.ExtraBytesParams(name="quality", type="f4"))
    las["quality"] = steps.astype("f4")
    for suffix in ("las", "laz"):
        las.write(tmp_path / f"points.{suffix}")
    return tmp_path


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_las_and_laz_with_all_their_attributes(las_file, suffix):
    pyramid = read_points(las_file / f"points.{suffix}", resolution=1.0)
    assert {"x", "y", "z", "intensity", "classification", "return_number", "gps_time", "red", "quality"} <= {
        *pyramid.raw,
        "intensity",
    }
    np.testing.assert_allclose(pyramid.z.read(((0, 1000),)), np.arange(1000.0) / 10)
    assert pyramid.dtype == np.uint16
    index = pyramid.index.read(0)
    np.testing.assert_array_equal(pyramid.read(0)[index >= 0], index[index >= 0])
    assert pyramid.with_values("quality").dtype == np.float32
    low = pyramid.query((1000, 2000, 0, 1040, 2025, 5))
    np.testing.assert_array_equal(low, np.arange(50))


def test_las_is_taken_apart_some_records_at_a_time(las_file, monkeypatch):
    whole = read_points(las_file / "points.laz", resolution=1.0)
    monkeypatch.setattr("lazypyr.points.las._ROWS", 130)
    parts = read_points(las_file / "points.laz", resolution=1.0)
    assert whole.raw.keys() == parts.raw.keys()
    for name, column in whole.raw.items():
        np.testing.assert_array_equal(parts.raw[name].read(((0, 1000),)), column.read(((0, 1000),)))


def test_las_without_a_point(tmp_path):
    import laspy

    laspy.LasData(laspy.LasHeader(point_format=6, version="1.4")).write(tmp_path / "none.las")
    with pytest.raises(PlanError, match="the cloud is empty"):
        read_points(tmp_path / "none.las", resolution=1.0)


def test_copc_as_another_writer_made_it(tmp_path):
    pyramid = read_points(COPC, resolution=1.0)
    number = pyramid.raw["intensity"].read(((0, 600),)).astype(int)
    # it brings the points node by node of its octree
    assert (np.sort(number) == np.arange(600)).all()
    assert (np.diff(number) < 0).any()
    x, y, z = (o + 0.01 * (number * f % n) for o, f, n in ((5e5, 7919, 10000), (4e6, 104729, 10000), (0, 31, 1000)))
    for axis, expected in (("x", x), ("y", y), ("z", z)):
        np.testing.assert_allclose(pyramid.raw[axis].read(((0, 600),)), expected, rtol=1e-12)
    inside = (x < 500050) & (y >= 4000020) & (z < 5)
    np.testing.assert_array_equal(pyramid.query((0, 4000020, -1, 500050, 5e6, 5)), np.flatnonzero(inside))
    if importlib.util.find_spec("pyproj"):
        assert (pyramid.crs, pyramid.cloud.units) == ("EPSG:32633", "metre")
    (tmp_path / "cut.copc.laz").write_bytes(COPC.read_bytes()[:6000])
    with pytest.raises(SourceError, match="truncated|can't be read"):
        read_points(tmp_path / "cut.copc.laz", resolution=1.0)


@pytest.mark.fault("S2")
@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_truncated_las_is_an_error(las_file, suffix):
    file = las_file / f"points.{suffix}"
    whole = file.read_bytes()
    for size in (
        0,
        100,
        600,
        len(whole) // 2,
        len(whole) - 3000 if suffix == "las" else len(whole) - 30,
        len(whole) - 1,
    ):
        file.write_bytes(whole[:size])
        with pytest.raises(SourceError, match="truncated|can't be read"):
            read_points(file, resolution=1.0)


def test_csv_and_parquet(rng, tmp_path):
    import pandas as pd

    x, y = cloud(rng, n=200)
    frame = pd.DataFrame({"x": x, "y": y, "values": np.arange(200), "name": "a"})
    frame.to_csv(tmp_path / "p.csv", index=False)
    with gzip.open(tmp_path / "p.csv.gz", "wt") as file:
        frame.to_csv(file, index=False)
    frame.to_parquet(tmp_path / "p.parquet")
    expected = from_points(x, y, np.arange(200), resolution=1.0).read(0)
    for name in ("p.csv", "p.csv.gz", "p.parquet"):
        np.testing.assert_array_equal(read_points(tmp_path / name, resolution=1.0).read(0), expected)
    (tmp_path / "p.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="can't be read"):
        read_points(tmp_path / "p.parquet", resolution=1.0)


@pytest.mark.parametrize("mark", [",", ";", "\t", " ", "|"])
def test_text_by_what_stands_between_its_columns(tmp_path, mark):
    lines = ("x", "y", "height", "name"), (0, 0, 1.5, "a"), (3, 2, 2.5, "b")
    (tmp_path / "p.txt").write_text("".join(mark.join(map(str, line)) + "\n" for line in lines))
    pyramid = read_points(tmp_path / "p.txt", resolution=1.0, values="height")
    assert pyramid.read(0)[0, 0] == 1.5
    # before, text was no column at all; now it is codes with names
    names = read_points(tmp_path / "p.txt", resolution=1.0, values="name")
    assert names.attrs["flag_meanings"] == ["a", "b"]
    assert (names.read(0)[0, 0], names.read(0)[-1, -1]) == (0, 1)
    with pytest.raises(PlanError, match=r"no column 'depth'; there are x, y, height, name"):
        read_points(tmp_path / "p.txt", resolution=1.0, values="depth")


def test_numbers_that_may_be_missing(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0]})
    frame["whole"], frame["gap"] = pd.array([1, 2], dtype="Int16"), pd.array([1, None], dtype="Int64")
    frame.to_parquet(tmp_path / "p.parquet")
    pyramid = read_points(tmp_path / "p.parquet", resolution=1.0, values="gap")
    # before: [1.0, nan], which has no digits beyond 2**53
    np.testing.assert_array_equal(pyramid.values.read(((0, 2),)), [1, np.iinfo("i8").min])
    np.testing.assert_array_equal(pyramid.raw["gap_mask"].read(((0, 2),)), [False, True])
    assert pyramid.values.dtype == np.int64
    assert pyramid.nodata == np.iinfo("i8").min
    assert pyramid.raw["whole"].dtype == np.int16
    frame[:0].to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(PlanError, match="the cloud is empty"):
        read_points(tmp_path / "p.csv", resolution=1.0)


def test_a_zarr_vectors_store(rng, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from zarr_vectors.types.points import write_points

        positions = (rng.random((500, 3)) * 100).astype("f4")
        height = np.arange(500, dtype="f4")
        write_points(
            str(tmp_path / "v"), positions, chunk_shape=(50.0, 50.0, 50.0), vertex_attributes={"height": height}
        )
        pyramid = read_points(tmp_path / "v", resolution=1.0, values="height")
    # it brings the points in an order of its own
    number = pyramid.values.read(((0, 500),)).astype(int)
    np.testing.assert_array_equal(pyramid.x.read(((0, 500),)), positions[number, 0])
    inside = (positions >= 20).all(axis=1) & (positions < 60).all(axis=1)
    np.testing.assert_array_equal(np.sort(number[pyramid.query((20, 20, 20, 60, 60, 60))]), np.flatnonzero(inside))


def test_what_is_no_file_of_points(tmp_path):
    with pytest.raises(PlanError, match="no such file"):
        read_points(tmp_path / "nothing.las", resolution=1.0)
    with pytest.raises(PlanError, match="expected a zarr group"):
        (tmp_path / "a.dat").write_text("x")
        read_points(tmp_path / "a.dat", resolution=1.0)


def test_python_of_the_docs_runs(tmp_path, monkeypatch):
    page = ROOT / "docs" / "points.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    (tmp_path / "stadium.zarr").symlink_to(STADIUM)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, str(page), "exec"), names)
    assert names["box"].size > 1000
    assert names["near"] >= 0
    assert names["density"].read(0).sum() == 983795


# The kept index


def test_a_kept_index_is_opened_not_built(rng, tmp_path, monkeypatch):
    x, y = cloud(rng)
    path = tmp_path / "index"
    first = from_points(x, y, x, resolution=1.0, index_path=path)
    shown = first.read(0)
    assert np.dtype(zarr.open_group(str(path), mode="r")["key"].dtype) == np.uint64
    monkeypatch.setattr("lazypyr.points.cloud.build", lambda *_: pytest.fail("sorted again"))
    again = from_points(x.copy(), y.copy(), x, resolution=1.0, index_path=str(path))
    np.testing.assert_array_equal(again.read(0), shown)
    np.testing.assert_array_equal(again.query((3, 3, 9, 9)), np.flatnonzero((x >= 3) & (x < 9) & (y >= 3) & (y < 9)))
    np.testing.assert_array_equal(zarr.open_group(str(path), mode="r")["point"][:], again.cloud.index.point)
    assert [p.name for p in tmp_path.iterdir()] == ["index"]


def _stale(path):
    meta = json.loads((path / "zarr.json").read_text())
    meta["attributes"]["lazypyr_points_index"]["fingerprint"] = "0" * 32
    (path / "zarr.json").write_text(json.dumps(meta))


def _version(path):
    meta = json.loads((path / "zarr.json").read_text())
    meta["attributes"]["lazypyr_points_index"]["version"] = 99
    (path / "zarr.json").write_text(json.dumps(meta))


def _classes(path):
    meta = json.loads((path / "zarr.json").read_text())
    meta["attributes"]["lazypyr_points_index"]["starts"][5] = 10**9
    (path / "zarr.json").write_text(json.dumps(meta))


def _unsorted(path):
    chunk = path / "key" / "c" / "0"
    key = np.fromfile(chunk, "u8")
    key[[2000, 3000]] = key[[3000, 2000]]
    key.tofile(chunk)


def _wild(path):
    chunk = path / "point" / "c" / "0"
    point = np.fromfile(chunk, "u4")
    point[77] = 2**31
    point.tofile(chunk)


def _flipped(path):
    chunk = path / "point" / "c" / "0"
    point = np.fromfile(chunk, "u4")
    point[[5, 6]] = point[[6, 5]]
    point.tofile(chunk)


DAMAGES = {
    "two numbers exchanged": (_flipped, "checksums don't fit"),
    "stale": (_stale, "stale"),
    "another version": (_version, "version 99"),
    "classes": (_classes, "don't add up"),
    "unsorted": (_unsorted, "not sorted at row"),
    "numbers beyond the points": (_wild, "not sorted at row 77"),
    "truncated": (lambda path: os.truncate(path / "rank" / "c" / "0", 100), "rank has 100 bytes"),
    "a column gone": (lambda path: (path / "rank" / "c" / "0").unlink(), "damaged"),
    "no metadata": (lambda path: (path / "zarr.json").write_text("{}"), "damaged"),
    "torn metadata": (lambda path: (path / "zarr.json").write_text('{"attr'), "damaged"),
}


@pytest.mark.fault("S2")
@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_index_is_refused_and_built_anew(name, rng, tmp_path):
    x, y = cloud(rng)
    path = tmp_path / "index"
    expected = from_points(x, y, x, resolution=1.0, index_path=path).read(1)
    damage, said = DAMAGES[name]
    damage(path)
    again = from_points(x, y, x, resolution=1.0, index_path=path)
    with pytest.warns(UserWarning) as told:
        np.testing.assert_array_equal(again.read(1), expected)
    assert said in str(told[0].message)
    if "metadata" in name:  # a folder that isn't known to be an index is not deleted
        assert "is no index of points" in str(told[1].message)
        return
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(from_points(x, y, x, resolution=1.0, index_path=path).read(1), expected)


def test_an_index_of_other_points_or_another_grid_is_stale(rng, tmp_path):
    x, y = cloud(rng)
    path = tmp_path / "index"
    from_points(x, y, resolution=1.0, index_path=path).read(-1)
    moved = x.copy()
    moved[17] += 0.25
    for a, resolution in ((moved, 1.0), (x, 2.0)):
        with pytest.warns(UserWarning, match="stale"):
            from_points(a, y, resolution=resolution, index_path=path).read(-1)


def test_a_folder_of_something_else_is_left_alone(rng, tmp_path):
    x, y = cloud(rng, n=100)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    pyramid = from_points(x, y, x, resolution=1.0, index_path=tmp_path / "mine")
    with pytest.warns(UserWarning) as told:
        assert np.isfinite(pyramid.read(0)).any()
    assert any("is no index of points" in str(w.message) for w in told)
    with pytest.raises(DestinationError, match="is no index of points"):
        pyramid.keep(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_kept_values_are_read_in_the_order_of_the_index(rng, tmp_path):
    n = 200_000
    x, y = cloud(rng, n=n, side=2000.0)
    values = rng.random((n, 3)).astype("c8")
    group = saved(tmp_path / "p", values=(values, (4096, 1)))
    pyramid = from_points(x, y, group["values"], resolution=1.0, chunks=(64, 64))
    kept = pyramid.keep(tmp_path / "kept")
    source = Counting(kept.values)
    for level in range(len(pyramid.levels)):
        window = (
            (0, min(64, kept.levels[level].shape[0])),
            (0, 64 if kept.levels[level].shape[1] > 64 else 30),
            (1, 2),
        )
        np.testing.assert_array_equal(kept.read(level, window), pyramid.read(level, window))
    assert source.windows == []
    chunks = Counting(kept.indexed_values)
    kept.cloud.chunk_cache._make_cache()
    kept.read(2, ((64, 128), (64, 128), (1, 2)))
    assert 1 <= len(chunks.windows) <= 4
    reopened = from_points(x, y, group["values"], resolution=1.0, chunks=(64, 64), index_path=tmp_path / "kept")
    assert reopened.indexed_values is not None
    np.testing.assert_array_equal(reopened.read(-1), pyramid.read(-1))
    np.testing.assert_array_equal(
        reopened.with_values(group["values"], method="mean").read(-1),
        pyramid.with_values(group["values"], method="mean").read(-1),
    )
    other = saved(tmp_path / "other", values=(values * 2, (4096, 1)))
    changed = from_points(x, y, other["values"], resolution=1.0, chunks=(64, 64), index_path=tmp_path / "kept")
    assert changed.indexed_values is None
    np.testing.assert_array_equal(changed.read(-1), pyramid.read(-1) * 2)


@pytest.mark.slow
def test_of_a_hundred_channels_one_tile_reads_a_few_chunks_of_one(rng, tmp_path, monkeypatch):
    # ten million points in chunks of 65536 on 20,000 x 20,000 pixels in tiles of 256, a 256th of each
    n, rows, side = 153 * 256, 256, 1250.0
    monkeypatch.setattr("lazypyr.points.index.io._ROWS", rows)
    x, y = cloud(rng, n=n, side=side)
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=(n, 100), chunks=(rows, 100), dtype="c8")
    column = np.exp(1j * rng.random(n)).astype("c8")
    for channel in (41, 42):
        array[:, channel] = column * channel
    pyramid = from_points(x, y, array, resolution=1.0, chunks=(16, 16))
    kept = pyramid.keep(tmp_path / "kept")
    assert zarr.open_array(str(tmp_path / "kept" / "values"), mode="r").shape == (n, 100)
    expected = from_points(x, y, column * 42, resolution=1.0, chunks=(16, 16))
    chunks = Counting(kept.indexed_values)
    seen = []
    for level, shown in enumerate(kept.levels):
        for corner in [(0, 0), *rng.integers(0, np.maximum(1, np.array(shown.shape[:2]) // 16), (4, 2)).tolist()]:
            plane = tuple((16 * a, min(16 * (a + 1), size)) for a, size in zip(corner, shown.shape, strict=False))
            chunks.windows.clear()
            kept.cloud.chunk_cache._make_cache()  # a new cache
            tile = kept.read(level, (*plane, (42, 43)))[..., 0]
            np.testing.assert_array_equal(tile, expected.read(level, plane))
            assert {w[1] for w in chunks.windows} <= {(42, 43)}
            seen.append(len(chunks.windows))
    assert max(seen) <= 7
    store = CountingStore(zarr.storage.MemoryStore())
    array = zarr.create_array(store, shape=(n, 100), chunks=(rows, 1), dtype="c8")
    array[:, 42] = column
    store.keys.clear()
    from_points(x, y, array, resolution=1.0, chunks=(16, 16)).read(3, ((0, 99), (0, 99), (42, 43)))
    # in source order a tile wants some point of every chunk, whatever the level
    assert sorted(store.keys) == sorted(f"c/{number}/42" for number in range(153))


# A cloud that was materialized


def test_a_materialized_cloud_is_opened_as_one(rng, tmp_path):
    n = 20_000
    x, y = cloud(rng, n=n, side=700.0)
    values = (rng.random((n, 3)) + 1j).astype("c8")
    pyramid = from_points(
        x, y, values, resolution=2.0, chunks=(64, 64), crs="EPSG:32633", units="meter", z=x * 2, attrs={"site": "here"}
    )
    lazypyr.materialize(pyramid, tmp_path / "out.zarr", progress=False)
    again = read_points(tmp_path / "out.zarr")
    assert (again.crs, again.coords["x"].unit, again.attrs) == ("EPSG:32633", "meter", pyramid.attrs)
    source, kept = Counting(again.values), Counting(again.indexed_values)
    for level in range(len(pyramid.levels)):
        np.testing.assert_array_equal(again.index.read(level), pyramid.index.read(level))
        np.testing.assert_array_equal(
            again.read(level, (slice(None), slice(None), (1, 2))), pyramid.read(level)[..., 1:2]
        )
    assert source.windows == []
    assert {w[1] for w in kept.windows} == {(1, 2)}
    np.testing.assert_array_equal(again.query((9, 9, 0, 300, 200, 500)), pyramid.query((9, 9, 0, 300, 200, 500)))
    assert again.with_values("z").read(-1).shape == pyramid.levels[-1].shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_points(tmp_path / "out.zarr", resolution=1.0).read(-1)
    finer = read_points(tmp_path / "out.zarr", resolution=1.0, values="values", method="mean", chunks=(128, 128))
    np.testing.assert_allclose(
        finer.read(1), from_points(x, y, values, resolution=1.0, method="mean", chunks=(128, 128)).read(1)
    )
    root = zarr.open(lazypyr.LazyPyramidStore(pyramid), mode="r")
    stored = zarr.open_group(str(tmp_path / "out.zarr"), mode="r")
    assert stored["level_major/values"].shape == (3, n)
    for name in ("point", "values"):
        np.testing.assert_array_equal(root[f"level_major/{name}"][:], stored[f"level_major/{name}"][:])
    np.testing.assert_array_equal(stored["level_major/values"][:], values[stored["level_major/point"][:]].T)


def test_values_in_the_order_of_the_index_are_gathered_in_as_few_rounds_as_memory_allows(rng, tmp_path):
    n = 200_000
    x, y = cloud(rng, n=n, side=700.0)
    group = saved(tmp_path / "p", values=(rng.random((n, 2)), (20_000, 1)))
    pyramid = from_points(x, y, group["values"], resolution=1.0, max_memory_bytes=2**24)
    source = pyramid.companion_arrays["level_major/values"].source
    assert source.chunks == (1, 65536)
    count = Counting(pyramid.values)
    expected = group["values"][:][pyramid.cloud.index.point].T
    for channel in range(2):
        for start in range(0, n, 65536):
            window = ((channel, channel + 1), (start, min(start + 65536, n)))
            np.testing.assert_array_equal(source.read(window)[0], expected[channel, slice(*window[1])])
    # two rounds of 131,072 rows for each channel, each of which reads its ten chunks at most once
    assert 20 <= len(count.windows) <= 40
    np.testing.assert_array_equal(source.read(((0, 2), (60_000, 190_000)), (1, 3)), expected[:, 60_000:190_000:3])


def test_a_materialized_count_has_no_values_and_flags_are_bytes(rng, tmp_path):
    x, y = cloud(rng, n=500)
    lazypyr.materialize(from_points(x, y, resolution=1.0, chunks=(64, 64)), tmp_path / "count.zarr", progress=False)
    again = read_points(tmp_path / "count.zarr")
    assert (again.method, again.read(0).sum()) == ("count", 500)
    flags = from_points(x, y, x > 150, resolution=1.0, chunks=(64, 64), fill_value=7)
    lazypyr.materialize(flags, tmp_path / "flags.zarr", progress=False, zarr_format=2)
    np.testing.assert_array_equal(read_points(tmp_path / "flags.zarr").read(1), flags.read(1))
    with pytest.raises(PlanError, match="resolution: give the size of a pixel"):
        read_points(STADIUM)


@pytest.mark.fault("S7")
def test_values_written_in_another_order_are_not_used(rng, tmp_path):
    x, y = cloud(rng, n=2000)
    pyramid = from_points(x, y, x, resolution=1.0, chunks=(64, 64))
    lazypyr.materialize(pyramid, tmp_path / "out.zarr", progress=False)
    stored = zarr.open_group(str(tmp_path / "out.zarr"), mode="r+")
    point = stored["level_major/point"][:]
    stored["level_major/point"][:2] = point[:2][::-1]
    again = read_points(tmp_path / "out.zarr")
    with pytest.warns(UserWarning, match="in another order; not used"):
        np.testing.assert_array_equal(again.read(-1), pyramid.read(-1))


# More points than memory


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
def test_sorting_on_disk_gives_the_same_index(rng, tmp_path, wide):
    # wide: keys and numbers don't fit in 64 bits together
    n = 300_000
    x, y = cloud(rng, n=n, side=2.0**31 if wide else 200.0)
    x[::1000] = np.nan
    group = saved(tmp_path / "p", x=(x, (40_000,)), y=(y, (30_000,)), values=(x, (40_000,)))
    with pytest.warns(UserWarning, match="300 of 300000"):
        small = from_points(group["x"], group["y"], group["values"], resolution=1.0, max_memory_bytes=2**20)
    with pytest.warns(UserWarning, match="300 of 300000"):
        large = from_points(x, y, x, resolution=1.0)
    assert not small.cloud.fits
    assert large.cloud.fits
    assert_same(small.cloud.index, large.cloud.index)
    np.testing.assert_array_equal(small.read(-1), large.read(-1))
    box = (0, 0, 2.0**30, 2.0**30) if wide else (20.0, 30.0, 90.0, 110.0)
    np.testing.assert_array_equal(small.query(box), large.query(box))
    assert small.nearest(50.0, 50.0) == large.nearest(50.0, 50.0)
    for method in ("count", "mean", "last", "max"):
        few = (
            small.with_values(group["values"], method=method)
            if method != "count"
            else from_points(x[1:1000], y[1:1000], resolution=1.0)
        )
        if method != "count":
            np.testing.assert_allclose(few.read(-1), large.with_values(x, method=method).read(-1))


def test_many_points_in_one_pixel_are_merged_in_order(tmp_path):
    n = 100_000
    x = np.repeat([0.0, 5.0], n // 2)
    group = saved(tmp_path / "p", x=(x, (9000,)), y=(x, (9000,)))
    pyramid = from_points(group["x"], group["y"], resolution=1.0, max_memory_bytes=2**20)
    index = pyramid.index.read(0)
    assert index[0, 0] == n // 2 - 1
    assert index[-1, -1] == n - 1
    assert pyramid.read(0)[0, 0] == n // 2


@pytest.mark.slow
@pytest.mark.fault("M1")
@pytest.mark.timeout(600)
def test_sorting_on_disk_stays_within_its_memory(tmp_path):
    import subprocess
    import sys

    code = f"""
import resource, zarr, numpy as np
from lazypyr import from_points
g = zarr.open_group({str(tmp_path / "p")!r}, mode="w")
for name in "xy":
    a = g.create_array(name, shape=(6_000_000,), chunks=(250_000,), dtype="f8")
    for i in range(24):
        a[i * 250_000:(i + 1) * 250_000] = np.random.default_rng([i, ord(name)]).random(250_000) * 5000
tiny = from_points([0.0, 9.0], [0.0, 9.0], resolution=1.0)
tiny.read(-1), tiny.query((0, 0, 5, 5))
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024
import threading, time
most = [0]
def watch():
    while True:
        most[0] = max(most[0], anonymous()); time.sleep(0.005)
before = anonymous()
threading.Thread(target=watch, daemon=True).start()
p = from_points(g["x"], g["y"], resolution=1.0, max_memory_bytes=16 * 2**20)
assert p.read(-1).sum() == 6_000_000
print(round(most[0] - before))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=560)
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) < 80  # all of it at once would be 96 MB of coordinates and 168 MB of sorting


# Processes


@pytest.mark.fault("C1")
def test_threads_share_one_index(rng, monkeypatch):
    from lazypyr.points import cloud as module

    built = []
    original = module.build
    monkeypatch.setattr(module, "build", lambda *a: built.append(1) or original(*a))
    x, y = cloud(rng, n=50_000)
    pyramid = from_points(x, y, x, resolution=1.0)
    barrier = threading.Barrier(8)

    def look():
        barrier.wait()
        pyramid.read(-1)

    threads = [threading.Thread(target=look) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(built) == 1


@pytest.mark.fault("P1")
def test_a_fork_while_the_index_is_built_works(rng):
    x, y = cloud(rng, n=1000)
    pyramid = from_points(x, y, x, resolution=1.0)
    held = threading.Event()
    done = threading.Event()

    def hold():
        with pyramid.cloud._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    held.wait()
    queue = multiprocessing.get_context("fork").SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=lambda: queue.put(float(np.nansum(pyramid.read(-1)))))
    child.start()
    child.join(100)
    done.set()
    thread.join()
    assert child.exitcode == 0
    assert queue.get() == float(np.nansum(pyramid.read(-1)))


def test_columns_that_are_none():
    for data in (object(), {"a": 1}, "no/such/path", np.array(["a"]), 3.0):
        with pytest.raises(PlanError):
            as_column(data, "x")
    assert as_column([1, 2], "x").shape == (2,)
    assert external_sort.raw_column(as_column([1, 2], "x"), Path("unused"), 1).tolist() == [1, 2]
