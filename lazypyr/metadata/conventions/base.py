"""A convention for attributes: the keys it owns, and what it says of a pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["Convention", "Hierarchy"]


@dataclass(frozen=True)
class Hierarchy:
    """The group that a pyramid is served as.

    Attributes
    ----------
    zarr_format : {2, 3}
    paths : tuple[str, ...]
        Path of each level's array below the group, finest first.
    legacy : bool
        Multiscales 0.1 instead of OME-NGFF (zarr v2 only).
    omero : Mapping or None
        Display settings of the user.
    provenance : Mapping[str, Any]
        How the levels were made, for the key "lazypyr".
    """

    zarr_format: int
    paths: tuple[str, ...]
    legacy: bool = False
    omero: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None


class Convention:
    """One convention. Attributes of a source under its keys are about the source's own levels, and are not passed on.

    Attributes
    ----------
    reserved_keys : frozenset[str]
        Keys of a group or array that it writes anew.
    reserved_prefixes : tuple[str, ...]
        The same for all keys that begin so.
    extended_keys : frozenset[str]
        Keys whose content of the source is kept, and added to.
    level_keys : frozenset[str]
        Keys whose values list the levels: they differ between stores of different levels of one pyramid.
    text_keys : frozenset[str]
        Keys whose values are for people, and name the source as its user spelled it.
    """

    reserved_keys: frozenset[str] = frozenset()
    reserved_prefixes: tuple[str, ...] = ()
    extended_keys: frozenset[str] = frozenset()
    level_keys: frozenset[str] = frozenset()
    text_keys: frozenset[str] = frozenset()

    def reserves(self, key: str) -> bool:
        """True for a key that this convention writes anew."""
        return key in self.reserved_keys or key.startswith(self.reserved_prefixes or ("\0",))

    def left_out(self, pyramid: SupportsMultiscales) -> frozenset[str]:
        """Keys of the source's own array that would be false, or out of place, of a level's array."""
        return frozenset()

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        """Attributes of the group that holds the levels."""
        return {}

    def array(self, pyramid: SupportsMultiscales, level: int, zarr_format: int) -> dict[str, Any]:
        """Attributes of the array of one level."""
        return {}
