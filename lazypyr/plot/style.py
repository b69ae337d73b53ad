"""Style of plots: names and units of dimensions, labels of sliders, colour maps, sizes."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import holoviews as hv

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
        "title": short_name(viewport.pyramid) if title is None else title,
        # coordinates of maps have seven digits, which Bokeh would write as 3.48e+6
        "xformatter": "%.10g",
        "yformatter": "%.10g",
    }
    coord = viewport.pyramid.coords.get("x")
    unit = unit_of(coord.unit) if coord is not None else None
    if unit in _METRIC:
        options.update(scalebar=True, scalebar_unit=(unit, "m"))
    return options


def state_hook(interactive: InteractivePlot) -> Callable[[Any, Any], None]:
    """Hook of HoloViews that shows an error in the title, and hides the colour bar until its limits are known."""

    def update(plot: Any, _element: Any) -> None:
        bar = plot.handles.get("colorbar")
        if bar is not None:  # Bokeh lays out its labels only once, when it becomes visible
            bar.visible = interactive.known_limits is not None
        hovers = [tool for tool in plot.state.tools if hasattr(tool, "tooltips")]
        ours = [tool for tool in hovers if "hv_created" in tool.tags]
        if ours and len(ours) < len(hovers):  # a plain "hover" of default_tools would cover ours
            plot.state.tools = [tool for tool in plot.state.tools if tool in ours or tool not in hovers]
        error, title, original = interactive.failure, plot.state.title, plot.handles.get("title before")
        if error is not None:
            if original is None:
                plot.handles["title before"] = title.text, title.text_color
            words = textwrap.wrap(str(error), 78, max_lines=3, placeholder=" ...")
            title.update(text="\n".join(words), text_color="firebrick")
        elif original is not None:
            title.update(text=original[0], text_color=original[1])
            del plot.handles["title before"]

    return update


def tooltips(viewport: Viewport, *values: tuple[str, str], place: str = "${}") -> list[tuple[str, str]]:
    """Tooltips: the coordinates, and values as pairs of a label and Bokeh's name of the column."""
    axes = [(dim.pprint_label, place.format(dim.name) + "{0.[000000]}") for dim in spatial_dimensions(viewport)]
    return [*axes, *values]


def value_dimension(pyramid: Pyramid, limits: tuple[float, float] | None = None) -> hv.Dimension:
    """Dimension of the values; colours range over `limits`."""
    name, label, unit = dimension(pyramid)
    return hv.Dimension((name, label), unit=unit, range=limits or (None, None))


def first_index(viewport: Viewport) -> tuple[int, ...]:
    """Index shown first: of interferograms the pair 0 and 1, since 0 with itself has no fringes."""
    index = [0] * len(viewport.sizes)
    if index:
        index[-1] = min((viewport.pyramid.display or {}).get("first_channel", 0), viewport.sizes[-1] - 1)
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
        out.append(
            hv.Dimension(
                (name, axis),
                values=list(range(size)),
                default=start,
                value_format=None if texts is None else _Labelled(texts),
            )
        )
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
        if len(words) == size + 1 and (viewport.pyramid.display or {}).get("neighbours"):
            words = [f"{a} – {b}" for a, b in itertools.pairwise(words)]
        if len(words) != size:
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
