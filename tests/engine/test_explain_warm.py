"""What a tile would cost, said before it is read, against the reads it then makes; and computing ahead."""

import itertools
import json

import numpy as np
import pytest
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, PlanError, open_pyramid
from lazypyr.cli import main
from lazypyr.engine.explain import explain
from lazypyr.engine.warm import finest_that_fits
from lazypyr.geometry import windows
from support.faultstore import FaultStore
from support.sources import random_array, zarr_array


def counted(shape=(256, 192), chunks=(32, 32), **options):
    """A source whose reads are counted, and the store of its chunks."""
    memory = MemoryStore()
    array = random_array(3, shape, "<f4")
    zarr_array(np.nan_to_num(array), store=memory, chunks=chunks, **options)
    return FaultStore(memory)


@pytest.mark.parametrize("method", ["stride", "mean", "median"])
@pytest.mark.parametrize("level", [0, 1, 2, 4])
@pytest.mark.parametrize("chunks", [(32, 32), (48, 20)])
def test_explain_counts_the_chunks_that_are_then_read(method, level, chunks):
    source = counted(chunks=chunks)
    store = LazyPyramidStore(source, method=method, chunks=(16, 16), levels=5, workers=1)
    key = f"{level}/c/0/0"
    before = len(source.chunk_reads())
    said = store.explain(key)
    assert len(source.chunk_reads()) == before == 0, "explaining read a chunk"
    store[key]
    assert said.chunks == len(source.chunk_reads())
    assert said.n_bytes == said.chunks * chunks[0] * chunks[1] * 4
    assert store.explain(key).cached
    for kept in said.keeps:
        assert store.explain(f"{kept}/c/0/0").cached


def test_explain_names_the_finer_tiles_it_would_use():
    source = counted()
    store = LazyPyramidStore(source, method="mean", chunks=(16, 16), levels=5)
    for y, x in itertools.product(range(2), range(2)):
        store[f"2/c/{y}/{x}"]
    said = store.explain("3/c/0/0")
    assert (said.chunks, said.tiles) == (0, 4)
    reads = len(source.chunk_reads())
    store["3/c/0/0"]
    assert len(source.chunk_reads()) == reads


def test_explain_follows_a_product_to_its_inputs():
    stack = random_array(0, (64, 64, 6), "<c8")
    store = LazyPyramidStore(zarr_array(stack, chunks=(16, 16, 1)), axes="yxi", chunks=(16, 16), product="intf_all")
    said = store.explain("0/c/1/2/0/3")
    assert len(said.inputs) == 2
    assert said.total_chunks == 2
    assert json.loads(json.dumps(said.as_dict()))["inputs"][0]["chunks"] == 1


def test_explain_refuses_what_is_no_chunk():
    store = LazyPyramidStore(np.zeros((8, 8)))
    with pytest.raises(KeyError):
        store.explain("9/c/0/0")
    with pytest.raises(KeyError):
        store.explain("zarr.json")


def test_explain_from_the_command_line(tmp_path, capsys):
    zarr_array(np.zeros((100, 90), "u1"), store=str(tmp_path / "a.zarr"), chunks=(10, 10))
    assert (
        main(["explain", str(tmp_path / "a.zarr"), "--level", "1", "--chunks", "16", "--chunk", "0,1", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    pyramid = open_pyramid(tmp_path / "a.zarr", chunks=(16, 16))
    assert said == explain(pyramid, 1, (0, 1), LazyPyramidStore(pyramid).engine).as_dict()
    assert main(["explain", str(tmp_path / "a.zarr"), "--level", "1", "--chunks", "16", "--chunk", "0,9"]) == 1
    assert "4 x 3 tiles" in capsys.readouterr().err


def test_warm_reads_each_chunk_once_and_leaves_nothing_to_compute():
    source = counted()
    store = LazyPyramidStore(source, method="mean", chunks=(16, 16))
    store.warm(min_level=1, progress=False)
    assert set(source.chunk_reads().values()) == {1}
    computes = store.cache_info().computes
    for level in range(1, len(store.pyramid.levels)):
        counts = windows.chunk_count(store.pyramid.levels[level].shape, (16, 16))
        for index in itertools.product(*map(range, counts)):
            store["/".join(map(str, [level, "c", *index]))]
    assert store.cache_info().computes == computes


def test_warm_says_how_far_it_is(capsys):
    LazyPyramidStore(np.zeros((64, 64), "u1"), chunks=(16, 16)).warm()
    assert "of" in capsys.readouterr().err


def test_warm_keeps_what_was_computed_when_interrupted(monkeypatch):
    store = LazyPyramidStore(counted(), method="median", chunks=(16, 16))
    done = []

    def stop_after(pyramid, level, index, *, run=None, tile=store.engine.tile):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((level, index))
        return tile(pyramid, level, index, run=run)

    monkeypatch.setattr(store.engine, "tile", stop_after)
    with pytest.raises(KeyboardInterrupt):
        store.warm(min_level=2, progress=False)
    assert all(store.engine.peek(store.pyramid, *tile) is not None for tile in done)


def test_warm_refuses_what_does_not_fit():
    store = LazyPyramidStore(np.zeros((64, 64), "f4"), chunks=(16, 16), cache_bytes=4096)
    with pytest.raises(PlanError, match="cache_bytes"):
        store.warm(min_level=0, progress=False)
    with pytest.raises(PlanError, match="min_level"):
        store.warm(min_level=7, progress=False)


def test_the_finest_level_that_fits():
    pyramid = open_pyramid(np.zeros((64, 64), "u1"), chunks=(16, 16))
    sizes = [16, 4, 1]
    assert [finest_that_fits(pyramid, n * 256) for n in (1, 5, 20, 21)] == [2, 1, 1, 0]
    assert sum(sizes) == 21


@pytest.mark.parametrize(
    ("fill", "attributes", "given", "expected"),
    [
        (0, {}, "declared", 5.0),  # zero is data
        (-99, {}, "declared", 10.0),  # somebody chose this fill value
        (0, {"_FillValue": 0}, "declared", 10.0),
        (-99, {}, None, -44.5),
        (0, {}, 10, 0.0),
    ],
)
def test_what_declares_that_a_pixel_holds_nothing(fill, attributes, given, expected):
    nothing = -99 if fill else 0
    array = zarr_array(np.array([[nothing, 10], [nothing, 10]], "f4"), fill_value=fill, attributes=attributes)
    pyramid = open_pyramid(array, method="mean", levels=2, nodata=given)
    assert pyramid.read(1)[0, 0] == expected
