"""Several sources in one store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.store.store import Groups, LazyPyramidStore

__all__ = ["collection"]


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
    return LazyPyramidStore(Groups(sources), **options)
