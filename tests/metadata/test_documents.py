"""Documents: zarr opens exactly these keys, and finds in them what it would have written itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from lazypyr.errors import PlanError
from lazypyr.metadata import ArrayNode, Codec, GroupNode, documents

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(numpy.datetime64|numpy.timedelta64|datetime64|timedelta64).*"),
    pytest.mark.filterwarnings("ignore:.*not part of the Zarr format 3 specification.*"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification.*"),
]

VALUES = [
    ("bool", True),
    ("i1", -3),
    ("i2", -32768),
    ("i4", 7),
    ("i8", -(2**63)),
    ("u1", 255),
    ("u2", 65535),
    ("u4", 0),
    ("u8", 2**64 - 1),
    ("f2", 0.1),
    ("f4", np.nan),
    ("f4", -1.1),
    ("f8", np.inf),
    ("f8", -np.inf),
    ("c8", complex(np.nan, -np.inf)),
    ("c16", 1 - 2j),
    ("M8[ns]", np.datetime64("NaT")),
    ("M8[10s]", np.datetime64(50, "s")),
    ("M8[D]", np.datetime64("2020-02-29")),
    ("m8[ms]", np.timedelta64(7, "ms")),
    ("m8[us]", np.timedelta64("NaT")),
]


def stored(docs):
    return MemoryStore({key: cpu.Buffer.from_bytes(value) for key, value in docs.items()}, read_only=True)


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes() or bool(a != a and b != b)


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize(("dtype", "fill"), VALUES)
def test_zarr_opens_what_it_would_have_written(dtype, fill, zarr_format, separator):
    dtype = np.dtype(dtype)
    codec = Codec.of("zstd")
    node = ArrayNode((50, 7), (16, 3), dtype, fill, ("y", "x"), {"units": "m"}, codec, separator)
    root = GroupNode({"0": node, "deep": GroupNode({"image": node})}, {"title": "t"})
    docs = documents(root, zarr_format=zarr_format)
    assert docs == documents(root, zarr_format=zarr_format)

    theirs = {}
    group = zarr.create_group(MemoryStore(theirs), zarr_format=zarr_format, attributes={"title": "t"})
    options = {"dimension_names": ("y", "x")} if zarr_format == 3 else {}
    attributes = {"units": "m"} if zarr_format == 3 else {"units": "m", "_ARRAY_DIMENSIONS": ["y", "x"]}
    group.create_array(
        "0",
        shape=(50, 7),
        chunks=(16, 3),
        dtype=dtype,
        fill_value=fill,
        attributes=attributes,
        compressors=numcodecs.Zstd(1) if zarr_format == 2 else zarr.codecs.ZstdCodec(level=1),
        chunk_key_encoding={"name": "default" if zarr_format == 3 else "v2", "separator": separator},
        **options,
    )
    for key in ("0/zarr.json",) if zarr_format == 3 else ("0/.zarray", "0/.zattrs"):
        ours, written = strict(docs[key]), strict(theirs[key].to_bytes())
        if zarr_format == 2 and key.endswith(".zarray"):
            # numcodecs writes its defaults out or not, according to its version.
            ours["compressor"].pop("checksum", None), written["compressor"].pop("checksum", None)
        assert ours == written

    for opened in (
        zarr.open_group(stored(docs), mode="r", use_consolidated=False),
        zarr.open_group(stored(docs), mode="r", use_consolidated=True),
        zarr.open_consolidated(stored(docs), zarr_format=zarr_format, mode="r"),
    ):
        assert opened.attrs.asdict() == {"title": "t"}
        assert sorted(opened.group_keys()) == ["deep"]
        assert sorted(opened.array_keys()) == ["0"]
        for path in ("0", "deep/image"):
            array = opened[path]
            assert (array.shape, array.chunks, array.dtype) == ((50, 7), (16, 3), dtype)
            assert same(array.fill_value, np.asarray(fill).astype(dtype)[()])
            assert same(array[0, 0], np.asarray(fill).astype(dtype)[()])
            assert dict(array.attrs) == attributes
            if zarr_format == 3:
                assert array.metadata.dimension_names == ("y", "x")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_says_what_the_nodes_say(zarr_format):
    node = ArrayNode((5,), (5,), np.dtype("u1"))
    docs = documents(GroupNode({"a": GroupNode({"b": node}), "c": node}), zarr_format=zarr_format)
    if zarr_format == 2:
        inner = strict(docs.pop(".zmetadata"))
        assert inner["metadata"] == {key: strict(value) for key, value in docs.items()}
        return
    root = strict(docs["zarr.json"])["consolidated_metadata"]
    assert (root["kind"], root["must_understand"]) == ("inline", False)
    assert set(root["metadata"]) == {"a", "a/b", "c"}
    for path, found in root["metadata"].items():
        found.pop("consolidated_metadata", None)
        assert found == strict(docs[f"{path}/zarr.json"])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.complex_numbers()
    | hnp.array_shapes(max_dims=2, max_side=2).flatmap(lambda s: hnp.arrays(st.sampled_from(["f4", "i2", "?"]), s))
    | st.sampled_from([np.float32("nan"), np.int8(3), np.bool_(True), np.datetime64("NaT"), np.timedelta64(3, "s")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3), st.sampled_from([2, 3]))
def test_attributes_are_always_strict_json(attributes, zarr_format):
    node = ArrayNode((3,), (3,), np.dtype("f4"), np.nan, attributes=attributes)
    docs = documents(GroupNode({"0": node}, attributes), zarr_format=zarr_format)
    assert docs == documents(GroupNode({"0": node}, attributes), zarr_format=zarr_format)
    for value in docs.values():
        assert isinstance(strict(value), dict)
        value.decode("ascii")
    assert list(zarr.open_group(stored(docs), mode="r")["0"].attrs) == list(attributes)


@given(
    hnp.from_dtype(np.dtype("c8"), allow_nan=False) | hnp.from_dtype(np.dtype("f2")) | hnp.from_dtype(np.dtype("i8")),
    st.sampled_from([2, 3]),
)
def test_every_fill_value_comes_back(fill, zarr_format):
    docs = documents(GroupNode({"0": ArrayNode((1,), (1,), fill.dtype, fill)}), zarr_format=zarr_format)
    assert same(zarr.open_group(stored(docs), mode="r")["0"][0], fill)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        "zstd",
        "gzip",
        "blosc",
        "zlib",
        "lz4",
        "bz2",
        "lzma",
        numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE),
        numcodecs.Blosc("lz4", 3, numcodecs.Blosc.AUTOSHUFFLE),
        numcodecs.Zstd(5, checksum=True),
        zarr.codecs.ZstdCodec(level=3),
        zarr.codecs.BloscCodec(cname="zlib", shuffle="bitshuffle", typesize=2),
        {"id": "gzip", "level": 6},
        {"name": "gzip", "configuration": {"level": 6}},
    ],
    ids=str,
)
def test_zarr_decodes_what_numcodecs_encoded(compressor, zarr_format):
    data = np.arange(12, dtype="<u2").reshape(3, 4)
    codec = Codec.of(compressor)
    docs = documents(GroupNode({"0": ArrayNode((3, 4), (3, 4), data.dtype, 0, codec=codec)}), zarr_format=zarr_format)
    chunk = data.tobytes() if codec is None else numcodecs.get_codec(codec.numcodecs_config()).encode(data)
    docs["0/c/0/0" if zarr_format == 3 else "0/0/0"] = bytes(chunk)
    np.testing.assert_array_equal(zarr.open_group(stored(docs), mode="r")["0"][:], data)
    assert Codec.of(codec) is codec
    if codec is not None:
        described = codec.v3_document(itemsize=2) if zarr_format == 3 else codec.v2_document()
        again = Codec.of(described)
        automatic = codec.configuration.get("shuffle") == -1  # v3 has no word for it
        assert again == codec or (automatic and zarr_format == 3)
        assert hash(again) == hash(codec) or automatic


@pytest.mark.parametrize(
    ("compressor", "words"),
    [
        ("snappy", "zstd, blosc"),
        (7, "got 7"),
        (numcodecs.Delta("i2"), "Delta"),
        (numcodecs.Zstd, "Zstd"),
        ({"id": "zstd", "level": 23}, "level should be -131072 to 22"),
        ({"id": "gzip", "level": True}, "got True"),
        ({"id": "gzip", "speed": 1}, "'speed'"),
        ({"id": "blosc", "cname": "brotli"}, "cname"),
        ({"id": "blosc", "shuffle": "sideways"}, "shuffle"),
        ({}, "zstd"),
        ({"id": ["zstd"]}, "zstd"),
    ],
)
def test_bad_compressors_are_named(compressor, words):
    with pytest.raises(PlanError, match=words):
        Codec.of(compressor)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (ArrayNode((3,), (3,), np.dtype("f4"), attributes={"a": {"b": [object()]}}), r"0\.a\.b\[0\].*object"),
        (ArrayNode((3,), (3,), np.dtype("f4"), attributes={(1, 2): 3}), "no string"),
        (ArrayNode((3,), (3,), np.dtype("U3")), "no zarr data type"),
        (ArrayNode((3,), (3,), np.dtype([("a", "f4")])), "no zarr data type"),
        (ArrayNode((3,), (3,), np.dtype("g")), "no zarr data type"),
        (ArrayNode((3,), (3,), np.dtype("u1"), -1), "fill_value: -1"),
        (ArrayNode((3,), (3,), np.dtype("u1"), np.int16(300)), "fill_value"),
        (ArrayNode((3,), (3,), np.dtype("i2"), 0.5), "fill_value: 0.5"),
        (ArrayNode((3,), (3,), np.dtype("i2"), np.nan), "fill_value: nan"),
        (ArrayNode((3,), (3,), np.dtype("f4"), "high"), "fill_value: 'high'"),
    ],
)
def test_what_zarr_cannot_hold_is_named(node, words):
    for zarr_format in (2, 3):
        with pytest.raises(PlanError, match=words):
            documents(GroupNode({"0": node}), zarr_format=zarr_format)


def test_impossible_nodes_are_named():
    with pytest.raises(PlanError, match="one number an axis"):
        ArrayNode((3, 4), (3,), np.dtype("u1"))
    with pytest.raises(PlanError, match="dimension names"):
        ArrayNode((3,), (3,), np.dtype("u1"), dimension_names=("y", "x"))
    with pytest.raises(PlanError, match="separator"):
        ArrayNode((3,), (3,), np.dtype("u1"), separator="_")
    with pytest.raises(PlanError, match="2 or 3"):
        documents(GroupNode({}), zarr_format=1)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray_finds_the_dimensions(zarr_format):
    node = ArrayNode((6, 8), (4, 4), np.dtype("f4"), np.nan, ("y", "x"), {"units": "m"})
    tree = GroupNode({"0": GroupNode({"image": node}), "1": GroupNode({"image": replace(node, shape=(3, 4))})})
    opened = xr.open_datatree(stored(documents(tree, zarr_format=zarr_format)), engine="zarr", chunks=None)
    assert dict(opened["1"].sizes) == {"y": 3, "x": 4}
    assert opened["0/image"].dims == ("y", "x")
    assert opened["0/image"].attrs["units"] == "m"
