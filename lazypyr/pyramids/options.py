"""Keywords of `open_pyramid`, for calls that hand them on: editors complete them, type checkers know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

from lazypyr.pyramids.products import ProductLike
from lazypyr.reducers import Reducer

__all__ = ["PyramidOptions", "RecipeOptions", "SourceOptions"]


class SourceOptions(TypedDict, total=False):
    """Keywords of `lazypyr.open_pyramid` that plots hand on besides those which they have as parameters; see there."""

    method: str | Callable[..., Any] | Reducer | None
    source_product: ProductLike | None
    axes: str | Iterable[str] | None
    order: str | Iterable[str] | None
    chunks: int | Sequence[int] | None
    factors: Mapping[str, int] | str | None
    nodata: Any
    decode: bool
    multiscale: int | str | None
    variable: str | None
    sel: Mapping[str, Any] | None
    isel: Mapping[str, Any] | None
    allow_codecs: Iterable[str]


class RecipeOptions(SourceOptions, total=False):
    """Keywords of `lazypyr.open_pyramid` but the number of levels and the options of a URL; see there."""

    product: ProductLike | Sequence[ProductLike] | None
    bounds: Sequence[float] | None


class PyramidOptions(RecipeOptions, total=False):
    """Keywords of `lazypyr.open_pyramid`; see there."""

    levels: int | str | None
    storage_options: Mapping[str, Any] | None
