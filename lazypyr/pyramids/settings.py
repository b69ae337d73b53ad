"""Options of opening, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._util.checks import as_scalar, is_whole, whole_number
from lazypyr.errors import PlanError
from lazypyr.geometry.axes import axes_label
from lazypyr.sources.axes import given_axes

__all__ = ["ISOTROPIC", "check_levels", "chunk_shape", "factors_by_axis", "held_value", "level_option", "ordered_axes"]

# Readers hold many chunks at once; a larger one is nearly always a mistake.
_MAX_CHUNK_BYTES = 2**30
_MAX_LEVELS = 64
_RECOMPUTE = "recompute"

ISOTROPIC = "isotropic"
"""The value of `factors` by which z is downsampled once its spacing is no larger than that of y and x."""


def held_value(value: Any, dtype: np.dtype[Any], name: str) -> Any:
    """A fill value as the dtype holds it; PlanError if it doesn't."""
    held = as_scalar(value, dtype)
    if held is None:
        raise PlanError(f"{name}: fill_value={value!r} is no {dtype}")
    return held


def level_option(levels: Any, name: str) -> tuple[int | None, bool]:
    """The number of levels, and True where those that are stored are made anew."""
    if not isinstance(levels, str):
        return levels, False
    word, colon, count = levels.partition(":")
    if word != _RECOMPUTE or (colon and not count.isdecimal()):
        raise PlanError(f'{name}: levels: expected a number, "{_RECOMPUTE}" or "{_RECOMPUTE}:5", got {levels!r}')
    return int(count) if colon else None, True


def check_levels(levels: Any, name: str) -> None:
    """PlanError for a number of levels that no pyramid has."""
    if levels is None:
        return
    whole_number(levels, f"{name}: levels", 1, _MAX_LEVELS)


def factors_by_axis(factors: Mapping[str, int] | str | None, axes: tuple[str, ...], name: str) -> tuple[int, ...]:
    """Factor of every axis: as given, else 2 for y and x, 1 for others."""
    if factors == ISOTROPIC:
        return factors_by_axis({"z": 2}, axes, name)
    if factors is not None and not isinstance(factors, Mapping):
        raise PlanError(f"{name}: factors: expected a mapping such as {{'z': 2}}, or {ISOTROPIC!r}, got {factors!r}")
    wanted = {"y": 2, "x": 2, **(factors or {})}
    for axis, f in wanted.items():
        if axis not in axes:
            raise PlanError(f"{name}: factors names the axis {axis!r}, the axes are {axes_label(axes)!r}")
        whole_number(f, f"{name}: the factor along {axis!r}", 1, 1024)
    if all(f == 1 for f in wanted.values()):
        raise PlanError(f"{name}: factors={dict(factors or {})!r} downsamples no axis")
    return tuple(int(wanted.get(axis, 1)) for axis in axes)


def chunk_shape(chunks: int | Sequence[int], axes: tuple[str, ...], dtype: np.dtype[Any], name: str) -> tuple[int, ...]:
    """Shape of a chunk, by axis; PlanError for one that is too large, or doesn't fit the axes."""
    sizes = tuple(chunks) if isinstance(chunks, Iterable) else (chunks, chunks)
    by_axis = len(sizes) == len(axes)
    if (len(sizes) != 2 and not by_axis) or not all(is_whole(c, 1) for c in sizes):
        raise PlanError(f"{name}: chunks: expected 2 sizes above 0 (y, x), one of both, or one for each of the axes "
                        f"{axes_label(axes)!r}, got {chunks!r}")  # fmt: skip
    if by_axis and len(axes) > 2:
        chunk = tuple(int(c) for c in sizes)
    else:
        y, x = (int(c) for c in sizes)
        chunk = tuple(y if axis == "y" else x if axis == "x" else 1 for axis in axes)
    n_bytes = dtype.itemsize
    for c in chunk:
        n_bytes *= c
    if n_bytes > _MAX_CHUNK_BYTES:
        raise PlanError(f"{name}: chunks={chunks!r} of {dtype} make chunks of {n_bytes} bytes, at most "
                        f"{_MAX_CHUNK_BYTES} are allowed")  # fmt: skip
    return chunk


def ordered_axes(order: str | Iterable[str], axes: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Axes in the order that the user wants."""
    ordered = given_axes(order, len(axes), name, what="order")
    if set(ordered) != set(axes):
        raise PlanError(f"{name}: order={order!r} must have the axes {axes_label(axes)!r}, each once")
    return ordered
