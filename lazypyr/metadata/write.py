"""Metadata of a pyramid: attributes of its group, nodes of its levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.metadata.codec import Codec
from lazypyr.metadata.containers import describes_container
from lazypyr.metadata.conventions import CONVENTIONS, Hierarchy, is_reserved, is_written
from lazypyr.metadata.conventions.cf import fill_value_of
from lazypyr.metadata.documents import ArrayNode
from lazypyr.metadata.protocol import SupportsMultiscales

__all__ = ["level_node", "multiscale_attributes"]


def multiscale_attributes(
    pyramid: SupportsMultiscales,
    *,
    zarr_format: int,
    paths: Sequence[str],
    legacy: bool = False,
    omero: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Attributes of the group that holds a pyramid's levels.

    Parameters
    ----------
    pyramid : lazypyr.Pyramid
        Or anything else with the attributes of `SupportsMultiscales`.
    zarr_format : {2, 3}
        3: `ome` (OME-NGFF 0.5), and zarr-conventions `multiscales` beside it. 2: OME-NGFF 0.4, whose `multiscales`
        leaves no room for the other. `spatial:` and `proj:` in both, when known.
    paths : sequence of str
        Path of each level's array below the group, finest first.
    legacy : bool
        Zarr v2 only: paths and version "0.1", nothing more. Also what is written in v2 when `why_not_ome` says that
        OME-NGFF can't express the axes; in v3 `ome` is then left out.
    omero : Mapping, optional
        Display settings to use instead of our own; ignored where there is no OME metadata.
    provenance : Mapping, optional
        Entries of the attribute "lazypyr": how the levels were made.

    Returns
    -------
    dict[str, Any]
        Attributes of the source's group and the pyramid's own under their names, then these; not yet cleaned for JSON
        (`documents` does that).

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> pyramid = lazypyr.open_pyramid(np.zeros((100, 70), "f4"), chunks=(32, 32))
    >>> sorted(multiscale_attributes(pyramid, zarr_format=3, paths=["0", "1", "2"]))
    ['multiscales', 'ome', 'zarr_conventions']
    """
    if zarr_format not in (2, 3):
        raise PlanError(f"zarr_format: expected 2 or 3, got {zarr_format!r}")
    if legacy and zarr_format == 3:
        raise PlanError("legacy multiscales 0.1 belong to zarr_format=2, got 3")
    if len(paths) != len(pyramid.levels):
        raise PlanError(f"paths: expected one for each of the {len(pyramid.levels)} levels, got {list(paths)!r}")
    hierarchy = Hierarchy(zarr_format, tuple(paths), legacy, omero, provenance)
    around = getattr(getattr(pyramid, "metadata", None), "group_attrs", {})
    attributes = {
        key: value for key, value in around.items() if not (is_written(str(key)) or describes_container(key, value))
    }
    attributes |= {key: value for key, value in pyramid.attrs.items() if not is_reserved(str(key))}
    for convention in CONVENTIONS:
        attributes |= convention.group(pyramid, hierarchy)
    return attributes


def level_node(pyramid: SupportsMultiscales, level: int, *, codec: Codec | None, zarr_format: int = 3) -> ArrayNode:
    """Array of one level: the source's attributes, its dimension names, place in the world (`spatial:`, `proj:`) and nodata.

    Parameters
    ----------
    pyramid : lazypyr.Pyramid
        Or anything else with the attributes of `SupportsMultiscales`.
    level : int
        0 is the finest.
    codec : Codec or None
        Compressor of its chunks.
    zarr_format : {2, 3}
        Format in which its attributes are spelled.

    Returns
    -------
    ArrayNode
        Without the separator of its keys.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> pyramid = lazypyr.open_pyramid(np.zeros((100, 70), "f4"), chunks=(32, 32))
    >>> level_node(pyramid, 1, codec=None).shape
    (50, 35)
    """
    left_out = frozenset[str]().union(*(convention.left_out(pyramid) for convention in CONVENTIONS))
    attributes = {k: v for k, v in pyramid.attrs.items() if not is_written(str(k)) and k not in left_out}
    for convention in CONVENTIONS:
        attributes |= convention.array(pyramid, level, zarr_format)
    fill_value, has_fill_value = fill_value_of(pyramid, zarr_format)
    return ArrayNode(
        shape=pyramid.levels[level].shape,
        chunks=pyramid.chunks,
        dtype=pyramid.dtype,
        fill_value=fill_value,
        has_fill_value=has_fill_value,
        dimension_names=tuple(pyramid.axes),
        attributes=attributes,
        codec=codec,
    )
