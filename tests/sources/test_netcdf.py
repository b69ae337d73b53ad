"""NetCDF and HDF5 files, written by the tools of their users, against xarray and h5py reading the same file; references to them."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
import zlib

import fsspec
import h5py
import numpy as np
import pytest
import xarray as xr
from kerchunk.hdf import SingleHdf5ToZarr
from kerchunk.netCDF3 import NetCDF3ToZarr

import lazypyr
from lazypyr import PlanError, SourceError, open_pyramid
from lazypyr.cli import main
from support.http import serving

RNG = np.random.default_rng(0)


def dataset(dtype="f4", **encoding):
    values = np.asarray(RNG.normal(280, 10, (3, 90, 180)), dtype)
    coords = {"time": np.arange(3), "lat": np.linspace(89, -89, 90), "lon": np.arange(0.0, 360, 2)}
    one = xr.Dataset({"t2m": (("time", "lat", "lon"), values, {"units": "K", "long_name": "temperature"})}, coords)
    one.attrs["title"] = "weather"
    one["t2m"].encoding = encoding
    return one


KINDS = {
    "netCDF-4 by h5netcdf": {"engine": "h5netcdf"},
    "netCDF-4 by netCDF4": {"engine": "netcdf4"},
    "chunked and deflated": {"engine": "netcdf4", "chunksizes": (1, 40, 50), "zlib": True, "shuffle": True},
    "with a checksum": {"engine": "h5netcdf", "chunksizes": (2, 90, 7), "compression": "gzip", "fletcher32": True},
    "unlimited": {"engine": "netcdf4", "unlimited_dims": ["time"]},
    "netCDF-3": {"engine": "scipy", "format": "NETCDF3_CLASSIC"},
    "netCDF-3 of 64-bit offsets": {"engine": "netcdf4", "format": "NETCDF3_64BIT"},
    "netCDF-3 of records": {"engine": "scipy", "format": "NETCDF3_64BIT", "unlimited_dims": ["time"]},
    "netCDF-4 classic": {"engine": "netcdf4", "format": "NETCDF4_CLASSIC"},
}
OF_FILES = ("engine", "format", "unlimited_dims")


@pytest.mark.parametrize(
    ("kind", "dtype"), [*zip(KINDS, ["f4", "i2", "u1"] * 3, strict=True), ("chunked and deflated", "f8")]
)
def test_pixels_and_attributes_are_those_of_xarray(kind, dtype, tmp_path):
    options = KINDS[kind]
    if "format" in options:  # of old, which has no unsigned numbers
        dtype = dtype.replace("u", "i")
    path = tmp_path / "weather.nc"
    written = dataset(dtype, **{k: v for k, v in options.items() if k not in OF_FILES})
    written.to_netcdf(path, **{k: v for k, v in options.items() if k in OF_FILES})
    with xr.open_dataset(path, mask_and_scale=False, decode_times=False) as truth:
        expected, attrs = truth["t2m"].load(), truth["t2m"].attrs
    for src in (path, str(path), path.as_uri(), f"{path}/t2m"):
        pyramid = open_pyramid(src, chunks=32, method="stride")
        assert (pyramid.dtype, pyramid.axes) == (expected.dtype.newbyteorder("<"), ("time", "y", "x"))
        np.testing.assert_array_equal(pyramid.read(0), expected)
        np.testing.assert_array_equal(pyramid.read(2), expected[:, ::4, ::4])
        np.testing.assert_array_equal(pyramid[0][1, 5:80:3, 170:], expected[1, 5:80:3, 170:])
        assert pyramid.attrs["units"] == "K"
        assert pyramid.attrs["long_name"] == attrs["long_name"]
    assert set(json.dumps(pyramid.attrs)).isdisjoint("\0")


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.nc"
    dataset().to_netcdf(path)
    store = lazypyr.LazyPyramidStore(path, chunks=64)
    before = store.pyramid.fingerprint
    assert open_pyramid(path, chunks=64).fingerprint == before, "the same in each opening"
    copy = pickle.loads(pickle.dumps(store.pyramid))
    np.testing.assert_array_equal(copy.read(0), store.pyramid.read(0))
    (dataset() + 1).to_netcdf(tmp_path / "b.nc")
    os.replace(tmp_path / "b.nc", path)
    store.refresh()
    assert store.pyramid.fingerprint != before
    with xr.open_dataset(path) as truth:
        np.testing.assert_array_equal(store.pyramid.read(0), truth["t2m"])


def test_the_file_may_be_written_while_it_is_open(tmp_path):
    path = tmp_path / "a.nc"
    dataset().to_netcdf(path, engine="h5netcdf")
    pyramid = open_pyramid(path)
    pyramid.read(0)
    with h5py.File(path, "r+") as file:  # with HDF5's lock
        file["t2m"][0, 0, 0] = -5
    assert open_pyramid(path).fingerprint != pyramid.fingerprint
    assert open_pyramid(path).read(0)[0, 0, 0] == -5


def mintpy(path):
    """As MintPy writes its files: arrays without scales, metadata as text in the attributes of the root."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"FILE_TYPE": "timeseries", "LENGTH": "70", "WIDTH": "90", "X_FIRST": "-91.2", "UNIT": "m"})
        file["date"] = np.array([b"20200101", b"20200113", b"20200125"], "S8")
        file["bperp"] = np.zeros(3, "f4")
        file.create_dataset("timeseries", data=RNG.normal(size=(3, 70, 90)).astype("f4"), chunks=True)
    return "timeseries"


