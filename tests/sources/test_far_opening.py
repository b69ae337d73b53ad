"""Opening far groups and arrays: round trips, and what reads them; forks."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr.sources.far.obstore_client import obstore_config
from support.far import Far, put_chunk

PIXELS = np.arange(600 * 500, dtype="u2").reshape(600, 500)


@pytest.fixture(scope="module")
def far():
    far = Far()
    for zarr_format in (2, 3):
        options = {"chunks": (128, 128), "zarr_format": zarr_format}
        axes = (
            {"dimension_names": ("y", "x")} if zarr_format == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["y", "x"]}}
        )
        zarr.create_array(str(far.root / f"array{zarr_format}"), data=PIXELS, **options, **axes)
        for name in ("plain", "consolidated"):
            group = zarr.open_group(str(far.root / f"{name}{zarr_format}"), mode="w", zarr_format=zarr_format)
            made = {"version": "0.5", "axes": [{"name": n, "type": "space"} for n in "yx"]}
            made["datasets"] = [
                {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": [2**k, 2**k]}]}
                for k in range(3)
            ]
            meta = {"multiscales": [made]}
            group.attrs.update({"ome": {"version": "0.5", **meta}} if zarr_format == 3 else meta)
            for k in range(3):
                group.create_array(str(k), data=PIXELS[:: 2**k, :: 2**k], chunks=(128, 128), **axes)
            if name == "consolidated":
                zarr.consolidate_metadata(str(far.root / f"{name}{zarr_format}"), zarr_format=zarr_format)
        group = zarr.open_group(str(far.root / f"geo{zarr_format}"), mode="w", zarr_format=zarr_format)
        for name, dims, values in (
            ("h", "yx", PIXELS),
            ("q", "yx", PIXELS),
            ("y", "y", np.arange(600.0)),
            ("x", "x", np.arange(500.0)),
        ):
            dims = (
                {"dimension_names": tuple(dims)}
                if zarr_format == 3
                else {"attributes": {"_ARRAY_DIMENSIONS": list(dims)}}
            )
            group.create_array(name, data=values, chunks=(128,) * values.ndim, **dims)
        zarr.consolidate_metadata(str(far.root / f"geo{zarr_format}"), zarr_format=zarr_format)
    return far


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("what", "trips"), [("array", 1), ("plain", 2), ("consolidated", 1), ("geo", 1)])
def test_opening_takes_few_round_trips_and_no_key_twice(far, what, trips, zarr_format):
    far.reset()
    far.latency = 0.6
    pyramid = lazypyr.open_pyramid(f"{far.url}/{what}{zarr_format}", variable="h" if what == "geo" else None)
    far.latency = 0.0
    assert set(far.metadata.values()) == {1}, far.metadata.most_common(3)
    assert len(far.starts(0.45)) == trips, far.log
    assert not far.chunks, "values of coordinates are read when something asks for the place"
    far.reset()
    store = lazypyr.LazyPyramidStore(pyramid)
    assert store["0/c/0/0"] == np.ascontiguousarray(PIXELS[:256, :256]).tobytes()
    assert not far.metadata
    np.testing.assert_array_equal(store.pyramid.read(1), PIXELS[::2, ::2])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_documents_make_the_same_fingerprint_as_those_of_the_levels(far, zarr_format):
    """Overlays of before, when each level was asked for its own document, go on; so do sources of other stores."""
    url = f"{far.url}/consolidated{zarr_format}"
    by_url = lazypyr.open_pyramid(url)
    by_zarr = lazypyr.open_pyramid(zarr.storage.FsspecStore.from_url(url, read_only=True))
    alone = lazypyr.open_pyramid(zarr.open_group(url, mode="r", use_consolidated=False))
    assert by_url.fingerprint == by_zarr.fingerprint == alone.fingerprint
    assert not any(source.has_changed() for source in by_url.sources)


def test_a_level_that_was_written_anew_is_found_though_the_consolidated_metadata_were_left(far):
    root = far.root / "stale"
    shutil.copytree(far.root / "consolidated3", root)
    pyramid = lazypyr.open_pyramid(f"{far.url}/stale")
    zarr.open_array(str(root / "0")).attrs["note"] = "of the level alone"
    assert not pyramid.sources[0].has_changed(), "readers of consolidated metadata don't see it"
    zarr.create_array(str(root / "0"), data=PIXELS + 1, chunks=(200, 200), overwrite=True, dimension_names=("y", "x"))
    assert pyramid.sources[0].has_changed()
    np.testing.assert_array_equal(pyramid.sources[0].refreshed().read(((0, 300), (0, 300))), PIXELS[:300, :300] + 1)


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_far_sources_in_other_processes(far, how):
    """Connections are made anew; obstore's threads don't live on in a forked child, so fsspec reads there."""
    store = lazypyr.LazyPyramidStore(f"{far.url}/array3")
    expected = store["0/c/1/0"]
    assert expected
    store.engine.clear()
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=put_chunk, args=(store, queue), daemon=True)
    child.start()
    try:
        assert queue.get(timeout=60) == np.ascontiguousarray(PIXELS[:256, :256]).tobytes()
    finally:
        child.join(20)
    assert child.exitcode == 0
    assert store["0/c/1/0"] == expected


def test_a_copy_by_pickle_reads_the_same(far):
    store = lazypyr.LazyPyramidStore(f"{far.url}/plain3", storage_options={"headers": {"X-A": "b"}})
    copy = pickle.loads(pickle.dumps(store))
    assert copy.fingerprint == store.fingerprint
    assert copy["1/c/0/0"] == store["1/c/0/0"]


def test_the_package_that_reads_makes_no_other_fingerprint(far):
    """Overlays and jobs of before obstore was installed go on."""
    by_fsspec = lazypyr.open_pyramid(f"{far.url}/array3", storage_options={"simple_links": True})
    by_obstore = lazypyr.open_pyramid(f"{far.url}/array3")
    by_zarr = lazypyr.open_pyramid(zarr.storage.FsspecStore.from_url(f"{far.url}/array3", read_only=True))
    assert by_fsspec.fingerprint == by_obstore.fingerprint == by_zarr.fingerprint


def test_a_url_without_aiohttp(far):
    """`pip install 'lazypyr[all]'` has obstore; fsspec's reader isn't asked for."""
    code = f"""
