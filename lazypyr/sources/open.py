"""Opening of whatever a user calls a source: paths, URLs, stores, mappings, arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lazypyr._names import public_name
from lazypyr.errors import LazypyrError, PlanError
from lazypyr.registry import Registry
from lazypyr.sources.base import Source
from lazypyr.sources.codec_guard import known_codecs_only
from lazypyr.sources.hdf5 import NetcdfOpener
from lazypyr.sources.open_array import ArrayLikeOpener, DataArrayOpener, NumpyOpener
from lazypyr.sources.open_dataset import DatasetOpener
from lazypyr.sources.open_path import PathOpener
from lazypyr.sources.open_zarr import MappingOpener, NodeOpener, StoreOpener
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions
from lazypyr.sources.selected import select, select_tree
from lazypyr.sources.selection import Selection
from lazypyr.sources.tiff import TiffOpener
from lazypyr.sources.tree import SourceTree

__all__ = ["OpenedSource", "SourceTree", "open_source", "open_tree", "register_source"]


class SourceOpener(Opener):
    """Sources, which are open already."""

    takes_storage_options = True
    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        return isinstance(src, Source)

    def open(self, src: Source, options: OpenOptions) -> OpenedSource:
        return OpenedSource((src,))


def _as_opener(name: str, value: Any) -> Opener:
    opener = value() if isinstance(value, type) else value
    if not isinstance(opener, Opener):
        raise PlanError(f"source {name!r}: expected a subclass of lazypyr.sources.opener.Opener, got {value!r}")
    return opener


# The first one that can open a source does; added ones come between the two, because `PathOpener` takes any path.
_OPEN: tuple[Opener, ...] = (SourceOpener(), NumpyOpener())
_BUILT_IN: dict[str, Opener] = {
    "netcdf": NetcdfOpener(),
    "tiff": TiffOpener(),
    "path": PathOpener(),
    "zarr": NodeOpener(),
    "dataset": DatasetOpener(),
    "dataarray": DataArrayOpener(),
    "array": ArrayLikeOpener(),
    "store": StoreOpener(),
    "mapping": MappingOpener(),
}
OPENERS: Registry[Opener] = Registry("lazypyr.sources", "source", _BUILT_IN, _as_opener)


def register_source(name: str, opener: Opener | type[Opener]) -> None:
    """Opener of another kind of source: all that takes a source asks it afterwards, in this process.

    Parameters
    ----------
    name : str
        Name of the kind; a registered one is replaced, a built-in one can't be.
    opener : Opener
        Object, or its class; it is asked before those that open paths, URLs and zarr.

    Raises
    ------
    PlanError
        For the name of a built-in kind, or something that is no opener.

    See Also
    --------
    open_source : Its caller.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> from lazypyr.sources.opener import Opener
    >>> class TextOpener(Opener):
    ...     def can_open(self, src):
    ...         return isinstance(src, str) and src.startswith("rows:")
    ...
    ...     def open(self, src, options):
    ...         rows = np.array([[float(c) for c in row] for row in src[5:].split()])
    ...         return open_source(rows, axes=options.axes, nodata=options.nodata)
    >>> lazypyr.register_source("rows", TextOpener)
    >>> lazypyr.open_pyramid("rows:12 34").read(0)
    array([[1., 2.],
           [3., 4.]])
    """
    OPENERS.register(name, opener)


def _opener_of(src: Any) -> Opener | None:
    for opener in _OPEN:
        if opener.can_open(src):
            return opener
    for opener in OPENERS.added():
        if opener.can_open(src):
            return opener
    return next((opener for opener in _BUILT_IN.values() if opener.can_open(src)), None)


def open_source(src: Any, *, variable: str | None = None, **options: Any) -> OpenedSource:
    """Open whatever a user calls a source. Reads metadata, no pixel.

    Parameters
    ----------
    src : path, URL, zarr.Array, zarr.Group, zarr store, mapping, numpy/dask/xarray array, or Source
        Local folders and zip archives of zarr, and URLs of them.
    variable : str, optional
        Path of a raster in it, where it holds several.
    **options
        Parameters of `open_tree`.

    Returns
    -------
    OpenedSource
        Its levels: one, or those of a multiscale group.

    Raises
    ------
    PlanError
        When it can't be opened, or holds several rasters; says what it is, what was expected, and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> open_source(np.zeros((100, 70)), nodata=0).sources[0].nodata
    0
    """
    opened = open_tree(src, variable=variable, **options)
    return opened if isinstance(opened, OpenedSource) else opened.one()


def open_tree(
    src: Any,
    *,
    axes: str | Iterable[str] | None = None,
    nodata: Any = "declared",
    storage_options: Mapping[str, Any] | None = None,
    allow_codecs: Iterable[str] = (),
    multiscale: int | str | None = None,
    variable: str | None = None,
    sel: Mapping[str, Any] | None = None,
    isel: Mapping[str, Any] | None = None,
    whole: bool = False,
    joined: Callable[[SourceTree], SourceTree] = lambda tree: tree,
) -> OpenedSource | SourceTree:
    """Open whatever a user calls a source, as the tree of its rasters where it holds several. Reads metadata, no pixel.

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
    multiscale : int or str, optional
        Which entry of several `multiscales` of a group, by number or name; by default the first.
    variable : str, optional
        Path of the raster to open, of several.
    sel, isel : mapping, optional
        Labels and indices by dimension, or slices of them: the part to open.
    whole : bool, optional
        Open also the labels of an image, and a tree of one raster as a tree.
    joined : callable, optional
        Makes one raster of those of a tree that belong together.

    Returns
    -------
    OpenedSource or SourceTree
        One raster and its levels, or several.

    Raises
    ------
    PlanError
        When it can't be opened; says what it is, what was expected, and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> open_tree(np.zeros((100, 70)), nodata=0).sources[0].nodata
    0
    """
    if isinstance(allow_codecs, str):
        raise PlanError(f"allow_codecs: expected a list of names, got {allow_codecs!r}")
    allowed = tuple(name.removeprefix("numcodecs.") for name in allow_codecs)
    selection = Selection.of(sel, isel)
    opener = _opener_of(src)
    if storage_options and not (opener and opener.takes_storage_options):
        raise PlanError(f"storage_options are for URLs, the source is {type(src).__name__}")
    if opener is None:
        raise PlanError(
            f"can't open a {type(src).__name__} as a source: give a path, a URL, a zarr array, group or store, a mapping "
            f"of chunks, or a numpy, dask or xarray array"
        )
    place = opener.place_of(src)
    name = f"a {type(src).__name__}" if place is None else public_name(place)
    try:
        with known_codecs_only(name, allowed) if opener.reads_metadata else contextlib.nullcontext():
            opened = opener.open(
                src,
                OpenOptions(axes, nodata, storage_options or {}, allowed, multiscale, whole or variable is not None),
            )
    except LazypyrError:
        raise
    except (
        Exception
    ) as error:  # of zarr, fsspec, a package of the user's: of metadata that none of them can make sense of
        what = f"a {type(src).__name__}" if place is None else place
        raise PlanError(f"{what} can't be opened: {type(error).__name__}: {error}") from error
    if isinstance(opened, OpenedSource):
        if variable is not None:
            raise PlanError(
                f"variable={variable!r}: {opened.sources[0].name} is one raster, not several: leave variable out"
            )
        if multiscale is not None and opened.scales is None:
            raise PlanError(f"multiscale={multiscale!r}: {opened.sources[0].name} is no group with multiscale metadata")
        _record(opened, place, multiscale)
        return select(opened, selection) if selection else opened
    for path, one in opened.rasters.items():
        _record(one, place, multiscale, path)
    opened = joined(opened)
    if variable is not None or not (whole or opened.single is None):
        chosen = opened.one(variable)
        return select(chosen, selection) if selection else chosen
    return select_tree(opened, selection) if selection else opened


def _record(opened: OpenedSource, place: str | None, multiscale: int | str | None, variable: str | None = None) -> None:
    """Note by which path or URL, and by which name in it, sources can be opened again."""
    for source in opened.sources if place is not None else ():
        source.opened_as, source.multiscale, source.variable = place, multiscale, variable
