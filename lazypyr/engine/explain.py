"""What a tile would cost, said before anything is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazypyr.engine.engine import Engine
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import DIRECT, Pyramid
from lazypyr.pyramids.execute import Pass
from lazypyr.pyramids.function import FunctionPyramid
from lazypyr.pyramids.plan import Plan
from lazypyr.pyramids.reduced import ReducedPyramid

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """Where the pixels of a window would come from.

    Attributes
    ----------
    what : str
        Pyramid, level and window.
    how : str
        In words.
    cached : bool
        Nothing is computed.
    source : str or None
        What is read, None if nothing is.
    chunks, n_bytes : int
        Stored chunks read, and their bytes when decoded.
    tiles : int
        Cached tiles that are used instead of reading.
    keeps : tuple of int
        Finer levels whose tiles are cached on the way.
    inputs : tuple of Explanation
        Of what a product asks for.
    """

    what: str
    how: str
    cached: bool = False
    source: str | None = None
    chunks: int = 0
    n_bytes: int = 0
    tiles: int = 0
    keeps: tuple[int, ...] = ()
    inputs: tuple[Explanation, ...] = field(default=())

    @property
    def total_chunks(self) -> int:
        """Stored chunks read, those of the inputs included."""
        return self.chunks + sum(part.total_chunks for part in self.inputs)

    @property
    def total_bytes(self) -> int:
        """Decoded bytes, those of the inputs included."""
        return self.n_bytes + sum(part.total_bytes for part in self.inputs)

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-like."""
        plain = {
            name: getattr(self, name) for name in ("what", "how", "cached", "source", "chunks", "n_bytes", "tiles")
        }
        return {**plain, "keeps": list(self.keeps), "inputs": [part.as_dict() for part in self.inputs]}

    def __str__(self) -> str:
        lines = [self.what, f"  {self.how}"]
        if self.chunks:
            lines.append(f"  reads {self.chunks:,} chunks, {self.n_bytes:,} bytes decoded, of {self.source}")
        if self.tiles:
            lines.append(f"  uses {self.tiles:,} cached tiles")
        if self.keeps:
            lines.append(f"  keeps the tiles of level {', '.join(map(str, self.keeps))} on the way")
        for part in self.inputs:
            lines += [f"  {line}" for line in str(part).splitlines()]
        return "\n".join(lines)


def explain(pyramid: Pyramid, level: int, index: tuple[int, ...], engine: Engine) -> Explanation:
    """What computing a tile would read; nothing is read and nothing is cached.

    Parameters
    ----------
    pyramid : Pyramid
    level : int
    index : tuple of int
        Of the tile, by axis.
    engine : Engine
        Whose cache is taken into account.
    """
    window = windows.chunk_window(index, pyramid.chunks, pyramid.levels[level].shape)
    return _of_window(pyramid, level, window, engine)


def _of_window(pyramid: Pyramid, level: int, window: Window, engine: Engine) -> Explanation:
    spans = ", ".join(f"{axis} {a}:{b}" for axis, (a, b) in zip(pyramid.axes, window, strict=True))
    what = f"{pyramid.name}, level {level}, {spans}"
    indices = list(windows.chunk_index_windows(window, pyramid.chunks))
    if all(engine.peek(pyramid, level, index) is not None for index in indices):
        return Explanation(what, "from the cache", cached=True, tiles=len(indices))
    if isinstance(pyramid, ReducedPyramid):
        return _of_reduced(pyramid, level, window, what, engine)
    if isinstance(pyramid, FunctionPyramid):
        return Explanation(what, f"one call of {pyramid.recipe}")
    asked = _Asked()
    try:
        pyramid.compute(level, window, asked)
    except Exception as error:  # a product may refuse pixels that are all zero
        return Explanation(what, f"{pyramid.recipe}; what it reads depends on the pixels ({type(error).__name__})")
    return Explanation(what, pyramid.recipe, inputs=tuple(_of_window(*request, engine) for request in asked.requests))


