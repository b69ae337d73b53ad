"""What the plots read, where they draw it, and how they behave in a hurry; the browser is in plot/test_browser.py."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import holoviews as hv
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazypyr
from lazypyr.engine.engine import Engine
from lazypyr.errors import MissingExtra, PlanError, SourceError
from lazypyr.plot import raster_plot
from lazypyr.plot.functions import as_product
from lazypyr.plot.raster import InteractiveRaster
from lazypyr.plot.render_worker import ViewRenderer
from lazypyr.plot.viewport import RenderCancelled, RenderedImage, Viewport, rounded_size

NAN = math.nan
# x0, dx, y0, dy: where pixel (0, 0) is, and how far the next one
PLACES = [(0.0, 1.0, 0.0, 1.0), (-500.5, 20.0, 300.0, -20.0), (10.0, -0.25, -7.0, 3.0), (-1e6, -30.0, 5e6, -30.0)]


def placed(data, place, method="stride", chunks=(16, 16), **options):
    x0, dx, y0, dy = place
    ny, nx = data.shape[:2]
    bounds = (x0 - dx / 2, y0 + dy * (ny - 0.5), x0 + dx * (nx - 0.5), y0 - dy / 2)
    axes = "yxij"[: data.ndim]
    return lazypyr.open_pyramid(data, axes=axes, method=method, chunks=chunks, bounds=bounds, **options)


def centres(frame):
    """World coordinates of the pixels of a frame: x of its columns, y of its rows."""
    left, bottom, right, top = frame.bounds
    ny, nx = frame.pixels.shape[:2]
    x = left + (np.arange(nx) + 0.5) * (right - left) / nx
    y = top - (np.arange(ny) + 0.5) * (top - bottom) / ny
    return x, y


def seen_at(data, place, method, frame):
    """What numpy says is at the centres of a frame's pixels."""
    x0, dx, y0, dy = place
    k = 2**frame.level
    shift = 0 if method == "stride" else (k - 1) / 2
    x, y = centres(frame)
    columns = np.rint(((x - x0) / dx - shift) / k).astype(int)
    rows = np.rint(((y - y0) / dy - shift) / k).astype(int)
    if method == "stride":
        return data[::k, ::k][np.ix_(rows, columns)]
    ny, nx = (-(-n // k) for n in data.shape)
    level = np.array([[data[r * k : r * k + k, c * k : c * k + k].max() for c in range(nx)] for r in range(ny)])
    return level[np.ix_(rows, columns)]


# Which pixels, and where


@given(
    st.sampled_from(PLACES),
    st.sampled_from(["stride", "max"]),
    st.tuples(st.integers(1, 90), st.integers(1, 70)),
    st.tuples(*[st.floats(-0.3, 1.3)] * 4),
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
)
def test_a_frame_shows_what_numpy_says_is_there(place, method, shape, part, size):
    data = np.random.default_rng(1).random(shape)
    viewport = Viewport(placed(data, place, method), Engine(workers=1))
    left, bottom, right, top = viewport.bounds
    x_range = (left + part[0] * (right - left), left + part[1] * (right - left))
    y_range = (bottom + part[2] * (top - bottom), bottom + part[3] * (top - bottom))
    frame = viewport.frame(viewport.view(x_range, y_range, *size))
    if frame is None:
        return
    assert frame.bounds[0] < frame.bounds[2] and frame.bounds[1] < frame.bounds[3]
    np.testing.assert_array_equal(frame.pixels, seen_at(data, place, method, frame))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["stride", "max", "first_valid"])
def test_a_target_of_one_pixel_is_drawn_at_its_coordinate_at_every_level(place, method):
    x0, dx, y0, dy = place
    for target in ((160, 96), (32, 224)):
        data = np.full((260, 300), np.nan)
        data[target] = 1.0
        viewport = Viewport(placed(data, place, method), Engine(workers=1))
        at = x0 + dx * target[1], y0 + dy * target[0]
        for level in range(len(viewport.pyramid.levels)):
            size = (300 // 2**level, 260 // 2**level)
            # sizes are rounded to 64 pixels, which a small plot would notice
            view = viewport.view(None, None, None, None)
            view = type(view)(level, viewport.level_grid(level).window_of(None, None, 0))
            frame = viewport.frame(view)
            bright = np.argwhere(frame.pixels == 1)
            assert len(bright) == 1, (level, method)
            x, y = centres(frame)
            off = abs(x[bright[0][1]] - at[0]) / abs(dx), abs(y[bright[0][0]] - at[1]) / abs(dy)
            # a screen pixel is never smaller than the level's, whose half is 2**level / 2
            assert max(off) <= 2**level / 2, (level, off, size)


@pytest.mark.parametrize("dx", [20.0, 0.5])
def test_points_and_their_rasters_lie_over_each_other_at_every_level(dx):
    rng = np.random.default_rng(3)
    x, y = -500 + rng.random(400) * 300 * dx, -40 + rng.random(400) * 200 * dx
    for number in (0, 17, 399):
        values = np.full(400, np.nan)
        values[number] = 1
        points = lazypyr.from_points([x[number]], [y[number]], [1.0], resolution=dx)
        viewport = Viewport(points, Engine(workers=1))
        frame = viewport.frame(viewport.view(None, None, 300, 300))
        assert frame.bounds[0] < x[number] < frame.bounds[2] and frame.bounds[1] < y[number] < frame.bounds[3]
    cloud = lazypyr.from_points(x, y, np.arange(400.0), resolution=dx, chunks=(16, 16))
    viewport = Viewport(cloud, Engine(workers=1))
    for level in range(len(cloud.levels)):
        frame = viewport.frame(
            type(viewport.view(None, None, 1, 1))(level, viewport.level_grid(level).window_of(None, None, 0))
        )
        xs, ys = centres(frame)
        rows, columns = np.nonzero(np.isfinite(frame.pixels))
        shown = frame.pixels[rows, columns].astype(int)
        reach = 2**level * dx / 2 * (1 + 1e-9)
        # the last half pixel of the extent belongs to the last column, as in moraine's rasters
        right, top = viewport.bounds[2:]
        assert np.all(np.abs(xs[columns] - np.minimum(x, right)[shown]) <= reach)
        assert np.all(np.abs(ys[rows] - np.minimum(y, top)[shown]) <= reach)


RANGES = [None, (NAN, NAN), (None, None), (5, 5), (80, 10), (1e9, 2e9), (-2e9, -1e9), (-math.inf, math.inf), (0, NAN)]


@pytest.mark.slow
@pytest.mark.parametrize("x_range", RANGES)
@pytest.mark.parametrize("size", [(None, None), (0, 0), (500, 400)])
def test_no_range_raises(x_range, size):
    data = np.random.default_rng(0).random((100, 120, 3)).astype("f4")
    plot = raster_plot(placed(data, PLACES[1]))
    points = lazypyr.from_points(np.arange(30.0), np.arange(30.0), np.arange(30.0), resolution=1)
    images, dots = lazypyr.plot.points_plot(points)
    for y_range in RANGES:
        for one in (plot, images, dots):
            one.event(x_range=x_range, y_range=y_range, width=size[0], height=size[1])
        assert isinstance(plot[1], hv.Image)
        assert isinstance(images[()], hv.Image)
        assert isinstance(dots[()], hv.Points)
        for image in (plot[1], images[()]):
            left, bottom, right, top = image.bounds.lbrt()
            assert not image.data.size or (left < right and bottom < top)


def test_a_view_wholly_outside_is_empty_and_stays_where_it_is():
    plot = raster_plot(placed(np.ones((50, 50)), PLACES[0]))
    plot.event(x_range=(1000, 1010), y_range=(-20, -10), width=300, height=300)
    image = plot[()]
    assert image.data.size == 0
    assert image.kdims[0].range == (-0.5, 49.5)  # the plot's axes don't move


def test_the_level_follows_the_formula():
    viewport = Viewport(placed(np.zeros((1024, 2048), "u1"), (0, 2.0, 0, -5.0), chunks=(64, 64)), Engine(workers=1))
    assert len(viewport.pyramid.levels) == 6
    for x_range, y_range, size, level in [
        (None, None, (256, 128), 3),
        (None, None, (2048, 1024), 0),
        ((0, 4096), (0, -5120), (512, 1024), 0),  # the finer of both axes decides
        ((0, 1024), (0, -2560), (128, 128), 2),
        ((0, 1), (0, 1), (640, 640), -1),
        (None, None, (1, 1), 4),  # 1 counts as 64
    ]:
        assert viewport.level_of(x_range, y_range, *size) == level, (x_range, size)
    coarse = Viewport(viewport.pyramid, viewport.engine, level_increase=2)
    assert coarse.level_of(None, None, 256, 128) == 5
    assert Viewport(viewport.pyramid, viewport.engine, level_increase=-9).level_of(None, None, 256, 128) == -1


def test_widths_that_differ_by_tick_labels_are_the_same():
    assert {rounded_size(w) for w in (529, 520, 514, 527)} == {512}
    assert rounded_size(None) is rounded_size(NAN) is rounded_size(0) is None
    assert rounded_size(3) == 64


def test_a_long_thin_raster_sends_no_more_than_a_screen_can_show():
    viewport = Viewport(placed(np.arange(40000.0).reshape(2, 20000), PLACES[0], chunks=(256, 256)), Engine(workers=1))
    frame = viewport.frame(viewport.view(None, None, 600, 400))
    assert frame.level == 0 and max(frame.pixels.shape) <= 4096
    x, _ = centres(frame)
    assert np.all(np.abs(frame.pixels[-1] - x) <= 2.5)  # row 0, drawn at the bottom, counts columns


def test_stored_levels_are_drawn_where_their_metadata_says(tmp_path):
    import zarr

    group = zarr.open_group(tmp_path / "ome.zarr", mode="w", zarr_format=2)
    data = np.arange(60 * 80, dtype="f4").reshape(60, 80)
    for name, step in (("0", 1), ("1", 4)):
        group.create_array(name, data=data[::step, ::step], chunks=(16, 16))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    datasets = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [0.5 * step] * 2}]}
        for name, step in (("0", 1), ("1", 4))
    ]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    viewport = Viewport(lazypyr.open_pyramid(tmp_path / "ome.zarr"), Engine(workers=1))
    assert viewport.level_of((0, 40), (0, 40), 64, 64) == 0  # a factor of 4 is more than 1.25
    level = viewport.frame(type(viewport.view(None, None, 1, 1))(1, ((0, 15), (0, 20))))
    x, y = centres(level)
    np.testing.assert_array_equal(level.pixels, data[np.ix_((y * 2).astype(int), (x * 2).astype(int))])


