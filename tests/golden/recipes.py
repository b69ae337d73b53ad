"""The golden recipes: what lazypyr computes, says and calls itself, pinned for a table of pyramids.

`golden.json` has three parts. ``chunks``: digests of the pixels of each array, as zarr reads them, and of a few values
under their keys where nothing compresses them (a compressor's bytes are its version's). ``documents``: each metadata
document, with the digest of its text. ``fingerprints``: of the store, where the source has one that doesn't hang on a path,
a time or an object.

A value in it changes only where that is meant, in a commit of its own whose message has the old and the new value::

    python tests/golden/recipes.py --write

run at the root of the repository. Without ``--write`` it prints what differs and
writes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr

if __name__ == "__main__":  # functions below are called by the name of this module, which must be the tests' one
    sys.path.insert(0, str(Path(__file__).parents[1]))

from golden import data
from golden.pinned import Recipe, main

import lazypyr
from lazypyr import LazyPyramidStore, from_function, from_points, open_pyramid

RECIPES: dict[str, Recipe] = {}
SMALL = (32, 32)


def recipe(**facts):
    """Enter a function in the table, by its name; facts are those of `Recipe`."""

    def entered(make):
        RECIPES[make.__name__] = Recipe(make, **facts)
        return make

    return entered


# Methods and dtypes


@recipe()
def stride_uint8():
    return LazyPyramidStore(data.whole((70, 101)).astype("u1"), chunks=SMALL)


@recipe()
def mean_uint8():
    return LazyPyramidStore(data.whole((70, 101)).astype("u1"), method="mean", chunks=SMALL)


@recipe()
def mean_float32_with_nan():
    return LazyPyramidStore(data.with_gaps(data.real((70, 101)), np.nan), method="mean", chunks=SMALL)


@recipe()
def mean_big_endian_int16_nodata():
    src = data.with_gaps((data.whole((70, 101)) * 100 - 9999).astype(">i2"), -9999)
    return LazyPyramidStore(src, method="mean", nodata=-9999, chunks=SMALL)


@recipe()
def mean_float16_bands():
    return LazyPyramidStore(data.real((4, 40, 52), "f2"), method="mean", axes=("band", "y", "x"), chunks=(16, 16))


@recipe()
def mean_bool():
    return LazyPyramidStore(data.whole((70, 101)) > 100, method="mean", chunks=SMALL)


@recipe()
def mean_complex64_with_nan():
    src = (data.real((45, 70)) + 1j * data.real((45, 70), seed=3)).astype("c8")
    return LazyPyramidStore(data.with_gaps(src, np.nan), method="mean", chunks=(16, 32))


@recipe()
def min_datetimes():
    src = (data.whole((45, 70), 86_400) + 1_700_000_000).astype("M8[s]")
    return LazyPyramidStore(data.with_gaps(src, np.datetime64("NaT", "s")), method="min", chunks=SMALL)


@recipe()
def max_float64_nodata():
    src = data.with_gaps(data.real((45, 70), "f8"), -1e30)
    return LazyPyramidStore(src, method="max", nodata=-1e30, chunks=SMALL)


@recipe()
def median_uint16():
    return LazyPyramidStore(data.whole((70, 101), 65_521).astype("u2"), method="median", chunks=SMALL)


@recipe()
def mode_uint8_nodata():
    src = data.with_gaps(data.whole((70, 101), 5).astype("u1"), 255)
    return LazyPyramidStore(src, method="mode", nodata=255, chunks=SMALL)


@recipe()
def first_valid_float32():
    return LazyPyramidStore(data.with_gaps(data.real((70, 101)), np.nan), method="first_valid", chunks=SMALL)


@recipe()
def sum_int32_factors():
    src = data.whole((9, 40, 50), 100_003).astype("i4")
    return LazyPyramidStore(src, method="sum", axes="zyx", factors={"z": 3, "y": 2, "x": 4}, chunks=(4, 16, 16))


@recipe()
def rms_float32():
    return LazyPyramidStore(data.real((70, 101)), method="rms", levels=5, chunks=SMALL)


def spread(boxes, axis):
    return boxes.max(axis=axis) - boxes.min(axis=axis)


@recipe()
def reducer_of_a_user():
    return LazyPyramidStore(data.whole((70, 101)).astype("i4"), method=spread, chunks=SMALL)


# Sources and their attributes


@recipe()
def stack_in_another_order():
    return LazyPyramidStore(data.gaussian((40, 52, 3)), axes="yxi", order="iyx", chunks=(16, 16))


@recipe()
def rows_along_x():
    return LazyPyramidStore(data.whole((40, 52)).astype("u1"), axes="xy", method="mean", chunks=(16, 16))


@recipe()
def bounds_in_xarray_layout():
    src, bounds = data.real((50, 70)), (500_000.0, 4_099_505.0, 500_700.0, 4_100_005.0)
    return LazyPyramidStore(src, method="mean", bounds=bounds, layout="{level}/image", chunks=SMALL)


@recipe()
def xarray_with_coordinates():
    src = xr.DataArray(
        data.real((50, 70), "f8"),
        dims=("lat", "lon"),
        coords={"lat": 48 - np.arange(50) / 8, "lon": 11 + np.arange(70) / 8},
        attrs={"units": "m", "long_name": "height above the geoid", "crs": "EPSG:4326"},
        name="height",
    )
    return LazyPyramidStore(src, method="mean", layout="{level}/height", compressor="zstd", chunks=SMALL)


@recipe()
def georeferenced_at_a_url():
    attrs = {"spatial:transform": [10.0, 0.0, 600_000.0, 0.0, -10.0, 5_300_000.0], "proj:code": "EPSG:32633"}
    attrs |= {"_FillValue": -32768, "units": "m"}
    src = data.with_gaps((data.whole((60, 80)) - 100).astype("i2"), -32768)
    files = data.stored(src, (20, 40), attrs=attrs, dims=["y", "x"], codec="gzip", absent={(1, 1)}, fill_value=-32768)
    return LazyPyramidStore(data.at_url(files, "golden-dem.zarr"), method="mean", chunks=SMALL)


@recipe(fingerprint=False)
def gdal_style_in_a_folder():
    attrs = {"GeoTransform": "600000 10 0 5300000 0 -10", "crs_wkt": 'LOCAL_CS["engineering"]', "nodata": 0}
    src = data.with_gaps(data.real((60, 80)), 0)
    files = data.stored(src, (25, 25), zarr_format=2, attrs=attrs, dims=["y", "x"], codec="zlib")
    return LazyPyramidStore(data.in_folder(files, "dem.zarr"), method="mean", chunks=SMALL, zarr_format=2)


@recipe(fingerprint=False)
def stack_in_a_zarr_store():
    files = data.stored(data.gaussian((40, 52, 3)), (20, 30, 1), dims=["azimuth", "range", "date"])
    return LazyPyramidStore(data.in_memory(files), method="mean", chunks=(16, 16))


@recipe()
def levels_of_ome_05_at_a_url():
    src = data.at_url(data.ome_levels(3), "golden-cells.zarr")
    return LazyPyramidStore(src, method="mean", levels=4, chunks=(16, 16))


@recipe(fingerprint=False)
def levels_of_ome_04_in_a_mapping():
    return LazyPyramidStore(data.ome_levels(2), method="max", zarr_format=2, levels=4, chunks=(16, 16))


@recipe(fingerprint=False)
def levels_that_lazypyr_wrote():
    written, src = {}, data.real((50, 70))
    lazypyr.materialize(src, written, method="mean", chunks=(16, 16), levels=(0, 1), compressor=None, progress=False)
    return LazyPyramidStore(written, levels=4, chunks=(16, 16))


def doubled(level, window):
    return data.plane(level, window) * 2


@recipe()
def function():
    options = {"chunks": SMALL, "centred": True, "bounds": (-0.5, 49.5, 69.5, -0.5)}
    return LazyPyramidStore(from_function(doubled, shape=(50, 70), dtype="i4", **options))


# Faces


@recipe()
def zarr_2_with_dots():
    src = data.whole((70, 101), 100_003).astype("i4")
    return LazyPyramidStore(src, method="mean", zarr_format=2, dimension_separator=".", chunks=SMALL)


@recipe()
def zarr_2_legacy_with_zlib():
    src = data.whole((3, 40, 52), 65_521).astype("u2")
    face = {"zarr_format": 2, "legacy": True, "compressor": {"id": "zlib", "level": 1}}
    return LazyPyramidStore(src, axes="cyx", method="mean", chunks=(16, 16), **face)


@recipe()
def zarr_3_with_dots():
    return LazyPyramidStore(data.real((70, 101), "f8"), dimension_separator=".", layout="s{level}", chunks=SMALL)


@recipe()
def several_in_one_store():
    dem, stack = data.real((40, 52)), open_pyramid(data.gaussian((20, 30, 2)), axes="yxi", chunks=(16, 16))
    return lazypyr.collection({"dem": dem, "powers": stack.map(power)}, method="mean", chunks=(16, 16))


# Points


def _cloud(values, **options):
    return LazyPyramidStore(from_points(*data.points(), values, resolution=1.0, chunks=SMALL, **options))


@recipe()
def points_first_valid():
    return _cloud(data.real((3000,)))


@recipe()
def points_last_in_bands():
    attrs = {"instrument": "VLP-16"}
    return _cloud(data.whole((3000, 2)).astype("u1"), method="last", crs="EPSG:32633", units="meter", attrs=attrs)


@recipe()
def points_mean():
    return _cloud(data.real((3000,), "f8"), method="mean")


@recipe()
def points_sum_with_nan():
    values = data.real((3000,))
    values[::7] = np.nan
    return _cloud(values, method="sum", fill_value=-1)


@recipe()
def points_count():
    return _cloud(None)


@recipe()
def points_max_int16():
    return _cloud((data.whole((3000,)) - 100).astype("i2"), method="max", name="heights")


# Products


@recipe()
def differences_of_all_pairs():
    src = open_pyramid((data.whole((30, 44, 3)) - 99).astype("i2"), axes="yxi", chunks=(16, 16), nodata=7)
    return LazyPyramidStore(src.map("intf_all"))


@recipe(exact=False)
def interferograms_of_neighbours():
    src = open_pyramid(data.gaussian((30, 44, 3)) + 10, axes="yxi", method="mean", chunks=(16, 16))
    return LazyPyramidStore(src.map("intf_seq"))


@recipe(exact=False)
def interferograms_before_reduction():
    src = data.gaussian((30, 44, 3)) + 10
    return LazyPyramidStore(src, axes="yxi", source_product="intf_0", method="mean", chunks=(16, 16))


@recipe(exact=False)
def phase_nodata():
    src = open_pyramid(data.with_gaps(data.gaussian((30, 44)) + 10, 0), nodata=0, chunks=(16, 16))
    return LazyPyramidStore(src, product="phase")


@recipe(exact=False)
def intensity():
    return LazyPyramidStore(data.gaussian((30, 44)) + 10, product="intensity", chunks=(16, 16))


@recipe()
def coherence():
    src = open_pyramid(data.gaussian((30, 44, 2)), axes="yxi", chunks=(16, 16))
    return LazyPyramidStore(src.map("coherence", window=(3, 5), pairs="seq"))


@recipe()
def rescaled():
    src = open_pyramid(data.with_gaps(data.real((50, 70)), np.nan), method="mean", chunks=SMALL)
    return LazyPyramidStore(src.map("rescale", percentiles=(0, 100), nodata=0))


@recipe()
def cast():
    return LazyPyramidStore(data.whole((50, 70), 100_003), method="mean", product="cast", chunks=SMALL)


@recipe()
def composite():
    src = open_pyramid(
        data.whole((5, 40, 52), 10_007).astype("u2"), axes=("band", "y", "x"), method="mean", chunks=SMALL
    )
    windows = [(0, 10_000), (50, 9_000), (100, 8_000)]
    return LazyPyramidStore(src.map("composite", bands=(3, 1, 0), windows=windows, alpha=True))


@recipe()
def colours():
    src = open_pyramid(data.with_gaps(data.real((50, 70)), np.nan), method="mean", chunks=SMALL)
    return LazyPyramidStore(src.map("colormap", name="viridis", vmin=-15.0, vmax=12.5))


@recipe()
def dequantized():
    codes = open_pyramid((data.whole((30, 44, 4)) - 125).astype("i1"), axes="yxi", chunks=(16, 16))
    scales = open_pyramid(data.with_gaps(data.real((30, 44)), np.nan), chunks=(16, 16))
    return LazyPyramidStore(lazypyr.product.dequantize(codes, scales))


@recipe(exact=False, fingerprint=False)
def components():
    y, x = np.indices((40, 52))
    bands = np.stack([3 * x + y, x - 2 * y, data.whole((40, 52), 17), 5 * x + data.whole((40, 52), 29)], axis=-1)
    return LazyPyramidStore(open_pyramid(bands.astype("f4"), axes="yxi", chunks=(16, 16)).map("pca", n=2))


@recipe()
def colours_weighed_by_alpha():
    rgba = data.whole((40, 52, 4)).astype("u1")
    src = open_pyramid(rgba, axes="yxc", source_product="premultiply", method="mean", chunks=(16, 16))
    return LazyPyramidStore(src.map("unpremultiply"))


@lazypyr.product(units="1", dtype="f4")
def power(z, i):
    return z[i].real * z[i].real + z[i].imag * z[i].imag


@recipe()
def product_of_a_user():
    src = open_pyramid(data.gaussian((30, 44, 3)), axes="yxi", chunks=(16, 16))
    return LazyPyramidStore(src.map(power))


def slopes(block):
    padded = block[..., 0].astype("f8")
    padded[1:-1, 1:-1] = padded[2:, 1:-1] - padded[:-2, 1:-1]
    return padded[..., None]


@recipe()
def product_of_blocks_with_a_halo():
    src = open_pyramid(data.real((30, 44, 2)), axes="yxi", method="mean", chunks=(16, 16))
    return LazyPyramidStore(src.map(slopes, channels={"slope": 1}, depth=1))


if __name__ == "__main__":
    from golden.recipes import RECIPES as of_module

    sys.exit(main(of_module, sys.argv[1:]))
