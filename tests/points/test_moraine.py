"""Equality with moraine 0.9.0, level by level, on clouds where moraine is right. It is GPL-3: only run, in a process of its own.

It is looked for in this Python and in the one that LAZYPYR_MORAINE_PYTHON names.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import zarr

from lazypyr import from_points

PYTHON = sys.executable if importlib.util.find_spec("moraine") else os.environ.get("LAZYPYR_MORAINE_PYTHON")
CALL = """
import sys, moraine.cli as mc
if __name__ == "__main__":
    for folder in sys.argv[1:]:
        mc.pc_pyramid(folder + "/values", folder + "/out", x=folder + "/x", y=folder + "/y", ras_resolution=float(open(folder + "/resolution").read()), ras_chunks=(16, 16))
"""

CLOUDS = {
    "float64, projected": ("f8", "f4", 5000, 1000.0, 5e5, 4e6, 20.0),
    "float32, half-pixel ties": ("f4", "c8", 3000, 64.0, 0.0, 0.0, 1.0),
    "odd sizes, complex": ("f8", "c8", 2000, 333.0, -200.0, -1e4, 3.7),
    "dense, int": ("f8", "f8", 8000, 40.0, 0.0, 0.0, 1.0),
}


@pytest.mark.skipif(not PYTHON, reason="moraine, the optional GPL-3 oracle, is not installed (LAZYPYR_MORAINE_PYTHON)")
@pytest.mark.timeout(900)
def test_levels_and_indices_are_moraines(tmp_path):
    rng = np.random.default_rng(2024)
    clouds = {}
    for name, (dtype, value_dtype, n, side, x0, y0, resolution) in CLOUDS.items():
        folder = tmp_path / str(len(clouds))
        folder.mkdir()
        x, y = ((rng.random(n) * side * part + origin).astype(dtype) for part, origin in ((1.0, x0), (0.71, y0)))
        if "ties" in name:
            x, y = np.rint(x * 2) / 2, np.rint(y * 2) / 2
        values = (rng.random(n) + (1j * rng.random(n) if value_dtype[0] == "c" else 0)).astype(value_dtype)
        for key, array in (("x", x.astype(dtype)), ("y", y.astype(dtype)), ("values", values)):
            zarr.save_array(str(folder / key), array)
        (folder / "resolution").write_text(str(resolution))
        clouds[name] = folder, x.astype(dtype), y.astype(dtype), values, resolution
    script = tmp_path / "call.py"
    script.write_text(CALL)
    folders = [str(folder) for folder, *_ in clouds.values()]
    done = subprocess.run([PYTHON, str(script), *folders], capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, (folder, x, y, values, resolution) in clouds.items():
        levels = sum(1 for p in (folder / "out").iterdir() if p.name.startswith("idx_"))
        assert levels >= 4
        pyramid = from_points(x, y, values, resolution=resolution, chunks=(16, 16), levels=levels)
        for level in range(levels):
            theirs = zarr.open_array(str(folder / "out" / f"idx_{level}.zarr"), mode="r")[:]
            np.testing.assert_array_equal(pyramid.index.read(level), theirs, err_msg=f"{name}, level {level}")
            raster = zarr.open_array(str(folder / "out" / f"{level}.zarr"), mode="r")[:]
            np.testing.assert_array_equal(pyramid.read(level), raster, err_msg=f"{name}, level {level}")
