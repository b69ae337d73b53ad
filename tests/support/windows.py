"""Windows of pyramids, drawn by hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lazypyr.engine.engine import Engine


def assert_windows_are_cut_out(data, pyramid):
    """A drawn window of one of three levels has the pixels of the whole level, read by itself and through an engine."""
    level = data.draw(st.integers(0, 2))
    whole = pyramid.read(level)
    window = []
    for n in whole.shape:
        a = data.draw(st.integers(0, n))
        window.append((a, data.draw(st.integers(a, n))))
    cut = whole[tuple(slice(*w) for w in window)]
    np.testing.assert_array_equal(pyramid.read(level, window), cut)
    np.testing.assert_array_equal(Engine().read(pyramid, level, tuple(window)), cut)
