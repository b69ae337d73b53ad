"""Groups and variables around a zarr array: its siblings, and the groups above it, also above the root of its store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, PlanError, SourceError
from lazypyr.metadata.json_values import nodata_json
from lazypyr.metadata.place import Surroundings
from lazypyr.metadata.variables import Variable
from lazypyr.sources.far.store import FarStore

__all__ = ["Around", "ZarrSurroundings", "declared_dims", "variable_of"]

log = logging.getLogger("lazypyr")
# Groups above the root of a store that are looked at.
_MAX_ABOVE = 8


def declared_dims(array: Any) -> tuple[str | None, ...] | None:
    """Names of the dimensions of a zarr array, as it declares them; None where it declares none."""
    declared = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(declared, list | tuple) or len(declared) != array.ndim:
        return None
    return tuple(name if isinstance(name, str) else None for name in declared)


def variable_of(array: Any, name: str, read: Callable[[], Any] | None = None) -> Variable:
    """A zarr array as a variable, of which no value is read; `read` does so, where several share it."""
    attrs = {key: value for key, value in array.attrs.items() if key != "_ARRAY_DIMENSIONS"}
    if array.ndim > 1 and array.metadata.zarr_format == 2 and np.dtype(array.dtype).kind in "iuf":
        # xarray writes it there; coordinates of one axis have no holes.
        declared = nodata_json(array.fill_value, np.dtype(array.dtype), zarr_format=3) if array.fill_value else None
        attrs = {**({} if declared is None else {"_FillValue": declared}), **attrs}
    dims = declared_dims(array) or ()
    named = tuple(dim or "" for dim in dims)
    return Variable(name, named, tuple(array.shape), np.dtype(array.dtype), read or partial(_read_whole, array), attrs)


def _read_whole(array: Any) -> np.ndarray[Any, Any]:
    from lazypyr.sources.bounded import checked_array

    try:
        return np.asarray(checked_array(array)[...])
    except LazypyrError:
        raise
    except Exception as error:
        msg = f"the variable {array.path} beside the raster can't be read: {type(error).__name__}: {error}"
        raise SourceError(msg, key=array.path) from error


class _ReadOnce:
    """Values of an array that are read at the first call; a pickled copy reads them anew."""

    def __init__(self, array: Any) -> None:
        self._array, self._lock = array, threading.Lock()
        self._values: np.ndarray[Any, Any] | None = None

    def __call__(self) -> Any:
        with self._lock:
            if self._values is None:
                self._values = _read_whole(self._array)
            return self._values

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._array,)


@dataclass(frozen=True)
class Around:
    """Nodes around an array that are open already.

    Attributes
    ----------
    groups : tuple of zarr.Group
        Groups around it, the nearest first.
    arrays : Mapping[str, zarr.Array] or None
        All arrays in these groups by their path in the store; None where that isn't known.
    readers : dict or None
        Readers of arrays by their path, which all rasters of a dataset share: a coordinate is read once for all.
    """

    groups: tuple[Any, ...]
    arrays: Mapping[str, Any] | None = None
    readers: dict[str, Callable[[], Any]] | None = None

    def reader(self, array: Any) -> Callable[[], Any] | None:
        """Shared reader of an array; None where nothing is shared."""
        return None if self.readers is None else self.readers.setdefault(array.path, _ReadOnce(array))

    @property
    def consolidated_in(self) -> str | None:
        """Path of the outermost group, if it has the metadata of all below it."""
        group = self.groups[-1] if self.groups else None
        return group.path if group is not None and _is_consolidated(group) else None

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the groups; those of the nearest one win."""
        merged: dict[str, Any] = {}
        for group in reversed(self.groups):
            merged |= group.attrs
        return merged


class ZarrSurroundings:
    """Groups around a zarr array. Each document is read once.

    Parameters
    ----------
    array : zarr.Array
    around : Around, optional
        What of it is open already.
    """

    def __init__(self, array: Any, around: Around | None = None) -> None:
        self._array, self._around = array, around or Around(())
        self._found: dict[str, Variable | None] = {}

    @cached_property
    def groups(self) -> tuple[Any, ...]:
        """Groups around the array, the nearest first."""
        found, store = self._inside, self._array.store
        # What has consolidated metadata is the root of a dataset: nothing above it speaks of its arrays.
        goes_on = not self._array.path or (found and found[-1].path == "" and not _is_consolidated(found[-1]))
        return (*found, *(_groups_above(store, self._array.metadata.zarr_format) if goes_on else ()))

    @cached_property
    def _inside(self) -> list[Any]:
        """Groups around the array in its own store, the nearest first."""
        found = list(self._around.groups)
        found = [*_groups_between(self._array, found[0]), *found] if found else []
        if not found or not _is_consolidated(found[-1]):
            path = found[-1].path if found else self._array.path
            names = path.split("/")[:-1]
            found += _groups_inside(self._array.store, names, self._array.metadata.zarr_format) if path else []
        return found

    def find(self, name: str) -> Variable | None:
        """The variable of a name that lies beside the array, or in a group above it."""
        if name not in self._found:
            self._found[name] = self._searched(name)
        return self._found[name]

    def _searched(self, name: str) -> Variable | None:
        if not name or name.startswith(("/", ".")):
            return None
        known_below = self._around.groups[-1].path if self._around.groups else None
        for group in self.groups:
            is_known = (
                known_below is not None and group.store is self._array.store and group.path.startswith(known_below)
            )
            known = self._around.arrays if is_known else None
            node = _child(group, name) if known is None else known.get(f"{group.path}/{name}".strip("/"))
            if node is not None and hasattr(node, "shape"):
                return variable_of(node, name.rpartition("/")[2], self._around.reader(node) if is_known else None)
        return None

    def described(self) -> Surroundings:
        """Surroundings as the metadata are made of."""
        attrs = dict(self._array.attrs)
        dims = declared_dims(self._array) or (None,) * self._array.ndim
        groups = [dict(group.attrs) for group in self.groups]
        return Surroundings(attrs, dims, self._array.shape, groups, self.find, self._paths())

    def _paths(self) -> list[str]:
        """Paths of the array below each group."""
        paths = [self._array.path.removeprefix(f"{group.path}/") for group in self._inside]
        path, below = self._array.path, self._array.store
        for group in self.groups[len(paths) :]:  # each of them one folder further up, see `_groups_above`
            path, below = f"{_folder_name(below)}/{path}".rstrip("/"), group.store
            paths.append(path)
        return paths