# Products, labels, looks


def stack(n=4, shape=(40, 50)):
    rng = np.random.default_rng(5)
    return (rng.standard_normal((*shape, n)) + 1j * rng.standard_normal((*shape, n))).astype("c8")


def shown(plot, *key):
    """An element's pixels with row 0 as in the source."""
    return plot[key].data[::-1]


def test_named_products_equal_their_formulas():
    z = stack()
    for name, key, expected in [
        ("phase", (2,), np.angle(z[..., 2])),
        ("amplitude", (1,), np.abs(z[..., 1])),
        ("intensity", (1,), np.log(np.abs(z[..., 1]) ** 2)),
        ("intf_0", (3,), np.angle(z[..., 0] * z[..., 3].conj())),
        ("intf_seq", (1,), np.angle(z[..., 1] * z[..., 2].conj())),
        ("intf_all", (1, 3), np.angle(z[..., 1] * z[..., 3].conj())),
    ]:
        plot = lazypyr.plot.ras_plot(z, name)
        assert [d.name for d in plot.kdims] == ["i", "j"][: len(key)]
        np.testing.assert_allclose(shown(plot, *key), expected, atol=2e-6)


def test_functions_with_either_signature_show_the_same():
    z = stack()

    def moraine(data, xslice, yslice, i, j):
        return np.angle(data[yslice, xslice, i] * np.conj(data[yslice, xslice, j]))

    def renamed(level, xs, ys, first, second):
        return moraine(level, xs, ys, first, second)

    def ours(z, i, j):
        return np.angle(z[i] * np.conj(z[j]))

    expected = shown(lazypyr.plot.ras_plot(z, "intf_all"), 1, 2)
    for func in (moraine, renamed, ours):
        for n_kdim in (None, 2):
            plot = lazypyr.plot.ras_plot(z, func, n_kdim=n_kdim)
            assert len(plot.kdims) == 2
            np.testing.assert_allclose(shown(plot, 1, 2), expected, atol=1e-6)


