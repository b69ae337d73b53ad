"""Options that no call takes: the message names the call that the user made, and the nearest word."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import lazypyr
from lazypyr import LazyPyramidStore, PlanError, open_pyramid
from lazypyr.plot import raster_plot, save_picture

PIXELS = np.arange(600 * 400, dtype="f4").reshape(600, 400)


@pytest.mark.parametrize(
    ("name", "call", "option", "nearest"),
    [
        ("LazyPyramidStore", lambda **o: LazyPyramidStore(PIXELS, **o), "chunk", "chunks"),
        ("LazyPyramidStore", lambda **o: LazyPyramidStore(PIXELS, **o), "Compresor", "compressor"),
        ("collection", lambda **o: lazypyr.collection({"a": PIXELS}, **o), "metod", "method"),
        ("serve", lambda **o: lazypyr.serve({"a": PIXELS}, port=0, background=True, **o), "cache_mb", "cache_bytes"),
        ("serve", lambda **o: lazypyr.serve(PIXELS, background=True, **o), "prot", "port"),
        ("materialize", lambda **o: lazypyr.materialize(PIXELS, {}, **o), "shard", "shards"),
        ("materialize", lambda **o: lazypyr.materialize(PIXELS, {}, **o), "overwrite", None),
        ("raster_plot", lambda **o: raster_plot(PIXELS, **o), "colormap", "cmap"),
        ("save_picture", lambda **o: save_picture(PIXELS, "a.png", **o), "axis", "axes"),
    ],
)
def test_an_unknown_option_blames_the_call_and_names_the_nearest(name, call, option, nearest):
    with pytest.raises(TypeError) as caught:
        call(**{option: 1})
    text = str(caught.value)
    assert text.startswith(f"{name}() takes no option {option!r}")
    assert (f"did you mean {nearest!r}" in text) if nearest else "did you mean" not in text
    for taken in inspect.signature(open_pyramid).parameters:
        assert taken == "src" or taken in text.partition("Its options are ")[2].split(", ")


def test_chunks_of_a_pyramid_are_taken_and_change_no_pixel():
    pyramid = open_pyramid(PIXELS, method="median", levels=3)
    store = LazyPyramidStore(pyramid, chunks=(100, 50))
    assert store.pyramid.chunks == (100, 50)
    assert [level.shape for level in store.pyramid.levels] == [level.shape for level in pyramid.levels]
    for k in range(3):
        np.testing.assert_array_equal(store.pyramid[k], pyramid[k])
    assert open_pyramid(pyramid, chunks=(256, 256)) is pyramid
    assert store.pyramid.fingerprint == open_pyramid(PIXELS, method="median", levels=3, chunks=(100, 50)).fingerprint


def test_what_a_pyramid_has_already_is_refused_with_the_right_call():
    with pytest.raises(PlanError, match=r"lazypyr.open_pyramid\(source, method='mean'\)"):
        LazyPyramidStore(open_pyramid(PIXELS), method="mean")
    product = open_pyramid(np.ones((64, 64, 3), "c8"), axes="yxi", product="intf_seq")
    with pytest.raises(PlanError, match=r"lazypyr.open_pyramid\(source, chunks=\(8, 8\)\)"):
        LazyPyramidStore(product, chunks=(8, 8))
