"""The zarr-conventions' `multiscales`, read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.metadata.georeference import affine_coords, numbers
from lazypyr.metadata.multiscales import Dataset, Multiscales
from lazypyr.metadata.transforms import Step, a_list, a_mapping, a_path, relative, then

__all__ = ["read_layout"]


def read_layout(value: Mapping[str, Any], attrs: Mapping[str, Any]) -> Multiscales:
    """Levels of `multiscales`, a mapping with a `layout`, of a group with these attributes."""
    where = "multiscales.layout"
    entries = [a_mapping(e, f"{where}[{i}]") for i, e in enumerate(a_list(value["layout"], where))]
    assets = [a_path(e.get("asset"), f"{where}[{i}].asset") for i, e in enumerate(entries)]
    own: dict[str, Step | None] = {}
    bases: dict[str, str | None] = {}
    for i, (path, entry) in enumerate(zip(assets, entries, strict=True)):
        if path in own:
            raise PlanError(f"attribute {where}[{i}].asset: {path!r} is there twice")
        base = entry.get("derived_from")
        base = str(base) if isinstance(base, int) else base
        if base is not None and base not in assets:
            raise PlanError(f"attribute {where}[{i}].derived_from: expected one of the assets {assets}, got {base!r}")
        own[path], bases[path] = _layout_step(entry, f"{where}[{i}]"), base
    size = next((len(step[0]) for step in own.values() if step), 0)
    for path in assets:
        if own[path] is None and bases[path] is None and path in bases.values():
            own[path] = [1.0] * size, [0.0] * size
    world = {path: _chained(path, own, bases, where) for path in assets}
    absolute = _absolute_scales(own, bases)
    node = attrs.get("spatial:registration") == "node"
    affines = [e.get("spatial:transform") for e in entries]
    if all(a is not None for a in affines) and all(step is None or len(step[0]) == 2 for step in world.values()):
        # Each entry's own affine is stated absolutely; relative translations are written in two ways (see `layout`).
        for i, (path, affine) in enumerate(zip(assets, affines, strict=True)):
            spatial = affine_coords(numbers(affine, f"{where}[{i}].spatial:transform", (6, 9)), node=node)
            if spatial:
                world[path] = [spatial[a].step for a in SPATIAL_AXES], [spatial[a].origin for a in SPATIAL_AXES]
        absolute = None
    if all(world.values()):
        # Any order is allowed, and levels finer than the one that they derive from.
        world = dict(sorted(world.items(), key=lambda item: math.prod(map(abs, item[1][0])) if item[1] else 0.0))
    method = value.get("resampling_method")
    datasets = relative(list(world), list(world.values()))
    if absolute is not None:
        chained = {path: _chained(path, absolute, bases, where) for path in world}
        datasets = _with_other_reading(datasets, relative(list(chained), list(chained.values())))
    return Multiscales("zarr-conventions", datasets, method=method if isinstance(method, str) else None)


def _absolute_scales(own: Mapping[str, Step | None], bases: Mapping[str, str | None]) -> dict[str, Step | None] | None:
    """Steps where each `scale` is read as one to the first level; None where that is the same.

    topozarr (0.0.4) writes 1, 2, 4, though each entry derives from the one before; its translations are relative.
    """
    if not any(base is not None and bases[base] is not None for base in bases.values()):
        return None
    steps: dict[str, Step | None] = {}
    for path, step in own.items():
        base = bases[path]
        below = own[base] if base is not None else None
        same = step is not None and below is not None and len(step[0]) == len(below[0])
        if step is not None and below is not None and same:
            steps[path] = [s / b for s, b in zip(step[0], below[0], strict=True)], step[1]
        else:
            steps[path] = step
    return steps


def _with_other_reading(datasets: Sequence[Dataset], others: Sequence[Dataset]) -> tuple[Dataset, ...]:
    steps = {d.path: (d.scale, d.translation) for d in others if d.scale is not None and d.translation is not None}
    return tuple(replace(dataset, otherwise=steps.get(dataset.path)) for dataset in datasets)


def _layout_step(entry: Mapping[str, Any], where: str) -> Step | None:
    """Scale and translation to pixels of the entry derived from, between centres; None where it isn't stated."""
    transform = a_mapping(entry.get("transform", {}), f"{where}.transform")
    if "scale" not in transform:
        return None
    scale = numbers(transform["scale"], f"{where}.transform.scale")
    if not all(scale):
        raise PlanError(f"attribute {where}.transform.scale: a scale of 0 has no inverse, got {scale}")
    shift = numbers(transform.get("translation", [0.0] * len(scale)), f"{where}.transform.translation", (len(scale),))
    if "spatial:transform" in entry:
        shift = [t + (s - 1) / 2 for t, s in zip(shift, scale, strict=True)]
    return scale, shift


def _chained(path: str, own: Mapping[str, Step | None], bases: Mapping[str, str | None], where: str) -> Step | None:
    """Scale and translation to pixels of the entry that derives from none."""
    step, base = own[path], bases[path]
    for _ in own:
        if base is None or step is None:
            return step
        below, base = own[base], bases[base]
        step = then(step, below) if below is not None and len(below[0]) == len(step[0]) else None
    raise PlanError(f"attribute {where}: {path!r} derives from itself")
