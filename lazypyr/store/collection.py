"""Several sources in one store."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.pyramids.open import is_pyramid, open_pyramid
from lazypyr.store.store import LazyPyramidStore

__all__ = ["collection"]

# The constructor's own options; all others are of the recipe.
_OF_STORE = {
    name
    for name, p in inspect.signature(LazyPyramidStore).parameters.items()
    if p.kind is inspect.Parameter.KEYWORD_ONLY
}


def collection(sources: Mapping[str, Any], **options: Any) -> LazyPyramidStore:
    """One store with a group for each source: one engine, one cache, one bound; inputs that they share are cached once.

    Parameters
    ----------
    sources : Mapping[str, source]
        By name of the group; each as `LazyPyramidStore` takes it (a store's own engine is left aside).
    **options
        As for `LazyPyramidStore`; recipe options apply to every source that isn't a pyramid yet.

    Raises
    ------
    PlanError
        For names that can't be a group's, and whatever `LazyPyramidStore` refuses.
    """
    for name in sources:
        if not isinstance(name, str) or not name or "/" in name or name.startswith(".") or name in ("c", "zarr.json"):
            raise PlanError(f"collection: {name!r} can't be the name of a group")
    if not sources:
        raise PlanError("collection: no source was given")
    outer = {key: value for key, value in options.items() if key in _OF_STORE}
    recipe = {key: value for key, value in options.items() if key not in outer}
    pyramids = {name: open_pyramid(src, **({} if is_pyramid(src) else recipe)) for name, src in sources.items()}
    return LazyPyramidStore.of(pyramids, **outer)
