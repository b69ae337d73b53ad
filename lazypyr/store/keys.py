"""Keys of a hierarchy: text to meaning and back. A key is accepted only if writing what was read gives the same text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lazypyr.geometry import windows
from lazypyr.metadata import ArrayNode
from lazypyr.pyramids.base import Pyramid
from lazypyr.sources.copied import CopiedArray

__all__ = ["Chunk", "Keys", "ServedArray", "ServedCopy"]

# The longest key there can be has some path, and an index of 19 digits for each axis.
_MAX_KEY = 1024


@dataclass(frozen=True, slots=True)
class ServedArray:
    """An array of the hierarchy, and where its pixels come from."""

    node: ArrayNode
    pyramid: Pyramid
    level: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return windows.chunk_count(self.node.shape, self.node.chunks)


@dataclass(frozen=True, slots=True)
class ServedCopy:
    """An array of the hierarchy that is served as the source has it."""

    node: ArrayNode
    array: CopiedArray

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return windows.chunk_count(self.node.shape, self.node.chunks)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Array and index that a chunk's key names."""

    served: ServedArray
    index: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CopiedChunk:
    """Copied array and index that a chunk's key names."""

    served: ServedCopy
    index: tuple[int, ...]


class Keys:
    """All keys of a hierarchy: the documents, which are there, and the chunks, which are counted, not listed.

    Parameters
    ----------
    documents : Mapping[str, bytes]
        Metadata by key.
    arrays : Mapping[str, ServedArray]
        Arrays by path.
    zarr_format : {2, 3}
    copies : Mapping[str, ServedCopy], optional
        Arrays beside them that are served as the source has them, by path.
    """

    def __init__(
        self,
        documents: Mapping[str, bytes],
        arrays: Mapping[str, ServedArray],
        zarr_format: int,
        copies: Mapping[str, ServedCopy] | None = None,
    ) -> None:
        self.documents, self.arrays, self.zarr_format, self.copies = documents, arrays, zarr_format, dict(copies or {})
        self._all: dict[str, ServedArray | ServedCopy] = {**arrays, **self.copies}
        self._counts = {path: served.counts for path, served in self._all.items()}
        # Folders: every path above an array or document, with the names in it that aren't chunks.
        self._folders: dict[str, dict[str, None]] = {"": {}}
        for key in (*documents, *self._all):
            parts = key.split("/")
            for depth in range(len(parts)):
                folder = "/".join(parts[:depth])
                self._folders.setdefault(folder, {})[parts[depth]] = None

    def chunk(self, key: str) -> Chunk | None:
        """The chunk of a pyramid that a key names; None for whatever is none."""
        path, index = self._found(key)
        served = self.arrays.get(path)
        return None if index is None or served is None else Chunk(served, index)

    def copied_chunk(self, key: str) -> CopiedChunk | None:
        """The chunk of a copied array that a key names; None for whatever is none."""
        path, index = self._found(key)
        served = self.copies.get(path)
        return None if index is None or served is None else CopiedChunk(served, index)

    def _found(self, key: str) -> tuple[str, tuple[int, ...] | None]:
        """Array and index of a chunk's key; no index where it is none."""
        if len(key) <= _MAX_KEY:
            for path, rest in self._splits(key):
                served = self._all.get(path)
                if served is not None:
                    return path, _index(rest, served.node.separator, self._counts[path])
        return "", None

    def _splits(self, key: str) -> Iterator[tuple[str, str]]:
        if self.zarr_format == 3:
            for mark in ("/c/", "/c."):
                path, sep, rest = key.rpartition(mark)
                if sep and mark[-1] == self._separator(path):
                    yield path, rest
            if key.startswith(("c/", "c.")) and key[1] == self._separator(""):
                yield "", key[2:]
            if key.endswith("/c") and self._counts.get(key[:-2]) == ():
                yield key[:-2], "0"
        else:
            parts = key.split("/")
            for depth in range(len(parts) - 1, 0, -1):
                yield "/".join(parts[:depth]), "/".join(parts[depth:])
            yield "", key

    def _separator(self, path: str) -> str | None:
        served = self._all.get(path)
        return None if served is None or not self._counts[path] else served.node.separator

    def format(self, path: str, index: tuple[int, ...]) -> str:
        """The key of a chunk."""
        separator = self._all[path].node.separator
        inside = separator.join(map(str, index))
        prefix = f"{path}/" if path else ""
        if not index:  # an array without axes has one chunk
            return f"{prefix}c" if self.zarr_format == 3 else f"{prefix}0"
        return f"{prefix}c{separator}{inside}" if self.zarr_format == 3 else f"{prefix}{inside}"

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (key in self.documents or self._found(key)[1] is not None)

    def __iter__(self) -> Iterator[str]:
        yield from self.documents
        for path in self._all:
            yield from self._chunks_of(path)

    def __len__(self) -> int:
        return len(self.documents) + sum(math.prod(counts) for counts in self._counts.values())

    def _chunks_of(self, path: str) -> Iterator[str]:
        for index in itertools.product(*map(range, self._counts[path])):
            yield self.format(path, index)

    def below(self, prefix: str) -> Iterator[str]:
        """All keys in a folder, at any depth; of the whole hierarchy for the empty prefix."""
        folder = prefix.strip("/")
        if not folder:
            yield from self
            return
        start = f"{folder}/"
        yield from (key for key in self.documents if key.startswith(start))
        for path in self._all:
            if path == folder or path.startswith(start):
                yield from self._chunks_of(path)
            elif folder.startswith(f"{path}/"):
                yield from self._chunks_below(path, folder.removeprefix(f"{path}/"))

    def names(self, prefix: str) -> Iterator[str]:
        """Names of what is directly in a folder."""
        folder = prefix.strip("/")
        if folder in self._folders:
            yield from self._folders[folder]
        for path in self._all:
            if path == folder:
                yield from self._chunk_names(path, ())
            elif folder.startswith(f"{path}/") or not path:
                index = self._partial(path, folder.removeprefix(f"{path}/"))
                if index is not None:
                    yield from self._chunk_names(path, index)

    def _chunk_names(self, path: str, index: tuple[int, ...] | None) -> Iterator[str]:
        """Names in an array's folder (`index` is ``()``), or in that of its chunks with these first indices."""
        counts, separator = self._counts[path], self._all[path].node.separator
        v3 = self.zarr_format == 3
        if separator == "." or not counts:
            yield from (self.format(path, i).rpartition("/")[2] for i in itertools.product(*map(range, counts)))
        elif v3 and index == ():
            yield "c"
        else:
            depth = len(index or ()) - (1 if v3 else 0)
            yield from map(str, range(counts[depth]))

    def _partial(self, path: str, rest: str) -> tuple[int, ...] | None:
        """First indices of the chunks in a folder below an array, after a 0 that stands for "c" in v3."""
        counts, parts = self._counts[path], rest.split("/")
        if self._all[path].node.separator == ".":
            return None
        lead: tuple[int, ...] = ()
        if self.zarr_format == 3:
            if parts[0] != "c":
                return None
            parts, lead = parts[1:], (0,)
        if len(parts) >= len(counts):
            return None
        index = _index("/".join(parts), "/", counts[: len(parts)]) if parts else ()
        return None if index is None else lead + index

    def _chunks_below(self, path: str, rest: str) -> Iterator[str]:
        index = self._partial(path, rest)
        if index is None:
            return
        fixed = index[1:] if self.zarr_format == 3 else index
        counts = self._counts[path]
        for more in itertools.product(*map(range, counts[len(fixed) :])):
            yield self.format(path, fixed + more)


def _index(text: str, separator: str, counts: tuple[int, ...]) -> tuple[int, ...] | None:
    """The chunk's index; None unless each number is written as `str` writes it and lies in the grid."""
    if not counts:
        return () if text == "0" else None
    parts = text.split(separator)
    if len(parts) != len(counts):
        return None
    index = []
    for part, count in zip(parts, counts, strict=True):
        # int() takes "01", "+1", " 1", "1_0" and digits of any script, and fails on thousands of them.
        if not (part.isascii() and part.isdigit()) or len(part) > 19 or (part[0] == "0" and part != "0"):
            return None
        number = int(part)
        if number >= count:
            return None
        index.append(number)
    return tuple(index)


def size_of(node: ArrayNode) -> int | None:
    """Bytes of a stored chunk where geometry tells; None where it is compressed."""
    known = node.codec is None and node.document is None
    return math.prod(node.chunks) * node.dtype.itemsize if known else None
