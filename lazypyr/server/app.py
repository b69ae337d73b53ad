"""ASGI application: allowed hosts and origins, limits of requests, routes."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from lazypyr.errors import PlanError
from lazypyr.server.dataset import XARRAY, ServedDataset, named_dataset
from lazypyr.server.forwarded import as_asked, checked_prefix, trusted_networks
from lazypyr.server.metrics import Stats
from lazypyr.server.responses import ALLOWED, ClientDisconnected, SendLimiter, counting_send, error_response, reply
from lazypyr.server.routes_viewer import ViewerRoutes
from lazypyr.server.routes_zarr import serve_key

__all__ = ["RESERVED", "App"]

RESERVED = frozenset(
    {"v2", "v3", XARRAY, "view", "viewers", "tiles", "api", "static", "stats", "metrics", "ready", "thumbnail"}
)
# Pages with nothing below them.
_LEAF_PAGES = ("", "stats", "metrics", "ready")
_NAME = re.compile(r"\w[\w.+-]{0,99}(?:/\w[\w.+-]{0,99}){0,9}")
# Escapes of what needs none: a second spelling of a path, by which things are hidden. "/" may be escaped: clients do so
# with names that have one.
_NEEDLESS_ESCAPE = re.compile(rb"%(?:2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff])")
_MAX_TARGET, _MAX_HEADERS = 8 * 1024, 32 * 1024
_MAX_SENDING_BYTES = 128 * 2**20
_SEND_WAIT_SECONDS = 30.0
# A request with both may end elsewhere for a proxy, whose next request is then taken for its body (RFC 9112, section 6.3).
_TWO_LENGTHS = {b"content-length", b"transfer-encoding"}
_EXPOSED_HEADERS = ("Content-Range", "Content-Length", "ETag", "Accept-Ranges", "Retry-After")
_ALLOWED_HEADERS = ("Range", "If-None-Match", "If-Range", "Cache-Control", "Pragma")

Page = Callable[[str, Scope, Receive, Send], Awaitable[None]]


class _Cors(CORSMiddleware):
    """CORS of starlette, with granted preflights answered without a body."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code != 200:
            return answer
        headers = {k: v for k, v in answer.headers.items() if not k.startswith("content-")}
        return Response(status_code=204, headers=headers)


