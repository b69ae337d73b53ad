"""Types of public calls, as a user's type checker sees them: checked by ``.ci/run types``, never run."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import lazypyr
from lazypyr.plot import points_plot, ras_plot, raster_plot, save_picture, timeseries_plot, ts_plot, view
from lazypyr.server import create_app

IMAGE = np.zeros((8, 8))


# A decorated function keeps its parameters and result.
@lazypyr.product
def difference(z: Any, i: int, j: int) -> NDArray[np.float64]:
    return np.asarray(z[i] - z[j])


@lazypyr.product(units="1", depth=2, version="2")
def mean_of(z: NDArray[np.float64]) -> float:
    return float(z.mean())


assert_type(difference(IMAGE, 0, 1), NDArray[np.float64])
assert_type(mean_of(IMAGE), float)
difference(IMAGE, "0", 1)  # type: ignore[arg-type]
difference(IMAGE, 0)  # type: ignore[call-arg]
lazypyr.product(unit="1")  # type: ignore[call-overload]
made: lazypyr.Product = difference
assert_type(lazypyr.open_pyramid(IMAGE).map(mean_of), lazypyr.Pyramid)

# Options that are handed on are known, and so are those that aren't there.
lazypyr.LazyPyramidStore(IMAGE, method="mean", axes="yx", layout="xarray", cache_bytes=2**20)
lazypyr.LazyPyramidStore(IMAGE, metod="mean")  # type: ignore[call-arg]
lazypyr.LazyPyramidStore(IMAGE, levels=2.5)  # type: ignore[arg-type]
lazypyr.materialize(IMAGE, "out.zarr", method="median", shards=(1024, 1024))
lazypyr.materialize(IMAGE, "out.zarr", method="median", engine=lazypyr.Engine())  # type: ignore[call-arg]
create_app({"a": IMAGE}, method="mean", compressor="zstd")
create_app({"a": IMAGE}, compresor="zstd")  # type: ignore[call-arg]
raster_plot(IMAGE, "phase", bounds=(0, 0, 1, 1), method="mean", axes="yx", clim=(0, 1))
raster_plot(IMAGE, colormap="gray")  # type: ignore[call-arg]
ras_plot(IMAGE, cmap="gray", nodata=0)
ras_plot(IMAGE, colormap="gray")  # type: ignore[call-arg]
timeseries_plot(IMAGE, [1, 2], None, axes="yxi", max_distance=3.0)
ts_plot(IMAGE, [1, 2], None, max_distance=3.0, axes="yxi")
ts_plot(IMAGE, [1, 2], None, distance=3.0)  # type: ignore[call-arg]
points_plot(IMAGE, axis="yx")  # type: ignore[call-arg]
save_picture(IMAGE, "a.png", method="mean", bounds=(0, 0, 1, 1), n_kdim=1)
view(IMAGE, clim=(0, 1), method="mean", bounds=(0, 0, 1, 1), show=False)
view(IMAGE, colour="red")  # type: ignore[call-arg]


# A registered thing may be a function or an object of its class.
@lazypyr.reducer(composable=False)
def p90(boxes: NDArray[Any], axis: tuple[int, ...]) -> NDArray[Any]:
    return np.asarray(np.percentile(boxes, 90, axis=axis))


lazypyr.register_reducer("p90", p90)
lazypyr.register_product("difference", difference)
lazypyr.register_layout("archive", lazypyr.StoreLayout(zarr_format=2))
lazypyr.register_layout("archive", 2)  # type: ignore[arg-type]
