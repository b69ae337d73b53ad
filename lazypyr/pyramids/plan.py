"""Plan of one computation of a pyramid, decided once and before anything is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window

__all__ = ["BlockPlan", "ReadPlan", "Strategy"]

Index = tuple[int, ...]


class Strategy(Enum):
    """Way in which a window is computed."""

    DIRECT = "the window by itself"
    STORED = "read as it is stored"
    SAMPLED = "only the chunks that hold a sample"
    LEVEL_BY_LEVEL = "blocks, reduced level by level"
    WHOLE_BOXES = "boxes of the last stored level"


@dataclass(frozen=True)
class BlockPlan:
    """Plan of what is read together and reduced together on the way to a window of one level.

    Attributes
    ----------
    block_level : int
        The level to which one task brings what it reads, a *block*.
    group_level : int
        The level up to which blocks are collected in one array before they are reduced on.
    within_chunk : int
        How many levels a stored chunk can be reduced by itself: its size is a multiple of ``factor**within_chunk``.
    sizes : tuple of int
        Shape of one block, by axis, where blocks are aligned; else of a stored chunk.
    aligned : bool
        True where blocks can be cut so that none shares a chunk with another. If not, a block is a stored chunk, read as
        it is (of a reducer that samples: its samples at `block_level`), and what is collected is reduced together.
    steps : tuple of int
        Pixels of the last stored level in a pixel of `block_level`, by axis.
    """

    block_level: int
    group_level: int
    within_chunk: int
    sizes: Index
    aligned: bool
    steps: Index

    def cut(self, window: Window) -> Iterator[Window]:
        """Windows of the blocks that a window of `block_level` is cut into."""
        # Unaligned: the pixels whose samples lie in one chunk.
        steps = (1,) * len(window) if self.aligned else self.steps
        edges = [
            [windows.ceil_div(edge, step) for edge in range(a * step // size * size, b * step + size, size)]
            for (a, b), size, step in zip(window, self.sizes, steps, strict=True)
        ]
        parts = [
            [(max(low, a), min(high, b)) for low, high in itertools.pairwise(cuts) if max(low, a) < min(high, b)]
            for (a, b), cuts in zip(window, edges, strict=True)
        ]
        return itertools.product(*parts)


@dataclass(frozen=True)
class ReadPlan:
    """Plan of one computation: the engine runs it, `explain` tells it, `warm` goes by what it brings.

    Attributes
    ----------
    level : int
    window : Window
        What is asked for.
    region : Window
        What is computed: the window, and what else is decoded with it. Neighbours of one region come out together.
    working_bytes : int
        Estimate of the bytes held at once.
    finest_cached_level : int
        The finest level whose chunks are offered to the cache on the way.
    strategy : Strategy
    blocks : BlockPlan, optional
        Of `Strategy.LEVEL_BY_LEVEL`.
    read_bytes : int
        Bytes of its own sources that are read at most, decoded; what its parents read, they count themselves.
    """

    level: int
    window: Window
    region: Window
    working_bytes: int
    finest_cached_level: int
    strategy: Strategy = Strategy.DIRECT
    blocks: BlockPlan | None = None
    read_bytes: int = 0
