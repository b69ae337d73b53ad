"""A product of a pyramid, and of a source, as a pyramid and a source again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from lazypyr._util.tokenize import tokenize
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import Window
from lazypyr.products.base import Input, Output, Product, empty_of
from lazypyr.products.context import Array, ProductContext, Ranges
from lazypyr.products.derived import derived_metadata
from lazypyr.products.evaluate import asked_first, evaluate
from lazypyr.products.recipe import recipe_of
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid
from lazypyr.pyramids.context import RecordingContext
from lazypyr.pyramids.explanation import Explanation
from lazypyr.sources.base import Source, placed_as
from lazypyr.sources.far.ahead import StoredChunk

__all__ = ["MappedPyramid", "ProductSource", "input_of", "input_of_source"]


class MappedPyramid(Pyramid):
    """A product at every level of its parents, computed when it is read.

    Parameters
    ----------
    parents : sequence of Pyramid
        Inputs of the product; the first gives y and x, their levels and their coordinates.
    product : Product
        Product whose estimates have been made (see `Product.fit`).

    Attributes
    ----------
    parents : tuple of Pyramid
        Inputs of the product.
    product : Product
        The product.
    units : str or None
        UDUNITS name of the values, e.g. "radian".
    display : Mapping or None
        Facts for viewers: ``window`` (low, high), ``colors`` ("FF0000") and ``labels``, one a channel, and those of
        `Product.display`.

    See Also
    --------
    apply : The way to make one.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.ones((4, 4), "c8"))
    >>> pyramid.map("phase")
    <MappedPyramid 'phase(numpy array)': 1 level by stride, yx 4 x 4 float32, chunks 256 x 256, 64 B>
    """

    def __init__(self, parents: Sequence[Pyramid], product: Product) -> None:
        self._parents, self.product = tuple(parents), product
        first = self.parents[0]
        depth = min(len(p.levels) for p in self.parents)
        self._inputs = [tuple(input_of(p, level) for p in self.parents) for level in range(depth)]
        self._out = out = _planned(product, self._inputs[0])
        for at in self._inputs:
            _same_field(product, at)
        self._check_channels()
        self.axes, self.dtype = out.axes, out.dtype
        self.levels = tuple(_level(first, level, out) for level in first.levels[:depth])
        self.chunks = _chunks(first.axes, first.chunks, out)
        self.fill_value = _fill(out)
        self.units, self.downsampling = out.units, first.downsampling
        self.name = f"{product.name}({first.name})" if product.description else first.name
        self.metadata = derived_metadata(first, product, out, self._inputs[0][0])
        self._token = tokenize(product)
        self._n_reads: dict[Ranges, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parents, self.product)

    @property
    def parents(self) -> tuple[Pyramid, ...]:
        """Pyramids that the product is of; the first gives y and x, their levels and their coordinates."""
        return self._parents

    @property
    def n_stored_levels(self) -> int:
        return min(parent.n_stored_levels for parent in self.parents)

    def decoded_bytes(self, n_channels: int) -> int:
        return sum(parent.decoded_bytes(n_channels) for parent in self.parents)

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        recording = RecordingContext()
        try:
            self.compute(level, window, recording)
        except Exception as error:  # a product may refuse pixels that are all zero
            return Explanation(
                what, f"{self.description}; what it reads depends on the pixels ({type(error).__name__})"
            )
        inputs = tuple(pyramid.explain(k, asked, context) for pyramid, k, asked in recording.requests)
        return Explanation(what, self.description, inputs=inputs)

    def stored_chunks(self, level: int, window: Window, context: ComputeContext) -> Iterator[StoredChunk]:
        within = ProductContext(self.product.name, self.parents[0].name, level, self.axes, window)
        where = tuple([range(a, b) for a, b in window])
        for n, ranges in asked_first(self.product, self._inputs[level], self._out, where, within, self._n_reads):
            parent, wide = self.parents[n], tuple([(r.start, r.stop) for r in ranges])
            for index in windows.chunk_index_windows(wide, parent.chunks):
                if context.get_cached(parent, level, index) is None:
                    chunk = windows.chunk_window(index, parent.chunks, parent.levels[level].shape)
                    yield from parent.stored_chunks(level, chunk, context)

    @property
    def parent(self) -> Pyramid:
        """The first of `parents`."""
        return self.parents[0]

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        """Pixels of the product, from just the input pixels that it asks for."""

        def read(n: int, ranges: Ranges) -> Array:
            return context.read(self.parents[n], level, tuple([(r.start, r.stop) for r in ranges]))

        within = ProductContext(self.product.name, self.parents[0].name, level, self.axes, window)
        where = tuple([range(a, b) for a, b in window])
        return evaluate(self.product, self._inputs[level], self._out, where, read, within)

    def working_bytes(self, level: int, window: Window, block_bytes: int) -> int:
        """Its own pixels, those it may read of its parents, and what the hungriest parent holds meanwhile."""
        own = 3 * windows.pixels_in(window) * max(self.dtype.itemsize, 4)
        windows_by_axis = {a: w for a, w in zip(self.axes, window, strict=True) if a not in self._out.sizes}
        meanwhile = []
        for p in self.parents:
            sizes = zip(p.axes, p.levels[level].shape, p.chunks, strict=True)
            reach = tuple(
                windows_by_axis.get(a, (0, n if self.product.needs_all_channels else min(n, c))) for a, n, c in sizes
            )
            own += windows.pixels_in(reach) * p.dtype.itemsize
            tile = tuple(windows_by_axis.get(a, (0, c)) for a, c in zip(p.axes, p.chunks, strict=True))
            meanwhile.append(p.working_bytes(level, tile, block_bytes))
        return own + max(meanwhile)

    def _check_channels(self) -> None:
        used = [a for a in self.parent.axes if a not in self._out.axes or a in self._out.sizes]
        for a in used:
            n = self.parent.axes.index(a)
            sizes = {level.shape[n] for level in self.parent.levels}
            if len(sizes) > 1:
                raise PlanError(
                    f"product {self.product.name!r}: axis {a!r} of {self.parent.name} has {sorted(sizes)} channels at its "
                    "levels; it needs as many at each: don't downsample that axis"
                )

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        return recipe_of("products", self.parents, self.product, place)

    @property
    def fingerprint(self) -> str:
        """Hash of the product and of all that is underneath."""
        return _hash([self._token, *(p.fingerprint for p in self.parents)])

    @property
    def identity(self) -> Hashable:
        """Product and all that is underneath, as this process knows them."""
        return "product", self._token, *(p.identity for p in self.parents)

    @property
    def description(self) -> str:
        """The first parent's recipe, then the product in words."""
        return "; ".join(filter(None, [self.parent.description, self.product.description]))

    def at_points(self, numbers: Array) -> Pyramid:
        return MappedPyramid([parent.at_points(numbers) for parent in self.parents], self.product)

    def refreshed(self) -> Pyramid:
        """The same product of the refreshed parents; what was estimated of them stays."""
        parents = tuple(p.refreshed() for p in self.parents)
        same = all(a is b for a, b in zip(parents, self.parents, strict=True))
        return self if same else MappedPyramid(parents, self.product)


