"""Tiles that were computed before: found, checked, bounded, and never a reason to fail."""

import json
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, PlanError, collection, materialize
from lazypyr.kvstore.local import LocalKVStore
from lazypyr.sources.zarr import ZarrSource
from lazypyr.store.overlay.disk_cache import LOCK, TILES
from support.faultstore import FaultStore
from support.paths import ROOT

TILE = 32 * 32 * 4 + 16  # bytes of one in the disk tier


@pytest.fixture
def counted(tmp_path):
    array = zarr.create_array(tmp_path / "src.zarr", shape=(256, 320), chunks=(64, 64), dtype="f4")
    array[:] = np.random.default_rng(5).normal(size=array.shape)
    return FaultStore(zarr.storage.LocalStore(tmp_path / "src.zarr", read_only=True))


def lazy(source, **more):
    return LazyPyramidStore(source, **{"chunks": (32, 32), "method": "mean", **more})


def levels(store):
    return {path: array[:] for path, array in zarr.open(store).arrays()}


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_the_next_store_finds_what_was_computed(tmp_path, counted):
    truth = levels(lazy(counted))
    first = lazy(counted, overlay=tmp_path / "kept", write_through=True)
    assert equal(levels(first), truth)
    counted.reads.clear()
    again = lazy(counted, overlay=tmp_path / "kept")
    assert equal(levels(again), truth)
    assert not counted.chunk_reads()
    assert again.overlay.tile_bytes == first.overlay.tile_bytes == len(tiles(tmp_path / "kept")) * TILE


def test_coarser_levels_are_made_of_what_is_there(tmp_path, counted):
    first = lazy(counted, overlay=tmp_path / "kept", write_through=True)
    zarr.open(first)["2"][:]
    counted.reads.clear()
    again = lazy(counted, overlay=tmp_path / "kept")
    assert np.array_equal(zarr.open(again)["4"][:], zarr.open(lazy(tmp_path / "src.zarr"))["4"][:])
    assert not counted.chunk_reads()


def tiles(folder):
    return [p for p in (folder / ".lazypyr" / "tiles").rglob("*") if p.is_file()]


@pytest.mark.fault("C11")
def test_damage_is_a_miss(tmp_path, counted):
    truth = levels(lazy(counted))
    levels(lazy(counted, overlay=tmp_path / "kept", write_through=True))
    files = tiles(tmp_path / "kept")
    for n, file in enumerate(files):
        raw = bytearray(file.read_bytes())
        raw[(n * 37) % len(raw)] ^= 1 << n % 8
        damaged = [bytes(raw), bytes(raw[:100]), b"", b"x" * 50_000][n % 4]
        file.write_bytes(damaged)
    for _ in range(2):
        assert equal(levels(lazy(counted, overlay=tmp_path / "kept", write_through=True)), truth)


@pytest.mark.fault("C11")
def test_whatever_happens_to_the_medium(tmp_path, counted, monkeypatch, caplog):
    truth = levels(lazy(counted))
    kept = tmp_path / "kept"
    levels(lazy(counted, overlay=kept, write_through=True))
    store = lazy(counted, overlay=kept, write_through=True)
    for file in tiles(kept):
        file.unlink()
    assert equal(levels(store), truth)

    store = lazy(counted, overlay=kept, write_through=True)
    store.engine.clear()

    def fails(*args, **kwargs):
        raise OSError(5, "the medium is gone")

    for name in ("get", "put_atomic", "delete", "list_sizes"):
        monkeypatch.setattr(LocalKVStore, name, fails)
    assert equal(levels(store), truth)
    assert "the medium is gone" in caplog.text