def test_what_comes_back_is_plain_holoviews():
    plot = raster_plot(stack(), "intf_0", axes="yxi")
    assert isinstance(plot, hv.DynamicMap)
    renamed = plot.redim(i=hv.Dimension("i", label="Date", range=(0, 3), value_format=str))
    assert isinstance(renamed, hv.DynamicMap)
    assert [(d.name, d.label, d.range, d.pprint_value(2)) for d in renamed.kdims] == [("i", "Date", (0, 3), "2")]
    assert isinstance(plot + plot, hv.Layout) and len(plot + plot) == 2
    over = hv.element.tiles.EsriImagery() * plot.opts(cmap="viridis", clim=(-1, 1))
    assert isinstance(over[2], hv.Overlay)
    tiles, image = over[2]
    z = stack()
    np.testing.assert_allclose(image.data[::-1], np.angle(z[..., 0] * z[..., 2].conj()), atol=1e-6)
    assert isinstance(tiles, hv.Tiles) and isinstance(image, hv.Image)
    figure = hv.render(plot)
    (mapper,) = {renderer.glyph.color_mapper for renderer in figure.renderers}
    assert (mapper.low, mapper.high, mapper.palette[0].lower()) == (-1, 1, "#440154")


def test_the_recipe_of_moraine_with_other_names_and_tools():
    plot = lazypyr.plot.ras_plot(stack(), "intf_0")
    plot = plot.redim(
        i=hv.Dimension("i", label="Reference Image", range=(0, 3)),
        x=hv.Dimension("r", label="Range"),
        y=hv.Dimension("az", label="Azimuth"),
        z=hv.Dimension("Phase", range=(-np.pi, np.pi)),
    )
    tools = ["pan", "save", "reset", "hover"]
    plot.opts(hv.opts.Image(cmap="colorwheel", width=600, height=400, default_tools=tools, active_tools=["pan"]))
    figure = hv.render(plot)
    assert (figure.width, figure.height) == (600, 400)
    assert (figure.xaxis[0].axis_label, figure.yaxis[0].axis_label) == ("Range", "Azimuth")
    (hover,) = [tool for tool in figure.tools if hasattr(tool, "tooltips")]
    assert [label for label, _ in hover.tooltips] == ["Range", "Azimuth", "Phase"]


