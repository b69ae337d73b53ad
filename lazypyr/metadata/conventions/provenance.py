"""Provenance of levels, under the key "lazypyr"."""

from __future__ import annotations

from typing import Any

from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["Provenance"]


class Provenance(Convention):
    """Recipe, method and, of levels that are kept, fingerprint; beside what products recorded."""

    extended_keys = frozenset({"lazypyr"})
    level_keys = frozenset({"lazypyr"})
    text_keys = frozenset({"recipe"})

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        if hierarchy.provenance is None:
            return {}
        return {"lazypyr": {**pyramid.attrs.get("lazypyr", {}), **hierarchy.provenance}}
