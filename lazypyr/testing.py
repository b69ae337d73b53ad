"""Tests for authors of sources, reducers and products: subclass one, say what is tested, and pytest runs the rest.

They need pytest to be collected by, and nothing else.
"""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np

from lazypyr.errors import LazypyrError
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.open import open_pyramid
from lazypyr.reducers import Reducer, reducer_of
from lazypyr.sources.base import Source

__all__ = ["ProductTests", "ReducerTests", "SourceTests"]

Array = np.ndarray[Any, Any]


class SourceTests:
    """Tests of a kind of source: its facts, its windows, its copies in other processes.

    A subclass has `open` and `expected`; its name begins with "Test".

    Examples
    --------
    >>> class TestOfArrays(SourceTests):
    ...     def open(self):
    ...         return open_pyramid(np.arange(12.0).reshape(3, 4)).sources[0]
    ...
    ...     def expected(self):
    ...         return np.arange(12.0).reshape(3, 4)
    >>> TestOfArrays().test_every_window_is_the_part_of_the_whole()
    """

    def open(self) -> Source:
        """The source, opened anew at each call; always over the same content."""
        raise AssertionError("write `open`: it gives the source")

    def expected(self) -> Array:
        """All of its pixels."""
        raise AssertionError("write `expected`: it gives all pixels")

    def test_facts_are_those_of_an_array(self) -> None:
        """Shape, dtype, axes, chunks and fill value fit together."""
        source, expected = self.open(), self.expected()
        assert isinstance(source.name, str)
        assert source.name
        assert (tuple(source.shape), len(source.axes)) == (expected.shape, expected.ndim)
        assert len(set(source.axes)) == expected.ndim
        assert {"y", "x"} <= set(source.axes)
        assert np.dtype(source.dtype).byteorder in "<|="
        assert np.dtype(source.dtype) == expected.dtype
        assert len(source.chunks) == expected.ndim
        assert all(isinstance(c, int | np.integer) and c > 0 for c in source.chunks)
        assert set(source.coords) <= set(source.axes)
        assert np.asarray(source.fill_value, source.dtype).shape == ()

    def test_every_window_is_the_part_of_the_whole(self) -> None:
        """Windows of all places and steps, one of no pixel too, are what slicing gives."""
        source, expected = self.open(), self.expected()
        rng = np.random.default_rng(0)
        for _ in range(50):
            window = tuple(sorted(int(i) for i in rng.integers(0, n + 1, 2)) for n in expected.shape)
            step = tuple(int(s) for s in rng.integers(1, 5, expected.ndim)) if rng.random() < 0.5 else None
            block = source.read(tuple((a, b) for a, b in window), step)
            part = expected[
                tuple(slice(a, b, s) for (a, b), s in zip(window, step or (1,) * expected.ndim, strict=True))
            ]
            assert block.dtype == source.dtype
            np.testing.assert_array_equal(block, part, err_msg=f"window {window}, step {step}")
        with source.read_temporary(tuple((0, n) for n in expected.shape)) as block:
            np.testing.assert_array_equal(block, expected)

    def test_its_fingerprint_is_that_of_its_content(self) -> None:
        """Opened twice, and refreshed, it has the same fingerprint: text that no other source has."""
        source = self.open()
        assert isinstance(source.fingerprint, str)
        assert source.fingerprint == source.fingerprint == self.open().fingerprint
        assert hash(source.identity) == hash(source.identity)
        assert not source.has_changed()

    def test_a_copy_in_another_process_reads_the_same(self) -> None:
        """It pickles, with its fingerprint."""
        source = self.open()
        copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - of our own
        assert copy.fingerprint == source.fingerprint
        whole = tuple((0, n) for n in source.shape)
        np.testing.assert_array_equal(copy.read(whole), self.expected())

    def test_it_is_read_by_many_threads(self) -> None:
        """Reads side by side are each what they are alone."""
        from concurrent.futures import ThreadPoolExecutor

        source, expected = self.open(), self.expected()
        rows = source.axes.index("y")
        windows = [
            tuple((i, i + 1) if axis == rows else (0, n) for axis, n in enumerate(expected.shape))
            for i in range(expected.shape[rows])
        ][:64]
        with ThreadPoolExecutor(8) as pool:
            for window, block in zip(windows, pool.map(source.read, windows), strict=True):
                np.testing.assert_array_equal(block, expected[tuple(slice(a, b) for a, b in window)])

    def test_it_makes_a_pyramid(self) -> None:
        """Level 0 is the source, level 1 every second pixel of it."""
        pyramid = open_pyramid(self.open(), levels=2, chunks=16)
        expected = self.expected()
        np.testing.assert_array_equal(pyramid.read(0), expected)
        every = tuple(slice(None, None, 2 if axis in "yx" else 1) for axis in pyramid.axes)
        np.testing.assert_array_equal(pyramid.read(1), expected[every])


