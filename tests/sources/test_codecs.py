"""Metadata and chunks of others: codecs that are refused, and chunks that would decode to more than is due."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs.abc import Codec
from numcodecs.registry import codec_registry
from zarr.codecs import numcodecs as v3_numcodecs

import lazypyr
from lazypyr import LazyPyramidStore
from lazypyr.sources.codecs import DECODING_CODECS, check_codecs, decode_at_most

REFUSED = ["pickle", "json2", "msgpack2", "categorize", "vlen-utf8", "vlen-bytes", "vlen-array", "of-an-entry-point"]


class Marks:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Inverted(Codec):
    """Of a package that nobody knows."""

    codec_id = "inverted"

    def encode(self, buf):
        return ~np.frombuffer(buf, "u1")

    def decode(self, buf, out=None):
        return ~np.frombuffer(buf, "u1")


def v2_array(folder, chunk=None, **changes):
    document = {"zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "|u1", "fill_value": 0, "order": "C"}
    folder.mkdir(parents=True)
    (folder / ".zarray").write_text(json.dumps({**document, "compressor": None, "filters": None, **changes}))
    if chunk is not None:
        (folder / "0.0").write_bytes(chunk)
    return folder


def test_every_codec_of_numcodecs_is_on_the_list_or_refused():
    own = {name for name, codec in codec_registry.items() if codec.__module__.startswith("numcodecs.")}
    assert own - DECODING_CODECS <= set(REFUSED)
    names = {value.codec_name for value in vars(v3_numcodecs).values() if getattr(value, "codec_name", None)}
    assert {name.removeprefix("numcodecs.") for name in names} <= DECODING_CODECS


@pytest.mark.parametrize("name", REFUSED)
def test_codecs_that_may_do_more_than_decode_are_refused_wherever_they_stand(name):
    inside = {
        "name": "sharding_indexed",
        "configuration": {"codecs": [{"name": "bytes"}, {"name": f"numcodecs.{name}"}]},
    }
    index = {"name": "sharding_indexed", "configuration": {"codecs": ["bytes"], "index_codecs": [{"name": name}]}}
    for document in (
        {"compressor": {"id": name}, "filters": None},
        {"compressor": None, "filters": [{"id": "delta", "dtype": "u1"}, {"id": name}]},
        {"codecs": [{"name": "bytes"}, {"name": name}]},
        {"codecs": [{"name": f"numcodecs.{name}"}, "bytes"]},
        {"codecs": [inside]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [inside]}}]},
        {"codecs": [index]},
    ):
        with pytest.raises(lazypyr.PlanError, match=f"codec {name!r}.*allow_codecs"):
            check_codecs(document, "here")
        check_codecs(document, "here", [name])


@pytest.fixture
def unpickler(monkeypatch):
    """A codec that unpickles, as a package might register it: zarr itself knows the name "pickle" by now."""

    class Unpickler(numcodecs.Pickle):
        codec_id = "unpickler"

    # Newer numcodecs ask before they unpickle; the list doesn't depend on it.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    monkeypatch.setitem(codec_registry, "unpickler", Unpickler)
    return "unpickler"


@pytest.mark.fault("N8")
@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_a_pickle_in_a_source_is_not_loaded(place, unpickler, tmp_path):
    mark = tmp_path / "ran"
    for name in ("pickle", unpickler):
        changes = {"compressor": {"id": name}} if place == "compressor" else {"filters": [{"id": name}]}
        path = str(v2_array(tmp_path / name, pickle.dumps(Marks(mark)), **changes))
        with pytest.raises(lazypyr.PlanError, match=f"'{name}'"):
            lazypyr.LazyPyramidStore(path)
    array = zarr.open_array(path, mode="r")
    for src in (array, array.store, {".zarray": (tmp_path / name / ".zarray").read_bytes()}):
        with pytest.raises(lazypyr.PlanError, match=f"'{name}'"):
            lazypyr.LazyPyramidStore(src)
    with pytest.raises(lazypyr.PlanError, match="expected a list"):
        lazypyr.LazyPyramidStore(path, allow_codecs=name)
    assert not mark.exists()
    # The pickle does what it says: this is what the list is for.
    with pytest.raises(lazypyr.LazypyrError):
        lazypyr.LazyPyramidStore(path, allow_codecs=[name])["0/c/0/0"]
    assert mark.exists()


@pytest.mark.fault("N8")
@pytest.mark.parametrize("zarr_format", [3, 2])
def test_a_pickle_in_an_overlay_is_not_loaded(zarr_format, tmp_path):
    mark, kept = tmp_path / "ran", tmp_path / "kept.zarr"
    pixels = np.ones((512, 512), "u1")
    store = lazypyr.LazyPyramidStore(pixels, zarr_format=zarr_format)
    lazypyr.materialize(store, str(kept), copy_base=False, progress=False)
    path = kept / "1" / ("zarr.json" if zarr_format == 3 else ".zarray")
    document = json.loads(path.read_text())
    if zarr_format == 3:
        document["codecs"] = [{"name": "bytes"}, {"name": "numcodecs.pickle"}]
    else:
        document["compressor"] = {"id": "pickle"}
    path.write_text(json.dumps(document))
    for chunk in (file for file in (kept / "1").rglob("*") if file.is_file() and file.name != path.name):
        chunk.write_bytes(pickle.dumps(Marks(mark)))
    with pytest.raises(lazypyr.PlanError, match="'pickle'"):
        lazypyr.LazyPyramidStore(pixels, zarr_format=zarr_format, overlay=str(kept))
    assert not mark.exists()


FOREIGN = """
import os, sys
os.mkdir(os.environ["MARK"])
from numcodecs.abc import Codec
class Foreign(Codec):
    codec_id = "foreign"
    def encode(self, buf): return buf
    def decode(self, buf, out=None): return buf
