"""Zarr groups as trees of rasters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.metadata import Multiscales
from lazypyr.sources.copied import CopiedArray, Surroundings
from lazypyr.sources.opened import OpenedSource
from lazypyr.sources.surroundings import Around
from lazypyr.sources.tree import Member, SourceTree, build_tree
from lazypyr.sources.walk import walk

__all__ = ["has_labels", "image_levels", "open_hierarchy"]

OpenArray = Callable[[str, Any, Around], OpenedSource]
OpenImage = Callable[[str, Around, Multiscales, Sequence[Any]], OpenedSource]


def has_labels(group: Any) -> bool:
    """True for an image with labels below it."""
    try:
        return hasattr(group.get("labels"), "members")
    except Exception:  # they can't be read: the image can
        return False


def image_levels(group: Any, multiscales: Multiscales, location: str) -> list[Any] | None:
    """Arrays of the levels of a multiscale group; None where levels are groups of several.

    Raises
    ------
    PlanError
        When one isn't there, or its metadata can't be read.
    """
    levels = []
    for dataset in multiscales.datasets:
        node = _child(group, dataset.path, location)
        if hasattr(node, "members"):
            inner = [array for _, array in node.arrays() if array.ndim >= 2]
            if len(inner) != 1:
                return None
            node = inner[0]
        levels.append(node)
    return levels


def _child(group: Any, path: str, location: str) -> Any:
    try:
        return group[path]
    except KeyError as error:
        raise PlanError(f"{location}: its multiscale metadata names {path!r}, which is not there") from error
    except Exception as error:
        raise PlanError(
            f"{location}: the metadata of {path!r} can't be read: {type(error).__name__}: {error}"
        ) from error


def open_hierarchy(group: Any, name: str, location: str, open_array: OpenArray, open_image: OpenImage) -> SourceTree:
    """Tree of the rasters below a zarr group.

    Parameters
    ----------
    group : zarr.Group
    name, location : str
        See `SourceTree`.
    open_array : callable
        Opens an array by its path, itself, and what is around it.
    open_image : callable
        Opens a multiscale group by its path, itself with what is around it, its metadata, and the arrays of its levels.

    Raises
    ------
    PlanError
        When there is no raster in it.
    """
    nodes = walk(group)
    attributes = {path: dict(node.attrs) for path, node in nodes.groups.items()}
    known = {array.path: array for array in nodes.arrays.values()}
    readers: dict[str, Callable[[], Any]] = {}
    around = {path: Around(_upwards(path, nodes.groups), known, readers) for path in nodes.groups}
    members = {
        path: _member(array, partial(open_array, path, array, around[path.rpartition("/")[0]]))
        for path, array in nodes.arrays.items()
    }

    def image(path: str, multiscales: Multiscales) -> OpenedSource:
        prefix = f"{path}/" if path else ""
        levels = [f"{prefix}{dataset.path}" for dataset in multiscales.datasets]
        for level in levels:
            if level not in nodes.arrays:
                why = nodes.failed.get(level)
                problem = f"can't be read: {why}" if why else "is not there"
                raise PlanError(f"{location}/{path}: its level {level!r} {problem}")
        return open_image(path, around[path], multiscales, [nodes.arrays[level] for level in levels])

    def copies(paths: Iterable[str]) -> Surroundings:
        return Surroundings(attributes, {path: CopiedArray(nodes.arrays[path]) for path in paths})

    return build_tree(name, location, attributes, members, nodes.failed, image, copies)


def _upwards(path: str, groups: Mapping[str, Any]) -> tuple[Any, ...]:
    """The group at a path and those above it."""
    parts = path.split("/") if path else []
    above = ("/".join(parts[:depth]) for depth in range(len(parts), -1, -1))
    return tuple(groups[name] for name in above if name in groups)


def _member(array: Any, open_array: Callable[[], OpenedSource]) -> Member:
    attrs = dict(array.attrs)
    dims = getattr(array.metadata, "dimension_names", None) or attrs.get("_ARRAY_DIMENSIONS")
    kind = np.dtype(array.dtype).kind
    return Member(tuple(array.shape), kind, tuple(dims) if dims else None, attrs, open_array)
