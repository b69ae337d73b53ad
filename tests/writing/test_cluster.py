"""`materialize` on workers in other processes, and into S3."""

import contextlib
import os
import signal
import threading
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr

from lazypyr import LazyPyramidStore, PlanError, SourceError, materialize
from lazypyr.kvstore.open import open_kvstore
from lazypyr.writing import executors
from lazypyr.writing import run as jobs
from lazypyr.writing.job import RegionResult
from lazypyr.writing.region import run_region
from lazypyr.writing.run import plan_job
from support.leftovers import LEFT_TO_THE_COLLECTOR
from support.running import until

# distributed, when a worker is killed under it
pytestmark = [pytest.mark.timeout(240), *LEFT_TO_THE_COLLECTOR]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    array = zarr.create_array(folder / "src.zarr", shape=(512, 640), chunks=(64, 64), dtype="f4")
    array[:] = np.random.default_rng(5).normal(size=array.shape)
    store = LazyPyramidStore(folder / "src.zarr", method="mean", chunks=(32, 32), compressor="zstd")
    materialize(store, folder / "reference", progress=False)
    return store, contents(folder / "reference")


@pytest.fixture(scope="module")
def cluster():
    from dask.distributed import Client, LocalCluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0,
            silence_logs=50, host="127.0.0.1", protocol="tcp",
        )  # fmt: skip
        client = Client(made)
        client.wait_for_workers(2)
        yield client
        client.close()
        made.close()


SMALL = {"inflight_bytes": 150_000, "progress": False}


@pytest.mark.slow
@pytest.mark.fault("P3")
def test_on_a_cluster(tmp_path, source, cluster, monkeypatch):
    store, wanted = source
    most, waiting = 0, 0
    submit, outcome = cluster.submit, executors.result_of

    def watched(*args, **kwargs):
        nonlocal most, waiting
        waiting += 1
        most = max(most, waiting)
        return submit(*args, **kwargs)

    def taken(future):
        nonlocal waiting
        waiting -= 1
        return outcome(future)

    monkeypatch.setattr(cluster, "submit", watched)
    monkeypatch.setattr(executors, "result_of", taken)
    done = materialize(store, tmp_path / "out", executor=cluster, **SMALL)
    assert contents(tmp_path / "out") == wanted
    assert done.regions > 20
    # a bounded number of tasks at once, however many regions there are; the next one is there before one is taken
    assert most <= 2 * (1 + executors.TASKS_AHEAD) + 1
    with pytest.raises(PlanError, match="other processes"):
        materialize(store, {}, executor=cluster, **SMALL)
    with pytest.raises(PlanError, match="workers belong"):
        materialize(store, tmp_path / "no", executor=cluster, workers=3, progress=False)
    with pytest.raises(PlanError, match="expected a dask"):
        materialize(store, tmp_path / "no", executor=5, progress=False)


@pytest.mark.slow
@pytest.mark.fault("W10")
def test_a_killed_worker(tmp_path, source, cluster, monkeypatch):
    store, wanted = source
    victims = list(cluster.run(os.getpid).values())
    counted = threading.Event()
    real = executors.result_of

    def outcome(future):
        counted.set()
        return real(future)

    def kill():
        counted.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victims[0], signal.SIGKILL)

    monkeypatch.setattr(executors, "result_of", outcome)
    killer = threading.Thread(target=kill)
    killer.start()
    materialize(store, tmp_path / "out", executor=cluster, **SMALL)
    killer.join()
    assert contents(tmp_path / "out") == wanted

    def replaced():
        with contextlib.suppress(OSError, KeyError, TimeoutError):  # the scheduler may not know yet that it is gone
            found = cluster.run(os.getpid).values()
            return len(found) == 2 and victims[0] not in found

    until(replaced, 100)


@pytest.mark.fault("W10")
def test_regions_done_twice_and_in_any_order(tmp_path, source):
    store, wanted = source
    job = plan_job(store, open_kvstore(tmp_path / "out"), None, None, 40_000, 2, copy_base=True)
    for number, stage in enumerate(job.stages):
        count = int(np.prod(stage.counts(store.pyramid)))
        order = [*range(count), *range(0, count, 2)]
        np.random.default_rng(0).shuffle(order)
        for region in order:
            run_region(job, number, region)
    found = contents(tmp_path / "out")
    assert len(job.stages) > 1
    for key, value in wanted.items():
        assert key.endswith("zarr.json") or found[key] == value


@pytest.mark.slow
@pytest.mark.fault("P3")
def test_spawned_processes(tmp_path, source):
    store, wanted = source
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        materialize(store, tmp_path / "out", executor=pool, **SMALL)
    assert contents(tmp_path / "out") == wanted


