"""HDF5 and NetCDF files, local and behind URLs, and the arrays inside them by path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._names import public_name, whole_url
from lazypyr._util.optional import need
from lazypyr._util.places import head_of, is_url, local_path, place_of
from lazypyr.errors import PlanError
from lazypyr.sources.file_tree import Array, ArrayInFile, FileTree, opened_file, plain
from lazypyr.sources.hdf5_chunks import Absent, check_own, stored_chunk
from lazypyr.sources.open_path import file_and_inside
from lazypyr.sources.open_zarr import open_store
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions
from lazypyr.sources.tree import SourceTree

__all__ = ["Hdf5Tree", "Netcdf3Tree", "NetcdfOpener"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_USER_BLOCK = 512  # MATLAB writes its own head before that of HDF5
_SUFFIXES = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5", ".hdf", ".mat")
# Of HDF5's dimension scales and netCDF-4's own bookkeeping; what they say is in the names of dimensions.
_INTERNAL = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
_INTERNAL |= {"_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict", "_NCProperties"}
_LISTED = 20
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


class Hdf5Tree(FileTree):
    """Arrays of an HDF5 or NetCDF-4 file, through h5py."""

    def open_file(self) -> Any:
        h5py = need("h5py", feature=f"reading {public_name(self.path)}", extra="hdf5")
        # HDF5 locks what it opens by a path, and refuses to have it written meanwhile: not so a file object.
        return h5py.File(self.file_object(), "r")

    def groups(self, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield "", _attributes(file.attrs)
        for path, node in _nodes(file):
            if not hasattr(node, "dtype"):
                yield path, _attributes(node.attrs)

    def arrays(self, file: Any) -> Iterator[tuple[str, ArrayInFile]]:
        for path, node in _nodes(file):
            if not hasattr(node, "dtype") or node.shape is None:
                continue
            has_variable = not str(plain(node.attrs.get("NAME", ""))).startswith(_NO_VARIABLE)
            if has_variable and node.dtype.kind in "biufcS" and node.dtype.itemsize:
                yield path, ArrayInFile(node.shape, node.dtype, node.chunks, _dims(node), _attributes(node.attrs))

    def read(self, file: Any, path: str, selection: tuple[slice, ...]) -> Array:
        dataset = file[path]
        check_own(dataset, f"{public_name(self.path)}/{path}")
        block: Array = dataset[selection]
        return block

    def chunk(self, file: Any, path: str, array: ArrayInFile, index: Sequence[int]) -> bytes:
        if array.chunks is not None:
            start = tuple(i * c for i, c in zip(index, array.chunks, strict=True))
            try:
                content = stored_chunk(file[path], start, array.dtype, f"{public_name(self.path)}/{path}")
            except Absent:
                raise KeyError(f"{path}/{start}") from None
            if content is not None:
                return content.tobytes()
        return super().chunk(file, path, array, index)


def _nodes(file: Any) -> Iterator[tuple[str, Any]]:
    """Path and object of all that is below a group; links that lead nowhere are left out."""
    stack = [("", file)]
    seen = set()
    while stack:
        prefix, group = stack.pop()
        for name in group:
            node = group.get(name)
            if node is None:
                continue
            path = f"{prefix}{name}"
            yield path, node
            if not hasattr(node, "dtype") and hasattr(node, "keys") and node.id not in seen:
                seen.add(node.id)  # a link may lead back
                stack.append((f"{path}/", node))


def _attributes(attrs: Any) -> dict[str, Any]:
    read = {}
    for name in attrs:
        if name not in _INTERNAL:
            try:
                value = plain(attrs[name])
                json.dumps(value)
            except (TypeError, ValueError, OSError):  # references, types of the file's own
                continue
            read[name] = value
    return read


def _dims(dataset: Any) -> tuple[str, ...] | None:
    """Names of the dimensions that all have a scale or a label; None where one has none."""
    if dataset.is_scale and dataset.ndim == 1:
        return (dataset.name.rpartition("/")[2],)
    names = [dim[0].name.rpartition("/")[2] if len(dim) else str(dim.label) for dim in dataset.dims]
    return tuple(names) if all(names) and len(set(names)) == len(names) else None


class Netcdf3Tree(FileTree):
    """Arrays of a NetCDF-3 file, through scipy."""

    def open_file(self) -> Any:
        from scipy.io import netcdf_file

        return netcdf_file(
            self.file_object() if self.is_remote else self.path, "r", mmap=not self.is_remote, maskandscale=False
        )

    def groups(self, file: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield "", {name: plain(value) for name, value in file._attributes.items()}  # noqa: SLF001 - there is no other way

    def arrays(self, file: Any) -> Iterator[tuple[str, ArrayInFile]]:
        for name, variable in file.variables.items():
            attrs = {key: plain(value) for key, value in variable._attributes.items()}  # noqa: SLF001
            # Files of one record at a time have no pieces larger than that along their unlimited axis.
            yield name, ArrayInFile(variable.shape, variable.data.dtype, None, tuple(variable.dimensions), attrs)

    def read(self, file: Any, path: str, selection: tuple[slice, ...]) -> Array:
        return np.array(file.variables[path].data[selection])


# The first bytes of a file, and how it is read.
_FORMATS: dict[bytes, Callable[..., FileTree]] = {_HDF5: Hdf5Tree, b"CDF\x01": Netcdf3Tree, b"CDF\x02": Netcdf3Tree}


class NetcdfOpener(Opener):
    """Files of HDF5 and NetCDF, the arrays and groups inside them by path ("slc.h5/science/LSAR"), and URLs of them."""

    takes_storage_options = True

    def can_open(self, src: Any) -> bool:
        place = place_of(src)
        if place is None:
            return False
        if is_url(place.text):
            return _split(place.text) is not None
        return _format_of(head_of(file_and_inside(local_path(place.text))[0], _USER_BLOCK + 8)) is not None

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        # Needs zarr 3, which reading a store under zarr 2 does not.
        from lazypyr.sources.mapping_store import MappingStore

        place = place_of(src)
        assert place is not None, "that is what can_open says"
        if is_url(place.text):
            location, storage_options = place.text, {**place.storage_options, **options.storage_options}
            path, inside = _split(place.text) or (place.text, "")
        else:
            location, storage_options = str(Path(local_path(place.text))), {}
            file, inside = file_and_inside(location)
            path = str(file)
        with opened_file(path, storage_options) as opened:
            head = opened.read(_USER_BLOCK + 8)
        kind = _format_of(head)
        if kind is None:
            raise PlanError(f"{place.text}: neither an HDF5 nor a NetCDF file; it begins with {head[:8]!r}")
        tree = kind(path, storage_options)
        if not {f"{inside}/.zarray".lstrip("/"), f"{inside}/.zgroup".lstrip("/")} & tree.keys():
            held = [key.rpartition("/")[0] for key in tree if key.endswith("/.zarray")]
            more = f" and {len(held) - _LISTED} more" if len(held) > _LISTED else ""
            raise PlanError(f"{location}: no {inside!r} in the file; it holds {', '.join(held[:_LISTED])}{more}")
        return open_store(
            MappingStore(tree), options, name=public_name(location), location=location, mapping=tree, path=inside
        )


def _format_of(head: bytes) -> Callable[..., FileTree] | None:
    if head[_USER_BLOCK:].startswith(_HDF5):
        return Hdf5Tree
    return next((tree for magic, tree in _FORMATS.items() if head.startswith(magic)), None)


def _split(url: str) -> tuple[str, str] | None:
    """URL of a file that its suffix says to be one of these, and the path inside it."""
    parts = url.split("/")
    for number, part in enumerate(parts):
        if whole_url(part).lower().endswith(_SUFFIXES) and number > 2:
            return "/".join(parts[: number + 1]), "/".join(parts[number + 1 :])
    return None
