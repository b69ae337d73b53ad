"""Hierarchies of several rasters: which of their arrays are rasters, and what lies around them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lazypyr._util.text import listed
from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.metadata import Multiscales, read_multiscales
from lazypyr.metadata.containers import is_container, ome_attributes
from lazypyr.metadata.multiscales import Placement
from lazypyr.registry import nearest
from lazypyr.sources.axes import axis_role, name_plane
from lazypyr.sources.base import Source
from lazypyr.sources.copied import Surroundings
from lazypyr.sources.opened import OpenedSource

__all__ = ["Member", "SourceTree", "build_tree", "path_of"]

# Attributes by which a variable names others that describe it.
_NAMING = ("bounds", "climatology", "coordinates", "grid_mapping")
_PLACES = {"latitude", "longitude", "grid_latitude", "grid_longitude", "projection_x_coordinate", "projection_y_coordinate"}  # fmt: skip
_DEGREES = {"degrees_north", "degree_north", "degrees_east", "degree_east", "degrees_n", "degrees_e"}


@dataclass(frozen=True)
class Member:
    """Array of a hierarchy, as far as it is known before it is opened.

    Parameters
    ----------
    shape : tuple[int, ...]
    kind : str
        Of its dtype, as numpy has it.
    dims : tuple of (str or None), or None
        Names of its axes, where it has some.
    attrs : Mapping[str, Any]
        Of its own.
    open : callable
        Opens it by itself; PlanError where it can't be a pyramid.
    is_coordinate : bool
        True where the dataset says that it is a coordinate of others.

    Examples
    --------
    >>> Member((4, 3), "f", ("lat", "lon"), {}, lambda: None).ndim
    2
    """

    shape: tuple[int, ...]
    kind: str
    dims: tuple[str | None, ...] | None
    attrs: Mapping[str, Any]
    open: Callable[[], Any]
    is_coordinate: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def may_be_raster(self) -> bool:
        """True for two and more axes of numbers that don't say where something is."""
        place = str(self.attrs.get("standard_name")) in _PLACES or str(self.attrs.get("units")).lower() in _DEGREES
        numbers = self.ndim >= 2 and self.kind in "biufcmM" and 0 not in self.shape
        return numbers and not place and not self.is_coordinate


@dataclass(frozen=True)
class SourceTree:
    """Rasters of a hierarchy by path, and what lies around them.

    Parameters
    ----------
    name : str
        For metadata, which may be published.
    location : str
        Path or URL, for its owner.
    rasters : Mapping[str, OpenedSource]
        By path from the root of the hierarchy.
    labels : frozenset[str]
        Paths of the rasters whose values are labels, not measurements.
    surroundings : Surroundings
        Groups and arrays that are served as they are, and what can't be read.
    single : str or None
        Raster that stands for the whole unless a collection is asked for.

    Examples
    --------
    >>> SourceTree("power.zarr", "/data/power.zarr", {}, frozenset(), Surroundings()).single is None
    True
    """

    name: str
    location: str
    rasters: Mapping[str, OpenedSource]
    labels: frozenset[str]
    surroundings: Surroundings
    single: str | None = None
    alone: Mapping[str, Member] = field(default_factory=dict)

    def pick(self, variable: str) -> OpenedSource:
        """One of the rasters.

        Parameters
        ----------
        variable : str
            Its path, or the end of it that only one has; or the path of an array that is one level of a raster.

        Raises
        ------
        PlanError
            When there is none, with those that there are.
        """
        wanted = str(variable).strip("/")
        if wanted in self.alone and wanted not in self.rasters:
            opened: OpenedSource = self.alone[wanted].open()
            return opened
        why = self.surroundings.unreadable.get(wanted)
        if why is not None:
            raise PlanError(f"{self.location}: {wanted!r} can't be opened: {why}")
        return self.rasters[path_of(variable, self.rasters, self.location)]

    def one(self, variable: str | None = None) -> OpenedSource:
        """The raster that is named, else the one that there is.

        Raises
        ------
        PlanError
            When there are several, or none.
        """
        if variable is not None:
            return self.pick(variable)
        if self.single is not None:
            return self.rasters[self.single]
        if len(self.rasters) == 1:
            return next(iter(self.rasters.values()))
        raise PlanError(
            f"{self.location}: {len(self.rasters)} rasters; name one with variable=, or open all as a collection with "
            f"lazypyr.LazyPyramidStore: {listed(self.rasters)}"
        )


