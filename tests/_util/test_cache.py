"""The cache alone: a model of it, computations, and what happens to them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lazypyr._util.cache import SingleFlightCache
from lazypyr._util.computation import current_computation
from lazypyr.engine.limiter import MemoryLimiter
from lazypyr.errors import BusyError, ComputeError
from support.running import together
from support.waiting import set_when, until, waiting_in


class Boom(Exception):
    pass


class CacheMachine(RuleBasedStateMachine):
    """Against an OrderedDict that forgets its first entries."""

    keys = st.integers(0, 12)

    @initialize(size=st.sampled_from([0, 1, 7, 20, 1000]))
    def start(self, size):
        self.cache, self.size, self.model = SingleFlightCache(size, len), size, OrderedDict()
        self.old = []
        self.computes = 0

    def value(self, key):
        return bytes([key]) * (1 + key)

    def keep(self, key):
        if key + 1 <= self.size:
            self.model.pop(key, None)
            while sum(map(len, self.model.values())) + key + 1 > self.size:
                self.model.popitem(last=False)
            self.model[key] = self.value(key)

    def used(self, key):
        if key in self.model:
            self.model.move_to_end(key)
            return True
        return False

    @rule(key=keys)
    def get(self, key):
        known = self.used(key)
        assert self.cache.get(key, lambda: self.value(key)) == self.value(key)
        if not known:
            self.computes += 1
            self.keep(key)

    @rule(key=keys)
    def get_and_fail(self, key):
        def fail():
            raise Boom

        if self.used(key):
            assert self.cache.get(key, fail) == self.value(key)
        else:
            with pytest.raises(Boom):
                self.cache.get(key, fail)
            self.computes += 1

    @rule(key=keys)
    def join_and_leave(self, key):
        known = self.used(key)
        value, computation = self.cache.submit(key, lambda: self.value(key))
        assert (computation is None) == known
        if computation is not None:
            with self.cache.waiting(computation):
                pass
            self.cache.run(computation)
            assert not computation.started, "nobody waits for it"

    @rule(key=keys)
    def join_and_run(self, key):
        known = self.used(key)
        value, computation = self.cache.submit(key, lambda: self.value(key))
        if not known:
            with self.cache.waiting(computation):
                self.cache.run(computation)
                assert computation.future.result(1) == self.value(key)
            self.computes += 1
            self.keep(key)

    @rule(key=keys)
    def peek(self, key):
        assert (self.cache.peek(key) is not None) == self.used(key)

    @rule(key=keys)
    def offer(self, key):
        self.cache.put(key, self.value(key), self.cache.generation())
        self.keep(key)

    @rule(key=keys, older=st.integers(1, 3))
    def offer_late(self, key, older):
        self.cache.put(key, self.value(key), self.cache.generation() - older)

    @rule()
    def clear(self):
        self.cache.clear()
        self.model.clear()

    @invariant()
    def same(self):
        if hasattr(self, "cache"):
            info = self.cache.info()
            assert info.currsize == sum(map(len, self.model.values())) <= info.maxsize == self.size
            assert info.entries == len(self.model)
            assert info.in_flight == 0
            assert info.computes == self.computes
            assert all((key in self.cache) == (key in self.model) for key in range(13))


CacheMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
test_cache_is_its_model = pytest.mark.fault("C8")(CacheMachine.TestCase)


@pytest.mark.fault("C1")
def test_many_threads_one_compute():
    cache, calls = SingleFlightCache(10**6, len), []

    def compute():
        calls.append(1)
        time.sleep(0.05)
        return b"value"

    # who comes when it is done finds it kept
    assert together(64, lambda i: cache.get("key", compute)) == [b"value"] * 64
    assert len(calls) == cache.info().computes == 1
    assert cache.info().hits + cache.info().misses == 64


@pytest.mark.fault("C2")
def test_an_error_reaches_all_who_wait_and_is_not_kept():
    cache, calls, gate = SingleFlightCache(10**6, len), [], threading.Event()

    def fail():
        calls.append(1)
        assert gate.wait(60)
        raise Boom

    set_when(gate, lambda: waiting_in(cache) >= 32)
    got = together(32, lambda i: cache.get("key", fail))
    assert all(isinstance(error, Boom) for error in got)
    assert len(calls) == 1
    assert cache.info().entries == cache.info().in_flight == 0
    assert cache.get("key", lambda: b"now") == b"now"


@pytest.mark.fault("C2")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_stop_belongs_to_the_thread_that_computes(stop):
    cache, begun, gate = SingleFlightCache(10**6, len), threading.Event(), threading.Event()

    def interrupted():
        begun.set()
        assert gate.wait(60)
        raise stop

    def ask(i):
        if i:
            assert begun.wait(60)
            set_when(gate, lambda: waiting_in(cache) >= 2)
        return cache.get("key", interrupted if not i else lambda: b"never")

    mine, other = together(2, ask)
    assert isinstance(mine, stop)
    assert isinstance(other, ComputeError)
    assert cache.get("key", lambda: b"now") == b"now"


@pytest.mark.fault("C3")
def test_a_value_larger_than_the_cache_is_shared_and_not_kept():
    cache, calls, gate = SingleFlightCache(4, len), [], threading.Event()

    def compute():
        calls.append(1)
        assert gate.wait(60)
        return b"12345"

    set_when(gate, lambda: waiting_in(cache) >= 16)
    assert together(16, lambda i: cache.get("key", compute)) == [b"12345"] * 16
    assert len(calls) == 1
    assert cache.info().currsize == 0
    cache.put("other", b"123456", cache.generation())
    assert cache.info().currsize == 0


@pytest.mark.fault("C4")
def test_clearing_during_a_flight():
    cache, begun, gate = SingleFlightCache(10**6, len), threading.Event(), threading.Event()

    def old():
        begun.set()
        assert gate.wait(60)
        return b"old"

    got = []
    thread = threading.Thread(target=lambda: got.append(cache.get("key", old)), daemon=True)
    thread.start()
    assert begun.wait(60)
    cache.clear()
    assert cache.get("key", lambda: b"new") == b"new", "a new request starts a new computation"
    gate.set()
    thread.join(60)
    assert got == [b"old"], "who waited gets what he asked for"
    assert cache.peek("key") == b"new"


@pytest.mark.fault("C6")
def test_a_value_that_needs_itself():
    cache = SingleFlightCache(10**6, len)
    with pytest.raises(ComputeError, match="needs itself"):
        cache.get("a", lambda: cache.get("a", bytes))

    def chain(n):
        return cache.get(n % 3, lambda: chain(n + 1))

    with pytest.raises(ComputeError, match="needs itself"):
        chain(0)
    assert cache.info().in_flight == 0
    assert current_computation() is None
    assert cache.get("a", lambda: b"fine") == b"fine"


@pytest.mark.fault("C6")
def test_two_values_that_need_each_other_in_two_threads():
    cache, met = SingleFlightCache(10**6, len), threading.Barrier(2)

    def need(mine, other):
        def compute():
            met.wait(60)
            return cache.get(other, lambda: need(other, mine)())

        return compute

    got = together(2, lambda i: cache.get("ab"[i], need("ab"[i], "ba"[i])))
    assert all(isinstance(error, ComputeError) for error in got)
    assert cache.info().in_flight == 0


@pytest.mark.fault("C5")
async def test_who_waits_can_not_cancel_the_computation():
    """Cancelling what asyncio makes of a future cancels the future itself, unless it is marked as running."""
    cache = SingleFlightCache(10**6, len)
    _, computation = cache.submit("key", lambda: b"value")
    with cache.waiting(computation):
        gone, stays = asyncio.wrap_future(computation.future), asyncio.wrap_future(computation.future)
        gone.cancel()
        await asyncio.sleep(0)
        cache.run(computation)
        assert await asyncio.wait_for(stays, 10) == b"value"
    assert not computation.future.cancelled()


@pytest.mark.fault("C7")
@pytest.mark.parametrize("way", ["asks for it", "waits for it", "waits for who waits for it", "computes it"])
def test_what_holds_memory_never_waits_for_what_waits_for_memory(way):
    """One computation has reserved all there is and needs another one's value, which needs memory itself."""
    cache, limiter = SingleFlightCache(10**6, len), MemoryLimiter(1, 5)

    def needs_memory():
        computation = current_computation()
        limiter.acquire(1, urgent=lambda: computation.urgent)
        limiter.release(1)
        return b"value"

    def chain():
        return cache.get("chain", lambda: cache.get("value", needs_memory))

    def value():
        return cache.get("value", needs_memory)

    queued = {"asks for it": value, "waits for it": value, "waits for who waits for it": chain}.get(way)
    limiter.acquire(1)
    if queued is not None:
        other = threading.Thread(target=queued, daemon=True)
        other.start()
        until(lambda: limiter._queue)
    if way == "asks for it":
        got = cache.get("value", needs_memory, urgent=True)
    else:  # as a part of urgent work, which says so itself no more
        got = cache.get("urgent", queued or value, urgent=True)
    assert got == b"value"
    limiter.release(1)
    if queued is not None:
        other.join(10)
    assert limiter.used_bytes == cache.info().in_flight == 0


