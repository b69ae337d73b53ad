"""One block of stored numbers reduced, packed or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.metadata.packing import Packing
from lazypyr.pyramids.packed import reduce_packed
from lazypyr.reducers import Reducer

__all__ = ["reduce_block"]

Array = np.ndarray[Any, Any]


def reduce_block(
    reducer: Reducer, packing: Packing, nodata: Any, block: Array, factors: tuple[int, ...], out: Array | None = None
) -> Array:
    """Reduced block, in which what holds nothing is left out; see `Reducer.__call__`."""
    if packing.is_plain:
        return reducer(block, factors, nodata=nodata, out=out)
    return reduce_packed(reducer, packing, block, factors, out)