def _folder_name(store: Any) -> str:
    """Name of the root of a store in the folder around it."""
    root = getattr(store, "root", None)
    return str(root.resolve().name if isinstance(root, Path) else str(store).rstrip("/").rpartition("/")[2])


def _groups_between(array: Any, group: Any) -> list[Any]:
    """Groups around an array below a group, the nearest first: levels may have one each."""
    inside = array.path.removeprefix(f"{group.path}/" if group.path else "").split("/")[:-1]
    found = []
    for name in inside:
        node = _child(group, name)
        if node is None or hasattr(node, "shape"):
            break
        group = node
        found.append(group)
    return found[::-1]


def _groups_inside(store: Any, names: Sequence[str], zarr_format: int) -> list[Any]:
    """Groups from a path up to the root of a store, the nearest first."""
    import zarr

    found: list[Any] = []
    for depth in range(len(names) + 1):
        # A group of consolidated metadata knows all below it.
        node = _child(found[-1], names[depth - 1]) if found and _is_consolidated(found[-1]) else None
        if node is None:
            node = _opened(zarr, store, "/".join(names[:depth]), zarr_format)
        if node is not None and not hasattr(node, "shape"):
            found.append(node)
    return found[::-1]


def _is_consolidated(group: Any) -> bool:
    return group.metadata.consolidated_metadata is not None


def _opened(zarr: Any, store: Any, path: str, zarr_format: int) -> Any:
    try:
        return zarr.open_group(store, path=path, mode="r", zarr_format=zarr_format)
    except (FileNotFoundError, KeyError, NotADirectoryError):
        return None
    except LazypyrError:
        raise
    except OSError as error:
        raise PlanError(f"{store}: the metadata of its group {path!r} can't be read: {error}") from error
    except Exception as error:
        log.info("%s: group %r is left aside: %s: %s", store, path, type(error).__name__, error)
        return None


def _child(group: Any, name: str) -> Any:
    """Array or group in a group; None where there is none, or where zarr can't read what it is."""
    try:
        return group[name]
    except (KeyError, FileNotFoundError, NotADirectoryError):
        return None
    except LazypyrError:
        raise
    except OSError as error:
        raise PlanError(f"{group.store_path}/{name}: its metadata can't be read: {error}") from error
    except Exception as error:
        log.info("%s/%s is left aside: %s: %s", group.store_path, name, type(error).__name__, error)
        return None


def _groups_above(store: Any, zarr_format: Any) -> list[Any]:
    """Groups above the root of a store that names a folder or a URL: an array may have been opened by its own path."""
    import zarr

    found: list[Any] = []
    for _ in range(_MAX_ABOVE):
        above = _store_above(store)
        try:
            group = None if above is None else zarr.open_group(above, mode="r", zarr_format=zarr_format)
        except Exception as error:
            # Whoever may read an array may not be allowed to ask for what lies above it.
            if not isinstance(error, FileNotFoundError | KeyError | NotADirectoryError):
                log.info("%s is left aside: %s: %s", above, type(error).__name__, error)
            group = None
        if group is None:
            break
        found.append(group)
        if _is_consolidated(group):
            break
        store = above
    return found


def _store_above(store: Any) -> Any:
    from zarr.storage import FsspecStore, LocalStore

    if isinstance(store, LocalStore):
        folder = store.root.resolve()
        return LocalStore(folder.parent, read_only=True) if folder.parent != folder else None
    if isinstance(store, FarStore):
        return store.above
    if not isinstance(store, FsspecStore):
        return None
    parent, _, name = store.path.rstrip("/").rpartition("/")
    if not name or not parent or parent.endswith((":", "/")) or "?" in store.path or "::" in store.path:
        return None
    return FsspecStore(store.fs, path=parent, read_only=True)
