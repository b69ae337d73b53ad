"""State of an interactive plot of a raster or of points: viewport, renderer, colour limits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import holoviews as hv

from lazypyr.engine.engine import Engine
from lazypyr.plot.render_worker import ViewRenderer
from lazypyr.plot.viewport import Viewport
from lazypyr.pyramids.base import Pyramid

__all__ = ["InteractivePlot", "Refresh", "visible_part"]

Refresh = hv.streams.Stream.define("Refresh", count=0)


class OpenMap(hv.DynamicMap):  # type: ignore[misc]
    """Map of a user's function, of whose keys only the function knows which it has: `redim` may make its ranges longer."""

    __pos_params = ("callback",)  # HoloViews asks each class for it, to clone a map

    def _validate_key(self, key: Any) -> None:
        return


class InteractivePlot:
    """Interactive plot of a pyramid: elements of the pictures that its renderer gives.

    Subclasses set `renderer`. `label` is that of the elements, the first words of their title.
    """

    renderer: ViewRenderer
    label = ""

    def __init__(
        self,
        pyramid: Pyramid,
        engine: Engine,
        *,
        level_increase: int = 0,
        clim: tuple[float, float] | None = None,
        sizes: Sequence[int | None] | None = None,
    ) -> None:
        self.viewport = Viewport(pyramid, engine, level_increase=level_increase, sizes=sizes)
        self.refresh = Refresh()
        self.on_drawn: Callable[[], None] = lambda: None
        self._limits = clim or self.viewport.declared_limits
        self._last: dict[Hashable, tuple[Any, hv.Element]] = {}

    @property
    def known_limits(self) -> tuple[float, float] | None:
        """Colour limits; None until the first picture has given them."""
        return self._limits

    @property
    def failure(self) -> Exception | None:
        """Error of the latest picture, if it failed in the background."""
        return self.renderer.failure

    def limit(self, low: float, high: float) -> None:
        """Set other colour limits and redraw."""
        self._limits, self._last = (low, high), {}
        self._refresh()

    def map_of(self, draw: Callable[..., Any], kdims: Sequence[hv.Dimension]) -> hv.DynamicMap:
        """Map of a callback."""
        kind = OpenMap if self.viewport.is_open and kdims else hv.DynamicMap
        return kind(draw, kdims=list(kdims), streams=self.streams())

    def streams(self) -> list[Any]:
        """Streams whose events make HoloViews ask for another element."""
        return [hv.streams.RangeXY(), hv.streams.PlotSize(), self.refresh]

    def _request(self, index: Sequence[Any], **view: Any) -> Any:
        """Request for the visible part that the streams report."""
        return self.viewport.view(*visible_part(view), index)

    def _element(self, kind: Hashable, request: Any, make: Callable[[Any], hv.Element]) -> hv.Element:
        """Element of a request's picture; the previous one of this kind where nothing has changed."""
        picture, failure = self.renderer.render(request), self.failure
        shown = picture, failure, request if picture is None else None
        last = self._last.get(kind)
        if last is not None and last[0] == shown:
            return last[1]
        element = make(picture)
        self._last[kind] = shown, element
        self.on_drawn()
        return element

    def _refresh(self) -> None:
        self.refresh.event(count=self.refresh.count + 1)


def visible_part(view: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Ranges of x and y, width and height that streams report; None for those that they don't."""
    return view.get("x_range"), view.get("y_range"), view.get("width"), view.get("height")
