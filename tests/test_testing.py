"""The test classes for authors, run on sources, reducers and products of ours; and on faulty ones, which they must find."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import rasterio
import tifffile
import zarr

import lazypyr
from lazypyr import open_pyramid
from lazypyr.sources.open import open_source
from lazypyr.testing import ProductTests, ReducerTests, SourceTests

PIXELS = np.random.default_rng(0).integers(0, 200, (90, 70)).astype("u2")


class OfAFile(SourceTests):
    @pytest.fixture(autouse=True)
    def _written(self, tmp_path):
        self.path = tmp_path / self.file
        self.write()

    def open(self):
        return open_source(self.path).sources[0]

    def expected(self):
        return PIXELS


class TestZarr(OfAFile):
    file = "a.zarr"

    def write(self):
        zarr.create_array(self.path, data=PIXELS, chunks=(32, 16))


class TestGeoTiff(OfAFile):
    file = "a.tif"

    def write(self):
        place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500000, 4200000, 10, 10)}
        with rasterio.open(
            self.path, "w", driver="GTiff", height=90, width=70, count=1, dtype="uint16", **place
        ) as file:
            file.write(PIXELS, 1)


class TestOmeTiff(OfAFile):
    file = "a.ome.tif"

    def write(self):
        tifffile.imwrite(self.path, PIXELS, tile=(32, 32), metadata={"axes": "YX"})


class TestHdf5(OfAFile):
    file = "a.h5"

    def write(self):
        with h5py.File(self.path, "w") as file:
            file.create_dataset("a", data=PIXELS, chunks=(32, 32))


class TestMean(ReducerTests):
    reducer = "mean"
    dtypes = ("f4", "f8")

    def expected(self, pixels):
        return pixels.reshape(len(pixels) // 2, 2, -1, 2).mean((1, 3))


class TestMedian(ReducerTests):
    reducer = "median"


class TestExpression(ProductTests):
    def pyramid(self):
        return open_pyramid(PIXELS, method="mean", chunks=16).map("expression", text="b0 * 2 + 1")

    def expected(self):
        return PIXELS * 2.0 + 1


class Shifted(lazypyr.Source):
    """A source whose windows are off by a pixel."""

    name, shape, dtype, axes, chunks, fingerprint = (
        "shifted",
        PIXELS.shape,
        PIXELS.dtype,
        ("y", "x"),
        (32, 32),
        "shifted",
    )

    def read(self, window, step=None):
        return np.roll(PIXELS, 1, 0)[tuple(slice(a, b, s) for (a, b), s in zip(window, step or (1, 1)))]


class Unsteady(Shifted):
    """A source that has another fingerprint each time, and ignores steps."""

    @property
    def fingerprint(self):
        return str(np.random.random())

    def read(self, window, step=None):
        return PIXELS[tuple(slice(a, b) for a, b in window)]


class _Of(SourceTests):
    __test__ = False

    def __init__(self, kind):
        self.kind = kind

    def open(self):
        return self.kind()

    def expected(self):
        return PIXELS


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (Shifted, "test_every_window_is_the_part_of_the_whole"),
        (Shifted, "test_it_makes_a_pyramid"),
        (Unsteady, "test_every_window_is_the_part_of_the_whole"),
        (Unsteady, "test_its_fingerprint_is_that_of_its_content"),
    ],
)
def test_faults_are_found(kind, test):
    with pytest.raises(AssertionError):
        getattr(_Of(kind), test)()
