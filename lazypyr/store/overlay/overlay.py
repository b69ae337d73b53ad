"""Overlay: chunks that were computed before, in levels that `materialize` wrote and in a disk cache that fills on reading.

Both are in one key-value store, under the keys of an ordinary hierarchy and under ``.lazypyr/tiles``. A value that is
damaged there is a miss: the chunk is computed, as if it had never been kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr._names import without_secrets
from lazypyr._util.checks import positive
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.kvstore.open import open_kvstore
from lazypyr.pyramids.base import Pyramid
from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.store.keys import Keys
from lazypyr.store.layout import StoreLayout
from lazypyr.store.overlay.attributes import Overrides, with_overrides
from lazypyr.store.overlay.disk_cache import TILE_NAMES, TILES, DiskCache
from lazypyr.store.overlay.levels import MaterializedLevels

__all__ = ["UNKNOWN_FUNCTION", "OverlayChunks", "Overlay", "open_overlay"]

# Ending of messages about an identity that differs while all that can be described is the same.
UNKNOWN_FUNCTION = (
    "a function of its recipe; one whose source text can't be found is another one in each process, unless it is declared "
    'with a version, e.g. lazypyr.product(function, version="1")'
)

Array = np.ndarray[Any, Any]
_RECORD = f"{HIDDEN}/overlay.json"
# A medium that fails so often is not written to any more.
_MAX_FAILURES = 3

log = logging.getLogger("lazypyr")


@dataclass(frozen=True)
class Overlay:
    """Overlay of a store: the place of chunks that are read instead of computed, and what is kept there.

    Parameters
    ----------
    place : path, URL (fsspec), mapping of bytes or zarr store
        Levels that `materialize` wrote, and chunks that earlier stores kept.
    write_through : bool
        Keep the chunks that are computed.
    limit_bytes : int, optional
        Bound of the chunks that are kept, in bytes; the least recently used go first. Materialized levels don't count.
    storage_options : mapping, optional
        Options of fsspec, with a URL.

    Raises
    ------
    PlanError
        For a place that can't be written to, or a bound that isn't above 0.

    See Also
    --------
    lazypyr.LazyPyramidStore : Store that it is given to.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> kept = lazypyr.Overlay({}, write_through=True, limit_bytes=2**30)
    >>> store = lazypyr.LazyPyramidStore(np.zeros((600, 400)), overlay=kept)
    """

    place: Any
    write_through: bool = False
    limit_bytes: int | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limit_bytes is not None:
            positive(self.limit_bytes, "overlay_bytes", "a number of bytes above 0")
        object.__setattr__(self, "place", open_kvstore(self.place, self.storage_options))
        object.__setattr__(self, "storage_options", None)

    @classmethod
    def of(cls, overlay: Any, *, write_through: bool, overlay_bytes: int | None) -> Overlay | None:
        """Overlay of a store's options; None where there is none.

        Raises
        ------
        PlanError
            For `write_through` or `overlay_bytes` without an overlay, or beside one that has its own.
        """
        given = [name for name, value in (("write_through", write_through), ("overlay_bytes", overlay_bytes)) if value]
        if isinstance(overlay, cls):
            if given:
                raise PlanError(
                    f"{', '.join(given)}: part of the overlay, which is given: lazypyr.Overlay(place, write_through=True, "
                    "limit_bytes=...)"
                )
            return overlay
        if overlay is None:
            if write_through or overlay_bytes is not None:
                raise PlanError("write_through and overlay_bytes need overlay=, the place where tiles are kept")
            return None
        return cls(overlay, write_through, overlay_bytes)

    @property
    def kvstore(self) -> KVStore:
        """Key-value store at the place."""
        kvstore: KVStore = self.place
        return kvstore


class OverlayChunks:
    """Chunks of some pyramids, kept in a key-value store.

    Parameters
    ----------
    config : Overlay
    pyramids : Mapping[str, Pyramid]
        By path of their group.
    layout : StoreLayout
        Its layout gives the paths of the levels.
    strict : bool
        Refuse a store that holds something else; False ignores what it holds.

    Raises
    ------
    PlanError
        When the store holds chunks of another recipe or source.
    """

    def __init__(
        self, config: Overlay, pyramids: Mapping[str, Pyramid], layout: StoreLayout, *, strict: bool = True
    ) -> None:
        self.kvstore, self.write_through, self.limit_bytes = config.kvstore, config.write_through, config.limit_bytes
        self._about = {
            path: {"fingerprint": p.fingerprint, "recipe": without_secrets(p.description)}
            for path, p in pyramids.items()
        }
        self._overrides: dict[str, Overrides] = {}
        self._failures = 0
        self._recorded = False
        self._levels = MaterializedLevels(self.kvstore)
        self._cache = DiskCache(self.kvstore, self.limit_bytes)
        self._check_record(strict=strict)
        self._folders: dict[Hashable, str] = {}
        for served in build_hierarchy(pyramids, layout).arrays.values():
            self._folders.setdefault(served.pyramid.key, f"{TILES}/{served.pyramid.fingerprint[:32]}")
        for group, pyramid in pyramids.items():
            self._add_levels(group, pyramid, layout, strict=strict)
        self._cache.count()
        if self.write_through:
            with self._errors_logged("its disk cache"):
                self._cache.shrink()

    def _check_record(self, *, strict: bool) -> None:
        raw = self.kvstore.get(_RECORD)
        if raw is None:
            return
        try:
            recorded = json.loads(raw)
        except ValueError:
            recorded = None
        if _fingerprints(recorded) == _fingerprints(self._about):
            self._recorded = True
        elif strict:
            differences = _differences(recorded, self._about)
            raise PlanError(f"overlay {self.kvstore.name} is of another recipe or source: {differences}")
        else:
            self.kvstore.clear(TILES, TILE_NAMES)

    def _add_levels(self, group: str, pyramid: Pyramid, layout: StoreLayout, *, strict: bool) -> None:
        attributes = self._levels.attributes(group)
        if attributes is None:
            return
        ours = attributes.get("lazypyr")
        recorded = ours if isinstance(ours, dict) else {}
        if recorded.get("fingerprint") != pyramid.fingerprint:
            if not strict:
                return
            differences = _differences({group: recorded}, {group: self._about[group]})
            raise PlanError(
                f"overlay {self.kvstore.name} holds another hierarchy, not levels of this source: {differences}"
            )
        overrides = self._levels.add(group, pyramid, layout)
        if overrides:
            self._overrides[group] = overrides

    def edited(self, keys: Keys) -> Keys:
        """The keys of a store, with the attributes of its groups that were edited here."""
        if not self._overrides:
            return keys
        return Keys(with_overrides(keys.documents, self._overrides), keys.arrays, keys.zarr_format, keys.copies)

    @property
    def levels(self) -> list[int]:
        """Numbers of the levels that are whole here."""
        return self._levels.numbers

    @property
    def tile_bytes(self) -> int:
        """Bytes of the disk cache, as far as this process knows."""
        return self._cache.total_bytes

    def get(self, pyramid: Pyramid, level: int, index: tuple[int, ...], *, quick: bool = False) -> Array | None:
        """The full-size chunk, None if it isn't here.

        Parameters
        ----------
        pyramid : Pyramid
        level : int
        index : tuple of int
        quick : bool
            Ask the medium only for chunks that are known to be there.
        """
        try:
            chunk = self._levels.get(pyramid, level, index)
        except Exception as error:
            log.warning("overlay %s: level %d, chunk %s: %s", self.kvstore.name, level, index, error)
            chunk = None
        if chunk is not None:
            return chunk
        key = self._key(pyramid, level, index)
        if key is None:
            return None
        if not self._cache.knows(key) and (quick or (self._cache.is_empty and not self.write_through)):
            return None
        raw = self._cache.get(key, math.prod(pyramid.chunks) * pyramid.dtype.itemsize)
        return None if raw is None else np.frombuffer(raw, pyramid.dtype).reshape(pyramid.chunks)

    def _key(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> str | None:
        folder = self._folders.get(pyramid.key)
        return None if folder is None else f"{folder}/{level}/{'.'.join(map(str, index))}"

    def put(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        """Keep a full-size chunk, if that is wanted and the bound allows it; errors are logged, never raised."""
        key = self._key(pyramid, level, index)
        if not self.write_through or key is None or self._failures >= _MAX_FAILURES:
            return
        if (pyramid.key, level) in self._levels or self._cache.knows(key):
            return
        with self._errors_logged(key):
            if not self._recorded:
                self.kvstore.put_atomic(_RECORD, json.dumps(self._about).encode())
                self._recorded = True
            self._cache.put(key, chunk.tobytes())

    @contextlib.contextmanager
    def _errors_logged(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failures += 1
            more = "; nothing more is kept there" if self._failures >= _MAX_FAILURES else ""
            log.warning("overlay %s: %s: can't be written: %s%s", self.kvstore.name, what, error, more)


def open_overlay(
    config: Overlay | None,
    pyramids: Mapping[str, Pyramid],
    layout: StoreLayout,
    engine: Engine,
    *,
    replacing: OverlayChunks | None = None,
    strict: bool = True,
) -> OverlayChunks | None:
    """Open the overlay of a store's pyramids as a sink of its engine, in place of the one before; see `OverlayChunks`."""
    overlay = None if config is None else OverlayChunks(config, pyramids, layout, strict=strict)
    if replacing is not None:
        engine.remove_sink(replacing)
    if overlay is not None:
        engine.add_sink(overlay)
    return overlay


def _fingerprints(about: Any) -> Any:
    """Fingerprints by path; the rest of a record is for people, and names a source as it was spelled."""
    by_path = about.items() if isinstance(about, Mapping) else ()
    return {path: each.get("fingerprint") if isinstance(each, Mapping) else None for path, each in by_path}


def _differences(recorded: Any, wanted: Mapping[str, Mapping[str, str]]) -> str:
    """Differences between two records, in words."""
    if not isinstance(recorded, dict):
        return "its record can't be read"
    differences = []
    for path, expected in wanted.items():
        value = recorded.get(path)
        of_path = value if isinstance(value, dict) else {}
        name = path or "the root"
        if not of_path:
            differences.append(f"it has nothing of {name}")
        elif of_path.get("fingerprint") == expected["fingerprint"]:
            continue
        elif of_path.get("recipe") != expected["recipe"]:
            differences.append(f"{name} was made as {of_path.get('recipe')!r}, now it is {expected['recipe']!r}")
        else:
            differences.append(f"the source of {name} has changed since, or the shape of tiles, or {UNKNOWN_FUNCTION}")
    return "; ".join(differences) or "it holds other pyramids"
