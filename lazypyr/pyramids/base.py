"""A pyramid is a recipe: levels, axes, dtype and how to compute any window of any level. It holds no pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lazypyr._util.checks import is_whole
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.grid import Grid
from lazypyr.geometry.windows import Window
from lazypyr.metadata.dataset import Described
from lazypyr.metadata.packing import Packing, packing_of
from lazypyr.metadata.protocol import SupportsDownsampling
from lazypyr.pyramids.completion import INTERNAL
from lazypyr.pyramids.explanation import Explanation
from lazypyr.pyramids.key import Key
from lazypyr.pyramids.level import Level, checked_window
from lazypyr.pyramids.level_array import LevelArray
from lazypyr.pyramids.plan import ReadPlan
from lazypyr.pyramids.products import ProductLike, load_products
from lazypyr.pyramids.recipes import HasRecipe
from lazypyr.pyramids.reduction import reduce_block
from lazypyr.pyramids.represented import Represented
from lazypyr.pyramids.reprojectable import Reprojectable
from lazypyr.pyramids.serial_context import SerialContext
from lazypyr.reducers import REDUCERS

if TYPE_CHECKING:
    from lazypyr.reducers import Reducer
    from lazypyr.sources.base import Source
    from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["SERIAL", "ComputeContext", "Level", "Pyramid", "Reduction", "SerialContext"]

Array = np.ndarray[Any, Any]


class ComputeContext(Protocol):
    """Surroundings that a pyramid computes in: cached chunks of it and of others, threads, bounds on memory."""

    @property
    def cache_budget_bytes(self) -> int:
        """Bytes of chunks that may be put into the cache on the way; 0: nothing is kept."""

    @property
    def task_bytes(self) -> int:
        """Bytes that one task may hold."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at once."""

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        """Pixels of another pyramid, cached by chunk; read-only."""

    def get_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> Array | None:
        """The finished chunk (full-size chunk) if it is cached, without computing it."""

    def put_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        """Hand in a chunk (clipped to the level) that came out on the way; kept if there is room."""

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks, which wait for nothing, on all cores; returns when all are done, raises the first error."""


class Pyramid(Described, HasRecipe, Represented, Reprojectable, ABC):
    """Levels over the same field of view, each computed when it is read. Immutable and picklable.

    Attributes
    ----------
    name : str
        For messages and metadata.
    axes : tuple[str, ...]
        One name an axis, the same at all levels; "y" and "x" are among them.
    dtype : numpy.dtype
        Little-endian; the same at all levels.
    chunks : tuple[int, ...]
        Shape of a chunk, by axis; the same at all levels.
    levels : tuple[Level, ...]
        Finest first.
    fill_value : scalar
        What stands where there is nothing (beyond the edge in an edge chunk; no data).
    nodata : scalar or None
        The value that declares a pixel to hold nothing (NaN needs no declaration).
    downsampling : Reducer
        Facts on how levels are made, for metadata.
    coords : Mapping[str, Coord]
        World coordinates of the axes that have any, for level 0.
    crs : str or None
    attrs : Mapping[str, Any]
        Attributes that are passed on to readers, JSON-like.
    display : Mapping[str, Any] or None
        Hints for viewers: "window" (low, high), "colors", "labels".
    metadata : DatasetMetadata
        All that the source's dataset states: `nodata`, `attrs`, `coords`, `crs` and `display` are members of it.

    See Also
    --------
    lazypyr.open_pyramid : Pyramid of an array, a file or a URL.
    lazypyr.from_function : Pyramid whose chunks a function computes.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> pyramid = lazypyr.open_pyramid(np.arange(600 * 400, dtype="f4").reshape(600, 400), method="mean")
    >>> [level.shape for level in pyramid.levels]
    [(600, 400), (300, 200), (150, 100)]
    >>> pyramid.read(1, [slice(0, 1), slice(0, 2)])
    array([[200.5, 202.5]], dtype=float32)
    """

    name: str
    axes: tuple[str, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    levels: tuple[Level, ...]
    fill_value: Any
    downsampling: SupportsDownsampling = REDUCERS["stride"]

    @abstractmethod
    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        """Pixels of a window that lies within the level: exactly its shape and `dtype`. Pure."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the recipe and its source; the same in every process."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """Equal for pyramids known at no cost to have the same pixels: the key of caches in this process."""

    @cached_property
    def key(self) -> Key:
        """`identity`, hashed once: caches ask for it many times a chunk."""
        return Key(self.identity)

    @property
    @abstractmethod
    def description(self) -> str:
        """The recipe in words, for people and for metadata."""

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        """Estimate of the bytes that `compute` holds at once, given blocks of `block_bytes` for all threads together."""
        return 3 * windows.pixels_in(window) * self.dtype.itemsize

    def plan(self, level: int, window: Window, context: ComputeContext) -> ReadPlan:
        """Plan of a window, decided without reading: by default just the window, by `compute`."""
        need = self.working_bytes(level, window, context.task_bytes * context.workers)
        return ReadPlan(level, window, window, need, level)

    def execute(self, plan: ReadPlan, context: ComputeContext) -> Array:
        """Pixels of the window of a plan that `plan` made in the same context."""
        return self.compute(plan.level, plan.window, context)

    def stored_chunks(self, level: int, window: Window, context: ComputeContext) -> Iterator[StoredChunk]:
        """Far chunks that computing a window would fetch, in the order of need, as far as that is known beforehand."""
        yield from ()

    @cached_property
    def is_far(self) -> bool:
        """True where its pixels are made of what lies in a store that is far."""
        return any(source.is_far for source in self.sources)

    @property
    def parents(self) -> tuple[Pyramid, ...]:
        """Pyramids that its pixels are computed from, level by level."""
        return ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources at the bottom that its pixels are read from."""
        return tuple(source for parent in self.parents for source in parent.sources)

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """Reduced pyramids that all its pixels are made of, level by level; empty when they are made otherwise."""
        by_parent = [parent.reductions for parent in self.parents]
        by_key = {r.key: r for reductions in by_parent for r in reductions} if all(by_parent) else {}
        scaled = [
            {a: (f, j) for a, f, j in zip(r.axes, r.factors, r.joins, strict=True) if f > 1} for r in by_key.values()
        ]
        same = all(s == scaled[0] and set(s) <= set(self.axes) for s in scaled)
        return tuple(by_key.values()) if same else ()

    @cached_property
    def packing(self) -> Packing:
        """Meaning of the stored numbers."""
        return packing_of(self.metadata, self.dtype)

    @property
    def unpacked(self) -> Pyramid:
        """The pyramid in the values that its numbers mean, each level unpacked; itself where the numbers are the values."""
        if self.packing.is_plain:
            return self
        values: Pyramid = load_products().unpacked(self)
        return values

    @property
    def n_stored_levels(self) -> int:
        """Number of levels that exist, or are products of such; any other costs as much as the last of them."""
        return 1

    def decoded_bytes(self, n_channels: int) -> int:
        """Bytes of the stored chunks under `n_channels` channels of one pixel, as far as can be known."""
        return 0

    def transposed(self, order: tuple[str, ...]) -> Pyramid | None:
        """The pyramid with its axes in another order, if that can be computed in that order; None otherwise."""
        return None

    def with_chunks(self, chunks: tuple[int, ...]) -> Pyramid | None:
        """The pyramid in chunks of another shape, if that can be chosen now; None otherwise."""
        return None

    def explain(self, level: int, window: Window, context: ComputeContext | None = None) -> Explanation:
        """Explanation of where the pixels of a window would come from; nothing is read and nothing is cached.

        Parameters
        ----------
        level : int
        window : tuple of (int, int)
            Half-open, within the level.
        context : ComputeContext, optional
            Whose cached chunks are taken into account.
        """
        context = context or SERIAL
        spans = ", ".join(f"{axis} {a}:{b}" for axis, (a, b) in zip(self.axes, window, strict=True))
        what = f"{self.name}, level {level}, {spans}"
        indices = list(windows.chunk_index_windows(window, self.chunks))
        if all(context.get_cached(self, level, index) is not None for index in indices):
            return Explanation(what, "from the cache", cached=True, cached_chunks=len(indices))
        return self._explain(what, level, window, context)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        """Explanation of a window of which some chunk isn't cached."""
        return Explanation(what, self.description)

    def at_points(self, numbers: Array) -> Pyramid:
        """Pyramid of one row with the values of points by number; PlanError where the pixels aren't of points."""
        raise PlanError(f"{self.name}: isn't made of points")

    def refreshed(self) -> Pyramid:
        """The pyramid over the source as it is now."""
        return self

    @property
    def companion_arrays(self) -> Mapping[str, Pyramid]:
        """Further arrays that a store serves beside the levels, by path; "{level}" stands for the level's number."""
        return {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of level 0, by axis."""
        return self.levels[0].shape

    @property
    def georeference(self) -> tuple[Any, ...]:
        """Axes, coordinates and CRS: pyramids of equal pixels may differ in them."""
        return self.axes, dict(self.coords), self.crs, self.metadata.affine

    @property
    def method(self) -> str:
        """Name of the method by which levels are made, as metadata record it."""
        return str(self.downsampling.record["method"])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def grid(self) -> Grid:
        """Grid of level 0 in the plane of x and y (in pixels where the source doesn't say)."""
        y, x = self.axes.index("y"), self.axes.index("x")
        centred = any(t for level in self.levels for t in level.translation)
        return Grid.of(self.coords, self.shape[x], self.shape[y], centred=centred)

    def __getitem__(self, level: int) -> LevelArray:
        if not is_whole(level):
            raise TypeError(f"{self.name}: expected the number of a level, got {level!r}; pixels are pyramid[0][y, x]")
        n = len(self.levels)
        if not -n <= level < n:
            raise IndexError(f"{self.name}: no level {level}; there are {n}, 0 (finest) to {n - 1}")
        return LevelArray(self, int(level) % n)

    def __len__(self) -> int:
        return len(self.levels)

    def __iter__(self) -> Iterator[LevelArray]:
        return map(self.__getitem__, range(len(self.levels)))

    def read(self, level: int, window: slice | Sequence[slice | tuple[int, int]] | None = None) -> Array:
        """Pixels of a window, computed here and now, in this thread, without a cache.

        Parameters
        ----------
        level : int
            0 is the finest; negative counts from the coarsest.
        window : sequence of slices or of ``(start, stop)``, one an axis; half-open
            The whole level without it. Axes left out at the end are taken whole; ``numpy.s_[:5, :5]`` writes one. For
            integers and steps index a level: ``pyramid[2][:5, ::2, 3]``.

        Returns
        -------
        ndarray
            Of the window's shape and of `dtype`.

        Raises
        ------
        PlanError
            When there is no such level, or the window is outside it.
        """
        level, clean = self.checked(level, window)
        return SERIAL.read(self, level, clean)

    def checked(self, level: int, window: slice | Sequence[slice | tuple[int, int]] | None) -> tuple[int, Window]:
        """A level and a window as `compute` wants them; PlanError names what is wrong."""
        n = len(self.levels)
        if not -n <= level < n:
            raise PlanError(f"{self.name}: no level {level}; there are {n}, 0 (finest) to {n - 1}")
        level %= n
        return level, checked_window(self.name, self.axes, level, self.levels[level].shape, window)

    def map(self, product: ProductLike, **options: Any) -> Pyramid:
        """Pyramid of a product of this one, e.g. ``map("intf_all")``.

        Parameters
        ----------
        product : str, callable or Product
            See `lazypyr.product`.
        **options
            Parameters of the product.

        Returns
        -------
        Pyramid
            Of the product, computed after reduction.
        """
        mapped: Pyramid = load_products().apply(self, product, **options)
        return mapped

    def __lazypyr_token__(self) -> Any:
        return "pyramid", self.fingerprint

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in INTERNAL]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pyramid) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Reduction(Pyramid):
    """A pyramid as its planner sees it: levels that are stored, and a reducer for those beyond.

    Attributes
    ----------
    stored_levels : tuple[Source, ...]
        Levels that exist, finest first; all of the same axes and dtype.
    reducer : Reducer
    factors : tuple[int, ...]
        Pixels of the level before in one pixel, by axis; 1 where an axis is not downsampled.
    joins : tuple[int, ...]
        Level from which on each axis is downsampled.
    """

    stored_levels: tuple[Source, ...]
    reducer: Reducer
    factors: tuple[int, ...]
    joins: tuple[int, ...]

    def between(self, finer: int, coarser: int) -> tuple[int, ...]:
        """Pixels of a level in one of a coarser one, by axis."""
        return windows.level_factors(self.factors, self.joins, finer, coarser)

    @cached_property
    def reduce(self) -> Callable[..., Array]:
        """Function ``reduce(block, factors, out=None)``, see `Reducer.__call__`; made once, as each chunk calls it."""
        return partial(reduce_block, self.reducer, self.packing, self.nodata)

    @property
    def last_stored_level(self) -> int:
        """The coarsest level that is read, not computed."""
        return len(self.stored_levels) - 1


SERIAL: ComputeContext = SerialContext()
