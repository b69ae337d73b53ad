"""`lazypyr view`: its page, its pictures, and what it says when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import PIL.Image as PIL
import pytest
import zarr

import lazypyr
from lazypyr.cli import main
from lazypyr.engine.engine import Engine
from lazypyr.plot.app import choices
from lazypyr.plot.viewport import Viewport
from support.paths import ROOT


@pytest.fixture
def stack(demo_data):
    return str(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc")


def start(*args):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "lazypyr.cli", "view", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_saves_a_picture(stack, tmp_path, capsys):
    out = tmp_path / "a.png"
    assert main(["view", stack, "--axes", "yxi", "--product", "intf_0", "--index", "2", "--save", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = np.asarray(PIL.open(out).convert("RGB"))
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 200  # a colour wheel


def test_saves_points(tmp_path, data_dir):
    ps = data_dir / "ps_amsterdam" / "points.zarr"
    out = tmp_path / "a.png"
    points = ["--points", str(ps / "longitude"), str(ps / "latitude"), "--resolution", "0.0001"]
    assert main(["view", str(ps / "deformation"), *points, "--save", str(out)]) == 0
    cloud = lazypyr.from_points(ps / "longitude", ps / "latitude", ps / "deformation", resolution=0.0001)
    viewport = Viewport(cloud, Engine())
    pixels = viewport.frame(viewport.view(None, None, 1000, 800, (0,) * len(viewport.kdims))).pixels
    page = np.asarray(PIL.open(out).convert("RGB"))
    inside = page[
        40 : 40 + page.shape[0] - 96, 96 : page.shape[1] - 150
    ]  # what is left of it beside axes and colour bar
    drawn = (inside != 255).any(axis=2).mean()
    assert drawn == pytest.approx(np.isfinite(pixels).mean(), rel=0.05)


@pytest.mark.fault("X2")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere.zarr"], "nowhere.zarr"),
        (["{slc}", "--axes", "yxi", "--product", "intf9", "--no-browser"], "no product"),
        (["{slc}", "--axes", "yxi", "--save", "a.png"], "phase, amplitude, intensity"),
        (["{slc}", "b", "--save", "a.png"], "expected one SRC"),
        (["{slc}", "--axes", "yxi", "--product", "phase", "--save", "a.tif"], ".png or .html"),
        (["{slc}", "--axes", "yxi", "--port", "99999"], "--port"),
        (["{slc}", "--axes", "yxi", "--dates", "no-such-file"], "no-such-file"),
        (["{slc}", "--axes", "yxi", "--points", "a", "b"], "axes can't be given"),
    ],
)
def test_what_is_wrong_is_one_line(args, said, stack, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["view", *(a.format(slc=stack) for a in args)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]


@pytest.mark.fault("X2")
@pytest.mark.parametrize("args", [["--port", "many"], ["--index", "a"], ["--clim", "1"], []])
def test_bad_arguments_end_with_2(args, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["view", *(["x"] if args else []), *args])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_dates_of_another_number(stack, tmp_path, capsys):
    dates = tmp_path / "dates.txt"
    dates.write_text("20200101\n20200113\n", encoding="utf-8")
    assert main(["view", stack, "--axes", "yxi", "--dates", str(dates), "--no-browser"]) == 1
    assert "2 for 4 channels" in capsys.readouterr().err


@pytest.mark.fault("X2")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Bokeh leaves the socket to the collector
def test_a_port_that_is_taken(stack, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", stack, "--axes", "yxi", "--port", str(port), "--no-browser"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"port {port}" in lines[0]


@pytest.mark.slow
@pytest.mark.fault("X2")
@pytest.mark.timeout(200)
def test_serves_this_machine_until_interrupted(stack):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        zarr_port = free.getsockname()[1]
    process = start(stack, "--axes", "yxi", "--no-browser", "--http", zarr_port)
    try:
        said = process.stdout.readline()
        url = said.split()[3]
        with urllib.request.urlopen(url, timeout=100) as page:
            assert page.status == 200 and b"lazypyr: slc.zarr/slc" in page.read()
        with urllib.request.urlopen(f"http://127.0.0.1:{zarr_port}/slc.zarr-slc/zarr.json", timeout=100) as metadata:
            assert b"multiscales" in metadata.read()
        port = int(url.rstrip("/").rsplit(":", 1)[1])
        others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
            "127.0.0.1",
            "127.0.1.1",
        }
        for address in others:
            with socket.socket() as outside:
                outside.settimeout(2)
                assert outside.connect_ex((address, port)) != 0
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 130
        assert err.splitlines() == ["lazypyr: interrupted"] and out == ""
    finally:
        process.kill()


def test_offers_what_the_data_allow(stack):
    assert choices(lazypyr.open_pyramid(stack, axes="yxi")) == [
        "amplitude", "intensity", "phase", "intf_0", "intf_seq", "intf_all",
    ]  # fmt: skip
    assert choices(lazypyr.open_pyramid(np.ones((5, 5, 3), "f4"), axes="yxi")) == [
        "values",
        "intf_0",
        "intf_seq",
        "intf_all",
    ]
    assert choices(lazypyr.open_pyramid(np.ones((5, 5), "u1"))) == ["values"]


def test_opens_without_reading_a_pixel():
    from lazypyr.plot import app

    read = []
    pyramid = lazypyr.from_function(lambda level, window: read.append(1), shape=(2000, 3000), dtype="f4")
    app.ViewedSource(pyramid, Engine(), None, None, {})
    assert not read


def test_a_zarr_group_with_several_rasters_shows_each(tmp_path, monkeypatch):
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("a", data=np.ones((4, 4)))
    group.create_array("b", data=np.ones((5, 5)))
    shown = {}
    monkeypatch.setattr("lazypyr.plot.view", lambda sources, **options: shown.update(sources))
    assert main(["view", str(tmp_path / "g.zarr"), "--no-browser"]) == 0
    assert {name.rpartition("/")[2]: pyramid.shape for name, pyramid in shown.items()} == {"a": (4, 4), "b": (5, 5)}
    assert main(["view", str(tmp_path / "g.zarr"), "--variable", "b", "--no-browser"]) == 0
