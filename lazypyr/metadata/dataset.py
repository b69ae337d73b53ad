"""Facts that the dataset around an array states about it: place, time, names, colours, meaning of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lazypyr.geometry.grid import Coord
from lazypyr.metadata.packing import Packing
from lazypyr.metadata.protocol import SupportsLevel
from lazypyr.metadata.variables import CoordArray, Variable

__all__ = ["DatasetMetadata", "Described"]


@dataclass(frozen=True)
class DatasetMetadata:
    """Facts that a dataset states about one of its arrays. Made at opening; every face reads them here.

    Parameters
    ----------
    along : Mapping[str, Coord or CoordArray]
        World coordinates by axis, as the source has them: an origin and a step, or an array.
    variables : Mapping[str, Variable]
        Further variables that belong to the array, by path in its group: bounds, scalars, grid mappings, longitudes and
        latitudes of two axes.
    crs : str or None
        "EPSG:32633", WKT or PROJJSON.
    grid_mapping : str or None
        Name in `variables` of the one whose attributes describe the CRS.
    attrs : Mapping[str, Any]
        Attributes of the array itself, JSON-like.
    group_attrs : Mapping[str, Any]
        Attributes of the groups around it; those of the nearest one win.
    packing : Packing or None
        Meaning of stored numbers: scale, offset, sign, valid range.
    nodata_values : tuple of scalars
        All values that declare a pixel to hold nothing.
    name : str or None
        Name of the variable or image, as the dataset has it.
    ome : OmeMetadata or None
        What OME-NGFF metadata say beside the levels.
    display : Mapping[str, Any] or None
        Hints for viewers: "window" (low, high), "colors", "labels".
    dims : Mapping[str, str]
        Names of the dimensions as the source has them, by axis: ``{"y": "lat"}``.
    affine : tuple of 6 floats or None
        ``x = a * column + b * row + c``, ``y = d * column + e * row + f`` at pixel edges, of a rotated or sheared grid only:
        its y and x have no coordinates of their own.

    Examples
    --------
    >>> from lazypyr.geometry.grid import Coord
    >>> metadata = DatasetMetadata(along={"y": Coord(995.0, -10.0)}, crs="EPSG:32633", nodata_values=(-1, -2))
    >>> metadata.coords["y"].step, metadata.nodata
    (-10.0, -1)
    """

    along: Mapping[str, Coord | CoordArray] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    crs: str | None = None
    grid_mapping: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    group_attrs: Mapping[str, Any] = field(default_factory=dict)
    packing: Packing | None = None
    nodata_values: tuple[Any, ...] = ()
    name: str | None = None
    ome: Any = None
    display: Mapping[str, Any] | None = None
    dims: Mapping[str, str] = field(default_factory=dict)
    affine: tuple[float, ...] | None = None

    @property
    def coords(self) -> dict[str, Coord]:
        """World coordinates of the axes that are even. Reads arrays of coordinates, once."""
        even = {axis: c.even if isinstance(c, CoordArray) else c for axis, c in self.along.items()}
        return {axis: coord for axis, coord in even.items() if coord is not None}

    @property
    def coord_arrays(self) -> dict[str, CoordArray]:
        """World coordinates of the axes that aren't even: one value a pixel. Reads arrays of coordinates, once."""
        return {axis: c for axis, c in self.along.items() if isinstance(c, CoordArray) and c.even is None}

    @property
    def nodata(self) -> Any:
        """The first of `nodata_values`, None where there is none."""
        return self.nodata_values[0] if self.nodata_values else None

    @property
    def units(self) -> str | None:
        """Units of the array's values."""
        units = self.attrs.get("units")
        return units if isinstance(units, str) else None

    @property
    def long_name(self) -> str | None:
        """Name of the array's values, for people."""
        name = self.attrs.get("long_name")
        return name if isinstance(name, str) else None

    def at(self, axes: Sequence[str], level: SupportsLevel) -> DatasetMetadata:
        """Same facts with the coordinates of a level's samples.

        Parameters
        ----------
        axes : sequence of str
            Of the level, in its order.
        level : Level
            Shape, scale and translation.
        """
        along: dict[str, Coord | CoordArray] = {}
        for axis, shape, scale, shift in zip(axes, level.shape, level.scale, level.translation, strict=True):
            known = self.along.get(axis)
            if isinstance(known, CoordArray):
                along[axis] = known.at(shape, scale, shift)
            elif known is not None:
                along[axis] = Coord(known.at(shift), known.step * scale, known.unit)
        return replace(self, along=along, affine=self.affine_at(axes, level))

    def affine_at(self, axes: Sequence[str], level: SupportsLevel) -> tuple[float, ...] | None:
        """`affine` of a level: a pixel is `scale` pixels wide about its sample."""
        if self.affine is None or not {"y", "x"} <= set(axes):
            return self.affine
        a, b, c, d, e, f = self.affine
        (sy, ty), (sx, tx) = ((level.scale[i], level.translation[i]) for i in (axes.index("y"), axes.index("x")))
        row, column = ty + (1 - sy) / 2, tx + (1 - sx) / 2
        return a * sx, b * sy, a * column + b * row + c, d * sx, e * sy, d * column + e * row + f

    def placed(self, coords: Mapping[str, Coord]) -> DatasetMetadata:
        """Same facts with other coordinates of some axes."""
        affine = None if {"y", "x"} & set(coords) else self.affine
        return replace(self, along={**self.along, **coords}, affine=affine)

    def replaced(self, **members: Any) -> DatasetMetadata:
        """Same facts but for some.

        Parameters
        ----------
        **members
            Fields, and besides `coords` (of all axes) and `nodata` (the only one, or None).
        """
        if "coords" in members:
            members["along"] = dict(members.pop("coords"))
        if "nodata" in members:
            nodata = members.pop("nodata")
            members["nodata_values"] = () if nodata is None else (nodata,)
        return replace(self, **members)


