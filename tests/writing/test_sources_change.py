"""`materialize` of a source that is written to while a job runs, or between its runs: rows N2 and N3 of tests/fault_ids.txt."""

import os
import shutil

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, SourceError, materialize
from lazypyr.writing import run as jobs

MARK = jobs.Checkpoint.mark
OPTIONS = {"inflight_bytes": 100_000, "progress": False}
KINDS = {
    "v3": {},
    "v3 sharded": {"shards": (128, 64)},
    "v2": {"zarr_format": 2},
    "v2 in folders": {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
}


def made(folder, **kind):
    array = zarr.create_array(folder, shape=(256, 320), chunks=(64, 64), dtype="f4", compressors=None, **kind)
    array[:] = 1
    return array


def chunk_files(folder):
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.name[0] != "." and f.suffix != ".json")


def in_place(folder):
    """All pixels 2, as GDAL's driver writes them: no folder's time changes."""
    for file in chunk_files(folder):
        ones = file.read_bytes()
        with file.open("r+b") as chunk:
            chunk.write(ones.replace(np.float32(1).tobytes(), np.float32(2).tobytes()))


def last_in_place(folder):
    file = chunk_files(folder)[-1]
    with file.open("r+b") as chunk:
        chunk.write(np.float32(2).tobytes())


def with_the_time_set_back(folder):
    before = chunk_files(folder)[-1].stat().st_mtime_ns
    last_in_place(folder)
    os.utime(chunk_files(folder)[-1], ns=(before, before))


def through_zarr(folder):
    zarr.open_array(folder, mode="r+")[:] = 2


def deleted(folder):
    chunk_files(folder)[-1].unlink()


WAYS = [in_place, last_in_place, with_the_time_set_back, through_zarr, deleted]


def store_of(folder):
    return LazyPyramidStore(folder, chunks=(32, 32), method="mean")


def listed(dest):
    try:
        return sorted(zarr.open_group(dest, mode="r").array_keys())
    except FileNotFoundError:
        return []


def values(dest):
    return {path: set(np.unique(array[:]).tolist()) for path, array in zarr.open_group(dest, mode="r").arrays()}


def places_of(tmp_path, kind):
    """A source of a kind, and a destination."""
    made(tmp_path / "src.zarr", **KINDS[kind])
    return tmp_path / "src.zarr", tmp_path / "out"


def written_after(monkeypatch, regions, write):
    """Call `write` when so many regions are done."""
    marked = []

    def mark(self, stage, region):
        MARK(self, stage, region)
        marked.append(region)
        if len(marked) == regions:
            write()

    monkeypatch.setattr(jobs.Checkpoint, "mark", mark)


@pytest.mark.fault("N3")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_written_while_the_job_runs(tmp_path, monkeypatch, kind, way):
    source, dest = places_of(tmp_path, kind)
    written_after(monkeypatch, 2, lambda: way(source))
    with pytest.raises(SourceError, match="written to while"):
        materialize(store_of(source), dest, workers=1, **OPTIONS)
    assert listed(dest) == []
    monkeypatch.undo()
    with pytest.raises(PlanError, match="delete it"):
        materialize(store_of(source), dest, **OPTIONS)
    shutil.rmtree(dest)
    materialize(store_of(source), dest, **OPTIONS)
    np.testing.assert_array_equal(zarr.open_array(dest / "0")[:], zarr.open_array(source)[:])


@pytest.mark.fault("N3")
def test_levels_that_were_whole_before_stay(tmp_path, monkeypatch):
    source, dest = tmp_path / "src.zarr", tmp_path / "out"
    made(source)
    stages = jobs.plan_job(store_of(source), jobs.open_kvstore({}), None, None, 50_000, 1, copy_base=True).stages
    assert len(stages) > 1
    finish = jobs.Checkpoint.finish
    monkeypatch.setattr(jobs.Checkpoint, "finish", lambda self, stage: (finish(self, stage), in_place(source)))
    with pytest.raises(SourceError, match="were whole before"):
        materialize(store_of(source), dest, workers=1, **OPTIONS)
    assert values(dest) == {str(level): {1.0} for level in range(stages[0].hi + 1)}


