"""Point clouds as pyramids: any tile of any level straight from the points."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.metadata.json_values import recorded
from lazypyr.points.aggregations import FIRST_VALID, Aggregation, CellWindow, aggregation_of
from lazypyr.points.cloud import Cloud
from lazypyr.points.columns import as_column, gather
from lazypyr.points.companions import IndexPyramid, OnGrid, RawPyramid, array_keys, classes_of, explain_values
from lazypyr.points.materialized import FOLDER, IndexOrderedValues, MaterializedCloud
from lazypyr.pyramids.base import SERIAL, ComputeContext, Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.base import Source

__all__ = ["PointsPyramid"]

Array = np.ndarray[Any, Any]


class PointsPyramid(OnGrid):
    """Point cloud as a pyramid; `lazypyr.from_points` and `lazypyr.read_points` make it.

    Axes are ``y, x, *channels``. Level 0 has a pixel for every ``resolution`` of the extent, with the smallest y first;
    it is never allocated. A pixel shows what its aggregation, named by `method`, makes of the points in its cell.

    Parameters
    ----------
    cloud : Cloud
        Coordinates, their index and their search tree.
    values : Source or None
        Values by point number, shape ``(n, *channels)``.
    aggregation : Aggregation
        Object that computes pixels from the points of their cells.
    chunks : (int, int)
        Pixels of a chunk along y and x.
    levels : int, optional
        Number of levels; by default until y and x fit in one chunk.
    fill_value : scalar, optional
        Value of pixels without points, see `lazypyr.from_points`.
    materialized : MaterializedCloud, optional
        Values that `lazypyr.materialize` wrote in the order of the index.
    read_from : Mapping, optional
        File and columns that `lazypyr.read_points` read, for recipes.

    Attributes
    ----------
    x, y, z, values : Source
        Coordinates (z may be None) and values (None without any) by point number.
    raw : Mapping[str, Source]
        These and the other attributes of the points, by name.
    index : Pyramid
        Number of the point that each pixel shows: int64, -1 where there is none.

    See Also
    --------
    lazypyr.from_points : Pyramid of arrays.
    lazypyr.read_points : Pyramid of a file.

    Examples
    --------
    >>> import lazypyr
    >>> points = lazypyr.from_points([0.0, 3.0, 3.2], [0.0, 0.0, 1.0], [5, 6, 7], resolution=1.0, fill_value=-1)
    >>> points.read(0)
    array([[ 5, -1, -1,  7]])
    >>> points.with_values("values", method="sum", fill_value=-1).read(0)
    array([[ 5, -1, -1, 13]])
    """

    def __init__(
        self,
        cloud: Cloud,
        values: Source | None,
        aggregation: Aggregation,
        *,
        chunks: tuple[int, int],
        levels: int | None = None,
        fill_value: Any = None,
        materialized: MaterializedCloud | None = None,
        read_from: Mapping[str, Any] | None = None,
    ) -> None:
        aggregation.check(None if values is None else values.dtype)
        if values is not None and (not values.shape or values.shape[0] != cloud.grid.n_points):
            raise PlanError(
                f"values: {values.shape[0] if values.shape else 0} entries for {cloud.grid.n_points} points; "
                "the first axis must be the points"
            )
        self.values = values if aggregation.value_kinds else None
        shape = () if self.values is None else zip(self.values.axes[1:], self.values.shape[1:], strict=True)
        super().__init__(cloud, chunks, levels, [*shape])
        self._aggregation = self.downsampling = aggregation
        self.dtype = aggregation.dtype_of(self.values.dtype if self.values is not None else np.dtype("<i8"))
        self._given_fill, self._materialized, self.read_from = fill_value, materialized, read_from
        shown = self.values if aggregation.one_point else None
        hole = shown.nodata if shown is not None and fill_value is None else fill_value
        self.fill_value = aggregation.fill_value(self.dtype, hole)
        self.nodata = self.fill_value if aggregation.empty is None and self.dtype.kind in "iu" else None
        self.attrs = {**cloud.attrs, **({} if shown is None else classes_of(shown)), "points": self._summary()}

    def _summary(self) -> dict[str, Any]:
        grid = self.cloud.grid
        counts = {"n_points": grid.n_points, "n_on_grid": grid.n_valid}
        units = {"units": self.cloud.units} if self.cloud.units else {}
        sizes = {"resolution": grid.resolution, "chunks": list(self._tile), "levels": len(self.levels)}
        return counts | units | sizes | self.cloud.lattice_arguments

    # The points themselves

    @property
    def x(self) -> Source:
        """Coordinates along x, shape ``(n,)``."""
        return self.cloud.x

    @property
    def y(self) -> Source:
        """Coordinates along y, shape ``(n,)``."""
        return self.cloud.y

    @property
    def z(self) -> Source | None:
        """Heights, shape ``(n,)``; None where the cloud has none."""
        return self.cloud.z

    @property
    def raw(self) -> Mapping[str, Source]:
        """All columns of the points by name, each with one entry a point."""
        return {**self.cloud.columns, **({} if self.values is None else {"values": self.values})}

    def query(self, bbox: Sequence[float], *, closed: str = "left") -> Array:
        """Find the numbers of the points in a box, exactly.

        Parameters
        ----------
        bbox : sequence of float
            Box ``(x0, y0, x1, y1)`` in the units of the coordinates, or ``(x0, y0, z0, x1, y1, z1)`` for a cloud with z.
        closed : {"left", "both"}
            Sides that belong to the box. "left": it is half-open, ``x0 <= x < x1`` and so on, so that boxes side by side
            share no point. "both": ``x0 <= x <= x1``.

        Returns
        -------
        ndarray
            Point numbers, int64, ascending, shape ``(n,)``.

        Raises
        ------
        PlanError
            When the box is none: a low side above its high side, NaN, six sides without z.
        SourceError
            When coordinates can't be read.

        See Also
        --------
        nearest : The point nearest to a position.

        Examples
        --------
        >>> import lazypyr
        >>> points = lazypyr.from_points([0.0, 1.0, 2.0], [0.0, 0.0, 0.0], resolution=1.0)
        >>> points.query((0, 0, 2, 1))
        array([0, 1])
        >>> points.query((0, 0, 2, 1), closed="both")
        array([0, 1, 2])
        """
        if closed not in ("left", "both"):
            raise PlanError(f"closed: expected 'left' or 'both', got {closed!r}")
        both = closed == "both"
        try:
            sides = [*map(float, bbox)]
        except (TypeError, ValueError):
            sides = []
        if len(sides) == 4:
            xa, ya, xb, yb = sides
            if xa <= xb and ya <= yb:
                return self.cloud.tree.in_box(xa, ya, xb, yb, closed=both)
        elif len(sides) == 6:
            xa, ya, za, xb, yb, zb = sides
            if self.z is None:
                raise PlanError("bbox: a box of six numbers needs a cloud with z; give x0, y0, x1, y1")
            if xa <= xb and ya <= yb and za <= zb:
                numbers = self.cloud.tree.in_box(xa, ya, xb, yb, closed=both)
                z = gather(self.z, numbers, (), self.cloud.chunk_cache, SERIAL)
                return numbers[(z >= za) & ((z <= zb) if both else (z < zb))]
        raise PlanError(
            f"bbox: expected (x0, y0, x1, y1) or (x0, y0, z0, x1, y1, z1), low sides first and no NaN, got {bbox!r}"
        )

    def nearest(self, x: Any, y: Any, *, max_distance: float | None = None) -> tuple[Array, Array]:
        """Find the nearest point of each ``(x, y)``, and the Euclidean distance to it.

        Parameters
        ----------
        x, y : array-like
            Positions in the units of the coordinates, of any shapes that broadcast.
        max_distance : float, optional
            Distance in the units of the coordinates, inclusive, beyond which points don't count.

        Returns
        -------
        index : ndarray
            Point numbers, int64, of the broadcast shape; -1 where there is no point (or x or y is not finite). Of points
            at the same distance it is the one with the lowest number.
        distance : ndarray
            Distances in the units of the coordinates, float64, inf where `index` is -1.

        Raises
        ------
        PlanError
            When `x` or `y` are no numbers, or `max_distance` is negative or NaN.
        SourceError
            When coordinates can't be read.

        See Also
        --------
        query : The points in a box.

        Examples
        --------
        >>> import lazypyr
        >>> points = lazypyr.from_points([0.0, 1.0, 2.0], [0.0, 0.0, 0.0], resolution=1.0)
        >>> index, distance = points.nearest([1.9, 50.0], [0.0, 0.0], max_distance=10.0)
        >>> index.tolist(), distance.round(3).tolist()
        ([2, -1], [0.1, inf])
        """
        reach = math.inf if max_distance is None else float(max_distance)
        if not reach >= 0:
            raise PlanError(f"max_distance: expected a distance of 0 or more, or None, got {max_distance!r}")
        if type(x) is type(y) is float:
            number, far = self.cloud.tree.nearest_to(x, y, reach)
            return np.array(number), np.array(far)
        try:
            px, py = np.asarray(x, np.float64), np.asarray(y, np.float64)
        except (TypeError, ValueError) as error:
            raise PlanError(f"x and y: expected numbers: {error}") from error
        if px.shape != py.shape:
            px, py = np.broadcast_arrays(px, py)
        index, distance = self.cloud.tree.nearest(px.ravel(), py.ravel(), reach)
        return index.reshape(px.shape), distance.reshape(px.shape)

    @property
    def index(self) -> IndexPyramid:
        """Pyramid of the number of the point that ``first_valid`` shows: int64, -1 where there is none."""
        return IndexPyramid(self.cloud, self._tile, len(self.levels))

    @property
    def companion_arrays(self) -> Mapping[str, Pyramid]:
        raw = {f"points/{key}": RawPyramid(self.raw[name], name) for key, name in array_keys(self.raw).items()}
        if self._aggregation.in_index_order:
            for name, values in {"point": None, "values": self.values}.items():
                raw[f"{FOLDER}/{name}"] = RawPyramid(
                    IndexOrderedValues(self.cloud, values), f"{self.name}, level-major {name}"
                )
        return {"index/{level}": self.index, **raw}

    def with_values(self, values: Any, *, method: str | None = None, fill_value: Any = None) -> PointsPyramid:
        """Show other values, or another aggregation, of the same points; the index is shared.

        Parameters
        ----------
        values : str or array-like
            Name of one of `raw`, or values of shape ``(n, *channels)``.
        method : str, optional
            Aggregation, see `lazypyr.from_points`; by default the same, or "first_valid" if that shows no values.
        fill_value : scalar, optional
            Value of pixels without points, see `lazypyr.from_points`.

        Returns
        -------
        PointsPyramid
            Pyramid with the chunks and levels of this one.

        Raises
        ------
        PlanError
            When there is no such column, or the method doesn't work on its dtype.

        Examples
        --------
        >>> import lazypyr
        >>> points = lazypyr.from_points([0.0, 1.0], [0.0, 0.0], resolution=1.0, attributes={"height": [2.5, 4.0]})
        >>> points.with_values("height", method="max").read(0)
        array([[4.]])
        """
        source = self.raw.get(values) if isinstance(values, str) else as_column(values, "values")
        if source is None:
            raise PlanError(f"values: no attribute {values!r}; there are {', '.join(self.raw)}")
        same = self._aggregation if self._aggregation.value_kinds else FIRST_VALID
        aggregation = aggregation_of(method) if method else same
        names = {**self.read_from, "values": values} if self.read_from and isinstance(values, str) else None
        return self._with(values=source, aggregation=aggregation, fill_value=fill_value, read_from=names)

    def keep(self, path: Any) -> PointsPyramid:
        """Keep the index, and a copy of the values in its order, as a zarr group.

        A tile then touches a few neighbouring chunks of the values instead of all. ``from_points(..., index_path=path)``
        uses them again. The values are stored uncompressed, 65536 points of one channel in a chunk.

        Parameters
        ----------
        path : path
            Local folder; an index that is there is replaced when all is written.

        Returns
        -------
        PointsPyramid
            The same pyramid, which reads from there.

        Raises
        ------
        DestinationError
            When it can't be written; what was there before is unchanged.
        SourceError
            When coordinates or values can't be read.

        Examples
        --------
        >>> import lazypyr
        >>> kept = lazypyr.from_points([0.0, 1.0], [0.0, 0.0], [5, 6], resolution=1.0).keep("kept.zarr")
        >>> kept.read(0)
        array([[6]])
        """
        return self._with(cloud=self.cloud.keep(Path(path), self.values))

    def with_materialized(self, materialized: MaterializedCloud | None) -> PointsPyramid:
        """The same pyramid, using the values that `materialize` wrote in the order of the index."""
        return self._with(materialized=materialized)

    def _with(self, **changed: Any) -> PointsPyramid:
        parts: dict[str, Any] = {
            "cloud": self.cloud,
            "values": self.values,
            "aggregation": self._aggregation,
            "chunks": self._tile,
            "levels": len(self.levels),
            "fill_value": self._given_fill,
            "read_from": self.read_from,
        }
        return PointsPyramid(**parts | changed)

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        layout = {"chunks": self._tile, "levels": len(self.levels), "fill_value": recorded(self._given_fill)}
        return {**self.cloud.recipe_arguments(place, self.read_from, self.values), "method": self.method, **layout}

    @property
    def sources(self) -> tuple[Source, ...]:
        return (*self.cloud.sources, *(() if self.values is None else self.values.sources))

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        most = windows.pixels_in(window) if self._aggregation.one_point else None
        return explain_values(what, self, self.values, window, most=most)

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        out = np.full(windows.window_shape(window), self.fill_value, self.dtype)
        if out.size:
            channels = list(itertools.product(*(range(a, b) for a, b in window[2:])))
            flat = out.reshape(windows.pixels_in(window[:2]), len(channels))
            self._aggregation.write(CellWindow(self, level, window[:2], channels, context), flat)
        return out

    @cached_property
    def indexed_values(self) -> Source | None:
        """The values by row of the index, where `materialize` or `keep` wrote them so."""
        values = None if self._materialized is None else self._materialized.values_of(self.cloud)
        return values if values is not None or self.values is None else self.cloud.indexed_values(self.values)

    @cached_property
    def fingerprint(self) -> str:
        options = (self.method, self.chunks, len(self.levels), str(self.fill_value))
        digest = hashlib.blake2b(repr(options).encode(), digest_size=16)
        digest.update(self.cloud.fingerprint.encode())
        digest.update(b"" if self.values is None else self.values.fingerprint.encode())
        return digest.hexdigest()

    @cached_property
    def identity(self) -> Hashable:
        values = None if self.values is None else self.values.identity
        return self.cloud.identity, values, self.method, self.chunks, len(self.levels), str(self.fill_value)

    @property
    def description(self) -> str:
        grid = self.cloud.grid
        return f"{self.name}: {grid.n_valid} points at {grid.resolution} a pixel, {self.method}"

    def refreshed(self) -> Pyramid:
        cloud, values = self.cloud.refreshed(), None if self.values is None else self.values.refreshed()
        fresh = self._with(cloud=cloud, values=values, materialized=self._materialized)
        return fresh if fresh.identity == self.identity else self._with(cloud=cloud, values=values)
