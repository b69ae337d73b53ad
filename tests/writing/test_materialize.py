"""What `materialize` writes: the same bytes as the lazy store, in one pass, readable by everybody."""

import json
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import tensorstore as ts
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, materialize
from lazypyr.cli import main
from lazypyr.kvstore.open import open_kvstore
from lazypyr.writing.run import plan_job
from lazypyr.writing.stages import arrays_to_write, plan_stages
from support.faultstore import FaultStore

DOCUMENTS = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unstamped(raw):
    """A document without the fingerprint that only kept levels carry."""

    def walk(node):
        if isinstance(node, dict):
            mine = node.get("lazypyr")
            if isinstance(mine, dict):
                mine.pop("fingerprint", None)
            for value in node.values():
                walk(value)
        return node

    return walk(json.loads(raw))


def assert_same(found, store):
    """Every key of a store, and nothing else, byte for byte."""
    assert sorted(found) == sorted(store)
    for key in store:
        if key.endswith(DOCUMENTS):
            assert unstamped(found[key]) == unstamped(store[key]), key
        else:
            assert found[key] == store[key], key


def source(tmp_path, shape=(300, 421), chunks=(64, 64), dtype="f4", name="src.zarr", **more):
    rng = np.random.default_rng(7)
    if np.dtype(dtype).kind == "c":
        data = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    else:
        data = (rng.normal(size=shape) * 50 + 100).astype(dtype)
    array = zarr.create_array(tmp_path / name, shape=shape, chunks=chunks, dtype=dtype, **more)
    array[...] = data
    return array


SMALL = 100_000  # bytes in flight: several stages even for these arrays


@pytest.mark.parametrize("inflight_bytes", [SMALL, 2**28])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "stride"},
        {"method": "mean", "compressor": "zstd", "zarr_format": 2},
        {"method": "mean", "dimension_separator": ".", "zarr_format": 2, "legacy": True},
        {"method": "median", "layout": "{level}/image"},
        {"method": "mode", "compressor": "blosc"},
        {"method": "max", "compressor": {"id": "bz2", "level": 2}, "levels": 6},
        {"method": "stride", "compressor": "gzip", "zarr_format": 2},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_the_same_bytes_as_the_lazy_store(tmp_path, options, inflight_bytes):
    store = LazyPyramidStore(source(tmp_path), chunks=(32, 32), **options)
    summary = materialize(store, tmp_path / "out", inflight_bytes=inflight_bytes, progress=False)
    found = contents(tmp_path / "out")
    assert_same(found, store)
    assert summary.chunks == sum(not key.endswith(DOCUMENTS) for key in store)
    assert summary.written_bytes == sum(len(v) for k, v in found.items() if not k.endswith(DOCUMENTS))


@pytest.mark.parametrize("inflight_bytes", [SMALL * 4, 2**28])
@pytest.mark.parametrize("chunks", [(64, 64, 1), (50, 70, 3)], ids=str)
def test_stacks_and_products(tmp_path, chunks, inflight_bytes):
    stack = source(tmp_path, shape=(150, 201, 3), chunks=chunks, dtype="c8")
    for n, recipe in enumerate(
        (
            {},
            {"order": "iyx"},
            {"product": "intf_all", "method": "mean"},
            {"product": "phase", "order": "iyx"},
            {"source_product": "intf_seq", "method": "mean"},
        )
    ):
        store = LazyPyramidStore(stack, axes="yxi", chunks=(32, 32), **recipe)
        materialize(store, tmp_path / f"out{n}", inflight_bytes=inflight_bytes, progress=False)
        assert_same(contents(tmp_path / f"out{n}"), store)


