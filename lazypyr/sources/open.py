"""From whatever a user calls a source to `Source` objects: paths, URLs, stores, mappings, arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, PlanError
from lazypyr.metadata import Multiscales, declared_nodata, georeference, read_multiscales
from lazypyr.sources.array import ArraySource, NumpySource, dask_chunks, xarray_coords
from lazypyr.sources.axes import given_axes, known_axes
from lazypyr.sources.base import Source
from lazypyr.sources.zarr import ZarrSource

__all__ = ["Opened", "open_source"]


@dataclass(frozen=True)
class Opened:
    """The levels that a source has, finest first.

    `scales` holds scale and translation of each level, in level-0 pixels by axis, None where the metadata leaves it
    to the method.
    """

    sources: tuple[Source, ...]
    scales: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] | None = None
    name: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


def open_source(
    src: Any,
    *,
    axes: str | Iterable[str] | None = None,
    nodata: Any = "declared",
    storage_options: Mapping[str, Any] | None = None,
) -> Opened:
    """Open whatever a user calls a source. Reads metadata, no pixel.

    Parameters
    ----------
    src : path, URL, zarr.Array, zarr.Group, zarr store, mapping, numpy/dask/xarray array, or Source
    axes : str or sequence of str, optional
        Names of the source's axes.
    nodata : scalar, "declared" or None
        The value that holds nothing; by default what the attributes declare.
    storage_options : mapping, optional
        For fsspec, with a URL.

    Raises
    ------
    PlanError
        What it is, what was expected, what to do.
    """
    if isinstance(src, Source):
        return Opened((src,))
    if isinstance(src, str | Path):
        return _open_path(src, axes, nodata, storage_options)
    if storage_options:
        raise PlanError(f"storage_options are for URLs, the source is {type(src).__name__}")
    if isinstance(src, np.ma.MaskedArray):
        raise PlanError("a masked array: give src.filled(value), and nodata=value (NaN needs no nodata=)")
    if isinstance(src, np.ndarray):
        _check_array(src, "numpy array")
        names = given_axes(axes, src.ndim, "numpy array") if axes else _positional(src, "numpy array")
        return Opened((NumpySource(src, names, nodata=_nodata(nodata, {}, src.dtype)),))
    if _is_zarr(src, "Array"):
        return _open_array(src, axes, nodata, name=_name_of(src))
    if _is_zarr(src, "Group"):
        return _open_group(src, axes, nodata, name=_name_of(src))
    if hasattr(src, "data_vars"):
        raise PlanError(f"an xarray Dataset is many arrays; give one of them: {', '.join(map(repr, src.data_vars))}")
    if hasattr(src, "dims") and hasattr(src, "coords") and hasattr(src, "variable"):
        return _open_xarray(src, axes, nodata)
    if hasattr(src, "shape") and hasattr(src, "dtype") and hasattr(src, "__getitem__"):
        return _open_array_like(src, axes, nodata)
    if _is_store(src):
        return _open_store(src, axes, nodata, name=str(src))
    if isinstance(src, Mapping) or (
        hasattr(src, "__getitem__") and hasattr(src, "__contains__") and hasattr(src, "keys")
    ):
        from lazypyr.sources.mapping_store import MappingStore

        store = MappingStore(src)
        return _open_store(store, axes, nodata, name=str(store), mapping=src)
    raise PlanError(
        f"can't open a {type(src).__name__} as a source: give a path, a URL, a zarr array, group or store, a mapping of "
        f"chunks, or a numpy, dask or xarray array"
    )


def _is_zarr(src: Any, kind: str) -> bool:
    try:
        import zarr
    except ImportError:
        return False
    # Arrays of zarr 2 have no metadata object and are taken as anything that slices.
    return isinstance(src, getattr(zarr, kind)) and hasattr(src, "metadata")


def _is_store(src: Any) -> bool:
    try:
        from zarr.abc.store import Store
    except ImportError:
        return False
    return isinstance(src, Store)


def _name_of(node: Any) -> str:
    return str(node.store_path).removeprefix("file://")


def _open_path(src: str | Path, axes: Any, nodata: Any, storage_options: Mapping[str, Any] | None) -> Opened:
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    text = str(src)
    if "://" in text and not text.startswith("file://"):
        try:
            store: Any = FsspecStore.from_url(text, storage_options=dict(storage_options or {}), read_only=True)
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise PlanError(f"can't open {text}: {error}") from error
        return _open_store(store, axes, nodata, name=text)
    path = Path(text.removeprefix("file://"))
    if not path.exists():
        raise PlanError(f"no such file or folder: {text}")
    if path.is_file():
        if path.suffix != ".zip":
            raise PlanError(f"{text} is a file; expected the folder of a Zarr array or group, or a .zip of one")
        return _open_store(ZipStore(path, mode="r"), axes, nodata, name=text)
    return _open_store(LocalStore(path, read_only=True), axes, nodata, name=text)


def _open_store(store: Any, axes: Any, nodata: Any, *, name: str, mapping: Mapping[str, Any] | None = None) -> Opened:
    node = _node(store, name)
    if _is_zarr(node, "Array"):
        reopen = partial(_node, store, name)
        return _open_array(node, axes, nodata, name=name, mapping=mapping, reopen=reopen, owner=store)
    return _open_group(node, axes, nodata, name=name, mapping=mapping)


def _node(store: Any, name: str) -> Any:
    import zarr

    try:
        return zarr.open(store, mode="r")
    except LazypyrError:
        raise
    except FileNotFoundError as error:
        raise PlanError(
            f"{name}: neither a Zarr array nor a group (no zarr.json, .zarray or .zgroup that can be read)"
        ) from error
    except Exception as error:
        raise PlanError(f"{name}: its metadata can't be read: {type(error).__name__}: {error}") from error


def _check_array(array: Any, name: str) -> None:
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "biufcmM" or dtype.itemsize > 16:
        raise PlanError(f"{name}: arrays of {dtype} can't be downsampled; expected numbers, booleans or times")
    if len(array.shape) < 2:
        raise PlanError(f"{name}: expected at least 2 axes (y and x), got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise PlanError(f"{name}: an axis of length 0 in shape {tuple(array.shape)}: there is nothing to show")
    if 0 in (getattr(array, "chunks", None) or ()):
        raise PlanError(f"{name}: its metadata says chunks of {tuple(array.chunks)}: expected sizes above 0")


def _positional(array: Any, name: str) -> tuple[str, ...]:
    return known_axes(
        None, array.shape, (2, 2, *(1 for _ in array.shape[2:])) if array.ndim == 3 else array.shape, name
    )


def _nodata(nodata: Any, attrs: Mapping[str, Any], dtype: np.dtype[Any], fill_value: Any = None) -> Any:
    """The value that holds nothing: as given, as the attributes declare it, else a fill value that somebody chose.

    A fill value of zero is what every array has that nobody gave one: zero is data.
    """
    if not (isinstance(nodata, str) and nodata == "declared"):
        return nodata
    found = declared_nodata(attrs, np.dtype(dtype))
    # Not NaN and not NaT either, which need no declaration (and aren't equal to themselves).
    chosen = fill_value is not None and bool(fill_value) and bool(fill_value == fill_value)  # noqa: PLR0124
    return fill_value if found is None and chosen else found


def _open_array(
    array: Any,
    axes: Any,
    nodata: Any,
    *,
    name: str,
    mapping: Mapping[str, Any] | None = None,
    reopen: Callable[[], Any] | None = None,
    owner: Any = None,
    outer: Mapping[str, Any] | None = None,
) -> Opened:
    _check_array(array, name)
    attrs = {**(outer or {}), **array.attrs}
    declared = getattr(array.metadata, "dimension_names", None) or attrs.get("_ARRAY_DIMENSIONS")
    names = given_axes(axes, array.ndim, name) if axes else known_axes(declared, array.shape, array.chunks, name)
    coords, crs = georeference(attrs, names, array.shape)
    source = ZarrSource(
        array,
        names,
        name=name,
        mapping=mapping,
        reopen=reopen,
        owner=owner,
        nodata=_nodata(nodata, attrs, array.dtype, array.fill_value),
        coords=coords,
        crs=crs,
    )
    return Opened((source,))


def _open_group(group: Any, axes: Any, nodata: Any, *, name: str, mapping: Mapping[str, Any] | None = None) -> Opened:
    attrs = dict(group.attrs)
    found = read_multiscales(attrs)
    if found is not None and found.datasets:
        return _open_levels(group, found, axes, nodata, name, mapping)
    arrays = {key: array for key, array in group.arrays() if array.ndim >= 2}
    if len(arrays) == 1:
        ((key, array),) = arrays.items()
        return _open_array(array, axes, nodata, name=f"{name}/{key}", mapping=mapping, outer=attrs)
    inside = ", ".join(repr(key) for key in sorted({**dict(group.arrays()), **dict(group.groups())})) or "nothing"
    raise PlanError(f"{name}: a group without multiscale metadata; give one of its arrays: it holds {inside}")


def _open_levels(
    group: Any, found: Multiscales, axes: Any, nodata: Any, name: str, mapping: Mapping[str, Any] | None
) -> Opened:
    levels = []
    for dataset in found.datasets:
        try:
            node = group[dataset.path]
        except KeyError as error:
            raise PlanError(f"{name}: its multiscale metadata names {dataset.path!r}, which is not there") from error
        if not _is_zarr(node, "Array"):
            inner = [array for _, array in node.arrays() if array.ndim >= 2]
            if len(inner) != 1:
                raise PlanError(f"{name}: level {dataset.path!r} is a group of {len(inner)} arrays, expected one array")
            node = inner[0]
        _check_array(node, f"{name}/{dataset.path}")
        levels.append((dataset, node))
    # ndpyramid puts the coarsest first: the shapes have the last word.
    levels.sort(key=lambda level: -int(np.prod([float(n) for n in level[1].shape])))
    first = levels[0][1]
    known = found.axes if found.axes and len(found.axes) == first.ndim else None
    declared = getattr(first.metadata, "dimension_names", None) or first.attrs.get("_ARRAY_DIMENSIONS")
    names = (
        given_axes(axes, first.ndim, name) if axes else known_axes(known or declared, first.shape, first.chunks, name)
    )
    for dataset, array in levels:
        if array.ndim != first.ndim or array.dtype != first.dtype:
            msg = f"{name}: level {dataset.path!r} is {array.dtype} of {array.ndim} axes, level 0 {first.dtype} of {first.ndim}"
            raise PlanError(msg)
    attrs = {**group.attrs, **first.attrs}
    coords, crs = dict(found.coords), found.crs
    more, more_crs = georeference(attrs, names, first.shape)
    sources = tuple(
        ZarrSource(
            array,
            names,
            name=f"{name}/{dataset.path}" if level else name,
            mapping=mapping,
            nodata=_nodata(nodata, attrs, array.dtype, array.fill_value),
            coords={**more, **coords},
            crs=crs or more_crs,
        )
        for level, (dataset, array) in enumerate(levels)
    )
    scales = tuple((d.scale, d.translation) for d, _ in levels if d.scale is not None and d.translation is not None)
    complete = len(scales) == len(levels) and all(len(s) == len(t) == first.ndim for s, t in scales)
    return Opened(sources, scales if complete else None, found.name, dict(group.attrs))


def _open_xarray(array: Any, axes: Any, nodata: Any) -> Opened:
    name = f"xarray DataArray {array.name!r}"
    _check_array(array, name)
    chunks = dask_chunks(array.data) if getattr(array, "chunks", None) else array.encoding.get("chunks")
    preferred = chunks if chunks and len(chunks) == array.ndim else array.shape
    names = (
        given_axes(axes, array.ndim, name)
        if axes
        else known_axes([str(d) for d in array.dims], array.shape, preferred, name)
    )
    own = xarray_coords(array)
    # What was packed has been unpacked, its fill values made NaN: `_FillValue` of the encoding is about stored numbers.
    packed = {"scale_factor", "add_offset"} & set(array.encoding) or np.dtype(array.dtype).kind == "f"
    attrs = {**array.attrs, **{k: v for k, v in array.encoding.items() if k == "_FillValue" and not packed}}
    coords, crs = georeference(attrs, names, array.shape)
    coords |= {axis: own[str(dim)] for dim, axis in zip(array.dims, names, strict=True) if str(dim) in own}
    shared: dict[str, Any] = {
        "name": name,
        "nodata": _nodata(nodata, attrs, array.dtype),
        "attrs": dict(array.attrs),
        "coords": coords,
        "crs": crs,
    }
    if isinstance(array.variable._data, np.ndarray):  # noqa: SLF001 - `.data` would load a lazy backend array whole
        return Opened((NumpySource(array.values, names, **shared),))
    return Opened((ArraySource(array, names, chunks=chunks, **shared),))


def _open_array_like(array: Any, axes: Any, nodata: Any) -> Opened:
    name = f"{type(array).__module__.split('.')[0]} array"
    _check_array(array, name)
    chunks = getattr(array, "chunks", None)
    if chunks and not all(isinstance(c, int | np.integer) for c in chunks):
        chunks = dask_chunks(array)
    names = (
        given_axes(axes, len(array.shape), name) if axes else known_axes(None, array.shape, chunks or array.shape, name)
    )
    attrs = dict(getattr(array, "attrs", {}) or {})
    coords, crs = georeference(attrs, names, array.shape)
    source = ArraySource(
        array,
        names,
        name=name,
        chunks=chunks,
        nodata=_nodata(nodata, attrs, array.dtype),
        attrs=attrs,
        coords=coords,
        crs=crs,
    )
    return Opened((source,))
