"""Regions of `materialize`: small parts of a job, whatever the channels; what one keeps for later stages is written once."""

import itertools
import math

import numpy as np
import pytest
import zarr

import lazypyr
from lazypyr import LazyPyramidStore, materialize
from lazypyr.kvstore.open import open_kvstore
from lazypyr.writing import region, stages
from lazypyr.writing.job import put
from lazypyr.writing.run import plan_job

RNG = np.random.default_rng(11)


def stack(shape, chunks, kind="f4"):
    values = RNG.normal(size=shape).astype(kind)
    source = zarr.storage.MemoryStore()
    zarr.create_array(source, data=values, chunks=chunks)
    return source


def pairs(z, i, j):
    return np.angle(z[i] * z[j].conj())


WIDE = {
    "all pairs of a stack in memory": lambda: lazypyr.open_pyramid(np.empty((1600, 2000, 10), "c8"), axes="yxi").map(pairs, dtype="f4"),
    "pairs, chunks that don't line up": lambda: lazypyr.open_pyramid(zarr.create_array({}, shape=(4000, 6000, 30), chunks=(1000, 1000, 1), dtype="c8"), axes="yxi").map("intf_all"),
    "a long stack of a small image": lambda: lazypyr.open_pyramid(zarr.create_array({}, shape=(1000, 400, 400), chunks=(1, 400, 400), dtype="c8"), axes="iyx").map("phase"),
    "a raster": lambda: lazypyr.open_pyramid(zarr.create_array({}, shape=(30_000, 30_000), chunks=(512, 512), dtype="f4"), method="mean"),
    "unaligned chunks": lambda: lazypyr.open_pyramid(zarr.create_array({}, shape=(20_000, 30_000), chunks=(900, 700), dtype="f4"), method="mean"),
    "a volume": lambda: lazypyr.open_pyramid(zarr.create_array({}, shape=(300, 2000, 2000), chunks=(64, 64, 64), dtype="u2"), method="median"),
    "a function": lambda: lazypyr.from_function(lambda level, window: None, shape=(2000, 2000), dtype="f4"),
}  # fmt: skip


def job_of(pyramid):
    return plan_job(LazyPyramidStore(pyramid), open_kvstore({}), None, None, 2**28, 2, copy_base=True)


def output_bytes(job, stage):
    """Bytes of each region's output at all levels of its stage, those at the edges as if they were whole."""
    pyramid, factors = job.arrays[stage.array].pyramid, job.arrays[stage.array].factors
    total = 0
    for level in range(stage.lo, stage.hi + 1):
        shape = zip(stage.region_shape, factors, pyramid.levels[level].shape, strict=True)
        total += math.prod(min(size * f ** (stage.hi - level), n) for size, f, n in shape) * pyramid.dtype.itemsize
    return total


@pytest.mark.parametrize("name", WIDE)
def test_no_region_is_more_than_a_twentieth(name):
    job = job_of(WIDE[name]())
    whole = sum(math.prod(level.shape) for array in job.arrays for level in array.pyramid.levels)
    whole *= job.arrays[0].pyramid.dtype.itemsize
    for stage in job.stages:
        # A region's coarser levels come to a third of its finest at most.
        assert output_bytes(job, stage) <= max(whole / 20 * 4 / 3, 2**20)


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    ("method", "kind", "axes", "chunks", "product"),
    [
        ("mean", "c8", "yxi", (50, 60, 1), "intf_all"),
        ("stride", "c8", "yxi", (64, 64, 5), "intf_all"),
        ("mean", "f4", "iyx", (2, 64, 64), lazypyr.product.cast(dtype="f8")),
        ("median", "f4", "iyx", (2, 64, 64), lazypyr.product.cast(dtype="f8")),
        ("stride", "f4", "iyx", (7, 40, 232), lazypyr.product.cast(dtype="f8")),
    ],
)
def test_regions_cut_along_channels(monkeypatch, method, kind, axes, chunks, product, interrupted):
    source = stack((200, 232, 5) if axes == "yxi" else (7, 200, 232), chunks, kind)
    monkeypatch.setattr(stages, "_LEAST_PRODUCT_BYTES", 4096)
    store = LazyPyramidStore(source, axes=axes, method=method, product=product, chunks=(32, 32))
    job = plan_job(store, open_kvstore({}), None, None, 2**17, 2, copy_base=True)
    counts = [s.counts(store.pyramid) for s in job.stages]
    assert len(counts) > 1
    assert max(n for count in counts for n, place in zip(count, job.arrays[0].places, strict=True) if not place) > 1
    dest, options = {}, {"progress": False, "inflight_bytes": 2**19, "workers": 2}
    if interrupted:
        written = itertools.count()

        def some(*args, **kwargs):
            if next(written) > 150:
                raise KeyboardInterrupt
            put(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(region, "put", some)
            with pytest.raises(KeyboardInterrupt):
                materialize(store, dest, **options)
    summary = materialize(store, dest, **options)
    assert (summary.skipped > 0) == interrupted
    assert {key: dest[key] for key in store if "/c/" in key} == {key: store[key] for key in store if "/c/" in key}
    assert not [key for key in dest if key.startswith(".lazypyr")]


def test_a_dry_run_tells_the_regions():
    pyramid = WIDE["all pairs of a stack in memory"]()
    job = job_of(pyramid)
    count = sum(math.prod(stage.counts(pyramid)) for stage in job.stages)
    summary = materialize(pyramid, {}, dry_run=True, progress=False, workers=2)
    assert summary.regions == count
    assert f"in {count} regions" in str(summary)
