"""The pages in a real browser: what is on the screen is what numpy says must be there."""

from __future__ import annotations

import html
import importlib.util
import io
import json
import re

import numpy as np
import pytest
import zarr
from PIL import Image

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.products.palettes import palette
from support.http import ask, served
from support.paths import BUNDLED, DATA, ROOT

GOTCHA = BUNDLED / "sar_gotcha_xband" / "slc.zarr"
FLY = DATA / "micro_fly_kc167" / "image.zarr"
LANDSAT = DATA / "geo_landsat_peru" / "landsat.zarr"
ELEVATION = DATA / "geo_elevation" / "elevation.zarr" / "dsm"
# Of the screen: inside of the frame, beside the scale bar.
PICTURE = {"x": 200, "y": 150, "width": 500, "height": 300}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def example():
    spec = importlib.util.spec_from_file_location("mandelbrot", ROOT / "docs" / "examples" / "mandelbrot.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url():
    # Ramps whose value says where it is: up or down, left or right, mirrored or transposed can't be confused.
    ramp = np.add.outer(np.arange(600) * 30, np.arange(900)).astype("u2")
    steps = LazyPyramidStore(ramp, bounds=(995.0, 510.0 - 600 * 20, 995.0 + 900 * 10, 510.0))
    sources = {
        "gotcha": str(GOTCHA),
        "fly": str(FLY),
        "landsat": str(LANDSAT),
        "elevation": str(ELEVATION),
        "ramp": steps,
    }
    with served({**sources, "mandelbrot": example().open_mandelbrot()}) as handle:
        yield handle.url


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url):
    """A page that asks nobody but the server, and never in vain."""
    page, wrong = browser.new_page(viewport={"width": 900, "height": 700}), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: request.url.startswith((url, "data:", "blob:")) or wrong.append(request.url))
    page.on("response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status} {answer.url}"))
    yield page
    page.close()
    assert not wrong


def settled(page):
    page.wait_for_function(
        """() => { const l = window.lazypyr; if (!l || !l.view || l.state.asked !== l.state.shown) return false;
        const x = l.plot.x_range, y = l.plot.y_range, extent = [x.start, y.start, x.end, y.end], frame = l.view.frame.bbox;
        const now = [l.source.url, ...extent].join(), z = l.source.get_level_by_extent(extent, frame.height, frame.width);
        const done = l.source.get_tiles_by_extent(extent, z).every((t) => l.source.tiles.get(l.source.tile_xyz_to_key(...t))?.loaded);
        if (!done || l.seen !== now) { l.seen = now; l.since = performance.now(); return false; }
        return performance.now() - l.since > 200; }""",
        timeout=60000,
        polling=50,
    )
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")  # it is painted


def look(page, count=300):
    """Points on the screen: zoom, level-0 row and column (middle of a pixel of the zoom), and the colour that is there."""
    settled(page)
    found = page.evaluate(
        """(count) => { const { plot, source, view, info } = window.lazypyr, { nx, ny } = info.grid;
        const x = plot.x_range, y = plot.y_range, side = info.tile * 2 ** info.max_zoom, frame = view.frame;
        const z = source.get_level_by_extent([x.start, y.start, x.end, y.end], frame.bbox.height, frame.bbox.width);
        const span = 2 ** (info.max_zoom - z), box = view.el.getBoundingClientRect(), points = [];
        // Bokeh 3.10 and newer stretch each tile to whole pixels of the screen.
        const [major, minor] = Bokeh.version.split(".").map(Number), snaps = major > 3 || minor >= 10;
        const placed = (scale, at, origin, sign) => {
          if (!snaps) return scale.compute(origin + sign * at);
          const wide = info.tile * span, start = Math.floor(at / wide) * wide;
          const [a, b] = [start, start + wide].map((p) => Math.round(scale.compute(origin + sign * p)));
          return a + ((at - start) / wide) * (b - a);
        };
        const left = Math.max(0, x.start), right = Math.min(nx, x.end);
        const top = Math.max(0, side - y.end), bottom = Math.min(ny, side - y.start);
        for (let i = 0; points.length < count && i < 100 * count; i++) {
          const col = Math.floor((left + (right - left) * ((i * 0.618034) % 1)) / span) * span + span / 2;
          const row = Math.floor((top + (bottom - top) * ((i * 0.754878) % 1)) / span) * span + span / 2;
          // Bokeh draws everything half a screen pixel to the right and down, for crisp lines.
          const sx = box.left + placed(frame.x_scale, col, 0, 1) + 0.5, sy = box.top + placed(frame.y_scale, row, side, -1) + 0.5;
          const inside = sx > box.left + frame.bbox.left + 3 && sx < box.left + frame.bbox.right - 3
            && sy > box.top + frame.bbox.top + 3 && sy < box.top + frame.bbox.bottom - 3;
          const bar = document.getElementById("scalebar").getBoundingClientRect();
          const hidden = sx > bar.left - 2 && sx < bar.right + 2 && sy > bar.top - 2 && sy < bar.bottom + 2;
          // Where a pixel of the image is hardly larger than one of the screen, only those that meet well can be compared.
          const met = Math.abs(sx % 1 - 0.5) < 0.2 && Math.abs(sy % 1 - 0.5) < 0.2;
          if (inside && met && !hidden && row < ny && col < nx) points.push([row, col, sx, sy]);
        }
        return { z, span, points }; }""",
        count,
    )
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    points = np.array(found["points"])
    assert len(points) > count / 3
    # Sampled at the middle of the screen pixel that holds the point.
    colours = picture[np.floor(points[:, 3]).astype(int), np.floor(points[:, 2]).astype(int)]
    rows, columns = (np.floor(points[:, k] / found["span"]).astype(int) for k in (0, 1))
    return found["z"], found["span"], rows, columns, colours


