"""Multiscale metadata of others, read: OME-NGFF, its predecessors, zarr-conventions, ndpyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.georeference import affine_coords, crs_of, numbers
from lazypyr.metadata.multiscales import Dataset, Multiscales
from lazypyr.metadata.read_layout import read_layout
from lazypyr.metadata.read_ome import read_ome

__all__ = ["Dataset", "Multiscales", "coords_of_level", "read_multiscales", "spatial_coords"]


def read_multiscales(attrs: Mapping[str, Any], choice: int | str | None = None) -> Multiscales | None:
    """Levels that a group's attributes describe.

    `ome` (0.5 and later) wins over `multiscales`: a list is OME-NGFF 0.1 to 0.4 or ndpyramid, a mapping is
    zarr-conventions. Where `spatial:transform` is given too, it is the truth about x and y: OME can't say that y falls
    along the rows.

    Parameters
    ----------
    attrs : Mapping
        Attributes of the group.
    choice : int or str, optional
        Which of several entries, by number or name; by default the first.

    Returns
    -------
    Multiscales or None
        None when they describe no levels.

    Raises
    ------
    PlanError
        Naming the attribute that is malformed, or the transformation that isn't supported (0.6).

    Examples
    --------
    >>> read_multiscales({"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]}).convention
    'OME-NGFF 0.1'
    """
    ome, plain = attrs.get("ome"), attrs.get("multiscales")
    if isinstance(ome, Mapping) and "multiscales" in ome:
        multiscales = read_ome(attrs, choice)
    elif isinstance(plain, Mapping) and "layout" in plain:
        if choice not in (None, 0):
            raise PlanError(f"multiscale={choice!r}: attribute multiscales is one layout, not a list of several")
        multiscales = read_layout(plain, attrs)
    elif plain is not None:
        multiscales = read_ome(attrs, choice)
    else:
        return None
    spatial = spatial_coords(attrs, multiscales.datasets[0].path)
    coords = {
        **multiscales.coords,
        **{
            a: replace(c, unit=multiscales.coords[a].unit if a in multiscales.coords else None)
            for a, c in spatial.items()
        },
    }
    return replace(multiscales, coords=coords, crs=crs_of(attrs) or multiscales.crs)


def spatial_coords(attrs: Mapping[str, Any], path: str, *, of_level: bool = False) -> dict[str, Coord]:
    """Coordinates of y and x by `spatial:transform` of the level at a path, unless `of_level` else by that of the group."""
    node = attrs.get("spatial:registration") == "node"
    plain = attrs.get("multiscales")
    layout = plain.get("layout") if isinstance(plain, Mapping) else None
    for i, entry in enumerate(layout if isinstance(layout, Sequence) else ()):
        if isinstance(entry, Mapping) and entry.get("asset") == path and "spatial:transform" in entry:
            name = f"multiscales.layout[{i}].spatial:transform"
            return affine_coords(numbers(entry["spatial:transform"], name, (6, 9)), node=node)
    if "spatial:transform" in attrs and not of_level:
        return affine_coords(numbers(attrs["spatial:transform"], "spatial:transform", (6, 9)), node=node)
    return {}


def coords_of_level(
    multiscales: Multiscales, attrs: Mapping[str, Any], path: str, axes: Sequence[str]
) -> dict[str, Coord]:
    """Coordinates of one level by the metadata of its group, as far as these say where it lies.

    Parameters
    ----------
    multiscales : Multiscales
        Read of `attrs`.
    attrs : Mapping
        Attributes of the group.
    path : str
        Of the level, as the metadata have it.
    axes : sequence of str
        Names of the axes of its array.

    Returns
    -------
    dict[str, Coord]
        By axis, pixel centres.

    Examples
    --------
    >>> steps = [[{"type": "scale", "scale": [s, s]}, {"type": "translation", "translation": [t, t]}] for s, t in ((2.0, 0.0), (4.0, 1.0))]
    >>> datasets = [{"path": str(k), "coordinateTransformations": step} for k, step in enumerate(steps)]
    >>> attrs = {"multiscales": [{"version": "0.4", "axes": [{"name": "y"}, {"name": "x"}], "datasets": datasets}]}
    >>> coords_of_level(read_multiscales(attrs), attrs, "1", ("y", "x"))["x"]
    Coord(origin=1.0, step=4.0, unit=None)
    """
    dataset = next(d for d in multiscales.datasets if d.path == path)
    (place,) = multiscales.stated((dataset,), axes)
    known = {}
    if dataset is multiscales.datasets[0]:
        known = {axis: coord for axis, coord in multiscales.coords.items() if axis in axes}
    elif place is not None and place[1] is not None and not multiscales.trimmed:
        by_axis = dict(zip(axes, zip(place[0], place[1], strict=True), strict=True))
        known = {
            axis: replace(coord, origin=coord.at(by_axis[axis][1]), step=coord.step * by_axis[axis][0])
            for axis, coord in multiscales.coords.items()
            if axis in by_axis
        }
    exact = spatial_coords(attrs, path, of_level=True)
    return {
        **known,
        **{axis: replace(coord, unit=known[axis].unit if axis in known else None) for axis, coord in exact.items()},
    }
