"""Files that hold many arrays, as the keys of a zarr v2 hierarchy: what reads groups of zarr reads them too."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.places import is_url

__all__ = ["ArrayInFile", "FileMapping", "FileTree", "opened_file", "plain"]

Array = np.ndarray[Any, Any]
# Bytes that are read at once of an array that is stored in one piece.
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class ArrayInFile:
    """Facts of one array of a file; `chunks` is None where it is stored in one piece."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None
    dims: tuple[str, ...] | None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def read_shape(self) -> tuple[int, ...]:
        """Shape of what is read under one key: a stored chunk, else whole rows."""
        if self.chunks is not None:
            return self.chunks
        room, sizes = max(1, _PIECE_BYTES // self.dtype.itemsize), []
        for n in reversed(self.shape):
            sizes.append(max(1, min(n, room)))
            room = max(1, room // max(1, n))
        return tuple(reversed(sizes))

    def document(self) -> dict[str, Any]:
        """``.zarray`` of the array."""
        return {
            "zarr_format": 2,
            "shape": self.shape,
            "chunks": self.read_shape,
            "dtype": self.dtype.str,
            "compressor": None,
            "filters": None,
            "order": "C",
            "fill_value": None,
        }


class FileMapping(Mapping[str, bytes]):
    """Keys of one file, which is opened again in each process, and when it has changed.

    Parameters
    ----------
    path : str
        Path or URL.
    storage_options : Mapping
        For fsspec, with a URL.
    """

    def __init__(self, path: str, storage_options: Mapping[str, Any]) -> None:
        self.path, self.storage_options = path, dict(storage_options)
        self.is_remote = is_url(path)
        remake_after_fork(self._close)

    def _close(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[Any, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.storage_options)

    @abstractmethod
    def open_content(self) -> tuple[Any, Any, dict[str, bytes]]:
        """Open the file: what reads it, what is in it, and its metadata by key."""

    def content(self) -> Any:
        """The result of `open_content` for the file as it is now."""
        opened = self._opened
        # A remote file is asked for its version only when it is opened: each question is a trip.
        if opened is None or not (self.is_remote or opened[0] == self._version()):
            with self._lock:
                opened = self._opened = self._version(), self.open_content()
        return opened[1]

    def file_object(self) -> Any:
        """The file, open for reading bytes."""
        return opened_file(self.path, self.storage_options)

    def stamp(self) -> str:
        """Hash that changes when the file is written anew."""
        return hashlib.blake2b(repr(self._version()).encode(), digest_size=16).hexdigest()

    def _version(self) -> Any:
        if self.is_remote:
            files, path = _remote(self.path, self.storage_options)
            return files.ukey(path)
        stat = os.stat(self.path)  # noqa: PTH116 - asked for at each read
        return os.path.realpath(self.path), stat.st_mtime_ns, stat.st_size

    def __contains__(self, key: object) -> bool:
        return key in self.content()[2]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content()[2])

    def __len__(self) -> int:
        return len(self.content()[2])

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class FileTree(FileMapping):
    """Keys of a file of many arrays: its groups and arrays as those of a zarr v2 hierarchy."""

    @abstractmethod
    def open_file(self) -> Any:
        """The file, open for reading, as its package has it."""

    @abstractmethod
    def groups(self, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Path and attributes of each group, the root ("") among them."""

    @abstractmethod
    def arrays(self, file: Any) -> Iterator[tuple[str, ArrayInFile]]:
        """Path and facts of each array of numbers or short texts."""

    @abstractmethod
    def read(self, file: Any, path: str, selection: tuple[slice, ...]) -> Array:
        """A part of an array."""

    def open_content(self) -> tuple[Any, dict[str, ArrayInFile], dict[str, bytes]]:
        """The file, its arrays by path, and its metadata by key."""
        file = self.open_file()
        arrays = dict(self.arrays(file))
        return file, arrays, _documents(dict(self.groups(file)), arrays)

    def __getitem__(self, key: str) -> bytes:
        file, arrays, documents = self.content()
        document: bytes | None = documents.get(key)
        if document is not None:
            return document
        path, _, name = key.rpartition("/")
        array = arrays.get(path)
        index = _index(name, array.shape, array.read_shape) if array is not None else None
        if array is None or index is None:
            raise KeyError(key)
        return self.chunk(file, path, array, index)

    def chunk(self, file: Any, path: str, array: ArrayInFile, index: Sequence[int]) -> bytes:
        """The value of one key of an array; KeyError where there is none, and zeros stand for it."""
        selection = tuple(
            slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(index, array.read_shape, array.shape, strict=True)
        )
        block = np.asarray(self.read(file, path, selection), array.dtype)
        if block.shape != array.read_shape:
            whole = np.zeros(array.read_shape, array.dtype)
            whole[tuple(slice(0, n) for n in block.shape)] = block
            block = whole
        return block.tobytes()


def opened_file(path: str, storage_options: Mapping[str, Any]) -> Any:
    """A file at a path or URL, open for reading bytes; it is closed when nothing refers to it."""
    files, name = _remote(path, storage_options) if is_url(path) else (_local(), path)
    return files.open(name, "rb")


def _local() -> Any:
    import fsspec

    return fsspec.filesystem("file")


def _remote(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """File system of a URL, and the path in it."""
    import fsspec

    files, path = fsspec.core.url_to_fs(url, **storage_options)
    return files, path


def _documents(groups: Mapping[str, Mapping[str, Any]], arrays: Mapping[str, ArrayInFile]) -> dict[str, bytes]:
    documents: dict[str, Any] = {}
    for path, attrs in groups.items():
        prefix = f"{path}/" if path else ""
        documents[f"{prefix}.zgroup"], documents[f"{prefix}.zattrs"] = {"zarr_format": 2}, dict(attrs)
    for path, array in arrays.items():
        dims = {} if array.dims is None else {"_ARRAY_DIMENSIONS": list(array.dims)}
        documents[f"{path}/.zarray"], documents[f"{path}/.zattrs"] = array.document(), {**array.attrs, **dims}
    return {key: json.dumps(document).encode() for key, document in documents.items()}


def _index(name: str, shape: Sequence[int], chunks: Sequence[int]) -> list[int] | None:
    """Index of a chunk by the last part of its key, None where there is no such chunk."""
    if not shape:
        return [] if name == "0" else None
    parts = name.split(".")
    if len(parts) != len(shape) or not all(part.isdecimal() for part in parts):
        return None
    index = [int(part) for part in parts]
    return index if all(i < math.ceil(n / c) for i, n, c in zip(index, shape, chunks, strict=True)) else None


def plain(value: Any) -> Any:
    """An attribute as JSON has it: an array of one number is a number, as in NetCDF; bytes are text."""
    if isinstance(value, np.ndarray):
        return plain(value[0] if value.size == 1 and value.ndim else value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip("\0")
    if isinstance(value, np.generic):
        return plain(value.item())
    return value