class ProductSource(Source):
    """A product at full resolution, to be reduced afterwards, e.g. to a multilooked interferogram.

    Parameters
    ----------
    parents : sequence of Source
        Inputs of the product; the first gives y and x and their coordinates.
    product : Product
        Product whose estimates have been made (see `Product.fit`).

    Attributes
    ----------
    parents : tuple of Source
        Inputs of the product.
    product : Product
        The product.

    See Also
    --------
    apply_to_source : The way to make one.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.ones((4, 4), "c8"))
    >>> lazypyr.product.apply_to_source(pyramid, "phase").name
    'phase(numpy array)'
    """

    def __init__(self, parents: Sequence[Source], product: Product) -> None:
        self.parents, self.product = tuple(parents), product
        first = self.parents[0]
        self._inputs = tuple(input_of_source(s) for s in self.parents)
        self._out = out = _planned(product, self._inputs)
        _same_field(product, self._inputs)
        sizes = dict(zip(first.axes, first.shape, strict=True)) | dict(out.sizes)
        self.name = f"{product.name}({first.name})" if product.description else first.name
        self.axes, self.dtype, self.shape = out.axes, out.dtype, tuple(sizes[a] for a in out.axes)
        self.chunks = _chunks(first.axes, first.chunks, out)
        self.fill_value, self.metadata = _fill(out), derived_metadata(first, product, out, self._inputs[0])
        self.cheap_stride = product.pixelwise and all(s.cheap_stride for s in self.parents)
        self.units = out.units
        self._token = tokenize(product)
        self._n_reads: dict[Ranges, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.parents, self.product)

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        """Pixels of the product; where it looks at single pixels, only every ``step``-th is read and computed."""
        inner = step if self.product.pixelwise else None
        where = tuple(range(a, b, s) for (a, b), s in zip(window, inner or (1,) * len(window), strict=True))

        def read(n: int, ranges: Ranges) -> Array:
            steps = [r.step for r in ranges]
            bounds = tuple((r.start, r.stop) for r in ranges)
            return self.parents[n].read(bounds, steps if any(s != 1 for s in steps) else None)

        context = ProductContext(self.product.name, self.parents[0].name, 0, self.axes, window)
        block = evaluate(self.product, self._inputs, self._out, where, read, context)
        return block if inner is step else _stepped(block, step)

    def stored_chunks(self, window: Window, step: Sequence[int] | None = None) -> Iterator[StoredChunk]:
        inner = step if self.product.pixelwise else None
        where = tuple(range(a, b, s) for (a, b), s in zip(window, inner or (1,) * len(window), strict=True))
        context = ProductContext(self.product.name, self.parents[0].name, 0, self.axes, window)
        for n, ranges in asked_first(self.product, self._inputs, self._out, where, context, self._n_reads):
            bounds = tuple((r.start, r.stop) for r in ranges)
            yield from self.parents[n].stored_chunks(bounds, [r.step for r in ranges])

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(source for parent in self.parents for source in parent.sources)

    def decoded_bytes(self, n_channels: int) -> int:
        return sum(parent.decoded_bytes(n_channels) for parent in self.parents)

    def recipe_arguments(self, place: Callable[[str], str]) -> dict[str, Any]:
        recipe = recipe_of("source_products", self.parents, self.product, place)
        return recipe if self.given_bounds is None else {**recipe, "bounds": list(self.given_bounds)}

    @property
    def fingerprint(self) -> str:
        """Hash of the product and of all that is underneath."""
        return _hash([self._token, *(s.fingerprint for s in self.parents)])

    @property
    def identity(self) -> Hashable:
        """Product and all that is underneath, as this process knows them."""
        return "source product", self._token, *(s.identity for s in self.parents)

    def refreshed(self) -> Source:
        """The same product of the refreshed parents; what was estimated of them stays."""
        parents = tuple(s.refreshed() for s in self.parents)
        same = all(a is b for a, b in zip(parents, self.parents, strict=True))
        return self if same else placed_as(ProductSource(parents, self.product), self)


