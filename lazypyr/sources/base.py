"""Base class of sources of pixels."""

from __future__ import annotations

import contextlib
import math
import uuid
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import Window, ceil_div
from lazypyr.metadata.dataset import Described
from lazypyr.metadata.json_values import recorded
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["Source", "native", "counters"]


def native(dtype: np.dtype[Any] | str | type) -> np.dtype[Any]:
    """The dtype in which pixels are handed out: little-endian, whatever the byte order of the source."""
    dtype = np.dtype(dtype)
    return dtype.newbyteorder("<") if dtype.byteorder != "|" else dtype


class Source(Described, ABC):
    """Array that is read window by window; the base class of everything that pixels come from. Immutable and picklable.

    Authors of sources set the attributes and write `read` and `fingerprint`.

    Attributes
    ----------
    name : str
        Name in messages and metadata, which may be published: no folders, hosts and signatures ("dem.zarr").
    shape : tuple[int, ...]
        Pixels along each axis, in the order of `axes`.
    dtype : numpy.dtype
        Little-endian, whatever is stored.
    axes : tuple[str, ...]
        One name an axis; "y" and "x" are among them.
    chunks : tuple[int, ...]
        Shape that is cheapest to read at once (stored chunks, shards, dask blocks).
    nodata : scalar or None
        The value that *declares* a pixel to hold nothing; None when the source declares none. The value of an absent
        chunk (`fill_value`) is not a declaration: zero is data.
    fill_value : scalar
        Value of the pixels of chunks that are absent.
    attrs : Mapping[str, Any]
        The source's own attributes, JSON-like.
    coords : Mapping[str, Coord]
        World coordinates of the axes that have any.
    crs : str or None
        "EPSG:32633", WKT or None.
    display : Mapping[str, Any] or None
        Hints for viewers: "window" (low, high), "colors", "labels".
    metadata : DatasetMetadata
        All that its dataset states about it: `nodata`, `attrs`, `coords`, `crs` and `display` are members of it.
    cheap_stride : bool
        True where ``read(window, step)`` costs in proportion to the samples (memory, uncompressed files), not to
        the window.
    opened_as : str or None
        Path or URL by which it was opened, for recipes.
    multiscale : int or str or None
        Entry of several `multiscales` that was chosen there.
    variable : str or None
        Path of it there, where several rasters are.
    given_bounds : tuple of float or None
        World coordinates that the user gave instead of its own, see `lazypyr.open_pyramid`.

    Examples
    --------
    >>> class Ramp(Source):
    ...     name, shape, dtype, axes, chunks = "ramp", (100, 70), np.dtype("f4"), ("y", "x"), (32, 32)
    ...     fingerprint = "ramp 1"
    ...
    ...     def read(self, window, step=None):
    ...         (y0, y1), (x0, x1) = window
    ...         dy, dx = step or (1, 1)
    ...         return np.add.outer(np.arange(y0, y1, dy), np.arange(x0, x1, dx)).astype("f4")
    >>> Ramp().read(((1, 3), (0, 3)))
    array([[1., 2., 3.],
           [2., 3., 4.]], dtype=float32)
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    chunks: tuple[int, ...]
    fill_value: Any = 0
    cheap_stride: bool = False
    opened_as: str | None = None
    multiscale: int | str | None = None
    variable: str | None = None
    given_bounds: tuple[float, ...] | None = None

    @abstractmethod
    def read(self, window: Window, step: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
        """Pixels of a window, every ``step``-th along each axis, from its first pixel on.

        Parameters
        ----------
        window : ((int, int), ...)
            Half-open range of pixels along each axis, within `shape`.
        step : sequence of int, optional
            Of each axis, at least 1.

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
        """Shape that a pass over many chunks reads at once: a multiple of `chunks`, larger where each read waits long."""
        return self.chunks

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunks) * self.dtype.itemsize

    @contextlib.contextmanager
    def read_temporary(self, window: Window) -> Iterator[np.ndarray[Any, Any]]:
        """Pixels as `read` gives them, valid within the ``with`` block only: their memory may be used again after it.

        Parameters
        ----------
        window : ((int, int), ...)
            Half-open range of pixels along each axis.

        Yields
        ------
        ndarray
            Not to be written to.
        """
        yield self.read(window)

    @property
    def is_far(self) -> bool:
        """True where reading waits for a store that is far, so that it pays to ask for chunks ahead."""
        return False

    @property
    def index_bytes(self) -> int:
        """Bytes of the indices of shards that it keeps itself, beside the cache of an engine."""
        return 0

    @property
    def epoch(self) -> int:
        """Number that grows when what is read is found to be of another version than what was read before."""
        return 0

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        """Far chunks that `read` would fetch for a window, in its order; none of a source that is near."""
        yield from ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources at the bottom that its pixels are read from: itself, unless it is made of others."""
        return (self,)

    @property
    def location(self) -> str:
        """Path or URL of its content, if it has one, else its name. For its owner: it may hold folders and signatures."""
        return self.name

    @property
    def media(self) -> tuple[Any, ...]:
        """Objects that hold its content: its zarr store, its mapping."""
        return ()

    def decoded_bytes(self, n_channels: int) -> int:
        """Bytes of the chunks that hold some channels of one pixel, when decoded.

        Parameters
        ----------
        n_channels : int
            Entries along the axes other than y and x.

        Returns
        -------
        int
            Bytes in memory.
        """
        return bytes_of_pixel(self, n_channels)

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that changes when the content is known to have changed; the same in every process."""

    @property
    def identity(self) -> Hashable:
        """Key of caches in this process: equal for sources that are known, at no cost, to hold the same pixels."""
        return self.fingerprint

    def has_changed(self) -> bool:
        """True where it is known to hold something else than when it was opened; False also where that can't be told."""
        return self.refreshed().fingerprint != self.fingerprint

    @property
    def changes_seen(self) -> str:
        """Words for the changes of its content that `has_changed` tells; whatever else changes is told by `refresh()` alone."""
        return "none"

    def content_stamp(self) -> str | None:
        """Hash that changes when any of its stored chunks is written, also in place.

        Asked for before and after a long pass, so that one result is not made of two versions.

        Returns
        -------
        str or None
            None where it can't be known without reading the chunks.
        """
        return None

    def __lazypyr_token__(self) -> Any:
        return "source", self.fingerprint

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        """Members of a recipe (see docs/recipes.md) by which it is opened again.

        Parameters
        ----------
        place : callable
            Gives the text that stands for a path or URL.

        Returns
        -------
        dict[str, Any]
            JSON-like.

        Raises
        ------
        PlanError
            Where it was opened by no path or URL.
        """
        if self.opened_as is None:
            raise PlanError(
                f"{self.name}: a recipe names its sources by path or URL, and this one has none: store it as Zarr, and open "
                "that"
            )
        bounds = {} if self.given_bounds is None else {"bounds": [float(b) for b in self.given_bounds]}
        chosen = {} if self.multiscale is None else {"multiscale": self.multiscale}
        variable = {} if self.variable is None else {"variable": self.variable}
        packing = self.metadata.packing
        declared = packing is not None and packing.says_more_than_nodata
        nodata = {} if declared else {"nodata": recorded(self.nodata)}
        return {
            "source": place(self.opened_as),
            **variable,
            **chosen,
            "axes": list(self.axes),
            **nodata,
            **bounds,
        }

    def refreshed(self) -> Source:
        """Read the metadata again.

        Returns
        -------
        Source
            The source as it is now (itself where nothing can have changed).

        Raises
        ------
        SourceError
            When it can't be opened again.
        """
        return self


T = TypeVar("T", bound=Source)


def placed_as(source: T, before: T) -> T:
    """A refreshed source with the world coordinates that the user gave to it before."""
    if before.given_bounds is not None:
        place = {a: c for a, c in before.metadata.along.items() if a in SPATIAL_AXES and isinstance(c, Coord)}
        source.metadata, source.given_bounds = source.metadata.placed(place), before.given_bounds
    return source


def bytes_of_pixel(source: Source, n_channels: int) -> int:
    """Bytes of the chunks of a source that hold `n_channels` channels of one pixel."""
    channels = math.prod(c for a, c in zip(source.axes, source.chunks, strict=True) if a not in SPATIAL_AXES)
    return source.chunk_bytes * ceil_div(n_channels, channels)


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
