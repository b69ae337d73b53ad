"""The page about plotting says what works: its Python runs, and every plot it makes can be drawn."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import holoviews as hv
import numpy as np
import pytest
import zarr
from bokeh.plotting import figure as Figure
from PIL import Image

from support.paths import ROOT

PAGE = ROOT / "docs" / "plotting.md"


class Drawing(ast.NodeTransformer):
    """Hands what stands alone on a line, as in a notebook, to ``draw``."""

    def visit_Expr(self, node):
        call = ast.Call(ast.Name("draw", ast.Load()), [node.value], [])
        return ast.copy_location(ast.Expr(call), node)

    def visit_FunctionDef(self, node):
        return node


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_python_of_the_page_runs(tmp_path, monkeypatch, demo_data):
    looks = zarr.open_array(demo_data / "sar_gotcha_xband" / "slc.zarr" / "slc", mode="r")[:, :, :3]
    zarr.create_array(tmp_path / "slc.zarr", data=looks, chunks=(256, 256, 1))
    monkeypatch.chdir(tmp_path)
    drawn = []

    def draw(plot):
        if isinstance(plot, tuple):
            plot = plot[0] * plot[1]
        if plot is not None and not isinstance(plot, Path):
            drawn.append(hv.render(plot, backend="bokeh"))

    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    tree = ast.fix_missing_locations(Drawing().visit(ast.parse(code)))
    names = {"draw": draw}
    exec(compile(tree, str(PAGE), "exec"), names)
    figures = [figure for plot in drawn for figure in plot.references() if isinstance(figure, Figure)]
    assert (len(drawn), len(figures)) == (9, 11)  # two of them are pairs
    kinds = [
        type(renderer.glyph).__name__
        for figure in figures
        for renderer in figure.renderers
        if hasattr(renderer, "glyph")
    ]
    assert Counter(kinds) == {"Image": 8, "Scatter": 6}
    picture = np.asarray(Image.open(tmp_path / "pair.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200  # a colour wheel
    page = (tmp_path / "points.html").read_text(encoding="utf-8")
    assert "<html" in page and '"name":"Image"' in page
    np.testing.assert_allclose(
        names["pairs"][0, 2].data[::-1], np.angle(looks[..., 0] * looks[..., 2].conj()), atol=2e-6
    )