class App:
    """ASGI application that serves datasets.

    Parameters
    ----------
    datasets : sequence of ServedDataset
    hosts : sequence of str
        Names by which clients may call this server; "*" for any.
    cors : sequence of str
        Origins whose pages may read; ("*",) for any.
    viewer_dir : str or Path, optional
        A folder with a built vizarr.
    root_path : str
        Path below which a proxy serves it.
    trust_proxy : sequence of str
        Addresses and networks of proxies whose ``X-Forwarded-*`` are believed.
    """

    def __init__(
        self,
        datasets: Sequence[ServedDataset],
        *,
        hosts: Sequence[str],
        cors: Sequence[str] = ("*",),
        viewer_dir: str | Path | None = None,
        root_path: str = "",
        trust_proxy: Sequence[str] = (),
    ) -> None:
        self.datasets: Mapping[str, ServedDataset] = {dataset.name: dataset for dataset in datasets}
        for name in self.datasets:
            if not _NAME.fullmatch(name) or name.partition("/")[0] in RESERVED:
                raise PlanError(
                    f"{name!r} can't be the name of a source: letters, digits, '_', '-', '+', '.' and single '/' are allowed, "
                    f"and none of {', '.join(sorted(RESERVED))} at its beginning"
                )
        if not self.datasets:
            raise PlanError("serve: no source was given")
        if viewer_dir is not None and not Path(viewer_dir, "index.html").is_file():
            raise PlanError(f"viewer_dir: expected a folder with index.html, got {str(viewer_dir)!r}")
        self.root_path, self.trust_proxy = checked_prefix(root_path), tuple(trust_proxy)
        self._proxies = trusted_networks(self.trust_proxy)
        self.hosts, self.cors, self.viewer_dir = tuple(hosts), tuple(cors), viewer_dir
        self._viewer = None if viewer_dir is None else StaticFiles(directory=viewer_dir, html=True)
        self.stats = Stats()
        self._send_limiter = SendLimiter(_MAX_SENDING_BYTES, _SEND_WAIT_SECONDS, self.stats)
        self._pages: dict[str, Page] = {"stats": self._stats, "metrics": self._metrics, "ready": self._ready}
        self._pages |= ViewerRoutes(self.datasets, self._send_limiter, own_vizarr=viewer_dir is not None).pages
        self._asgi = self._with_middleware()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "datasets": list(self.datasets.values()),
            "hosts": self.hosts,
            "cors": self.cors,
            "viewer_dir": self.viewer_dir,
            "root_path": self.root_path,
            "trust_proxy": self.trust_proxy,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _with_middleware(self) -> ASGIApp:
        app: ASGIApp = self._answer
        if self.cors:
            app = _Cors(
                app,
                allow_origins=self.cors,
                allow_methods=("GET", "HEAD", "OPTIONS"),
                allow_headers=_ALLOWED_HEADERS,
                expose_headers=_EXPOSED_HEADERS,
                allow_private_network=True,
                max_age=86400,
            )
        return TrustedHostMiddleware(app, allowed_hosts=list(self.hosts), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no websockets; uvicorn refuses them
            return
        began = time.perf_counter()
        through, seen = counting_send(send)
        try:
            if {name for name, _ in scope["headers"]} >= _TWO_LENGTHS:
                await reply(scope, through, 400, headers={"Connection": "close"})
            else:
                await self._asgi(as_asked(scope, self.root_path, self._proxies), receive, through)
        except ClientDisconnected:
            seen[0] = 499
        finally:
            self.stats.count(seen[0], seen[1], time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        if method == "OPTIONS":
            await reply(scope, send, 204, headers={"Allow": ALLOWED, "Content-Length": ""})
        elif method not in ("GET", "HEAD"):
            await reply(scope, send, 405, headers={"Allow": ALLOWED})
        elif len(raw_path) + len(scope["query_string"]) > _MAX_TARGET:
            await reply(scope, send, 414)
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > _MAX_HEADERS:
            await reply(scope, send, 431)
        elif (path := _decoded(raw_path)) is None:
            await reply(scope, send, 404)
        else:
            try:
                path = _below(path, scope.get("root_path", ""))
                await self._route(path, {**scope, "path": path}, receive, send)
            except (ClientDisconnected, asyncio.CancelledError):
                raise
            except HTTPException as error:  # of starlette's files
                await reply(scope, send, error.status_code)
            except Exception as error:
                status, body, headers = error_response(error, raw_path.decode("latin-1"))
                await reply(scope, send, status, body, headers=headers)

    async def _route(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        first, _, rest = path[1:].partition("/")
        address = first if first in ("v2", "v3", XARRAY) else None
        dataset, key = named_dataset(self.datasets, path[1:] if address is None else rest)
        if dataset is not None:
            await serve_key(
                dataset, address or f"v{dataset.first_format}", key, scope, receive, send, self._send_limiter
            )
        elif self._viewer is not None and path.startswith("/viewers/vizarr/"):
            await self._viewer({**scope, "root_path": "/viewers/vizarr"}, receive, send)
        elif first in self._pages and not (rest and first in _LEAF_PAGES):
            await self._pages[first](rest, scope, receive, send)
        else:
            await reply(scope, send, 404)

    # Monitoring

    def _engines(self) -> dict[str, Any]:
        return {name: dataset.store.engine for name, dataset in self.datasets.items()}

    async def _stats(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        import json

        body = json.dumps(self.stats.document(self._engines()), indent=1).encode()
        await reply(scope, send, 200, body, headers={"Content-Type": "application/json", "Cache-Control": "no-store"})

    async def _metrics(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        body = self.stats.text(self._engines()).encode()
        await reply(scope, send, 200, body, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    async def _ready(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        """200 while every engine has a thread that takes a call within a second, or threads that get on; else 503."""
        stuck = []
        for name, engine in self._engines().items():
            probe, done = engine.probe(), engine.calls_done
            deadline = time.monotonic() + 1
            while not probe.is_set() and engine.calls_done == done and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            if not probe.is_set() and engine.calls_done == done:
                stuck.append(name)
        body = f"stuck: {', '.join(stuck)}\n" if stuck else "ready\n"
        headers = {"Content-Type": "text/plain", "Cache-Control": "no-store"}
        await reply(scope, send, 503 if stuck else 200, body.encode(), headers=headers)


def _decoded(raw_path: bytes) -> str | None:
    """The path that a request names, its escapes decoded once; None where one is needless, or is no UTF-8."""
    if _NEEDLESS_ESCAPE.search(raw_path):
        return None
    try:
        return unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return None


def _below(path: str, root: str) -> str:
    """Path below the one at which the application is mounted."""
    root = root.rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :] or "/"
    return path