@pytest.mark.fault("C11")
def test_bounded_also_when_opened_again_and_with_others(tmp_path, counted):
    kept, limit = tmp_path / "kept", 20 * TILE
    truth = levels(lazy(counted))
    stores = [lazy(counted, overlay=kept, write_through=True, overlay_bytes=limit) for _ in range(2)]
    for store in [*stores, lazy(counted, overlay=kept, write_through=True, overlay_bytes=limit)]:
        assert store.overlay.tile_bytes <= limit
        assert equal(levels(store), truth)
        assert sum(p.stat().st_size for p in tiles(kept)) <= limit
    small = lazy(counted, overlay=kept, write_through=True, overlay_bytes=100)
    assert equal(levels(small), truth)
    for wrong in (0, -1, True):
        with pytest.raises(PlanError, match="overlay_bytes"):
            lazy(counted, overlay=kept, overlay_bytes=wrong)
    with pytest.raises(PlanError, match="need overlay="):
        lazy(counted, write_through=True)


HAMMER = """
import random, sys, threading
from lazypyr import LazyPyramidStore
source, kept, limit = *sys.argv[1:3], int(sys.argv[3])
stores = [
    LazyPyramidStore(source, method="mean", chunks=(32, 32), overlay=kept, write_through=True, overlay_bytes=limit,
                     cache_bytes=8192) for _ in range(3)
]
keys = [key for key in stores[0] if "/c/" in key]
def read(seed):
    mine = random.Random(seed).sample(keys, 40)
    for n, key in enumerate(mine):
        bytes(stores[(seed + n) % 3][key])
threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
print("ready", flush=True); sys.stdin.readline()
for t in threads: t.start()
for t in threads: t.join()
print(len(stores), flush=True)
"""


@pytest.mark.slow
@pytest.mark.fault("C11")
@pytest.mark.timeout(120)
def test_bounded_at_any_time_whoever_writes(tmp_path, counted):
    kept, limit = tmp_path / "kept", 20 * TILE
    argv = [sys.executable, "-c", HAMMER, tmp_path / "src.zarr", kept, str(limit)]
    running = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                         cwd=ROOT)
        for _ in range(2)
    ]  # fmt: skip
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    kvstore, seen = LocalKVStore(kept), []
    while any(process.poll() is None for process in running):
        with kvstore.lock(LOCK) as note:
            assert note is not None
            seen.append(sum(size for _, size in kvstore.list_sizes(TILES)))
        time.sleep(0.01)
    assert [process.communicate()[0] for process in running] == ["3\n"] * 2
    assert max(seen, default=0) <= limit
    assert limit // 2 < sum(p.stat().st_size for p in tiles(kept)) <= limit
    path = tmp_path / "src.zarr"
    assert equal(levels(lazy(path, overlay=kept)), levels(lazy(path)))


@pytest.mark.fault("C11")
def test_bounded_where_nothing_can_be_locked(tmp_path, counted):
    where, limit = {}, 40 * TILE
    stores = [lazy(counted, overlay=where, write_through=True, overlay_bytes=limit, cache_bytes=0) for _ in range(2)]
    truth = levels(lazy(counted))
    with ThreadPoolExecutor(8) as threads:
        assert all(equal(found, truth) for found in threads.map(levels, stores * 4))
    assert limit // 2 < sum(len(v) for k, v in where.items() if k.startswith(TILES)) <= limit


@pytest.mark.fault("C11")
def test_a_bound_that_is_lowered_or_was_not_kept(tmp_path, counted):
    kept = tmp_path / "kept"
    levels(lazy(counted, overlay=kept, write_through=True, overlay_bytes=100 * TILE))
    levels(lazy(counted, overlay=kept, write_through=True))
    assert len(tiles(kept)) > 100
    for limit in (30 * TILE, 10 * TILE, 100):
        store = lazy(counted, overlay=kept, write_through=True, overlay_bytes=limit, cache_bytes=0)
        zarr.open(store)["0"][:]
        assert sum(p.stat().st_size for p in tiles(kept)) <= limit


@pytest.mark.fault("C11")
def test_a_writer_that_hangs_holds_up_no_reader(tmp_path, counted, monkeypatch, caplog):
    kept = tmp_path / "kept"
    truth = levels(lazy(counted))
    monkeypatch.setattr("lazypyr.kvstore.local._PATIENCE_S", 0.02)
    store = lazy(counted, overlay=kept, write_through=True, overlay_bytes=20 * TILE)
    with LocalKVStore(kept).lock(LOCK):
        assert equal(levels(store), truth)
    assert "locked by another" in caplog.text


