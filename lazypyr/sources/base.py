"""What a source of pixels is."""

from __future__ import annotations

import contextlib
import math
import uuid
import weakref
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import Window, ceil_div

__all__ = ["Source", "native", "counters"]


def native(dtype: np.dtype[Any] | str | type) -> np.dtype[Any]:
    """The dtype in which pixels are handed out: little-endian, whatever the byte order of the source."""
    dtype = np.dtype(dtype)
    return dtype.newbyteorder("<") if dtype.byteorder != "|" else dtype


class Source(ABC):
    """One array that can be read window by window. Immutable and picklable.

    Attributes
    ----------
    name : str
        How messages call it (a path, a URL, "numpy array").
    shape : tuple[int, ...]
        Pixels along each axis, in the order of `axes`.
    dtype : numpy.dtype
        Little-endian, whatever is stored.
    axes : tuple[str, ...]
        One name an axis; "y" and "x" are among them.
    chunks : tuple[int, ...]
        What is cheapest to read at once (stored chunks, shards, dask blocks).
    nodata : scalar or None
        The value that *declares* a pixel to hold nothing; None when the source declares none. The value of an absent
        chunk (`fill_value`) is not a declaration: zero is data.
    fill_value : scalar
        What a chunk that is absent reads as.
    attrs : Mapping[str, Any]
        The source's own attributes, JSON-like.
    coords : Mapping[str, Coord]
        World coordinates of the axes that have any.
    crs : str or None
        "EPSG:32633", WKT or None.
    cheap_stride : bool
        True where ``read(window, step)`` costs in proportion to the samples (memory, uncompressed files), not to
        the window.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    chunks: tuple[int, ...]
    nodata: Any = None
    fill_value: Any = 0
    attrs: Mapping[str, Any] = {}
    coords: Mapping[str, Coord] = {}
    crs: str | None = None
    cheap_stride: bool = False

    @abstractmethod
    def read(self, window: Window, step: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
        """Pixels of a half-open window, every ``step``-th along each axis, from its first pixel on.

        Returns
        -------
        ndarray
            Shape ``ceil((stop - start) / step)`` along each axis, of `dtype`; it may be a view of the source's own
            memory and must not be written to.

        Raises
        ------
        SourceError
            When a chunk fails to read or decode, or the source has gone or changed its shape.
        """

    @property
    def preferred_read_shape(self) -> tuple[int, ...]:
        """What a pass over many chunks reads at once: a multiple of `chunks` by axis, more where each read waits long."""
        return self.chunks

    @contextlib.contextmanager
    def read_temporary(self, window: Window) -> Iterator[np.ndarray[Any, Any]]:
        """As `read`, but the pixels are there within the block only: their memory may be used again after it."""
        yield self.read(window)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources at the bottom that its pixels are read from: itself, unless it is made of others."""
        return (self,)

    @property
    def location(self) -> str:
        """Path or URL of its content, if it has one, else its name."""
        return self.name

    @property
    def media(self) -> tuple[Any, ...]:
        """Objects that hold its content: its zarr store, its mapping."""
        return ()

    def decoded_bytes(self, n_channels: int) -> int:
        """Bytes of the chunks that hold `n_channels` channels of one pixel, when decoded."""
        return bytes_of_pixel(self, n_channels)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the content is known to have changed; the same in every process."""

    @property
    def identity(self) -> Hashable:
        """Equal for sources that are known, at no cost, to hold the same pixels: the key of caches in this process."""
        return self.fingerprint

    def __lazypyr_token__(self) -> Any:
        return "source", self.fingerprint

    def refreshed(self) -> Source:
        """The source as it is now, its metadata read again (itself where nothing can have changed)."""
        return self


def bytes_of_pixel(source: Source, n_channels: int) -> int:
    """Bytes of the chunks of a source that hold `n_channels` channels of one pixel."""
    channels = math.prod(c for a, c in zip(source.axes, source.chunks, strict=True) if a not in SPATIAL_AXES)
    return math.prod(source.chunks) * source.dtype.itemsize * ceil_div(n_channels, channels)


class Counters:
    """Counts since the process began. No lock, which a fork could leave locked: threads that race may lose a count."""

    def __init__(self) -> None:
        # Chunks that were asked for and that their array lacks, so that its fill value stood for them.
        self.absent_chunks = 0


counters = Counters()

_known: dict[int, tuple[weakref.ref[Any], Hashable]] = {}


def fresh_identity(kind: str) -> Hashable:
    """An identity that no other source has, in this process or another."""
    return kind, uuid.uuid4().hex


def identity_of(value: Any) -> Hashable:
    """The same for the same object (an array, a store) as long as it lives."""
    entry = _known.get(id(value))
    if entry is None or entry[0]() is not value:
        number = id(value)
        entry = weakref.ref(value, lambda _: _known.pop(number, None)), fresh_identity(type(value).__name__)
        _known[number] = entry
    return entry[1]
