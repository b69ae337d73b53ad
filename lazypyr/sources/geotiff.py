"""GeoTIFF and COG, local and behind URLs, through rasterio: place, names, colours and overviews are those of the file.

It is brought in by the entry point ``geotiff`` of the group ``lazypyr.sources``, as a package of anybody's would be.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lazypyr._names import public_name
from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.optional import need
from lazypyr._util.places import head_of, is_url, local_path, place_of
from lazypyr.errors import PlanError, SourceError
from lazypyr.geometry.windows import Window
from lazypyr.metadata.georeference import affine_coords, rotated_affine
from lazypyr.sources.base import Source, native
from lazypyr.sources.opener import OpenedSource, Opener, OpenOptions, check_array
from lazypyr.sources.tiff import TiffOpener
from lazypyr.sources.tree import SourceTree

__all__ = ["GeoTiffOpener", "GeoTiffSource"]

Array = np.ndarray[Any, Any]
_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUFFIXES = (".tif", ".tiff", ".gtif", ".gtiff")
# Microscopes' images, of which the package tifffile knows the axes and levels.
_OTHERS = (".ome.tif", ".ome.tiff")
_TOLD = ("<?xml", "<OME", "ImageJ=", '{"shape"')
_STRIP_BYTES = 2**20
# Nothing else of Python runs while GDAL opens a file, so that it must not wait for ever; of a web server it asks for no other.
_WEB = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_TIMEOUT": 60,
    "CPL_VSIL_CURL_USE_HEAD": "NO",
}
_COLORS = {"red": "FF0000", "green": "00FF00", "blue": "0000FF"}


class GeoTiffOpener(Opener):
    """TIFF files that GDAL reads."""

    takes_storage_options = True
    reads_metadata = False

    def can_open(self, src: Any) -> bool:
        place = place_of(src)
        if place is None:
            return False
        name = place.text.partition("?")[0].lower()
        if not name.endswith(_SUFFIXES) or name.endswith(_OTHERS):
            return False
        return is_url(place.text) or head_of(src).startswith(_HEADS)

    def open(self, src: Any, options: OpenOptions) -> OpenedSource | SourceTree:
        place = place_of(src)
        assert place is not None, "that is what can_open says"
        if place.storage_options or options.storage_options:
            raise PlanError(
                f"{place.text}: GDAL reads it by its own settings (AWS_PROFILE, ...), not by storage_options"
            )
        file = _File(place.text if is_url(place.text) else str(Path(local_path(place.text))))
        if not file.is_placed() and file.dataset().tags().get("TIFFTAG_IMAGEDESCRIPTION", "").startswith(_TOLD):
            return TiffOpener().open(src, options)
        sizes = [file.size(level) for level in range(file.count_levels())]
        sources = tuple(GeoTiffSource(file, level, options) for level in range(len(sizes)))
        # An overview covers what level 0 covers, whatever their sizes are.
        steps = [tuple(n0 / n for n0, n in zip(sources[0].shape, source.shape, strict=True)) for source in sources]
        return OpenedSource(sources, tuple((step, tuple((s - 1) / 2 for s in step)) for step in steps))


@dataclass
class _Datasets:
    """Datasets of one thread, of a file as it was at one time."""

    version: Any
    by_level: dict[int, Any]


_of_parents: list[dict[int, _Datasets]] = []


def _close(datasets: dict[int, _Datasets]) -> None:
    for opened in datasets.values():
        for dataset in opened.by_level.values():
            dataset.close()
    datasets.clear()


class _File:
    """A file, opened once in each thread and for each level: GDAL's datasets serve one thread at a time."""

    def __init__(self, path: str) -> None:
        self.path, self.name = path, public_name(path)
        self._datasets: dict[int, _Datasets] = {}
        weakref.finalize(self, _close, self._datasets)
        remake_after_fork(self._forget)

    def _forget(self) -> None:
        # A child leaves its parent's datasets as they are.
        _of_parents.append(dict(self._datasets))
        self._datasets.clear()
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _File, (self.path,)

    def dataset(self, level: int = 0) -> Any:
        """The dataset of rasterio: of the file itself at level 0, else of an overview."""
        thread, version = threading.get_ident(), self.version()
        opened = self._datasets.get(thread)
        if opened is None or opened.version != version:
            _close({} if opened is None else {thread: opened})
            opened = self._datasets[thread] = _Datasets(version, {})
        if level not in opened.by_level:
            opened.by_level[level] = self._open({"overview_level": level - 1} if level else {})
        return opened.by_level[level]

    def _open(self, options: dict[str, Any]) -> Any:
        rasterio = need("rasterio", feature=f"reading {self.name}", extra="geotiff")
        with self._opening, rasterio.Env(**(_WEB if is_url(self.path) else {})), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(self.path, driver="GTiff", **options)

    def is_placed(self) -> bool:
        dataset = self.dataset()
        return bool(dataset.crs) or dataset.transform != type(dataset.transform).identity()

    def count_levels(self) -> int:
        return 1 + len(self.dataset().overviews(1))

    def size(self, level: int) -> tuple[int, int]:
        dataset = self.dataset(level)
        return dataset.height, dataset.width

    def version(self) -> Any:
        """Value that changes when the file is written anew, if it is on this machine."""
        if is_url(self.path):
            return None
        stat = os.stat(self.path)  # noqa: PTH116 - asked for at each read
        return stat.st_mtime_ns, stat.st_size


