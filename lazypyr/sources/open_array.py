"""Openers of what is already an array: numpy, xarray, and anything that slices like one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.metadata import DatasetMetadata, georeference
from lazypyr.sources.array import ArraySource, NumpySource, dask_chunks, encoded_chunks
from lazypyr.sources.axes import axis_role
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions, check_array
from lazypyr.sources.xarray_variables import crs_of_indexes, surroundings_of

__all__ = ["ArrayLikeOpener", "DataArrayOpener", "NumpyOpener"]


class NumpyOpener(Opener):
    """Arrays of numpy."""

    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        return isinstance(src, np.ndarray)

    def open(self, src: Any, options: OpenOptions) -> OpenedSource:
        if isinstance(src, np.ma.MaskedArray):
            raise PlanError("a masked array: give src.filled(value), and nodata=value (NaN needs no nodata=)")
        name = "numpy array"
        check_array(src, name)
        names = options.axis_names(name, None, src.shape, src.shape)
        metadata = DatasetMetadata().replaced(**options.numbers_of({}, src.dtype))
        return OpenedSource((NumpySource(src, names, name=name, metadata=metadata),))


class DataArrayOpener(Opener):
    """Arrays of xarray, with their coordinates."""

    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        return all(hasattr(src, name) for name in ("dims", "coords", "variable"))

    def open(self, src: Any, options: OpenOptions) -> OpenedSource:
        name = f"xarray DataArray {src.name!r}"
        check_array(src, name)
        chunks = dask_chunks(src.data) if getattr(src, "chunks", None) else encoded_chunks(src)
        preferred = chunks or src.shape
        # What was packed has been unpacked, its fill values made NaN: `_FillValue` of the encoding is about stored numbers.
        packed = {"scale_factor", "add_offset"} & set(src.encoding) or np.dtype(src.dtype).kind == "f"
        attrs = {**src.attrs, **{k: v for k, v in src.encoding.items() if k == "_FillValue" and not packed}}
        around = surroundings_of(src, attrs)
        coordinates = around.coordinates()
        roles = [axis_role(coordinates[dim].attrs) if dim in coordinates else None for dim in around.dims if dim]
        names = options.axis_names(name, around.dims, src.shape, preferred, roles)
        metadata = DatasetMetadata(**around.members(names), name=None if src.name is None else str(src.name))
        metadata = metadata.replaced(
            attrs=dict(src.attrs),
            crs=metadata.crs or crs_of_indexes(src),
            **options.numbers_of(attrs, src.dtype),
        )
        if isinstance(src.variable._data, np.ndarray):  # noqa: SLF001 - `.data` would load a lazy backend array whole
            return OpenedSource((NumpySource(src.values, names, name=name, metadata=metadata),))
        return OpenedSource((ArraySource(src, names, chunks=chunks, name=name, metadata=metadata),))


class ArrayLikeOpener(Opener):
    """Anything with shape, dtype and slicing: arrays of dask, h5py, zarr 2."""

    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        return all(hasattr(src, name) for name in ("shape", "dtype", "__getitem__"))

    def open(self, src: Any, options: OpenOptions) -> OpenedSource:
        name = f"{type(src).__module__.split('.')[0]} array"
        check_array(src, name)
        chunks = getattr(src, "chunks", None)
        if chunks and not all(isinstance(c, int | np.integer) for c in chunks):
            chunks = dask_chunks(src)
        names = options.axis_names(name, None, src.shape, chunks or src.shape)
        attrs = dict(getattr(src, "attrs", {}) or {})
        coords, crs = georeference(attrs, names, src.shape)
        source = ArraySource(
            src,
            names,
            name=name,
            chunks=chunks,
            metadata=DatasetMetadata(along=coords, crs=crs, attrs=attrs).replaced(
                **options.numbers_of(attrs, src.dtype)
            ),
        )
        return OpenedSource((source,))
