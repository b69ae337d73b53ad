"""HTML of pyramids and stores for notebooks: facts, levels, what they cost, chunks to scale, a small picture."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from html import escape

from lazypyr._names import without_secrets
from lazypyr._util.text import size_text
from lazypyr.engine.engine import Engine
from lazypyr.errors import LazypyrError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.represented import extent_text
from lazypyr.representations.svg import chunk_layout
from lazypyr.server.rendering import Layer, RenderOptions, layers_of

__all__ = ["store_to_html", "to_html"]

_PICTURE = 192
# Reads for a picture that nobody asked for are no larger.
_PICTURE_BYTES = 2**25
# A plan lists the chunks that it reads: of planes larger than this it takes long.
_PLANNED_BYTES = 2**32
_SHOWN = 20
_STYLE = (
    ".lazypyr{display:flex;flex-wrap:wrap;gap:1em 2em;align-items:flex-start;font-size:90%}"
    ".lazypyr table{border-collapse:collapse;margin:.3em 0}.lazypyr td,.lazypyr th{padding:.1em .8em .1em 0;text-align:right}"
    ".lazypyr .facts th,.lazypyr .facts td{text-align:left}"
    ".lazypyr img{image-rendering:pixelated;max-width:192px}"
)


def to_html(pyramid: Pyramid, *, engine: Engine | None = None) -> str:
    """HTML of a pyramid.

    Parameters
    ----------
    pyramid : Pyramid
    engine : Engine, optional
        Engine whose cache the picture is read through. The picture is left out where it would read more than 32 MiB.

    Returns
    -------
    str
        One element, without scripts. Nothing is asked of the network.
    """
    picture = _picture(pyramid, engine)
    return (
        f'<div class="lazypyr"><style>{_STYLE}</style>{picture}<div><b>{escape(pyramid.name)}</b>{_facts(pyramid)}'
        f"{_levels(pyramid)}<p>{_cost(pyramid)}</p></div>{chunk_layout(pyramid)}</div>"
    )


def store_to_html(pyramids: Mapping[str, Pyramid], engine: Engine, what: str) -> str:
    """HTML of a store: its pyramids by path; of many, the first ones open by themselves.

    Parameters
    ----------
    pyramids : Mapping[str, Pyramid]
    engine : Engine
        Of the store.
    what : str
        Description of the store.
    """
    head = f"<div><b>{escape(what)}</b></div>"
    if len(pyramids) == 1:
        ((_, pyramid),) = pyramids.items()
        return head + to_html(pyramid, engine=engine)
    parts = [
        f"<details><summary>{escape(path or '/')}: {escape(_sizes(pyramid))} {pyramid.dtype}</summary>"
        f"{to_html(pyramid, engine=engine)}</details>"
        for path, pyramid in list(pyramids.items())[:_SHOWN]
    ]
    more = f"<p>and {len(pyramids) - _SHOWN} more</p>" if len(pyramids) > _SHOWN else ""
    return head + "".join(parts) + more


def _sizes(pyramid: Pyramid) -> str:
    return " × ".join(f"{axis} {n:,}" for axis, n in zip(pyramid.axes, pyramid.shape, strict=True))


def _facts(pyramid: Pyramid) -> str:
    crs = pyramid.crs or ""
    rows = {
        "shape": f"{_sizes(pyramid)}, {pyramid.dtype}",
        "chunks": " × ".join(map(str, pyramid.chunks)),
        "method": pyramid.method,
        "extent": extent_text(pyramid),
        "crs": crs if len(crs) < 60 else f"{crs[:57]}...",
        "no data": "" if pyramid.nodata is None else str(pyramid.nodata),
        "made by": without_secrets(pyramid.description),
    }
    cells = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in rows.items() if text)
    return f'<table class="facts">{cells}</table>'


def _levels(pyramid: Pyramid) -> str:
    rows = "".join(
        f"<tr><td>{number}</td><td>{' × '.join(f'{n:,}' for n in level.shape)}</td>"
        f"<td>{math.prod(windows.chunk_count(level.shape, pyramid.chunks)):,}</td>"
        f"<td>{size_text(math.prod(level.shape) * pyramid.dtype.itemsize)}</td></tr>"
        for number, level in enumerate(pyramid.levels)
    )
    return f"<table><tr><th>level</th><th>shape</th><th>chunks</th><th>bytes</th></tr>{rows}</table>"


def _cost(pyramid: Pyramid) -> str:
    """Sentence on what the coarser levels would take if they were written, and what the coarsest one reads."""
    coarser = pyramid.levels[pyramid.n_stored_levels :]
    n_bytes = sum(math.prod(level.shape) for level in coarser) * pyramid.dtype.itemsize
    count = sum(math.prod(windows.chunk_count(level.shape, pyramid.chunks)) for level in coarser)
    levels = f"{len(coarser)} computed level{'' if len(coarser) == 1 else 's'}"
    written = f"{levels}: {size_text(n_bytes)} in {count:,} chunks, if they were written."
    read = _reads(pyramid, len(pyramid.levels) - 1)
    return escape(
        written if read is None else f"{written} A plane of the coarsest level reads at most {size_text(read)}."
    )


def _reads(pyramid: Pyramid, level: int) -> int | None:
    """Bytes that one plane of a level reads, decoded, or, of planes that would take long to plan, may read; None where unknown."""
    whole, shape = (_plane(pyramid, k) for k in (min(level, pyramid.n_stored_levels - 1), level))
    at_most = math.prod(whole) * pyramid.dtype.itemsize
    if at_most > _PLANNED_BYTES:
        return at_most
    try:
        return pyramid.explain(level, tuple((0, n) for n in shape)).total_bytes
    except LazypyrError:
        return None


def _plane(pyramid: Pyramid, level: int) -> tuple[int, ...]:
    """Shape of one plane of a level, by axis."""
    shape = pyramid.levels[level].shape
    return tuple(n if axis in SPATIAL_AXES else 1 for axis, n in zip(pyramid.axes, shape, strict=True))


def _picture(pyramid: Pyramid, engine: Engine | None) -> str:
    """Small picture of the first layer that the viewer shows; empty where it costs too much or can't be made."""
    own = engine or Engine(cache_bytes=_PICTURE_BYTES)
    try:
        layer = next(iter(layers_of(pyramid).values()))
        pixels = max(1.0, max(layer.size) / _PICTURE)
        needed = [_reads(layer.pyramid, level) for level in {layer.level_for(pixels), len(pyramid.levels) - 1}]
        if any(n is None or n > _PICTURE_BYTES for n in needed):
            return ""
        png = _drawn(layer, own)
    except LazypyrError:  # a source that is away, Pillow that isn't installed: a representation is never an error
        return ""
    finally:
        if engine is None:
            own.close()
    if png is None:
        return ""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _drawn(layer: Layer, engine: Engine) -> bytes | None:
    index = layer.start or (0,) * len(layer.sizes)
    bands = None if layer.colour_axis is None else (0, 1, 2)
    limits = layer.auto_limits(engine, index, bands)
    return layer.thumbnail(engine, RenderOptions(index, limits, layer.palette, bands), _PICTURE)
