"""Levels as objects of xarray and dask, by the documents that xarray reads of a store: there is one way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazypyr._util.optional import need
from lazypyr.engine.engine import Engine
from lazypyr.pyramids.base import Pyramid
from lazypyr.store import LazyPyramidStore
from lazypyr.store.layout import is_path, tree_path

__all__ = ["renamed", "to_dask", "to_datatree", "to_xarray", "tree_store"]

_NAME = "image"


def to_xarray(
    pyramid: Pyramid, level: int = 0, *, chunks: Any = None, decode: bool = True, engine: Engine | None = None
) -> Any:
    """DataArray of a level, see `lazypyr.Pyramid.to_xarray`."""
    level, _ = pyramid.checked(level, None)
    xarray, _ = _packages("to_xarray")
    store, name = _store(pyramid, engine)
    dataset = xarray.open_dataset(
        store,
        engine="zarr",
        group=str(level),
        chunks=_blocks(pyramid, chunks),
        mask_and_scale=decode,
        consolidated=False,
    )
    return renamed(dataset, pyramid)[name].rename(pyramid.metadata.name or name)


def to_dask(pyramid: Pyramid, level: int = 0, *, chunks: Any = None, engine: Engine | None = None) -> Any:
    """Array of dask of a level, see `lazypyr.Pyramid.to_dask`."""
    level, _ = pyramid.checked(level, None)
    _, dask_array = _packages("to_dask")
    import zarr

    store, name = _store(pyramid, engine)
    stored = zarr.open_array(store, path=f"{level}/{name}", mode="r")
    return dask_array.from_array(stored, chunks=pyramid.chunks if chunks is None else chunks)


def to_datatree(pyramid: Pyramid, *, chunks: Any = None, decode: bool = True, engine: Engine | None = None) -> Any:
    """DataTree of the levels, see `lazypyr.Pyramid.to_datatree`."""
    xarray, _ = _packages("to_datatree")
    store, _ = _store(pyramid, engine)
    tree = xarray.open_datatree(store, engine="zarr", chunks=_blocks(pyramid, chunks), mask_and_scale=decode)
    return tree.map_over_datasets(lambda dataset: renamed(dataset, pyramid))


def _packages(method: str) -> tuple[Any, Any]:
    feature = f"Pyramid.{method}"
    xarray = need("xarray", feature=feature, extra="xarray")
    return xarray, need("dask.array", feature=feature, extra="dask")


def _store(pyramid: Pyramid, engine: Engine | None) -> tuple[LazyPyramidStore, str]:
    """Store that has each level in a group of its own, beside its coordinates, and the name of the level's array there."""
    name = _name(pyramid)
    return LazyPyramidStore(pyramid, layout=f"{{level}}/{name}", engine=engine), name


def _name(pyramid: Pyramid) -> str:
    name = pyramid.metadata.name or _NAME
    taken = {*pyramid.axes, *pyramid.metadata.dims.values(), *pyramid.metadata.variables}
    is_usable = name not in taken and not set("/{}") & set(name) and is_path(name)
    return name if is_usable else _NAME


def tree_store(store: LazyPyramidStore) -> LazyPyramidStore:
    """Store of the same pyramids with each level in a group of its own; itself where it is one.

    Of Zarr v3: xarray takes the fill value of every array of v2 for what holds nothing.
    """
    path, single = store.layout.level_path, store.pyramids.get("")
    if tree_path(path) != path:
        path = tree_path(path) if single is None else f"{{level}}/{_name(single)}"
    changes = {"level_path": path, "zarr_format": 3, "legacy": False}
    is_so = all(getattr(store.layout, name) == value for name, value in changes.items())
    return store if is_so else store.with_layout(**changes)


def _blocks(pyramid: Pyramid, chunks: Any) -> Any:
    """Blocks of dask, by axis of the pyramid, of what the user gives by name of dimension."""
    if not isinstance(chunks, Mapping):
        return {} if chunks is None else chunks
    axes = {dim: axis for axis, dim in pyramid.metadata.dims.items()}
    return {axes.get(dim, dim): size for dim, size in chunks.items()}


def renamed(dataset: Any, pyramid: Pyramid) -> Any:
    """Dataset of a level whose dimensions have the names that they have at the source."""
    dims = {axis: dim for axis, dim in pyramid.metadata.dims.items() if axis in dataset.dims and axis != dim}
    return dataset.rename(dims)
