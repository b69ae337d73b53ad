"""Names of axes: what is given, what is declared, what is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lazypyr.errors import PlanError

__all__ = ["given_axes", "known_axes"]

_Y = {"y", "lat", "latitude", "northing", "north", "row", "rows", "azimuth", "az", "line", "lines", "height"}
_X = {
    "x",
    "lon",
    "long",
    "longitude",
    "easting",
    "east",
    "col",
    "cols",
    "column",
    "columns",
    "range",
    "rg",
    "sample",
    "width",
}
_OTHERS = "ijklmnop"


def given_axes(axes: str | Iterable[str], ndim: int, name: str, *, what: str = "axes") -> tuple[str, ...]:
    """Axes as the user names them: a string of letters or a sequence of names, "y" and "x" among them.

    Raises
    ------
    PlanError
        When their number differs from `ndim`, a name stands twice, or y or x is missing.
    """
    if not isinstance(axes, Iterable):
        raise PlanError(f"{name}: {what}: expected a string such as 'yxi' or a sequence of names, got {axes!r}")
    names = tuple(str(a) for a in axes)
    if len(names) != ndim:
        raise PlanError(f"{name}: {what}={axes!r} names {len(names)} axes, the array has {ndim}")
    if len(set(names)) != len(names) or not all(names):
        raise PlanError(f"{name}: {what}={axes!r} must name each axis once")
    if not {"y", "x"} <= set(names):
        raise PlanError(f"{name}: {what}={axes!r} must have a 'y' and an 'x', the axes that are downsampled")
    return names


def known_axes(
    declared: Sequence[str | None] | None, shape: Sequence[int], chunks: Sequence[int], name: str
) -> tuple[str, ...]:
    """Axes by the names that the source declares, else by position.

    By position, y and x are the last two axes; the first two when all that follow have chunks of one pixel while the
    first two have larger ones (a stack of images with trailing channels), or when the only one that follows has at most
    four pixels and the others more (RGB and RGBA).
    """
    ndim = len(shape)
    named = _by_name(declared, ndim)
    if named is not None:
        return named
    stacked = ndim > 2 and all(c == 1 for c in chunks[2:]) and min(chunks[:2]) > 1
    trailing = stacked or (ndim == 3 and shape[2] <= 4 < min(shape[:2]))
    spatial = (0, 1) if trailing else (ndim - 2, ndim - 1)
    names = ["y" if axis == spatial[0] else "x" if axis == spatial[1] else "" for axis in range(ndim)]
    free = _free([*(d for d in declared or () if d), *names])
    for axis in range(ndim):
        if not names[axis]:
            declared_name = declared[axis] if declared and len(declared) == ndim else None
            names[axis] = declared_name if declared_name and declared_name not in names else next(free)
    if len(set(names)) != ndim:
        raise PlanError(f"{name}: can't tell its axes ({declared!r}); name them with axes=, for example axes='yxi'")
    return tuple(names)


def _by_name(declared: Sequence[str | None] | None, ndim: int) -> tuple[str, ...] | None:
    if declared is None or len(declared) != ndim:
        return None
    ys = [a for a, d in enumerate(declared) if d and d.lower() in _Y]
    xs = [a for a, d in enumerate(declared) if d and d.lower() in _X]
    if len(ys) != 1 or len(xs) != 1:
        return None
    names = [d or "" for d in declared]
    names[ys[0]], names[xs[0]] = "y", "x"
    free = _free(names)
    names = [n or next(free) for n in names]
    return tuple(names) if len(set(names)) == ndim else None


def _free(taken: Iterable[str]) -> Iterator[str]:
    used = set(taken)
    return (letter for letter in _OTHERS if letter not in used)
