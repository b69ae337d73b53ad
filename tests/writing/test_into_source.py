"""Levels and products added to the group of their source: nothing there is written anew, metadata are extended last."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import PlanError, materialize, open_pyramid
from lazypyr.cli import main
from support.sigkill import forked


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


PIXELS = np.random.default_rng(0).normal(size=(300, 260)).astype("f4")
OPTIONS = {"method": "mean", "chunks": 32}


def group_of(folder, *, levels=0, path="{}", zarr_format=3, consolidated=False, dtype="f4"):
    group = zarr.create_group(folder, zarr_format=zarr_format, attributes={"kept": {"as": "it is"}})
    names = (
        {"dimension_names": ("y", "x")}
        if zarr_format == 3
        else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    )
    for k in range(max(1, levels)):
        group.create_array(path.format(k), data=PIXELS[:: 2**k, :: 2**k].astype(dtype), chunks=(64, 64), **names)
    group.create_array("other", data=np.arange(5))
    if levels:
        axes = [{"name": n, "type": "space", "unit": "meter"} for n in "yx"]
        steps = [[{"type": "scale", "scale": [10.0 * 2**k, 10.0 * 2**k]}] for k in range(levels)]
        datasets = [{"path": path.format(k), "coordinateTransformations": s} for k, s in enumerate(steps)]
        entry = {"axes": axes, "datasets": datasets, "name": "image", "extra": 7}
        group.attrs.update(
            {"ome": {"version": "0.5", "multiscales": [entry]}}
            if zarr_format == 3
            else {"multiscales": [{"version": "0.4", **entry}]}
        )
    if consolidated:
        zarr.consolidate_metadata(folder)
    return folder


KINDS = {
    "an array in a group": {},
    "zarr v2": {"zarr_format": 2},
    "levels": {"levels": 2},
    "levels of zarr v2": {"levels": 2, "zarr_format": 2},
    "names of others": {"levels": 2, "path": "scale{}/image"},
    "consolidated": {"levels": 2, "consolidated": True},
    "consolidated v2": {"levels": 1, "zarr_format": 2, "consolidated": True},
}
META = ("zarr.json", ".zattrs", ".zmetadata")


@pytest.mark.parametrize("kind", KINDS)
def test_missing_levels_are_added(kind, tmp_path):
    src = group_of(tmp_path / "a.zarr", **KINDS[kind])
    before, expected = (
        contents(src),
        open_pyramid(src, **OPTIONS) if "levels" in KINDS[kind] else open_pyramid(src / "0", **OPTIONS),
    )
    store = src if "levels" in KINDS[kind] else src / "0"
    wanted = [expected.read(k) for k in range(len(expected.levels))]
    summary = materialize(store, into_source=True, progress=False, **OPTIONS)
    stored = max(1, KINDS[kind].get("levels", 1))
    assert len(summary.arrays) == len(wanted) - stored
    after = contents(src)
    assert {k: v for k, v in after.items() if k in before and k not in META} == {
        k: v for k, v in before.items() if k not in META
    }
    assert not [key for key in after if ".lazypyr" in key]
    group = zarr.open_group(src, mode="r")
    assert group.attrs["kept"] == {"as": "it is"}
    entry = (group.attrs["ome"] if "ome" in group.attrs else group.attrs)["multiscales"][0]
    assert [group[d["path"]].shape for d in entry["datasets"]] == [level.shape for level in wanted]
    for dataset, pixels in zip(entry["datasets"], wanted):
        np.testing.assert_array_equal(group[dataset["path"]][:], pixels)
    if "levels" in KINDS[kind]:
        assert (entry["name"], entry["extra"]) == ("image", 7)
        assert entry["datasets"][-1]["coordinateTransformations"][0]["scale"] == [10.0 * 2 ** (len(wanted) - 1)] * 2
    again = open_pyramid(src, chunks=32)
    assert len(again.stored_levels) == len(wanted)
    for k, pixels in enumerate(wanted):
        np.testing.assert_array_equal(again.read(k), pixels)
    assert contents(src) == after
    assert materialize(src, into_source=True, progress=False, **OPTIONS).chunks == 0
    assert contents(src) == after


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_product_is_added_as_an_array(zarr_format, tmp_path):
    src = group_of(tmp_path / "a.zarr", levels=2, zarr_format=zarr_format, consolidated=True)
    before = contents(src)
    slope = open_pyramid(src, chunks=32).map("slope", spacing=10)
    materialize(slope, into_source=True, name="derived/slope", progress=False)
    group = zarr.open_group(src, mode="r")
    np.testing.assert_array_equal(group["derived/slope"][:], slope.read(0))
    after = contents(src)
    assert {k: v for k, v in after.items() if k in before and k not in META} == {
        k: v for k, v in before.items() if k not in META
    }
    with pytest.raises(PlanError, match="something else"):
        materialize(
            open_pyramid(src, chunks=32).map("aspect", spacing=10),
            into_source=True,
            name="derived/slope",
            progress=False,
        )
    assert contents(src) == after


def test_mappings_and_memory(tmp_path):
    folder = group_of(tmp_path / "a.zarr", levels=2)
    mapping = contents(folder)
    materialize(mapping, into_source=True, progress=False, **OPTIONS)
    assert len(open_pyramid(mapping, chunks=32).stored_levels) == 5
    memory = zarr.storage.MemoryStore()
    zarr.create_group(memory).create_array("0", data=PIXELS, chunks=(64, 64))
    materialize(zarr.open_group(memory), into_source=True, progress=False, **OPTIONS)
    assert len(open_pyramid(memory, chunks=32).stored_levels) == 5


def test_the_command_line(tmp_path, capsys):
    src = group_of(tmp_path / "a.zarr", levels=2)
    assert main(["materialize", str(src), "--into-source", "--method", "mean", "--chunks", "32", "--quiet"]) == 0
    assert len(open_pyramid(src, chunks=32).stored_levels) == 5
    assert (
        main(["materialize", str(src), "--into-source", "--product", "expression:b0 * 2", "--name", "twice", "--quiet"])
        == 0
    )
    assert "twice" in zarr.open_group(src, mode="r")
    assert main(["materialize", str(src)]) != 0
    assert "either a destination, or into_source=True" in capsys.readouterr().err


@pytest.mark.fault("W9")
def test_what_can_not_be_added_to_is_refused(tmp_path):
    src = group_of(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "alone.zarr", data=PIXELS, chunks=(64, 64))
    calls = {
        "either a destination": lambda: materialize(src, tmp_path / "b.zarr", into_source=True),
        "is an array by itself": lambda: materialize(tmp_path / "alone.zarr", into_source=True, **OPTIONS),
        "no zarr array": lambda: materialize(PIXELS, into_source=True),
        "is for products": lambda: materialize(src / "0", into_source=True, name="x", **OPTIONS),
        "is the source": lambda: materialize(src, src, **OPTIONS),
        "next of the levels that are missing": lambda: materialize(src / "0", into_source=True, levels=[2], **OPTIONS),
    }
    before = contents(tmp_path)
    for message, call in calls.items():
        with pytest.raises(PlanError, match=message):
            call()
    assert contents(tmp_path) == before


@pytest.mark.timeout(300)
def test_killed_at_any_instant_the_source_is_as_it_was_and_the_next_run_ends_it(tmp_path):
    rng = random.Random(0)
    whole = group_of(tmp_path / "whole.zarr", levels=1)
    before = contents(whole)
    options = {**OPTIONS, "into_source": True, "progress": False, "inflight_bytes": 100_000}
    materialize(group_of(tmp_path / "first.zarr", levels=1), **options)  # which compiles
    begin = time.perf_counter()
    materialize(whole, **options)
    duration, wanted = time.perf_counter() - begin, contents(whole)
    killed = 0
    for _ in range(12):
        src = group_of(tmp_path / "a.zarr", levels=1)
        assert contents(src) == before
        child, results = forked(lambda: materialize(src, **options))
        time.sleep(rng.uniform(0, 1.5) * duration)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(results)
        found = contents(src)
        assert {key: found[key] for key in before if key != "zarr.json"} == {
            k: v for k, v in before.items() if k != "zarr.json"
        }
        listed = [d["path"] for d in json.loads(found["zarr.json"])["attributes"]["ome"]["multiscales"][0]["datasets"]]
        killed += listed == ["0"]
        assert listed in (["0"], ["0", "1", "2", "3", "4"])
        for k, pixels in ((k, lazypyr.open_pyramid(whole, chunks=32).read(int(k))) for k in listed):
            np.testing.assert_array_equal(zarr.open_group(src, mode="r")[k][:], pixels)
        materialize(src, **options)
        assert contents(src) == wanted
        shutil.rmtree(src)
    assert killed
