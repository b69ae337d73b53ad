"""Kernels that search the tree of `lazypyr.points.tree`, whose arrays they get: boxes and nearest points.

Arrays are never assigned anew in a loop: counting the references to them made the search ten times slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reduce.jit import jit

__all__ = ["in_box", "nearest_of"]


@jit
def _copy_runs(nodes: Any, many: Any, first: Any, order: Any, out: Any, found: Any) -> Any:
    """Append the points of whole nodes to `out`; returns how many there are now, or would be if it were larger."""
    touched = np.float32(0)
    for w in range(many):
        touched += np.float32(order[first[nodes[w]]])
    # `touched` decides nothing (it is never NaN), but so the compiler can't leave the touching out
    found += 0 if touched == touched else 1  # noqa: PLR0124
    for w in range(many):
        start, stop = first[nodes[w]], first[nodes[w] + 1]
        if found + stop - start <= out.size:
            for i in range(start, stop):
                out[found + i - start] = order[i]
        found += stop - start
    return found


@jit
def _test_blocks(
    nodes: Any,
    many: Any,
    first: Any,
    order: Any,
    place: Any,
    x: Any,
    y: Any,
    box: Any,
    sides: Any,
    closed: Any,
    out: Any,
    found: Any,
) -> Any:
    """Append those points of blocks that lie in the box, see `_copy_runs`."""
    touched = np.float32(0)
    for w in range(many):
        a, b = first[nodes[w]], first[nodes[w] + 1] - 1
        touched += place[a, 0] + place[b, 0] + np.float32(order[a]) + np.float32(order[b])
    found += 0 if touched == touched else 1  # noqa: PLR0124
    xa, ya, xb, yb = box
    pxa, pya, pxb, pyb = sides
    for w in range(many):
        start, stop = first[nodes[w]], first[nodes[w] + 1]
        if found + stop - start > out.size:
            found += stop - start
            continue
        for i in range(start, stop):
            px, py = place[i, 0], place[i, 1]
            if (px < pxa) | (px > pxb) | (py < pya) | (py > pyb):
                continue
            out[found] = order[i]
            if (px == pxa) | (px == pxb) | (py == pya) | (py == pyb):
                a, b = x[order[i]], y[order[i]]
                if not (xa <= a and ya <= b and (a < xb or (closed and a == xb)) and (b < yb or (closed and b == yb))):
                    continue
            found += 1
    return found


@jit
def in_box(
    order: Any,
    place: Any,
    bounds: Any,
    child: Any,
    first: Any,
    leaves: Any,
    x: Any,
    y: Any,
    x0: Any,
    y0: Any,
    resolution: Any,
    xa: Any,
    ya: Any,
    xb: Any,
    yb: Any,
    closed: Any,
    out: Any,
) -> Any:
    """Write the numbers of the points with ``xa <= x < xb`` and ``ya <= y < yb`` (``<=`` if `closed`), in any order.

    Returns how many there are; where `out` is too small, how large it must be. Memory that will be needed soon is touched
    in one go, so that the waits for it overlap.
    """
    pxa, pya = np.float32((xa - x0) / resolution), np.float32((ya - y0) / resolution)
    pxb, pyb = np.float32((xb - x0) / resolution), np.float32((yb - y0) / resolution)
    box, sides = (xa, ya, xb, yb), (pxa, pya, pxb, pyb)
    # at most 16 x 16 nodes of each floor wait, and a floor has a quarter of the nodes of that below
    nodes = np.empty(32 * 256, np.int64)
    now = np.empty(16, np.int64)
    block = np.empty(512, np.int64)
    run = np.empty(512, np.int64)
    blocks, runs, found = 0, 0, 0
    last = child.size - 1
    nodes[0] = child.size - 2
    waiting = 1
    touched = np.float32(0)
    while waiting:
        taken = min(waiting, 16)
        waiting -= taken
        many = 0
        for w in range(taken):
            g = nodes[waiting + w]
            if g < leaves:
                block[blocks] = g
                blocks += 1
            else:
                a = child[g]
                touched += bounds[a, 0] + bounds[min(a + 4, last), 0] + bounds[min(a + 8, last), 0]
                now[many] = g
                many += 1
        for w in range(many):
            for j in range(child[now[w]], child[now[w] + 1]):
                xl, yl, xh, yh = bounds[j, 0], bounds[j, 1], bounds[j, 2], bounds[j, 3]
                if (xh < pxa) | (xl > pxb) | (yh < pya) | (yl > pyb):
                    continue
                if (pxa < xl) & (xh < pxb) & (pya < yl) & (yh < pyb):
                    run[runs] = j
                    runs += 1
                else:
                    nodes[waiting] = j
                    waiting += 1
        if runs > run.size - 256:
            found = _copy_runs(run, runs, first, order, out, found)
            runs = 0
        if blocks > block.size - 16:
            found = _test_blocks(block, blocks, first, order, place, x, y, box, sides, closed, out, found)
            blocks = 0
    found = _copy_runs(run, runs, first, order, out, found)
    found = _test_blocks(block, blocks, first, order, place, x, y, box, sides, closed, out, found)
    return found if touched == touched else 0  # noqa: PLR0124


@jit
def _closest(
    maybe: Any, least: Any, many: Any, bar: Any, x: Any, y: Any, px: Any, py: Any, winner: Any, nearest: Any
) -> Any:
    """The nearest of `winner` at `nearest` and the candidates `maybe`, whose squares in pixels are `least` or more."""
    for c in range(many):
        if least[c] > bar:
            continue
        number = maybe[c]
        dx, dy = np.float64(x[number]) - px, np.float64(y[number]) - py
        d = np.sqrt(dx * dx + dy * dy)
        if winner < 0 or d < nearest or (d == nearest and number < winner):
            winner, nearest = number, d
    return winner, nearest


@jit
def nearest_of(
    order: Any,
    place: Any,
    bounds: Any,
    child: Any,
    first: Any,
    leaves: Any,
    x: Any,
    y: Any,
    x0: Any,
    y0: Any,
    resolution: Any,
    px: Any,
    py: Any,
    reach: Any,
    index: Any,
    distance: Any,
) -> Any:
    """Nearest point to each ``(px, py)`` within `reach` (inclusive), the lowest number among equals; -1 and inf if none.

    Places tell which few points may be the nearest: `bar` is the square of a distance in pixels within which one surely
    lies. These are looked up in the coordinates themselves.
    """
    root = child.size - 2
    # a floor has a quarter of the nodes of that below, so there are fewer than 32, and 15 nodes wait on each
    nodes = np.empty(512, np.int64)
    far = np.empty(512, np.float64)
    maybe = np.empty(64, np.int64)
    least = np.empty(64, np.float64)
    # a place is rounded to 24 bits
    slack = 1.2e-7 * max(np.float64(bounds[root, 2]), np.float64(bounds[root, 3])) + 1e-30
    for q in range(px.size):
        index[q] = -1
        distance[q] = np.inf
        if not (np.isfinite(px[q]) and np.isfinite(py[q])):
            continue
        qx, qy = (px[q] - x0) / resolution, (py[q] - y0) / resolution
        bar = (reach / resolution) ** 2 * (1 + 1e-9)
        candidates = 0
        winner = np.int64(-1)
        nearest = np.inf
        nodes[0] = root
        far[0] = 0.0
        waiting = 1
        while waiting:
            waiting -= 1
            if far[waiting] > bar:
                continue
            g = nodes[waiting]
            # straight down to the closest block, the others wait
            while g >= leaves:
                closest = np.inf
                tightest = np.inf
                best = -1
                start, stop = child[g], child[g + 1]
                for j in range(start, stop):
                    xl, yl = np.float64(bounds[j, 0]) - qx, np.float64(bounds[j, 1]) - qy
                    xh, yh = qx - np.float64(bounds[j, 2]), qy - np.float64(bounds[j, 3])
                    dx, dy = max(xl, xh) - slack, max(yl, yh) - slack
                    dx, dy = max(dx, 0.0), max(dy, 0.0)
                    d = dx * dx + dy * dy
                    if d > bar:
                        continue
                    size = (xl + xh) * (yl + yh)
                    nodes[waiting] = j
                    far[waiting] = d
                    if d < closest or (d == closest and size < tightest):
                        closest, tightest, best = d, size, waiting
                    waiting += 1
                if best < 0:
                    break
                g = nodes[best]
                waiting -= 1
                nodes[best], far[best] = nodes[waiting], far[waiting]
            if g >= leaves:
                continue
            for i in range(first[g], first[g + 1]):
                ax, ay = abs(np.float64(place[i, 0]) - qx), abs(np.float64(place[i, 1]) - qy)
                dx, dy = max(ax - slack, 0.0), max(ay - slack, 0.0)
                d = dx * dx + dy * dy
                if d > bar:
                    continue
                bar = min(bar, ((ax + slack) ** 2 + (ay + slack) ** 2) * (1 + 1e-9))
                if candidates == maybe.size:
                    winner, nearest = _closest(maybe, least, candidates, bar, x, y, px[q], py[q], winner, nearest)
                    candidates = 0
                maybe[candidates] = order[i]
                least[candidates] = d
                candidates += 1
        winner, nearest = _closest(maybe, least, candidates, bar, x, y, px[q], py[q], winner, nearest)
        if winner >= 0 and nearest <= reach:
            index[q] = winner
            distance[q] = nearest
