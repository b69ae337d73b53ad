"""``lazypyr view SRC``: show rasters and point clouds in the browser, or save a picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lazypyr._util.optional import need
from lazypyr.cli._source import on_map, source_command, source_options
from lazypyr.errors import PlanError
from lazypyr.products.palettes import palette

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "view",
        summary="show a source in the browser, or save a picture of it",
        description="Show SRC in the browser: zoom, pan, products, dates, contrast, time series at a tap. No pyramid is written.",
        many=True,
    )
    add = parser.add_argument
    add(
        "--dates",
        type=Path,
        metavar="FILE",
        help="text file with the date of each channel, one a line (20160708 or 2016-07-08)",
    )
    add("--points", nargs=2, metavar=("X", "Y"), help="SRC holds values of points; these arrays are their coordinates")
    add("--bounds", type=float, nargs=4, metavar=("LEFT", "BOTTOM", "RIGHT", "TOP"), help="outer edges")
    add("--clim", type=float, nargs=2, metavar=("LOW", "HIGH"), help="colour limits")
    add("--cmap", type=_colormap, metavar="NAME", help="colour map, of matplotlib, colorcet, cmap or bokeh")
    add("--invert-y", action=argparse.BooleanOptionalAction, help="row 0 at the top, as for radar geometry")
    add("--port", type=int, default=0, help="port of the page (default: a free one)")
    add("--no-browser", action="store_true", help="don't open a browser window")
    add("--http", type=int, metavar="PORT", help="also serve the data as Zarr over HTTP, at this port (0: a free one)")
    add("--save", type=Path, metavar="OUT", help="write a picture (.png or .html) instead")
    add(
        "--index",
        type=_index,
        default=(),
        metavar="I[,J]",
        help="with --save: index of the channel (default: the first one shown by the page)",
    )
    return parser


def run(args: argparse.Namespace) -> None:
    """Serve the page until interrupted, or save the picture."""
    need("holoviews", feature="lazypyr view", extra="plot")
    if not 0 <= args.port < 65536:
        raise PlanError(f"--port: expected 0 to 65535, got {args.port}")
    options = source_options(args)
    products = options.pop("product", [])
    product = products[-1] if products else None
    if products[1:]:  # the page offers others in the place of the last one
        options["product"] = products[:-1]
    style = {"clim": tuple(args.clim) if args.clim else None, "cmap": args.cmap, "invert_yaxis": args.invert_y}
    style = {name: value for name, value in style.items() if value is not None}
    if args.bounds:
        options["bounds"] = args.bounds
    sources: dict[str, Any] = dict(zip(_titles(args.source), args.source, strict=True))
    if args.points:
        sources, options = _clouds(args, options), {}
    elif args.reproject is not None:
        sources, options = {name: on_map(args, source, options)[0] for name, source in sources.items()}, {}
    else:
        sources, options = _rasters(*on_map(args, sources, options))
    if args.save:
        from lazypyr.plot import save_picture

        if len(sources) != 1:
            raise PlanError(f"--save: expected one SRC, got {len(sources)}")
        (source,) = sources.values()
        print(save_picture(source, args.save, product, index=args.index, **style, **options))
        return
    from lazypyr.plot import view

    dates = _dates(args.dates) if args.dates else None
    links = {}
    if args.http is not None:
        from lazypyr.pyramids.open import open_pyramid
        from lazypyr.server import serve

        sources = {name: open_pyramid(source, **options) for name, source in sources.items()}
        options = {}
        served = serve({name.replace("/", "-"): p for name, p in sources.items()}, port=args.http, background=True)
        assert served is not None  # in the background
        links["these data as Zarr over HTTP"] = served.url
    shown = {"product": product, "dates": dates, "port": args.port, "show": not args.no_browser, "links": links}
    view(sources, **shown, **style, **options)


def _rasters(sources: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every raster of sources that hold several, by name, and the options that are left; sources of one as they are."""
    from lazypyr.pyramids.tree import open_pyramids

    found: dict[str, Any] = {}
    for name, source in sources.items():
        try:
            pyramids = open_pyramids(source, **options).pyramids
        except PlanError:  # what only plots know: they say so
            return dict(sources), dict(options)
        found |= {f"{name}/{path}".rstrip("/"): pyramid for path, pyramid in pyramids.items()}
    return (found, {}) if len(found) > len(sources) else (dict(sources), dict(options))


def _clouds(args: argparse.Namespace, options: dict[str, Any]) -> dict[str, Any]:
    from lazypyr.points import from_points

    allowed = {key: options.pop(key) for key in ("method", "chunks", "levels") if key in options}
    if options:
        raise PlanError(f"--points: {', '.join(options)} can't be given with it")
    resolution = 20.0 if args.resolution is None else args.resolution
    x, y = args.points
    named = zip(_titles(args.source), args.source, strict=True)
    return {name: from_points(x, y, s, resolution=resolution, name=name, **allowed) for name, s in named}


def _titles(sources: Sequence[str]) -> list[str]:
    """Ends of the paths, if they differ."""
    ends = ["/".join(source.rstrip("/").split("/")[-2:]) for source in sources]
    return ends if len(set(ends)) == len(ends) else list(sources)


def _dates(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split()


def _colormap(name: str) -> str:
    try:
        palette(name)
    except PlanError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def _index(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers, got {text!r}") from None
