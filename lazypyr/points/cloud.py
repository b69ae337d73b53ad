"""Cloud of points: coordinates, their index and their search tree, which pyramids over the same points share."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._util.forksafe import remake_after_fork
from lazypyr.errors import DestinationError, LazypyrError, PlanError
from lazypyr.geometry.windows import ceil_div
from lazypyr.points.columns import ChunkCache, Column, in_memory
from lazypyr.points.grid import PointGrid, check_columns, grid_of
from lazypyr.points.index import external_sort
from lazypyr.points.index.build import PointIndex, build
from lazypyr.points.index.io import open_index, open_values, write_index
from lazypyr.points.index.rtree import PackedRTree
from lazypyr.points.lattice import Lattice
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.base import Source

__all__ = ["Cloud"]

Array = np.ndarray[Any, Any]

# Bytes a point that sorting in memory holds at its peak, besides the coordinates.
_SORT_BYTES = 28


class Cloud:
    """Points, immutable; the index is built, or opened, when it is first needed, and not pickled.

    Parameters
    ----------
    x, y : Source
        Coordinates, shape ``(n,)``, any integer or float dtype.
    z : Source, optional
        For boxes in three dimensions.
    attributes : Mapping[str, Source]
        Further columns by name.
    resolution : float
        World units a pixel.
    lattice : Lattice, optional
        Edges of pixels; by default the points fix them.
    index_path : Path, optional
        Folder of the stored index.
    max_memory_bytes : int
        What building may hold: above it, points are sorted in runs on disk.
    """

    def __init__(
        self,
        x: Source,
        y: Source,
        *,
        resolution: float,
        lattice: Lattice | None = None,
        name: str,
        z: Source | None = None,
        attributes: Mapping[str, Source] | None = None,
        crs: str | None = None,
        units: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        index_path: Path | None = None,
        max_memory_bytes: int = 4 * 2**30,
    ) -> None:
        self.resolution, self.lattice, self.name = resolution, lattice, name
        self.crs, self.units = crs, units
        self.attributes, self.attrs = dict(attributes or {}), dict(attrs or {})
        self.index_path, self.max_memory_bytes = index_path, max_memory_bytes
        self.x, self.y, self.z = x, y, z
        self.chunk_cache = ChunkCache(max(2**20, max_memory_bytes // 4))
        self._measure()

    def _measure(self) -> None:
        """Check the columns, and find the grid that they span."""
        x, y = self.x, self.y
        check_columns(x, y, self.resolution)
        loaded = sum(s.shape[0] * s.dtype.itemsize for s in (x, y) if in_memory(s) is None)
        self.fits = loaded + x.shape[0] * _SORT_BYTES <= self.max_memory_bytes
        self._clear()
        rows = max(4096, self.max_memory_bytes // 64)
        self.grid = grid_of(*self._columns(), self.resolution, rows, self.lattice)
        _warn_of_lost(self.grid, self.name)
        for name, column in self.columns.items():
            if column.shape[:1] != (self.grid.n_points,):
                raise PlanError(f"{name}: {column.shape[0]} entries for {self.grid.n_points} points")

    @property
    def columns(self) -> dict[str, Source]:
        """All columns by name."""
        z = {} if self.z is None else {"z": self.z}
        return {"x": self.x, "y": self.y, **z, **self.attributes}

    def _clear(self) -> None:
        self._held: tuple[Column, Column] | None = None
        self._index: PointIndex | None = None
        self._tree: PackedRTree | None = None
        self._scratch: Path | None = None
        remake_after_fork(self._make_lock)

    def _make_lock(self) -> None:
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_held", "_index", "_tree", "_scratch", "_lock")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    def recipe_arguments(
        self, place: Callable[[str], str], read_from: Mapping[str, Any] | None, values: Source | None
    ) -> dict[str, Any]:
        """Members of a recipe that name the columns and the grid."""

        def path_of(column: Source) -> Any:
            return column.recipe_arguments(place)["source"]

        if read_from is not None:
            points = {**read_from, "path": place(read_from["path"])}
        else:
            columns = {"x": self.x, "y": self.y, "z": self.z, "values": values}
            points = {name: path_of(column) for name, column in columns.items() if column is not None}
            points |= {"attributes": {name: path_of(column) for name, column in self.attributes.items()}}
        facts = {
            "resolution": self.resolution,
            **self.lattice_arguments,
            "name": self.name,
            "attrs": self.attrs,
            "crs": self.crs,
            "units": self.units,
        }
        return {"points": points, **{name: value for name, value in facts.items() if value is not None}}

    @property
    def lattice_arguments(self) -> dict[str, Any]:
        """Arguments that fix the grid; empty where the points do."""
        return {} if self.lattice is None else self.lattice.record()

    # Identity

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the coordinates and the resolution."""
        parts: Any = [s.fingerprint for s in (self.x, self.y)], self.resolution
        parts = parts if self.lattice is None else (*parts, self.lattice)
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    @property
    def identity(self) -> Hashable:
        """Equal for clouds known to have the same points on the same grid."""
        return self.x.identity, self.y.identity, self.resolution, self.lattice

    def refreshed(self) -> Cloud:
        """The cloud over the columns as they are now; itself where none has changed."""
        columns = {name: column.refreshed() for name, column in self.columns.items()}
        if all(columns[name].identity == column.identity for name, column in self.columns.items()):
            return self
        fresh = copy.copy(self)
        fresh.x, fresh.y, fresh.z = columns.pop("x"), columns.pop("y"), columns.pop("z", None)
        fresh.attributes = columns
        fresh._measure()  # noqa: SLF001 - of its own class
        return fresh

    def keep(self, path: Path, values: Source | None) -> Cloud:
        """Write the index, and values in its order, to a folder; returns the same cloud with its index there."""
        try:
            write_index(path, self.index, self.fingerprint, values, self.chunk_cache)
        except LazypyrError:
            raise
        except OSError as error:
            raise DestinationError(f"{path}: index and values can't be kept there: {error}") from error
        stored = copy.copy(self)
        stored.index_path = path
        return stored

    def indexed_values(self, values: Source) -> Source | None:
        """The values by row of the index, if `keep` wrote them."""
        path = self.index_path
        return None if path is None else open_values(path, self.index, self.fingerprint, values)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources at the bottom that the coordinates and attributes are read from."""
        return tuple(root for column in self.columns.values() for root in column.sources)

    def explain_index(self) -> tuple[Explanation, ...]:
        """Explanation of building the index; none where it is built, or stored."""
        if self._index is not None or (self.index_path is not None and self.index_path.exists()):
            return ()
        columns = (self.x, self.y) if self._held is None else ()
        chunks = sum(ceil_div(column.shape[0], column.chunks[0]) for column in columns)
        n_bytes = sum(column.shape[0] * column.dtype.itemsize for column in columns)
        return (Explanation(f"{self.name}, index", "built once, from x and y", False, "x and y", chunks, n_bytes),)

    # What is made once

    def _columns(self) -> tuple[Source, Source]:
        """Coordinates, in memory where they fit, since the grid, the keys and exact boxes all need them."""
        if not self.fits:
            return self.x, self.y
        if self._held is None:
            self._held = _loaded(self.x), _loaded(self.y)
        return self._held

    @property
    def index(self) -> PointIndex:
        """The index: opened where it is stored, else built (and stored if there is a path for it)."""
        index = self._index
        if index is None:
            with self._lock:
                index = self._index = self._index or self._open_or_build()
        return index

    def _open_or_build(self) -> PointIndex:
        if self.index_path is None:
            return self._build()
        stored = open_index(self.index_path, self.grid, self.fingerprint)
        if stored is not None:
            return stored
        index = self._build()
        try:
            write_index(self.index_path, index, self.fingerprint)
        except OSError as error:
            warnings.warn(f"{self.index_path}: the index can't be kept there: {error}", UserWarning, stacklevel=2)
            return index
        return open_index(self.index_path, self.grid, self.fingerprint) or index

    def _build(self) -> PointIndex:
        if self.fits:
            return build(*self._columns(), self.grid, self.grid.n_points)
        return external_sort.build(self.x, self.y, self.grid, self._folder(), self.max_memory_bytes)

    def _folder(self) -> Path:
        """Folder of what exceeds memory: beside the stored index, or where temporary files go; removed with the cloud."""
        if self._scratch is None:
            beside = self.index_path.parent if self.index_path else None
            if beside is not None:
                beside.mkdir(parents=True, exist_ok=True)
            self._scratch = Path(tempfile.mkdtemp(prefix="lazypyr-points-", dir=beside))
            weakref.finalize(self, _remove, self._scratch, os.getpid())
        return self._scratch

    @property
    def order(self) -> Array:
        """Number of the point of each rank in Morton order."""
        return self.index.order if self.fits else external_sort.order(self.index, self._locked_folder())

    def _locked_folder(self) -> Path:
        with self._lock:
            return self._folder()

    @property
    def tree(self) -> PackedRTree:
        """The search tree, built when first needed."""
        tree = self._tree
        if tree is None:
            with self._lock:
                tree = self._tree = self._tree or self._build_tree()
        return tree

    def _build_tree(self) -> PackedRTree:
        grid = self.grid
        columns, pixel_xy = self._columns(), None
        x, y = (in_memory(column) for column in columns)
        if not self.fits:
            folder = self._folder()
            x, y = (
                external_sort.raw_column(column, folder / name, self.max_memory_bytes)
                for name, column in zip("xy", columns, strict=True)
            )
            pixel_xy = np.memmap(folder / "pixel_xy", np.float32, "w+", shape=(grid.n_valid, 2))
        assert x is not None
        assert y is not None
        return PackedRTree.of(self.order, x, y, (float(grid.x0), float(grid.y0), grid.resolution), pixel_xy=pixel_xy)


def _loaded(source: Source) -> Column:
    if isinstance(source, Column):
        return source
    return Column(np.ascontiguousarray(source.read(((0, source.shape[0]),))), name=source.name, axes=source.axes)


def _warn_of_lost(grid: PointGrid, name: str) -> None:
    lost = grid.n_points - grid.n_valid - grid.n_outside
    if lost:
        warnings.warn(
            f"{name}: {lost} of {grid.n_points} points are left out: {grid.n_nan} with NaN, "
            f"{lost - grid.n_nan} with infinite coordinates",
            UserWarning,
            stacklevel=5,
        )


def _remove(folder: Path, pid: int) -> None:
    # a forked child ends without taking its parent's files with it
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)
