"""Place of an array in the world, from what lies around it: coordinate variables, grid mappings, attributes of groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.metadata.crs import crs_of_mapping
from lazypyr.metadata.georeference import crs_of, georeference, rotated_of
from lazypyr.metadata.read import Multiscales, coords_of_level, read_multiscales, spatial_coords
from lazypyr.metadata.variables import CoordArray, Variable

__all__ = ["Level", "Surroundings", "no_variable"]

Find = Callable[[str], Variable | None]


def no_variable(name: str) -> Variable | None:
    """Stand for a dataset without variables beside the array."""
    return None


@dataclass(frozen=True)
class Level:
    """Level of a multiscale image, as the metadata around it say.

    Parameters
    ----------
    multiscales : Multiscales
    attrs : Mapping[str, Any]
        Of the group of the image.
    path : str
        Of the level, as the metadata have it.

    Examples
    --------
    >>> attrs = {"multiscales": [{"version": "0.4", "axes": [{"name": "z"}, {"name": "x"}], "datasets": [{"path": "0"}]}]}
    >>> Level(read_multiscales(attrs), attrs, "0").axes(2)
    ('z', 'x')
    """

    multiscales: Multiscales
    attrs: Mapping[str, Any]
    path: str

    def axes(self, ndim: int) -> tuple[str, ...] | None:
        """Names of the axes; None where there aren't as many."""
        for names in (self.multiscales.axes, self.multiscales.implied_axes):
            if names and len(names) == ndim:
                return names
        return None

    def coords(self, axes: Sequence[str]) -> dict[str, Coord]:
        """Coordinates of the level."""
        return coords_of_level(self.multiscales, self.attrs, self.path, axes)


@dataclass(frozen=True)
class Surroundings:
    """Dataset around one array, as CF and the zarr conventions see it.

    Parameters
    ----------
    attrs : Mapping[str, Any]
        Attributes of the array.
    dims : sequence of (str or None)
        Names of its dimensions.
    shape : sequence of int
        By dimension.
    groups : sequence of Mapping
        Attributes of the groups around it, the nearest one first.
    find : callable
        Gives the variable of a name that lies beside the array, or in a group above it; None where there is none.
    paths : sequence of str
        Of the array below each of the groups, as far as they are known.
    named : sequence of str, optional
        Names of its coordinates that aren't named like a dimension, instead of those that its attributes name.

    Examples
    --------
    >>> around = Surroundings({"proj:code": "EPSG:32633"}, ("lat", "lon"), (10, 20), groups=[{"transform": [10, 0, 0, 0, -10, 99]}])
    >>> members = around.members(("y", "x"))
    >>> members["crs"], members["along"]["y"], members["dims"]
    ('EPSG:32633', Coord(origin=94.0, step=-10.0, unit=None), {'y': 'lat', 'x': 'lon'})
    """

    attrs: Mapping[str, Any]
    dims: Sequence[str | None]
    shape: Sequence[int]
    groups: Sequence[Mapping[str, Any]] = ()
    find: Find = field(default=no_variable)
    paths: Sequence[str] = ()
    named: Sequence[str] | None = None

    def coordinates(self) -> dict[str, CoordArray]:
        """Coordinate variables by dimension: those of its name, else those that `coordinates` names.

        Reads no values.
        """
        found: dict[str, CoordArray] = {}
        sizes = {dim: n for dim, n in zip(self.dims, self.shape, strict=False) if dim}
        for dim, size in sizes.items():
            variable = self.find(dim)
            if variable is not None and variable.shape == (size,) and variable.dims in ((dim,), ()):
                found[dim] = _along(variable, dim)
        for name in self._named():
            variable = self.find(name)
            if variable is None or len(variable.dims) != 1 or variable.dims[0] not in sizes:
                continue
            (dim,) = variable.dims
            if dim not in found and variable.shape == (sizes[dim],):
                found[dim] = _along(variable, dim)
        return found

    @cached_property
    def level(self) -> Level | None:
        """Multiscale image that the array is a level of; None where no group around it lists it as one."""
        for attrs, path in zip(self.groups, self.paths, strict=False):
            try:
                multiscales = read_multiscales(attrs)
            except PlanError:  # of a group that was not asked for
                continue
            if multiscales is None:
                continue
            listed = {dataset.path for dataset in multiscales.datasets}
            at = next((p for p in (path, path.rpartition("/")[0]) if p in listed), None)
            if at is not None:
                return Level(multiscales, attrs, at)
        return None

    def _named(self) -> list[str]:
        """Names of the auxiliary coordinates."""
        if self.named is not None:
            return list(self.named)
        stated = self.attrs.get("coordinates")
        return stated.split() if isinstance(stated, str) else []

    def _mapping(self, coordinates: Mapping[str, CoordArray]) -> Variable | None:
        """Variable of the grid mapping: the one that is named, else the one that rioxarray and odc-geo write."""
        stated = self.attrs.get("grid_mapping")
        names = _grid_mappings(stated, {c.name for c in coordinates.values()}) if isinstance(stated, str) else []
        for name in (*names, *self._named()):
            variable = self.find(name)
            if variable is not None and (name in names or _is_mapping(variable.attrs)):
                return variable
        return None

    def members(self, axes: Sequence[str], stated: Mapping[str, Coord] | None = None) -> dict[str, Any]:
        """Members of `DatasetMetadata` about the place of the array.

        Parameters
        ----------
        axes : sequence of str
            Our name of each dimension.
        stated : Mapping[str, Coord], optional
            Coordinates by axis that other metadata state, in place of those of a transform.

        Raises
        ------
        PlanError
            When an attribute of the `spatial:` or `proj:` conventions is malformed.
        """
        by_dim = self.coordinates()
        mapping = self._mapping(by_dim)
        arrays = {axis: by_dim[dim] for axis, dim in zip(axes, self.dims, strict=False) if dim in by_dim}
        others = [name for name in self._named() if name not in {c.name for c in arrays.values()}]
        found = {name: variable for name in others if (variable := self.find(name)) is not None}
        for coordinate in arrays.values():
            name = coordinate.attrs.get("bounds")
            if isinstance(name, str) and (bounds := self.find(name)) is not None:
                found[name] = bounds
        if mapping is not None:
            found[mapping.name] = mapping
        if stated is None and self.level is not None:
            stated = self.level.coords(axes)
        transform = {**self._affine(axes, mapping), **(stated or {})}
        affine = None if set(SPATIAL_AXES) & set(arrays) else self._rotated(axes, mapping)
        if affine is not None:
            transform = {axis: coord for axis, coord in transform.items() if axis not in SPATIAL_AXES}
        placed = {axis: c.or_stated(transform[axis]) if axis in transform else c for axis, c in arrays.items()}
        merged: dict[str, Any] = {}
        for attrs in reversed(self.groups):
            merged |= attrs
        return {
            "along": {**transform, **placed},
            "variables": found,
            "crs": self._crs(mapping),
            "grid_mapping": None if mapping is None else mapping.name,
            "attrs": dict(self.attrs),
            "group_attrs": merged,
            "dims": {axis: dim for axis, dim in zip(axes, self.dims, strict=False) if dim},
            "affine": affine,
        }

    def _crs(self, mapping: Variable | None) -> str | None:
        """The CRS by what is nearest to the array."""
        own = crs_of(self.attrs) or (crs_of_mapping(mapping.attrs) if mapping is not None else None)
        return own or next((crs for attrs in self.groups if (crs := crs_of(attrs))), None)

    def _rotated(self, axes: Sequence[str], mapping: Variable | None) -> tuple[float, ...] | None:
        """Transform of a rotated grid, where the nearest one that is stated is one."""
        for attrs in self._stated(mapping):
            if georeference(attrs, axes, self.shape)[0]:
                return None
            affine = rotated_of(attrs, axes, self.shape)
            if affine is not None:
                return affine
        return None

    def _affine(self, axes: Sequence[str], mapping: Variable | None) -> dict[str, Coord]:
        """Coordinates of y and x by a transform: of the array, of its grid mapping, of the groups."""
        for attrs in self._stated(mapping):
            coords, _ = georeference(attrs, axes, self.shape)
            if coords:
                return coords
        return {}

    def _stated(self, mapping: Variable | None) -> Iterator[Mapping[str, Any]]:
        yield self.attrs
        if mapping is not None:
            yield mapping.attrs
        for depth, attrs in enumerate(self.groups):
            if not self._is_about_others(attrs) and (depth == 0 or "spatial:shape" in attrs):
                yield _of_level(attrs, self.paths[0] if self.paths else "") if depth == 0 else attrs

    def _is_about_others(self, attrs: Mapping[str, Any]) -> bool:
        """True of attributes of a group that are about arrays with other dimensions."""
        plane = attrs.get("spatial:dimensions")
        if not isinstance(plane, Sequence) or isinstance(plane, str) or not all(self.dims):
            return False
        return not set(plane) <= {*self.dims, *SPATIAL_AXES}


