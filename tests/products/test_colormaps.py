"""Colour maps by name: those of matplotlib, colorcet, bokeh and cmap, in products, pictures, server and command line."""

from __future__ import annotations

import hashlib
import io
import json
import re

import bokeh.palettes
import colorcet
import matplotlib as mpl
import numpy as np
import pytest
import zarr
from PIL import Image

import lazypyr
from lazypyr.cli import main
from lazypyr.products import palettes
from lazypyr.products.palettes import colormap_names, palette
from lazypyr.server.rendering import PALETTES, lookup_table
from support.http import ask

# Tables of the names that the server has always had.
DIGESTS = {
    "gray": "72432263dbfe17ab", "viridis": "96a1f6f37d4041f9", "inferno": "8092f65256023cef", "cividis": "8a6c6bf382be7cc3",
    "Turbo256": "8f5d5edf6af4af05", "RdBu11_r": "8610e29d86194b52", "phase": "6f951efea745bf74",
}  # fmt: skip
MATPLOTLIB = [name for name in mpl.colormaps if not name.startswith("cet_") and name not in ("gray", "viridis")]


def rows(table):
    return np.frombuffer(table, "u1").reshape(-1, 3)


@pytest.fixture
def without_matplotlib(monkeypatch):
    installed = palettes._installed
    monkeypatch.setattr(palettes, "_installed", lambda name: None if name == "matplotlib" else installed(name))


@pytest.mark.parametrize("name", DIGESTS)
def test_pictures_stay_as_they_are(name):
    assert hashlib.sha256(palette(name)).hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("name", ["inferno", "cividis", "Turbo256", "RdBu11_r"])
def test_pictures_do_not_depend_on_matplotlib(name, without_matplotlib):
    assert hashlib.sha256(palette(name)).hexdigest()[:16] == DIGESTS[name]


def test_every_name_of_matplotlib():
    for name in MATPLOTLIB:
        colours = mpl.colormaps[name]
        np.testing.assert_array_equal(rows(palette(name)), colours(np.arange(colours.N), bytes=True)[:, :3], name)


def test_every_name_of_matplotlib_without_it(without_matplotlib):
    for name in MATPLOTLIB:
        colours = mpl.colormaps[name]
        table, expected = rows(palette(name)).astype(int), colours(np.arange(colours.N), bytes=True)[:, :3]
        assert table.shape == expected.shape, name
        if not name.startswith("gist_stern"):  # cmap has Yorick's
            assert np.abs(table - expected).max() <= 1, name


def test_every_name_of_colorcet_and_bokeh():
    own = {"gray", "viridis", "phase"}
    for name in colorcet.palette:
        if name not in own and name not in mpl.colormaps:
            assert [f"#{row.tobytes().hex()}" for row in rows(palette(name))] == [
                c.lower() for c in colorcet.palette[name]
            ], name
    np.testing.assert_array_equal(palette("cet_fire"), palette("fire"))
    for name in bokeh.palettes.__palettes__:
        colours = getattr(bokeh.palettes, name, None)  # "Category20b3" is told of but missing
        if colours and name not in own:
            assert [f"#{row.tobytes().hex()}" for row in rows(palette(name))] == [c.lower()[:7] for c in colours], name


def test_every_name_of_holoviews():
    import holoviews as hv

    hv.extension("bokeh")
    unknown = []
    for name in hv.plotting.list_cmaps():
        try:
            palette(name)
        except lazypyr.PlanError:
            unknown.append(name)
    assert unknown == []


@pytest.mark.parametrize("name", ["hot", "Spectral", "tab20", "fire", "phase", "deep", "Category20"])
def test_reversed(name):
    # matplotlib's own `Spectral_r` is off by one in places
    np.testing.assert_allclose(rows(palette(f"{name}_r")).astype(int), rows(palette(name))[::-1], atol=1)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("terain", "terrain"), ("virids", "viridis"), ("spectrall", "Spectral"), ("fyre", "fire")],
)
def test_a_misspelt_name_is_told_with_its_neighbours(wrong, right):
    with pytest.raises(
        lazypyr.PlanError, match=re.escape(f"there is no colour map {wrong!r}; did you mean ")
    ) as caught:
        lazypyr.product.colormap(wrong)
    assert repr(right) in str(caught.value)


