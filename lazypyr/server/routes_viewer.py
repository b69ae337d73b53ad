"""Handlers of the built-in viewer and the index page: pages, tiles and values. BokehJS comes from the bokeh package."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Hashable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
from starlette.types import Receive, Scope, Send

from lazypyr._names import without_paths
from lazypyr.display import axis_label
from lazypyr.engine.engine import Engine
from lazypyr.engine.wait import wait_async
from lazypyr.errors import PlanError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.products.palettes import colormap_names
from lazypyr.pyramids.base import Pyramid
from lazypyr.server.dataset import ServedDataset, Snapshot, named_dataset
from lazypyr.server.layers import ProductLayers
from lazypyr.server.pages import index_page, view_page
from lazypyr.server.rendering import PALETTES, TILE, Layer, RenderOptions, layers_of, lookup_table
from lazypyr.server.responses import SendLimiter, cancel_on_disconnect, is_not_modified, reply

__all__ = ["ViewerRoutes"]

_OURS = {"page.css": "text/css", "index.js": "text/javascript", "view.js": "text/javascript"}
_BOKEH = {"bokeh.min.js": "text/javascript", "bokeh-api.min.js": "text/javascript"}
_NUMBER = re.compile("[0-9]{1,19}")
_THUMBNAIL = 320
_KEPT_SNAPSHOTS = 64
# Body of a picture that HEAD asks about: it is not rendered.
_HEAD_ONLY = b"unmade"


class _NotFound(Exception):
    """Nothing has the name that the URL gives; with a message where that helps."""


class ViewerRoutes:
    """Handlers by the first part of the path, in `pages`.

    Parameters
    ----------
    datasets : Mapping[str, ServedDataset]
    send_limiter : SendLimiter
        Bounds the bytes on their way to clients.
    own_vizarr : bool
        Whether a vizarr is served beside.
    """

    def __init__(self, datasets: Mapping[str, ServedDataset], send_limiter: SendLimiter, *, own_vizarr: bool) -> None:
        self._datasets, self._send_limiter, self._own_vizarr = datasets, send_limiter, own_vizarr
        self._layers: dict[tuple[str, str], Mapping[str, Layer]] = {}
        self._products = ProductLayers()
        self._files: dict[str, bytes] = {}
        # Here, so that no request waits for the packages that have them.
        self._palettes = list(dict.fromkeys([*PALETTES, *colormap_names()]))
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
        for dataset in self._datasets.values():
            snapshot = await dataset.current()
            for path, pyramid in snapshot.by_format[3].pyramids.items():
                name = f"{dataset.name}/{path}" if path else dataset.name
                shown.append((name, pyramid, snapshot.fingerprint, dataset.store.layout))
        body = index_page(shown, _base(scope), own_vizarr=self._own_vizarr, has_viewer=_bokeh_folder() is not None)
        await _html(scope, send, body)

    async def _view(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        result = await self._read_or_404(rest, scope, receive, send, self._info)
        if result is not None:
            if _bokeh_folder() is None:
                await _html(scope, send, "<p>The viewer needs bokeh: <code>pip install bokeh</code>", status=404)
            else:
                await _html(scope, send, view_page(result[1], _root(scope)))

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
        if is_not_modified(scope, etag):
            await reply(scope, send, 304, headers={**headers, "Content-Length": ""})
        else:
            await self._send_limiter.deliver(scope, send, body, headers)

    # Pictures

    async def _tile(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        name, *numbers = rest.removesuffix(".png").rsplit("/", 3)
        if not rest.endswith(".png") or len(numbers) != 3 or not all(map(_NUMBER.fullmatch, numbers)):
            await reply(scope, send, 404)
            return
        zoom, x, y = map(int, numbers)

        def draw(layer: Layer, options: RenderOptions, engine: Engine) -> tuple[Hashable, Callable[[], bytes | None]]:
            if not layer.has_tile(zoom, x, y):
                raise _NotFound
            return ("png", zoom, x, y), lambda: layer.tile(engine, options, zoom, x, y)

        await self._picture(name, scope, receive, send, draw)

    async def _thumbnail(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        def draw(layer: Layer, options: RenderOptions, engine: Engine) -> tuple[Hashable, Callable[[], bytes | None]]:
            return "thumbnail", lambda: layer.thumbnail(engine, options, _THUMBNAIL)

        await self._picture(rest.removesuffix(".png"), scope, receive, send, draw)

    async def _picture(self, name: str, scope: Scope, receive: Receive, send: Send, draw: Any) -> None:
        """Answer with the picture of the key and function that `draw` gives for a layer; HEAD draws nothing."""

        async def compute(dataset: ServedDataset, path: str, snapshot: Snapshot) -> bytes:
            layer, options = await self._render_options(path, snapshot, scope)
            engine = snapshot.by_format[3].engine
            key, render = draw(layer, options, engine)
            if scope["method"] == "HEAD":
                return _HEAD_ONLY
            png: bytes = await _cached(engine, (key, layer.pyramid.key, layer.name, options), lambda: render() or b"")
            return png

        def headers(snapshot: Snapshot) -> dict[str, str]:
            fixed = b"v=" in scope["query_string"]
            return {
                "Content-Type": "image/png",
                **snapshot.validators(scope["path"], scope["query_string"]),
                "Cache-Control": "private, max-age=86400, immutable" if fixed else "no-cache",
            }

        dataset, _ = named_dataset(self._datasets, name)
        if dataset is not None:
            current = headers(await dataset.current())
            if is_not_modified(scope, current["ETag"]):
                await reply(scope, send, 304, headers={**current, "Content-Length": ""})
                return
        result = await self._read_or_404(name, scope, receive, send, compute)
        if result is None:
            return
        snapshot, png = result
        if png is _HEAD_ONLY:
            await reply(scope, send, 200, headers={**headers(snapshot), "Content-Length": ""})
        elif png:
            await self._send_limiter.deliver(scope, send, png, headers(snapshot))
        else:
            await reply(scope, send, 404)

    # Facts

    async def _api(self, rest: str, scope: Scope, receive: Receive, send: Send) -> None:
        name, _, endpoint = rest.rpartition("/")
        computations: dict[str, Any] = {"info": self._info, "window": self._window, "value": self._value}
        if endpoint not in computations:
            await reply(scope, send, 404)
            return

        head = scope["method"] == "HEAD"

        async def compute(dataset: ServedDataset, path: str, snapshot: Snapshot) -> bytes:
            # For HEAD nothing is computed.
            facts = {} if head else await computations[endpoint](dataset, path, snapshot, scope)
            return json.dumps(facts, allow_nan=False).encode()

        result = await self._read_or_404(name, scope, receive, send, compute)
        if result is not None:
            headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
            await reply(scope, send, 200, result[1], headers={**headers, **({"Content-Length": ""} if head else {})})

    async def _info(self, dataset: ServedDataset, path: str, snapshot: Snapshot, _: Any = None) -> dict[str, Any]:
        layers = self._layers_at(path, snapshot)
        pyramid = snapshot.by_format[3].pyramids[path]
        grid = pyramid.grid
        first = next(iter(layers.values()))
        return {
            "name": f"{dataset.name}/{path}" if path else dataset.name,
            "title": without_paths(pyramid.name),
            "version": snapshot.fingerprint,
            "live": dataset.revalidate,
            "tile": TILE,
            "palettes": self._palettes,
            "grid": {"x0": grid.x0, "dx": grid.dx, "nx": grid.nx, "y0": grid.y0, "dy": grid.dy, "ny": grid.ny},
            **{axis: _axis_facts(pyramid, axis) for axis in SPATIAL_AXES},
            "flip": {"x": first.orientation.flip_x, "y": first.orientation.flip_y},
            "dtype": str(pyramid.dtype),
            "levels": len(pyramid.levels),
            "max_zoom": first.max_zoom,
            "views": [
                {"name": v.name, "palette": v.palette, "axes": v.sizes, "colour_axis": v.colour_axis, "start": v.start}
                for v in layers.values()
            ],
        }

    async def _window(self, dataset: ServedDataset, path: str, snapshot: Snapshot, scope: Scope) -> dict[str, Any]:
        _, options = await self._render_options(path, snapshot, scope)
        return {"low": options.limits[0], "high": options.limits[1]}

    async def _value(self, dataset: ServedDataset, path: str, snapshot: Snapshot, scope: Scope) -> dict[str, Any]:
        query = _query(scope)
        layer, index, bands = await self._layer_of(path, snapshot, scope)
        zoom, row0, column0 = (_number(query.get(name, "")) for name in ("z", "row", "col"))
        (ny, nx), levels = layer.size, layer.pyramid.levels
        if zoom > layer.max_zoom or row0 >= ny or column0 >= nx:
            raise _NotFound
        level = layer.level_at(zoom)
        row, column = layer.pixel_at(level, row0 + 0.5, column0 + 0.5)
        y, x = (layer.pyramid.axes.index(axis) for axis in SPATIAL_AXES)
        row, column = min(row, levels[level].shape[y] - 1), min(column, levels[level].shape[x] - 1)
        engine, values = snapshot.by_format[3].engine, []
        for plane in layer.planes(index, bands):
            cached, computation = engine.request(layer.pyramid, level, layer.chunk_index(row, column, plane))
            chunk: Any = cached if computation is None else await wait_async(engine, computation, "the picture")
            found = layer.value(chunk, level, row, column, plane)
            values.append(layer.flags.get(found, _text(found)))
        return {"level": level, "row": row, "col": column, "text": ", ".join(values) + layer.unit}

    # Names of URLs

    async def _read_or_404(
        self, name: str, scope: Scope, receive: Receive, send: Send, compute: Callable[..., Any]
    ) -> tuple[Snapshot, Any] | None:
        """Snapshot and the result of `compute` for the dataset and group that `name` names; None after a 404."""
        dataset, path = named_dataset(self._datasets, name)
        version = _query(scope).get("v")
        if dataset is None:
            await reply(scope, send, 404)
            return None

        async def get(snapshot: Snapshot) -> Any:
            if path not in snapshot.by_format[3].pyramids or version not in (None, snapshot.fingerprint):
                raise _NotFound
            return await compute(dataset, path, snapshot)

        try:
            async with cancel_on_disconnect(receive):
                return await dataset.read(get)
        except _NotFound as error:
            if not error.args:
                await reply(scope, send, 404)
            else:
                body = json.dumps({"error": str(error)}).encode()
                await reply(scope, send, 404, body, headers={"Content-Type": "application/json"})
            return None

    def _layers_at(self, path: str, snapshot: Snapshot) -> Mapping[str, Layer]:
        key = snapshot.fingerprint, path
        if key not in self._layers:
            while len(self._layers) >= _KEPT_SNAPSHOTS:
                del self._layers[next(iter(self._layers))]
            self._layers[key] = layers_of(snapshot.by_format[3].pyramids[path])
        return self._layers[key]

    async def _layer_of(
        self, path: str, snapshot: Snapshot, scope: Scope
    ) -> tuple[Layer, tuple[int, ...], tuple[int, int, int] | None]:
        """Layer, index along its other axes, and bands that a query names."""
        query, layers = _query(scope), self._layers_at(path, snapshot)
        products = tuple(parse_qs(scope["query_string"].decode("latin-1")).get("product", ()))
        layer = next(iter(layers.values())) if not products else layers.get(products[0]) if products[1:] == () else None
        if layer is None:
            try:
                layer = await self._products.layer(snapshot, path, products)
            except PlanError as error:
                raise _NotFound(str(error)) from None
        sizes = tuple(layer.sizes.values())
        index = (
            tuple(_number(text) for text in query["at"].split(","))
            if query.get("at")
            else layer.start or (0,) * len(sizes)
        )
        if len(index) != len(sizes) or any(i >= n for i, n in zip(index, sizes, strict=True)):
            raise _NotFound
        if layer.colour_axis is None:
            return layer, index, None
        bands = tuple(_number(text) for text in query.get("bands", "0,1,2").split(","))
        if len(bands) != 3 or max(bands) >= layer.sizes[layer.colour_axis]:
            raise _NotFound
        return layer, index, (bands[0], bands[1], bands[2])

    async def _render_options(self, path: str, snapshot: Snapshot, scope: Scope) -> tuple[Layer, RenderOptions]:
        query = _query(scope)
        layer, index, bands = await self._layer_of(path, snapshot, scope)
        palette = query.get("palette", layer.palette)
        try:
            lookup_table(palette)
        except PlanError as error:
            raise _NotFound(str(error)) from None
        if "low" in query or "high" in query:
            limits = _float(query.get("low")), _float(query.get("high"))
            if not limits[0] < limits[1]:
                raise _NotFound
        elif scope["method"] == "HEAD":  # nothing is computed for it
            limits = 0.0, 1.0
        else:
            engine = snapshot.by_format[3].engine
            key = ("window", layer.pyramid.key, layer.name, index, bands)
            low, high = await _cached(engine, key, lambda: np.array(layer.auto_limits(engine, index, bands)))
            limits = float(low), float(high)
        return layer, RenderOptions(index, limits, palette, bands)


async def _cached(engine: Engine, key: Hashable, compute: Callable[[], Any]) -> Any:
    """A value from the engine's cache, computed in one of its threads if it is missing."""
    value, computation = engine.submit(key, compute)
    return value if computation is None else await wait_async(engine, computation, "the picture")


def _axis_facts(pyramid: Pyramid, axis: str) -> dict[str, str]:
    name, unit = axis_label(pyramid, axis)
    return {"name": name, "unit": unit or ("" if pyramid.coords else "px")}


def _bokeh_folder() -> Path | None:
    spec = find_spec("bokeh")
    folder = Path(spec.origin).parent / "server" / "static" / "js" if spec is not None and spec.origin else None
    return folder if folder is not None and (folder / "bokeh.min.js").is_file() else None


def _base(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    return f"{scope['scheme']}://{host}{_root(scope)}"


def _root(scope: Scope) -> str:
    """Path below which the application is mounted, as URLs have it; empty for none."""
    return quote(scope.get("root_path", "").rstrip("/"))


def _query(scope: Scope) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _NotFound
    return int(text)


def _float(text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise _NotFound from None
    if not math.isfinite(number):
        raise _NotFound
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
