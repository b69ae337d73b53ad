"""Arithmetic of pyramids against counting, brute force and the words of the semantics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lazypyr import PlanError
from lazypyr.geometry import windows
from lazypyr.geometry.grid import Coord, Grid, clean_range

SIZES = st.integers(1, 2**50)
FACTORS = st.integers(1, 7)
finite = st.floats(-1e6, 1e6, allow_nan=False)
steps = st.floats(1e-3, 1e3).flatmap(lambda s: st.sampled_from([s, -s]))


@given(st.lists(st.tuples(SIZES, FACTORS), min_size=1, max_size=4), st.integers(0, 12))
def test_level_shape_is_halving_again_and_again(axes, level):
    shape, factors = zip(*axes, strict=True)
    again = shape
    for _ in range(level):
        again = tuple(-(-n // f) for n, f in zip(again, factors, strict=True))
    assert windows.level_shape(shape, factors, level) == again
    exact = (math.ceil(n / f**level) if n < 2**40 else -(-n // f**level) for n, f in zip(shape, factors, strict=True))
    assert again == tuple(exact)


@given(st.integers(1, 2000), st.integers(1, 5), st.integers(0, 6))
def test_level_shape_is_that_of_a_slice(n, factor, level):
    assert windows.level_shape((n,), (factor,), level) == (len(range(n)[:: factor**level]),)


@given(st.lists(st.tuples(SIZES, FACTORS, st.integers(1, 5000)), min_size=1, max_size=4))
def test_level_count_is_the_least_that_fits(axes):
    shape, factors, chunks = zip(*axes, strict=True)
    count = windows.level_count(shape, factors, chunks)
    fits = lambda k: all(f == 1 or n <= c for n, f, c in zip(windows.level_shape(shape, factors, k), factors, chunks, strict=True))  # fmt: skip
    assert fits(count - 1)
    assert count == 1 or not fits(count - 2)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_chunks_cover_an_array_once(ny, nx, cy, cx):
    seen = np.zeros((ny, nx), int)
    counts = windows.chunk_count((ny, nx), (cy, cx))
    for index in np.ndindex(*counts):
        window = windows.chunk_window(index, (cy, cx), (ny, nx))
        part = seen[tuple(slice(*w) for w in window)]
        assert part.shape == windows.window_shape(window)
        assert part.size == windows.pixels_in(window) > 0
        part += 1
    assert (seen == 1).all()
    assert windows.full_window((ny, nx)) == ((0, ny), (0, nx))


@given(st.data())
def test_chunks_of_a_window(data):
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    chunks = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    window = tuple(tuple(sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
    assume(all(a < b for a, b in window))
    touched = {(y // chunks[0], x // chunks[1]) for y, x in itertools.product(*(range(a, b) for a, b in window))}
    found = list(windows.chunk_index_windows(window, chunks))
    assert set(found) == touched
    assert found == sorted(found)


@given(st.data())
def test_refining_and_coarsening_windows(data):
    n, factor, levels = data.draw(st.integers(1, 200)), data.draw(FACTORS), data.draw(st.integers(0, 4))
    (coarse,) = windows.level_shape((n,), (factor,), levels)
    a, b = sorted(data.draw(st.tuples(st.integers(0, coarse), st.integers(0, coarse))))
    assume(a < b)
    ((c, d),) = windows.refine_window(((a, b),), (factor,), (n,), levels)
    assert list(range(c, d)) == [i for i in range(n) if a <= i // factor**levels < b]
    ((e, f),) = windows.coarsen_window(((c, d),), (factor,), levels)
    assert (e, f) == (a, b)


def brute_window(view, origin, step, n, level, offset):
    """Pixels whose extent overlaps a view, by looking at each."""
    low, high = sorted(view)
    edges = [origin + step * ((i + half) * 2**level + offset) for i in range(n) for half in (-0.5, 0.5)]
    spans = [sorted(edges[i : i + 2]) for i in range(0, len(edges), 2)]
    inside = [i for i, (a, b) in enumerate(spans) if b > low and a < high]
    return (inside[0], inside[-1] + 1) if inside else None


@given(st.integers(1, 40), st.integers(0, 5), st.booleans(), st.integers(-30, 60), st.integers(1, 60), st.sampled_from([1.0, -1.0, 0.5, -4.0]))  # fmt: skip
def test_window_of_a_view(n, level, centred, low, width, step):
    """Views whose edges lie between pixel edges: what overlaps, no more and no less."""
    place = Grid(x0=8.0, dx=step, nx=n, y0=0.0, dy=1.0, ny=n, centred=centred)
    view = (low + 0.26, low + 0.26 + width)
    got = place.window_of(view, None, level)
    expected = brute_window(view, 8.0, step, place.level_size(level)[1], level, place.offset(level))
    assert (got is None) == (expected is None)
    if got is not None:
        rows, columns = got
        assert rows == (0, place.level_size(level)[0])
        assert columns == expected


@given(finite, steps, finite, steps, st.integers(1, 500), st.integers(1, 500), st.integers(0, 6), st.booleans())
def test_nearest_is_the_inverse_of_where_a_pixel_is(x0, dx, y0, dy, nx, ny, level, centred):
    place = Grid(x0, dx, nx, y0, dy, ny, centred)
    rows, columns = place.level_size(level)
    for r, c in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        left, bottom, right, top = place.extent(level, ((r, r + 1), (c, c + 1)))
        assert place.nearest((left + right) / 2, (bottom + top) / 2, level) == (r, c)
    assert place.nearest(x0 - 1e12 * dx, y0 + 1e12 * dy, level) == (rows - 1, 0)
    for bad in (math.nan, math.inf, -math.inf):
        assert place.nearest(bad, y0) is None
        assert place.nearest(x0, bad) is None


def test_nearest_rounds_half_to_even():
    place = Grid(nx=10, ny=10)
    assert [place.nearest(x, 0)[1] for x in (0.5, 1.5, 2.5, 3.5)] == [0, 2, 2, 4]


@given(st.integers(1, 300), st.integers(0, 6), steps, finite)
def test_extents_of_box_methods_start_with_level_0(n, level, dx, x0):
    """Boxed levels tile the extent of level 0 from its first edge; strided samples sit on their pixel."""
    centred = Grid(x0, dx, n, centred=True)
    plain = Grid(x0, dx, n, centred=False)
    assert centred.extent(level)[0] == pytest.approx(centred.extent(0)[0], abs=1e-6)
    left, _, right, _ = plain.extent(level, ((0, 1), (0, 1)))
    assert (left + right) / 2 == pytest.approx(x0, abs=1e-6)
    size = centred.extent(level)[2] - centred.extent(level)[0]
    assert size == pytest.approx(dx * 2**level * windows.ceil_div(n, 2**level))


@pytest.mark.parametrize(
    ("x_range", "size", "increase", "least", "level"),
    [
        ((0, 300), (300, 300), 0, 0, 0),
        ((0, 1000), (300, 300), 0, 0, 1),
        ((0, 1200), (300, 300), 0, 0, 2),
        ((0, 1199), (300, 300), 0, 0, 1),
        ((0, 10**9), (300, 300), 0, 0, 5),
        ((0, 1), (300, 300), 0, 0, 0),
        ((0, 1), (300, 300), 0, -1, -1),
        ((0, 1), (300, 300), 3, 0, 0),
        ((0, 1200), (300, 300), 1, 0, 3),
        ((0, 1200), (300, 300), -1, 0, 1),
        ((0, 10**9), (300, 300), 3, 0, 5),
        ((1200, 0), (300, 300), 0, 0, 2),
        (None, (300, 300), 0, 0, 3),
        ((math.nan, 5), (300, 300), 0, 0, 3),
        ((5, 5), (300, 300), 0, 0, 3),
        ((0, 1200), (None, 0), 0, 0, 2),
        ((0, 1200), (1200, 1200), 0, 0, 0),
    ],
)
def test_level_of_a_view(x_range, size, increase, least, level):
    place = Grid(nx=3000, ny=3000, dx=1.0, dy=-1.0)
    got = place.level_of(x_range, x_range, size, 5, min_level=least, increase=increase)
    assert got == level


def test_level_looks_at_both_axes_and_at_the_step():
    place = Grid(nx=10**6, ny=10**6, dx=20.0, dy=-5.0)
    assert place.level_of((0, 24000), (0, 6000), (300, 300), 9) == 2
    assert place.level_of((0, 24000), (0, 60000), (300, 300), 9) == 2, "the finer of the two"
    assert place.level_of((0, 240000), (0, 6000), (300, 300), 9) == 2


@given(st.one_of(st.none(), st.tuples(*[st.one_of(st.floats(), st.none())] * 2)))
def test_clean_range(view):
    clean = clean_range(view)
    if clean is None:
        assert view is None or None in view or not all(map(math.isfinite, view)) or view[0] == view[1]
    else:
        assert clean == (min(view), max(view))
        assert clean[0] < clean[1]


@given(st.integers(2, 1000), st.integers(2, 1000), finite, finite, steps, steps)
def test_bounds_are_outer_edges(nx, ny, x0, y0, dx, dy):
    place = Grid.of_bounds((x0 - dx / 2, y0 + (ny - 0.5) * dy, x0 + (nx - 0.5) * dx, y0 - dy / 2), nx, ny)
    assert place.dx == pytest.approx(dx, rel=1e-3)
    assert place.dy == pytest.approx(dy, rel=1e-3)
    assert Grid.of(place.coords(), nx, ny, centred=False) == place
    assert place.coords("m")["x"].at(nx - 1) == pytest.approx(x0 + (nx - 1) * dx, abs=1e-5)


@pytest.mark.parametrize(
    "bounds", [(), (1, 2, 3), (0, 0, 0, 1), (0, 0, 1, 0), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)]
)
def test_bad_bounds(bounds):
    with pytest.raises(PlanError, match="bounds"):
        Grid.of_bounds(bounds, 5, 5)


@pytest.mark.parametrize(("origin", "step"), [(math.nan, 1), (0, 0), (0, math.inf), (math.inf, 1)])
def test_bad_coordinates(origin, step):
    with pytest.raises(PlanError, match="finite"):
        Coord(origin, step)


def test_one_pixel():
    assert Grid.of_bounds((4, 8, 6, 4), 1, 1) == Grid(5, 2, 1, 6, 4, 1)
    assert windows.level_count((1, 1), (2, 2), (256, 256)) == 1
