"""Pyramids of all rasters of a source, by path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.pyramids.assemble import assembled
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.embeddings import dequantized
from lazypyr.pyramids.open import open_pyramid, opened_otherwise
from lazypyr.registry import check_options
from lazypyr.sources.copied import Surroundings
from lazypyr.sources.open import OpenedSource, open_tree

__all__ = ["PyramidTree", "open_pyramids"]

_OF_SOURCES = ("axes", "nodata", "storage_options", "allow_codecs", "multiscale", "variable", "sel", "isel")


@dataclass(frozen=True)
class PyramidTree:
    """Pyramids by path, and what is served beside them as it is.

    Parameters
    ----------
    pyramids : Mapping[str, Pyramid]
        By path; "" is the root.
    surroundings : Surroundings

    Examples
    --------
    >>> import numpy as np
    >>> list(open_pyramids(np.zeros((100, 70))).pyramids)
    ['']
    """

    pyramids: Mapping[str, Pyramid]
    surroundings: Surroundings = field(default_factory=Surroundings)


def open_pyramids(src: Any, *, as_collection: bool | None = None, **options: Any) -> PyramidTree:
    """Open all rasters of a source. No pixel is read.

    Parameters
    ----------
    src : object
        As `lazypyr.open_pyramid` takes it.
    as_collection : bool, optional
        True for a collection also of a single raster, False for one pyramid; by default several are a collection.
    **options : dict
        Options of `lazypyr.open_pyramid`, for each raster.

    Returns
    -------
    PyramidTree
        One pyramid at the root, or each at its path.

    Raises
    ------
    PlanError
        When none can be opened.
    """
    if isinstance(getattr(src, "pyramids", None), Mapping) and "" not in src.pyramids and not options:
        return PyramidTree(src.pyramids, src.surroundings)
    if as_collection is False or options.get("variable") is not None or opened_otherwise(src, options):
        return PyramidTree({"": open_pyramid(src, **options)})
    check_options("open_pyramid", options, open_pyramid)
    given = {name: value for name, value in options.items() if name in _OF_SOURCES}
    rest = {name: value for name, value in options.items() if name not in _OF_SOURCES}
    opened = open_tree(src, whole=True, joined=dequantized, **given)
    if isinstance(opened, OpenedSource):
        name = opened.name or "image"
        return PyramidTree({name if as_collection else "": assembled(opened, **rest)})
    if opened.single is not None and not as_collection:
        alone = Surroundings(unreadable=opened.surroundings.unreadable)
        return PyramidTree({"": assembled(opened.rasters[opened.single], **rest)}, alone)
    pyramids, failed = {}, dict(opened.surroundings.unreadable)
    for path, raster in opened.rasters.items():
        own = {"method": "mode"} if path in opened.labels and rest.get("method") is None else {}
        try:
            pyramids[path] = assembled(raster, **{**rest, **own})
        except PlanError as error:
            failed[path] = str(error)
    if not pyramids:
        raise PlanError(next(iter(failed.values())))
    around = opened.surroundings
    return PyramidTree(pyramids, Surroundings(around.groups, around.arrays, failed))
