"""Place in the world that attributes of an array state."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.geometry.grid import Coord

__all__ = ["affine_coords", "crs_of", "georeference", "numbers", "rotated_affine", "rotated_of"]


def georeference(
    attrs: Mapping[str, Any], axes: Sequence[str], shape: Sequence[int]
) -> tuple[dict[str, Coord], str | None]:
    """Coordinates of the axes y and x, and the CRS, from an array's (or its group's) attributes.

    Understood, the first that is there: `spatial:transform` (with `spatial:registration`), `proj:transform`,
    `transform` (rasterio's order a, b, c, d, e, f) and `GeoTransform` (GDAL's order, a string or list). The CRS:
    `proj:code`, `proj:wkt2`, `proj:projjson`, `proj:epsg`, `crs_wkt`, `spatial_ref`, `crs`, GDAL's `_CRS`.

    Parameters
    ----------
    attrs : Mapping
        Attributes of an array, or of the group around it.
    axes : sequence of str
        Names of the array's axes; the place is given for "y" and "x" only.
    shape : sequence of int
        By axis. A `spatial:shape` that differs from it means that the attributes are about another array.

    Returns
    -------
    coords : dict[str, Coord]
        Pixel **centres**; empty when nothing is said or the grid is rotated.
    crs : str or None
        "EPSG:32633", WKT or PROJJSON.

    Raises
    ------
    PlanError
        When an attribute of the `spatial:` or `proj:` conventions is malformed. The names that no convention owns
        (`transform`, `crs`) may mean anything, and are passed over when they aren't what is understood.

    Examples
    --------
    >>> georeference({"spatial:transform": [10, 0, 0, 0, -10, 1000], "proj:code": "EPSG:32633"}, "yx", (100, 100))
    ({'y': Coord(origin=995.0, step=-10.0, unit=None), 'x': Coord(origin=5.0, step=10.0, unit=None)}, 'EPSG:32633')
    """
    crs = crs_of(attrs)
    if _is_of_another(attrs, axes, shape):
        return {}, crs
    affine, node = _affine(attrs)
    coords = affine_coords(affine, node=node) if affine else {}
    return {axis: coord for axis, coord in coords.items() if axis in axes}, crs


def _is_of_another(attrs: Mapping[str, Any], axes: Sequence[str], shape: Sequence[int]) -> bool:
    """True where attributes are about an array of another shape."""
    declared = attrs.get("spatial:shape")
    if declared is None or "y" not in axes or "x" not in axes:
        return False
    plane = [shape[axes.index("y")], shape[axes.index("x")]]
    return numbers(declared, "spatial:shape", (2, 3))[-2:] != plane


def rotated_of(attrs: Mapping[str, Any], axes: Sequence[str], shape: Sequence[int]) -> tuple[float, ...] | None:
    """Transform of a rotated or sheared grid from attributes, at pixel edges, else None; see `georeference`."""
    affine, node = (None, False) if _is_of_another(attrs, axes, shape) else _affine(attrs)
    return rotated_affine(affine, node=node) if affine else None


def rotated_affine(affine: Sequence[float], *, node: bool = False) -> tuple[float, ...] | None:
    """Transform ``x = a * column + b * row + c``, ``y = d * column + e * row + f`` at pixel edges, if it turns or shears."""
    a, b, c, d, e, f = map(float, affine[:6])
    if not (b or d) or a * e == b * d:
        return None
    half = 0.5 if node else 0.0
    return a, b, c - half * (a + b), d, e, f - half * (d + e)


def _affine(attrs: Mapping[str, Any]) -> tuple[Sequence[float] | None, bool]:
    node = attrs.get("spatial:registration", "pixel") == "node"
    if attrs.get("spatial:transform_type", "affine") == "affine":
        for name in ("spatial:transform", "proj:transform"):
            if attrs.get(name) is not None:
                return numbers(attrs[name], name, (6, 9)), node and name == "spatial:transform"
    for name, order in (("transform", (0, 1, 2, 3, 4, 5)), ("GeoTransform", (1, 2, 0, 4, 5, 3))):
        value = attrs.get(name)
        if isinstance(value, str):
            value = value.replace(",", " ").split()
        try:
            coefficients = [float(v) for v in value] if value is not None else []
        except (TypeError, ValueError, OverflowError):
            continue
        if len(coefficients) in (6, 9) and all(map(math.isfinite, coefficients)):
            return [coefficients[i] for i in order], False
    return None, False


def affine_coords(affine: Sequence[float], *, node: bool = False) -> dict[str, Coord]:
    """Pixel centres of ``x = a * column + c``, ``y = e * row + f``; empty for a rotated or degenerate grid.

    `node`: ``c, f`` is the centre of the first pixel, not its outer corner.
    """
    a, b, c, d, e, f = affine[:6]
    if b or d or not a or not e:
        return {}
    half = 0.0 if node else 0.5
    return {"y": Coord(f + half * e, e), "x": Coord(c + half * a, a)}


def numbers(value: Any, name: str, lengths: Sequence[int] | None = None) -> list[float]:
    """Finite numbers, of one of these counts; PlanError names the attribute."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        parsed = [_number(v) for v in value]
        if None not in parsed and (lengths is None or len(parsed) in lengths):
            return [v for v in parsed if v is not None]
    count = "" if lengths is None else f"{' or '.join(map(str, lengths))} "
    raise PlanError(f"attribute {name}: expected a list of {count}finite numbers, got {value!r}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def crs_of(attrs: Mapping[str, Any]) -> str | None:
    """The CRS that attributes name: "EPSG:32633", WKT or PROJJSON text."""
    projjson = attrs.get("proj:projjson")
    if isinstance(projjson, Mapping) and not (attrs.get("proj:code") or attrs.get("proj:wkt2")):
        return json.dumps(projjson)
    gdal = attrs.get("_CRS")
    inner = dict(gdal) if isinstance(gdal, Mapping) else {}
    code = str(inner.get("url", "")).rpartition("/def/crs/EPSG/")[2].rpartition("/")[2]
    candidates = (
        attrs.get("proj:code"),
        attrs.get("proj:wkt2"),
        attrs.get("proj:epsg"),
        attrs.get("crs_wkt"),
        attrs.get("spatial_ref"),
        attrs.get("crs"),
        int(code) if code.isdigit() else None,
        inner.get("wkt"),
    )
    for candidate in candidates:
        if isinstance(candidate, str) and candidate.strip():
            return candidate.strip()
        if isinstance(candidate, int | np.integer) and not isinstance(candidate, bool) and candidate > 0:
            return f"EPSG:{int(candidate)}"
    return None