def nisar(path):
    """As NISAR's products are laid out: deep groups, dimension scales, texts of variable length, links, complex pixels."""
    with h5py.File(path, "w") as file:
        file["science/LSAR/identification/missionId"] = "NISAR"
        grid = file.create_group("science/LSAR/GCOV/grids/frequencyA")
        for axis, values in {"yCoordinates": np.arange(500.0, 0, -10), "xCoordinates": np.arange(0.0, 600, 10)}.items():
            grid[axis] = values
            grid[axis].make_scale(axis)
        grid["projection"] = np.uint32(32611)
        grid["projection"].attrs.update({"epsg_code": 32611, "grid_mapping_name": "universal_transverse_mercator"})
        pixels = RNG.normal(size=(50, 60)) + 1j * RNG.normal(size=(50, 60))
        grid.create_dataset("HHVV", data=pixels.astype("c8"), chunks=(16, 16), compression="gzip", shuffle=True)
        grid["HHVV"].dims[0].attach_scale(grid["yCoordinates"])
        grid["HHVV"].dims[1].attach_scale(grid["xCoordinates"])
        grid["HHVV"].attrs.update({"grid_mapping": "projection", "description": np.bytes_("covariance"), "units": "1"})
        file["science/LSAR/GCOV/grids/again"] = file["science/LSAR"]  # a circle
        file["science/LSAR/broken"] = h5py.SoftLink("/nowhere")
    return "science/LSAR/GCOV/grids/frequencyA/HHVV"


@pytest.mark.parametrize("write", [mintpy, nisar])
def test_an_array_inside_a_file_by_its_path(write, tmp_path):
    inside = write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        expected = file[inside][()]
    pyramid = open_pyramid(f"{tmp_path}/a.h5/{inside}", method="mean", chunks=16)
    np.testing.assert_array_equal(pyramid.read(0), expected)
    assert (pyramid.dtype, pyramid.shape) == (expected.dtype, expected.shape)
    recipe = pyramid.to_recipe(tmp_path)
    assert recipe["source"] == f"a.h5/{inside}"
    (tmp_path / "a.lazypyr.json").write_text(json.dumps(recipe))
    np.testing.assert_array_equal(open_pyramid(tmp_path / "a.lazypyr.json").read(1), pyramid.read(1))
    with pytest.raises(PlanError, match=f"no 'elsewhere' in the file; it holds .*{inside}"):
        open_pyramid(f"{tmp_path}/a.h5/elsewhere")


def test_a_file_of_one_stack_needs_no_path(tmp_path, capsys):
    mintpy(tmp_path / "timeseries.h5")
    with h5py.File(tmp_path / "timeseries.h5") as file:
        np.testing.assert_array_equal(open_pyramid(tmp_path / "timeseries.h5").read(0), file["timeseries"])
    assert main(["info", str(tmp_path / "timeseries.h5")]) == 0
    assert "3 x 70 x 90" in capsys.readouterr().out


