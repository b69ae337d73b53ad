"""Pyramids as objects of xarray and dask, as HTML in notebooks, as drawings of their chunks."""

from __future__ import annotations

from typing import Any

__all__ = ["store_to_html", "to_dask", "to_datatree", "to_html", "to_xarray"]


def to_xarray(pyramid: Any, level: int, **options: Any) -> Any:
    """DataArray of a level, see `lazypyr.Pyramid.to_xarray`."""
    from lazypyr.representations.with_xarray import to_xarray

    return to_xarray(pyramid, level, **options)


def to_dask(pyramid: Any, level: int, **options: Any) -> Any:
    """Array of dask of a level, see `lazypyr.Pyramid.to_dask`."""
    from lazypyr.representations.with_xarray import to_dask

    return to_dask(pyramid, level, **options)


def to_datatree(pyramid: Any, **options: Any) -> Any:
    """DataTree of the levels, see `lazypyr.Pyramid.to_datatree`."""
    from lazypyr.representations.with_xarray import to_datatree

    return to_datatree(pyramid, **options)


def store_to_html(pyramids: Any, engine: Any, what: str) -> str:
    """HTML of a store for notebooks."""
    from lazypyr.representations.html import store_to_html

    return store_to_html(pyramids, engine, what)


def to_html(pyramid: Any, **options: Any) -> str:
    """HTML of a pyramid for notebooks."""
    from lazypyr.representations.html import to_html

    return to_html(pyramid, **options)
