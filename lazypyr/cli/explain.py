"""``lazypyr explain SRC --level K --chunk I,J``: what a tile would cost, before anything is read."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lazypyr.cli._source import add_source, source_options
from lazypyr.errors import PlanError
from lazypyr.geometry import windows

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="what a tile would read, from where, how many chunks and bytes",
        description="Say what computing one tile of SRC would read. Reads metadata only.",
    )
    add_source(parser)
    parser.add_argument("--level", type=int, default=-1, metavar="K", help="0 is the finest; default: the coarsest")
    parser.add_argument("--chunk", default="", metavar="I,J,...", help="index of the tile, by axis; default: the first")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Print the explanation, or JSON."""
    from lazypyr.pyramids.open import open_pyramid

    pyramid = open_pyramid(args.source, **source_options(args))
    level, _ = pyramid.checked(args.level, None)
    counts = windows.chunk_count(pyramid.levels[level].shape, pyramid.chunks)
    parts = args.chunk.split(",") if args.chunk else ["0"] * len(counts)
    if len(parts) == len(counts) and all(part.strip().isdecimal() for part in parts):
        index = tuple(map(int, parts))
        if all(i < n for i, n in zip(index, counts, strict=True)):
            window = windows.chunk_window(index, pyramid.chunks, pyramid.levels[level].shape)
            found = pyramid.explain(level, window)
            print(json.dumps(found.as_dict(), indent=2) if args.json else found)
            return
    raise PlanError(
        f"--chunk {args.chunk}: level {level} has {' x '.join(map(str, counts))} tiles ({windows.axes_told(pyramid.axes)})"
    )