def test_what_is_stored_in_one_piece_is_read_in_rows(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.zeros((4, 3000, 2000), "f4")
    source = open_pyramid(tmp_path / "a.h5").sources[0]
    assert source.chunks == (1, 524, 2000)


def test_files_behind_a_url(tmp_path):
    dataset(chunksizes=(1, 40, 50)).to_netcdf(tmp_path / "four.nc", engine="h5netcdf")
    dataset().to_netcdf(tmp_path / "three.nc", engine="scipy")
    with serving(tmp_path) as url:
        for name in ("four.nc", "three.nc"):
            with xr.open_dataset(tmp_path / name) as truth:
                for src in (f"{url}/{name}", f"{url}/{name}/t2m", f"{url}/{name}?token=secret"):
                    pyramid = open_pyramid(src)
                    np.testing.assert_array_equal(pyramid.read(0), truth["t2m"])
                    assert "secret" not in pyramid.name


def test_references_of_kerchunk(tmp_path):
    dataset(chunksizes=(1, 40, 50), zlib=True, shuffle=True).to_netcdf(tmp_path / "four.nc", engine="netcdf4")
    dataset().to_netcdf(tmp_path / "three.nc", engine="scipy")
    pyramids = {}
    for name, references in {
        "four": SingleHdf5ToZarr(str(tmp_path / "four.nc")).translate(),
        "three": NetCDF3ToZarr(str(tmp_path / "three.nc")).translate(),
    }.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(references, default=lambda value: value.decode()))
        with xr.open_dataset(tmp_path / f"{name}.nc") as truth:
            for src, options in [
                (path, None),
                (f"reference::{path}", None),
                ("reference://", {"fo": str(path)}),
                ("reference://", {"fo": references}),
                (fsspec.get_mapper("reference://", fo=references), None),
            ]:
                pyramids[name] = pyramid = open_pyramid(src, storage_options=options, method="mean", chunks=32)
                np.testing.assert_array_equal(pyramid.read(0), truth["t2m"])
        pyramids[name] = open_pyramid(path, chunks=32)
    assert pyramids["four"].fingerprint != pyramids["three"].fingerprint


def test_references_of_the_same_metadata_are_told_apart(tmp_path):
    fingerprints = set()
    for name in "ab":
        dataset().to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
        references = SingleHdf5ToZarr(str(tmp_path / f"{name}.nc")).translate()
        (tmp_path / f"{name}.json").write_text(json.dumps(references))
        fingerprints.add(open_pyramid(tmp_path / f"{name}.json").fingerprint)
    assert len(fingerprints) == 2


def test_a_folder_of_references_is_no_zarr_without_chunks(tmp_path):
    (tmp_path / "a.parq").mkdir()
    document = {"shape": [4, 4], "chunks": [2, 2], "dtype": "<f4", "compressor": None, "filters": None, "order": "C",
                "fill_value": 0, "zarr_format": 2}  # fmt: skip
    metadata = {".zgroup": {"zarr_format": 2}, "a/.zarray": document, "a/.zattrs": {}}
    (tmp_path / "a.parq" / ".zmetadata").write_text(json.dumps({"metadata": metadata, "record_size": 10}))
    with pytest.raises((PlanError, lazypyr.SourceError)):
        open_pyramid(tmp_path / "a.parq").read(0)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch, capsys):
    dataset().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(lazypyr.MissingExtra, match=r"reading a.nc needs h5py: pip install 'lazypyr\[hdf5\]'"):
        open_pyramid(tmp_path / "a.nc")
    assert main(["info", str(tmp_path / "a.nc")]) != 0
    assert "lazypyr[hdf5]" in capsys.readouterr().err


