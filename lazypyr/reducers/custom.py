"""Running the user's own reducing function, and holding it to its word."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from lazypyr._util.forksafe import remake_after_fork
from lazypyr.errors import ComputeError
from lazypyr.reducers.loops import regions

__all__ = ["name_of", "run"]

Array = np.ndarray[Any, Any]


# Held by serial functions while they run.
_turn: threading.RLock


def _make_turn() -> None:
    global _turn
    _turn = threading.RLock()


remake_after_fork(_make_turn)


def name_of(function: Callable[..., Any]) -> str:
    """Name of a function, also of one that hides in a partial."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def run(
    function: Callable[..., Any], name: str, block: Array, factors: tuple[int, ...], out: Array, *, serial: bool = False
) -> None:
    """Fill `out`; the boxes clipped at the edges get calls of their own."""
    axes = [axis for axis, f in enumerate(factors) if f > 1]
    for region in regions(block.shape, factors):
        part = block[tuple(slice(i * f, i * f + n * b) for (i, n, b), f in zip(region, factors, strict=True))]
        shape: list[int] = []
        where = []
        for axis, (_, count, box) in enumerate(region):
            shape.append(count)
            if axis in axes:
                where.append(len(shape))
                shape.append(box)
        # splitting axes is always possible without a copy
        boxes = part.reshape(shape).view(np.ndarray)
        boxes.flags.writeable = False
        turn: AbstractContextManager[Any] = _turn if serial else nullcontext()
        with turn:
            result = _call(function, name, boxes, tuple(where))
        _check(result, name, tuple(n for _, n, _ in region), block.dtype)
        out[tuple(slice(i, i + n) for i, n, _ in region)] = result


def _call(function: Callable[..., Any], name: str, boxes: Array, axis: tuple[int, ...]) -> Any:
    try:
        return function(boxes, axis=axis)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit or StopIteration of a user's function must not end a thread of the pool
        raise ComputeError(
            f"reducer {name!r} raised {type(error).__name__}: {error} (boxes of shape {boxes.shape}, axis={axis})",
            key=name,
        ) from error


def _check(result: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if type(result) is not np.ndarray and not isinstance(result, np.generic):
        raise ComputeError(
            f"reducer {name!r} returned a {type(result).__module__}.{type(result).__qualname__}, expected a plain "
            f"numpy.ndarray of shape {shape} and dtype {dtype}",
            key=name,
        )
    if result.shape != shape:
        raise ComputeError(
            f"reducer {name!r} returned shape {result.shape}, expected {shape}: it must reduce the axes in `axis` and "
            "keep the others, without keepdims",
            key=name,
        )
    if not np.can_cast(result.dtype, dtype, "safe"):
        raise ComputeError(
            f"reducer {name!r} returned dtype {result.dtype}, which doesn't cast safely to {dtype}, the dtype of the "
            "level: end it with .astype(boxes.dtype) after rounding and clipping as it should be",
            key=name,
        )
