"""``--reproject`` of the commands, and ``--max-level-bytes``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.cli import main

PLACE = {
    "proj:code": "EPSG:32633",
    "spatial:dimensions": ["y", "x"],
    "spatial:transform": [10, 0, 500000, 0, -10, 4200000],
}


@pytest.fixture
def dem(tmp_path):
    rows = np.add.outer(np.arange(600.0), np.arange(500.0)).astype("f4")
    zarr.create_array(tmp_path / "dem.zarr", data=rows, chunks=(128, 128), attributes=PLACE)
    return tmp_path / "dem.zarr"


def test_materialize_writes_the_tiles_and_leaves_large_levels_lazy(dem, tmp_path, capsys):
    out = tmp_path / "tiles.zarr"
    options = ["--method", "mean", "--reproject", "WebMercatorQuad", "--zoom", "9-13", "--resampling", "bilinear"]
    command = ["materialize", str(dem), str(out), *options, "--max-level-bytes", "1e6", "--quiet"]
    assert main([*command, "--dry-run"]) == 0
    assert not out.exists()
    assert main(command) == 0
    pyramid = lazypyr.open_pyramid(dem, method="mean").reproject(
        tiling="WebMercatorQuad", zoom=(9, 13), method="bilinear"
    )
    sizes = [np.prod(level.shape) * 4 for level in pyramid.levels]
    lazy = [k for k, size in enumerate(sizes) if size > 1e6]
    assert 0 < len(lazy) < 5
    assert [f"level {k} stays lazy" in capsys.readouterr().out for k in lazy[:1]] == [True]
    group = zarr.open_group(out, mode="r")
    for k in range(5):
        if k in lazy:
            assert str(k) not in group
        else:
            np.testing.assert_array_equal(group[str(k)][...], pyramid.read(k))
    store = lazypyr.LazyPyramidStore(pyramid, overlay=out)
    whole = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(whole["0"][:300, :300], pyramid.read(0, ((0, 300), (0, 300))))


def test_recipe_info_and_explain_take_it(dem, tmp_path, capsys):
    assert main(["recipe", str(dem), "--reproject", "EPSG:3857", "-o", str(tmp_path / "a.lazypyr.json")]) == 0
    assert lazypyr.open_pyramid(tmp_path / "a.lazypyr.json").crs == "EPSG:3857"
    assert main(["info", str(dem), "--reproject", "WorldCRS84Quad", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["method"] == "bilinear"
    assert described["levels"][0]["shape"][0] % 256 == 0
    assert main(["explain", str(dem), "--reproject", "WebMercatorQuad", "--level", "0"]) == 0
    assert "WebMercatorQuad, zoom" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--zoom", "1-3"], "belong to --reproject"),
        (["--reproject", "EPSG:1"], "expected a CRS such as"),
        (["--reproject", "WebMercator"], "did you mean 'WebMercatorQuad'"),
        (["--reproject", "EPSG:3857", "--zoom", "3"], "are those of a tiling"),
    ],
)
def test_what_can_not_be_is_one_line(dem, capsys, options, message):
    assert main(["info", str(dem), *options]) == 1
    assert message in capsys.readouterr().err


def test_sources_are_served_and_drawn_on_the_map(dem, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(lazypyr, "serve", lambda sources, **options: seen.update(sources))
    assert main(["serve", str(dem), "--reproject", "WebMercatorQuad", "--port", "0"]) == 0
    assert [pyramid.crs for pyramid in seen.values()] == ["EPSG:3857"]
    assert main(["view", str(dem), "--reproject", "EPSG:3857", "--save", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 1000
