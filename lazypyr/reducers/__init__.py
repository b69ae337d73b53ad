"""Downsampling: the table of methods, their kernels, and the user's own functions."""

from lazypyr.reducers.reducer import REDUCERS, Reducer, reducer, reducer_of, register_reducer

__all__ = ["REDUCERS", "Reducer", "reducer", "reducer_of", "register_reducer"]
