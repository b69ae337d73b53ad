"""Coordinate reference systems as text: read from grid mappings, and said in the forms that others read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lazypyr._util.optional import need
from lazypyr.errors import MissingExtra
from lazypyr.metadata.georeference import crs_of

__all__ = ["authority_code", "crs_of_mapping", "gdal_crs", "is_wkt", "load_pyproj", "mapping_attributes"]

_CODE = re.compile(r"([A-Za-z]+):([0-9A-Za-z]+)")
_URN = re.compile(
    r"urn:ogc:def:crs:([A-Za-z]+):[^:]*:([0-9A-Za-z]+)|https?://www\.opengis\.net/def/crs/([A-Za-z]+)/[^/]*/([0-9A-Za-z]+)"
)


def load_pyproj(feature: str) -> Any:
    """The module pyproj; MissingExtra that names `feature` where it isn't installed."""
    return need("pyproj", feature=feature, extra="geo")


def is_wkt(text: str) -> bool:
    """True for well-known text, of version 1 or 2."""
    return re.match(r"[A-Z][A-Z0-9_]*\s*\[", text.strip()) is not None


def authority_code(crs: str) -> tuple[str, str] | None:
    """Authority and code of a CRS that is named so ("EPSG:32633", a URN or URL of OGC), None of other texts."""
    named = _CODE.fullmatch(crs.strip()) or _URN.fullmatch(crs.strip())
    if named is None:
        return None
    authority, code = (part for part in named.groups() if part)
    return authority.upper(), code


def crs_of_mapping(attrs: Mapping[str, Any]) -> str | None:
    """The CRS of a grid mapping variable: its WKT or code, else (where pyproj is installed) that of its CF parameters."""
    text = crs_of(attrs)
    if text is not None or not isinstance(attrs.get("grid_mapping_name"), str):
        return text
    parameters = {key: value for key, value in attrs.items() if _is_plain(value)}
    if "semi_major_axis" in parameters and not {"semi_minor_axis", "inverse_flattening"} & set(parameters):
        # A sphere: pyproj would take WGS 84.
        parameters["semi_minor_axis"] = parameters["semi_major_axis"]
    return _of_cf(json.dumps(parameters))


def mapping_attributes(crs: str) -> dict[str, Any]:
    """Attributes of a grid mapping variable of a CRS, as CF, rioxarray and GDAL read them.

    The parameters of CF, and the WKT of what is given as a code or PROJJSON, are there where pyproj is installed.
    """
    stated: dict[str, Any] = dict(_cf(crs))
    wkt = crs if is_wkt(crs) else stated.get("crs_wkt")
    return {**stated, **({"crs_wkt": wkt} if wkt else {}), "spatial_ref": wkt or crs}


def gdal_crs(crs: str) -> dict[str, Any] | None:
    """The attribute `_CRS` of GDAL; None for a text that is neither a code nor WKT nor PROJJSON."""
    code = authority_code(crs)
    if code is not None:
        version = "1.3" if code[0] == "OGC" else "0"
        return {"url": f"http://www.opengis.net/def/crs/{code[0]}/{version}/{code[1]}"}
    if is_wkt(crs):
        return {"wkt": crs}
    try:
        projjson = json.loads(crs)
    except ValueError:
        return None
    return {"projjson": projjson} if isinstance(projjson, dict) else None


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.dumps(value))
    except (TypeError, ValueError):
        return False


@lru_cache(maxsize=64)
def _of_cf(parameters: str) -> str | None:
    try:
        pyproj = load_pyproj("CRS of CF parameters")
        return str(pyproj.CRS.from_cf(json.loads(parameters)).to_wkt())
    except MissingExtra:
        return None
    except Exception:  # of any kind: what isn't understood is passed on as it is
        return None


@lru_cache(maxsize=64)
def _cf(crs: str) -> tuple[tuple[str, Any], ...]:
    try:
        pyproj = load_pyproj("CF parameters of a CRS")
        parameters = pyproj.CRS.from_user_input(crs).to_cf()
    except Exception:  # not installed, or a text that PROJ doesn't know
        return ()
    return tuple((key, value) for key, value in parameters.items() if _is_plain(value))
