"""What tells recipes and sources apart, in this process and in the next; and options that must not be passed over."""

import gc
import pickle
import threading

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, open_pyramid
from lazypyr.engine.engine import Engine
from lazypyr.engine.limiter import MemoryLimiter
from lazypyr.engine.pools import DaemonThreadPool
from support.running import python, until
from support.sources import zarr_array
from support.waiting import admitted

SCALE = 3


def constant(value):
    def read(level, window):
        return np.full([b - a for a, b in window], value, "f4")

    return read


def function(read, **options):
    return lazypyr.from_function(read, shape=(64, 64), dtype="f4", levels=2, name="same", **options)


def test_functions_differ_by_what_they_do():
    ones = function(constant(1))
    assert ones.fingerprint == function(constant(1)).fingerprint
    others = [
        function(constant(2)),
        function(constant(1), fill_value=5),
        function(constant(1), centred=True),
        function(constant(1), chunks=(32, 32)),
        function(lambda level, window: np.full([b - a for a, b in window], SCALE, "f4")),
    ]
    assert len({ones.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_fingerprints_are_the_same_in_the_next_process(tmp_path):
    text = """
import numpy as np, lazypyr
def widest(boxes, axis): return np.max(boxes, axis=axis)
a = np.arange(64.0).reshape(8, 8)
print(lazypyr.open_pyramid(a, method=widest).fingerprint)
print(lazypyr.from_function(lambda k, w: a, shape=(8, 8), dtype="f8").fingerprint)
print(lazypyr.open_pyramid(a, method="mean").fingerprint)
"""
    (tmp_path / "module_with_text.py").write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import module_with_text"
    assert python(code) == python(code)


def test_arrays_in_memory_are_what_they_are_not_what_they_are_called():
    stores = [MemoryStore(), MemoryStore()]
    for number, store in enumerate(stores):
        zarr_array(np.full((8, 8), number, "u1"), store=store)
    mappings = [{key: value.to_bytes() for key, value in store._store_dict.items()} for store in stores]
    for pair in (stores, mappings):
        first, second = (open_pyramid(src) for src in pair)
        assert first.fingerprint != second.fingerprint
        assert first.identity != second.identity
    assert LazyPyramidStore(stores[0]) == LazyPyramidStore(stores[0])
    copy = pickle.loads(pickle.dumps(open_pyramid(stores[0])))
    assert copy.fingerprint == open_pyramid(stores[0]).fingerprint


@pytest.mark.slow
def test_a_shared_engine_takes_no_array_for_one_that_has_gone():
    engine = Engine()
    for number in range(12):
        store = MemoryStore()
        zarr_array(np.full((8, 8), number, "u1"), store=store)
        assert zarr.open(LazyPyramidStore(store, engine=engine))["0"][0, 0] == number
        del store
        gc.collect()


def test_stores_that_lie_elsewhere_are_others():
    array = np.zeros((8, 8))
    assert LazyPyramidStore(array) == LazyPyramidStore(array)
    assert LazyPyramidStore(array) != LazyPyramidStore(array, bounds=(0, 0, 9, 9))
    assert LazyPyramidStore(array, axes="yx") != LazyPyramidStore(array, axes="xy")


def test_a_name_costs_no_pixel():
    store = LazyPyramidStore(np.zeros((8, 8)))
    assert "lazypyr://" in repr(zarr.open(store))
    assert store.pyramid.stored_levels[0]._fingerprint is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("method", "mean"),
        ("levels", 2),
        ("factors", {"y": 2}),
        ("nodata", 3),
        ("bounds", (0, 0, 1, 1)),
        ("storage_options", {"a": 1}),
    ],
)
def test_what_a_pyramid_can_not_take_is_refused(option, value):
    pyramid = open_pyramid(np.zeros((32, 32)))
    for src in (pyramid, LazyPyramidStore(pyramid), zarr.open(LazyPyramidStore(pyramid))):
        with pytest.raises(PlanError, match=option):
            LazyPyramidStore(src, **{option: value})


def test_other_chunks_are_taken_where_levels_are_reduced():
    pyramid = open_pyramid(np.arange(1024.0).reshape(32, 32), method="mean", chunks=(16, 16))
    for src in (pyramid, LazyPyramidStore(pyramid), zarr.open(LazyPyramidStore(pyramid))):
        store = LazyPyramidStore(src, chunks=(8, 8))
        assert store.pyramid.chunks == (8, 8)
        np.testing.assert_array_equal(zarr.open(store)["1"][...], pyramid.read(1))
    with pytest.raises(PlanError, match="chunks"):
        LazyPyramidStore(pyramid.map("cast"), chunks=(8, 8))


