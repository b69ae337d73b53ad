"""Commands take clouds of points as they take rasters."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y, height = rng.random((3, 500)) * 100
    np.savetxt(tmp_path / "p.csv", np.c_[x, y, height], header="x,y,height", comments="", delimiter=",", fmt="%.17g")
    zarr.save_group(str(tmp_path / "p.zarr"), x=x, y=y, height=height)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["p.csv", "p.zarr"])
def test_info_explain_and_materialize(name, folder, capsys):
    points = lazypyr.read_points(name, resolution=2.0, values="height", method="max")
    given = [name, "--resolution", "2", "--values", "height", "--method", "max"]
    assert main(["info", *given, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["levels"][0]["shape"] == list(points.shape)
    assert facts["fingerprint"] == points.fingerprint
    assert main(["explain", *given]) == 0
    assert "500 points at 2.0 a pixel, max" in capsys.readouterr().out
    assert main(["materialize", name, "out.zarr", *given[1:]]) == 0
    np.testing.assert_array_equal(lazypyr.read_points("out.zarr").read(0), points.read(0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info", "p.csv"], "--resolution R: give the size of a pixel"),
        (["info", "p.zarr", "--values", "height"], "--values belongs to --resolution"),
        (["info", "p.csv", "--resolution", "1", "--values", "depth"], "no column 'depth'"),
        (["info", "p.csv", "--resolution", "1", "--axes", "yx"], "there is no --axes"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, folder, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
