"""Columns are what their file says: against pandas, pyarrow and laspy, over dtypes, nulls, text and packings."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazypyr
from lazypyr import PlanError, SourceError, read_points

N = 6


def column(pyramid, name):
    source = pyramid.raw[name]
    return source.read(tuple((0, n) for n in source.shape))


def frame(**columns):
    return pd.DataFrame({"x": np.arange(N) * 2.0, "y": np.arange(N) * 3.0, **columns})


BIG = [2**53 + 1, 2**53 + 2, None, 2**62 + 3, -(2**62), 0]
MISSING = {
    "Int64": BIG,
    "UInt64": [2**63 + 1, None, 2**64 - 2, 0, 1, 2],
    "Int8": [-128, 127, None, None, 0, 1],
    "UInt16": [65535, None, 0, 1, 2, 3],
    "boolean": [True, False, None, True, False, None],
}


@pytest.mark.parametrize(
    ("dtype", "how"),
    # text has no bools of which some are missing
    [(d, how) for d in MISSING for how in ("frame", "parquet", "arrow", "csv") if (d, how) != ("boolean", "csv")],
)
def test_integers_of_which_some_are_missing_stay_integers_with_a_mask(dtype, how, tmp_path):
    data = frame(id=pd.array(MISSING[dtype], dtype=dtype))
    data.to_parquet(tmp_path / "p.parquet")
    data.to_csv(tmp_path / "p.csv", index=False)
    src = {"frame": data, "parquet": tmp_path / "p.parquet", "csv": tmp_path / "p.csv"}.get(how)
    points = read_points(pa.Table.from_pandas(data) if how == "arrow" else src, resolution=1.0, values="id")
    missing = data["id"].isna().to_numpy()
    got, mask = column(points, "id"), column(points, "id_mask")
    assert got.dtype.kind in "iu"
    np.testing.assert_array_equal(mask, missing)
    assert [int(v) for v in got[~missing]] == [int(v) for v in data["id"][~missing]]
    assert set(got[missing].tolist()) == {points.values.nodata}
    assert points.values.nodata not in set(got[~missing].tolist())
    assert points.nodata == points.values.nodata
    # what is missing is no number of any aggregation
    for method in ("min", "max"):
        total = points.with_values("id", method=method).read(-1)
        assert int(np.asarray(total)[0, 0]) == getattr(data["id"][:1], method)()
    tall = read_points(src if how != "arrow" else data, resolution=1000.0, values="id", method="max")
    assert int(tall.read(0)[0, 0]) == int(max(v for v in MISSING[dtype] if v is not None))


def test_sums_and_means_leave_out_what_is_missing():
    data = frame(n=pd.array([1, None, 5, None, 2, 4], dtype="Int32"))
    for method, expected in (("sum", 12), ("mean", 3.0), ("min", 1), ("max", 5), ("count", 6)):
        assert read_points(data, resolution=1000.0, values="n", method=method).read(0)[0, 0] == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=20),
    st.permutations(["x", "y", "id", "name"]),
)
def test_integers_in_any_order_of_columns(values, order):
    table = pa.table(
        {
            "x": pa.array(np.arange(len(values)) * 1.0),
            "y": pa.array(np.arange(len(values)) * 1.0),
            "id": pa.array(values, pa.int64()),
            "name": pa.array([None if v is None else str(v % 3) for v in values], pa.string()),
        }
    ).select(order)
    points = read_points(table, resolution=1.0)
    got = column(points, "id").tolist()
    mask = column(points, "id_mask").tolist() if "id_mask" in points.raw else [False] * len(values)
    assert [None if m else v for v, m in zip(got, mask, strict=True)] == values
    codes, names = column(points, "name").tolist(), points.raw["name"].attrs["flag_meanings"]
    assert [None if c < 0 else names[c] for c in codes] == table["name"].to_pylist()


def test_text_and_categories_are_codes_with_their_names(tmp_path):
    data = frame(
        gene=["b", "a", None, "b", "c c", "a"], kind=pd.Categorical(["v", "u", "v", None, "u", "u"], ["v", "u"])
    )
    data["t"] = pd.to_datetime(["2020-01-01T12:00"] * N).tz_localize("Asia/Tokyo")
    data["thing"] = [[1], [2], [3], [4], [5], [6]]
    data.to_parquet(tmp_path / "p.parquet")
    for src in (data, tmp_path / "p.parquet", pa.Table.from_pandas(data)):
        with pytest.warns(UserWarning, match=r"left out: thing \(values of type") as told:
            points = read_points(src, resolution=1.0, values="gene")
        assert len(told) == 1
        for name, words, codes in (
            ("gene", ["a", "b", "c c"], [1, 0, -1, 1, 2, 0]),
            ("kind", ["v", "u"], [0, 1, 0, -1, 1, 1]),
        ):
            np.testing.assert_array_equal(column(points, name), codes)
            assert points.raw[name].attrs["flag_meanings"] == words
        assert column(points, "t").astype("M8[s]").tolist() == np.array(["2020-01-01T03:00"] * N, "M8[s]").tolist()
        assert points.attrs["flag_meanings"] == ["a", "b", "c c"]
        assert points.nodata == -1
        root = zarr.open(lazypyr.LazyPyramidStore(points), mode="r")
        assert root["points/gene"].attrs["flag_meanings"] == ["a", "b", "c c"]
        assert root.attrs["flag_values"] == [0, 1, 2]


def test_of_a_parquet_file_only_the_columns_asked_for_are_read(tmp_path, monkeypatch):
    data = frame(**{f"c{i}": np.arange(N) + i for i in range(5)}, gene=["a"] * N)
    data.to_parquet(tmp_path / "p.parquet")
    read, really = [], pq.read_table
    monkeypatch.setattr(pq, "read_table", lambda *a, columns=None: read.append(columns) or really(*a, columns=columns))
    points = read_points(tmp_path / "p.parquet", resolution=1.0, values="c0")
    points.read(0)
    assert sorted(sum(read, [])) == ["c0", "gene", "x", "y"]
    np.testing.assert_array_equal(column(points, "c3"), data["c3"])
    few = read_points(tmp_path / "p.parquet", resolution=1.0, values="c1", columns=["c2"])
    assert list(few.raw) == ["x", "y", "c1", "c2", "values"]
    assert list(read_points(tmp_path / "p.parquet", resolution=1.0, attributes=["c4"]).raw) == ["x", "y", "c4"]
    again = lazypyr.open_pyramid(few.to_recipe())
    np.testing.assert_array_equal(again.read(0), few.read(0))
    assert list(again.raw) == list(few.raw)
    with pytest.raises(PlanError, match="columns: expected a list of names"):
        read_points(tmp_path / "p.parquet", resolution=1.0, columns="c1")


SCALES = [
    ("xyz", {"scale": [0.01] * 3, "offset": [10, 20, 0]}, (0.01, 10, 20)),
    ("xy", {"scale": [0.01] * 2, "offset": [10, 20]}, (0.01, 10, 20)),
    ("xyz", {"scale": [0.01] * 3}, (0.01, 0, 0)),
    ("xyz", {"scale": 0.5}, (0.5, 0, 0)),
    ("XYZ", {"scale": [0.01] * 3, "offset": [10, 20, 0]}, (0.01, 10, 20)),
    (("easting", "northing"), {"scale": [0.1, 0.1], "offset": [1, 2]}, (0.1, 1, 2)),
    ("xy", {"offset": [5, 6]}, (1, 5, 6)),
    ("xy", {}, (1, 0, 0)),
    ("xy", {"scale": "large", "offset": [5, 6]}, (1, 0, 0)),
]


@pytest.mark.parametrize(("names", "attrs", "expected"), SCALES)
def test_scale_and_offset_of_a_group(tmp_path, names, attrs, expected):
    raw = np.array([100, 200, 300, 400], "i4")
    group = zarr.open_group(str(tmp_path / "p"), mode="w", attributes=attrs)
    for name in names:
        group.create_array(name, data=raw)
    points = read_points(tmp_path / "p", resolution=1.0)
    scale, *offsets = expected
    for source, offset in zip((points.x, points.y), offsets, strict=True):
        np.testing.assert_array_equal(source.read(((0, 4),)), raw * scale + offset)


def test_arrays_of_another_length_are_named_once(tmp_path):
    group = zarr.open_group(str(tmp_path / "p"), mode="w")
    for name, values in {"x": np.arange(4.0), "y": np.arange(4.0), "v": np.arange(3.0), "w": np.arange(4)}.items():
        group.create_array(name, data=values)
    with pytest.warns(UserWarning, match=r"left out: v \(3 entries for 4 points\)") as told:
        points = read_points(tmp_path / "p", resolution=1.0)
    assert len(told) == 1
    assert list(points.raw) == ["x", "y", "w"]


def las(path, *, extra=None, values=None, n=100, version="1.4"):
    import laspy

    header = laspy.LasHeader(point_format=6 if version == "1.4" else 1, version=version)
    header.scales = [0.01] * 3
    if extra is not None:
        header.add_extra_dim(extra)
    data = laspy.LasData(header)
    data.x, data.y, data.z = (np.arange(n) * f for f in (1.0, 2.0, 3.0))
    data.classification = np.arange(n) % 4
    if extra is not None:
        data[extra.name] = values
    data.write(path)
    return path


@pytest.mark.parametrize(
    ("dtype", "scale", "nodata", "value", "filled"),
    [
        ("int16", 0.01, -99.99, 1.23, np.nan),  # laspy cuts it to -99
        ("int16", 0.01, -9999, 1.23, np.nan),  # as stored
        ("float32", None, -9999.0, 2.5, np.nan),
        ("int32", None, -9999, 7, -9999),
        ("uint8", None, 255, 7, 255),
    ],
)
def test_no_data_of_extra_bytes_is_no_data(tmp_path, dtype, scale, nodata, value, filled):
    import laspy

    scaling = {} if scale is None else {"scales": np.array([scale]), "offsets": np.array([0.0])}
    extra = laspy.ExtraBytesParams("hag", dtype, no_data=np.array([nodata]), **scaling)
    values = np.full(100, value, float if scale else dtype)
    values[::10] = nodata if scale is None or abs(nodata) < 1000 else nodata * scale
    points = read_points(las(tmp_path / "a.las", extra=extra, values=values), resolution=1.0, values="hag")
    got = column(points, "hag")
    assert got[0] == filled or (np.isnan(got[0]) and np.isnan(filled))
    np.testing.assert_allclose(got[1:10], value)
    total = read_points(tmp_path / "a.las", resolution=1e4, values="hag", method="mean").read(0)
    np.testing.assert_allclose(total[0, 0], value, rtol=1e-6)


def test_a_header_that_counts_fewer_points_than_there_are(tmp_path):
    import struct

    path = las(tmp_path / "a.las", version="1.2")
    raw = bytearray(path.read_bytes())
    raw[107:111] = struct.pack("<I", 80)
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match="tells of 80 points, there is room for 100"):
        assert read_points(path, resolution=1.0).x.shape == (80,)
    raw[107:111] = struct.pack("<I", 180)
    path.write_bytes(raw)
    with pytest.raises(SourceError, match="truncated|can't be read"):
        read_points(path, resolution=1.0)


def test_where_takes_values_names_and_functions(tmp_path):
    path = las(tmp_path / "a.las")
    x, classes = np.arange(100.0), np.arange(100) % 4
    for where, keep in (
        ({"classification": [1, 3]}, np.isin(classes, [1, 3])),
        ({"classification": 2, "withheld": 0}, classes == 2),
        (lambda c: (c["z"] > 30) & (c["classification"] != 0), (x * 3 > 30) & (classes != 0)),
    ):
        np.testing.assert_allclose(read_points(path, resolution=1.0, where=where).x.read(((0, keep.sum()),)), x[keep])
    boxed = read_points(path, resolution=1.0, bbox=(10, 0, 0, 20, 1e9, 50))
    np.testing.assert_allclose(boxed.x.read(((0, 7),)), np.arange(10.0, 17.0))
    again = lazypyr.open_pyramid(read_points(path, resolution=1.0, where={"classification": [1]}).to_recipe())
    assert again.x.shape == (25,)
    named = read_points(frame(kind=list("abcabc")), resolution=1.0, where={"kind": ["a", "c"]})
    assert named.x.read(((0, 4),)).tolist() == [0, 4, 6, 10]
    for wrong, said in (
        ({"depth": 1}, "no column 'depth'"),
        ({"kind": "z"}, "no class 'z'"),
        ("kind == 1", "expected values by column"),
        (lambda c: c["x"], "expected bools"),
        (lambda c: c["depth"] > 1, "no column 'depth'"),
        ({"kind": []}, "none of its 6 points is left"),
    ):
        with pytest.raises(PlanError, match=said):
            read_points(frame(kind=list("abcabc")), resolution=1.0, where=wrong)
    with pytest.raises(PlanError, match="bbox: expected"):
        read_points(frame(), resolution=1.0, bbox=(1, 2, 0, 3))


def test_several_files_are_one_cloud(tmp_path):
    for i, part in enumerate((["a", "b"] * 3, ["c", "a"] * 3)):
        data = frame(kind=part, n=pd.array([i, None, 2, 3, 4, 5], dtype="Int64"))
        data["x"] += 100 * i
        data.to_parquet(tmp_path / f"tile{i}.parquet")
    pattern, paths = str(tmp_path / "tile*.parquet"), [tmp_path / "tile0.parquet", tmp_path / "tile1.parquet"]
    for src in (pattern, paths):
        points = read_points(src, resolution=1.0, values="kind")
        whole = pd.concat([pd.read_parquet(p) for p in paths])
        np.testing.assert_array_equal(column(points, "x"), whole["x"])
        names = points.raw["kind"].attrs["flag_meanings"]
        assert [names[i] for i in column(points, "kind")] == whole["kind"].tolist()
        assert column(points, "n_mask").sum() == 2
    with pytest.warns(UserWarning, match=r"kind \(data frame lacks it\)"):
        mixed = read_points([frame(kind=["a"] * N), frame()], resolution=1.0)
    assert mixed.x.shape == (12,)
    with pytest.raises(PlanError, match="no such files"):
        read_points(str(tmp_path / "no*.las"), resolution=1.0)


def test_objects_that_are_no_cloud_say_what_is_expected():
    for src in (3.0, object(), np.zeros((3, 2)), {"x": [1]}):
        with pytest.raises(PlanError, match="expected a path or URL"):
            read_points(src, resolution=1.0)


def test_zarr_groups_stores_and_zip_archives(tmp_path):
    store = zarr.storage.ZipStore(tmp_path / "p.zip", mode="w")
    group = zarr.open_group(store, mode="w")
    for name in "xy":
        group.create_array(name, data=np.arange(5.0))
    store.close()
    memory = zarr.storage.MemoryStore()
    other = zarr.open_group(memory, mode="w")
    for name in "xy":
        other.create_array(name, data=np.arange(5.0))
    for src in (tmp_path / "p.zip", other, memory):
        assert read_points(src, resolution=1.0).x.read(((0, 5),)).tolist() == [0, 1, 2, 3, 4]


def test_geoparquet_and_geoarrow_points(tmp_path):
    import json
    import struct

    xyz = np.random.default_rng(0).random((7, 3)) * 100
    for n_dims in (2, 3):
        for order in "<>":
            head = struct.pack(order + "BI", order == "<", 1 if n_dims == 2 else 1001)
            wkb = [head + row[:n_dims].astype(order + "f8").tobytes() for row in xyz]
            about = {
                "primary_column": "geom",
                "columns": {"geom": {"encoding": "WKB", "crs": {"id": {"authority": "EPSG", "code": 32633}}}},
            }
            table = pa.table({"geom": pa.array(wkb, pa.binary()), "v": np.arange(7)})
            pq.write_table(table.replace_schema_metadata({"geo": json.dumps(about)}), tmp_path / "p.geoparquet")
            points = read_points(tmp_path / "p.geoparquet", resolution=1.0, values="v")
            assert points.crs == "EPSG:32633"
            for i, axis in enumerate("xyz"[:n_dims]):
                np.testing.assert_array_equal(column(points, axis), xyz[:, i])
    line = struct.pack("<BII4d", 1, 2, 2, 0, 0, 1, 1)
    pq.write_table(
        pa.table({"geom": pa.array([line], pa.binary())}).replace_schema_metadata({"geo": json.dumps(about)}),
        tmp_path / "l.parquet",
    )
    with pytest.raises(PlanError, match="expected points, got WKB geometries of type 2"):
        read_points(tmp_path / "l.parquet", resolution=1.0)
    field = {b"ARROW:extension:name": b"geoarrow.point"}
    pair = pa.FixedSizeListArray.from_arrays(xyz[:, :2].ravel(), 2)
    struct_ = pa.StructArray.from_arrays([xyz[:, 0], xyz[:, 1]], ["x", "y"])
    for array in (pair, struct_):
        table = pa.Table.from_arrays([array], schema=pa.schema([pa.field("g", array.type, metadata=field)]))
        np.testing.assert_array_equal(column(read_points(table, resolution=1.0), "y"), xyz[:, 1])


def test_warnings_are_none_where_nothing_is_wrong(tmp_path):
    frame(a=np.arange(N)).to_csv(tmp_path / "p.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert column(read_points(tmp_path / "p.csv", resolution=1.0), "a").dtype == np.int64
