"""Arrays of every kind of source, and hypothesis strategies for them."""

from __future__ import annotations

import warnings

import numpy as np
import zarr
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from support.faultstore import FaultStore

DTYPES = [
    "?", "|i1", "|u1", "<i2", ">u2", "<i4", ">i4", "<u4", "<i8", ">u8", "<f2", "<f4", ">f4", "<f8", ">f8",
    "<c8", ">c8", "<c16", "<M8[s]", "<m8[ms]",
]  # fmt: skip


def random_array(seed, shape, dtype):
    """Values of the whole range of a dtype, some NaN and NaT among them."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype.newbyteorder("="), endpoint=True).astype(dtype)
    if dtype.kind in "mM":
        values = rng.integers(-(10**9), 10**9, shape).astype("<i8")
        values[rng.random(shape) < 0.1] = np.iinfo("i8").min
        return values.view(dtype.newbyteorder("<")).astype(dtype)
    values = rng.normal(size=shape) * 100
    if dtype.kind == "c":
        values = values + 1j * rng.normal(size=shape)
    values[rng.random(shape) < 0.1] = np.nan
    return values.astype(dtype)


def zarr_array(array, *, store=None, name=None, zarr_format=3, chunks=None, **options):
    """A zarr array that holds `array`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = zarr.create_array(
            MemoryStore() if store is None else store,
            name=name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=chunks or array.shape,
            zarr_format=zarr_format,
            **options,
        )
        made[...] = array
    return made


@st.composite
def shapes(draw, ndim=2, most=40):
    return tuple(draw(st.integers(1, most)) for _ in range(ndim))


@st.composite
def stored(draw, array):
    """`array` in some zarr array: v2 or v3, sharded or not, both separators, chunks that needn't divide."""
    chunks = tuple(draw(st.integers(1, n + 3)) for n in array.shape)
    zarr_format = draw(st.sampled_from([2, 3]))
    options = {"compressors": draw(st.sampled_from(["auto", None]))}
    separator = draw(st.sampled_from([".", "/"]))
    if zarr_format == 2:
        options["order"] = draw(st.sampled_from("CF"))
        options["chunk_key_encoding"] = {"name": "v2", "separator": separator}
    else:
        options["chunk_key_encoding"] = {"name": draw(st.sampled_from(["default", "v2"])), "separator": separator}
        if draw(st.booleans()):
            options["shards"] = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    return zarr_array(array, zarr_format=zarr_format, chunks=chunks, **options)


class Place:
    """The same zarr array as a folder, a mapping, a MemoryStore, or a store that only zarr can read; its keys may be changed."""

    KINDS = ("local", "mapping", "memory", "zarr")

    def __init__(self, kind, folder, array, **options):
        made = zarr_array(array, **options)
        self.kind, self.folder = kind, folder / "array.zarr"
        self.content = {key: value.to_bytes() for key, value in made.store._store_dict.items()}
        self.before = dict(self.content)
        self.store = made.store
        if kind == "local":
            for key, value in self.content.items():
                self[key] = value
        self.src = {
            "local": self.folder,
            "mapping": self.content,
            "memory": made,
            "zarr": FaultStore(self.store),
        }[kind]

    def __setitem__(self, key, value):
        self.content[key] = value
        self.store._store_dict[key] = default_buffer_prototype().buffer.from_bytes(value)
        if self.kind == "local":
            (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / key).write_bytes(value)

    def __delitem__(self, key):
        del self.content[key], self.store._store_dict[key]
        if self.kind == "local":
            (self.folder / key).unlink()

    def restore(self):
        for key, value in self.before.items():
            self[key] = value
