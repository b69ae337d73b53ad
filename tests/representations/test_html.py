"""HTML and text of pyramids and stores: well formed, true, cheap, never an error."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import xarray as xr
import zarr
from PIL import Image

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.errors import SourceError
from lazypyr.sources.base import Source
from support.paths import BUNDLED

SLC = str(BUNDLED / "sar_gotcha_xband" / "slc.zarr")


def parsed(html):
    """The elements; void ones are closed for the parser of XML."""
    closed = re.sub(r"<img ([^>]*)>", r"<img \1/>", html)
    return ET.fromstring(f"<div>{closed}</div>")


def picture(html):
    found = re.search(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGBA")) if found else None


def dem():
    lat, lon = 40 + 0.1 * np.arange(300), 5 + 0.1 * np.arange(500)
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    z = np.add.outer(np.arange(300.0), np.zeros(500)).astype("f4")
    return lazypyr.open_pyramid(xr.DataArray(z, dims=("lat", "lon"), coords=coords, name="z<b>"), method="mean")


def test_facts_levels_and_costs():
    html = dem()._repr_html_()
    text = " ".join("".join(parsed(html).itertext()).split())
    for fact in ("y 300 × x 500", "float32", "256 × 256", "mean", "585.9 KiB", "5 to 54.95", "degrees_north", "z<b>"):
        assert fact in text
    assert "150 × 250" in text
    assert "1 computed level: 146.5 KiB in 1 chunks" in text
    assert "<b>'" not in html and "<script" not in html


def test_the_picture_is_north_up():
    shown = picture(dem()._repr_html_())
    assert shown.shape[:2] == (116, 192)
    assert shown[2, 50, :3].sum() > shown[-3, 50, :3].sum() + 200, "bright in the north, which is the last row"


SOURCES = {
    "radar": lambda: SLC,
    "colours": lambda: np.zeros((40, 50, 3), "u1"),
    "nothing": lambda: np.full((40, 50), np.nan),
    "one pixel": lambda: np.zeros((1, 1), "?"),
    "five axes": lambda: np.zeros((2, 3, 4, 40, 50), "u2"),
    "times": lambda: np.zeros((40, 50), "M8[s]"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_all_kinds_have_a_picture(source):
    html = LazyPyramidStore(SOURCES[source]())._repr_html_()
    assert picture(html) is not None
    parsed(html)


class Away(Source):
    """A source whose host is away."""

    name, shape, dtype, axes, chunks = "away", (600, 500), np.dtype("f4"), ("y", "x"), (256, 256)
    fingerprint = "away 1"
    asked = 0

    def read(self, window, step=None):
        Away.asked += 1
        raise SourceError("the host is away")


class Vast(Away):
    """A source of which an overview reads terabytes."""

    name, shape = "vast", (2**22, 2**22)


@pytest.mark.parametrize(("source", "asked"), [(Away, True), (Vast, False)])
def test_a_representation_is_never_an_error_nor_a_long_wait(source, asked):
    before = Away.asked
    store = LazyPyramidStore(source(), levels=2, method="mean")
    html = store._repr_html_()
    assert picture(html) is None
    assert (Away.asked > before) == asked
    assert source.name in html and "<svg" in html
    assert repr(store)


def test_stores_of_several():
    store = lazypyr.collection({f"a{k}": np.zeros((8, 8), "u1") for k in range(30)})
    html = store._repr_html_()
    assert html.count("<details>") == 20
    assert "and 10 more" in html
    parsed(html)


LINES = {
    "place": (dem, "2 levels by mean; yx 300 x 500 float32; chunks 256 x 256; 585.9 KiB; x 4.95 to 54.95 degrees_east"),
    "plain": (lambda: lazypyr.open_pyramid(np.zeros((9, 8), "u1")), "1 level by stride; yx 9 x 8 uint8; 72 B>"),
    "pairs": (lambda: lazypyr.open_pyramid(SLC).map("intf_all"), "2 levels by stride; 512 x 512 x 4 x 4; chunks 256 x 256 x 1 x 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_the_line_of_a_pyramid_says_what_it_is(case):
    make, words = LINES[case]
    line = repr(make())
    assert all(word in line for word in words.split("; ")), line
    assert "\n" not in line


def test_reprs_of_zarr_stay_short():
    assert "lazypyr://" in repr(zarr.open(LazyPyramidStore(dem())))
