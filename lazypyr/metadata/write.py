"""What a pyramid says of itself: attributes of its group, nodes of its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.metadata.codec import Codec
from lazypyr.metadata.conventions import ome
from lazypyr.metadata.conventions import zarr_conventions as conventions
from lazypyr.metadata.documents import ArrayNode
from lazypyr.metadata.json_values import nodata_json
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["level_node", "multiscale_attributes"]

# Said anew for the pyramid: what the source said of its own levels, place and layout would contradict it.
_OURS = frozenset({"ome", "omero", "multiscales", "zarr_conventions", "_ARRAY_DIMENSIONS", "_FillValue"})
_PREFIXES = ("spatial:", "proj:")
# What xarray looks for on the array itself.
_OF_ARRAYS = ("units", "long_name", "standard_name", "scale_factor", "add_offset")


def multiscale_attributes(
    pyramid: SupportsMultiscales,
    *,
    zarr_format: int,
    paths: Sequence[str],
    legacy: bool = False,
    omero: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Attributes of the group that holds a pyramid's levels.

    Parameters
    ----------
    pyramid : lazypyr.pyramid.Pyramid
    zarr_format : {2, 3}
        3: `ome` (OME-NGFF 0.5), and zarr-conventions `multiscales` beside it. 2: OME-NGFF 0.4, whose `multiscales`
        leaves no room for the other. `spatial:` and `proj:` in both, when known.
    paths : sequence of str
        Path of each level's array below the group, finest first.
    legacy : bool
        Zarr v2 only: paths and version "0.1", nothing more. Also what is written in v2 when `why_not_ome` says that
        OME-NGFF can't express the axes; in v3 `ome` is then left out.
    omero : Mapping or None
        Display settings to use instead of our own; ignored where there is no OME metadata.

    Returns
    -------
    dict[str, Any]
        The pyramid's own attributes under their names, then these; not yet cleaned for JSON (`documents` does that).
    """
    if zarr_format not in (2, 3):
        raise PlanError(f"zarr_format: expected 2 or 3, got {zarr_format!r}")
    if legacy and zarr_format == 3:
        raise PlanError("legacy multiscales 0.1 belong to zarr_format=2, got 3")
    if len(paths) != len(pyramid.levels):
        raise PlanError(f"paths: expected one for each of the {len(pyramid.levels)} levels, got {list(paths)!r}")
    attributes = {
        key: value for key, value in pyramid.attrs.items() if key not in _OURS and not str(key).startswith(_PREFIXES)
    }
    valid = not legacy and ome.why_not_ome(pyramid) is None
    settings = ome.omero(pyramid, omero) if valid else None
    shown = {"omero": settings} if settings else {}
    if zarr_format == 3:
        if valid:
            attributes["ome"] = {"version": "0.5", "multiscales": [ome.multiscale(pyramid, paths)], **shown}
        attributes["multiscales"] = conventions.layout(pyramid, paths)
    elif valid:
        attributes["multiscales"] = [{"version": "0.4", **ome.multiscale(pyramid, paths)}]
        if settings:
            attributes["omero"] = {"version": "0.4", **settings}
    else:
        attributes["multiscales"] = [{"version": "0.1", "datasets": [{"path": path} for path in paths]}]
    attributes |= conventions.conventions(pyramid, multiscales=zarr_format == 3)
    if conventions.located(pyramid):
        attributes["spatial:bbox"] = conventions.bbox(pyramid)
        if zarr_format == 2:
            # In v3 each entry of the layout has its own, and the convention allows no second one here.
            attributes["spatial:transform"] = conventions.spatial_transform(pyramid, pyramid.levels[0])
    return attributes


def level_node(pyramid: SupportsMultiscales, level: int, *, codec: Codec | None, zarr_format: int = 3) -> ArrayNode:
    """The array of one level: its dimension names, place in the world (`spatial:`, `proj:`) and declared no-data."""
    size = pyramid.levels[level]
    attributes = {key: pyramid.attrs[key] for key in _OF_ARRAYS if key in pyramid.attrs}
    nodata = nodata_json(pyramid.nodata, pyramid.dtype, zarr_format=zarr_format)
    if nodata is not None:
        attributes["_FillValue"] = nodata
    attributes |= conventions.conventions(pyramid, multiscales=False)
    if conventions.located(pyramid):
        attributes["spatial:transform"] = conventions.spatial_transform(pyramid, size)
    return ArrayNode(
        shape=size.shape,
        chunks=pyramid.chunks,
        dtype=pyramid.dtype,
        fill_value=pyramid.fill_value,
        dimension_names=tuple(pyramid.axes),
        attributes=attributes,
        codec=codec,
    )
