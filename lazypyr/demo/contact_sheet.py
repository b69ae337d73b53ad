"""Contact sheet of the demo: a PNG with captioned panels of the levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._util.optional import need

__all__ = ["Panel", "amplitude", "draw", "elevation", "phase"]

Pixels = np.ndarray[Any, Any]

# Anchors of the colour maps, evenly spaced; between them colours are interpolated.
EMBER = [(4, 5, 12), (34, 24, 66), (98, 37, 96), (176, 58, 82), (234, 117, 62), (250, 190, 94), (255, 252, 226)]
LAND = [(24, 44, 84), (30, 98, 112), (64, 142, 96), (150, 178, 92), (224, 198, 120), (206, 140, 88), (250, 246, 240)]
WHEEL = [(236, 90, 88), (232, 176, 60), (112, 190, 88), (44, 174, 178), (72, 112, 210), (176, 92, 196), (236, 90, 88)]

PAPER, INK, FAINT, LINE = (16, 18, 24), (236, 238, 242), (150, 156, 168), (70, 76, 90)
PANEL, GAP, MARGIN = 512, 24, 40  # pixels: the side of a panel (the radar scene's own), the space between, the edge
TITLE, HEADING, CAPTION, FOOT = 110, 52, 54, 20  # heights of the texts


@dataclass(frozen=True)
class Panel:
    """Picture, RGB `pixels` uint8 (y, x, 3), with the two lines below it."""

    pixels: Pixels
    caption: str
    detail: str


def _colours(anchors: Sequence[tuple[int, int, int]], t: Pixels) -> Pixels:
    """Colours, RGB float (y, x, 3), of `t` in [0, 1]."""
    positions = np.linspace(0, 1, len(anchors))
    table = np.array(anchors, float)
    return np.stack([np.interp(t, positions, table[:, band]) for band in range(3)], axis=-1)


def _stretch(a: Pixels, low: float, high: float) -> Pixels:
    """Values scaled to [0, 1] between two percentiles of the finite ones."""
    good = a[np.isfinite(a)]
    if not good.size:
        return np.zeros(a.shape)
    bottom, top = np.percentile(good, (low, high))
    return np.asarray(np.clip((np.nan_to_num(a, nan=bottom) - bottom) / max(top - bottom, 1e-9), 0, 1))


def _decibel(z: Pixels) -> Pixels:
    return np.asarray(20 * np.log10(np.maximum(np.abs(z), 1e-3)))


def amplitude(z: Pixels) -> Pixels:
    """Radar amplitude in dB, stretched between percentiles: uint8 RGB."""
    return np.asarray(np.rint(_colours(EMBER, _stretch(_decibel(z), 2, 99.8))), np.uint8)


def phase(angle: Pixels, weight: Pixels) -> Pixels:
    """Phase in radian as a cyclic colour, as bright as the complex `weight` is strong: uint8 RGB."""
    bright = 0.12 + 0.88 * _stretch(_decibel(weight), 30, 99)
    return np.asarray(np.rint(_colours(WHEEL, (angle / (2 * np.pi)) % 1.0) * bright[..., np.newaxis]), np.uint8)


def elevation(height: Pixels, limits: tuple[float, float]) -> Pixels:
    """Heights as colours from `limits[0]` to `limits[1]`, lit from the upper left; NaN is left dark: uint8 RGB.

    Row 0 is the southern edge of a point raster, so the picture is turned over to have north up.
    """
    height = height[::-1]
    t = np.clip((np.nan_to_num(height, nan=limits[0]) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    down, right = np.gradient(np.nan_to_num(t, nan=0.0)) if min(t.shape) > 1 else (np.zeros_like(t), np.zeros_like(t))
    light = np.asarray(np.clip(0.86 + 2.2 * (down + right), 0.35, 1.25))
    rgb = np.clip(_colours(LAND, t) * light[..., None], 0, 255)
    rgb[~np.isfinite(height)] = PAPER
    return np.asarray(np.rint(rgb), np.uint8)


def draw(path: Path, title: str, subtitle: str, rows: Sequence[tuple[str, Sequence[Panel]]], foot: str) -> None:
    """Write the sheet: a heading and a line of panels for each of `rows`, and a line at the foot."""
    image_of = need("PIL.Image", feature="lazypyr demo", extra="plot")
    drawing = need("PIL.ImageDraw", feature="lazypyr demo", extra="plot")
    font = need("PIL.ImageFont", feature="lazypyr demo", extra="plot").load_default

    columns = max(len(panels) for _, panels in rows)
    width = 2 * MARGIN + columns * PANEL + (columns - 1) * GAP
    height = 2 * MARGIN + TITLE + FOOT + len(rows) * (HEADING + PANEL + CAPTION + GAP)
    sheet = image_of.new("RGB", (width, height), PAPER)
    pen = drawing.Draw(sheet)
    pen.text((MARGIN, MARGIN - 4), title, INK, font=font(44))
    pen.text((MARGIN, MARGIN + 54), subtitle, FAINT, font=font(22))
    top = MARGIN + TITLE
    for heading, panels in rows:
        pen.text((MARGIN, top + 10), heading, INK, font=font(26))
        for column, panel in enumerate(panels):
            left, upper = MARGIN + column * (PANEL + GAP), top + HEADING
            picture = image_of.fromarray(panel.pixels)
            # coarse pixels stay squares; only what is larger than its panel is smoothed
            grow = max(panel.pixels.shape[:2]) <= PANEL
            filtering = image_of.Resampling.NEAREST if grow else image_of.Resampling.LANCZOS
            sheet.paste(picture.resize((PANEL, PANEL), filtering), (left, upper))
            pen.rectangle((left - 1, upper - 1, left + PANEL, upper + PANEL), outline=LINE)
            pen.text((left, upper + PANEL + 6), panel.caption, INK, font=font(20))
            pen.text((left, upper + PANEL + 31), panel.detail, FAINT, font=font(18))
        top += HEADING + PANEL + CAPTION + GAP
    pen.text((MARGIN, top), foot, FAINT, font=font(16))
    sheet.save(path)
