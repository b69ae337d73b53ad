"""Reduction of stored numbers that mean something else: what holds nothing is left out, signs and scales are obeyed."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.metadata.packing import Packing
from lazypyr.reducers import Reducer

__all__ = ["reduce_packed"]

Array = np.ndarray[Any, Any]


def reduce_packed(
    reducer: Reducer, packing: Packing, block: Array, factors: tuple[int, ...], out: Array | None = None
) -> Array:
    """Reduced block of stored numbers, as stored numbers again.

    Reducers know one value that holds nothing: the first one stands for all others, also in the result.

    Parameters
    ----------
    reducer : Reducer
        One that is `affine`: then the reduced number means the reduced values.
    packing : Packing
        Meaning of the block's numbers.
    block : ndarray
        Of the packing's `stored` dtype.
    factors : tuple of int
        Pixels of a box along each axis.
    out : ndarray, optional
        Where the result goes; may be a view.

    Returns
    -------
    ndarray
        Of the packing's `stored` dtype.
    """
    if reducer.samples_only:
        return reducer(block, factors, out=out)
    numbers, hole = packing.with_one_hole(block), packing.hole
    result = None if out is None else out.view(packing.numbers)
    if packing.descends and reducer.directed:
        numbers, hole = _mirrored(numbers), None if hole is None else _mirrored(hole)
        made = reducer(numbers, factors, nodata=hole)
        if result is None:
            result = np.empty_like(made)
        result[...] = _mirrored(made)
    else:
        result = reducer(numbers, factors, nodata=hole, out=result)
    return result.view(packing.stored)


def _mirrored(numbers: Any) -> Any:
    """Numbers in the opposite order, each of them kept: mirrored twice they are as before."""
    return -numbers if numbers.dtype.kind == "f" else ~numbers
