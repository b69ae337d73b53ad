"""Starting and stopping a server."""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import pickle
import re
import socket
import threading
import time
import webbrowser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import uvicorn

from lazypyr._names import public_name
from lazypyr.engine.engine import Engine
from lazypyr.errors import LazypyrError, PlanError
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.recipes import is_recipe
from lazypyr.server.app import RESERVED, App
from lazypyr.server.dataset import ServedDataset
from lazypyr.server.limits import MAX_CONNECTIONS, TimeoutH11Protocol
from lazypyr.server.workers import run_workers
from lazypyr.store import LazyPyramidStore

__all__ = ["LOOPBACK", "Handle", "build_app", "check_processes", "checked_hosts", "hosts_of", "name_of", "run_app"]

# Name, IPv4 or [IPv6] address; "*.example.org" for all below one; "*" for any.
_HOST = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,]+", re.ASCII)
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_CLOSE_SECONDS = 10.0
_OF_ENGINE = ("cache_bytes", "inflight_bytes", "timeout_s", "request_bytes")
_BACKLOG = 1024


class Handle:
    """Server that runs in a background thread.

    Parameters
    ----------
    server : uvicorn.Server
        Server to run.
    listener : socket.socket
        Listening socket.
    url : str
        "http://127.0.0.1:8000", without a slash at its end.

    See Also
    --------
    lazypyr.serve : The way to start one.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> from urllib.request import urlopen
    >>> with lazypyr.serve({"ones": np.ones((64, 64), "f4")}, port=0, background=True) as handle:
    ...     with urlopen(handle.url + "/ones/zarr.json") as response:
    ...         response.status
    200
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket, url: str) -> None:
        self.url, self._server = url, server
        self._thread = threading.Thread(target=server.run, args=([listener],), name="lazypyr-serve", daemon=True)
        self._thread.start()
        while not server.started:
            if not self._thread.is_alive():
                raise LazypyrError("the server did not start")
            time.sleep(0.005)

    def close(self, timeout_s: float = _CLOSE_SECONDS) -> None:
        """Stop the server; requests in progress have a second to end.

        Raises
        ------
        LazypyrError
            When the server still runs after `timeout_s`.
        """
        self._server.should_exit = True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LazypyrError(f"the server at {self.url} still runs after {timeout_s} s")

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<lazypyr server at {self.url}>"


def build_app(
    sources: Any,
    options: Mapping[str, Any],
    *,
    hosts: Sequence[str],
    cors: str | Iterable[str] | None,
    revalidate: float | None,
    viewer_dir: str | Path | None,
    root_path: str = "",
    trust_proxy: Sequence[str] = (),
) -> App:
    """Application that serves sources by name; `options` are those of stores to be made of them."""
    if revalidate is not None and not 0 <= revalidate < math.inf:
        raise PlanError(f"revalidate: expected seconds, 0 or more, got {revalidate!r}")
    stores = _stores(sources, dict(options))
    datasets = [ServedDataset(name, store, revalidate) for name, store in stores.items()]
    return App(
        datasets, hosts=hosts, cors=_origins(cors), viewer_dir=viewer_dir, root_path=root_path, trust_proxy=trust_proxy
    )


def check_processes(workers: int, port: int, *, background: bool) -> None:
    """Refuse numbers of processes and ports that can't be."""
    if background and workers > 1:
        raise PlanError("serve: several processes can't run in the background of this one; leave out workers")
    if workers < 1:
        raise PlanError(f"workers: expected a number of processes, 1 or more, got {workers!r}")
    if not 0 <= port <= 65535:  # the system would take a greater one modulo 65536
        raise PlanError(f"port: expected 0 (any that is free) to 65535, got {port!r}")


def run_app(app: App, host: str, port: int, *, workers: int, background: bool, open_browser: bool) -> Handle | None:
    """Serve an application in a thread, or in this one until interrupted."""
    if workers > 1:
        _check_picklable(app)
    listener = _listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    config = _config(app, workers)
    if background:
        handle = Handle(uvicorn.Server(config), listener, url)
        if open_browser:
            webbrowser.open(url)
        return handle
    _announce(url, app)
    _allow_many_files()
    if open_browser:
        threading.Timer(0.5, webbrowser.open, [url]).start()
    if workers > 1:
        run_workers(config, listener)
    else:
        uvicorn.Server(config).run([listener])
    return None


def _config(app: App, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=TimeoutH11Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=1,
        timeout_worker_healthcheck=60,  # a worker that still imports doesn't answer
        workers=workers,
        backlog=_BACKLOG,
    )


