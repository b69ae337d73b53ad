"""Tiles that were computed before: levels that `materialize` wrote, and a disk tier that fills as one reads.

Both lie in one place, under the keys of an ordinary hierarchy and under ``.lazypyr/tiles``. Whatever is wrong with what is
found there makes it a miss: the tile is computed, as if nothing had been kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr._util.checks import positive
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.kvstore.open import open_kvstore
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.coords import arrays_of
from lazypyr.sources.decoder import ChunkDecoder, decoder_of
from lazypyr.store.hierarchy import Face, keys_of
from lazypyr.store.keys import Keys
from lazypyr.store.overlay.attributes import Edits, edits_of, with_edits
from lazypyr.store.overlay.disk_cache import TILES, DiskTier

__all__ = ["KeptIn", "Overlay", "kept_in", "reopened"]

Array = np.ndarray[Any, Any]
_RECORD = f"{HIDDEN}/overlay.json"
# A medium that fails so often is left alone.
_MAX_FAILURES = 3
_INDICES = 64

log = logging.getLogger("lazypyr")


@dataclass(frozen=True)
class _Stored:
    """A level that is whole in the overlay."""

    prefix: str
    separator: str
    decoder: ChunkDecoder
    inner: tuple[int, ...]  # chunks of a shard, by axis


class Overlay:
    """Tiles of some pyramids, kept in a place.

    Parameters
    ----------
    kvstore : KVStore
    pyramids : Mapping[str, Pyramid]
        By path of their group.
    face : Face
        Its layout says where levels are.
    write_through : bool
        Keep what is computed.
    limit_bytes : int, optional
        What the kept tiles may take; those not used for longest go first. Materialized levels don't count.
    strict : bool
        Refuse a place that holds something else; False leaves what it holds aside.

    Raises
    ------
    PlanError
        When the place holds tiles of another recipe or source.
    """

    def __init__(
        self,
        kvstore: KVStore,
        pyramids: Mapping[str, Pyramid],
        face: Face,
        *,
        write_through: bool = False,
        limit_bytes: int | None = None,
        strict: bool = True,
    ) -> None:
        if limit_bytes is not None:
            positive(limit_bytes, "overlay_bytes", "a number of bytes above 0")
        self.kvstore, self.write_through, self.limit_bytes = kvstore, write_through, limit_bytes
        self._about = {path: {"fingerprint": p.fingerprint, "recipe": p.description} for path, p in pyramids.items()}
        self._levels: dict[tuple[Hashable, int], _Stored] = {}
        self._folders: dict[Hashable, str] = {}
        self._edits: dict[str, Edits] = {}
        self._failures = 0
        self._recorded = False
        self._tier = DiskTier(kvstore, limit_bytes)
        self.restart()
        self._check_record(strict=strict)
        for served in keys_of(pyramids, face).arrays.values():
            self._folders.setdefault(served.pyramid.key, f"{TILES}/{served.pyramid.fingerprint[:32]}")
        for group, pyramid in pyramids.items():
            self._find_levels(group, pyramid, face, strict=strict)
        self._tier.count()
        if write_through:
            with self._quietly("what is kept there"):
                self._tier.shrink()

    def restart(self) -> None:
        """Begin afresh in a forked child: the parent's lock may be held by a thread that isn't there."""
        self._lock = threading.Lock()
        self._indices: OrderedDict[str, Array] = OrderedDict()
        self._tier.restart()

    # What is there

    def _check_record(self, *, strict: bool) -> None:
        raw = self.kvstore.get(_RECORD)
        if raw is None:
            return
        try:
            found = json.loads(raw)
        except ValueError:
            found = None
        if _prints(found) == _prints(self._about):
            self._recorded = True
        elif strict:
            raise PlanError(f"overlay {self.kvstore.name} is of another recipe or source: {_told(found, self._about)}")
        else:
            self.kvstore.clear(TILES)

    def _find_levels(self, group: str, pyramid: Pyramid, face: Face, *, strict: bool) -> None:
        attributes = self._attributes(group)
        if attributes is None:
            return
        mine = attributes.get("lazypyr")
        found = mine if isinstance(mine, dict) else {}
        if found.get("fingerprint") != pyramid.fingerprint:
            if not strict:
                return
            told = _told({group: found}, {group: self._about[group]})
            raise PlanError(f"overlay {self.kvstore.name} holds another hierarchy, not levels of this source: {told}")
        prefix = f"{group}/" if group else ""
        there = []
        for template, each in arrays_of(pyramid, face.layout).items():
            for level in range(len(each.levels)):
                path = prefix + template.format(level=level)
                stored = self._level(path, each, level)
                if stored is not None:
                    self._levels[each.key, level] = stored
                    there.append(path)
        written = keys_of({group: pyramid}, face, only=there, stamped=True).documents
        key = f"{prefix}zarr.json" if face.zarr_format == 3 else f"{prefix}.zattrs"
        document = self._json(key)
        if document is not None and key in written:
            as_written = json.loads(written[key])
            if face.zarr_format == 3:
                document, as_written = document.get("attributes") or {}, as_written["attributes"]
            edits = edits_of(document, as_written)
            if edits:
                self._edits[group] = edits

    def edited(self, keys: Keys) -> Keys:
        """The keys of a store with what has been changed here in the attributes of its groups."""
        return Keys(with_edits(keys.documents, self._edits), keys.arrays, keys.zarr_format) if self._edits else keys

    def _json(self, key: str) -> dict[str, Any] | None:
        raw = self.kvstore.get(key)
        try:
            document = None if raw is None else json.loads(raw)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def _attributes(self, group: str) -> dict[str, Any] | None:
        prefix = f"{group}/" if group else ""
        v3 = self._json(f"{prefix}zarr.json")
        if v3 is not None:
            return dict(v3.get("attributes") or {})
        return self._json(f"{prefix}.zattrs") if self.kvstore.get(f"{prefix}.zgroup") is not None else None

    def _level(self, path: str, pyramid: Pyramid, level: int) -> _Stored | None:
        document = self._json(f"{path}/zarr.json")
        shards = None
        try:
            if document is not None:
                stored = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
                first = document["codecs"][0]
                if first["name"] == "sharding_indexed":
                    shards, stored = stored, tuple(first["configuration"]["chunk_shape"])
                separator = document["chunk_key_encoding"]["configuration"]["separator"]
                prefix = f"{path}/c{separator}"
            else:
                document = self._json(f"{path}/.zarray")
                if document is None:
                    return None
                stored, separator = tuple(document["chunks"]), document.get("dimension_separator", ".")
                prefix = f"{path}/"
            if tuple(document["shape"]) != pyramid.levels[level].shape or stored != pyramid.chunks:
                return None
        except (KeyError, TypeError, IndexError):
            return None
        decoder = decoder_of(document, pyramid.dtype, pyramid.chunks, shards)
        if decoder is None:
            return None
        inner = tuple(s // c for s, c in zip(shards or pyramid.chunks, pyramid.chunks, strict=True))
        return _Stored(prefix, separator, decoder, inner)

    @property
    def levels(self) -> list[int]:
        """Levels that are whole here."""
        return sorted({level for _, level in self._levels})

    @property
    def tile_bytes(self) -> int:
        """What the tiles of the disk tier take, as far as this process knows."""
        return self._tier.total_bytes

    # Finding and keeping

    def get(self, pyramid: Pyramid, level: int, index: tuple[int, ...], *, quick: bool = False) -> Array | None:
        """The full-size tile, None if it isn't here; `quick`: without asking the medium for what may not be there."""
        stored = self._levels.get((pyramid.key, level))
        if stored is not None:
            try:
                found = self._of_level(stored, index)
            except Exception as error:
                log.warning("overlay %s: level %d, chunk %s: %s", self.kvstore.name, level, index, error)
                found = None
            if found is not None:
                found.flags.writeable = False
                return found
        key = self._key(pyramid, level, index)
        if key is None:
            return None
        if not self._tier.knows(key) and (quick or (self._tier.is_empty and not self.write_through)):
            return None
        raw = self._tier.get(key, math.prod(pyramid.chunks) * pyramid.dtype.itemsize)
        return None if raw is None else np.frombuffer(raw, pyramid.dtype).reshape(pyramid.chunks)

    def _key(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> str | None:
        folder = self._folders.get(pyramid.key)
        return None if folder is None else f"{folder}/{level}/{'.'.join(map(str, index))}"

    def _of_level(self, stored: _Stored, index: tuple[int, ...]) -> Array | None:
        if stored.decoder.sharding is None:
            raw = self.kvstore.get(stored.prefix + stored.separator.join(map(str, index)))
            return None if raw is None else stored.decoder.decode(raw)
        sharding = stored.decoder.sharding
        key = stored.prefix + stored.separator.join(str(i // n) for i, n in zip(index, stored.inner, strict=True))
        with self._lock:
            table = self._indices.get(key)
        if table is None:
            tail = self.kvstore.get_part(key, -sharding.index_size, sharding.index_size)
            if tail is None:
                return None
            table = sharding.index_of(tail)
            with self._lock:
                self._indices[key] = table
                while len(self._indices) > _INDICES:
                    self._indices.popitem(last=False)
        within = [i % n for i, n in zip(index, stored.inner, strict=True)]
        offset, length = (int(n) for n in table[int(np.ravel_multi_index(within, stored.inner))])
        if offset == length == 2**64 - 1:
            return None
        raw = self.kvstore.get_part(key, offset, length)
        return None if raw is None else stored.decoder.decode(raw)

    def put(self, pyramid: Pyramid, level: int, index: tuple[int, ...], tile: Array) -> None:
        """Keep a full-size tile, if that is wanted and there is room; never an error."""
        key = self._key(pyramid, level, index)
        if not self.write_through or key is None or self._failures >= _MAX_FAILURES:
            return
        if (pyramid.key, level) in self._levels or self._tier.knows(key):
            return
        with self._quietly(key):
            if not self._recorded:
                self.kvstore.put_atomic(_RECORD, json.dumps(self._about).encode())
                self._recorded = True
            self._tier.put(key, tile.tobytes())

    @contextlib.contextmanager
    def _quietly(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failures += 1
            more = "; nothing more is kept there" if self._failures >= _MAX_FAILURES else ""
            log.warning("overlay %s: %s: can't be written: %s%s", self.kvstore.name, what, error, more)


@dataclass(frozen=True)
class KeptIn:
    """Where a store keeps tiles: what of an overlay is pickled."""

    kvstore: KVStore
    write_through: bool
    limit_bytes: int | None


def kept_in(overlay: Any = None, *, write_through: bool = False, overlay_bytes: int | None = None) -> KeptIn | None:
    """What a store's options say; PlanError where they say nothing together."""
    if overlay is None:
        if write_through or overlay_bytes is not None:
            raise PlanError("write_through and overlay_bytes need overlay=, the place where tiles are kept")
        return None
    return KeptIn(open_kvstore(overlay), write_through, overlay_bytes)


def reopened(
    before: Overlay | None,
    kept: KeptIn | None,
    pyramids: Mapping[str, Pyramid],
    face: Face,
    engine: Engine,
    *,
    strict: bool,
) -> Overlay | None:
    """The overlay of a store's pyramids, in the engine's sight instead of the one before; see `Overlay`."""
    overlay = (
        None
        if kept is None
        else Overlay(
            kept.kvstore, pyramids, face, write_through=kept.write_through, limit_bytes=kept.limit_bytes, strict=strict
        )
    )
    if before is not None:
        engine.remove_sink(before)
    if overlay is not None:
        engine.add_sink(overlay)
    return overlay


def _prints(about: Any) -> Any:
    """What tells pyramids apart; the rest of a record is for people, and names a source as it was spelled."""
    known = about.items() if isinstance(about, Mapping) else ()
    return {path: each.get("fingerprint") if isinstance(each, Mapping) else None for path, each in known}


def _told(found: Any, wanted: Mapping[str, Mapping[str, str]]) -> str:
    """What differs, in words."""
    if not isinstance(found, dict):
        return "its record can't be read"
    told = []
    for path, mine in wanted.items():
        other = found.get(path)
        theirs = other if isinstance(other, dict) else {}
        name = path or "the root"
        if not theirs:
            told.append(f"it has nothing of {name}")
        elif theirs.get("fingerprint") == mine["fingerprint"]:
            continue
        elif theirs.get("recipe") != mine["recipe"]:
            told.append(f"{name} was made as {theirs.get('recipe')!r}, now it is {mine['recipe']!r}")
        else:
            told.append(
                f"the source of {name} has changed since (or a function of its recipe, or the shape of tiles; a function "
                "whose source text can't be found is known by version= only)"
            )
    return "; ".join(told) or "it holds other pyramids"