def painted(values, low, high, name):
    """Colours of values by the words of the documentation: 255 equal steps from low to high."""
    table = np.frombuffer(palette(name), "u1").reshape(-1, 3).astype(float)
    steps = np.clip(np.floor((values - low) / (high - low) * 255), 0, 254).astype(int)
    return table[np.round(steps / 254 * (len(table) - 1)).astype(int)]


def agree(colours, expected, part=0.99):
    close = (np.abs(colours - expected) <= 3).all(axis=-1)
    assert close.mean() >= part, f"{(~close).sum()} of {len(close)} points differ"


def window(page):
    return page.evaluate("[lazypyr.state.low, lazypyr.state.high]")


def wheel(page, times, at=(450, 350)):
    """Turn the wheel until the view is as many times wider; a slow browser takes several ticks for one."""
    page.mouse.move(*at)
    width = "lazypyr.plot.x_range.end - lazypyr.plot.x_range.start"
    wanted = page.evaluate(width) * times
    for _ in range(100):
        if page.evaluate(width) <= wanted if times < 1 else page.evaluate(width) >= wanted:
            break
        page.mouse.wheel(0, 120 if times > 1 else -120)
    settled(page)


def test_index(page, url):
    page.goto(url)
    assert page.locator("article h2").all_text_contents() == [
        "gotcha",
        "fly",
        "landsat",
        "elevation",
        "ramp",
        "mandelbrot",
    ]
    page.locator("article").last.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.images].every((image) => image.complete && image.naturalWidth > 50)", timeout=60000
    )
    card = page.locator("#landsat")
    assert "year 2 × band 4 × y 377 × x 697" in card.locator(".facts").text_content()
    assert card.locator("tr").count() == 4
    assert card.locator(".url code").all_text_contents() == [f"{url}/landsat/", f"{url}/v2/landsat/"]
    assert "OME-NGFF has at most one axis of time" in card.locator(".note").text_content()
    elevation = page.locator("#elevation")
    elevation.get_by_role("button", name="neuroglancer").click()
    assert f"{url}/elevation/|zarr:" in elevation.locator("pre.on").text_content()
    href = elevation.get_by_role("link", name="vizarr").get_attribute("href")
    assert href.endswith("?source=" + url.replace(":", "%3A").replace("/", "%2F") + "%2Felevation%2F")
    for name in ("landsat", "gotcha"):  # axes that OME doesn't have; complex numbers
        assert page.locator(f"#{name}").get_by_role("link", name="vizarr").count() == 0
    card.get_by_role("link", name="Look at it").click()
    settled(page)


