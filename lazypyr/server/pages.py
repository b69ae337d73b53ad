"""HTML of the two pages. All text from outside is escaped here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, urlsplit

from lazypyr._util.text import size_text
from lazypyr.geometry import windows
from lazypyr.metadata.conventions.ome import why_not_ome
from lazypyr.pyramids.base import Pyramid
from lazypyr.store.layout import StoreLayout, tree_path

__all__ = ["NEUROGLANCER_DTYPES", "index_page", "view_page"]

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}/static/page.css">
"""
_PASTED_BYTES = 2**24
# Data types that neuroglancer's client reads.
NEUROGLANCER_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
_HOSTED = "https://hms-dbmi.github.io/vizarr/"


def index_page(
    shown: Sequence[tuple[str, Pyramid, str, StoreLayout]], base: str, *, own_vizarr: bool, has_viewer: bool
) -> str:
    """Index page at ``/``; `shown` has name, pyramid, fingerprint and layout of each source."""
    count = "one source" if len(shown) == 1 else f"{len(shown)} sources"
    cards = "".join(_card(*source, base=base, own_vizarr=own_vizarr, has_viewer=has_viewer) for source in shown)
    root = escape(urlsplit(base).path)
    return f"""{_HEAD.format(root=root)}<title>lazypyr</title>
<header><h1>lazypyr</h1><p>{count}, every level computed when it is read</p>
<nav><a href="{root}/stats">stats</a><a href="{root}/metrics">metrics</a></nav></header>
<main>{cards}</main>
<script src="{root}/static/index.js"></script>
"""


def _card(
    name: str, pyramid: Pyramid, version: str, layout: StoreLayout, *, base: str, own_vizarr: bool, has_viewer: bool
) -> str:
    label, place, first = escape(name), quote(name), layout.zarr_format
    url, other = f"{base}/{place}/", f"{base}/v{5 - first}/{place}/"
    root = escape(urlsplit(base).path)
    picture = f'<img src="{root}/thumbnail/{place}.png?v={version}" alt="{label}" loading="lazy">'
    view = f"{root}/view/{place}"
    vizarr = f"{f'{root}/viewers/vizarr/' if own_vizarr else _HOSTED}?source={quote(url, safe='')}"
    buttons = [f'<a class="button" href="{view}">Look at it</a>'] if has_viewer else []
    reason = why_not_ome(pyramid)
    if reason is None and pyramid.dtype.kind in "uif":
        buttons.append(f'<a class="button plain" href="{escape(vizarr)}">vizarr</a>')
    note = f'<p class="note">Not for vizarr and neuroglancer: {escape(reason)}.</p>' if reason else ""
    first_name, _, inner = name.partition("/")
    tree = f"{base}/xarray/{quote(first_name)}/", f"{inner}/".lstrip("/") + tree_path(layout.level_path)
    tabs = _snippets(url, f"{base}/v2/{place}/", vizarr, pyramid, layout.level_path, tree)
    heads = "".join(f'<button data-tab="{k}">{escape(title)}</button>' for k, (title, _) in enumerate(tabs))
    texts = "".join(f"<pre data-tab='{k}'>{escape(text)}</pre>" for k, (_, text) in enumerate(tabs))
    return f"""<article id="{label}">
<a class="thumbnail" href="{view if has_viewer else url}">{picture}</a>
<section>
<h2>{label}</h2>
<p class="facts">{_facts(pyramid)}</p>
<p>{"".join(buttons)}</p>{note}
<p class="url"><b>zarr v{first}</b><code>{escape(url)}</code><button class="copy">copy</button></p>
<p class="url"><b>zarr v{5 - first}</b><code>{escape(other)}</code><button class="copy">copy</button></p>
<details open><summary>{len(pyramid.levels)} levels</summary>{_levels(pyramid)}</details>
<div class="tabs"><nav>{heads}<button class="copy">copy</button></nav>{texts}</div>
</section>
</article>
"""


