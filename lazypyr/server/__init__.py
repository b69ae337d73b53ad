"""HTTP server of pyramids: `lazypyr.serve` and `lazypyr serve`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazypyr._util.optional import need

if TYPE_CHECKING:
    from lazypyr.server.run import Handle

__all__ = ["serve"]


def serve(
    sources: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    background: bool = False,
    allow_host: Sequence[str] = (),
    cors: str | Iterable[str] | None = "*",
    revalidate: float | None = None,
    workers: int = 1,
    open_browser: bool = False,
    viewer_dir: str | Path | None = None,
    warm: bool = False,
    **options: Any,
) -> Handle | None:
    """Serve pyramids over HTTP to zarr clients and viewers, with a page for people at ``/``.

    Each source is at ``/name/`` in the zarr format of its store (v3 by default), and at ``/v3/name/`` and
    ``/v2/name/``. Nothing can be written, and no other path of this machine can be reached.

    Parameters
    ----------
    sources : dict of sources by name, or one source
        Each a `LazyPyramidStore`, or what it takes.
    host, port
        Where to listen; port 0 takes a free one.
    background : bool
        Return a handle with ``url`` and ``close()`` at once (also good in a notebook); otherwise serve until
        interrupted.
    allow_host : sequence of str
        Names by which clients may call this machine, beside those of loopback; must be given when `host` isn't
        loopback.
    cors : str, iterable of str, or None
        Origins whose pages may read: "*" any (default), None no other.
    revalidate : float, optional
        Follow sources that change: look at most every so many seconds. Without it sources are taken to be immutable.
    workers : int
        Processes, each with its own cache.
    open_browser : bool
        Show the page.
    viewer_dir : str or Path
        A folder with a built vizarr, served at ``/viewers/vizarr/``.
    warm : bool
        Compute the coarsest levels first.
    **options
        For `LazyPyramidStore`, of every source that isn't a store yet; chunks are compressed with zstd level 1 unless
        `compressor` says otherwise.

    Raises
    ------
    PlanError
        Bad input, named.
    OSError
        When the port is taken.
    MissingExtra
        Without starlette and uvicorn.
    """
    for module in ("starlette", "uvicorn"):
        need(module, feature="lazypyr.serve", extra="serve")
    from lazypyr.server.run import start

    return start(
        sources,
        host=host,
        port=port,
        background=background,
        allow_host=tuple(allow_host),
        cors=cors,
        revalidate=revalidate,
        workers=workers,
        open_browser=open_browser,
        viewer_dir=viewer_dir,
        warm=warm,
        announce=not background,
        options=options,
    )