from zarr.abc.codec import BytesBytesCodec
class V3(BytesBytesCodec):
    is_fixed_size = True
    def to_dict(self): return {"name": "foreign"}
    @classmethod
    def from_dict(cls, data): return cls()
    def compute_encoded_size(self, n, spec): return n
    async def _decode_single(self, data, spec): return data
    async def _encode_single(self, data, spec): return data
"""
OPEN = """
import os, sys, lazypyr, zarr
from lazypyr.points.readers import read_table
from lazypyr.points.table import Request
for path in sys.argv[1:]:
    reads = [lazypyr.open_pyramid, lambda path: lazypyr.open_pyramid(zarr.storage.LocalStore(path))]
    if path.endswith("group"):
        reads.append(lambda path: read_table(path, Request()))
    for read in reads:
        try:
            read(path)
            print("opened", path)
        except lazypyr.PlanError as error:
            assert "'foreign'" in str(error), error
    store = lazypyr.LazyPyramidStore(os.environ["CHANGED"])
    document = os.path.join(os.environ["CHANGED"], "zarr.json")
    text = open(document).read()
    with open(document, "w") as file:
        file.write(text.replace('"bytes"', '"foreign"'))
    try:
        store["0/c/0/0"]
        print("read")
    except lazypyr.SourceError:
        pass
    with open(document, "w") as file:
        file.write(text)
