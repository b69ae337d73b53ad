"""Levels that `materialize` wrote, read chunk by chunk."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.kvstore.base import KVStore
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.coords import arrays_of
from lazypyr.sources.codecs import check_codecs
from lazypyr.sources.decoder import ChunkDecoder, decoder_of
from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.store.layout import StoreLayout
from lazypyr.store.overlay.attributes import Overrides, attribute_overrides

__all__ = ["MaterializedLevels"]

Array = np.ndarray[Any, Any]
_MAX_SHARD_INDICES = 64
_ABSENT = 2**64 - 1


@dataclass(frozen=True)
class _StoredLevel:
    """Keys and codecs of a level that is whole."""

    prefix: str
    separator: str
    decoder: ChunkDecoder
    per_shard: tuple[int, ...]  # chunks of a shard, by axis


class MaterializedLevels:
    """Levels of some pyramids that are whole in a key-value store.

    Parameters
    ----------
    kvstore : KVStore

    Attributes
    ----------
    numbers : list of int
        Numbers of the levels, of any pyramid.
    """

    def __init__(self, kvstore: KVStore) -> None:
        self._kvstore = kvstore
        self._levels: dict[tuple[Hashable, int], _StoredLevel] = {}
        # Single steps of it need no lock, which a fork could leave locked.
        self._shard_indices: OrderedDict[str, Array] = OrderedDict()

    @property
    def numbers(self) -> list[int]:
        """Numbers of the levels, of any pyramid."""
        return sorted({level for _, level in self._levels})

    def __contains__(self, key: object) -> bool:
        return key in self._levels

    def attributes(self, group: str) -> dict[str, Any] | None:
        """Attributes of a group, None if there is no such group."""
        prefix = f"{group}/" if group else ""
        v3 = self._document(f"{prefix}zarr.json")
        if v3 is not None:
            return dict(v3.get("attributes") or {})
        return self._document(f"{prefix}.zattrs") if self._kvstore.get(f"{prefix}.zgroup") is not None else None

    def add(self, group: str, pyramid: Pyramid, layout: StoreLayout) -> Overrides:
        """Find the levels of a pyramid in its group.

        Returns
        -------
        Overrides
            Attributes of the group that were edited since they were written.
        """
        prefix = f"{group}/" if group else ""
        paths = []
        for template, array in arrays_of(pyramid, layout.level_path).items():
            for level in range(len(array.levels)):
                path = prefix + template.format(level=level)
                stored = self._stored_level(path, array, level)
                if stored is not None:
                    self._levels[array.key, level] = stored
                    paths.append(path)
        documents = build_hierarchy({group: pyramid}, layout, only=paths, stamped=True).documents
        key = f"{prefix}zarr.json" if layout.zarr_format == 3 else f"{prefix}.zattrs"
        edited = self._document(key)
        if edited is None or key not in documents:
            return {}
        written = json.loads(documents[key])
        if layout.zarr_format == 3:
            edited, written = edited.get("attributes") or {}, written["attributes"]
        return attribute_overrides(edited, written)

    def _document(self, key: str) -> dict[str, Any] | None:
        raw = self._kvstore.get(key)
        try:
            document = None if raw is None else json.loads(raw)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def _stored_level(self, path: str, pyramid: Pyramid, level: int) -> _StoredLevel | None:
        document = self._document(f"{path}/zarr.json")
        shards = None
        try:
            if document is not None:
                chunks = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
                first = document["codecs"][0]
                if first["name"] == "sharding_indexed":
                    shards, chunks = chunks, tuple(first["configuration"]["chunk_shape"])
                separator = document["chunk_key_encoding"]["configuration"]["separator"]
                prefix = f"{path}/c{separator}"
            else:
                document = self._document(f"{path}/.zarray")
                if document is None:
                    return None
                chunks, separator = tuple(document["chunks"]), document.get("dimension_separator", ".")
                prefix = f"{path}/"
            if tuple(document["shape"]) != pyramid.levels[level].shape or chunks != pyramid.chunks:
                return None
            check_codecs(document, f"{self._kvstore.name}/{path}")
        except (KeyError, TypeError, IndexError):
            return None
        decoder = decoder_of(document, pyramid.dtype, pyramid.chunks, shards)
        if decoder is None:
            return None
        per_shard = tuple(s // c for s, c in zip(shards or pyramid.chunks, pyramid.chunks, strict=True))
        return _StoredLevel(prefix, separator, decoder, per_shard)

    def get(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> Array | None:
        """The full-size chunk, read-only; None if it isn't here. Errors of the medium and of codecs are passed on."""
        stored = self._levels.get((pyramid.key, level))
        raw = None if stored is None else self._stored_bytes(stored, index)
        if stored is None or raw is None:
            return None
        chunk = stored.decoder.decode(raw)
        chunk.flags.writeable = False
        return chunk

    def _stored_bytes(self, stored: _StoredLevel, index: tuple[int, ...]) -> bytes | None:
        sharding = stored.decoder.sharding
        if sharding is None:
            return self._kvstore.get(stored.prefix + stored.separator.join(map(str, index)))
        shard = (str(i // n) for i, n in zip(index, stored.per_shard, strict=True))
        key = stored.prefix + stored.separator.join(shard)
        table = self._shard_indices.get(key)
        if table is None:
            raw = self._kvstore.get_part(key, -sharding.index_size, sharding.index_size)
            if raw is None:
                return None
            table = self._shard_indices[key] = sharding.index_of(raw)
            if len(self._shard_indices) > _MAX_SHARD_INDICES:
                self._shard_indices.popitem(last=False)
        inside = [i % n for i, n in zip(index, stored.per_shard, strict=True)]
        offset, length = (int(n) for n in table[int(np.ravel_multi_index(inside, stored.per_shard))])
        return None if offset == length == _ABSENT else self._kvstore.get_part(key, offset, length)
