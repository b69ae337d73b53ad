"""Keywords of `LazyPyramidStore`, for calls that hand them on: editors complete them, type checkers know them."""

from __future__ import annotations

from typing import Any

from lazypyr.engine.engine import Engine
from lazypyr.pyramids.options import PyramidOptions, RecipeOptions
from lazypyr.store.layout import StoreLayout

__all__ = ["ServedStoreOptions", "StoreOptions", "WrittenStoreOptions"]


class WrittenStoreOptions(RecipeOptions, total=False):
    """Keywords of `lazypyr.LazyPyramidStore` that say what is in a hierarchy, without its compressor; see there."""

    zarr_format: int
    layout: str | StoreLayout
    dimension_separator: str
    legacy: bool
    as_collection: bool | None


class ServedStoreOptions(WrittenStoreOptions, PyramidOptions, total=False):
    """Keywords of `lazypyr.LazyPyramidStore` without the number of its threads; see there."""

    compressor: Any
    engine: Engine | None
    cache_bytes: int | None
    inflight_bytes: int | None
    timeout_s: float | None
    request_bytes: int | None
    overlay: Any
    write_through: bool
    overlay_bytes: int | None


class StoreOptions(ServedStoreOptions, total=False):
    """Keywords of `lazypyr.LazyPyramidStore`; see there."""

    workers: int | None
