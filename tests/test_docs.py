"""What the README and the quickstart say works: their Python runs, on the real radar stack."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import zarr

import lazypyr

ROOT = Path(__file__).resolve().parents[1]


def python_of(page):
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL))


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_python_of_the_page_runs(page, tmp_path, monkeypatch, demo_data):
    looks = zarr.open_array(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")[:, :, :3]
    scene = np.tile(looks, (3, 3, 1))[:1100, :1100]  # large enough for a level 3
    zarr.create_array(tmp_path / "slc.zarr", data=scene, chunks=(256, 256, 1))
    monkeypatch.chdir(tmp_path)
    served = []
    monkeypatch.setattr(lazypyr, "serve", served.append, raising=False)  # it would serve until stopped
    rng = np.random.default_rng(0)
    names = dict(zip("xyz", rng.uniform(0, 50, (3, 1000)), strict=True))
    exec(compile(python_of(page), page, "exec"), names)

    assert set(served[0]) == {"slc", "pairs"}
    kept = zarr.open(tmp_path / "pairs.zarr", mode="r")
    assert [kept[str(k)].shape for k in range(4)] == [(-(-1100 // 2**k),) * 2 + (3, 3) for k in range(4)]
    for k in (2, 3):
        stack = scene[:: 2**k, :: 2**k]
        expected = np.angle(stack[..., :, None] * stack[..., None, :].conj())
        np.testing.assert_allclose(np.exp(1j * kept[str(k)][:]), np.exp(1j * expected), atol=1e-5)
