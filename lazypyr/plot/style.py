"""Style of plots: names and units of dimensions, labels of sliders, colour maps, sizes."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import holoviews as hv
import numpy as np

from lazypyr.display import axis_label
from lazypyr.errors import PlanError
from lazypyr.plot.interactive import InteractivePlot
from lazypyr.plot.viewport import Viewport
from lazypyr.products.palettes import palette
from lazypyr.pyramids.base import Pyramid

__all__ = [
    "color_list",
    "colours_of",
    "dimension",
    "first_index",
    "first_value",
    "index_dimensions",
    "is_phase",
    "kdim_names",
    "spatial_dimensions",
    "plot_size",
    "short_name",
    "state_hook",
    "tooltips",
    "value_dimension",
]

if not hv.Store.registry.get("bokeh"):  # HoloViews knows no options before a backend is loaded
    hv.extension("bokeh", logo=False)

_WIDTH = 520
_ROOM_FOR_BAR, _ROOM_FOR_TITLE = 137, 75
_ROOM_FOR_AXIS, _DIGIT = 37, 7
_SHORT_UNITS = {
    "radian": "rad",
    "meter": "m",
    "metre": "m",
    "kilometer": "km",
    "millimeter": "mm",
    "micrometer": "µm",
    "nanometer": "nm",
    "degree": "°",
    "1": None,
}
_METRIC = ("km", "m", "mm", "µm", "nm")


def kdim_names(n: int) -> list[str]:
    """Names i, j, k, ... of the key dimensions, as in moraine."""
    return [chr(ord("i") + number) for number in range(n)]


def unit_of(name: str | None) -> str | None:
    """Short form of a unit, for axes."""
    return _SHORT_UNITS.get(name, name) if name else None


def short_name(pyramid: Pyramid) -> str:
    """Name of a pyramid without its folders: "intf_0(slc.zarr/slc)"."""
    before, sign, inside = pyramid.name.rpartition("(")
    return before + sign + "/".join(inside.rstrip("/").split("/")[-2:])


def spatial_dimensions(viewport: Viewport) -> list[hv.Dimension]:
    """Dimensions x and y with their units, ranging over the whole extent of level 0."""
    left, bottom, right, top = viewport.bounds
    (x, x_unit), (y, y_unit) = (axis_label(viewport.pyramid, axis) for axis in "xy")
    return [
        hv.Dimension(("x", x), unit=unit_of(x_unit), range=(left, right)),
        hv.Dimension(("y", y), unit=unit_of(y_unit), range=(bottom, top)),
    ]


def dimension(pyramid: Pyramid) -> tuple[str, str, str | None]:
    """Name, label and unit of the values."""
    products = pyramid.attrs.get("products") or ()
    label = products[-1].get("name") if products else pyramid.attrs.get("long_name")
    short = label if isinstance(label, str) and 0 < len(label) <= 24 and label.isidentifier() else "z"
    unit = pyramid.attrs.get("units")
    return "z", short, unit_of(unit if isinstance(unit, str) else None)


# Bokeh has a cyclic colour map of its own for phases.
_CYCLIC = {"phase": "colorwheel"}


def is_phase(pyramid: Pyramid) -> bool:
    """True of angles that wrap."""
    return (pyramid.display or {}).get("colormap") == "phase"


def colours_of(pyramid: Pyramid) -> str:
    """Default colour map of a pyramid."""
    colormap = str((pyramid.display or {}).get("colormap", "viridis"))
    return _CYCLIC.get(colormap, colormap)


def color_list(cmap: Any) -> Any:
    """Colours of a colour map that is given by name, as "#rrggbb"; anything else as it is.

    Raises
    ------
    PlanError
        For an unknown name, with similar ones.
    """
    # HoloViews rounds its gray otherwise than ours, and pictures stay as they are.
    if not isinstance(cmap, str) or cmap == "gray":
        return cmap
    table = palette(cmap)
    return [f"#{table[n : n + 3].hex()}" for n in range(0, len(table), 3)]


def plot_size(bounds: Sequence[float]) -> tuple[int, int]:
    """Width and height in screen pixels: equal scales of both axes, unless the plot would get very long."""
    left, bottom, right, top = bounds
    ratio = min(max((top - bottom) / (right - left), 0.35), 1.6)
    digits = max(len(f"{value:.10g}".split(".")[0]) for value in (bottom, top))
    return _ROOM_FOR_AXIS + _DIGIT * digits + _WIDTH + _ROOM_FOR_BAR, round(_WIDTH * ratio) + _ROOM_FOR_TITLE


def common_options(viewport: Viewport, title: str | None) -> dict[str, Any]:
    """Options of every element of a viewport."""
    width, height = plot_size(viewport.bounds)
    options: dict[str, Any] = {
        "width": width,
        "height": height,
        "tools": ["hover"],
        "active_tools": ["wheel_zoom"],
        "backend_opts": {"plot.min_border_right": _ROOM_FOR_BAR - 18},
        **({} if title is None else {"title": title}),  # HoloViews': the label and the place of the sliders
        # coordinates of maps have seven digits, which Bokeh would write as 3.48e+6
        "xformatter": "%.10g",
        "yformatter": "%.10g",
    }
    coord = viewport.pyramid.coords.get("x")
    unit = unit_of(coord.unit) if coord is not None else None
    if unit in _METRIC:
        options.update(scalebar=True, scalebar_unit=(unit, "m"))
    return options


def state_hook(
    interactive: InteractivePlot, tips: list[tuple[str, str]], *, near: bool = False
) -> Callable[[Any, Any], None]:
    """Hook of HoloViews for what follows the state of a plot and the names that `redim` gives its dimensions.

    An error is shown in the title, the colour bar is hidden until its limits are known, `tips` (not those of the user) name the
    dimensions, and a plot without a picture yet shows the whole extent. `near` is for points.
    """

    def update(plot: Any, element: Any) -> None:
        bar = plot.handles.get("colorbar")
        if bar is not None:  # Bokeh lays out its labels only once, when it becomes visible
            bar.visible = interactive.known_limits is not None
        hovers = [tool for tool in plot.state.tools if hasattr(tool, "tooltips")]
        ours = [tool for tool in hovers if "hv_created" in tool.tags]
        if ours and len(ours) < len(hovers):  # a plain "hover" of default_tools would cover ours
            plot.state.tools = [tool for tool in plot.state.tools if tool in ours or tool not in hovers]
        hover = plot.handles.get("hover")
        if hover is not None and plot.hover_tooltips == tips:
            hover.tooltips = _tooltips(element.kdims, element.vdims, near=near)
        _show_extent(plot, element, interactive.viewport.bounds)
        if near:
            _show_limits(plot, element)
        _show_failure(plot, interactive.failure)

    return update


def _show_extent(plot: Any, element: Any, bounds: Sequence[float]) -> None:
    """Let a plot begin with the whole extent while it has no picture: ranges of dimensions are lost when they are renamed."""
    if plot.handles.get("extent shown") or len(element):
        return
    plot.handles["extent shown"] = True
    left, bottom, right, top = bounds
    for name, dim, ends in (("x_range", element.kdims[0], (left, right)), ("y_range", element.kdims[1], (bottom, top))):
        axis = plot.handles.get(name)
        if axis is not None and dim.range == (None, None) and not plot.drawn:
            start, end = ends if axis.start is None or axis.start <= axis.end else ends[::-1]
            axis.update(start=start, end=end, reset_start=start, reset_end=end)


def _show_limits(plot: Any, element: Any) -> None:
    """Let colours of points range over what the dimension of their values says."""
    mapper = plot.handles.get("color_color_mapper")
    low, high = element.vdims[0].range
    unset = not any(limit is not None and np.isfinite(limit) for limit in plot.clim)
    if mapper is not None and unset and low is not None and high is not None:
        mapper.update(low=low, high=high)


def _show_failure(plot: Any, failure: Exception | None) -> None:
    title, original = plot.state.title, plot.handles.get("title before")
    if failure is not None:
        if original is None:
            plot.handles["title before"] = title.text, title.text_color
        words = textwrap.wrap(str(failure), 78, max_lines=3, placeholder=" ...")
        title.update(text="\n".join(words), text_color="firebrick")
        plot.handles["title of failure"] = title.text
    elif original is not None:
        text = original[0] if title.text == plot.handles["title of failure"] else title.text
        title.update(text=text, text_color=original[1])
        del plot.handles["title before"]


def tooltips(viewport: Viewport, *further: hv.Dimension, near: bool = False) -> list[tuple[str, str]]:
    """Tooltips of a viewport's coordinates, its value and `further` values; `near` are those of points."""
    return _tooltips(spatial_dimensions(viewport), [value_dimension(viewport.pyramid), *further], near=near)