@pytest.mark.slow
def test_what_is_copied_from_the_page_runs():
    array = np.arange(5000 * 5000, dtype="u2").reshape(5000, 5000)
    stores = {
        "plain": LazyPyramidStore(array),
        "tree": LazyPyramidStore(array, layout="{level}/image", zarr_format=2),
    }
    with served(stores) as handle:
        cards = ask(handle.url, "/", host=handle.url.removeprefix("http://")).body.decode().split("<article ")[1:]
        for card in cards:
            texts = [html.unescape(text) for text in re.findall(r"<pre data-tab='\d'>(.*?)</pre>", card, re.DOTALL)]
            titles = re.findall(r'<button data-tab="\d">(\w+)', card)
            assert titles == ["zarr", "xarray", "napari", "neuroglancer", "vizarr", "GDAL"]
            for text in texts[:2]:
                *before, last = text.splitlines()
                names = {}
                exec("\n".join(before), names)
                np.testing.assert_array_equal(
                    np.asarray(eval(last, names)), array[::2, ::2], "not the finest: it is large"
                )
            levels = [line for line in texts[2].splitlines() if line.startswith(("group", "levels"))]
            exec("import zarr\n" + "\n".join(levels), names)
            assert [level.shape for level in names["levels"]] == [
                level.shape for level in stores["plain"].pyramid.levels
            ]


def test_orientation_and_coordinates(page, url):
    page.goto(f"{url}/view/ramp")
    _, span, rows, columns, colours = look(page)
    ramp = np.add.outer(np.arange(600) * 30, np.arange(900))
    factor = int(span)
    agree(colours, painted(ramp[::factor, ::factor][rows, columns], *window(page), "gray"))
    page.mouse.move(450, 350)
    page.wait_for_function("document.getElementById('value').textContent !== ''")
    texts = {name: page.locator(f"#{name}").text_content() for name in ("where", "value", "zoom")}
    x, y = map(float, re.findall(r"[xy] (-?[\d.]+)", texts["where"]))
    row, column = (500 - y) / 20, (x - 1000) / 10
    level, r, c = map(int, re.findall(r"\d+", texts["zoom"]))
    assert abs(r * 2**level - row) <= 2**level
    assert abs(c * 2**level - column) <= 2**level
    assert int(texts["value"]) == ramp[:: 2**level, :: 2**level][r, c]


def test_north_is_up_whichever_way_rows_and_columns_run(browser):
    ramp = np.add.outer(np.arange(600) * 30, np.arange(900)).astype("u2")
    # Row 0 is the south, column 0 the east: the picture begins with the last pixel of the array.
    store = LazyPyramidStore(ramp, bounds=(19995.0, 510.0, 10995.0, -11490.0))
    with served({"turned": store}) as handle:
        page = browser.new_page(viewport={"width": 900, "height": 700})
        page.goto(f"{handle.url}/view/turned")
        _, span, rows, columns, colours = look(page)
        assert span == 2
        agree(colours, painted(ramp[::2, ::2][299 - rows, 449 - columns], *window(page), "gray"))
        page.mouse.move(450, 350)
        page.wait_for_function("document.getElementById('value').textContent !== ''")
        texts = {name: page.locator(f"#{name}").text_content() for name in ("where", "value", "zoom")}
        x, y = map(float, re.findall(r"[xy] (-?[\d.]+)", texts["where"]))
        _, row, column = map(int, re.findall(r"\d+", texts["zoom"]))
        assert abs(row * 2 - (y + 11480) / 20) <= 2
        assert abs(column * 2 - (19990 - x) / 10) <= 2
        assert int(texts["value"]) == ramp[::2, ::2][row, column]
        page.close()


