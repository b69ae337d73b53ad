"""CF attributes of arrays, in the form in which xarray reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.metadata.conventions.base import Convention
from lazypyr.metadata.json_values import nodata_json
from lazypyr.metadata.nodata import OF_NODATA, declared_values, declares_nan
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["CF", "fill_value_of"]

# By CF's appendix A attributes of a dataset only; they stay on the group.
_OF_DATASETS = frozenset({"Conventions", "featureType", "history", "title"})


class CF(Convention):
    """Units, names and packing, as the source has them, and the declared no-data value."""

    reserved_keys = frozenset({"_ARRAY_DIMENSIONS", "_FillValue"})

    def left_out(self, pyramid: SupportsMultiscales) -> frozenset[str]:
        declared = {str(value) for value in declared_values(pyramid.attrs, pyramid.dtype)}
        # The user may have said otherwise: then xarray must not mask what the source declared.
        same = declared <= {str(value) for value in (pyramid.nodata, *_values(pyramid))}
        return _OF_DATASETS if same else _OF_DATASETS | frozenset(OF_NODATA)

    def array(self, pyramid: SupportsMultiscales, level: int, zarr_format: int) -> dict[str, Any]:
        # xarray goes by a declared NaN too: floats that have one stay as wide as they are when they are unpacked.
        nan = pyramid.nodata is None and pyramid.dtype.kind == "f" and declares_nan(pyramid.attrs, pyramid.dtype)
        value = np.nan if nan else pyramid.nodata
        nodata = nodata_json(value, pyramid.dtype, zarr_format=zarr_format, keeps_nan=nan)
        return {} if nodata is None else {"_FillValue": nodata}


def fill_value_of(pyramid: SupportsMultiscales, zarr_format: int) -> tuple[Any, bool]:
    """Fill value of a level's array, and False where zarr v2 leaves it open: xarray takes it for what holds nothing."""
    if zarr_format == 3 or pyramid.nodata is not None or pyramid.dtype.kind not in "iuf":
        return pyramid.fill_value, True
    if pyramid.dtype.kind == "f" and declares_nan(pyramid.attrs, pyramid.dtype):
        return np.nan, True
    if not getattr(pyramid, "has_fill_value", True):
        return pyramid.fill_value, False
    return pyramid.fill_value, not {"scale_factor", "add_offset", "_Unsigned"} & set(pyramid.attrs)


def _values(pyramid: SupportsMultiscales) -> tuple[Any, ...]:
    metadata = getattr(pyramid, "metadata", None)
    return () if metadata is None else metadata.nodata_values
