"""Ranges and validators against RFC 9110, without a server."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lazypyr.server.ranges import Verdict, etag_matches, parse_range
from support.counting import calls_of

WHOLE, NO = Verdict.WHOLE, Verdict.UNSATISFIABLE


@pytest.mark.fault("H1", "H2", "H3")
@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 100, (0, 1)),
        ("bytes=10-19", 100, (10, 20)),
        ("bytes=90-", 100, (90, 100)),
        ("bytes=-10", 100, (90, 100)),
        ("bytes=-1000", 100, (0, 100)),
        ("bytes=40-99999", 100, (40, 100)),
        ("bytes=99-99", 100, (99, 100)),
        ("Bytes=1-2", 100, (1, 3)),
        ("bytes=100-", 100, NO),
        ("bytes=100-200", 100, NO),
        ("bytes=-0", 100, NO),
        ("bytes=0-", 0, NO),
        ("bytes=-5", 0, NO),
        (None, 100, WHOLE),
        ("", 100, WHOLE),
        ("items=0-5", 100, WHOLE),
        ("bytes", 100, WHOLE),
        ("bytes=", 100, WHOLE),
        ("bytes=abc", 100, WHOLE),
        ("bytes=-", 100, WHOLE),
        ("bytes=5-2", 100, WHOLE),
        ("bytes=-64--1", 100, WHOLE),
        ("bytes=0-1,5-6", 100, WHOLE),
        ("bytes=0-1-2", 100, WHOLE),
        ("bytes=1_0-", 100, WHOLE),
        ("bytes=+1-", 100, WHOLE),
        ("bytes=١-٢", 100, WHOLE),
        ("bytes=" + "9" * 5000 + "-", 100, WHOLE),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(10_000)), 100, WHOLE),
    ],
)
def test_table(header, size, expected):
    result, calls = calls_of(parse_range, header, size)
    assert result == expected
    # Longer text than any range has is not even matched, whatever its length.
    assert calls["fullmatch"] == bool(header and len(header) <= 64)
    assert calls.total() <= 8


@pytest.mark.fault("H1")
@given(st.integers(0, 50), st.none() | st.integers(0, 60), st.none() | st.integers(0, 60))
def test_ranges_are_slices(size, first, last):
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    value = bytes(range(size))
    part = parse_range(header, size)
    if first is None and last is None:
        assert part is WHOLE
    elif first is None:
        assert part is NO if not last or not size else value[slice(*part)] == value[-last:]
    elif last is not None and last < first:
        assert part is WHOLE
    elif first >= size:
        assert part is NO
    else:
        assert value[slice(*part)] == value[first : None if last is None else last + 1]


@pytest.mark.fault("H3")
@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9\-, ]{0,20}"), st.integers(0, 10**6))
@example("bytes=0-\n", 10)
def test_any_text_is_a_part_or_a_verdict(header, size):
    part = parse_range(header, size)
    assert part in (WHOLE, NO) or 0 <= part[0] < part[1] <= size


@pytest.mark.fault("H8")
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ('"b", "ab"', False),
        ("a", False),
        (None, False),
        ("", False),
    ],
)
def test_if_none_match(header, expected):
    assert etag_matches(header, '"a"') is expected
