"""Counts of calls: what code costs, told without a clock."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

__all__ = ["calls_of"]


def calls_of(function: Any, *args: Any) -> tuple[Any, Counter[str]]:
    """Result of a function, and how often it called what, by name (functions of Python and of C)."""
    counts: Counter[str] = Counter()

    def count(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            counts[frame.f_code.co_name] += 1
        elif event == "c_call":
            counts[arg.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = function(*args)
    finally:
        sys.setprofile(before)
    return result, counts
