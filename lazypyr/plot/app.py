"""`view`: an app for the browser that shows rasters and point clouds, served by Bokeh."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from lazypyr._util.optional import need
from lazypyr.display import applicable_products, other_axes
from lazypyr.engine.engine import Engine
from lazypyr.errors import PlanError
from lazypyr.plot.options import ViewOptions
from lazypyr.plot.points import InteractivePoints
from lazypyr.plot.raster import InteractiveRaster, open_for_plot
from lazypyr.plot.render_worker import session_later
from lazypyr.plot.style import color_list, short_name
from lazypyr.plot.timeseries import as_times, timeseries_plot
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.products.apply import offered_products
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.products import ProductLike

__all__ = ["choices", "server", "view"]

_VALUES = "values"
_SIDE_WIDTH = 220  # screen pixels of the controls beside the picture


def view(
    src: Any,
    *,
    product: ProductLike | None = None,
    dates: Sequence[Any] | None = None,
    port: int = 0,
    show: bool = True,
    links: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    announce: Callable[[str], None] = print,
    **options: Unpack[ViewOptions],
) -> None:
    """Show rasters and point clouds in the browser until interrupted.

    Parameters
    ----------
    src : source, or dict of titles to sources
        Sources of `raster_plot` or `points_plot`; several are shown as tabs.
    product : str, callable or Product, optional
        Product shown first; the page offers all that the data allow.
    dates : sequence, optional
        Dates, one a channel: labels of the sliders and times of the series.
    port : int, default 0
        Port; 0 for a free one. The page is served to this machine only.
    show : bool, default True
        Open a browser window.
    links : dict of text to URL, optional
        Links on the page, e.g. to the same data served as Zarr.
    engine : Engine, optional
        Engine that reads; by default that of a store, or one that all plots share.
    announce : callable
        Called with a line of text that has the address.
    **options : dict
        Options of `lazypyr.open_pyramid`, and `clim`, `cmap`, `invert_yaxis`, `level_increase` of `raster_plot`.

    Raises
    ------
    PlanError
        For a source that can't be shown, or a port that is in use.

    See Also
    --------
    raster_plot : The plot itself, for notebooks.
    lazypyr.serve : Serve the data to other programs and machines.

    Examples
    --------
    Without a thread the call ends with Ctrl-C:

    >>> import numpy as np
    >>> from queue import Queue
    >>> from threading import Thread
    >>> from lazypyr.plot import view
    >>> lines = Queue()
    >>> options = {"show": False, "announce": lines.put}
    >>> Thread(target=view, args=[np.zeros((64, 64))], kwargs=options, daemon=True).start()
    >>> lines.get()
    'lazypyr view at http://localhost:.../ (Ctrl-C ends it)'
    """
    running = server(src, product=product, dates=dates, port=port, links=links, engine=engine, **options)
    url = f"http://localhost:{running.port}/"
    announce(f"lazypyr view at {url} (Ctrl-C ends it)")
    if show:
        running.io_loop.add_callback(running.show, "/")
    running.start()
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # with Panel's handler the process would exit as if nothing had happened
    try:
        running.io_loop.start()
    finally:
        running.stop()


def server(
    src: Any,
    *,
    product: ProductLike | None = None,
    dates: Sequence[Any] | None = None,
    port: int = 0,
    links: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    **options: Unpack[ViewOptions],
) -> Any:
    """Server of `view`, bound to its port but not running: a `bokeh.server.server.Server`."""
    panel_server = need("panel.io.server", feature="lazypyr view", extra="plot")
    recipe: dict[str, Any] = dict(options)
    style: dict[str, Any] = {
        name: recipe.pop(name) for name in ("clim", "cmap", "invert_yaxis", "level_increase") if name in recipe
    }
    style["cmap"] = color_list(style.get("cmap"))
    sources = dict(src) if isinstance(src, Mapping) else {"": src}
    tabs = {}
    for title, source in sources.items():
        pyramid, reader = open_for_plot(source, engine, **recipe)
        tabs[title or short_name(pyramid)] = ViewedSource(pyramid, reader, product, dates, style)

    def page() -> Any:
        return _page(tabs, links or {})

    title = "lazypyr: " + ", ".join(tabs)
    try:
        # this machine only: Bokeh would listen to all
        return panel_server.get_server(
            {"/": page}, address="127.0.0.1", port=port, title={"/": title}, start=False, show=False, verbose=False
        )
    except OSError as error:
        raise PlanError(
            f"port {port}: {error.strerror or error}; choose another one, or 0 for any that is free"
        ) from error


def choices(pyramid: Pyramid) -> list[str]:
    """Names of the products that a pyramid allows."""
    return [*([] if pyramid.dtype.kind == "c" else [_VALUES]), *applicable_products(pyramid, offered_products("plot"))]


class ViewedSource:
    """Source and the choices of its page, opened once for all sessions."""

    def __init__(
        self,
        pyramid: Pyramid,
        engine: Engine,
        product: ProductLike | None,
        dates: Sequence[Any] | None,
        style: Mapping[str, Any],
    ) -> None:
        self.pyramid, self.engine, self.style = pyramid, engine, dict(style)
        self.products: dict[str, ProductLike | None] = {
            name: None if name == _VALUES else name for name in choices(pyramid)
        }
        if product is not None:
            pyramid.map(product)  # an error is raised before the page opens
            self.first = product if isinstance(product, str) else getattr(product, "__name__", "product")
            self.products.setdefault(self.first, product)
        elif not self.products:
            raise PlanError(f"{pyramid.name}: nothing of it can be drawn ({pyramid.dtype}, axes {pyramid.axes})")
        else:
            self.first = next(iter(self.products))
        self.channels = _channels(pyramid)
        self.labels = None if dates is None else [str(d)[:10] for d in as_times(dates)]
        self.times: Sequence[Any] | None = dates
        if dates is not None and (not self.channels or len(dates) != self.channels[0]):
            raise PlanError(
                f"dates: {len(dates)} for {self.channels[0] if self.channels else 0} channels of {pyramid.name}"
            )

    def labels_for(self, shown: Pyramid) -> list[str] | None:
        """Labels, if the shown pyramid has as many channels, or one a pair of neighbours."""
        return (
            self.labels
            if self.labels and _channels(shown)[:1] in (self.channels[:1], (self.channels[0] - 1,))
            else None
        )


def _now(call: Callable[[], None]) -> None:
    call()


def _channels(pyramid: Pyramid) -> tuple[int, ...]:
    return tuple(other_axes(pyramid).values())


def _page(tabs: Mapping[str, ViewedSource], links: Mapping[str, str]) -> Any:
    pn = need("panel", feature="lazypyr view", extra="plot")
    parts = [(title, SourceTab(viewed, links).layout) for title, viewed in tabs.items()]
    return parts[0][1] if len(parts) == 1 else pn.Tabs(*parts, dynamic=True)


class SourceTab:
    """Tab of a source in one browser session."""

    def __init__(self, viewed: ViewedSource, links: Mapping[str, str]) -> None:
        self._viewed = viewed
        self._pn = pn = need("panel", feature="lazypyr view", extra="plot")
        self._product = pn.widgets.Select(
            name="product", options=list(viewed.products), value=viewed.first, width=_SIDE_WIDTH
        )
        number = need("bokeh.models", feature="lazypyr view", extra="plot").PrintfTickFormatter(format="%.3g")
        self._contrast = pn.widgets.RangeSlider(
            name="contrast", start=0, end=1, format=number, width=_SIDE_WIDTH, visible=False
        )
        self._interactive: InteractiveRaster | InteractivePoints | None = None
        self._place, self._controls = pn.Column(), pn.Column()
        text = "".join(f'<p><a href="{url}" target="_blank">{name}</a></p>' for name, url in links.items())
        side = pn.Column(self._product, self._controls, self._contrast, pn.pane.HTML(text), width=_SIDE_WIDTH + 30)
        self.layout = pn.Row(side, self._place)
        self._product.param.watch(lambda _: self._choose(), "value")
        self._contrast.param.watch(lambda event: self._limit(event.new), "value_throttled")
        self._choose()

    def _choose(self) -> None:
        viewed, pn = self._viewed, self._pn
        product = viewed.products[self._product.value]
        shown = viewed.pyramid if product is None else viewed.pyramid.map(product)
        style = dict(viewed.style)
        options = {name: style.pop(name) for name in ("clim", "level_increase") if name in style}
        style["labels"] = viewed.labels_for(shown)
        if isinstance(viewed.pyramid, PointsPyramid):
            style.pop("invert_yaxis", None)
            cloud = self._interactive = InteractivePoints(viewed.pyramid, shown, viewed.engine, **options)
            cloud.label = short_name(shown)
            tapped, dots = cloud.plots(**style)
            plot = tapped * dots
        else:
            raster = self._interactive = InteractiveRaster(shown, viewed.engine, **options)
            raster.label = short_name(shown)
            plot = tapped = raster.plot(**style)
        interactive, self._contrast.visible = self._interactive, False
        self._set_contrast(interactive)
        # scheduled: while HoloViews draws, the page may not exist yet
        interactive.on_drawn = lambda: (session_later() or _now)(lambda: self._set_contrast(interactive))
        pane = pn.pane.HoloViews(plot)
        self._controls.objects = list(pane.widget_box)
        for widget in self._controls.objects:
            widget.width = _SIDE_WIDTH
        below = [self._series(tapped)] if len(viewed.channels) == 1 and viewed.channels[0] > 1 else []
        self._place.objects = [pane, *below]

    def _series(self, tapped: Any) -> Any:
        viewed = self._viewed
        times = viewed.times if viewed.times is not None else range(viewed.channels[0])
        return self._pn.pane.HoloViews(
            timeseries_plot(viewed.pyramid, list(times), tapped, reference=True, engine=viewed.engine)
        )

    def _set_contrast(self, interactive: InteractiveRaster | InteractivePoints) -> None:
        """Show the contrast slider, once the first picture has given the limits."""
        limits, slider = interactive.known_limits, self._contrast
        if interactive is not self._interactive or limits is None or slider.visible:
            return
        low, high = limits
        span = high - low
        wide = (low, high) if interactive.viewport.declared_limits else (low - span, high + span)
        slider.param.update(start=wide[0], end=wide[1], value=(low, high), step=(wide[1] - wide[0]) / 200, visible=True)

    def _limit(self, value: tuple[float, float]) -> None:
        if self._interactive is not None and value[0] < value[1]:
            self._interactive.limit(*value)
