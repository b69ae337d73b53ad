"""Stored chunks of HDF5, decoded here: HDF5 itself makes as many bytes as a chunk says, and takes what is short for whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numcodecs
import numpy as np

from lazypyr._util.optional import need
from lazypyr.errors import SourceError
from lazypyr.sources.decoder import ChunkDecoder

__all__ = ["Absent", "check_own", "stored_chunk"]

Array = np.ndarray[Any, Any]
# By their numbers in the registry of the HDF Group, with their settings.
_CODECS: dict[int, Callable[[Sequence[int]], Any]] = {
    1: lambda _: numcodecs.get_codec({"id": "zlib"}),
    2: lambda values: numcodecs.get_codec({"id": "shuffle", "elementsize": values[0]}),
    3: lambda _: numcodecs.get_codec({"id": "fletcher32"}),
    307: lambda _: numcodecs.get_codec({"id": "bz2"}),
    32001: lambda _: numcodecs.get_codec({"id": "blosc"}),
    32015: lambda _: numcodecs.get_codec({"id": "zstd"}),
}
# HDF5's own ones (szip, n-bit, scale and offset), h5py's lzf, and compressors of the package hdf5plugin.
_THEIRS = {4, 5, 6, 32000, 32004, 32008, 32013, 32017, 32018, 32024, 32026, 32028}
_SHOWN = 3


class Absent(Exception):
    """There is no such chunk, and zeros stand for it."""


def check_own(dataset: Any, name: str) -> None:
    """Refuse a dataset whose values a file says to be in other files: any that can be read here, which nobody gave.

    Raises
    ------
    SourceError
        With the names of the files.
    """
    settings = dataset.id.get_create_plist()
    files = [settings.get_external(i)[0] for i in range(settings.get_external_count())]
    if dataset.is_virtual:
        files += [source.file_name for source in dataset.virtual_sources() if source.file_name != "."]
    if files:
        names = sorted({file.decode("utf-8", "replace") if isinstance(file, bytes) else file for file in files})
        told = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        msg = f"{name}: its values are in other files ({told}), which are not read; copy them into one file, as h5repack does"
        raise SourceError(msg, key=name)


def stored_chunk(dataset: Any, start: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Array | None:
    """Bytes of a chunk, decoded.

    Parameters
    ----------
    dataset : h5py.Dataset
        In chunks.
    start : tuple of int
        Index of the first pixel of the chunk.
    dtype : numpy.dtype
        As the pixels are wanted.
    name : str
        For messages.

    Returns
    -------
    ndarray of uint8 or None
        Shape ``(bytes of the chunk,)``; None where only HDF5 can make them, or fills them with something else than zeros.

    Raises
    ------
    Absent
        When the chunk was never written, and zeros stand for it.
    SourceError
        For a filter that is none of those that only decode numbers.
    """
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(i) for i in range(settings.get_nfilters())]
    for number, _, _, label in filters:
        if number not in _CODECS and number not in _THEIRS:
            msg = f"{name}: the filter {number} ({label.decode('utf-8', 'replace')}) is none of those that only decode numbers, so it isn't run"
            raise SourceError(msg, key=name)
    # Releases of h5py differ in the error for a chunk that was never written.
    if dataset.id.get_chunk_info_by_coord(start).byte_offset is None:
        if np.any(dataset.fillvalue):
            return None
        raise Absent
    skipped, raw = dataset.id.read_direct_chunk(start)
    used = [each for position, each in enumerate(filters) if not skipped >> position & 1]
    n_bytes = int(np.prod(dataset.chunks, dtype=object)) * dtype.itemsize
    codecs = [_CODECS[number](values) for number, _, values, _ in reversed(used) if number in _CODECS]
    decoder = ChunkDecoder((n_bytes,), np.dtype("u1"), (0,), tuple(codecs))
    if len(raw) > decoder.stored_bytes_at_most:
        msg = f"expected at most {decoder.stored_bytes_at_most} stored bytes, got {len(raw)}"
        raise ValueError(msg)
    types = need("h5py", feature=f"reading {name}", extra="hdf5").h5t
    # Of another type in the file (12 bits of 16, ...), HDF5 makes the numbers.
    if len(codecs) < len(used) or dataset.id.get_type() != types.py_create(dtype, logical=True):
        return None
    return decoder.decode(raw)
