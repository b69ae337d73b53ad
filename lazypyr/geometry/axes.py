"""Names of axes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["SPATIAL_AXES", "axes_label"]

SPATIAL_AXES = ("y", "x")
"""Axes of the plane, rows first: the ones that are downsampled."""


def axes_label(axes: Sequence[str]) -> str:
    """Axes in a message.

    Parameters
    ----------
    axes : sequence of str
        Names of the axes.

    Returns
    -------
    str
        In one word, or with commas where a name has several letters.

    Examples
    --------
    >>> axes_label(("y", "x"))
    'yx'
    >>> axes_label(("band", "y", "x"))
    'band, y, x'
    """
    return ("" if all(len(axis) == 1 for axis in axes) else ", ").join(axes)
