"""Embeddings as they are published: codes and their scales in one group, which open as the values that they mean."""

from __future__ import annotations

from dataclasses import replace

from lazypyr.pyramids.products import load_products
from lazypyr.sources.base import Source
from lazypyr.sources.opened import OpenedSource
from lazypyr.sources.tree import Member, SourceTree

__all__ = ["dequantized"]

_CODES, _SCALES = "embeddings", "scales"


def dequantized(tree: SourceTree) -> SourceTree:
    """The tree with each pair of integer `embeddings` and floating `scales` of a group as one raster at the group's path.

    Either of them is still there by its own path. The product is made before reduction: levels are those of the values.
    """
    rasters, alone = dict(tree.rasters), dict(tree.alone)
    single = tree.single
    for path in tree.rasters:
        folder, _, name = path.rpartition("/")
        beside = f"{folder}/{_SCALES}".strip("/")
        if name != _CODES or beside not in rasters:
            continue
        codes, scales = (tree.rasters[part].sources[0] for part in (path, beside))
        if not _fit(codes, scales):
            continue
        for part in (path, beside):
            alone[part] = _member(rasters.pop(part))
        rasters[folder] = OpenedSource((load_products().dequantize(codes, scales),), name=tree.rasters[path].name)
    if len(rasters) == 1 and len(tree.rasters) > 1:
        single = next(iter(rasters))
    return replace(tree, rasters=rasters, alone=alone, single=single)


def _fit(codes: Source, scales: Source) -> bool:
    sizes = dict(zip(codes.axes, codes.shape, strict=True))
    same = all(sizes.get(axis) == n for axis, n in zip(scales.axes, scales.shape, strict=True))
    return same and len(scales.axes) < len(codes.axes) and codes.dtype.kind in "iu" and scales.dtype.kind == "f"


def _member(opened: OpenedSource) -> Member:
    source = opened.sources[0]
    return Member(source.shape, source.dtype.kind, source.axes, source.attrs, lambda: opened)
