"""Chunk projections: the part of a selection that lies in each chunk, and its place in the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazypyr.geometry.windows import ceil_div

__all__ = ["AxisProjection", "ChunkProjection", "axis_projections", "chunk_projections"]

AxisProjection = tuple[int, slice, slice]
"""Chunk number along one axis, the selected samples in that chunk, and their place in the result."""
ChunkProjection = tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]
"""`AxisProjection` of all axes together: chunk index, samples in the chunk, place in the result."""


def axis_projections(start: int, stop: int, step: int, chunk: int) -> list[AxisProjection]:
    """Projections of ``range(start, stop, step)`` on chunks; chunks without a sample are left out.

    Parameters
    ----------
    start, stop, step : int
        Pixels along the axis, half-open.
    chunk : int
        Pixels of a chunk.

    Returns
    -------
    list[AxisProjection]
        For each chunk its number, the samples in it, and their place in the result.

    Examples
    --------
    >>> axis_projections(3, 10, 2, 4)
    [(0, slice(3, 4, 2), slice(0, 1, None)), (1, slice(1, 4, 2), slice(1, 3, None)), (2, slice(1, 2, 2), slice(3, 4, None))]
    """
    projections: list[AxisProjection] = []
    position, done = start, 0
    while position < stop:
        number = position // chunk
        end = min((number + 1) * chunk, stop)
        count = ceil_div(end - position, step)
        first = position - number * chunk
        projections.append((number, slice(first, end - number * chunk, step), slice(done, done + count)))
        position += count * step
        done += count
    return projections


def chunk_projections(by_axis: Sequence[Sequence[AxisProjection]]) -> Iterator[ChunkProjection]:
    """Combinations of the projections of each axis, the last axis fastest.

    Parameters
    ----------
    by_axis : sequence of sequence of AxisProjection
        Of each axis.

    Yields
    ------
    ChunkProjection
        Index of a chunk, samples in it, place of these in the result.

    Examples
    --------
    >>> [index for index, _, _ in chunk_projections([axis_projections(0, 8, 1, 4), axis_projections(5, 6, 1, 4)])]
    [(0, 1), (1, 1)]
    """
    if not by_axis:
        yield (), (), ()
        return
    for number, inside, outside in by_axis[0]:
        for index, others_inside, others_outside in chunk_projections(by_axis[1:]):
            yield (number, *index), (inside, *others_inside), (outside, *others_outside)
