"""zarr 2.18 reads the store as the mapping that it is there: raw, consolidated, and through its own cache."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from support.sources import random_array, zarr_array

SCRIPT = """
import sys
import numpy as np
import zarr
from zarr.storage import KVStore, LRUStoreCache
from lazypyr import LazyPyramidStore

assert zarr.__version__.startswith("2.18."), zarr.__version__
folder, expected = sys.argv[1], np.load(sys.argv[2])
method = sys.argv[3]
levels = [expected[f"level{k}"] for k in range(len(expected.files))]

def check(root, path="{level}"):
    for k, level in enumerate(levels):
        array = root[path.format(level=k)]
        assert array.dtype == level.dtype, (array.dtype, level.dtype)
        assert np.array_equal(array[...], level, equal_nan=level.dtype.kind in "fc"), (path, k)
    assert root.attrs["multiscales"][0]["datasets"][1]["path"] == path.format(level=1)

sources = {"path": zarr.open(folder, mode="r"), "numpy": levels[0], "mapping": None}
if zarr.open(folder, mode="r").compressor is not None:
    sources["array"] = zarr.open(folder, mode="r")
for name, src in sources.items():
    if name == "mapping":
        src = zarr.open(folder, mode="r")[...]
    for options in ({}, {"dimension_separator": "."}, {"compressor": "zstd"}, {"layout": "{level}/image"}, {"legacy": True}):
        store = LazyPyramidStore(src, chunks=(16, 16), method=method, zarr_format=2, **options)
        path = options.get("layout", "{level}")
        check(zarr.open(store, mode="r"), path)
        check(zarr.open_group(store, mode="r"), path)
        check(zarr.open_consolidated(store), path)
        check(zarr.open_consolidated(KVStore(store)), path)
        cached = LRUStoreCache(store, max_size=2**20)
        check(zarr.open_group(cached, mode="r"), path)
        check(zarr.open_consolidated(LRUStoreCache(store, max_size=None)), path)
        computes = store.cache_info().computes
        check(zarr.open_group(cached, mode="r"), path)
        assert store.cache_info().computes == computes
        assert len(list(store)) == len(store)
        items = store.getitems(["0/0/0", "no"]) if hasattr(store, "getitems") else {}
        assert "no" not in items
        try:
            zarr.open_group(store, mode="r+")["0" if path == "{level}" else "0/image"][0, 0] = 1
        except (ValueError, PermissionError, zarr.errors.ReadOnlyError):
            pass
        else:
            raise AssertionError("written to")
print("done")
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("dtype", "method"), [("<f4", "mean"), (">i2", "stride")])
def test_zarr2_reads_the_mapping(zarr2_python, zarr2_env, tmp_path, dtype, method):
    from support import reference

    source = random_array(0, (50, 70), dtype)
    zarr_array(
        source, store=tmp_path / "a.zarr", zarr_format=2, chunks=(20, 20), compressors={"id": "zlib", "level": 1}
    )
    levels = reference.levels(source, (2, 2), 4, method)
    np.savez(tmp_path / "levels.npz", **{f"level{k}": level for k, level in enumerate(levels)})
    done = subprocess.run(
        [zarr2_python, "-W", "ignore", "-c", SCRIPT, tmp_path / "a.zarr", tmp_path / "levels.npz", method],
        capture_output=True,
        text=True,
        env=zarr2_env,
        timeout=110,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr[-3000:]