@pytest.mark.fault("C11")
def test_two_processes(tmp_path, counted):
    script = (
        "import sys, zarr, numpy; from lazypyr import LazyPyramidStore\n"
        "s = LazyPyramidStore(sys.argv[1], method='mean', chunks=(32, 32), overlay=sys.argv[2], write_through=True)\n"
        "print(float(sum(abs(a[:].astype('f8')).sum() for _, a in zarr.open(s).arrays())))"
    )
    argv = [sys.executable, "-c", script, tmp_path / "src.zarr", tmp_path / "kept"]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    assert len({p.communicate(timeout=100)[0] for p in running}) == 1
    truth = levels(lazy(tmp_path / "src.zarr"))
    store = lazy(tmp_path / "src.zarr", overlay=tmp_path / "kept")
    store.pyramid.stored_levels[0].__class__ = Unreadable
    assert equal(levels(store), truth)


class Unreadable(ZarrSource):
    def read(self, window, step=None):
        raise AssertionError("the source was read")


def test_another_recipe_or_source_is_refused(tmp_path, counted):
    kept, path = tmp_path / "kept", tmp_path / "src.zarr"
    levels(lazy(path, overlay=kept, write_through=True))
    with pytest.raises(PlanError, match="was made as '.*mean.*', now it is '.*max"):
        lazy(path, method="max", overlay=kept)
    zarr.open(path, mode="r+")[:3] = 9
    with pytest.raises(PlanError, match="source of the root has changed"):
        lazy(path, overlay=kept)
    (kept / ".lazypyr" / "overlay.json").write_text("[]")
    with pytest.raises(PlanError, match="record can't be read"):
        lazy(counted, overlay=kept)
    other = tmp_path / "other"
    zarr.create_group(other)
    with pytest.raises(PlanError, match="holds another hierarchy"):
        lazy(counted, overlay=other)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_path_is_the_same_however_it_is_spelled(tmp_path, counted, monkeypatch, zarr_format):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for path in ("src.zarr", tmp_path / "src.zarr", tmp_path / "link" / "src.zarr"):
        store = lazy(path, overlay="kept", write_through=True, zarr_format=zarr_format)
        told = materialize(store, "out", progress=False)
        zarr.open(store)["1"][:]
        again = lazy(path, overlay="out", zarr_format=zarr_format)
    assert "already whole" in str(told)
    assert again.overlay.levels == [0, 1, 2, 3, 4]
    with pytest.raises(PlanError, match="not empty"):
        materialize(lazy(path, zarr_format=zarr_format, compressor="zstd"), "out", progress=False)


@pytest.mark.parametrize("shards", [None, 64])
@pytest.mark.parametrize("more", [{}, {"zarr_format": 2}, {"layout": "{level}/image"}], ids=str)
def test_materialized_levels_are_served(tmp_path, counted, shards, more):
    if shards and more.get("zarr_format") == 2:
        shards = None
    truth = levels(lazy(counted))
    materialize(
        lazy(counted, **more), tmp_path / "out", shards=shards, compressor="zstd", copy_base=False, progress=False
    )
    store = lazy(counted, overlay=tmp_path / "out", layout=more.get("layout", "{level}"))
    assert store.overlay.levels == [1, 2, 3, 4]
    group = zarr.open(store)
    counted.reads.clear()
    for level in range(1, 5):
        assert np.array_equal(group[store.layout.level_path.format(level=level)][:], truth[str(level)])
    assert not counted.chunk_reads()
    with pytest.raises(PlanError, match="now it is"):
        lazy(counted, method="max", overlay=tmp_path / "out")


@pytest.mark.parametrize("shards", [None, 64])
@pytest.mark.fault("C11")
def test_damaged_levels_are_computed(tmp_path, counted, shards):
    truth = levels(lazy(counted))
    materialize(lazy(counted), tmp_path / "out", shards=shards, compressor="zstd", progress=False)
    for n, file in enumerate(sorted((tmp_path / "out" / "1" / "c").rglob("*/*"))):
        if n % 3 == 0:
            file.unlink()
        elif n % 3 == 1:
            file.write_bytes(file.read_bytes()[:-3])
    assert equal(levels(lazy(counted, overlay=tmp_path / "out")), truth)


