"""What a tile would cost, said before it is read, against the reads it then makes; and computing ahead."""

import itertools
import json

import numpy as np
import pytest
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, PlanError, from_function, from_points, open_pyramid, product
from lazypyr.cli import main
from lazypyr.engine.warm import finest_that_fits
from lazypyr.geometry import windows
from lazypyr.sources.base import Source
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
    assert (said.chunks, said.cached_chunks) == (0, 4)
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


@pytest.mark.parametrize("name", ["intf_0", "cast", "rescale"])
def test_explain_of_a_product_names_the_cached_chunks_of_its_inputs(name):
    data = np.arange(256.0 * 256 * 2).reshape(256, 256, 2)
    pyramid = open_pyramid(data, axes="yxi", method="mean", chunks=(32, 32))
    store = LazyPyramidStore(pyramid.map(name))
    assert not store.explain("2/c/0/0/1").inputs[0].cached
    store["2/c/0/0/1"]
    found = store.explain("2/c/0/1/1").inputs[0]  # the pass over the first brought the chunks beside it
    assert (found.cached, found.how, found.chunks) == (True, "from the cache", 0)


class Counted(Source):
    """Float32 numbers by index along each axis, in chunks of 1000; every read is counted."""

    name, dtype = "counted", np.dtype("<f4")

    def __init__(self, shape, axes):
        self.shape, self.axes, self.chunks, self.reads = shape, axes, (1000,) * len(shape), 0

    @property
    def fingerprint(self):
        return f"counted {self.shape}"

    def read(self, window, step=None):
        self.reads += 1
        steps = step or (1,) * len(window)
        ranges = [np.arange(a, b, s, dtype="<f4") for (a, b), s in zip(window, steps, strict=True)]
        return np.add.reduce(np.meshgrid(*ranges, indexing="ij"))


def points(method="first_valid"):
    xs, ys = np.random.default_rng(0).random((2, 5000)) * 500
    values = Counted((5000,), ("point",))
    return values, from_points(xs, ys, values, resolution=1.0, method=method)


def function():
    calls = Counted((600, 500), ("y", "x"))
    return calls, from_function(lambda level, window: calls.read(window), shape=(600, 500), dtype="<f4")


def raster():
    source = Counted((600, 500), ("y", "x"))
    return source, open_pyramid(source, method="mean")


def negative(pyramid):
    return pyramid.map(lambda z: -z[()])


# A counted source and the pyramid over it; what is made of that; a chunk of it.
KINDS = {
    "points": (points, None, "1/c/0/0"),
    "points, mean": (lambda: points("mean"), None, "1/c/0/0"),
    "points by number": (points, None, "points/values/c/0"),
    "points by row of the index": (points, None, "level_major/values/c/0"),
    "numbers of points": (points, None, "index/1/c/0/0"),
    "product of points": (points, negative, "0/c/1/1"),
    "function": (function, None, "1/c/0/0"),
    "function, transposed": (function, lambda p: open_pyramid(p, order="xy"), "1/c/0/0"),
    "product of a function": (function, negative, "1/c/0/0"),
    "level of a function": (function, lambda p: open_pyramid(p, source_product=lambda z: -z[()]), "1/c/0/0"),
    "raster": (raster, None, "1/c/0/0"),
    "product of a raster": (raster, negative, "1/c/0/0"),
    "level of a raster": (raster, lambda p: open_pyramid(p, source_product=lambda z: -z[()], order="xy"), "1/c/0/0"),
}


def made(kind):
    make, change, _ = KINDS[kind]
    source, pyramid = make()
    return source, change(pyramid) if change else pyramid


@pytest.mark.parametrize("kind", KINDS)
def test_explain_reads_nothing_of_any_kind(kind):
    source, pyramid = made(kind)
    key = KINDS[kind][-1]
    store = LazyPyramidStore(pyramid)
    said = store.explain(key)
    assert source.reads == 0
    assert not said.cached
    assert getattr(pyramid, "cloud", None) is None or pyramid.cloud._index is None
    store[key]
    assert store.explain(key).cached


@pytest.mark.parametrize(("method", "at_most"), [("first_valid", 5), ("mean", 5), ("count", 0)])
def test_explain_of_points_names_the_chunks_of_their_values(method, at_most):
    source, pyramid = points(method)
    store = LazyPyramidStore(pyramid)
    said = store.explain("0/c/0/0")
    assert (said.chunks, said.n_bytes) == (at_most, at_most * 4000)
    assert [part.what for part in said.inputs] == [f"{pyramid.name}, index"]
    pyramid.cloud.index  # noqa: B018 - built
    assert store.explain("0/c/0/0").inputs == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pyramid_knows_the_sources_at_its_bottom(kind):
    source, pyramid = made(kind)
    of_a_function = "function" in kind  # which reads what it likes
    assert (source in pyramid.sources) is not of_a_function
    assert open_pyramid(pyramid, order="xy").sources == pyramid.sources
    assert negative(pyramid).sources == pyramid.sources


def test_sources_of_products_of_sources_are_those_at_the_bottom():
    stack, weight = Counted((40, 30, 3), ("y", "x", "i")), Counted((40, 30), ("y", "x"))
    scaled = product.dequantize(stack, weight)
    assert scaled.sources == (stack, weight)
    assert open_pyramid(scaled).sources == open_pyramid(scaled, order="ixy").sources == (stack, weight)


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
    assert said == LazyPyramidStore(pyramid).explain("1/c/0/1").as_dict()
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

    def stop_after(pyramid, level, index, *, context=None, chunk=store.engine.chunk):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((level, index))
        return chunk(pyramid, level, index, context=context)

    monkeypatch.setattr(store.engine, "chunk", stop_after)
    with pytest.raises(KeyboardInterrupt):
        store.warm(min_level=2, progress=False)
    assert all(store.engine.get_cached(store.pyramid, *tile) is not None for tile in done)


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
