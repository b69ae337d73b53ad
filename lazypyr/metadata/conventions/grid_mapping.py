"""The CRS as CF, rioxarray and GDAL find it: a grid mapping variable beside the arrays, and GDAL's attribute `_CRS`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.metadata.beside import variables_beside
from lazypyr.metadata.conventions.base import Convention
from lazypyr.metadata.conventions.zarr_conventions import located, spatial_transform
from lazypyr.metadata.crs import gdal_crs, mapping_attributes
from lazypyr.metadata.dataset import EMPTY
from lazypyr.metadata.documents import ArrayNode
from lazypyr.metadata.protocol import SupportsMultiscales
from lazypyr.metadata.variables import CoordArray

__all__ = ["GridMapping", "grid_mapping_node"]

# The name that rioxarray looks for where none is given.
_NAME = "spatial_ref"
# What is said of level 0, or anew.
_WRITTEN = frozenset({"GeoTransform", "_ARRAY_DIMENSIONS", "_FillValue", "coordinates", "grid_mapping"})


class GridMapping(Convention):
    """`grid_mapping` and `coordinates`, which name the variable, and `_CRS`."""

    reserved_keys = frozenset({"_CRS"})

    def array(self, pyramid: SupportsMultiscales, level: int, zarr_format: int) -> dict[str, Any]:
        gdal = None if pyramid.crs is None else gdal_crs(pyramid.crs)
        named = grid_mapping_node(pyramid, None)
        mapping = {} if named is None else {"grid_mapping": named[0]}
        # xarray makes a coordinate of what `coordinates` names, and that is where rioxarray looks for the grid mapping.
        coordinates = [*self._auxiliary(pyramid, level), *mapping.values()]
        names = {"coordinates": " ".join(coordinates)} if coordinates else {}
        return {**({"_CRS": gdal} if gdal else {}), **mapping, **names}

    def left_out(self, pyramid: SupportsMultiscales) -> frozenset[str]:
        return frozenset({"coordinates"})  # of these some may not be there

    def _auxiliary(self, pyramid: SupportsMultiscales, level: int) -> list[str]:
        """Names of the variables beside a level but those of its axes and their bounds."""
        along = getattr(pyramid, "metadata", EMPTY).along.values()
        bounds = {coordinate.attrs.get("bounds") for coordinate in along if isinstance(coordinate, CoordArray)}
        return [name for name in variables_beside(pyramid, level) if name not in pyramid.axes and name not in bounds]


def grid_mapping_node(pyramid: SupportsMultiscales, level: int | None) -> tuple[str, ArrayNode] | None:
    """Name and node of the grid mapping variable of a pyramid; None where the CRS isn't known.

    Parameters
    ----------
    pyramid : SupportsMultiscales
    level : int or None
        Level whose place is stated too; None where one variable is for all of them.
    """
    metadata = getattr(pyramid, "metadata", EMPTY)
    variable = metadata.variables.get(metadata.grid_mapping or "")
    attributes = {} if variable is None else {k: v for k, v in variable.attrs.items() if k not in _WRITTEN}
    if pyramid.crs is not None:
        attributes = {**mapping_attributes(pyramid.crs), **attributes}
    if not attributes:
        return None
    if level is not None and located(pyramid):
        a, b, c, d, e, f = spatial_transform(pyramid, pyramid.levels[level])
        attributes["GeoTransform"] = " ".join(repr(number) for number in (c, a, b, f, d, e))
    name = _NAME if variable is None or variable.name in pyramid.axes else variable.name
    return name, ArrayNode((), (), np.dtype("<i4"), 0, (), attributes, has_fill_value=False)
