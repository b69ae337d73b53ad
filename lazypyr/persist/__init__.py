"""Keeping what was worth computing: `materialize`."""

from lazypyr.persist.job import Summary, materialize

__all__ = ["Summary", "materialize"]
