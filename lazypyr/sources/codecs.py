"""The codecs that metadata may name, and decoding that never makes more bytes than are due.

Metadata and chunks are written by others. A codec such as numcodecs' "pickle" runs what the chunks say; a compressor
makes GiB of a few KiB.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from lazypyr.errors import PlanError

__all__ = ["DECODING_CODECS", "check_codec", "check_codecs", "decode_at_most", "encoded_bytes_at_most", "is_bounded"]

# Codecs of numcodecs and zarr that make numbers of bytes and do nothing else. Those of objects are missing ("pickle",
# "json2", "msgpack2", "categorize", "vlen-*"), as are those that other packages register.
DECODING_CODECS = frozenset(
    (
        *("blosc", "bz2", "gzip", "lz4", "lzma", "pcodec", "zfpy", "zlib", "zstd"),
        *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
        *("astype", "base64", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
        *("bytes", "cast_value", "endian", "scale_offset", "sharding_indexed", "transpose"),
    )
)
_STREAMS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda _: zlib.decompressobj(wbits=31),
    "zlib": lambda _: zlib.decompressobj(),
    "bz2": lambda _: bz2.BZ2Decompressor(),
    "lzma": lambda codec: lzma.LZMADecompressor(codec.format, filters=codec.filters),
}
_NO_BOUND = 2**62
_ZSTD_BLOCK = 2**17  # bytes of the longest block, decoded


def check_codecs(document: Mapping[str, Any], name: str, allowed: Collection[str] = ()) -> None:
    """Refuse an array whose metadata name a codec that may do more than decode.

    Parameters
    ----------
    document : Mapping
        ``.zarray`` or ``zarr.json``.
    name : str
        For messages.
    allowed : collection of str
        Codecs that the user allows besides `DECODING_CODECS`.

    Raises
    ------
    PlanError
        With the name of the codec.
    """
    for codec in _names_of(document):
        check_codec(codec, name, allowed)


def check_codec(codec: str, name: str, allowed: Collection[str] = ()) -> None:
    """Refuse a codec by its name, with or without zarr's prefix of numcodecs' names; see `check_codecs`."""
    codec = codec.removeprefix("numcodecs.")
    if codec not in DECODING_CODECS and codec not in allowed:
        raise PlanError(
            f"{name}: the codec {codec!r} in its metadata is none of those that only decode numbers, so it isn't run; "
            f"if you trust the data and the codec, give allow_codecs=[{codec!r}]"
        )


def _names_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of all codecs, those inside shards and of their indices too."""
    for codec in (document.get("compressor"), *(document.get("filters") or ())):
        if codec is not None:
            yield str(codec["id"])
    for codec in (*(document.get("codecs") or ()), *(document.get("index_codecs") or ())):
        named: Mapping[str, Any] = {"name": codec} if isinstance(codec, str) else codec
        yield str(named["name"])
        yield from _names_of(named.get("configuration") or {})


def encoded_bytes_at_most(codec: Any, n_bytes: int) -> int:
    """Bytes that a codec makes of `n_bytes`, at most.

    Parameters
    ----------
    codec : numcodecs codec or "crc32c"
    n_bytes : int

    Returns
    -------
    int
        Exact for filters that change the dtype. Compressors make data that don't compress a little longer.
    """
    decoded = getattr(codec, "decode_dtype", getattr(codec, "dtype", None))
    encoded = getattr(codec, "encode_dtype", getattr(codec, "astype", None))
    if isinstance(decoded, np.dtype) and isinstance(encoded, np.dtype):
        return n_bytes // max(1, decoded.itemsize) * encoded.itemsize
    codec_id = getattr(codec, "codec_id", codec)
    if codec_id == "packbits":
        return n_bytes // 8 + 2
    return n_bytes + n_bytes // 2 + 2**16 if codec_id in DECODING_CODECS else _NO_BOUND