def test_a_product_that_looks_around_its_pixels(tmp_path):
    @lazypyr.product(depth=1, channels={}, dtype="f4")
    def smooth(z):
        p = np.pad(z, 1, mode="edge")
        return (
            sum(p[1 + i : p.shape[0] - 1 + i, 1 + j : p.shape[1] - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
        )

    store = LazyPyramidStore(source(tmp_path), chunks=(32, 32), method="mean", product=smooth)
    materialize(store, tmp_path / "out", inflight_bytes=SMALL, progress=False)
    assert_same(contents(tmp_path / "out"), store)


def ramp(level, window):
    y, x = np.ogrid[tuple(slice(*w) for w in window)]
    return (y + 1000 * x + level).astype("i4")


def test_functions_points_and_levels_that_exist(tmp_path):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 900, 3000), rng.uniform(0, 700, 3000)
    points = lazypyr.from_points(x, y, rng.normal(size=3000).astype("f4"), resolution=4.0, chunks=(64, 64))
    first = tmp_path / "first"
    materialize(source(tmp_path), first, method="mean", chunks=(64, 64), progress=False, levels=[0, 1])
    recipes = {
        "function": lazypyr.from_function(ramp, shape=(200, 333), dtype="i4", chunks=(64, 64)),
        "points": points,
        "stored": lazypyr.open_pyramid(first, method="mean", chunks=(32, 32)),
    }
    for name, pyramid in recipes.items():
        store = LazyPyramidStore(pyramid)
        materialize(store, tmp_path / name, progress=False, inflight_bytes=SMALL * 10)
        assert_same(contents(tmp_path / name), store)


def test_a_collection(tmp_path):
    a, b = source(tmp_path), source(tmp_path, name="b.zarr", dtype="i2")
    store = lazypyr.collection({"a": a, "b": b}, chunks=(64, 64), method="mean")
    materialize(store, tmp_path / "out", progress=False)
    assert_same(contents(tmp_path / "out"), store)


@settings(max_examples=12)
@example(shape=(18, 129), chunks=(1, 1), tile=8, method="median", inflight=3000, workers=1, constant=False)
@given(
    shape=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    chunks=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    tile=st.sampled_from([8, 16, 24, 50]),
    method=st.sampled_from(["stride", "mean", "median", "first_valid"]),
    inflight=st.sampled_from([3_000, 30_000, 2**28]),
    workers=st.sampled_from([1, 3]),
    constant=st.booleans(),
)
@pytest.mark.fault("W8")
def test_any_shape(shape, chunks, tile, method, inflight, workers, constant):
    rng = np.random.default_rng(1)
    data = np.zeros(shape, "i2") if constant else rng.integers(-99, 99, shape).astype("i2")
    array = zarr.create_array(MemoryStore(), shape=shape, chunks=tuple(map(min, chunks, shape)), dtype="i2")
    array[...] = data
    store = LazyPyramidStore(array, chunks=(tile, tile), method=method)
    kept = {}
    try:
        materialize(store, kept, inflight_bytes=inflight, workers=workers, progress=False)
    except PlanError as refused:
        assert "raise inflight_bytes" in str(refused)
        assert not kept
    else:
        assert_same(kept, store)


def test_a_plan_in_stages_is_what_these_tests_are_about(tmp_path):
    store = LazyPyramidStore(source(tmp_path), chunks=(32, 32), method="mean")
    arrays = arrays_to_write(store.pyramids, store.layout, None)
    stages = plan_stages(arrays, shards=None, region_bytes=SMALL // 4, workers=2)
    assert len(stages) > 1
    assert any(stage.inputs[0] is not None for stage in stages)


@pytest.mark.parametrize("inflight_bytes", [SMALL * 4, 2**28])
@pytest.mark.parametrize("method", ["stride", "mean", "median"])
def test_every_chunk_of_the_source_is_read_once(tmp_path, method, inflight_bytes):
    source(tmp_path, shape=(512, 512))
    counted = FaultStore(LocalStore(tmp_path / "src.zarr", read_only=True))
    store = LazyPyramidStore(counted, chunks=(32, 32), method=method)
    counted.reads.clear()
    materialize(store, tmp_path / "out", inflight_bytes=inflight_bytes, progress=False)
    assert set(counted.chunk_reads().values()) == {1}
    assert len(counted.chunk_reads()) == 64


@pytest.mark.parametrize("method", ["stride", "mean"])
def test_chunks_across_the_edges_of_regions_are_read_once(tmp_path, method):
    source(tmp_path, shape=(400, 470), chunks=(50, 70))
    counted = FaultStore(LocalStore(tmp_path / "src.zarr", read_only=True))
    store = LazyPyramidStore(counted, chunks=(32, 32), method=method)
    counted.reads.clear()
    # Of two threads that write regions side by side one may be held up until the chunk between them is gone.
    told = materialize(store, tmp_path / "out", inflight_bytes=SMALL * 6, workers=1, progress=False)
    assert told.regions > 8
    assert set(counted.chunk_reads().values()) == {1}
    assert_same(contents(tmp_path / "out"), store)


def test_shards(tmp_path):
    array = source(tmp_path)
    store = LazyPyramidStore(array, chunks=(32, 32), method="mean", compressor="zstd")
    materialize(store, tmp_path / "out", shards=(128, 64), inflight_bytes=SMALL * 4, progress=False)
    lazy, kept = zarr.open(store), zarr.open(tmp_path / "out")
    for path in lazy.array_keys():
        assert kept[path].shards == (128, 64)
        assert kept[path].chunks == (32, 32)
        np.testing.assert_array_equal(kept[path][:], lazy[path][:])
        other = ts.open({"driver": "zarr3", "kvstore": f"file://{tmp_path}/out/{path}/"}).result()
        np.testing.assert_array_equal(other.read().result(), lazy[path][:])
    assert dict(kept.attrs)["ome"] == dict(lazy.attrs)["ome"]
    for wrong in ({"shards": 100}, {"shards": (32, -32)}, {"shards": "x"}):
        with pytest.raises(PlanError, match="shards"):
            materialize(store, tmp_path / "no", progress=False, **wrong)
    with pytest.raises(PlanError, match="v3"):
        materialize(LazyPyramidStore(array, zarr_format=2), tmp_path / "no", shards=512, progress=False)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("chunks", [(64, 64), (50, 70), (51, 33), (300, 421)], ids=str)
@pytest.mark.parametrize("method", ["mean", "stride", "median"])
def test_levels_that_are_asked_for(tmp_path, method, chunks):
    store = LazyPyramidStore(source(tmp_path, chunks=chunks), chunks=(32, 32), method=method)
    lazy = zarr.open(store)
    for name, options, there in (
        ("upper", {"copy_base": False}, ["1", "2", "3", "4"]),
        ("some", {"levels": [2, 4]}, ["2", "4"]),
    ):
        materialize(store, tmp_path / name, progress=False, inflight_bytes=SMALL * 10, **options)
        kept = zarr.open(tmp_path / name)
        assert sorted(kept.array_keys()) == there
        assert [d["path"] for d in kept.attrs["ome"]["multiscales"][0]["datasets"]] == there
        scale = kept.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
        assert scale == [2.0 ** int(there[0])] * 2
        for path in there:
            np.testing.assert_array_equal(kept[path][:], lazy[path][:])
    with pytest.raises(PlanError, match="levels"):
        materialize(store, tmp_path / "no", levels=[7], progress=False)
    with pytest.raises(PlanError, match="nothing left"):
        materialize(store, tmp_path / "no", levels=[0], copy_base=False, progress=False)


@pytest.mark.parametrize("kind", ["dict", "memory store", "local store", "memory url", "file url"])
def test_destinations(tmp_path, kind):
    store = LazyPyramidStore(source(tmp_path), chunks=(64, 64), method="mean")
    dest = {
        "dict": {},
        "memory store": MemoryStore(),
        "local store": LocalStore(tmp_path / "out"),
        "memory url": f"memory://{tmp_path.name}/out",
        "file url": f"file://{tmp_path}/out",
    }[kind]
    materialize(store, dest, progress=False)
    kvstore = open_kvstore(dest)
    assert_same({key: kvstore.get(key) for key, _ in kvstore.list_sizes("")}, store)
    assert "already whole" in str(materialize(store, dest, progress=False))


def test_an_object_store(tmp_path):
    import obstore

    store = LazyPyramidStore(source(tmp_path), chunks=(64, 64), method="mean")
    dest = zarr.storage.ObjectStore(obstore.store.MemoryStore())
    materialize(store, dest, progress=False)
    kvstore = open_kvstore(dest)
    assert_same({key: kvstore.get(key) for key, _ in kvstore.list_sizes("")}, store)
    assert "already whole" in str(materialize(store, dest, progress=False))


@pytest.mark.filterwarnings("error::UserWarning")  # of names that are in it twice
def test_a_zip_file(tmp_path):
    store = LazyPyramidStore(source(tmp_path), chunks=(32, 32), method="mean")
    dest = zarr.storage.ZipStore(tmp_path / "out.zip", mode="w")
    materialize(store, dest, inflight_bytes=SMALL, progress=False)
    dest.close()
    with zipfile.ZipFile(tmp_path / "out.zip") as opened:
        assert_same({name: opened.read(name) for name in opened.namelist()}, store)


def test_a_codec_of_its_own_and_recipes(tmp_path):
    array = source(tmp_path)
    materialize(LazyPyramidStore(array), tmp_path / "a", compressor="gzip", progress=False)
    assert "gzip" in (tmp_path / "a" / "1" / "zarr.json").read_text()
    materialize(array, tmp_path / "b", method="mean", chunks=(64, 64), zarr_format=2, progress=False)
    assert json.loads((tmp_path / "b" / "1" / ".zarray").read_text())["compressor"]["id"] == "zstd"
    with pytest.raises(PlanError, match="belong to the store"):
        materialize(LazyPyramidStore(array), tmp_path / "c", method="mean", progress=False)
    with pytest.raises(PlanError, match="can't write to a int"):
        materialize(array, 5, progress=False)


def test_dry_run_and_summary(tmp_path, capsys):
    store = LazyPyramidStore(source(tmp_path), chunks=(64, 64))
    told = materialize(store, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    done = materialize(store, tmp_path / "out")
    assert (told.chunks, told.pixel_bytes) == (done.chunks, done.pixel_bytes)
    assert told.arrays["0"] == (35, 300 * 421 * 4)
    printed = capsys.readouterr().err
    assert "0: 35 chunks" in printed
    assert f"{done.chunks:,} chunks" in printed.splitlines()[-1]


def test_zarr2_reads_it(tmp_path, zarr2_python):
    store = LazyPyramidStore(source(tmp_path), chunks=(64, 64), method="mean", zarr_format=2, compressor="zstd")
    materialize(store, tmp_path / "out", progress=False)
    np.save(tmp_path / "level1.npy", zarr.open(store)["1"][:])
    script = (
        "import sys, zarr, numpy; g = zarr.open_consolidated(sys.argv[1], mode='r');"
        "assert sorted(g.array_keys()) == ['0', '1', '2', '3'];"
        "assert (g['1'][:] == numpy.load(sys.argv[2])).all()"
    )
    subprocess.run([zarr2_python, "-c", script, tmp_path / "out", tmp_path / "level1.npy"], check=True, timeout=100)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_others_read_it(tmp_path, zarr_format):
    import ome_zarr_models
    import rasterio

    store = LazyPyramidStore(
        source(tmp_path), chunks=(64, 64), method="mean", zarr_format=zarr_format, compressor="zstd"
    )
    materialize(store, tmp_path / "out", progress=False)
    expected = zarr.open(store)["2"][:]
    driver = {"driver": "zarr", "metadata_key": ".zarray"} if zarr_format == 2 else {"driver": "zarr3"}
    other = ts.open({**driver, "kvstore": f"file://{tmp_path}/out/2/"}).result()
    np.testing.assert_array_equal(other.read().result(), expected)
    assert ome_zarr_models.open_ome_zarr(zarr.open_group(tmp_path / "out", mode="r")) is not None
    if zarr_format == 2:  # the GDAL of rasterio's wheels doesn't know the codecs of v3
        with rasterio.open(f'ZARR:"{tmp_path}/out":/2') as opened:
            np.testing.assert_array_equal(opened.read(1), expected)


@pytest.mark.fault("W9")
def test_the_source_is_no_destination(tmp_path):
    array = source(tmp_path / "inside", dtype="c8")
    before = contents(tmp_path)
    for dest in (tmp_path / "inside" / "src.zarr", tmp_path / "inside" / "src.zarr" / "x", tmp_path / "inside", tmp_path,
                 LocalStore(tmp_path / "inside" / "src.zarr")):  # fmt: skip
        for recipe in ({}, {"order": "xy"}, {"product": "amplitude"}):
            with pytest.raises(PlanError, match="is the source"):
                materialize(array, dest, progress=False, **recipe)
    memory = MemoryStore()
    inner = zarr.create_array(memory, name="a", shape=(9, 9), dtype="i2")
    two = lazypyr.collection({"one": np.zeros((9, 9), "i2"), "deep": lazypyr.open_pyramid(inner).map(lambda z: z[()])})
    for src, dest in ((inner, memory), (inner, memory._store_dict), (two, memory)):
        with pytest.raises(PlanError, match="is the source"):
            materialize(src, dest, progress=False)
    assert contents(tmp_path) == before


@pytest.mark.fault("P2")
def test_a_job_is_a_small_pickle(tmp_path):
    store = LazyPyramidStore(source(tmp_path, dtype="c8"), method="mean", product="amplitude")
    job = plan_job(store, open_kvstore(tmp_path / "out"), None, None, 2**20, 2, copy_base=True)
    job.keys, job.encoder, job.engine  # noqa: B018 - what must not be pickled
    blob = pickle.dumps(job)
    assert len(blob) < 10_000
    assert pickle.loads(blob).stages == job.stages


def test_the_command(tmp_path, capsys):
    source(tmp_path)
    command = ["materialize", str(tmp_path / "src.zarr"), str(tmp_path / "out"), "--chunks", "64"]
    assert main([*command, "--method", "mean", "--only", "1-2,3", "--dry-run"]) == 0
    assert "3: 1 chunks" in capsys.readouterr().out
    assert (
        main([*command, "--method", "mean", "--no-base", "--compressor", "none", "--shards", "128,64", "--quiet"]) == 0
    )
    kept = zarr.open(tmp_path / "out")
    assert sorted(kept.array_keys()) == ["1", "2", "3"]
    assert kept["1"].shards == (128, 64)
    assert capsys.readouterr() == ("", "")
    assert main(command) == 1
    assert "not empty" in capsys.readouterr().err
    for wrong in (["--only", "x"], ["--dest-option", "x"]):
        with pytest.raises(SystemExit):
            main([*command, *wrong])
        assert "expected" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["materialize", "--help"])


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "gzip", "zlib", "lz4", "bz2", "lzma"])
def test_codecs_and_types(tmp_path, compressor):
    for n, dtype in enumerate(("?", "i1", "u2", "f2", "f8", "c16", "M8[s]")):
        data = np.arange(40 * 50).reshape(40, 50).astype("i8").astype(dtype)
        for zarr_format in (2, 3):
            store = LazyPyramidStore(data, axes="yx", chunks=(16, 16), compressor=compressor, zarr_format=zarr_format)
            materialize(store, tmp_path / f"{n}-{zarr_format}", progress=False, workers=1)
            np.testing.assert_array_equal(zarr.open(tmp_path / f"{n}-{zarr_format}")["0"][:], data)
            np.testing.assert_array_equal(zarr.open(store)["1"][:], data[::2, ::2])


def test_gzip_knows_no_time():
    header = LazyPyramidStore(np.zeros((9, 9), "u1"), compressor="gzip", zarr_format=2)["0/0/0"][:8]
    assert (header[:3], header[4:]) == (b"\x1f\x8b\x08", bytes(4))


def test_blosc_shuffles_by_item():
    data = np.arange(256 * 256, dtype="u4").reshape(256, 256)
    blosc = LazyPyramidStore(data, compressor={"id": "blosc", "cname": "lz4"})["0/c/0/0"]
    assert len(blosc) < data.nbytes / 10