print("run" if os.path.exists(os.environ["MARK"]) else "never imported")
lazypyr.open_pyramid(sys.argv[1], allow_codecs=["foreign"])
zarr.open(sys.argv[2])
print("run" if os.path.exists(os.environ["MARK"]) else "never imported")
"""


@pytest.mark.fault("N8")
def test_a_package_that_registers_a_codec_is_not_even_imported(tmp_path):
    """zarr and numcodecs import it when metadata name it, while they read these: an array, a group, consolidated or not."""
    package = tmp_path / "packages"
    (package / "foreign-1.0.dist-info").mkdir(parents=True)
    (package / "foreign.py").write_text(FOREIGN)
    (package / "foreign-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    points = "[numcodecs.codecs]\nforeign = foreign:Foreign\n[zarr.codecs]\nforeign = foreign:V3\n"
    (package / "foreign-1.0.dist-info" / "entry_points.txt").write_text(points)
    paths = [v2_array(tmp_path / "v2", compressor={"id": "foreign"}), tmp_path / "v3", tmp_path / "group"]
    zarr.create_array(tmp_path / "v3", shape=(64, 64), dtype="u1", compressors=None)
    group = zarr.create_group(tmp_path / "group")
    for name in ("x", "y"):
        group.create_array(name, shape=(64, 64), dtype="u1", compressors=None)
    zarr.consolidate_metadata(group.store)
    for document in [path for folder in paths[1:] for path in folder.rglob("zarr.json")]:
        changed = json.loads(document.read_text())
        inside = (changed.get("consolidated_metadata") or {}).get("metadata", {})
        for array in (changed, *inside.values()):
            if "codecs" in array:
                array["codecs"].append({"name": "foreign"})
        document.write_text(json.dumps(changed))
    zarr.create_array(tmp_path / "changed", shape=(64, 64), dtype="u1", compressors=None)
    env = {"MARK": str(tmp_path / "mark"), "CHANGED": str(tmp_path / "changed")}
    env |= {"PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPEN, *map(str, paths)],
        capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["never imported", "run"]


def test_a_codec_that_is_allowed_stays_so(tmp_path, monkeypatch):
    monkeypatch.setitem(codec_registry, "inverted", Inverted)
    pixels = np.arange(4096).astype("u1").reshape(64, 64)
    path = v2_array(tmp_path / "a.zarr", (~pixels).tobytes(), compressor={"id": "inverted"})
    with pytest.raises(lazypyr.PlanError, match="'inverted'"):
        lazypyr.open_pyramid(str(path))
    pyramid = lazypyr.open_pyramid(str(path), chunks=(64, 64), allow_codecs=["inverted"])
    for same in (pyramid, pyramid.refreshed(), pickle.loads(pickle.dumps(pyramid))):
        assert lazypyr.LazyPyramidStore(same)["0/c/0/0"] == pixels.tobytes()


BOMB = 2**27
BOMBS = {"zstd": {}, "gzip": {}, "zlib": {}, "bz2": {}, "lzma": {}, "lz4": {}, "blosc": {"cname": "zstd", "shuffle": 0}}
READ = """
import lazypyr, sys
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
def read(path):
    try:
        lazypyr.LazyPyramidStore(path, workers=1)["0/" + sys.argv[-1]]
        return "read"
    except lazypyr.SourceError as error:
        return str(error)
read(sys.argv[1])
before = peak()
for path in sys.argv[2:-1]:
    message = read(path)
    print(round(peak() - before), message)