@pytest.mark.fault("N3")
def test_each_source_of_a_collection(tmp_path, monkeypatch):
    folders = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    for folder in folders:
        made(folder)
    both = lazypyr.collection({folder.stem: store_of(folder) for folder in folders})
    for folder in folders:
        dest = tmp_path / f"of {folder.name}"
        written_after(monkeypatch, 1, lambda folder=folder: in_place(folder))
        with pytest.raises(SourceError, match=f"{folder.name} was written to while"):
            materialize(both, dest, workers=1, **OPTIONS)
        both.refresh()
        monkeypatch.undo()


@pytest.mark.fault("N3")
def test_seen_at_the_next_look_of_a_long_stage(tmp_path, monkeypatch):
    source, dest = tmp_path / "src.zarr", tmp_path / "out"
    made(source)
    monkeypatch.setattr("lazypyr.writing.source_watch._EVERY_S", 0.0)
    monkeypatch.setattr("lazypyr.writing.source_watch._WORK", 0)
    done = []
    written_after(monkeypatch, 2, lambda: in_place(source))
    mark = jobs.Checkpoint.mark
    monkeypatch.setattr(jobs.Checkpoint, "mark", lambda self, *region: (mark(self, *region), done.append(region)))
    with pytest.raises(SourceError, match="written to while"):
        materialize(store_of(source), dest, workers=1, **OPTIONS)
    assert len(done) == 2


@pytest.mark.fault("N3")
def test_a_store_that_was_opened_before(tmp_path):
    source, dest = tmp_path / "src.zarr", tmp_path / "out"
    made(source)
    store = store_of(source)
    through_zarr(source)
    with pytest.raises(SourceError, match=r"refresh\(\)"):
        materialize(store, dest, **OPTIONS)
    store.refresh()
    materialize(store, dest, **OPTIONS)
    assert set().union(*values(dest).values()) == {2.0}


class Indexed:
    """An array of somebody's own class, which nothing tells changes of."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __getitem__(self, selection):
        return self.array[selection]


def in_blocks(array):
    return xr.DataArray(array, dims=("y", "x")).chunk({"y": 100})


@pytest.mark.parametrize("kind", [np.asarray, Indexed, da.from_array, in_blocks])
def test_what_nothing_tells_changes_of_is_written(tmp_path, kind):
    array = np.arange(256 * 320, dtype="f4").reshape(256, 320)
    materialize(LazyPyramidStore(kind(array), chunks=(32, 32), method="mean"), tmp_path / "out", progress=False)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out" / "0")[:], array)


def test_folders_too_many_to_ask_are_written(tmp_path, monkeypatch):
    source, dest = tmp_path / "src.zarr", tmp_path / "out"
    made(source)
    monkeypatch.setattr("lazypyr.sources.chunk_bytes._MAX_FOLDERS", 3)
    materialize(store_of(source), dest, **OPTIONS)
    assert set().union(*values(dest).values()) == {1.0}
    written_after(monkeypatch, 2, lambda: in_place(source))
    with pytest.raises(SourceError, match="written to while"):
        materialize(store_of(source), tmp_path / "other", workers=1, **OPTIONS)


@pytest.mark.fault("N3")
def test_a_numpy_array_that_is_written_to(tmp_path, monkeypatch):
    array = np.ones((256, 320), "f4")
    store = LazyPyramidStore(array, chunks=(32, 32), method="mean")
    written_after(monkeypatch, 2, lambda: array.fill(2))
    with pytest.raises(SourceError, match="written to while"):
        materialize(store, tmp_path / "out", workers=1, **OPTIONS)
    monkeypatch.undo()
    with pytest.raises(SourceError, match=r"refresh\(\)"):
        materialize(store, tmp_path / "other", **OPTIONS)


@pytest.mark.fault("N2")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_written_between_two_runs(tmp_path, monkeypatch, kind, way):
    source, dest = places_of(tmp_path, kind)

    def stop():
        raise KeyboardInterrupt

    written_after(monkeypatch, 2, stop)
    with pytest.raises(KeyboardInterrupt):
        materialize(store_of(source), dest, workers=1, **OPTIONS)
    monkeypatch.undo()
    way(source)
    with pytest.raises(PlanError, match="delete it"):
        materialize(store_of(source), dest, **OPTIONS)
    assert listed(dest) == []


@pytest.mark.fault("N2")
def test_written_in_place_is_named(tmp_path, monkeypatch):
    test_written_between_two_runs(tmp_path, monkeypatch, "v3", in_place)
    with pytest.raises(PlanError, match="chunks of the source have been written since it began"):
        materialize(store_of(tmp_path / "src.zarr"), tmp_path / "out", **OPTIONS)
