"""The Zarr layout: one object that is a zarr store and a mapping of encoded bytes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numcodecs
import numpy as np

from lazypyr._util.cache import CacheInfo
from lazypyr.engine.engine import Engine
from lazypyr.engine.wait import wait_async
from lazypyr.engine.warm import warm
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.open import open_pyramid
from lazypyr.pyramids.options import PyramidOptions
from lazypyr.registry import check_options
from lazypyr.sources.chunk_memory import using_memory
from lazypyr.sources.copied import Surroundings
from lazypyr.sources.read_only_store import to_slice
from lazypyr.store.chunk_bytes import bytes_of, encoded
from lazypyr.store.groups import engine_of, open_groups
from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.store.keyed import KeyedStore
from lazypyr.store.keys import Chunk, CopiedChunk
from lazypyr.store.layout import StoreLayout
from lazypyr.store.overlay.overlay import Overlay, OverlayChunks, open_overlay
from lazypyr.store.stats import stats_of
from lazypyr.store.texts import StoreTexts

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["LazyPyramidStore"]


class LazyPyramidStore(StoreTexts, KeyedStore):
    """Read-only zarr store whose coarser levels, and whose products, are computed when they are read.

    ``zarr.open(store)`` is a multiscale group; ``store["0/zarr.json"]`` and ``"3/c/0/1" in store`` serve readers that
    want a mapping.

    Parameters
    ----------
    src : object
        Path, URL, zarr array, group or store, mapping, numpy, dask or xarray array, or a `Pyramid`.
    zarr_format : {3, 2}
        Format of keys and documents.
    layout : str or StoreLayout
        Path of a level's array, or the name of a layout: "xarray" is ``"{level}/image"``, a group with coordinates a level.
    compressor : None, str or codec
        Of the chunks; None (default) is fastest for readers in the same process, "zstd" for others.
    dimension_separator : {"/", "."}
        Between the indices in a chunk's key.
    legacy : bool
        Write multiscales 0.1 instead of OME-NGFF 0.4 (zarr v2 only).
    engine : Engine, optional
        An engine to share with other stores.
    cache_bytes, inflight_bytes, workers, timeout_s, request_bytes : int, int, int, float, int, optional
        Options of the engine that is made otherwise, see `lazypyr.Engine`.
    overlay : path, URL, mapping of bytes, zarr store or Overlay, optional
        Chunks found there are read instead of computed: levels that `materialize` wrote, and chunks that earlier stores kept.
    write_through, overlay_bytes : bool; int, optional
        Keep there what is computed; at most so many bytes, those not used for longest go first.
    as_collection : bool, optional
        True for a collection also of a single raster, False for one pyramid; by default several rasters are a collection.
    **recipe
        For `lazypyr.open_pyramid`: `method`, `product`, `axes`, `order`, `levels`, `chunks`, `factors`, `nodata`, `decode`, `bounds`,
        `source_product`, `storage_options`, `allow_codecs`.

    Attributes
    ----------
    surroundings : Surroundings
        Groups and arrays of the source that are served as they are, and what of it can't be read.

    Raises
    ------
    PlanError
        At opening: what was given, what was expected, what to do.

    Examples
    --------
    >>> import numpy as np
    >>> import zarr
    >>> import lazypyr
    >>> store = lazypyr.LazyPyramidStore(np.ones((600, 400), "f4"), method="mean")
    >>> zarr.open(store)["1"]
    <Array lazypyr://.../1 shape=(300, 200) dtype=float32>
    >>> len(store["2/c/0/0"])
    262144
    """

    _overlay: OverlayChunks | None = None
    surroundings: Surroundings
    # Another text after each `refresh`, which may be the only sign of a change.
    _version = ""

    def __init__(
        self,
        src: Any,
        *,
        zarr_format: int = 3,
        layout: str | StoreLayout = "{level}",
        compressor: Any = None,
        dimension_separator: str = "/",
        legacy: bool = False,
        engine: Engine | None = None,
        cache_bytes: int | None = None,
        inflight_bytes: int | None = None,
        workers: int | None = None,
        timeout_s: float | None = None,
        request_bytes: int | None = None,
        overlay: Any = None,
        write_through: bool = False,
        overlay_bytes: int | None = None,
        as_collection: bool | None = None,
        **recipe: Unpack[PyramidOptions],
    ) -> None:
        check_options("LazyPyramidStore", recipe, LazyPyramidStore, open_pyramid)
        form = StoreLayout.of(layout, zarr_format=zarr_format, compressor=compressor,
                              dimension_separator=dimension_separator, legacy=legacy)  # fmt: skip
        engine = engine_of(
            engine,
            cache_bytes=cache_bytes,
            inflight_bytes=inflight_bytes,
            workers=workers,
            timeout_s=timeout_s,
            request_bytes=request_bytes,
        )
        config = Overlay.of(overlay, write_through=write_through, overlay_bytes=overlay_bytes)
        pyramids, around = open_groups(src, as_collection=as_collection, **recipe)
        self._build(pyramids, form, engine, config, around)

    def _build(
        self,
        pyramids: Mapping[str, Pyramid],
        layout: StoreLayout,
        engine: Engine,
        overlay_config: Overlay | None,
        surroundings: Surroundings,
        *,
        strict: bool = True,
    ) -> None:
        super().__init__(read_only=True)
        self._overlay_config = overlay_config
        self._overlay = open_overlay(overlay_config, pyramids, layout, engine, replacing=self._overlay, strict=strict)
        self._pyramids, self._layout, self._engine = dict(pyramids), layout, engine
        self.surroundings = surroundings
        keys = build_hierarchy(self._pyramids, layout, surroundings)
        self._keys = keys if self._overlay is None else self._overlay.edited(keys)
        self._encoder = numcodecs.get_codec(layout.compressor.numcodecs_config()) if layout.compressor else None

    def with_layout(self, **changes: Any) -> LazyPyramidStore:
        """Store of the same pyramids on the same engine, laid out otherwise, without the overlay.

        Parameters
        ----------
        **changes
            Parameters of `lazypyr.StoreLayout`.
        """
        return self._like(self._pyramids, replace(self._layout, **changes), None)

    def refreshed(self) -> LazyPyramidStore:
        """Store of the sources as they are now, on the same engine and overlay; the store itself if nothing changed."""
        pyramids = self._refreshed()
        if all(pyramid.fingerprint == self._pyramids[path].fingerprint for path, pyramid in pyramids.items()):
            return self
        return self._of(pyramids)

    def _refreshed(self) -> dict[str, Pyramid]:
        return {path: pyramid.refreshed() for path, pyramid in self._pyramids.items()}

    def _of(self, pyramids: Mapping[str, Pyramid]) -> LazyPyramidStore:
        """Store of other pyramids that takes the place of this one in the engine."""
        other = self._like(pyramids, self._layout, self._overlay_config)
        if self._overlay is not None:
            self._engine.remove_sink(self._overlay)
        return other

    def _like(
        self, pyramids: Mapping[str, Pyramid], layout: StoreLayout, overlay_config: Overlay | None
    ) -> LazyPyramidStore:
        """Store on the same engine, and of the same version."""
        other = type(self).__new__(type(self))
        other.__setstate__((pyramids, layout, self._engine, overlay_config, self.surroundings))
        other._version = self._version  # noqa: SLF001 - a store of ours
        return other

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

    def pyramid_at(self, path: str) -> tuple[Pyramid, int | None] | None:
        """The pyramid whose group, or the pyramid and level whose array, is at a path; None if neither is."""
        if path in self._pyramids:
            return self._pyramids[path], None
        served = self._keys.arrays.get(path)
        return None if served is None else (served.pyramid, served.level)

    @property
    def layout(self) -> StoreLayout:
        """Zarr format, paths and compressor."""
        return self._layout

    @property
    def engine(self) -> Engine:
        """Engine that computes the chunks."""
        return self._engine

    @property
    def overlay(self) -> OverlayChunks | None:
        """Chunks that were computed before."""
        return self._overlay

    @property
    def fingerprint(self) -> str:
        """Hash of the sources and the recipes."""
        return "-".join(p.fingerprint for p in self._pyramids.values())

    @property
    def version(self) -> str:
        """Text that each `refresh` changes, also where no change of the source can be seen."""
        return self._version

    def cache_info(self) -> CacheInfo:
        """Hits, misses, bytes held (`currsize`), bytes allowed (`maxsize`), computes."""
        return self._engine.cache_info()

    def stats(self) -> dict[str, Any]:
        """Figures, JSON-like: changes that are seen of each source, cache, bounds, bytes in flight and in the overlay."""
        return stats_of(self._pyramids, self._engine, self._overlay)

    def refresh(self) -> None:
        """Open the sources again and forget all chunks: what is read from now on is of the sources as they are now.

        What an overlay holds of a source that has changed is left aside.
        """
        self.__dict__ = self._of(self._refreshed()).__dict__  # at one instant, for readers in other threads
        self._engine.clear()
        self._version = uuid.uuid4().hex

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
        """Explanation of the chunks and bytes that getting a chunk would read; nothing is read.

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
        with using_memory(self._engine.chunk_memory):
            return pyramid.explain(level, window, self._engine)

    # Values

    def _chunk_value(self, chunk: Chunk) -> np.ndarray[Any, Any] | bytes:
        """A chunk's value, computed in this thread if need be."""
        engine, served = self._engine, chunk.served
        if self._encoder is None:
            return engine.chunk(served.pyramid, served.level, chunk.index)
        return bytes(engine.get(self._encoded_key(chunk), self._encode(chunk)))

    def _encoded_key(self, chunk: Chunk) -> tuple[Any, ...]:
        return "encoded", self._layout.compressor, chunk.served.pyramid.key, chunk.served.level, chunk.index

    def _encode(self, chunk: Chunk) -> Callable[[], bytes]:
        def encode() -> bytes:
            assert self._encoder is not None
            tile = self._engine.chunk(chunk.served.pyramid, chunk.served.level, chunk.index)
            return encoded(self._encoder, tile)

        return encode

    def _copied(self, chunk: CopiedChunk) -> tuple[tuple[Any, ...], Callable[[], bytes]]:
        """Key in the engine of a chunk of an array that is served as it is, and the function that gives it."""
        form, array = self._layout.form, chunk.served.array
        return ("copied", *form, array.key, chunk.index), lambda: array.chunk(chunk.index, *form)

    async def _value(self, key: str) -> np.ndarray[Any, Any] | bytes | None:
        document = self._keys.documents.get(key)
        if document is not None:
            return document
        chunk, copied = self._keys.chunk(key), self._keys.copied_chunk(key)
        engine = self._engine
        if copied is not None:
            value, computation = engine.submit(*self._copied(copied))
        elif chunk is None:
            return None
        elif self._encoder is None:
            value, computation = engine.request(chunk.served.pyramid, chunk.served.level, chunk.index)
        else:
            of = chunk.served.pyramid, chunk.served.level, (chunk.index,)
            value, computation = engine.submit(self._encoded_key(chunk), self._encode(chunk), of=of)
        if computation is None:
            return value
        arrived: np.ndarray[Any, Any] | bytes = await wait_async(engine, computation, key)
        return arrived

    # zarr.abc.store.Store

    async def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        to_slice(byte_range, 0)  # a request that is none is refused before anything is computed
        value = await self._value(key)
        if value is None:
            return None
        flat = np.frombuffer(value, "B") if isinstance(value, bytes) else bytes_of(value)
        return prototype.buffer.from_array_like(flat[to_slice(byte_range, flat.size)])

    async def getsize(self, key: str) -> int:
        """Bytes of a value. An uncompressed chunk's are known; a compressed one must be computed."""
        try:
            size = self.size_of(key)
        except KeyError:
            raise FileNotFoundError(key) from None
        if size is not None:
            return size
        value = await self._value(key)
        return 0 if value is None else len(value)

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
        copied = self._keys.copied_chunk(key)
        if copied is not None:
            return bytes(self._engine.get(*self._copied(copied)))
        chunk = self._keys.chunk(key)
        if chunk is None:
            raise KeyError(key)
        value = self._chunk_value(chunk)
        return value if isinstance(value, bytes) else value.tobytes()

    def _shown(self) -> tuple[Any, ...]:
        return self._layout, {path: (pyramid, pyramid.georeference) for path, pyramid in self._pyramids.items()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyPyramidStore) and self._shown() == other._shown()

    def __hash__(self) -> int:
        return hash((*self._pyramids.items(), self._layout))

    def __reduce__(self) -> tuple[Any, ...]:
        state = self._pyramids, self._layout, self._engine, self._overlay_config, self.surroundings
        return type(self).__new__, (type(self),), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._build(*state, strict=False)