def test_an_error_in_a_worker(tmp_path, source, cluster):
    folder = tmp_path / "src.zarr"
    array = zarr.create_array(folder, shape=(256, 256), chunks=(64, 64), dtype="f4")
    array[:] = 1.0
    (folder / "c" / "1" / "1").write_bytes(b"nonsense")
    with pytest.raises(SourceError, match="1 of .* regions .* failed.*c/1/1"):
        materialize(folder, tmp_path / "out", chunks=(32, 32), executor=cluster, progress=False,
                    inflight_bytes=60_000)  # fmt: skip
    assert not (tmp_path / "out" / "zarr.json").exists()


@pytest.mark.slow
@pytest.mark.fault("P3")
def test_on_four_workers_in_shards(
    tmp_path, source, cluster
):  # the last on this cluster: it has more workers from here on
    store, _ = source
    cluster.cluster.scale(4)
    cluster.wait_for_workers(4, timeout=100)
    materialize(store, tmp_path / "out", executor=cluster, shards=64, **SMALL)
    assert len(cluster.nthreads()) == 4
    materialize(store, tmp_path / "here", shards=64, **SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "here")


class Instant:
    """An executor that has everything done at once."""

    _max_workers = 2

    def submit(self, function, blob, stage, region):
        future = Future()
        future.set_result(RegionResult(1, 1, 1))
        return future


def test_a_plan_of_millions_of_regions_is_streamed(tmp_path):
    array = zarr.create_array(tmp_path / "huge", shape=(2**24, 2**24), chunks=(4096, 4096), dtype="u1")
    store = LazyPyramidStore(array, chunks=(4096, 4096))
    told = materialize(store, tmp_path / "out", executor=Instant(), dry_run=True, progress=False)
    assert told.chunks > 2**24
    job = plan_job(store, open_kvstore(tmp_path / "out"), None, None, 2**27, 2, copy_base=True)
    ahead = iter(range(10_000_000))
    outcomes = executors.FuturesExecutor(Instant()).run(job, 0, ahead, 10_000_000)
    for _ in range(1000):
        assert next(outcomes)[1] == RegionResult(1, 1, 1)
    assert next(ahead) < 1100, "they were drawn long before they were wanted"
    outcomes.close()


def test_pixels_in_memory_travel_only_while_they_are_few(tmp_path):
    few = np.arange(64.0 * 48.0).reshape(64, 48)
    materialize(few, tmp_path / "threads", chunks=(32, 32), progress=False)
    with ThreadPoolExecutor(2) as pool:
        materialize(few, tmp_path / "pool", executor=pool, chunks=(32, 32), progress=False)
    assert contents(tmp_path / "pool") == contents(tmp_path / "threads")
    many = np.zeros((2048, 2049))
    with pytest.raises(PlanError, match="16.0 MiB"):
        materialize(many, tmp_path / "no", executor=Instant(), progress=False)


@pytest.fixture(scope="module")
def s3():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}"}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield options
    server.stop()


@pytest.mark.slow
def test_s3(tmp_path, source, s3):
    import s3fs

    store, wanted = source
    few = LazyPyramidStore(store.pyramid, compressor="zstd")
    url = "s3://bucket/deep/out.zarr"
    told = materialize(few, url, levels=[2, 3], storage_options=s3, **SMALL)
    kvstore = open_kvstore(url, s3)
    found = {key: kvstore.get(key) for key, _ in kvstore.list_sizes("")}
    assert {k: v for k, v in found.items() if "/c/" in k} == {
        k: v for k, v in wanted.items() if k.startswith(("2/c/", "3/c/"))
    }
    assert sorted(key for key in found if "/c/" not in key) == ["2/zarr.json", "3/zarr.json", "zarr.json"]
    assert told.chunks == sum("/c/" in key for key in found)
    group = zarr.open_group(zarr.storage.FsspecStore.from_url(url, storage_options=s3, read_only=True), mode="r")
    np.testing.assert_array_equal(group["3"][:], zarr.open(store)["3"][:])
    assert "already whole" in str(materialize(few, url, levels=[2, 3], storage_options=s3, **SMALL))
    with pytest.raises(PlanError, match="not empty"):
        materialize(few, url, levels=[3], storage_options=s3, **SMALL)
    s3fs.S3FileSystem(**s3).rm("bucket/deep", recursive=True)


@pytest.mark.fault("W2")
def test_s3_goes_on(source, s3, monkeypatch):
    store, wanted = source
    url = "s3://bucket/again.zarr"
    mark, marked = jobs.Checkpoint.mark, []

    def stop(self, stage, region):
        marked.append(region)
        if len(marked) == 2:
            raise OSError("the line went dead")
        mark(self, stage, region)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.Checkpoint, "mark", stop)
        with pytest.raises(OSError, match="went dead"):
            materialize(store, url, levels=[3], storage_options=s3, progress=False)
    again = materialize(store, url, levels=[3], storage_options=s3, progress=False)
    assert again.skipped == 1
    kvstore = open_kvstore(url, s3)
    found = {key: kvstore.get(key) for key, _ in kvstore.list_sizes("")}
    assert {k: v for k, v in found.items() if "/c/" in k} == {k: v for k, v in wanted.items() if k.startswith("3/c/")}
    assert not [key for key in found if key.startswith(".lazypyr")]
