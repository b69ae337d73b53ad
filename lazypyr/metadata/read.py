"""Multiscale metadata of others, read: OME-NGFF, its predecessors, zarr-conventions, ndpyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.georeference import affine_coords, crs_of, numbers

__all__ = ["Dataset", "Multiscales", "read_multiscales"]


@dataclass(frozen=True)
class Dataset:
    """Level of a multiscale group.

    Parameters
    ----------
    path : str
        Of its array, or of the group that holds it, below the multiscale group.
    scale : tuple[float, ...] or None
        Level-0 pixels a pixel, by array axis; None where the metadata doesn't say.
    translation : tuple[float, ...] or None
        Level-0 pixels from the centre of the first sample of level 0 to that of this level.

    Examples
    --------
    >>> Dataset("1", scale=(2.0, 2.0), translation=(0.5, 0.5)).path
    '1'
    """

    path: str
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Multiscales:
    """Levels of a multiscale group, as its metadata describe them.

    Parameters
    ----------
    convention : str
        "OME-NGFF 0.4", "OME-NGFF 0.1", "ndpyramid", "zarr-conventions".
    datasets : tuple[Dataset, ...]
        Finest first, as far as the metadata says so; shapes have the last word.
    axes : tuple[str, ...] or None
        Names.
    types : tuple[str or None, ...] or None
        OME type of each axis.
    coords : Mapping[str, Coord]
        Of level 0, pixel centres; the place in the plane is under "y" and "x".
    crs : str or None
        "EPSG:32633", WKT or None.
    method : str or None
        Method of downsampling, in the words of the metadata.
    name : str or None
        Of the image.

    Examples
    --------
    >>> Multiscales("ndpyramid", (Dataset("0"), Dataset("1"))).axes is None
    True
    """

    convention: str
    datasets: tuple[Dataset, ...]
    axes: tuple[str, ...] | None = None
    types: tuple[str | None, ...] | None = None
    coords: Mapping[str, Coord] = field(default_factory=dict)
    crs: str | None = None
    method: str | None = None
    name: str | None = None


def read_multiscales(attrs: Mapping[str, Any]) -> Multiscales | None:
    """Levels that a group's attributes describe.

    `ome` (0.5) wins over `multiscales`: a list is OME-NGFF 0.1 to 0.4 or ndpyramid, a mapping is zarr-conventions. Where
    `spatial:transform` is given too, it is the truth about x and y: OME can't say that y falls along the rows.

    Parameters
    ----------
    attrs : Mapping
        Attributes of the group.

    Returns
    -------
    Multiscales or None
        None when they describe no levels.

    Raises
    ------
    PlanError
        Naming the attribute that is malformed.

    Examples
    --------
    >>> read_multiscales({"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]}).convention
    'OME-NGFF 0.1'
    """
    ome, plain = attrs.get("ome"), attrs.get("multiscales")
    if isinstance(ome, Mapping) and "multiscales" in ome:
        multiscales = _ome(ome["multiscales"], "ome.multiscales", str(ome.get("version", "0.5")))
    elif isinstance(plain, Mapping) and "layout" in plain:
        multiscales = _conventions(plain, attrs)
    elif plain is not None:
        multiscales = _ome(plain, "multiscales", None)
    else:
        return None
    spatial = _spatial_coords(attrs, multiscales.datasets[0].path)
    coords = {
        **multiscales.coords,
        **{
            a: replace(c, unit=multiscales.coords[a].unit if a in multiscales.coords else None)
            for a, c in spatial.items()
        },
    }
    return replace(multiscales, coords=coords, crs=crs_of(attrs) or multiscales.crs)


def _spatial_coords(attrs: Mapping[str, Any], path: str) -> dict[str, Coord]:
    """Coordinates of y and x by `spatial:transform` of level 0."""
    node = attrs.get("spatial:registration") == "node"
    plain = attrs.get("multiscales")
    layout = plain.get("layout") if isinstance(plain, Mapping) else None
    for i, entry in enumerate(layout if isinstance(layout, Sequence) else ()):
        if isinstance(entry, Mapping) and entry.get("asset") == path and "spatial:transform" in entry:
            name = f"multiscales.layout[{i}].spatial:transform"
            return affine_coords(numbers(entry["spatial:transform"], name, (6, 9)), node=node)
    if "spatial:transform" in attrs:
        return affine_coords(numbers(attrs["spatial:transform"], "spatial:transform", (6, 9)), node=node)
    return {}


def _ome(value: Any, where: str, version: str | None) -> Multiscales:
    entries = _list(value, where)
    entry, where = _mapping(entries[0], f"{where}[0]"), f"{where}[0]"
    listed = _list(entry.get("datasets"), f"{where}.datasets")
    named = [_mapping(d, f"{where}.datasets[{i}]") for i, d in enumerate(listed)]
    paths = [_path(d.get("path"), f"{where}.datasets[{i}].path") for i, d in enumerate(named)]
    axes, types, units = _axes(entry.get("axes"), f"{where}.axes")
    method = entry.get("type") if isinstance(entry.get("type"), str) else None
    name = entry.get("name") if isinstance(entry.get("name"), str) else None
    if any("pixels_per_tile" in d or "crs" in d for d in named):
        # ndpyramid numbers its levels like web maps do: 0 is the coarsest.
        datasets = tuple(Dataset(path) for path in reversed(paths))
        crs = next((d["crs"] for d in named if isinstance(d.get("crs"), str)), None)
        return Multiscales("ndpyramid", datasets, axes, types, {}, crs, method, name)
    version = version or str(entry.get("version", "0.1" if axes is None else "0.4"))
    count = None if axes is None else len(axes)
    outer = _steps(entry.get("coordinateTransformations"), f"{where}.coordinateTransformations", count)
    steps = [
        _then(
            _steps(d.get("coordinateTransformations"), f"{where}.datasets[{i}].coordinateTransformations", count), outer
        )
        for i, d in enumerate(named)
    ]
    coords: dict[str, Coord] = {}
    if axes is not None and units is not None and steps[0] is not None:
        scale, shift = steps[0]
        stated = {a: Coord(t, s, u) for a, s, t, u in zip(axes, scale, shift, units, strict=True)}
        # Pixels counted from 0 are what OME must write where nothing is known.
        coords = {a: coord for a, coord in stated.items() if coord != Coord()}
    return Multiscales(f"OME-NGFF {version}", _relative(paths, steps), axes, types, coords, None, method, name)


_Step = tuple[list[float], list[float]]


def _relative(paths: Sequence[str], steps: Sequence[_Step | None]) -> tuple[Dataset, ...]:
    """Datasets in pixels of the first one, from scale and translation in the world."""
    first = steps[0]
    if first is None:
        return tuple(Dataset(path) for path in paths)
    datasets = []
    for path, step in zip(paths, steps, strict=True):
        if step is None or len(step[0]) != len(first[0]):
            datasets.append(Dataset(path))
            continue
        scale = tuple(s / s0 for s, s0 in zip(step[0], first[0], strict=True))
        shift = tuple((t - t0) / s0 for t, t0, s0 in zip(step[1], first[1], first[0], strict=True))
        datasets.append(Dataset(path, scale, shift))
    return tuple(datasets)


def _steps(value: Any, where: str, count: int | None) -> _Step | None:
    """Scale and translation of `coordinateTransformations`, the one after the other; None where there is no scale."""
    if value is None:
        return None
    scale: list[float] | None = None
    shift: list[float] | None = None
    for i, item in enumerate(_list(value, where, empty=True)):
        step = _mapping(item, f"{where}[{i}]")
        kind, name = step.get("type"), f"{where}[{i}].{step.get('type')}"
        if kind in ("scale", "translation") and kind in step:
            vector = numbers(step[kind], name, None if count is None else (count,))
            if kind == "translation":
                shift = vector if shift is None else [a + b for a, b in zip(shift, vector, strict=True)]
                continue
            if not all(vector):
                raise PlanError(f"attribute {name}: a scale of 0 has no inverse, got {vector}")
            scale = vector if scale is None else [a * b for a, b in zip(scale, vector, strict=True)]
            shift = None if shift is None else [a * b for a, b in zip(shift, vector, strict=True)]
        elif kind != "identity":
            # A path to a binary file, an affine: what lies where isn't known then.
            return None
    if scale is None and shift is None:
        return None
    size = len(scale or shift or ())
    scale, shift = scale or [1.0] * size, shift or [0.0] * size
    if len(scale) != len(shift):
        raise PlanError(f"attribute {where}: scale has {len(scale)} numbers and translation {len(shift)}")
    return scale, shift


def _then(inner: _Step | None, outer: _Step | None) -> _Step | None:
    if inner is None or outer is None or len(inner[0]) != len(outer[0]):
        return inner
    scale = [a * b for a, b in zip(inner[0], outer[0], strict=True)]
    return scale, [t * s + o for t, s, o in zip(inner[1], outer[0], outer[1], strict=True)]


def _axes(
    value: Any, where: str
) -> tuple[tuple[str, ...] | None, tuple[str | None, ...] | None, tuple[str | None, ...] | None]:
    """Names, types and units; axes of 0.3 are plain names, before that there are none."""
    if value is None:
        return None, None, None
    names: list[str] = []
    types: list[str | None] = []
    units: list[str | None] = []
    for i, item in enumerate(_list(value, where)):
        axis = {"name": item} if isinstance(item, str) else _mapping(item, f"{where}[{i}]")
        name, kind, unit = axis.get("name"), axis.get("type"), axis.get("unit")
        if not isinstance(name, str) or name in names:
            raise PlanError(f"attribute {where}[{i}].name: expected a name that no other axis has, got {name!r}")
        names.append(name)
        types.append(kind if isinstance(kind, str) else None)
        units.append(unit if isinstance(unit, str) else None)
    return tuple(names), tuple(types), tuple(units)


def _conventions(value: Mapping[str, Any], attrs: Mapping[str, Any]) -> Multiscales:
    where = "multiscales.layout"
    entries = [_mapping(e, f"{where}[{i}]") for i, e in enumerate(_list(value["layout"], where))]
    assets = [_path(e.get("asset"), f"{where}[{i}].asset") for i, e in enumerate(entries)]
    own: dict[str, _Step | None] = {}
    bases: dict[str, str | None] = {}
    for i, (path, entry) in enumerate(zip(assets, entries, strict=True)):
        if path in own:
            raise PlanError(f"attribute {where}[{i}].asset: {path!r} is there twice")
        base = entry.get("derived_from")
        if base is not None and base not in assets:
            raise PlanError(f"attribute {where}[{i}].derived_from: expected one of the assets {assets}, got {base!r}")
        own[path], bases[path] = _layout_step(entry, f"{where}[{i}]"), base
    size = next((len(step[0]) for step in own.values() if step), 0)
    for path in assets:
        if own[path] is None and bases[path] is None and path in bases.values():
            own[path] = [1.0] * size, [0.0] * size
    steps = {path: _chained(path, own, bases, where) for path in assets}
    node = attrs.get("spatial:registration") == "node"
    affines = [e.get("spatial:transform") for e in entries]
    if all(a is not None for a in affines) and all(step is None or len(step[0]) == 2 for step in steps.values()):
        # Each entry's own affine is stated absolutely; relative translations are written in two ways (see `layout`).
        for i, (path, affine) in enumerate(zip(assets, affines, strict=True)):
            spatial = affine_coords(numbers(affine, f"{where}[{i}].spatial:transform", (6, 9)), node=node)
            if spatial:
                steps[path] = [spatial[a].step for a in SPATIAL_AXES], [spatial[a].origin for a in SPATIAL_AXES]
    if all(steps.values()):
        # Any order is allowed, and levels finer than the one that they derive from.
        steps = dict(sorted(steps.items(), key=lambda item: math.prod(map(abs, item[1][0])) if item[1] else 0.0))
    method = value.get("resampling_method")
    return Multiscales(
        "zarr-conventions",
        _relative(list(steps), list(steps.values())),
        method=method if isinstance(method, str) else None,
    )


def _layout_step(entry: Mapping[str, Any], where: str) -> _Step | None:
    """Scale and translation to pixels of the entry derived from, between centres; None where it isn't stated."""
    transform = _mapping(entry.get("transform", {}), f"{where}.transform")
    if "scale" not in transform:
        return None
    scale = numbers(transform["scale"], f"{where}.transform.scale")
    if not all(scale):
        raise PlanError(f"attribute {where}.transform.scale: a scale of 0 has no inverse, got {scale}")
    shift = numbers(transform.get("translation", [0.0] * len(scale)), f"{where}.transform.translation", (len(scale),))
    if "spatial:transform" in entry:
        shift = [t + (s - 1) / 2 for t, s in zip(shift, scale, strict=True)]
    return scale, shift


def _chained(path: str, own: Mapping[str, _Step | None], bases: Mapping[str, str | None], where: str) -> _Step | None:
    """Scale and translation to pixels of the entry that derives from none."""
    step, base = own[path], bases[path]
    for _ in own:
        if base is None or step is None:
            return step
        below, base = own[base], bases[base]
        step = _then(step, below) if below is not None and len(below[0]) == len(step[0]) else None
    raise PlanError(f"attribute {where}: {path!r} derives from itself")


def _list(value: Any, where: str, *, empty: bool = False) -> Sequence[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes) and (value or empty):
        return value
    raise PlanError(f"attribute {where}: expected a list{'' if empty else ' with an entry'}, got {value!r}")


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise PlanError(f"attribute {where}: expected a mapping, got {value!r}")


def _path(value: Any, where: str) -> str:
    """A path that stays below its group."""
    if isinstance(value, str) and value.strip("/") and ".." not in value.split("/"):
        return value.strip("/")
    raise PlanError(f"attribute {where}: expected a path below the group, got {value!r}")