def _tooltips(kdims: Sequence[hv.Dimension], vdims: Sequence[hv.Dimension], *, near: bool) -> list[tuple[str, str]]:
    """Tooltips, pairs of a label and Bokeh's name of what it shows."""

    def column(dim: hv.Dimension) -> str:
        return f"@{{{hv.core.util.dimension_sanitizer(dim.name)}}}"

    places = [column(dim) for dim in kdims] if near else ["$x", "$y"]
    axes = [(dim.pprint_label, place + "{0.[000000]}") for dim, place in zip(kdims, places, strict=True)]
    first, *others = vdims
    value = first.pprint_label, column(first) if near else "@image"
    return [*axes, value, *((dim.pprint_label, column(dim)) for dim in others)]


def first_value() -> hv.dim:
    """Expression of HoloViews for the first value of points, whatever `redim` calls it."""
    return hv.dim("*", lambda frame: frame.iloc[:, 2].to_numpy())


def value_dimension(pyramid: Pyramid, limits: tuple[float, float] | None = None) -> hv.Dimension:
    """Dimension of the values; colours range over `limits`."""
    name, label, unit = dimension(pyramid)
    return hv.Dimension((name, label), unit=unit, range=limits or (None, None))


def first_index(viewport: Viewport) -> tuple[int, ...]:
    """Index shown first: of interferograms the pair 0 and 1, since 0 with itself has no fringes."""
    index = [0] * len(viewport.sizes)
    if index:
        first = (viewport.pyramid.display or {}).get("first_channel", 0)
        last = viewport.sizes[-1]
        index[-1] = first if last is None else min(first, last - 1)
    return tuple(index)


