"""One writer of a pyramid in a process of its own: ``python _write.py WRITER METHOD SOURCE OUT`` prints its seconds.

Every writer makes levels 1 to 5 of the same array, in chunks of 512 (what its interface allows), zstd level 1, and no
level 0. Imports are not counted, and so not what numba imports of itself at its first kernel (0.3 s); planning is, and ours
waits at the end until all is on the disk, which of the others only tensorstore does.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from pathlib import Path

import numpy as np

LEVELS = 6
CHUNK = 512


def lazypyr(method, source, out):
    import lazypyr.product  # noqa: F401
    from lazypyr import LazyPyramidStore, materialize

    if method == "mean":
        import numba

        numba.njit(lambda: None)()

    def run():
        zstd = {"id": "zstd", "level": 1}
        store = LazyPyramidStore(source, method=method, chunks=(CHUNK, CHUNK), levels=LEVELS, compressor=zstd)
        materialize(store, out, copy_base=False, progress=False)

    return run


def floor(method, source, out):
    """Decode every source chunk once, encode every output chunk once: two threads, nothing else."""
    import zarr
    from numcodecs import Zstd

    array = zarr.open_array(source, mode="r")
    files = [p for p in (Path(source) / "c").rglob("*") if p.is_file()]
    plain = np.ascontiguousarray(array[:CHUNK, :CHUNK])
    tiles = sum(math.prod(-(-n // (CHUNK * 2**k)) for n in array.shape) for k in range(1, LEVELS))

    def run():
        Path(out).mkdir()
        work = iter([*(("read", f) for f in files), *(("write", n) for n in range(tiles))])
        lock, codec = threading.Lock(), Zstd(level=1)

        def thread():
            memory = np.empty(CHUNK * CHUNK, "f4")
            while True:
                with lock:
                    task = next(work, None)
                if task is None:
                    return
                kind, what = task
                if kind == "read":
                    codec.decode(what.read_bytes(), out=memory)
                else:
                    (Path(out) / str(what)).write_bytes(codec.encode(plain))

        threads = [threading.Thread(target=thread) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    return run


def tensorstore(method, source, out):
    import tensorstore as ts

    def run():
        context = ts.Context({"cache_pool": {"total_bytes_limit": 2**28}})
        spec = {"driver": "zarr3", "kvstore": f"file://{source}/"}
        before = ts.open(spec, context=context).result()
        for level in range(1, LEVELS):
            view = ts.downsample(before, [2, 2], method=method)
            codecs = [{"name": "bytes", "configuration": {"endian": "little"}},
                      {"name": "zstd", "configuration": {"level": 1}}]  # fmt: skip
            grid = {"name": "regular", "configuration": {"chunk_shape": [CHUNK, CHUNK]}}
            made = ts.open(
                {"driver": "zarr3", "kvstore": f"file://{out}/{level}/",
                 "metadata": {"shape": list(view.shape), "data_type": "float32", "chunk_grid": grid, "codecs": codecs}},
                create=True, context=context,
            ).result()  # fmt: skip
            made.write(view).result()
            before = made

    return run


def _dask(source):
    import dask
    import dask.array as da

    dask.config.set(scheduler="threads", num_workers=2)
    return da.from_zarr(source)


def _to_zarr(levels, out):
    """Write dask arrays as the writers themselves do, all in one graph, without their level 0."""
    import dask
    import dask.array as da
    import zarr

    stored = []
    for k, level in enumerate(levels, 1):
        tiles = level.rechunk((CHUNK, CHUNK))
        target = zarr.create_array(
            f"{out}/{k}", shape=tiles.shape, chunks=(CHUNK, CHUNK), dtype=tiles.dtype,
            compressors=[zarr.codecs.ZstdCodec(level=1)],
        )  # fmt: skip
        stored.append(da.store(tiles, target, lock=False, compute=False))
    dask.compute(*stored)


def topozarr(method, source, out):
    import xarray as xr
    import xproj  # noqa: F401
    import zarr
    from topozarr.coarsen import create_pyramid

    array = _dask(source)

    def run():
        ny, nx = array.shape
        data = xr.Dataset({"a": (("y", "x"), array)}, coords={"y": np.arange(ny), "x": np.arange(nx)})
        data = data.proj.assign_crs(spatial_ref="EPSG:32633")
        made = create_pyramid(
            data, LEVELS, method=method, target_chunk_bytes=CHUNK * CHUNK * 4, target_shard_bytes=None
        )
        encoding = {path: each for path, each in made.encoding.items() if path != "/0"}
        for each in encoding.values():
            each["a"]["compressors"] = [zarr.codecs.ZstdCodec(level=1)]
        tree = xr.DataTree(children={name: node for name, node in made.datatree.children.items() if name != "0"})
        tree.to_zarr(out, encoding=encoding, zarr_format=3, consolidated=False)

    return run


def ngff_zarr(method, source, out):
    import ngff_zarr

    array = _dask(source)
    if method == "stride":
        import dask_image.ndinterp  # noqa: F401

    def run():
        image = ngff_zarr.to_ngff_image(array, dims=["y", "x"])
        # Of its two means the faster: ITKWASM_BIN_SHRINK, its default, takes twenty times as long.
        how = ngff_zarr.Methods.DASK_BIN_SHRINK if method == "mean" else ngff_zarr.Methods.DASK_IMAGE_NEAREST
        made = ngff_zarr.to_multiscales(image, [2**k for k in range(1, LEVELS)], method=how, chunks=CHUNK)
        _to_zarr([level.data for level in made.images[1:]], out)

    return run


def ome_zarr(method, source, out):
    from ome_zarr.scale import Methods, _build_pyramid

    array = _dask(source)

    def run():
        how = Methods.LOCAL_MEAN if method == "mean" else Methods.NEAREST
        made = _build_pyramid(array, [{"y": 2**k, "x": 2**k} for k in range(1, LEVELS)], ("y", "x"), method=how)
        _to_zarr(made[1:], out)

    return run


def xarray_multiscale(method, source, out):
    from xarray_multiscale import multiscale
    from xarray_multiscale.reducers import windowed_mean

    array = _dask(source)

    reducer = (
        windowed_mean if method == "mean" else lambda block, window: block[tuple(slice(None, None, n) for n in window)]
    )

    def run():
        _to_zarr([level.data for level in multiscale(array, reducer, 2)[1:LEVELS]], out)

    return run


if __name__ == "__main__":
    name, how, where, to = sys.argv[1:]
    call = globals()[name](how, where, to)
    begin = time.perf_counter()
    call()
    print(json.dumps(time.perf_counter() - begin))
