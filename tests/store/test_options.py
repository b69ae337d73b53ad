"""Options that are handed on: typed for editors and type checkers, and grouped in objects."""

import inspect
import pickle

import numpy as np
import pytest

import lazypyr
from lazypyr import LazyPyramidStore, Overlay, PlanError, StoreLayout, open_pyramid
from lazypyr.plot import pc_plot, points_plot, ras_plot, raster_plot, timeseries_plot, ts_plot, view
from lazypyr.plot.options import (
    PointsPlotOptions,
    RasterOptions,
    RasterPlotOptions,
    TimeseriesPlotOptions,
    ViewOptions,
)
from lazypyr.pyramids.options import PyramidOptions
from lazypyr.server import create_app
from lazypyr.store.options import ServedStoreOptions, StoreOptions, WrittenStoreOptions

IMAGE = np.arange(64.0 * 64.0).reshape(64, 64)


def keywords(call):
    parameters = inspect.signature(call).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("options", "call", "own"),
    [
        (PyramidOptions, open_pyramid, set()),
        (StoreOptions, LazyPyramidStore, keywords(open_pyramid)),
    ],
)
def test_typed_keywords_are_those_of_the_call(options, call, own):
    assert options.__optional_keys__ == keywords(call) | own


def parameters_of(call):
    return {p.name for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD}


@pytest.mark.parametrize(
    ("options", "call", "takers"),
    [
        (RasterOptions, raster_plot, [open_pyramid]),
        (RasterPlotOptions, ras_plot, [raster_plot, open_pyramid]),
        (PointsPlotOptions, pc_plot, [points_plot]),
        (TimeseriesPlotOptions, ts_plot, [timeseries_plot, open_pyramid]),
    ],
)
def test_plots_hand_on_what_they_have_not_themselves(options, call, takers):
    moraines = {"y", "x", "data", "kdtree", "reference", "source_plot", "values", "t", "points", "src"}
    wanted = set().union(*map(parameters_of, takers)) - parameters_of(call) - moraines
    assert options.__optional_keys__ == wanted - ({"post_proc"} if call in (pc_plot, ts_plot) else set())


def test_view_hands_on_its_look_and_how_to_open():
    own = parameters_of(view)
    assert not ViewOptions.__optional_keys__ & own
    assert ViewOptions.__optional_keys__ - keywords(open_pyramid) == {"clim", "cmap", "invert_yaxis", "level_increase"}
    assert ViewOptions.__optional_keys__ | own >= keywords(open_pyramid)


# Writing has threads and a bound of its own instead of an engine, and a destination instead of an overlay.
ENGINE_OF_ITS_OWN = {
    lazypyr.materialize: {
        "engine",
        "cache_bytes",
        "timeout_s",
        "request_bytes",
        "overlay",
        "write_through",
        "overlay_bytes",
    },
    create_app: {"workers"},
}


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (lazypyr.serve, ServedStoreOptions),
        (create_app, ServedStoreOptions),
        (lazypyr.materialize, WrittenStoreOptions),
        (lazypyr.collection, StoreOptions),
    ],
)
def test_all_options_of_a_store_are_typed_or_the_calls_own(call, options):
    assert options.__optional_keys__ | keywords(call) >= StoreOptions.__optional_keys__ - ENGINE_OF_ITS_OWN.get(
        call, set()
    )


def test_a_layout_is_the_flat_options():
    flat = LazyPyramidStore(IMAGE, chunks=(32, 32), zarr_format=2, layout="{level}/image", compressor="zstd")
    layout = StoreLayout(zarr_format=2, level_path="{level}/image", compressor="zstd")
    grouped = LazyPyramidStore(IMAGE, chunks=(32, 32), layout=layout)
    assert {key: flat[key] for key in flat} == {key: grouped[key] for key in grouped}


def values_of(**options):
    return dict(LazyPyramidStore(IMAGE, chunks=(32, 32), **options))


def test_a_layout_has_a_name():
    assert values_of(layout="xarray") == values_of(layout="{level}/image")
    assert values_of(layout="xarray", zarr_format=2) == values_of(layout="{level}/image", zarr_format=2)
    lazypyr.register_layout("archive of the test", StoreLayout(zarr_format=2, compressor="zstd"))
    lazypyr.register_layout("path of the test", "a/{level}")
    assert values_of(layout="archive of the test") == values_of(zarr_format=2, compressor="zstd")
    assert values_of(layout="archive of the test", legacy=True) == values_of(
        zarr_format=2, compressor="zstd", legacy=True
    )
    assert values_of(layout="path of the test") == values_of(layout="a/{level}")


def test_a_layout_is_materialized_by_its_name(tmp_path):
    lazypyr.materialize(LazyPyramidStore(IMAGE, chunks=(32, 32), layout="xarray"), tmp_path / "store", progress=False)
    lazypyr.materialize(IMAGE, tmp_path / "image", chunks=(32, 32), layout="xarray", progress=False)
    assert (tmp_path / "image" / "1" / "image" / "zarr.json").exists()
    assert (tmp_path / "store" / "1" / "image" / "zarr.json").exists()


@pytest.mark.parametrize("layout", ["xaray", "image", "", None, 3, ("{level}",), "{level}/../x", "{lvl}"])
def test_what_is_no_layout(layout):
    with pytest.raises(PlanError, match=r"layout: expected a path of ordinary names.*\(xarray") as caught:
        LazyPyramidStore(IMAGE, layout=layout)
    assert ("did you mean 'xarray'" in str(caught.value)) == (layout == "xaray")


@pytest.mark.parametrize(("name", "value"), [("xarray", "a/{level}"), ("mine", 3), ("mine", "image"), ("", "{level}")])
def test_what_is_registered_as_no_layout(name, value):
    with pytest.raises(PlanError):
        lazypyr.register_layout(name, value)


def test_an_overlay_is_the_flat_options():
    kept = {}
    store = LazyPyramidStore(IMAGE, chunks=(32, 32), overlay=Overlay(kept, write_through=True, limit_bytes=2**20))
    value = store["1/c/0/0"]
    flat = {}
    LazyPyramidStore(IMAGE, chunks=(32, 32), overlay=flat, write_through=True, overlay_bytes=2**20)["1/c/0/0"]
    assert set(kept) == set(flat)
    assert store["1/c/0/0"] == value


def test_an_overlay_in_a_folder_is_pickled(tmp_path):
    overlay = pickle.loads(pickle.dumps(Overlay(tmp_path / "kept", write_through=True)))
    store = LazyPyramidStore(IMAGE, chunks=(32, 32), overlay=overlay)
    store["1/c/0/0"]
    assert any((tmp_path / "kept").rglob("*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": StoreLayout(), "zarr_format": 2}, "StoreLayout(zarr_format=2"),
        ({"layout": StoreLayout(), "legacy": True, "compressor": "zstd"}, "compressor='zstd', legacy=True"),
        ({"overlay": Overlay({}), "write_through": True}, "lazypyr.Overlay(place, write_through=True"),
        ({"overlay": Overlay({}), "overlay_bytes": 10}, "overlay_bytes"),
        ({"write_through": True}, "overlay="),
    ],
)
def test_options_beside_the_group_they_are_part_of(options, words):
    with pytest.raises(PlanError, match=".*") as caught:
        LazyPyramidStore(IMAGE, **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("bad", [0, -1])
def test_bound_of_an_overlay(bad):
    with pytest.raises(PlanError, match="overlay_bytes"):
        Overlay({}, limit_bytes=bad)
