"""Points from one coordinate reference system to another, by pyproj."""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.metadata.crs import load_pyproj

__all__ = ["axis_unit", "checked_crs", "is_geographic", "period_of", "transform"]

Array = np.ndarray[Any, Any]
_FEATURE = "reproject"
_of_thread = threading.local()


def transform(source: str, target: str, x: Array, y: Array) -> tuple[Array, Array]:
    """Coordinates of points in another CRS, east before north in both; infinite where there are none.

    Parameters
    ----------
    source, target : str
        As `checked_crs` takes them.
    x, y : ndarray of float64
        Of the same shape.
    """
    made: dict[tuple[str, str], Any] = _of_thread.__dict__.setdefault("transformers", {})
    transformer = made.get((source, target))
    if transformer is None:
        # Making one takes milliseconds, and none may be used by two threads at once.
        pyproj = load_pyproj(_FEATURE)
        try:
            transformer = pyproj.Transformer.from_crs(_crs(source), _crs(target), always_xy=True)
        except pyproj.exceptions.ProjError as error:
            raise PlanError(f"there is no transformation from CRS {source!r} to {target!r}: {error}") from error
        made[source, target] = transformer
    east, north = transformer.transform(x, y)
    return np.asarray(east), np.asarray(north)


def checked_crs(crs: Any) -> str:
    """CRS as text that says it in any process: a code as it is, else WKT; PlanError for what pyproj doesn't take."""
    pyproj = load_pyproj(_FEATURE)
    try:
        known = pyproj.CRS.from_user_input(crs)
        code = known.to_authority(min_confidence=100)
        text = ":".join(code) if code else known.to_wkt()
    except pyproj.exceptions.ProjError as error:
        raise PlanError(f"crs: expected a CRS such as 'EPSG:3857' or WKT, got {crs!r} ({error})") from error
    return str(crs) if isinstance(crs, str) and ":" in crs and len(crs) < 16 else text


@lru_cache(maxsize=64)
def _crs(text: str) -> Any:
    return load_pyproj(_FEATURE).CRS.from_user_input(text)


@lru_cache(maxsize=64)
def is_geographic(crs: str) -> bool:
    """True of longitudes and latitudes, of rotated poles too."""
    return bool(_crs(crs).is_geographic)


@lru_cache(maxsize=64)
def axis_unit(crs: str) -> str | None:
    """Unit of both axes, as UDUNITS spells it; None where they have none."""
    axes = _crs(crs).axis_info
    name = str(axes[0].unit_name) if axes else ""
    return name.replace("metre", "meter") or None


@lru_cache(maxsize=64)
def period_of(crs: str) -> float:
    """Distance after which x comes to the same meridian again; 0 where it doesn't.

    Of a geographic CRS it is a full turn. Of a projection it is what a turn of longitude adds to x, provided that x is
    proportional to longitude and independent of latitude, as in cylindrical projections.
    """
    known = _crs(crs)
    if is_geographic(crs):
        radians = float(known.axis_info[0].unit_conversion_factor)
        return round(2 * math.pi / radians, 9)
    geodetic = known.geodetic_crs
    if geodetic is None or not known.is_projected:
        return 0.0
    pyproj = load_pyproj(_FEATURE)
    inverse = pyproj.Transformer.from_crs(known, geodetic, always_xy=True)
    lon0, _ = inverse.transform(0.0, 0.0)
    if not math.isfinite(lon0):
        return 0.0
    lon = lon0 + np.array([0.0, 30, 60, -60, 0, 30, 60, -60])
    x, _ = inverse.transform((lon + 180) % 360 - 180, np.repeat([0.0, 45.0], 4), direction="INVERSE")
    if not np.isfinite(x).all():
        return 0.0
    steps = (np.asarray(x) - x[0])[[1, 2, 3, 5, 6, 7]] / np.array([30.0, 60, -60, 30, 60, -60])
    even = np.allclose(steps, steps[0], rtol=1e-9, atol=0)
    return float(abs(steps[0]) * 360) if even and steps[0] else 0.0
