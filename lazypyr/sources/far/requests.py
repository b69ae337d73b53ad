"""Requests to one store: many in flight, again after what may pass, once more beside what takes too long."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import heapq
import itertools
import random
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields

from lazypyr._util.forksafe import remake_after_fork
from lazypyr.sources.far.clients import ByteRange, Client, Fetched
from lazypyr.sources.far.loop import fetch_loop

__all__ = ["ASKED_ONCE", "LIMITS", "FetchStats", "Limits", "Requests", "all_stats"]


@dataclass(frozen=True)
class Limits:
    """Limits of the requests to one store.

    Attributes
    ----------
    in_flight : int
        Requests at a time.
    tries : int
        Of one request, where what goes wrong may pass.
    backoff_s : float
        Before the second try, doubled before each further one, more or less by chance.
    attempt_s, deadline_s : float
        One try, and all of them together, besides what the bytes take at `slowest_bytes_per_s`.
    hedge_least_s : float
        What takes at least this, and three times as long as 95 % do, is asked for once more beside it.
    hedge_share : float
        Of all requests, that may be asked for beside another.
    unknown_s : float
        Takes the place of three times the 95th percentile while few requests are known.
    """

    in_flight: int = 64
    tries: int = 6
    backoff_s: float = 0.1
    attempt_s: float = 10.0
    deadline_s: float = 30.0
    slowest_bytes_per_s: float = 100e3
    hedge_least_s: float = 0.2
    hedge_share: float = 0.05
    unknown_s: float = 1.0


LIMITS = Limits()
ASKED_ONCE = Limits(tries=1, hedge_share=0, attempt_s=600, deadline_s=600)
_LONGEST_PAUSE_S = 8.0
_FEW = 8


@dataclass
class FetchStats:
    """Counts since the process began, all but the two in flight; seconds that requests waited for their answers."""

    requests: int = 0
    bytes: int = 0
    retries: int = 0
    hedged: int = 0
    cancelled: int = 0
    failed: int = 0
    waiting_s: float = 0.0
    in_flight: int = 0
    most_in_flight: int = 0

    def as_dict(self) -> dict[str, float]:
        """Counts by name."""
        return asdict(self)


class _Gate:
    """Places for requests, handed out by priority, then in the order of coming. Used on one loop only."""

    def __init__(self, places: int) -> None:
        self._free, self._count = places, itertools.count()
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []

    async def enter(self, priority: int) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (priority, next(self._count), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came as it was cancelled
                self.leave()
            raise

    def leave(self) -> None:
        while self._queue:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Requests:
    """Requests to one store.

    Parameters
    ----------
    client : Client
    limits : Limits

    Attributes
    ----------
    tags : bool
        True where values have come with tags of their version.
    """

    def __init__(self, client: Client, limits: Limits | None = None) -> None:
        self.client, self.limits = client, limits or LIMITS
        remake_after_fork(self._start)

    def _start(self) -> None:
        self.stats = FetchStats()
        _counted.append((weakref.ref(self), self.stats))
        self._gate = _Gate(self.limits.in_flight)
        self._durations: collections.deque[float] = collections.deque(maxlen=128)
        self._slow_s, self._known = self.limits.unknown_s, 0
        self._down = self.tags = False
        self.client.start()

    def submit(self, key: str, part: ByteRange | None = None) -> Future[Fetched | None]:
        """Future of a value, for threads and for other loops."""
        return fetch_loop.run(self.get(key, part))

    async def get(
        self, key: str, part: ByteRange | None = None, *, n_bytes: int = 0, priority: int = 0
    ) -> Fetched | None:
        """A value or a part of it, None if there is none. To be awaited on the loop that fetches.

        Parameters
        ----------
        key : str
        part : ByteRange, optional
        n_bytes : int
            About as many are expected.
        priority : int
            Lower comes first.

        Raises
        ------
        Exception
            What the client raised last.
        """
        limits, began = self.limits, time.monotonic()
        longer = n_bytes / limits.slowest_bytes_per_s
        deadline = began + limits.deadline_s + longer
        for attempt in itertools.count(1):
            await self._gate.enter(priority)
            try:
                left = deadline - time.monotonic()
                got = await self._hedged(key, part, max(0.001, min(left, limits.attempt_s + longer)))
            except Exception as error:
                pause = self.client.pause_after(error)
                if pause is None:  # an answer, though not the one that was hoped for
                    self.stats.failed += 1
                    raise
                pause = max(pause, _backoff(limits, attempt))
                last = attempt >= limits.tries or self._down or time.monotonic() + pause >= deadline
                if last:
                    # Until it answers again each request is one try.
                    self._down = True
                    self.stats.failed += 1
                    raise
                self.stats.retries += 1
            else:
                self._down = False
                return got
            finally:
                self._gate.leave()
            await asyncio.sleep(pause)
        raise AssertionError

    async def _hedged(self, key: str, part: ByteRange | None, longest_s: float) -> Fetched | None:
        """One try, and a second one beside it if the first takes long; the first answer wins."""
        tries = [asyncio.ensure_future(self._once(key, part, longest_s))]
        try:
            wait_s = max(self.limits.hedge_least_s, self._slow_s)
            done, _ = await asyncio.wait(tries, timeout=min(wait_s, longest_s))
            if not done and wait_s < longest_s and self._may_hedge():
                self.stats.hedged += 1
                tries.append(asyncio.ensure_future(self._once(key, part, longest_s)))
            while True:
                done, undone = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
                good = next((one for one in done if one.exception() is None), None)
                if good is not None:
                    return good.result()
                if not undone:
                    return tries[0].result()  # raises
                tries = list(undone)
        finally:
            for one in tries:
                if one.cancel():
                    self.stats.cancelled += 1
                else:
                    one.cancelled() or one.exception()  # heard

    async def _once(self, key: str, part: ByteRange | None, longest_s: float) -> Fetched | None:
        stats, began = self.stats, time.monotonic()
        with self._in_flight():
            async with asyncio.timeout(longest_s):
                got = await self.client.get(key, part)
        took = time.monotonic() - began
        stats.waiting_s += took
        if got is not None:
            stats.bytes += len(got.data)
            self.tags = self.tags or got.tag is not None
        self._durations.append(took)
        self._known += 1
        if self._known >= _FEW and (self._known % 16 == 0 or self._known == _FEW):
            durations = sorted(self._durations)
            self._slow_s = 3 * durations[int(0.95 * (len(durations) - 1))]
        return got

    @contextlib.contextmanager
    def _in_flight(self) -> Iterator[None]:
        stats = self.stats
        stats.requests += 1
        stats.in_flight += 1
        stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        try:
            yield
        finally:
            stats.in_flight -= 1

    def _may_hedge(self) -> bool:
        share = self.limits.hedge_share
        return share > 0 and self.stats.hedged < max(1, int(share * self.stats.requests))


def _backoff(limits: Limits, attempt: int) -> float:
    return min(_LONGEST_PAUSE_S, limits.backoff_s * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.5)  # noqa: S311


_counted: list[tuple[weakref.ref[Requests], FetchStats]] = []
# Of stores that are gone: what is counted since the process began never falls.
_past = FetchStats()


def all_stats() -> FetchStats:
    """Sum of the counts of all stores that this process has opened."""
    total = FetchStats()
    for entry in list(_counted):
        requests, stats = entry[0](), entry[1]
        if requests is not None and requests.stats is stats:
            _add(total, stats)
            continue
        with contextlib.suppress(ValueError):  # another thread has moved it
            _counted.remove(entry)
            _add(_past, stats)
    _add(total, _past)
    return total


def _add(total: FetchStats, stats: FetchStats) -> None:
    for field in fields(FetchStats):
        setattr(total, field.name, getattr(total, field.name) + getattr(stats, field.name))
