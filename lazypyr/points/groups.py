"""Zarr groups as tables of points: arrays that have one entry a point, read when needed; zarr-vectors stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError, PlanError
from lazypyr.points.columns import ScaledColumn, as_column
from lazypyr.points.materialized import read_materialized
from lazypyr.points.table import PAIRS, Request, Table, short_name
from lazypyr.points.vectors import is_vectors, read_vectors
from lazypyr.sources.base import Source
from lazypyr.sources.open_path import store_of

__all__ = ["read_group", "read_store"]

_AXES = ("xyz", "XYZ", *((*pair, "z") for pair in PAIRS[2:]))
_KNOWN = ("scale", "offset", "units", "unit", "crs")


def read_store(path: str, request: Request) -> Table:
    """The table of the zarr group at a path or URL, of zip archives too."""
    import zarr

    try:
        group = zarr.open_group(store_of(path, request.storage_options), mode="r")
    except PlanError:
        raise
    except Exception as error:
        raise PlanError(
            f"{path}: expected a zarr group, or a file .las, .laz, .csv, .parquet or .ply: {type(error).__name__}: {error}"
        ) from error
    return read_group(group, path, request)


def read_group(group: Any, path: str, request: Request) -> Table:
    """The table of an open zarr group."""
    try:
        attrs = dict(group.attrs)
        cloud = read_materialized(group)
        if cloud is None and is_vectors(attrs):
            return read_vectors(group, path, short_name(path), request)
        arrays = {} if cloud is not None else dict(group.arrays())
    except LazypyrError:
        raise
    except Exception as error:
        raise PlanError(f"{path}: its arrays can't be opened: {type(error).__name__}: {error}") from error
    if request.level:
        raise PlanError(
            f"{path}: level: expected 0: only zarr-vectors stores have levels of points, got {request.level}"
        )
    if cloud is not None:
        return Table(cloud.columns, short_name(path), cloud.crs, cloud.units, cloud.attrs, materialized=cloud)
    left_out: dict[str, str] = {}
    columns: dict[str, Source] = {}
    for name in request.chosen(arrays):
        array = arrays[name]
        if array.shape and np.dtype(array.dtype).kind in "biufcmM":
            columns[name] = as_column(array, name)
        elif array.shape:
            left_out[name] = f"values of type {array.dtype}"
    columns |= _scaled(columns, attrs, path)
    units, crs = attrs.get("units", attrs.get("unit")), attrs.get("crs")
    return Table(
        columns,
        short_name(path),
        crs if isinstance(crs, str) else None,
        units if isinstance(units, str) else None,
        {key: value for key, value in attrs.items() if key not in _KNOWN},
        left_out,
    )


def _scaled(columns: Mapping[str, Source], attrs: Mapping[str, Any], path: str) -> dict[str, Source]:
    """Coordinates that the `scale` and `offset` of the group, one for each axis or one for all, put right."""
    scale, offset = attrs.get("scale"), attrs.get("offset")
    if scale is None and offset is None:
        return {}
    axes = next((axes for axes in _AXES if axes[0] in columns and axes[1] in columns), None)
    if axes is None:
        return {}
    scales, offsets = _each(scale, 1.0, path, "scale"), _each(offset, 0.0, path, "offset")
    if scales is None or offsets is None:
        return {}
    scaled: dict[str, Source] = {}
    for axis, s, o in zip(axes, scales, offsets, strict=True):
        column = columns.get(axis)
        if column is None and axis == "z":
            column = columns.get("Z")
        if column is not None and (s, o) != (1.0, 0.0):
            scaled[axis] = ScaledColumn(column, s, o)
    return scaled


def _each(value: Any, default: float, path: str, what: str) -> tuple[float, ...] | None:
    """Numbers of three axes; None of attributes that aren't numbers, which are something else."""
    given = value if isinstance(value, list) else [default if value is None else value] * 3
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in given):
        return None
    if len(given) not in (2, 3):
        raise PlanError(f"{path}: {what}: expected one number for each of x, y and z, got {value!r}")
    return (*map(float, given), default)[:3]
