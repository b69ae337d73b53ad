"""Plots of points and of time series, moraine's names for them, and still pictures."""

from __future__ import annotations

import datetime as dt
import json
import re

import holoviews as hv
import numpy as np
import PIL.Image as PIL
import pytest
import zarr

import lazypyr
from lazypyr.errors import PlanError
from lazypyr.plot import pc_plot, points_plot, ras_plot, raster_plot, save_picture, timeseries_plot, ts_plot
from lazypyr.plot.export import colour_pixels, nice_ticks
from lazypyr.plot.timeseries import as_times

N = 2000


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(11)
    x, y = -300 + rng.random(N) * 500, 40 + rng.random(N) * 300
    v = (rng.standard_normal((N, 5)) + 1j * rng.standard_normal((N, 5))).astype("c8")
    return x, y, v, lazypyr.from_points(x, y, v, resolution=2.0, chunks=(32, 32))


def events(plots, **values):
    for plot in plots:
        plot.event(**values)
    return [plot[(1,) * len(plot.kdims)] for plot in plots]


def test_far_a_raster_near_the_points(cloud):
    x, y, v, points = cloud
    plots = points_plot(points, "intf_0")
    image, dots = events(plots, x_range=(-300, 200), y_range=(40, 340), width=192, height=128)
    assert image.data.shape[:2] == (75 * 2, 250) and len(dots) == 0  # level 0: 2.6 and 2.3 units a screen pixel
    number = image.data[..., 1]
    there = np.isfinite(image.data[..., 0])
    assert np.array_equal(there, number >= 0)
    won = number[there].astype(int)
    np.testing.assert_allclose(image.data[there][:, 0], np.angle(v[won, 0] * v[won, 1].conj()), atol=1e-6)
    image, dots = events(plots, x_range=(-200, -100), y_range=(100, 160), width=600, height=400)
    assert image.data.size == 0
    inside = np.flatnonzero((x >= -200) & (x <= -100) & (y >= 100) & (y <= 160))
    frame = dots.dframe()
    np.testing.assert_array_equal(frame["idx"], inside)
    np.testing.assert_array_equal(frame["x"], x[inside])
    np.testing.assert_allclose(frame["z"], np.angle(v[inside, 0] * v[inside, 1].conj()), atol=1e-6)


def test_the_full_extent_has_all_points(cloud):
    x, y, v, points = cloud
    _, dots = events(
        points_plot(points, "amplitude", level_increase=-9), x_range=None, y_range=None, width=600, height=600
    )
    assert len(dots) == N
    corners = {"x_range": (x.min(), x.max()), "y_range": (y.min(), y.max())}
    _, dots = events(points_plot(points, "amplitude", level_increase=-9), width=600, height=600, **corners)
    assert len(dots) == N


def test_more_points_than_a_browser_can_draw_stay_a_raster(cloud, monkeypatch):
    from lazypyr.plot import points as clouds

    monkeypatch.setattr(clouds, "_MAX_POINTS", 10)
    image, dots = events(
        points_plot(cloud[3], "phase"), x_range=(-200, -100), y_range=(100, 160), width=600, height=400
    )
    assert len(dots) == 0 and image.data.shape[:2] == (31, 51)


def test_functions_of_point_numbers(cloud):
    x, y, v, points = cloud

    def moraine(data, idx_array, i, j):
        return np.angle(data[idx_array, i] * np.conj(data[idx_array, j]))

    def renamed(values, which, first, second):
        return moraine(values, which, first, second)

    near = {"x_range": (-200, -100), "y_range": (100, 160), "width": 600, "height": 400}
    far = {"x_range": None, "y_range": None, "width": 128, "height": 128}
    for view in (near, far):
        expected = events(points_plot(points, "intf_all"), **view)
        for func, n_kdim in ((moraine, None), (moraine, 2), (renamed, 2)):
            got = events(points_plot(points, func, n_kdim=n_kdim), **view)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_allclose(a.dframe()["z"], b.dframe()["z"], atol=1e-6)


