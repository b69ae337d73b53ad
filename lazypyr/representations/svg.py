"""Drawing of the levels of a pyramid and of their chunks, to scale; arrays of three axes are boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lazypyr.geometry.windows import ceil_div
from lazypyr.pyramids.base import Pyramid

__all__ = ["chunk_layout"]

_SIDE = 180.0
_GAP, _MARGIN, _TEXT = 18.0, 8.0, 12.0
# Chunks nearer to each other than this are shaded, not drawn one by one.
_LEAST_SPACING = 3.0
_LEAST_SIDE = 2.0
# Depth runs to the upper right.
_SLANT = (0.6, -0.4)
# Styles of an SVG within a page hold for the whole page: these have a name before them.
_STYLE = (
    ".lazypyr-chunks text{font:11px sans-serif;fill:currentColor}"
    ".lazypyr-chunks path{stroke:currentColor;fill:none;stroke-width:.6;opacity:.55}"
    ".lazypyr-chunks .edge{stroke-width:1.2;opacity:1}"
    ".lazypyr-chunks .face{stroke:none;fill:currentColor;opacity:.06}"
    ".lazypyr-chunks .dense{stroke:none;fill:currentColor;opacity:.22}"
)

Point = tuple[float, float]


@dataclass(frozen=True)
class _Side:
    """One edge of a box: its direction and length on the page, and where chunks begin along it."""

    toward: Point
    length: float
    cuts: tuple[float, ...]
    dense: bool

    @classmethod
    def of(cls, size: int, chunk: int, length: float, toward: Point) -> _Side:
        count = ceil_div(size, chunk)
        dense = count > 1 and length * chunk / size < _LEAST_SPACING
        cuts = () if dense else tuple(k * chunk / size * length for k in range(1, count))
        return cls(toward, length, cuts, dense)

    def at(self, start: Point, distance: float) -> Point:
        return start[0] + self.toward[0] * distance, start[1] + self.toward[1] * distance


def chunk_layout(pyramid: Pyramid) -> str:
    """Drawing of all levels beside each other, to one scale, with the edges of their chunks.

    Parameters
    ----------
    pyramid : Pyramid
        y runs downwards, x to the right, and of the other axes the longest is the depth of a box, drawn at least 8 pixels deep.

    Returns
    -------
    str
        SVG document, as wide as its content. It may stand within HTML, and takes its colour from there.

    Examples
    --------
    >>> import numpy as np, lazypyr
    >>> chunk_layout(lazypyr.open_pyramid(np.ones((600, 400))))[:4]
    '<svg'
    """
    x, y = pyramid.axes.index("x"), pyramid.axes.index("y")
    others = sorted(
        (a for a in range(pyramid.ndim) if a not in (x, y) and pyramid.shape[a] > 1), key=lambda a: -pyramid.shape[a]
    )
    scale = _SIDE / max(pyramid.shape[y], pyramid.shape[x])
    depths = [_depth(level.shape[others[0]], scale) if others else 0.0 for level in pyramid.levels]
    top = _MARGIN + _TEXT - _SLANT[1] * max(depths)
    left, drawn, bottom = _MARGIN, [], top
    for number, (level, depth) in enumerate(zip(pyramid.levels, depths, strict=True)):
        sizes = [max(level.shape[a] * scale, _LEAST_SIDE) for a in (x, y)]
        sides = [
            _Side.of(level.shape[x], pyramid.chunks[x], sizes[0], (1.0, 0.0)),
            _Side.of(level.shape[y], pyramid.chunks[y], sizes[1], (0.0, 1.0)),
        ]
        if others:
            sides.append(_Side.of(level.shape[others[0]], pyramid.chunks[others[0]], depth, _SLANT))
        drawn += [*_box((left, top), sides), _text(left, top + sizes[1] + _TEXT + 2, str(number))]
        bottom = max(bottom, top + sizes[1])
        left += max(sizes[0] + _SLANT[0] * depth, 8.0 * len(str(number))) + _GAP
    labels = " × ".join(f"{axis} {n:,}" for axis, n in zip(pyramid.axes, pyramid.shape, strict=True))
    chunk = " × ".join(map(str, pyramid.chunks))
    drawn.append(_text(_MARGIN, bottom + 2 * _TEXT + 6, f"{labels}, chunks of {chunk}"))
    width = max(left, 2 * _MARGIN + 6.2 * len(labels + chunk) + 70)
    height = bottom + 2 * _TEXT + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="lazypyr-chunks" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}"><style>{_STYLE}</style>{"".join(drawn)}</svg>'
    )


def _depth(size: int, scale: float) -> float:
    return min(max(size * scale, 8.0), _SIDE)


def _box(corner: Point, sides: Sequence[_Side]) -> list[str]:
    """Front of a box, and where it has depth its top and its right side."""
    across, down, *rest = sides
    parts = _face(corner, across, down)
    for depth in rest:
        parts += _face(corner, across, depth) + _face(across.at(corner, across.length), down, depth)
    return parts


def _face(corner: Point, one: _Side, other: _Side) -> list[str]:
    """Parallelogram with the edges of chunks; shaded where these are too near to each other to be seen."""
    outline = [
        corner,
        one.at(corner, one.length),
        other.at(one.at(corner, one.length), other.length),
        other.at(corner, other.length),
    ]
    parts = [_path([outline], "dense" if one.dense or other.dense else "face", closed=True)]
    lines = [[one.at(corner, cut), other.at(one.at(corner, cut), other.length)] for cut in one.cuts]
    lines += [[other.at(corner, cut), one.at(other.at(corner, cut), one.length)] for cut in other.cuts]
    if lines:
        parts.append(_path(lines, "chunks"))
    return [*parts, _path([outline], "edge", closed=True)]


def _path(lines: Sequence[Sequence[Point]], kind: str, *, closed: bool = False) -> str:
    steps = ["M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in line) + ("Z" if closed else "") for line in lines]
    return f'<path class="{kind}" d="{"".join(steps)}"/>'


def _text(x: float, y: float, content: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'