def decode_at_most(codec: Any, data: Any, n_bytes: int, out: np.ndarray[Any, Any] | None = None) -> Any:
    """Decoded bytes. What says that it is longer than `n_bytes` is not decoded; what hides it is cut off.

    Parameters
    ----------
    codec : numcodecs codec
    data : buffer
    n_bytes : int
        The most that is due.
    out : ndarray of uint8, optional
        Of `n_bytes`, exactly those that are due. It is used where that saves a copy.

    Returns
    -------
    buffer
        `out` itself where it holds the bytes.

    Raises
    ------
    ValueError, RuntimeError, ...
        Whatever the codec raises, and ValueError for more bytes than are due.
    """
    if codec.codec_id in _STREAMS:
        return _streamed(codec, data, n_bytes)
    if codec.codec_id == "pcodec":
        return _numbers(data, n_bytes, out)
    data = (data.reshape(-1).view("u1").data if isinstance(data, np.ndarray) else memoryview(data)).cast("B")
    size_of = _SIZES.get(codec.codec_id)
    if size_of is None:
        return codec.decode(data)
    declared = size_of(data, n_bytes)
    if declared is not None and declared > n_bytes:
        msg = f"expected {n_bytes} decoded bytes, got {declared}, as the compressed chunk says"
        raise ValueError(msg)
    # Of unknown size are frames of zstd that were written bit by bit: numcodecs stops at the end of `out`, if that is what
    # is due. Elsewhere their blocks tell the most that they can be.
    if declared == n_bytes or (declared is None and out is not None):
        out = np.empty(n_bytes, "u1") if out is None else out
        codec.decode(data, out=out)
        return out
    if declared is None and (most := sum(size for _, size in _zstd_blocks(data))) > n_bytes:
        msg = f"expected {n_bytes} decoded bytes at most, got up to {most}, as the blocks of the compressed chunk say"
        raise ValueError(msg)
    return codec.decode(data)


def _streamed(codec: Any, data: Any, n_bytes: int) -> bytes:
    """Streams, one after the other, decoded until one byte more than `n_bytes` is there."""
    parts: list[bytes] = []
    got, rest = 0, bytes(data)
    while rest or not parts:
        stream = _STREAMS[codec.codec_id](codec)
        part = stream.decompress(rest, n_bytes + 1 - got)
        parts.append(part)
        got += len(part)
        if got > n_bytes:
            msg = f"expected {n_bytes} decoded bytes, got more"
            raise ValueError(msg)
        if not stream.eof:
            msg = f"the {codec.codec_id} stream ends before it is complete"
            raise ValueError(msg)
        # gzip allows padding; zlib, as numcodecs reads it, ends with its first stream.
        rest = b"" if codec.codec_id == "zlib" else stream.unused_data.lstrip(b"\0")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _blosc_bytes(data: memoryview, _n_bytes: int) -> int:
    if len(data) < 16:
        msg = f"a Blosc chunk has a header of 16 bytes, got {len(data)}"
        raise ValueError(msg)
    if int.from_bytes(data[12:16], "little") != data.nbytes:
        msg = "a Blosc chunk is shorter or longer than its header says"
        raise ValueError(msg)
    return int.from_bytes(data[4:8], "little")


def _lz4_bytes(data: memoryview, _n_bytes: int) -> int:
    # numcodecs puts the size in front of the block.
    return int.from_bytes(data[:4], "little")


def _zstd_bytes(data: memoryview, n_bytes: int) -> int | None:
    """Bytes that all frames say they have, None where one doesn't say it (RFC 8878, section 3.1.1)."""
    total, start = 0, 0
    while start < len(data) or not start:
        magic = int.from_bytes(data[start : start + 4], "little")
        if magic >> 4 == 0x184D2A5:  # to be skipped
            start += 8 + int.from_bytes(data[start + 4 : start + 8], "little")
            continue
        if magic != 0xFD2FB528 or len(data) < start + 6:
            msg = "no Zstandard frame"
            raise ValueError(msg)
        size, blocks = _zstd_header(data, start + 4)
        if size is None:
            return None
        total += size
        if total >= n_bytes:  # whatever follows has no room left
            return total
        start = _zstd_end(data, blocks) + (4 if data[start + 4] & 4 else 0)
    return total


