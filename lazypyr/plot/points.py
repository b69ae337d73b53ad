"""`points_plot`: point clouds as a raster when zoomed out and as points when zoomed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import holoviews as hv
import numpy as np

from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.geometry.grid import clean_range
from lazypyr.plot import style
from lazypyr.plot.functions import Shown, arguments_of, shown_pyramid
from lazypyr.plot.interactive import InteractivePlot, visible_part
from lazypyr.plot.raster import empty_image, is_blank, open_for_plot
from lazypyr.plot.render_worker import ViewRenderer
from lazypyr.plot.selection import cloud_of, gather_values, product_of_numbers
from lazypyr.plot.viewport import RenderCancelled, RenderedImage, Viewport, ViewRequest
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.products.base import Product
from lazypyr.pyramids.base import SERIAL, Pyramid
from lazypyr.pyramids.products import ProductLike

__all__ = ["InteractivePoints", "points_plot"]

Array = np.ndarray[Any, Any]

# A browser draws each point: more than these are shown as the raster of level 0.
_MAX_POINTS = 50_000


def points_plot(
    points: Any,
    post_proc: ProductLike | None = None,
    *,
    n_kdim: int | None = None,
    level_increase: int = 0,
    labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    clim: tuple[float, float] | None = None,
    cmap: Any = None,
    title: str | None = None,
    engine: Engine | None = None,
) -> tuple[hv.DynamicMap, hv.DynamicMap]:
    """Plot a point cloud as two layers to overlay: ``images * points``.

    Zoomed out, the image shows the raster of the level that fits the screen. Where pixels of level 0 are larger than the
    screen's, the points themselves are drawn (up to 50,000 of them). Hovering shows value and point number.

    Parameters
    ----------
    points : PointsPyramid or LazyPyramidStore
        Points of `lazypyr.from_points` or `lazypyr.read_points`, a product of them, or a store of either.
    post_proc : str, callable or Product, optional
        As for `raster_plot`; or moraine's ``f(data, numbers, *kdims)``, where `data` is the array of values by point
        number.
    n_kdim : int, optional
        Number of key dimensions of a function; by default taken from its arguments.
    level_increase : int, default 0
        Number of levels coarser (negative: finer) than one data pixel a screen pixel.
    labels : sequence, or dict of key dimension to sequence, optional
        Labels of the sliders, as for `raster_plot`.
    clim : (float, float), optional
        Colour limits, as for `raster_plot`.
    cmap : str or list, optional
        Colour map, as for `raster_plot`.
    title : str, optional
        Title; by default the name of the cloud.
    engine : Engine, optional
        Engine that reads; by default that of a store, or one that all plots share.

    Returns
    -------
    images : holoviews.DynamicMap
        Map of `holoviews.Image` with values z and idx.
    points : holoviews.DynamicMap
        Map of `holoviews.Points` with values z and idx.

    Raises
    ------
    PlanError
        For a pyramid that isn't made of points, complex values without a product, ...

    See Also
    --------
    raster_plot : Plot a raster.
    timeseries_plot : Plot the time series of a tapped point.
    lazypyr.from_points : Make a pyramid of points.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> from lazypyr.plot import points_plot
    >>> x, y = np.random.default_rng(0).uniform(0, 100, (2, 500))
    >>> images, points = points_plot(lazypyr.from_points(x, y, x + y, resolution=5.0))
    >>> len(points[()])
    500
    >>> plot = images * points
    """
    pyramid, engine = open_for_plot(points, engine)
    cloud = cloud_of(pyramid)
    shown = shown_points(cloud, pyramid, post_proc, n_kdim)
    interactive = InteractivePoints(
        cloud, shown.pyramid, engine, level_increase=level_increase, clim=clim, sizes=shown.sizes
    )
    interactive.label = style.short_name(shown.pyramid)
    return interactive.plots(labels=labels, cmap=cmap, title=title)


def shown_points(cloud: PointsPyramid, pyramid: Pyramid, post_proc: ProductLike | None, n_kdim: int | None) -> Shown:
    """Pyramid of what `post_proc` makes of points: of their rasters, or of their values by number."""
    if callable(post_proc) and not isinstance(post_proc, str | Product):
        plain, is_open = arguments_of(post_proc)
        by_number = len(plain) >= 2 and plain[1].startswith("idx")
        if by_number or (n_kdim is not None and len(plain) == 2 + n_kdim):
            if pyramid is not cloud:
                raise PlanError(f"{pyramid.name} is a product already; give the function the points themselves")
            return product_of_numbers(cloud, post_proc, n_kdim, len(plain) - 2, is_open=is_open)
    return shown_pyramid(pyramid, post_proc, n_kdim)


@dataclass(frozen=True, slots=True)
class _PointsRequest:
    """Request for the points in a box; `far` is the view that is drawn if they are too many."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    far: ViewRequest


@dataclass(frozen=True, slots=True, eq=False)
class _RenderedCloud:
    """Rendered raster of a cloud, or its points: x, y, values and numbers."""

    frame: RenderedImage | None = None
    numbers: Array | None = None
    dots: tuple[Array, Array, Array, Array] | None = None