@pytest.mark.parametrize("screen", [1, 2], ids=["plain", "hidpi"])
def test_the_level_that_is_told_is_the_one_that_is_drawn(browser, screen):
    shade = 40  # of each level: its colour tells which one is on the screen

    def read(level, window):
        return np.full([stop - start for start, stop in window], shade * level, "u1")

    size = 4096
    source = lazypyr.from_function(read, shape=(size, size), dtype="u1", chunks=(256, 256), levels=5)
    told, drawn, wanted = [], [], []
    with served({"a": source}) as handle:
        page = browser.new_page(viewport={"width": 900, "height": 700}, device_scale_factor=screen)
        page.goto(f"{handle.url}/view/a")
        settled(page)
        page.evaluate("() => { Object.assign(lazypyr.state, { low: 0, high: 255 }); return lazypyr.redraw(); }")
        wide, high = page.evaluate("[lazypyr.view.frame.bbox.width, lazypyr.view.frame.bbox.height]")
        for pixel in (5.9, 4.3, 3.9, 2.9, 2.1, 1.9, 1.5, 1.3, 0.9, 0.6):  # of the screen, in pixels of level 0
            half = np.array([wide, high]) * pixel / 2
            page.evaluate(
                """([dx, dy]) => { const { plot, info } = lazypyr, middle = info.tile * 2 ** info.max_zoom / 2;
                plot.x_range.setv({ start: middle - dx, end: middle + dx });
                plot.y_range.setv({ start: middle - dy, end: middle + dy });
                document.getElementById("zoom").textContent = ""; }""",
                half.tolist(),
            )
            settled(page)
            page.mouse.move(450, 350 + len(told) % 2)
            page.wait_for_function("document.getElementById('zoom').textContent !== ''")
            told.append(int(re.search(r"level (\d+)", page.locator("#zoom").text_content())[1]))
            picture = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=PICTURE))).convert("RGB"))
            drawn.append(np.unique(np.round(picture[..., 0] / shade)).tolist())
            wanted.append(max(0, int(np.ceil(np.log2(pixel)))))
        page.close()
    assert drawn == [[level] for level in told]
    assert told == wanted


@pytest.mark.slow
def test_radar_before_and_after_a_zoom_and_a_change_of_product(page, url):
    slc = zarr.open_group(str(GOTCHA), mode="r")["slc"][...][::-1]  # y ascends: its last row is drawn first
    page.goto(f"{url}/view/gotcha")
    zoom, _, rows, columns, colours = look(page)
    assert zoom == 1
    with np.errstate(divide="ignore"):
        intensity = np.log(slc.real.astype("f8") ** 2 + slc.imag.astype("f8") ** 2)
    agree(colours, painted(intensity[rows, columns, 0], *window(page), "gray"))
    wheel(page, 0.3)
    _, _, rows, columns, colours = look(page)
    assert np.ptp(rows) < 300
    agree(colours, painted(intensity[rows, columns, 0], *window(page), "gray"))
    page.locator("select[name=product]").select_option("intf_0")
    page.locator("input[name=i]").fill("2")
    page.locator("input[name=i]").press("Enter")
    page.wait_for_function("lazypyr.state.at.i === 2 && lazypyr.state.low < -3")
    _, _, rows, columns, colours = look(page)
    phase = np.angle(slc[..., 0].astype("c16") * slc[..., 2].conj())[rows, columns]
    agree(colours, painted(phase, -np.pi, np.pi, "phase"))
    wheel(page, 6)
    zoom, span, rows, columns, colours = look(page)
    assert zoom == 0
    small = slc[1::2, ::2]  # every second row of the source, from its first one
    phase = np.angle(small[..., 0].astype("c16") * small[..., 2].conj())[rows, columns]
    agree(colours, painted(phase, -np.pi, np.pi, "phase"))


def test_microscopy_in_colour(page, url):
    page.goto(f"{url}/view/fly")
    pyramid = lazypyr.open_pyramid(str(FLY))
    _, span, rows, columns, colours = look(page)
    level = next(k for k, at in enumerate(pyramid.levels) if at.scale[-1] == span)
    low, high = window(page)
    image = pyramid.read(level)[0][:, rows, columns].T.astype(float)
    agree(colours, np.clip((image - low) / (high - low), 0, 1) * 255)


def test_landsat_north_is_up(page, url):
    landsat = lazypyr.open_pyramid(str(LANDSAT))
    assert landsat.coords["y"].step < 0
    page.goto(f"{url}/view/landsat")
    settled(page)
    page.locator("select[name=product]").select_option("raw")
    page.locator("input[name=band]").fill("1")
    page.locator("input[name=band]").press("Enter")
    page.wait_for_function("lazypyr.state.at.band === 1")
    _, span, rows, columns, colours = look(page)
    plain = landsat.read(0)[0, 1, :: int(span), :: int(span)]
    agree(colours, painted(plain[rows, columns].astype(float), *window(page), "gray"))


