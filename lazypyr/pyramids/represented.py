"""Representations of pyramids for people and for other packages; most of them build on this package."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, cast

from lazypyr._util.text import size_text
from lazypyr.errors import LazypyrError
from lazypyr.geometry.axes import axes_label

__all__ = ["Represented", "extent_text", "load_representations", "provide_representations"]


class Representations(Protocol):
    """Functions of `lazypyr.representations`."""

    def to_xarray(self, pyramid: Any, level: int, /, **options: Any) -> Any:
        """DataArray of a level."""

    def to_dask(self, pyramid: Any, level: int, /, **options: Any) -> Any:
        """Array of dask of a level."""

    def to_datatree(self, pyramid: Any, /, **options: Any) -> Any:
        """DataTree of the levels."""

    def to_html(self, pyramid: Any, /, **options: Any) -> str:
        """HTML for notebooks."""

    def store_to_html(self, pyramids: Any, engine: Any, what: str, /) -> str:
        """HTML of a store for notebooks."""


_load: Callable[[], Any]


def provide_representations(load: Callable[[], Any]) -> None:
    """Set the function that imports `lazypyr.representations`; the package root does, so that imports run one way."""
    global _load
    _load = load


def load_representations() -> Representations:
    """The representations, imported when first asked for."""
    return cast("Representations", _load())


class Represented:
    """Base of pyramids: what others see of them."""

    def to_xarray(self, level: int = 0, *, chunks: Any = None, decode: bool = True, engine: Any = None) -> Any:
        """DataArray of a level: lazy, with coordinates, attributes and name.

        It is what `xarray.open_dataset` makes of the level in a store, with the dimensions' names of the source.

        Parameters
        ----------
        level : int
            0 is the finest; negative counts from the coarsest.
        chunks : int, dict, tuple or "auto", optional
            Blocks of dask, as for `xarray.open_dataset`; by default a chunk of the level each.
        decode : bool
            Unpack numbers (`scale_factor`, `add_offset`), and make declared no-data NaN.
        engine : lazypyr.Engine, optional
            Engine that computes, and its cache; by default one of its own.

        Returns
        -------
        xarray.DataArray
            Of the level's shape, by dask.

        Raises
        ------
        PlanError
            When there is no such level.
        MissingExtra
            Without xarray or dask.

        Examples
        --------
        >>> import numpy as np, xarray as xr, lazypyr
        >>> heights = xr.DataArray(np.ones((600, 400)), dims=("lat", "lon"), coords={"lat": np.arange(600) / 10})
        >>> level = lazypyr.open_pyramid(heights, method="mean").to_xarray(1)
        >>> dict(level.sizes), level.chunks is not None
        ({'lat': 300, 'lon': 200}, True)
        >>> float(level.lat[0])
        0.05
        """
        return load_representations().to_xarray(self, level, chunks=chunks, decode=decode, engine=engine)

    def to_dask(self, level: int = 0, *, chunks: Any = None, engine: Any = None) -> Any:
        """Array of dask of a level: the numbers as `read` gives them.

        Parameters
        ----------
        level : int
            0 is the finest; negative counts from the coarsest.
        chunks : int, tuple or "auto", optional
            Blocks, as for `dask.array.from_array`; by default a chunk of the level each.
        engine : lazypyr.Engine, optional
            Engine that computes, and its cache; by default one of its own.

        Returns
        -------
        dask.array.Array
            Of the level's shape and dtype.

        Raises
        ------
        PlanError
            When there is no such level.
        MissingExtra
            Without dask.

        Examples
        --------
        >>> import numpy as np, lazypyr
        >>> lazypyr.open_pyramid(np.ones((600, 400), "f4")).to_dask(1).chunks
        ((256, 44), (200,))
        """
        return load_representations().to_dask(self, level, chunks=chunks, engine=engine)

    def to_datatree(self, *, chunks: Any = None, decode: bool = True, engine: Any = None) -> Any:
        """DataTree of all levels, one a group, named by its number.

        Parameters
        ----------
        chunks, decode, engine
            As in `to_xarray`.

        Returns
        -------
        xarray.DataTree
            Lazy, with coordinates.

        Raises
        ------
        MissingExtra
            Without xarray or dask.

        Examples
        --------
        >>> import numpy as np, lazypyr
        >>> tree = lazypyr.open_pyramid(np.ones((600, 400), "f4")).to_datatree()
        >>> list(tree.children), tree["2/image"].shape
        (['0', '1', '2'], (150, 100))
        """
        return load_representations().to_datatree(self, chunks=chunks, decode=decode, engine=engine)

    def _repr_html_(self) -> str:
        return load_representations().to_html(self)

    def __repr__(self) -> str:
        pyramid = cast("Any", self)
        size, chunks = (" x ".join(map(str, sizes)) for sizes in (pyramid.shape, pyramid.chunks))
        count = len(pyramid.levels)
        facts = [
            f"{count} level{'s' if count > 1 else ''} by {pyramid.method}",
            f"{axes_label(pyramid.axes)} {size} {pyramid.dtype}",
            f"chunks {chunks}",
            size_text(math.prod(pyramid.shape) * pyramid.dtype.itemsize),
            extent_text(pyramid),
        ]
        return f"<{type(self).__name__} {pyramid.name!r}: {', '.join(filter(None, facts))}>"


def extent_text(pyramid: Any) -> str:
    """Outer edges of a pyramid along x and y, with their units: "x 0 to 400 m, y 600 to 0 m"; empty where unknown.

    Of a rotated grid the angle of its rows to the x of the world, counter-clockwise.
    """
    try:
        coords = pyramid.coords
        if pyramid.metadata.affine is not None:
            a, _, _, d, _, _ = pyramid.metadata.affine
            return f"a grid rotated by {math.degrees(math.atan2(d, a)):.4g} degrees"
        left, bottom, right, top = pyramid.grid.extent()
    except LazypyrError:  # coordinates that can't be read: a repr is never an error
        return ""
    edges = {"x": (left, right), "y": (top, bottom)}
    return ", ".join(
        f"{axis} {start:.8g} to {stop:.8g}{f' {coords[axis].unit}' if coords[axis].unit else ''}"
        for axis, (start, stop) in edges.items()
        if axis in coords
    )