EMPTY = DatasetMetadata()


class _Member:
    """A member of `metadata` as an attribute of the object that has them.

    Not a property: authors of sources set these names as attributes, of classes too, which `Described.metadata` then has.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance.metadata, self._name)

    def __set__(self, instance: Any, value: Any) -> None:
        instance.metadata = instance.metadata.replaced(**{self._name: value})


class Described:
    """Base of what has `DatasetMetadata`: sources and pyramids.

    Attributes
    ----------
    nodata : scalar or None
    attrs : Mapping[str, Any]
    coords : Mapping[str, Coord]
    crs : str or None
    display : Mapping[str, Any] or None
        Members of `metadata`.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> pyramid = lazypyr.open_pyramid(np.zeros((4, 4)))
    >>> pyramid.crs = "EPSG:4326"
    >>> isinstance(pyramid, Described), pyramid.metadata.crs
    (True, 'EPSG:4326')
    """

    nodata: Any = _Member("nodata")
    attrs: Mapping[str, Any] = _Member("attrs")  # type: ignore[assignment]
    coords: Mapping[str, Coord] = _Member("coords")  # type: ignore[assignment]
    crs: str | None = _Member("crs")  # type: ignore[assignment]
    display: Mapping[str, Any] | None = _Member("display")  # type: ignore[assignment]

    # Members that a class sets itself; found once, because pixels are read by some of them.
    _own_members: tuple[str, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._own_members = tuple(name for name in _MEMBERS if not isinstance(getattr(cls, name), _Member))

    @property
    def metadata(self) -> DatasetMetadata:
        """Facts that the dataset around it states: place, time, names, colours, meaning of the numbers."""
        stated: DatasetMetadata = self.__dict__.get("_stated", EMPTY)
        own = self._own_members
        return stated.replaced(**{name: getattr(self, name) for name in own}) if own else stated

    @metadata.setter
    def metadata(self, value: DatasetMetadata) -> None:
        self.__dict__["_stated"] = value


_MEMBERS = tuple(name for name, value in vars(Described).items() if isinstance(value, _Member))
