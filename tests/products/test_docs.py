"""The page about products runs as it stands."""

from __future__ import annotations

import re
import shutil

import lazypyr
from lazypyr.product import NAMES
from support.paths import ROOT

PAGE = ROOT / "docs" / "products.md"


def test_the_page_runs(demo_data, tmp_path, monkeypatch):
    shutil.copytree(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", tmp_path / "slc.zarr")
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(blocks), names)
    assert sorted(names["store"].pyramids) == ["amplitude", "ifg", "slc"]
    made = [value for value in names.values() if isinstance(value, lazypyr.Pyramid)]
    assert len(made) > 9
    for pyramid in made:
        last = len(pyramid.levels) - 1
        shape = pyramid.levels[last].shape
        assert pyramid.read(last, [(0, min(n, 2)) for n in shape]).shape == tuple(min(n, 2) for n in shape)


def test_the_table_has_every_name():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows))) == sorted(NAMES)
