"""Opening: from what a user has to a recipe. Reads metadata, and no pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._util.checks import is_whole
from lazypyr._util.tokenize import tokenize
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES, axes_label
from lazypyr.geometry.grid import Grid
from lazypyr.pyramids.assemble import assembled
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.embeddings import dequantized
from lazypyr.pyramids.function import FunctionPyramid
from lazypyr.pyramids.level_source import LevelSource
from lazypyr.pyramids.products import ProductLike, mapped
from lazypyr.pyramids.recipes import is_recipe, load_recipes
from lazypyr.pyramids.settings import (
    check_levels,
    chunk_shape,
    held_value,
    ordered_axes,
)
from lazypyr.pyramids.transposed import TransposedPyramid
from lazypyr.reducers import Reducer, reducer_of
from lazypyr.sources.axes import given_axes
from lazypyr.sources.base import native
from lazypyr.sources.open import open_source
from lazypyr.sources.tree import path_of

__all__ = ["from_function", "is_pyramid", "open_pyramid", "opened_otherwise"]

Array = np.ndarray[Any, Any]


def open_pyramid(
    src: Any,
    *,
    method: str | Callable[..., Any] | Reducer | None = None,
    product: ProductLike | Sequence[ProductLike] | None = None,
    source_product: ProductLike | None = None,
    axes: str | Iterable[str] | None = None,
    order: str | Iterable[str] | None = None,
    levels: int | str | None = None,
    chunks: int | Sequence[int] | None = None,
    factors: Mapping[str, int] | str | None = None,
    nodata: Any = "declared",
    decode: bool = False,
    bounds: Sequence[float] | None = None,
    multiscale: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    allow_codecs: Iterable[str] = (),
    variable: str | None = None,
    sel: Mapping[str, Any] | None = None,
    isel: Mapping[str, Any] | None = None,
) -> Pyramid:
    """Open a source as a pyramid. No pixel is read.

    Parameters
    ----------
    src : object
        Path, URL (fsspec), zarr.Array, zarr.Group, zarr store, mapping of chunks, numpy, dask or xarray array, Source,
        Pyramid, lazypyr store, or recipe (a file ``*.lazypyr.json``, or the document that `Pyramid.to_recipe` gives). Of a
        multiscale group the levels that it has are used as they are.
    method : str, callable or Reducer, optional
        Reducer that makes coarser levels: "stride" (default), "mean", ...; see `lazypyr.reducers`. A pyramid that lazypyr wrote
        goes on by the method it was made by, an OME-Zarr image of labels (`image-label`) by "mode".
    product : str, callable, Product, or a sequence of them, optional
        Applied to every level, after reduction, in order; see `lazypyr.product`.
    source_product : str, callable or Product, optional
        Applied to level 0, before reduction.
    axes : str or sequence of str, optional
        Names of the source's axes, "yxi" or ("azimuth"-like names, with "y" and "x" among them).
    order : str or sequence of str, optional
        The same names in the order in which the pyramid has them: a virtual transpose.
    levels : int or str, optional
        How many, level 0 included; by default until y and x fit in one chunk. "recompute" makes the coarser levels of a
        multiscale group anew, from its level 0, with its place and names; "recompute:5" makes five levels.
    chunks : int or sequence of int, optional
        Shape of a chunk along y and x (one number: of both), or along every axis in `order`; by default 256 x 256. Other axes have chunks of one
        pixel.
    factors : mapping or "isotropic", optional
        Pixels of one level in a pixel of the next, by axis; 2 for y and x, 1 for others where nothing is said. "isotropic":
        2 for z, too, from the level on at which the spacing along z is no larger than along y and x.
    nodata : scalar, None or "declared"
        The value that holds nothing; by default all those that the source's attributes declare. NaN never needs declaring.
    decode : bool, default False
        True: numbers that are stored packed (`scale_factor`, `add_offset`, `_Unsigned`) are served as the floats that they
        mean, with NaN for what holds nothing. By default they are served as stored, with these attributes.
    bounds : (left, bottom, right, top), optional
        World coordinates of the outer edges of level 0, as rasterio has them, instead of the source's own: of the first
        column, the last row, the last column and the first row.
    multiscale : int or str, optional
        Which entry of several `multiscales` of a group, by number or name; by default the first.
    storage_options : mapping, optional
        For fsspec, with a URL.
    allow_codecs : iterable of str, optional
        Codecs that zarr metadata may name besides those of zarr and numcodecs that only decode numbers.
    variable : str, optional
        Which raster of a dataset of several: its path, or the end of it that only one has.
    sel : mapping, optional
        Part of the source by coordinates: a label by dimension, whose axis is dropped, or a slice of labels; by xarray's
        rules (``{"time": "2020-01"}`` is a month), which must be installed.
    isel : mapping, optional
        Part of the source by indices, in the same way. y and x may be cut to ranges.

    Returns
    -------
    Pyramid
        Recipe of its levels: what is read is read when they are.

    Raises
    ------
    PlanError
        For sources and options that make no pyramid.

    See Also
    --------
    lazypyr.LazyPyramidStore : Zarr store of a pyramid.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> lazypyr.open_pyramid(np.zeros((600, 400, 5), "c8"), axes="yxi", product="intf_seq").shape
    (600, 400, 4)
    """
    if is_recipe(src):
        src = load_recipes().open_recipe(src, storage_options, allow_codecs)
        storage_options, allow_codecs = None, ()
    src, is_settled = _unwrapped(src, variable)
    making = {"method": method, "levels": levels, "chunks": chunks, "factors": factors, "bounds": bounds}
    making["decode"] = decode or None
    selecting = {"multiscale": multiscale, "sel": sel or None, "isel": isel or None}
    reading = {**selecting, "storage_options": storage_options, "allow_codecs": allow_codecs or None}
    stated = {"nodata": None if isinstance(nodata, str) and nodata == "declared" else (nodata,)}
    settings = {name: value for name, value in {**making, **reading, **stated}.items() if value is not None}
    if isinstance(src, Pyramid) and source_product is None and (is_settled or not settings):
        same = _unchanged(src, settings, axes)
        result = same if order is None else _transposed(same, order)
        pyramid: Pyramid = mapped(result, product)
        return pyramid
    source = LevelSource(src) if isinstance(src, Pyramid) else src
    opened = open_source(
        source,
        axes=axes,
        nodata=nodata,
        storage_options=storage_options,
        allow_codecs=allow_codecs,
        **selecting,
        joined=dequantized,
        variable=None if source is not src else variable,
    )
    return assembled(opened, product=product, source_product=source_product, order=order, **making)  # type: ignore[arg-type]


def _unchanged(pyramid: Pyramid, settings: Mapping[str, Any], axes: str | Iterable[str] | None) -> Pyramid:
    """The pyramid with the settings that it has already, or can take afterwards; PlanError for others."""
    if axes is not None and tuple(axes) != pyramid.axes:
        raise PlanError(f"{pyramid.name}: its axes are {axes_label(pyramid.axes)!r}, got axes={axes!r}")
    changed = [name for name in settings if not _is_so(pyramid, name, settings[name])]
    if not changed:
        return pyramid
    if changed == ["chunks"]:
        chunks = chunk_shape(settings["chunks"], pyramid.axes, pyramid.dtype, pyramid.name)
        rechunked = pyramid.with_chunks(chunks)
        if rechunked is not None:
            return rechunked
    call = ", ".join(f"{name}={settings[name]!r}" for name in changed if name in ("method", "chunks", "levels"))
    raise PlanError(
        f"{pyramid.name} is a pyramid already: {', '.join(changed)} must be given where it is opened, as in "
        f"lazypyr.open_pyramid(source, {call or '...'})"
    )


def opened_otherwise(src: Any, options: Mapping[str, Any]) -> bool:
    """True for what holds one pyramid only: recipes, pyramids, stores of one, and products before reduction."""
    inner, _ = _unwrapped(src)
    return is_recipe(src) or isinstance(inner, Pyramid) or options.get("source_product") is not None


def _is_so(pyramid: Pyramid, name: str, value: Any) -> bool:
    """True where a pyramid has a setting already."""
    if name == "method":
        return tokenize(reducer_of(value)) == tokenize(pyramid.downsampling)
    if name == "chunks":
        return chunk_shape(value, pyramid.axes, pyramid.dtype, pyramid.name) == pyramid.chunks
    return name == "levels" and value == len(pyramid.levels)


def is_pyramid(src: Any) -> bool:
    """True for a pyramid or a lazypyr store, whose recipe is settled."""
    inner, is_settled = _unwrapped(src)
    return is_settled and isinstance(inner, Pyramid)


def _unwrapped(src: Any, variable: str | None = None) -> tuple[Any, bool]:
    """The pyramid of a lazypyr store or of a node in it, a coarser level as a source; else what is given.

    Reading them through zarr would wait for itself. The second value is False for an array, which may be the finest
    level of another pyramid too.
    """
    if variable is not None and isinstance(getattr(src, "pyramids", None), Mapping):
        return src.pyramids[path_of(variable, src.pyramids, str(src))], True
    if isinstance(src, Pyramid):
        return src, True
    if isinstance(getattr(src, "pyramid", None), Pyramid):
        return src.pyramid, True
    store, path = getattr(src, "store", None), getattr(src, "path", None)
    find = getattr(store, "pyramid_at", None)
    if find is not None and isinstance(path, str):
        node: tuple[Pyramid, int | None] | None = find(path)
        if node is not None:
            pyramid, level = node
            return LevelSource(pyramid, level) if level else pyramid, level is None
    return src, True


def _transposed(pyramid: Pyramid, order: str | Iterable[str]) -> Pyramid:
    ordered = ordered_axes(order, pyramid.axes, pyramid.name)
    if ordered == pyramid.axes:
        return pyramid
    return pyramid.transposed(ordered) or TransposedPyramid(pyramid, ordered)


def from_function(
    read: Callable[[int, windows.Window], Array],
    *,
    shape: Sequence[int],
    dtype: Any,
    levels: int | None = None,
    axes: str | Iterable[str] | None = None,
    chunks: int | Sequence[int] = (256, 256),
    fill_value: Any = 0,
    centred: bool = False,
    bounds: Sequence[float] | None = None,
    attrs: Mapping[str, Any] | None = None,
    name: str | None = None,
    version: str | None = None,
) -> Pyramid:
    """Pyramid whose every chunk a function computes.

    Parameters
    ----------
    read : callable
        ``read(level, window) -> ndarray``: the pixels of a half-open window ``((start, stop), ...)``, one pair an axis,
        of that level. Pure, and able to run in several threads at once.
    shape : sequence of int
        Pixels of level 0, by axis; level k has ``ceil(n / 2**k)`` along y and x.
    dtype : dtype-like
        Numbers, booleans or times.
    levels : int, optional
        How many; by default until y and x fit in one chunk.
    axes : str or sequence of str, optional
        Names of the axes; by default y and x are the last two.
    chunks : int or sequence of int
        Shape of a chunk along y and x (one number: of both), or along every axis.
    fill_value : scalar
        Value beyond the edge of a level, in edge chunks.
    centred : bool
        True where coarser samples stand for the centre of a box (else for its first pixel).
    bounds : (left, bottom, right, top), optional
        World coordinates of the outer edges of level 0, as in `open_pyramid`.
    attrs : mapping, optional
        Attributes for readers, JSON-like.
    name : str, optional
        For messages and metadata; by default that of the function.
    version : str, optional
        Stands for the function's source text in fingerprints, also of the functions that it calls; see
        `lazypyr.product.define`.

    Returns
    -------
    Pyramid
        Levels that call `read` when they are read.

    Raises
    ------
    PlanError
        For sources and options that make no pyramid.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> def zoom(level, window):
    ...     return np.full([stop - start for start, stop in window], level, "u1")
    >>> lazypyr.from_function(zoom, shape=(600, 400), dtype="u1").read(2)[0, 0]
    np.uint8(2)
    """
    what = name or str(getattr(read, "__name__", "function"))
    if not callable(read):
        raise PlanError(f"{what}: expected a function read(level, window), got {type(read).__name__}")
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(sizes) < 2 or not all(is_whole(n, 1) for n in sizes):
        raise PlanError(f"{what}: shape: expected at least 2 sizes above 0, got {shape!r}")
    sizes = tuple(int(n) for n in sizes)
    try:
        kind = native(np.dtype(dtype))
    except TypeError as error:
        raise PlanError(f"{what}: dtype: {error}") from error
    if kind.kind not in "biufcmM":
        raise PlanError(f"{what}: chunks of {kind} can't be shown; expected numbers, booleans or times")
    positional = (*"ijklmnop"[: len(sizes) - 2], "y", "x")
    names = given_axes(axes, len(sizes), what) if axes else positional
    chunk = chunk_shape(chunks, names, kind, what)
    check_levels(levels, what)
    factors = tuple(2 if axis in SPATIAL_AXES else 1 for axis in names)
    ny, nx = (sizes[names.index(axis)] for axis in SPATIAL_AXES)
    return FunctionPyramid(
        read,
        shape=sizes,
        dtype=kind,
        axes=names,
        chunks=chunk,
        levels=levels or windows.level_count(sizes, factors, chunk),
        fill_value=held_value(fill_value, kind, what),
        centred=centred,
        coords=Grid.of_bounds(bounds, nx, ny).coords() if bounds is not None else None,
        attrs=attrs,
        name=name,
        version=version,
    )