def test_contrast_and_colours(page, url):
    dsm = zarr.open_array(str(ELEVATION), mode="r")[...]
    page.goto(f"{url}/view/elevation")
    settled(page)
    low, high = window(page)
    coarse = dsm[::2, ::2]
    assert (low, high) == pytest.approx(np.percentile(coarse[np.isfinite(coarse)], (0.5, 99.5)), rel=1e-6)
    page.locator("select[name=colours]").select_option("inferno")
    page.locator("input[name=high]").fill(str(low + 5))
    page.locator("input[name=high]").press("Enter")
    page.wait_for_function("lazypyr.source.url.includes('inferno')")
    _, span, rows, columns, colours = look(page)
    agree(colours, painted(dsm[:: int(span), :: int(span)][rows, columns].astype(float), low, low + 5, "inferno"))
    bar = page.locator("#scalebar span")
    assert re.fullmatch(r"[125]0* ", bar.text_content())  # its coordinates have no units


def test_a_new_version_takes_the_place_of_the_old_one_as_a_whole(page, url):
    page.goto(f"{url}/view/ramp")
    settled(page)
    before, held = page.screenshot(clip=PICTURE), []
    page.route("**/tiles/**", lambda route: held.append(route))
    page.evaluate("() => { lazypyr.state.palette = 'inferno'; void lazypyr.redraw(true); }")
    for _ in range(1200):  # all but one of its tiles arrive
        page.wait_for_timeout(50)
        late = [route for route in held if re.search(r"/1/0/0\.png.*inferno", route.request.url)]
        if late and len(held) >= 5:
            break
    for route in held:
        if route is not late[0]:
            route.continue_()
    page.wait_for_timeout(500)
    assert page.screenshot(clip=PICTURE) == before
    late[0].continue_()
    page.unroute("**/tiles/**")
    _, span, rows, columns, colours = look(page)
    ramp = np.add.outer(np.arange(600) * 30, np.arange(900))[:: int(span), :: int(span)]
    agree(colours, painted(ramp[rows, columns], *window(page), "inferno"))


def test_a_tile_that_comes_as_bokeh_is_about_to_ask_for_it_is_drawn(page, url):
    page.goto(f"{url}/view/ramp")
    settled(page)
    held = []
    page.route("**/tiles/ramp/1/**", lambda route: held.append(route))
    page.evaluate("() => { lazypyr.state.palette = 'inferno'; void lazypyr.redraw(); }")
    # All that has come after some patience is the overview, which is drawn in the next frame; what was held comes then.
    page.wait_for_function("lazypyr.state.shown === lazypyr.state.asked", polling="raf")
    for route in held:
        route.continue_()
    page.unroute("**/tiles/ramp/1/**")
    _, span, rows, columns, colours = look(page)
    ramp = np.add.outer(np.arange(600) * 30, np.arange(900))[:: int(span), :: int(span)]
    agree(colours, painted(ramp[rows, columns], *window(page), "inferno"))