def path_of(variable: str, paths: Iterable[str], where: str) -> str:
    """The one of these paths that is called so, or that alone ends so; PlanError names them otherwise."""
    wanted, known = str(variable).strip("/"), list(paths)
    ends = [path for path in known if path.endswith(f"/{wanted}")]
    if wanted in known or len(ends) == 1:
        return wanted if wanted in known else ends[0]
    if ends:
        raise PlanError(f"{where}: variable={variable!r} is {len(ends)} rasters; give one of {listed(ends)}")
    raise PlanError(f"{where}: no raster is called {variable!r}{nearest(wanted, known)}; there are {listed(known)}")


def build_tree(
    name: str,
    location: str,
    groups: Mapping[str, Mapping[str, Any]],
    members: Mapping[str, Member],
    failed: Mapping[str, str],
    open_image: Callable[[str, Multiscales], OpenedSource],
    copies: Callable[[Iterable[str]], Surroundings],
) -> SourceTree:
    """Tree of the nodes of a hierarchy.

    Parameters
    ----------
    name, location : str
        See `SourceTree`.
    groups : Mapping[str, Mapping[str, Any]]
        Attributes by path, the root under "".
    members : Mapping[str, Member]
        Arrays by path.
    failed : Mapping[str, str]
        Reasons by path of nodes that can't be read.
    open_image : callable
        Opens the multiscale group at a path whose levels are arrays.
    copies : callable
        Gives what is served as it is, of the paths of arrays.

    Raises
    ------
    PlanError
        When there is no raster, with what there is.
    """
    builder = _Builder(groups, dict(members), dict(failed), open_image)
    builder.add_images()
    builder.add_variables()
    rasters, failed = builder.rasters, builder.failed
    if not rasters:
        why = "".join(f"; {path or 'it'} can't be opened: {reason}" for path, reason in list(failed.items())[:3])
        inside = listed(sorted({*members, *(path for path in groups if path)})) or "nothing"
        columns = any(len(member.shape) == 1 for member in members.values())
        hint = "; columns of points are opened by lazypyr.read_points(path, resolution=...)" if columns else ""
        raise PlanError(
            f"{location}: a group without multiscale metadata and without a raster; it holds {inside}{why}{hint}"
        )
    around = copies(builder.left)
    kept = {path: attrs for path, attrs in around.groups.items() if path not in builder.images}
    for path in builder.split:
        kept[path] = _without_levels(kept.get(path, {}))
    around = replace(around, groups=kept, unreadable=failed)
    images = any(map(is_container, groups.values())) or builder.images
    single = next(iter(rasters)) if len(rasters) == 1 and not images else None
    return SourceTree(name, location, rasters, frozenset(builder.labels), around, single, builder.parts)


@dataclass
class _Builder:
    groups: Mapping[str, Mapping[str, Any]]
    left: dict[str, Member]  # arrays that no raster is made of yet
    failed: dict[str, str]
    open_image: Callable[[str, Multiscales], OpenedSource]
    rasters: dict[str, OpenedSource] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    split: set[str] = field(default_factory=set)
    parts: dict[str, Member] = field(default_factory=dict)
    naming: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # attributes of levels, by their folder

    def add_images(self) -> None:
        """Rasters of multiscale groups."""
        for path in sorted(self.groups):
            try:
                multiscales = read_multiscales(self.groups[path])
                if multiscales is not None and multiscales.datasets:
                    self._add_image(path, multiscales)
            except PlanError as error:
                self.failed[path] = str(error)

    def _add_image(self, path: str, multiscales: Multiscales) -> None:
        levels = [_joined(path, dataset.path) for dataset in multiscales.datasets]
        if not any(level in self.groups for level in levels):
            self.rasters[path] = self.open_image(path, multiscales)
            self.images.add(path)
            for level in levels:
                taken = self.left.pop(level, None)
                if taken is not None:
                    self.naming.setdefault(level.rpartition("/")[0], []).append(taken.attrs)
            if "image-label" in ome_attributes(self.groups[path]):
                self.labels.add(path)
            return
        inside = {level: self._candidates(level) for level in levels}
        for name in dict.fromkeys(name for found in inside.values() for name in found):
            held = [(number, inside[level][name]) for number, level in enumerate(levels) if name in inside[level]]
            self._try(_joined(path, name), lambda held=held: _of_levels(held, multiscales))  # type: ignore[misc]
        for level, found in inside.items():
            for name, member in found.items():
                self.parts[_joined(level, name)] = self.left.pop(_joined(level, name), member)
        self.split.add(path)

    def add_variables(self) -> None:
        """Rasters of arrays by themselves."""
        for folder in dict.fromkeys(path.rpartition("/")[0] for path in list(self.left)):
            candidates = self._candidates(folder)
            if _are_levels(candidates):
                self.failed[folder] = f"{listed(candidates)} are levels that no metadata describe; give one of them"
                continue
            for name, member in candidates.items():
                path = _joined(folder, name)
                if self._try(path, member.open):
                    del self.left[path]

    def _try(self, path: str, open_: Callable[[], OpenedSource]) -> bool:
        try:
            self.rasters[path] = open_()
        except PlanError as error:
            self.failed[path] = str(error)
            return False
        return True

    def _candidates(self, folder: str) -> dict[str, Member]:
        """Arrays directly in a group that are rasters, by name."""
        if any("encoding-type" in self.groups.get(part, {}) for part in _above(folder)):
            return {}  # tables and shapes, as anndata and SpatialData write them
        beside_ours = (self.groups[path] for path in self.images if path and path.rpartition("/")[0] == folder)
        if any("fingerprint" in (attrs.get("lazypyr") or {}) for attrs in beside_ours):
            return {}  # what `materialize` left as it was
        prefix = f"{folder}/" if folder else ""
        beside = {
            path[len(prefix) :]: member
            for path, member in self.left.items()
            if path.startswith(prefix) and "/" not in path[len(prefix) :]
        }
        levels = self.naming.get(folder, [])
        named = _named_by([*(member.attrs for member in beside.values()), *levels, self.groups.get(folder, {})])
        candidates = {n: member for n, member in beside.items() if member.may_be_raster and n not in named}
        roles = {n: axis_role(member.attrs) for n, member in beside.items() if member.ndim == 1}
        planes = {
            n: member
            for n, member in candidates.items()
            if member.dims and name_plane(member.dims, [roles.get(dim or "") for dim in member.dims])
        }
        return planes or candidates


