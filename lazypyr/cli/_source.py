"""What the commands that take a source share: its arguments, and text for people."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_source", "source_options"]


def add_source(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add SRC and the options that say how it is opened; `source_options` turns them into keywords of `open_pyramid`."""
    parser.add_argument(
        "source", metavar="SRC", nargs="+" if many else None, help="a path or URL of a Zarr array or group"
    )
    parser.add_argument(
        "--method", help="how levels are made: stride (default), mean, min, max, median, mode, first_valid, ..."
    )
    parser.add_argument("--axes", metavar="NAMES", help="the source's axes, one letter each, e.g. yxi or tczyx")
    parser.add_argument("--order", metavar="NAMES", help="the order in which the axes are presented")
    parser.add_argument("--levels", type=int, metavar="N", help="number of levels, level 0 included")
    parser.add_argument("--chunks", type=_chunks, metavar="N | NY,NX", help="pixels of a tile (default: 256)")
    parser.add_argument("--product", metavar="NAME", help="look at this product of it, e.g. intf_all, phase, amplitude")
    parser.add_argument(
        "--storage-option",
        action="append",
        type=_option,
        default=[],
        metavar="KEY=VALUE",
        help="option of the file system of a URL, as fsspec names it; may be repeated",
    )


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, as keywords."""
    names = ("method", "axes", "order", "levels", "chunks", "product")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.storage_option:
        options["storage_options"] = dict(args.storage_option)
    return options


def _chunks(text: str) -> tuple[int, int]:
    sizes = text.split(",")
    if len(sizes) > 2 or not all(size.isdecimal() for size in sizes):
        raise argparse.ArgumentTypeError(f"expected one size or two, got {text!r}")
    return int(sizes[0]), int(sizes[-1])


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return key, {"true": True, "false": False}.get(value.lower(), value)
