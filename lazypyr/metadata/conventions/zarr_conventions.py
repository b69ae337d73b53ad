"""The zarr-conventions: `multiscales` (zarr v3 only), `spatial:` and `proj:`.

`spatial:transform` maps pixel **edges** (registration "pixel", the convention's default): ``x = a * column + c`` with
column 0 the left edge and 0.5 the centre of the first pixel. Box methods keep the edge of level 0 at every level; a
`stride` sample sits on its level-0 pixel, so that its pixel, ``2**k`` wide about that centre, begins
``(2**k - 1) / 2`` level-0 pixels before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lazypyr.geometry.grid import Coord
from lazypyr.metadata.conventions.base import Convention, Hierarchy
from lazypyr.metadata.crs import authority_code, is_wkt
from lazypyr.metadata.dataset import EMPTY
from lazypyr.metadata.protocol import SupportsLevel, SupportsMultiscales

__all__ = ["ZarrConventions", "layout", "proj", "spatial_transform"]

MULTISCALES_UUID = "d35379db-88df-4056-af3a-620245f8e347"
SPATIAL_UUID = "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4"
PROJ_UUID = "f17cb550-5864-4468-aeb7-f3180cfb622f"

_RAW, _HUB = "https://raw.githubusercontent.com", "https://github.com"


def _convention(uuid: str, repository: str, name: str, description: str) -> dict[str, str]:
    return {
        "uuid": uuid,
        "schema_url": f"{_RAW}/{repository}/refs/tags/v1/schema.json",
        "spec_url": f"{_HUB}/{repository}/blob/v1/README.md",
        "name": name,
        "description": description,
    }


_MULTISCALES = _convention(
    MULTISCALES_UUID, "zarr-conventions/multiscales", "multiscales", "Multiscale layout of zarr datasets"
)
_SPATIAL = _convention(SPATIAL_UUID, "zarr-conventions/spatial", "spatial", "Spatial coordinate information")
_PROJ = _convention(
    PROJ_UUID,
    "zarr-experimental/geo-proj",
    "proj:",
    "Coordinate reference system information for geospatial data",
)


class ZarrConventions(Convention):
    """`multiscales` (zarr v3), `spatial:` and `proj:`, each where it has something to say."""

    reserved_keys = frozenset({"multiscales", "zarr_conventions"})
    reserved_prefixes = ("spatial:", "proj:")
    level_keys = frozenset({"multiscales", "zarr_conventions"})

    def left_out(self, pyramid: SupportsMultiscales) -> frozenset[str]:
        return frozenset({"GeoTransform", "transform"})  # those of level 0

    def group(self, pyramid: SupportsMultiscales, hierarchy: Hierarchy) -> dict[str, Any]:
        v3 = hierarchy.zarr_format == 3
        attributes: dict[str, Any] = {"multiscales": layout(pyramid, hierarchy.paths)} if v3 else {}
        attributes |= self._georeference(pyramid, [_MULTISCALES] if v3 else [])
        if located(pyramid):
            attributes["spatial:bbox"] = bbox(pyramid)
            if not v3:
                # In v3 each entry of the layout has its own, and the convention allows no second one here.
                attributes["spatial:transform"] = spatial_transform(pyramid, pyramid.levels[0])
        return attributes

    def array(self, pyramid: SupportsMultiscales, level: int, zarr_format: int) -> dict[str, Any]:
        attributes = self._georeference(pyramid, [])
        if located(pyramid):
            attributes["spatial:transform"] = spatial_transform(pyramid, pyramid.levels[level])
        return attributes

    def _georeference(self, pyramid: SupportsMultiscales, used: list[dict[str, str]]) -> dict[str, Any]:
        """`zarr_conventions`, the CRS, and `spatial:dimensions`."""
        crs, is_located = proj(pyramid.crs), located(pyramid)
        used = [*used, *([_PROJ] if crs else []), *([_SPATIAL] if is_located else [])]
        declared = {"zarr_conventions": used} if used else {}
        return {**declared, **crs, **({"spatial:dimensions": ["y", "x"]} if is_located else {})}


def located(pyramid: SupportsMultiscales) -> bool:
    """True where an affine says where the pyramid lies in the plane: both of its axes are even, or the grid is rotated."""
    return ("y" in pyramid.coords and "x" in pyramid.coords) or _rotated(pyramid) is not None


def _rotated(pyramid: SupportsMultiscales) -> tuple[float, ...] | None:
    return getattr(pyramid, "metadata", EMPTY).affine if {"y", "x"} <= set(pyramid.axes) else None


def spatial_transform(pyramid: SupportsMultiscales, level: SupportsLevel) -> list[float]:
    """``[a, b, c, d, e, f]`` of a level: ``x = a * column + b * row + c``, ``y = d * column + e * row + f``, at pixel edges."""
    if _rotated(pyramid) is not None:
        return list(pyramid.metadata.affine_at(pyramid.axes, level))  # type: ignore[attr-defined]
    c, a = _edge(pyramid, level, "x")
    f, e = _edge(pyramid, level, "y")
    return [a, 0.0, c, 0.0, e, f]


def _edge(pyramid: SupportsMultiscales, level: SupportsLevel, axis: str) -> tuple[float, float]:
    coord, i = pyramid.coords.get(axis, Coord()), pyramid.axes.index(axis)
    scale, translation = level.scale[i], level.translation[i]
    return coord.at(translation - scale / 2), coord.step * scale


def bbox(pyramid: SupportsMultiscales) -> list[float]:
    """``[xmin, ymin, xmax, ymax]`` of level 0, outer pixel edges."""
    level = pyramid.levels[0]
    a, b, c, d, e, f = spatial_transform(pyramid, level)
    height, width = (level.shape[pyramid.axes.index(axis)] for axis in ("y", "x"))
    corners = [(column, row) for column in (0, width) for row in (0, height)]
    xs = [a * column + b * row + c for column, row in corners]
    ys = [d * column + e * row + f for column, row in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


def proj(crs: str | None) -> dict[str, Any]:
    """`proj:code`, `proj:wkt2` or `proj:projjson`; empty when the CRS is unknown or has none of these forms."""
    if crs is None:
        return {}
    text = crs.strip()
    code = authority_code(text)
    if code is not None and code[1].isdigit():
        return {"proj:code": ":".join(code)}
    if is_wkt(text):
        return {"proj:wkt2": text}
    if text.startswith("{"):
        try:
            return {"proj:projjson": json.loads(text)}
        except ValueError:
            return {}
    return {}


def layout(pyramid: SupportsMultiscales, paths: Sequence[str]) -> dict[str, Any]:
    """The value of `multiscales`: every level, and how it follows from the one it derives from.

    `transform` is relative and has one number for each axis of the array (GDAL drops a level otherwise). Its
    translation is in pixels of the level derived from: between edges where `spatial:transform` is given, as the
    convention `spatial:` asks, otherwise between centres, as in OME-NGFF.
    """
    levels = pyramid.levels
    entries: list[dict[str, Any]] = []
    for k, path in enumerate(paths):
        entry: dict[str, Any] = {"asset": path}
        base = max(k - 1, 0) if pyramid.downsampling.composable else 0
        scale = [s / b for s, b in zip(levels[k].scale, levels[base].scale, strict=True)]
        shift = [
            (t - b) / s
            for t, b, s in zip(levels[k].translation, levels[base].translation, levels[base].scale, strict=True)
        ]
        if located(pyramid):
            shift = [t + (1 - s) / 2 for t, s in zip(shift, scale, strict=True)]
        if k:
            entry["derived_from"] = paths[base]
        entry["transform"] = {"scale": scale, "translation": shift}
        if located(pyramid):
            entry["spatial:transform"] = spatial_transform(pyramid, levels[k])
            entry["spatial:shape"] = [levels[k].shape[pyramid.axes.index(axis)] for axis in ("y", "x")]
        entries.append(entry)
    return {"layout": entries, "resampling_method": pyramid.downsampling.resampling_name}