def test_a_tile_that_failed_is_asked_for_again(browser, url):
    page = browser.new_page(viewport={"width": 900, "height": 700})
    failed = []

    def fail(route):
        failed.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/tiles/**", fail, times=2)
    page.goto(f"{url}/view/elevation")
    settled(page)
    assert len(failed) == 2
    page.close()


@pytest.mark.slow
def test_mandelbrot_down_to_level_0(page, url):
    mandelbrot = example()
    page.set_viewport_size({"width": 500, "height": 450})
    page.goto(f"{url}/view/mandelbrot")
    settled(page)
    # At the tip of a branch the number of iterations hardly grows with depth, so tiles of 1024 x 1024 pixels are quick.
    step, tip = mandelbrot.WIDTH / mandelbrot.SIZE, 1j
    column = int((tip.real - mandelbrot.CORNER.real) / step)
    row = int((tip.imag - mandelbrot.CORNER.imag) / step)
    for depth in (10, 20, 30, 42):
        half = mandelbrot.SIZE / 2**depth / 2
        page.evaluate(
            """([column, row, half]) => { const { plot, info } = lazypyr, side = info.tile * 2 ** info.max_zoom;
            plot.x_range.setv({ start: column - half, end: column + half });
            plot.y_range.setv({ start: side - row - half, end: side - row + half }); }""",
            [column, row, half],
        )
        settled(page)
    zoom, span, rows, columns, colours = look(page, 100)
    assert (zoom, span) == (41, 1), "level 0"
    expected = [
        int(mandelbrot.read_tile(0, ((r, r + 1), (c, c + 1)))[0, 0]) for r, c in zip(rows, columns, strict=True)
    ]
    assert len(set(expected)) > 20
    agree(colours, painted(np.array(expected, float), *window(page), "gray"))


@pytest.mark.fault("H17")
@pytest.mark.parametrize(
    "path",
    [
        "/tiles/ramp/0/0/1.png", "/tiles/ramp/9/0/0.png", "/tiles/ramp/2/3/0.png", "/tiles/ramp/-1/0/0.png", "/tiles/ramp/0/0/0",
        "/tiles/ramp/0/0/0.png?palette=../../x", "/tiles/ramp/0/0/0.png?palette=Redz", "/tiles/ramp/0/0/0.png?product=open",
        "/tiles/ramp/0/0/0.png?low=nan&high=1", "/tiles/ramp/0/0/0.png?low=2&high=1", "/tiles/ramp/0/0/0.png?low=1",
        "/tiles/ramp/0/0/0.png?at=1", "/tiles/gotcha/0/0/0.png?at=4", "/tiles/gotcha/0/0/0.png?at=-1",
        "/tiles/fly/0/0/0.png?bands=0,1", "/tiles/fly/0/0/0.png?bands=0,1,9", "/tiles/ramp/0/0/0.png?v=older",
        "/tiles/nobody/0/0/0.png", "/tiles/ramp/group/0/0/0.png", "/thumbnail/nobody.png", "/view/nobody", "/view/",
        "/api/ramp/value", "/api/ramp/value?z=0&row=600&col=0", "/api/ramp/value?z=9&row=0&col=0", "/api/ramp/open", "/api/ramp",
        "/static/../app.py", "/static/view", "/static/bokeh.js", "/static/",
    ],
)  # fmt: skip
def test_what_a_viewer_can_not_ask_for(url, path):
    assert ask(url, path).status == 404


def test_tiles_and_facts(url):
    tile = ask(url, "/tiles/ramp/2/0/3.png?low=0&high=65535&palette=gray")
    assert (tile.status, tile.headers["content-type"]) == (200, "image/png")
    image = Image.open(io.BytesIO(tile.body))
    assert image.size == (256, 256)
    again = ask(
        url, "/tiles/ramp/2/0/3.png?low=0&high=65535&palette=gray", headers={"If-None-Match": tile.headers["etag"]}
    )
    assert again.status == 304
    edge = np.asarray(Image.open(io.BytesIO(ask(url, "/tiles/ramp/2/3/1.png").body)).convert("RGBA"))
    assert (edge[: 600 - 512, : 900 - 768, 3] == 255).all()
    assert (edge[600 - 512 :, :, 3] == 0).all()
    info = json.loads(ask(url, "/api/gotcha/info").body)
    assert [view["name"] for view in info["views"]] == ["intensity", "raw", "phase", "intf_0", "intf_seq", "intf_all"]
    value = json.loads(ask(url, "/api/ramp/value?z=2&row=10&col=20").body)
    assert value == {"level": 0, "row": 10, "col": 20, "text": "320"}


def test_nan_and_nodata_are_transparent():
    image = np.ones((40, 40), "f4")
    image[:20] = np.nan
    image[:, :20] = np.inf
    with served({"a": image, "flat": np.full((40, 40), 7, "i2"), "none": np.full((40, 40), np.nan)}) as handle:
        for name, seen in (("a", 400), ("flat", 1600), ("none", 0)):
            tile = ask(handle.url, f"/tiles/{name}/0/0/0.png")
            picture = np.asarray(Image.open(io.BytesIO(tile.body)).convert("RGBA"))
            assert (picture[..., 3] > 0).sum() == seen


@pytest.mark.fault("H4", "H8")
def test_head_and_304_of_pictures_compute_nothing():
    calls = []

    def read(level, window):
        calls.append(window)
        return np.zeros([b - a for a, b in window], "u1")

    pyramid = lazypyr.from_function(read, shape=(600, 600), dtype="u1", chunks=(256, 256))
    with served({"a": pyramid}) as handle:
        path = "/tiles/a/2/0/3.png"
        head = ask(handle.url, path, "HEAD")
        assert (head.status, head.headers["content-type"]) == (200, "image/png")
        assert ask(handle.url, path, headers={"If-None-Match": head.headers["etag"]}).status == 304
        assert ask(handle.url, "/thumbnail/a.png", "HEAD").status == 200
        assert ask(handle.url, "/tiles/a/2/3/0.png", "HEAD").status == 404
        assert not calls
        assert ask(handle.url, path).headers["etag"] == head.headers["etag"]
        assert calls