def test_names_that_are_listed_are_known():
    names = colormap_names()
    assert {*PALETTES} - {"RdBu11_r"} <= {*names}
    assert len(names) > 1000
    assert all(len(palette(name)) % 3 == 0 for name in names[::7])


def test_own_colour_maps():
    lazypyr.register_colormap("own two", ["#000000", (255, 0, 1)])
    assert palette("own two") == b"\x00\x00\x00\xff\x00\x01"
    assert palette("own two_r") == b"\xff\x00\x01\x00\x00\x00"
    lazypyr.register_colormap("own hot", mpl.colormaps["hot"])
    assert palette("own hot") == palette("hot")
    assert "own hot" in colormap_names()
    with pytest.raises(lazypyr.PlanError, match="expected '#rrggbb' or three numbers"):
        lazypyr.register_colormap("bad", ["reddish"])
    with pytest.raises(lazypyr.PlanError, match="built-in"):
        lazypyr.register_colormap("phase", ["#000000"])


def test_the_server_takes_any_name_and_tells_the_right_one():
    ramp = np.arange(65536, dtype="f4").reshape(256, 256)
    with lazypyr.serve({"ramp": ramp}, port=0, background=True) as server:
        url = server.url
        for name in ("hot", "Spectral", "tab20_r", "fire", "gray"):
            answer = ask(url, f"/tiles/ramp/0/0/0.png?low=0&high=65535&palette={name}")
            assert answer.status == 200, name
            picture = np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB"))
            table = rows(lookup_table(name))
            np.testing.assert_array_equal(picture[0, 0], table[0])
            np.testing.assert_array_equal(picture[-1, -1], table[-1])
        answer = ask(url, "/tiles/ramp/0/0/0.png?palette=terain")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
        assert "did you mean 'terrain'" in json.loads(answer.body)["error"]
        assert {"hot", "fire", "tab20"} <= {*json.loads(ask(url, "/api/ramp/info").body)["palettes"]}


def test_the_command_line(tmp_path, capsys):
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.arange(65536.0).reshape(256, 256))
    for arguments in (["--save", str(tmp_path / "a.png")], ["--no-browser"]):
        with pytest.raises(SystemExit) as caught:
            main(["view", str(tmp_path / "a.zarr"), "--cmap", "terain", *arguments])
        told = capsys.readouterr().err
        assert (caught.value.code, told.count("\n")) == (2, 1)
        assert "there is no colour map 'terain'; did you mean 'terrain'" in told
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["fire", "tab20", "phase", "Spectral_r"])
def test_pictures_and_plots_have_the_colours_of_the_server(tmp_path, name):
    from lazypyr.plot import save_picture

    ramp = lazypyr.open_pyramid(np.linspace(0, 1, 256 * 256).reshape(256, 256), axes="yx")
    path = save_picture(ramp, tmp_path / "a.png", size=(256, 256), clim=(0, 1), cmap=name, invert_yaxis=True)
    colours = {tuple(c) for c in np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)}
    assert {tuple(c) for c in rows(palette(name))} <= colours
    page = save_picture(ramp, tmp_path / "a.html", size=(256, 256), clim=(0, 1), cmap=name).read_text()
    assert all(f"#{c.tobytes().hex()}" in page for c in rows(palette(name))[[0, -1]])


def test_plots_refuse_a_misspelt_name_at_once(tmp_path):
    from lazypyr.plot import raster_plot, save_picture

    data = np.zeros((8, 8))
    for call in (
        lambda: raster_plot(data, cmap="terain"),
        lambda: save_picture(data, tmp_path / "a.png", cmap="terain"),
    ):
        with pytest.raises(lazypyr.PlanError, match="did you mean 'terrain'"):
            call()
