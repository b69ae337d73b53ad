"""Opening of whatever a user calls a source: paths, URLs, stores, mappings, arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.sources.base import Source
from lazypyr.sources.open_array import ArrayLikeOpener, DataArrayOpener, DatasetOpener, NumpyOpener
from lazypyr.sources.open_zarr import MappingOpener, NodeOpener, PathOpener, StoreOpener
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions

__all__ = ["OpenedSource", "open_source"]


class SourceOpener(Opener):
    """Sources, which are open already."""

    takes_storage_options = True

    def can_open(self, src: Any) -> bool:
        return isinstance(src, Source)

    def open(self, src: Source, options: OpenOptions) -> OpenedSource:
        return OpenedSource((src,))


# The first one that can open a source does.
_OPENERS: tuple[Opener, ...] = (
    SourceOpener(),
    PathOpener(),
    NumpyOpener(),
    NodeOpener(),
    DatasetOpener(),
    DataArrayOpener(),
    ArrayLikeOpener(),
    StoreOpener(),
    MappingOpener(),
)


def open_source(
    src: Any,
    *,
    axes: str | Iterable[str] | None = None,
    nodata: Any = "declared",
    storage_options: Mapping[str, Any] | None = None,
    allow_codecs: Iterable[str] = (),
) -> OpenedSource:
    """Open whatever a user calls a source. Reads metadata, no pixel.

    Parameters
    ----------
    src : path, URL, zarr.Array, zarr.Group, zarr store, mapping, numpy/dask/xarray array, or Source
        Local folders and zip archives of zarr, and URLs of them.
    axes : str or sequence of str, optional
        Names of the source's axes.
    nodata : scalar, "declared" or None
        The value that holds nothing; by default what the attributes declare.
    storage_options : mapping, optional
        For fsspec, with a URL.
    allow_codecs : iterable of str, optional
        Codecs that zarr metadata may name besides those that only decode numbers, as numcodecs calls them.

    Returns
    -------
    OpenedSource
        Its levels: one, or those of a multiscale group.

    Raises
    ------
    PlanError
        When it can't be opened; says what it is, what was expected, and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> open_source(np.zeros((100, 70)), nodata=0).sources[0].nodata
    0
    """
    if isinstance(allow_codecs, str):
        raise PlanError(f"allow_codecs: expected a list of names, got {allow_codecs!r}")
    allowed = tuple(name.removeprefix("numcodecs.") for name in allow_codecs)
    opener = next((opener for opener in _OPENERS if opener.can_open(src)), None)
    if storage_options and not (opener and opener.takes_storage_options):
        raise PlanError(f"storage_options are for URLs, the source is {type(src).__name__}")
    if opener is None:
        raise PlanError(
            f"can't open a {type(src).__name__} as a source: give a path, a URL, a zarr array, group or store, a mapping "
            f"of chunks, or a numpy, dask or xarray array"
        )
    return opener.open(src, OpenOptions(axes, nodata, storage_options or {}, allowed))
