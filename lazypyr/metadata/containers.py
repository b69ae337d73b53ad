"""OME-NGFF metadata of groups around images (plates, wells, series, lists of labels) in either Zarr format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["children_named", "converted", "describes_container", "is_container", "ome_attributes"]

# Keys of groups that hold images; 0.5 has them under "ome", with one version for all, 0.4 has them beside the others.
_CONTAINERS = ("plate", "well", "bioformats2raw.layout")
# Keys that other programs may use for something else: what they say counts in groups of these names.
_LISTS = {"labels": "labels", "series": "OME"}
_VERSIONED = ("plate", "well")
_V04 = "0.4"
_V05 = "0.5"


def ome_attributes(attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    """OME metadata of a group, whichever version: those under "ome", else the attributes themselves."""
    ome = attrs.get("ome")
    return ome if isinstance(ome, Mapping) else attrs


def is_container(attrs: Mapping[str, Any]) -> bool:
    """True for a plate, a well, and the images of bioformats2raw."""
    ome = ome_attributes(attrs)
    return any(key in ome for key in _CONTAINERS)


def describes_container(key: str, value: Any) -> bool:
    """True for an attribute of a group around images, which is false of an image in it."""
    names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return key in _CONTAINERS or (key in _LISTS and names)


def children_named(attrs: Mapping[str, Any]) -> list[str]:
    """Paths below a group that its metadata name, which a store that can't be listed is asked for.

    Parameters
    ----------
    attrs : Mapping
        Attributes of the group.

    Returns
    -------
    list of str
        Wells of a plate, fields of a well, series of bioformats2raw, labels, levels.

    Examples
    --------
    >>> children_named({"ome": {"version": "0.5", "plate": {"wells": [{"path": "A/1"}]}}})
    ['A/1']
    """
    ome = ome_attributes(attrs)
    plate, well = ome.get("plate"), ome.get("well")
    named: list[Any] = []
    if isinstance(plate, Mapping):
        named += _each(plate.get("wells"), "path")
    if isinstance(well, Mapping):
        named += _each(well.get("images"), "path")
    for key in ("labels", "series"):
        named += [name for name in _list(ome.get(key)) if isinstance(name, str)]
    scales = ome.get("multiscales", attrs.get("multiscales"))
    for entry in _list(scales):
        named += _each(entry.get("datasets") if isinstance(entry, Mapping) else None, "path")
    if isinstance(scales, Mapping):
        named += _each(scales.get("layout"), "asset")
    if scales is not None:
        named.append("labels")
    parts = [str(name).strip("/") for name in named]
    return list(dict.fromkeys(p for p in parts if p and ".." not in p.split("/")))


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()


def _each(value: Any, key: str) -> list[Any]:
    return [entry[key] for entry in _list(value) if isinstance(entry, Mapping) and key in entry]


def converted(attrs: Mapping[str, Any], zarr_format: int, name: str = "") -> dict[str, Any]:
    """Attributes of a group around images, in the version of OME-NGFF that belongs to a Zarr format.

    Parameters
    ----------
    attrs : Mapping
        Attributes as the source has them.
    zarr_format : {2, 3}
        3: plate, well, series and labels under "ome" (0.5). 2: beside the others (0.4).
    name : str
        Name of the group: lists of labels are in "labels", of series in "OME".

    Returns
    -------
    dict[str, Any]
        The same attributes where nothing of that kind is in them, or in that version already.

    Examples
    --------
    >>> converted({"plate": {"version": "0.4", "wells": []}, "lab": 3}, 3)
    {'lab': 3, 'ome': {'version': '0.5', 'plate': {'wells': []}}}
    >>> converted({"ome": {"version": "0.5", "labels": ["nuclei"]}}, 2)
    {'ome': {'version': '0.5', 'labels': ['nuclei']}}
    >>> converted({"ome": {"version": "0.5", "labels": ["nuclei"]}}, 2, "labels")
    {'labels': ['nuclei']}
    """
    ome = attrs.get("ome")
    inside = isinstance(ome, Mapping)
    held: Mapping[str, Any] = ome if isinstance(ome, Mapping) else attrs
    keys = (*_CONTAINERS, *(key for key, group in _LISTS.items() if group == name))
    found = {key: held[key] for key in keys if key in held}
    if not found or inside == (zarr_format == 3):
        return dict(attrs)
    if zarr_format == 3:
        plain = {key: value for key, value in attrs.items() if key not in found}
        return {**plain, "ome": {"version": _V05, **{key: _unversioned(value) for key, value in found.items()}}}
    rest = {key: value for key, value in held.items() if key not in found and key != "version"}
    plain = {key: value for key, value in attrs.items() if key != "ome"}
    versioned = {key: {**value, "version": _V04} if key in _VERSIONED else value for key, value in found.items()}
    return {**plain, **versioned, **({"ome": rest} if rest else {})}


def _unversioned(value: Any) -> Any:
    return {k: v for k, v in value.items() if k != "version"} if isinstance(value, Mapping) else value
