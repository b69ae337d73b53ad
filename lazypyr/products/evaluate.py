"""Evaluation of a product on a window, with its depth around it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from lazypyr.errors import LazypyrError
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.products.base import Input, Output, Product
from lazypyr.products.context import Array, ProductContext, Ranges, Read

__all__ = ["asked_first", "evaluate"]

_MAX_COUNTS = 4096


def evaluate(
    product: Product, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
) -> Array:
    """The product's pixels, from a window wider by its depth; what goes wrong in it is a ComputeError."""
    if not all(where):
        return np.empty([len(r) for r in where], out.dtype)
    depth = product.depth
    wide, crop = (where, None) if depth == (0, 0) else _widened(inputs[0], out, where, depth)
    try:
        with np.errstate(all="ignore"):
            block = product.compute(inputs, out, wide, read, context)
    except (LazypyrError, MemoryError):
        raise
    except Exception as error:
        raise context.error(f"{type(error).__name__}: {error}") from error
    return block if crop is None else block[crop].copy()


class _Enough(Exception):
    """Sign that as many inputs have been asked for as the product is known to ask for."""


def asked_first(
    product: Product,
    inputs: Sequence[Input],
    out: Output,
    where: Ranges,
    context: ProductContext,
    counts: dict[Ranges, int],
) -> list[tuple[int, Ranges]]:
    """Number and ranges of the inputs that a product asks for when they are all zero; nothing is read.

    `counts` remembers how often it asks, by the channels wanted, so that from the second time on nothing is computed.
    """
    channels = tuple(where[axis] for axis, name in enumerate(out.axes) if name not in SPATIAL_AXES)
    most = counts.get(channels)
    asked: list[tuple[int, Ranges]] = []

    def read(n: int, ranges: Ranges) -> Array:
        asked.append((n, ranges))
        if len(asked) == most:
            raise _Enough
        return np.zeros([len(r) for r in ranges], inputs[n].dtype)

    with contextlib.suppress(Exception):
        evaluate(product, inputs, out, where, read, context)
    if len(counts) >= _MAX_COUNTS:
        counts.clear()
    counts[channels] = len(asked)
    return asked


def _widened(first: Input, out: Output, where: Ranges, depth: tuple[int, int]) -> tuple[Ranges, tuple[slice, ...]]:
    """Window wider by the depth of a product, clipped at the edges of the level, and what to cut out of it."""
    wide, crop = list(where), [slice(None)] * len(where)
    for axis, reach in zip("yx", depth, strict=True):
        n, at = first.shape[first.axes.index(axis)], out.axes.index(axis)
        a, b = where[at].start, where[at].stop
        wide[at] = range(max(0, a - reach), min(n, b + reach)) if reach else where[at]
        crop[at] = slice(a - wide[at].start, a - wide[at].start + len(where[at]))
    return tuple(wide), tuple(crop)
