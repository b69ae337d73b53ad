"""Entrance to reprojection, which builds on this package: the package root says how it is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

__all__ = ["Reprojectable", "load_maps", "provide_maps"]


class Maps(Protocol):
    """Pyramids on other grids, implemented by `lazypyr.maps.reproject`."""

    def reproject(self, pyramid: Any, /, **options: Any) -> Any:
        """The pyramid on another grid."""

    def reprojected_again(self, parent: Any, entry: Any, /) -> Any:
        """The pyramid of a recipe's member `reproject`."""


_load: Callable[[], Maps]


def provide_maps(load: Callable[[], Maps]) -> None:
    """Set the function that imports `lazypyr.maps.reproject`; the package root does, so that imports run one way."""
    global _load
    _load = load


def load_maps() -> Maps:
    """The module that reprojects, imported when first asked for."""
    return _load()


class Reprojectable:
    """Base of pyramids: what makes others of them on other grids."""

    def reproject(
        self,
        crs: Any = None,
        *,
        tiling: Any = None,
        resolution: float | None = None,
        bounds: Sequence[float] | None = None,
        zoom: int | Sequence[int] | None = None,
        extent: str = "data",
        method: str | None = None,
        source_crs: Any = None,
        lonlat: Any = None,
    ) -> Any:
        """Pyramid in another map projection, computed when it is read.

        Each 256 x 256 pixels are made of the level of this pyramid whose pixels are just not larger, and of the few chunks of it
        that they need. A pixel holds something where its centre lies within the edges of the source.

        Parameters
        ----------
        crs : str or object that pyproj takes, optional
            "EPSG:32633", WKT, PROJJSON. Either this or `tiling`.
        tiling : {"WebMercatorQuad", "WorldCRS84Quad"}, optional
            Tile matrix set of OGC: each chunk of each level is one of its tiles.
        resolution : float, optional
            With `crs`: size of a pixel, in units of the CRS; by default that of the source's pixels, in the median.
        bounds : (left, bottom, right, top), optional
            With `crs`: outer edges, in units of the CRS; by default those of the source. The right one and the
            lower one are moved outwards to whole pixels.
        zoom : int or (int, int), optional
            With `tiling`: the coarsest and the finest zoom; by default from the one at which the source is about one tile to
            the one whose pixels are nearest in size to the source's.
        extent : {"data", "world"}, default "data"
            With `tiling`: the tiles of the coarsest zoom that the source lies in, or all of them.
        method : {"nearest", "bilinear", "cubic", "average", "mode"}, optional
            By default bilinear; nearest for masks, flags, labels, wrapped phases, and where levels are made by mode.

        source_crs : str or object that pyproj takes, optional
            CRS of the coordinates of this pyramid, instead of what its metadata say.
        lonlat : (array, array) or (Pyramid, Pyramid), optional
            Longitude and latitude of each pixel in degrees, of the shape of level 0 in y and x: curvilinear grids, radar
            geometry. By default those that the dataset has as 2-D coordinates, where no CRS is known.

        Returns
        -------
        Pyramid
            Of the same dtype. What holds nothing is the declared nodata, else NaN, else the fill value.

        Raises
        ------
        PlanError
            Where the place of the source isn't known, it lies outside of the CRS or of the bounds, or the method would mix
            classes.
        MissingExtra
            Without pyproj.

        Examples
        --------
        >>> import numpy as np, lazypyr
        >>> from lazypyr.geometry.grid import Coord
        >>> heights = lazypyr.open_pyramid(np.ones((300, 300), "f4"), method="mean", bounds=(400000, 5600000, 430000, 5630000))
        >>> tiles = heights.reproject(tiling="WebMercatorQuad", source_crs="EPSG:32630")
        >>> tiles.crs, tiles.chunks, tiles.attrs["tile_matrix_limits"][0]["tileMatrix"]
        ('EPSG:3857', (256, 256), '10')
        """
        return load_maps().reproject(
            self,
            crs=crs,
            tiling=tiling,
            resolution=resolution,
            bounds=bounds,
            zoom=zoom,
            extent=extent,
            method=method,
            source_crs=source_crs,
            lonlat=lonlat,
        )
