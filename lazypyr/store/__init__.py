"""The Zarr layout of pyramids."""

from lazypyr.store.collection import collection
from lazypyr.store.layout import StoreLayout
from lazypyr.store.overlay.overlay import Overlay
from lazypyr.store.store import LazyPyramidStore

__all__ = ["LazyPyramidStore", "Overlay", "StoreLayout", "collection"]
