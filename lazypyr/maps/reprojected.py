"""A pyramid over another grid, of the levels of a parent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr._util.tokenize import tokenize
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.maps.inverse import CELL
from lazypyr.maps.mesh import MeshPlace
from lazypyr.maps.place import Place, place_of
from lazypyr.maps.reading import Extract, extract_of
from lazypyr.maps.resampling import Resampling, holding
from lazypyr.maps.target import Target
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid, Reduction
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["ReprojectedPyramid"]

Array = np.ndarray[Any, Any]
# Grid mappings, bounds and longitudes of the parent's own grid, and what says its place.
_OF_GRID = frozenset({"GeoTransform", "transform", "grid_mapping", "coordinates"})


@dataclass(frozen=True)
class _Piece:
    """The part of a cell that a window has: where it lies, and what of the parent it is made of."""

    rows: slice
    columns: slice
    level: int
    extract: Extract
    at: tuple[Array, Array]
    inside: Array
    spans: tuple[float, float]


class ReprojectedPyramid(Pyramid):
    """Levels of another pyramid on another grid, computed when they are read.

    Parameters
    ----------
    parent : Pyramid
        Its place is known: CRS, and coordinates of y and x.
    target : Target
    resampling : Resampling
    source_crs : str, optional
        CRS of the parent's coordinates, instead of what its metadata say.
    mesh : MeshPlace, optional
        Longitudes and latitudes of its pixels, instead of that.
    place : Place or MeshPlace, optional
        What `place_of` gives for these, where it has been asked already.

    See Also
    --------
    lazypyr.Pyramid.reproject : The way to make one.
    """

    downsampling: Resampling

    def __init__(
        self,
        parent: Pyramid,
        target: Target,
        resampling: Resampling,
        source_crs: str | None = None,
        mesh: MeshPlace | None = None,
        place: Place | MeshPlace | None = None,
    ) -> None:
        self.parent, self.target, self.downsampling = parent, target, resampling
        self._source_crs, self._mesh = source_crs, mesh
        self.place: Place | MeshPlace = place or mesh or place_of(parent, source_crs)
        self.name, self.axes, self.dtype = parent.name, parent.axes, parent.dtype
        self._y, self._x = parent.axes.index("y"), parent.axes.index("x")
        plane = {"y": target.shape[0], "x": target.shape[1]}
        shape = tuple(plane.get(axis, n) for axis, n in zip(parent.axes, parent.shape, strict=True))
        self.chunks = tuple(CELL if axis in plane else c for axis, c in zip(parent.axes, parent.chunks, strict=True))
        factors = tuple(2 if axis in plane else 1 for axis in self.axes)
        count = target.levels or windows.level_count(shape, factors, self.chunks)
        self.levels = tuple(
            Level(
                windows.level_shape(shape, factors, k),
                tuple(float(f**k) for f in factors),
                tuple((f**k - 1) / 2 for f in factors),
            )
            for k in range(count)
        )
        declared = parent.packing.nodata if parent.nodata is None else parent.nodata
        empty = complex(np.nan, np.nan) if self.dtype.kind == "c" else np.nan
        self.fill_value = (
            declared
            if declared is not None
            else self.dtype.type(empty)
            if self.dtype.kind in "fc"
            else parent.fill_value
        )
        same = parent.metadata
        along = {axis: known for axis, known in same.along.items() if axis not in plane}
        limits = target.limits()
        tiles = {"tile_matrix_set": target.tiling, "tile_matrix_limits": limits} if limits else {}
        self.metadata = same.replaced(
            along={**along, **target.coords()},
            dims={axis: dim for axis, dim in same.dims.items() if axis not in plane},
            variables={},
            grid_mapping=None,
            crs=target.crs,
            ome=same.ome and same.ome.of_other_values(),
            attrs={**{key: value for key, value in same.attrs.items() if not _is_of_grid(key)}, **tiles},
            group_attrs={key: value for key, value in same.group_attrs.items() if not _is_of_grid(key)},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parent, self.target, self.downsampling, self._source_crs, self._mesh)

    # What it is

    @property
    def parents(self) -> tuple[Pyramid, ...]:
        return (self.parent,)

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        return ()

    def _key(self) -> tuple[Hashable, ...]:
        return self.target, self.downsampling.name, len(self.levels)

    @cached_property
    def fingerprint(self) -> str:
        text = tokenize(("reprojected", *self._key(), self.place))
        return hashlib.blake2b(f"{text} {self.parent.fingerprint}".encode(), digest_size=16).hexdigest()

    @cached_property
    def identity(self) -> Hashable:
        return "reprojected", *self._key(), self.place, self.parent.identity

    @property
    def description(self) -> str:
        where = f"{self.target.tiling}, zoom {self.target.zoom}" if self.target.tiling else self.target.crs
        return f"{self.parent.description}; on {where} by {self.downsampling.name}"

    def refreshed(self) -> Pyramid:
        fresh = self.parent.refreshed()
        same = fresh is self.parent
        return self if same else self._again(fresh)

    def _again(self, parent: Pyramid) -> Pyramid:
        return ReprojectedPyramid(parent, self.target, self.downsampling, self._source_crs, self._mesh)

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        if self._mesh is not None:
            raise PlanError(
                f"{self.name}: a recipe has no pixels, and lonlat are arrays: write them beside the raster, as its CF "
                "coordinates, where they are found"
            )
        given = {} if self._source_crs is None else {"source_crs": self._source_crs}
        grid = {key: value for key, value in asdict(self.target).items() if value is not None}
        entry = {**grid, "method": self.method, **given}
        return {"reproject": entry, "source": self.parent.recipe_arguments(place)}

    def decoded_bytes(self, n_channels: int) -> int:
        return self.parent.decoded_bytes(n_channels)

    # Where its pixels come from

    def _pieces(self, level: int, window: Window) -> Iterator[_Piece]:
        """Parts of a window that hold something, cell by cell of a grid that no window moves."""
        (r0, r1), (c0, c1) = window[self._y], window[self._x]
        for top in range(r0 // CELL * CELL, r1, CELL):
            for left in range(c0 // CELL * CELL, c1, CELL):
                rows, columns = slice(max(r0, top), min(r1, top + CELL)), slice(max(c0, left), min(c1, left + CELL))
                piece = self._piece(level, top, left, rows, columns)
                if piece is not None:
                    yield piece

    def _piece(self, level: int, top: int, left: int, rows: slice, columns: slice) -> _Piece | None:
        size = self.target.resolution * 2**level
        found = self.place.positions(
            self.target.crs, self.target.left + left * size, self.target.top - top * size, size
        )
        part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        y, x = found.rows[part], found.columns[part]
        inside = self.place.holds(y, x)
        if not inside.any():
            return None
        chosen = self._level_for(found.scale)
        at = self.parent.levels[chosen]
        (sy, ty), (sx, tx) = ((at.scale[n], at.translation[n]) for n in (self._y, self._x))
        # Less than a pixel would be a staircase; a box of one pixel is linear interpolation.
        spans = max(found.spans[0] / sy, 1.0), max(found.spans[1] / sx, 1.0)
        shape, chunks = ((values[self._y], values[self._x]) for values in (at.shape, self.parent.chunks))
        turn = self.place.period / sx if self.place.goes_round else 0.0
        reach = self.downsampling.reaches(spans)
        made = extract_of((y - ty) / sy, (x - tx) / sx, inside, reach, shape, chunks, turn)
        if made is None:
            return None
        extract, *positions = made
        return _Piece(rows, columns, chosen, extract, (positions[0], positions[1]), inside, spans)

    def _level_for(self, scale: float) -> int:
        """The coarsest level of the parent whose pixels aren't larger than those of the target."""
        sizes = (math.sqrt(at.scale[self._y] * at.scale[self._x]) for at in self.parent.levels)
        return max((k for k, size in enumerate(sizes) if size <= scale * 1.001), default=0)

    def _of_parent(self, window: Window, plane: Window) -> Window:
        whole = list(window)
        whole[self._y], whole[self._x] = plane
        return tuple(whole)

    def _asked(self, level: int, window: Window) -> Iterator[tuple[int, Window]]:
        for piece in self._pieces(level, window):
            for plane, _ in piece.extract.windows():
                yield piece.level, self._of_parent(window, plane)

    def stored_chunks(self, level: int, window: Window, context: ComputeContext) -> Iterator[StoredChunk]:
        for k, wide in self._asked(level, window):
            for index in windows.chunk_index_windows(wide, self.parent.chunks):
                if context.get_cached(self.parent, k, index) is None:
                    chunk = windows.chunk_window(index, self.parent.chunks, self.parent.levels[k].shape)
                    yield from self.parent.stored_chunks(k, chunk, context)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        inputs = tuple(self.parent.explain(k, wide, context) for k, wide in self._asked(level, window))
        return Explanation(what, self.description, inputs=inputs)

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        n = windows.pixels_in(window)
        # of a cell at a time: four pixels of the source for each, positions, masks
        own = 6 * n * max(self.dtype.itemsize, 8) + 8 * CELL * CELL * 8
        plane = tuple((0, min(c, s)) for c, s in zip(self.parent.chunks, self.parent.shape, strict=True))
        return own + self.parent.working_bytes(0, plane, block_bytes)

    # Computing

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        result = np.full(windows.window_shape(window), self.fill_value, self.dtype)
        planes = np.moveaxis(result, (self._y, self._x), (-2, -1))
        others = tuple(n for n in planes.shape[:-2])
        (r0, _), (c0, _) = window[self._y], window[self._x]
        for piece in self._pieces(level, window):

            def read(plane: Window, piece: _Piece = piece) -> Array:
                pixels = context.read(self.parent, piece.level, self._of_parent(window, plane))
                return np.moveaxis(pixels, (self._y, self._x), (-2, -1))

            block = piece.extract.read(read, others, self.dtype)
            out = planes[
                ..., piece.rows.start - r0 : piece.rows.stop - r0, piece.columns.start - c0 : piece.columns.stop - c0
            ]
            for index in np.ndindex(others):
                self._take(piece, block[index], out[index])
        return result

    def _take(self, piece: _Piece, block: Array, out: Array) -> None:
        packing = self.parent.packing
        held = holding(packing, block)
        filled = np.full(out.shape, self.fill_value, self.dtype)
        numbers = np.ascontiguousarray(block).view(packing.numbers)
        out_numbers = filled.view(packing.numbers)
        self.downsampling.take(numbers, held, piece.at, piece.inside, piece.spans, packing.hole, out_numbers)
        out[...] = filled


def _is_of_grid(key: str) -> bool:
    return key in _OF_GRID or key.startswith(("spatial:", "proj:"))
