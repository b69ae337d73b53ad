"""The part of a hierarchy around the rasters of a dataset, which is served as it is."""

from __future__ import annotations

import base64
import json
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr.errors import SourceError
from lazypyr.geometry import windows
from lazypyr.metadata import ArrayNode, Codec
from lazypyr.metadata.json_values import nodata_json

__all__ = ["CopiedArray", "Surroundings"]

_DIMENSIONS = "_ARRAY_DIMENSIONS"


class CopiedArray:
    """Array of any dtype that zarr reads, served with its values, chunks, dimension names and attributes.

    Parameters
    ----------
    array : zarr.Array
        Never written to.
    fill : callable, optional
        Called once before the first chunk is read: it puts the values into an array that has only metadata yet.
    taken : sequence of (int or slice), optional
        Part of it that is served, by axis; an axis of which one entry is taken is dropped.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> copied = CopiedArray(zarr.array(np.arange(3, dtype="i2")))
    >>> np.frombuffer(copied.chunk((0,), 3, None), "i2")
    array([0, 1, 2], dtype=int16)
    """

    def __init__(
        self, array: Any, fill: Callable[[], None] | None = None, taken: Sequence[int | slice] | None = None
    ) -> None:
        self._array, self._fill, self.key = array, fill, uuid.uuid4().hex
        self._taken = tuple(slice(0, n) for n in array.shape) if taken is None else tuple(taken)
        self._made: dict[tuple[int, str], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of its dimensions, of those that have names."""
        names = self._names or ()
        return {name: n for name, n in zip(names, self._array.shape, strict=False) if name}

    @property
    def _names(self) -> Sequence[str | None] | None:
        if not self._array.ndim:
            return ()
        declared = getattr(self._array.metadata, "dimension_names", None)
        names: Sequence[str | None] | None = declared or self._array.attrs.get(_DIMENSIONS)
        return names

    def selected(self, parts: Mapping[str, int | slice]) -> CopiedArray:
        """The part of it that is at an index, or in a range, of some of its dimensions."""
        if not set(parts) & set(self.sizes):
            return self
        names = self._names or ()
        taken = [parts.get(name or "", whole) for name, whole in zip(names, self._taken, strict=True)]
        return CopiedArray(self._array, self._fill, taken)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes as they are stored."""
        return dict(self._array.attrs)

    def node(self, zarr_format: int, codec: Codec | None, separator: str) -> ArrayNode:
        """Array of a hierarchy in either Zarr format; it keeps its chunks, in one key each."""
        made = self._target(zarr_format, codec, separator)
        documents = made.metadata.to_buffer_dict(_prototype())
        if zarr_format == 3:
            document = json.loads(documents["zarr.json"].to_bytes())
            attributes = document.pop("attributes", {})
        else:
            document = json.loads(documents[".zarray"].to_bytes())
            attributes = json.loads(documents[".zattrs"].to_bytes())
        return ArrayNode(
            tuple(made.shape), tuple(made.chunks), np.dtype("V1"), attributes=attributes, document=document,
            separator=separator,
        )  # fmt: skip

    def chunk(self, index: Sequence[int], zarr_format: int, codec: Codec | None, separator: str = "/") -> bytes:
        """A chunk as it is stored in that format.

        Raises
        ------
        SourceError
            When it can't be read.
        """
        from zarr import Array
        from zarr.core.array import AsyncArray
        from zarr.core.array_spec import ArrayConfig
        from zarr.storage import MemoryStore, StorePath

        from lazypyr.sources.bounded import checked_array

        metadata = self._target(zarr_format, codec, separator).metadata
        held = MemoryStore()
        target = Array(AsyncArray(metadata, StorePath(held), config=ArrayConfig("C", write_empty_chunks=True)))
        shape, chunks = tuple(target.shape), tuple(target.chunks)
        where = tuple(slice(a, b) for a, b in windows.chunk_window(tuple(index), chunks, shape))
        inside = iter(where)
        source = tuple(
            part if isinstance(part, int) else slice(part.start + part_of.start, part.start + part_of.stop)
            for part, part_of in ((part, slice(0) if isinstance(part, int) else next(inside)) for part in self._taken)
        )
        try:
            if self._fill is not None:
                self._fill()
            target[where] = checked_array(self._array)[source]
        except Exception as error:
            msg = f"{self._array.path}: reading {where} failed: {type(error).__name__}: {error}"
            raise SourceError(msg, key=self._array.path) from error
        (value,) = held._store_dict.values()  # noqa: SLF001 - zarr's in-memory store has no synchronous reading
        return bytes(value.to_bytes())

    def _target(self, zarr_format: int, codec: Codec | None, separator: str) -> Any:
        form = zarr_format, f"{codec}{separator}"
        if form not in self._made:
            self._made[form] = self._create(zarr_format, codec, separator)
        return self._made[form]

    def _create(self, zarr_format: int, codec: Codec | None, separator: str) -> Any:
        """An empty array of the same kind, whose metadata and codecs are those that are served."""
        import warnings

        import zarr
        from zarr.storage import MemoryStore

        source = self._array
        attributes, fill_value = dict(source.attrs), source.fill_value
        dtype = source.metadata.dtype if hasattr(source.metadata, "dtype") else source.metadata.data_type
        kept = [axis for axis, part in enumerate(self._taken) if isinstance(part, slice)]
        names = None if self._names is None else [self._names[axis] for axis in kept]
        shape = tuple(part.stop - part.start for part in self._taken if isinstance(part, slice))
        if zarr_format == 3 and source.metadata.zarr_format == 2 and attributes.pop(_DIMENSIONS, None) is not None:
            declared = _declared_fill(fill_value, np.dtype(source.dtype))
            if declared is not None:
                attributes.setdefault("_FillValue", declared)
        if zarr_format == 2 and source.metadata.zarr_format == 3:
            # xarray takes the fill value of v2 for missing, and that of v3 for what chunks begin with.
            fill_value = _stated_fill(attributes.pop("_FillValue", None))
        if zarr_format == 2 and names is not None and None not in names:
            attributes[_DIMENSIONS] = list(names)
        itemsize = getattr(np.dtype(source.dtype), "itemsize", 0) or 1
        compressor: Any = None
        if codec is not None:
            compressor = codec.v3_document(itemsize=itemsize) if zarr_format == 3 else codec.v2_document()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns of each dtype that v3 doesn't standardise yet
            return zarr.create_array(
                MemoryStore(),
                shape=shape,
                chunks=tuple(source.chunks[axis] for axis in kept),
                dtype=dtype,
                fill_value=fill_value,
                attributes=attributes,
                dimension_names=names if zarr_format == 3 else None,
                compressors=compressor,
                zarr_format=zarr_format,  # type: ignore[arg-type]
                chunk_key_encoding={"name": "default" if zarr_format == 3 else "v2", "separator": separator},
            )


def _declared_fill(fill_value: Any, dtype: np.dtype[Any]) -> Any:
    """Attribute by which xarray takes in v3 for missing what the fill value declares in v2."""
    if fill_value is None:
        return None
    if dtype.kind == "f" and np.isnan(fill_value):
        return "AAAAAAAA+H8="  # NaN as a double
    return nodata_json(fill_value, dtype, zarr_format=3)


def _stated_fill(value: Any) -> Any:
    """Fill value of the attribute `_FillValue` of v3: floats are base64 of a double there."""
    try:
        return struct.unpack("<d", base64.b64decode(value, validate=True))[0] if isinstance(value, str) else value
    except (ValueError, struct.error):
        return value


def _prototype() -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype()


@dataclass(frozen=True)
class Surroundings:
    """Groups and arrays of a hierarchy that no pyramid is made of.

    Parameters
    ----------
    groups : Mapping[str, Mapping[str, Any]]
        Attributes by path; "" is the root.
    arrays : Mapping[str, CopiedArray]
        By path.
    unreadable : Mapping[str, str]
        Reasons by path of what could not be opened.

    Examples
    --------
    >>> Surroundings({"": {"title": "POWER"}}).below("power").groups
    {'power': {'title': 'POWER'}}
    """

    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arrays: Mapping[str, CopiedArray] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def below(self, folder: str) -> Surroundings:
        """The same in a folder of another hierarchy."""
        if not folder:
            return self

        def moved(nodes: Mapping[str, Any]) -> dict[str, Any]:
            return {f"{folder}/{path}".rstrip("/"): node for path, node in nodes.items()}

        return Surroundings(moved(self.groups), moved(self.arrays), moved(self.unreadable))

    def beside(self, other: Surroundings) -> Surroundings:
        """Both together."""
        return Surroundings(
            {**self.groups, **other.groups}, {**self.arrays, **other.arrays}, {**self.unreadable, **other.unreadable}
        )
