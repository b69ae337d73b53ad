"""`raster_plot`: HoloViews plots of rasters of any size, which read the visible part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import holoviews as hv
import numpy as np

from lazypyr.engine.engine import Engine
from lazypyr.plot import style
from lazypyr.plot.functions import shown_pyramid
from lazypyr.plot.interactive import InteractivePlot
from lazypyr.plot.options import RasterOptions
from lazypyr.plot.render_worker import ViewRenderer
from lazypyr.plot.viewport import RenderedImage, Viewport, ViewRequest
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.open import open_pyramid
from lazypyr.pyramids.products import ProductLike
from lazypyr.registry import check_options

__all__ = [
    "InteractiveRaster",
    "element_of",
    "interactive_raster",
    "is_blank",
    "empty_image",
    "open_for_plot",
    "options_of",
    "raster_plot",
    "shared_engine",
]


_shared: dict[str, Engine] = {}


def shared_engine() -> Engine:
    """Engine shared by all plots of this process, and its cache."""
    return _shared.setdefault("engine", Engine(read_ahead=True))


def raster_plot(
    src: Any,
    post_proc: ProductLike | None = None,
    n_kdim: int | None = None,
    bounds: Sequence[float] | None = None,
    level_increase: int = 0,
    *,
    labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    clim: tuple[float, float] | None = None,
    cmap: Any = None,
    title: str | None = None,
    invert_yaxis: bool | None = None,
    engine: Engine | None = None,
    **recipe: Unpack[RasterOptions],
) -> hv.DynamicMap:
    """Plot a raster of any size, reading the visible part at the level that fits the screen.

    Parameters
    ----------
    src : path, array, Pyramid, LazyPyramidStore or source
        Any source that `lazypyr.open_pyramid` opens; or a folder that moraine's ``ras_pyramid`` made.
    post_proc : str, callable or Product, optional
        Product to show: "phase", "intf_0", "intf_all", ...; ``f(z, *kdims)`` as in `lazypyr.product`; or
        ``f(data, xslice, yslice, *kdims)``, moraine's signature.
    n_kdim : int, optional
        Number of key dimensions of a function; by default taken from its arguments, of ``*kdims`` as many as there are channel
        axes. Their sliders are as long as the channel axes, or as `labels`, or as ``redim(i=hv.Dimension("i", range=...))`` says.
    bounds : sequence of four float, optional
        Coordinates of the outer edges, ``(left, bottom, right, top)`` as in `lazypyr.open_pyramid`, instead of the
        source's own.
    level_increase : int, default 0
        Number of levels coarser (negative: finer) than one data pixel a screen pixel.
    labels : sequence, or dict of key dimension to sequence, optional
        Labels of the sliders, e.g. dates: one a channel. For `intf_seq` the dates of the images.
    clim : (float, float), optional
        Colour limits. By default those that the product declares ((-pi, pi) of phases), else the 1st and 99th
        percentile of the coarsest level, fixed for the life of the plot.
    cmap : str or list, optional
        Colour map; by default cyclic for phases, gray for amplitudes, else viridis.
    title : str, optional
        Title; by default the name of the pyramid (the plot's label, which `relabel` changes) and the place of the sliders.
    invert_yaxis : bool, optional
        Row 0 at the top, as for radar geometry; by default for images and where the source has no y coordinates.
    engine : Engine, optional
        Engine that reads; by default that of a store, or one that all plots share.
    **recipe : dict
        Options of `lazypyr.open_pyramid`: `method`, `axes`, `chunks`, ...

    Returns
    -------
    holoviews.DynamicMap
        Map of `holoviews.Image` (`holoviews.RGB` for colours) with key dimensions i, j, ...; it is used like any other,
        with `redim`, `opts`, ``*`` and ``+``.

    Raises
    ------
    PlanError
        For complex data without a product, an unknown product, labels of another length, ...

    See Also
    --------
    points_plot : Plot a point cloud.
    timeseries_plot : Plot the time series of a tapped pixel.
    save_picture : Write a picture to a file.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.plot import raster_plot
    >>> stack = np.exp(1j * np.arange(64 * 64 * 3).reshape(64, 64, 3)).astype("complex64")
    >>> plot = raster_plot(stack, "intf_all", axes="yxi", labels=["2020-01-01", "2020-01-13", "2020-01-25"])
    >>> [dimension.name for dimension in plot.kdims]
    ['i', 'j']
    >>> plot[0, 2].data.shape
    (64, 64)
    """
    check_options("raster_plot", recipe, raster_plot, open_pyramid)
    interactive = interactive_raster(
        src, post_proc, n_kdim, level_increase=level_increase, clim=clim, engine=engine, bounds=bounds, **recipe
    )
    interactive.label = style.short_name(interactive.viewport.pyramid)
    return interactive.plot(labels=labels, cmap=cmap, title=title, invert_yaxis=invert_yaxis)


def interactive_raster(
    src: Any,
    post_proc: ProductLike | None,
    n_kdim: int | None,
    *,
    level_increase: int,
    clim: tuple[float, float] | None,
    engine: Engine | None,
    **recipe: Any,
) -> InteractiveRaster:
    """Interactive plot of a source and what `post_proc` makes of it."""
    pyramid, engine = open_for_plot(src, engine, **recipe)
    shown = shown_pyramid(pyramid, post_proc, n_kdim)
    return InteractiveRaster(shown.pyramid, engine, level_increase=level_increase, clim=clim, sizes=shown.sizes)


def open_for_plot(src: Any, engine: Engine | None, **recipe: Any) -> tuple[Pyramid, Engine]:
    """Pyramid of any source, in the values that it means, and the engine that reads it."""
    given = {name: value for name, value in recipe.items() if value is not None}
    if isinstance(src, str | Path):
        finest = Path(src) / "0.zarr"  # moraine's folder: a level an array, and no group around them
        if finest.is_dir() and not (Path(src) / "zarr.json").exists():
            src = finest
    own = getattr(src, "engine", None)
    return open_pyramid(src, **given).unpacked, engine or (own if isinstance(own, Engine) else shared_engine())


class InteractiveRaster(InteractivePlot):
    """Interactive plot of a raster."""

    def __init__(
        self,
        pyramid: Pyramid,
        engine: Engine,
        *,
        level_increase: int = 0,
        clim: tuple[float, float] | None = None,
        sizes: Sequence[int | None] | None = None,
        **renderer: Any,
    ) -> None:
        super().__init__(pyramid, engine, level_increase=level_increase, clim=clim, sizes=sizes)
        self.renderer = ViewRenderer(self._compute, self.viewport.coarser, self._refresh, **renderer)

    def plot(
        self,
        *,
        labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
        cmap: Any = None,
        title: str | None = None,
        invert_yaxis: bool | None = None,
    ) -> hv.DynamicMap:
        """Plot with its options."""
        plot = self.map_of(self.draw, style.index_dimensions(self.viewport, labels))
        tips = style.tooltips(self.viewport)
        hooks = [style.state_hook(self, tips)]
        options = options_of(self.viewport, cmap, title, tips, invert_yaxis=invert_yaxis, hooks=hooks)
        return plot.opts(options)

    def draw(self, *index: Any, **view: Any) -> hv.Element:
        """Callback of HoloViews: the element of a view."""
        return self._element("raster", self._request(index, **view), self._made)

    def _made(self, frame: RenderedImage | None) -> hv.Element:
        seen = empty_image(self.viewport) if frame is None or is_blank(frame) else frame
        return element_of(self.viewport, seen, self._limits, self.label)

    def _compute(self, view: ViewRequest, stale: Callable[[], bool]) -> RenderedImage | None:
        frame = self.viewport.frame(view, stale)
        if self._limits is None:
            self._limits = self.viewport.limits(view.index)
        return frame


def empty_image(viewport: Viewport) -> RenderedImage:
    """Image without pixels: HoloViews warns of pixels that are all NaN."""
    shape = (0, 0) if viewport.colour_axis is None else (0, 0, 4)
    return RenderedImage(np.empty(shape, "f4" if viewport.colour_axis is None else "u1"), viewport.bounds, 0)


def is_blank(frame: RenderedImage) -> bool:
    """True if all pixels are NaN."""
    pixels = frame.pixels
    return pixels.dtype.kind == "f" and bool(np.isnan(pixels.flat[0]) and np.isnan(pixels).all())


def element_of(
    viewport: Viewport, frame: RenderedImage, limits: tuple[float, float] | None, label: str = ""
) -> hv.Element:
    """HoloViews element of an image."""
    place = style.spatial_dimensions(viewport)
    if viewport.colour_axis is not None:
        vdims = list("RGBA"[: frame.pixels.shape[2]])
        return hv.RGB(frame.pixels, bounds=frame.bounds, kdims=place, vdims=vdims, label=label)
    values = style.value_dimension(viewport.pyramid, limits)
    return hv.Image(frame.pixels, bounds=frame.bounds, kdims=place, vdims=[values], label=label)


def options_of(
    viewport: Viewport, cmap: Any, title: str | None, tooltips: list[tuple[str, str]], *, invert_yaxis: bool | None,
    **more: Any,
) -> Any:  # fmt: skip
    """HoloViews options of a viewport's element; `more` are added."""
    common = {**style.common_options(viewport, title), **more}
    invert_x, invert_y = viewport.inverts
    common["invert_yaxis"] = invert_y if invert_yaxis is None else invert_yaxis
    if invert_x:
        common["invert_xaxis"] = True
    if viewport.colour_axis is not None:
        return hv.opts.RGB(**common)
    common["hover_tooltips"] = tooltips
    return hv.opts.Image(**common, cmap=style.color_list(cmap) or style.colours_of(viewport.pyramid), colorbar=True)
