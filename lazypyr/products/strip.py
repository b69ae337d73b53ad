"""Arrays worked on in runs of pixels: what lies between two steps stays in the processor's cache, in memory used again.

Fresh memory for what lies between costs more than most of the steps themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from lazypyr.products.context import Array

__all__ = ["STRIP", "rows_in_strip", "scratch", "strips"]

STRIP = 2**16
"""Pixels of a run: fewer, and the calls cost more than what they do."""


def strips(*arrays: Array) -> Iterator[list[Array]]:
    """Arrays of equal pixels, in C order, cut into runs; the last is written to and may have axes before the pixels'."""
    *blocks, result = arrays
    flat = [block.reshape(-1) for block in blocks]
    n = flat[0].size
    flat.append(result.reshape(*result.shape[: result.ndim - blocks[0].ndim], n))
    if n <= STRIP:
        yield flat
        return
    for start in range(0, n, STRIP):
        yield [array[..., start : start + STRIP] for array in flat]


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.free: dict[tuple[Any, ...], list[Array]] = {}


_scratch = _Scratch()


class scratch:
    """For a ``with`` block: arrays of `STRIP` pixels, one of each dtype, that this thread uses again.

    No generator: that would cost as much as the rest of a small tile.
    """

    def __init__(self, *dtypes: Any) -> None:
        self._dtypes = dtypes

    def __enter__(self) -> list[Array]:
        free = _scratch.free.pop(self._dtypes, [])
        self._arrays = free or [np.empty(STRIP, dtype) for dtype in self._dtypes]
        return self._arrays

    def __exit__(self, *error: object) -> None:
        _scratch.free[self._dtypes] = self._arrays


def rows_in_strip(plane: Array) -> int:
    """Number of rows of a plane that make a run; at least one."""
    return max(1, STRIP // max(1, int(plane.shape[1])))
