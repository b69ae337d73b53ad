"""Plots with moraine's arguments, of functions as its users write them."""

from __future__ import annotations

import itertools
import math
import time

import holoviews as hv
import numpy as np
import pytest
import zarr
from bokeh.models import HoverTool
from scipy.spatial import KDTree

import lazypyr
from lazypyr.plot import pc_plot, ras_plot, raster_plot, ts_plot
from lazypyr.sources.zarr import ZarrSource

REAL = np.random.default_rng(3).random((60, 50, 3)).astype("f4")


def mask_plane(data_zarr, x_slice, y_slice):
    data = data_zarr[y_slice, x_slice]
    data[data >= 0.4] = np.nan
    return data


def mask_channel(data_zarr, xslice, yslice, i):
    data = data_zarr[yslice, xslice, i]
    data *= 2
    data -= data_zarr[yslice, xslice, i]
    return data


def mask_all(data_zarr, xslice, yslice):
    data = data_zarr[yslice, xslice]
    data[..., 0] = 7
    return data[..., 0] + 0 * data_zarr[yslice, xslice][..., 0]


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (mask_plane, REAL[..., 0], np.where(REAL[..., 0] >= 0.4, np.nan, REAL[..., 0])),
        (mask_channel, REAL, REAL[..., 0]),
        (mask_all, REAL, np.full((60, 50), 7, "f4")),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_what_a_function_has_sliced_may_be_written_to(function, values, expected, stored):
    before = values.copy()
    source = zarr.array(values, chunks=(20, 20, 1)[: values.ndim]) if stored else values
    plot = ras_plot(source, post_proc=function, bounds=(0, 0, 49, 59))
    picture = plot[(0,) * len(plot.kdims)] if plot.kdims else plot[()]
    assert isinstance(picture, hv.Image)
    np.testing.assert_array_equal(picture.dimension_values("z", flat=False), expected)
    np.testing.assert_array_equal(source[...], before)
    pyramid = lazypyr.open_pyramid(values, axes="yxi"[: values.ndim])
    window = tuple((0, n) for n in pyramid.shape)
    np.testing.assert_array_equal(pyramid.read(0, tuple(slice(*w) for w in window)), before)


# Functions


STACK = (np.random.default_rng(4).standard_normal((60, 50, 6)) + 1j).astype("c8")
PHASES = np.angle(STACK[..., :, None] * STACK[..., None, :].conj())
PAIRS = list(itertools.combinations(range(6), 2))


def pictured(plot, *index):
    return plot[index or ()].data[::-1]


def stored(values, chunks=(20, 20, 1)):
    return zarr.array(values, chunks=chunks[: values.ndim])


def of_pair(data_zarr, xslice, yslice, i):
    a, b = PAIRS[i]
    return np.angle(data_zarr[yslice, xslice, a] * data_zarr[yslice, xslice, b].conj())


def test_a_table_of_pairs_is_as_long_as_redim_says():
    plot = ras_plot(stored(STACK), post_proc=of_pair, n_kdim=1)
    assert plot.kdims[0].range == (0, 5)
    assert rendered(plot + plot).state is not None
    pairs = plot.redim(i=hv.Dimension("i", range=(0, 14), value_format=lambda i: str(PAIRS[i])))
    for i in (0, 5, 6, 14):
        np.testing.assert_array_equal(pictured(pairs, i), PHASES[..., PAIRS[i][0], PAIRS[i][1]])
    with pytest.raises(lazypyr.ComputeError, match="list index out of range"):
        plot.redim(i=hv.Dimension("i", range=(0, 99)))[15]
    labelled = raster_plot(STACK, of_pair, axes="yxi", labels=[f"{a}-{b}" for a, b in PAIRS])
    assert [labelled.kdims[0].pprint_value(i) for i in (0, 14)] == ["0-1", "4-5"]
    assert len(labelled.kdims[0].values) == 15


def test_only_what_is_shown_is_computed():
    asked = []

    def neighbours(data_zarr, xslice, yslice, i):
        asked.append(i)
        return np.angle(data_zarr[yslice, xslice, i] * data_zarr[yslice, xslice, i + 1].conj())

    plot = ras_plot(stored(STACK), post_proc=neighbours)
    plot = plot.redim(i=hv.Dimension("i", range=(0, 4)), z=hv.Dimension("Phase", range=(-np.pi, np.pi)))
    for i in range(5):
        np.testing.assert_array_equal(pictured(plot, i), PHASES[..., i, i + 1])
    assert set(asked) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("on", ["f4", "f8", "u1", "?"])