def _are_levels(members: Mapping[str, Member]) -> bool:
    """True for arrays 0, 1, 2, ... each of which is about half the one before: levels of one raster, not several."""
    shapes = [members[name].shape for name in map(str, range(len(members))) if name in members]
    pairs = [list(zip(a, b, strict=False)) for a, b in itertools.pairwise(shapes)]
    halved = all(any(2 * m - n in (-1, 0, 1) and m < n for n, m in pair) for pair in pairs)
    return len(shapes) == len(members) > 1 and halved


def _named_by(attributes: Iterable[Mapping[str, Any]]) -> set[str]:
    """Variables that attributes name as coordinates, bounds or grid mappings."""
    texts = [attrs[key] for attrs in attributes for key in _NAMING if isinstance(attrs.get(key), str)]
    return {word.rstrip(":") for text in texts for word in text.split()}


def _of_levels(held: Sequence[tuple[int, Member]], multiscales: Multiscales) -> OpenedSource:
    """A variable of the groups of several levels, registered as the metadata of the groups say."""
    opened = [(multiscales.datasets[number], member.open()) for number, member in held]
    opened.sort(key=lambda level: -math.prod(map(float, level[1].sources[0].shape)))
    sources = [one.sources[0] for _, one in opened]
    first = sources[0]
    alike = all(source.axes == first.axes and source.dtype == first.dtype for source in sources)
    if not alike:
        return OpenedSource((first,))
    places = multiscales.placements([d for d, _ in opened], [source.shape for source in sources], first.axes)
    stated = [_relative(place, places[0]) for place in places]
    return OpenedSource(
        tuple(sources), tuple(s or _by_coords(source, first) for s, source in zip(stated, sources, strict=True))
    )


def _by_coords(source: Source, first: Source) -> Placement | None:
    """Place of a level by its own coordinates and those of the finest one."""
    known, coords = first.coords, source.coords
    if not all(axis in known and axis in coords and known[axis].step for axis in SPATIAL_AXES):
        return None
    pairs = [(known[axis], coords[axis]) if axis in SPATIAL_AXES else None for axis in first.axes]
    scale = tuple(pair[1].step / pair[0].step if pair else 1.0 for pair in pairs)
    return scale, tuple((pair[1].origin - pair[0].origin) / pair[0].step + 0.0 if pair else 0.0 for pair in pairs)


def _relative(place: Placement | None, first: Placement | None) -> Placement | None:
    """Place of a level in pixels of another one, which isn't the finest of all."""
    if place is None or first is None:
        return None
    (scale, shift), (scale0, shift0) = place, first
    relative = tuple(a / b for a, b in zip(scale, scale0, strict=True))
    if shift is None or shift0 is None:
        return relative, None
    return relative, tuple((t - t0) / s0 for t, t0, s0 in zip(shift, shift0, scale0, strict=True))


def _without_levels(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a group whose levels have become pyramids of their own."""
    plain = {key: value for key, value in attrs.items() if key != "multiscales"}
    conventions = plain.get("zarr_conventions")
    if isinstance(conventions, list):
        plain["zarr_conventions"] = [
            c for c in conventions if not (isinstance(c, Mapping) and c.get("name") == "multiscales")
        ]
    return plain


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["", *("/".join(parts[: n + 1]) for n in range(len(parts)))]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}".strip("/")
