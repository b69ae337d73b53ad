"""Points as well-known binary (WKB), of the ISO and of PostGIS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazypyr.errors import PlanError

__all__ = ["points_of_wkb"]

_HEAD = 5  # byte order, and the number of the type
_SRID, _Z, _M = 0x20000000, 0x80000000, 0x40000000


def points_of_wkb(values: Sequence[bytes], name: str) -> np.ndarray[Any, Any]:
    """Coordinates of points, float64, shape ``(n, 2)``, or ``(n, 3)`` where they have z.

    Raises
    ------
    PlanError
        When one is no point, or some have z and others don't.
    """
    sizes = {len(value) for value in values}
    heads = {value[:_HEAD] for value in values}
    if len(sizes) != 1 or len(heads) != 1:
        raise PlanError(f"{name}: expected points of one kind, got {len(heads)} kinds of geometries")
    head = heads.pop()
    order = "<" if head[:1] == b"\x01" else ">"
    number = int(np.frombuffer(head, order + "u4", 1, 1)[0])
    kind = number & ~(_SRID | _Z | _M)
    if kind % 1000 != 1:
        raise PlanError(
            f"{name}: expected points, got WKB geometries of type {kind}; points of them are for you to make"
        )
    has_z = bool(number & _Z) or kind // 1000 in (1, 3)
    n_numbers = 2 + has_z + (bool(number & _M) or kind // 1000 in (2, 3))
    start = _HEAD + (4 if number & _SRID else 0)
    if sizes != {start + 8 * n_numbers}:
        raise PlanError(f"{name}: expected points of {start + 8 * n_numbers} bytes, got {sizes.pop()}")
    rows = np.frombuffer(b"".join(values), "u1").reshape(len(values), -1)[:, start:]
    return np.ascontiguousarray(rows).view(order + "f8").astype("f8")[:, : 2 + has_z]
