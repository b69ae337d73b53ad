"""Attributes of groups that somebody has edited in materialized levels: the lazy store shows them too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lazypyr.metadata.conventions import level_keys
from lazypyr.metadata.json_values import dump

__all__ = ["Overrides", "attribute_overrides", "with_overrides"]

Overrides = dict[str, Any]
_REMOVED = object()


def attribute_overrides(edited: Mapping[str, Any], written: Mapping[str, Any]) -> Overrides:
    """Differences by name: the new value, a dict of the differences in "ome", or that the attribute was removed."""
    overrides: Overrides = {}
    # The levels of the lazy store are others than those that are materialized.
    for name in {*edited, *written} - level_keys:
        new, old = edited.get(name, _REMOVED), written.get(name, _REMOVED)
        if _is_json(new) and name == "ome" and isinstance(new, dict) and isinstance(old, dict):
            overrides |= {"ome": inner} if (inner := attribute_overrides(new, old)) else {}
        elif new != old and _is_json(new):
            overrides[name] = new
    return overrides


def _is_json(value: Any) -> bool:
    """True for values that a document may hold: zarr writes NaN too, which is no JSON."""
    try:
        return value is _REMOVED or bool(dump({"": value}))
    except ValueError:
        return False


def _overridden(attributes: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    out = dict(attributes)
    for name, value in overrides.items():
        if value is _REMOVED:
            out.pop(name, None)
        else:
            nested = name == "ome" and isinstance(out.get("ome"), dict)
            out[name] = _overridden(out["ome"], value) if nested else value
    return out


def with_overrides(documents: Mapping[str, bytes], overrides: Mapping[str, Overrides]) -> dict[str, bytes]:
    """Documents of a hierarchy with the overrides of its groups, by path, wherever they state the attributes."""
    out = dict(documents)
    for group, of_group in overrides.items():
        prefix = f"{group}/" if group else ""
        if "zarr.json" in out:
            node = json.loads(out[f"{prefix}zarr.json"])
            node["attributes"] = _overridden(node.get("attributes", {}), of_group)
            out[f"{prefix}zarr.json"] = dump(node)
            root = json.loads(out["zarr.json"])
            if group in (root.get("consolidated_metadata") or {}).get("metadata", {}):
                root["consolidated_metadata"]["metadata"][group]["attributes"] = node["attributes"]
                out["zarr.json"] = dump(root)
        else:
            attributes = _overridden(json.loads(out[f"{prefix}.zattrs"]), of_group)
            consolidated = json.loads(out[".zmetadata"])
            consolidated["metadata"][f"{prefix}.zattrs"] = attributes
            out |= {f"{prefix}.zattrs": dump(attributes), ".zmetadata": dump(consolidated)}
    return out
