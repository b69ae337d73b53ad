"""Where pixels lie after reprojection, against positions that pyproj gives one by one."""

from __future__ import annotations

import numpy as np
import pytest

from support.scenes import SCENES


def steps(row, column, inside):
    """Median source pixels in a pixel."""
    with np.errstate(invalid="ignore"):
        sizes = []
        for g in (np.where(inside, row, np.nan), np.where(inside, column, np.nan)):
            known = np.hypot(np.diff(g, axis=0)[:, :-1], np.diff(g, axis=1)[:-1])
            sizes.append(np.nanmedian(known) if np.isfinite(known).any() else np.nan)
        return float(np.sqrt(sizes[0] * sizes[1]))


def levels_to_see(scene, pyramid):
    """Levels that are neither too large nor too small, with the place of each pixel in the source."""
    for level in range(len(pyramid.levels)):
        if np.prod(pyramid.levels[level].shape) <= 2**21:
            row, column, inside = scene.positions(pyramid, level)
            if inside.sum() >= 400:
                yield level, row, column, inside


@pytest.mark.parametrize("tiling", ["WebMercatorQuad", "WorldCRS84Quad"])
@pytest.mark.parametrize("name", SCENES)
def test_pixels_lie_where_they_belong_at_every_level(name, tiling):
    scene = SCENES[name]
    pyramid = scene.pyramid().reproject(tiling=tiling)
    seen = 0
    for level, row, column, inside in levels_to_see(scene, pyramid):
        values, size = pyramid.read(level), steps(row, column, inside)
        _, _, drawn = scene.drawn(values)
        away = scene.away(values, row, column) / size
        # Within half a pixel of the level read of the edge there is but the last value.
        core = drawn & scene.inside(row, column, margin=max(size, 1.0))
        assert np.percentile(away[core], 99) <= 0.05, (level, "interior")
        assert away[core].max() <= 0.5, level
        assert away[drawn & inside].max() <= max(1.0, 1.0 / size), (level, "edges")
        sure = 0.1 * size
        assert not (scene.inside(row, column, margin=sure) & ~drawn).any(), (level, "missing")
        assert not (drawn & ~scene.inside(row, column, margin=-sure)).any(), (level, "too many")
        seen += 1
    assert seen


@pytest.mark.parametrize("method", ["nearest", "cubic", "average", "mode"])
@pytest.mark.parametrize("name", ["utm", "globe 0 to 360", "globe, odd", "south pole", "rotated pole"])
def test_other_methods_lie_there_too(name, method):
    scene = SCENES[name]
    pyramid = scene.pyramid().reproject(tiling="WebMercatorQuad", method=method)
    for level, row, column, inside in levels_to_see(scene, pyramid):
        values, size = pyramid.read(level), steps(row, column, inside)
        _, _, drawn = scene.drawn(values)
        core = drawn & scene.inside(row, column, margin=2 * max(size, 1.0))
        away = scene.away(values, row, column)[core]
        if method in ("cubic", "average"):
            assert np.percentile(away, 99) / size <= 0.1
        else:  # a pixel of the source, or of its level, whose centre is within half a pixel
            assert away.max() <= (0.5 + 0.1) * np.sqrt(2) * max(size, 1.0)
        assert not (scene.inside(row, column, margin=0.1 * size) & ~drawn).any()


@pytest.mark.parametrize(
    ("name", "crs", "bounds"),
    [
        ("utm", "EPSG:32631", None),
        ("globe 0 to 360", "EPSG:3031", (-3e6, -3e6, 3e6, 3e6)),
        ("globe -180 to 180, rows to the north", "EPSG:3413", (-4e6, -4e6, 4e6, 4e6)),
        ("globe, odd", "EPSG:4326", (170.0, -60.0, 200.0, 60.0)),
        ("degrees over the antimeridian", "EPSG:3832", None),
        ("rotated pole", "EPSG:3035", None),
        ("south pole", "EPSG:4326", None),
    ],
)
def test_any_crs_is_a_target(name, crs, bounds):
    scene = SCENES[name]
    pyramid = scene.pyramid().reproject(
        crs, bounds=bounds, resolution=60_000 if "globe" in name and "4326" not in crs else None
    )
    row, column, inside = scene.positions(pyramid, 0)
    values, size = pyramid.read(0), steps(row, column, inside)
    _, _, drawn = scene.drawn(values)
    core = drawn & scene.inside(row, column, margin=max(size, 1.0))
    assert core.sum() > 1000
    assert np.percentile(scene.away(values, row, column)[core] / size, 99) <= 0.1
    assert not (scene.inside(row, column, margin=0.1 * size) & ~drawn).any()
    assert not (drawn & ~scene.inside(row, column, margin=-0.1 * size)).any()
    if bounds:
        left, bottom, right, top = pyramid.grid.extent()
        assert (left, top) == bounds[::3]
        pixel = pyramid.coords["x"].step
        assert 0 <= right - bounds[2] < pixel
        assert 0 <= bounds[1] - bottom < pixel