class GeoTiffSource(Source):
    """One level of a GeoTIFF: the axes ``y, x``, or ``band, y, x``."""

    def __init__(self, file: _File, level: int, options: OpenOptions) -> None:
        self._file, self._level, self._options = file, level, options
        dataset = file.dataset(level)
        if len(set(dataset.dtypes)) != 1:
            raise PlanError(f"{file.name}: its bands are of several dtypes: {', '.join(dataset.dtypes)}")
        self.name = f"{file.name}/{level}" if level else file.name
        single = dataset.count == 1
        self.shape = (dataset.height, dataset.width) if single else (dataset.count, dataset.height, dataset.width)
        self.dtype = native(np.complex64 if dataset.dtypes[0] == "complex_int16" else dataset.dtypes[0])
        self.chunks = self._chunks(dataset)
        check_array(self, file.name)
        self.axes = options.axis_names(self.name, ("y", "x") if single else ("band", "y", "x"), self.shape, self.chunks)
        self.attrs, self.crs = _attributes(dataset), _crs(dataset)
        if file.is_placed():
            placed = affine_coords(list(dataset.transform)[:6])
            # An overview covers what the file covers: the transform of rasterio is its own.
            self.metadata = self.metadata.replaced(affine=rotated_affine(list(dataset.transform)[:6]))
            self.coords = {axis: replace(coord, unit=_unit(dataset.crs)) for axis, coord in placed.items()}
        declared = [value for value in dataset.nodatavals if value is not None]
        self.nodata = options.nodata_of({"_FillValue": declared[0]} if declared else {}, self.dtype)
        # No attribute can say that each band has a scale of its own: then these are the values. Overviews don't repeat them.
        whole = file.dataset()
        several = self.dtype.kind in "iuf" and len({*zip(whole.scales, whole.offsets, strict=True)}) > 1
        self._scales = np.array([whole.scales, whole.offsets])[..., None, None] if several else None
        if several:
            self._hole, self.nodata, self.dtype = self.nodata, None, np.dtype("f8")
        self.fill_value = self.dtype.type(np.nan if several else 0)
        if not single:
            self.display = {
                "labels": self._labels(dataset),
                "colors": [_COLORS.get(c.name, "FFFFFF") for c in dataset.colorinterp],
            }

    def _chunks(self, dataset: Any) -> tuple[int, ...]:
        height, width = dataset.block_shapes[0]
        if width == dataset.width:  # strips, of a row or a few
            rows = max(1, _STRIP_BYTES // (width * self.dtype.itemsize * height)) * height
            height = min(max(rows, height), dataset.height)
        together = dataset.interleaving is not None and dataset.interleaving.name == "pixel"
        return (height, width) if dataset.count == 1 else (dataset.count if together else 1, height, width)

    @staticmethod
    def _labels(dataset: Any) -> list[str]:
        names = zip(dataset.descriptions, dataset.colorinterp, strict=True)
        told = [name or (c.name if c.name in _COLORS or c.name == "alpha" else "") for name, c in names]
        return [name or f"band {number}" for number, name in enumerate(told, 1)]

    def read(self, window: Window, step: Sequence[int] | None = None) -> Array:
        *bands, rows, columns = window
        steps = step or (1,) * len(window)
        try:
            dataset = self._file.dataset(self._level)
            numbers = list(range(bands[0][0] + 1, bands[0][1] + 1, steps[0])) if bands else 1
            block: Array = dataset.read(numbers, window=(rows, columns))
        except Exception as error:
            msg = f"{self.name}: reading {window} failed: {type(error).__name__}: {error}"
            raise SourceError(msg, key=self.name) from error
        block = block[..., :: steps[-2], :: steps[-1]]
        if self._scales is not None:
            scale, offset = self._scales[:, bands[0][0] : bands[0][1] : steps[0]]
            return np.where(block == self._hole, np.nan, block * scale + offset)
        return block.astype(self.dtype, copy=False)

    @property
    def location(self) -> str:
        return self._file.path

    @property
    def fingerprint(self) -> str:
        path = self._file.path if is_url(self._file.path) else os.path.realpath(self._file.path)
        told = (path, self._level, self._file.version(), self.shape, str(self.dtype), self.chunks, self.crs, self.attrs)
        scales = () if self._scales is None else (self._scales.tolist(),)
        return hashlib.blake2b(repr((*told, *scales)).encode(), digest_size=16).hexdigest()

    def content_stamp(self) -> str | None:
        version = self._file.version()
        # Who writes may set the time of the version back, not that of the file's entry.
        return None if version is None else repr((version, os.stat(self._file.path).st_ctime_ns))  # noqa: PTH116

    def refreshed(self) -> GeoTiffSource:
        try:
            fresh = GeoTiffSource(_File(self._file.path), self._level, self._options)
        except Exception as error:
            raise SourceError(f"{self.name}: can't be opened again: {error}", key=self.name) from error
        fresh.opened_as, fresh.given_bounds = self.opened_as, self.given_bounds
        return fresh


def _unit(crs: Any) -> str | None:
    if not crs:
        return None
    if crs.is_geographic:
        return "degree"
    return "m" if crs.linear_units in ("m", "metre", "meter") else str(crs.linear_units)


def _crs(dataset: Any) -> str | None:
    if not dataset.crs:
        return None
    code = dataset.crs.to_epsg()
    return f"EPSG:{code}" if code else str(dataset.crs.to_wkt())


def _attributes(dataset: Any) -> dict[str, Any]:
    """Tags of the file, and scale, offset and units where all bands have the same."""
    attrs: dict[str, Any] = {name: str(value) for name, value in dataset.tags().items()}
    for name, values, plain in (
        ("scale_factor", dataset.scales, 1.0),
        ("add_offset", dataset.offsets, 0.0),
        ("units", dataset.units, None),
    ):
        if len(set(values)) == 1 and values[0] != plain:
            attrs[name] = values[0]
    return attrs
