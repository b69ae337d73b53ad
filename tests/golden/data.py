"""Sources of the golden recipes: values by formula, and zarr arrays written by hand.

No generator of random numbers, whose stream may change, and no writer, whose documents may: the golden file must change
only where lazypyr does.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import zlib
from pathlib import Path

import fsspec
import numpy as np
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

ENCODERS = {None: bytes, "zlib": zlib.compress, "gzip": lambda raw: gzip.compress(raw, mtime=0)}


def whole(shape, modulus=251, seed=1):
    """Whole numbers from 0 to below `modulus`, int64, that repeat nowhere near."""
    n = np.arange(math.prod(shape), dtype="i8").reshape(shape)
    return (n * n * 7 + n * 13 * seed + n // 11) % modulus


def real(shape, dtype="f4", seed=1):
    """Numbers of about -18 to 18 that need all bits of their mantissa, so that sums round."""
    return ((whole(shape, 251, seed) - 125) / 7).astype(dtype)


def with_gaps(values, gap, modulus=5):
    """A copy with every box of 4 x 4 pixels in which a formula says so, and single pixels elsewhere, set to `gap`."""
    values = values.copy()
    y, x = np.indices(values.shape[:2])
    values[((y // 4 + x // 4) % modulus == 0) | ((3 * y + x) % 7 == 0)] = gap
    return values


def gaussian(shape, most=9, seed=1):
    """complex64 of whole parts from -most to most: products of two are exact, however a processor fuses them."""
    n = 2 * most + 1
    return (whole(shape, n, seed) - most + 1j * (whole(shape, n, seed + 4) - most)).astype("c8")


def plane(level, window):
    """Pixels of a window of a tilted plane."""
    (top, bottom), (left, right) = window
    rows = np.arange(top, bottom)[:, None]
    return ((rows * 3 + np.arange(left, right)) * 2**level).astype("i4")


def points(n=3000):
    """Coordinates x, y of a cloud on a grid of eighths, several points in some cells and none in others."""
    k = np.arange(n, dtype="i8")
    return (k * 37 % 611) / 8 + 500_000, (k * k * 5 + k // 3) % 397 / 8 + 4_000_000


def stored(array, chunks, *, zarr_format=3, attrs=None, dims=None, fill_value=0, codec=None, absent=(), path=""):
    """Keys and values of a zarr array; those chunks whose index is in `absent` are left out."""
    prefix = f"{path}/" if path else ""
    if zarr_format == 3:
        endian = {"configuration": {"endian": "little"}} if array.dtype.itemsize > 1 else {}
        codecs = [{"name": "bytes", **endian}]
        if codec is not None:
            codecs.append({"name": codec, "configuration": {"level": 6}})
        document = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": array.shape,
            "data_type": array.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": [float(fill_value)] * 2 if array.dtype.kind == "c" else fill_value,
            "codecs": codecs,
            "attributes": attrs or {},
            **({"dimension_names": dims} if dims else {}),
        }
        found = {f"{prefix}zarr.json": _json(document)}
        array, mark, separator = array.astype(array.dtype.newbyteorder("<")), "c/", "/"
    else:
        document = {
            "zarr_format": 2,
            "shape": array.shape,
            "chunks": chunks,
            "dtype": array.dtype.str,
            "fill_value": fill_value,
            "order": "C",
            "compressor": codec and {"id": codec, "level": 6},
            "filters": None,
            "dimension_separator": ".",
        }
        names = {"_ARRAY_DIMENSIONS": dims} if dims else {}
        found = {f"{prefix}.zarray": _json(document), f"{prefix}.zattrs": _json({**(attrs or {}), **names})}
        mark, separator = "", "."
    for index in itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape, chunks, strict=True))):
        if index not in absent:
            part = array[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
            chunk = np.full(chunks, np.asarray(fill_value).astype(array.dtype), array.dtype)
            chunk[tuple(map(slice, part.shape))] = part
            found[f"{prefix}{mark}{separator.join(map(str, index))}"] = ENCODERS[codec](chunk.tobytes())
    return found


def group(attrs, zarr_format=3):
    """Keys and values of a zarr group without its arrays."""
    if zarr_format == 3:
        return {"zarr.json": _json({"zarr_format": 3, "node_type": "group", "attributes": attrs})}
    return {".zgroup": _json({"zarr_format": 2}), ".zattrs": _json(attrs)}


def ome_levels(zarr_format):
    """Keys and values of an OME-Zarr of two levels, the second of which isn't what any method makes of the first."""
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    datasets, files = [], {}
    for level in range(2):
        scale, shift = 0.5 * 2**level, 0.25 * (2**level - 1)
        transformations = [
            {"type": "scale", "scale": [1.0, scale, scale]},
            {"type": "translation", "translation": [0.0, shift, shift]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
        pixels = whole((2, 48 >> level, 64 >> level), seed=level + 1).astype("u1")
        files |= stored(pixels, (1, 16, 16), zarr_format=zarr_format, path=str(level))
    window = {"min": 0, "max": 255, "start": 0, "end": 250}
    colours = {"DAPI": "0000FF", "GFP": "00FF00"}
    channels = [{"label": name, "color": colour, "active": True, "window": window} for name, colour in colours.items()]
    entry, omero = {"name": "cells", "axes": axes, "datasets": datasets}, {"channels": channels}
    if zarr_format == 2:
        attrs = {"multiscales": [{"version": "0.4", **entry}], "omero": omero}
    else:
        attrs = {"ome": {"version": "0.5", "multiscales": [entry], "omero": omero}}
    return {**group(attrs, zarr_format), **files}


def _json(document):
    return json.dumps(document).encode()


def in_memory(files):
    """A zarr MemoryStore of them."""
    as_buffer = default_buffer_prototype().buffer.from_bytes
    return MemoryStore({key: as_buffer(value) for key, value in files.items()})


def at_url(files, name):
    """Their URL: an object store whose address, unlike a folder's, is the same everywhere."""
    system = fsspec.filesystem("memory")
    for key, value in files.items():
        system.pipe(f"/{name}/{key}", value)
    return f"memory://{name}"


def in_folder(files, name):
    """Their path below the current folder."""
    for key, value in files.items():
        path = Path(name, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
    return name