def test_half_a_job_shows_no_half_level(tmp_path, counted):
    materialize(lazy(counted), tmp_path / "out", levels=[2], progress=False)
    store = lazy(counted, overlay=tmp_path / "out", write_through=True)
    assert store.overlay.levels == [2]
    assert equal(levels(store), levels(lazy(counted)))
    assert json.loads((tmp_path / "out" / ".lazypyr" / "overlay.json").read_text())


@pytest.mark.parametrize("options", [{"copy_base": False}, {"levels": [0, 2]}, {}], ids=str)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_edited_attributes_are_served(tmp_path, counted, zarr_format, options):
    plain = lazy(counted, zarr_format=zarr_format)
    materialize(plain, tmp_path / "out", progress=False, **options)
    untouched = lazy(counted, overlay=tmp_path / "out", zarr_format=zarr_format)
    assert zarr.open(untouched).attrs.asdict() == zarr.open(plain).attrs.asdict()
    omero = {"channels": [{"color": "FF0000", "window": {"start": 0, "end": 9}}]}
    kept = zarr.open_group(tmp_path / "out", mode="r+", use_consolidated=False)
    kept.attrs["title"], kept.attrs["odd"] = "Etna", float("nan")
    if zarr_format == 3:
        kept.attrs["ome"] = {**kept.attrs["ome"], "omero": omero}
    else:
        kept.attrs["omero"] = omero
    store = lazy(counted, overlay=tmp_path / "out", zarr_format=zarr_format)
    for consolidated in (True, False):
        group = zarr.open_group(store, mode="r", use_consolidated=consolidated)
        shown, wanted = group.attrs.asdict(), zarr.open(plain).attrs.asdict()
        assert shown.pop("title") == "Etna"
        assert (shown["ome"] if zarr_format == 3 else shown).pop("omero") == omero
        assert shown == wanted
    assert equal(levels(store), levels(plain))


@pytest.mark.parametrize("kind", ["dict", "store", "url"])
def test_other_media(tmp_path, counted, kind):
    where = {"dict": {}, "store": MemoryStore(), "url": f"memory://{tmp_path.name}"}[kind]
    truth = levels(lazy(counted))
    levels(lazy(counted, overlay=where, write_through=True))
    counted.reads.clear()
    assert equal(levels(lazy(counted, overlay=where)), truth)
    assert not counted.chunk_reads()


def test_a_source_that_changes(tmp_path, counted):
    store = lazy(tmp_path / "src.zarr", overlay=tmp_path / "kept", write_through=True)
    before = levels(store)
    array = zarr.open(tmp_path / "src.zarr", mode="r+")
    array[:] = 7
    store.refresh()
    assert not equal(levels(store), before)
    assert equal(levels(store), levels(lazy(tmp_path / "src.zarr")))
    assert equal(levels(lazy(tmp_path / "src.zarr", overlay=tmp_path / "other")), levels(store))


@pytest.mark.fault("P2")
def test_pickled_with_the_store(tmp_path, counted):
    store = lazy(tmp_path / "src.zarr", overlay=tmp_path / "kept", write_through=True)
    truth = levels(store)
    blob = pickle.dumps(store)
    assert len(blob) < 10_000
    other = pickle.loads(blob)
    assert other.overlay.write_through
    assert other.overlay.tile_bytes == store.overlay.tile_bytes
    assert equal(levels(other), truth)


def test_a_collection(tmp_path, counted):
    made = {"a": counted, "b": counted}
    options = {"chunks": (32, 32), "method": "mean", "overlay": tmp_path / "kept", "write_through": True}
    store = collection(made, **options)
    truth = {path: array[:] for path, array in zarr.open(store).members(max_depth=None) if hasattr(array, "shape")}
    assert tiles(tmp_path / "kept")
    again = collection(made, **options)
    for path, pixels in truth.items():
        assert np.array_equal(zarr.open(again)[path][:], pixels)
