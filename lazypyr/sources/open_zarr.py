"""Openers of zarr: stores, mappings, arrays and groups."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lazypyr._names import public_name
from lazypyr.errors import LazypyrError, PlanError
from lazypyr.metadata import DatasetMetadata, Multiscales, read_multiscales
from lazypyr.metadata.nodata import OF_NODATA
from lazypyr.metadata.place import Surroundings, no_variable
from lazypyr.sources.array_metadata import chunk_shape
from lazypyr.sources.axes import axis_role
from lazypyr.sources.far.store import expect_children
from lazypyr.sources.hierarchy import has_labels, image_levels, open_hierarchy
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions, check_array
from lazypyr.sources.surroundings import Around, ZarrSurroundings, declared_dims
from lazypyr.sources.tree import SourceTree
from lazypyr.sources.zarr import ZarrSource

__all__ = ["MappingOpener", "NodeOpener", "StoreOpener", "open_store"]


class NodeOpener(Opener):
    """Arrays and groups of zarr. Arrays of zarr 2, which have no metadata object, are taken as anything that slices."""

    def can_open(self, src: Any) -> bool:
        return _is_zarr(src, "Array") or _is_zarr(src, "Group")

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        open_node = _open_array if _is_zarr(src, "Array") else _open_group
        location = str(src.store_path).removeprefix("file://")
        return open_node(src, options, name=_name_of(src.store, src.path), location=location)

    def place_of(self, src: Any) -> str | None:
        place = _place_of(src.store)
        return place if place is None else f"{place}/{src.path}".rstrip("/")


class StoreOpener(Opener):
    """Stores of zarr 3."""

    def can_open(self, src: Any) -> bool:
        stores = sys.modules.get("zarr.abc.store")
        return stores is not None and isinstance(src, stores.Store)

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        return open_store(src, options, name=_name_of(src), location=str(src))

    def place_of(self, src: Any) -> str | None:
        return _place_of(src)


class MappingOpener(Opener):
    """Mappings of keys to bytes: a dict, stores of zarr 2, fsspec's FSMap, any class that has these three methods."""

    def can_open(self, src: Any) -> bool:
        return all(hasattr(src, name) for name in ("__getitem__", "__iter__", "keys"))

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        from lazypyr.sources.mapping_store import MappingStore

        store = MappingStore(src)
        return open_store(store, options, name=str(store), location=str(store), mapping=src)


def _place_of(store: Any) -> str | None:
    from zarr.storage import FsspecStore, LocalStore

    if isinstance(store, LocalStore):
        return str(store.root)
    return str(store.fs.unstrip_protocol(store.path)) if isinstance(store, FsspecStore) else None


def _is_zarr(src: Any, kind: str) -> bool:
    zarr = sys.modules.get("zarr")
    return zarr is not None and isinstance(src, getattr(zarr, kind)) and hasattr(src, "metadata")


def _name_of(store: Any, path: str = "") -> str:
    place = getattr(store, "path", None)
    text = str(place or store)
    # Texts of stores that say no place are for people: some have several lines.
    return public_name(path or (text if place or re.match(r"[\w+.-]+://", text) else type(store).__name__))


def open_store(
    store: Any,
    options: OpenOptions,
    *,
    name: str,
    location: str,
    mapping: Mapping[str, Any] | None = None,
    path: str = "",
) -> OpenedSource | SourceTree:
    """The array or group at a path of a store."""
    node = _node(store, location, path)
    if _is_zarr(node, "Array"):
        reopen = partial(_node, store, location, path)
        return _open_array(node, options, name=name, mapping=mapping, reopen=reopen, owner=store, location=location)
    return _open_group(node, options, name=name, mapping=mapping, location=location)


def _node(store: Any, location: str, path: str) -> Any:
    import zarr

    try:
        return zarr.open(store, mode="r", path=path)
    except LazypyrError:
        raise
    except FileNotFoundError as error:
        raise PlanError(
            f"{location}: neither a Zarr array nor a group (no zarr.json, .zarray or .zgroup that can be read)"
        ) from error
    except Exception as error:
        # One array that zarr can't read spoils the consolidated metadata of all.
        try:
            return zarr.open_group(store, mode="r", use_consolidated=False)
        except Exception:
            raise PlanError(f"{location}: its metadata can't be read: {type(error).__name__}: {error}") from error


def _open_array(
    array: Any,
    options: OpenOptions,
    *,
    name: str,
    location: str,
    mapping: Mapping[str, Any] | None = None,
    reopen: Callable[[], Any] | None = None,
    owner: Any = None,
    around: Around | None = None,
) -> OpenedSource:
    check_array(array, location)
    dataset = ZarrSurroundings(array, around).described()
    coordinates, declared = dataset.coordinates(), declared_dims(array)
    if dataset.level is not None:
        declared = dataset.level.axes(array.ndim) or declared
    roles = [axis_role(coordinates[dim].attrs) if dim in coordinates else None for dim in dataset.dims]
    names = options.axis_names(location, declared, array.shape, chunk_shape(array), roles)
    source = ZarrSource(
        array,
        names,
        name=name,
        mapping=mapping,
        reopen=reopen,
        owner=owner,
        allow_codecs=options.allow_codecs,
        location=location,
        metadata=DatasetMetadata(name=array.basename or None)
        .replaced(**_members_of(dataset, names))
        .replaced(**_numbers_of(array, around.attrs if around else {}, options)),
        describe=partial(_members, names),
        within=None if around is None else around.consolidated_in,
    )
    return OpenedSource((source,))


