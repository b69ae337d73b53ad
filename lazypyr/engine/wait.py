"""Waiting for a computation of the engine on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from lazypyr._util.computation import Computation
from lazypyr._util.lanes import Abandoned
from lazypyr.engine.engine import Engine
from lazypyr.errors import BusyError

__all__ = ["wait_async"]


async def wait_async(engine: Engine, computation: Computation, what: str) -> Any:
    """Value of a computation that was submitted to an engine; a waiter that is cancelled leaves it to the others.

    Raises
    ------
    SourceError, ComputeError
        What failed.
    BusyError
        When `what` isn't there within the engine's `timeout_s`.
    """
    while True:
        try:
            return await _result(engine, computation, what)
        except Abandoned:  # by others, before this one came
            assert computation.again is not None
            value, another = computation.again()
            if another is None:
                return value
            computation = another


async def _result(engine: Engine, computation: Computation, what: str) -> Any:
    with engine.waiting(computation):
        future = asyncio.wrap_future(computation.future)
        # An error that comes when nobody waits any more has been heard all the same: asyncio would complain.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(engine.timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            if computation.future.done():
                raise
            msg = f"{what}: still computing after {engine.timeout_s} s; try again"
            raise BusyError(msg) from None
