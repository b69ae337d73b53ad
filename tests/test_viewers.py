"""Bridges to viewers: neuroglancer's own client in a browser, napari's layers, and the protocols of notebook viewers."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess

import numpy as np
import pytest
import zarr
from PIL import Image
from zarr.core.buffer import default_buffer_prototype

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.errors import ComputeError, PlanError
from support.http import served
from support.npm import npm_files, npm_folder
from support.paths import BUNDLED, ROOT

# Dark to bright from top to bottom, and a bright corner at the top right: no turn or mirror looks the same.
RAMP = np.add.outer(np.arange(600) * 40, np.arange(900)).astype("u2")
RAMP[:150, 700:] = 24000
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture
def page(chromium):
    """A page of 800 x 600 on WebGL in software."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", *SOFTWARE_GL]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser.new_page(viewport={"width": 800, "height": 600})
        browser.close()


def drawn(page, good, seconds=60):
    """What is on the screen, 600 x 800 x RGB, when it is good, or at the end of one's patience."""
    for _ in range(4 * seconds):
        image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
        if good(image):
            break
        page.wait_for_timeout(250)
    return image


@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore")
def test_neuroglancer_draws_it(page):
    """The client that comes with neuroglancer's Python package."""

    def downwards(image):
        middle = image[:, 300:500].mean(axis=(1, 2))
        return middle[420:460].mean() - middle[150:200].mean()

    def rightwards(image):
        return image[150:190, 600:680].mean() - image[150:190, 120:300].mean()

    viewer = lazypyr.viewers.neuroglancer(RAMP)
    try:
        page.goto(str(viewer))
        image = drawn(page, lambda image: downwards(image) > 40 and rightwards(image) > 80)
    finally:
        viewer.lazypyr.close()
    assert downwards(image) > 40, "it gets brighter downwards"
    assert rightwards(image) > 80, "and the bright corner is at the right"


# Galaxy's build of vizarr is the one of npm; it asks Galaxy where the image is, which is answered here by `?source=`.
VIZARR = """<!doctype html><meta charset="utf-8"><body style="margin:0"><div id="app" style="position:absolute;inset:0"></div>
<script>
const sources = [{ source_uri: new URL(location).searchParams.get("source") }];
const root = "data:application/json," + encodeURIComponent(JSON.stringify({ state: "deferred", name: "ramp", sources })) + "#";
document.getElementById("app").dataset.incoming = JSON.stringify({ root, visualization_config: { dataset_id: "" } });
</script><script type="module" src="index.js"></script>
"""
# The only part of the build that would come from elsewhere: its reader of JPEG 2000.
JPEG2000 = re.compile(r'from"https://cdn\.jsdelivr\.net/[^"]*/jpx\.js"')


@pytest.fixture(scope="module")
def vizarr(tmp_path_factory):
    """A folder with a vizarr."""
    built = npm_files("vizarr", "@galaxyproject/vizarr@0.1.8") / "static"
    site = tmp_path_factory.mktemp("vizarr")
    (site / "index.html").write_text(VIZARR)
    code, found = JPEG2000.subn('from"./jpx.js"', (built / "index.js").read_text())
    assert found == 1
    (site / "index.js").write_text(code)
    (site / "jpx.js").write_text("export class JpxImage {}")
    return site


@pytest.mark.timeout(400)
@pytest.mark.parametrize("zarr_format", [3, 2])
def test_vizarr_draws_it(page, vizarr, zarr_format):
    """The link of the page leads to the user's vizarr, which draws the source: orientation, registration and contrast."""
    # The build lacks its readers of compressed chunks.
    store, outside = LazyPyramidStore(RAMP, chunks=(256, 256), zarr_format=zarr_format), []
    # 7/9 of its size in the middle of the screen, from black to white between the extremes of the coarsest level.
    coarse = RAMP[::4, ::4].astype(float)
    rows, columns = ((n / 2 + (np.arange(m) + 0.5 - m / 2) * 9 / 7).astype(int) for n, m in ((600, 460), (900, 690)))
    gray = np.clip((RAMP[np.ix_(rows, columns)] - coarse.min()) / np.ptp(coarse), 0, 1) * 255
    where = (slice(70, 530), slice(55, 745))
    # Not what lies under vizarr's panel, nor the edge of the bright corner.
    seen = np.ones(gray.shape, bool)
    seen[:90, :170] = seen[108:118, 530:] = seen[:118, 534:544] = False

    def right(image):
        return (np.abs(image[where][seen] - gray[seen][:, None]) <= 4).mean()

    with served({"ramp": store}, viewer_dir=vizarr) as handle:
        page.on("request", lambda request: request.url.startswith((handle.url, "data:")) or outside.append(request.url))
        page.goto(handle.url)
        page.get_by_role("link", name="vizarr").click()
        image = drawn(page, lambda image: right(image) > 0.97)
    assert right(image) > 0.97
    assert not outside


