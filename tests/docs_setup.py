"""Files and names that the pages of the documentation take for granted, by page."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import zarr

import lazypyr
from support.paths import BUNDLED

SLC = BUNDLED / "sar_gotcha_xband" / "slc.zarr" / "slc"


def looks(count: int = 3) -> np.ndarray:
    """Looks of the radar stack that comes with the package: y, x, look."""
    return zarr.open_array(SLC, mode="r")[:, :, :count]


def scene() -> np.ndarray:
    """A stack large enough for a level 3."""
    return np.tile(looks(), (3, 3, 1))[:1100, :1100]


def _write(folder: Path, data: np.ndarray) -> None:
    zarr.create_array(folder / "slc.zarr", data=data, chunks=(256, 256, 1))


def large_stack(folder: Path) -> dict:
    """``slc.zarr``, and coordinates of points."""
    _write(folder, scene())
    return dict(zip("xyz", np.random.default_rng(0).uniform(0, 50, (3, 1000)), strict=True))


def with_bands(folder: Path) -> dict:
    """As `large_stack`, and a group ``bands.zarr``."""
    group = zarr.create_group(folder / "bands.zarr")
    group.create_array("0", data=np.random.default_rng(0).normal(size=(600, 400)), chunks=(256, 256))
    return {**large_stack(folder), "lazypyr": lazypyr}


def stack(folder: Path) -> dict:
    """``slc.zarr``."""
    _write(folder, looks(4))
    return {}


def stadium(folder: Path) -> dict:
    """``stadium.zarr``."""
    shutil.copytree(BUNDLED / "lidar_autzen" / "stadium.zarr", folder / "stadium.zarr")
    return {}


def derived(folder: Path) -> dict:
    """``slc.zarr``, interferograms of it, and a store of them."""
    stack(folder)
    slc = lazypyr.open_pyramid("slc.zarr", axes="yxi")
    store = lazypyr.LazyPyramidStore(slc.map("intf_0"))
    return {"lazypyr": lazypyr, "zarr": zarr, "pairs": slc.map("intf_all"), "store": store}


class Viewer:
    """Stands in for napari.Viewer, which no test opens: takes what `add_image` is given."""

    def add_image(self, levels, **options):
        self.levels, self.options = levels, options


def with_napari(folder: Path) -> dict:
    """As `derived`, and a module ``napari``."""
    napari = types.ModuleType("napari")
    napari.Viewer, napari.run = Viewer, lambda: None
    sys.modules.setdefault("napari", napari)
    return {**derived(folder), "napari": napari}


def to_extend(folder: Path) -> dict:
    """``dem.zarr``, ``bands.zarr`` and ``heights.asc``."""
    rng = np.random.default_rng(0)
    zarr.create_array(folder / "dem.zarr", data=rng.normal(size=(300, 400)))
    zarr.create_array(folder / "bands.zarr", data=rng.integers(1, 99, (300, 400, 4), "u2"))
    np.savetxt(folder / "heights.asc", np.add.outer(np.zeros(40), 30 * np.arange(50.0)), "%.1f")
    return {}


def files(folder: Path) -> dict:
    """Files of other tools: ``dem.tif``, ``weather.nc``, ``timeseries.h5``."""
    import h5py
    import rasterio
    import xarray as xr

    values = np.random.default_rng(0).normal(size=(3, 300, 400)).astype("f4")
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500000, 4200000, 10, 10)}
    with rasterio.open(
        "dem.tif", "w", driver="GTiff", width=400, height=300, count=1, dtype="float32", **place
    ) as file:
        file.write(values[0], 1)
        file.build_overviews([2])
    xr.Dataset({"t2m": (("time", "lat", "lon"), values)}, {"lat": np.linspace(60, 30, 300)}).to_netcdf("weather.nc")
    with h5py.File(folder / "timeseries.h5", "w") as file:
        file["timeseries"] = values
    return {}


def on_earth(folder: Path) -> dict:
    """``dem.zarr``, which says its place, and ``mask.zarr``, which doesn't."""
    place = {"proj:code": "EPSG:32633", "spatial:dimensions": ["y", "x"]}
    rows = np.add.outer(np.arange(300.0), np.arange(400.0)).astype("f4")
    zarr.create_array(
        folder / "dem.zarr", data=rows, attributes={**place, "spatial:transform": [10, 0, 500000, 0, -10, 4200000]}
    )
    zarr.create_array(folder / "mask.zarr", data=rows > 300)
    zarr.create_array(folder / "scene.zarr", data=np.repeat(rows[..., None], 4, 2).astype("c8"))
    return {}


SETUP = {
    "docs/maps.md": on_earth,
    "docs/sources.md": files,
    "docs/extending.md": to_extend,
    "README.md": large_stack,
    "docs/quickstart.md": large_stack,
    "docs/materialize.md": with_bands,
    "docs/recipes.md": large_stack,
    "docs/scaling.md": stack,
    "docs/points.md": stadium,
    "docs/datasets.md": lambda folder: {},
    "docs/methods.md": lambda folder: {},
    "docs/server.md": derived,
    "docs/viewers.md": with_napari,
}
