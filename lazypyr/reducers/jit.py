"""The one way to numba: lazy, serial, without the GIL, compiled code kept on disk where that is possible."""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import types
from collections.abc import Callable
from typing import Any

__all__ = ["Kernel", "jit", "jit_enabled"]


@functools.cache
def jit_enabled() -> bool:
    """True where kernels get compiled: numba is installed and NUMBA_DISABLE_JIT doesn't say no. Imports nothing."""
    off = os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0")
    return not off and importlib.util.find_spec("numba") is not None


class Kernel:
    """A function that numba compiles when it is first called; without numba it runs as it stands.

    Kernels may call kernels of their own module. Arguments are arrays and numbers; they raise nothing.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._compiled: Callable[..., Any] | None = None

    @property
    def compiled(self) -> Any:
        """The numba dispatcher (the function itself without numba)."""
        if self._compiled is None:
            # two threads may both come here; the later one's dispatcher stays, and neither is wrong
            self._compiled = self._make(cache=True) if jit_enabled() else self.function
        return self._compiled

    def _make(self, *, cache: bool) -> Callable[..., Any]:
        import numba

        # numba can't look into a Kernel: the function it compiles sees the dispatchers in their place
        names = {
            name: value.compiled if cache else value._make(cache=False)
            for name, value in self.function.__globals__.items()
            if isinstance(value, Kernel) and value is not self and name in self.function.__code__.co_names
        }
        function = types.FunctionType(
            self.function.__code__, {**self.function.__globals__, **names}, self.function.__name__
        )
        function.__qualname__, function.__module__ = self.function.__qualname__, self.function.__module__
        try:
            return numba.njit(nogil=True, cache=cache, error_model="numpy")(function)
        except RuntimeError:
            # "no locator available": neither the package's folder nor the user's cache folder can be written
            return numba.njit(nogil=True, error_model="numpy")(function)

    def __call__(self, *arguments: Any) -> Any:
        """Run it, compiling it for these types of arguments if that hasn't been done."""
        try:
            return self.compiled(*arguments)
        except (OSError, EOFError, pickle.UnpicklingError):
            # the cache folder is full, went away, or holds a torn file: go on without it
            self._compiled = self._make(cache=False)
            return self._compiled(*arguments)


def jit(function: Callable[..., Any]) -> Kernel:
    """Decorate a kernel: serial, ``nogil``, cached on disk (NUMBA_CACHE_DIR is honoured), numba imported at first call."""
    return Kernel(function)