VIV = [
    *(f"@vivjs/{name}@0.21.0" for name in ("layers", "loaders", "extensions")),
    *(f"@deck.gl/{name}@9.2" for name in ("core", "layers", "geo-layers", "mesh-layers", "extensions")),
    *(f"@luma.gl/{name}@9.2" for name in ("core", "engine", "shadertools", "webgl", "constants", "gltf")),
    "esbuild@0.25",
]


@pytest.fixture(scope="module")
def viv():
    """A folder with a page that draws an OME-Zarr with viv's image layer."""
    folder = npm_folder("viv", *VIV)
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (folder / "page.js").write_text((ROOT / "tests" / "support" / "viv_page.js").read_text())
    bundle = ["node_modules/.bin/esbuild", "page.js", "--bundle", "--outfile=site/page.js", "--log-level=error"]
    subprocess.run(bundle, cwd=folder, check=True, timeout=200)
    (site / "index.html").write_text('<body style="margin:0;background:#000"><script src="page.js"></script>')
    return site


@pytest.mark.timeout(400)
def test_viv_draws_it(page, viv):
    """The image layer of vizarr and Avivator, pixel for pixel; the page is where a vizarr would be."""
    expected = (RAMP[::2, ::2] / 24500 * 255)[..., None]
    store = LazyPyramidStore(RAMP, chunks=(256, 256), compressor="zstd")
    with served({"ramp": store}, viewer_dir=viv) as handle:
        for path in ("ramp", "v2/ramp"):
            page.goto(f"{handle.url}/viewers/vizarr/")
            page.evaluate("([url]) => draw(url, [0, 24500], -1)", [f"{handle.url}/{path}"])
            image = drawn(page, lambda image: (np.abs(image[150:450, 175:625] - expected) <= 2).mean() > 0.99)
            assert page.evaluate("window.loaded") == {"levels": 3, "shape": [600, 900], "dtype": "Uint16"}
            assert (np.abs(image[150:450, 175:625] - expected) <= 2).mean() > 0.99
            assert image[:148].max() == image[:, :173].max() == 0


@pytest.mark.parametrize("dtype", ["f8", "c8", "?"])
def test_neuroglancer_says_what_it_can_not_show(dtype):
    with pytest.raises(PlanError, match="neuroglancer shows"):
        lazypyr.viewers.neuroglancer(np.zeros((50, 50), dtype))


def test_neuroglancer_says_that_ome_has_no_such_axes():
    with pytest.raises(PlanError, match="OME-NGFF"):
        lazypyr.viewers.neuroglancer(np.zeros((2, 3, 50, 50), "u1"), axes=("year", "band", "y", "x"))


@pytest.mark.parametrize(
    ("given", "dtype", "made"),
    [
        ("f8", None, "f4"), ("f2", None, "f4"), ("?", None, "u1"), ("i8", None, "i4"), ("u8", None, "u4"), ("i2", None, "i2"),
        ("f8", "f2", "f2"), ("u1", "f4", "f4"), (">u2", "u1", "u1"),
    ],
)  # fmt: skip
def test_cast_to_what_viewers_read(given, dtype, made):
    image = (RAMP[:300, :300] % 200 if given != "?" else RAMP[:300, :300] % 2).astype(given)
    options = {} if dtype is None else {"dtype": dtype}
    pyramid = lazypyr.open_pyramid(image, nodata=None if given == "?" else 7).map("cast", **options)
    assert pyramid.dtype == np.dtype(made)
    assert pyramid.nodata == (None if given == "?" else 7)
    for k in range(len(pyramid.levels)):
        np.testing.assert_array_equal(pyramid.read(k), image[:: 2**k, :: 2**k].astype(made))


def test_cast_never_wraps():
    for image, dtype in (
        (np.full((9, 9), 2**40), "i4"),
        (np.full((9, 9), -1), "u8"),
        (np.full((9, 9), 2**63, "u8"), "i8"),
    ):
        with pytest.raises(ComputeError, match=f"{image[0, 0]} does not fit"):
            lazypyr.open_pyramid(image).map("cast", dtype=dtype).read(0)
    for image, options, words in (
        (np.ones((9, 9)), {"dtype": "u1"}, "rescale"),
        (np.ones((9, 9), "c8"), {}, "phase"),
        (np.ones((9, 9)), {"dtype": "c8"}, "an integer or a float"),
    ):
        with pytest.raises(PlanError, match=words):
            lazypyr.open_pyramid(image).map("cast", **options)
    with pytest.raises(PlanError, match="nodata"):
        lazypyr.open_pyramid(np.ones((9, 9), "i4"), nodata=-9999).map("cast", dtype="u1")


