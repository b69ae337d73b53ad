"""`ras_plot`, `pc_plot` and `ts_plot`: plots with moraine's names and arguments, for its notebooks."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import holoviews as hv
import numpy as np

from lazypyr.errors import PlanError
from lazypyr.plot.options import PointsPlotOptions, RasterPlotOptions, TimeseriesPlotOptions
from lazypyr.plot.points import InteractivePoints, points_plot, shown_points
from lazypyr.plot.raster import interactive_raster, open_for_plot, raster_plot
from lazypyr.plot.selection import ColumnValues, cloud_of
from lazypyr.plot.timeseries import timeseries_plot
from lazypyr.points.columns import as_column
from lazypyr.points.pyramid import PointsPyramid
from lazypyr.pyramids.base import Pyramid
from lazypyr.pyramids.open import open_pyramid
from lazypyr.registry import check_options

__all__ = ["pc_plot", "ras_plot", "ts_plot"]

PostProc = str | Callable[..., Any]


def ras_plot(
    data: Any,
    post_proc: PostProc | None = None,
    n_kdim: int | None = None,
    bounds: Sequence[float] | None = None,
    level_increase: int = 0,
    **options: Unpack[RasterPlotOptions],
) -> hv.DynamicMap:
    """Plot a raster with moraine's arguments, see `raster_plot`.

    Parameters
    ----------
    data : array, zarr array or path
        Raster of shape ``(y, x, *channels)``, or with other axes if it names them; or the folder that ``ras_pyramid`` made.
    post_proc : str or callable, optional
        Product to show, as for `raster_plot`.
    n_kdim : int, optional
        Number of key dimensions of a function.
    bounds : sequence of four float, optional
        Coordinates of the **centres** of the first and last pixel, ``(x_first, y_first, x_last, y_last)``, as moraine has
        them; `raster_plot` takes the outer edges.
    level_increase : int, default 0
        Number of levels coarser (negative: finer) than one data pixel a screen pixel.
    **options : dict
        Further options of `raster_plot`.

    Returns
    -------
    holoviews.DynamicMap
        Map of `holoviews.Image`.

    See Also
    --------
    raster_plot : The same plot with lazypyr's arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.plot import ras_plot
    >>> stack = np.exp(1j * np.arange(64 * 64 * 3).reshape(64, 64, 3)).astype("complex64")
    >>> ras_plot(stack, post_proc="intf_seq")[0].data.shape
    (64, 64)
    """
    check_options("ras_plot", options, ras_plot, raster_plot, open_pyramid)
    look = {name: options.pop(name, None) for name in ("labels", "clim", "cmap", "title", "engine")}  # type: ignore[misc]
    upside_down = options.pop("invert_yaxis", False)
    recipe: dict[str, Any] = dict(options)
    recipe["axes"] = recipe.get("axes") or _axes(data, recipe)
    if bounds is not None:
        opening = {
            name: recipe[name] for name in ("axes", "order", "storage_options", "allow_codecs") if name in recipe
        }
        grid = open_for_plot(data, None, **opening)[0].grid
        recipe["bounds"] = _edges(bounds, grid.nx, grid.ny)
    clim, engine = look.pop("clim"), look.pop("engine")
    interactive = interactive_raster(
        data, post_proc, n_kdim, level_increase=level_increase, clim=clim, engine=engine, **recipe
    )
    return interactive.plot(**look, invert_yaxis=upside_down)


def _axes(data: Any, recipe: Mapping[str, Any]) -> str | None:
    """Axes y, x, then channels, of a raster that doesn't name its own; None of one that does."""
    if isinstance(data, Pyramid):
        return None
    if isinstance(data, str | Path):
        opening = {name: recipe[name] for name in ("storage_options", "allow_codecs", "variable") if name in recipe}
        pyramid = open_for_plot(data, None, **opening)[0]
        shape = () if pyramid.metadata.dims or pyramid.metadata.ome else pyramid.shape
    else:
        shape = getattr(data, "shape", ())
    return "yxij"[: len(shape)] if len(shape) in (2, 3, 4) else None


def _edges(bounds: Sequence[float], nx: int, ny: int) -> tuple[float, ...]:
    """Outer edges (left, bottom, right, top) of the centres of the first and last pixel."""
    if len(bounds) != 4:
        raise PlanError(
            f"bounds: expected four finite numbers (x_first, y_first, x_last, y_last), got {tuple(bounds)!r}"
        )
    x_first, y_first, x_last, y_last = map(float, bounds)
    half_x = (x_last - x_first) / (nx - 1) / 2 if nx > 1 else 0.5
    half_y = (y_last - y_first) / (ny - 1) / 2 if ny > 1 else 0.5
    return x_first - half_x, y_last + half_y, x_last + half_x, y_first - half_y


