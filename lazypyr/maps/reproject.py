"""Calls of `Pyramid.reproject`, checked and carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.maps.mesh import MeshPlace
from lazypyr.maps.place import place_of
from lazypyr.maps.reprojected import ReprojectedPyramid
from lazypyr.maps.resampling import RESAMPLINGS, chosen_resampling
from lazypyr.maps.target import Target, plain_target, tiled_target, tiling_of
from lazypyr.metadata.projection import checked_crs
from lazypyr.pyramids.base import Pyramid

__all__ = ["reproject", "reprojected_again"]


def reproject(
    pyramid: Pyramid,
    *,
    crs: Any,
    tiling: Any,
    resolution: float | None,
    bounds: Sequence[float] | None,
    zoom: Sequence[int] | None,
    extent: str,
    method: str | None,
    source_crs: Any,
    lonlat: Any,
) -> Pyramid:
    """Pyramid over another grid; see `Pyramid.reproject`."""
    if extent not in ("data", "world"):
        raise PlanError(f"extent: expected 'data' or 'world', got {extent!r}")
    if (crs is None) == (tiling is None):
        raise PlanError("reproject: expected either crs, with resolution and bounds if you like, or tiling")
    resampling = chosen_resampling(pyramid, method)
    given = None if source_crs is None else checked_crs(source_crs)
    if given is not None and lonlat is not None:
        raise PlanError(
            "source_crs is that of the coordinates along y and x; lonlat are longitudes and latitudes: give one of them"
        )
    place = place_of(pyramid, given, lonlat)
    if tiling is not None:
        if resolution is not None or bounds is not None:
            raise PlanError(
                "tiling: its zooms say the pixel sizes and its tiles the bounds; leave resolution and bounds out"
            )
        target = tiled_target(pyramid.name, place, tiling_of(tiling), zoom, world=extent == "world")
    else:
        if zoom is not None or extent != "data":
            raise PlanError("zoom and extent are those of a tiling; with crs give resolution and bounds")
        target = plain_target(pyramid.name, place, crs, resolution, bounds)
    mesh = place if isinstance(place, MeshPlace) and lonlat is not None else None
    return ReprojectedPyramid(pyramid, target, resampling, given, mesh, place)


def reprojected_again(parent: Pyramid, entry: Mapping[str, Any]) -> Pyramid:
    """The pyramid of a recipe's member `reproject`."""
    numbers: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    method = numbers.pop("method")
    if method not in RESAMPLINGS:
        raise PlanError(f"method: expected one of {', '.join(RESAMPLINGS)}, got {method!r}")
    source_crs = numbers.pop("source_crs", None)
    return ReprojectedPyramid(parent, Target(**numbers), RESAMPLINGS[method], source_crs)
