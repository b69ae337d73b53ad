"""CF attributes of arrays, in the form in which xarray reads them."""

from __future__ import annotations

from typing import Any

from lazypyr.metadata.conventions.base import Convention
from lazypyr.metadata.json_values import nodata_json
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["CF"]

_OF_ARRAYS = ("units", "long_name", "standard_name", "scale_factor", "add_offset")


class CF(Convention):
    """Units, names, packing and the declared no-data value."""

    reserved_keys = frozenset({"_ARRAY_DIMENSIONS", "_FillValue"})

    def array(self, pyramid: SupportsMultiscales, level: int, zarr_format: int) -> dict[str, Any]:
        attributes = {key: pyramid.attrs[key] for key in _OF_ARRAYS if key in pyramid.attrs}
        nodata = nodata_json(pyramid.nodata, pyramid.dtype, zarr_format=zarr_format)
        return attributes if nodata is None else {**attributes, "_FillValue": nodata}
