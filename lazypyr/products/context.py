"""Types of what a product is given to compute with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import ComputeError
from lazypyr.geometry.windows import Window

__all__ = ["Array", "ProductContext", "Ranges", "Read"]

Array = np.ndarray[Any, Any]
Ranges = tuple[range, ...]
Read = Callable[[int, Ranges], Array]
"""``read(n, ranges)``: pixels of input number `n`, one range for each of its axes; not to be written to."""


@dataclass(slots=True)
class ProductContext:
    """Product, level and window that are being computed, for error messages."""

    product: str
    of: str
    level: int
    axes: tuple[str, ...]
    window: Window

    def error(self, problem: str) -> ComputeError:
        """The error that says what went wrong, of which product, at which level and window."""
        where = ", ".join(f"{axis} {a}:{b}" for axis, (a, b) in zip(self.axes, self.window, strict=True))
        return ComputeError(
            f"product {self.product!r} of {self.of}, level {self.level}, {where}: {problem}",
            key=self.product,
            level=self.level,
            window=self.window,
        )
