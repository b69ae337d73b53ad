"""Stored chunks that take more memory than all computations together may hold, and absent ones, which take none."""

from __future__ import annotations

import json
import sys

import numcodecs
import numpy as np
import pytest
import zarr

from lazypyr import LazyPyramidStore
from support.running import python

READ = """
import json, resource, sys
import numcodecs
import numpy as np, lazypyr
def status(name):
    return int(open("/proc/self/status").read().split(name + ":")[1].split()[0]) * 1024
path, method, level, limit = sys.argv[1:]
options = {"method": method, "inflight_bytes": 16 * 2**20, "cache_bytes": 2**20, "workers": 4}
lazypyr.LazyPyramidStore(np.ones((600, 600), "f4"), **options)["1/c/0/0"]
if int(limit):
    limit = status("VmSize") + int(limit)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = status("VmHWM")
value = lazypyr.LazyPyramidStore(path, **options)[f"{level}/c/0/0"]
print(json.dumps([status("VmHWM") - before, sorted(set(np.frombuffer(value, "f4").tolist()))]))
"""
MIB = 2**20


def large(folder, *, compressor, n, chunks, stored):
    """An array of n x 2n pixels of 1, in chunks beside each other."""
    document = {
        "zarr_format": 2,
        "shape": [n, 2 * n],
        "chunks": list(chunks),
        "dtype": "<f4",
        "fill_value": 0,
        "order": "C",
    }
    folder.mkdir()
    (folder / ".zarray").write_text(
        json.dumps({**document, "compressor": compressor and {"id": compressor}, "filters": None})
    )
    if stored:
        pixels = np.ones(chunks, "f4")
        chunk = pixels.tobytes() if compressor is None else numcodecs.Zstd().encode(pixels)
        for y in range(n // chunks[0]):
            for x in range(2 * n // chunks[1]):
                (folder / f"{y}.{x}").write_bytes(chunk)
    return folder


@pytest.mark.fault("N10")
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("method", ["stride", "mean", "median"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_large_chunks_are_decoded_one_at_a_time(compressor, method, tmp_path):
    """Four chunks of 64 MiB (two of those that are stored as they are), in a pass of four workers whose bound is 16 MiB."""
    n = 8192 if compressor else 4096
    path = large(tmp_path / "a.zarr", compressor=compressor, n=n, chunks=(4096, 4096), stored=True)
    level = 2 if method == "median" else n.bit_length() - 9
    peak, values = json.loads(python(READ, path, method, level, 0))
    assert values == [1.0]
    assert peak < (64 + 16 + 64 if compressor else 16 + 64) * MIB, f"{peak / MIB:.0f} MiB"


@pytest.mark.fault("N10")
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("method", ["stride", "mean"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
def test_absent_chunks_take_no_memory(compressor, method, tmp_path):
    """Two chunks of 8 GiB, where the process may have 1 GiB more."""
    n = 2**15 + 2**13 if method == "mean" else 46340
    path = large(tmp_path / "a.zarr", compressor=compressor, n=n, chunks=(n, n), stored=False)
    peak, values = json.loads(python(READ, path, method, 8, 1024 * MIB))
    assert values == [0.0]
    assert peak < (16 + 64) * MIB, f"{peak / MIB:.0f} MiB"


@pytest.mark.parametrize("method", ["mean", "max", "median", "stride"])
@pytest.mark.parametrize("inflight_bytes", [2**13, 2**17])
@pytest.mark.parametrize("compressors", [None, "auto"])
def test_numbers_of_chunks_reduced_in_parts_are_the_same(method, inflight_bytes, compressors, tmp_path):
    pixels = np.random.default_rng(0).normal(size=(150, 250)).astype("f4")
    zarr.create_array(str(tmp_path / "a.zarr"), data=pixels, chunks=(128, 160), compressors=compressors)
    options = {"method": method, "chunks": (16, 16), "levels": 3}
    one = zarr.open_group(LazyPyramidStore(pixels, **options), mode="r")
    lazy = LazyPyramidStore(str(tmp_path / "a.zarr"), **options, inflight_bytes=inflight_bytes, cache_bytes=0)
    two = zarr.open_group(lazy, mode="r")
    for level in "012":
        np.testing.assert_array_equal(two[level][...], one[level][...])


@pytest.mark.fault("N10")
def test_a_chunk_larger_than_the_bound_is_told_once(tmp_path, caplog):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.ones((256, 256), "f4"), chunks=(256, 256))
    for inflight_bytes, count in ((2**17, 1), (2**22, 0)):
        caplog.clear()
        lazy = LazyPyramidStore(str(tmp_path / "a.zarr"), method="mean", chunks=(32, 32), inflight_bytes=inflight_bytes)
        for level in range(4):
            lazy[f"{level}/c/0/0"]
        told = [record.getMessage() for record in caplog.records if "inflight_bytes" in record.getMessage()]
        assert len(told) == count, told
