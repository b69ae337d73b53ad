"""What somebody has changed in the attributes of levels that are kept: the lazy store shows it too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lazypyr.metadata.conventions import level_keys
from lazypyr.metadata.json_values import dump

__all__ = ["Edits", "edits_of", "with_edits"]

Edits = dict[str, Any]
_GONE = object()


def edits_of(found: Mapping[str, Any], written: Mapping[str, Any]) -> Edits:
    """What differs, by name: the new value, a dict of what differs in "ome", or that it is gone."""
    edits: Edits = {}
    # The levels of the lazy store are others than those that are kept.
    for name in {*found, *written} - level_keys:
        new, old = found.get(name, _GONE), written.get(name, _GONE)
        if _is_plain(new) and name == "ome" and isinstance(new, dict) and isinstance(old, dict):
            edits |= {"ome": inner} if (inner := edits_of(new, old)) else {}
        elif new != old and _is_plain(new):
            edits[name] = new
    return edits


def _is_plain(value: Any) -> bool:
    """Whether a document may hold it: zarr writes NaN too, which is no JSON."""
    try:
        return value is _GONE or bool(dump({"": value}))
    except ValueError:
        return False


def _changed(attributes: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    out = dict(attributes)
    for name, value in edits.items():
        if value is _GONE:
            out.pop(name, None)
        else:
            out[name] = _changed(out["ome"], value) if name == "ome" and isinstance(out.get("ome"), dict) else value
    return out


def with_edits(documents: Mapping[str, bytes], edits: Mapping[str, Edits]) -> dict[str, bytes]:
    """Documents of a hierarchy with the edits of its groups, by their path, in each place that states them."""
    out = dict(documents)
    for group, mine in edits.items():
        prefix = f"{group}/" if group else ""
        if "zarr.json" in out:
            node = json.loads(out[f"{prefix}zarr.json"])
            node["attributes"] = _changed(node.get("attributes", {}), mine)
            out[f"{prefix}zarr.json"] = dump(node)
            root = json.loads(out["zarr.json"])
            if group in (root.get("consolidated_metadata") or {}).get("metadata", {}):
                root["consolidated_metadata"]["metadata"][group]["attributes"] = node["attributes"]
                out["zarr.json"] = dump(root)
        else:
            changed = _changed(json.loads(out[f"{prefix}.zattrs"]), mine)
            whole = json.loads(out[".zmetadata"])
            whole["metadata"][f"{prefix}.zattrs"] = changed
            out |= {f"{prefix}.zattrs": dump(changed), ".zmetadata": dump(whole)}
    return out
