"""Multiscale metadata of a group extended by further levels: what is there stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.metadata.protocol import SupportsLevel

__all__ = ["extended", "level_paths"]


def level_paths(attrs: Mapping[str, Any]) -> list[str]:
    """Paths of the levels that a group's attributes list, in their order; empty where they list none."""
    for entry in _entries(attrs):
        return [str(dataset["path"]).strip("/") for dataset in entry["datasets"]]
    layout = _layout(attrs)
    return [] if layout is None else [str(item["asset"]).strip("/") for item in layout]


def extended(
    attrs: Mapping[str, Any],
    made: Mapping[str, Any],
    levels: Sequence[SupportsLevel],
    paths: Sequence[str],
    new: Sequence[int],
) -> dict[str, Any]:
    """Attributes of a group with further levels.

    Parameters
    ----------
    attrs : Mapping[str, Any]
        Attributes as they are.
    made : Mapping[str, Any]
        Attributes of a group of all levels; taken as far as there are none of the name, where none list levels.
    levels : sequence of Level
        Scale and translation of all levels, in level-0 pixels.
    paths : sequence of str
        Of all levels.
    new : sequence of int
        Numbers of the further levels.

    Raises
    ------
    PlanError
        For a convention whose numbers count from the coarsest level.

    Examples
    --------
    >>> from lazypyr.pyramids.base import Level
    >>> levels = [Level((8,), (1.0,), (0.0,)), Level((4,), (2.0,), (0.5,))]
    >>> step = {"type": "scale", "scale": [10.0]}
    >>> attrs = {"multiscales": [{"datasets": [{"path": "0", "coordinateTransformations": [step]}]}]}
    >>> extended(attrs, {}, levels, ["0", "1"], [1])["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    [{'type': 'scale', 'scale': [20.0]}, {'type': 'translation', 'translation': [5.0]}]
    """
    if not level_paths(attrs):
        return {**made, **attrs}
    result: dict[str, Any] = copy.deepcopy(dict(attrs))
    for entry in _entries(result)[:1]:
        datasets = entry["datasets"]
        if any("pixels_per_tile" in dataset for dataset in datasets):
            raise PlanError(
                "its levels are numbered from the coarsest one, so that none can be added; give a destination"
            )
        first = datasets[0].get("coordinateTransformations")
        for k in new:
            steps = {} if first is None else {"coordinateTransformations": _steps(first, levels[k])}
            datasets.append({"path": paths[k], **steps})
    layout = _layout(result)
    if layout is not None:
        ours = {item.get("asset"): item for item in _layout(made) or ()}
        layout += [ours.get(paths[k]) or _item(levels, paths, k) for k in new]
    return result


def _entries(attrs: Mapping[str, Any]) -> list[Any]:
    ome = attrs.get("ome")
    entries = ome.get("multiscales") if isinstance(ome, Mapping) else attrs.get("multiscales")
    return entries if isinstance(entries, list) else []


def _layout(attrs: Mapping[str, Any]) -> list[Any] | None:
    multiscales = attrs.get("multiscales")
    layout = multiscales.get("layout") if isinstance(multiscales, Mapping) else None
    return layout if isinstance(layout, list) else None


def _steps(first: Sequence[Mapping[str, Any]], level: SupportsLevel) -> list[dict[str, Any]]:
    """Transformation of a level from that of level 0, both to the same system."""
    scale = next((step["scale"] for step in first if step.get("type") == "scale"), [1.0] * len(level.scale))
    origin = next(
        (step["translation"] for step in first if step.get("type") == "translation"), [0.0] * len(level.scale)
    )
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": [a * s for a, s in zip(scale, level.scale, strict=True)]}]
    shift = [a * t + o for a, t, o in zip(scale, level.translation, origin, strict=True)]
    if any(shift):
        steps.append({"type": "translation", "translation": shift})
    return steps


def _item(levels: Sequence[SupportsLevel], paths: Sequence[str], k: int) -> dict[str, Any]:
    scale = [a / b for a, b in zip(levels[k].scale, levels[k - 1].scale, strict=True)]
    return {"asset": paths[k], "derived_from": paths[k - 1], "transform": {"scale": scale}}
