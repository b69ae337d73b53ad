"""Execution engine: chunk cache with single-flight computation, thread pools, and a limit on the memory in use.

State lives here only. A pickled engine is its settings; in a forked child it starts afresh.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np

from lazypyr._util.cache import CacheInfo, CacheStorage, SingleFlightCache
from lazypyr._util.checks import positive, whole_number
from lazypyr._util.computation import Computation, current_computation
from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.lanes import slow_run
from lazypyr.engine.chunks import bytes_of, checked_chunk, cut, from_centre, full_size, only_chunk, warn_of_large_chunks
from lazypyr.engine.far import ChunksOf, ask_ahead, execute, run_when_here
from lazypyr.engine.lanes import LaneInfo, SlowLane, choose_lane, run_fast, while_wanted
from lazypyr.engine.limiter import MemoryLimiter
from lazypyr.engine.pools import DaemonThreadPool, cpu_count, run_tasks
from lazypyr.engine.read_ahead import ViewReader
from lazypyr.engine.sinks import ChunkSink
from lazypyr.errors import BusyError
from lazypyr.geometry import windows
from lazypyr.geometry.windows import Window
from lazypyr.pyramids.base import ComputeContext, Pyramid
from lazypyr.pyramids.plan import ReadPlan
from lazypyr.sources.chunk_memory import ChunkMemory

__all__ = ["DEFAULT_CACHE_BYTES", "DEFAULT_INFLIGHT_BYTES", "DEFAULT_TIMEOUT_S", "Engine"]

Array = np.ndarray[Any, Any]
DEFAULT_CACHE_BYTES = 256 * 2**20
DEFAULT_INFLIGHT_BYTES = 256 * 2**20
# A hung source must end some day; the overview of a large array in far storage takes minutes and must not fail.
DEFAULT_TIMEOUT_S = 600.0
_TIMEOUTS = f"seconds above 0, at most {threading.TIMEOUT_MAX:.0f}"

_SETTINGS = ("cache_bytes", "inflight_bytes", "workers", "timeout_s", "read_ahead", "request_bytes")
# Engines whose memory is reserved for the work at hand. What it needs on the way must not reserve again: it could wait
# for memory that only its own end will free.
_reserved: ContextVar[tuple[int, ...]] = ContextVar("lazypyr_reserved", default=())
# Bytes of an entry of the cache besides its value, as measured: keys of pictures are the longest.
_ENTRY_BYTES = 1024


class Engine:
    """Execution engine of pyramids: every chunk is computed once at a time, and cached while there is room.

    Parameters
    ----------
    cache_bytes : int
        What the cache may hold, in bytes; 0 keeps nothing.
    inflight_bytes : int
        What computations may hold together, in bytes (estimated before they start).
    workers : int, optional
        Threads that compute; by default one for each CPU that this process may use.
    timeout_s : float
        Seconds that a request waits for its turn, or for a chunk that another thread computes, before `BusyError`.
    read_ahead : bool
        Compute what lies around the chunks that are asked for, of sources that are far, while nobody waits: for people who look around.
    request_bytes : int, optional
        Refuse requests of a server or of zarr that read more of their sources for a chunk. By default none is.

    Raises
    ------
    PlanError
        When an option is out of range.

    See Also
    --------
    lazypyr.LazyPyramidStore : Stores take an engine, so that several share a cache and a limit.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> engine = lazypyr.Engine(cache_bytes=64 * 2**20)
    >>> one, two = (lazypyr.LazyPyramidStore(np.full((600, 400), n), engine=engine) for n in (1, 2))
    >>> len(one["1/c/0/0"]), len(two["1/c/0/0"]), engine.cache_info().computes
    (524288, 524288, 2)
    """

    def __init__(
        self,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        inflight_bytes: int = DEFAULT_INFLIGHT_BYTES,
        workers: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        read_ahead: bool = False,
        request_bytes: int | None = None,
    ) -> None:
        whole_number(cache_bytes, "cache_bytes", 0)
        whole_number(inflight_bytes, "inflight_bytes", 1)
        whole_number(1 if workers is None else workers, "workers", 1)
        whole_number(1 if request_bytes is None else request_bytes, "request_bytes", 1)
        self.timeout_s = positive(timeout_s, "timeout_s", _TIMEOUTS, most=threading.TIMEOUT_MAX)
        self.cache_bytes, self.inflight_bytes, self.read_ahead = int(cache_bytes), int(inflight_bytes), bool(read_ahead)
        self.request_bytes = request_bytes
        self.workers = int(workers) if workers is not None else cpu_count()
        self._sinks: tuple[ChunkSink, ...] = ()
        self._cache_of: Engine | None = None
        remake_after_fork(self._start)

    def _start(self) -> None:
        self._slow = SlowLane(self.workers)
        self._cache = self._slow.serving(SingleFlightCache(self.cache_bytes, bytes_of, _ENTRY_BYTES))
        # Computations that bring several chunks; they keep nothing themselves.
        self._passes = SingleFlightCache(0, lambda _: 0)
        self._request_pool = DaemonThreadPool(self.workers, "request")
        self._task_pool = DaemonThreadPool(self.workers, "task")
        self._probe = threading.Event()
        self._probe.set()
        self._limiter = MemoryLimiter(self.inflight_bytes, self.timeout_s)
        self.chunk_memory = ChunkMemory(self._cache.storage, self.inflight_bytes // 2)
        self._warned: set[str] = set()
        self._views = ViewReader(self.chunk, self.get_cached, self.cache_info) if self.read_ahead else None

    def beside(self) -> Engine:
        """Engine that shares the cache of this one, not its threads: work that hangs in one holds no other up."""
        other = Engine(**self._settings())
        other._share(self)
        return other

    @property
    def cache_storage(self) -> CacheStorage:
        """Values that are cached, and their bound."""
        return self._cache.storage

    def _share(self, engine: Engine | None) -> None:
        self._cache_of = engine
        if engine is not None:
            # Not in _start: a forked child has each cache by itself, as a lock of the other may be held for ever.
            self._cache = self._slow.serving(
                SingleFlightCache(self.cache_bytes, bytes_of, storage=engine.cache_storage)
            )
            self.chunk_memory = ChunkMemory(self._cache.storage, self.inflight_bytes // 2)

    def add_sink(self, sink: ChunkSink) -> None:
        """Look for chunks in a sink too, and hand it what is computed."""
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: ChunkSink) -> None:
        """Undo `add_sink`."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    def __getstate__(self) -> tuple[dict[str, Any], Engine | None]:
        return self._settings(), self._cache_of

    def __setstate__(self, state: tuple[dict[str, Any], Engine | None]) -> None:
        self.__init__(**state[0])  # type: ignore[misc]
        self._share(state[1])

    # The context that pyramids compute in (lazypyr.pyramids.base.ComputeContext)

    @property
    def cache_budget_bytes(self) -> int:
        """Bytes of by-products that a computation may put into the cache without emptying it."""
        return self.cache_bytes // 2

    @property
    def task_bytes(self) -> int:
        """Bytes that one task may hold; of one in the slow lane half as many, as that lane holds half of all at most."""
        return max(1, self.inflight_bytes // ((4 if slow_run() is None else 8) * self.workers))

    def get_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...]) -> Array | None:
        """The finished chunk if it is cached, without computing it."""
        value: Array | None = self._cache.peek((pyramid.key, level, index), count=False)
        return self._from_sinks(pyramid, level, index, quick=True) if value is None else value

    def _from_sinks(self, pyramid: Pyramid, level: int, index: tuple[int, ...], *, quick: bool = False) -> Array | None:
        for sink in self._sinks:
            chunk = sink.get(pyramid, level, index, quick=quick)
            if chunk is not None:
                return chunk
        return None

    def put_cached(self, pyramid: Pyramid, level: int, index: tuple[int, ...], chunk: Array) -> None:
        """Keep a chunk that came out on the way, clipped or full-size."""
        computation = current_computation()
        generation = self._cache.generation() if computation is None else computation.generation
        full = full_size(pyramid, chunk)
        self._cache.put((pyramid.key, level, index), full, generation)
        for sink in self._sinks:
            sink.put(pyramid, level, index, full)

    def run_tasks(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks on all cores; see `lazypyr.engine.pools.run_tasks`."""
        run_tasks(self._task_pool, while_wanted(tasks))

    def read(self, pyramid: Pyramid, level: int, window: Window) -> Array:
        """Pixels of a window, put together of cached chunks; read-only."""
        if self._views is not None and id(self) not in _reserved.get():
            self._views.saw(pyramid, level, windows.chunk_index_windows(window, pyramid.chunks))
        only = only_chunk(window, pyramid.chunks)
        if only is not None:
            return cut(self.chunk(pyramid, level, only), pyramid.chunks, only, window)
        indices = from_centre(window, pyramid.chunks)
        shape = pyramid.levels[level].shape
        out = np.empty(windows.window_shape(window), pyramid.dtype)

        def place(index: tuple[int, ...]) -> None:
            part = windows.overlap(window, windows.chunk_window(index, pyramid.chunks, shape))
            out[windows.slices_within(part, window)] = cut(
                self.chunk(pyramid, level, index), pyramid.chunks, index, part
            )

        of = pyramid, level, indices
        with contextlib.nullcontext() if self._sinks or not pyramid.is_far else ask_ahead(of, self, self.chunk_memory):
            self.run_tasks(partial(place, index) for index in indices)
        out.flags.writeable = False
        return out

    # Chunks

    def chunk(
        self, pyramid: Pyramid, level: int, index: tuple[int, ...], *, context: ComputeContext | None = None
    ) -> Array:
        """One chunk, computed in this thread if need be: full-size, C order, little-endian, read-only.

        Beyond the edge of the level it holds the fill value. `context` stands for the engine in what the recipe asks of it.

        Raises
        ------
        SourceError, ComputeError
            What failed; nothing is kept of it.
        BusyError
            No room or no result within `timeout_s`.
        """
        key = (pyramid.key, level, index)
        value: Array = self.get(key, partial(self._compute, pyramid, level, index, context))
        return value

    def request(
        self, pyramid: Pyramid, level: int, index: tuple[int, ...]
    ) -> tuple[Array, None] | tuple[None, Computation]:
        """The chunk if it is cached, else its computation, which a thread of the engine runs.

        Wait for ``computation.future`` inside ``engine.waiting(computation)``.
        """
        key = (pyramid.key, level, index)
        return self.submit(key, partial(self._compute, pyramid, level, index), of=(pyramid, level, (index,)))

    def submit(
        self, key: Hashable, compute: Callable[[], Any], *, of: ChunksOf | None = None
    ) -> tuple[Any, None] | tuple[None, Computation]:
        """Value of a key if it is cached, else its computation; `request` for any value that the cache may hold.

        Parameters
        ----------
        key : hashable
        compute : callable
        of : (Pyramid, int, iterable of indices), optional
            Chunks of a level that it needs: what is far of them is asked for now, and no thread is held while it comes.
        """
        if self._views is not None and of is not None:
            self._views.saw(*of)
        value, computation = self._cache.submit(key, compute, urgent=id(self) in _reserved.get())
        if computation is None:
            return value, None
        if not computation.started:
            run = partial(self._request_pool.submit, partial(run_fast, self._cache, computation))
            computation.again = partial(self.submit, key, compute, of=of)
            # What sinks have is not asked for of its source: a thread looks there first.
            if of is None or self._sinks or not of[0].is_far:
                run()
            else:
                run_when_here(computation, of, self, self.chunk_memory, run, self._request_pool.submit)
        return None, computation

    def waiting(self, computation: Computation) -> contextlib.AbstractContextManager[None]:
        """Context in which to wait for a computation that `request` or `submit` gave."""
        return self._cache.waiting(computation)

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Value of a key (an array, or bytes), computed in this thread if need be."""
        return self._cache.get(key, compute, timeout_s=self.timeout_s, urgent=id(self) in _reserved.get())

    def _compute(
        self, pyramid: Pyramid, level: int, index: tuple[int, ...], context: ComputeContext | None = None
    ) -> Array:
        kept = self._from_sinks(pyramid, level, index)
        if kept is not None:
            return kept
        window = windows.chunk_window(index, pyramid.chunks, pyramid.levels[level].shape)
        chunk = checked_chunk(
            pyramid, level, window, partial(self._block, pyramid, level, index, window, context or self)
        )
        for sink in self._sinks:
            sink.put(pyramid, level, index, chunk)
        return chunk

    def _block(
        self, pyramid: Pyramid, level: int, index: tuple[int, ...], window: Window, context: ComputeContext
    ) -> Array:
        """Compute one chunk; if another thread runs the pass that yields it as a by-product, wait for that pass instead."""
        plan = pyramid.plan(level, window, context)
        choose_lane(f"{pyramid.name}, level {level}, chunk {index}", plan.read_bytes, self.request_bytes)
        if plan.region == window:
            return self._admitted(pyramid, plan, context)
        computed: list[Array] = []
        started = False

        def unless_brought() -> None:  # by a pass that ended a moment ago
            nonlocal started
            if self.get_cached(pyramid, level, index) is None:
                started = True
                computed.append(self._admitted(pyramid, plan, context))

        urgent = id(self) in _reserved.get()
        try:
            key = pyramid.key, level, plan.region
            self._passes.get(key, unless_brought, timeout_s=self.timeout_s, urgent=urgent)
        except BusyError:
            raise
        except Exception:
            if started:  # what failed for a neighbour need not fail here
                raise
        if computed:
            return computed[0]
        chunk = self.get_cached(pyramid, level, index)
        if chunk is not None:
            return cut(chunk, pyramid.chunks, index, window)
        return self._admitted(pyramid, plan, context)

    def _admitted(self, pyramid: Pyramid, plan: ReadPlan, context: ComputeContext) -> Array:
        """Compute with memory reserved, unless the work that this is part of has reserved it."""
        reserved = _reserved.get()
        if id(self) in reserved:
            return execute(pyramid, plan, context, self.chunk_memory, self.clear)
        if plan.working_bytes > self.inflight_bytes:
            warn_of_large_chunks(pyramid, self.inflight_bytes, self._warned)
        # Of what is far, as much again may be on its way.
        most = self.inflight_bytes - self.chunk_memory.fetch.most if pyramid.is_far else self.inflight_bytes
        need = min(most, plan.working_bytes)
        computation = current_computation()
        slow = slow_run() is not None
        self._limiter.acquire(need, most, urgent=lambda: computation is not None and computation.urgent, slow=slow)
        token = _reserved.set((*reserved, id(self)))
        try:
            return execute(pyramid, plan, context, self.chunk_memory, self.clear)
        finally:
            _reserved.reset(token)
            self._limiter.release(need, slow=slow)

    # State

    def cache_info(self) -> CacheInfo:
        """Hits, misses, bytes held, bytes allowed, computes."""
        return self._cache.info()

    def memory_parts(self) -> dict[str, int]:
        """Bytes by what holds them; all together at most `cache_bytes` and `inflight_bytes`."""
        return {**self.chunk_memory.parts(), "computing": self.inflight_used}

    @property
    def inflight_used(self) -> int:
        """Bytes that computations hold at present, as estimated."""
        return self._limiter.used_bytes

    def probe(self) -> threading.Event:
        """Event that a thread of the engine sets when its turn comes; while it isn't set, always the same."""
        if self._probe.is_set():
            self._probe = threading.Event()
            self._request_pool.submit(self._probe.set)
        return self._probe

    @property
    def calls_done(self) -> int:
        """Number of calls and tasks that its threads have done: it grows while they make progress."""
        return self._request_pool.n_done + self._task_pool.n_done + self._slow.n_done

    @property
    def slow_lane(self) -> LaneInfo:
        """State of requests that read more than 256 MiB of their sources."""
        return self._slow.info

    def clear(self) -> None:
        """Forget all chunks. What is being computed goes to those who wait for it and is not kept."""
        self._passes.clear()
        self._cache.clear()

    def close(self) -> None:
        """Let go of threads and chunks; the engine may be used again and then starts afresh."""
        self._request_pool.close()
        self._task_pool.close()
        if self._views is not None:
            self._views.close()
        self._slow.close()
        self._start()
