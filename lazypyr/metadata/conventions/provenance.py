"""Provenance of levels, under the key "lazypyr"."""

from __future__ import annotations

from typing import Any

from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["Provenance"]


class Provenance(Convention):
    """Recipe (in words and as a document), method and, of levels that are kept, fingerprint; beside what products recorded."""

    extended_keys = frozenset({"lazypyr"})
    level_keys = frozenset({"lazypyr"})
    text_keys = frozenset({"recipe", "recipe_document"})

    def left_out(self, pyramid: SupportsMultiscales) -> frozenset[str]:
        return frozenset({"products"})

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        if hierarchy.provenance is None:
            return {}
        own = {key: value for key, value in pyramid.attrs.get("lazypyr", {}).items() if key != "recipe_document"}
        return {"lazypyr": {**own, **hierarchy.provenance}}
