"""Planes worked on in runs of pixels: what lies between two steps stays in the processor's cache, in memory used again.

Fresh memory for what lies between costs more than most of the steps themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lazypyr.product.base import Array
from lazypyr.source.scratch import lease

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
        yield [each[..., start : start + STRIP] for each in flat]


@contextlib.contextmanager
def scratch(*dtypes: Any) -> Iterator[list[Array]]:
    """Arrays of `STRIP` pixels, one of each dtype, that this thread uses again."""
    sizes = [STRIP * np.dtype(dtype).itemsize for dtype in dtypes]
    with lease(sum(sizes)) as memory:
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        yield [
            memory[start : start + size].view(dtype) for start, size, dtype in zip(starts, sizes, dtypes, strict=True)
        ]


def rows_in_strip(plane: Array) -> int:
    """How many rows of a plane make a run; at least one."""
    return max(1, STRIP // max(1, int(plane.shape[1])))