@pytest.mark.parametrize("off", ["f8", "f4", "i2"])
def test_results_may_differ_in_dtype(on, off):
    def mixed(data_zarr, xslice, yslice, i, j):
        phase = 10 * np.angle(data_zarr[yslice, xslice, i] * data_zarr[yslice, xslice, j].conj()).astype("f8")
        return (phase > 0).astype(on) if i == j else phase.astype(off)

    plot = ras_plot(stored(STACK), post_proc=mixed, n_kdim=2)
    for i, j in ((0, 0), (1, 3), (3, 1)):
        phase = 10 * np.angle(STACK[..., i] * STACK[..., j].conj()).astype("f8")
        np.testing.assert_array_equal(pictured(plot, i, j), (phase > 0).astype(on) if i == j else phase.astype(off))
    assert pictured(plot, 1, 3).dtype == ("f8" if off == "f8" else "f4")


def test_functions_of_whole_windows_need_no_pixel_of_ones():
    def slope(data_zarr, xslice, yslice, i):
        return np.gradient(data_zarr[yslice, xslice, i].real, axis=0)

    np.testing.assert_array_equal(
        pictured(ras_plot(STACK, post_proc=slope), 2), np.gradient(STACK[..., 2].real, axis=0)
    )


def points_of(n=900, channels=(5,)):
    rng = np.random.default_rng(8)
    return rng.uniform(0, 300, n), rng.uniform(0, 200, n), rng.random((n, *channels))


NEAR = {"x_range": (50, 150), "y_range": (40, 120), "width": 600, "height": 600}


def values_of(dots, x, y, expected):
    frame = dots.dframe()
    numbers = frame["idx"].to_numpy()
    assert len(numbers) > 20
    np.testing.assert_array_equal(frame[dots.vdims[0].name], expected[numbers])
    np.testing.assert_array_equal(frame[dots.kdims[0].name], x[numbers])


@pytest.mark.parametrize("channels", [(), (5,), (3, 3)])
def test_kdims_of_any_number_are_those_of_the_array(channels):
    def ras(data_zarr, xslice, yslice, *kdims):
        return np.abs(data_zarr[(yslice, xslice, *kdims)])

    def renamed(data, x, y, *ks):
        return ras(data, x, y, *ks)

    def pc(data_zarr, idx_array, *kdims):
        return np.abs(data_zarr[(idx_array, *kdims)])

    x, y, v = points_of(channels=channels)
    index = (2,) * len(channels)
    grid = np.random.default_rng(1).random((60, 50, *channels))
    for function in (ras, renamed):
        plot = ras_plot(zarr.array(grid, chunks=(20, 20, *(1,) * len(channels))), post_proc=function)
        assert len(plot.kdims) == len(channels)
        np.testing.assert_array_equal(pictured(plot, *index), grid[(..., *index)])
    images, dots = pc_plot(v, y, x, 20, pc)
    dots.event(**NEAR)
    values_of(dots[index or ()], x, y, v[(slice(None), *index)])
    assert len(images.kdims) == len(channels)


def test_rasters_and_points_have_functions_of_their_own():
    x, y, v = points_of()
    images, dots = pc_plot(
        v, y, x, 2, post_proc_pc=lambda data, idx_array, i: data[idx_array, i] + 1,
        post_proc_ras=lambda data, xslice, yslice, i: data[yslice, xslice, i] * 0 + 7,
    )  # fmt: skip
    images.event(x_range=None, y_range=None, width=64, height=64)
    assert np.nanmin(images[3].data[..., 0]) == np.nanmax(images[3].data[..., 0]) == 7
    dots.event(**NEAR)
    values_of(dots[3], x, y, v[:, 3] + 1)


def test_functions_of_points_and_taps_read_what_they_index(tmp_path, monkeypatch):
    x, y, v = points_of(1000, (16,))
    array = zarr.create_array(str(tmp_path / "v.zarr"), data=v, chunks=(100, 1))
    windows, read = [], ZarrSource.read

    def logged(self, window, step=None):
        windows.append(window)
        return read(self, window, step)

    monkeypatch.setattr(ZarrSource, "read", logged)
    images, dots = pc_plot(array, y, x, 20, lambda d, idx_array, i, j: d[idx_array, i] - d.oindex[idx_array, j])
    dots.event(**NEAR)
    values_of(dots[3, 7], x, y, v[:, 3] - v[:, 7])
    assert {channels for _, channels in windows} == {(0, 1), (3, 4), (7, 8)}
    assert max(b - a for (a, b), _ in windows) <= 100
    windows.clear()

    def series(values, number):
        row = values[number]
        row -= row[0]
        return row

    taps = ts_plot(array, np.arange(16), images, y=y, x=x, post_proc_ts=series)
    taps.event(x=x[123], y=y[123])
    np.testing.assert_array_equal(taps[()]["v"], v[123] - v[123, 0])
    assert windows == [((123, 124), (0, 16))]


