"""Kernels that search a tree: boxes and nearest points.

`tree` is ``(order, place, bounds, child, first, leaves, x, y, x0, y0, resolution)`` of `lazypyr.points.index.rtree.Tree`.
Arrays are never assigned anew in a loop: counting the references to them made the search ten times slower. Unsigned
indices aren't looked at for being negative: copying takes half the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["in_box", "nearest_of", "nearest_to"]

_ROOM = 12288  # points of a box for which room is made at first: 48 KiB, which costs next to nothing
_FEW = 256  # points of a box that are sorted by exchanging neighbours


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
            begin, here = np.uint64(start), np.uint64(found)
            for i in range(np.uint64(stop - start)):
                out[here + i] = order[begin + i]
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
        for i in range(np.uint64(start), np.uint64(stop)):
            px, py = place[i, 0], place[i, 1]
            # written in any case, and kept if counted: whether it lies in the box is anybody's guess, a branch's too
            out[np.uint64(found)] = order[i]
            if (px == pxa) | (px == pxb) | (py == pya) | (py == pyb):
                a, b = x[order[i]], y[order[i]]
                found += xa <= a and ya <= b and (a < xb or (closed and a == xb)) and (b < yb or (closed and b == yb))
            else:
                found += (px > pxa) & (px < pxb) & (py > pya) & (py < pyb)
    return found


@jit
def _move(numbers: Any, low: Any, mask: Any, at: Any, out: Any) -> Any:
    """Move numbers to the next free place `at` of the digit from bit `low` on, in order."""
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        digit = (number >> low) & mask
        out[at[digit]] = number
        at[digit] += np.uint32(1)


@jit
def _starts(count: Any) -> Any:
    """Make how many there are of each where the first of each goes."""
    total = np.uint32(0)
    for i in range(count.size):
        here = count[i]
        count[i] = total
        total += here


@jit
def _few_ascending(numbers: Any, out: Any) -> Any:
    """As `_ascending` for a few: dealt out to 256 equal parts of their range, which leaves little to exchange."""
    least, most = numbers.min(), numbers.max()
    low = np.uint64(0)
    while (np.uint64(most - least) >> low) > np.uint64(255):
        low += np.uint64(1)
    at = np.zeros(256, np.uint32)
    for i in range(numbers.size):
        at[np.uint64(numbers[i] - least) >> low] += np.uint32(1)
    _starts(at)
    for i in range(numbers.size):
        part = np.uint64(numbers[i] - least) >> low
        out[at[part]] = numbers[i]
        at[part] += np.uint32(1)
    for i in range(1, out.size):
        number = out[i]
        j = i
        while j > 0 and out[j - 1] > number:
            out[j] = out[j - 1]
            j -= 1
        out[j] = number


@jit
def _ascending(numbers: Any, limit: Any) -> Any:
    """Numbers below `limit` in ascending order, int64; `numbers` is used up.

    Digit by digit: it takes a fifth of the time of comparing.
    """
    out = np.empty(numbers.size, np.int64)
    if numbers.size <= _FEW:
        if numbers.size:
            _few_ascending(numbers, out)
        return out
    bits = 8 if numbers.size < 2048 else 12
    mask = np.uint64((1 << bits) - 1)
    digits = 1
    while (limit - 1) >> (bits * digits) > 0:
        digits += 1
    at = np.zeros((digits, 1 << bits), np.uint32)
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        for d in range(np.uint64(digits)):
            at[d, number & mask] += np.uint32(1)
            number >>= np.uint64(bits)
    for d in range(digits):
        _starts(at[d])
    spare = np.empty(numbers.size, numbers.dtype)
    for d in range(digits - 1):
        if d % 2 == 0:
            _move(numbers, np.uint64(bits * d), mask, at[d], spare)
        else:
            _move(spare, np.uint64(bits * d), mask, at[d], numbers)
    _move(numbers if digits % 2 else spare, np.uint64(bits * (digits - 1)), mask, at[digits - 1], out)
    return out


@jit
def _numbers_in(
    tree: Any,
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
    order, place, bounds, child, first, leaves, x, y, x0, y0, resolution = tree
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
            for j in range(np.uint64(child[now[w]]), np.uint64(child[now[w] + 1])):
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
def in_box(
    tree: Any,
    xa: Any,
    ya: Any,
    xb: Any,
    yb: Any,
    closed: Any,
) -> Any:
    """Numbers, int64, ascending, of the points with ``xa <= x < xb`` and ``ya <= y < yb`` (``<=`` if `closed`)."""
    order, x = tree[0], tree[6]
    out = np.empty(_ROOM, order.dtype)
    found = _numbers_in(tree, xa, ya, xb, yb, closed, out)
    if found > _ROOM:
        # that many at most: what found no room was not looked at
        out = np.empty(found, order.dtype)
        found = _numbers_in(tree, xa, ya, xb, yb, closed, out)
    return _ascending(out[:found], x.size)


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
def _nearest(
    tree: Any,
    px: Any,
    py: Any,
    reach: Any,
    scratch: Any,
) -> Any:
    """Number of and distance to the nearest point within `reach` (inclusive), the lowest number among equals.

    -1 and inf if there is none. Places tell which few points may be the nearest: `bar` is the square of a distance in
    pixels within which one surely lies. These are looked up in the coordinates themselves.
    """
    order, place, bounds, child, first, leaves, x, y, x0, y0, resolution = tree
    if not (np.isfinite(px) and np.isfinite(py)):
        return np.int64(-1), np.inf
    nodes, far, maybe, least = scratch
    root = child.size - 2
    # a place is rounded to 24 bits
    slack = 1.2e-7 * max(np.float64(bounds[root, 2]), np.float64(bounds[root, 3])) + 1e-30
    qx, qy = (px - x0) / resolution, (py - y0) / resolution
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
                winner, nearest = _closest(maybe, least, candidates, bar, x, y, px, py, winner, nearest)
                candidates = 0
            maybe[candidates] = order[i]
            least[candidates] = d
            candidates += 1
    winner, nearest = _closest(maybe, least, candidates, bar, x, y, px, py, winner, nearest)
    if winner < 0 or nearest > reach:
        return np.int64(-1), np.inf
    return winner, nearest


@jit
def _scratch() -> Any:
    # a floor has a quarter of the nodes of that below, so there are fewer than 32, and 15 nodes wait on each
    return np.empty(512, np.int64), np.empty(512, np.float64), np.empty(64, np.int64), np.empty(64, np.float64)


@jit
def nearest_to(
    tree: Any,
    px: Any,
    py: Any,
    reach: Any,
) -> Any:
    """The nearest point to one place, see `_nearest`."""
    return _nearest(tree, px, py, reach, _scratch())


@jit
def nearest_of(
    tree: Any,
    px: Any,
    py: Any,
    reach: Any,
    index: Any,
    distance: Any,
) -> Any:
    """The nearest points to many places, see `_nearest`, to `index` and `distance`."""
    scratch = _scratch()
    for q in range(px.size):
        index[q], distance[q] = _nearest(tree, px[q], py[q], reach, scratch)
