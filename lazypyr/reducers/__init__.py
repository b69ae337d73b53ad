"""Downsampling: the table of methods, their kernels, and the user's own functions."""

from lazypyr.reducers.reducer import METHODS, Reducer, reducer, reducer_of

__all__ = ["METHODS", "Reducer", "reducer", "reducer_of"]
