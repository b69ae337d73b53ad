"""The plots in a real browser: events as a hand makes them, and what is on the screen compared with numpy."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time

import holoviews as hv
import numpy as np
import panel.io.server as panel_server
import PIL.Image as PIL
import pytest
import zarr
from playwright import sync_api as playwright

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.plot import app, raster, render_worker
from lazypyr.plot import points as clouds
from lazypyr.plot.export import colour_pixels
from lazypyr.plot.viewport import Viewport
from support.leftovers import LEFT_TO_THE_COLLECTOR

# tornado and playwright
pytestmark = [
    pytest.mark.timeout(200),
    *LEFT_TO_THE_COLLECTOR,
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

_FIGURES = """() => {
  const out = [], seen = new Set();
  const visit = (v) => {
    if (!v || seen.has(v)) return;
    seen.add(v);
    if (v.model && v.model.type === 'Figure') out.push(v);
    for (const c of v.child_views || []) visit(c);
  };
  for (const v of Bokeh.index.roots) visit(v);
  return out.map((v) => {
    const b = v.canvas_view.el.getBoundingClientRect(), f = v.frame, r = f.bbox;
    const range = (s) => [s.source_range.start, s.source_range.end];
    return {x: range(f.x_scale), y: range(f.y_scale), left: b.left + r.left, top: b.top + r.top,
            width: r.width, height: r.height, title: v.model.title.text,
            data: v.model.renderers.filter((q) => q.data_source).map((q) => q.data_source.get_length())};
  });
}"""


class Figure:
    """A plot on the screen: where its frame is, and what ranges it shows."""

    def __init__(self, facts):
        vars(self).update(facts)

    def at(self, x, y):
        """Screen pixel of a world coordinate; y runs from the bottom of the frame (or from the top, if inverted)."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * self.width, self.top + (1 - up) * self.height

    @property
    def centre(self):
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def screen_pixel(self):
        return abs(self.x[1] - self.x[0]) / self.width, abs(self.y[1] - self.y[0]) / self.height


class Log(list):
    """What was called, the last range of x that a callback was told, and those who paint."""

    x_range = None

    def __init__(self):
        self.renderers = set()


