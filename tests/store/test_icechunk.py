"""Icechunk: sessions as source, destination and overlay. Its stores take keys of zarr only, and chunks of arrays that are there."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import icechunk
import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, WrapperStore

import lazypyr
from lazypyr import DestinationError, LazyPyramidStore, PlanError, materialize, open_pyramid

PIXELS = np.random.default_rng(0).normal(size=(300, 260)).astype("f4")
OPTIONS = {"method": "mean", "chunks": (64, 64)}


@pytest.fixture
def repository():
    return icechunk.Repository.create(icechunk.in_memory_storage())


def means():
    return zarr.open_group(LazyPyramidStore(PIXELS, **OPTIONS), mode="r")


def check_levels(store):
    group = zarr.open_group(store, mode="r")
    for name, expected in means().arrays():
        np.testing.assert_array_equal(group[name][:], expected[:])
    assert group.attrs["ome"] == means().attrs["ome"]


@pytest.mark.parametrize("options", [{}, {"shards": 128}, {"levels": [1, 2]}, {"layout": "{level}/image"}])
def test_a_session_is_a_destination(repository, options):
    session = repository.writable_session("main")
    materialize(PIXELS, session.store, progress=False, **OPTIONS, **options)
    session.commit("levels")
    store = repository.readonly_session("main").store
    group = zarr.open_group(store, mode="r")
    for path, array in ((f"{k}/image" if "layout" in options else str(k), a) for k, a in means().arrays()):
        if int(path[0]) in options.get("levels", range(9)):
            np.testing.assert_array_equal(group[path][:], array[:])
    left = list(zarr.core.sync.sync(_listed(store)))
    assert not [key for key in left if ".lazypyr" in key], "nothing of ours stays"
    if not options:
        check_levels(store)
        pyramid = open_pyramid(store, **OPTIONS)
        assert len(pyramid.stored_levels) == 4
        assert pyramid.name == "IcechunkStore"


async def _listed(store):
    return [key async for key in store.list_prefix("")]


def test_a_second_run_finds_it_whole_and_another_recipe_is_refused(repository):
    session = repository.writable_session("main")
    assert materialize(PIXELS, session.store, progress=False, **OPTIONS).chunks > 0
    assert materialize(PIXELS, session.store, progress=False, **OPTIONS).chunks == 0
    with pytest.raises(PlanError, match="holds something else"):
        materialize(PIXELS, session.store, progress=False, **{**OPTIONS, "method": "max"})


def test_an_interrupted_run_goes_on_in_the_same_session(repository, monkeypatch):
    from lazypyr.writing import region

    session, calls, put = repository.writable_session("main"), [], region.put

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == 12:
            raise DestinationError("the network is gone")
        put(*args, **kwargs)

    monkeypatch.setattr(region, "put", failing)
    with pytest.raises(DestinationError, match="the network is gone"):
        materialize(PIXELS, session.store, progress=False, workers=1, inflight_bytes=100_000, **OPTIONS)
    assert zarr.core.sync.sync(session.store.get("zarr.json", zarr.core.buffer.default_buffer_prototype())) is None
    monkeypatch.setattr(region, "put", put)
    summary = materialize(PIXELS, session.store, progress=False, workers=1, inflight_bytes=100_000, **OPTIONS)
    assert summary.skipped > 0
    check_levels(session.store)


def computed(calls, version="1"):
    def read(level, window):
        calls.append(window)
        return PIXELS[tuple(slice(a, b) for a, b in window)]

    return lazypyr.from_function(read, shape=PIXELS.shape, dtype="f4", levels=1, chunks=64, version=version, name="f")


def test_a_session_is_an_overlay(repository):
    session = repository.writable_session("main")
    for expected in (25, 0):
        calls = []
        store = LazyPyramidStore(computed(calls), overlay=session.store, write_through=True)
        np.testing.assert_array_equal(zarr.open(store, mode="r")["0"][:], PIXELS)
        assert len(calls) == expected
    session.commit("tiles")
    with pytest.raises(PlanError, match="another recipe or source"):
        LazyPyramidStore(computed([], "2"), overlay=repository.writable_session("main").store, write_through=True)


def test_the_disk_cache_there_is_bounded(repository):
    session = repository.writable_session("main")
    bound = 64 * 64 * 4 * 6
    store = LazyPyramidStore(PIXELS, overlay=session.store, write_through=True, overlay_bytes=bound, **OPTIONS)
    np.testing.assert_array_equal(zarr.open(store, mode="r")["0"][:], PIXELS)
    kept = sum(_sizes(session.store).values())
    assert 0 < kept <= bound


def _sizes(store):
    keys = [key for key in zarr.core.sync.sync(_listed(store)) if "/tiles/" in key and key.endswith("/c/0")]
    return {key: zarr.core.sync.sync(store.getsize(key)) for key in keys}


def test_levels_of_a_session_are_an_overlay_too(repository):
    session = repository.writable_session("main")
    materialize(PIXELS, session.store, copy_base=False, progress=False, **OPTIONS)
    store = LazyPyramidStore(PIXELS, overlay=session.store, **OPTIONS)
    check_levels(store)
    assert store._overlay.levels == [1, 2, 3]


@pytest.mark.parametrize("options", [{"zarr_format": 2}, {"zarr_format": 2, "compressor": None}])
def test_the_format_that_it_does_not_have_is_an_error_of_ours(repository, options):
    with pytest.raises((DestinationError, PlanError), match=r"[Zz]arr"):
        materialize(PIXELS, repository.writable_session("main").store, progress=False, **OPTIONS, **options)


def test_a_session_that_only_reads_is_refused(repository):
    for call in (
        lambda store: materialize(PIXELS, store, progress=False),
        lambda store: LazyPyramidStore(PIXELS, overlay=store, write_through=True),
    ):
        with pytest.raises(PlanError, match="read-only"):
            call(repository.readonly_session("main").store)


def test_other_processes_would_write_to_a_session_of_their_own(repository):
    from concurrent.futures import ProcessPoolExecutor

    session = repository.writable_session("main")
    with ProcessPoolExecutor(1) as pool, pytest.raises(PlanError):
        materialize(PIXELS, session.store, executor=pool, progress=False, **OPTIONS)


def test_a_commit_has_one_fingerprint_in_every_process(tmp_path):
    where = str(tmp_path / "repository")
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(where))
    session = repository.writable_session("main")
    zarr.create_group(session.store).create_array("a", data=PIXELS, chunks=(64, 64))
    before = open_pyramid(session.store).fingerprint
    session.commit("one")
    told = {open_pyramid(repository.readonly_session("main").store).fingerprint for _ in range(2)}
    script = f"""
        import icechunk, lazypyr
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage({where!r}))
        print(lazypyr.open_pyramid(repository.readonly_session("main").store).fingerprint)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert told == {done.stdout.split()[-1]}
    assert before not in told
    session = repository.writable_session("main")
    zarr.open_group(session.store)["a"][0, 0] = 7
    session.commit("two")
    assert open_pyramid(repository.readonly_session("main").store).fingerprint not in told


class OnlyZarrKeys(WrapperStore):
    """A store that takes keys of zarr only, and lists nothing else."""

    async def set(self, key, value):
        if not key.endswith(("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")) and "/c/" not in key:
            raise ValueError(f"invalid zarr key format {key}")
        await super().set(key, value)


def test_every_zarr_store_gets_keys_of_zarr_only():
    for call in (
        lambda store: materialize(PIXELS, store, progress=False, inflight_bytes=200_000, **OPTIONS),
        lambda store: LazyPyramidStore(PIXELS, overlay=store, write_through=True, overlay_bytes=2**20, **OPTIONS)[
            "1/c/0/0"
        ],
    ):
        memory = MemoryStore()
        call(OnlyZarrKeys(memory))
        assert memory._store_dict
    assert any("/tiles/" in key for key in memory._store_dict)