SPOILT = {
    "truncated": lambda raw: raw[:200],
    "zeros after its head": lambda raw: raw[:8] + b"\0" * 500,
    "another format": lambda raw: b"CDF\x05" + raw[4:],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_file_that_is_damaged_is_a_plan_error(kind, tmp_path):
    dataset().to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (tmp_path / "b.nc").write_bytes(SPOILT[kind]((tmp_path / "a.nc").read_bytes()))
    with pytest.raises(PlanError):
        open_pyramid(tmp_path / "b.nc")


PIPELINES = {
    "none": {},
    "deflate": {"compression": "gzip"},
    "shuffle, deflate, fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "scale and offset": {"scaleoffset": 0},
}


@pytest.mark.parametrize("dtype", ["u1", ">i2", "<i4", ">f4", "f8", "c8", "?"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_chunks_are_decoded_as_by_h5py(pipeline, dtype, tmp_path):
    if pipeline == "scale and offset" and np.dtype(dtype).kind not in "iu":
        dtype = "u2"
    values = RNG.integers(0, 2 if dtype == "?" else 100, (70, 50)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a", (90, 50), dtype, chunks=(32, 16), **PIPELINES[pipeline])
        array[:70] = values
        filled = file.create_dataset("filled", (90, 50), "f4", chunks=(32, 16), fillvalue=np.nan)
        filled[:32] = 1
        short = file.create_dataset("twelve bits", (40, 50), H5_OF_12_BITS, chunks=(32, 16), compression="gzip")
        short[...] = values[:40].real.astype("u2")
        expected = {name: file[name][...] for name in file}
        if pipeline != "none":  # filters that were left out of one chunk
            array.id.write_direct_chunk((0, 0), np.ascontiguousarray(values[:32, :16]).tobytes(), filter_mask=0xFFFF)
    for name, pixels in expected.items():
        read = open_pyramid(f"{tmp_path}/a.h5/{name}", method="stride").read(0)
        assert read.dtype == pixels.dtype.newbyteorder("<"), name
        np.testing.assert_array_equal(read, pixels)


def _of_12_bits():
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    return h5py.Datatype(kind)


H5_OF_12_BITS = _of_12_bits()
_DEFLATE = {"compression": "gzip"}


@pytest.mark.fault("N9")
@pytest.mark.parametrize(
    ("filters", "stored", "message"),
    [
        (_DEFLATE, zlib.compress(bytes(2**26), 9), "expected 4096 decoded bytes, got more"),
        (_DEFLATE, zlib.compress(bytes(2**30), 9), "expected at most .* stored bytes"),
        (_DEFLATE, zlib.compress(bytes(100)), "expected 4096 decoded bytes, got 100"),
        (_DEFLATE, zlib.compress(bytes(4096))[:-3], "ends before it is complete"),
        (_DEFLATE, b"\x78", "ends before it is complete"),
        ({"shuffle": True, **_DEFLATE}, zlib.compress(bytes(2**26), 9), "decoded bytes, got more"),
        ({"fletcher32": True, **_DEFLATE}, zlib.compress(bytes(4100)), "fletcher32|checksum"),
    ],
)
def test_a_chunk_of_hdf5_that_is_longer_or_shorter_than_due_is_an_error(filters, stored, message, tmp_path):
    """HDF5 itself makes all that a chunk says it is, and takes what is short for whole."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("a", (128, 64), "u1", chunks=(64, 64), **filters)
        array[64:] = 7
        array.id.write_direct_chunk((0, 0), stored)
    pyramid = open_pyramid(tmp_path / "a.h5")
    tracemalloc.start()
    with pytest.raises(SourceError, match=message):
        pyramid.read(0)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    np.testing.assert_array_equal(pyramid.read(0, ((64, 128), (0, 64))), np.full((64, 64), 7))


@pytest.mark.fault("N10")
def test_chunks_that_a_file_does_not_have_take_no_memory(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (2**16, 2**15), "u1", chunks=(2**15, 2**15), compression="gzip")
    tracemalloc.start()
    assert not open_pyramid(tmp_path / "a.h5").read(0, ((0, 70), (0, 70))).any()
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@pytest.mark.fault("N7")
def test_values_that_a_file_says_to_be_in_others_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"S3CR3T__" * 512)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones((64, 64), "u1")
    own = h5py.VirtualLayout((64, 64), "u1")
    own[...] = h5py.VirtualSource(".", "mine", (64, 64))
    others = h5py.VirtualLayout((64, 64), "u1")
    others[...] = h5py.VirtualSource(tmp_path / "other.h5", "x", (64, 64))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mine"] = np.full((64, 64), 3, "u1")
        file.create_dataset("raw", (64, 64), "u1", external=[(str(secret), 0, 4096)])
        file.create_virtual_dataset("own", own)
        file.create_virtual_dataset("others", others)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    for name, told in {"raw": "secret", "others": "other.h5"}.items():
        with pytest.raises(SourceError, match=f"in other files .*{told}"):
            open_pyramid(f"{tmp_path}/a.h5/{name}").read(0)
    with pytest.raises(PlanError, match="link"):
        open_pyramid(f"{tmp_path}/a.h5/link")
    assert (open_pyramid(f"{tmp_path}/a.h5/own").read(0) == 3).all()


@pytest.mark.fault("N8")
def test_a_filter_of_hdf5_that_is_not_known_is_not_run(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((64, 64))
        settings.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((64, 64)), settings)
    with pytest.raises(SourceError, match="the filter 40000 .* isn't run"):
        open_pyramid(tmp_path / "a.h5").read(0)
