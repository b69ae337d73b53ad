"""Chunks of the source that `materialize` reads, counted: once each, whatever is written and however it is cut."""

import functools

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, materialize
from support.faultstore import FaultStore

WANTED = {"all": {}, "no base": {"copy_base": False}, "1 and 2": {"levels": [1, 2]}, "2": {"levels": [2]}}
# Memory for one region after the other on few threads, for many side by side, and for a stage of several levels only.
BOUNDS = [(2, 2**28), (2, 1_200_000), (4, 2**21)]


def array_of(shape, chunks, dtype):
    rng = np.random.default_rng(5)
    data = rng.normal(size=shape) * 50
    data = data + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else data
    stored = MemoryStore()
    zarr.create_array(stored, data=data.astype(dtype), chunks=chunks)
    return stored


@functools.cache
def source_of(kind, chunks):
    if kind == "stack":
        return array_of((4, 150, 200), chunks, "c8")
    if kind == "wide plane":
        return array_of((500, 700), chunks, "f4")
    flat = array_of((260, 390), chunks, "f4")
    if kind == "plane":
        return flat
    two_levels = MemoryStore()
    materialize(flat, two_levels, method="mean", chunks=chunks, levels=[0, 1], progress=False)
    return two_levels


def reads_of(kind, stored_chunks, wanted, workers, inflight_bytes, **recipe):
    """How often each chunk of the source was read, after the bytes have been compared with those of the lazy store."""
    counted = FaultStore(source_of(kind, stored_chunks))
    store = LazyPyramidStore(counted, **recipe)
    counted.reads.clear()
    written = {}
    materialize(store, written, progress=False, workers=workers, inflight_bytes=inflight_bytes, **WANTED[wanted])
    reads = counted.chunk_reads()
    chunks_written = [key for key in written if not key.endswith("zarr.json")]
    assert chunks_written
    for key in chunks_written:
        assert written[key] == store[key], key
    return reads


@pytest.mark.parametrize(("workers", "inflight_bytes"), BOUNDS)
@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("chunks", [(64, 64), (128, 128), (1, 390)], ids=str)
@pytest.mark.parametrize("method", ["mean", "stride", "median"])
def test_chunks_that_line_up_are_read_once(method, chunks, wanted, workers, inflight_bytes):
    reads = reads_of("plane", chunks, wanted, workers, inflight_bytes, method=method, chunks=(32, 32))
    assert set(reads.values()) == {1}


@pytest.mark.parametrize(("workers", "inflight_bytes"), BOUNDS)
@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(
    ("product", "chunks"), [("intf_all", (1, 64, 64)), ("intf_0", (2, 64, 64)), ("amplitude", (1, 64, 64))]
)
def test_products_of_a_stack(product, chunks, wanted, workers, inflight_bytes):
    recipe = {"axes": "tyx", "product": product, "method": "mean", "chunks": (1, 32, 32)}
    reads = reads_of("stack", chunks, wanted, workers, inflight_bytes, **recipe)
    assert set(reads.values()) == {1}


@pytest.mark.parametrize(("workers", "inflight_bytes"), BOUNDS)
@pytest.mark.parametrize("wanted", ["all", "no base", "2"])
@pytest.mark.parametrize("method", ["mean", "stride", "median"])
def test_levels_that_exist(method, wanted, workers, inflight_bytes):
    reads = reads_of("two levels", (64, 64), wanted, workers, inflight_bytes, method=method, chunks=(32, 32))
    assert set(reads.values()) == {1}
    assert any(key.startswith("0/") for key in reads) == (wanted == "all")


# Chunks that share their edges with several regions: as many reads as were needed when this was written, at most.
@pytest.mark.parametrize(
    ("inflight_bytes", "plane_reads", "stack_reads"),
    [(200_000, 131, {"all": 2520, "no base": 688, "1 and 2": 688, "2": 48}), (800_000, 99, 32), (2**28, 99, 24)],
)
@pytest.mark.parametrize("wanted", WANTED)
def test_chunks_that_do_not_line_up(wanted, inflight_bytes, plane_reads, stack_reads):
    for method in ("mean", "stride", "median"):
        reads = reads_of("wide plane", (48, 80), wanted, 1, inflight_bytes, method=method, chunks=(32, 32))
        assert len(reads) == 99
        assert sum(reads.values()) <= plane_reads
    recipe = {"axes": "tyx", "product": "intf_all", "method": "mean", "chunks": (1, 32, 32)}
    reads = reads_of("stack", (2, 48, 80), wanted, 1, inflight_bytes, **recipe)
    assert len(reads) == 24
    assert sum(reads.values()) <= (stack_reads[wanted] if isinstance(stack_reads, dict) else stack_reads)
