"""Axes of sources: by CF, by name wherever they stand, by position; alike for every kind of array."""

import dask.array
import numpy as np
import pytest
import xarray as xr

import lazypyr
from lazypyr.sources.axes import axis_role, known_axes
from tests.support.sources import zarr_array

PAIRS = [
    ("y", "x"),
    ("lat", "lon"),
    ("latitude", "longitude"),
    ("Lat", "Lon"),
    ("rlat", "rlon"),
    ("nlat", "nlon"),
    ("south_north", "west_east"),
    ("northing", "easting"),
    ("yc", "xc"),
    ("YC", "XC"),
    ("nj", "ni"),
    ("yh", "xh"),
    ("yt_ocean", "xt_ocean"),
    ("grid_yt", "grid_xt"),
    ("eta_rho", "xi_rho"),
    ("scanline", "ground_pixel"),
    ("azimuth", "range"),
    ("row", "col"),
    ("height", "width"),
]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("other", ["time", "foo", "height", "depth"])
def test_y_and_x_by_name_wherever_they_stand(pair, other):
    if other in pair:
        other = "band"
    y, x = pair
    for dims in ((y, x, other), (other, y, x), (x, y, other), (y, other, x), (other, x, y)):
        array = xr.DataArray(np.zeros((20, 30, 40), "f4"), dims=dims)
        assert lazypyr.open_pyramid(array).axes == tuple({y: "y", x: "x"}.get(d, d) for d in dims)
        stored = zarr_array(np.zeros((20, 30, 40), "f4"), chunks=(20, 15, 10), dimension_names=dims)
        assert lazypyr.open_pyramid(stored).axes == tuple({y: "y", x: "x"}.get(d, d) for d in dims)


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (("a", "b", "time"), ("y", "x", "time")),
        (("time", "a", "b"), ("time", "y", "x")),
        (("a", "time", "b"), ("y", "time", "x")),
        (("a", "b", "lev", "time"), ("y", "x", "lev", "time")),
        (("lat", "b", "time"), ("y", "x", "time")),
        (("a", "lon", "time"), ("y", "x", "time")),
        (("time", "lat"), ("y", "x")),
        (("time", "height", "lat", "lon"), ("time", "height", "y", "x")),
        (("lat", "lon", "height"), ("y", "x", "height")),
        (("x", "y", "lat"), ("x", "y", "lat")),
    ],
    ids=",".join,
)
def test_what_is_known_to_be_something_else_is_no_row(dims, expected):
    shape = (20, 30, 40, 50)[: len(dims)]
    got = lazypyr.open_pyramid(xr.DataArray(np.zeros(shape, "f4"), dims=dims)).axes
    assert {a for a in got if a in "yx"} == {"y", "x"}
    assert [a for a in got if a in "yx"] == [a for a in expected if a in "yx"]
    assert got == expected or dims == ("time", "lat")


@pytest.mark.parametrize(
    ("attrs", "role"),
    [
        ({"axis": "Y"}, "y"),
        ({"axis": "x", "standard_name": "latitude"}, "x"),
        ({"standard_name": "projection_x_coordinate", "units": "m"}, "x"),
        ({"standard_name": "grid_latitude", "units": "degrees"}, "y"),
        ({"units": "degrees_north"}, "y"),
        ({"units": "degree_E"}, "x"),
        ({"units": "degreesN"}, "y"),
        ({"units": "days since 1850-01-01", "calendar": "noleap"}, "t"),
        ({"axis": "Z", "units": "hPa"}, "z"),
        ({"units": "meter"}, None),
        ({}, None),
    ],
)
def test_axes_by_cf(attrs, role):
    assert axis_role(attrs) == role


def test_cf_wins_over_names():
    along = {"a": ("a", np.arange(20.0), {"axis": "Y"}), "b": ("b", np.arange(30.0), {"units": "degrees_east"})}
    array = xr.DataArray(np.zeros((20, 30, 40), "f4"), dims=("a", "b", "time"), coords=along)
    assert lazypyr.open_pyramid(array).axes == ("y", "x", "time")
    misled = xr.DataArray(
        np.zeros((20, 30, 40), "f4"),
        dims=("lat", "b", "lon"),
        coords={"lat": ("lat", np.arange(20.0), {"axis": "X"}), "b": ("b", np.arange(30.0), {"axis": "Y"})},
    )
    assert lazypyr.open_pyramid(misled).axes == ("x", "y", "lon")


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((50, 60, 70), "iyx"),
        ((3, 70, 80), "iyx"),
        ((70, 80, 3), "yxi"),
        ((70, 80, 4), "yxi"),
        ((70, 80, 50), "iyx"),
        ((2, 50, 60, 70), "ijyx"),
        ((70, 80), "yx"),
        ((3, 70, 80, 1), "iyxj"),
        ((2, 3, 70, 80, 1), "ijyxk"),
        ((1, 1, 70, 1), "ijyx"),
    ],
)
def test_arrays_of_one_shape_have_the_same_axes(shape, axes):
    data = np.zeros(shape, "u2")
    chunks = (*(1 for _ in shape[2:]), 32, 32)
    trailing = (32, 32, *shape[2:]) if axes == "yxi" else chunks
    kinds = {
        "numpy": data,
        "view": data[::-1],
        "dask": dask.array.from_array(data, chunks=trailing),
        "dask in one piece": dask.array.from_array(data, chunks=shape),
        "zarr": zarr_array(data, chunks=trailing),
        "zarr in one piece": zarr_array(data, chunks=shape),
        "xarray": xr.DataArray(data),
        "xarray of dask": xr.DataArray(dask.array.from_array(data, chunks=trailing)),
    }
    got = {kind: [a in "yx" and a for a in lazypyr.open_pyramid(array).axes] for kind, array in kinds.items()}
    assert got == dict.fromkeys(kinds, [a in "yx" and a for a in axes])


def test_axes_of_a_numpy_stack_are_those_of_other_arrays():
    """Until 0.1.0 the first two axes of any 3-D numpy array were taken for y and x: ``yxi``."""
    assert lazypyr.open_pyramid(np.zeros((50, 60, 70), "f4")).axes == ("i", "y", "x")
    assert lazypyr.open_pyramid(np.zeros((50, 60, 70), "f4"), axes="yxi").axes == ("y", "x", "i")


def test_a_stored_stack_of_channels_is_known_by_its_chunks():
    assert known_axes(None, (70, 80, 50), (32, 32, 1), "stack") == ("y", "x", "i")
    assert known_axes(None, (70, 80, 50), (70, 80, 50), "stack") == ("i", "y", "x")
