"""Nothing waits for ever: every kind of source, few threads, many readers, each in a process with a time limit."""

from __future__ import annotations

import pytest

from support.running import python


@pytest.mark.slow
@pytest.mark.fault("C7")
@pytest.mark.parametrize(("workers", "zarr_threads"), [(1, 1), (2, 0), (4, 0)])
def test_every_source_with_32_readers(workers, zarr_threads, tmp_path):
    said = python("from support.matrix import main; main()", workers, zarr_threads, tmp_path, timeout=105)
    assert said.count("done:") == 17
    assert "done: all" in said
