"""Execution of pyramids: chunk cache, thread pools, memory limit."""

from lazypyr.engine.engine import Engine

__all__ = ["Engine"]
