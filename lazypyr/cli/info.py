"""``lazypyr info SRC``: levels and sizes of the pyramid of a source, without reading a pixel."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazypyr._names import without_secrets
from lazypyr._util.text import listed, size_text, table
from lazypyr.cli._source import on_map, source_command, source_options
from lazypyr.errors import DestinationError, PlanError
from lazypyr.geometry import windows
from lazypyr.pyramids.base import Pyramid

if TYPE_CHECKING:
    from lazypyr.pyramids.tree import PyramidTree

__all__ = ["AS_STORED", "add_parser", "describe", "describe_tree", "run"]

AS_STORED = "as stored"
"""Word for levels that nothing computes."""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "info",
        summary="levels, shapes, chunks, bytes and fingerprint of a source",
        description="Describe the pyramid of SRC. Reads metadata only.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the levels and their chunks to scale into FILE")
    return parser


def run(args: argparse.Namespace) -> None:
    """Print the table, or JSON."""
    from lazypyr.pyramids.tree import open_pyramids

    source, options = on_map(args, args.source, source_options(args))
    tree = open_pyramids(source, **options)
    facts = describe_tree(tree) if len(tree.pyramids) > 1 or "" not in tree.pyramids else {}
    text = _tree_text(facts) if facts else "".join(_unreadable(tree.surroundings.unreadable))
    if "" in tree.pyramids:  # an image, perhaps with labels below it
        root = describe(tree.pyramids[""])
        facts, text = {**root, **facts}, _text(root) + (f"\n\n{text}" if facts else text)
    if args.svg:
        if len(tree.pyramids) > 1:
            raise PlanError("--svg draws one pyramid: pick one with --variable PATH")
        _draw(next(iter(tree.pyramids.values())), args.svg)
    print(json.dumps(facts, indent=2) if args.json else text)


def describe_tree(tree: PyramidTree) -> dict[str, Any]:
    """Description of a collection, JSON-like: its pyramids by path, what is served as it is, what can't be read."""
    return {
        "collection": {path: describe(pyramid) for path, pyramid in tree.pyramids.items()},
        "as_is": sorted(tree.surroundings.arrays),
        "unreadable": dict(tree.surroundings.unreadable),
    }


def _tree_text(facts: dict[str, Any]) -> str:
    rows = [
        (path or "/", " ".join(one["axes"]), " x ".join(map(str, one["levels"][0]["shape"])), one["dtype"],
         len(one["levels"]), one["method"], size_text(one["source_bytes"]))
        for path, one in facts["collection"].items()
    ]  # fmt: skip
    lines = [
        f"a collection of {len(rows)} pyramids; --variable PATH picks one",
        "",
        table(["path", "axes", "shape", "dtype", "levels", "method", "bytes"], rows),
    ]
    if facts["as_is"]:
        lines += ["", f"served as it is: {listed(facts['as_is'], 60)}"]
    return "\n".join(lines) + "".join(_unreadable(facts["unreadable"]))


def _unreadable(reasons: Mapping[str, str]) -> list[str]:
    return [f"\ncan't be opened: {path}: {' '.join(reason.split())[:300]}" for path, reason in reasons.items()]


def _draw(pyramid: Pyramid, path: Path) -> None:
    from lazypyr.representations.svg import chunk_layout

    try:
        path.write_text(chunk_layout(pyramid), encoding="utf-8")
    except OSError as error:
        raise DestinationError(f"{path}: {error.strerror or error}") from error


def describe(pyramid: Pyramid) -> dict[str, Any]:
    """Description of a pyramid, JSON-like; sizes in bytes, uncompressed, without the padding of edge chunks."""
    levels: list[dict[str, Any]] = []
    n_stored = pyramid.n_stored_levels if pyramid.reductions == (pyramid,) else 0
    for number, level in enumerate(pyramid.levels):
        counts = windows.chunk_count(level.shape, pyramid.chunks)
        levels.append(
            {
                "level": number,
                "shape": list(level.shape),
                "scale": list(level.scale),
                "translation": list(level.translation),
                "chunk_grid": list(counts),
                "chunks": math.prod(counts),
                "bytes": math.prod(level.shape) * pyramid.dtype.itemsize,
                "made": AS_STORED if number < n_stored else pyramid.method,
            }
        )
    return {
        "name": pyramid.name,
        "locations": list(dict.fromkeys(without_secrets(source.location) for source in pyramid.sources)),
        "axes": list(pyramid.axes),
        "dtype": str(pyramid.dtype),
        "chunk_shape": list(pyramid.chunks),
        "method": pyramid.method,
        "recipe": pyramid.description,
        "crs": pyramid.crs,
        "coords": {
            axis: {"origin": coord.origin, "step": coord.step, "unit": coord.unit}
            for axis, coord in pyramid.coords.items()
        },
        "affine": pyramid.metadata.affine and list(pyramid.metadata.affine),
        "fingerprint": pyramid.fingerprint,
        "levels": levels,
        "source_bytes": levels[0]["bytes"],
        "eager_bytes": sum(level["bytes"] for level in levels[1:]),
        "eager_chunks": sum(level["chunks"] for level in levels[1:]),
    }


def _text(facts: dict[str, Any]) -> str:
    levels = facts["levels"]
    several = sum(level["made"] == AS_STORED for level in levels) > 1
    rows = [
        (
            level["level"],
            " x ".join(map(str, level["shape"])),
            f"{level['chunks']:,}",
            size_text(level["bytes"]),
            *([level["made"]] if several else []),
        )
        for level in levels
    ]
    lines = [
        facts["name"],
        *(f"  location     {location}" for location in facts["locations"]),
        f"  axes         {' '.join(facts['axes'])}",
        f"  dtype        {facts['dtype']}",
        f"  tile         {' x '.join(map(str, facts['chunk_shape']))}",
        f"  recipe       {facts['recipe']}",
    ]
    lines += [
        f"  {axis:<12} {coord['origin']:.10g} {coord['step']:+.10g} a pixel{' ' + coord['unit'] if coord['unit'] else ''}"
        for axis, coord in facts["coords"].items()
    ]
    if facts["affine"]:
        lines.append(f"  rotated      {' '.join(f'{number:.10g}' for number in facts['affine'])}")
    if facts["crs"]:
        lines.append(f"  crs          {facts['crs'][:80]}")
    hint = "Stored levels stay as they are, whatever --method says; --levels recompute makes them anew."
    lines += [
        f"  fingerprint  {facts['fingerprint']}",
        "",
        table(["level", "shape", "chunks", "bytes", *(["made"] if several else [])], rows),
        *([hint] if several else []),
        "",
        f"Levels 1 and up, if they were written: {size_text(facts['eager_bytes'])} in {facts['eager_chunks']:,} chunks,",
        f"beside {size_text(facts['source_bytes'])} of level 0 (uncompressed). lazypyr writes nothing.",
    ]
    return "\n".join(lines)
