"""The demo: its figures are measured, its picture shows what numpy says, its example of a function zooms."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest
import zarr
from PIL import Image

import lazypyr
from lazypyr import demo
from lazypyr.demo import contact_sheet
from support.counting import calls_of
from support.paths import ROOT


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    lines = []
    path = demo.tour(tmp_path_factory.mktemp("demo") / "out", echo=lines.append)
    return path, "\n".join(lines).splitlines()


def test_every_level_is_listed_with_times(toured, demo_data):
    path, lines = toured
    assert str(path) in lines
    source = zarr.open_array(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")
    found = [re.fullmatch(r"(\d) +(\d+(?: x \d+)*) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)", line) for line in lines]
    rows = [(int(m[1]), m[2], int(m[3]), [float(ms) for ms in m.groups()[3:]]) for m in found if m]
    radar = rows[:4]
    assert [row[1] for row in radar] == [f"{n} x {n} x 4" for n in (512, 256, 128, 64)]
    assert [row[2] for row in radar] == [(n // 64) ** 2 for n in (512, 256, 128, 64)]
    assert source.shape == (512, 512, 4)
    assert len(rows) == 12
    assert [row[0] for row in rows] == [0, 1, 2, 3] * 3
    assert all(ms > 0 for row in rows for ms in row[3])


def panel(path, row, column):
    top = (
        contact_sheet.MARGIN
        + contact_sheet.TITLE
        + row * (contact_sheet.HEADING + contact_sheet.PANEL + contact_sheet.CAPTION + contact_sheet.GAP)
        + contact_sheet.HEADING
    )
    left = contact_sheet.MARGIN + column * (contact_sheet.PANEL + contact_sheet.GAP)
    with Image.open(path) as image:
        return np.asarray(image.crop((left, top, left + contact_sheet.PANEL, top + contact_sheet.PANEL))).astype(int)


def boxes(z, level):
    n = 2**level
    return z.reshape(z.shape[0] // n, n, z.shape[1] // n, n)


def shown(rgb):
    return np.asarray(
        Image.fromarray(rgb).resize((contact_sheet.PANEL, contact_sheet.PANEL), Image.Resampling.NEAREST)
    ).astype(int)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_the_picture_shows_what_numpy_says(toured, demo_data, level):
    path, _ = toured
    z = zarr.open_array(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")[:].astype("complex128")
    rms = np.sqrt((np.abs(boxes(z[:, :, 0], level)) ** 2).mean(axis=(1, 3)))
    assert np.abs(panel(path, 0, level) - shown(contact_sheet.amplitude(rms))).max() <= 2
    mean = boxes(z[:, :, 0] * z[:, :, 1].conj(), level).mean(axis=(1, 3))
    assert np.abs(panel(path, 1, level) - shown(contact_sheet.phase(np.angle(mean), mean))).max() <= 3


def test_the_stadium_is_north_up(toured):
    path, _ = toured
    # the roofed stand is the highest thing and lies in the south
    picture = panel(path, 2, 2).sum(axis=2)
    half = contact_sheet.PANEL // 2
    assert (picture[half:] > 600).sum() > 5 * (picture[:half] > 600).sum()


def test_bundled_data_carry_source_and_licence(demo_data):
    sets = [folder for folder in demo_data.iterdir() if folder.is_dir()]
    assert {folder.name for folder in sets} == {"sar_gotcha_xband", "lidar_autzen"}
    for folder in [*sets, *(f for f in (ROOT / "tests" / "data").iterdir() if f.is_dir())]:
        assert "licence:" in (folder / "SOURCE.txt").read_text(encoding="utf-8"), folder
        assert (folder / "LICENSE.upstream").stat().st_size > 500, folder


def test_mandelbrot_opens_without_computing():
    path = ROOT / "docs" / "examples" / "mandelbrot.py"
    spec = importlib.util.spec_from_file_location("mandelbrot", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def opened(pyramid):
        store = lazypyr.LazyPyramidStore(pyramid)
        return store, zarr.open(store, mode="r")

    options = {"dtype": "uint8", "levels": 4, "chunks": (1024, 1024)}
    opened(example.open_mandelbrot())  # imports
    _, few = calls_of(lambda: opened(lazypyr.from_function(example.read_tile, shape=(2**13, 2**13), **options)))
    (store, root), many = calls_of(lambda: opened(example.open_mandelbrot()))
    # Opening costs a share a level, and nothing a tile: ten times the levels, 2**72 times the pixels.
    assert many.total() <= 12 * few.total()
    assert not many["read_tile"]
    assert root["0"].shape == (2**49, 2**49)
    assert root["39"].shape == (1024, 1024)
    assert len(store.pyramid.levels) == 40
    assert store.cache_info().computes == 0

    whole = root["39"][:]
    points = [(-1.0, 0.0), (0.0, 0.0), (-1.75, 0.0), (0.3, 0.0), (1.0, 1.0), (-2.4, -1.9)]
    for re_, im in points:  # inside or outside, by the definition
        z, c = 0j, complex(re_, im)
        for _ in range(500):
            z = z * z + c
            if abs(z) > 16:
                break
        row, column = int((im + 2.0) * 256), int((re_ + 2.5) * 256)
        assert (whole[row, column] == 0) == (abs(z) <= 16), c

    place = example.tile_at(example.SEAHORSE, 38)
    fine = root["38"][place]
    assert fine.shape == (1024, 1024)
    assert len(np.unique(fine)) > 50
