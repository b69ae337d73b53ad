"""Downsampling: the table of methods, their kernels, and the user's own functions."""

from lazypyr.reduce.table import METHODS, Reducer, reducer, reducer_of

__all__ = ["METHODS", "Reducer", "reducer", "reducer_of"]
