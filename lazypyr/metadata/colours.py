"""Axis whose entries are colours: an axis is one only where something says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr.metadata.dataset import DatasetMetadata

__all__ = ["OF_PICTURES", "colour_axis", "has_alpha"]

_RGB = ("FF0000", "00FF00", "0000FF")
_COLOUR_NAMES = ("rgb", "rgba", "color", "colour", "c", "channel", "channels", "band", "bands", "s", "samples")
# Names that lazypyr gives to axes which have none.
_NAMELESS = frozenset("ijklmnop")
OF_PICTURES = ("uint8", "uint16")
"""Dtypes of colour pictures."""


def colour_axis(
    axes: Sequence[str], shape: Sequence[int], dtype: np.dtype[Any], metadata: DatasetMetadata
) -> str | None:
    """Axis whose first three entries are red, green and blue.

    Parameters
    ----------
    axes : sequence of str
        Names of the array's axes.
    shape : sequence of int
        By axis.
    dtype : numpy.dtype
        Of the array.
    metadata : DatasetMetadata
        Its colours (`display`, `omero`), a `photometric` attribute, and the names of its dimensions are looked at.

    Returns
    -------
    str or None
        The one that is declared, by colours or as `photometric`; else one of at least three entries that is called so ("c",
        "band", "rgb"); else one of three or four entries of uint8 or uint16 that has no name. None of complex numbers, and where
        the colours of channels are others.

    Examples
    --------
    >>> colour_axis(("y", "x", "i"), (90, 70, 3), np.dtype("u1"), DatasetMetadata())
    'i'
    >>> colour_axis(("time", "y", "x"), (3, 90, 70), np.dtype("u1"), DatasetMetadata()) is None
    True
    """
    sizes = {axis: n for axis, n in zip(axes, shape, strict=True) if axis not in ("y", "x") and n >= 3}
    if not sizes or dtype.kind == "c":
        return None
    names = {axis: metadata.dims.get(axis, axis).lower() for axis in sizes}
    called = [axis for name in _COLOUR_NAMES for axis in sizes if name in (names[axis], axis.lower())]
    nameless = [axis for axis in sizes if axis in _NAMELESS and names[axis] in _NAMELESS]
    few = [axis for axis in (*called, *reversed(nameless)) if sizes[axis] in (3, 4)]
    declared = _declared(metadata)
    if declared is not None:
        return few[0] if declared and few else None
    if called:
        return called[0]
    return few[0] if few and dtype.name in OF_PICTURES else None


def has_alpha(axis: str, size: int, metadata: DatasetMetadata) -> bool:
    """True where the fourth entry of a colour axis says how opaque a pixel is: not of a fourth band or channel."""
    return size == 4 and (
        len(_colours(metadata)) == 4 or metadata.dims.get(axis, axis).lower() in (*_NAMELESS, "rgba", "rgb")
    )


def _declared(metadata: DatasetMetadata) -> bool | None:
    """True where the dataset says that there are red, green and blue, False where it says other colours."""
    colours = _colours(metadata)
    if len(colours) > 1:
        return colours[:3] == _RGB
    photometric = metadata.attrs.get("photometric", metadata.group_attrs.get("photometric"))
    return True if str(photometric).lower() in ("rgb", "2", "photometric.rgb") else None


def _colours(metadata: DatasetMetadata) -> tuple[str, ...]:
    """Declared colours, "RRGGBB", one a channel, or one of all."""
    display: Mapping[str, Any] = metadata.display or {}
    colours = display.get("colors") or (metadata.ome.colours() if metadata.ome is not None else ())
    return (colours,) if isinstance(colours, str) else tuple(colours)