def _zstd_header(data: memoryview, start: int) -> tuple[int | None, int]:
    """Size that a frame says it has, and where its blocks begin: after descriptor, window, dictionary id, content size."""
    descriptor = data[start]
    single, flag = descriptor >> 5 & 1, descriptor >> 6
    start += 1 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[flag]
    size = int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)
    return size if width else None, start + width


def _zstd_end(data: memoryview, start: int) -> int:
    """End of the last block of a frame."""
    for end, _ in _zstd_frame(data, start):
        start = end
    return start


def _zstd_frame(data: memoryview, start: int) -> Iterator[tuple[int, int]]:
    """End of each block of a frame, and the bytes that it decodes to at most."""
    last = False
    while not last and start < len(data):
        block = int.from_bytes(data[start : start + 3], "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        start += 3 + (1 if kind == 1 else size)
        yield start, _ZSTD_BLOCK if kind == 2 else size


def _zstd_blocks(data: memoryview) -> Iterator[tuple[int, int]]:
    """The same of all frames."""
    start = 0
    while start + 5 < len(data):
        if int.from_bytes(data[start : start + 4], "little") >> 4 == 0x184D2A5:  # to be skipped
            start += 8 + int.from_bytes(data[start + 4 : start + 8], "little")
            continue
        checksum = 4 if data[start + 4] & 4 else 0
        end = _zstd_header(data, start + 4)[1]
        for end, size in _zstd_frame(data, end):  # noqa: B020 - the end of the last one is that of the frame
            yield end, size
        start = end + checksum


def _zfp_bytes(data: memoryview, _n_bytes: int) -> int:
    """Bytes of the shape and type in the header of zfp: 2 bits of type, 2 of axes, 48 of sizes less one."""
    if len(data) < 12 or bytes(data[:3]) != b"zfp":
        msg = "no zfp stream"
        raise ValueError(msg)
    header = int.from_bytes(data[4:12], "little")
    axes = (header >> 2 & 3) + 1
    bits = 48 // axes
    sizes = [(header >> 4 + bits * axis & (1 << bits) - 1) + 1 for axis in range(axes)]
    return math.prod(sizes) * (8 if header & 1 else 4)


def _numbers(data: Any, n_bytes: int, out: np.ndarray[Any, Any] | None) -> Any:
    """Numbers of pcodec, which writes them to memory of their type, and tells how many there were.

    Of which type they are, only trying tells: a wrong one is an error before anything is decoded.
    """
    from numcodecs.pcodec import standalone

    memory = np.empty(n_bytes, "u1") if out is None else out
    failed: Exception | None = None
    for dtype in ("f4", "f8", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "i1", "u1"):
        if n_bytes % np.dtype(dtype).itemsize:
            continue
        try:
            progress = standalone.simple_decompress_into(bytes(data), memory.view(dtype))
        except Exception as error:
            failed = error if failed is None or "number's type" in str(failed) else failed
            continue
        got = progress.n_processed * np.dtype(dtype).itemsize
        if got != n_bytes or not progress.finished:
            msg = f"expected {n_bytes} decoded bytes, got {'more' if got == n_bytes else got}"
            raise ValueError(msg)
        return memory
    raise failed or ValueError(f"no numbers take {n_bytes} bytes")


_SIZES: dict[str, Callable[[memoryview, int], int | None]] = {
    "zstd": _zstd_bytes,
    "blosc": _blosc_bytes,
    "lz4": _lz4_bytes,
    "zfpy": _zfp_bytes,
}


def is_bounded(codec_id: str) -> bool:
    """True for a codec that could make more than it is given, and that `decode_at_most` bounds."""
    return codec_id in _STREAMS or codec_id in _SIZES or codec_id == "pcodec"