def test_a_tree_of_a_stored_array_reads_the_tapped_point(tmp_path):
    x, y, v = points_of(1000, (4,))
    zarr.create_array(str(tmp_path / "v.zarr"), data=v, chunks=(100, 1))
    plot = ts_plot(str(tmp_path / "v.zarr"), np.arange(4), hv.Image(np.zeros((2, 2))), KDTree(np.c_[y, x]))
    plot.event(x=x[7], y=y[7])
    np.testing.assert_array_equal(plot[()]["v"], v[7])


# Names


def rendered(plot):
    return hv.renderer("bokeh").get_plot(plot)


def tips(plot):
    return [tuple(tip) for tip in plot.state.select_one(HoverTool).tooltips]


@pytest.mark.parametrize(
    ("changes", "labels", "columns"),
    [
        ({}, ["x", "y", "intf_0 (rad)", "idx"], ["x", "y", "z", "idx"]),
        ({"z": hv.Dimension("Phase")}, ["x", "y", "Phase", "idx"], ["x", "y", "Phase", "idx"]),
        (
            {"x": hv.Dimension("lon", label="Longitude", unit="°"), "idx": "number"},
            ["Longitude (°)", "y", "intf_0 (rad)", "number"],
            ["lon", "y", "z", "number"],
        ),
        (
            {"y": "a b", "z": "mean velocity"},
            ["x", "a b", "mean velocity (rad)", "idx"],
            ["x", "a_b", "mean_velocity", "idx"],
        ),
    ],
)
def test_tooltips_and_colours_follow_redim(changes, labels, columns):
    x, y, _ = points_of()
    v = np.exp(1j * np.random.default_rng(0).uniform(-3, 3, (900, 4))).astype("c8")
    images, dots = pc_plot(v, y, x, 20, "intf_0")
    dots.event(**NEAR)
    near = rendered(dots.redim(**changes))
    assert [label for label, _ in tips(near)] == labels
    assert [place.partition("}")[0][2:] for _, place in tips(near)] == columns
    assert {*columns} <= {*near.handles["source"].data}
    colour = near.handles["glyph"].fill_color
    if not isinstance(changes.get("z"), hv.Dimension):  # one that takes the place of ours has its own range, or none
        assert (colour.transform.low, colour.transform.high) == pytest.approx((-np.pi, np.pi))
    column = near.handles["source"].data[colour.field]
    np.testing.assert_array_equal(column, near.handles["source"].data[columns[2]])
    assert [label for label, _ in tips(rendered(images.redim(**changes)))] == labels
    overlay = rendered((images * dots).redim(**changes))
    assert all([label for label, _ in tool.tooltips] == labels for tool in overlay.state.select(HoverTool))


def test_tooltips_and_colours_of_the_user_stay():
    x, y, v = points_of()
    dots = pc_plot(v[:, 0], y, x, 20)[1].redim(z=hv.Dimension("velocity", range=(0, 2)))
    plain = rendered(dots).handles["glyph"].fill_color.transform
    assert (plain.low, plain.high) == (0, 2)
    own = rendered(dots.opts(hv.opts.Points(color="velocity", clim=(0.25, 0.75), hover_tooltips=[("v", "@velocity")])))
    mapper = own.handles["glyph"].fill_color
    assert (mapper.transform.low, mapper.transform.high) == (0.25, 0.75)
    assert tips(own) == [("v", "@{velocity}")]


DATES = [f"202108{day:02}" for day in range(1, 7)]


