"""PLY files, written here by their specification, against what was written."""

from __future__ import annotations

import numpy as np
import pytest

from lazypyr import PlanError, SourceError, read_points

FIELDS = [
    ("x", "double", "f8"),
    ("y", "float", "f4"),
    ("z", "float32", "f4"),
    ("red", "uchar", "u1"),
    ("id", "int", "i4"),
]
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def write(path, kind, rows, *, count=None, before="", faces=True):
    head = (
        f"ply\nformat {kind} 1.0\ncomment made here\n{before}element vertex {len(rows) if count is None else count}\n"
    )
    head += "".join(f"property {name} {key}\n" for key, name, _ in FIELDS)
    head += "element face 1\nproperty list uchar int vertex_indices\n" if faces else ""
    data = rows.astype([(k, FORMATS[kind] + t) for k, _, t in FIELDS]).tobytes()
    if kind == "ascii":
        data = "".join(" ".join(repr(v.item()) for v in row) + "\n" for row in rows).encode()
    path.write_bytes(head.encode() + b"end_header\n" + data)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    rows = np.empty(50, [(key, kind) for key, _, kind in FIELDS])
    for key, _, kind in FIELDS:
        rows[key] = (rng.random(50) * 200).astype(kind)
    return rows


@pytest.mark.parametrize("kind", FORMATS)
def test_vertices_of_each_format(kind, rows, tmp_path):
    write(tmp_path / "a.ply", kind, rows)
    points = read_points(tmp_path / "a.ply", resolution=1.0, values="red")
    for key, _, dtype in FIELDS:
        got = points.raw[key].read(((0, 50),))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, rows[key])
    assert list(read_points(tmp_path / "a.ply", resolution=1.0, columns=["id"]).raw) == ["x", "y", "z", "id"]


def test_what_is_cut_or_no_cloud(rows, tmp_path):
    path = tmp_path / "a.ply"
    for kind in FORMATS:
        write(path, kind, rows, count=60, faces=False)
        with pytest.raises(SourceError, match="truncated: 50 of 60"):
            read_points(path, resolution=1.0)
    for content, error, said in (
        (b"plx\n", SourceError, "no PLY file"),
        (b"ply\nformat ascii 1.0\n", SourceError, "no end"),
        (b"ply\nformat ascii 1.0\nend_header\n", PlanError, "no element 'vertex'"),
        (b"ply\nformat text 1.0\nelement vertex 1\nproperty int x\nend_header\n", SourceError, "its format is none of"),
    ):
        path.write_bytes(content)
        with pytest.raises(error, match=said):
            read_points(path, resolution=1.0)
