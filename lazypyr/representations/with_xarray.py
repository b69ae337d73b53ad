"""Levels as objects of xarray and dask, by the documents that xarray reads of a store: there is one way in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazypyr._util.optional import need
from lazypyr.engine.engine import Engine
from lazypyr.pyramids.base import Pyramid
from lazypyr.store import LazyPyramidStore
from lazypyr.store.layout import is_path

__all__ = ["to_dask", "to_datatree", "to_xarray"]

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
    return _renamed(dataset, pyramid)[name].rename(pyramid.metadata.name or name)


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
    return tree.map_over_datasets(lambda dataset: _renamed(dataset, pyramid))


def _packages(method: str) -> tuple[Any, Any]:
    feature = f"Pyramid.{method}"
    xarray = need("xarray", feature=feature, extra="xarray")
    return xarray, need("dask.array", feature=feature, extra="dask")


def _store(pyramid: Pyramid, engine: Engine | None) -> tuple[LazyPyramidStore, str]:
    """Store that has each level in a group of its own, beside its coordinates, and the name of the level's array there."""
    name = pyramid.metadata.name or _NAME
    taken = {*pyramid.axes, *pyramid.metadata.dims.values(), *pyramid.metadata.variables}
    if name in taken or "/" in name or "{" in name or "}" in name or not is_path(name):
        name = _NAME
    return LazyPyramidStore(pyramid, layout=f"{{level}}/{name}", engine=engine), name


def _blocks(pyramid: Pyramid, chunks: Any) -> Any:
    """Blocks of dask, by axis of the pyramid, of what the user gives by name of dimension."""
    if not isinstance(chunks, Mapping):
        return {} if chunks is None else chunks
    axes = {dim: axis for axis, dim in pyramid.metadata.dims.items()}
    return {axes.get(dim, dim): size for dim, size in chunks.items()}


def _renamed(dataset: Any, pyramid: Pyramid) -> Any:
    """Dataset whose dimensions have the names that they have at the source."""
    dims = {axis: dim for axis, dim in pyramid.metadata.dims.items() if axis in dataset.dims and axis != dim}
    return dataset.rename(dims)
