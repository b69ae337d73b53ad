"""Keeping what was worth computing: `materialize`."""

from lazypyr.writing.run import materialize
from lazypyr.writing.summary import Summary

__all__ = ["Summary", "materialize"]
