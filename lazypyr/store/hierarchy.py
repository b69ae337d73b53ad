"""Which arrays and groups a store serves, and their metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from lazypyr.errors import PlanError
from lazypyr.metadata import ArrayNode, Codec, GroupNode, documents, level_node, multiscale_attributes
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.coords import arrays_of
from lazypyr.store.keys import Keys, Served

__all__ = ["Face", "keys_of"]

# Names that mean something to zarr, or to whatever resolves a path.
_NO_NAMES = ("", ".", "..", "c", "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata", ".lazypyr")


@dataclass(frozen=True)
class Face:
    """How pyramids are shown.

    Attributes
    ----------
    zarr_format : {2, 3}
    layout : str
        Path of a level's array, with "{level}" for its number.
    codec : Codec or None
        Compressor of the chunks.
    separator : {"/", "."}
        Between the indices in a chunk's key.
    legacy : bool
        Write multiscales 0.1 (zarr v2 only).
    """

    zarr_format: int = 3
    layout: str = "{level}"
    codec: Codec | None = None
    separator: str = "/"
    legacy: bool = False

    def __post_init__(self) -> None:
        if self.zarr_format not in (2, 3):
            raise PlanError(f"zarr_format: expected 2 or 3, got {self.zarr_format!r}")
        if self.separator not in ("/", "."):
            raise PlanError(f"dimension_separator: expected '/' or '.', got {self.separator!r}")
        try:
            path = self.layout.format(level=0)
        except (KeyError, IndexError, ValueError, AttributeError):
            path = ""
        parts = path.split("/")
        bad = path != path.strip("/") or any(part in _NO_NAMES for part in parts)
        if "{level}" not in str(self.layout) or not path or bad:
            raise PlanError(
                f"layout: expected a path of ordinary names with '{{level}}' in it, such as '{{level}}/image', got {self.layout!r}"
            )


class _Levels:
    """Some levels of a pyramid, as its metadata see them."""

    def __init__(self, pyramid: Pyramid, numbers: Sequence[int]) -> None:
        self._pyramid, self.levels = pyramid, tuple(pyramid.levels[k] for k in numbers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pyramid, name)


def keys_of(
    pyramids: Mapping[str, Pyramid], face: Face, *, only: Collection[str] | None = None, stamped: bool = False
) -> Keys:
    """The keys of pyramids by the path of their group; the empty path is the root.

    Parameters
    ----------
    pyramids : Mapping[str, Pyramid]
    face : Face
    only : collection of str, optional
        Paths of the arrays that there are; all by default.
    stamped : bool
        Whether a group says of which recipe and source its levels are: for levels that are kept.
    """
    root: dict[str, Any] = {}
    arrays: dict[str, Served] = {}
    attributes: dict[str, Mapping[str, Any]] = {}

    def add(path: str, pyramid: Pyramid, level: int) -> None:
        if only is not None and path not in only:
            return
        node = replace(
            level_node(pyramid, level, codec=face.codec, zarr_format=face.zarr_format), separator=face.separator
        )
        place = root
        *folders, name = path.split("/")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = node
        arrays[path] = Served(node, pyramid, level)

    for group, pyramid in pyramids.items():
        prefix = f"{group}/" if group else ""
        paths = [face.layout.format(level=k) for k in range(len(pyramid.levels))]
        for template, each in arrays_of(pyramid, face.layout).items():
            for level in range(len(each.levels)):
                add(prefix + template.format(level=level), each, level)
        there = [k for k, path in enumerate(paths) if only is None or prefix + path in only]
        if there:
            known = pyramid if only is None else cast("Pyramid", _Levels(pyramid, there))
            attributes[group] = _attributes(known, [paths[k] for k in there], face, stamped=stamped)
    return Keys(documents(_group("", root, attributes), zarr_format=face.zarr_format), arrays, face.zarr_format)


def _attributes(pyramid: Pyramid, paths: list[str], face: Face, *, stamped: bool) -> Mapping[str, Any]:
    provenance = {"recipe": pyramid.description, **pyramid.downsampling.record}
    if stamped:
        provenance["fingerprint"] = pyramid.fingerprint
    return multiscale_attributes(
        pyramid, zarr_format=face.zarr_format, paths=paths, legacy=face.legacy, provenance=provenance
    )


def _group(path: str, content: dict[str, Any], attributes: Mapping[str, Mapping[str, Any]]) -> GroupNode:
    children: dict[str, ArrayNode | GroupNode] = {}
    for name, child in content.items():
        inner = f"{path}/{name}" if path else name
        children[name] = child if isinstance(child, ArrayNode) else _group(inner, child, attributes)
    return GroupNode(children, attributes.get(path, {}))
