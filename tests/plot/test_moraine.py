"""Plots with moraine's arguments, of functions as its users write them."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.plot import ras_plot

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