def pc_plot(
    data: Any,
    y: Any = None,
    x: Any = None,
    ras_resolution: float | None = None,
    post_proc_pc: PostProc | None = None,
    n_kdim: int | None = None,
    rtree: Any = None,
    level_increase: int = 0,
    *,
    post_proc_ras: PostProc | None = None,
    **options: Unpack[PointsPlotOptions],
) -> tuple[hv.DynamicMap, hv.DynamicMap]:
    """Plot a point cloud with moraine's arguments, see `points_plot`.

    Parameters
    ----------
    data : array, path or PointsPyramid
        Values, shape ``(n, *channels)``, with `y` and `x` of shape ``(n,)``; or the folder of ``pc_pyramid``; or points
        as for `points_plot`.
    y : array-like, path or str, optional
        Coordinates y. With a folder `y` and `x` may be ``post_proc_ras, post_proc_pc``, as in `moraine.cli.pc_plot`.
    x : array-like, path or str, optional
        Coordinates x.
    ras_resolution : float, optional
        Pixel size in the units of the coordinates; by default 20, or that of the folder.
    post_proc_pc : str or callable, optional
        Product of the values: a name, or ``f(data, numbers, *kdims)``; of the raster too, unless `post_proc_ras` is given.
    n_kdim : int, optional
        Number of key dimensions of a function.
    rtree : object, optional
        Not needed; accepted for old notebooks.
    level_increase : int, default 0
        Number of levels coarser (negative: finer) than one data pixel a screen pixel.
    post_proc_ras : str or callable, optional
        Product of the raster: a name, or ``f(data, xslice, yslice, *kdims)``; given alone it is that of the points too.
    **options : dict
        Further options of `points_plot`.

    Returns
    -------
    images : holoviews.DynamicMap
        Map of `holoviews.Image`.
    points : holoviews.DynamicMap
        Map of `holoviews.Points`.

    Raises
    ------
    PlanError
        For one of `x` and `y` alone, or different names for raster and points.

    See Also
    --------
    points_plot : The same plots with lazypyr's arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.plot import pc_plot
    >>> x, y = np.random.default_rng(0).uniform(0, 100, (2, 500))
    >>> images, points = pc_plot(x + y, y, x, ras_resolution=5)
    >>> len(points[()])
    500
    """
    folder = Path(data) if isinstance(data, str | Path) and (Path(data) / "pc.zarr").is_dir() else None
    if folder is not None:
        post_proc_ras = y if post_proc_ras is None else post_proc_ras
        post_proc_pc = x if post_proc_pc is None else post_proc_pc
        data, y, x = folder / "pc.zarr", folder / "y.zarr", folder / "x.zarr"
    if (x is None) != (y is None):
        raise PlanError("x and y: give both, or none for points that know them")
    if isinstance(post_proc_ras, str) and isinstance(post_proc_pc, str) and post_proc_ras != post_proc_pc:
        raise PlanError(f"post_proc_ras={post_proc_ras!r} and post_proc_pc={post_proc_pc!r} show different things")
    if x is not None:
        data = _points(x, y, data, folder if ras_resolution is None else None, ras_resolution)
    return _points_plots(data, post_proc_ras, post_proc_pc, n_kdim, level_increase, options)


def _points(x: Any, y: Any, values: Any, folder: Path | None, resolution: float | None) -> PointsPyramid:
    """Points of arrays, or of a folder, whose raster gets the shape that it has there."""
    from lazypyr.points import from_points

    if folder is None:
        return from_points(x, y, values, resolution=20 if resolution is None else resolution)
    resolutions, shape = _resolutions(folder)
    made = []
    for each in resolutions:
        made.append(from_points(x, y, values, resolution=each))
        if made[-1].shape[:2] == shape:
            return made[-1]
    return made[0]


def _points_plots(
    points: Any,
    post_proc_ras: PostProc | None,
    post_proc_pc: PostProc | None,
    n_kdim: int | None,
    level_increase: int,
    options: PointsPlotOptions,
) -> tuple[hv.DynamicMap, hv.DynamicMap]:
    """Plots of points whose raster and whose single points may have functions of their own."""
    check_options("pc_plot", options, pc_plot, points_plot)
    pyramid, engine = open_for_plot(points, options.get("engine"))
    cloud = cloud_of(pyramid)
    far = shown_points(cloud, pyramid, post_proc_pc if post_proc_ras is None else post_proc_ras, n_kdim)
    near = far if None in (post_proc_ras, post_proc_pc) else shown_points(cloud, pyramid, post_proc_pc, n_kdim)
    interactive = InteractivePoints(
        cloud, far.pyramid, engine, level_increase=level_increase, clim=options.get("clim"), sizes=far.sizes,
        near=near.pyramid,
    )  # fmt: skip
    return interactive.plots(labels=options.get("labels"), cmap=options.get("cmap"), title=options.get("title"))


