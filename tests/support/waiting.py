"""Waiting for what must come about, on however slow a machine, instead of for a while."""

from __future__ import annotations

import threading
import time


def until(condition, seconds=60):
    """What `condition()` returns, as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not come about in {seconds} s"
        time.sleep(0.01)
    return found


def set_when(event, condition):
    """Set an event as soon as `condition()` is true."""
    threading.Thread(target=lambda: until(condition) and event.set(), daemon=True).start()


def waiting_in(cache):
    """How many wait for the flights of a cache, whoever computes them among them."""
    return sum(flight.waiting for flight in list(cache._flights.values()))
