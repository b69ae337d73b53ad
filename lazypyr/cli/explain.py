"""``lazypyr explain SRC --level K --chunk I,J``: the cost of a tile, before anything is read."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lazypyr.cli._source import on_map, source_command, source_options
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import axes_label

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "explain",
        summary="tell which chunks and bytes a tile would read",
        description="Tell what computing one tile of SRC would read. Reads metadata only.",
    )
    add = parser.add_argument
    add("--level", type=int, default=-1, metavar="K", help="0 is the finest; default: the coarsest")
    add("--chunk", default="", metavar="I,J,...", help="index of the tile, by axis; default: the first")
    add("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Print the explanation, or JSON."""
    from lazypyr.pyramids.open import open_pyramid

    source, options = on_map(args, args.source, source_options(args))
    pyramid = open_pyramid(source, **options)
    level, _ = pyramid.checked(args.level, None)
    counts = windows.chunk_count(pyramid.levels[level].shape, pyramid.chunks)
    parts = args.chunk.split(",") if args.chunk else ["0"] * len(counts)
    if len(parts) == len(counts) and all(part.strip().isdecimal() for part in parts):
        index = tuple(map(int, parts))
        if all(i < n for i, n in zip(index, counts, strict=True)):
            window = windows.chunk_window(index, pyramid.chunks, pyramid.levels[level].shape)
            explanation = pyramid.explain(level, window)
            print(json.dumps(explanation.as_dict(), indent=2) if args.json else explanation)
            return
    raise PlanError(
        f"--chunk {args.chunk}: level {level} has {' x '.join(map(str, counts))} tiles ({axes_label(pyramid.axes)})"
    )