def test_chains_without_a_circle_are_fine():
    cache = SingleFlightCache(10**6, len)

    def depth(n):
        return cache.get(n, lambda: depth(n - 1) + b"x") if n else b""

    assert together(8, lambda i: depth(20 + i % 3)) == [b"x" * (20 + i % 3) for i in range(8)]
    assert cache.info().computes == 22


def test_waiting_too_long():
    cache, begun, gate = SingleFlightCache(10**6, len), threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert gate.wait(60)
        return b"late"

    thread = threading.Thread(target=lambda: cache.get("key", slow), daemon=True)
    thread.start()
    assert begun.wait(60)
    with pytest.raises(BusyError, match="try again"):
        cache.get("key", slow, timeout_s=0.05)
    gate.set()
    thread.join(60)
    assert cache.get("key", slow) == b"late"


def test_a_timeout_of_the_computation_is_its_own_error():
    cache = SingleFlightCache(10**6, len)

    def fail():
        raise TimeoutError("the source's")

    with pytest.raises(TimeoutError, match="the source's"):
        cache.get("key", fail, timeout_s=5)


def test_what_a_neighbour_brought_is_not_computed_again():
    cache = SingleFlightCache(10**6, len)
    _, computation = cache.submit("key", lambda: pytest.fail("computed"))
    cache.put("key", b"brought", cache.generation())
    with cache.waiting(computation):
        cache.run(computation)
        assert computation.future.result(1) == b"brought"
    assert cache.info().computes == cache.info().in_flight == 0
