"""What the store stands on: zarr's base class, bytes of a value and parts of them."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from zarr.abc.store import Store
except ImportError:  # under zarr 2 the class is a plain mapping, which is what zarr 2 reads

    class Store:  # type: ignore[no-redef]
        """Stands in for zarr 3's store."""

        def __init__(self, *, read_only: bool = True) -> None:
            self._read_only = read_only


__all__ = ["Store", "bytes_of", "checked", "encoded", "part_of"]


def bytes_of(chunk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A chunk as its bytes, not copied."""
    return chunk.reshape(-1).view("B")


def encoded(codec: Any, chunk: np.ndarray[Any, Any]) -> bytes:
    """A chunk as `codec` (of numcodecs) encodes it, which is told the size of an item: blosc shuffles by it."""
    data = bytes(codec.encode(chunk.reshape(-1)))
    # gzip's header has the time of day in bytes 4 to 8, zero if there is none: the same pixels are to be the same bytes.
    return data if codec.codec_id != "gzip" else data[:4] + bytes(4) + data[8:]


def checked(request: Any) -> Any:
    """A zarr byte request; ValueError for anything else."""
    names = type(request).__name__
    if names not in ("RangeByteRequest", "OffsetByteRequest", "SuffixByteRequest"):
        raise ValueError(f"Unexpected byte_range, got {request!r}.")
    return request


def part_of(request: Any, size: int) -> slice:
    """Part of `size` bytes; a range that reaches beyond the end is clipped, as is a suffix longer than the value."""
    if hasattr(request, "suffix"):
        return slice(max(0, size - request.suffix), size)
    if hasattr(request, "offset"):
        return slice(min(request.offset, size), size)
    return slice(min(request.start, size), min(request.end, size))
