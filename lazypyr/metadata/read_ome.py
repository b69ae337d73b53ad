"""OME-NGFF of all versions, and ndpyramid, which writes its `multiscales` alike, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.multiscales import Dataset, Multiscales
from lazypyr.metadata.ome_metadata import OmeMetadata
from lazypyr.metadata.transforms import Step, a_list, a_mapping, a_path, relative, steps, then

__all__ = ["read_ome"]

# Versions without `axes`: five-dimensional by their specification.
_FIVE = (
    {"name": "t", "type": "time"},
    {"name": "c", "type": "channel"},
    *({"name": a, "type": "space"} for a in "zyx"),
)
_WITHOUT_AXES = ("0.1", "0.2")
# Members of an entry of `multiscales` that are written anew.
_ENTRY = {"version", "name", "axes", "datasets", "coordinateTransformations", "coordinateSystems", "type", "metadata"}
_MADE = ("type", "metadata")
_OME = {"version", "multiscales", "omero", "image-label"}

_Axes = tuple[Mapping[str, Any], ...]


def read_ome(attrs: Mapping[str, Any], choice: int | str | None) -> Multiscales:
    """Levels of `ome` (0.5 and later), or of the list `multiscales`, in the attributes of a group."""
    ome = attrs.get("ome")
    inside = isinstance(ome, Mapping) and "multiscales" in ome
    home: Mapping[str, Any] = ome if inside and isinstance(ome, Mapping) else attrs
    entries = a_list(home["multiscales"], where := "ome.multiscales" if inside else "multiscales")
    number = _chosen(entries, choice, where)
    entry, where = a_mapping(entries[number], f"{where}[{number}]"), f"{where}[{number}]"
    listed = a_list(entry.get("datasets"), f"{where}.datasets")
    named = [a_mapping(d, f"{where}.datasets[{i}]") for i, d in enumerate(listed)]
    paths = [a_path(d.get("path"), f"{where}.datasets[{i}].path") for i, d in enumerate(named)]
    kind, name = (value if isinstance(value := entry.get(key), str) else None for key in ("type", "name"))
    if any("pixels_per_tile" in d or "crs" in d for d in named):
        # ndpyramid numbers its levels like web maps do: 0 is the coarsest.
        axes, types = _names(_axes(entry.get("axes"), f"{where}.axes"))
        crs = next((d["crs"] for d in named if isinstance(d.get("crs"), str)), None)
        datasets = tuple(Dataset(path) for path in reversed(paths))
        return Multiscales("ndpyramid", datasets, axes, types, {}, crs, kind, name, trimmed=True)
    stated: _Axes | None
    if "coordinateSystems" in entry:
        stated, world = _of_systems(entry, named, where)
    else:
        stated = _axes(entry.get("axes"), f"{where}.axes")
        world = _of_transformations(entry, named, where, None if stated is None else len(stated))
    version = _version(
        ome.get("version", "0.5") if inside and isinstance(ome, Mapping) else entry.get("version"), stated
    )
    axes, types = _names(stated)
    implied: _Axes | None = _FIVE if stated is None and version in _WITHOUT_AXES else None
    return Multiscales(
        f"OME-NGFF {version}",
        relative(paths, world),
        axes,
        types,
        _coords(stated, world[0]),
        None,
        kind,
        name,
        _kept(home, attrs, entry, version, name, stated or implied or (), inside=inside),
        _names(implied)[0],
    )


def _chosen(entries: Sequence[Any], choice: int | str | None, where: str) -> int:
    """Number of the entry that the user wants, by number or name; the first one is the default of OME-NGFF."""
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in entries]
    if choice is None:
        return 0
    if isinstance(choice, str) and choice in names:
        return names.index(choice)
    if isinstance(choice, int) and not isinstance(choice, bool) and 0 <= choice < len(entries):
        return choice
    listed = ", ".join(f"{i} ({name!r})" if name else str(i) for i, name in enumerate(names))
    raise PlanError(f"multiscale={choice!r}: attribute {where} has {len(entries)} entries: {listed}")


def _version(given: Any, axes: _Axes | None) -> str:
    return str(given) if given not in (None, "") else "0.1" if axes is None else "0.4"


def _names(axes: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, ...] | None, tuple[str | None, ...] | None]:
    """Names and types."""
    if axes is None:
        return None, None
    return tuple(axis["name"] for axis in axes), tuple(_text(axis.get("type")) for axis in axes)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _axes(value: Any, where: str) -> _Axes | None:
    """Entries of the axes; those of 0.3 are plain names, before that there are none."""
    if value is None:
        return None
    axes: list[Mapping[str, Any]] = []
    for i, item in enumerate(a_list(value, where)):
        axis = {"name": item} if isinstance(item, str) else a_mapping(item, f"{where}[{i}]")
        name = axis.get("name")
        if not isinstance(name, str) or name in [other["name"] for other in axes]:
            raise PlanError(f"attribute {where}[{i}].name: expected a name that no other axis has, got {name!r}")
        axes.append(axis)
    return tuple(axes)


def _of_transformations(
    entry: Mapping[str, Any], named: Sequence[Mapping[str, Any]], where: str, count: int | None
) -> list[Step | None]:
    """Scale and translation of each level, up to 0.5: those of the level, then those of all."""
    outer = steps(entry.get("coordinateTransformations"), f"{where}.coordinateTransformations", count)
    key = "coordinateTransformations"
    return [then(steps(d.get(key), f"{where}.datasets[{i}].{key}", count), outer) for i, d in enumerate(named)]


def _of_systems(
    entry: Mapping[str, Any], named: Sequence[Mapping[str, Any]], where: str
) -> tuple[_Axes, list[Step | None]]:
    """Axes and levels of 0.6 (RFC-5), in the one coordinate system that all levels are placed in.

    Transformations of the whole image lead from there to further systems, whose place is another.
    """
    systems: dict[str, Mapping[str, Any]] = {}
    for i, item in enumerate(a_list(entry["coordinateSystems"], f"{where}.coordinateSystems")):
        system = a_mapping(item, f"{where}.coordinateSystems[{i}]")
        systems[str(system.get("name"))] = system
    outputs: list[str] = []
    for i, dataset in enumerate(named):
        listed = a_list(dataset.get("coordinateTransformations"), f"{where}.datasets[{i}].coordinateTransformations")
        if len(listed) != 1:
            raise PlanError(
                f"attribute {where}.datasets[{i}].coordinateTransformations: expected one transformation to a coordinate "
                f"system, got {len(listed)}"
            )
        step = a_mapping(listed[0], f"{where}.datasets[{i}].coordinateTransformations[0]")
        output = step.get("output", next(iter(systems)))
        outputs.append(str(output.get("name") if isinstance(output, Mapping) else output))
    if len(set(outputs)) != 1 or outputs[0] not in systems:
        raise PlanError(
            f"attribute {where}.datasets: expected transformations into one of the coordinate systems "
            f"{', '.join(map(repr, systems))}, the same for all levels; got {', '.join(map(repr, sorted(set(outputs))))}"
        )
    number = list(systems).index(outputs[0])
    axes = _axes(systems[outputs[0]].get("axes"), f"{where}.coordinateSystems[{number}].axes")
    if axes is None:
        raise PlanError(f"attribute {where}.coordinateSystems[{number}].axes: expected a list, got None")
    key = "coordinateTransformations"
    return axes, [steps(d[key], f"{where}.datasets[{i}].{key}", len(axes), strict=True) for i, d in enumerate(named)]


def _coords(axes: _Axes | None, first: Step | None) -> dict[str, Coord]:
    if axes is None or first is None:
        return {}
    scale, shift = first
    stated = {a["name"]: Coord(t, s, _text(a.get("unit"))) for a, s, t in zip(axes, scale, shift, strict=True)}
    # Pixels counted from 0 are what OME must write where nothing is known.
    return {a: coord for a, coord in stated.items() if coord != Coord()}


def _kept(
    home: Mapping[str, Any],
    attrs: Mapping[str, Any],
    entry: Mapping[str, Any],
    version: str,
    name: str | None,
    axes: Sequence[Mapping[str, Any]],
    *,
    inside: bool,
) -> OmeMetadata:
    """Metadata of the image beside those of its levels. Older writers put settings beside `ome`, which is read too."""
    omero, label = (home.get(key, attrs.get(key)) for key in ("omero", "image-label"))
    return OmeMetadata(
        version,
        name,
        tuple(axes),
        omero if isinstance(omero, Mapping) else None,
        label if isinstance(label, Mapping) else None,
        {key: entry[key] for key in _MADE if key in entry},
        {key: value for key, value in entry.items() if key not in _ENTRY},
        {key: value for key, value in home.items() if key not in _OME} if inside else {},
    )
