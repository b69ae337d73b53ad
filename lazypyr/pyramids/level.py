"""One level of a pyramid, and windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lazypyr._util.checks import is_whole
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import axes_label
from lazypyr.geometry.windows import Window

__all__ = ["Level", "checked_window"]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid.

    Parameters
    ----------
    shape : tuple of int
        Pixels along each axis.
    scale : tuple of float
        Level-0 pixels in one pixel, by axis.
    translation : tuple of float
        Offset of the first sample from that of level 0, in level-0 pixels, by axis.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> lazypyr.open_pyramid(np.zeros((600, 400)), method="mean").levels[1]
    Level(shape=(300, 200), scale=(2.0, 2.0), translation=(0.5, 0.5))
    """

    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]


def checked_window(
    name: str,
    axes: tuple[str, ...],
    level: int,
    shape: tuple[int, ...],
    window: slice | Sequence[slice | tuple[int, int]] | None,
) -> Window:
    """Half-open window of an array of `shape`; PlanError names what is wrong with the one that a user gave."""
    if window is None:
        return windows.full_window(shape)
    window = (window,) if isinstance(window, slice) else window
    if len(window) > len(shape):
        raise PlanError(f"{name}: a window of {len(window)} axes for an array of axes {axes_label(axes)!r}")
    clean: list[tuple[int, int]] = []
    for axis, size in enumerate(shape):
        part: Any = window[axis] if axis < len(window) else slice(None)
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step != 1:
                raise PlanError(
                    f"{name}: a window takes every pixel, got step {step} along {axes[axis]!r}; pyramid[{level}] is indexed with steps"
                )
            part = (start, max(start, stop))
        if part is Ellipsis or is_whole(part):
            shown = ", ".join(map(_index_text, window))
            raise PlanError(
                f"{name}: a window has slices or (start, stop), got {part!r} along {axes[axis]!r}; integers and ... index a "
                f"level: pyramid[{level}][{shown}]"
            )
        a, b = part
        if not 0 <= a <= b <= size:
            raise PlanError(
                f"{name}: window {tuple(part)} along {axes[axis]!r} is outside level {level}, "
                f"which has {size} pixels there"
            )
        clean.append((int(a), int(b)))
    return tuple(clean)


def _index_text(part: Any) -> str:
    """One index of several, as it is written in brackets."""
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        start, stop, step = ("" if n is None else str(n) for n in (part.start, part.stop, part.step))
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return ":".join(map(str, part)) if isinstance(part, tuple) else str(part)
