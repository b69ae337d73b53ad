"""Tools of the machine that some tests need: browsers, servers, other Pythons."""

from __future__ import annotations

import os

import pytest

__all__ = ["CI", "unavailable"]

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def unavailable(reason):
    """A tool of the machine is missing: a skip where somebody works, a failure where everything must run."""
    if CI:
        pytest.fail(reason)
    pytest.skip(reason)
