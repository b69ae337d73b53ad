"""Decoding of stored chunks in the calling thread, for the codecs that numcodecs knows.

What isn't understood here is read through zarr-python: `decoder_of` says so by returning None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numcodecs
import numpy as np

from lazypyr.sources.codecs import decode_at_most, encoded_bytes_at_most

__all__ = ["ChunkDecoder", "Sharding", "decoder_of"]

Array = np.ndarray[Any, Any]

_V3_BYTES_CODECS = {"zstd": "zstd", "gzip": "gzip", "blosc": "blosc"}


@dataclass(frozen=True)
class Sharding:
    """Layout of a shard: `index_size` bytes of index at its end (or start), with a checksum or not, of either byte order."""

    count: int
    at_end: bool
    checksum: bool
    big_endian: bool = False

    @property
    def index_size(self) -> int:
        """Bytes of the index: 16 for each inner chunk, and the checksum."""
        return 16 * self.count + (4 if self.checksum else 0)

    def index_of(self, raw: bytes) -> Array:
        """Offset and length of every inner chunk, shape ``(count, 2)``; ``2**64 - 1`` where there is none."""
        if len(raw) != self.index_size:
            msg = f"shard index: expected {self.index_size} bytes, got {len(raw)}"
            raise ValueError(msg)
        if self.checksum:
            raw = _checked(raw)
        return np.frombuffer(raw, ">u8" if self.big_endian else "<u8").reshape(self.count, 2)


@dataclass(frozen=True)
class ChunkDecoder:
    """Stored bytes to an array of one chunk.

    Attributes
    ----------
    shape : tuple[int, ...]
        Of a decoded chunk, by axis.
    stored_dtype : numpy.dtype
        As stored, any byte order.
    order : tuple[int, ...]
        Axes in the order in which they are stored, slowest first.
    codecs : tuple
        numcodecs codecs, in the order of decoding; a checksum is the string "crc32c".
    sharding : Sharding or None
        Where chunks are parts of shards.
    """

    shape: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    order: tuple[int, ...]
    codecs: tuple[Any, ...]
    sharding: Sharding | None = None

    @cached_property
    def n_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.shape) * self.stored_dtype.itemsize

    @cached_property
    def _bytes_at_most(self) -> tuple[int, ...]:
        """Bytes of the stored chunk, and of what each codec makes of it, at most."""
        sizes = [self.n_bytes]
        for codec in reversed(self.codecs):
            sizes.append(encoded_bytes_at_most(codec, sizes[-1]))
        return tuple(reversed(sizes))

    @property
    def stored_bytes_at_most(self) -> int:
        """Bytes of a stored chunk that is what its array's metadata say."""
        return self._bytes_at_most[0]

    @cached_property
    def raw(self) -> bool:
        """True where chunks are stored as they are: C order, little-endian, no codec."""
        return (
            not self.codecs
            and self.sharding is None
            and self.order == tuple(range(len(self.shape)))
            and self.stored_dtype.byteorder != ">"
        )

    def decode(self, stored: Any, memory: Array | None = None) -> Array:
        """The chunk, little-endian, in `memory` (`n_bytes` of uint8) if given.

        Raises
        ------
        ValueError, RuntimeError, ...
            Whatever the codec raises, and ValueError when there are more or fewer bytes than the chunk has.
        """
        stored_shape = tuple(self.shape[axis] for axis in self.order)
        if memory is None:
            out = np.empty(stored_shape, self.stored_dtype)
        else:
            out = memory.view(self.stored_dtype).reshape(stored_shape)
        data: Any = stored
        flat_out = out.reshape(-1).view("u1")
        for position, (codec, n_bytes) in enumerate(zip(self.codecs, self._bytes_at_most[1:], strict=True)):
            if codec == "crc32c":
                data = _checked(bytes(data))
            else:
                last = position == len(self.codecs) - 1
                data = decode_at_most(codec, data, n_bytes, flat_out if last else None)
        if data is not flat_out:
            flat = np.frombuffer(data, "u1") if not isinstance(data, np.ndarray) else data.reshape(-1).view("u1")
            if flat.size != self.n_bytes:
                msg = f"expected {self.n_bytes} decoded bytes, got {flat.size}"
                raise ValueError(msg)
            flat_out[:] = flat
        if self.stored_dtype.byteorder == ">":
            out = out.astype(self.stored_dtype.newbyteorder("<"))
        if self.order != tuple(range(len(self.shape))):
            out = out.transpose(np.argsort(self.order))
        return out


