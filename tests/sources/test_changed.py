"""Arrays that are replaced or rewritten while they are open: new numbers after `refresh()`, an error before it."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.storage import MemoryStore

from lazypyr import LazyPyramidStore, PlanError, SourceError, materialize
from lazypyr.sources import array_metadata, chunk_bytes
from lazypyr.sources.open import open_source

V2 = {"zarr_format": 2, "compressors": numcodecs.Zstd()}
RAW = {"compressors": None}
SCALED = numcodecs.FixedScaleOffset(offset=0, scale=10, dtype="f4", astype="i4")
REPLACED = {
    "byte order": (RAW, {**RAW, "serializer": BytesCodec(endian="big")}),
    "byte order, v2": ({**V2, "dtype": "<f4"}, {**V2, "dtype": ">f4"}),
    "compressor": ({}, RAW),
    "no compressor before": (RAW, {"compressors": ZstdCodec()}),
    "another compressor": ({}, {"compressors": GzipCodec()}),
    "checksum": (RAW, {"compressors": [Crc32cCodec()]}),
    "filter": (V2, {**V2, "filters": [SCALED]}),
    "filter's scale": (
        {**V2, "filters": [numcodecs.FixedScaleOffset(0, 100, "f4", "i4")]},
        {**V2, "filters": [SCALED]},
    ),
    "order": ({**V2, "order": "C"}, {**V2, "order": "F"}),
    "transposed": (RAW, {**RAW, "filters": [TransposeCodec(order=(1, 0))]}),
    "fill value": ({"fill_value": 1}, {"fill_value": 7}),
    "fill value, v2": ({**V2, "fill_value": 1}, {**V2, "fill_value": 7}),
    "fill value NaN": ({"fill_value": 1}, {"fill_value": np.nan}),
    "chunks": ({}, {"chunks": (16, 64)}),
    "shards": ({}, {"shards": (32, 32), "chunks": (16, 16)}),
    "dtype": (RAW, {**RAW, "dtype": "i4"}),
    "keys": (RAW, {**RAW, "chunk_key_encoding": {"name": "default", "separator": "."}}),
    "separator, v2": (V2, {**V2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "v3 instead of v2": (V2, {}),
    "v2 instead of v3": ({}, V2),
}


def written(store, pixels, **options):
    if isinstance(store, MemoryStore):
        store._store_dict.clear()
    else:
        shutil.rmtree(store, ignore_errors=True)
    options = {"shape": pixels.shape, "chunks": (32, 32), "dtype": "f4", "fill_value": 0, **options}
    array = zarr.create_array(store, **options)
    array[...] = pixels
    return array


def level(store, number=0):
    return zarr.open_group(store, mode="r")[str(number)][...]


@pytest.mark.fault("N4")
@pytest.mark.parametrize("kind", ["local", "memory", "remote"])
@pytest.mark.parametrize("what", REPLACED)
def test_a_replaced_array_is_an_error_until_it_is_refreshed(what, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(array_metadata, "_VERIFY_EVERY_S", 0)
    before, after = REPLACED[what]
    one, two = np.ones((64, 64), "f4"), np.arange(4096, dtype="f4").reshape(64, 64)
    two[:32] = after.get("fill_value", 0)  # zarr doesn't store chunks of the fill value
    place = str(tmp_path / "a.zarr") if kind == "local" else MemoryStore()
    written(place, one, **before)
    src = zarr.storage.LoggingStore(place) if kind == "remote" else place
    lazy = LazyPyramidStore(src, chunks=(32, 32), method="mean", nodata=None)
    np.testing.assert_array_equal(level(lazy), one)
    lazy.engine.clear()
    written(place, two, **after)
    for number in (0, 1):
        for y in range(2 - number):
            with pytest.raises(SourceError, match=r"call refresh\(\)"):
                lazy[f"{number}/c/{y}/0"]
    lazy.refresh()
    fresh = LazyPyramidStore(src, chunks=(32, 32), method="mean", nodata=None)
    np.testing.assert_array_equal(level(lazy), two)
    np.testing.assert_array_equal(level(lazy, 1), level(fresh, 1))


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_other_attributes_and_another_spelling_are_no_change(zarr_format, tmp_path):
    pixels = np.arange(4096, dtype="f4").reshape(64, 64)
    pixels[:32] = np.nan
    array = written(str(tmp_path / "a.zarr"), pixels, zarr_format=zarr_format, fill_value=np.nan)
    lazy = LazyPyramidStore(str(tmp_path / "a.zarr"), chunks=(32, 32))
    array.attrs["units"] = "m"
    path = tmp_path / "a.zarr" / ("zarr.json" if zarr_format == 3 else ".zarray")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=8, sort_keys=True))
    np.testing.assert_array_equal(level(lazy), pixels)


def many_chunks(path, shape, **options):
    """An array of chunks of one pixel, written faster than zarr does."""
    array = zarr.create_array(
        path, shape=shape, chunks=(1,) * len(shape), dtype="u1", fill_value=0, compressors=None, **options
    )
    for index in itertools.product(*map(range, shape)):
        file = os.path.join(path, array.metadata.encode_chunk_key(index))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as chunk:
            chunk.write(b"\1")
    # The clock of file systems ticks some hundred times a second.
    for folder, _, _ in os.walk(path):
        os.utime(folder, ns=(10**18, 10**18))
    return array


LAYOUTS = {
    "v3": ((80, 80), {}),
    "v3, one folder": ((80, 80), {"chunk_key_encoding": {"name": "default", "separator": "."}}),
    "v2": ((80, 80), {"zarr_format": 2}),
    "v2, folders": ((80, 80), {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "three axes": ((2, 50, 60), {}),
}


@pytest.mark.fault("N1")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_chunk_written_in_any_folder_of_many_is_a_change(layout, tmp_path):
    shape, options = LAYOUTS[layout]
    path = str(tmp_path / "a.zarr")
    array = many_chunks(path, shape, **options)
    lazy = LazyPyramidStore(path, method="mean", chunks=(32, 32))
    before = lazy.fingerprint
    assert lazy.refreshed() is lazy
    materialize(lazy, str(tmp_path / "kept.zarr"), copy_base=False, progress=False)
    for row in (0, 41, shape[-2] - 1):
        array[..., row, -1] = 200
        fresh = lazy.refreshed()
        assert fresh.fingerprint != before, row
        assert level(fresh)[..., row, -1].max() == 200
        before, lazy = fresh.fingerprint, fresh
    with pytest.raises(PlanError, match="has changed"):
        LazyPyramidStore(path, method="mean", chunks=(32, 32), overlay=str(tmp_path / "kept.zarr"))


@pytest.mark.fault("N1")
def test_folders_too_many_to_ask_are_never_unchanged(tmp_path, monkeypatch):
    many_chunks(str(tmp_path / "a.zarr"), (6, 6))
    monkeypatch.setattr(chunk_bytes, "_MAX_FOLDERS", 8)
    one, two = (open_source(str(tmp_path / "a.zarr")).sources[0] for _ in range(2))
    assert one.fingerprint == two.fingerprint, "8 folders: the array's, its chunks', and one a row"
    monkeypatch.setattr(chunk_bytes, "_MAX_FOLDERS", 7)
    one = open_source(str(tmp_path / "a.zarr")).sources[0]
    assert one.fingerprint == one.fingerprint
    assert one.refreshed().fingerprint != one.fingerprint