def _planned(product: Product, inputs: Sequence[Input]) -> Output:
    out = product.output_spec(*inputs)
    if len(set(out.axes)) != len(out.axes):
        raise PlanError(f"product {product.name!r} of {inputs[0].name}: the result's axes {out.axes} have a name twice")
    return out


def _same_field(product: Product, inputs: Sequence[Input]) -> None:
    sizes = [tuple(i.shape[i.axes.index(a)] for a in SPATIAL_AXES) for i in inputs]
    if len(set(sizes)) > 1:
        listed = ", ".join(f"{i.name} {ny} x {nx}" for i, (ny, nx) in zip(inputs, sizes, strict=True))
        raise PlanError(f"product {product.name!r}: its inputs must have the same y and x at each level; got {listed}")


def input_of(pyramid: Pyramid, level: int) -> Input:
    """A level of a pyramid, as a product sees it."""
    place = pyramid.levels[level]
    along = dict(zip(pyramid.axes, zip(place.scale, place.translation, strict=True), strict=True))
    known = {a: (c, *along[a]) for a, c in pyramid.coords.items() if a in along}
    coords = {a: Coord(c.at(shift), c.step * scale, c.unit) for a, (c, scale, shift) in known.items()}
    return Input(
        pyramid.name, pyramid.axes, place.shape, pyramid.dtype, pyramid.nodata, pyramid.fill_value,
        pyramid.attrs.get("units"), pyramid.display, level, coords, (along["y"][0], along["x"][0]), pyramid.crs,
        pyramid.chunks,
    )  # fmt: skip


def input_of_source(source: Source) -> Input:
    """A source, as a product sees it."""
    return Input(
        source.name, source.axes, source.shape, source.dtype, source.nodata, source.fill_value,
        source.attrs.get("units"), source.display, 0, source.coords, crs=source.crs, chunks=source.chunks,
    )  # fmt: skip


def _level(first: Pyramid, level: Level, out: Output) -> Level:
    of = {a: n for n, a in enumerate(first.axes) if a not in out.sizes}

    def each(kept: Sequence[float], made: Callable[[str], float]) -> tuple[Any, ...]:
        return tuple(kept[of[a]] if a in of else made(a) for a in out.axes)

    return Level(
        each(level.shape, lambda a: out.sizes[a]),
        each(level.scale, lambda a: 1.0),
        each(level.translation, lambda a: 0.0),
    )


def _chunks(axes: Sequence[str], chunks: Sequence[int], out: Output) -> tuple[int, ...]:
    kept = dict(zip(axes, chunks, strict=True))
    return tuple(out.chunks.get(a, 1) if a in out.sizes else kept[a] for a in out.axes)


def _fill(out: Output) -> Any:
    return empty_of(out.dtype) if out.fill_value is None else np.array(out.fill_value, out.dtype)[()]


def _stepped(block: Array, step: Sequence[int] | None) -> Array:
    return block if step is None else block[tuple(slice(None, None, s) for s in step)]


def _hash(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
