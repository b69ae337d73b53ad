"""Keeping what was worth computing: `materialize`."""

from lazypyr.writing.run import Summary, materialize

__all__ = ["Summary", "materialize"]
