"""Waiting for a flight of the engine on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from lazypyr._util.cache import Flight
from lazypyr.engine.engine import Engine
from lazypyr.errors import BusyError

__all__ = ["landed"]


async def landed(engine: Engine, flight: Flight, what: str) -> Any:
    """The value of a flight that `engine` has taken on; whoever stops waiting leaves it to the others.

    Raises
    ------
    SourceError, ComputeError
        What failed.
    BusyError
        When `what` isn't there within the engine's `timeout_s`.
    """
    with engine.waiting(flight):
        future = asyncio.wrap_future(flight.future)
        # An error that comes when nobody waits any more has been heard all the same: asyncio would complain.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(engine.timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            if flight.future.done():
                raise
            msg = f"{what}: still computing after {engine.timeout_s} s; try again"
            raise BusyError(msg) from None