def test_titles_say_the_pair_and_the_label():
    pair = hv.Dimension("i", label="Interferogram", range=(0, 5), value_format=lambda i: f"{DATES[0]}_{DATES[i]}")
    plain = hv.DynamicMap(lambda i: hv.Image(np.zeros((3, 3))), kdims=[pair])
    plot = ras_plot(STACK, post_proc="intf_0").redim(i=pair)
    x, y, _ = points_of()
    images, dots = pc_plot(np.ones((900, 6), "c8"), y, x, 20, "intf_0")
    for ours in (plot, images.redim(i=pair), dots.redim(i=pair)):
        for change in (lambda p: p, lambda p: p.relabel("Raw Interferograms")):
            assert rendered(change(ours)).state.title.text == rendered(change(plain)).state.title.text
    assert rendered(ras_plot(STACK, post_proc="intf_0", title="mine")).state.title.text == "mine"
    named = raster_plot(STACK, "intf_0", axes="yxi", labels=DATES)
    assert rendered(named).state.title.text.split() == ["intf_0(numpy", "array)", "i:", "20210802"]


def test_a_plot_whose_picture_is_still_computed_shows_the_whole_extent():
    from lazypyr.engine.engine import Engine
    from lazypyr.plot.raster import InteractiveRaster

    calls = []
    pyramid = lazypyr.from_function(lambda level, window: time.sleep(0.3) or np.ones([b - a for a, b in window]),
                                    shape=(300, 200), dtype="f8", chunks=(300, 200))  # fmt: skip
    interactive = InteractiveRaster(pyramid, Engine(workers=1), later=lambda: calls.append, clim=(0, 1))
    plot = interactive.plot().redim(x=hv.Dimension("r", label="Range"), y=hv.Dimension("az"))
    state = rendered(plot).state
    assert (state.x_range.start, state.x_range.end) == (-0.5, 199.5)
    assert sorted((state.y_range.start, state.y_range.end)) == [-0.5, 299.5]
    deadline = time.monotonic() + 30
    while not calls and time.monotonic() < deadline:
        time.sleep(0.02)
    for call in calls:
        call()
    assert plot[()].data.size


# Sources


@pytest.mark.parametrize("chunks", [(500, 500, 17), (2500, 1834, 1), (64, 64, 17)])
def test_a_path_has_rows_columns_and_channels(tmp_path, chunks):
    shape = (250, 183, 17)
    chunks = tuple(min(c, n) for c, n in zip(chunks, shape, strict=True))
    zarr.create_array(str(tmp_path / "a.zarr"), shape=shape, chunks=chunks, dtype="f4")
    for source in (str(tmp_path / "a.zarr"), tmp_path / "a.zarr", zarr.open(str(tmp_path / "a.zarr"), mode="r")):
        plot = ras_plot(source, bounds=(0, 0, 182, 249))
        assert len(plot.kdims[0].values) == 17
        assert plot[0].bounds.lbrt() == (-0.5, -0.5, 182.5, 249.5)


def test_a_path_that_names_its_axes_keeps_them(tmp_path):
    names = ("time", "y", "x")
    zarr.create_array(
        str(tmp_path / "b.zarr"), shape=(17, 250, 183), chunks=(17, 50, 50), dtype="f4", dimension_names=names
    )
    assert len(ras_plot(str(tmp_path / "b.zarr")).kdims[0].values) == 17


@pytest.mark.parametrize("resolution", [2.0, 0.1, 1 / 3, 20, 12.5, 1e-5, math.pi, 0.1 + 0.2])
@pytest.mark.parametrize("x0", [987.8225436669286, 0.0, -1234567.891, 5.2e6])
def test_folders_keep_their_resolution(tmp_path, resolution, x0):
    count = 171
    x = np.concatenate([x0 + np.arange(count) * resolution, [x0] * 9])
    y = np.concatenate([np.zeros(count), np.arange(9) * resolution])
    nx, ny = (max(1, math.ceil((c.max() - c.min()) / resolution)) for c in (x, y))
    for name, data in (("x", x), ("y", y), ("pc", np.arange(x.size, dtype="f4")), ("idx_0", np.zeros((ny, nx), "i8"))):
        zarr.create_array(str(tmp_path / f"{name}.zarr"), data=data)
    bounds = [float(x.min()), 0.0, float(x.min() + (nx - 1) * resolution), float((ny - 1) * resolution)]
    (tmp_path / "bounds.toml").write_text(f"bounds = {bounds!r}\n", encoding="utf-8")
    assert len(pc_plot(tmp_path)) == 2
    from lazypyr.plot.moraine import _points

    made = _points(*(tmp_path / f"{name}.zarr" for name in ("x", "y", "pc")), tmp_path, None)
    assert made.shape == (ny, nx)
    assert abs(made.grid.dx - resolution) <= 4 * math.ulp(max(abs(bounds[0]), abs(bounds[2]))) / (nx - 1)
    if len(repr(resolution)) < 8:
        assert made.grid.dx == resolution