def test_an_interferogram_begins_with_a_pair():
    z = stack()
    for name, first in (("intf_0", [1]), ("intf_all", [0, 1]), ("intf_seq", [0]), ("phase", [0])):
        assert [d.default for d in raster_plot(z, name, axes="yxi").kdims] == first
    assert [d.default for d in raster_plot(z[..., :1], "intf_0", axes="yxi").kdims] == [0]


def test_pictures_have_the_shape_of_their_data():
    for shape in ((300, 300), (200, 400)):
        figure = hv.render(raster_plot(placed(np.zeros(shape), (0, 30.0, 4e6, -30.0))))
        # what axes, title and colour bar take is known to about 20 pixels
        assert (figure.height - 75) / (figure.width - 37 - 7 * 7 - 137) == pytest.approx(shape[0] / shape[1], rel=0.02)


def test_phases_turn_and_amplitudes_are_gray_with_limits_that_stay():
    z = stack(shape=(64, 64))
    phase, amplitude = raster_plot(z, "phase", axes="yxi"), raster_plot(z, "amplitude", axes="yxi", chunks=(16, 16))
    assert phase[0].vdims[0].range == pytest.approx((-np.pi, np.pi))
    assert hv.Store.lookup_options("bokeh", phase[0], "style").kwargs["cmap"] == "colorwheel"
    assert hv.Store.lookup_options("bokeh", amplitude[0], "style").kwargs["cmap"] == "gray"
    limits = amplitude[0].vdims[0].range
    coarsest = np.abs(z[::4, ::4][..., [0, 2, 3]])
    assert limits == pytest.approx(np.percentile(coarsest, (1, 99)))
    amplitude.event(x_range=(3, 9), y_range=(3, 9), width=300, height=300)
    assert amplitude[1].vdims[0].range == limits
    assert raster_plot(z, "amplitude", axes="yxi", clim=(0, 9))[0].vdims[0].range == (0, 9)
    flat = raster_plot(np.full((20, 20), 7.0))[()].vdims[0].range
    assert flat[0] == 7 and flat[1] > 7
    assert raster_plot(np.full((20, 20), np.nan))[()].vdims[0].range == (None, None)


