"""Several sources in one store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from lazypyr.errors import PlanError
from lazypyr.pyramids.open import open_pyramid
from lazypyr.registry import check_options
from lazypyr.store.groups import Groups
from lazypyr.store.layout import is_path
from lazypyr.store.options import StoreOptions
from lazypyr.store.store import LazyPyramidStore

__all__ = ["collection"]


def collection(sources: Mapping[str, Any], **options: Unpack[StoreOptions]) -> LazyPyramidStore:
    """Store with a group for each source, on one engine; inputs that they share are cached once.

    Parameters
    ----------
    sources : Mapping[str, source]
        By name of the group; each as `LazyPyramidStore` takes it (a store's own engine is left aside).
    **options
        Options of `LazyPyramidStore`; recipe options apply to every source that isn't a pyramid yet.

    Returns
    -------
    LazyPyramidStore
        With the pyramid of each source in the group of its name.

    Raises
    ------
    PlanError
        For names that can't be a group's, and whatever `LazyPyramidStore` refuses.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> store = lazypyr.collection({"a": np.zeros((600, 400)), "b": np.ones((300, 200))}, method="mean")
    >>> "a/1/c/0/0" in store, [level.shape for level in store.pyramids["b"].levels]
    (True, [(300, 200), (150, 100)])
    """
    check_options("collection", options, LazyPyramidStore, open_pyramid)
    for name in sources:
        if not isinstance(name, str) or "/" in name or name.startswith(".") or not is_path(name):
            raise PlanError(
                f"collection: {name!r} can't be the name of a group: expected a name that doesn't begin with '.', without "
                "'/', '\\\\', control characters and escapes such as '%20'"
            )
    if not sources:
        raise PlanError("collection: no source was given")
    return LazyPyramidStore(Groups(sources), **options)
