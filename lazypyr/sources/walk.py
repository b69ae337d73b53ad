"""Nodes below a zarr group: by consolidated metadata, by listing, and by what metadata name where nothing can be listed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lazypyr.metadata.containers import children_named, ome_attributes

__all__ = ["Nodes", "walk"]

# Requests that wait side by side.
_AT_ONCE = 32
_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


@dataclass
class Nodes:
    """Nodes of a hierarchy by path from its root.

    Attributes
    ----------
    groups : dict[str, zarr.Group]
        The root is "".
    arrays : dict[str, zarr.Array]
    failed : dict[str, str]
        Reasons by path of what has metadata that can't be read.

    Examples
    --------
    >>> Nodes().groups
    {}
    """

    groups: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def walk(group: Any) -> Nodes:
    """Find all nodes below a group; what can't be read is noted, and doesn't stop the rest. Reads metadata only.

    Parameters
    ----------
    group : zarr.Group

    Returns
    -------
    Nodes
        With the group itself under "".
    """
    from zarr.core.sync import sync

    found = sync(_Walk().run(group._async_group))  # noqa: SLF001 - zarr has no other way to ask side by side
    if group.metadata.consolidated_metadata is None:
        group = _consolidated(group, found.nodes)
    nodes = Nodes(groups={"": group}, failed=found.failed)
    for path in sorted(found.nodes):
        node = group[path]
        (nodes.groups if hasattr(node, "members") else nodes.arrays)[path] = node
    return nodes


def _consolidated(group: Any, nodes: Mapping[str, Any]) -> Any:
    """The group with the metadata of all below it, which nobody needs to ask for again."""
    from zarr import Group
    from zarr.core.group import AsyncGroup, ConsolidatedMetadata

    below: dict[str, dict[str, Any]] = {}
    # The deepest first: a group takes what is in it along.
    for path in sorted(nodes, key=lambda path: -path.count("/")):
        folder, _, name = path.rpartition("/")
        node = nodes[path]
        is_group = hasattr(node, "members")
        inner = {"consolidated_metadata": ConsolidatedMetadata(below.get(path, {}))} if is_group else {}
        below.setdefault(folder, {})[name] = replace(node.metadata, **inner) if is_group else node.metadata
    known = ConsolidatedMetadata(below.get("", {}))
    return Group(AsyncGroup(replace(group.metadata, consolidated_metadata=known), group.store_path))


class _Walk:
    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self, root: Any) -> _Walk:
        consolidated = getattr(root.metadata, "consolidated_metadata", None)
        if consolidated is not None:
            for path in consolidated.flattened_metadata:
                await self._node(root, path)
        else:
            await self._below(root, root, "", children_named(root.attrs))
        return self

    async def _node(self, root: Any, path: str) -> Any:
        try:
            async with self._turns:
                node = await root.getitem(path)
        except (KeyError, FileNotFoundError):
            return None
        except Exception as error:
            self.failed[path] = f"{type(error).__name__}: {error}"
            return None
        self.nodes[path] = node
        return node

    async def _below(self, root: Any, group: Any, path: str, hints: Iterable[str]) -> None:
        prefix = f"{path}/" if path else ""
        deeper: dict[str, list[str]] = {name: [] for name in await self._listed(group)}
        if not deeper:
            # It can't be listed: what its metadata name is asked for.
            for name in await self._series(root, group, prefix):
                deeper[name] = []
            for hint in hints:
                first, _, rest = hint.partition("/")
                deeper.setdefault(first, []).extend([rest] if rest else [])

        async def visit(name: str, further: list[str]) -> None:
            node = self.nodes.get(f"{prefix}{name}") or await self._node(root, f"{prefix}{name}")
            if hasattr(node, "members"):
                await self._below(root, node, f"{prefix}{name}", [*further, *children_named(node.attrs)])

        await asyncio.gather(*(visit(name, further) for name, further in deeper.items()))

    async def _listed(self, group: Any) -> list[str]:
        store = group.store_path.store
        if not store.supports_listing:
            return []
        try:
            async with self._turns:
                names = [name async for name in store.list_dir(group.path)]
        except Exception:  # some stores can be read by name only
            return []
        return sorted({name.strip("/") for name in names} - {*_DOCUMENTS, ""})

    async def _series(self, root: Any, group: Any, prefix: str) -> list[str]:
        """Images of bioformats2raw: those that `OME/` lists, else 0, 1, 2, ..."""
        if "bioformats2raw.layout" not in ome_attributes(group.attrs):
            return []
        node = await self._node(root, f"{prefix}OME")
        if node is not None:
            series = ome_attributes(node.attrs).get("series")
            if isinstance(series, list | tuple):
                return ["OME", *(name for name in series if isinstance(name, str))]
        names: list[str] = [] if node is None else ["OME"]
        for number in itertools.count():
            if await self._node(root, f"{prefix}{number}") is None:
                return names
            names.append(str(number))
        return names