def _checked(data: bytes) -> bytes:
    from google_crc32c import value as crc32c  # a dependency of zarr

    body, end = data[:-4], data[-4:]
    if len(end) != 4 or crc32c(body) != int.from_bytes(end, "little"):
        msg = "the checksum (crc32c) does not fit the bytes"
        raise ValueError(msg)
    return body


def decoder_of(
    metadata: Mapping[str, Any], dtype: np.dtype[Any], chunks: Sequence[int], shards: Sequence[int] | None = None
) -> ChunkDecoder | None:
    """Decoder of an array's chunks, from its metadata document (v2 or v3); None where zarr must decode them.

    `chunks` is the chunk that zarr reports: the inner one of an array with `shards`.
    """
    try:
        if metadata["zarr_format"] == 2:
            return _decoder_v2(metadata, dtype, chunks)
        if metadata["chunk_grid"]["name"] != "regular":
            return None
        return _decoder_v3(metadata["codecs"], dtype, chunks, shards)
    except (_Unknown, ValueError, KeyError, TypeError):
        return None


class _Unknown(Exception):
    pass


def _decoder_v2(metadata: Mapping[str, Any], dtype: np.dtype[Any], chunks: Sequence[int]) -> ChunkDecoder:
    if dtype.hasobject:
        raise _Unknown
    codecs = [metadata.get("compressor"), *reversed(metadata.get("filters") or ())]
    made = tuple(c if hasattr(c, "decode") else numcodecs.get_codec(dict(c)) for c in codecs if c is not None)
    axes = range(len(chunks))
    return ChunkDecoder(tuple(chunks), dtype, tuple(axes if metadata["order"] == "C" else reversed(axes)), made)


def _decoder_v3(
    codecs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], chunks: Sequence[int], shards: Sequence[int] | None
) -> ChunkDecoder:
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        setup = codecs[0]["configuration"]
        index_names = [c["name"] for c in setup["index_codecs"]]
        if index_names not in (["bytes"], ["bytes", "crc32c"]):
            raise _Unknown
        inner = _decoder_v3(setup["codecs"], dtype, chunks, None)
        if inner.sharding is not None or tuple(setup["chunk_shape"]) != tuple(chunks):
            raise _Unknown
        count = math.prod(s // c for s, c in zip(shards or (), chunks, strict=True))
        big_endian = (setup["index_codecs"][0].get("configuration") or {}).get("endian") == "big"
        sharding = Sharding(count, setup.get("index_location", "end") == "end", len(index_names) == 2, big_endian)
        return ChunkDecoder(inner.shape, inner.stored_dtype, inner.order, inner.codecs, sharding)
    order = tuple(range(len(chunks)))
    made: list[Any] = []
    seen_bytes = False
    for codec in codecs:
        name, setup = codec["name"], codec.get("configuration") or {}
        if name == "transpose" and not seen_bytes:
            order = tuple(order[axis] for axis in setup["order"])
        elif name == "bytes" and not seen_bytes:
            seen_bytes = True
            dtype = dtype.newbyteorder(">" if setup.get("endian") == "big" else "<") if dtype.itemsize > 1 else dtype
        elif name == "crc32c":
            made.insert(0, "crc32c")
        elif name in _V3_BYTES_CODECS:
            made.insert(0, numcodecs.get_codec({"id": _V3_BYTES_CODECS[name]}))
        elif name.startswith("numcodecs.") and seen_bytes:
            made.insert(0, numcodecs.get_codec({"id": name.removeprefix("numcodecs."), **setup}))
        else:
            raise _Unknown
    if not seen_bytes:
        raise _Unknown
    return ChunkDecoder(tuple(chunks), dtype, order, tuple(made))
