"""Levels of a multiscale group as values, and their place by metadata or shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.geometry.grid import Coord
from lazypyr.geometry.windows import ceil_div
from lazypyr.metadata.ome_metadata import OmeMetadata

__all__ = ["Dataset", "Multiscales", "Placement"]

Placement = tuple[tuple[float, ...], tuple[float, ...] | None]
"""Scale and translation of a level in pixels of level 0, by axis; None where the method of downsampling decides."""


@dataclass(frozen=True)
class Dataset:
    """Level of a multiscale group.

    Parameters
    ----------
    path : str
        Of its array, or of the group that holds it, below the multiscale group.
    scale : tuple[float, ...] or None
        Level-0 pixels a pixel, by array axis, or of y and x alone; None where the metadata doesn't say.
    translation : tuple[float, ...] or None
        Level-0 pixels from the centre of the first sample of level 0 to that of this level.
    otherwise : (tuple[float, ...], tuple[float, ...]) or None
        Scale and translation by another reading of the metadata, which some writers mean: shapes tell which.

    Examples
    --------
    >>> Dataset("1", scale=(2.0, 2.0), translation=(0.5, 0.5)).path
    '1'
    """

    path: str
    scale: tuple[float, ...] | None = None
    translation: tuple[float, ...] | None = None
    otherwise: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True)
class Multiscales:
    """Levels of a multiscale group, as its metadata describe them.

    Parameters
    ----------
    convention : str
        "OME-NGFF 0.4", "OME-NGFF 0.1", "ndpyramid", "zarr-conventions".
    datasets : tuple[Dataset, ...]
        Finest first, as far as the metadata says so; shapes have the last word.
    axes : tuple[str, ...] or None
        Names.
    types : tuple[str or None, ...] or None
        OME type of each axis.
    coords : Mapping[str, Coord]
        Of level 0, pixel centres; the place in the plane is under "y" and "x".
    crs : str or None
        "EPSG:32633", WKT or None.
    method : str or None
        Method of downsampling, in the words of the metadata.
    name : str or None
        Of the image.
    ome : OmeMetadata or None
        Further OME metadata.
    implied_axes : tuple[str, ...] or None
        Names that the version implies for an array of as many axes that names none itself.
    trimmed : bool
        True where each level is made of boxes of whole pixels, the rest of the finer level cut off.

    Examples
    --------
    >>> Multiscales("ndpyramid", (Dataset("0"), Dataset("1"))).axes is None
    True
    """

    convention: str
    datasets: tuple[Dataset, ...]
    axes: tuple[str, ...] | None = None
    types: tuple[str | None, ...] | None = None
    coords: Mapping[str, Coord] = field(default_factory=dict)
    crs: str | None = None
    method: str | None = None
    name: str | None = None
    ome: OmeMetadata | None = None
    implied_axes: tuple[str, ...] | None = None
    trimmed: bool = False

    def placements(
        self, datasets: Sequence[Dataset], shapes: Sequence[Sequence[int]], axes: Sequence[str]
    ) -> tuple[Placement | None, ...]:
        """Place of each level, in the order of `shapes`; None where only shapes can tell.

        Parameters
        ----------
        datasets : sequence of Dataset
            Of these levels, finest first.
        shapes : sequence of (int, ...)
            Of their arrays.
        axes : sequence of str
            Names of the axes of the arrays.
        """
        if self.trimmed:
            return tuple(_of_boxes(shapes[0], shape, axes) for shape in shapes)
        stated = self.stated(datasets, axes)
        others = [_by_axis(d.otherwise or (None, None), axes) for d in datasets]
        if all(others) and not _fit(stated, shapes) and _fit(others, shapes):
            stated = others
        return tuple(stated)

    def stated(self, datasets: Sequence[Dataset], axes: Sequence[str]) -> list[Placement | None]:
        """Place of each of these levels by the metadata alone; None where they don't say."""
        return [_by_axis((d.scale, d.translation), axes) for d in datasets]


def _by_axis(step: tuple[tuple[float, ...] | None, tuple[float, ...] | None], axes: Sequence[str]) -> Placement | None:
    """Scale and translation of every axis: those of a plane are of y and x, and its other axes are as at level 0."""
    scale, shift = step
    if scale is None or shift is None:
        return None
    if len(scale) == len(axes):
        return scale, shift
    if len(scale) != len(SPATIAL_AXES):
        return None
    scales, shifts = (dict(zip(SPATIAL_AXES, values, strict=True)) for values in (scale, shift))
    return tuple(scales.get(axis, 1.0) for axis in axes), tuple(shifts.get(axis, 0.0) for axis in axes)


def _fit(steps: Sequence[Placement | None], shapes: Sequence[Sequence[int]]) -> bool:
    """True where every level covers about the field of level 0."""
    return all(
        step is None
        or all(
            abs(n * s - first) < max(2 * s, 0.25 * first) for n, s, first in zip(shape, step[0], shapes[0], strict=True)
        )
        for step, shape in zip(steps, shapes, strict=True)
    )


def _of_boxes(first: Sequence[int], shape: Sequence[int], axes: Sequence[str]) -> Placement:
    scale = tuple(
        _whole(n0, n) if axis in SPATIAL_AXES else n0 / n for axis, n0, n in zip(axes, first, shape, strict=True)
    )
    return scale, tuple((s - 1) / 2 for s in scale)


def _whole(n0: int, n: int) -> float:
    """Pixels of `n0` in one of `n`: a whole number where one gives `n`, rounded down or up."""
    s = round(n0 / n)
    return float(s) if s and n in (n0 // s, ceil_div(n0, s)) else n0 / n
