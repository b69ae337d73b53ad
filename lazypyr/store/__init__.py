"""The Zarr face of pyramids."""

from lazypyr.store.several import collection
from lazypyr.store.store import LazyPyramidStore

__all__ = ["LazyPyramidStore", "collection"]