class ReducerTests:
    """Tests of a reducer: levels are the same however they are read, nodata stays out.

    A subclass has `reducer`, and `expected` where there is a reference.

    Examples
    --------
    >>> class TestOfMax(ReducerTests):
    ...     reducer = "max"
    ...
    ...     def expected(self, pixels):
    ...         return pixels.reshape(len(pixels) // 2, 2, -1, 2).max((1, 3))
    >>> TestOfMax().test_level_1_is_the_reference()
    """

    reducer: Any = None
    dtypes: tuple[str, ...] = ("f4", "i2", "u1")

    def expected(self, pixels: Array) -> Array | None:
        """Level 1 of pixels whose shape is even; None without a reference."""
        return None

    def pixels(self, dtype: str, shape: tuple[int, int] = (70, 90)) -> Array:
        """Pixels that are reduced."""
        return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)

    def _pyramid(self, pixels: Array, **options: Any) -> Pyramid:
        return open_pyramid(pixels, method=self.reducer, chunks=16, **options)

    def test_it_is_a_reducer(self) -> None:
        """It is known by name, or makes a reducer; and pickles."""
        reducer = reducer_of(self.reducer)
        assert isinstance(reducer, Reducer)
        assert pickle.loads(pickle.dumps(reducer)).name == reducer.name  # noqa: S301 - of our own

    def test_level_1_is_the_reference(self) -> None:
        """Level 1 is what `expected` says, within the last digits."""
        for dtype in self.dtypes:
            pixels = self.pixels(dtype)
            expected = self.expected(pixels)
            if expected is not None:
                np.testing.assert_allclose(self._pyramid(pixels).read(1), expected, rtol=1e-6)

    def test_levels_are_the_same_however_they_are_read(self) -> None:
        """Chunk by chunk, by windows across them, and whole, also where shapes are odd."""
        for dtype in self.dtypes:
            pyramid = self._pyramid(self.pixels(dtype, (71, 93)))
            for level in range(1, len(pyramid.levels)):
                whole = pyramid.read(level)
                ny, nx = whole.shape
                assert (ny, nx) == tuple(math.ceil(n / 2**level) for n in (71, 93))
                for y0, x0 in ((0, 0), (ny // 3, nx // 2), (ny - 1, nx - 1)):
                    block = pyramid.read(level, ((y0, ny), (x0, nx)))
                    np.testing.assert_array_equal(block, whole[y0:, x0:])

    def test_composed_levels_are_those_of_one_step(self) -> None:
        """Reducing twice by 2 is reducing the last level again, where the reducer says that it is composable."""
        if not reducer_of(self.reducer).composable:
            return
        pyramid = self._pyramid(self.pixels("f8", (64, 64)), levels=3)
        again = self._pyramid(pyramid.read(1), levels=2)
        np.testing.assert_allclose(again.read(1), pyramid.read(2), rtol=1e-12)


class ProductTests:
    """Tests of a product: its pixels are the same however they are read, and as it declares them.

    A subclass has `pyramid`, the product applied to something, and `expected`: level 0.

    Examples
    --------
    >>> class TestOfAmplitude(ProductTests):
    ...     pixels = np.full((40, 30), 3 + 4j, "c8")
    ...
    ...     def pyramid(self):
    ...         return open_pyramid(self.pixels, chunks=16).map("amplitude")
    ...
    ...     def expected(self):
    ...         return np.abs(self.pixels)
    >>> TestOfAmplitude().test_level_0_is_the_reference()
    """

    rtol = 1e-5

    def pyramid(self) -> Pyramid:
        """The product of some pyramid, made anew at each call."""
        raise AssertionError("write `pyramid`: it gives the product of a pyramid")

    def expected(self) -> Array | None:
        """Level 0 of it; None without a reference."""
        return None

    def test_level_0_is_the_reference(self) -> None:
        """Pixels are what `expected` says."""
        expected = self.expected()
        if expected is not None:
            np.testing.assert_allclose(self.pyramid().read(0), expected, rtol=self.rtol)

    def test_pixels_are_as_it_declares_them(self) -> None:
        """Every level has the declared shape and dtype, whole and by windows."""
        pyramid = self.pyramid()
        for level, facts in enumerate(pyramid.levels):
            whole = pyramid.read(level)
            assert (whole.shape, whole.dtype) == (facts.shape, pyramid.dtype)
            part = tuple((n // 3, n) for n in facts.shape)
            block = pyramid.read(level, part)
            np.testing.assert_allclose(block, whole[tuple(slice(a, b) for a, b in part)], rtol=1e-6, equal_nan=True)

    def test_its_fingerprint_is_that_of_its_recipe(self) -> None:
        """Made twice it has one fingerprint."""
        assert self.pyramid().fingerprint == self.pyramid().fingerprint

    def test_a_copy_in_another_process_computes_the_same(self) -> None:
        """It pickles, or says why it can't."""
        pyramid = self.pyramid()
        try:
            copy = pickle.loads(pickle.dumps(pyramid))  # noqa: S301 - of our own
        except (LazypyrError, AttributeError, pickle.PicklingError) as error:
            raise AssertionError(f"{pyramid!r} can't be pickled, so that no cluster can compute it: {error}") from error
        np.testing.assert_array_equal(copy.read(-1), pyramid.read(-1))