"""


def zstd_frames(sizes, *, declared=True):
    """Frames of one block of a repeated byte for each 128 KiB, as RFC 8878 describes them."""
    frames = b""
    for size in sizes:
        frames += b"\x28\xb5\x2f\xfd" + (b"\x80\x58" + size.to_bytes(4, "little") if declared else b"\x00\x58")
        for start in range(0, size, 2**17):
            length = min(2**17, size - start)
            frames += (length << 3 | 2 | (start + length >= size)).to_bytes(3, "little") + b"\x07"
    return frames


def sharded(folder, chunk):
    """A shard of one chunk, as zarr lays it out, for the key ".../c/0/0"."""
    codecs = [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 0, "checksum": False}}]
    inside = {
        "chunk_shape": [64, 64],
        "codecs": codecs,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }
    array = zarr.create_array(str(folder), shape=(64, 64), chunks=(64, 64), shards=(64, 64), dtype="u1")
    assert array.shards == (64, 64)
    document = json.loads((folder / "zarr.json").read_text())
    document["codecs"] = [{"name": "sharding_indexed", "configuration": {**inside, "index_location": "end"}}]
    (folder / "zarr.json").write_text(json.dumps(document))
    (folder / "c" / "0").mkdir(parents=True)
    (folder / "c" / "0" / "0").write_bytes(chunk + np.array([0, len(chunk)], "<u8").tobytes())
    return folder


def large(folder, chunk, **changes):
    """Chunks of 1 MiB: the bombs are shorter than what may be stored of one, so that only their content tells."""
    assert len(chunk) < 2**20
    return v2_array(folder, chunk, shape=[1024, 1024], chunks=[1024, 1024], **changes)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
LZ4 = {"name": "numcodecs.lz4", "configuration": {}}
SHUFFLE = {"name": "numcodecs.shuffle", "configuration": {"elementsize": 1}}
TRANSPOSED = {"name": "transpose", "configuration": {"order": [1, 0]}}


def inside(codecs):
    """Shards of one chunk, of the size of the shard."""
    setup = {"chunk_shape": [1024, 1024], "codecs": codecs, "index_codecs": [BYTES], "index_location": "end"}
    return {"name": "sharding_indexed", "configuration": setup}


def shard(chunk):
    return chunk + np.array([0, len(chunk)], "<u8").tobytes()


def v3_array(folder, chunk, codecs, dtype="uint8"):
    (folder / "c" / "0").mkdir(parents=True)
    document = {
        "zarr_format": 3, "node_type": "array", "shape": [1024, 1024], "data_type": dtype, "fill_value": 0, "codecs": codecs,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1024, 1024]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "attributes": {},
    }  # fmt: skip
    (folder / "zarr.json").write_text(json.dumps(document))
    (folder / "c" / "0" / "0").write_bytes(chunk)
    return folder


@pytest.mark.fault("N9")
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_chunks_that_decode_to_more_than_is_due_are_refused_before_they_are_decoded(tmp_path):
    paths = [large(tmp_path / "good", numcodecs.Zstd().encode(bytes(2**20)), compressor={"id": "zstd"})]
    zeros = np.zeros(BOMB, "u1")
    for name, settings in BOMBS.items():
        compressor = {"id": name, **settings}
        chunk = numcodecs.get_codec(compressor).encode(zeros)
        paths.append(large(tmp_path / name, chunk, compressor=compressor))
        paths.append(large(tmp_path / f"{name} shuffled", chunk, compressor=compressor, filters=[{"id": "shuffle"}]))
        packed = {"filters": [{"id": "packbits"}, {"id": "delta", "dtype": "u1"}], "dtype": "|b1"}
        paths.append(large(tmp_path / f"{name} packed", chunk, compressor=compressor, **packed))
    del zeros
    hidden = [
        zstd_frames([BOMB], declared=False),
        zstd_frames([64, BOMB]),
        zstd_frames([64]) + zstd_frames([BOMB], declared=False),
        zstd_frames([2**20, BOMB]),
    ]
    for number, chunk in enumerate(hidden):
        paths.append(large(tmp_path / f"zstd hidden {number}", chunk, compressor={"id": "zstd"}))
    twice = numcodecs.GZip().encode(bytes(2**20)) + (tmp_path / "gzip" / "0.0").read_bytes()
    paths.append(large(tmp_path / "gzip twice", twice, compressor={"id": "gzip"}))
    behind = {"compressor": {"id": "zstd"}, "filters": [{"id": "delta", "dtype": "u1"}]}
    paths.append(large(tmp_path / "zstd behind delta", zstd_frames([2**20, BOMB]), **behind))
    paths.append(sharded(tmp_path / "sharded", zstd_frames([BOMB])))
    zstd = zstd_frames([2**20, BOMB])
    for name, (chunk, codecs) in {
        "filter before bytes": (zstd, [{"name": "numcodecs.delta", "configuration": {"dtype": "u1"}}, BYTES, ZSTD]),
        "shards in shards": (shard(shard(zstd)), [inside([inside([BYTES, ZSTD])])]),
        "of no size in shards in shards": (
            shard(shard(zstd_frames([BOMB], declared=False))),
            [inside([inside([BYTES, ZSTD])])],
        ),
        "gzip around shards": (numcodecs.GZip().encode(bytes(BOMB)), [inside([BYTES]), GZIP]),
        "zstd around shards": (zstd_frames([BOMB], declared=False), [inside([BYTES]), ZSTD]),
        "twice compressed": (numcodecs.GZip().encode(bytes(BOMB)), [BYTES, ZSTD, GZIP]),
        "lz4 of numcodecs": (numcodecs.LZ4().encode(bytes(BOMB)), [TRANSPOSED, inside([BYTES]), LZ4]),
        "pcodec, v3": (
            numcodecs.PCodec().encode(np.zeros(BOMB // 2, "u2")),
            [{"name": "numcodecs.pcodec", "configuration": {}}],
        ),
    }.items():
        paths.append(v3_array(tmp_path / name, chunk, codecs, dtype="uint16" if "pcodec" in name else "uint8"))
    chunk = numcodecs.PCodec().encode(np.zeros(BOMB // 4, "f4"))
    paths.append(
        v2_array(
            tmp_path / "pcodec", chunk, shape=[512, 512], chunks=[512, 512], dtype="<f4", compressor={"id": "pcodec"}
        )
    )
    run = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths), "c/0/0"], capture_output=True, text=True, check=True
    )
    told = run.stdout.splitlines()
    assert len(told) == len(paths) - 1
    for path, line in zip(paths[1:], told, strict=True):
        grown, message = line.split(maxsplit=1)
        assert int(grown) < 64, (path.name, line)
        assert "expected" in message or "Destination buffer" in message, (path.name, line)


@pytest.mark.parametrize("frames", [[4096], [1024, 3072]])
@pytest.mark.parametrize("declared", [True, False])
def test_zstd_in_frames_and_of_unknown_size_is_read(frames, declared, tmp_path):
    path = v2_array(tmp_path / "a.zarr", zstd_frames(frames, declared=declared), compressor={"id": "zstd"})
    assert lazypyr.LazyPyramidStore(str(path), chunks=(64, 64))["0/c/0/0"] == b"\x07" * 4096


PIXELS = (np.arange(2**20) // 37 % 251).astype("u1").reshape(1024, 1024)
CHAINS = {
    "filter before bytes": [{"name": "numcodecs.delta", "configuration": {"dtype": "u1"}}, BYTES, ZSTD],
    "shards in shards": [inside([inside([BYTES, ZSTD])])],
    "gzip around shards": [inside([BYTES, ZSTD]), GZIP],
    "zstd around shards": [inside([BYTES]), ZSTD],
    "twice compressed": [BYTES, ZSTD, GZIP],
    "gzip, then zstd": [BYTES, GZIP, ZSTD],
    "lz4 of numcodecs around shards": [TRANSPOSED, inside([BYTES]), LZ4],
    "blosc in shards in shards": [inside([inside([BYTES, {"name": "blosc", "configuration": {
        "cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0}}])])],
    "checksum around a compressor": [TRANSPOSED, inside([inside([BYTES, ZSTD, {"name": "crc32c"}])]), {"name": "crc32c"}],
    "shuffled": [inside([inside([BYTES, SHUFFLE, ZSTD])])],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Combining a .sharding_indexed. codec")
@pytest.mark.parametrize("name", CHAINS)
def test_what_zarr_decodes_is_read_as_zarr_reads_it(name, tmp_path):
    folder = v3_array(tmp_path / "a.zarr", b"", CHAINS[name])
    (folder / "c" / "0" / "0").unlink()
    array = zarr.open_array(folder)
    array[...] = PIXELS
    for src in (folder, zarr.open_array(folder, mode="r")):
        store = LazyPyramidStore(src, chunks=(1024, 1024))
        assert store["0/c/0/0"] == array[...].tobytes() == PIXELS.tobytes()
    assert pickle.loads(pickle.dumps(store))["0/c/0/0"] == PIXELS.tobytes()


@pytest.mark.filterwarnings("ignore:Combining a .sharding_indexed. codec")
def test_an_index_that_is_longer_than_its_chunks_is_read(tmp_path):
    """Around shards of tiny chunks the bytes that are due are mostly those of the index."""
    pixels = np.arange(64 * 64).astype("u1").reshape(64, 64)
    shards = zarr.codecs.ShardingCodec(chunk_shape=(1, 1), codecs=[zarr.codecs.BytesCodec()])
    options = {"serializer": shards, "compressors": zarr.codecs.GzipCodec()}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(64, 64), chunks=(64, 64), dtype="u1", fill_value=None, **options
    )
    array[...] = pixels
    assert LazyPyramidStore(array, chunks=(64, 64))["0/c/0/0"] == pixels.tobytes()


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_pcodec_of_every_type(dtype, zarr_format, tmp_path):
    pixels = (np.arange(4096) // 7).astype(dtype).reshape(64, 64)
    options = (
        {"compressors": numcodecs.PCodec()}
        if zarr_format == 2
        else {"compressors": None, "serializer": v3_numcodecs.PCodec()}
    )
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=pixels.shape, chunks=(64, 64), dtype=dtype, zarr_format=zarr_format, **options
    )
    array[...] = pixels
    assert LazyPyramidStore(array, chunks=(64, 64))["0/c/0/0"] == pixels.tobytes()
    chunk = tmp_path / "a.zarr" / ("0.0" if zarr_format == 2 else "c/0/0")
    for other in (pixels[:32], np.concatenate([pixels, pixels]), pixels.astype("f8" if dtype[-1] == "4" else "f4")):
        chunk.write_bytes(numcodecs.PCodec().encode(np.ascontiguousarray(other).reshape(-1)))
        with pytest.raises(lazypyr.SourceError):
            LazyPyramidStore(array, chunks=(64, 64))["0/c/0/0"]


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ("7a6670056000000000000088", 7 * 4), ("7a6670058600004000000088", 5 * 9 * 4), ("7a6670055b00300020000088", 3 * 4 * 6 * 8),
        ("7a6670054d00032000010088", 2 * 3 * 4 * 5 * 8), ("7a66700576bb00f0c3090088", 40000 * 3000 * 4),
    ],
)  # fmt: skip
def test_sizes_in_headers_of_zfp(header, n_bytes):
    """As zfpy 1.0.1 wrote them, a package that this numcodecs can't be imported beside."""

    class Zfp:
        codec_id = "zfpy"
        asked = False

        def decode(self, data, out=None):
            self.asked = True

    codec = Zfp()
    with pytest.raises(ValueError, match=f"got {n_bytes}"):
        decode_at_most(codec, bytes.fromhex(header), n_bytes - 4)
    assert not codec.asked
    decode_at_most(codec, bytes.fromhex(header), n_bytes)
    assert codec.asked
    with pytest.raises(ValueError, match="no zfp stream"):
        decode_at_most(codec, b"zfx" + bytes(20), n_bytes)


