"""Export of a plot: a PNG with axes and a colour bar, or a self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import holoviews as hv
import numpy as np

from lazypyr._util.optional import need
from lazypyr.engine.engine import Engine
from lazypyr.errors import DestinationError, PlanError
from lazypyr.plot.style import (
    color_list,
    colours_of,
    first_index,
    short_name,
    spatial_dimensions,
    tooltips,
    value_dimension,
)
from lazypyr.plot.viewport import RenderedImage, Viewport
from lazypyr.pyramids.open import open_pyramid
from lazypyr.pyramids.options import PyramidOptions
from lazypyr.registry import check_options

__all__ = ["draw_png", "nice_ticks", "colour_pixels", "save_html", "save_picture"]

Array = np.ndarray[Any, Any]

_LEFT, _TOP, _BOTTOM, _BAR = 96, 40, 56, 150
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def save_picture(
    src: Any,
    out: str | Path,
    post_proc: Any = None,
    *,
    index: Sequence[int] = (),
    size: tuple[int, int] = (1000, 800),
    invert_yaxis: bool | None = None,
    clim: tuple[float, float] | None = None,
    cmap: Any = None,
    n_kdim: int | None = None,
    engine: Engine | None = None,
    **recipe: Unpack[PyramidOptions],
) -> Path:
    """Write a picture of the whole extent, at the level that fits `size`.

    Parameters
    ----------
    src : path, array, Pyramid, LazyPyramidStore or source
        Source as for `raster_plot`; points (`lazypyr.from_points`) are drawn as their raster.
    out : str or Path
        ``.png``: pixels, axes and colour bar; ``.html``: a page with zoom and hover that needs no server and no network.
    post_proc : str, callable or Product, optional
        Product to show, as for `raster_plot`.
    index : sequence of int, optional
        Channel, one number a key dimension; by default the one that `raster_plot` shows first.
    size : (int, int)
        Largest width and height of the data, in pixels.
    invert_yaxis : bool, optional
        Row 0 at the top; by default for images and where the source has no y coordinates.
    clim : (float, float), optional
        Colour limits, as for `raster_plot`.
    cmap : str or list, optional
        Colour map, as for `raster_plot`.
    n_kdim : int, optional
        Number of key dimensions of a function, as for `raster_plot`.
    engine : Engine, optional
        Engine that reads; by default that of a store, or one that all plots share.
    **recipe : dict
        Options of `lazypyr.open_pyramid`.

    Returns
    -------
    Path
        Path of the file.

    Raises
    ------
    PlanError
        As `raster_plot`, or for another suffix than these two.
    DestinationError
        When the file can't be written.

    See Also
    --------
    raster_plot : Plot a raster.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.plot import save_picture
    >>> save_picture(np.add.outer(np.arange(300), np.arange(400)), "ramp.png").name
    'ramp.png'
    """
    from lazypyr.plot.functions import shown_pyramid
    from lazypyr.plot.raster import open_for_plot

    path = Path(out)
    if path.suffix.lower() not in (".png", ".html"):
        raise PlanError(f"{out}: expected a name that ends in .png or .html")
    check_options("save_picture", recipe, save_picture, open_pyramid)
    pyramid, engine = open_for_plot(src, engine, **recipe)
    shown = shown_pyramid(pyramid, post_proc, n_kdim)
    pyramid, viewport = shown.pyramid, Viewport(shown.pyramid, engine, sizes=shown.sizes)
    index = (*index, *first_index(viewport)[len(index) :])
    view = viewport.view(None, None, *size, index)
    frame = viewport.frame(view)
    assert frame is not None  # the whole extent is always visible
    limits = clim or viewport.limits(view.index)
    upside_down = invert_yaxis if invert_yaxis is not None else viewport.inverts[1]
    cmap = color_list(cmap) or colours_of(pyramid)
    try:
        if path.suffix.lower() == ".png":
            draw_png(path, viewport, frame, limits, cmap=cmap, size=size, invert_yaxis=upside_down)
        else:
            save_html(path, viewport, frame, limits, cmap=cmap, invert_yaxis=upside_down)
    except OSError as error:
        raise DestinationError(f"{path}: {error.strerror or error}") from error
    return path


def save_html(
    path: Path,
    viewport: Viewport,
    frame: RenderedImage,
    limits: tuple[float, float] | None,
    *,
    cmap: Any,
    invert_yaxis: bool,
) -> None:
    """Write an image as one HTML file."""
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    from lazypyr.plot.raster import element_of, options_of

    options = options_of(viewport, cmap, None, tooltips(viewport), invert_yaxis=invert_yaxis)
    element = element_of(viewport, frame, limits, short_name(viewport.pyramid)).opts(options)
    text = file_html(hv.render(element, backend="bokeh"), INLINE, title=viewport.pyramid.name)
    path.write_text(text, encoding="utf-8")


def colour_pixels(pixels: Array, limits: tuple[float, float] | None, cmap: Any) -> Array:
    """RGB colours of pixels: uint8, shape (row, column, 3), white where there are no data."""
    if pixels.ndim == 3:
        if pixels.shape[2] == 3:
            return pixels
        alpha = pixels[..., 3:].astype("f4") / 255
        return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype("u1")
    palette = _palette(cmap)
    low, high = limits or (0.0, 1.0)
    values = pixels.astype("f8")
    valid = ~np.isnan(values)
    scaled = np.clip((np.where(valid, values, low) - low) / (high - low), 0, 1) * len(palette)
    out: Array = palette[np.minimum(scaled.astype(int), len(palette) - 1)]
    out[~valid] = 255
    return out


def _palette(cmap: Any) -> Array:
    from holoviews.plotting.util import process_cmap

    colours = cmap if isinstance(cmap, list) else process_cmap(cmap, 256)
    return np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colours], "u1")


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return [low]
    raw = span / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(f * unit for f in (1, 2, 2.5, 5, 10) if f * unit >= raw * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def draw_png(
    path: Path,
    viewport: Viewport,
    frame: RenderedImage,
    limits: tuple[float, float] | None,
    *,
    cmap: Any,
    size: tuple[int, int],
    invert_yaxis: bool,
) -> None:
    """Write an image as a PNG: pixels without smoothing, axes, colour bar."""
    need("PIL", feature="saving a PNG", extra="plot")
    from PIL import Image, ImageDraw, ImageFont

    colours = colour_pixels(frame.pixels, limits, cmap)
    invert_xaxis = viewport.inverts[0]
    colours = colours[:: -1 if invert_yaxis else 1, :: -1 if invert_xaxis else 1]
    left, bottom, right, top = frame.bounds
    ratio = min(max((top - bottom) / (right - left), 0.2), 5.0)
    width = min(size[0], round(size[1] / ratio))
    height = max(1, round(width * ratio))
    bar = _BAR if frame.pixels.ndim == 2 and limits is not None else 20
    page = Image.new("RGB", (_LEFT + width + bar, _TOP + height + _BOTTOM), _PAPER)
    picture = Image.fromarray(np.ascontiguousarray(colours)).resize((width, height), Image.Resampling.NEAREST)
    page.paste(picture, (_LEFT, _TOP))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    pen.rectangle((_LEFT - 1, _TOP - 1, _LEFT + width, _TOP + height), outline=_INK)
    pen.text((_LEFT, 10), short_name(viewport.pyramid)[-100:], fill=_INK, font=ImageFont.load_default(15))
    x_dim, y_dim = spatial_dimensions(viewport)
    for value in nice_ticks(left, right):
        part = (value - left) / (right - left)
        position = _LEFT + (1 - part if invert_xaxis else part) * width
        pen.line((position, _TOP + height, position, _TOP + height + 5), fill=_INK)
        pen.text((position, _TOP + height + 8), _number_text(value), fill=_INK, font=font, anchor="mt")
    for value in nice_ticks(bottom, top):
        part = (value - bottom) / (top - bottom)
        position = _TOP + (part if invert_yaxis else 1 - part) * height
        pen.line((_LEFT - 6, position, _LEFT - 1, position), fill=_INK)
        pen.text((_LEFT - 10, position), _number_text(value), fill=_INK, font=font, anchor="rm")
    pen.text((_LEFT + width / 2, _TOP + height + 32), x_dim.pprint_label, fill=_INK, font=font, anchor="mt")
    pen.text((8, _TOP - 16), y_dim.pprint_label, fill=_INK, font=font)
    if bar == _BAR and limits is not None:
        _draw_bar(page, pen, font, viewport, limits, cmap, (_LEFT + width + 24, height))
    page.save(path)


def _draw_bar(
    page: Any, pen: Any, font: Any, viewport: Viewport, limits: tuple[float, float], cmap: Any, place: tuple[int, int]
) -> None:
    from PIL import Image

    x, height = place
    low, high = limits
    column = colour_pixels(np.linspace(high, low, height)[:, None], limits, cmap)
    page.paste(Image.fromarray(np.ascontiguousarray(np.repeat(column, 18, axis=1))), (x, _TOP))
    pen.rectangle((x - 1, _TOP - 1, x + 18, _TOP + height), outline=_INK)
    for value in nice_ticks(low, high):
        position = _TOP + (high - value) / (high - low) * height
        pen.line((x + 18, position, x + 23, position), fill=_INK)
        pen.text((x + 27, position), _number_text(value), fill=_INK, font=font, anchor="lm")
    pen.text((x, _TOP - 20), value_dimension(viewport.pyramid).pprint_label, fill=_INK, font=font)


def _number_text(value: float) -> str:
    return f"{value:.7g}" if abs(value) > 1e-12 else "0"
