"""Parts of values as zarr asks for them, and the kinds of sources."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest

from lazypyr.errors import PlanError
from lazypyr.sources.array import ArraySource, NumpySource
from lazypyr.sources.open import open_source
from lazypyr.sources.read_only_store import to_slice
from lazypyr.sources.zarr import ZarrSource

REQUESTS = st.one_of(
    st.none(),
    st.builds(SuffixByteRequest, st.integers(0, 12)),
    st.builds(OffsetByteRequest, st.integers(0, 12)),
    st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda p: RangeByteRequest(min(p), max(p))),
)


@given(st.binary(max_size=10), REQUESTS)
def test_a_byte_request_is_a_slice_within_the_value(value, request):
    part = to_slice(request, len(value))
    assert 0 <= part.start <= part.stop <= len(value)
    match request:
        case None:
            assert value[part] == value
        case SuffixByteRequest(suffix=n):
            assert value[part] == (value[-n:] if n else b"")
        case OffsetByteRequest(offset=n):
            assert value[part] == value[n:]
        case RangeByteRequest(start=a, end=b):
            assert value[part] == value[a:b]


def test_anything_else_is_no_request():
    with pytest.raises(ValueError, match="Unexpected byte_range"):
        to_slice((0, 1), 5)


def test_each_kind_of_source_has_its_opener(tmp_path):
    import dask.array as da
    import xarray as xr

    pixels = np.arange(48, dtype="u2").reshape(6, 8)
    zarr.create_array(str(tmp_path / "a.zarr"), data=pixels, chunks=(4, 4))
    array = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
    memory = zarr.storage.MemoryStore()
    zarr.create_array(memory, data=pixels, chunks=(4, 4))
    files = {
        str(p.relative_to(tmp_path / "a.zarr")): p.read_bytes() for p in (tmp_path / "a.zarr").rglob("*") if p.is_file()
    }
    kinds = [
        (pixels, NumpySource),
        (xr.DataArray(pixels, dims=("y", "x")), NumpySource),
        (da.from_array(pixels, chunks=4), ArraySource),
        (str(tmp_path / "a.zarr"), ZarrSource),
        (tmp_path / "a.zarr", ZarrSource),
        (array, ZarrSource),
        (memory, ZarrSource),
        (files, ZarrSource),
    ]
    for src, kind in kinds:
        source = open_source(src).sources[0]
        assert type(source) is kind
        np.testing.assert_array_equal(source.read(((1, 6), (2, 8)), (2, 3)), pixels[1::2, 2::3])
        with source.read_temporary(((4, 6), (4, 8))) as block:
            np.testing.assert_array_equal(block, pixels[4:, 4:])
        assert open_source(source).sources[0] is source


@pytest.mark.parametrize("src", [5, object(), None])
def test_other_objects_are_refused(src):
    with pytest.raises(PlanError, match="can't open a"):
        open_source(src)


def test_storage_options_are_for_paths():
    with pytest.raises(PlanError, match="storage_options are for URLs"):
        open_source(np.zeros((4, 4)), storage_options={"anon": True})