@pytest.mark.parametrize("shuffled", [[], [{"id": "shuffle", "elementsize": 1}], [{"id": "delta", "dtype": "u1"}]])
def test_zstd_of_unknown_size_before_filters_is_read(shuffled, tmp_path):
    filters = [numcodecs.get_codec(dict(codec)) for codec in shuffled]
    plain = np.full(2**18, 7, "u1")
    for codec in reversed(filters):
        plain = codec.decode(plain)
    frames = zstd_frames([2**18], declared=False)
    path = v2_array(
        tmp_path / "a.zarr",
        frames,
        shape=[512, 512],
        chunks=[512, 512],
        compressor={"id": "zstd"},
        filters=shuffled or None,
    )
    assert lazypyr.LazyPyramidStore(str(path), chunks=(512, 512))["0/c/0/0"] == np.asarray(plain).tobytes()


BESIDE = """
import lazypyr, sys
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
good, *bad = sys.argv[1:]
store = lazypyr.LazyPyramidStore(good)
print([len(store[key]) for key in store if key.startswith("weights/") and key[-1] == "0"])
before = peak()
for path in bad:
    try:
        store = lazypyr.LazyPyramidStore(path)
        print([store[key] for key in store if key.startswith("weights/") and key[-1] == "0"])
    except lazypyr.SourceError as error:
        print(round(peak() - before), error)
"""