class _Asked:
    """A runner that hands out zeros and notes what was asked for."""

    room_bytes, block_bytes, workers = 0, DIRECT.block_bytes, 1

    def __init__(self) -> None:
        self.requests: list[tuple[Pyramid, int, Window]] = []

    def read(self, pyramid: Pyramid, level: int, window: Window) -> np.ndarray[Any, Any]:
        self.requests.append((pyramid, level, window))
        return np.zeros(windows.window_shape(window), pyramid.dtype)

    peek, offer, parallel = DIRECT.peek, DIRECT.offer, DIRECT.parallel


def _of_reduced(p: ReducedPyramid, level: int, window: Window, what: str, engine: Engine) -> Explanation:
    base = p.bases[min(level, p.base_level)]
    depth = max(level - p.base_level, 0)
    steps = tuple(f**depth for f in p.factors)
    chunk_bytes = math.prod(base.chunks) * p.dtype.itemsize
    work = Pass(p, engine)
    strategy = work.strategy(level)
    if strategy == "sampled":
        chunks = math.prod(
            len({(i * s) // c for i in range(a, b)}) for (a, b), s, c in zip(window, steps, base.chunks, strict=True)
        )
        n_bytes = windows.pixels_in(window) * p.dtype.itemsize if base.cheap_stride else chunks * chunk_bytes
        return Explanation(what, "only the chunks that hold a sample", False, base.name, chunks, n_bytes)
    if strategy == "reduced":
        plan = work.plan(level, window)
        chunks, tiles = _needs(work, level, plan.window, plan)
        how = f"{p.reducer.name} of {'finer tiles and ' if tiles else ''}one pass over the chunks under it"
        keeps = tuple(range(plan.keep, level)) if chunks else ()
        return Explanation(what, how, False, base.name, chunks, chunks * chunk_bytes, tiles, keeps)
    wide = windows.refine_window(window, p.factors, base.shape, depth)
    chunks = _touched(wide, base.chunks)
    how = "as stored" if strategy == "stored" else f"{p.reducer.name} of boxes of level {p.base_level}"
    return Explanation(what, how, False, base.name, chunks, chunks * chunk_bytes)


def _touched(window: Window, chunks: tuple[int, ...]) -> int:
    return math.prod(windows.cdiv(b, c) - a // c for (a, b), c in zip(window, chunks, strict=True))


def _needs(work: Pass, level: int, window: Window, plan: Plan) -> tuple[int, int]:
    """Stored chunks, and cached tiles, that a pass over a window of `level` uses."""
    if level <= plan.group and not work.any_cached(level, window, plan):
        return _of_group(work, level, window, plan)
    chunks = tiles = 0
    for finer in work.finer_windows(level, window):
        cached = _cached_tiles(work, level - 1, finer)
        more = (0, cached) if cached else _needs(work, level - 1, finer, plan)
        chunks, tiles = chunks + more[0], tiles + more[1]
    return chunks, tiles


def _of_group(work: Pass, level: int, window: Window, plan: Plan) -> tuple[int, int]:
    p, base = work.pyramid, work.pyramid.bases[-1]
    wide = windows.refine_window(window, p.factors, p.levels[plan.block].shape, level - plan.block)
    if plan.block == p.base_level:
        return _touched(wide, base.chunks), 0
    chunks = tiles = 0
    for leaf in plan.leaves(wide):
        cached = _cached_tiles(work, plan.block, leaf)
        tiles += cached
        if not cached:
            chunks += _touched(
                windows.refine_window(leaf, p.factors, base.shape, plan.block - p.base_level), base.chunks
            )
    return chunks, tiles


def _cached_tiles(work: Pass, level: int, window: Window) -> int:
    """How many tiles make a window of a level, 0 if one of them isn't cached."""
    p = work.pyramid
    indices = list(windows.chunk_index_windows(window, p.chunks))
    return len(indices) if all(work.run.peek(p, level, index) is not None for index in indices) else 0
