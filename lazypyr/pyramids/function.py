"""Pyramids whose every level is the answer of a function."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from lazypyr._util.tokenize import HoldsFunction, Versioned
from lazypyr.errors import ComputeError, LazypyrError
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Level, Pyramid
from lazypyr.pyramids.explanation import Explanation
from lazypyr.reducers import Reducer

__all__ = ["FunctionPyramid"]

Array = np.ndarray[Any, Any]


class FunctionPyramid(HoldsFunction, Pyramid):
    """Levels that a function computes: ``read(level, window) -> ndarray`` of the window's shape.

    The function must be pure, and able to run in several threads at once.
    """

    downsampling = Reducer("function")

    def __init__(
        self,
        read: Callable[[int, Window], Array],
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        axes: tuple[str, ...],
        chunks: tuple[int, ...],
        levels: int,
        fill_value: Any = 0,
        centred: bool = False,
        coords: Mapping[str, Coord] | None = None,
        crs: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        name: str | None = None,
        version: str | None = None,
    ) -> None:
        self._version = version
        self._read, self.dtype, self.axes, self.chunks = read, dtype, axes, chunks
        self.name = name or str(getattr(read, "__name__", type(read).__name__))
        self.fill_value = np.asarray(fill_value).astype(dtype)[()]
        self.coords, self.crs, self.attrs = dict(coords or {}), crs, dict(attrs or {})
        factors = tuple(2 if axis in SPATIAL_AXES else 1 for axis in axes)
        self.levels = tuple(
            Level(
                windows.level_shape(shape, factors, k),
                tuple(float(f**k) for f in factors),
                tuple((f**k - 1) / 2 if centred else 0.0 for f in factors),
            )
            for k in range(levels)
        )

    def compute(self, level: int, window: Window, context: ComputeContext) -> Array:
        try:
            block = np.asarray(self._read(level, window))
        except LazypyrError:
            raise
        except Exception as error:
            msg = f"{self.name}: level {level}, window {window} failed: {type(error).__name__}: {error}"
            raise ComputeError(msg, key=self.name, level=level, window=window) from error
        if block.shape != windows.window_shape(window) or not np.can_cast(block.dtype, self.dtype, "same_kind"):
            msg = (
                f"{self.name}: level {level}, window {window} came out as {block.dtype} {block.shape}, "
                f"expected {self.dtype} {windows.window_shape(window)}"
            )
            raise ComputeError(msg, key=self.name, level=level, window=window)
        # A view is copied before it is kept: the function may go on writing to what it returned.
        return block.astype(self.dtype, copy=False).view()

    def _explain(self, what: str, level: int, window: Window, context: ComputeContext) -> Explanation:
        return Explanation(what, f"one call of {self.description}")

    @property
    def description(self) -> str:
        return f"function {self.name}"

    @cached_property
    def fingerprint(self) -> str:
        return self.__lazypyr_token__()

    def token_parts(self) -> Any:
        return Versioned(self._read, self._version), self.identity[1:]

    @property
    def identity(self) -> tuple[Hashable, ...]:
        scales = self.levels[-1].translation
        return self._read, self.shape, self.dtype.str, len(self.levels), self.chunks, str(self.fill_value), scales