class InteractivePoints(InteractivePlot):
    """Interactive plots of a cloud, an image and its points, of one request; `near` is the pyramid of the points' values."""

    def __init__(
        self,
        cloud: PointsPyramid,
        pyramid: Pyramid,
        engine: Engine,
        *,
        level_increase: int = 0,
        clim: tuple[float, float] | None = None,
        sizes: Sequence[int | None] | None = None,
        near: Pyramid | None = None,
    ) -> None:
        self.cloud, self.pyramid, self.near = cloud, pyramid, near or pyramid
        super().__init__(pyramid, engine, level_increase=level_increase, clim=clim, sizes=sizes)
        self.numbers = Viewport(self.cloud.index, engine, as_is=True)
        self.renderer = ViewRenderer(self._compute, self._preview, self._refresh)
        self.place = style.spatial_dimensions(self.viewport)

    def plots(
        self,
        *,
        labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
        cmap: Any = None,
        title: str | None = None,
    ) -> tuple[hv.DynamicMap, hv.DynamicMap]:
        """Plots with their options: images and points."""
        kdims = style.index_dimensions(self.viewport, labels)
        images = self.map_of(self.image, kdims)
        dots = self.map_of(self.dots, kdims)
        common = style.common_options(self.viewport, title)
        common["cmap"] = style.color_list(cmap) or style.colours_of(self.pyramid)
        number = hv.Dimension("idx")
        far, near = style.tooltips(self.viewport, number), style.tooltips(self.viewport, number, near=True)
        of_image = {**common, "hooks": [style.state_hook(self, far)], "hover_tooltips": far, "colorbar": True}
        of_points = {**common, "hooks": [style.state_hook(self, near, near=True)], "hover_tooltips": near}
        of_points |= {"scalebar": False, "color": style.first_value(), "size": 5, "colorbar": False}
        return images.opts(hv.opts.Image(**of_image)), dots.opts(hv.opts.Points(**of_points))

    def image(self, *index: Any, **view: Any) -> hv.Element:
        """Callback of HoloViews for the raster."""
        return self._element("image", self._request(index, **view), self._image)

    def dots(self, *index: Any, **view: Any) -> hv.Element:
        """Callback of HoloViews for the points."""
        return self._element("dots", self._request(index, **view), self._points)

    def _request(self, index: Sequence[Any], **view: Any) -> ViewRequest | _PointsRequest:
        x_range, y_range, width, height = visible_part(view)
        request: ViewRequest = super()._request(index, **view)
        if self.viewport.level_of(x_range, y_range, width, height) >= 0:
            return request
        # The last points of an extent may lie up to half a pixel beyond the edge of the last pixel, to which they belong.
        margin = abs(self.viewport.grid.dx)
        left, bottom, right, top = self.viewport.bounds
        xs, ys = clean_range(x_range), clean_range(y_range)
        return _PointsRequest(xs or (left - margin, right + margin), ys or (bottom - margin, top + margin), request)

    def _compute(self, request: ViewRequest | _PointsRequest, stale: Callable[[], bool]) -> _RenderedCloud:
        if self._limits is None:
            index = (request.far if isinstance(request, _PointsRequest) else request).index
            self._limits = self.viewport.limits(index)
        if isinstance(request, _PointsRequest):
            (xa, xb), (ya, yb) = request.x_range, request.y_range
            numbers = self.cloud.query((xa, ya, xb, yb), closed="both")
            if numbers.size <= _MAX_POINTS:
                if stale():
                    raise RenderCancelled
                return _RenderedCloud(dots=self._dots(numbers, request.far.index))
            request = request.far
        frame = self.viewport.frame(request, stale)
        if frame is None:
            return _RenderedCloud()
        numbers_of = self.numbers.frame(ViewRequest(request.level, request.window), stale)
        return _RenderedCloud(frame, None if numbers_of is None else numbers_of.pixels)

    def _preview(self, request: ViewRequest | _PointsRequest) -> _RenderedCloud | None:
        view = request.far if isinstance(request, _PointsRequest) else request
        frame = self.viewport.coarser(view)
        return None if frame is None else _RenderedCloud(frame)

    def _dots(self, numbers: Array, index: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
        x, y = (gather_values(self.cloud, source, numbers) for source in (self.cloud.x, self.cloud.y))
        row = self.near.at_points(numbers)
        window = ((0, 1), (0, numbers.size), *((i, i + 1) for i in index))
        z = SERIAL.read(row, 0, window).reshape(numbers.size)
        return x.astype("f8"), y.astype("f8"), z, numbers

    def _values(self) -> list[hv.Dimension]:
        return [style.value_dimension(self.pyramid, self._limits), hv.Dimension("idx")]

    def _image(self, rendered: _RenderedCloud | None) -> hv.Element:
        frame = None if rendered is None else rendered.frame
        if frame is None or is_blank(frame):
            frame = empty_image(self.viewport)
        numbers = None if rendered is None else rendered.numbers
        # numbers of points as floats, so that both lie in one array: exact to 2**24 in float32
        kind = np.result_type(frame.pixels.dtype, "f4" if self.cloud.x.shape[0] < 2**24 else "f8")
        pixels = np.empty((*frame.pixels.shape, 2), kind)
        pixels[..., 0] = frame.pixels
        pixels[..., 1] = -1 if numbers is None or not pixels.size else numbers
        return hv.Image(pixels, bounds=frame.bounds, kdims=self.place, vdims=self._values(), label=self.label)

    def _points(self, rendered: _RenderedCloud | None) -> hv.Element:
        none = np.empty(0)
        dots = (rendered.dots if rendered is not None else None) or (none, none, none, np.empty(0, np.int64))
        return hv.Points(dots, kdims=self.place, vdims=self._values(), label=self.label)
