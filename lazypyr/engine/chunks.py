"""Full-size chunks of computed pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from lazypyr.errors import ComputeError, LazypyrError, SourceError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import Pyramid

__all__ = ["bytes_of", "checked_chunk", "cut", "from_centre", "full_size", "only_chunk", "warn_of_large_chunks"]

Array = np.ndarray[Any, Any]
# Tiles that somebody looks at together.
_SCREEN = 64
log = logging.getLogger("lazypyr")


def bytes_of(value: Any) -> int:
    """Bytes of a cached value: an array, or bytes."""
    return len(value) if isinstance(value, bytes) else int(value.nbytes)


def checked_chunk(pyramid: Pyramid, level: int, window: Window, compute: Callable[[], Array]) -> Array:
    """Chunk made of the pixels that `compute` gives for its window.

    Raises
    ------
    SourceError, ComputeError
        What failed, with level and window; ComputeError too for another shape or dtype than the pyramid's.
    """
    try:
        block = compute()
    except LazypyrError as error:
        if isinstance(error, SourceError | ComputeError) and error.level is None:
            error.level, error.window = level, window
        raise
    except MemoryError:
        raise
    except Exception as error:
        msg = f"{pyramid.name}: computing level {level}, window {window} failed: {type(error).__name__}: {error}"
        raise ComputeError(msg, key=pyramid.name, level=level, window=window) from error
    if block.shape != windows.window_shape(window) or block.dtype != pyramid.dtype:
        msg = (
            f"{pyramid.name}: level {level}, window {window} came out as {block.dtype} {block.shape}, "
            f"expected {pyramid.dtype} {windows.window_shape(window)}"
        )
        raise ComputeError(msg, key=pyramid.name, level=level, window=window)
    return full_size(pyramid, block)


def full_size(pyramid: Pyramid, block: Array) -> Array:
    """A block as a chunk: padded to the chunk with the fill value, C order, read-only."""
    if block.shape != pyramid.chunks:
        chunk = np.full(pyramid.chunks, pyramid.fill_value, pyramid.dtype)
        chunk[tuple(slice(0, n) for n in block.shape)] = block
    elif block.flags.writeable and block.flags.c_contiguous and block.base is None:
        chunk = block
    else:
        # A view may belong to somebody who goes on writing to it, and keeps more alive than the cache counts.
        chunk = np.array(block, order="C", copy=True)
    chunk.flags.writeable = False
    return chunk


def only_chunk(window: Window, chunks: tuple[int, ...]) -> tuple[int, ...] | None:
    """The chunk in which a window lies, None where it takes several, or holds no pixel."""
    index = []
    for (a, b), c in zip(window, chunks, strict=True):
        i = a // c
        if not a < b <= (i + 1) * c:
            return None
        index.append(i)
    return tuple(index)


def from_centre(window: Window, chunks: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Indices of the chunks that a window touches; of a screen those nearest to its centre first, of more in their order."""
    indices = list(windows.chunk_index_windows(window, chunks))
    if len(indices) > _SCREEN:
        return indices

    def distance(index: tuple[int, ...]) -> float:
        return sum((i * c + c / 2 - (a + b) / 2) ** 2 for i, c, (a, b) in zip(index, chunks, window, strict=True))

    return sorted(indices, key=distance)


def cut(chunk: Array, chunks: tuple[int, ...], index: tuple[int, ...], window: Window) -> Array:
    """Pixels of a window that lies in a chunk, given with its index."""
    return chunk[tuple([slice(a - i * c, b - i * c) for (a, b), i, c in zip(window, index, chunks, strict=True)])]


def warn_of_large_chunks(pyramid: Pyramid, inflight_bytes: int, warned: set[str]) -> None:
    """Say once of a source that a chunk of it takes more memory than all computations together may hold."""
    for source in pyramid.sources:
        if source.chunk_bytes > inflight_bytes and not source.cheap_stride and source.name not in warned:
            warned.add(source.name)
            log.warning(
                "%s: a chunk decodes to %d bytes, more than inflight_bytes=%d: one is decoded at a time, in that much "
                "memory; store smaller chunks, in shards perhaps",
                *(source.name, source.chunk_bytes, inflight_bytes),
            )
