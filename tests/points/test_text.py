"""Texts of points: columns are those that the header names, or the line that doesn't fit is named."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import lazypyr
from lazypyr import SourceError

ROWS = np.arange(1.0, 13.0).reshape(4, 3)


def text(header, mark, end="", rows=ROWS):
    return header + "".join(mark.join(f"{v:g}" for v in row) + end + "\n" for row in rows)


@pytest.mark.parametrize(
    "written",
    [
        text("x,y,z\n", ","),
        text("x,y,z\n", ",", end=","),
        text("x,y,z,\n", ",", end=","),
        text("x;y;z\n", ";", end=";"),
        text("x, y, z\n", ", "),
        text("# x y z\n", " "),
        text("#x,y,z\n", ","),
        text("// x y z\n", " "),
        text("//X Y Z\n", " ", end=" ").replace("X Y Z", "x y z"),
        text("# made by a scanner\n# x\ty\tz\n", "\t"),
        text("# made by a scanner\nx,y,z\n", ","),
        text("\n\nx,y,z\n", ","),
        text("\ufeffx,y,z\n", ","),
        text("x,y,z\n", ",").replace("\n", "\r\n"),
        text("x,y,z\n", ",").replace("4,5,6\n", "4,5,6\n\n"),
        text("x,y,z\n", ",").replace("4,5,6\n", "4,5,6,\n"),
        text('"x","y","z"\n', ","),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_columns_are_what_the_header_names(tmp_path, written, packed):
    path = tmp_path / ("a.txt.csv.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(written.encode()) if packed else written.encode())
    points = lazypyr.read_points(path, resolution=1.0)
    for i, axis in enumerate("xyz"):
        np.testing.assert_array_equal(points.raw[axis].read(((0, 4),)), ROWS[:, i])


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("x,y,z\n1,2,3,100\n4,5,6,100\n", 2),
        ("x,y,z\n1,2,3\n4,5,6,100\n", 3),
        ("x,y,z\n1,2,3\n\n4,5,6,100\n", 4),
        ("x,y,z\n1,2,3,4,5\n1,2,3,4,5\n", 2),
        ("x,y,z\n1,2,3\n1,2,3,4,5\n", 3),
        ("x y z\n1 2 3\n4 5 6 7\n", 3),
        ("# x y z\n1 2 3 4\n4 5 6 7\n", 2),
        ("# x y\n1 2 3\n4 5 6\n", 2),
        ("# text\n# x y z i\n1 2 3\n4 5 6\n", 3),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, written, line):
    (tmp_path / "a.txt").write_text(written)
    with pytest.raises(SourceError, match=f"line {line}\\b"):
        lazypyr.read_points(tmp_path / "a.txt", resolution=1.0)


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("a.xyz", "1 2 3\n4 5 6\n", ["x", "y", "z"]),
        ("a.csv", "1,2\n4,5\n", ["x", "y"]),
        ("a.txt", "1.5;2;3;9\n4;5;6;9\n", ["x", "y", "z", "column3"]),
        ("a.pts", "2\n1 2 3 -5 255 0 1\n4 5 6 7 8 9 10\n", ["x", "y", "z", "intensity", "red", "green", "blue"]),
        ("b.pts", "2\n1 2 3\n4 5 6\n", ["x", "y", "z"]),
        ("a.tsv", "1\t2\t-3e2\n4\t5\t6\n", ["x", "y", "z"]),
    ],
)
def test_numbers_without_a_header_have_names_by_position(tmp_path, name, text, names):
    (tmp_path / name).write_text(text)
    points = lazypyr.read_points(tmp_path / name, resolution=1.0, values=())
    assert list(points.raw) == names
    rows = [line for line in text.replace(",", " ").replace(";", " ").splitlines() if len(line.split()) > 1]
    expected = np.loadtxt(rows, ndmin=2)
    for i, column in enumerate(names):
        np.testing.assert_array_equal(points.raw[column].read(((0, 2),)), expected[:, i])
