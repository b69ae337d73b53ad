"""Accessors ``da.lazypyr`` of DataArrays and ``ds.lazypyr`` of Datasets, registered once both xarray and lazypyr are imported, in either order."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["DatasetAccessor", "PyramidAccessor", "register_with_xarray"]


class PyramidAccessor:
    """Pyramid of a DataArray, as ``da.lazypyr``.

    Parameters
    ----------
    array : xarray.DataArray
        Any that `lazypyr.open_pyramid` opens, lazy ones too: no pixel is read before one is asked for.

    Examples
    --------
    >>> import numpy as np, xarray as xr, lazypyr
    >>> heights = xr.DataArray(np.ones((600, 400)), dims=("lat", "lon"), coords={"lat": np.arange(600) / 10})
    >>> heights.lazypyr.level(2, method="mean").sizes
    Frozen({'lat': 150, 'lon': 100})
    >>> heights.lazypyr.pyramid().axes
    ('y', 'x')
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    def pyramid(self, **options: Any) -> Any:
        """Pyramid of the array.

        Parameters
        ----------
        **options
            For `lazypyr.open_pyramid`.
        """
        from lazypyr.pyramids.open import open_pyramid

        return open_pyramid(self._array, **options)

    def store(self, **options: Any) -> Any:
        """Zarr store of the pyramid.

        Parameters
        ----------
        **options
            For `lazypyr.LazyPyramidStore`.
        """
        from lazypyr.store import LazyPyramidStore

        return LazyPyramidStore(self._array, **options)

    def level(self, level: int, **options: Any) -> Any:
        """DataArray of a level, see `lazypyr.Pyramid.to_xarray`.

        Parameters
        ----------
        level : int
            0 is the array itself; negative counts from the coarsest. There are as many levels as it takes.
        **options
            For `lazypyr.open_pyramid`.
        """
        pyramid = self.pyramid(**options)
        if level >= len(pyramid.levels) and "levels" not in options:
            pyramid = self.pyramid(**options, levels=level + 1)
        return pyramid.to_xarray(level)

    def to_datatree(self, **options: Any) -> Any:
        """DataTree of all levels, see `lazypyr.Pyramid.to_datatree`.

        Parameters
        ----------
        **options
            For `lazypyr.open_pyramid`.
        """
        return self.pyramid(**options).to_datatree()

    def plot(self, post_proc: Any = None, **options: Any) -> Any:
        """Plot that reads what is visible, see `lazypyr.plot.raster_plot`.

        Parameters
        ----------
        post_proc : str, callable or Product, optional
            Product to show.
        **options
            For `lazypyr.plot.raster_plot`.
        """
        from lazypyr.plot import raster_plot

        return raster_plot(self._array, post_proc, **options)

    def serve(self, **options: Any) -> Any:
        """Server of the pyramid under the array's name, in the background.

        Parameters
        ----------
        **options
            For `lazypyr.serve`.
        """
        from lazypyr.server import serve

        return serve({str(self._array.name or "array"): self._array}, **{"background": True, **options})

    def _repr_html_(self) -> str:
        return str(self.pyramid()._repr_html_())


class DatasetAccessor:
    """Pyramids of all rasters of a Dataset, as ``ds.lazypyr``.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any that `lazypyr.LazyPyramidStore` opens.

    Examples
    --------
    >>> import numpy as np, xarray as xr, lazypyr
    >>> plane = (("lat", "lon"), np.ones((600, 400)))
    >>> list(xr.Dataset({"t2m": plane, "rain": plane}).lazypyr.store().pyramids)
    ['t2m', 'rain']
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def store(self, **options: Any) -> Any:
        """Zarr store of the pyramids, each in the group of its variable.

        Parameters
        ----------
        **options
            For `lazypyr.LazyPyramidStore`.
        """
        from lazypyr.store import LazyPyramidStore

        return LazyPyramidStore(self._dataset, **options)

    def serve(self, **options: Any) -> Any:
        """Server of the pyramids under the name "dataset", in the background.

        Parameters
        ----------
        **options
            For `lazypyr.serve`.
        """
        from lazypyr.server import serve

        return serve({"dataset": self._dataset}, **{"background": True, **options})


def register_with_xarray() -> None:
    """Register the accessor: now where xarray is imported, else as soon as somebody imports it."""
    module = sys.modules.get("xarray")
    if module is not None and hasattr(module, "register_dataarray_accessor"):
        _register(module)
    elif not any(isinstance(finder, _AtImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AtImport())


def _register(xarray: ModuleType) -> None:
    if not hasattr(xarray.DataArray, "lazypyr"):
        xarray.register_dataarray_accessor("lazypyr")(PyramidAccessor)
        xarray.register_dataset_accessor("lazypyr")(DatasetAccessor)


class _AtImport(importlib.abc.MetaPathFinder):
    """Finder that finds nothing by itself, but has the accessor registered once xarray was imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "xarray" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loader that registers the accessor after the one it wraps has run the module."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._inner.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        _register(module)
