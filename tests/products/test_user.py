"""Products that users write: what they get to see, what is checked, what is said when they fail."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from pathlib import Path

import cloudpickle
import numba
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr._util.tokenize import tokenize
from lazypyr.engine.engine import Engine
from lazypyr.errors import ComputeError, PlanError, SourceError
from lazypyr.product import apply, define
from lazypyr.sources.base import Source

random = np.random.default_rng(5)
Z = (random.normal(size=(40, 50, 4)) + 1j * random.normal(size=(40, 50, 4))).astype("c8")


def opened(array=Z, **options):
    return lazypyr.open_pyramid(array, **{"axes": "yxijk"[: array.ndim], "chunks": (16, 16), "levels": 3, **options})


def engine_read(pyramid, level=0):
    return Engine().read(pyramid, level, tuple((0, n) for n in pyramid.levels[level].shape))


def test_function_of_channels():
    product = opened().map(lambda z, i, j: np.abs(z[i]) - np.abs(z[j]))
    assert (product.axes, product.shape, product.dtype) == (("y", "x", "i", "j"), (40, 50, 4, 4), "f4")
    assert product.chunks == (16, 16, 1, 1)
    strided = np.abs(Z[::2, ::2])
    np.testing.assert_array_equal(product.read(1), strided[..., :, None] - strided[..., None, :])


@pytest.mark.parametrize(
    ("function", "options", "axes", "shape"),
    [
        (lambda z: z[0].real, {}, "yx", ()),
        (lambda z: sum(np.abs(c) for c in z), {}, "yx", ()),
        (lambda z, k: z[k].real, {}, "yxk", (4,)),
        (lambda z, k: z[0].real + k, {"kdims": {"k": 7}}, "yxk", (7,)),
        (lambda z, *k: z[k[1]].real, {"kdims": 2}, "yxij", (4, 4)),
        (lambda z, a, b: z[a].real * b, {"kdims": {"pair": None, "power": 2}}, ("y", "x", "pair", "power"), (4, 2)),
        (lambda z, i, t=2: z[i].real * t, {}, "yxi", (4,)),
        (lambda b: b.sum(axis=2).real, {"channels": {}}, "yx", ()),
        (lambda b: np.stack([b[..., 0].real, b[..., 1].imag], -1), {"channels": {"c": 2}}, "yxc", (2,)),
    ],
)
def test_axes_come_from_the_function_or_from_what_is_declared(function, options, axes, shape):
    product = opened().map(function, **options)
    assert product.axes == tuple(axes)
    assert product.shape == (40, 50, *shape)
    assert product.read(0).shape == product.shape
    np.testing.assert_array_equal(engine_read(product), product.read(0))


def test_n_kdim_need_not_be_the_number_of_channel_axes():
    pairs = Z[..., :, None] * Z[..., None, :].conj()
    one = opened(pairs).map(lambda z, i: z[i, 0])
    np.testing.assert_array_equal(one.read(0), pairs[..., 0])
    three = opened(pairs).map(lambda z, i, j, k: z[i, j] + z[j, k])
    assert three.shape == (40, 50, 4, 4, 4)
    flat = opened(Z[..., 0]).map(lambda z: z[()].real)
    np.testing.assert_array_equal(flat.read(0), Z[..., 0].real)
    assert opened(Z[..., 0]).map(lambda z, n: z[()].real * n, kdims={"n": 3}).shape == (40, 50, 3)
    with pytest.raises(PlanError, match="no channel axis"):
        opened(Z[..., 0]).map(lambda z, i: z[()].real)


def test_blocks_are_given_as_y_x_channels_whatever_the_order():
    seen = []

    def last(block):
        seen.append(block.shape)
        return block[..., -1]

    product = opened(Z.transpose(2, 1, 0), axes="ixy").map(last, channels={}, dtype="c8")
    np.testing.assert_array_equal(product.read(0), Z[..., -1])
    assert seen == [(40, 50, 4)]


def test_a_tile_of_a_block_function_has_all_its_channels():
    calls = []

    def both(block):
        calls.append(1)
        return block[..., :2].real

    product = opened().map(both, channels={"c": 2}, dtype="f4")
    assert product.chunks == (16, 16, 2)
    engine = Engine()
    for c in range(2):
        engine.read(product, 0, ((0, 16), (0, 16), (c, c + 1)))
    assert len(calls) == 1
    np.testing.assert_array_equal(product.read(0, [slice(None), slice(None), slice(1, 2)])[..., 0], Z[..., 1].real)


class Counted(Source):
    def __init__(self, array):
        self.array, self.name, self.shape, self.dtype = array, "counted", array.shape, array.dtype
        self.axes, self.chunks, self.channels, self.error = ("y", "x", "i"), (16, 16, 1), [], None

    def read(self, window, step=None):
        self.channels.append(window[2][0])
        if self.error:
            raise self.error
        return self.array[tuple(slice(*w) for w in window)]

    @property
    def fingerprint(self):
        return "counted"


def test_a_channel_is_read_when_asked_for_and_once():
    source = Counted(Z)
    product = lazypyr.open_pyramid(source, chunks=(64, 64)).map(lambda z, i: z[2] + z[i] * z[2] - z[-2], dtype="c8")
    assert source.channels == []
    product.read(0, [slice(0, 40), slice(0, 50), slice(0, 2)])
    assert sorted(source.channels) == [0, 1, 2]


def test_moraine_signature():
    def masked(data, xslice, yslice, i):
        assert data.shape == (40, 50, 4)
        assert data.ndim == 3
        z = data[yslice, xslice]
        return np.where(np.abs(data[yslice, xslice, 0]) > 1, np.angle(z[..., i]), np.float32(np.nan))

    product = opened().map(masked, dtype="f4")
    wanted = np.where(np.abs(Z[..., :1]) > 1, np.angle(Z), np.nan).astype("f4")
    # numpy 2.0 takes one of two arctan2, by where the arrays lie in memory: they differ in the last bit.
    np.testing.assert_array_max_ulp(product.read(0), wanted, 1)
    np.testing.assert_array_max_ulp(engine_read(product), wanted, 1)
    inferred = opened().map(lambda data, xslice, yslice: data[..., yslice, xslice, 1].real)
    np.testing.assert_array_equal(inferred.read(1), Z[::2, ::2, 1].real)


@given(st.data())
def test_slices_of_a_level_follow_numpy(data):
    array = np.arange(120).reshape(4, 5, 6)
    level, _ = level_of(array, (2, 3, 1))
    part = st.one_of(st.integers(-4, 3), st.slices(4))
    key = tuple(data.draw(st.lists(part, max_size=3)))
    if data.draw(st.booleans()):
        key = (*key[:1], ..., *key[1:])
    np.testing.assert_array_equal(level[key], array[key])
    for wrong in ((0, 0, 0, 0), (7,), ([7],), ([0.5],)):
        with pytest.raises(IndexError):
            level[wrong]


def level_of(array, chunks=None):
    """A level that functions are handed, and a log of the windows that it reads."""
    from lazypyr.products.base import Input
    from lazypyr.products.blocks import Blocks, SlicedLevel

    read = []

    def logged(ranges):
        read.append(ranges)
        return array[np.ix_(*ranges)]

    source = Input("a", ("y", "x", "i")[: array.ndim], array.shape, array.dtype, chunks=chunks)
    return SlicedLevel(source, Blocks(logged)), read


MASK = np.arange(20).reshape(4, 5) % 3 == 0
KEYS = [
    (slice(None), slice(None), [0, 2, 5]),
    (slice(1, 3), [4, 0, 0, -1], 2),
    ([0, 3], [1, 2], [5, 0]),
    np.array([[3, 1], [0, 0]])[0],
    (np.array([[0, 1], [2, 3]]), 4, 1),
    (slice(None, None, -2), slice(4, None, -1), 0),
    (..., [1, 1]),
    ([], 0, 0),
    [3, 1],
]


@given(st.sampled_from(KEYS), st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)))
def test_a_level_is_indexed_as_a_zarr_array_is(key, chunks):
    array = np.arange(120.0).reshape(4, 5, 6)
    level, _ = level_of(array, chunks)
    got = level[key]
    np.testing.assert_array_equal(got, array[key])
    got[...] = -1  # is the caller's own
    np.testing.assert_array_equal(level[key], array[key])
    assert (level.shape, level.chunks, level.dtype, level.ndim, len(level)) == ((4, 5, 6), chunks, "f8", 3, 4)
    stored = zarr.array(array, chunks=chunks)
    # Numpy takes a mask and a list together, zarr neither beside a slice: one axis at a time, as other lists are.
    np.testing.assert_array_equal(level[:, MASK[0], [1]], stored.oindex[:, MASK[0], [1]])
    for ours, theirs, one in [
        (level.oindex, stored.oindex, ([0, 3], slice(0, 5, 2), [5, 1])),
        (level.oindex, stored.oindex, (MASK[:, 0], [0, 4], 3)),
        (level.vindex, stored.vindex, ([0, 3, 1], [4, 4, 0], [5, 1, 2])),
        (level.vindex, stored.vindex, (np.array([[0], [3]]), np.array([[1, 2]]), 0)),
        (level.vindex, stored.vindex, array % 7 == 0),
        (level, stored, array % 7 == 0),
    ]:
        np.testing.assert_array_equal(ours[one], theirs[one])
    np.testing.assert_array_equal(np.abs(level) + level, 2 * array)
    np.testing.assert_array_equal(np.asarray(level), array)


def test_of_lists_and_steps_only_the_chunks_that_hold_them_are_read():
    array = np.arange(100.0 * 90).reshape(100, 90)
    level, read = level_of(array, (10, 90))
    np.testing.assert_array_equal(level[[3, 95, 7]], array[[3, 95, 7]])
    assert sorted((r[0].start, r[0].stop) for r in read) == [(3, 8), (95, 96)]
    with pytest.raises(IndexError, match="vindex"):
        level.vindex[:, [1]]
    with pytest.raises(IndexError, match="mask of 100 entries"):
        level[np.ones(7, bool)]


def test_moraines_own_signature_has_as_many_kdims_as_there_are_channels():
    def absolute(data_zarr, xslice, yslice, *kdims):
        return np.abs(data_zarr[(yslice, xslice, *kdims)])

    assert opened().map(absolute).axes == ("y", "x", "i")
    np.testing.assert_array_equal(opened().map(absolute).read(0), np.abs(Z))
    np.testing.assert_array_equal(opened(Z[..., 0]).map(absolute).read(0), np.abs(Z[..., 0]))
    pairs = Z[..., None] * Z[..., None, :].conj()
    np.testing.assert_array_equal(lazypyr.open_pyramid(pairs, axes="yxij").map(absolute).read(0), np.abs(pairs))
    assert opened().map(absolute, kdims={"k": 2}).axes == ("y", "x", "k")


def test_halo_is_clipped_at_the_edge_and_leaves_no_seam():
    def neighbours(z, i):
        p = np.pad(z[i].real, 1)
        return p[1:-1, :-2] + p[1:-1, 2:] + p[:-2, 1:-1] + p[2:, 1:-1]

    product = opened().map(neighbours, depth=1)
    wide = np.pad(Z.real, ((1, 1), (1, 1), (0, 0)))
    wanted = wide[1:-1, :-2] + wide[1:-1, 2:] + wide[:-2, 1:-1] + wide[2:, 1:-1]
    np.testing.assert_allclose(product.read(0), wanted, rtol=1e-6)
    np.testing.assert_array_equal(engine_read(product), product.read(0))
    assert (engine_read(opened().map(neighbours)) != wanted).any()


# Faults


class Odd(BaseException):
    pass


@pytest.mark.fault("U1")
@pytest.mark.parametrize("kind", [ValueError, Odd, StopIteration, SystemExit, GeneratorExit, ZeroDivisionError])
@pytest.mark.parametrize("channels", [None, {}])
def test_what_a_function_raises_is_a_compute_error(kind, channels):
    def broken(z):
        raise kind("what the user sees")

    product = opened().map(broken, dtype="f4", channels=channels)
    for read in (lambda: product.read(1, [slice(2, 5), slice(0, 9)]), lambda: Engine().chunk(product, 1, (0, 0))):
        with pytest.raises(ComputeError, match=r"'broken' of numpy array, level 1, y .*what the user sees") as caught:
            read()
        assert isinstance(caught.value.__cause__, kind)
        assert caught.value.key == "broken"
        assert caught.value.level == 1
    assert caught.value.window == ((0, 16), (0, 16))
    with pytest.raises(PlanError, match=r"one pixel of ones.*what the user sees.*declare dtype"):
        opened().map(broken, channels=channels)


@pytest.mark.fault("U1")
def test_index_out_of_range():
    with pytest.raises(PlanError, match="channel 4 is out of range: there are 4"):
        opened().map(lambda z: z[4])
    with pytest.raises(ComputeError, match="2 channel"):
        opened().map(lambda z: z[1, 1], dtype="c8").read(0)
    with pytest.raises(ComputeError, match=r"z\[\(\)\]"):
        opened(Z[..., 0]).map(lambda z: len(z), dtype="c8").read(0)


@pytest.mark.fault("U1")
def test_interrupts_and_lack_of_memory_pass():
    def stop(z, kind):
        raise kind

    for kind in (KeyboardInterrupt, MemoryError):
        with pytest.raises(kind):
            opened().map(partial(stop, kind=kind), dtype="f4", kdims=0).read(0)


def test_a_read_that_failed_is_never_swallowed():
    def forgiving(z, i):
        try:
            return z[i].real
        except Exception:
            return np.zeros((16, 16), "f4")

    source = Counted(Z)
    source.error = SourceError("gone", key="c/0")
    product = lazypyr.open_pyramid(source, chunks=(16, 16)).map(forgiving, dtype="f4")
    with pytest.raises(SourceError, match="gone"):
        product.read(0)
    source.error = None
    np.testing.assert_array_equal(product.read(0, [slice(0, 16), slice(0, 16)]), Z[:16, :16].real)


@pytest.mark.fault("U2")
@pytest.mark.parametrize(
    ("result", "words"),
    [
        (1.0, "builtins.float"),
        (np.float32(1), "numpy.float32"),
        ([[1.0]], "builtins.list"),
        (None, "NoneType"),
        (np.ma.ones((40, 50), "f4"), "MaskedArray"),
        (np.ones((50, 40), "f4"), r"shape \(50, 40\), expected an ndarray of shape \(40, 50\) and dtype float32"),
        (np.ones((1, 1), "f4"), r"shape \(1, 1\)"),
        (np.ones((40, 50)), "float64.*astype"),
        (np.ones((40, 50), "c8"), "complex64"),
        (np.ones((40, 50), "O"), "object"),
        (np.ones((40, 50), "i4"), "int32"),
    ],
)
def test_results_are_checked(result, words):
    with pytest.raises(ComputeError, match=f"(?s)'given' of numpy array, level 0.*returned.*{words}"):
        opened().map(lambda z: result, dtype="f4", name="given").read(0)


@pytest.mark.fault("U2")
def test_lazy_results_are_refused():
    import dask.array as dask

    with pytest.raises(ComputeError, match="dask"):
        opened().map(lambda z: dask.from_array(z[0].real), dtype="f4").read(0)


@pytest.mark.fault("U2")
@given(st.sampled_from("?bBhHiIefdFD"), st.sampled_from("?bBhHiIefdFD"))
def test_casts_are_safe_ones(returned, declared):
    product = lazypyr.open_pyramid(Z[:4, :4], axes="yxi").map(lambda z: np.ones((4, 4), returned), dtype=declared)
    if np.can_cast(returned, declared, "safe"):
        assert product.read(0).dtype == np.dtype(declared)
    else:
        with pytest.raises(ComputeError):
            product.read(0)


@pytest.mark.fault("U2")
def test_broadcast_and_transposed_results_are_taken():
    product = opened().map(lambda z: np.broadcast_to(np.float32(3), (40, 50)), dtype="f4")
    assert (product.read(0) == 3).all()
    assert product.read(0).strides == (200, 4)
    turned = opened().map(lambda z: np.asfortranarray(z[1]))
    np.testing.assert_array_equal(turned.read(0), Z[..., 1])


@pytest.mark.fault("U3")
@pytest.mark.parametrize("channels", [None, {"c": 4}])
@pytest.mark.parametrize("read", [lambda p: p.read(0), engine_read])
def test_inputs_cannot_be_written_to(channels, read):
    def greedy(z):
        block = z if channels else z[0]
        block[...] = 0
        return block

    before = Z.copy()
    with pytest.raises(ComputeError, match="read-only"):
        read(opened().map(greedy, channels=channels, dtype="c8"))
    with pytest.raises(PlanError, match="read-only"):
        opened().map(greedy, channels=channels)
    np.testing.assert_array_equal(Z, before)


@pytest.mark.fault("U3")
@pytest.mark.parametrize("channels", [None, {}])
def test_views_returned_and_references_kept_do_no_harm(channels):
    kept = []

    def keeper(z):
        result = (z[..., 0] if channels is not None else z[0]).real
        kept.append(np.array(result))
        return kept[-1]

    engine = Engine()
    product = opened().map(keeper, channels=channels, dtype="f4")
    tile = engine.chunk(product, 0, (0, 0))
    kept[-1][...] = 7
    np.testing.assert_array_equal(engine.chunk(product, 0, (0, 0)), Z[:16, :16, 0].real)
    assert not tile.flags.writeable
    view = opened().map(lambda z: z[0])
    assert not np.shares_memory(view.read(0), Z)


@pytest.mark.fault("U3")
@pytest.mark.parametrize("channels", [None, {}])
def test_what_a_function_gives_away_is_not_copied_what_it_keeps_is(channels):
    keep = {"nothing": lambda a: None, "array": lambda a: a, "view": lambda a: a[1:], "buffer": memoryview}
    keep |= {"weakly": weakref.ref, "in a list": lambda a: [{"deep": a}], "turned": lambda a: a.T}
    for name, hold in keep.items():
        held, where = [], []

        def giver(z, hold=hold, held=held, where=where):
            result = (z[..., 0] if channels is not None else z[0]).real.copy()
            where.append(result.ctypes.data)
            held.append(hold(result))
            return result

        tile = Engine().chunk(opened().map(giver, channels=channels, dtype="f4"), 0, (0, 0))
        np.testing.assert_array_equal(tile, Z[:16, :16, 0].real)
        assert (tile.ctypes.data == where[-1]) == (name == "nothing"), name
        assert not tile.flags.writeable


@pytest.mark.fault("U5")
def test_serial_functions_never_run_twice_at_once():
    inside, most = [], []

    def fragile(z, i):
        block = z[i].real + z[0].real
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.0005)
        inside.pop()
        return block

    # of its own result, too: whoever holds the lock never waits for a tile that needs it
    first = opened().map(fragile, serial=True, dtype="f4")
    product = first.map(fragile, serial=True, dtype="f4")
    engine = Engine(workers=4)
    results = {}

    def work(n):
        results[n] = engine.read(product, 0, ((0, 40), (0, 50), (0, 4)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(100)
    one = Z.real + Z.real[..., :1]
    for n in range(4):
        np.testing.assert_array_equal(results[n], one + one[..., :1])
    assert max(most) == 1


@pytest.mark.fault("U5")
def test_a_serial_function_works_without_an_engine_and_in_other_styles():
    product = opened().map(lambda z, i, j: z[i] + z[j], serial=True)
    np.testing.assert_array_equal(product.read(0), Z[..., :, None] + Z[..., None, :])
    sliced = opened().map(lambda data, xslice, yslice: data[yslice, xslice, 1] + data[yslice, xslice, 0], serial=True)
    np.testing.assert_array_equal(sliced.read(0), Z[..., 1] + Z[..., 0])
    block = opened().map(lambda b: b, channels={"i": 4}, serial=True)
    np.testing.assert_array_equal(block.read(0), Z)


def _child_reads(product, queue):
    queue.put(float(product.read(0, [slice(0, 2), slice(0, 2)]).real.sum()))


@pytest.mark.fault("P1")
def test_a_fork_while_the_lock_is_held():
    started, go_on = threading.Event(), threading.Event()

    def slow(z):
        if threading.current_thread().name == "holder":
            started.set()
            go_on.wait(100)
        return z[0]

    product = opened().map(slow, serial=True, dtype="c8")
    holder = threading.Thread(target=lambda: product.read(0), name="holder")
    holder.start()
    assert started.wait(60)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child_reads, args=(product, queue))
    child.start()
    try:
        assert queue.get(timeout=60) == pytest.approx(float(Z[:2, :2, 0].real.sum()))
    finally:
        child.join(60)
        go_on.set()
        holder.join(60)


# Definitions


@lazypyr.product
def plain(z, i):
    return z[i].real


@lazypyr.product(kdims={"i": 2}, dtype="f8", units="meter", name="half")
def optioned(z, i):
    return z[i].real.astype("f8") / 2


def importable(z, i):
    return np.angle(z[i])


def test_decorator():
    assert lazypyr.product is sys.modules["lazypyr.product"]
    assert plain.name == "plain"
    np.testing.assert_array_equal(plain([np.array([1 + 2j])], 0), [1])
    product = opened().map(optioned)
    assert (product.units, product.dtype, product.shape) == ("meter", "f8", (40, 50, 2))
    assert product.name == "half(numpy array)"
    assert "half along i" in product.description


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (lambda: 0, {}, "called with 1 argument"),
        (lambda z, i: 0, {"kdims": ["i", "j"]}, "called with 3 argument"),
        (lambda z, i, j: 0, {"kdims": 1}, "called with 2 argument"),
        (lambda z, *, i: 0, {}, "called with 1 argument"),
        (lambda z, *k: 0, {}, "declare kdims="),
        (lambda z, i: 0, {"kdims": ["i", "i"]}, "twice"),
        (lambda z, i: 0, {"kdims": ["y"]}, "other than y, x"),
        (lambda z, i: 0, {"kdims": {"i": 0}}, "size above 0"),
        (lambda z, i: 0, {"kdims": 9}, "between 0 and 4"),
        (lambda z: 0, {"channels": {"c": None}}, "size"),
        (lambda z: 0, {"channels": {"c": 1}, "kdims": 1}, "functions of channels"),
        (lambda z: 0, {"dtype": "no"}, "not a dtype"),
        (lambda z: 0, {"dtype": "O"}, "can't be stored"),
        (lambda z: 0, {"dtype": "U4"}, "can't be stored"),
        (lambda z: 0, {"depth": -1}, "depth"),
        (lambda z: 0, {"depth": 1.5}, "depth is one or two"),
        (lambda z: 0, {"kdims": 1.5}, "kdims is a number, names"),
        (lambda z: 0, {"channels": 4}, "channels is a mapping"),
        (lambda z: 0, {"halos": 1}, "unknown option.*halos.*it takes kdims"),
    ],
)
def test_definitions_that_cannot_be(function, options, words):
    with pytest.raises(PlanError, match=words):
        opened().map(function, **options)


@pytest.mark.fault("P2")
@pytest.mark.parametrize("product", [importable, plain, optioned])
def test_functions_that_can_be_imported_pickle(product):
    module = sys.modules[__name__]
    assert sys.modules.get(module.__name__) is module
    mapped = opened().map(product)
    for dumps in (pickle.dumps, cloudpickle.dumps):
        again = pickle.loads(dumps(mapped))
        np.testing.assert_array_equal(again.read(2), mapped.read(2))
        assert again.fingerprint == mapped.fingerprint


@pytest.mark.fault("P2")
def test_functions_that_cannot_be_imported_need_cloudpickle():
    scale = 3
    mapped = opened().map(lambda z: z[0] * scale, name="mine")
    with pytest.raises(PlanError, match="'mine'.*cloudpickle"):
        pickle.dumps(mapped)
    again = pickle.loads(cloudpickle.dumps(mapped))
    np.testing.assert_array_equal(again.read(2), mapped.read(2))
    lock = threading.Lock()
    held = opened().map(lambda z: z[0] if lock else None)
    with pytest.raises(TypeError, match="lock"):
        cloudpickle.dumps(held)


IN_A_SCRIPT = """
import pickle, sys
import numpy as np, lazypyr
SCALE = 3
def scaled(z, i): return z[i].real * SCALE
def moraines(data, xslice, yslice): return data[yslice, xslice, 1].real * SCALE
pyramid = lazypyr.open_pyramid(np.ones((9, 8, 4), "c8"), axes="yxi")
for made in (scaled, moraines, lambda z: z[0].real + 1):
    with open(sys.argv[1] + str(made.__code__.co_argcount), "wb") as file:
        pickle.dump(pyramid.map(made), file)
