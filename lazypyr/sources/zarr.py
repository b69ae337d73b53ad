"""Zarr arrays as sources: their chunks decoded in our own threads where that can be, through zarr where not."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr.errors import SourceError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.projection import axis_projections, chunk_projections
from lazypyr.geometry.windows import Window
from lazypyr.metadata.dataset import EMPTY, DatasetMetadata
from lazypyr.metadata.nodata import OF_NODATA
from lazypyr.metadata.packing import read_packing
from lazypyr.sources.array_metadata import ArrayMetadata, chunk_shape, same_layout, shard_shape, written_document
from lazypyr.sources.base import Source, native, placed_as
from lazypyr.sources.chunk_bytes import byte_store_of
from lazypyr.sources.chunk_reader import ChunkReader, ShardIndices, StoredChunks, read_error
from lazypyr.sources.codec_guard import known_codecs_only
from lazypyr.sources.codecs import check_codecs
from lazypyr.sources.decoder import decoder_of
from lazypyr.sources.far.ahead import StoredChunk, reading_ahead
from lazypyr.sources.far.chunks import ChunkFetcher, FarArray
from lazypyr.sources.far.store import opening

__all__ = ["ZarrSource"]

Array = np.ndarray[Any, Any]
# A shard larger than this is read chunk by chunk even where zarr would rather fetch it whole.
_MAX_SHARD_BYTES = 64 * 2**20
# Chunks that are asked for side by side, where each is a trip.
_CHUNKS_AT_ONCE = 16
_BATCH_BYTES = 16 * 2**20


class ZarrSource(Source):
    """One zarr array, v2 or v3, of any store.

    Parameters
    ----------
    array : zarr.Array
        Never written to.
    axes : tuple of str
        One name an axis.
    mapping : Mapping[str, bytes], optional
        The mapping that the array's store wraps, read directly.
    reopen : callable, optional
        Opens the array anew, for `refreshed`.
    owner : object, optional
        Whose identity tells an array in memory from others; its store, if not given.
    location : str, optional
        Path or URL that was opened; the store's own text, if not given.
    metadata : DatasetMetadata, optional
        What its dataset states about it; its own attributes, if not given.
    describe : callable, optional
        Gives the members of `metadata` that may have changed when the array has been opened anew, for `refreshed`.
    allow_codecs : tuple of str, optional
        Codecs besides those that only decode numbers.
    within : str, optional
        Path of the group whose consolidated metadata tell of it: where its store is far, its own document isn't asked for.

    Raises
    ------
    PlanError
        For an array whose metadata name another codec.
    """

    def __init__(
        self,
        array: Any,
        axes: tuple[str, ...],
        *,
        name: str,
        mapping: Mapping[str, Any] | None = None,
        reopen: Callable[[], Any] | None = None,
        owner: Any = None,
        location: str | None = None,
        metadata: DatasetMetadata | None = None,
        describe: Callable[[Any], Mapping[str, Any]] | None = None,
        allow_codecs: tuple[str, ...] = (),
        within: str | None = None,
    ) -> None:
        self.array, self.axes, self.name, self.mapping = array, axes, name, mapping
        self._owner = array.store if owner is None else owner
        self._location = location or str(array.store_path)
        self.shape, self.dtype = tuple(array.shape), native(array.dtype)
        self.metadata = metadata or EMPTY.replaced(attrs=dict(array.attrs))
        self._reopen, self._describe, self._allow_codecs, self._within = reopen, describe, allow_codecs, within
        fill = array.fill_value
        if fill is None:  # v2 leaves it open; zarr-python hands out NaT for times, else zero
            fill = np.array("NaT" if self.dtype.kind in "mM" else 0, self.dtype)
        self.fill_value = np.asarray(fill).astype(self.dtype)[()]
        self._setup()
        self._fingerprint = self._metadata.fingerprint(str(array.store_path), self._owner, array.path)
        self._open_chunks()

    def _setup(self, version: object = None) -> None:
        """Set what reading needs and a pickle doesn't carry."""
        array = self.array
        stored, shards = chunk_shape(array), shard_shape(array)
        store = byte_store_of(array, self.mapping)
        if version is None and self._within is not None and store.requests is not None:
            version = written_document(array.metadata)
        self._metadata = ArrayMetadata(array, store, self.name, version)
        check_codecs(self._metadata.document, self.name, self._allow_codecs)
        decoder = decoder_of(self._metadata.document, np.dtype(array.dtype), stored, shards)
        self.chunks, self._store, self._decoder, self._shards = stored, store, decoder, shards
        if shards and decoder is None and math.prod(shards) * self.dtype.itemsize <= _MAX_SHARD_BYTES:
            self.chunks = shards
        self.cheap_stride = decoder is not None and decoder.raw and store.reads_parts
        self._chunks: StoredChunks | None = None
        self._bounded: Any = None  # the array as zarr reads it, where that decodes its chunks

    def _open_chunks(self) -> None:
        """Set what chunks are read by, once it is known by which name they are kept."""
        decoder, store = self._decoder, self._store
        if decoder is None:
            from lazypyr.sources.bounded import bounded_array

            self._bounded = bounded_array(self.array)
            return
        per_shard = tuple(s // c for s, c in zip(self._shards, self.chunks, strict=False))
        key_of = self.array.metadata.encode_chunk_key
        fetcher = None
        if store.requests is not None:
            grid = windows.chunk_count(self.shape, decoder.shape)
            array = FarArray(self._fingerprint, lambda index: store.name_of(key_of(index)), decoder, per_shard, grid)
            fetcher = ChunkFetcher(array, store.requests)
        # An option of zarr 3.2 and newer; before, what is absent is fill value.
        lenient = getattr(getattr(self.array, "config", None), "read_missing_chunks", True)
        self._chunks = StoredChunks(
            self.name,
            store,
            self._metadata,
            key_of,
            decoder,
            self.fill_value,
            ShardIndices(per_shard),
            fetcher,
            self._fingerprint,
            lenient,
        )

    @property
    def preferred_read_shape(self) -> tuple[int, ...]:
        # What zarr reads, it asks for side by side, which hides the way to it.
        if self._decoder is not None or self._store.requests is None:
            return self.chunks
        affordable = max(1, _BATCH_BYTES // (math.prod(self.chunks) * self.dtype.itemsize))
        count = min(math.isqrt(_CHUNKS_AT_ONCE), math.isqrt(affordable))
        return tuple(c * count if axis in SPATIAL_AXES else c for c, axis in zip(self.chunks, self.axes, strict=True))

    @property
    def is_far(self) -> bool:
        return self._chunks is not None and self._chunks.fetcher is not None

    @property
    def index_bytes(self) -> int:
        if self._chunks is None:
            return 0
        fetcher = self._chunks.fetcher
        far = 0 if fetcher is None or fetcher.shards is None else fetcher.shards.n_bytes
        return self._chunks.shards.n_bytes + far

    @property
    def epoch(self) -> int:
        fetcher = None if self._chunks is None else self._chunks.fetcher
        return 0 if fetcher is None else fetcher.epoch

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        chunks = self._chunks
        if chunks is None or chunks.fetcher is None:
            return
        steps = step or (1,) * len(window)
        by_axis = [
            axis_projections(a, b, s, c) for (a, b), s, c in zip(window, steps, chunks.decoder.shape, strict=True)
        ]
        for index in itertools.product(*([number for number, _, _ in projections] for projections in by_axis)):
            yield chunks.fetcher, index

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_metadata", "_chunks", "_bounded", "_owner", "_store", "_decoder", "_shards")
        state = {k: v for k, v in self.__dict__.items() if k not in left_out}
        return {**state, "_version": self._metadata.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        version = state.pop("_version")
        self.__dict__.update(state)
        self._owner = self.array.store
        self._setup(version)
        self._open_chunks()

    @property
    def location(self) -> str:
        return self._location

    @property
    def media(self) -> tuple[Any, ...]:
        store = self.array.store
        return store, self._owner, self.mapping, getattr(store, "_store_dict", None)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def identity(self) -> Hashable:
        return self._fingerprint

    def has_changed(self) -> bool:
        fresh = self.refreshed()
        tells = fresh._metadata.tells_changes  # noqa: SLF001 - of its own class
        return tells and fresh.fingerprint != self._fingerprint

    @property
    def changes_seen(self) -> str:
        return self._metadata.changes_seen

    def content_stamp(self) -> str | None:
        return byte_store_of(self.array, self.mapping).content_stamp()

    def refreshed(self) -> ZarrSource:
        with opening(self.array.store, self.array.path):
            return self._refreshed()

    def _refreshed(self) -> ZarrSource:
        try:
            with known_codecs_only(self.name, self._allow_codecs):
                array = (self._reopen or self._reopened)()
                members = self._describe(array) if self._describe else {"attrs": dict(array.attrs)}
        except Exception as error:
            raise SourceError(f"{self.name}: can't be opened again: {error}", key=self._metadata.key) from error
        fresh = ZarrSource(
            array,
            self.axes,
            name=self.name,
            mapping=self.mapping,
            reopen=self._reopen,
            owner=self._owner,
            location=self._location,
            metadata=self.metadata.replaced(**{**members, **self._numbers_again(array)}),
            describe=self._describe,
            allow_codecs=self._allow_codecs,
            within=self._within,
        )
        fresh.opened_as, fresh.variable = self.opened_as, self.variable
        return placed_as(fresh, self)

    def _numbers_again(self, array: Any) -> dict[str, Any]:
        """Meaning of the numbers as it is declared now, unless the user said which values hold nothing."""
        before = self.metadata.packing
        if before is None or not before.is_declared:
            return {}
        group = self.metadata.group_attrs
        attrs = {**{name: group[name] for name in OF_NODATA if name in group}, **array.attrs}
        is_mask = array.metadata.zarr_format == 2
        packing = read_packing(attrs, native(array.dtype), fill_value=array.fill_value, is_mask=is_mask)
        return {"packing": packing, "nodata_values": packing.nodata_values}

    def _reopened(self) -> Any:
        import zarr

        metadata = self._metadata
        # What is gone may have been written anew in the other format.
        zarr_format = metadata.document["zarr_format"] if metadata.is_there() else None
        array = zarr.open_array(store=self.array.store, path=self.array.path, mode="r", zarr_format=zarr_format)
        if self._within is None or self._store.requests is None:
            return array
        with contextlib.suppress(FileNotFoundError, KeyError):
            group = zarr.open_group(self.array.store, path=self._within, mode="r")
            if group.metadata.consolidated_metadata is not None:
                told = group[self.array.path.removeprefix(f"{self._within}/")]
                # Who writes an array anew may leave the consolidated metadata as they are.
                return told if same_layout(told, array) else array
        return array

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        steps = tuple(step) if step else (1,) * len(window)
        with self._verified():
            if self._chunks is None:
                return self._read_through_zarr(window, steps)
            return self._read_chunks(window, steps, self._chunks)

    @contextlib.contextmanager
    def _verified(self) -> Iterator[None]:
        """Refuse what was read of an array that has become another one: its chunks were decoded as those of the old one."""
        verify = self._metadata.verify_beside()
        try:
            yield
        finally:
            try:
                verify()
            except SourceError:
                raise
            except OSError as error:
                raise read_error(self.name, self._metadata.key, error) from error

    def _read_through_zarr(self, window: Window, steps: tuple[int, ...]) -> Array:
        try:
            selection = tuple(slice(a, b, s) for (a, b), s in zip(window, steps, strict=True))
            block = np.asarray(self._bounded[selection])
            # Fill values, or NaN, are perhaps there because the array is gone.
            if ((block == self.fill_value) | np.not_equal(block, block)).any():
                self._metadata.verify(now=True)
        except SourceError:
            raise
        except Exception as error:
            msg = f"{self.name}: reading {window} failed: {type(error).__name__}: {error}"
            raise SourceError(msg, key=str(getattr(self.array, "path", ""))) from error
        return block.astype(self.dtype, copy=False)

    @contextlib.contextmanager
    def read_temporary(self, window: Window) -> Iterator[Array]:
        chunks = self._chunks
        if chunks is None or chunks.decoder.raw or not self._is_chunk(window, chunks.decoder.shape):
            yield self.read(window)
            return
        with ChunkReader(chunks) as reader:
            index = tuple(a // c for (a, _), c in zip(window, chunks.decoder.shape, strict=True))
            # Neighbours in the plane come next; of the further dates of a chunk there may be more than can be kept.
            plane = [
                w if axis in SPATIAL_AXES else (0, n) for w, axis, n in zip(window, self.axes, self.shape, strict=True)
            ]
            whole = _whole_chunks(plane, (1,) * len(plane), chunks.decoder.shape, self.shape)(index)
            with self._verified():
                block = reader.read(index, tuple(slice(0, b - a) for a, b in window), temporary=True, whole=whole)
            yield block

    def _is_chunk(self, window: Window, chunk: tuple[int, ...]) -> bool:
        """True for a window that begins with a chunk and doesn't go beyond it."""
        return all(a % c == 0 and b <= min(a + c, n) for (a, b), c, n in zip(window, chunk, self.shape, strict=True))

    def _read_chunks(self, window: Window, steps: tuple[int, ...], chunks: StoredChunks) -> Array:
        decoder = chunks.decoder
        shape = tuple(windows.ceil_div(b - a, s) for (a, b), s in zip(window, steps, strict=True))
        by_axis = [axis_projections(a, b, s, c) for (a, b), s, c in zip(window, steps, decoder.shape, strict=True)]
        is_whole = _whole_chunks(window, steps, decoder.shape, self.shape)
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(ChunkReader(chunks))
            if all(len(projections) == 1 for projections in by_axis) and shape == decoder.shape:
                ((index, selection, _),) = chunk_projections(by_axis)
                return reader.read(index, selection, temporary=False)
            if chunks.fetcher is not None:
                stack.enter_context(reading_ahead(self.stored_chunks(window, steps), again=True))
            out = np.empty(shape, self.dtype)
            for index, selection, target in chunk_projections(by_axis):
                out[target] = reader.read(index, selection, temporary=True, whole=is_whole(index))
        return out


def _whole_chunks(
    window: Sequence[tuple[int, int]], steps: Sequence[int], chunk: Sequence[int], shape: Sequence[int]
) -> Callable[[Sequence[int]], bool]:
    """Test of a chunk's index: True where no sample of the chunk lies outside the window."""
    # Of each axis the samples before and after those of the window, which must lie outside the chunk.
    around = [(a - s, a + (b - 1 - a) // s * s + s) for (a, b), s in zip(window, steps, strict=True)]

    def is_whole(index: Sequence[int]) -> bool:
        axes = zip(index, chunk, shape, around, strict=True)
        return all(before < i * c and min((i + 1) * c, n) <= after for i, c, n, (before, after) in axes)

    return is_whole