import sys
sys.modules["aiohttp"] = None
import lazypyr
print(lazypyr.open_pyramid({far.url + "/array3"!r}).read(0).sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert int(done.stdout) == PIXELS.sum()


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("https://a.example/b", {}, {}),
        ("https://a.example/b?signature=1", {}, None),
        ("https://user:word@a.example/b", {}, None),
        ("https://a.example/b", {"headers": {"A": "b"}}, {"default_headers": {"A": "b"}}),
        ("https://a.example/b", {"client_kwargs": {"auth": 1}}, None),
        ("s3://a/b", {"anon": True, "client_kwargs": {"region_name": "x"}}, {"skip_signature": True, "region": "x"}),
        ("s3://a/b", {"anon": True}, None),
        ("s3://a/b", {"profile": "me"}, None),
        (
            "s3://a/b",
            {"key": "k", "secret": "s", "endpoint_url": "http://h:1", "requester_pays": True},
            {"access_key_id": "k", "secret_access_key": "s", "endpoint": "http://h:1", "region": "us-east-1",
             "request_payer": True},
        ),
        ("ftp://a/b", {}, None),
    ],
)  # fmt: skip
def test_options_are_in_the_words_of_fsspec(url, options, expected, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    config = obstore_config(url, options)
    if expected is None:
        assert config is None
    else:
        found = {**config.get("config", {}), **config["client_options"]}
        assert {k: v for k, v in found.items() if k not in ("timeout", "connect_timeout", "allow_http")} == expected
