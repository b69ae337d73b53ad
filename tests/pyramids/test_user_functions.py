"""Functions of users, as sources and as reducers: what they raise, return, keep, change, and when they never return."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

from lazypyr import BusyError, ComputeError, LazyPyramidStore, from_function
from lazypyr.engine.engine import Engine
from support.running import together, until


class Boom(Exception):
    pass


def block_of(window, value=0):
    return np.full([b - a for a, b in window], value, "u1")


def idle(engine):
    assert engine.cache_info().in_flight == 0
    assert engine.inflight_used == 0


@pytest.mark.fault("C2", "U1")
@pytest.mark.parametrize("error", [Boom("no"), StopIteration("no"), SystemExit(3), ValueError("no")])
@pytest.mark.parametrize("face", ["mapping", "tasks", "zarr"])
def test_a_function_that_raises(error, face):
    """All who wait hear it once, it isn't kept, and the store lives on."""
    failing, calls = [True], []

    def broken(boxes, axis):
        calls.append(1)
        time.sleep(0.02)
        if failing[0]:
            raise error
        return boxes.max(axis=axis)

    source = np.arange(256, dtype="u1").reshape(16, 16)
    store = LazyPyramidStore(source, method=broken, chunks=(8, 8), workers=2)
    group = zarr.open(store)

    async def tasks():
        some = (store.get("1/c/0/0", default_buffer_prototype()) for _ in range(16))
        return await asyncio.gather(*some, return_exceptions=True)

    ways = {
        "mapping": lambda: together(16, lambda i: store["1/c/0/0"]),
        "tasks": lambda: asyncio.run(tasks()),
        "zarr": lambda: together(16, lambda i: group["1"][...]),
    }
    got = ways[face]()
    assert {type(e) for e in got} == {ComputeError}
    assert got[0].key == "broken"
    assert (got[0].level, got[0].window) == (1, ((0, 8), (0, 8)))
    assert got[0].__cause__ is error
    assert "broken" in str(got[0])
    idle(store.engine)
    assert store.cache_info().entries == 0
    np.testing.assert_array_equal(group["0"][...], source)
    failing[0] = False
    np.testing.assert_array_equal(group["1"][...], source[1::2, 1::2])


@pytest.mark.fault("C2")
def test_keyboard_interrupt_in_a_computation_is_passed_on():
    def read(level, window):
        raise KeyboardInterrupt

    store = LazyPyramidStore(from_function(read, shape=(8, 8), dtype="u1"))
    with pytest.raises(KeyboardInterrupt):
        store["0/c/0/0"]
    with pytest.raises(ComputeError, match="interrupted"):
        zarr.open(store)["0"][...]
    idle(store.engine)


@pytest.mark.fault("C6")
@pytest.mark.parametrize("way", ["mapping", "zarr"])
@pytest.mark.parametrize("face", ["mapping", "zarr"])
def test_a_function_that_reads_its_own_tile(way, face):
    """Refused at once, whether it goes through the mapping or through zarr."""
    reads = {"mapping": lambda: store["0/c/0/0"], "zarr": lambda: zarr.open(store)["0"][...]}

    def read(level, window):
        reads[way]()
        return block_of(window)

    store = LazyPyramidStore(from_function(read, shape=(8, 8), dtype="u1"), workers=1, timeout_s=20)
    with pytest.raises(ComputeError, match="needs itself"):  # not BusyError after `timeout_s`
        reads[face]()
    idle(store.engine)


@pytest.mark.fault("C6")
@pytest.mark.parametrize("workers", [1, 2])
def test_two_stores_that_read_each_other(workers):
    stores, met = [], threading.Barrier(2)

    def reader(other):
        def read(level, window):
            with_other = threading.current_thread()
            try:
                met.wait(0.5)
            except threading.BrokenBarrierError:
                assert with_other.is_alive()
            return np.frombuffer(stores[other]["0/c/0/0"], "u1").reshape(8, 8)

        return read

    engine = Engine(workers=workers, timeout_s=20)
    for other in (1, 0):
        pyramid = from_function(reader(other), shape=(8, 8), dtype="u1", chunks=(8, 8), name=f"reads {other}")
        stores.append(LazyPyramidStore(pyramid, engine=engine))
    got = together(2, lambda i: zarr.open(stores[i])["0"][...])
    assert [type(error) for error in got] == [ComputeError, ComputeError], "not BusyError after `timeout_s`"
    assert "needs itself" in str(got[0])
    idle(engine)


@pytest.mark.fault("C10", "U3")
def test_nobody_changes_what_is_cached():
    source = np.arange(256, dtype="u1").reshape(16, 16)
    store = LazyPyramidStore(source, chunks=(8, 8), method="max")
    group = zarr.open(store)
    before = {key: store[key] for key in store}
    tile = store.engine.chunk(store.pyramid, 1, (0, 0))
    with pytest.raises(ValueError, match="read-only"):
        tile[0, 0] = 99
    read = store.engine.read(store.pyramid, 0, ((0, 8), (0, 8)))
    with pytest.raises(ValueError, match="read-only"):
        read[0, 0] = 99
    buffer = zarr.core.sync.sync(store.get("1/c/0/0", default_buffer_prototype()))
    with pytest.raises(ValueError):
        buffer.as_numpy_array()[0] = 99
    group["1"][...][...] = 99
    source[...] = 99
    assert {key: store[key] for key in store} == before, "what was read before stays; refresh() looks again"
    store.refresh()
    assert store["1/c/0/0"] == bytes([99]) * 64


