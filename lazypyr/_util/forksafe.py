"""Locks, caches and threads that a forked child makes anew: whoever holds a parent's lock doesn't exist in the child."""

from __future__ import annotations

import atexit
import inspect
import os
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["remake_after_fork"]

_makers: set[Any] = set()


def remake_after_fork(make: Callable[[], None]) -> None:
    """Call `make` now, and again in every child that is forked from here on; a method as long as its object lives."""
    _makers.add(weakref.WeakMethod(make, _makers.discard) if inspect.ismethod(make) else lambda: make)
    make()


def _remake() -> None:
    for reference in list(_makers):
        make = reference()
        if make is not None:
            make()


# As the interpreter ends, methods die in no order, and what is told of it is gone.
atexit.register(_makers.clear)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_remake)
