"""The built-in viewer and the page at ``/``: handlers for pages, tiles and values. BokehJS comes from the bokeh package."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from starlette.types import Receive, Scope, Send

from lazypyr.engine.engine import Engine
from lazypyr.server.dataset import Exhibit, Snapshot
from lazypyr.server.pages import index_page, view_page
from lazypyr.server.rendering import PALETTES, TILE, Look, View, views_of
from lazypyr.server.responses import Outgoing, reply, unless_gone, unmodified
from lazypyr.store.derived import face_of
from lazypyr.store.landing import landed

__all__ = ["Viewer"]

_OURS = {"page.css": "text/css", "index.js": "text/javascript", "view.js": "text/javascript"}
_BOKEH = {"bokeh.min.js": "text/javascript", "bokeh-api.min.js": "text/javascript"}
_THUMBNAIL = 320
_KEPT_SNAPSHOTS = 64
# Stands for a picture that HEAD asks about.
_UNMADE = b"unmade"


class _NotThere(Exception):
    """What the URL names doesn't exist."""


class Viewer:
    """Pages about exhibits.

    Parameters
    ----------
    exhibits : Mapping[str, Exhibit]
    outgoing : Outgoing
        Bounds what is on its way to clients.
    own_vizarr : bool
        Whether a vizarr is served beside.
    """

    def __init__(self, exhibits: Mapping[str, Exhibit], outgoing: Outgoing, *, own_vizarr: bool) -> None:
        self._exhibits, self._outgoing, self._own_vizarr = exhibits, outgoing, own_vizarr
        self._views: dict[tuple[str, str], Mapping[str, View]] = {}
        self._files: dict[str, bytes] = {}
        self.pages = {
            "": self._index,
            "view": self._view,
            "tiles": self._tile,
            "thumbnail": self._thumbnail,
            "api": self._api,
            "static": self._static,
        }

    # Pages

    async def _index(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        shown = []
        for exhibit in self._exhibits.values():
            snapshot = await exhibit.current()
            for path, pyramid in snapshot.faces[3].pyramids.items():
                name = f"{exhibit.name}/{path}" if path else exhibit.name
                shown.append((name, pyramid, snapshot.fingerprint, face_of(exhibit.store)))
        body = index_page(shown, _base(scope), own_vizarr=self._own_vizarr, has_viewer=_bokeh_folder() is not None)
        await _html(scope, send, body)

    async def _view(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def ask(exhibit: Exhibit, path: str, snapshot: Snapshot) -> dict[str, Any]:
            return self._info(exhibit, path, snapshot)

        found = await self._found(rest, scope, receive, send, ask)
        if found is not None:
            if _bokeh_folder() is None:
                await _html(scope, send, "<p>The viewer needs bokeh: <code>pip install bokeh</code>", status=404)
            else:
                await _html(scope, send, view_page(found[1]))

    async def _static(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        kind = {**_OURS, **_BOKEH}.get(rest)
        folder = _bokeh_folder() if rest in _BOKEH else Path(str(resources.files("lazypyr.server"))) / "static"
        if kind is None or folder is None:
            await reply(scope, send, 404)
            return
        if rest not in self._files:
            self._files[rest] = (folder / rest).read_bytes()
        body = self._files[rest]
        etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {"Content-Type": f"{kind}; charset=utf-8", "ETag": etag, "Cache-Control": "no-cache"}
        if unmodified(scope, etag):
            await reply(scope, send, 304, headers={**headers, "Content-Length": ""})
        else:
            await self._outgoing.deliver(scope, send, body, headers)

    # Pictures

    async def _tile(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        name, *numbers = rest.removesuffix(".png").rsplit("/", 3)
        if not rest.endswith(".png") or len(numbers) != 3:
            await reply(scope, send, 404)
            return

        async def ask(exhibit: Exhibit, path: str, snapshot: Snapshot) -> bytes | None:
            zoom, x, y = (_number(text) for text in numbers)
            view, look = await self._look(path, snapshot, scope)
            if not view.has_tile(zoom, x, y):
                raise _NotThere
            if scope["method"] == "HEAD":
                return _UNMADE
            engine = snapshot.faces[3].engine
            key = ("png", view.pyramid.key, view.name, look, zoom, x, y)
            png: bytes = await _flown(engine, key, lambda: view.tile(engine, look, zoom, x, y) or b"")
            return png

        await self._picture(name, scope, receive, send, ask)

    async def _thumbnail(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def ask(exhibit: Exhibit, path: str, snapshot: Snapshot) -> bytes | None:
            view, look = await self._look(path, snapshot, scope)
            if scope["method"] == "HEAD":
                return _UNMADE
            engine = snapshot.faces[3].engine
            key = ("thumbnail", view.pyramid.key, view.name, look)
            png: bytes = await _flown(engine, key, lambda: view.thumbnail(engine, look, _THUMBNAIL) or b"")
            return png

        await self._picture(rest.removesuffix(".png"), scope, receive, send, ask)

    async def _picture(self, name: str, scope: Scope, receive: Receive, send: Send, ask: Any) -> None:
        def headers(snapshot: Snapshot) -> dict[str, str]:
            fixed = b"v=" in scope["query_string"]
            return {
                "Content-Type": "image/png",
                "ETag": snapshot.etag(scope["path"], scope["query_string"]),
                "Cache-Control": "private, max-age=86400, immutable" if fixed else "no-cache",
            }

        exhibit = self._exhibits.get(name.partition("/")[0])
        if exhibit is not None:
            told = headers(await exhibit.current())
            if unmodified(scope, told["ETag"]):
                await reply(scope, send, 304, headers={**told, "Content-Length": ""})
                return
        found = await self._found(name, scope, receive, send, ask)
        if found is None:
            return
        snapshot, png = found
        if png is _UNMADE:
            await reply(scope, send, 200, headers={**headers(snapshot), "Content-Length": ""})
        elif png:
            await self._outgoing.deliver(scope, send, png, headers(snapshot))
        else:
            await reply(scope, send, 404)

    # Facts

    async def _api(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        name, _, what = rest.rpartition("/")
        asks: dict[str, Any] = {"info": self._info_of, "window": self._window, "value": self._value}
        if what not in asks:
            await reply(scope, send, 404)
            return

        head = scope["method"] == "HEAD"

        async def ask(exhibit: Exhibit, path: str, snapshot: Snapshot) -> bytes:
            # For HEAD nothing is computed.
            facts = {} if head else await asks[what](exhibit, path, snapshot, scope)
            return json.dumps(facts, allow_nan=False).encode()

        found = await self._found(name, scope, receive, send, ask)
        if found is not None:
            headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
            await reply(scope, send, 200, found[1], headers={**headers, **({"Content-Length": ""} if head else {})})

    async def _info_of(self, exhibit: Exhibit, path: str, snapshot: Snapshot, scope: Scope) -> dict[str, Any]:
        return self._info(exhibit, path, snapshot)

    def _info(self, exhibit: Exhibit, path: str, snapshot: Snapshot) -> dict[str, Any]:
        views = self._views_at(path, snapshot)
        pyramid = snapshot.faces[3].pyramids[path]
        place = pyramid.grid
        unit = next((pyramid.coords[axis].unit for axis in "xy" if axis in pyramid.coords), None)
        return {
            "name": f"{exhibit.name}/{path}" if path else exhibit.name,
            "title": pyramid.name,
            "version": snapshot.fingerprint,
            "live": exhibit.revalidate,
            "tile": TILE,
            "palettes": list(PALETTES),
            "grid": {"x0": place.x0, "dx": place.dx, "nx": place.nx, "y0": place.y0, "dy": place.dy, "ny": place.ny},
            "unit": unit or ("" if pyramid.coords else "px"),
            "dtype": str(pyramid.dtype),
            "levels": len(pyramid.levels),
            "max_zoom": next(iter(views.values())).max_zoom,
            "views": [
                {"name": v.name, "palette": v.palette, "axes": v.sizes, "colour_axis": v.colour_axis, "start": v.start}
                for v in views.values()
            ],
        }

    async def _window(self, exhibit: Exhibit, path: str, snapshot: Snapshot, scope: Scope) -> dict[str, Any]:
        _, look = await self._look(path, snapshot, scope)
        return {"low": look.window[0], "high": look.window[1]}

    async def _value(self, exhibit: Exhibit, path: str, snapshot: Snapshot, scope: Scope) -> dict[str, Any]:
        query = _query(scope)
        view, at, bands = self._chosen(path, snapshot, query)
        zoom, row0, column0 = (_number(query.get(name, "")) for name in ("z", "row", "col"))
        (ny, nx), levels = view.size, view.pyramid.levels
        if zoom > view.max_zoom or row0 >= ny or column0 >= nx:
            raise _NotThere
        level = view.level_at(zoom)
        row, column = view.pixel_at(level, row0 + 0.5, column0 + 0.5)
        y, x = (view.pyramid.axes.index(axis) for axis in "yx")
        row, column = min(row, levels[level].shape[y] - 1), min(column, levels[level].shape[x] - 1)
        where = view.others.index(view.colour_axis) if view.colour_axis else None
        points = [at] if where is None else [(*at[:where], b, *at[where + 1 :]) for b in bands or (0, 1, 2)]
        engine, values = snapshot.faces[3].engine, []
        for point in points:
            held, flight = engine.request(view.pyramid, level, view.chunk_index(row, column, point))
            tile: Any = held if flight is None else await landed(engine, flight, "the picture")
            values.append(_text(view.value(tile, level, row, column, point)))
        return {"level": level, "row": row, "col": column, "text": ", ".join(values)}

    # What the URL names

    async def _found(
        self, name: str, scope: Scope, receive: Receive, send: Send, ask: Callable[..., Any]
    ) -> tuple[Snapshot, Any] | None:
        """What `ask` says of an exhibit and the group in it that `name` names; None after a 404."""
        first, _, path = name.partition("/")
        exhibit = self._exhibits.get(first)
        version = _query(scope).get("v")
        if exhibit is None:
            await reply(scope, send, 404)
            return None

        async def get(snapshot: Snapshot) -> Any:
            if path not in snapshot.faces[3].pyramids or version not in (None, snapshot.fingerprint):
                raise _NotThere
            return await ask(exhibit, path, snapshot)

        try:
            async with unless_gone(receive):
                return await exhibit.read(get)
        except _NotThere:
            await reply(scope, send, 404)
            return None

    def _views_at(self, path: str, snapshot: Snapshot) -> Mapping[str, View]:
        key = snapshot.fingerprint, path
        if key not in self._views:
            while len(self._views) >= _KEPT_SNAPSHOTS:
                del self._views[next(iter(self._views))]
            self._views[key] = views_of(snapshot.faces[3].pyramids[path])
        return self._views[key]

    def _chosen(
        self, path: str, snapshot: Snapshot, query: Mapping[str, str]
    ) -> tuple[View, tuple[int, ...], tuple[int, int, int] | None]:
        """The view, the index along its other axes, and the bands that a query names; only what there is."""
        views = self._views_at(path, snapshot)
        view = views.get(query.get("product", next(iter(views))))
        if view is None:
            raise _NotThere
        sizes = tuple(view.sizes.values())
        at = (
            tuple(_number(text) for text in query["at"].split(","))
            if query.get("at")
            else view.start or (0,) * len(sizes)
        )
        if len(at) != len(sizes) or any(i >= n for i, n in zip(at, sizes, strict=True)):
            raise _NotThere
        if view.colour_axis is None:
            return view, at, None
        bands = tuple(_number(text) for text in query.get("bands", "0,1,2").split(","))
        if len(bands) != 3 or max(bands) >= view.sizes[view.colour_axis]:
            raise _NotThere
        return view, at, (bands[0], bands[1], bands[2])

    async def _look(self, path: str, snapshot: Snapshot, scope: Scope) -> tuple[View, Look]:
        query = _query(scope)
        view, at, bands = self._chosen(path, snapshot, query)
        colours = query.get("palette", view.palette)
        if colours not in PALETTES:
            raise _NotThere
        if "low" in query or "high" in query:
            window = _float(query.get("low")), _float(query.get("high"))
            if not window[0] < window[1]:
                raise _NotThere
        elif scope["method"] == "HEAD":  # nothing is computed for it
            window = 0.0, 1.0
        else:
            engine = snapshot.faces[3].engine
            key = ("window", view.pyramid.key, view.name, at, bands)
            low, high = await _flown(engine, key, lambda: np.array(view.auto_window(engine, at, bands)))
            window = float(low), float(high)
        return view, Look(at, window, colours, bands)


async def _flown(engine: Engine, key: Hashable, compute: Callable[[], Any]) -> Any:
    """A value that the engine's cache keeps, computed in one of its threads."""
    value, flight = engine.fly(key, compute)
    return value if flight is None else await landed(engine, flight, "the picture")


def _bokeh_folder() -> Path | None:
    spec = find_spec("bokeh")
    folder = Path(spec.origin).parent / "server" / "static" / "js" if spec is not None and spec.origin else None
    return folder if folder is not None and (folder / "bokeh.min.js").is_file() else None


def _base(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    return f"{scope['scheme']}://{host}"


def _query(scope: Scope) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise _NotThere
    return int(text)


def _float(text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise _NotThere from None
    if not math.isfinite(number):
        raise _NotThere
    return number


def _text(value: Any) -> str:
    if isinstance(value, np.floating):
        return f"{float(value):.6g}"
    if isinstance(value, np.complexfloating):
        return f"{complex(value):.5g}"
    return str(value)


async def _html(scope: Scope, send: Send, text: str, status: int = 200) -> None:
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    await reply(scope, send, status, text.encode(), headers=headers)
