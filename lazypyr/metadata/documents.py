"""A hierarchy as values, and its documents as bytes under their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.metadata.codec import Codec
from lazypyr.metadata.json_values import clean, dump, fill_json, v2_dtype, v3_dtype

__all__ = ["ArrayNode", "GroupNode", "documents"]


@dataclass(frozen=True)
class ArrayNode:
    """Array of a hierarchy. Chunks are unsharded, C order, little-endian.

    Parameters
    ----------
    shape, chunks : tuple[int, ...]
        In the order in which the array is served.
    dtype : numpy.dtype
        Of the pixels.
    fill_value : scalar
        Value of the pixels of absent chunks; None is zero.
    dimension_names : tuple[str, ...] or None
        One an axis.
    attributes : Mapping[str, Any]
        Values of JSON, or that become such (numpy scalars and arrays).
    codec : Codec or None
        Compressor; None stores chunks as they are.
    separator : {"/", "."}
        Between the chunk indices in a key.
    document : Mapping[str, Any] or None
        Metadata of the array in the format that is written, without its attributes, instead of what the other members say:
        of an array that is served as another program described it.
    has_fill_value : bool
        False leaves the fill value of zarr v2 open, which xarray would take for no data.

    Raises
    ------
    PlanError
        When chunks or names don't fit the shape, or the separator is another.

    Examples
    --------
    >>> ArrayNode((100, 70), (32, 32), np.dtype("u1"), dimension_names=("y", "x")).separator
    '/'
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any = None
    dimension_names: tuple[str, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    codec: Codec | None = None
    separator: str = "/"
    document: Mapping[str, Any] | None = None
    has_fill_value: bool = True

    def __post_init__(self) -> None:
        if len(self.chunks) != len(self.shape):
            raise PlanError(f"chunks {self.chunks} for an array of shape {self.shape}: expected one number an axis")
        if self.dimension_names is not None and len(self.dimension_names) != len(self.shape):
            raise PlanError(f"dimension names {self.dimension_names} for an array of {len(self.shape)} axes")
        if self.separator not in ("/", "."):
            raise PlanError(f'separator: expected "/" or ".", got {self.separator!r}')


@dataclass(frozen=True)
class GroupNode:
    """Group of a hierarchy.

    Parameters
    ----------
    children : Mapping[str, ArrayNode or GroupNode]
        By name.
    attributes : Mapping[str, Any]
        Values of JSON, or that become such.

    Examples
    --------
    >>> list(GroupNode({"0": ArrayNode((4, 4), (2, 2), np.dtype("u1"))}).children)
    ['0']
    """

    children: Mapping[str, ArrayNode | GroupNode]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def documents(root: GroupNode, *, zarr_format: int, consolidated: bool = True) -> dict[str, bytes]:
    """Metadata documents of a hierarchy under their keys.

    Parameters
    ----------
    root : GroupNode
        The whole hierarchy.
    zarr_format : {2, 3}
        3: ``zarr.json`` of every node, the root's with consolidated metadata inline. 2: ``.zgroup``, ``.zarray``,
        ``.zattrs`` of every node (with `_ARRAY_DIMENSIONS`, which xarray reads) and the root's ``.zmetadata``.
    consolidated : bool
        False leaves out consolidated metadata, which lets readers take all nodes from the root's document.

    Returns
    -------
    dict[str, bytes]
        Strict JSON; the same bytes for equal nodes.

    Raises
    ------
    PlanError
        For a dtype, fill value or attribute that zarr can't hold.

    Examples
    --------
    >>> root = GroupNode({"0": ArrayNode((4, 4), (2, 2), np.dtype("u1"))})
    >>> sorted(documents(root, zarr_format=3))
    ['0/zarr.json', 'zarr.json']
    """
    if zarr_format not in (2, 3):
        raise PlanError(f"zarr_format: expected 2 or 3, got {zarr_format!r}")
    return (_v3 if zarr_format == 3 else _v2)(root, consolidated=consolidated)


def _walk(node: ArrayNode | GroupNode, path: str = "") -> Iterator[tuple[str, ArrayNode | GroupNode]]:
    yield path, node
    if isinstance(node, GroupNode):
        for name, child in node.children.items():
            yield from _walk(child, f"{path}{name}/")


def _v3(root: GroupNode, *, consolidated: bool) -> dict[str, bytes]:
    nodes = {path: _v3_node(node, path) for path, node in _walk(root)}
    if consolidated:
        below = {path.rstrip("/"): _consolidated(node) for path, node in nodes.items() if path}
        nodes[""]["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": below}
    return {f"{path}zarr.json": dump(node) for path, node in nodes.items()}


def _consolidated(node: dict[str, Any]) -> dict[str, Any]:
    # A group within consolidated metadata says that nothing more is to be asked for below it, as zarr-python does.
    if node["node_type"] == "group":
        return {**node, "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": {}}}
    return node


def _v3_node(node: ArrayNode | GroupNode, path: str) -> dict[str, Any]:
    attributes = clean(dict(node.attributes), path.rstrip("/") or "of the group")
    if isinstance(node, GroupNode):
        return {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if node.document is not None:
        return {**node.document, "attributes": attributes}
    dtype = node.dtype
    endian = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    codecs: list[dict[str, Any]] = [{"name": "bytes", **endian}]
    if node.codec is not None:
        codecs.append(node.codec.v3_document(itemsize=dtype.itemsize))
    names = {} if node.dimension_names is None else {"dimension_names": list(node.dimension_names)}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(node.shape),
        "data_type": v3_dtype(dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(node.chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": node.separator}},
        "fill_value": fill_json(node.fill_value, dtype),
        "codecs": codecs,
        "attributes": attributes,
        **names,
        "storage_transformers": [],
    }


def _v2(root: GroupNode, *, consolidated: bool) -> dict[str, bytes]:
    plain: dict[str, Any] = {}
    for path, node in _walk(root):
        attributes = dict(node.attributes)
        if isinstance(node, GroupNode):
            plain[f"{path}.zgroup"] = {"zarr_format": 2}
        else:
            plain[f"{path}.zarray"] = _v2_array(node) if node.document is None else dict(node.document)
            if node.dimension_names is not None:
                attributes["_ARRAY_DIMENSIONS"] = list(node.dimension_names)
        plain[f"{path}.zattrs"] = clean(attributes, path.rstrip("/") or "of the group")
    if consolidated:
        plain[".zmetadata"] = {"zarr_consolidated_format": 1, "metadata": dict(plain)}
    return {key: dump(document) for key, document in plain.items()}


def _v2_array(node: ArrayNode) -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": list(node.shape),
        "chunks": list(node.chunks),
        "dtype": v2_dtype(node.dtype),
        "compressor": None if node.codec is None else node.codec.v2_document(),
        "fill_value": fill_json(node.fill_value, node.dtype) if node.has_fill_value else None,
        "order": "C",
        "filters": None,
        "dimension_separator": node.separator,
    }
