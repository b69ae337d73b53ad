"""The Zarr face: one object that is a zarr store and a mapping of encoded bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np

from lazypyr._util.cache import CacheInfo
from lazypyr.engine.engine import Engine
from lazypyr.engine.wait import wait_async
from lazypyr.engine.warm import warm
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.metadata import Codec
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.open import open_pyramid
from lazypyr.sources.read_only_store import ReadOnlyStore, to_slice
from lazypyr.store.chunk_bytes import bytes_of, encoded
from lazypyr.store.hierarchy import Face, keys_of
from lazypyr.store.keys import Chunk, size_of
from lazypyr.store.overlay.overlay import Overlay, OverlayConfig, open_overlay

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["LazyPyramidStore"]


class LazyPyramidStore(ReadOnlyStore, MutableMapping[str, bytes]):
    """A read-only zarr store whose coarser levels, and whose products, are computed when they are read.

    ``zarr.open(store)`` is a multiscale group; ``store["0/zarr.json"]`` and ``"3/c/0/1" in store`` serve readers that
    want a mapping.

    Parameters
    ----------
    src
        Path, URL, zarr array, group or store, mapping, numpy, dask or xarray array, or a `Pyramid`.
    zarr_format : {3, 2}
    layout : str
        Path of a level's array; ``"{level}/image"`` gives one group a level, as `xarray.open_datatree` wants.
    compressor : None, str or codec
        Of the chunks; None (default) is fastest for readers in the same process, "zstd" for others.
    dimension_separator : {"/", "."}
    legacy : bool
        Write multiscales 0.1 instead of OME-NGFF 0.4 (zarr v2 only).
    cache_bytes, inflight_bytes, workers, timeout_s
        Of the engine; see `lazypyr.engine.Engine`.
    engine : Engine, optional
        An engine to share with other stores.
    overlay : path, URL, mapping of bytes or zarr store, optional
        Chunks found there win over computing: levels that `materialize` wrote, and what earlier stores kept.
    write_through, overlay_bytes : bool; int, optional
        Keep there what is computed; at most so many bytes, those not used for longest go first.
    **recipe
        For `lazypyr.open_pyramid`: `method`, `product`, `axes`, `order`, `levels`, `chunks`, `factors`, `nodata`, `bounds`,
        `source_product`, `storage_options`.

    Raises
    ------
    PlanError
        At opening: what was given, what was expected, what to do.
    """

    supports_consolidated_metadata = True

    _overlay_config: OverlayConfig | None = None
    _overlay: Overlay | None = None

    def __init__(
        self,
        src: Any,
        *,
        zarr_format: int = 3,
        layout: str = "{level}",
        compressor: Any = None,
        dimension_separator: str = "/",
        legacy: bool = False,
        engine: Engine | None = None,
        cache_bytes: int | None = None,
        inflight_bytes: int | None = None,
        workers: int | None = None,
        timeout_s: float | None = None,
        overlay: Any = None,
        write_through: bool = False,
        overlay_bytes: int | None = None,
        **recipe: Any,
    ) -> None:
        face = Face(zarr_format, layout, Codec.of(compressor), dimension_separator, legacy)
        settings = {
            "cache_bytes": cache_bytes,
            "inflight_bytes": inflight_bytes,
            "workers": workers,
            "timeout_s": timeout_s,
        }
        chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        if engine is not None and not isinstance(engine, Engine):
            raise PlanError(f"engine: expected a lazypyr.engine.Engine, got {engine!r}")
        if engine is not None and chosen:
            raise PlanError(f"{', '.join(chosen)}: belong to the engine, which is given")
        self._overlay_config = OverlayConfig.from_options(
            overlay, write_through=write_through, overlay_bytes=overlay_bytes
        )
        self._set_up({"": open_pyramid(src, **recipe)}, face, engine or Engine(**chosen))

    @classmethod
    def of(cls, pyramids: Mapping[str, Pyramid], **options: Any) -> LazyPyramidStore:
        """A store of pyramids by the path of their group; options but those of the recipe are the constructor's."""
        first = next(iter(pyramids.values()))
        kept = {name: options.pop(name) for name in ("overlay", "write_through", "overlay_bytes") if name in options}
        store = cls(first, **options)
        store._overlay_config = OverlayConfig.from_options(**kept)
        store._set_up(pyramids, store._face, store._engine)
        return store

    def _set_up(self, pyramids: Mapping[str, Pyramid], face: Face, engine: Engine, *, strict: bool = True) -> None:
        super().__init__(read_only=True)
        self._overlay = open_overlay(
            self._overlay_config, pyramids, face, engine, replacing=self._overlay, strict=strict
        )
        self._pyramids, self._face, self._engine = dict(pyramids), face, engine
        keys = keys_of(self._pyramids, face)
        self._keys = keys if self._overlay is None else self._overlay.edited(keys)
        self._encoder = numcodecs.get_codec(face.codec.numcodecs_config()) if face.codec else None

    # What it shows

    @property
    def pyramid(self) -> Pyramid:
        """The pyramid at the root.

        Raises
        ------
        PlanError
            Of a collection, which has several: see `pyramids`.
        """
        if "" not in self._pyramids:
            raise PlanError(f"a collection has no pyramid at its root; pyramids[...] has {', '.join(self._pyramids)}")
        return self._pyramids[""]

    @property
    def pyramids(self) -> Mapping[str, Pyramid]:
        """Pyramids by the path of their group."""
        return dict(self._pyramids)

    def pyramid_at(self, path: str) -> tuple[Pyramid, int | None] | None:
        """The pyramid whose group, or the pyramid and level whose array, is at a path; None if neither is."""
        if path in self._pyramids:
            return self._pyramids[path], None
        served = self._keys.arrays.get(path)
        return None if served is None else (served.pyramid, served.level)

    @property
    def engine(self) -> Engine:
        """What computes."""
        return self._engine

    @property
    def overlay(self) -> Overlay | None:
        """Chunks that were computed before."""
        return self._overlay

    @property
    def fingerprint(self) -> str:
        """Of the sources, the recipes, and the way they are shown."""
        return "-".join(p.fingerprint for p in self._pyramids.values())

    def cache_info(self) -> CacheInfo:
        """Hits, misses, bytes held (`currsize`), bytes allowed (`maxsize`), computes."""
        return self._engine.cache_info()

    def refresh(self) -> None:
        """Open the sources again and forget all chunks: what is read from now on is of the sources as they are now.

        What an overlay holds of a source that has changed is left aside.
        """
        pyramids = {path: pyramid.refreshed() for path, pyramid in self._pyramids.items()}
        self._set_up(pyramids, self._face, self._engine, strict=False)
        self._engine.clear()

    def warm(self, *, min_level: int | None = None, progress: bool = True) -> None:
        """Compute the coarser levels ahead of the first viewer, in one pass over the source.

        It may be interrupted; what was computed stays.

        Parameters
        ----------
        min_level : int, optional
            The finest level to compute; by default the finest that fits in half the cache with all coarser ones.
        progress : bool
            Show a bar.

        Raises
        ------
        PlanError
            When there is no such level, or it can't be kept in the cache.
        """
        for pyramid in self._pyramids.values():
            warm(pyramid, self._engine, min_level=min_level, progress=progress)

    def explain(self, key: str) -> Explanation:
        """What getting a chunk would read, from where, how many chunks and bytes; nothing is read.

        Raises
        ------
        KeyError
            When no chunk of the store has this key.
        """
        chunk = self._keys.chunk(key)
        if chunk is None:
            raise KeyError(key)
        pyramid, level = chunk.served.pyramid, chunk.served.level
        window = windows.chunk_window(chunk.index, pyramid.chunks, pyramid.levels[level].shape)
        return pyramid.explain(level, window, self._engine)

    # Values

    def _chunk_value(self, chunk: Chunk) -> np.ndarray[Any, Any] | bytes:
        """A chunk's value, computed in this thread if need be."""
        engine, served = self._engine, chunk.served
        if self._encoder is None:
            return engine.chunk(served.pyramid, served.level, chunk.index)
        value: bytes = engine.get(self._encoded_key(chunk), self._encode(chunk))
        return value

    def _encoded_key(self, chunk: Chunk) -> tuple[Any, ...]:
        return "encoded", self._face.codec, chunk.served.pyramid.key, chunk.served.level, chunk.index

    def _encode(self, chunk: Chunk) -> Callable[[], bytes]:
        def encode() -> bytes:
            assert self._encoder is not None
            tile = self._engine.chunk(chunk.served.pyramid, chunk.served.level, chunk.index)
            return encoded(self._encoder, tile)

        return encode

    async def _value(self, key: str) -> np.ndarray[Any, Any] | bytes | None:
        document = self._keys.documents.get(key)
        if document is not None:
            return document
        chunk = self._keys.chunk(key)
        if chunk is None:
            return None
        engine, served = self._engine, chunk.served
        if self._encoder is None:
            value, computation = engine.request(served.pyramid, served.level, chunk.index)
        else:
            value, computation = engine.submit(self._encoded_key(chunk), self._encode(chunk))
        if computation is None:
            return value
        arrived: np.ndarray[Any, Any] | bytes = await wait_async(engine, computation, key)
        return arrived

    # zarr.abc.store.Store

    def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The mapping's ``get(key, default)``; with a `BufferPrototype` as second argument, zarr's awaitable."""
        if hasattr(prototype, "buffer") and hasattr(prototype, "nd_buffer"):
            return self._get(key, prototype, byte_range)
        try:
            return self[key]
        except KeyError:
            return prototype

    async def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        to_slice(byte_range, 0)  # a request that is none is refused before anything is computed
        value = await self._value(key)
        if value is None:
            return None
        flat = np.frombuffer(value, "B") if isinstance(value, bytes) else bytes_of(value)
        return prototype.buffer.from_array_like(flat[to_slice(byte_range, flat.size)])

    async def exists(self, key: str) -> bool:
        """Whether there is such a key; nothing is computed."""
        return key in self._keys

    async def getsize(self, key: str) -> int:
        """Bytes of a value. An uncompressed chunk's are known; a compressed one must be made to know."""
        document = self._keys.documents.get(key)
        if document is not None:
            return len(document)
        chunk = self._keys.chunk(key)
        if chunk is None:
            raise FileNotFoundError(key)
        known = size_of(chunk.served.node)
        if known is not None:
            return known
        value = await self._value(key)
        return 0 if value is None else len(value)

    async def list(self) -> AsyncIterator[str]:
        """All keys; chunks are counted out, not computed."""
        for key in self._keys:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys in a folder: "1" is the folder "1", not the beginning of "10"."""
        for key in self._keys.below(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names directly in a folder."""
        for name in self._keys.names(prefix):
            yield name

    def with_read_only(self, read_only: bool = False) -> LazyPyramidStore:  # noqa: FBT001, FBT002 - zarr's signature
        """The store itself: it is read-only."""
        # Of a writable one the base class says that there is none, in the words that zarr's callers look for.
        return self if read_only else super().with_read_only(read_only)  # type: ignore[return-value]

    def close(self) -> None:
        """Let go of threads and chunks."""
        self._engine.close()
        with contextlib.suppress(AttributeError):  # zarr 2 has none
            super().close()

    # collections.abc.MutableMapping

    def __getitem__(self, key: str) -> bytes:
        document = self._keys.documents.get(key)
        if document is not None:
            return document
        chunk = self._keys.chunk(key)
        if chunk is None:
            raise KeyError(key)
        value = self._chunk_value(chunk)
        return value if isinstance(value, bytes) else value.tobytes()

    def __setitem__(self, key: str, value: bytes) -> None:
        self._check_writable()

    def __delitem__(self, key: str) -> None:
        self._check_writable()

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __bool__(self) -> bool:
        return True

    def clear(self) -> Any:
        """Refused: the store is read-only."""
        self._check_writable()

    # Values among values

    def _shown(self) -> tuple[Any, ...]:
        return self._face, {path: (pyramid, pyramid.georeference) for path, pyramid in self._pyramids.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyPyramidStore) and self._shown() == other._shown()

    def __hash__(self) -> int:
        return hash((*self._pyramids.items(), self._face))

    def __getstate__(self) -> dict[str, Any]:
        return {"pyramids": self._pyramids, "face": self._face, "engine": self._engine, "overlay": self._overlay_config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._overlay_config = state["overlay"]
        self._set_up(state["pyramids"], state["face"], state["engine"], strict=False)

    def __repr__(self) -> str:
        inside = ", ".join(f"{path or '/'}: {pyramid!r}" for path, pyramid in self._pyramids.items())
        return f"<LazyPyramidStore v{self._face.zarr_format} {inside}>"

    def __str__(self) -> str:
        # zarr asks for it in every repr: no fingerprint, which may take reading all pixels of an array in memory.
        return f"lazypyr://{hash(self) & 0xFFFFFFFFFFFFFFFF:016x}"
