"""Ranges and validators of HTTP (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from enum import Enum

__all__ = ["Verdict", "etag_matches", "parse_range"]

# More digits than any size has; int() refuses thousands of them.
_RANGE = re.compile(r"[Bb][Yy][Tt][Ee][Ss]=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))", re.ASCII)
_MAX_HEADER = 64
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Verdict(Enum):
    """Result for a Range header that doesn't select a part of the value."""

    WHOLE = "whole"
    UNSATISFIABLE = "unsatisfiable"


def parse_range(header: str | None, size: int) -> tuple[int, int] | Verdict:
    """Half-open range of a value of `size` bytes that a Range header asks for.

    One range of bytes is supported. Anything else (another unit, several ranges, text that is no range) is ignored, as
    section 14.2 allows: the whole value is sent.

    Returns
    -------
    (start, stop) or Verdict
        The end is clipped to the size, a suffix longer than the value is all of it (section 14.1.2).
    """
    match = _RANGE.fullmatch(header) if header and len(header) <= _MAX_HEADER else None
    if match is None:
        return Verdict.WHOLE
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return (size - length, size) if length else Verdict.UNSATISFIABLE
    start = int(first)
    if last and int(last) < start:
        return Verdict.WHOLE
    if start >= size:
        return Verdict.UNSATISFIABLE
    return start, min(int(last) + 1, size) if last else size


def etag_matches(header: str | None, etag: str) -> bool:
    """True if ``If-None-Match`` names `etag` (weak comparison, section 13.1.2)."""
    if not header:
        return False
    return header.strip() == "*" or etag in _TAG.findall(header)