def test_colours_are_drawn_as_colours():
    data = np.random.default_rng(2).random((30, 40, 3))
    plot = raster_plot(data, lazypyr.product.composite((0, 1, 2)), axes="yxb")
    image = plot[()]
    assert isinstance(image, hv.RGB) and not plot.kdims
    plot.event(x_range=(900, 910), y_range=(0, 5), width=300, height=300)
    assert isinstance(plot[()], hv.RGB)


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "M8[s]"])
def test_every_real_dtype_is_drawn(dtype):
    data = np.arange(600).reshape(20, 30).astype(dtype)
    expected = data.astype("i8").astype("f8") if data.dtype.kind == "M" else data.astype("f8")
    np.testing.assert_array_equal(shown(lazypyr.plot.ras_plot(data)).astype("f8"), expected)


def test_nodata_is_not_drawn():
    data = np.arange(600, dtype="i2").reshape(20, 30)
    data[3:5] = -1
    got = shown(lazypyr.plot.ras_plot(data, nodata=-1))
    assert np.array_equal(np.isnan(got), data == -1)


def test_sliders_have_the_names_of_omes_channels(tmp_path):
    channels = [{"label": name, "color": "00FF00"} for name in ("DAPI", "GFP", "actin")]
    group = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((3, 2, 40, 50), "u2"), chunks=(1, 1, 40, 50))
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space"} for a in "zyx")]
    entry = {"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}
    group.attrs.update({"multiscales": [entry], "omero": {"channels": channels}})
    c, z = raster_plot(tmp_path / "cells.zarr").kdims
    assert [c.pprint_value(k) for k in range(3)] == ["DAPI", "GFP", "actin"]
    assert z.pprint_value(1) == "1"


def test_labels_are_dates():
    import datetime as dt

    z = stack()
    dates = [dt.date(2020, 1, d) for d in (1, 13, 25, 31)]
    assert raster_plot(z, "intf_0", axes="yxi", labels=dates).kdims[0].pprint_value(2) == "2020-01-25"
    both = raster_plot(z, "intf_all", axes="yxi", labels=dates).kdims
    assert [d.pprint_value(1) for d in both] == ["2020-01-13"] * 2
    pairs = raster_plot(z, "intf_seq", axes="yxi", labels=dates).kdims[0]
    assert pairs.pprint_value(0) == "2020-01-01 – 2020-01-13"
    assert (
        raster_plot(np.abs(z), axes="yxi", labels={"i": np.array(dates, "M8[ns]")}).kdims[0].pprint_value(3)
        == "2020-01-31"
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: raster_plot(stack(), axes="yxi"), "phase, amplitude, intensity"),
        (lambda: raster_plot(stack(), "intf0", axes="yxi"), "did you mean 'intf_0'"),
        (lambda: raster_plot(stack(), "phase", axes="yxi")[4], "i=4 is not one of 0 to 3"),
        (lambda: raster_plot(stack(), "phase", axes="yxi")[-1], "i=-1 is not one of 0 to 3"),
        (
            lambda: raster_plot(stack(), "phase", axes="yxi", labels=["a"]),
            "labels: 1 for key dimension 'i', which has 4",
        ),
        (lambda: raster_plot(stack(), "phase", axes="yxi", labels={"q": []}), "no key dimension 'q'; there are i"),
        (lambda: raster_plot(np.ones((5, 5)), level_increase=1.5), "level_increase"),
        (lambda: raster_plot(np.ones((5, 5)), "phase"), "complex"),
        (lambda: raster_plot(np.ones((5, 5)), 3, n_kdim=1), "a name or a function"),
        (lambda: raster_plot(np.ones((5, 5)), bounds=(0, 0, 1)), "bounds"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bad_input_is_one_clear_sentence(make, said):
    with pytest.raises(PlanError, match=said) as caught:
        make()
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_functions_keep_their_names():
    assert as_product("phase", None) == "phase"
    assert as_product(lambda data, xslice, yslice: data[yslice, xslice], None).name == "<lambda>"


@pytest.mark.fault("X2")
def test_without_holoviews_the_extra_is_named():
    code = "import sys; sys.modules['holoviews'] = None\nimport lazypyr\nlazypyr.plot.raster_plot"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert answer.stderr.splitlines()[-1].endswith("lazypyr.plot needs holoviews: pip install 'lazypyr[plot]'")
    assert issubclass(MissingExtra, ImportError)


# Fast hands


class Slow:
    """Values whose tiles take a while, and a log of what was computed."""

    def __init__(self, seconds, shape=(512, 512), tile=64):
        self.seconds, self.log, self.fail = seconds, [], False
        self.gate, self.held = threading.Event(), None  # closed, it holds all levels or that one
        self.gate.set()
        self.pyramid = lazypyr.from_function(self.read, shape=shape, dtype="f4", chunks=(tile, tile))

    def read(self, level, window):
        self.log.append((level, window))
        time.sleep(self.seconds)
        assert self.held not in (None, level) or self.gate.wait(60)
        if self.fail:
            raise OSError("the disk is gone")
        return np.full([b - a for a, b in window], level, "f4")


class Loop:
    """A browser session's loop: what threads hand to it waits until it turns."""

    def __init__(self):
        self.calls = []

    def __call__(self):
        return self.calls.append

    def turn(self, until, seconds=60):
        begin = time.monotonic()
        while not until():
            assert time.monotonic() - begin < seconds
            while self.calls:
                self.calls.pop(0)()
            time.sleep(0.005)


def session(slow, **options):
    loop = Loop()
    interactive = InteractiveRaster(slow.pyramid, Engine(workers=2), later=loop, clim=(0, 9), **options)
    return loop, interactive, interactive.plot()


@pytest.mark.fault("X1")
def test_of_a_storm_only_the_last_view_is_computed_to_the_end():
    slow = Slow(0.0)
    loop, interactive, plot = session(slow)
    plot[()]
    loop.turn(
        lambda: (
            interactive.renderer.render(interactive.viewport.view(None, None, None, None)) is not None
            and not interactive.renderer.busy
        )
    )
    slow.log.clear()
    threads = threading.active_count()
    slow.gate.clear()  # so that the storm is over before any of its pictures is there
    for n in range(100):
        half = 256 * 0.97**n
        plot.event(x_range=(256 - half, 256 + half), y_range=(256 - half, 256 + half), width=600, height=600)
        plot[()]
    assert threading.active_count() <= threads + 8, "painters that nobody waits for, and the engine's"
    slow.gate.set()
    last = interactive.viewport.view((256 - half, 256 + half), (256 - half, 256 + half), 600, 600)
    bounds = interactive.viewport.frame(last).bounds
    loop.turn(lambda: not interactive.renderer.busy and plot[()].bounds.lbrt() == pytest.approx(bounds))
    tiles = set(slow.log)
    # without dropping it would be all 64 of level 0; views overlap, so that tiles do
    assert len(slow.log) == len(tiles) <= 24


@pytest.mark.fault("X1")
def test_a_picture_that_nobody_wants_any_more_reads_no_further_chunk():
    read = []

    def block(level, window):
        read.append(window)
        return np.zeros([b - a for a, b in window], "u1")

    viewport = Viewport(
        lazypyr.from_function(block, shape=(1024, 1024), dtype="u1", chunks=(64, 64)), Engine(workers=2)
    )
    view = viewport.view(None, None, 1024, 1024)
    with pytest.raises(RenderCancelled):
        viewport.frame(view, lambda: len(read) >= 3)
    assert len(read) <= 3 + 2, "one more a thread"


@pytest.mark.fault("X1")
def test_what_nobody_waits_for_holds_nobody_up():
    slow = Slow(0.0, (4096, 4096), 512)
    loop, interactive, plot = session(slow)
    slow.held = 3
    slow.gate.clear()
    plot[()]  # the whole extent is one tile, which doesn't notice that nobody wants it any more
    loop.turn(lambda: slow.log)
    plot.event(x_range=(10, 110), y_range=(10, 110), width=600, height=600)
    loop.turn(lambda: plot[()].data.size and plot[()].data.max() == 0)
    assert interactive.renderer.busy and not slow.gate.is_set()
    slow.gate.set()
    loop.turn(lambda: not interactive.renderer.busy)
    assert plot[()].data.max() == 0
    plot.event(x_range=None, y_range=None, width=600, height=600)  # what was read for nobody is there
    count = len(slow.log)
    loop.turn(lambda: plot[()].data.max() == 2)
    assert len([level for level, _ in slow.log[count:] if level == 3]) == 0


def test_something_coarser_is_there_at_once_and_the_sharp_picture_replaces_it():
    slow = Slow(0.0, (2048, 2048), 256)
    loop, interactive, plot = session(slow)
    slow.gate.clear()
    assert plot[()].data.size == 0  # nothing is cached yet: empty axes
    assert plot[()].kdims[1].range == (-0.5, 2047.5)
    slow.gate.set()
    loop.turn(lambda: interactive.refresh.count > 0)
    coarse = plot[()]
    level = int(coarse.data[0, 0])
    slow.gate.clear()  # whoever waited for the sharp one now, would wait in vain
    plot.event(x_range=(10, 110), y_range=(10, 110), width=600, height=600)
    meanwhile = plot[()]
    assert np.all(meanwhile.data == level)
    left, bottom, right, top = meanwhile.bounds.lbrt()
    assert left <= 10 < 110 <= right < 120 and bottom <= 10 < 110 <= top
    before = interactive.refresh.count
    slow.gate.set()
    loop.turn(lambda: interactive.refresh.count > before)
    assert np.all(plot[()].data == 0)


def test_the_same_picture_is_the_same_element():
    slow = Slow(0.0)
    _, interactive, plot = session(slow, blocking_timeout_s=60)
    first = interactive.draw(x_range=(0, 100), y_range=(0, 100), width=529, height=400)
    count = len(slow.log)
    for width in (520, 514, 527):
        assert interactive.draw(x_range=(0, 100), y_range=(0, 100), width=width, height=400) is first
    assert interactive.draw(x_range=(0.1, 100.1), y_range=(0, 100), width=514, height=400) is first
    assert len(slow.log) == count
    assert interactive.draw(x_range=(0, 200), y_range=(0, 100), width=514, height=400) is not first


def test_what_fails_is_said_and_tried_again(caplog):
    slow = Slow(0.0, (2048, 2048), 256)
    loop, interactive, plot = session(slow)
    loop.turn(lambda: plot[()].data.size)
    slow.fail = True
    near = {"x_range": (100, 140), "y_range": (100, 140), "width": 600, "height": 600}
    plot.event(**near)
    loop.turn(lambda: plot[()] is not None and interactive.renderer.failure is not None)
    shown, count = plot[()], len(slow.log)
    assert shown.data.size  # what was there stays
    assert "the disk is gone" in str(interactive.renderer.failure)
    assert [r.getMessage() for r in caplog.records if r.name == "lazypyr.plot"] == [str(interactive.renderer.failure)]
    assert plot[()] is shown and len(slow.log) == count  # not tried all the time, but when one moves
    slow.fail = False
    for x_range in ((300, 340), near["x_range"]):
        plot.event(**{**near, "x_range": x_range})
        loop.turn(lambda wanted=x_range: plot[()].bounds.lbrt()[0] == pytest.approx(wanted[0] - 0.5))
        assert interactive.renderer.failure is None
    assert isinstance(SourceError("x"), OSError)


def test_what_fails_is_said_in_the_title():
    slow = Slow(0.0, (2048, 2048), 256)
    loop, interactive, plot = session(slow)
    drawn = hv.renderer("bokeh").get_plot(plot)
    title = drawn.state.title.text
    for fail, said in ((True, "the disk is gone"), (False, title)):
        slow.fail = fail
        plot.event(x_range=(100, 140 + fail), y_range=(100, 140), width=600, height=600)
        loop.turn(
            lambda fail=fail: (interactive.renderer.failure is not None) == fail and not interactive.renderer.busy
        )
        assert said in " ".join(drawn.state.title.text.split())
    with pytest.raises(lazypyr.LazypyrError, match="the disk is gone"):  # in a notebook it is an exception
        slow.fail = True
        raster_plot(slow.pyramid, engine=Engine())[()]


def test_without_a_session_pictures_are_computed_there_and_then():
    calls = []
    renderer = ViewRenderer(
        lambda request, stale: calls.append(request) or request, lambda request: None, lambda: None, later=lambda: None
    )
    assert [renderer.render(r) for r in (1, 1, 2, 1)] == [1, 1, 2, 1]
    assert calls == [1, 2, 1]


def test_a_picture_nobody_waits_for_is_given_up_half_way():
    slow = Slow(0.05)
    viewport = Viewport(slow.pyramid, Engine(workers=1))
    with pytest.raises(RenderCancelled):
        viewport.frame(type(viewport.view(None, None, 1, 1))(0, ((0, 512), (0, 512))), lambda: len(slow.log) >= 3)
    assert len(slow.log) <= 5


def test_the_stopgap_computes_nothing():
    slow = Slow(0.0)
    viewport = Viewport(slow.pyramid, Engine(workers=1))
    view = viewport.view((0, 100), (0, 100), 600, 600)
    assert viewport.coarser(view) is None
    viewport.frame(type(view)(2, ((0, 128), (0, 128))))
    count = len(slow.log)
    frame = viewport.coarser(view)
    assert isinstance(frame, RenderedImage) and frame.level == 2 and np.all(frame.pixels == 2)
    assert len(slow.log) == count
