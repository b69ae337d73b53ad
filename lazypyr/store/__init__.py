"""The Zarr layout of pyramids."""

from lazypyr.store.collection import collection
from lazypyr.store.store import LazyPyramidStore

__all__ = ["LazyPyramidStore", "collection"]
