"""The synthetic sets of the benchmarks: seeded, of realistic size and compressibility, made once in a temporary folder.

``float32``: 16384 x 16384, chunks 512, zstd, smooth plus noise (1 GiB raw, about 0.4 MiB a stored chunk); ``sharded``: the
same in shards of 4096; ``raw``: uncompressed. ``complex64``: 8192 x 8192 x 4, chunks (1024, 1024, 1). ``uint8``: 16384 x 16384 x 3,
chunks (512, 512, 3).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

__all__ = ["SETS", "folder", "make"]


def folder() -> Path:
    """Where the sets are kept: ``LAZYPYR_BENCH_DIR``, or a folder in the system's temporary one."""
    path = Path(os.environ.get("LAZYPYR_BENCH_DIR") or Path(tempfile.gettempdir()) / "lazypyr-bench")
    path.mkdir(parents=True, exist_ok=True)
    return path


def _float32(rng: np.random.Generator, y0: int, x0: int, n: int) -> np.ndarray:
    y, x = np.ogrid[y0 : y0 + n, x0 : x0 + n]
    smooth = 100 * np.sin(y / 700.0) * np.cos(x / 900.0) + 0.01 * y
    # 8 bits of noise at 1/16: what a calibrated sensor has, and what makes zstd reach about 0.4 of the size.
    return (smooth + rng.integers(-64, 64, (n, n)) / 16).round(2).astype("f4")


def _complex64(rng: np.random.Generator, y0: int, x0: int, n: int) -> np.ndarray:
    y, x = np.ogrid[y0 : y0 + n, x0 : x0 + n]
    phase = np.exp(1j * (y / 40.0 + x / 60.0))
    speckle = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    # 12 bits of mantissa, as radar processors keep.
    return (np.round((phase + 0.4 * speckle) * 1024) / 1024).astype("c8")


def _uint8(rng: np.random.Generator, y0: int, x0: int, n: int) -> np.ndarray:
    y, x = np.ogrid[y0 : y0 + n, x0 : x0 + n]
    bands = [110 + 80 * np.sin(y / (200.0 + 50 * c)) * np.cos(x / (300.0 - 40 * c)) for c in range(3)]
    return np.clip(np.stack(bands, -1) + rng.integers(-6, 7, (n, n, 3)), 0, 255).astype("u1")


def _create(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, **options: object) -> zarr.Array:
    return zarr.create_array(path, shape=shape, chunks=chunks, dtype=dtype, **options)


def _fill(array: zarr.Array, block: Callable[..., np.ndarray], size: int) -> None:
    for y in range(0, array.shape[0], size):
        for x in range(0, array.shape[1], size):
            rng = np.random.default_rng([y, x])
            n = min(size, array.shape[0] - y)
            if array.ndim == 3 and array.chunks[2] == 1:
                for c in range(array.shape[2]):
                    array[y : y + n, x : x + n, c] = block(rng, y, x, n)
            else:
                array[y : y + n, x : x + n] = block(rng, y, x, n)


def _one(name: str, n: int, path: Path) -> None:
    zstd = ZstdCodec(level=1)
    if name == "float32":
        _fill(_create(path, (n, n), (512, 512), "f4", compressors=[zstd]), _float32, 2048)
    elif name == "sharded":
        _fill(_create(path, (n, n), (512, 512), "f4", compressors=[zstd], shards=(4096, 4096)), _float32, 4096)
    elif name == "raw":
        _fill(_create(path, (n, n), (512, 512), "f4", compressors=None), _float32, 2048)
    elif name == "complex64":
        _fill(_create(path, (n // 2, n // 2, 4), (1024, 1024, 1), "c8", compressors=[zstd]), _complex64, 2048)
    elif name == "uint8":
        _fill(_create(path, (n, n, 3), (512, 512, 3), "u1", compressors=[zstd]), _uint8, 2048)
    else:
        raise ValueError(name)


SETS = ("float32", "sharded", "raw", "complex64", "uint8")


def make(name: str, n: int = 16384) -> Path:
    """The folder of a set, made if it isn't there; `n` is the size of the float32 sets along an axis."""
    path = folder() / f"{name}-{n}.zarr"
    done = path.with_suffix(".done")
    if not done.exists():
        _one(name, n, path)
        done.touch()
    return path


if __name__ == "__main__":
    for each in SETS:
        print(each, make(each))