def _along(variable: Variable, dim: str) -> CoordArray:
    return CoordArray(variable.name, (dim,), variable.shape, variable.dtype, variable.read, variable.attrs)


def _grid_mappings(stated: str, coordinates: set[str]) -> list[str]:
    """Names of grid mappings, those for these coordinates first: "crs", or "crs: x y crsll: lat lon"."""
    if ":" not in stated:
        return stated.split()
    pairs = re.findall(r"(\S+):((?:\s+[^\s:]+(?!\S*:))*)", stated)
    return [name for name, listed in sorted(pairs, key=lambda pair: not coordinates & set(pair[1].split()))]


def _is_mapping(attrs: Mapping[str, Any]) -> bool:
    return any(name in attrs for name in ("grid_mapping_name", "crs_wkt", "spatial_ref", "GeoTransform"))


def _of_level(attrs: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Attributes of a group as far as they are about one of its arrays: levels have transforms of their own."""
    try:
        multiscales = read_multiscales(attrs)
    except PlanError:
        multiscales = None
    if multiscales is None or not multiscales.datasets:
        return attrs
    rest = {key: value for key, value in attrs.items() if key not in _TRANSFORMS}
    if path == multiscales.datasets[0].path:
        return attrs
    coords = spatial_coords(attrs, path, of_level=True)
    if not coords:
        return rest
    x, y = coords["x"], coords["y"]
    edges = [x.step, 0.0, x.origin - x.step / 2, 0.0, y.step, y.origin - y.step / 2]
    return {**rest, "spatial:transform": edges}


_TRANSFORMS = (
    "spatial:transform",
    "spatial:shape",
    "spatial:registration",
    "proj:transform",
    "transform",
    "GeoTransform",
)
