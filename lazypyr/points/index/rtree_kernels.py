"""Kernels that search a tree: boxes and nearest points.

`tree` is ``(order, pixel_xy, bounds, child, first, leaves, x, y, x0, y0, resolution)`` of `lazypyr.points.index.rtree.PackedRTree`.
Arrays are never assigned anew in a loop: counting the references to them made the search ten times slower. Unsigned
indices aren't looked at for being negative: copying takes half the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazypyr.reducers.jit import jit

__all__ = ["in_box", "nearest_of", "nearest_to"]

_BUFFER = 12288  # points of a box that the first buffer holds: 48 KiB, which costs next to nothing
_FEW = 256  # points of a box that are sorted by exchanging neighbours


@jit
def _copy_runs(nodes: Any, n: Any, first: Any, order: Any, out: Any, count: Any) -> Any:
    """Append the points of whole nodes to `out`; returns how many there are now, or would be if it were larger."""
    touched = np.float32(0)
    for w in range(n):
        touched += np.float32(order[first[nodes[w]]])
    # `touched` decides nothing (it is never NaN), but keeps the compiler from leaving the reads out
    count += 0 if touched == touched else 1  # noqa: PLR0124
    for w in range(n):
        start, stop = first[nodes[w]], first[nodes[w] + 1]
        if count + stop - start <= out.size:
            begin, end = np.uint64(start), np.uint64(count)
            for i in range(np.uint64(stop - start)):
                out[end + i] = order[begin + i]
        count += stop - start
    return count


@jit
def _test_blocks(
    nodes: Any, n: Any, first: Any, order: Any, pixel_xy: Any, x: Any, y: Any, query: Any, out: Any, count: Any
) -> Any:
    """Append those points of blocks that lie in the box, see `_copy_runs`."""
    touched = np.float32(0)
    for w in range(n):
        a, b = first[nodes[w]], first[nodes[w] + 1] - 1
        touched += pixel_xy[a, 0] + pixel_xy[b, 0] + np.float32(order[a]) + np.float32(order[b])
    count += 0 if touched == touched else 1  # noqa: PLR0124
    (xa, ya, xb, yb), (pxa, pya, pxb, pyb), closed = query
    for w in range(n):
        start, stop = first[nodes[w]], first[nodes[w] + 1]
        if count + stop - start > out.size:
            count += stop - start
            continue
        for i in range(np.uint64(start), np.uint64(stop)):
            px, py = pixel_xy[i, 0], pixel_xy[i, 1]
            # branch-free append: always write, advance only if inside (a branch could not be predicted)
            out[np.uint64(count)] = order[i]
            if (px == pxa) | (px == pxb) | (py == pya) | (py == pyb):
                a, b = x[order[i]], y[order[i]]
                count += xa <= a and ya <= b and (a < xb or (closed and a == xb)) and (b < yb or (closed and b == yb))
            else:
                count += (px > pxa) & (px < pxb) & (py > pya) & (py < pyb)
    return count


@jit
def _move(numbers: Any, low: Any, mask: Any, position: Any, out: Any) -> Any:
    """Move numbers to the next free position `position` of the digit from bit `low` on, in order."""
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        digit = (number >> low) & mask
        out[position[digit]] = number
        position[digit] += np.uint32(1)


@jit
def _starts(count: Any) -> Any:
    """Turn counts, in place, into the position of the first of each."""
    total = np.uint32(0)
    for i in range(count.size):
        size = count[i]
        count[i] = total
        total += size


@jit
def _few_ascending(numbers: Any, out: Any) -> Any:
    """Sort a few numbers: scattered to 256 equal parts of their range, which leaves little to exchange."""
    least, most = numbers.min(), numbers.max()
    low = np.uint64(0)
    while (np.uint64(most - least) >> low) > np.uint64(255):
        low += np.uint64(1)
    position = np.zeros(256, np.uint32)
    for i in range(numbers.size):
        position[np.uint64(numbers[i] - least) >> low] += np.uint32(1)
    _starts(position)
    for i in range(numbers.size):
        part = np.uint64(numbers[i] - least) >> low
        out[position[part]] = numbers[i]
        position[part] += np.uint32(1)
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
    position = np.zeros((digits, 1 << bits), np.uint32)
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        for d in range(np.uint64(digits)):
            position[d, number & mask] += np.uint32(1)
            number >>= np.uint64(bits)
    for d in range(digits):
        _starts(position[d])
    spare = np.empty(numbers.size, numbers.dtype)
    for d in range(digits - 1):
        if d % 2 == 0:
            _move(numbers, np.uint64(bits * d), mask, position[d], spare)
        else:
            _move(spare, np.uint64(bits * d), mask, position[d], numbers)
    _move(numbers if digits % 2 else spare, np.uint64(bits * (digits - 1)), mask, position[digits - 1], out)
    return out


@jit
def _numbers_in(tree: Any, xa: Any, ya: Any, xb: Any, yb: Any, closed: Any, out: Any) -> Any:
    """Write the numbers of the points with ``xa <= x < xb`` and ``ya <= y < yb`` (``<=`` if `closed`), in any order.

    Returns how many there are; where `out` is too small, how large it must be. Memory that will be needed soon is touched
    in one go, so that the waits for it overlap.
    """
    order, pixel_xy, bounds, child, first, leaves, x, y, x0, y0, resolution = tree
    pxa, pya = np.float32((xa - x0) / resolution), np.float32((ya - y0) / resolution)
    pxb, pyb = np.float32((xb - x0) / resolution), np.float32((yb - y0) / resolution)
    query = (xa, ya, xb, yb), (pxa, pya, pxb, pyb), closed
    # at most 16 x 16 nodes of each level wait, and a level has a quarter of the nodes of that below
    nodes = np.empty(32 * 256, np.int64)
    inner = np.empty(16, np.int64)
    block = np.empty(512, np.int64)
    run = np.empty(512, np.int64)
    blocks, runs, count = 0, 0, 0
    last = child.size - 1
    nodes[0] = child.size - 2
    waiting = 1
    touched = np.float32(0)
    while waiting:
        batch = min(waiting, 16)
        waiting -= batch
        n_inner = 0
        for w in range(batch):
            g = nodes[waiting + w]
            if g < leaves:
                block[blocks] = g
                blocks += 1
            else:
                a = child[g]
                touched += bounds[a, 0] + bounds[min(a + 4, last), 0] + bounds[min(a + 8, last), 0]
                inner[n_inner] = g
                n_inner += 1
        for w in range(n_inner):
            for j in range(np.uint64(child[inner[w]]), np.uint64(child[inner[w] + 1])):
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
            count = _copy_runs(run, runs, first, order, out, count)
            runs = 0
        if blocks > block.size - 16:
            count = _test_blocks(block, blocks, first, order, pixel_xy, x, y, query, out, count)
            blocks = 0
    count = _copy_runs(run, runs, first, order, out, count)
    count = _test_blocks(block, blocks, first, order, pixel_xy, x, y, query, out, count)
    return count if touched == touched else 0  # noqa: PLR0124


@jit
def in_box(tree: Any, xa: Any, ya: Any, xb: Any, yb: Any, closed: Any) -> Any:
    """Numbers, int64, ascending, of the points with ``xa <= x < xb`` and ``ya <= y < yb`` (``<=`` if `closed`)."""
    order, x = tree[0], tree[6]
    out = np.empty(_BUFFER, order.dtype)
    count = _numbers_in(tree, xa, ya, xb, yb, closed, out)
    if count > _BUFFER:
        # so many at most: points beyond the buffer were not tested
        out = np.empty(count, order.dtype)
        count = _numbers_in(tree, xa, ya, xb, yb, closed, out)
    return _ascending(out[:count], x.size)


@jit
def _closest(
    maybe: Any, least: Any, n: Any, bar: Any, x: Any, y: Any, px: Any, py: Any, winner: Any, nearest: Any
) -> Any:
    """The nearest of `winner` at `nearest` and the candidates `maybe`, whose squares in pixels are `least` or more."""
    for c in range(n):
        if least[c] > bar:
            continue
        number = maybe[c]
        dx, dy = np.float64(x[number]) - px, np.float64(y[number]) - py
        d = np.sqrt(dx * dx + dy * dy)
        if winner < 0 or d < nearest or (d == nearest and number < winner):
            winner, nearest = number, d
    return winner, nearest


@jit
def _square(dx: Any, dy: Any) -> Any:
    """Square of the distance to a box that begins `dx` and `dy` away, 0 along an axis where it has begun."""
    dx, dy = max(dx, 0.0), max(dy, 0.0)
    return dx * dx + dy * dy


@jit
def _nearest(tree: Any, px: Any, py: Any, reach: Any, scratch: Any) -> Any:
    """Number of and distance to the nearest point within `reach` (inclusive), the lowest number among equals.

    -1 and inf if there is none. Pixel coordinates tell which few points may be the nearest: `bar` is the square of a distance in
    pixels within which one surely lies. These are looked up in the coordinates themselves.
    """
    order, pixel_xy, bounds, child, first, leaves, x, y, x0, y0, resolution = tree
    if not (np.isfinite(px) and np.isfinite(py)):
        return np.int64(-1), np.inf
    nodes, far, maybe, least = scratch
    root = child.size - 2
    # pixel coordinates are rounded to 24 bits
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
            closest, tightest, best = np.inf, np.inf, -1
            start, stop = child[g], child[g + 1]
            for j in range(start, stop):
                xl, yl = np.float64(bounds[j, 0]) - qx, np.float64(bounds[j, 1]) - qy
                xh, yh = qx - np.float64(bounds[j, 2]), qy - np.float64(bounds[j, 3])
                d = _square(max(xl, xh) - slack, max(yl, yh) - slack)
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
            ax, ay = abs(np.float64(pixel_xy[i, 0]) - qx), abs(np.float64(pixel_xy[i, 1]) - qy)
            d = _square(ax - slack, ay - slack)
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
    # a level has a quarter of the nodes of that below, so there are fewer than 32, and 15 nodes wait on each
    return np.empty(512, np.int64), np.empty(512, np.float64), np.empty(64, np.int64), np.empty(64, np.float64)


@jit
def nearest_to(tree: Any, px: Any, py: Any, reach: Any) -> Any:
    """Nearest point to one position, see `_nearest`."""
    return _nearest(tree, px, py, reach, _scratch())


@jit
def nearest_of(tree: Any, px: Any, py: Any, reach: Any, index: Any, distance: Any) -> Any:
    """Nearest points to many positions, see `_nearest`, written to `index` and `distance`."""
    scratch = _scratch()
    for q in range(px.size):
        index[q], distance[q] = _nearest(tree, px[q], py[q], reach, scratch)
