"""Names of axes: what is given, what is declared, what is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError

__all__ = ["axis_role", "dims_of", "given_axes", "known_axes", "name_plane"]

# Names by the axis that they are, the surest first: a "height" beside a latitude is no row.
_NAMES: tuple[dict[str, str], ...] = (
    {"y": "y", "x": "x"},
    {
        **dict.fromkeys(
            "lat latitude latitudes rlat nlat nlats grid_latitude lat_rho northing northings north south_north yc yh yt "  # noqa: SIM905
            "grid_yt yt_ocean projection_y_coordinate".split(),
            "y",
        ),
        **dict.fromkeys(
            "lon long longitude longitudes rlon nlon nlons grid_longitude lon_rho easting eastings east west_east xc xh xt "  # noqa: SIM905
            "grid_xt xt_ocean projection_x_coordinate".split(),
            "x",
        ),
    },
    {
        **dict.fromkeys("row rows line lines azimuth az along_track scanline eta_rho nj ny".split(), "y"),  # noqa: SIM905
        **dict.fromkeys(
            "col cols column columns sample range rg across_track ground_pixel xi_rho ni nx".split(),  # noqa: SIM905
            "x",
        ),
    },
    {"height": "y", "width": "x"},
)
# Names of axes that are neither y nor x wherever they stand.
_OTHER_NAMES = frozenset(
    "t time times date dates day month year season hour step forecast_time valid_time lead_time member ensemble "  # noqa: SIM905
    "realization number z lev level levels depth altitude pressure plev isobaricinhpa bottom_top sigma theta c "
    "channel channels band bands wavelength variable polarization polarisation pol face tile".split()
)
_STANDARD_NAMES = {
    "latitude": "y",
    "grid_latitude": "y",
    "projection_y_coordinate": "y",
    "longitude": "x",
    "grid_longitude": "x",
    "projection_x_coordinate": "x",
    "time": "t",
}
_DEGREES = {
    **{f"degree{s}{sign}": "y" for s in ("", "s") for sign in ("_north", "_n", "n")},
    **{f"degree{s}{sign}": "x" for s in ("", "s") for sign in ("_east", "_e", "e")},
}
_OTHERS = "ijklmnop"


def axis_role(attrs: Mapping[str, Any]) -> str | None:
    """Axis that the attributes of a coordinate variable say it is, by CF.

    Parameters
    ----------
    attrs : Mapping
        `axis`, `standard_name` and `units` are looked at, in this order.

    Returns
    -------
    str or None
        "x", "y", "z" or "t"; None where they don't say.

    Examples
    --------
    >>> axis_role({"axis": "Y"}), axis_role({"units": "degrees_east"}), axis_role({"units": "days since 2000-01-01"})
    ('y', 'x', 't')
    """
    axis = str(attrs.get("axis", "")).lower()
    if axis in ("x", "y", "z", "t"):
        return axis
    name, units = str(attrs.get("standard_name", "")), str(attrs.get("units", "")).lower()
    return _STANDARD_NAMES.get(name) or _DEGREES.get(units) or ("t" if " since " in units else None)


def given_axes(axes: str | Iterable[str], ndim: int, name: str, *, what: str = "axes") -> tuple[str, ...]:
    """Axes as the user names them: a string of letters or a sequence of names, "y" and "x" among them.

    Raises
    ------
    PlanError
        When their number differs from `ndim`, a name stands twice, or y or x is missing.
    """
    if not isinstance(axes, Iterable):
        raise PlanError(f"{name}: {what}: expected a string such as 'yxi' or a sequence of names, got {axes!r}")
    names = tuple(str(a) for a in axes)
    if len(names) != ndim:
        raise PlanError(f"{name}: {what}={axes!r} names {len(names)} axes, the array has {ndim}")
    if len(set(names)) != len(names) or not all(names):
        raise PlanError(f"{name}: {what}={axes!r} must name each axis once")
    if not {"y", "x"} <= set(names):
        raise PlanError(f"{name}: {what}={axes!r} must have a 'y' and an 'x', the axes that are downsampled")
    return names


def known_axes(
    declared: Sequence[str | None] | None,
    shape: Sequence[int],
    chunks: Sequence[int],
    name: str,
    roles: Sequence[str | None] = (),
) -> tuple[str, ...]:
    """Axes by what the source says of them, else by position.

    Parameters
    ----------
    declared : sequence of (str or None), or None
        Names of the dimensions, as far as the source has any.
    shape, chunks : sequence of int
        By axis. Of an array in one piece `chunks` is its shape.
    name : str
        For messages.
    roles : sequence of (str or None)
        By axis, what its coordinate variable says that it is, see `axis_role`; empty where there is none.

    Returns
    -------
    tuple[str, ...]
        "y" and "x" are the two whose roles or names say so, wherever they stand. By position they are the last two axes
        of those that aren't known to be something else (a time); the first two when all that follow have chunks of one
        pixel while these have larger ones (a stack of images with trailing channels), or when the only one that follows
        has at most four pixels and the others more (RGB and RGBA); of four axes and more, not a last one of a single pixel.

    Raises
    ------
    PlanError
        Where two axes would have the same name.
    """
    ndim = len(shape)
    said = list(declared) if declared is not None and len(declared) == ndim else [None] * ndim
    spatial = _spatial(said, list(roles) or [None] * ndim, shape, chunks)
    names = ["y" if axis == spatial[0] else "x" if axis == spatial[1] else said[axis] or "" for axis in range(ndim)]
    free = _free([*(d for d in said if d), *names])
    # A second axis of a name, or another one called y or x, is told by a letter.
    names = [
        n if n and (axis in spatial or (n not in ("y", "x") and n not in names[:axis])) else next(free)
        for axis, n in enumerate(names)
    ]
    if len(set(names)) != ndim:
        raise PlanError(f"{name}: can't tell its axes ({declared!r}); name them with axes=, for example axes='yxi'")
    return tuple(names)


def name_plane(declared: Sequence[str | None], roles: Sequence[str | None] = ()) -> bool:
    """True where the names, or the roles, of dimensions say which one is y and which one is x."""
    said = list(roles) or [None] * len(declared)
    return all(_named(axis, declared, said) is not None for axis in ("y", "x"))


def _spatial(
    said: Sequence[str | None], roles: Sequence[str | None], shape: Sequence[int], chunks: Sequence[int]
) -> tuple[int, int]:
    """Positions of y and x."""
    y, x = (_named(axis, said, roles) for axis in ("y", "x"))
    if y is not None and x is not None:
        return y, x
    ndim = len(shape)
    taken = [
        (role or "") in ("z", "t") or (name or "").lower() in _OTHER_NAMES
        for name, role in zip(said, roles, strict=True)
    ]
    left = [axis for axis in range(ndim) if not taken[axis] and axis not in (y, x)]
    if y is not None and left:
        return y, next((axis for axis in left if axis > y), left[-1])
    if x is not None and left:
        return next((axis for axis in reversed(left) if axis < x), left[0]), x
    if any(taken) and len(left) >= 2:
        return left[-2], left[-1]
    stacked = ndim > 2 and all(c == 1 for c in chunks[2:]) and min(chunks[:2]) > 1
    trailing = stacked or (ndim == 3 and shape[2] <= 4 < min(shape[:2]))
    if trailing:
        return 0, 1
    # A single section at the end, as of a volume (c, x, y, z), is no row of pixels.
    single = ndim > 3 and shape[-1] == 1 and min(shape[-3:-1]) > 1
    return (ndim - 3, ndim - 2) if single else (ndim - 2, ndim - 1)


def _named(axis: str, said: Sequence[str | None], roles: Sequence[str | None]) -> int | None:
    """Position of the one dimension that is y (or x) by its role, else by the surest kind of name that one has."""
    found = [number for number, role in enumerate(roles) if role == axis]
    kinds = iter(_NAMES)
    while len(found) != 1 and (names := next(kinds, None)) is not None:
        found = [number for number, name in enumerate(said) if name and names.get(name.lower()) == axis]
        if len(found) > 1:
            return None
    return found[0] if len(found) == 1 else None


def dims_of(axes: Sequence[str], declared: Sequence[str | None] | None) -> dict[str, str]:
    """Names of the dimensions as the source declares them, by axis."""
    if declared is None or len(declared) != len(axes):
        return {}
    return {axis: name for axis, name in zip(axes, declared, strict=True) if name}


def _free(taken: Iterable[str]) -> Iterator[str]:
    used = set(taken)
    return (letter for letter in _OTHERS if letter not in used)