class Recorder:
    """Stands in for napari.Viewer: takes what `add_image` is given."""

    def add_image(self, data, **options):
        self.data, self.options = data, options


def test_napari_gets_levels_that_it_reads_itself():
    store = LazyPyramidStore(RAMP, bounds=(0.0, 100.0 - 600 * 3.0, 900 * 2.0, 100.0))
    viewer = lazypyr.viewers.napari(store, viewer=Recorder())
    assert [level.shape for level in viewer.data] == [(600, 900), (300, 450), (150, 225)]
    np.testing.assert_array_equal(viewer.data[1][10:20, 30:40], RAMP[::2, ::2][10:20, 30:40])
    assert viewer.options["multiscale"]
    assert viewer.options["scale"] == [3.0, 2.0]
    low, high = viewer.options["contrast_limits"]
    assert 0 <= low < high <= 25000


@pytest.mark.parametrize(("flip_y", "flip_x"), [(y, x) for y in (False, True) for x in (False, True)])
def test_north_is_up_in_napari_and_neuroglancer(flip_y, flip_x):
    left, right = (1800.0, 0.0) if flip_x else (0.0, 1800.0)
    bottom, top = (100.0, -1700.0) if flip_y else (-1700.0, 100.0)
    store = LazyPyramidStore(RAMP, bounds=(left, bottom, right, top))
    options = lazypyr.viewers.napari(store, viewer=Recorder()).options
    # Where napari draws the first and the last pixel: rows downwards, columns to the right.
    first = np.array(options["translate"])
    last = first + (np.array(RAMP.shape) - 1) * options["scale"]
    assert [bool(a > b) for a, b in zip(first, last, strict=True)] == [flip_y, flip_x]
    assert np.minimum(first, last).tolist() == [0, 0]
    viewer = lazypyr.viewers.neuroglancer(store)
    try:
        x, y, z, w = viewer.state.cross_section_orientation
    finally:
        viewer.lazypyr.close()
    # The rotation that a unit quaternion stands for, of the unit vectors along x and y.
    turned = [1 - 2 * (y * y + z * z), 1 - 2 * (x * x + z * z)]
    assert turned == [-1 if flip_x else 1, -1 if flip_y else 1]


def test_napari_has_no_complex_numbers():
    slc = str(BUNDLED / "sar_gotcha_xband" / "slc.zarr")
    with pytest.raises(PlanError, match="complex"):
        lazypyr.viewers.napari(slc, viewer=Recorder())
    viewer = lazypyr.viewers.napari(slc, viewer=Recorder(), product="intf_all")
    assert [level.shape for level in viewer.data] == [(4, 4, 512, 512), (4, 4, 256, 256)], "it shows the last two axes"
    assert viewer.options["axis_labels"] == ("i", "j", "y", "x")
    pairs = lazypyr.open_pyramid(slc).map("intf_all").read(1)
    np.testing.assert_array_equal(viewer.data[1][1, 3], pairs[:, :, 1, 3])


def test_imjoy_codec():
    """What vizarr's ImJoy plugin asks of ``zarr-group``: zarr v2 keys, bytes by key."""
    from imjoy_rpc.utils import encode_zarr_store

    store = LazyPyramidStore(RAMP, zarr_format=2, chunks=(256, 256))
    encoded = encode_zarr_store(zarr.open_group(store, mode="r"))
    get = encoded["getItem"]
    for key in (".zgroup", ".zattrs", "1/.zarray", "1/0/1"):
        assert encoded["containsItem"](key)
        assert get(key) == store[key]
    assert get("1/0/1") == np.pad(RAMP[::2, ::2][:256, 256:], ((0, 0), (0, 62))).tobytes()
    assert not encoded["containsItem"](".zmissing")


def test_vizarr_widget_protocols():
    """Of 0.1.1: bytes by key, in the kernel's thread. Of its successor: awaited on the kernel's own event loop."""
    store = LazyPyramidStore(RAMP, chunks=(256, 256))
    assert "0/zarr.json" in store
    with pytest.raises(KeyError):
        store["0/.zarray"]
    expected = np.ascontiguousarray(RAMP[:256, :256]).tobytes()
    assert store["0/c/0/0"] == expected

    async def kernel():
        assert await store.exists("0/zarr.json")
        assert not await store.exists("0/.zarray")
        buffer = await store.get("0/c/0/0", prototype=default_buffer_prototype())
        return buffer.to_bytes()

    assert asyncio.run(kernel()) == expected
