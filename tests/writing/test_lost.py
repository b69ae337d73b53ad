"""A destination that is removed, in part or as a whole, while `materialize` writes to it: row N16 of tests/fault_ids.txt."""

import os
import shutil

import numpy as np
import pytest
import zarr

from lazypyr import DestinationError, LazyPyramidStore, materialize
from lazypyr.kvstore.local import LocalKVStore
from lazypyr.writing.checkpoint import Checkpoint

MARK, FINISH = Checkpoint.mark, Checkpoint.finish
SOURCE = np.random.default_rng(3).normal(size=(256, 320)).astype("f4") + 9
OPTIONS = {"progress": False, "workers": 1, "inflight_bytes": 100_000}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "src.zarr"
    zarr.create_array(folder, shape=SOURCE.shape, chunks=(64, 64), dtype="f4", compressors=None)[:] = SOURCE
    return folder


@pytest.fixture(scope="module")
def wanted(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wanted") / "out"
    write(source, folder)
    return contents(folder)


def write(source, dest, **more):
    return materialize(LazyPyramidStore(source, chunks=(32, 32), method="mean", **more), dest, **OPTIONS)


def removed(folder):
    while folder.exists():  # also while somebody writes there
        shutil.rmtree(folder, ignore_errors=True)


def everything(dest):
    removed(dest)


def what_a_star_matches(dest):
    for path in dest.glob("[!.]*"):
        removed(path) if path.is_dir() else path.unlink()


def all_but_the_folder(dest):
    what_a_star_matches(dest)
    removed(dest / ".lazypyr")


def a_chunk(dest):
    min(p for p in (dest / "0" / "c").rglob("*") if p.is_file()).unlink()


def a_level(dest):
    removed(dest / "0")


def another_folder_in_its_place(dest):
    """What unmounting leaves: the folder below, empty."""
    dest.rename(dest.with_name("elsewhere"))
    dest.mkdir()


def moved(dest):
    dest.rename(dest.with_name("elsewhere"))


WAYS = [everything, what_a_star_matches, all_but_the_folder, a_chunk, a_level, another_folder_in_its_place, moved]


def check_visible(dest, wanted):
    """Whatever plain zarr finds is whole."""
    try:
        paths = list(zarr.open_group(dest, mode="r").array_keys())
    except FileNotFoundError:
        paths = []
    for path in paths:
        chunks = {key: data for key, data in wanted.items() if key.startswith(f"{path}/")}
        assert {f"{path}/{key}": data for key, data in contents(dest / path).items()} == chunks


@pytest.mark.fault("N16")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["a region", "the last region", "a stage"])
def test_removed_under_a_run(tmp_path, source, wanted, monkeypatch, way, moment):
    dest, calls = tmp_path / "out", []

    def mark(self, stage, region):
        MARK(self, stage, region)
        calls.append(region)
        if len(calls) == {"a region": 3, "the last region": 20}.get(moment):
            way(dest)

    def finish(self, stage):
        FINISH(self, stage)
        if moment == "a stage" and stage == 0:
            way(dest)

    monkeypatch.setattr(Checkpoint, "mark", mark)
    monkeypatch.setattr(Checkpoint, "finish", finish)
    with pytest.raises(DestinationError, match=str(dest)) as caught:
        write(source, dest)
    assert any(word in str(caught.value) for word in ("is gone", "are gone", "removed", "can't be written to"))
    check_visible(dest, wanted)
    assert way not in (everything, moved) or not dest.exists()
    assert way is not another_folder_in_its_place or not os.listdir(dest)
    monkeypatch.undo()
    write(source, dest)
    assert contents(dest) == wanted


@pytest.mark.fault("N16")
@pytest.mark.parametrize("key", ["0/c/1/2", "a", "a/b"])
def test_removed_between_the_look_and_the_write(tmp_path, monkeypatch, key):
    kvstore = LocalKVStore(tmp_path / "out")
    kvstore.put("0/c/0", b"1")
    kvstore.hold()
    check = LocalKVStore._check_held

    def checked(self):
        check(self)
        removed(self.local)

    monkeypatch.setattr(LocalKVStore, "_check_held", checked)
    with pytest.raises(FileNotFoundError):
        kvstore.put(key, b"2")
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("N16")
@pytest.mark.parametrize("way", [a_chunk, a_level, what_a_star_matches])
def test_removed_between_two_runs(tmp_path, source, wanted, monkeypatch, way):
    dest = tmp_path / "out"

    def finish(self, stage):
        FINISH(self, stage)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        write(source, dest)
    monkeypatch.undo()
    way(dest)
    write(source, dest)
    assert contents(dest) == wanted


@pytest.mark.fault("N16")
def test_a_mapping_that_is_emptied(source, wanted, monkeypatch):
    dest, calls = {}, []

    def mark(self, stage, region):
        MARK(self, stage, region)
        calls.append(region)
        if len(calls) == 3:
            dest.clear()

    monkeypatch.setattr(Checkpoint, "mark", mark)
    with pytest.raises(DestinationError, match="is gone"):
        write(source, dest)
    monkeypatch.undo()
    write(source, dest)
    assert dest == wanted