"""


@pytest.mark.fault("P2")
def test_functions_of_a_script_go_to_other_processes_by_their_code(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(IN_A_SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(lazypyr.__file__).parents[1])}
    subprocess.run([sys.executable, script, tmp_path / "p"], env=env, check=True, timeout=50)
    for count, expected in ((2, 3), (3, 3), (1, 2)):
        made = pickle.loads((tmp_path / f"p{count}").read_bytes())
        assert (made.read(0) == expected).all() and made.fingerprint
        assert pickle.loads(pickle.dumps(made)).fingerprint == made.fingerprint


SCRIPT = """
import numpy as np
from lazypyr._util.tokenize import tokenize
SCALE = 2.5
def helper(x): return x * SCALE
def f(z, i, names={"b", "a", "c"}): return helper(z[i]) if "q" in {"x", "y", "z"} else np.angle(z[i])
print(tokenize(f))
"""


def test_a_function_is_described_the_same_in_every_process(tmp_path):
    answers = set()
    (tmp_path / "script.py").write_text(SCRIPT)
    for seed in ("1", "2"):
        run = [sys.executable, str(tmp_path / "script.py")]
        env = {"PYTHONHASHSEED": seed, "PATH": "", "PYTHONPATH": str(Path(lazypyr.__file__).parents[1])}
        answers.add(subprocess.run(run, env=env, capture_output=True, text=True, check=True, timeout=100).stdout)
    assert len(answers) == 1


THRESHOLD = 1


def with_global(z):
    return z[0] > THRESHOLD


def test_what_a_function_uses_is_part_of_its_description(monkeypatch):
    def scaled(factor):
        return lambda z: z[0] * factor

    array, other = np.arange(3), np.arange(3) + 1
    tokens = [
        tokenize(f)
        for f in (
            scaled(1), scaled(2), scaled(1.0), scaled(array), scaled(other), lambda z: z[0] + 1, lambda z: z[0] + 2,
            lambda z, a=1: z[0] + a, lambda z, a=2: z[0] + a, partial(importable, i=1), partial(importable, i=2),
            np.abs, np.angle, importable,
        )
    ]  # fmt: skip
    assert len(set(tokens)) == len(tokens)
    assert tokenize(scaled(1)) == tokenize(scaled(1))
    assert tokenize(scaled(array)) == tokenize(scaled(array.copy()))
    before = tokenize(with_global)
    monkeypatch.setattr(sys.modules[__name__], "THRESHOLD", 2)
    assert tokenize(with_global) != before
    assert tokenize(scaled(threading.Lock())) != tokenize(scaled(threading.Lock()))
    compiled = [tokenize(numba.njit(function)) for function in (importable, importable, with_global)]
    assert compiled[0] == compiled[1] != compiled[2]
    assert compiled[0] not in (tokenize(importable), tokenize(numba.njit(importable, fastmath=True)))


def test_a_function_that_calls_itself_is_described():
    def fact(z, n=3):
        return z[0] if n == 0 else fact(z, n - 1)

    assert tokenize(fact) == tokenize(fact)


def test_products_of_products():
    product = opened().map("intf_all").map(lambda z, i: z[i, 0] + z[0, i], name="closure")
    np.testing.assert_array_equal(product.read(0), np.zeros((40, 50, 4), "f4"))
    assert product.name == "closure(intf_all(numpy array))"
    assert [p["name"] for p in product.attrs["products"]] == ["intf_all", "closure"]
    assert apply(opened(), define(importable)) == opened().map(importable)