def test_counts_are_points_without_values(cloud):
    x, y, _, _ = cloud
    image, dots = events(
        points_plot(lazypyr.from_points(x, y, resolution=50)), width=64, height=64, x_range=None, y_range=None
    )
    assert isinstance(image, hv.Image) and isinstance(dots, hv.Points)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: points_plot(c[3]), "phase, amplitude, intensity"),
        (lambda c: points_plot(np.ones((5, 5))), "expected points"),
        (lambda c: points_plot(c[3], "intf9"), "no product"),
        (lambda c: points_plot(c[3], lambda data, idx: data[idx, 0]), "complex"),
        (lambda c: pc_plot(c[2], x=c[0]), "give both, or none for points"),
        (lambda c: pc_plot(c[2], c[1], c[0], post_proc_pc="phase", post_proc_ras="intf_0"), "different things"),
        (lambda c: timeseries_plot(c[3], range(4), hv.Image(np.ones((2, 2)))), "4 times for values with 5"),
        (lambda c: timeseries_plot(c[3], ["x"] * 5, hv.Image(np.ones((2, 2)))), "expected dates"),
        (lambda c: timeseries_plot(c[3], [[1, 2]], hv.Image(np.ones((2, 2)))), "a row of times"),
        (lambda c: timeseries_plot(c[3], range(5), hv.Image(np.ones((2, 2))), max_distance=-1), "max_distance"),
        (lambda c: timeseries_plot(c[2], range(5), hv.Image(np.ones((2, 2))), x=c[0]), "give both"),
        (lambda c: timeseries_plot(np.ones((5, 5)), range(5), hv.Image(np.ones((2, 2)))), "one axis besides y and x"),
    ],
)
def test_bad_input_is_one_clear_sentence(cloud, make, said):
    with pytest.raises(PlanError, match=said):
        make(cloud)


# Time series


def tapped(plot, **taps):
    plot.event(**taps)
    return plot[()]


def test_a_tap_picks_and_a_double_tap_refers(cloud):
    x, y, v, points = cloud
    image = hv.Image(np.ones((4, 4)))
    times = ["20160708", "2016-07-20", "20160801", "20160813", "20160825"]
    plot = timeseries_plot(points, times, image, reference=True)
    assert len(plot[()]) == 0
    got = tapped(plot, x=-50.0, y=200.0)
    number = np.argmin((x + 50) ** 2 + (y - 200) ** 2)
    np.testing.assert_allclose(got["v"], np.angle(v[number]), atol=1e-6)
    assert got["t"].dtype.kind == "M" and str(got["t"][1])[:10] == "2016-07-20"
    # the browser reports a single tap first
    tapped(plot, x=100.0, y=300.0)
    got = tapped(plot, x0=100.0, y0=300.0)
    reference = np.argmin((x - 100) ** 2 + (y - 300) ** 2)
    np.testing.assert_allclose(got["v"], np.angle(v[number] * v[reference].conj()), atol=1e-6)
    assert f"point {number}" in hv.Store.lookup_options("bokeh", got, "plot").kwargs["title"]
    got = tapped(plot, x=float("nan"), y=1.0)
    np.testing.assert_allclose(got["v"], np.angle(v[number] * v[reference].conj()), atol=1e-6)


def test_a_tap_too_far_from_everything_shows_nothing(cloud):
    x, y, v, points = cloud
    plot = timeseries_plot(points, range(5), hv.Image(np.ones((4, 4))), max_distance=5.0)
    assert len(tapped(plot, x=float(x[7]) + 1e-3, y=float(y[7]))) == 5
    assert len(tapped(plot, x=9e5, y=0.0)) == 0


