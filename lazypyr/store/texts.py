"""Texts of a store for people: what it is, as a line and as HTML."""

from __future__ import annotations

from collections.abc import Mapping

from lazypyr.engine.engine import Engine
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.represented import load_representations
from lazypyr.store.groups import text_of
from lazypyr.store.layout import StoreLayout

__all__ = ["StoreTexts"]


class StoreTexts:
    """Base of stores of pyramids."""

    _pyramids: dict[str, Pyramid]
    _layout: StoreLayout
    _engine: Engine

    @property
    def pyramids(self) -> Mapping[str, Pyramid]:
        """Pyramids by the path of their group."""
        return dict(self._pyramids)

    def __repr__(self) -> str:
        return f"<LazyPyramidStore v{self._layout.zarr_format} {text_of(self._pyramids)}>"

    def __str__(self) -> str:
        # zarr asks for it in every repr: no fingerprint, which may take reading all pixels of an array in memory.
        return f"lazypyr://{hash(self) & 0xFFFFFFFFFFFFFFFF:016x}"

    def _repr_html_(self) -> str:
        what = f"LazyPyramidStore, zarr v{self._layout.zarr_format}, {self._layout.level_path}"
        return load_representations().store_to_html(self._pyramids, self._engine, what)
