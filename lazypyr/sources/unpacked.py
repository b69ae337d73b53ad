"""A source in the values that its stored numbers mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from lazypyr._util.tokenize import tokenize
from lazypyr.geometry.windows import Window
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.metadata.packing import OF_PACKING, Packing, packing_of
from lazypyr.sources.base import Source, placed_as
from lazypyr.sources.derived import DerivedSource
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["UnpackedSource", "unpacked_metadata", "unpacked_source"]


class UnpackedSource(DerivedSource):
    """Another source, unpacked as its attributes say (`scale_factor`, `add_offset`, `_Unsigned`).

    Parameters
    ----------
    source : Source
        Source of the stored numbers.
    dtype : numpy.dtype
        Of the values: NaN holds nothing in floats, one value does in integers.
    is_recorded : bool, default False
        True where recipes must say that it is unpacked, because nothing else would unpack it.
    packing : Packing, optional
        Meaning of the stored numbers, instead of what the source's metadata say.
    """

    def __init__(
        self, source: Source, dtype: np.dtype[Any], *, is_recorded: bool = False, packing: Packing | None = None
    ) -> None:
        super().__init__(source)
        self.dtype, self._is_recorded, self._given = dtype, is_recorded, packing
        self._packing = packing = packing or packing_of(source.metadata, source.dtype)
        self.shape, self.axes, self.chunks = source.shape, source.axes, source.chunks
        self.metadata = unpacked_metadata(source.metadata, packing, dtype)
        self.fill_value = unpacked_fill(packing, dtype, source.fill_value)

    def read(self, window: Window, step: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
        if step is None:
            with self._source.read_temporary(window) as block:
                values = self._packing.values(block, self.dtype)
                return values.copy() if np.may_share_memory(values, block) else values
        return self._packing.values(self._source.read(window, step), self.dtype)

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        return self._source.stored_chunks(window, step)

    @property
    def preferred_read_shape(self) -> tuple[int, ...]:
        return self._source.preferred_read_shape

    @property
    def fingerprint(self) -> str:
        return hashlib.blake2b(repr((self._source.fingerprint, self._token)).encode(), digest_size=16).hexdigest()

    @property
    def _token(self) -> Hashable:
        return tokenize(self._packing), self.dtype.str

    @property
    def identity(self) -> Hashable:
        return "unpacked", self._source.identity, self._token

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        arguments = self._source.recipe_arguments(place)
        return {**arguments, "decode": True} if self._is_recorded else arguments

    def refreshed(self) -> Source:
        fresh = self._source.refreshed()
        if fresh is self._source:
            return self
        made = UnpackedSource(fresh, self.dtype, is_recorded=self._is_recorded, packing=self._given)
        return placed_as(made, self)


def unpacked_source(source: Source) -> Source:
    """Source in the values that its stored numbers mean; the source itself where they are the values."""
    packing = packing_of(source.metadata, source.dtype)
    return source if packing.is_plain else UnpackedSource(source, packing.values_dtype)


def unpacked_metadata(metadata: DatasetMetadata, packing: Packing, dtype: np.dtype[Any]) -> DatasetMetadata:
    """Metadata of unpacked values: without what is said of stored numbers."""
    hole = None if dtype.kind in "fc" else packing.hole
    shown = {key: value for key, value in (metadata.display or {}).items() if key != "window"}
    return metadata.replaced(
        packing=None,
        nodata=hole,
        attrs={key: value for key, value in metadata.attrs.items() if key not in OF_PACKING},
        display=shown or None,
    )


def unpacked_fill(packing: Packing, dtype: np.dtype[Any], fill_value: Any) -> Any:
    """The value where there is nothing: NaN in floats."""
    if dtype.kind in "fc":
        return dtype.type(complex(np.nan, np.nan) if dtype.kind == "c" else np.nan)
    return packing.values(np.asarray(fill_value, packing.stored), dtype)[()] if packing.hole is None else packing.hole