@pytest.mark.fault("N9")
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_variables_beside_a_raster_are_bounded_too(zarr_format, tmp_path):
    """Coordinates, and arrays that are served as they are, are read by zarr."""
    compressors = {
        "gzip": (numcodecs.GZip(), zarr.codecs.GzipCodec()),
        "zstd": (numcodecs.Zstd(), zarr.codecs.ZstdCodec()),
    }
    bombs = {"gzip": numcodecs.GZip().encode(bytes(BOMB)), "zstd": zstd_frames([BOMB])}

    def dataset(name, damaged, kind):
        group = zarr.create_group(tmp_path / name, zarr_format=zarr_format)
        options = {"compressors": compressors[kind][zarr_format - 2]}
        for array, dims in (
            ("dem", ["y", "x"]),
            ("slope", ["y", "x"]),
            ("y", ["y"]),
            ("x", ["x"]),
            ("weights", ["time"]),
        ):
            named = {"dimension_names": dims} if zarr_format == 3 else {"attributes": {"_ARRAY_DIMENSIONS": dims}}
            made = group.create_array(
                array, shape=(64,) * len(dims), chunks=(64,) * len(dims), dtype="f8", **named, **options
            )
            made[...] = np.broadcast_to(np.arange(64.0), made.shape)
        if damaged:
            (tmp_path / name / damaged / ("0" if zarr_format == 2 else "c/0")).write_bytes(bombs[kind])
        return str(tmp_path / name)

    paths = [dataset("good", None, "gzip")]
    paths += [dataset(f"{kind} {name}", name, kind) for kind in compressors for name in ("x", "weights")]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BESIDE, *paths], capture_output=True, text=True, check=True
    )
    good, *told = run.stdout.splitlines()
    assert good == "[512]"
    assert len(told) == 4
    for line in told:
        grown, message = line.split(maxsplit=1)
        assert int(grown) < 64, line
        assert "expected 512 decoded bytes, got" in message, line
