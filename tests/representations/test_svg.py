"""Drawings of chunks: to scale, boxes of three axes, counts of lines, also of arrays beyond any screen."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import lazypyr
from lazypyr.cli import main
from lazypyr.representations.svg import chunk_layout

PATH = "{http://www.w3.org/2000/svg}path"


def drawing(shape, axes, chunks):
    pyramid = lazypyr.from_function(lambda *_: None, shape=shape, dtype="u1", axes=axes, chunks=chunks)
    return pyramid, ET.fromstring(chunk_layout(pyramid))


def outlines(svg):
    """Corners of each face, (face, corner, (x, y))."""
    edges = [path.attrib["d"] for path in svg.iter(PATH) if path.attrib["class"] == "edge"]
    return [np.array([tuple(map(float, p.split())) for p in re.split("[MLZ]", d) if p]) for d in edges]


def lines(svg):
    """Number of edges between chunks."""
    return sum(path.attrib["d"].count("M") for path in svg.iter(PATH) if path.attrib["class"] == "chunks")


@pytest.mark.parametrize("shape", [(1100, 1500), (300, 3000), (4000, 500)])
def test_levels_and_chunks_are_to_scale(shape):
    pyramid, svg = drawing(shape, "yx", (256, 256))
    faces = outlines(svg)
    assert len(faces) == len(pyramid.levels)
    scale = max(np.ptp(faces[0], axis=0)) / max(shape)
    for face, level in zip(faces, pyramid.levels, strict=True):
        width, height = np.ptp(face, axis=0)
        assert (height, width) == pytest.approx([max(n * scale, 2) for n in level.shape], abs=0.02)
    wanted = sum(sum(-(-n // 256) - 1 for n in level.shape) for level in pyramid.levels)
    assert lines(svg) == wanted


def test_arrays_of_three_axes_are_boxes():
    pyramid, svg = drawing((40, 300, 500), "tyx", (64, 64))
    faces = outlines(svg)
    assert len(faces) == 3 * len(pyramid.levels)
    front, top, side = faces[:3]
    scale = np.ptp(front[:, 0]) / 500
    assert np.ptp(top[:, 0]) - np.ptp(front[:, 0]) == pytest.approx(40 * scale * 0.6, abs=0.05)
    assert np.ptp(side[:, 1]) - np.ptp(front[:, 1]) == pytest.approx(40 * scale * 0.4, abs=0.05)


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 3, 40, 500, 90), "tczyx"), ((1, 1, 50, 60), "tcyx"), ((50, 60, 4), "yxi"), ((1, 1), "yx")]
)
def test_any_number_of_axes_is_drawn(shape, axes):
    pyramid, svg = drawing(shape, axes, (16, 16))
    depth = any(n > 1 for n, axis in zip(shape, axes, strict=True) if axis not in "yx")
    assert len(outlines(svg)) == len(pyramid.levels) * (3 if depth else 1)
    assert float(svg.attrib["width"]) < 2000


def test_more_chunks_than_a_screen_has_pixels_are_shaded():
    pyramid, svg = drawing((2**40, 2**41), "yx", (256, 256))
    assert len(chunk_layout(pyramid)) < 60_000
    assert sum(path.attrib["class"] == "dense" for path in svg.iter(PATH)) > 20


def test_names_are_escaped():
    _, svg = drawing((3, 50, 60), ("<b>&", "y", "x"), (16, 16))
    assert "<b>& 3 × y 50 × x 60" in "".join(svg.itertext())


def test_info_draws_into_a_file(tmp_path, capsys):
    import zarr

    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((600, 400), "u1"))
    assert main(["info", str(tmp_path / "a.zarr"), "--svg", str(tmp_path / "a.svg")]) == 0
    assert "600 x 400" in capsys.readouterr().out
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert main(["info", str(tmp_path / "a.zarr"), "--svg", str(tmp_path / "no" / "a.svg")]) != 0
    assert "No such file" in capsys.readouterr().err