def name_of(text: str, taken: Iterable[str] = ()) -> str:
    """Name of a source in URLs: the end of its path without its suffix, numbered where it exists already."""
    last = public_name(text).rpartition("/")[2]
    stem = re.sub(r"(\.ome)?\.(zarr|n5|zip|tiff?|lazypyr\.json)$", "", last)
    name = re.sub(r"[^\w.+-]+", "-", stem).strip("-.")[:80] or "source"
    used = {*taken, *RESERVED}
    return next(n for n in [name, *(f"{name}-{k}" for k in range(2, len(used) + 3))] if n not in used)


def _stores(sources: Any, options: dict[str, Any]) -> dict[str, LazyPyramidStore]:
    """Stores by name. A dict with bytes among its values is one source, a Zarr store; any other is sources by name."""
    named = (
        isinstance(sources, dict)
        and not is_recipe(sources)
        and not any(isinstance(v, bytes | bytearray | memoryview) for v in sources.values())
    )
    if not named:
        store = _store(sources, options if options.get("engine") is not None else _with_engine(options))
        first = next(iter(store.pyramids.values()))
        return {name_of(first.name): store}
    if options.get("engine") is not None:
        return {name: _store(source, options) for name, source in sources.items()}
    rest = _with_engine(options)
    # One cache for all of them together; threads of its own for each, which may hang.
    return {name: _store(source, {**rest, "engine": rest["engine"].beside()}) for name, source in sources.items()}


def _with_engine(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with an engine of theirs: people who look at a tile look next at what is beside it."""
    settings = {name: options[name] for name in _OF_ENGINE if options.get(name) is not None}
    rest = {name: value for name, value in options.items() if name not in _OF_ENGINE}
    return {**rest, "engine": Engine(**settings, read_ahead=True)}


def _store(source: Any, options: Mapping[str, Any]) -> LazyPyramidStore:
    if isinstance(source, LazyPyramidStore):
        return source
    if isinstance(source, Pyramid):  # its URLs are open
        options = {name: value for name, value in options.items() if name != "storage_options"}
    return LazyPyramidStore(source, **{"compressor": "zstd", **options})


def _check_picklable(app: App) -> None:
    for dataset in app.datasets.values():
        try:
            pickle.dumps(dataset)
        except Exception as error:
            raise PlanError(
                f"{dataset.name}: several workers are processes, to which it has to be sent, and it can't be pickled: {error}"
            ) from error


def checked_hosts(allow_host: Sequence[str]) -> tuple[str, ...]:
    """Names of hosts as they were given; PlanError for anything that is none."""
    for name in allow_host:
        if not _HOST.fullmatch(name):
            raise PlanError(
                f"allow_host: expected a name or address as 'box.example.org', without scheme and port, got {name!r}"
            )
    return tuple(allow_host)


def hosts_of(host: str, allow_host: Sequence[str]) -> tuple[str, ...]:
    """Names that a client may use: those of loopback, and those the user allows."""
    checked_hosts(allow_host)
    if _is_loopback(host):
        return (*LOOPBACK, *allow_host)
    if not allow_host:
        raise PlanError(
            f"host={host!r} shows the sources to other machines: say by which names they may call this one, "
            "allow_host=['name.of.this.machine'] or --allow-host name.of.this.machine ('*' is any name, which lets any web "
            "page ask on behalf of its reader)"
        )
    return (*LOOPBACK, *allow_host)


def _origins(cors: str | Iterable[str] | None) -> tuple[str, ...]:
    origins = (cors,) if isinstance(cors, str) else tuple(cors or ())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise PlanError(
                f"cors: expected '*' or origins as 'https://example.org:8000', without a path, got {origin!r}"
            )
    return origins


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # asyncio switches Nagle's algorithm off only where the protocol is named; with it each answer takes 40 ms.
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(error.errno, f"can't listen on {host}:{port}: {error.strerror or error}") from error
    return listener


def _allow_many_files() -> None:
    """Raise the process's limit of open files to the connections that the server accepts."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * MAX_CONNECTIONS if hard < 0 else min(hard, 2 * MAX_CONNECTIONS)
        if 0 <= soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _announce(url: str, app: App) -> None:
    lines = [f"lazypyr serves {url}/"]
    lines += [f"  {url}/{quote(dataset.name)}/  zarr v{dataset.first_format}" for dataset in app.datasets.values()]
    if others := app.hosts[len(LOOPBACK) :]:
        lines.append(f"  whoever can reach this machine as {' or '.join(others)} can read all of the above")
    print("\n".join(lines), flush=True)  # noqa: T201 - the user waits for it