def test_rasters_have_series_too():
    data = np.random.default_rng(0).random((20, 30, 6)).astype("f4")
    pyramid = lazypyr.open_pyramid(data, axes="yxi", bounds=(98.5, 502 - 20 * 4, 98.5 + 30 * 3, 502))
    plot = timeseries_plot(pyramid, range(6), raster_plot(pyramid), reference=True)
    got = tapped(plot, x=100 + 3 * 12 + 1.4, y=500 - 4 * 7 - 1.9)
    np.testing.assert_array_equal(got["v"], data[7, 12])
    got = tapped(plot, x0=100.0, y0=500.0)
    np.testing.assert_allclose(got["v"], data[7, 12].astype("f8") - data[0, 0])
    assert len(tapped(plot, x=98.0, y=400.0)) == 0  # left of the first column


def test_arrays_with_coordinates_or_a_tree(cloud):
    from scipy.spatial import KDTree

    x, y, v, _ = cloud
    image = hv.Image(np.ones((4, 4)))
    number = np.argmin((x + 50) ** 2 + (y - 200) ** 2)
    for make, places in (
        (ts_plot, {"x": x, "y": y}),
        (ts_plot, {"kdtree": KDTree(np.stack([y, x], axis=-1))}),  # moraine's order
        (timeseries_plot, {"kdtree": KDTree(np.stack([x, y], axis=-1))}),
    ):
        got = tapped(make(v, np.arange(5), image, **places), x=-50.0, y=200.0)
        np.testing.assert_allclose(got["v"], np.angle(v[number]), atol=1e-6)
        title = hv.Store.lookup_options("bokeh", got, "plot").kwargs["title"]
        assert f"point {number} at {x[number]:.10g}, {y[number]:.10g}" in title

    def post_proc(values, idx, idx0):
        return np.angle(values[idx] * values[idx0].conj()) * 2

    got = tapped(ts_plot(v, np.arange(5), image, y=y, x=x, reference=True, post_proc_ts=post_proc), x=-50.0, y=200.0)
    np.testing.assert_allclose(got["v"], np.angle(v[number] * v[number].conj()) * 2, atol=1e-5)


def test_times_in_every_form():
    day = np.datetime64("2016-07-08")
    forms = (
        ["20160708"],
        [20160708],
        ["2016-07-08"],
        [dt.date(2016, 7, 8)],
        [dt.datetime(2016, 7, 8)],
        np.array([day]),
    )
    for given in forms:
        assert as_times(given)[0] == day
    assert as_times([0, 12]).dtype.kind == "i" and as_times([0.5]).dtype.kind == "f"


# moraine's names and folders


def test_the_folders_that_moraine_made(tmp_path, cloud):
    x, y, v, points = cloud
    z = np.random.default_rng(1).random((40, 30, 3)).astype("f4")
    zarr.create_array(str(tmp_path / "ras" / "0.zarr"), data=z, chunks=(16, 16, 1))
    zarr.create_array(str(tmp_path / "ras" / "1.zarr"), data=z[::2, ::2], chunks=(16, 16, 1))
    np.testing.assert_array_equal(ras_plot(str(tmp_path / "ras"))[2].data[::-1], z[..., 2])
    for name, data in {"pc": v, "x": x, "y": y}.items():
        zarr.create_array(str(tmp_path / "pts" / f"{name}.zarr"), data=data, chunks=(500, *(1,) * (data.ndim - 1)))
    shape = points.shape[:2]
    zarr.create_array(str(tmp_path / "pts" / "idx_0.zarr"), data=np.zeros(shape, "i8"))
    x0, y0 = x.min(), y.min()
    bounds = [x0, y0, x0 + 2 * (shape[1] - 1), y0 + 2 * (shape[0] - 1)]
    (tmp_path / "pts" / "bounds.toml").write_text(f"bounds = {json.dumps(bounds)}\n", encoding="utf-8")
    got = events(pc_plot(tmp_path / "pts", post_proc_ras="phase"), x_range=None, y_range=None, width=192, height=128)
    expected = events(points_plot(points, "phase"), x_range=None, y_range=None, width=192, height=128)
    np.testing.assert_allclose(got[0].data, expected[0].data, atol=1e-6)
    assert got[0].bounds.lbrt() == pytest.approx(expected[0].bounds.lbrt())
    as_in_cli = pc_plot(str(tmp_path / "pts"), "phase", "phase")
    again = events(as_in_cli, x_range=None, y_range=None, width=192, height=128)
    np.testing.assert_array_equal(again[0].data, got[0].data)
    paths = {name: str(tmp_path / "pts" / f"{name}.zarr") for name in ("pc", "y", "x")}
    series = tapped(ts_plot(paths["pc"], np.arange(5), got[0], y=paths["y"], x=paths["x"]), x=-50.0, y=200.0)
    np.testing.assert_allclose(series["v"], np.angle(v[np.argmin((x + 50) ** 2 + (y - 200) ** 2)]), atol=1e-6)


