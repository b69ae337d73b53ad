"""HTTP server of pyramids: `lazypyr.serve` and `lazypyr serve`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lazypyr._util.optional import need

if TYPE_CHECKING:
    from lazypyr.server.app import App
    from lazypyr.server.run import Handle
    from lazypyr.store.options import ServedStoreOptions

__all__ = ["create_app", "serve"]


def create_app(
    sources: Any,
    *,
    allow_host: Sequence[str] = (),
    cors: str | Iterable[str] | None = "*",
    revalidate: float | None = None,
    viewer_dir: str | Path | None = None,
    **options: Unpack[ServedStoreOptions],
) -> App:
    """ASGI application of what `serve` serves, for other servers and frameworks to run or mount below a path.

    Its pages and answers have the URLs of the path below which it is mounted (ASGI's ``root_path``).

    Parameters
    ----------
    sources : dict of sources by name, or one source
        `LazyPyramidStore` objects, or sources that it opens.
    allow_host : sequence of str
        Names by which clients may call the machine, beside those of loopback; "*" for any, where the server around it checks.
    cors : str, iterable of str, or None
        Origins whose pages may read: "*" any, None no other (or where the framework around it answers).
    revalidate : float, optional
        Seconds between checks for sources that have changed.
    viewer_dir : str or Path, optional
        Folder with a built vizarr.
    **options : dict
        Options of `LazyPyramidStore` for every source that isn't a store yet.

    Returns
    -------
    ASGI application
        It takes no part in the lifespan protocol and needs none.

    Raises
    ------
    PlanError
        For invalid options, names or sources.
    MissingExtra
        Without starlette and uvicorn.

    See Also
    --------
    serve : The application, run.

    Examples
    --------
    >>> import numpy as np
    >>> from starlette.applications import Starlette
    >>> from starlette.routing import Mount
    >>> from lazypyr.server import create_app
    >>> app = create_app({"ramp": np.arange(512 * 512).reshape(512, 512)}, allow_host=["maps.example.org"])
    >>> site = Starlette(routes=[Mount("/pyramids", app=app)])
    """
    run = _prepared("lazypyr.server.create_app", create_app, options)
    hosts = (*run.LOOPBACK, *run.checked_hosts(allow_host))
    app: App = run.build_app(sources, options, hosts=hosts, cors=cors, revalidate=revalidate, viewer_dir=viewer_dir)
    return app


def _prepared(feature: str, call: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Module that builds and runs applications, once its packages are there and the options are known ones."""
    for module in ("starlette", "uvicorn"):
        need(module, feature=feature, extra="serve")
    from lazypyr.pyramids.open import open_pyramid
    from lazypyr.registry import check_options
    from lazypyr.store import LazyPyramidStore

    check_options(call.__name__, options, call, LazyPyramidStore, open_pyramid)
    return importlib.import_module("lazypyr.server.run")


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
    root_path: str = "",
    trust_proxy: Sequence[str] = (),
    warm: bool = False,
    **options: Unpack[ServedStoreOptions],
) -> Handle | None:
    """Serve pyramids over HTTP to zarr clients and viewers, with an index page at ``/``.

    Each source is at ``/name/`` in the zarr format of its store (v3 by default), and at ``/v3/name/`` and
    ``/v2/name/``. Nothing can be written, and no other path of this machine can be reached.

    Parameters
    ----------
    sources : dict of sources by name, or one source
        `LazyPyramidStore` objects, or sources that it opens.
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 for a free one.
    background : bool
        Return a handle at once, and serve in a thread until it is closed; otherwise serve until interrupted.
    allow_host : sequence of str
        Names by which clients may call this machine, beside those of loopback; must be given when `host` isn't
        loopback.
    cors : str, iterable of str, or None
        Origins whose pages may read: "*" any, None no other.
    revalidate : float, optional
        Seconds between checks for sources that have changed. Without it sources are taken to be immutable.
    workers : int
        Number of processes, each with its own cache.
    open_browser : bool
        Open the index page in a browser.
    viewer_dir : str or Path, optional
        Folder with a built vizarr, served at ``/viewers/vizarr/``.
    root_path : str
        Path below which a proxy serves all of it, as "/data", whether or not the proxy takes it away.
    trust_proxy : sequence of str
        Addresses or networks of proxies whose ``X-Forwarded-Proto``, ``-Host`` and ``-Prefix`` are believed.
    warm : bool
        Compute the coarsest levels before serving.
    **options : dict
        Options of `LazyPyramidStore` for every source that isn't a store yet; chunks are compressed with zstd level 1
        unless `compressor` is given. Those sources share one cache of `cache_bytes`, and have threads of their own.

    Returns
    -------
    Handle or None
        With `background`, an object with ``url`` and ``close()``, also usable as a context manager.

    Raises
    ------
    PlanError
        For invalid options, names or sources.
    OSError
        For a port that is in use.
    MissingExtra
        Without starlette and uvicorn.

    See Also
    --------
    LazyPyramidStore : The store that is served.
    lazypyr.plot.view : An app for the browser, without HTTP access to the data.

    Examples
    --------
    >>> import numpy as np, zarr, lazypyr
    >>> with lazypyr.serve({"ramp": np.arange(512 * 512).reshape(512, 512)}, port=0, background=True) as server:
    ...     zarr.open_group(f"{server.url}/ramp/", mode="r")["1"][:2, :2]
    array([[   0,    2],
           [1024, 1026]])
    """
    run = _prepared("lazypyr.serve", serve, options)
    run.check_processes(workers, port, background=background)
    hosts = run.hosts_of(host, tuple(allow_host))
    app = run.build_app(
        sources,
        options,
        hosts=hosts,
        cors=cors,
        revalidate=revalidate,
        viewer_dir=viewer_dir,
        root_path=root_path,
        trust_proxy=trust_proxy,
    )
    if warm:
        for dataset in app.datasets.values():
            dataset.store.warm(progress=not background)
    handle: Handle | None = run.run_app(
        app, host, port, workers=workers, background=background, open_browser=open_browser
    )
    return handle