def _resolutions(folder: Path) -> tuple[list[float], tuple[int, int]]:
    """Pixel sizes that a folder of moraine may have been made with, the likeliest first, and the shape of its raster.

    Its bounds are the centres of the first and last pixel, rounded to floats: of the numbers that give them the one with the
    fewest digits is what somebody wrote; those beside it count where the raster would have another shape.
    """
    import zarr

    bounds = tomllib.loads((folder / "bounds.toml").read_text(encoding="utf-8"))["bounds"]
    left, bottom, right, top = map(float, bounds)
    ny, nx = zarr.open_array(str(folder / "idx_0.zarr"), mode="r").shape
    steps = [(first, last, n - 1) for first, last, n in ((left, right, nx), (bottom, top, ny)) if n > 1]
    if not steps:
        return [20.0], (ny, nx)
    estimates = [(last - first) / n for first, last, n in sorted(steps, key=lambda step: -step[2])]

    def fits(resolution: float) -> bool:
        return all(abs(a + m * resolution - b) <= 2 * math.ulp(max(abs(a), abs(b))) for a, b, m in steps)

    short = (float(f"{estimates[0]:.{digits}g}") for digits in range(1, 18))
    found = next((resolution for resolution in short if fits(resolution)), estimates[0])
    beside = [math.nextafter(near, end) for near in (found, *estimates) for end in (math.inf, 0)]
    return [found, *estimates, *beside], (ny, nx)


def ts_plot(
    v: Any,
    t: Any,
    source_plot: Any,
    kdtree: Any = None,
    y: Any = None,
    x: Any = None,
    reference: bool = False,  # noqa: FBT001, FBT002 - moraine's
    post_proc_ts: Callable[..., Any] | None = None,
    **options: Unpack[TimeseriesPlotOptions],
) -> hv.DynamicMap:
    """Plot time series with moraine's arguments, see `timeseries_plot`.

    Parameters
    ----------
    v : array, path, PointsPyramid or source of a raster
        Values, shape ``(n, time)``, with `kdtree` or with `y` and `x`; or values as for `timeseries_plot`.
    t : sequence
        Times, one a channel.
    source_plot : HoloViews object, or tuple of them
        Plot to tap.
    kdtree : scipy.spatial.KDTree, optional
        Tree over ``(y, x)``, as moraine's users make it; that of `timeseries_plot` is over ``(x, y)``.
    y : array-like or path, optional
        Coordinates y.
    x : array-like or path, optional
        Coordinates x.
    reference : bool, default False
        Show series relative to the point of the last double tap.
    post_proc_ts : callable, optional
        ``f(v, number)``, with a reference ``f(v, number, reference_number)``.
    **options : dict
        Further options of `timeseries_plot`.

    Returns
    -------
    holoviews.DynamicMap
        Map of `holoviews.Scatter`.

    See Also
    --------
    timeseries_plot : The same plot with lazypyr's arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.plot import pc_plot, ts_plot
    >>> x, y = np.random.default_rng(0).uniform(0, 100, (2, 500))
    >>> v = np.outer(x, np.arange(3))
    >>> images, points = pc_plot(v, y, x, ras_resolution=5)
    >>> series = ts_plot(v, [2020, 2021, 2022], images, y=y, x=x)
    >>> series.event(x=x[7], y=y[7])
    >>> bool((series[()].dimension_values("v") == v[7]).all())
    True
    """
    x, y = _column(x), _column(y)
    if kdtree is not None:
        v = ColumnValues(as_column(v, "v")) if isinstance(v, str | Path) else v
        kdtree = _FlippedTree(kdtree)
    return timeseries_plot(
        v, t, source_plot, reference=reference, x=x, y=y, kdtree=kdtree, post_proc=post_proc_ts, **options
    )


class _FlippedTree:
    """A KDTree of ``(y, x)`` as one of ``(x, y)``."""

    def __init__(self, tree: Any) -> None:
        self._tree, self.n, self.data = tree, tree.n, np.asarray(tree.data)[:, ::-1]

    def query(self, point: tuple[float, float], **options: Any) -> tuple[float, int]:
        """Distance and number of the nearest point."""
        x, y = point
        distance, number = self._tree.query((y, x), **options)
        return distance, number


def _column(data: Any) -> Any:
    """Array in memory of an array or a path; None of None."""
    if isinstance(data, str | Path):
        column = as_column(data, str(data))
        data = column.read(tuple((0, n) for n in column.shape))
    return None if data is None else np.asarray(data)