class Served:
    """A page of `lazypyr.plot.app` and its log: the callbacks, and the frames that were computed."""

    def __init__(self, page, url, log):
        self.page, self.url, self.log = page, url, log

    def open(self):
        self.page.goto(self.url)
        self.page.wait_for_function("() => window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
        self.until(lambda: self.calls("frame") or self.calls("dots"))
        self.settle()
        return self

    def until(self, condition, seconds=60):
        """What `condition()` returns, as soon as it is true; the page goes on meanwhile."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < end, f"it did not come about in {seconds} s"
            self.page.wait_for_timeout(30)
        return found

    def holds(self, check, seconds=60):
        """What `check()` returns, as soon as it raises no AssertionError: pictures come when they are ready."""
        end = time.monotonic() + seconds
        while True:
            try:
                return check()
            except AssertionError:
                if time.monotonic() > end:
                    raise
                self.page.wait_for_timeout(200)

    def settle(self, seconds=0.4):
        """Until nothing was called for a while, nothing is being computed and the browser has painted."""
        while True:
            count = len(self.log)
            self.page.wait_for_timeout(1000 * seconds)
            self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            if len(self.log) == count and not any(renderer.busy for renderer in self.log.renderers):
                return

    def moved(self):
        """Until Python was told the range that the browser shows, and all is quiet."""

        def told():
            shown = sorted(self.figures()[0].x)
            return self.log.x_range is not None and np.allclose(sorted(self.log.x_range), shown, rtol=1e-9)

        self.until(told)
        self.settle()

    def titled(self, index, beginning, seconds=60):
        """The figure of this number, when its title begins so: what a tap asks for comes when it has been read."""
        try:
            self.until(lambda: self.figures()[index].title.startswith(beginning), seconds)
        except AssertionError:
            title = self.figures()[index].title
            raise AssertionError(f"the title stayed {title!r}, expected {beginning!r}") from None
        self.settle()
        return self.figures()[index]

    def tap(self, index, beginning, *taps):
        """The figure of this number, when these taps gave it a title that begins so."""
        for _ in range(4):  # a browser that is still painting may lose one
            for tap in taps:
                tap()
                self.settle()
            with contextlib.suppress(AssertionError):
                return self.titled(index, beginning, 10)
        return self.titled(index, beginning)

    def slide(self, by):
        """Move the first slider by so many steps with the arrow key."""
        slider = self.page.get_by_role("slider").first
        now = lambda: float(slider.get_attribute("aria-valuenow"))
        for _ in range(by):
            before = now()
            slider.focus()
            self.page.keyboard.press("ArrowRight")
            self.until(lambda before=before: now() != before)
        self.settle()

    def figures(self):
        return [Figure(facts) for facts in self.page.evaluate(_FIGURES)]

    def shot(self):
        self.page.mouse.move(5, 700)  # no tooltip over what is looked at
        self.page.wait_for_timeout(150)
        return np.asarray(PIL.open(io.BytesIO(self.page.screenshot())).convert("RGB")).astype(int)

    def calls(self, what):
        return [entry for entry in self.log if entry[0] == what]


@pytest.fixture(scope="module")
def browser(chromium):
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def serve(browser, monkeypatch):
    log = Log()

    def logged(owner, name, what, entry):
        original = getattr(owner, name)

        def call(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            log.append((what, entry(args, kwargs, result)))
            log.x_range = kwargs.get("x_range", log.x_range)
            return result

        monkeypatch.setattr(owner, name, call)

    logged(raster.InteractiveRaster, "draw", "draw", lambda a, k, r: r)
    logged(clouds.InteractivePoints, "dots", "dots", lambda a, k, r: r)
    logged(Viewport, "frame", "frame", lambda a, k, r: (a[0], r))
    made = render_worker.ViewRenderer.__init__
    monkeypatch.setattr(
        render_worker.ViewRenderer, "__init__", lambda p, *a, **k: made(p, *a, **k) or log.renderers.add(p)
    )
    with contextlib.ExitStack() as stack:

        def start(src=None, *, page=None, tiles=None, **options):
            ready, box, made = threading.Event(), {}, page

            def run():
                asyncio.set_event_loop(asyncio.new_event_loop())
                if made is None:
                    server = app.server(src, engine=Engine(workers=2), **options)
                else:
                    server = panel_server.get_server({"/": made}, port=0, start=False, show=False, verbose=False)
                box["server"] = server
                server.start()
                server.io_loop.add_callback(ready.set)
                server.io_loop.start()

            thread = threading.Thread(target=run)
            thread.start()
            assert ready.wait(60)
            server = box["server"]

            def stop():
                def end():
                    server.stop()
                    server.io_loop.stop()

                server.io_loop.add_callback(end)
                thread.join(60)

            stack.callback(stop)
            page = browser.new_page(viewport={"width": 1050, "height": 980})
            page.set_default_timeout(60_000)
            stack.callback(page.close)
            if tiles is not None:  # instead of those of the network
                page.route("**/World_Imagery/**", lambda route: route.fulfill(body=tiles, content_type="image/png"))
            errors = []
            page.on("pageerror", lambda error: errors.append(error))
            stack.callback(lambda: pytest.fail(f"{errors}") if errors else None)
            return Served(page, f"http://localhost:{server.port}/", log).open()

        yield start


def colours_at(served, figure, xs, ys):
    """Colours of the screen at the grid of world coordinates: shape (len(ys), len(xs), 3)."""
    shot = served.shot()
    columns = [int(figure.at(x, ys[0])[0]) for x in xs]
    rows = [int(figure.at(xs[0], y)[1]) for y in ys]
    return shot[np.ix_(rows, columns)]


def inside(figure, grid):
    """Rows and columns of level 0 whose pixels lie wholly in a figure."""
    xs = grid.x0 + grid.dx * np.arange(grid.nx)
    ys = grid.y0 + grid.dy * np.arange(grid.ny)
    hx, hy = abs(grid.dx), abs(grid.dy)
    columns = np.flatnonzero((xs > min(figure.x) + hx) & (xs < max(figure.x) - hx))
    rows = np.flatnonzero((ys > min(figure.y) + hy) & (ys < max(figure.y) - hy))
    return rows, columns, ys[rows], xs[columns]


# Bokeh takes what comes within half a second for one movement.
PAUSE_S = 0.4


def wheel(served, figure, ticks, where=None, pause_ms=40):
    """Turn the wheel; how many movements Bokeh may have seen in it, one unless the machine stalls."""
    served.page.mouse.move(*(where or figure.centre))
    movements, last = 1, time.monotonic()
    for _ in range(abs(ticks)):
        before = served.figures()[0].x
        served.page.mouse.wheel(0, -100 if ticks > 0 else 100)
        served.page.wait_for_timeout(pause_ms)
        served.until(lambda before=before: served.figures()[0].x != before)
        movements += time.monotonic() - last > PAUSE_S
        last = time.monotonic()
    served.moved()
    return movements


def limits_of(served):
    return served.calls("draw")[-1][1].vdims[0].range


def expect_pixels(served, grid, data, cmap):
    """The screen shows just these pixels of level 0 (a pixel is several on the screen)."""
    served.holds(lambda: _expect_pixels(served, grid, data, cmap))


def _expect_pixels(served, grid, data, cmap):
    figure = served.figures()[0]
    rows, columns, ys, xs = inside(figure, grid)
    assert len(rows) > 5 and len(columns) > 5
    expected = colour_pixels(data[np.ix_(rows, columns)], limits_of(served), cmap).astype(int)
    got = colours_at(served, figure, xs, ys)
    # one step of the palette: the browser rounds values in float32
    assert np.mean(np.abs(got - expected).max(axis=2) <= 12) > 0.995


def test_radar_stack_first_view_wheel_pan_slider_taps(serve, demo_data):
    slc = zarr.open_array(str(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc"), mode="r")[:]
    pyramid = lazypyr.open_pyramid(slc, axes="yxi", chunks=(128, 128))  # without its coordinates: rows and columns
    served = serve(pyramid, product="intf_0")
    picture, series = served.figures()
    assert picture.x == [-0.5, 511.5] and picture.y == [511.5, -0.5]  # radar geometry: row 0 at the top
    assert len(served.calls("frame")) <= 2 and len(served.calls("draw")) <= 8  # of the page's three or four callbacks
    assert series.title == "tap to pick"

    served.log.clear()
    movements = wheel(served, picture, 15)
    assert len(served.calls("draw")) <= 6 * movements, "a burst is one view, and the sizes that tick labels change"
    assert len(served.calls("frame")) <= 2 * movements
    zoomed = served.figures()[0]
    assert abs(zoomed.x[1] - zoomed.x[0]) < 60
    first, phase = (np.angle(slc[..., 0] * slc[..., i].conj()) for i in (1, 2))
    expect_pixels(served, pyramid.grid, first, "colorwheel")

    served.slide(1)
    expect_pixels(served, pyramid.grid, phase, "colorwheel")

    served.log.clear()
    x, y = zoomed.centre
    begin = time.monotonic()
    served.page.mouse.move(x, y)
    served.page.mouse.down()
    for step in range(10):
        served.page.mouse.move(x + 9 * step, y + 5 * step)
    served.page.mouse.up()
    movements = 1 + int((time.monotonic() - begin) / PAUSE_S)
    served.until(lambda: served.figures()[0].x[0] < zoomed.x[0])
    served.moved()
    assert len(served.calls("frame")) <= 2 * movements
    panned = served.figures()[0]
    expect_pixels(served, pyramid.grid, phase, "colorwheel")

    mouse, (x, y) = served.page.mouse, panned.centre
    picked = f"row {round(sum(panned.y) / 2)}, column {round(sum(panned.x) / 2)}"
    series = served.tap(1, picked, lambda: mouse.click(x, y))
    assert series.title == picked and series.data == [4]
    # the click of the mouse is 100 pixels off; both taps of a double one count as one reference
    offs = iter((100, 110, 120, 130, 140))  # elsewhere when it is tried again: the same place twice is nothing new
    again = lambda: mouse.dblclick(x + next(offs), y + 60)
    served.tap(1, f"{picked}, relative to row ", lambda: mouse.click(x, y), again)


def test_displacement_with_dates_and_contrast(serve, data_dir):
    group = zarr.open_group(str(data_dir / "sar_s1_displacement_texas" / "displacement.zarr"), mode="r")
    data, dates = group["displacement"][:], [str(d) for d in group["date"][:]]
    bounds = (717600.0, 3481740.0 - 362 * 30, 717600.0 + 357 * 30, 3481740.0)
    pyramid = lazypyr.open_pyramid(group["displacement"], axes="yxi", bounds=bounds, chunks=(64, 64))
    served = serve(pyramid, dates=dates)
    picture = served.figures()[0]
    assert picture.y[0] < picture.y[1]  # north is up
    assert served.page.get_by_text(f"{dates[0][:4]}-{dates[0][4:6]}-{dates[0][6:8]}").count() == 1
    limits = limits_of(served)
    served.slide(7)
    wheel(served, picture, 12, picture.at(bounds[0] + 5000, bounds[3] - 5000))
    assert limits_of(served) == limits
    expect_pixels(served, pyramid.grid, data[..., 7], "viridis")
    series = served.tap(1, "row ", lambda: served.page.mouse.click(*served.figures()[0].centre))
    assert series.data == [8]


@pytest.mark.parametrize(
    ("place", "method"),
    [
        ((-500.5, 20.0, 300.0, -20.0), "max"),
        ((-40.0, 0.5, -900.0, 2.5), "stride"),
        ((1e6, -3.0, -2e6, 3.0), "first_valid"),
    ],
    ids=["north up", "anisotropic", "westward"],
)
def test_a_target_lands_on_its_coordinate(serve, place, method):
    x0, dx, y0, dy = place
    data = np.full((1024, 1024), np.nan, "f4")
    row, column = 352, 608
    data[row, column] = 1
    bounds = (x0 - dx / 2, y0 + dy * 1023.5, x0 + dx * 1023.5, y0 - dy / 2)
    pyramid = lazypyr.open_pyramid(data, axes="yx", method=method, bounds=bounds, chunks=(64, 64))
    # Coarser, so that a pixel is more than one of the screen in x and in y: the browser leaves out what is less.
    served = serve(pyramid, clim=(0.0, 1.0), invert_yaxis=False, cmap=["red", "red"], level_increase=2)
    at = x0 + dx * column, y0 + dy * row
    levels = set()

    def look():
        figure, level = served.figures()[0], served.calls("frame")[-1][1][1].level
        shot = served.shot()
        red = (shot[..., 0] > 150) & (shot[..., 1] < 110) & (shot[..., 2] < 110)
        left, top = round(figure.left), round(figure.top)
        red[:, : left - 1], red[: top - 1] = False, False
        red[:, left + round(figure.width) :] = False
        rows, columns = np.nonzero(red)
        assert rows.size, "the target is on the screen"
        x, y = figure.at(*at)
        # The coordinate lies in what is red, and so near to its middle, up to the rounding of a screen pixel. Bokeh draws
        # images up to one of them too low where the height of the frame is odd, also its own.
        assert columns.min() - 0.5 <= x <= columns.max() + 1.5 and rows.min() - 1.5 <= y <= rows.max() + 1.5
        size = columns.max() - columns.min() + 1, rows.max() - rows.min() + 1
        off = abs(columns.min() + size[0] / 2 - x), abs(rows.min() + size[1] / 2 - y)
        assert off[0] <= size[0] / 2 + 0.5 and off[1] <= size[1] / 2 + 1.5
        if levels | {level} == {0} or method == "stride":
            assert off[0] <= 1.0 and off[1] <= 2.0, off
        levels.add(level)

    for ticks in (0, 5, 6):
        if ticks:
            figure = served.figures()[0]
            wheel(served, figure, ticks, figure.at(*at))
        served.holds(look)
    assert len(levels) > 1


def test_points_far_and_near(serve, data_dir):
    ps = zarr.open_group(str(data_dir / "ps_amsterdam" / "points.zarr"), mode="r")
    x, y, values = ps["pixel"][:].astype("f8"), ps["line"][:].astype("f8"), ps["deformation"][:]
    served = serve(lazypyr.from_points(x, y, values, resolution=1.0), dates=[str(d) for d in ps["date"][:]])
    picture = served.figures()[0]
    number = int(np.argmin(np.hypot(x - np.median(x), y - np.median(y))))
    wheel(served, picture, 14, picture.at(x[number], y[number]))

    def those_in_view():
        figure = served.figures()[0]
        near = served.calls("dots")[-1][1].dframe()
        seen = np.flatnonzero((x >= min(figure.x)) & (x <= max(figure.x)) & (y >= min(figure.y)) & (y <= max(figure.y)))
        assert number in seen and set(near["idx"]) == set(seen)
        return seen

    seen = served.holds(those_in_view)
    click = lambda: served.page.mouse.click(*served.figures()[0].at(x[number], y[number]))
    series = served.tap(1, f"point {number} at", click)
    assert series.data == [11]

    def drawn():
        figure, shot = served.figures()[0], served.shot()
        for one in seen[:20]:
            column, row = figure.at(x[one], y[one])
            if (
                figure.left + 5 < column < figure.left + figure.width - 5
                and figure.top + 5 < row < figure.top + figure.height - 5
            ):
                patch = shot[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2]
                assert patch.min() < 240, "a dot is drawn over its coordinate"

    served.holds(drawn)


def test_something_coarser_at_once_then_the_sharp_one(serve):
    def read(level, window):
        time.sleep(0.15)
        return np.full([b - a for a, b in window], level, "f4")

    slow = lazypyr.from_function(read, shape=(4096, 4096), dtype="f4", chunks=(512, 512))
    served = serve(slow, clim=(0.0, 8.0))
    picture = served.figures()[0]
    served.log.clear()
    movements = wheel(served, picture, 15)
    shown = lambda: [float(np.nanmax(element.data)) for _, element in served.calls("draw")]
    served.until(lambda: shown()[-1] == 0)
    assert shown()[0] > 0, shown()
    served.settle()
    assert len(served.calls("frame")) <= 2 * movements


def test_lidar_from_afar_from_near_and_in_a_tab_of_its_own(serve, demo_data):
    group = zarr.open_group(str(demo_data / "lidar_autzen" / "stadium.zarr"), mode="r")
    x, y, z = (group[name][:] * 0.01 for name in "xyz")
    values = np.stack([z, -z], axis=-1).astype("f4")
    points = lazypyr.from_points(x, y, values, resolution=1.5)
    served = serve({"stadium": points, "heights": points.map("rescale", vmin=0.0, vmax=100.0)})
    picture = served.figures()[0]
    image = served.calls("frame")[0][1][1]
    assert np.isfinite(image.pixels).mean() > 0.5
    left, top = int(picture.left), int(picture.top)

    def terrain():
        shot = served.shot()
        inner = shot[top + 20 : top + int(picture.height) - 20, left + 20 : left + int(picture.width) - 20]
        assert len(np.unique(inner.reshape(-1, 3), axis=0)) > 100  # in colours

    served.holds(terrain)
    number = int(np.argmin(np.hypot(x - np.median(x), y - np.median(y))))
    wheel(served, picture, 16, picture.at(x[number], y[number]))

    def those_in_view():
        figure = served.figures()[0]
        near = served.calls("dots")[-1][1].dframe()
        seen = np.flatnonzero((x >= min(figure.x)) & (x <= max(figure.x)) & (y >= min(figure.y)) & (y <= max(figure.y)))
        assert number in seen and set(near["idx"]) == set(seen)
        np.testing.assert_allclose(near["z"], values[near["idx"], 0])

    served.holds(those_in_view)
    series = served.tap(1, "point ", lambda: served.page.mouse.click(*served.figures()[0].at(x[number], y[number])))
    picked, pixel = int(series.title.split()[1]), max(served.figures()[0].screen_pixel)
    assert np.hypot(x[picked] - x[number], y[picked] - y[number]) <= 2 * pixel and series.data == [2]
    served.page.get_by_text("heights").first.click()
    served.holds(lambda: served.titled(0, "rescale", 5))


def test_hovering_says_place_value_and_point(serve):
    points = lazypyr.from_points(
        [717600.25, 717700.0, 717650.0], [3481725.5, 3481800.0, 3481760.0], [7.5, 8.5, 9.5], resolution=0.5
    )
    served = serve(points)
    figure = served.figures()[0]

    def tooltip():
        served.page.mouse.move(*figure.centre)  # a browser that is still painting may lose a movement
        served.page.mouse.move(*figure.at(717650.0, 3481760.0))
        served.page.wait_for_timeout(400)
        for word in ("717650", "3481760", "9.500", "idx:", "2"):
            assert served.page.get_by_text(word, exact=True).count() == 1, word

    served.holds(tooltip)


def test_what_fails_is_said_on_the_page_and_the_rest_goes_on(serve):
    broken = threading.Event()

    def read(level, window):
        if broken.is_set():
            raise OSError("the disk is gone")
        return np.full([b - a for a, b in window], level, "f4")

    served = serve(lazypyr.from_function(read, shape=(4096, 4096), dtype="f4", chunks=(256, 256)), clim=(0.0, 8.0))
    title = served.figures()[0].title
    broken.set()
    wheel(served, served.figures()[0], 15)
    served.until(lambda: "the disk is gone" in " ".join(served.figures()[0].title.split()))
    broken.clear()
    wheel(served, served.figures()[0], -2)
    assert served.titled(0, title).title == title
    served.until(lambda: np.nanmax(served.calls("draw")[-1][1].data) == 0)


def test_on_a_map_in_web_mercator(serve):
    data = np.full((200, 300), np.nan, "f4")
    data[60, 90] = 1
    x0, y0, step = -11480000.0, 3700000.0, 40.0
    target = x0 + 90 * step, y0 + 60 * step
    bounds = (x0 - step / 2, y0 + 199.5 * step, x0 + 299.5 * step, y0 - step / 2)
    options = {"axes": "yx", "bounds": bounds, "clim": (0, 1), "cmap": ["red", "red"], "invert_yaxis": False}
    image = io.BytesIO()
    PIL.new("RGB", (256, 256), (20, 60, 220)).save(image, "PNG")

    def over():
        return hv.element.tiles.EsriImagery() * raster.raster_plot(data, engine=Engine(workers=2), **options)

    served = serve(page=over, tiles=image.getvalue())

    def look():
        figure, shot = served.figures()[0], served.shot()
        column, row = (int(v) for v in figure.at(*target))
        around = shot[row - 1 : row + 3, column - 1 : column + 2].reshape(-1, 3)
        assert np.any((around[:, 0] > 150) & (around[:, 1:].max(axis=1) < 110)), "the pixel lies on its place"
        column, row = (int(v) for v in figure.at(target[0] + 5 * step, target[1] + 5 * step))
        assert np.abs(shot[row, column] - (20, 60, 220)).max() <= 8, "the map is seen where there is nothing"

    for ticks in (0, 6):
        if ticks:
            figure = served.figures()[0]
            wheel(served, figure, ticks, figure.at(*target))
        served.holds(look)
