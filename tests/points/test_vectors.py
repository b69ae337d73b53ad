"""Stores of zarr-vectors of several releases, against their own reader, whole and broken, near and far."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import zarr
import zarr_vectors

import lazypyr
from lazypyr import PlanError, SourceError, read_points
from support.http import serving

N = 600


def write(path, *, n_dims=3, dtype="float32", shift=0.0, **options):
    from zarr_vectors.types.points import write_points

    positions = (np.random.default_rng(n_dims).uniform(0, 100, (N, n_dims)) + shift).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_points(str(path), positions, chunk_shape=(50.0,) * n_dims, dtype=dtype, **options)
    return path


def column(pyramid, name):
    source = pyramid.raw[name]
    return source.read(tuple((0, n) for n in source.shape))


ROWS = np.arange(N)
ATTRIBUTES = {
    "f4": ROWS.astype("f4"),
    "i8": ROWS + 2**53,
    "u1": (ROWS % 200).astype("u1"),
    "flow": np.stack([ROWS, -ROWS, ROWS * 2], 1).astype("f4"),
    "gene": np.array(["Actb", "Sox2", "Cd4"])[ROWS % 3],
}
STORES = {
    "3-D": {},
    "2-D": {"n_dims": 2},
    "4-D": {"n_dims": 4},
    "f8": {"dtype": "float64"},
    "negative": {"shift": -60.0},
    "bins": {"bin_shape": (10.0, 10.0, 10.0)},
    "objects": {"object_ids": ROWS % 7},
    "sharded": {"shard_shape": 2},
    "compressed": {"compressor": "zstd"},
    "by attribute": {"chunk_by_attribute": "u1", "vertex_attributes": {"u1": (ROWS % 3).astype("u1")}},
}


@pytest.mark.parametrize("name", STORES)
def test_positions_and_attributes_are_what_its_reader_gives(name, tmp_path):
    options = {"vertex_attributes": ATTRIBUTES, **STORES[name]}
    write(tmp_path / "a.zv", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = zarr_vectors.open(str(tmp_path / "a.zv")).level(0).read()
    points = read_points(tmp_path / "a.zv", resolution=1.0)
    for i, axis in enumerate("xyz"[: expected.positions.shape[1]]):
        np.testing.assert_array_equal(column(points, axis), expected.positions[:, i])
    for key, values in expected.attributes.items():
        got = column(points, key)
        if key == "gene":
            got = np.array(points.raw["gene"].attrs["flag_meanings"])[got]
        assert got.dtype == values.dtype or got.dtype.kind == "U"
        np.testing.assert_array_equal(got, values)
    if name == "by attribute":
        assert np.bincount(column(points, "u1")).tolist() == [200, 200, 200]
    else:
        assert {"f4", "i8", "u1", "flow", "gene"} <= set(points.raw)


def test_an_attribute_called_as_an_axis_takes_nothings_place(tmp_path):
    write(tmp_path / "a.zv", vertex_attributes={"x": ROWS.astype("f4") * 1e6})
    expected = zarr_vectors.open(str(tmp_path / "a.zv")).level(0).read().positions
    with pytest.warns(UserWarning, match="the attribute x is called x_attribute here"):
        points = read_points(tmp_path / "a.zv", resolution=1.0)
    np.testing.assert_array_equal(column(points, "x"), expected[:, 0])
    assert column(points, "x_attribute").max() == (N - 1) * 1e6


def old_store(path, *, version="0.7.0", keep=slice(None)):
    """A store as releases 0.1 and 0.2 wrote it: an array of bytes for each chunk, in groups."""
    rng = np.random.default_rng(1)
    positions, flow = rng.uniform(0, 100, (N, 3)).astype("f4"), rng.random((N, 3)).astype("f4")
    root = zarr.open_group(str(path), mode="w")
    root.attrs["zarr_vectors"] = {"zv_version": version, "chunk_shape": [50.0] * 3, "geometry_types": ["point_cloud"]}
    root.attrs["multiscales"] = [{"axes": [{"name": axis, "type": "space"} for axis in "xyz"]}]
    level = root.create_group("0")
    level.attrs["zarr_vectors_level"] = {"level": 0, "vertex_count": N}
    cells = [tuple(int(i) for i in row) for row in positions // 50]
    numbers = []
    vertices = level.create_group("vertices", attributes={"dtype": "float32", "encoding": "raw"})
    flows = level.create_group("vertex_attributes").create_group("flow", attributes={"dtype": "float32"})
    for cell in sorted(set(cells))[keep]:
        rows = [i for i, c in enumerate(cells) if c == cell]
        numbers += rows
        for group, values in ((vertices, positions), (flows, flow)):
            group.create_array(".".join(map(str, cell)), data=np.frombuffer(values[rows].tobytes(), "u1"))
    return positions[numbers], flow[numbers]


def test_a_store_of_format_0_7_is_read_and_counted(tmp_path):
    positions, flow = old_store(tmp_path / "old.zv")
    points = read_points(tmp_path / "old.zv", resolution=1.0)
    np.testing.assert_array_equal(np.stack([column(points, a) for a in "xyz"], 1), positions)
    np.testing.assert_array_equal(column(points, "flow"), flow)
    old_store(tmp_path / "cut.zv", keep=slice(1, None))
    with pytest.raises(SourceError, match=r"0\.7\.0.*600 points are declared, \d+ are there"):
        read_points(tmp_path / "cut.zv", resolution=1.0)
    old_store(tmp_path / "new.zv", version="1.4.0")
    with pytest.raises(PlanError, match=r"format 1\.4\.0; expected one of 0\.7"):
        read_points(tmp_path / "new.zv", resolution=1.0)


def chunks_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")


def edit(path, change):
    document = json.loads(path.read_text())
    change(document["attributes"])
    path.write_text(json.dumps(document))


def test_what_is_missing_or_cut_is_said(tmp_path):
    store = write(tmp_path / "a.zv", vertex_attributes={"v": ROWS, "w": ROWS})
    chunk = chunks_of(store / "0" / "vertices")[3]
    whole = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(SourceError, match=r"1 chunks of vertices are missing, 0\.1\.1 among them: \d+ of 600"):
        read_points(store, resolution=1.0)
    chunk.write_bytes(whole[:-5])
    with pytest.raises(SourceError, match="vertices"):
        read_points(store, resolution=1.0)
    chunk.write_bytes(whole)
    for count in (500, 700):
        edit(store / "0" / "zarr.json", lambda attrs, n=count: attrs["zarr_vectors_level"].update(vertex_count=n))
        with pytest.warns(UserWarning, match=f"{count} points are declared, 600 are there"):
            assert read_points(store, resolution=1.0).x.shape == (N,)
    edit(store / "0" / "zarr.json", lambda attrs: attrs["zarr_vectors_level"].update(vertex_count=N))
    chunks_of(store / "0" / "vertex_attributes" / "w")[0].unlink()
    with pytest.warns(UserWarning, match=r"left out: w \("):
        points = read_points(store, resolution=1.0)
    assert "v" in points.raw
    assert "w" not in points.raw


def test_levels_lines_and_stores_of_one_axis(tmp_path):
    store = write(tmp_path / "a.zv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = zarr_vectors.open(str(store), mode="r+")
        dataset.build_pyramid(factors=[(2.0, 1.0)])
        expected = zarr_vectors.open(str(store)).level(1).read().positions
    points = read_points(store, resolution=1.0, level=1)
    np.testing.assert_array_equal(column(points, "x"), expected[:, 0])
    np.testing.assert_array_equal(lazypyr.open_pyramid(points.to_recipe()).read(0), points.read(0))
    with pytest.raises(PlanError, match="no level 5; there are 0, 1"):
        read_points(store, resolution=1.0, level=5)
    edit(store / "zarr.json", lambda attrs: attrs["zarr_vectors"].update(geometry_types=["polyline"]))
    with pytest.raises(PlanError, match="of polyline, not of points; as_points=True"):
        read_points(store, resolution=1.0)
    assert read_points(store, resolution=1.0, as_points=True).x.shape == (N,)
    with pytest.raises(PlanError, match="no columns x and y"):
        read_points(write(tmp_path / "b.zv", n_dims=1), resolution=1.0)
    zarr.save_group(str(tmp_path / "g"), x=np.arange(3.0), y=np.arange(3.0))
    with pytest.raises(PlanError, match="level: expected 0: only zarr-vectors"):
        read_points(tmp_path / "g", resolution=1.0, level=1)


def test_a_store_that_is_far_or_in_an_archive(tmp_path):
    store = write(tmp_path / "a.zv", vertex_attributes={"v": ROWS})
    near = read_points(store, resolution=1.0, values="v")
    with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as archive:
        for file in sorted(store.rglob("*")):
            if file.is_file():
                zarr.core.sync.sync(
                    archive.set(str(file.relative_to(store)), zarr.core.buffer.cpu.Buffer.from_bytes(file.read_bytes()))
                )
    with serving(tmp_path) as server:
        url = server if isinstance(server, str) else server.url
        givens = [
            f"{url.rstrip('/')}/a.zv",
            tmp_path / "a.zip",
            zarr.open_group(str(store), mode="r"),
            zarr.storage.LocalStore(store),
        ]
        for given in givens:
            points = read_points(given, resolution=1.0, values="v")
            np.testing.assert_array_equal(points.read(0), near.read(0))
