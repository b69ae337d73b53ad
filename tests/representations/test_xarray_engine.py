"""xr.open_datatree and xr.open_dataset of stores of any layout, by the engine that xarray finds."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import lazypyr
from lazypyr.representations.xarray_engine import LazypyrEngine

ROOT = Path(__file__).resolve().parents[2]
LAT, LON = np.linspace(-89.5, 89.5, 180), np.arange(0.5, 360)
HFLS = xr.DataArray(
    np.arange(2 * 180 * 360, dtype="f4").reshape(2, 180, 360),
    dims=("time", "lat", "lon"),
    coords={
        "time": np.array(["2020-01-01", "2020-02-01"], "M8[ns]"),
        "lat": ("lat", LAT, {"units": "degrees_north"}),
        "lon": ("lon", LON, {"units": "degrees_east"}),
    },
    name="hfls",
    attrs={"units": "W m-2"},
)
SOURCES = {
    "xarray": HFLS,
    "numpy": HFLS.values,
    "uneven rows": HFLS.assign_coords(lat=np.sign(LAT) * np.abs(LAT) ** 1.1),
    "one date": HFLS[0],
}


@pytest.mark.parametrize("layout", ["{level}", "levels/{level}", "{level}/image", "a{level}/b"])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_all_levels_of_any_layout_are_a_tree(source, zarr_format, layout):
    src = SOURCES[source]
    store = lazypyr.LazyPyramidStore(src, layout=layout, zarr_format=zarr_format, method="mean", levels=3)
    tree = xr.open_datatree(store, engine=LazypyrEngine, chunks={})
    leaves = list(tree.leaves)
    assert len(leaves) == 3
    expected = store.pyramid.to_datatree()
    for k, leaf in enumerate(leaves):
        (array,) = leaf.data_vars.values()
        (wanted,) = expected[str(k)].data_vars.values()
        assert array.chunks is not None
        xr.testing.assert_allclose(array.drop_attrs(), wanted.rename(array.name).drop_attrs(), rtol=1e-12)
        assert array.dims == wanted.dims == getattr(src, "dims", array.dims)
    if source == "xarray":
        assert leaves[1].lat.attrs["units"] == "degrees_north"
        assert array.attrs["units"] == "W m-2"


def test_one_level_and_the_finest_one():
    store = lazypyr.LazyPyramidStore(HFLS, method="mean")
    level = xr.open_dataset(store, engine=LazypyrEngine, group="1", chunks={}).hfls
    xr.testing.assert_allclose(level, HFLS.coarsen(lat=2, lon=2).mean(), rtol=1e-6)
    finest = xr.open_dataset(store, engine=LazypyrEngine).hfls
    assert not finest.variable._in_memory
    xr.testing.assert_equal(finest, HFLS)


def test_pyramids_products_collections_and_other_sources(tmp_path):
    pyramid = lazypyr.open_pyramid(HFLS).map("cast", dtype="f8")
    assert xr.open_datatree(pyramid, engine=LazypyrEngine)["0"].to_dataset()["hfls"].dtype == "f8"
    dataset = xr.Dataset({"a": HFLS, "b": HFLS[0] + 1})
    tree = xr.open_datatree(lazypyr.LazyPyramidStore(dataset, method="mean"), engine=LazypyrEngine, chunks={})
    np.testing.assert_array_equal(tree["b/0/image"], HFLS[0] + 1)
    np.testing.assert_array_equal(tree["lat"], LAT)
    np.testing.assert_allclose(tree["a/1"].y, LAT.reshape(-1, 2).mean(1))
    dataset.to_zarr(tmp_path / "d.zarr")
    of_path = xr.open_datatree(tmp_path / "d.zarr", engine=LazypyrEngine, variable="a", method="mean", levels=2)
    xr.testing.assert_allclose(of_path["1"].a, HFLS.coarsen(lat=2, lon=2).mean(), rtol=1e-6)
    packed = HFLS.copy(data=np.full(HFLS.shape, 4, "i2")).assign_attrs(scale_factor=0.5)
    stored = xr.open_datatree(lazypyr.LazyPyramidStore(packed), engine=LazypyrEngine, mask_and_scale=False)
    assert stored["0"].hfls.dtype == "i2"


def test_xarray_finds_the_engine_by_the_entry_point(tmp_path):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["xarray.backends"]
    info = tmp_path / "lazypyr-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lazypyr\nVersion: 9\n")
    lines = [f"{name} = {target}" for name, target in declared.items()]
    (info / "entry_points.txt").write_text("\n".join(["[xarray.backends]", *lines, ""]))
    code = """import sys
sys.path[:0] = sys.argv[1:]
import numpy, xarray, lazypyr
store = lazypyr.LazyPyramidStore(numpy.ones((600, 400)))
print(xarray.open_datatree(store, chunks={})["1/image"].shape, xarray.open_dataset(store).image.shape)
print(list(xarray.backends.list_engines())[-1:], xarray.open_datatree(store, engine="lazypyr")["2"].image.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[:1] == ["(300, 200) (600, 400)"], done.stderr
    assert done.stdout.splitlines()[1].endswith("(150, 100)")
