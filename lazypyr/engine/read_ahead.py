"""Chunks around what was asked for, computed while nobody waits for anything."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from lazypyr._util.cache import CacheInfo
from lazypyr.engine.pools import DaemonThreadPool
from lazypyr.geometry import windows
from lazypyr.geometry.axes import SPATIAL_AXES
from lazypyr.pyramids.base import Pyramid
from lazypyr.sources.far.ahead import in_background

__all__ = ["ViewReader"]

Index = tuple[int, ...]
Wanted = tuple[Pyramid, int, Index]
# A screen and what is around it. What was looked at before that is out of date.
_MOST_WANTED = 64
_LOOK_EVERY_S = 0.01

log = logging.getLogger("lazypyr")


class ViewReader:
    """Reader of the ring around a view, and of the next coarser level under it, one chunk at a time.

    Parameters
    ----------
    compute : callable
        Computes a chunk of a pyramid, a level and an index, and keeps it.
    get_cached : callable
        Such a chunk if it is here, else None.
    info : callable
        State of the cache: while something is computed for others, nothing is done here.
    """

    def __init__(
        self,
        compute: Callable[[Pyramid, int, Index], object],
        get_cached: Callable[[Pyramid, int, Index], object],
        info: Callable[[], CacheInfo],
    ) -> None:
        self._compute, self._get_cached, self._info = compute, get_cached, info
        self._wanted: OrderedDict[tuple[object, int, Index], Wanted] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = DaemonThreadPool(1, "ahead")
        self._running = self._closed = False

    def saw(self, pyramid: Pyramid, level: int, indices: Iterable[Index]) -> None:
        """Note that somebody looks at some chunks of a level: what is around them comes before what was noted earlier."""
        seen = set(indices)
        if not pyramid.is_far or not seen or len(seen) > _MOST_WANTED:
            return
        with self._lock:
            for index in sorted(seen):
                self._wanted.pop((pyramid.key, level, index), None)
            for wanted in _around(pyramid, level, seen):
                key = pyramid.key, *wanted[1:]
                self._wanted[key] = wanted
                self._wanted.move_to_end(key)
            while len(self._wanted) > _MOST_WANTED:
                self._wanted.popitem(last=False)
            if self._running or self._closed:
                return
            self._running = True
        self._pool.submit(self._run)

    def close(self) -> None:
        """Want nothing any more."""
        with self._lock:
            self._closed = True
            self._wanted.clear()
        self._pool.close()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._running = False
                    return
            if self._info().in_flight:
                time.sleep(_LOOK_EVERY_S)
                continue
            with self._lock:
                wanted = self._wanted.popitem()[1] if self._wanted else None
            if wanted is None or self._get_cached(*wanted) is not None:
                continue
            try:
                with in_background():
                    self._compute(*wanted)
            except Exception as error:  # who asks for it will be told
                log.debug("reading ahead of level %d, %s: %s", wanted[1], wanted[2], error)


def _around(pyramid: Pyramid, level: int, seen: set[Index]) -> Iterator[Wanted]:
    """Chunks around some of a level, the least wanted first: the next coarser level, then the ring, its corners before its edges."""
    plane = [axis in SPATIAL_AXES for axis in pyramid.axes]
    if level + 1 < len(pyramid.levels):
        finer, coarser = pyramid.levels[level].shape, pyramid.levels[level + 1].shape
        under = {
            tuple(
                min(i * c * m // n // c, -(-m // c) - 1)
                for i, c, n, m in zip(index, pyramid.chunks, finer, coarser, strict=True)
            )
            for index in seen
        }
        yield from ((pyramid, level + 1, index) for index in sorted(under))
    counts = windows.chunk_count(pyramid.levels[level].shape, pyramid.chunks)
    ring: dict[Index, int] = {}
    for index in seen:
        for step in product(*((-1, 0, 1) if is_plane else (0,) for is_plane in plane)):
            near = tuple(i + s for i, s in zip(index, step, strict=True))
            if near not in seen and all(0 <= i < n for i, n in zip(near, counts, strict=True)):
                ring[near] = min(ring.get(near, 2), sum(map(abs, step)))
    yield from ((pyramid, level, index) for index in sorted(ring, key=lambda index: (-ring[index], index)))
