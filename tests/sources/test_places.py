"""Spellings of a place, and what can't be opened there."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path, PurePath

import fsspec
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

import lazypyr
from lazypyr import PlanError, open_pyramid
from lazypyr._util.places import is_local, is_url, local_path
from lazypyr.cli import main
from support.http import serving

PIXELS = np.arange(96, dtype="u2").reshape(8, 12)
NAMES = ["plain.zarr", "two words ü 細胞 #1 %20?.zarr"]


def written(path):
    group = zarr.create_group(
        zarr.storage.LocalStore(path), attributes={"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}]}]}
    )
    group.create_array("0", data=PIXELS, chunks=(4, 4), dimension_names=("y", "x"))
    return path


def archive(folder, out, prefix="", compression=zipfile.ZIP_STORED, comment=b""):
    with zipfile.ZipFile(out, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, prefix + str(path.relative_to(folder)))
        file.comment = comment
    return out


class OtherPath(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


SPELLINGS = {
    "str": str,
    "Path": lambda p: p,
    "PurePath": PurePath,
    "os.PathLike": OtherPath,
    "UPath": UPath,
    "UPath of a URI": lambda p: UPath(p.as_uri()) if p.as_uri() == f"file://{p}" else UPath(f"file://{p}"),
    "slash at the end": lambda p: f"{p}/",
    "file:// in front": lambda p: f"file://{p}",
    "URI": lambda p: p.as_uri(),
    "URI of one slash": lambda p: p.as_uri().replace("file://", "file:"),
    "URI with a host": lambda p: p.as_uri().replace("file://", "file://localhost"),
    "home": lambda p: f"~/{p.name}",
    "relative": lambda p: p.name,
    "from below": lambda p: f"../{p.parent.name}/{p.name}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_however_it_is_spelled(name, spelling, tmp_path, monkeypatch):
    path = written(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    pyramid = open_pyramid(SPELLINGS[spelling](path), method="mean", levels=2, chunks=4)
    np.testing.assert_array_equal(pyramid.read(0), PIXELS)
    assert pyramid.fingerprint == open_pyramid(path, method="mean", levels=2, chunks=4).fingerprint
    recipe = pyramid.to_recipe(tmp_path / "elsewhere")
    assert "%" not in recipe["source"] or "%" in name
    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / "of it.lazypyr.json"
    kept.write_text(json.dumps(recipe))
    for again in (kept, str(kept), kept.as_uri(), OtherPath(kept), UPath(kept)):
        np.testing.assert_array_equal(open_pyramid(again).read(1), pyramid.read(1))


@pytest.mark.parametrize("spelling", ["str", "PurePath", "os.PathLike", "UPath", "URI", "home", "relative"])
@pytest.mark.parametrize("name", NAMES)
def test_a_destination_however_it_is_spelled(name, spelling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    lazypyr.materialize(PIXELS, SPELLINGS[spelling](tmp_path / name), chunks=4, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(PlanError, match="is the source"):
        lazypyr.materialize(tmp_path / name, SPELLINGS[spelling](tmp_path / name), method="mean", progress=False)


def test_a_file_that_has_an_escape_in_its_name_is_found_as_it_is(tmp_path):
    written(tmp_path / "a%20b.zarr")
    written(tmp_path / "a b.zarr")
    assert local_path(f"file://{tmp_path}/a%20b.zarr") == f"{tmp_path}/a%20b.zarr"
    assert local_path(f"file://{tmp_path}/a%2520b.zarr") == f"{tmp_path}/a%20b.zarr"


@given(st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_uri_names_the_path_it_was_made_of(name):
    path = Path("/no such folder") / name
    assert Path(local_path(path.as_uri())) == path
    assert is_local(path.as_uri())
    assert not is_url(path.as_uri())


@pytest.mark.parametrize("name", ["a.zarr.zip", "a.ozx", "A.ZIP", "archive"])
def test_an_archive_is_known_by_its_content(name, tmp_path):
    comment = b'{"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": true}}}}'
    file = archive(written(tmp_path / "a.zarr"), tmp_path / name, comment=comment)
    for src in (file, str(file), file.as_uri(), f"{file}/0", zarr.storage.ZipStore(file, mode="r")):
        np.testing.assert_array_equal(open_pyramid(src).read(0), PIXELS)


def test_chains_of_fsspec(tmp_path):
    folder = written(tmp_path / "a.zarr")
    file = archive(folder, tmp_path / "a.ozx", compression=zipfile.ZIP_DEFLATED)
    for src in (f"zip::file://{file}", f"simplecache::file://{folder}", f"simplecache::{folder}", f"local://{folder}"):
        np.testing.assert_array_equal(open_pyramid(src).read(0), PIXELS)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/places/a.zarr", recursive=True)
    try:
        for src in (UPath("memory://places/a.zarr"), "simplecache::memory://places/a.zarr"):
            np.testing.assert_array_equal(open_pyramid(src).read(0), PIXELS)
        lazypyr.materialize(PIXELS, UPath("memory://places/b.zarr"), chunks=4, progress=False)
        np.testing.assert_array_equal(open_pyramid("memory://places/b.zarr").read(0), PIXELS)
    finally:
        memory.rm("/places", recursive=True)


def test_an_archive_behind_a_url(tmp_path):
    archive(written(tmp_path / "a.zarr"), tmp_path / "a.ozx")
    with serving(tmp_path) as url:
        for src in (f"{url}/a.ozx", UPath(f"{url}/a.ozx"), f"{url}/a.ozx?version=1"):
            pyramid = open_pyramid(src)
            np.testing.assert_array_equal(pyramid.read(0), PIXELS)
        assert pyramid.name == "a.ozx"


class Mandelbrot:
    """The store of the notebook that began it all: `keys` tells of metadata only, chunks are computed when they are asked for."""

    def __init__(self, levels=40, tile=64):
        datasets = [{"path": str(k)} for k in range(levels)]
        self.tile, self._store, self.made = tile, {".zgroup": b'{"zarr_format": 2}'}, []
        self._store[".zattrs"] = json.dumps({"multiscales": [{"version": "0.1", "datasets": datasets}]}).encode()
        for k in range(levels):
            document = {
                "zarr_format": 2, "shape": [tile * 2 ** (levels - k)] * 2, "chunks": [tile, tile], "dtype": "|u1",
                "compressor": None, "filters": None, "order": "C", "fill_value": 0,
            }  # fmt: skip
            self._store[f"{k}/.zarray"] = json.dumps(document).encode()

    def __getitem__(self, key):
        if key in self._store:
            return self._store[key]
        try:
            level, chunk = key.split("/")
            y, x = map(int, chunk.split("."))
            return self.chunk(int(level), y, x).tobytes()
        except ValueError:
            raise KeyError(key) from None

    def chunk(self, level, y, x):
        self.made.append((level, y, x))
        rows = np.arange(self.tile)
        return ((rows[:, None] * 3 + rows + level * 7 + y * 5 + x) % 251).astype("u1")

    def keys(self):
        return self._store.keys()

    def __iter__(self):
        return iter(self._store)


def test_forty_levels_of_a_class_of_three_methods_pass_through():
    computed = Mandelbrot()
    store = lazypyr.LazyPyramidStore(computed, chunks=64)
    assert not computed.made, "no chunk is made at opening"
    group = zarr.open_group(store, mode="r")
    for level in (0, 1, 20, 39):
        n = 2 ** (40 - level)
        assert group[str(level)].shape == (64 * n,) * 2
        y, x = n // 2, n - 1
        shown = group[str(level)][64 * y : 64 * (y + 1), 64 * x : 64 * (x + 1)]
        np.testing.assert_array_equal(shown, computed.chunk(level, y, x))


@pytest.mark.parametrize("error", [ValueError, IndexError, LookupError, AttributeError, FileNotFoundError])
def test_only_key_error_says_that_a_chunk_is_absent(error):
    class Fails(Mandelbrot):
        def __getitem__(self, key):
            if key in self._store:
                return self._store[key]
            if key.startswith("0/") and key[2:].replace(".", "").isdigit():
                raise error("no chunk is made")
            raise KeyError(key)

    pyramid = open_pyramid(Fails(levels=2))
    with pytest.raises(lazypyr.SourceError, match="no chunk is made"):
        pyramid.read(0)
    np.testing.assert_array_equal(pyramid.read(1), np.zeros((128, 128)))


def spoiled_group(folder, change, *, as_level):
    group = zarr.create_group(str(folder))
    for name in ("image", "other"):
        group.create_array(name, shape=(16, 16), chunks=(8, 8), dtype="u1")
    if as_level:
        axes = [{"name": n, "type": "space"} for n in "yx"]
        scale = [{"type": "scale", "scale": [1, 1]}]
        datasets = [{"path": p, "coordinateTransformations": scale} for p in ("image", "other")]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    document = folder / "other" / "zarr.json"
    document.write_text(change(document.read_text()))
    return str(folder)


def edited(**members):
    return lambda text: json.dumps({**json.loads(text), **members})


SPOILT = {
    "dtype that nobody knows": edited(data_type="float24"),
    "codec that nobody knows": edited(codecs=[{"name": "no.such.codec"}, {"name": "bytes"}]),
    "transpose of an order": edited(codecs=[{"name": "transpose", "configuration": {"order": "F"}}, {"name": "bytes"}]),
    "chunks of another rank": edited(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [8, 8, 8]}}),
    "grid that nobody knows": edited(chunk_grid={"name": "hexagonal", "configuration": {}}),
    "negative shape": edited(shape=[-16, 16]),
    "fill value of another type": edited(fill_value="purple"),
    "truncated": lambda text: text[:50],
    "a list": lambda text: "[1, 2]",
}


@pytest.mark.parametrize("as_level", [False, True])
@pytest.mark.parametrize("kind", SPOILT)
def test_metadata_that_zarr_refuses_are_no_error_of_zarrs(kind, as_level, tmp_path):
    src = spoiled_group(tmp_path / "a.zarr", SPOILT[kind], as_level=as_level)
    for opened in (src, Path(src), {str(p.relative_to(src)): p.read_bytes() for p in Path(src).rglob("*.json")}):
        if as_level:
            with pytest.raises(PlanError):
                open_pyramid(opened)
            with pytest.raises(PlanError):
                lazypyr.LazyPyramidStore(opened)
        else:  # one that can't be read does not stop the others
            assert open_pyramid(opened).shape == (16, 16)
            with pytest.raises(PlanError):
                open_pyramid(opened, variable="other")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"x,y,height\n1,2,3\n", "points.csv"),
        (b"", "empty"),
        (b"PK\x03\x04 but no archive", "broken.zip"),
        (b"\x89PNG\r\n\x1a\n", "a.png"),
        (b"{}", "some.json"),
    ],
)
def test_a_file_of_no_kind_is_told_so(content, name, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PlanError, match=r"read_points"):
        open_pyramid(tmp_path / name)
    assert main(["info", str(tmp_path / name)]) != 0
    said = capsys.readouterr().err
    assert "lazypyr.read_points" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "src",
    [
        "no/such/folder",
        "memory://nothing",
        "no-such-scheme://a",
        "http://127.0.0.1:9/a.zarr",
        "zip::memory://a.zip",
        b"a.zarr",
    ],
)
def test_what_is_not_there_is_a_plan_error(src):
    with pytest.raises(PlanError):
        open_pyramid(src)


def test_a_group_of_columns_names_the_call_for_points(tmp_path):
    zarr.save_group(str(tmp_path / "cloud.zarr"), x=np.arange(5.0), y=np.arange(5.0), height=np.arange(5.0))
    with pytest.raises(PlanError, match=r"lazypyr\.read_points\(path, resolution="):
        open_pyramid(tmp_path / "cloud.zarr")
