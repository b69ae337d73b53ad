"""Products that viewers show as they are: colours of a palette, composites of three bands."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, converted, need_real
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.products.palettes import palette
from lazypyr.products.stretch import Sample, Stretch
from lazypyr.products.strip import scratch, strips

__all__ = ["ColorPlanes", "colormap", "composite"]

# alpha in black: viewers that add up channels would paint everything white with it
RGBA_DISPLAY = {"window": (0, 255), "colors": ("FF0000", "00FF00", "0000FF", "000000"), "labels": ("R", "G", "B", "A")}


@dataclass(frozen=True)
class ColorPlanes(BuiltInProduct):
    """The colours that another product makes (axes ..., c, y, x) all at once, each in tiles of its own."""

    axis: str

    name = "planes"
    description = ""

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        sizes = {self.axis: source.shape[-3]}
        return Output(source.axes, source.dtype, sizes, fill_value=0, units=source.units, display=source.display)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        return read(0, where).copy()


def colour_axis(product: str, axes: Sequence[str]) -> str:
    """Name of the axis of red, green, blue (and alpha) beside others."""
    free = [name for name in ("c", "rgb") if name not in axes]
    if not free:
        raise PlanError(f"{product}: the axes {tuple(axes)} have both 'c' and 'rgb'; take one channel first")
    return free[0]


def read_as(source: Input, read: Read, ranges: Mapping[str, range], order: Sequence[str], n: int = 0) -> Array:
    """A block of an input, its axes in another order."""
    block = read(n, tuple(ranges[a] for a in source.axes))
    return block.transpose([source.axes.index(a) for a in order])


def chosen_planes(result: Array, chosen: range) -> Array:
    """Those of all planes (axes ..., c, y, x) that were asked for."""
    return result if len(chosen) == result.shape[-3] else result[..., chosen.start : chosen.stop : chosen.step, :, :]


class _Colours(BuiltInProduct):
    """Product that makes red, green, blue (and alpha) as uint8."""

    alpha: bool
    axis: str

    @property
    def followed_by(self) -> Product | None:
        return ColorPlanes(self.axis)

    def colours_spec(self, channel_axes: Sequence[str], attrs: Mapping[str, Any]) -> Output:
        """Output with the axis of colours behind the channel axes."""
        size = 4 if self.alpha else 3
        display = {key: value if key == "window" else value[:size] for key, value in RGBA_DISPLAY.items()}
        axes, sizes = (*channel_axes, self.axis, "y", "x"), {self.axis: size}
        return Output(axes, np.dtype("u1"), sizes, sizes, 0, display=display, attrs=attrs)


@dataclass(frozen=True)
class Colormap(_Colours):
    """Colours of a palette."""

    label: str
    table: bytes
    stretch: Stretch
    estimate: bool
    alpha: bool
    axis: str = "c"

    name = "colormap"

    @property
    def description(self) -> str:
        return f"colours of {self.label}" + (
            "" if self.stretch.open else f" from {self.stretch.low:g} to {self.stretch.high:g}"
        )

    def fit(self, inputs: Sequence[Input], sample: Sample) -> Product:
        (source,) = inputs
        need_real(self.name, source)
        product = replace(self, axis=colour_axis(self.name, source.axes))
        if not self.stretch.open:
            return product
        window = (source.display or {}).get("window")
        if window is not None and np.shape(window) == (2,) and not self.estimate:
            low, high = (float(v) for v in window)
            stretch = replace(
                self.stretch,
                low=low if self.stretch.low is None else self.stretch.low,
                high=high if self.stretch.high is None else self.stretch.high,
                percentiles=None,
            )
            return replace(product, stretch=stretch)
        pixels = sample(None)
        return replace(product, stretch=self.stretch.fit(pixels[~source.invalid(pixels)]))

    def recipe_arguments(self) -> dict[str, Any]:
        colours = [f"#{self.table[n : n + 3].hex()}" for n in range(0, len(self.table), 3)]
        limits = {} if self.stretch.percentiles else self.stretch.recipe_arguments()
        asked = {"percentiles": list(self.stretch.percentiles or (2, 98))} if self.estimate else {}
        return {"name": colours if self.label == "own colours" else self.label, **limits, **asked, "alpha": self.alpha}

    def estimates(self) -> dict[str, Any]:
        return {**self.stretch.estimates(), "axis": self.axis}

    def with_estimates(self, *, axis: str = "c", **limits: Any) -> Product:
        return replace(self, axis=axis, stretch=self.stretch.with_estimates(**limits))

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        return self.colours_spec(source.channel_axes, {"palette": self.label, **self.stretch.attrs()})

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        order = (*source.channel_axes, "y", "x")
        block = read_as(source, read, dict(zip(out.axes, where, strict=True)), order)
        result = np.empty((*block.shape[:-2], out.sizes[self.axis], *block.shape[-2:]), np.uint8)
        with scratch("f8", np.intp, "u4", "?") as (doubles, numbers, colours, flags):
            for at in np.ndindex(block.shape[:-2]):
                for pixels, into in strips(block[at], result[at]):
                    n = pixels.size
                    bad = source.invalid_mask(pixels, flags)
                    self._paint(pixels, bad, doubles[:n], numbers[:n], colours[:n], into)
        return chosen_planes(result, where[-3])

    def _paint(self, run: Array, bad: Array | None, unit: Array, number: Array, colours: Array, into: Array) -> None:
        table = _table(self.table)
        self.stretch.unit(run, unit)
        unit *= len(table) - 2
        if bad is not None:
            unit[bad] = len(table) - 1
        number[...] = unit
        table.take(number, out=colours, mode="clip")  # the other modes take a detour
        for n in range(3):
            into[n] = colours.view(np.uint8)[n::4]
        into[3:] = 255
        if bad is not None:
            into[3:, bad] = 0


@functools.lru_cache(maxsize=64)
def _table(palette: bytes) -> Array:
    """Colours with alpha, four bytes in one number so that they are looked up at once.

    Behind them the last one again, for what lies at the very end of the range, and nothing.
    """
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    table = np.zeros((len(colours) + 2, 4), np.uint8)
    table[:-1, :3], table[:-1, 3] = [*colours, colours[-1]], 255
    return table.view(np.uint32)[:, 0]


def colormap(
    name: str | Sequence[Any] = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    *,
    percentiles: tuple[float, float] | None = None,
    alpha: bool = True,
) -> Product:
    """Colours of a palette, as uint8 RGBA; alpha is 0 where nothing is valid.

    Parameters
    ----------
    name : str or colours, default "viridis"
        "gray", "viridis", "phase" (cyclic), any name of matplotlib, colorcet, cmap or bokeh, or a list of colours.
    vmin, vmax : float, optional
        Values of the first and the last colour; outside them the colour is that of the end. Those not given are the known
        range of the input (-pi, pi of a phase), else estimated when the product is applied.
    percentiles : (float, float), optional
        Percentiles from which the range is estimated; (2, 98) where nothing is known of it.
    alpha : bool, default True
        Without it RGB, black where nothing is valid.

    Returns
    -------
    Product
        Its axes are the channel axes of the input, then c, y, x.

    Raises
    ------
    PlanError
        For an unknown palette, with similar ones; when applied, for complex numbers.

    See Also
    --------
    composite : Three bands as red, green and blue.
    rescale : Numbers instead of colours.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> pyramid = lazypyr.open_pyramid(np.array([[0.0, 1.0]])).map("colormap", name="gray", vmin=0, vmax=1)
    >>> pyramid.axes
    ('c', 'y', 'x')
    >>> pyramid.read(0)[:, 0, 1]
    array([255, 255, 255, 255], dtype=uint8)
    """
    label = name if isinstance(name, str) else "own colours"
    stretch = Stretch.of("colormap", vmin, vmax, (2, 98) if percentiles is None else percentiles)
    return Colormap(label, palette(name), stretch, percentiles is not None, alpha)


@dataclass(frozen=True)
class Composite(_Colours):
    """Three bands as red, green and blue."""

    bands: tuple[int, ...]
    stretches: tuple[Stretch, ...]
    along: str | None
    alpha: bool
    axis: str = "c"

    name = "composite"

    @property
    def description(self) -> str:
        return f"bands {', '.join(map(str, self.bands))} as red, green, blue"

    def fit(self, inputs: Sequence[Input], sample: Sample) -> Product:
        (source,) = inputs
        need_real(self.name, source)
        along = band_axis(self.name, source, self.along)
        n = source.channel_shape[source.channel_axes.index(along)]
        if not all(-n <= b < n for b in self.bands):
            raise PlanError(f"composite: bands {self.bands} of {source.name}: there are {n} along {along!r}")
        bands = tuple(b % n for b in self.bands)
        stretches = []
        for band, stretch in zip(bands, self.stretches, strict=True):
            values = np.empty(0)
            if stretch.open:
                pixels = sample(_flat(source, along, band))
                values = pixels[~source.invalid(pixels)]
            stretches.append(stretch.fit(values) if stretch.open else stretch)
        rest = [a for a in source.axes if a != along]
        axis = colour_axis(self.name, rest)
        return replace(self, bands=bands, stretches=tuple(stretches), along=along, axis=axis)

    def recipe_arguments(self) -> dict[str, Any]:
        percentiles = next((list(s.percentiles) for s in self.stretches if s.percentiles), None)
        given = [[None, None] if s.percentiles else [s.low, s.high] for s in self.stretches]
        asked = {"windows": given, **({} if percentiles is None else {"percentiles": percentiles})}
        return {"bands": list(self.bands), **asked, "axis": self.along, "alpha": self.alpha}

    def estimates(self) -> dict[str, Any]:
        return {"windows": [[s.low, s.high] for s in self.stretches], "axis": self.axis}

    def with_estimates(self, *, axis: str = "c", windows: Sequence[Any] = (), **_: Any) -> Product:
        stretches = [s.with_estimates(vmin=w[0], vmax=w[1]) for s, w in zip(self.stretches, windows, strict=True)]
        return replace(self, stretches=tuple(stretches), axis=axis)

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        rest = tuple(a for a in source.channel_axes if a != band_axis(self.name, source, self.along))
        attrs: dict[str, Any] = {"bands": list(self.bands), "windows": [[s.low, s.high] for s in self.stretches]}
        asked = next((s.percentiles for s in self.stretches if s.percentiles), None)
        if asked:
            attrs["percentiles"] = list(asked)
        return self.colours_spec(rest, attrs)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        along = band_axis(self.name, source, self.along)
        rest, ranges = out.axes[:-3], dict(zip(out.axes, where, strict=True))
        order = (along, *rest, "y", "x")
        blocks = [read_as(source, read, {**ranges, along: range(b, b + 1)}, order)[0] for b in self.bands]
        *others, ny, nx = blocks[0].shape
        result = np.empty((*others, out.sizes[self.axis], ny, nx), np.uint8)
        with scratch("f8", "?") as (doubles, flags):
            for at in np.ndindex(*others):
                for *runs, into in strips(*[block[at] for block in blocks], result[at]):
                    self._compose(runs, source, doubles[: runs[0].size], flags, into)
        return chosen_planes(result, where[-3])

    def _compose(self, runs: Sequence[Array], source: Input, unit: Array, flags: Array, into: Array) -> None:
        for n, (run, stretch) in enumerate(zip(runs, self.stretches, strict=True)):
            stretch.unit(run, unit)
            unit *= 255
            into[n] = np.rint(unit, out=unit)
        into[3:] = 255
        for run in runs:
            bad = source.invalid_mask(run, flags)
            if bad is not None:
                into[:, bad] = 0


def band_axis(product: str, source: Input, given: str | None) -> str:
    """The channel axis that holds bands: the one given, "c" or "band", else the last."""
    axes = source.channel_axes
    if not axes:
        raise PlanError(f"{product}: {source.name} has the axes y and x only; it needs bands")
    if given is not None and given not in axes:
        raise PlanError(f"{product}: {source.name} has no channel axis {given!r}; there are {', '.join(axes)}")
    return given or next((a for a in ("c", "band") if a in axes), axes[-1])


def _flat(source: Input, along: str, band: int) -> list[int]:
    """Flat numbers of at most three channels, evenly spread, that belong to a band."""
    numbers = np.arange(int(np.prod(source.channel_shape))).reshape(source.channel_shape)
    of = numbers.take(band, axis=source.channel_axes.index(along)).ravel()
    return [int(of[i]) for i in sorted({0, len(of) // 2, len(of) - 1})]


def composite(
    bands: Sequence[int] = (0, 1, 2),
    *,
    percentiles: tuple[float, float] = (2, 98),
    windows: Sequence[tuple[float, float]] | None = None,
    axis: str | None = None,
    alpha: bool = False,
) -> Product:
    """Three bands as red, green and blue, as uint8.

    Parameters
    ----------
    bands : sequence of int, default (0, 1, 2)
        Three numbers of bands along `axis`.
    percentiles : (float, float), default (2, 98)
        Percentiles of each band that become 0 and 255, estimated when the product is applied.
    windows : sequence of (float, float), optional
        Values of each band that become 0 and 255, instead of `percentiles`.
    axis : str, optional
        The axis of bands: "c" or "band" where there is one, else the last that isn't y or x.
    alpha : bool, default False
        A fourth channel, 0 where any of the bands holds nothing. Without it such pixels are black.

    Returns
    -------
    Product
        Its axes are the other channel axes of the input, then c, y, x.

    Raises
    ------
    PlanError
        For other options; when applied, for bands that aren't there.

    See Also
    --------
    colormap : Colours of one band.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> bands = np.stack([np.full((2, 2), v) for v in (0.0, 5.0, 10.0)], axis=-1)
    >>> pyramid = lazypyr.open_pyramid(bands, axes="yxc").map("composite", windows=[(0, 10)] * 3)
    >>> pyramid.read(0)[:, 0, 0]
    array([  0, 128, 255], dtype=uint8)
    """
    expected = f"composite: expected three bands and, if given, three windows (low, high); got {bands!r}, {windows!r}"
    chosen = converted(lambda: tuple(operator.index(b) for b in bands), expected)
    given = converted(lambda: [(None, None)] * 3 if windows is None else [tuple(w) for w in windows], expected)
    if len(chosen) != 3 or len(given) != 3 or any(len(w) != 2 for w in given):
        raise PlanError(expected)
    stretches = tuple(Stretch.of("composite", low, high, percentiles) for low, high in given)
    return Composite(chosen, stretches, axis, alpha)
