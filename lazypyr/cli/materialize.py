"""``lazypyr materialize SRC DEST``: write the levels, once, as an ordinary Zarr hierarchy."""

from __future__ import annotations

import argparse
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lazypyr._util.text import size_text
from lazypyr.cli._source import _chunks, _option, on_map, source_command, source_options
from lazypyr.engine.engine import DEFAULT_INFLIGHT_BYTES
from lazypyr.errors import PlanError

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to `commands`."""
    parser = source_command(
        commands,
        "materialize",
        summary="write the levels of a source as an ordinary Zarr hierarchy",
        description="Write the levels of SRC to DEST, a path or URL, as an ordinary Zarr hierarchy. After an interruption "
        "the same command continues.",
    )
    add = parser.add_argument
    add("dest", metavar="DEST", nargs="?", help="a new path or URL, or that of an interrupted job")
    add(
        "--into-source",
        action="store_true",
        help="instead of DEST: add the missing levels, or a product, to the group of SRC",
    )
    add("--name", metavar="NAME", help="with --into-source: path of the product's array in that group")
    add("--only", type=_numbers, metavar="N,N-M", help="the levels to write (default: all)")
    add(
        "--max-level-bytes",
        type=float,
        metavar="BYTES",
        help="leave larger levels lazy, e.g. 1e9: read them from SRC, with DEST as overlay",
    )
    add("--no-base", action="store_true", help="leave level 0 out: read it from SRC, with DEST as overlay")
    add("--shards", type=_chunks, metavar="N | NY,NX", help="pixels of a shard, multiples of the tile")
    add("--compressor", default="zstd", metavar="NAME", help="codec of the chunks, or none (default: zstd)")
    add("--zarr-format", type=int, choices=(2, 3), default=3, help="Zarr format of DEST (default: 3)")
    add("--layout", default="{level}", help="path of a level's array (default: {level}), or a name: xarray")
    add("--workers", type=int, metavar="N", help="threads (default: one for each CPU)")
    memory = DEFAULT_INFLIGHT_BYTES / 2**20
    add(
        "--memory",
        type=float,
        default=memory,
        metavar="MIB",
        help=f"bound of the memory in use, in MiB (default: {memory:g})",
    )
    add("--scheduler", metavar="ADDRESS", help="compute on the dask.distributed cluster at this address")
    add("--dest-option", action="append", type=_option, default=[], metavar="KEY=VALUE",
                        help="option of the file system of a URL as DEST; may be repeated")  # fmt: skip
    add("--dry-run", action="store_true", help="write nothing, print the number of chunks and bytes")
    add("--quiet", action="store_true", help="show neither progress nor summary")
    return parser


def run(args: argparse.Namespace) -> None:
    """Write the levels."""
    from lazypyr.store import LazyPyramidStore
    from lazypyr.writing import materialize

    compressor = None if args.compressor == "none" else args.compressor
    source, options = on_map(args, args.source, source_options(args))
    store = LazyPyramidStore(source, zarr_format=args.zarr_format, layout=args.layout, compressor=compressor, **options)
    with _terminable(), _executor(args.scheduler) as executor:
        summary = materialize(
            store,
            args.dest,
            levels=_small_enough(store, args.only, args.max_level_bytes),
            shards=args.shards,
            executor=executor,
            workers=args.workers,
            inflight_bytes=int(args.memory * 2**20),
            copy_base=not args.no_base,
            into_source=args.into_source,
            name=args.name,
            progress=not (args.quiet or args.dry_run),
            dry_run=args.dry_run,
            storage_options=dict(args.dest_option) or None,
        )
    if args.dry_run:
        print(summary)


def _small_enough(store: Any, only: list[int] | None, most: float | None) -> list[int] | None:
    """The levels to write of those asked for; what is left out is said."""
    if most is None:
        return only
    pyramid = store.pyramid
    sizes = [math.prod(level.shape) * pyramid.dtype.itemsize for level in pyramid.levels]
    asked = range(len(sizes)) if only is None else only
    written = [k for k in asked if k >= len(sizes) or sizes[k] <= most]
    for k in asked:
        if k not in written:
            print(f"level {k} stays lazy: {size_text(sizes[k])} are more than --max-level-bytes {most:g}")
    if not written:
        raise PlanError(f"--max-level-bytes {most:g}: no level is that small, the coarsest has {size_text(sizes[-1])}")
    return written


@contextmanager
def _executor(address: str | None) -> Iterator[Any]:
    if address is None:
        yield None
        return
    from lazypyr.writing.executors import connected

    with connected(address) as client:
        yield client


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM (preemption by a cluster, stop of a container) like Ctrl-C: stop in order."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _numbers(text: str) -> list[int]:
    out: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not low.isdecimal() or (high and not high.isdecimal()):
            raise argparse.ArgumentTypeError(f"expected levels such as 1,2 or 1-4, got {text!r}")
        out += range(int(low), int(high or low) + 1)
    return out
