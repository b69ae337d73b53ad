"""OME-NGFF 0.4 (zarr v2) and 0.5 (zarr v3) metadata of a pyramid.

OME wants two to five axes: time first, then one channel (or other) axis, then two or three of space, ``(z,) y, x``. A
pyramid whose axes are otherwise can't be said in it (`why_not_ome` has the reason).

OME's rows run downwards: where the world's y falls along the rows (north-up rasters) OME's y is its negative, because
readers refuse or mirror negative scales. The true affine is in `spatial:transform` (`lazypyr.metadata.conventions.zarr_conventions`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._names import without_secrets
from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.conventions.units import ome_unit
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["axis_types", "multiscale", "why_not_ome", "omero"]

_TIME = ("t", "time", "date", "datetime")
_CHANNEL = ("c", "channel", "band", "wavelength")
_SPACE = ("z", "y", "x")
_RGB = ("FF0000", "00FF00", "0000FF")
# A viewer lists each channel; a stack of thousands of dates isn't a stack of colours.
_MAX_CHANNELS = 256


class OmeNgff(Convention):
    """OME-NGFF 0.5 in zarr v3, 0.4 in v2; multiscales 0.1 in v2 where axes, or the user, rule it out."""

    reserved_keys = frozenset({"ome", "omero", "multiscales"})
    level_keys = frozenset({"multiscales", "version"})
    text_keys = frozenset({"name", "description"})

    def why_not(self, pyramid: SupportsMultiscales) -> str | None:
        return why_not_ome(pyramid)

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        v3, paths = hierarchy.zarr_format == 3, hierarchy.paths
        if hierarchy.legacy or why_not_ome(pyramid) is not None:
            return {} if v3 else {"multiscales": [{"version": "0.1", "datasets": [{"path": path} for path in paths]}]}
        entry, settings = multiscale(pyramid, paths), omero(pyramid, hierarchy.omero)
        if v3:
            return {"ome": {"version": "0.5", "multiscales": [entry], **({"omero": settings} if settings else {})}}
        shown = {"omero": {"version": "0.4", **settings}} if settings else {}
        return {"multiscales": [{"version": "0.4", **entry}], **shown}


def axis_types(axes: Sequence[str]) -> tuple[str, ...]:
    """OME type of each axis: "time", "space", or "channel" for whatever is neither."""
    return tuple("time" if a.lower() in _TIME else "space" if a in _SPACE else "channel" for a in axes)


def why_not_ome(pyramid: SupportsMultiscales) -> str | None:
    """Reason why a pyramid can't be described in OME-NGFF.

    Parameters
    ----------
    pyramid : lazypyr.Pyramid
        Its axes decide.

    Returns
    -------
    str or None
        None when it can.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> why_not_ome(lazypyr.open_pyramid(np.zeros((100, 70, 3), "u1"), axes="yxc"))
    'axes y, x, c: OME-NGFF wants y, x last'
    """
    axes = tuple(pyramid.axes)
    types = axis_types(axes)
    named = f"axes {', '.join(axes)}"
    if not 2 <= len(axes) <= 5:
        return f"{named}: OME-NGFF has two to five axes"
    if axes[-2:] != ("y", "x"):
        return f"{named}: OME-NGFF wants y, x last"
    spaces = axes[len(axes) - types.count("space") :]
    if spaces not in (("y", "x"), ("z", "y", "x")):
        return f"{named}: OME-NGFF wants the axes of space last, in the order z, y, x"
    if types.count("time") > 1 or types.count("channel") > 1:
        return f"{named}: OME-NGFF has at most one axis of time and one other besides those of space"
    if "time" in types and types[0] != "time":
        return f"{named}: OME-NGFF wants time first"
    return None


def multiscale(pyramid: SupportsMultiscales, paths: Sequence[str]) -> dict[str, Any]:
    """One entry of OME `multiscales`, without a version."""
    axes: list[dict[str, Any]] = []
    for name, kind in zip(pyramid.axes, axis_types(pyramid.axes), strict=True):
        unit = ome_unit(pyramid.coords[name].unit, kind) if name in pyramid.coords else None
        axes.append({"name": name, "type": kind, **({"unit": unit} if unit else {})})
    return {
        "name": public_name(pyramid.name),
        "type": pyramid.method,
        "axes": axes,
        "datasets": [
            {"path": path, "coordinateTransformations": _transformations(pyramid, level)}
            for level, path in enumerate(paths)
        ],
        "metadata": {"method": f"lazypyr.{pyramid.method}", "description": without_secrets(pyramid.description)},
    }


def public_name(name: str) -> str:
    """A name without the folders, hosts and queries in it: what may be published ("phase(slc.zarr)")."""
    short = re.sub(r"\?[^\s()]*", "", name)
    short = re.sub(r"[/\\]+(?=[)\s]|$)", "", short)
    return re.sub(r"[^\s()]*[/\\]", "", short) or name


def _transformations(pyramid: SupportsMultiscales, level: int) -> list[dict[str, Any]]:
    size = pyramid.levels[level]
    coords = [pyramid.coords.get(axis, Coord()) for axis in pyramid.axes]
    scale = [abs(c.step) * s for c, s in zip(coords, size.scale, strict=True)]
    shift = [math.copysign(1.0, c.step) * c.at(t) for c, t in zip(coords, size.translation, strict=True)]
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(shift):
        # Adding 0.0 turns -0.0 into 0.0.
        steps.append({"type": "translation", "translation": [t + 0.0 for t in shift]})
    return steps


def omero(pyramid: SupportsMultiscales, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The display settings: `given` as it is; else from ``pyramid.display``; else for uint8; else None.

    ``pyramid.display`` is a mapping with `window`, ``(low, high)`` or one a channel, and optionally `colors`
    ("RRGGBB") and `labels`, one or one a channel. Where no window is known before a pixel is read there are no
    settings: viewers then look at the coarsest level.
    """
    if given is not None:
        _check_omero(given)
        return dict(given)
    display: Mapping[str, Any] = getattr(pyramid, "display", None) or {}
    types = axis_types(pyramid.axes)
    count = pyramid.levels[0].shape[types.index("channel")] if "channel" in types else 1
    window = display.get("window", (0, 255) if pyramid.dtype == np.uint8 else None)
    if window is None or count > _MAX_CHANNELS:
        return None
    windows = _each(window if np.ndim(window) == 2 else [window], count)
    if not np.isfinite(np.asarray(windows, float)).all():
        return None
    # Three bytes a pixel are a colour picture; of other channels one is shown until the user asks for more.
    rgb = count == 3 and pyramid.dtype == np.uint8 and "c" in pyramid.axes
    colours = _each(display.get("colors") or (_RGB if rgb else "FFFFFF"), count)
    name = public_name(pyramid.name)
    labels = _each(display.get("labels") or ([f"{name} {i}" for i in range(count)] if count > 1 else name), count)
    coloured = len(set(colours)) > 1
    return {
        "channels": [
            _channel(label, colour, window, active=coloured or i == 0)
            for i, (label, colour, window) in enumerate(zip(labels, colours, windows, strict=True))
        ],
        "rdefs": {"model": "color" if coloured else "greyscale", "defaultT": 0, "defaultZ": 0},
    }


def _each(value: Any, count: int) -> list[Any]:
    """One a channel of what is given once or for some; the last one serves for the rest."""
    values = [value] if isinstance(value, str) else list(value)
    return [values[min(i, len(values) - 1)] for i in range(count)]


def _channel(label: str, colour: str, window: Sequence[float], *, active: bool) -> dict[str, Any]:
    low, high = float(window[0]), float(window[1])
    # A window of no width divides by zero in a shader.
    high = high if high > low else low + 1.0
    return {
        "label": label,
        "color": colour,
        "active": active,
        "coefficient": 1,
        "family": "linear",
        "inverted": False,
        "window": {"start": low, "end": high, "min": low, "max": high},
    }


def _check_omero(given: Mapping[str, Any]) -> None:
    channels = given.get("channels")
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        raise PlanError(f"omero: expected a mapping with a list of channels, got {given!r}")
    for i, channel in enumerate(channels):
        window = channel.get("window") if isinstance(channel, Mapping) else None
        if not isinstance(window, Mapping) or not all(
            isinstance(window.get(k), int | float) and math.isfinite(window[k]) for k in ("start", "end", "min", "max")
        ):
            raise PlanError(f"omero: channels[{i}].window needs finite start, end, min and max, got {window!r}")
