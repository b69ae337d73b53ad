"""Hierarchy of pyramids: the arrays and groups that a store serves, and their documents."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from lazypyr._names import without_secrets
from lazypyr.metadata import ArrayNode, GroupNode, converted, documents, level_node, multiscale_attributes
from lazypyr.metadata.beside import variables_beside
from lazypyr.metadata.conventions.grid_mapping import grid_mapping_node
from lazypyr.metadata.variables import CoordArray
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.coords import arrays_of
from lazypyr.pyramids.recipes import published_recipe
from lazypyr.sources.copied import CopiedArray, Surroundings
from lazypyr.sources.copied_variable import copied_variable
from lazypyr.store.keys import Keys, ServedArray, ServedCopy
from lazypyr.store.layout import StoreLayout, is_path

__all__ = ["SomeLevels", "build_hierarchy"]

# Clients that append names to a URL as they are send nothing of what follows "#", and in a query "+" for a blank. They must
# not be told by metadata of the root of chunks that they will then not find, and take for fill values.
_LOST = re.compile(r"#|\?.*\+")


class SomeLevels:
    """Pyramid with some of its levels, for its metadata."""

    def __init__(self, pyramid: Pyramid, numbers: Sequence[int]) -> None:
        self._pyramid, self.levels = pyramid, tuple(pyramid.levels[k] for k in numbers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pyramid, name)


def build_hierarchy(
    pyramids: Mapping[str, Pyramid],
    layout: StoreLayout,
    surroundings: Surroundings | None = None,
    *,
    only: Collection[str] | None = None,
    stamped: bool = False,
) -> Keys:
    """Keys and documents of pyramids, given by the path of their group; the empty path is the root.

    Parameters
    ----------
    pyramids : Mapping[str, Pyramid]
    layout : StoreLayout
    surroundings : Surroundings, optional
        Groups and arrays around them, which are served as they are.
    only : collection of str, optional
        Paths of the arrays that there are; all by default.
    stamped : bool
        Write the fingerprint of recipe and source into each group, for levels that are kept.
    """
    root: dict[str, Any] = {}
    arrays: dict[str, ServedArray] = {}
    copies: dict[str, ServedCopy] = {}
    around = surroundings or Surroundings()
    attributes = {
        path: converted(attrs, layout.zarr_format, path.rpartition("/")[2]) for path, attrs in around.groups.items()
    }
    for path in around.groups:
        _folder(root, path)
    for path, copied in around.arrays.items():
        copies[path] = ServedCopy(copied.node(*layout.form), copied)
        _folder(root, path.rpartition("/")[0])[path.rpartition("/")[2]] = copies[path].node

    def add(path: str, pyramid: Pyramid, level: int) -> None:
        if only is not None and path not in only:
            return
        node = replace(
            level_node(pyramid, level, codec=layout.compressor, zarr_format=layout.zarr_format),
            separator=layout.dimension_separator,
        )
        _folder(root, path.rpartition("/")[0])[path.rpartition("/")[2]] = node
        arrays[path] = ServedArray(node, pyramid, level)
        copies.pop(path, None)  # a coordinate that lies beside the levels of what lazypyr wrote

    for group, pyramid in pyramids.items():
        prefix = f"{group}/" if group else ""
        paths = [layout.level_path.format(level=k) for k in range(len(pyramid.levels))]
        for template, array in arrays_of(pyramid, layout.level_path).items():
            for level in range(len(array.levels)):
                add(prefix + template.format(level=level), array, level)
        present = [k for k, path in enumerate(paths) if only is None or prefix + path in only]
        for path, copied in _copies(pyramid, layout, present).items():
            if path and _free(root, prefix + path):
                copies[prefix + path] = ServedCopy(copied.node(*layout.form), copied)
                _folder(root, (prefix + path).rpartition("/")[0])[path.rpartition("/")[2]] = copies[prefix + path].node
        for path, (name, mapping) in _grid_mappings(pyramid, layout, present).items():
            _folder(root, (prefix + path).strip("/")).setdefault(name, mapping)
        if present:
            visible = pyramid if only is None else cast("Pyramid", SomeLevels(pyramid, present))
            made = _attributes(visible, [paths[k] for k in present], layout, stamped=stamped)
            attributes[group] = {**attributes.get(group, {}), **made}
    consolidated = not any(_LOST.search(path) for path in arrays)
    written = documents(_group("", root, attributes), zarr_format=layout.zarr_format, consolidated=consolidated)
    return Keys(written, arrays, layout.zarr_format, copies)


def _folder(root: dict[str, Any], path: str) -> dict[str, Any]:
    """The content of a group, made where it isn't there yet."""
    for name in path.split("/") if path else ():
        root = root.setdefault(name, {})
    return root


def _free(root: Mapping[str, Any], path: str) -> bool:
    """True where nothing lies at a path yet, and readers take its names as they are."""
    for name in path.split("/"):
        if not isinstance(root, Mapping) or name not in root:
            return is_path(path)
        root = root[name]
    return False


def _copies(pyramid: Pyramid, layout: StoreLayout, levels: Sequence[int]) -> Mapping[str, CopiedArray]:
    """Variables beside the levels, by path: beside each of them, or those of level 0 beside all."""
    folder = layout.level_path.rpartition("/")[0]
    shown = levels if "{level}" in folder else [k for k in levels if k == 0]
    arrays = arrays_of(pyramid, layout.level_path)
    bounds = {c.attrs.get("bounds"): axis for axis, c in pyramid.metadata.along.items() if isinstance(c, CoordArray)}

    def is_named(name: str) -> bool:
        """True but for bounds of a coordinate that isn't there: nothing says what they are."""
        return name not in bounds or f"{folder}/{bounds[name]}".strip("/") in arrays

    return {
        f"{folder.format(level=k)}/{name}".strip("/"): copied_variable(variable)
        for k in shown
        for name, variable in variables_beside(pyramid, k).items()
        if is_named(name)
    }


def _grid_mappings(pyramid: Pyramid, layout: StoreLayout, levels: Sequence[int]) -> Mapping[str, tuple[str, ArrayNode]]:
    """Grid mapping variables by the folder that they lie in: beside each level, or one beside all.

    They are scalars of which only the attributes count: their chunk is absent, and reads as zero.
    """
    folder = layout.level_path.rpartition("/")[0]
    by_level = "{level}" in folder
    nodes = {folder.format(level=k): grid_mapping_node(pyramid, k if by_level else None) for k in levels}
    return {path: node for path, node in nodes.items() if node is not None}


def _attributes(pyramid: Pyramid, paths: list[str], layout: StoreLayout, *, stamped: bool) -> Mapping[str, Any]:
    provenance = {"recipe": without_secrets(pyramid.description), **pyramid.downsampling.record}
    recipe = published_recipe(pyramid)
    if recipe is not None:
        provenance["recipe_document"] = recipe
    if stamped:
        provenance["fingerprint"] = pyramid.fingerprint
    return multiscale_attributes(
        pyramid, zarr_format=layout.zarr_format, paths=paths, legacy=layout.legacy, provenance=provenance
    )


def _group(path: str, content: dict[str, Any], attributes: Mapping[str, Mapping[str, Any]]) -> GroupNode:
    children: dict[str, ArrayNode | GroupNode] = {}
    for name, child in content.items():
        inner = f"{path}/{name}" if path else name
        children[name] = child if isinstance(child, ArrayNode) else _group(inner, child, attributes)
    return GroupNode(children, attributes.get(path, {}))
