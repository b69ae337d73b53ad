"""The Zarr layout of pyramids."""

from lazypyr.store.collection import collection
from lazypyr.store.layout import StoreLayout, register_layout
from lazypyr.store.overlay.overlay import Overlay
from lazypyr.store.store import LazyPyramidStore

__all__ = ["LazyPyramidStore", "Overlay", "StoreLayout", "collection", "register_layout"]
