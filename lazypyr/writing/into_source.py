"""Levels and products written into the group of their source: arrays are added, the group's metadata extended last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from lazypyr._util.places import is_url
from lazypyr.errors import PlanError
from lazypyr.kvstore.base import KVStore
from lazypyr.kvstore.open import open_kvstore
from lazypyr.kvstore.within import ASIDE, KVStoreWithin
from lazypyr.metadata import multiscale_attributes
from lazypyr.metadata.extend import extended, level_paths
from lazypyr.pyramids.base import Pyramid
from lazypyr.store.hierarchy import SomeLevels
from lazypyr.store.layout import is_path
from lazypyr.store.store import LazyPyramidStore
from lazypyr.writing.job import put
from lazypyr.writing.lock import LOCK

__all__ = ["Addition", "plan_addition"]

_GROUP: dict[int, dict[str, Any]] = {
    3: {"zarr.json": {"zarr_format": 3, "node_type": "group", "attributes": {}}},
    2: {".zgroup": {"zarr_format": 2}},
}
_DOCUMENTS = r"([^/]+/)*(zarr\.json|\.z(array|group|attrs|metadata))"


@dataclass
class Addition:
    """Arrays that are added to a group.

    Attributes
    ----------
    pyramid : Pyramid
    kvstore : KVStoreWithin
        Place of the new arrays, of which `materialize` writes the levels "0", "1", ...
    group : str
        Path of the group in the store.
    paths : list of str
        Path of each level below the group; of a product that of its only array.
    new : list of int
        Numbers of the levels that are added.
    zarr_format : {2, 3}
    is_product : bool
        Added as an array by itself, which no multiscale metadata list.
    """

    pyramid: Pyramid
    kvstore: KVStoreWithin
    group: str
    paths: list[str]
    new: list[int]
    zarr_format: int
    is_product: bool

    @property
    def base(self) -> KVStore:
        """The store of the source."""
        return self.kvstore.base

    @cached_property
    def _name(self) -> str:
        return "zarr.json" if self.zarr_format == 3 else ".zattrs"

    def _document(self, key: str) -> dict[str, Any] | None:
        raw = self.base.get(key)
        return None if raw is None else dict(json.loads(raw))

    def attributes(self) -> dict[str, Any]:
        """Attributes of the group as they are."""
        document = self._document(_join(self.group, self._name)) or {}
        return dict(document.get("attributes") or {}) if self.zarr_format == 3 else document

    def chosen(self, levels: Any) -> list[int]:
        """Numbers of the levels to write, of those that the user names; PlanError for some without those below them."""
        if levels is None:
            return self.new
        wanted = sorted(set(levels) & set(self.new)) if not isinstance(levels, int) else None
        if wanted is None or wanted != self.new[: len(wanted)]:
            raise PlanError(f"levels: expected the next of the levels that are missing, {self.new}, got {levels!r}")
        self.new = wanted
        self.paths = self.paths[: wanted[-1] + 1] if wanted and not self.is_product else self.paths
        return wanted

    def is_done(self) -> bool:
        """True where the metadata list all levels, so that an earlier run has ended."""
        listed = level_paths(self.attributes())
        return not self.is_product and all(self.paths[k] in listed for k in self.new)

    def finish(self) -> None:
        """Extend the metadata of the group by arrays that are whole. Doing it again does no harm."""
        for path in self._new_groups():
            for name, document in _GROUP[self.zarr_format].items():
                if self.base.get(_join(path, name)) is None:
                    put(self.base, _join(path, name), json.dumps(document).encode(), atomic=True)
        self._copy_aside()
        if not self.is_product:
            self._extend_attributes()
        for folder in _with_parents(self.group):
            self._extend_consolidated(folder)
        self.clear()

    def was_left(self) -> bool:
        """True where a run that had extended the metadata was killed before it had cleared up."""
        return self.base.get(LOCK) is not None or any(True for _ in self.base.list_keys(ASIDE))

    def clear(self) -> None:
        """Delete what was put aside."""
        self.base.clear(ASIDE, _DOCUMENTS)

    def _new_groups(self) -> Iterator[str]:
        """Groups between this one and its new arrays, outer ones first."""
        for k in self.new:
            parts = self.paths[k].split("/")[:-1]
            yield from (_join(self.group, "/".join(parts[: n + 1])) for n in range(len(parts)))

    def _copy_aside(self) -> None:
        """Put grid mappings, which new arrays name, into the group where it has none of the name."""
        for key in sorted(self.base.list_keys(ASIDE)):
            inside = key.removeprefix(f"{ASIDE}/")
            target = _join(self.group, inside)
            is_group = "/" not in inside
            if not is_group and self.base.get(target) is None:
                put(self.base, target, self.base.get(key), atomic=True)

    def _extend_attributes(self) -> None:
        key, attrs = _join(self.group, self._name), self.attributes()
        if all(self.paths[k] in level_paths(attrs) for k in self.new):
            return
        shown = cast("Pyramid", SomeLevels(self.pyramid, range(len(self.paths))))
        made = multiscale_attributes(
            shown, zarr_format=self.zarr_format, paths=self.paths, provenance=self.pyramid.downsampling.record
        )
        document = self._document(key) or {}
        complete = extended(attrs, json.loads(json.dumps(made, default=str)), self.pyramid.levels, self.paths, self.new)
        content = {**document, "attributes": complete} if self.zarr_format == 3 else complete
        put(self.base, key, json.dumps(content, indent=2).encode(), atomic=True)

    def _extend_consolidated(self, folder: str) -> None:
        """Tell the copy of all metadata, where there is one, of the group and its new arrays."""
        key = _join(folder, "zarr.json" if self.zarr_format == 3 else ".zmetadata")
        document = self._document(key)
        inline = (
            None if document is None else document.get("consolidated_metadata") if self.zarr_format == 3 else document
        )
        if document is None or not inline or "metadata" not in inline:
            return
        names = ("zarr.json",) if self.zarr_format == 3 else (".zgroup", ".zattrs", ".zarray")
        nodes = [self.group, *self._new_groups(), *(_join(self.group, self.paths[k]) for k in self.new)]
        nodes += [_join(self.group, key.split("/")[2]) for key in self.base.list_keys(ASIDE) if key.count("/") > 2]
        for node in dict.fromkeys(nodes):
            for name in names:
                held = self._document(_join(node, name))
                relative = node[len(folder) :].strip("/")
                if held is None or (self.zarr_format == 3 and not relative):
                    continue
                if self.zarr_format == 3 and held.get("consolidated_metadata"):
                    held = {**held, "consolidated_metadata": None}
                inline["metadata"][relative if self.zarr_format == 3 else _join(relative, name)] = held
        put(self.base, key, json.dumps(document, indent=2).encode(), atomic=True)


def plan_addition(
    store: LazyPyramidStore, name: str | None, storage_options: Mapping[str, Any] | None
) -> tuple[LazyPyramidStore, Addition]:
    """Plan what is added to the group of a store's source, and the store in the form of that group.

    Raises
    ------
    PlanError
        For a source that lies in no zarr group, or one that can't be written to; for names that are taken.
    """
    pyramid = store.pyramids.get("")
    if pyramid is None or len(store.pyramids) != 1 or pyramid.companion_arrays:
        raise PlanError("into_source=True: adds to the group of one raster; give its pyramid")
    array: Any = getattr(pyramid.sources[0], "array", None)
    if not (hasattr(array, "store_path") and hasattr(array, "metadata")):
        raise PlanError(f"{pyramid.name}: into_source=True: its source is no zarr array; give a destination")
    own = {id(source) for source in pyramid.sources}
    own_levels: tuple[Any, ...] = getattr(pyramid, "stored_levels", ())
    stored = [level.array for level in own_levels if id(level) in own]
    base, above, group = _group_of(pyramid.sources[0], storage_options)
    zarr_format = int(array.metadata.zarr_format)
    addition = Addition(pyramid, KVStoreWithin(base, {}), group, [], [], zarr_format, not stored)
    if stored:
        known = [_join(above, level.path)[len(group) :].strip("/") for level in stored]
        addition.paths = [*known, *_further(known, len(pyramid.levels))]
        addition.new = list(range(len(known), len(pyramid.levels)))
        if name is not None:
            raise PlanError(f"name={name!r}: is for products; {pyramid.name} has levels, which are named by numbers")
    else:
        addition.paths, addition.new = [name or str(getattr(pyramid, "product", pyramid).name)], [0]
        if not is_path(addition.paths[0]):
            raise PlanError(f"name: expected the path of an array in the group, got {addition.paths[0]!r}")
    places = {str(k): _join(group, addition.paths[k]) for k in addition.new}
    addition.kvstore = KVStoreWithin(base, places)
    separator = {} if zarr_format == 3 else {"dimension_separator": array.metadata.dimension_separator}
    return store.with_layout(zarr_format=zarr_format, level_path="{level}", **separator), addition


def _group_of(source: Any, storage_options: Mapping[str, Any] | None) -> tuple[KVStore, str, str]:
    """Store of a source, the path of its zarr store in it, and the group that lists its array, or else holds it."""
    array, mapping = source.array, source.mapping
    place = _root_of(array.store) if mapping is None else None
    above = ""
    if place is not None and not array.path:
        # The array was opened by itself: its group is the folder around it.
        place, _, above = place.rstrip("/").rpartition("/")
    if place is None:
        base = open_kvstore(array.store if mapping is None else mapping)
    else:
        base = open_kvstore(place or "/", storage_options if is_url(place) else None)
    if not base.supports_overwrite:
        raise PlanError(f"{base.name}: nothing can be added to what is written once; give a destination")
    path = _join(above, array.path)
    groups = [folder for folder in _with_parents(path)[1:] if _attributes_at(base, folder) is not None] if path else []
    if not groups:
        raise PlanError(
            f"{source.name}: is an array by itself, in no group that levels could be added to; give a destination"
        )
    listing = (g for g in groups if path[len(g) :].strip("/") in level_paths(_attributes_at(base, g) or {}))
    return base, above, next(listing, groups[0])


def _root_of(store: Any) -> str | None:
    """Path or URL of the root of a zarr store of files."""
    from zarr.storage import FsspecStore, LocalStore

    if isinstance(store, LocalStore):
        return str(Path(store.root).resolve())
    return str(store.fs.unstrip_protocol(store.path)) if isinstance(store, FsspecStore) else None


def _attributes_at(base: KVStore, folder: str) -> dict[str, Any] | None:
    """Attributes of a group, None where there is no group."""
    raw = base.get(_join(folder, "zarr.json"))
    if raw is not None:
        document = json.loads(raw)
        return dict(document.get("attributes") or {}) if document.get("node_type") == "group" else None
    if base.get(_join(folder, ".zgroup")) is None:
        return None
    raw = base.get(_join(folder, ".zattrs"))
    return {} if raw is None else dict(json.loads(raw))


def _further(known: list[str], count: int) -> list[str]:
    """Paths of further levels, named as those that are known: by the number that counts them."""
    for found in re.finditer(r"\d+", known[0]):
        low, head, tail = int(found[0]), known[0][: found.start()], known[0][found.end() :]
        if known == [f"{head}{low + k}{tail}" for k in range(len(known))]:
            return [f"{head}{low + k}{tail}" for k in range(len(known), count)]
    return [f"{known[0]}_{k}" for k in range(len(known), count)]


def _with_parents(path: str) -> list[str]:
    """A path, and those of the groups around it up to the root."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