def test_what_a_pyramid_has_already_may_be_said():
    pyramid = open_pyramid(np.zeros((32, 32)), method="mean", chunks=(8, 8))
    assert open_pyramid(pyramid, method="mean", chunks=(8, 8), levels=len(pyramid.levels)) is pyramid
    with pytest.raises(PlanError, match="method"):
        open_pyramid(pyramid, method="stride")


def test_an_array_of_a_lazy_store_may_begin_another_pyramid():
    array = np.random.default_rng(0).random((32, 32))
    level = zarr.open(LazyPyramidStore(array))["0"]
    np.testing.assert_array_equal(open_pyramid(level, method="max", levels=2).read(1)[0, 0], array[:2, :2].max())


@pytest.mark.parametrize(
    "call",
    [
        lambda: open_pyramid(np.zeros((8, 8)), axes=3),
        lambda: open_pyramid(np.zeros((8, 8)), order=5),
        lambda: open_pyramid(np.zeros((8, 8)), factors=2),
        lambda: open_pyramid(np.ma.masked_less(np.zeros((8, 8)), 1)),
        lambda: lazypyr.from_function(constant(1), shape=100, dtype="f4"),
        lambda: lazypyr.from_function(constant(1), shape=(8, 8), dtype="nope"),
        lambda: lazypyr.from_function(constant(1), shape=(8, 8), dtype="u1", fill_value=-5),
        lambda: Engine(timeout_s=float("inf")),
        lambda: Engine(timeout_s="3"),
        lambda: LazyPyramidStore(np.zeros((8, 8)), engine=3),
    ],
    ids=["axes", "order", "factors", "masked", "shape", "dtype", "fill", "inf", "text", "engine"],
)
def test_refused_by_name(call):
    with pytest.raises(PlanError):
        call()


def test_fill_values_of_packed_numbers_are_not_those_of_the_unpacked():
    values = xr.DataArray(np.array([[-1.0, 3.0], [3.0, 3.0]]), dims=("y", "x"))
    values.encoding = {"_FillValue": -1, "scale_factor": 0.5, "dtype": "int16"}
    assert open_pyramid(values, method="mean", levels=2).read(1)[0, 0] == 2.0


def test_a_pyramid_that_lazypyr_wrote_goes_on_by_its_method(tmp_path):
    lazypyr.materialize(
        open_pyramid(np.zeros((64, 64)), method="max", chunks=(16, 16)), tmp_path / "a.zarr", progress=False
    )
    assert open_pyramid(tmp_path / "a.zarr").method == "max"


def test_large_work_is_not_overtaken_for_ever():
    gate, done = MemoryLimiter(100, 60), threading.Event()

    def small():
        while not done.is_set():
            with admitted(gate, 40):
                pass

    threads = [threading.Thread(target=small) for _ in range(4)]
    for thread in threads:
        thread.start()
    with admitted(gate, 90):
        done.set()
    for thread in threads:
        thread.join()
    assert gate.used_bytes == 0


def test_threads_end_with_their_pool():
    before = threading.active_count()
    ran = threading.Event()
    pool = DaemonThreadPool(2, "short")
    pool.submit(ran.set)
    assert ran.wait(60)
    del pool
    gc.collect()
    until(lambda: threading.active_count() <= before)


def test_explaining_a_function_does_not_call_it():
    calls = []

    def read(level, window):
        calls.append(level)
        return np.zeros([b - a for a, b in window], "f4")

    assert "call" in LazyPyramidStore(function(read)).explain("0/c/0/0").how
    assert not calls


def test_zstd_of_several_frames_is_read(tmp_path):
    from numcodecs import Zstd

    values = np.arange(256, dtype="u1").reshape(16, 16)
    zarr_array(values, store=str(tmp_path / "a.zarr"), chunks=(16, 16), compressors=[zarr.codecs.ZstdCodec()])
    raw = values.tobytes()
    (tmp_path / "a.zarr" / "c" / "0" / "0").write_bytes(Zstd().encode(raw[:100]) + Zstd().encode(raw[100:]))
    np.testing.assert_array_equal(open_pyramid(tmp_path / "a.zarr").read(0), values)