def _facts(pyramid: Pyramid) -> str:
    facts = [
        " × ".join(f"{axis} {n:,}" for axis, n in zip(pyramid.axes, pyramid.shape, strict=True)),
        str(pyramid.dtype),
        f"levels by {pyramid.method}",
        f"tiles of {' × '.join(map(str, pyramid.chunks))}",
    ]
    if pyramid.crs:
        facts.append(pyramid.crs if len(pyramid.crs) < 40 else "georeferenced")
    return " · ".join(map(escape, facts))


def _levels(pyramid: Pyramid) -> str:
    rows = ""
    for number, level in enumerate(pyramid.levels):
        scale = max(level.scale)
        count = math.prod(windows.chunk_count(level.shape, pyramid.chunks))
        rows += (
            f"<tr><td>{number}<td>{' × '.join(f'{n:,}' for n in level.shape)}<td>{_short(scale)}<td>{_short(count)}"
            f"<td>{size_text(math.prod(level.shape) * pyramid.dtype.itemsize)}"
        )
    head = "<tr><th>level<th>shape<th>scale<th>chunks<th>bytes"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _short(number: float) -> str:
    return f"{number:,.10g}" if number < 1e10 else f"{number:.2e}".replace("e+", "e")


def _snippets(
    url: str, url2: str, vizarr: str, pyramid: Pyramid, layout: str, tree: tuple[str, str]
) -> list[tuple[str, str]]:
    sizes = [math.prod(level.shape) * pyramid.dtype.itemsize for level in pyramid.levels]
    # A pasted snippet reads a whole level: one of a moderate size.
    number = next((k for k, size in enumerate(sizes) if size <= _PASTED_BYTES), len(sizes) - 1)
    level, in_url = layout.format(level=number), quote(layout.format(level=number))
    any_level = f"f{layout.replace('{level}', '{k}')!r}"
    full = vizarr if "://" in vizarr else "/".join(url.split("/")[:3]) + vizarr
    group, _, image = tree[1].format(level=number).rpartition("/")
    open_group = f'import zarr\n\ngroup = zarr.open_group("{url}", mode="r")\n'
    tabs = {
        "zarr": f"{open_group}level = group[{level!r}]\nlevel[...]",
        "xarray": f"""import xarray as xr

level = xr.open_dataset("{tree[0]}", engine="zarr", group={group!r}, chunks={{}})
level[{image!r}]""",
        "napari": f"""import napari
{open_group}levels = [group[{any_level}] for k in range({len(pyramid.levels)})]
viewer = napari.Viewer()
viewer.add_image(levels, multiscale=True)
napari.run()""",
        "neuroglancer": f"""import neuroglancer

viewer = neuroglancer.Viewer()
with viewer.txn() as s:
    s.layers["image"] = neuroglancer.ImageLayer(source="{url}|zarr:")
print(viewer)""",
        "vizarr": full,
        "GDAL": f"gdalinfo 'ZARR:\"/vsicurl/{url2}{in_url}\"'",
    }
    ome, kind = why_not_ome(pyramid) is None, pyramid.dtype.kind
    fits = {
        "napari": kind in "buif",
        "neuroglancer": ome and pyramid.dtype.name in NEUROGLANCER_DTYPES,
        "vizarr": ome and kind in "uif",
    }
    return [(name, text) for name, text in tabs.items() if fits.get(name, True)]


def view_page(info: Mapping[str, Any], root: str) -> str:
    """Viewer page of a source; `info` is the document of ``/api/NAME/info``, `root` the path of the application."""
    title = escape(str(info["name"]))
    # "</script>" must not end the element from within a name.
    facts = json.dumps({**info, "root": root}, allow_nan=False).replace("<", "\\u003c")
    root = escape(root)
    return f"""{_HEAD.format(root=root)}<title>{title} · lazypyr</title>
<body class="viewer">
<header><a href="{root}/"><h1>lazypyr</h1></a><h2>{title}</h2>
<form id="controls"></form>
</header>
<div id="plot"></div>
<div id="scalebar"><span></span></div>
<footer><span id="where"></span><span id="value"></span><span id="zoom"></span></footer>
<script id="info" type="application/json">{facts}</script>
<script src="{root}/static/bokeh.min.js"></script>
<script src="{root}/static/bokeh-api.min.js"></script>
<script src="{root}/static/view.js"></script>
"""
