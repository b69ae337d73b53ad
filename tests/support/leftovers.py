"""Marks for tests of packages that leave sockets, threads and loops to the garbage collector."""

import pytest

LEFT_TO_THE_COLLECTOR = [
    pytest.mark.filterwarnings(f"ignore::{warning}")
    for warning in (
        "pytest.PytestUnraisableExceptionWarning",
        "pytest.PytestUnhandledThreadExceptionWarning",
        "ResourceWarning",
        "DeprecationWarning",
    )
]
