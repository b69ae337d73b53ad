"""Chunk grids, shards and options of zarr as zarr-python reads them."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.dtype.common import HasItemSize
from zarr.dtype import DataTypeValidationError, ZDType, data_type_registry

from lazypyr import LazyPyramidStore, PlanError, SourceError

PIXELS = np.arange(60 * 50, dtype="f4").reshape(60, 50)
# Both are options of zarr 3.2 and newer; CI's job of the newest packages has them.
HAS_RECTILINEAR = zarr.config.get("array.rectilinear_chunks", None) is not None
HAS_MISSING = zarr.config.get("array.read_missing_chunks", None) is not None
RECTILINEAR = {
    "chunks": {"chunks": [[10, 20, 30], [25, 25]]},
    "uniform": {"chunks": [[20, 20, 20], [25, 25]]},
    "one axis": {"chunks": [20, [20, 20, 10]]},
    "shards": {"shards": [[20, 40], [10, 40]], "chunks": (10, 5)},
}


def level(store, number=0):
    return zarr.open_group(store, mode="r")[str(number)][...]


@pytest.mark.fault("N27")
@pytest.mark.skipif(not HAS_RECTILINEAR, reason="needs zarr 3.2")
@pytest.mark.parametrize("kind", RECTILINEAR)
@pytest.mark.parametrize("method", ["stride", "mean"])
def test_rectilinear_grids_are_read(kind, method, tmp_path):
    path = str(tmp_path / "a.zarr")
    with zarr.config.set({"array.rectilinear_chunks": True}):
        array = zarr.create_array(path, shape=PIXELS.shape, dtype="f4", **RECTILINEAR[kind])
        array[...] = PIXELS
        for src in (path, array):
            lazy = LazyPyramidStore(src, chunks=(16, 16), method=method, levels=3)
            expected = LazyPyramidStore(PIXELS, chunks=(16, 16), method=method, levels=3)
            for number in range(3):
                np.testing.assert_array_equal(level(lazy, number), level(expected, number))
            array[30, 30] = -1
            assert level(lazy.refreshed())[30, 30] == -1
            array[...] = PIXELS
    with pytest.raises(PlanError, match="rectilinear"):
        LazyPyramidStore(path)


def sharded(path, **options):
    codec = ShardingCodec(chunk_shape=(16, 16), codecs=[BytesCodec()], **options)
    pixels = np.arange(4096, dtype="f4").reshape(64, 64)
    array = zarr.create_array(path, shape=(64, 64), dtype="f4", chunks=(32, 32), serializer=codec, compressors=None)
    array[...] = pixels
    return pixels


@pytest.mark.fault("N27")
@pytest.mark.parametrize("checksum", [[], [Crc32cCodec()]])
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_shard_indices_of_either_byte_order(endian, place, checksum, tmp_path):
    path = str(tmp_path / "a.zarr")
    pixels = sharded(path, index_codecs=[BytesCodec(endian=endian), *checksum], index_location=place)
    lazy = LazyPyramidStore(path, chunks=(16, 16))
    np.testing.assert_array_equal(level(lazy), pixels)
    np.testing.assert_array_equal(level(lazy, 1), pixels[::2, ::2])


@pytest.mark.fault("S2")
@pytest.mark.parametrize("endian", ["big", "little"])
def test_a_shard_index_whose_checksum_does_not_fit_is_an_error(endian, tmp_path):
    """Two chunks of a shard change places: only the checksum of the index tells."""
    path = tmp_path / "a.zarr"
    sharded(str(path), index_codecs=[BytesCodec(endian=endian), Crc32cCodec()])
    shard = path / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    start = len(data) - 4 - 4 * 16
    data[start : start + 16], data[start + 16 : start + 32] = data[start + 16 : start + 32], data[start : start + 16]
    shard.write_bytes(data)
    lazy = LazyPyramidStore(str(path), chunks=(16, 16))
    for key in ("0/c/0/0", "0/c/0/1", "1/c/0/0"):
        with pytest.raises(SourceError, match="crc32c"):
            lazy[key]
    assert lazy["0/c/2/2"]


@pytest.mark.fault("S2")
@pytest.mark.parametrize("cut", [1, 4, 4096 * 4 - 64 * 8])
def test_a_raw_chunk_that_is_short_is_an_error_for_the_rows_that_are_there_too(cut, tmp_path):
    path = tmp_path / "a.zarr"
    pixels = np.ones((128, 64), "f4")
    zarr.create_array(str(path), data=pixels, chunks=(64, 64), compressors=None)
    chunk = path / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-cut])
    lazy = LazyPyramidStore(str(path), chunks=(8, 8), levels=4)
    for key in ("0/c/0/0", "3/c/0/0"):
        with pytest.raises(SourceError, match="expected 16384 bytes"):
            lazy[key]
    assert lazy["0/c/8/0"]


@pytest.mark.fault("N27")
@pytest.mark.skipif(not HAS_MISSING, reason="needs zarr 3.2")
@pytest.mark.parametrize("options", [{}, {"shards": (32, 32), "chunks": (16, 16)}, {"zarr_format": 2}])
def test_missing_chunks_are_errors_where_zarr_says_so(options, tmp_path):
    path = tmp_path / "a.zarr"
    pixels = np.ones((64, 64), "f4")
    pixels[32:48, 32:48] = 0  # within a shard, nothing is stored for it
    options = {"shape": (64, 64), "chunks": (32, 32), "dtype": "f4", "fill_value": 0, **options}
    zarr.create_array(str(path), **options)[...] = pixels
    (path / ("0.0" if "zarr_format" in options else "c/0/0")).unlink()
    array = zarr.open_array(str(path), mode="r", config={"read_missing_chunks": False})
    with zarr.config.set({"array.read_missing_chunks": False}):
        stores = [LazyPyramidStore(src, chunks=(32, 32), method="mean") for src in (str(path), array)]
    for lazy in (*stores, stores[0].refreshed()):
        for key in ("0/c/0/0", "1/c/0/0"):
            with pytest.raises(SourceError, match="read_missing_chunks is False"):
                lazy[key]
        assert lazy["0/c/1/1"] == pixels[32:, 32:].tobytes()
    assert set(LazyPyramidStore(str(path), chunks=(32, 32))["0/c/0/0"]) == {0}


@pytest.mark.fault("N27")
@pytest.mark.parametrize("dtype", ["S4", "U3", [("x", "f4"), ("y", "i2")]])
def test_dtypes_that_are_no_numbers_are_refused(dtype, tmp_path):
    path = str(tmp_path / "a.zarr")
    zarr.create_array(path, shape=(8, 8), chunks=(4, 4), dtype=np.dtype(dtype), zarr_format=2)
    with pytest.raises(PlanError, match="can't be downsampled"):
        LazyPyramidStore(path)


def extension_of(name):
    """A data type that a package adds to zarr: a dtype of ml_dtypes under its own name."""
    dtype = np.dtype(getattr(ml_dtypes, name))

    @dataclass(frozen=True, kw_only=True)
    class Extension(ZDType, HasItemSize):
        dtype_cls = type(dtype)
        _zarr_v3_name = _zarr_v2_name = name
        item_size = dtype.itemsize

        @classmethod
        def from_native_dtype(cls, native):
            if native == dtype:
                return cls()
            raise DataTypeValidationError(native)

        def to_native_dtype(self):
            return dtype

        @classmethod
        def _from_json_v2(cls, data):
            raise DataTypeValidationError(data)

        @classmethod
        def _from_json_v3(cls, data):
            if data == name:
                return cls()
            raise DataTypeValidationError(data)

        def to_json(self, zarr_format):
            return name

        def _check_scalar(self, data):
            return True

        def cast_scalar(self, data):
            return dtype.type(data)

        def default_scalar(self):
            return dtype.type(0)

        def from_json_scalar(self, data, *, zarr_format):
            return dtype.type(float(data))

        def to_json_scalar(self, data, *, zarr_format):
            return float(data)

    return Extension


@pytest.mark.fault("N27")
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"])
def test_extension_dtypes_are_refused_with_what_to_do(name, tmp_path):
    """Registered with zarr, which then reads them, or not, and as numpy arrays."""
    path = str(tmp_path / "a.zarr")
    dtype = np.dtype(getattr(ml_dtypes, name))
    registry, extension = data_type_registry, extension_of(name)
    registry.register(name, extension)
    try:
        array = zarr.create_array(path, shape=(8, 8), chunks=(4, 4), dtype=extension(), fill_value=0, compressors=None)
        array[...] = np.ones((8, 8), dtype)
        assert zarr.open_array(path, mode="r")[0, 0] == 1
        for src in (path, array, np.ones((8, 8), dtype)):
            with pytest.raises(PlanError, match=f"arrays of {name} can't be downsampled.*such as float32"):
                LazyPyramidStore(src)
    finally:
        registry.unregister(name)
    with pytest.raises(PlanError, match=f"can't be (read|opened).*{name}"):
        LazyPyramidStore(path)
