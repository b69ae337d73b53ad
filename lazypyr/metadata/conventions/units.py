"""Names of units, as OME-NGFF (UDUNITS-2) spells them."""

from __future__ import annotations

__all__ = ["metres", "ome_unit"]

_PREFIXES = (
    *("yotta", "zetta", "exa", "peta", "tera", "giga", "mega", "kilo", "hecto"),
    *("deci", "centi", "milli", "micro", "nano", "pico", "femto", "atto", "zepto", "yocto"),
)
_SPACE = {"meter", "angstrom", "foot", "inch", "mile", "parsec", "yard", *(f"{p}meter" for p in _PREFIXES)}
_TIME = {"second", "day", "hour", "minute", *(f"{p}second" for p in _PREFIXES)}
_SHORT = {
    "m": "meter",
    "metre": "meter",
    "km": "kilometer",
    "cm": "centimeter",
    "mm": "millimeter",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "nm": "nanometer",
    "ft": "foot",
    "feet": "foot",
    "inches": "inch",
    "s": "second",
    "sec": "second",
    "ms": "millisecond",
    "us": "microsecond",
    "ns": "nanosecond",
    "min": "minute",
    "h": "hour",
    "d": "day",
}


def ome_unit(unit: str | None, kind: str) -> str | None:
    """The name OME has for a unit of an axis of this kind ("space", "time"); None where it has none.

    neuroglancer refuses a whole image for a unit it doesn't know (degrees, for one), so an unknown one is left out.
    """
    if not unit:
        return None
    names = {"space": _SPACE, "time": _TIME}.get(kind, set())
    name = _SHORT.get(unit, unit.lower()).replace("metre", "meter")
    return name if name in names else name.removesuffix("s") if name.removesuffix("s") in names else None


_POWERS = (24, 21, 18, 15, 12, 9, 6, 3, 2, -1, -2, -3, -6, -9, -12, -15, -18, -21, -24)
_METRES = {
    "meter": 1.0,
    "angstrom": 1e-10,
    "foot": 0.3048,
    "inch": 0.0254,
    "mile": 1609.344,
    "parsec": 3.0856775814913673e16,
    "yard": 0.9144,
    **{f"{prefix}meter": 10.0**power for prefix, power in zip(_PREFIXES, _POWERS, strict=True)},
}


def metres(unit: str | None) -> float | None:
    """Length of a unit in metres; None of what is no unit of length."""
    return _METRES.get(ome_unit(unit, "space") or "")
