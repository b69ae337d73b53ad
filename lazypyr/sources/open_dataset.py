"""Datasets and DataTrees of xarray: each raster variable, and the rest as xarray itself writes it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.metadata import Multiscales
from lazypyr.sources.copied import CopiedArray, Surroundings
from lazypyr.sources.open_array import DataArrayOpener
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions
from lazypyr.sources.tree import Member, SourceTree, build_tree
from lazypyr.sources.walk import walk

__all__ = ["DatasetOpener"]

# What xarray's encoding says of values; the rest says how some other store kept them.
_ENCODING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "units", "calendar", "coordinates")


class DatasetOpener(Opener):
    """Datasets of xarray, and trees of them."""

    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        return hasattr(src, "data_vars")

    def open(self, src: Any, options: OpenOptions) -> SourceTree:
        nodes = _nodes(src)
        members = {
            f"{path}/{name}".strip("/"): _member(dataset[name], options)
            for path, dataset in nodes.items()
            for name in dataset.variables
        }
        attributes = {path: dict(dataset.attrs) for path, dataset in nodes.items()}

        def image(path: str, multiscales: Multiscales) -> OpenedSource:
            # Levels of DataTrees are groups, never arrays.
            raise PlanError(
                f"{path}: its multiscale metadata names {multiscales.datasets[0].path!r}, which is not there"
            )

        name = f"xarray {type(src).__name__}"
        return build_tree(name, name, attributes, members, {}, image, partial(_copies, nodes))


def _nodes(src: Any) -> dict[str, Any]:
    """Datasets by path, coordinates of the groups above included."""
    if not hasattr(src, "subtree_with_keys"):
        return {"": src}
    return {"" if path == "." else path: node.to_dataset(inherit=True) for path, node in src.subtree_with_keys}


def _member(array: Any, options: OpenOptions) -> Member:
    attrs = {
        **{key: array.encoding[key] for key in ("coordinates", "grid_mapping") if key in array.encoding},
        **array.attrs,
    }
    dims = tuple(str(dim) for dim in array.dims)
    opened = partial(DataArrayOpener().open, array, options)
    opened = partial(DataArrayOpener().open, array, options)
    return Member(tuple(array.shape), np.dtype(array.dtype).kind, dims, attrs, opened, array.name in array.coords)


def _copies(nodes: Mapping[str, Any], paths: Iterable[str]) -> Surroundings:
    """Variables that aren't rasters, written by xarray to memory; those that dask computes are written when they are read."""
    import warnings

    import zarr
    from zarr.storage import MemoryStore

    left, store, delayed = set(paths), MemoryStore(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path, dataset in nodes.items():
            prefix = f"{path}/" if path else ""
            kept = dataset[[name for name in dataset.variables if f"{prefix}{name}" in left]]
            kept = kept.assign_attrs(dataset.attrs)
            for name in kept.variables:
                kept[name].encoding = {k: v for k, v in dataset[name].encoding.items() if k in _ENCODING}
            delayed.append(
                kept.to_zarr(store, group=path or None, mode="a", zarr_format=3, consolidated=False, compute=False)
            )
        found = walk(zarr.open_group(store, mode="r"))
    fill = _Once(delayed)
    groups = {path: dict(group.attrs) for path, group in found.groups.items()}
    return Surroundings(groups, {path: CopiedArray(array, fill) for path, array in found.arrays.items()}, found.failed)


class _Once:
    """Writing of delayed values, at the first call."""

    def __init__(self, delayed: list[Any]) -> None:
        self._delayed, self._lock = delayed, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            while self._delayed:
                self._delayed[-1].compute(scheduler="synchronous")
                self._delayed.pop()

    def __getstate__(self) -> dict[str, Any]:
        return {"delayed": self._delayed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
