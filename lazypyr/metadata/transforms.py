"""Coordinate transformations of multiscale metadata, as far as they scale and shift each axis by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.metadata.georeference import numbers
from lazypyr.metadata.multiscales import Dataset

__all__ = ["Step", "a_list", "a_mapping", "a_path", "relative", "steps", "then"]

Step = tuple[list[float], list[float]]
"""Scale and translation."""


def relative(paths: Sequence[str], world: Sequence[Step | None]) -> tuple[Dataset, ...]:
    """Datasets in pixels of the first one, from scale and translation in the world."""
    placed = [_in_pixels(step, world[0]) for step in world]
    return tuple(Dataset(path, *(step or (None, None))) for path, step in zip(paths, placed, strict=True))


def _in_pixels(step: Step | None, first: Step | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if step is None or first is None or len(step[0]) != len(first[0]):
        return None
    scale = tuple(s / s0 for s, s0 in zip(step[0], first[0], strict=True))
    return scale, tuple((t - t0) / s0 for t, t0, s0 in zip(step[1], first[1], first[0], strict=True))


def steps(value: Any, where: str, count: int | None, *, strict: bool = False) -> Step | None:
    """Scale and translation of `coordinateTransformations`, the one after the other; None where there is no scale.

    Parameters
    ----------
    value : list of mappings
        The transformations.
    where : str
        Path of the attribute, for messages.
    count : int or None
        Number of axes.
    strict : bool
        True refuses what is no scale, translation, identity or sequence of them.
    """
    if value is None:
        return None
    scale: list[float] | None = None
    shift: list[float] | None = None
    for i, item in enumerate(a_list(value, where, empty=True)):
        step = a_mapping(item, f"{where}[{i}]")
        kind, name = step.get("type"), f"{where}[{i}].{step.get('type')}"
        if kind == "sequence" and strict:
            inner = steps(step.get("transformations", []), f"{where}[{i}].transformations", count, strict=True)
            if inner is not None:
                scale, shift = then((scale or _ones(inner), shift or _zeros(inner)), inner) or inner
        elif kind in ("scale", "translation") and kind in step:
            vector = numbers(step[kind], name, None if count is None else (count,))
            if kind == "translation":
                shift = vector if shift is None else [a + b for a, b in zip(shift, vector, strict=True)]
                continue
            if not all(vector):
                raise PlanError(f"attribute {name}: a scale of 0 has no inverse, got {vector}")
            scale = vector if scale is None else [a * b for a, b in zip(scale, vector, strict=True)]
            shift = None if shift is None else [a * b for a, b in zip(shift, vector, strict=True)]
        elif kind == "identity" and count is not None and strict:
            scale = scale or [1.0] * count
        elif kind != "identity":
            if strict:
                raise PlanError(
                    f"attribute {where}[{i}]: a coordinate transformation of type {kind!r} isn't supported; expected "
                    "identity, scale, translation, or a sequence of them. Give one of the arrays to open it without its place"
                )
            # A path to a binary file, an affine: what lies where isn't known then.
            return None
    if scale is None and shift is None:
        return None
    size = len(scale or shift or ())
    scale, shift = scale or [1.0] * size, shift or [0.0] * size
    if len(scale) != len(shift):
        raise PlanError(f"attribute {where}: scale has {len(scale)} numbers and translation {len(shift)}")
    return scale, shift


def _ones(step: Step) -> list[float]:
    return [1.0] * len(step[0])


def _zeros(step: Step) -> list[float]:
    return [0.0] * len(step[0])


def then(inner: Step | None, outer: Step | None) -> Step | None:
    """One step after another, as one step."""
    if inner is None or outer is None or len(inner[0]) != len(outer[0]):
        return inner
    scale = [a * b for a, b in zip(inner[0], outer[0], strict=True)]
    return scale, [t * s + o for t, s, o in zip(inner[1], outer[0], outer[1], strict=True)]


def a_list(value: Any, where: str, *, empty: bool = False) -> Sequence[Any]:
    """A list; PlanError names the attribute that is none."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and (value or empty):
        return value
    raise PlanError(f"attribute {where}: expected a list{'' if empty else ' with an entry'}, got {value!r}")


def a_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """A mapping; PlanError names the attribute that is none."""
    if isinstance(value, Mapping):
        return value
    raise PlanError(f"attribute {where}: expected a mapping, got {value!r}")


def a_path(value: Any, where: str) -> str:
    """A path that stays below its group; whole numbers are taken as their digits."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value
    if isinstance(text, str) and text.strip("/") and ".." not in text.split("/"):
        return text.strip("/")
    raise PlanError(f"attribute {where}: expected a path below the group, got {value!r}")