def _numbers_of(array: Any, outer: Mapping[str, Any], options: OpenOptions) -> dict[str, Any]:
    """Meaning of an array's numbers; of the group's attributes only those count that declare nodata."""
    attrs = {**{name: outer[name] for name in OF_NODATA if name in outer}, **array.attrs}
    return options.numbers_of(attrs, array.dtype, array.fill_value, is_mask=array.metadata.zarr_format == 2)


def _members(axes: tuple[str, ...], array: Any) -> dict[str, Any]:
    return _members_of(ZarrSurroundings(array).described(), axes)


def _members_of(dataset: Surroundings, axes: tuple[str, ...]) -> dict[str, Any]:
    """Members of the metadata of an array opened by itself: of a level of an image, those of the image too."""
    members, level = dataset.members(axes), dataset.level
    if level is None:
        return members
    ome = level.multiscales.ome
    return {
        **members,
        "crs": members["crs"] or level.multiscales.crs,
        **({"ome": ome.of_one_level().named(axes), "name": level.multiscales.name} if ome is not None else {}),
    }


def _open_group(
    group: Any,
    options: OpenOptions,
    *,
    name: str,
    location: str,
    mapping: Mapping[str, Any] | None = None,
) -> OpenedSource | SourceTree:
    multiscales = read_multiscales(dict(group.attrs), options.multiscale)
    if multiscales is not None:
        names = [dataset.path for dataset in multiscales.datasets]
        expect_children(group, [*names, "labels"] if options.whole else names)
    if multiscales is not None and multiscales.datasets and not (options.whole and has_labels(group)):
        levels = image_levels(group, multiscales, location)
        if levels is not None:
            return _open_levels(Around((group,)), multiscales, options, name, mapping, location, levels)

    def open_array(path: str, array: Any, around: Around) -> OpenedSource:
        return _open_array(
            array, options, name=f"{name}/{path}", location=f"{location}/{path}", mapping=mapping, around=around
        )

    def open_image(path: str, around: Around, multiscales: Multiscales, levels: Sequence[Any]) -> OpenedSource:
        below = f"/{path}" if path else ""
        return _open_levels(around, multiscales, options, f"{name}{below}", mapping, f"{location}{below}", levels)

    return open_hierarchy(group, name, location, open_array, open_image)


def _level_members(around: Around, multiscales: Multiscales, axes: tuple[str, ...], array: Any) -> dict[str, Any]:
    """Members of the metadata of levels, by the metadata of their group and what lies around the finest one."""
    group, dataset = around.groups[0], ZarrSurroundings(array, around).described()
    if group.metadata.consolidated_metadata is None and array.path.rpartition("/")[0] == group.path:
        # Coordinates of OME images are in their metadata: nobody asks for arrays of them one by one.
        dataset = replace(dataset, find=no_variable)
    members = dataset.members(axes, multiscales.coords)
    return {
        **members,
        "crs": multiscales.crs or members["crs"],
        "group_attrs": {**members["group_attrs"], **group.attrs},
    }


def _level_members_again(path: str, axes: tuple[str, ...], multiscale: Any, array: Any) -> dict[str, Any]:
    import zarr

    group = zarr.open_group(array.store, path=path, mode="r")
    multiscales = read_multiscales(dict(group.attrs), multiscale)
    if multiscales is None:
        return {"attrs": dict(array.attrs)}
    return {**_level_members(Around((group,)), multiscales, axes, array), "attrs": dict(array.attrs)}


def _open_levels(
    around: Around,
    multiscales: Multiscales,
    options: OpenOptions,
    name: str,
    mapping: Mapping[str, Any] | None,
    location: str,
    arrays: Sequence[Any],
) -> OpenedSource:
    group = around.groups[0]
    levels = list(zip(multiscales.datasets, arrays, strict=True))
    for dataset, node in levels:
        check_array(node, f"{location}/{dataset.path}")
    # ndpyramid puts the coarsest first: the shapes have the last word.
    levels.sort(key=lambda level: -int(np.prod([float(n) for n in level[1].shape])))
    first = levels[0][1]
    declared = getattr(first.metadata, "dimension_names", None) or first.attrs.get("_ARRAY_DIMENSIONS")
    if multiscales.axes and len(multiscales.axes) == first.ndim:
        declared = multiscales.axes
    elif declared is None and multiscales.implied_axes and len(multiscales.implied_axes) == first.ndim:
        declared = multiscales.implied_axes
    names = options.axis_names(location, declared, first.shape, chunk_shape(first))
    for dataset, array in levels:
        if array.ndim != first.ndim or array.dtype != first.dtype:
            msg = f"{location}: level {dataset.path!r} is {array.dtype} of {array.ndim} axes, level 0 {first.dtype} of {first.ndim}"
            raise PlanError(msg)
    members = _level_members(around, multiscales, names, first)
    sources = tuple(
        ZarrSource(
            array,
            names,
            name=f"{name}/{dataset.path}" if level else name,
            mapping=mapping,
            allow_codecs=options.allow_codecs,
            location=location,
            metadata=DatasetMetadata(
                **{**members, "attrs": dict(array.attrs)},
                name=multiscales.name,
                ome=multiscales.ome and multiscales.ome.named(names),
            ).replaced(**_numbers_of(array, group.attrs, options)),
            describe=partial(_level_members_again, group.path, names, options.multiscale),
            within=around.consolidated_in,
        )
        for level, (dataset, array) in enumerate(levels)
    )
    scales = multiscales.placements([dataset for dataset, _ in levels], [array.shape for _, array in levels], names)
    return OpenedSource(sources, scales, multiscales.name, dict(group.attrs))
