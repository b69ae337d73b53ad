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
from lazypyr.metadata.colours import OF_PICTURES, colour_axis
from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.conventions.units import ome_unit
from lazypyr.metadata.dataset import DatasetMetadata
from lazypyr.metadata.ome_metadata import OmeMetadata
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["axis_types", "multiscale", "why_not_ome", "omero"]

_TIME = ("t", "time", "date", "datetime")
_CHANNEL = ("c", "channel", "band", "wavelength")
_SPACE = ("z", "y", "x")
_RGB = ("FF0000", "00FF00", "0000FF")
# A viewer lists each channel; a stack of thousands of dates isn't a stack of colours.
_MAX_CHANNELS = 256


class OmeNgff(Convention):
    """OME-NGFF 0.5 in zarr v3, 0.4 in v2; multiscales 0.1 in v2 where axes, or the user, rule it out.

    Names, colours, windows, labels and axes of a source are written as it has them, in the place that the version has
    for them.
    """

    reserved_keys = frozenset({"ome", "omero", "image-label", "multiscales"})
    level_keys = frozenset({"multiscales", "version"})
    text_keys = frozenset({"name", "description"})

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        v3, paths = hierarchy.zarr_format == 3, hierarchy.paths
        if hierarchy.legacy or why_not_ome(pyramid) is not None:
            return {} if v3 else {"multiscales": [{"version": "0.1", "datasets": [{"path": path} for path in paths]}]}
        entry, kept = multiscale(pyramid, paths), kept_metadata(pyramid)
        shown = kept.members("0.5" if v3 else "0.4")
        settings = omero(pyramid, hierarchy.omero)
        # What a source has wins over ours, and labels have colours of their own.
        if settings is not None and (hierarchy.omero is not None or not {"omero", "image-label"} & set(shown)):
            shown["omero"] = settings if v3 else {"version": "0.4", **settings}
        if v3:
            return {"ome": {"version": "0.5", "multiscales": [entry], **shown}}
        return {"multiscales": [{"version": "0.4", **entry}], **shown}


def kept_metadata(pyramid: SupportsMultiscales) -> OmeMetadata:
    """OME metadata of the pyramid's source, beside those of its levels; empty where it has none."""
    ome = getattr(getattr(pyramid, "metadata", None), "ome", None)
    return ome if ome is not None else OmeMetadata("0.5")


def axis_types(pyramid: SupportsMultiscales) -> tuple[str, ...]:
    """OME type of each axis: as its source states it, else "time", "space", or "channel" for whatever is neither."""
    kept = kept_metadata(pyramid)
    return tuple(kept.type_of(a) or _type_by_name(a) for a in pyramid.axes)


def _type_by_name(axis: str) -> str:
    return "time" if axis.lower() in _TIME else "space" if axis in _SPACE else "channel"


def _kinds(pyramid: SupportsMultiscales) -> tuple[str, ...]:
    """Types, where all but time and space count as channels: there may be one of those."""
    return tuple(kind if kind in ("time", "space") else "channel" for kind in axis_types(pyramid))


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
    types = _kinds(pyramid)
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
    kept = kept_metadata(pyramid)
    computed = len(pyramid.levels) > getattr(pyramid, "n_stored_levels", 1)
    description = without_secrets(pyramid.description)
    made: Mapping[str, Any] = {
        "type": pyramid.method,
        "metadata": {"method": f"lazypyr.{pyramid.method}", "description": description},
    }
    axes = [_axis(pyramid, name, kind) for name, kind in zip(pyramid.axes, axis_types(pyramid), strict=True)]
    made = made if computed or kept.made is None else kept.made
    entry = {
        "name": kept.name or public_name(pyramid.name),
        "type": made.get("type"),
        "axes": axes,
        "datasets": [
            {"path": path, "coordinateTransformations": _transformations(pyramid, level)}
            for level, path in enumerate(paths)
        ],
        "metadata": made.get("metadata"),
        **kept.entry,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _axis(pyramid: SupportsMultiscales, name: str, kind: str) -> dict[str, Any]:
    """Entry of an axis: the source's own, but for a unit that isn't its own any more."""
    stated, coord = dict(kept_metadata(pyramid).axis(name)), pyramid.coords.get(name)
    entry = {**stated, "name": name, "type": kind}
    if coord is None or coord.unit == stated.get("unit"):
        return entry
    entry.pop("unit", None)
    unit = ome_unit(coord.unit, kind)
    return {**entry, "unit": unit} if unit else entry


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
    """The display settings: `given` as it is; else from ``pyramid.display``; else for uint8 and colours; else None.

    ``pyramid.display`` is a mapping with `window`, ``(low, high)`` or one a channel, and optionally `colors`
    ("RRGGBB") and `labels`, one or one a channel, and `first_channel`. Where no window is known before a pixel is read
    there are no settings: viewers then look at the coarsest level.
    """
    if given is not None:
        _check_omero(given)
        return dict(given)
    display: Mapping[str, Any] = getattr(pyramid, "display", None) or {}
    types, shape = _kinds(pyramid), pyramid.levels[0].shape
    count = shape[types.index("channel")] if "channel" in types else 1
    # Three channels of unsigned numbers are a colour picture, of which all are shown; of others one until the user asks.
    facts = getattr(pyramid, "metadata", None) or DatasetMetadata(display=display)
    rgb = (
        count == 3
        and pyramid.dtype.name in OF_PICTURES
        and colour_axis(pyramid.axes, shape, pyramid.dtype, facts) is not None
    )
    whole = pyramid.dtype == np.uint8 or rgb
    window = display.get("window", (0, np.iinfo(pyramid.dtype).max) if whole else None)
    if window is None or count > _MAX_CHANNELS:
        return None
    windows = _each(window if np.ndim(window) == 2 else [window], count)
    if not np.isfinite(np.asarray(windows, float)).all():
        return None
    colours = _each(display.get("colors") or (_RGB if rgb else "FFFFFF"), count)
    name = public_name(pyramid.name)
    labels = _each(display.get("labels") or ([f"{name} {i}" for i in range(count)] if count > 1 else name), count)
    coloured, first = len(set(colours)) > 1, min(display.get("first_channel", 0), count - 1)
    return {
        "channels": [
            _channel(label, colour, window, active=coloured or i == first)
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
