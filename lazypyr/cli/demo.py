"""``lazypyr demo``: a tour of the real data that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="read real radar and LiDAR data at every level, and draw them",
        description="Open the radar stack and the LiDAR stadium that come with lazypyr, read them at every level, and draw what was read.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("lazypyr-demo"),
        metavar="DIR",
        help="folder of the picture (default: ./lazypyr-demo)",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the tour."""
    from lazypyr.demo import tour

    tour(args.out)