def test_bounds_of_moraine_are_centres_and_ours_are_edges():
    data = np.arange(12.0).reshape(3, 4)
    centres, edges = (10, 20, 13, 24), (9.5, 25, 13.5, 19)
    assert ras_plot(data, bounds=centres)[()].bounds.lbrt() == raster_plot(data, bounds=edges)[()].bounds.lbrt()
    assert ras_plot(data[:1, :1], bounds=(5, 6, 5, 6))[()].bounds.lbrt() == (4.5, 5.5, 5.5, 6.5)
    with pytest.raises(lazypyr.PlanError, match="x_first"):
        ras_plot(data, bounds=(1, 2, 3))


def test_rasters_run_upwards_as_in_moraine():
    data = np.arange(12.0).reshape(3, 4)
    plot = ras_plot(data, None, None, (10, 20, 13, 24))
    assert plot[()].bounds.lbrt() == (9.5, 19, 13.5, 25)
    assert plot[()][10, 20] == 0 and plot[()][13, 24] == 11


# Still pictures


def test_a_png_has_the_pixels_of_numpy(tmp_path):
    data = np.random.default_rng(4).random((50, 100)).astype("f4")
    data[10:20, 30:60] = np.nan
    out = save_picture(data, tmp_path / "a.png", size=(400, 400), clim=(0, 1), cmap="gray")
    page = np.asarray(PIL.open(out).convert("RGB"))
    picture = page[40:240, 96:496]
    expected = colour_pixels(data, (0, 1), "gray")  # row 0 at the top, where the source says nothing about its y
    np.testing.assert_array_equal(picture[2::4, 2::4], expected)
    assert np.all(picture[2::4, 2::4][10:20, 30:60] == 255)
    up = save_picture(data, tmp_path / "b.png", size=(400, 400), clim=(0, 1), cmap="gray", invert_yaxis=False)
    np.testing.assert_array_equal(np.asarray(PIL.open(up).convert("RGB"))[42:240:4, 98:496:4], expected[::-1])


def test_a_page_needs_no_network(tmp_path, demo_data):
    slc = demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc"
    text = save_picture(slc, tmp_path / "a.html", "intf_0", axes="yxi", index=(2,)).read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', text)
    assert "intf_0" in text


def test_pictures_that_cannot_be(tmp_path):
    with pytest.raises(PlanError, match=r"\.png or \.html"):
        save_picture(np.ones((4, 4)), tmp_path / "a.jpg")
    with pytest.raises(lazypyr.DestinationError):
        save_picture(np.ones((4, 4)), tmp_path / "nowhere" / "a.png")
    with pytest.raises(PlanError, match="i=9"):
        save_picture(np.ones((4, 4, 2)), tmp_path / "a.png", axes="yxi", index=(9,))


def test_ticks_are_round():
    assert nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert nice_ticks(-0.3, 0.31) == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3])
    assert nice_ticks(5, 5) == [5]
    for low, high in ((1e6, 1e6 + 7), (-3e-9, 4e-9), (717600, 728310)):
        ticks = nice_ticks(low, high)
        assert 3 <= len(ticks) <= 13 and all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)
