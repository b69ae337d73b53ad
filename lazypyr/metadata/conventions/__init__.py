"""Conventions that the metadata of a pyramid are written in."""

from __future__ import annotations

from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.conventions.cf import CF
from lazypyr.metadata.conventions.grid_mapping import GridMapping
from lazypyr.metadata.conventions.ome import OmeNgff
from lazypyr.metadata.conventions.provenance import Provenance
from lazypyr.metadata.conventions.zarr_conventions import ZarrConventions

__all__ = ["CONVENTIONS", "Convention", "Hierarchy", "is_reserved", "is_written", "level_keys", "text_keys"]

CONVENTIONS: tuple[Convention, ...] = (CF(), OmeNgff(), ZarrConventions(), GridMapping(), Provenance())
"""All conventions, in the order in which they write their attributes."""

level_keys: frozenset[str] = frozenset().union(*(convention.level_keys for convention in CONVENTIONS))
"""Keys whose values list the levels."""
text_keys: frozenset[str] = frozenset().union(*(convention.text_keys for convention in CONVENTIONS))
"""Keys whose values are for people."""


def is_reserved(key: str) -> bool:
    """True for an attribute of a source that is not passed on: a convention writes it anew."""
    return any(convention.reserves(key) for convention in CONVENTIONS)


def is_written(key: str) -> bool:
    """True for an attribute of a served group or array that a convention wrote, wholly or in part."""
    return is_reserved(key) or any(key in convention.extended_keys for convention in CONVENTIONS)
