"""Bytes of a chunk, plain and encoded."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["bytes_of", "encoded"]


def bytes_of(chunk: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A chunk as its bytes, not copied."""
    return chunk.reshape(-1).view("B")


def encoded(codec: Any, chunk: np.ndarray[Any, Any]) -> bytes:
    """A chunk as `codec` (of numcodecs) encodes it, which is told the size of an item: blosc shuffles by it."""
    data = bytes(codec.encode(chunk.reshape(-1)))
    # gzip's header has the time of day in bytes 4 to 8, zero if there is none: the same pixels are to be the same bytes.
    return data if codec.codec_id != "gzip" else data[:4] + bytes(4) + data[8:]
