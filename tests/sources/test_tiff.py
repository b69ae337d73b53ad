"""OME-TIFF, slides and other TIFF files of microscopes, written by tifffile, against tifffile reading the same file."""

from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
import tifffile

import lazypyr
from lazypyr import open_pyramid
from lazypyr.cli import main
from support.http import serving

RNG = np.random.default_rng(0)


def ome(path, shape=(3, 256, 300), axes="CYX", levels=2, dtype="u2", **options):
    data = RNG.integers(0, 200, shape).astype(dtype)
    metadata = {
        "axes": axes, "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": ["DAPI", "GFP", "RFP"], "Color": [0x0000FFFF, 0x00FF00FF, -0x00FFFF01]},
    }  # fmt: skip
    options = {"tile": (64, 64), "photometric": "minisblack", **options}
    with tifffile.TiffWriter(path, ome=True, bigtiff=True) as file:
        file.write(data, subifds=levels, metadata=metadata, **options)
        for level in range(1, levels + 1):
            file.write(data[..., :: 2**level, :: 2**level], subfiletype=1, **options)
    return path


def svs(path):
    """As Aperio's scanners write them: pages of whole levels in strips and tiles, a thumbnail between them."""
    data = RNG.integers(0, 255, (512, 640, 3), "u1")
    options = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        told = "Aperio Image Library v12\r\n640x512 [0,0 640x512] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
        file.write(data, tile=(64, 64), description=told, **options)
        file.write(
            np.ascontiguousarray(data[::8, ::8]), description="Aperio thumbnail 80x64", rowsperstrip=16, **options
        )
        file.write(np.ascontiguousarray(data[::4, ::4]), tile=(64, 64), description="Aperio 160x128", **options)
    return path


def imagej(path):
    tifffile.imwrite(path, RNG.integers(0, 9, (4, 90, 70)).astype("u2"), imagej=True, metadata={"axes": "ZYX"})
    return path


KINDS = {
    "OME-TIFF": (ome, "a.ome.tif", "cyx", {}),
    "OME-TIFF by content": (ome, "a.tif", "cyx", {}),
    "OME-TIFF of one level": (ome, "a.ome.tif", "cyx", {"levels": 0}),
    "OME-TIFF compressed": (ome, "a.ome.tiff", "cyx", {"compression": "zlib", "predictor": True}),
    "OME-TIFF of times": (ome, "a.ome.btf", "tcyx", {"shape": (2, 3, 130, 70), "axes": "TCYX", "levels": 1}),
    "SVS": (svs, "a.svs", "yxc", {}),
    "ImageJ": (imagej, "a.tif", "zyx", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_levels_are_those_of_tifffile(kind, tmp_path):
    write, name, axes, options = KINDS[kind]
    path = write(tmp_path / name, **options)
    with tifffile.TiffFile(path) as file:
        expected = [level.asarray() for level in file.series[0].levels]
    for src in (path, str(path), path.as_uri()):
        pyramid = open_pyramid(src, chunks=64, method="mean")
        assert "".join(pyramid.axes) == axes
        assert len(pyramid.stored_levels) == len(expected)
        for level, pixels in enumerate(expected):
            np.testing.assert_array_equal(pyramid.read(level), pixels)
            assert pyramid.levels[level].scale == pytest.approx(
                [a / b for a, b in zip(expected[0].shape, pixels.shape)]
            )
    assert (
        pickle.loads(pickle.dumps(pyramid)).fingerprint
        == pyramid.fingerprint
        == open_pyramid(path, chunks=64, method="mean").fingerprint
    )


def test_sizes_of_pixels_are_those_of_the_file(tmp_path):
    pyramid = open_pyramid(ome(tmp_path / "a.ome.tif"))
    assert (pyramid.coords["x"].step, pyramid.coords["y"].step) == (0.25, 0.5)
    assert pyramid.coords["x"].unit == "micrometer"
    assert open_pyramid(svs(tmp_path / "a.svs")).coords["x"].step == 0.499


def test_names_and_colours_of_channels_reach_the_metadata(tmp_path):
    from lazypyr.sources.tiff import TiffImage

    attrs = json.loads(TiffImage(str(ome(tmp_path / "a.ome.tif")), {})[".zattrs"])
    assert attrs["omero"]["channels"] == [
        {"label": "DAPI", "color": "0000FF"},
        {"label": "GFP", "color": "00FF00"},
        {"label": "RFP", "color": "FF0000"},
    ]


def test_behind_a_url_and_on_the_command_line(tmp_path, capsys):
    path = ome(tmp_path / "a.ome.tif")
    with serving(tmp_path) as url:
        np.testing.assert_array_equal(open_pyramid(f"{url}/a.ome.tif").read(1), open_pyramid(path).read(1))
    assert main(["materialize", str(path), str(tmp_path / "a.zarr"), "--chunks", "64", "--quiet"]) == 0
    np.testing.assert_array_equal(open_pyramid(tmp_path / "a.zarr").read(2), open_pyramid(path).read(2))
    assert main(["info", str(path)]) == 0
    assert "3 x 256 x 300" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["tifffile", "imagecodecs"])
def test_without_its_packages_the_extra_is_named(package, tmp_path, monkeypatch):
    path = ome(tmp_path / "a.ome.tif")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        lazypyr.MissingExtra, match=rf"reading a.ome.tif needs {package}: pip install 'lazypyr\[tiff\]'"
    ):
        open_pyramid(path)


def test_a_file_that_is_damaged_is_an_error(tmp_path):
    path = ome(tmp_path / "a.ome.tif", compression="zlib")
    raw = path.read_bytes()
    path.write_bytes(raw[:40])
    with pytest.raises(lazypyr.PlanError):
        open_pyramid(path)
    damaged = bytearray(raw)
    damaged[3000:9000] = bytes(6000)
    path.write_bytes(damaged)
    with pytest.raises(lazypyr.SourceError):
        open_pyramid(path).read(0)


@pytest.mark.fault("N7")
def test_a_file_that_ome_metadata_name_is_read_beside_it_only(tmp_path):
    (tmp_path / "images").mkdir()
    first = ome_of_two(tmp_path / "images", "b.ome.tif")
    np.testing.assert_array_equal(open_pyramid(first).read(0)[:, 0, 0], [1, 42])
    for name in ("../b.ome.tif", str(tmp_path / "b.ome.tif")):
        first = ome_of_two(tmp_path / "images", name)
        with pytest.raises(lazypyr.PlanError, match=r"'b\.ome\.tif', which is not in the same folder"):
            open_pyramid(first)
    first = ome_of_two(tmp_path / "images", "b.ome.tif")
    (tmp_path / "images/b.ome.tif").unlink()
    with pytest.raises(lazypyr.PlanError, match=r"'b\.ome\.tif', which isn't there"):  # tifffile reads zeros
        open_pyramid(first)


def ome_of_two(folder, other):
    """A file of channel 0, whose OME-XML says that channel 1 is in another one."""
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{c}</UUID></TiffData>'
        for c, name in enumerate(("a.ome.tif", other))
    )
    sizes = 'DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="2" SizeZ="1" SizeT="1"'
    space = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    told = f'<?xml version="1.0"?><OME {space} UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" {sizes}>{planes}</Pixels></Image></OME>'
    tifffile.imwrite(folder / "a.ome.tif", np.full((64, 64), 1, "u1"), description=told, metadata=None)
    tifffile.imwrite(folder / other, np.full((64, 64), 42, "u1"), metadata={"axes": "YX"})
    return folder / "a.ome.tif"
