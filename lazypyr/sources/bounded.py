"""Arrays of zarr whose codecs make no more bytes than are due: for what zarr-python decodes, since we don't."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numcodecs
import numpy as np
import zarr
from numcodecs.compat import ndarray_copy
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import BytesCodec, ShardingCodec

from lazypyr.sources.array_metadata import document_of
from lazypyr.sources.codecs import check_codecs, decode_at_most, is_bounded

__all__ = ["bounded_array", "checked_array"]

# Codecs of text, which variables beside a raster may hold: they make strings and bytes.
_TEXT = ("vlen-utf8", "vlen-bytes")


def checked_array(array: Any) -> Any:
    """The same array, to be read through zarr, whose codecs are known ones that make no more than is due.

    Parameters
    ----------
    array : zarr.Array

    Raises
    ------
    PlanError
        With the name of a codec that may do more than decode.
    """
    check_codecs(document_of(array.metadata), array.path or str(array.store_path), _TEXT)
    return bounded_array(array)


def bounded_array(array: Any) -> Any:
    """The same array, read-only, that refuses chunks which decode to more than is due.

    Parameters
    ----------
    array : zarr.Array

    Returns
    -------
    zarr.Array
        Of text, whose length no metadata tell, only what is decoded before it is bounded.
    """
    if array.metadata.zarr_format == 2:
        metadata = dataclasses.replace(array.metadata, compressor=_bounded_v2(array.metadata))
    else:
        metadata = dataclasses.replace(array.metadata, codecs=_bounded(array.metadata.codecs))
    return zarr.Array(zarr.AsyncArray(metadata, array.store_path, getattr(array, "config", None)))


def _bounded_v2(metadata: Any) -> Any:
    dtype, compressor = np.dtype(metadata.dtype.to_native_dtype()), metadata.compressor
    if compressor is None or dtype.hasobject or not is_bounded(compressor.codec_id):
        return compressor
    n_bytes = math.prod(metadata.chunks) * dtype.itemsize
    # What filters make may be longer than the chunk.
    return _BoundedNumcodec(compressor, n_bytes + (n_bytes // 2 + 2**16 if metadata.filters else 0))


class _BoundedNumcodec:
    """Stands for a codec of numcodecs when it decodes."""

    codec_id = "bounded"

    def __init__(self, codec: Any, most: int) -> None:
        self.codec_id, self._codec, self._most = codec.codec_id, codec, most

    def get_config(self) -> dict[str, Any]:
        """The codec's own document."""
        return dict(self._codec.get_config())

    @classmethod
    def from_config(cls, config: Any) -> Any:
        """The codec itself: a document knows no bound."""
        return numcodecs.get_codec(config)

    def encode(self, buf: Any) -> Any:
        """Encode as the codec itself."""
        return self._codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode, at most the bytes that are due."""
        got = decode_at_most(self._codec, buf, self._most)
        return got if out is None else ndarray_copy(got, out)


def _bounded(codecs: Iterable[Any]) -> list[Any]:
    """Codecs of an array, or of the chunks of a shard or its index, each that could make too much in a bounded one."""
    out: list[Any] = []
    serializer: Any = None
    least = 0  # pixels of the smallest chunk in a shard
    for codec in codecs:
        made = _numcodec(codec)
        if isinstance(codec, ShardingCodec):
            least = _least_pixels(codec)
            place: dict[str, Any] = {"chunk_shape": codec.chunk_shape, "index_location": codec.index_location}
            out.append(ShardingCodec(codecs=_bounded(codec.codecs), index_codecs=_bounded(codec.index_codecs), **place))
        elif isinstance(codec, BytesBytesCodec) and made is not None:
            out.append(_BoundedBytes(codec, made, isinstance(serializer, BytesCodec), least))
        elif isinstance(codec, ArrayBytesCodec) and made is not None:
            out.append(_BoundedNumbers(codec, made))
        else:
            out.append(codec)
        # Only what is compressed first is as long as the chunk: what comes after it compresses compressed bytes.
        serializer = codec if isinstance(codec, ArrayBytesCodec) else None
    return out


def _least_pixels(codec: ShardingCodec) -> int:
    """Pixels of the smallest chunk in a shard, and in the shards in it."""
    inside = [_least_pixels(inner) for inner in codec.codecs if isinstance(inner, ShardingCodec)]
    return min([math.prod(codec.chunk_shape), *inside])


def _numcodec(codec: Any) -> Any:
    """The codec of numcodecs that decodes the same, None for one that makes no more than it is given."""
    name = codec.to_dict()["name"]
    settings = codec.to_dict().get("configuration", {}) if name.startswith("numcodecs.") else {}
    identifier = name.removeprefix("numcodecs.")
    return numcodecs.get_codec({"id": identifier, **settings}) if is_bounded(identifier) else None


@dataclasses.dataclass(frozen=True)
class _Bounded:
    """Stands for a codec of zarr when it decodes."""

    codec: Any
    numcodec: Any

    is_fixed_size = False  # as of all that could make too much

    def to_dict(self) -> dict[str, Any]:
        """The codec's own document."""
        document: dict[str, Any] = self.codec.to_dict()
        return document

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Size as the codec itself computes it."""
        return int(self.codec.compute_encoded_size(input_byte_length, chunk_spec))

    def evolve_from_array_spec(self, array_spec: Any) -> Any:
        """Bounded too."""
        return dataclasses.replace(self, codec=self.codec.evolve_from_array_spec(array_spec))


@dataclasses.dataclass(frozen=True)
class _BoundedBytes(_Bounded, BytesBytesCodec):
    """Compressor; `exact` where it decodes to the bytes of the chunk, `least_pixels` of the smallest chunk where to shards."""

    exact: bool = False
    least_pixels: int = 0

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        pixels = math.prod(chunk_spec.shape)
        n_bytes = pixels * chunk_spec.dtype.to_native_dtype().itemsize
        if self.exact:
            got = decode_at_most(self.numcodec, chunk_bytes.as_numpy_array(), n_bytes, np.empty(n_bytes, "u1"))
        else:  # of shards the indices too
            indices = 32 * pixels // self.least_pixels if self.least_pixels else 0
            got = decode_at_most(self.numcodec, chunk_bytes.as_numpy_array(), n_bytes + n_bytes // 2 + indices + 2**16)
        return chunk_spec.prototype.buffer.from_bytes(bytes(got))


@dataclasses.dataclass(frozen=True)
class _BoundedNumbers(_Bounded, ArrayBytesCodec):
    """Compressor of numbers."""

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        out = np.empty(chunk_spec.shape, chunk_spec.dtype.to_native_dtype())
        flat = out.reshape(-1).view("u1")
        got = decode_at_most(self.numcodec, chunk_bytes.as_numpy_array(), flat.size, flat)
        if got is not flat:
            flat[:] = np.frombuffer(got, "u1")
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(out)