def index_dimensions(
    viewport: Viewport, labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None
) -> list[hv.Dimension]:
    """Key dimensions of a viewport: whole numbers that sliders show as labels."""
    names = kdim_names(len(viewport.kdims))
    given = _labels(viewport, names, labels)
    out = []
    first = first_index(viewport)
    for name, axis, size, start in zip(names, viewport.kdims, viewport.sizes, first, strict=True):
        texts = given.get(name)
        steps: dict[str, Any] = {"values": list(range(size or 0))}
        if viewport.is_open and texts is not None:
            steps = {"values": list(range(len(texts)))}
        elif viewport.is_open:  # HoloViews holds a map to its first values, also after redim
            steps = {"range": (None, None) if size is None else (0, size - 1), "step": 1}
        labelled = None if texts is None else _Labelled(texts)
        out.append(hv.Dimension((name, axis), **steps, default=start, value_format=labelled))
    return out


class _Labelled:
    """Formatter that gives the label of a channel's number."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def __call__(self, value: Any) -> str:
        return self.texts[int(value)]


def _labels(
    viewport: Viewport, names: Sequence[str], labels: Sequence[Any] | Mapping[str, Sequence[Any]] | None
) -> dict[str, list[str]]:
    if labels is None:
        return _channel_names(viewport, names)
    by_name = dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(names, labels)
    alias = dict(zip(viewport.kdims, names, strict=True))
    out = {}
    for given, texts in by_name.items():
        name = alias.get(given, given)
        if name not in names:
            raise PlanError(f"labels: no key dimension {given!r}; there are {', '.join(names) or 'none'}")
        size = viewport.sizes[list(names).index(name)]
        words = [label_text(text) for text in texts]
        if size is not None and len(words) == size + 1 and (viewport.pyramid.display or {}).get("neighbours"):
            words = [f"{a} – {b}" for a, b in itertools.pairwise(words)]
        if len(words) != size and not viewport.is_open:
            raise PlanError(f"labels: {len(words)} for key dimension {name!r}, which has {size}")
        out[name] = words
    return out


def _channel_names(viewport: Viewport, names: Sequence[str]) -> dict[str, list[str]]:
    """Names of channels that OME metadata give, by key dimension."""
    ome = viewport.pyramid.metadata.ome
    words = list(ome.labels()) if ome is not None else []
    sizes = zip(names, viewport.kdims, viewport.sizes, strict=True)
    return {name: words for name, axis, n in sizes if words and n == len(words) and ome.type_of(axis) == "channel"}


def label_text(value: Any) -> str:
    """Text of a label, without the midnight of dates."""
    return str(value).removesuffix(" 00:00:00").split("T00:00:00")[0]
