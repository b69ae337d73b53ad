"""Layers of a pyramid that a viewer may show, and PNG pictures of them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from lazypyr._util.optional import need
from lazypyr.display import (
    Orientation,
    applicable_products,
    auto_limits,
    declared_limits,
    orientation_of,
    other_axes,
    sampled_plane,
)
from lazypyr.engine.engine import Engine
from lazypyr.metadata.colours import colour_axis
from lazypyr.metadata.packing import flags_of
from lazypyr.products.apply import offered_products
from lazypyr.products.palettes import palette
from lazypyr.pyramids.base import Pyramid

__all__ = ["PALETTES", "TILE", "RenderOptions", "Layer", "lookup_table", "layers_of"]

Array = np.ndarray[Any, Any]
TILE = 256
PALETTES = ("gray", "viridis", "inferno", "cividis", "Turbo256", "RdBu11_r", "phase")
# Pixels that one tile may read: a pyramid with too few levels must not be read whole for its overview.
_MAX_PIXELS = 2**26


@dataclass(frozen=True)
class RenderOptions:
    """Choices of a request for a picture of a layer.

    Attributes
    ----------
    index : tuple[int, ...]
        Index along each axis that isn't y or x; where a layer shows colours, the first one is of red, green and blue.
    limits : tuple[float, float]
        Values that become the first and the last colour.
    palette : str
    bands : tuple[int, int, int] or None
        Indices along the colour axis for red, green and blue.
    """

    index: tuple[int, ...]
    limits: tuple[float, float]
    palette: str
    bands: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Layer:
    """Pyramid with its display defaults, and the pictures of it.

    Attributes
    ----------
    name : str
        "raw", "rgb" or the name of a product.
    pyramid : Pyramid
    palette : str
        The default one.
    limits : tuple[float, float] or None
        Colour limits that are known without reading.
    colour_axis : str or None
        The axis whose entries are red, green and blue.
    start : tuple[int, ...]
        Index along the axes beside y and x to begin with; zeros if empty.
    """

    name: str
    pyramid: Pyramid
    palette: str
    limits: tuple[float, float] | None = None
    colour_axis: str | None = None
    start: tuple[int, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Axes beside y and x."""
        return tuple(self.sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """Entries along each of these axes."""
        return other_axes(self.pyramid)

    @property
    def unit(self) -> str:
        """Unit of the values, to be put behind them."""
        unit = self.pyramid.attrs.get("units")
        return f" {unit}" if isinstance(unit, str) and unit not in ("", "1") else ""

    @cached_property
    def flags(self) -> Mapping[Any, str]:
        """Texts of values that are flags."""
        return {value: f"{value}: {meaning}" for value, meaning in flags_of(self.pyramid.attrs).items()}

    @property
    def size(self) -> tuple[int, int]:
        """``(ny, nx)`` of level 0."""
        axes = self.pyramid.axes
        return self.pyramid.shape[axes.index("y")], self.pyramid.shape[axes.index("x")]

    @property
    def orientation(self) -> Orientation:
        """Way in which its pictures are drawn."""
        return orientation_of(self.pyramid)

    @property
    def max_zoom(self) -> int:
        """Zoom at which a pixel of a tile is one of level 0; at zoom 0 one tile holds everything."""
        return max(0, math.ceil(math.log2(max(self.size) / TILE)))

    def level_at(self, zoom: int) -> int:
        """The level that tiles of a zoom are made of."""
        return self.level_for(2.0 ** (self.max_zoom - zoom))

    def has_tile(self, zoom: int, x: int, y: int) -> bool:
        """True if the picture reaches into a tile in TMS numbering (row 0 at the bottom of the square of zoom 0)."""
        ny, nx = self.size
        if zoom > self.max_zoom or max(x, y) >= 2**zoom:
            return False
        span = TILE * 2 ** (self.max_zoom - zoom)
        return bool(x * span < nx and (2**zoom - 1 - y) * span < ny)

    def pixel_at(self, level: int, row: float, column: float) -> tuple[int, int]:
        """Row and column in a level of a position in level-0 pixels."""
        scale = self.pyramid.levels[level].scale
        return math.floor(row / scale[self._y]), math.floor(column / scale[self._x])

    def auto_limits(
        self, engine: Engine, index: tuple[int, ...], bands: tuple[int, int, int] | None = None
    ) -> tuple[float, float]:
        """Colour limits: those of the layer or of the channel, else percentiles of the coarsest level (see `lazypyr.display.auto_limits`)."""
        if self.limits is not None:
            return self.limits
        declared = declared_limits(self.pyramid, index) if bands is None and self.colour_axis is None else None
        return declared or auto_limits(self.pyramid, engine, self.planes(index, bands))

    def tile(self, engine: Engine, options: RenderOptions, zoom: int, x: int, y: int) -> bytes | None:
        """PNG of a tile; see `has_tile`. None where it would have to read too much."""
        pixels = 2.0 ** (self.max_zoom - zoom)
        begin = ((2**zoom - 1 - y) * TILE, x * TILE)
        return self.picture(engine, options, begin, (TILE, TILE), pixels)

    def thumbnail(self, engine: Engine, options: RenderOptions, size: int) -> bytes | None:
        """PNG of all of it, at most `size` pixels wide and high."""
        pixels = max(1.0, max(self.size) / size)
        height, width = (max(1, math.ceil(n / pixels)) for n in self.size)
        return self.picture(engine, options, (0, 0), (height, width), pixels)

    def picture(
        self, engine: Engine, options: RenderOptions, begin: tuple[int, int], shape: tuple[int, int], pixels: float
    ) -> bytes | None:
        """PNG of `shape` picture pixels of `pixels` level-0 pixels each, from picture pixel `begin` on, its upper left one."""
        level = self.level_for(pixels)
        geometry, turned = self.pyramid.levels[level], self.orientation
        y, x = self._y, self._x
        rows, columns = (
            _indices(
                start,
                count,
                pixels,
                geometry.scale[axis],
                geometry.shape[axis],
                self.pyramid.shape[axis] if flip else None,
            )
            for start, count, axis, flip in zip(begin, shape, (y, x), (turned.flip_y, turned.flip_x), strict=True)
        )
        if not rows.size or not columns.size:
            return None
        window = ((int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1))
        if math.prod(b - a for a, b in window) > _MAX_PIXELS:
            return None
        planes = [
            [turned.applied(part) for part in sampled_plane(self.pyramid, engine, level, rows, columns, index)]
            for index in self.planes(options.index, options.bands)
        ]
        return _png(planes, options, shape)

    def value(self, tile: Array, level: int, row: int, column: int, index: tuple[int, ...]) -> Any:
        """The value of one pixel, out of the tile that holds it."""
        position = self._full(index, row, column)
        return tile[tuple(i % c for i, c in zip(position, self.pyramid.chunks, strict=True))]

    def chunk_index(self, row: int, column: int, index: tuple[int, ...]) -> tuple[int, ...]:
        """Index of the tile of the pyramid that holds a pixel."""
        return tuple(i // c for i, c in zip(self._full(index, row, column), self.pyramid.chunks, strict=True))

    @property
    def _y(self) -> int:
        return self.pyramid.axes.index("y")

    @property
    def _x(self) -> int:
        return self.pyramid.axes.index("x")

    def level_for(self, pixels: float) -> int:
        """The level that pictures are made of whose pixels are so many level-0 pixels wide."""
        levels = self.pyramid.levels
        fine = [k for k, level in enumerate(levels) if max(level.scale[self._y], level.scale[self._x]) <= pixels]
        return max(fine, default=0)

    def _full(self, index: Sequence[int], row: int, column: int) -> list[int]:
        rest = iter(index)
        return [row if axis == "y" else column if axis == "x" else next(rest) for axis in self.pyramid.axes]

    def planes(self, index: tuple[int, ...], bands: tuple[int, int, int] | None = None) -> list[tuple[int, ...]]:
        """Indices of the planes of a picture: one, or those of red, green and blue."""
        if self.colour_axis is None:
            return [index]
        position = self.others.index(self.colour_axis)
        return [(*index[:position], band, *index[position + 1 :]) for band in bands or (0, 1, 2)]


def _indices(begin: int, count: int, pixels: float, scale: float, n: int, flipped_size: int | None) -> Array:
    """Indices, ascending, of a level's `n` pixels along an axis, at the middle of each pixel of a picture that lies in it.

    `flipped_size` is the number of level-0 pixels where the picture begins with the last of them, None where it begins with
    the first.
    """
    middle = (begin + np.arange(count) + 0.5) * (pixels / scale)
    if flipped_size is not None:
        middle = flipped_size / scale - middle[::-1]
    indices = np.floor(middle).astype(np.int64)
    inside: Array = indices[(indices >= 0) & (indices < n)]
    return inside


def _png(planes: Sequence[Sequence[Array]], options: RenderOptions, shape: tuple[int, int]) -> bytes:
    image = need("PIL.Image", feature="lazypyr serve", extra="serve")
    scaled = [(_unit(values, options.limits), good) for values, good in planes]
    rows, columns = scaled[0][0].shape
    out = io.BytesIO()
    if len(scaled) == 1:
        unit, good = scaled[0]
        # Index 0 is transparent; the colours are 1 to 255.
        table = np.zeros(shape, "u1")
        table[:rows, :columns] = np.where(good, 1 + np.minimum(unit * 255, 254).astype("u1"), 0)
        picture = image.fromarray(table)
        picture.putpalette(bytes(3) + lookup_table(options.palette))
        picture.save(out, "PNG", transparency=0, compress_level=1)
    else:
        colours = np.zeros((*shape, 4), "u1")
        for band, (unit, _) in enumerate(scaled):
            colours[:rows, :columns, band] = np.minimum(unit * 256, 255)
        colours[:rows, :columns, 3] = 255 * np.logical_and.reduce([good for _, good in scaled])
        image.fromarray(colours).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _unit(values: Array, limits: tuple[float, float]) -> Array:
    low, high = limits
    with np.errstate(invalid="ignore", over="ignore"):
        unit: Array = np.clip((values.astype("f8") - low) / (high - low), 0, 1)
    return np.nan_to_num(unit, copy=False)


@lru_cache(maxsize=32)
def lookup_table(name: str) -> bytes:
    """255 colours of a palette, three bytes each."""
    table = np.frombuffer(palette(name), "u1").reshape(-1, 3)
    chosen = np.round(np.linspace(0, len(table) - 1, 255)).astype(int)
    return bytes(table[chosen].tobytes())


def layers_of(pyramid: Pyramid) -> Mapping[str, Layer]:
    """Layers of a pyramid by name, the default one first, in the values that it means. No pixel is read."""
    pyramid = pyramid.unpacked
    layers: dict[str, Layer] = {}
    others = other_axes(pyramid)
    is_complex = pyramid.dtype.kind == "c"
    colour = colour_axis(pyramid.axes, pyramid.shape, pyramid.dtype, pyramid.metadata)
    if colour is not None:
        layers["rgb"] = Layer("rgb", pyramid, "gray", _limits_of(pyramid), colour)
    plain = "gray" if pyramid.dtype.kind in "bu" or is_complex else "viridis"
    layers["raw"] = Layer("raw", pyramid, plain, _limits_of(pyramid))
    several = any(n > 1 for n in others.values())
    names = offered_products("server") if is_complex or (pyramid.dtype.kind == "f" and several) else ()
    for name, made in applicable_products(pyramid, names).items():
        facts = made.display or {}
        if not several and facts.keys() & {"first_channel", "neighbours"}:
            continue  # pairs of one image
        layer = Layer(name, made, facts.get("colormap", "viridis"), declared_limits(made))
        first = facts.get("first_channel", 0)
        if first and layer.sizes[layer.others[-1]] > first:
            layer = replace(layer, start=(*(0 for _ in layer.others[1:]), first))
        layers = {name: layer, **layers} if facts.get("default") else {**layers, name: layer}
    return layers


def _limits_of(pyramid: Pyramid) -> tuple[float, float] | None:
    """Colour limits that the source declares."""
    return (0.0, 1.0) if pyramid.dtype == np.bool_ else declared_limits(pyramid)
