"""``lazypyr recipe SRC``: write the recipe of a pyramid, which all commands open as a source."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lazypyr.cli._source import on_map, source_command, source_options

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "recipe",
        summary="write the options of a source as a file that opens like a source",
        description="Write the recipe of SRC with its options as JSON. A file NAME.lazypyr.json is a SRC of all commands. "
        "Passwords, and what --storage-option says, are not written.",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="file NAME.lazypyr.json (default: standard output)"
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Write the file, or print it."""
    from lazypyr.pyramids.open import open_pyramid

    source, options = on_map(args, args.source, source_options(args))
    pyramid = open_pyramid(source, **options)
    text = json.dumps(pyramid.to_recipe(args.output.parent if args.output else "."), indent=2)
    if args.output is None:
        print(text)
        return
    args.output.write_text(f"{text}\n", encoding="utf-8")