@pytest.mark.fault("U3")
def test_a_reducer_cannot_change_its_input_and_may_keep_it():
    source, kept = np.arange(256, dtype="u1").reshape(16, 16), []

    def keeps(boxes, axis):
        kept.append(boxes)
        return boxes[tuple(0 if a in axis else slice(None) for a in range(boxes.ndim))]

    def writes(boxes, axis):
        boxes[...] = 0
        return boxes.max(axis=axis)

    store = LazyPyramidStore(source, chunks=(8, 8), method=keeps)
    first = store["1/c/0/0"]
    assert kept
    assert store["1/c/0/0"] == first == source[::2, ::2].tobytes()
    with pytest.raises(ComputeError, match="read-only"):
        LazyPyramidStore(source, chunks=(8, 8), method=writes)["1/c/0/0"]
    assert source[0, 1] == 1


def test_a_function_may_go_on_writing_to_what_it_returned():
    scratch = np.zeros((8, 8), "u1")
    store = LazyPyramidStore(from_function(lambda level, window: scratch, shape=(8, 8), dtype="u1", chunks=(8, 8)))
    before = store["0/c/0/0"]
    scratch[...] = 9
    assert store["0/c/0/0"] == before == bytes(64)


@pytest.mark.fault("U2")
@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda w: np.zeros((3, 3), "u1"), r"u?int8 \(3, 3\).*expected uint8 \(8, 8\)"),
        (lambda w: np.zeros((8, 8), "f8"), r"float64 \(8, 8\).*expected uint8 \(8, 8\)"),
        (lambda w: None, "expected uint8"),
        (lambda w: "text", "U4.*expected uint8"),
        (lambda w: np.zeros((8, 8, 1), "u1"), r"\(8, 8, 1\)"),
        (lambda w: 5, r"expected uint8 \(8, 8\)"),
    ],
)
def test_a_function_that_returns_something_else(result, said):
    store = LazyPyramidStore(from_function(lambda level, window: result(window), shape=(8, 8), dtype="u1", chunks=(8, 8), name="odd"))  # fmt: skip
    with pytest.raises(ComputeError, match=said) as caught:
        store["0/c/0/0"]
    assert (caught.value.key, caught.value.level, caught.value.window) == ("odd", 0, ((0, 8), (0, 8)))
    assert store.cache_info().entries == 0


@pytest.mark.fault("U2")
@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda boxes, axis: boxes, "returned shape"),
        (lambda boxes, axis: boxes.mean(axis=axis), "float64.*cast safely to uint8"),
        (lambda boxes, axis: boxes.max(axis=axis, keepdims=True), "keepdims"),
        (lambda boxes, axis: boxes.max(axis=axis).tolist(), "builtins.list, expected a plain"),
        (lambda boxes, axis: np.ma.masked_array(boxes.max(axis=axis)), "expected a plain numpy.ndarray"),
        (lambda boxes, axis: None, "NoneType"),
    ],
)
def test_a_reducer_that_returns_something_else(result, said):
    store = LazyPyramidStore(np.zeros((16, 16), "u1"), method=result, chunks=(8, 8))
    with pytest.raises(ComputeError, match=said) as caught:
        store["1/c/0/0"]
    assert (caught.value.level, caught.value.window) == (1, ((0, 8), (0, 8)))


@pytest.mark.fault("U2")
def test_a_broadcast_result_is_copied():
    store = LazyPyramidStore(
        from_function(
            lambda level, window: np.broadcast_to(np.uint8(4), (8, 8)), shape=(8, 8), dtype="u1", chunks=(8, 8)
        )
    )
    assert store["0/c/0/0"] == bytes([4]) * 64
    assert store.engine.chunk(store.pyramid, 0, (0, 0)).flags.c_contiguous


@pytest.mark.fault("U4")
@pytest.mark.parametrize("face", ["mapping", "zarr"])
def test_a_function_that_never_returns(face):
    """Those who wait for it get BusyError after `timeout_s`; what is warm goes on."""
    begun, gate = threading.Event(), threading.Event()

    def read(level, window):
        if window[0][0]:
            begun.set()
            gate.wait(60)
        return block_of(window, 1)

    store = LazyPyramidStore(from_function(read, shape=(16, 8), dtype="u1", chunks=(8, 8)), timeout_s=0.2, workers=1)
    level = zarr.open(store)["0"]
    level[:8]
    threading.Thread(target=lambda: store["0/c/1/0"], daemon=True).start()
    assert begun.wait(60)
    ask = {"mapping": lambda: store["0/c/1/0"], "zarr": lambda: level[8:]}[face]
    with pytest.raises(BusyError, match=r"still computing after 0.2 s"):
        ask()
    assert level[:8].all()
    gate.set()
    until(lambda: not store.cache_info().in_flight)
    assert level[8:].all()


@pytest.mark.fault("U7")
def test_mean_of_complex_is_the_mean_of_phasors():
    """Around +-pi, of zero, and with NaN: never a mean of angles."""
    phasor = lambda angle: np.exp(1j * np.deg2rad(angle))
    source = np.array([[phasor(179), phasor(-179), 0, 0], [phasor(179), phasor(-179), 0, np.nan]], "c16")
    level = zarr.open(LazyPyramidStore(source, method="mean", chunks=(2, 2)))["1"][...]
    assert abs(np.angle(level[0, 0])) == pytest.approx(np.pi)
    assert level[0, 1] == 0
