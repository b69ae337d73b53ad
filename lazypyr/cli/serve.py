"""``lazypyr serve SRC ...``: HTTP server of sources, for viewers and zarr clients."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lazypyr._util.optional import need
from lazypyr.cli._source import on_map, source_command, source_options
from lazypyr.engine.engine import DEFAULT_CACHE_BYTES, DEFAULT_TIMEOUT_S
from lazypyr.errors import PlanError

__all__ = ["add_parser", "named_sources", "run"]

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "serve",
        summary="serve sources over HTTP, with a page and a viewer",
        description="Serve pyramids of SRC ... over HTTP to zarr clients and viewers, with an index page at /. "
        "NAME=SRC names a source; otherwise it has the name of its file. A file of JSON, {NAME: path, URL or recipe, ...}, "
        "stands for all that it names.",
        many=True,
    )
    _add_access(parser.add_argument_group("address and access").add_argument)
    _add_computing(parser.add_argument_group("computing and caching").add_argument)
    return parser


def _add_access(add: Callable[..., Any]) -> None:
    add("--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: 8000)")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which clients may call this machine; needed when --host is not loopback; may be repeated",
    )
    add(
        "--cors",
        default="*",
        metavar="ORIGINS",
        help="origins whose pages may read, separated by commas; '*' for any, 'none' for none (default: *)",
    )
    add("--root-path", default="", metavar="PATH", help="path below which a proxy serves it, as /data")
    add(
        "--trust-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address or network of a proxy whose X-Forwarded-* headers are believed; may be repeated",
    )
    add("--viewer-dir", type=Path, metavar="DIR", help="a built vizarr, served at /viewers/vizarr/")
    add("--open", action="store_true", help="open the index page in a browser")


def _add_computing(add: Callable[..., Any]) -> None:
    add(
        "--zarr-format",
        type=int,
        choices=(2, 3),
        default=3,
        help="format at /NAME/ (default: 3); both formats are at /v2/NAME/ and /v3/NAME/",
    )
    add("--layout", default="{level}", help="path of a level's array (default: {level}), or a name: xarray")
    add("--compressor", default="zstd", metavar="NAME", help="codec of the chunks: zstd (default), none, blosc, ...")
    add("--warm", action="store_true", help="compute the coarsest levels before serving")
    add(
        "--revalidate",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="seconds between checks for sources that have changed; 'none' for no checks (default: 60)",
    )
    add("--workers", type=int, default=1, metavar="N", help="number of processes (default: 1)")
    cache = f"MiB of the cache of a process, which all sources share (default: {DEFAULT_CACHE_BYTES // 2**20})"
    add("--cache-mb", type=int, metavar="MB", help=cache)
    overlay = "materialized hierarchy whose tiles are read instead of computed (one SRC only)"
    add("--overlay", metavar="PATH", help=overlay)
    add("--write-through", action="store_true", help="store computed tiles in the overlay")
    timeout = f"longest wait for a chunk (default: {DEFAULT_TIMEOUT_S:g})"
    most = "refuse requests that would read more of a source for one chunk (default: none is refused by its size)"
    add("--request-mb", type=int, metavar="MB", help=most)
    add("--timeout", type=float, metavar="SECONDS", help=timeout)


def _seconds(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds or 'none', got {text!r}") from None


def named_sources(texts: Iterable[str], storage_options: dict[str, Any]) -> dict[str, Any]:
    """Sources of the command line by name: as it names them, by the names of their files, and those of files of sources."""
    from lazypyr.pyramids.recipes import is_recipe
    from lazypyr.recipe import open_sources
    from lazypyr.server.run import name_of

    sources: dict[str, Any] = {}
    for text in texts:
        named = _NAMED.fullmatch(text)
        if named and not Path(text).exists():
            further = {named[1]: named[2]}
        elif text.endswith(".json") and not is_recipe(text):
            further = open_sources(text, storage_options)
        else:
            further = {name_of(text, sources): text}
        for name, source in further.items():
            if name in sources:
                raise PlanError(f"two sources are called {name!r}: {sources[name]} and {source}; name them, NAME=SRC")
            sources[name] = source
    return sources


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    need("uvicorn", feature="lazypyr serve", extra="serve")
    from lazypyr import serve

    sources = named_sources(args.source, dict(args.storage_option))
    options: dict[str, Any] = source_options(args)
    placed = {name: on_map(args, source, options) for name, source in sources.items()}
    sources = {name: source for name, (source, _) in placed.items()}
    # clouds of points have taken theirs
    options = max((left for _, left in placed.values()), key=len, default=options)
    if args.cache_mb is not None:
        options["cache_bytes"] = args.cache_mb * 2**20
    if args.overlay is not None:
        if len(sources) > 1:
            raise PlanError(f"--overlay belongs to one source, got {len(sources)}")
        options |= {"overlay": args.overlay, "write_through": args.write_through}
    elif args.write_through:
        raise PlanError("--write-through keeps tiles in an overlay: say where, --overlay PATH")
    if args.request_mb is not None:
        options["request_bytes"] = args.request_mb * 2**20
    if args.timeout is not None:
        options["timeout_s"] = args.timeout
    serve(
        sources,
        host=args.host,
        port=args.port,
        allow_host=args.allow_host,
        cors=None if args.cors == "none" else [origin for origin in args.cors.split(",") if origin],
        viewer_dir=args.viewer_dir,
        root_path=args.root_path,
        trust_proxy=args.trust_proxy,
        warm=args.warm,
        revalidate=args.revalidate,
        workers=args.workers,
        open_browser=args.open,
        zarr_format=args.zarr_format,
        layout=args.layout,
        compressor=None if args.compressor == "none" else args.compressor,
        **options,
    )
