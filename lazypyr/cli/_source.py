"""Arguments of the commands that take a source."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.pyramids.base import Pyramid

__all__ = ["on_map", "source_command", "source_options"]


def source_command(
    commands: Any, name: str, *, summary: str, description: str, many: bool = False
) -> argparse.ArgumentParser:
    """Add a command that takes SRC and the options of `lazypyr.open_pyramid` (see `source_options`)."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description)
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        nargs="+" if many else None,
        help="a path or URL of a Zarr array or group, or of a recipe",
    )
    add("--method", help="how levels are made: stride (default), mean, min, max, median, mode, first_valid, ...")
    add("--axes", metavar="NAMES", help="the source's axes, one letter each, e.g. yxi or tczyx")
    add("--order", metavar="NAMES", help="order of the axes in the pyramid")
    add(
        "--levels",
        type=_levels,
        metavar="N | recompute[:N]",
        help="number of levels, level 0 included; recompute: make those anew that the source has",
    )
    add("--multiscale", type=_number_or_name, metavar="N | NAME", help="which of several multiscales of a group")
    add("--chunks", type=_chunks, metavar="N | NY,NX", help="pixels of a tile (default: 256)")
    add(
        "--product",
        action="append",
        metavar="NAME[:KEY=VALUE;...]",
        help="product to compute, e.g. intf_all, phase, pca:n=3, composite:bands=0,1,2; may be repeated, in order",
    )
    add("--variable", metavar="PATH", help="which raster of a dataset of several")
    _part_arguments(parser)
    add(
        "--resolution",
        type=float,
        metavar="R",
        help="SRC is a cloud of points: pixel size in the units of its coordinates",
    )
    add(
        "--values",
        metavar="NAME[,NAME]",
        help="with --resolution: column of the points to show (default: as read_points)",
    )
    add(
        "--decode",
        action="store_true",
        default=None,
        help="unpack numbers that are stored with scale_factor and add_offset",
    )
    _map_arguments(parser)
    add(
        "--storage-option",
        action="append",
        type=_option,
        default=[],
        metavar="KEY=VALUE",
        help="option of the file system of a URL, as fsspec names it; may be repeated",
    )
    return parser


def _part_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a part of the source."""
    add = parser.add_argument
    add(
        "--sel",
        action="append",
        type=_label,
        default=[],
        metavar="DIM=LABEL[..LABEL]",
        help="part of the source by coordinates, e.g. time=2020-01 or lat=10..20; may be repeated",
    )
    add(
        "--isel",
        action="append",
        type=_index,
        default=[],
        metavar="DIM=I[..J]",
        help="part of the source by indices, e.g. time=0 or time=0..12; may be repeated",
    )


def _map_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of another map projection."""
    add = parser.add_argument
    add(
        "--reproject",
        metavar="CRS | TILING",
        help="to another map projection, e.g. EPSG:3857, or the tiles of WebMercatorQuad or WorldCRS84Quad",
    )
    add("--zoom", type=_zooms, metavar="MIN-MAX", help="with a TILING: its coarsest and finest zoom")
    add(
        "--resampling",
        metavar="NAME",
        help="with --reproject: nearest, bilinear, cubic, average or mode (default: what suits the numbers)",
    )


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of SRC that were given, as keywords of `lazypyr.open_pyramid`."""
    names = ("method", "axes", "order", "levels", "chunks", "product", "multiscale", "decode", "variable")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    options |= {name: dict(getattr(args, name)) for name in ("sel", "isel") if getattr(args, name)}
    if args.storage_option:
        options["storage_options"] = dict(args.storage_option)
    return options


def on_map(args: argparse.Namespace, source: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A source and its options; a cloud of points, or what `--reproject` asks for, as a pyramid, and none."""
    if isinstance(source, Mapping):
        clouds = {name: _cloud(args, each, options) for name, each in source.items()}
        if any(clouds.values()):
            source = {name: cloud or source[name] for name, cloud in clouds.items()}
            options = {} if all(clouds.values()) else options
    elif (cloud := _cloud(args, source, options)) is not None:
        source, options = cloud, {}
    if args.reproject is None:
        if args.zoom is not None or args.resampling is not None:
            raise PlanError("--zoom and --resampling belong to --reproject CRS or TILING")
        return source, options
    from lazypyr.pyramids.open import open_pyramid

    where = "crs" if ":" in args.reproject or "[" in args.reproject else "tiling"
    grid = {where: args.reproject, "zoom": args.zoom, "method": args.resampling}
    return open_pyramid(source, **options).reproject(**grid), {}


def _cloud(args: argparse.Namespace, source: Any, options: Mapping[str, Any]) -> Pyramid | None:
    """The pyramid of a source that is a cloud of points, by its suffix or because a resolution is given; else None."""
    from lazypyr.points.open import read_points
    from lazypyr.points.readers import is_table

    if not isinstance(source, str) or getattr(args, "points", None):
        return None
    if args.resolution is None and not is_table(source):
        if args.values is not None:
            raise PlanError("--values belongs to --resolution, which says how large a pixel of a cloud of points is")
        return None
    if args.resolution is None:
        raise PlanError(
            f"{source}: a cloud of points: --resolution R: give the size of a pixel in the units of its coordinates (lazypyr.read_points in Python)"
        )
    given = dict(options)
    products = given.pop("product", [])
    others = set(given) - {"method", "chunks", "levels", "storage_options"}
    if others:
        raise PlanError(f"{source}: of a cloud of points there is no --{min(others).replace('_', '-')}")
    values = None if args.values is None else args.values.split(",") if "," in args.values else args.values
    pyramid: Pyramid = read_points(source, resolution=args.resolution, values=values, **given)
    for product in products:
        pyramid = pyramid.map(product)
    return pyramid


def _zooms(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not low.isdecimal() or (high and not high.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected zooms such as 0-12 or 8, got {text!r}")
    return int(low), int(high or low)


def _chunks(text: str) -> tuple[int, int]:
    sizes = text.split(",")
    if len(sizes) > 2 or not all(size.isdecimal() for size in sizes):
        raise argparse.ArgumentTypeError(f"expected one size or two, got {text!r}")
    return int(sizes[0]), int(sizes[-1])


def _levels(text: str) -> int | str:
    word, colon, count = text.partition(":")
    if not (text.isdecimal() or (word == "recompute" and (not colon or count.isdecimal()))):
        raise argparse.ArgumentTypeError(f"expected a number, recompute or recompute:5, got {text!r}")
    return _number_or_name(text)


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _label(text: str) -> tuple[str, Any]:
    dim, sign, value = text.partition("=")
    if not (dim and sign and value):
        raise argparse.ArgumentTypeError(f"expected DIM=LABEL or DIM=LABEL..LABEL, got {text!r}")
    first, dots, last = value.partition("..")
    return dim, slice(first or None, last or None) if dots else first


def _index(text: str) -> tuple[str, Any]:
    dim, value = _label(text)
    try:
        if isinstance(value, slice):
            return dim, slice(*(None if end is None else int(end) for end in (value.start, value.stop)))
        return dim, int(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected DIM=I or DIM=I..J, got {text!r}") from None


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return key, {"true": True, "false": False}.get(value.lower(), value)
