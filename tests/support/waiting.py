"""Events that happen when others wait."""

from __future__ import annotations

import contextlib
import threading

from support.running import until


def set_when(event, condition):
    """Set an event as soon as `condition()` is true."""
    threading.Thread(target=lambda: until(condition) and event.set(), daemon=True).start()


def waiting_in(cache):
    """How many wait for the computations of a cache, whoever computes them among them."""
    return sum(computation.waiting for computation in list(cache._computations.values()))


@contextlib.contextmanager
def admitted(gate, n_bytes):
    """Within a gate, holding some of its bytes."""
    gate.acquire(n_bytes)
    try:
        yield
    finally:
        gate.release(n_bytes)
