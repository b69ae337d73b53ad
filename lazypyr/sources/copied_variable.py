"""Variables of a dataset as arrays that are served as they are."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from lazypyr.metadata.variables import Variable
from lazypyr.sources.copied import CopiedArray

__all__ = ["copied_variable"]

_CHUNK = 1024


def copied_variable(variable: Variable) -> CopiedArray:
    """Array of a variable, whose values are read with its first chunk. Texts of any kind are those of zarr ("string").

    Parameters
    ----------
    variable : Variable

    Returns
    -------
    CopiedArray
        Of its shape, names, values and attributes.

    Examples
    --------
    >>> import numpy as np
    >>> scalar = Variable("height", (), (), np.dtype("f8"), lambda: np.array(2.0), {"units": "m"})
    >>> np.frombuffer(copied_variable(scalar).chunk((), 3, None))
    array([2.])
    """
    import zarr
    from zarr.storage import MemoryStore

    is_text = variable.dtype.kind in "UOT"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr warns of each dtype that v3 doesn't standardise yet
        array = zarr.create_array(
            MemoryStore(),
            shape=variable.shape,
            chunks=tuple(min(_CHUNK, max(n, 1)) for n in variable.shape),
            dtype=str if is_text else variable.dtype.newbyteorder("<"),
            compressors=None,
            attributes=dict(variable.attrs),
            dimension_names=variable.dims,
        )
    return CopiedArray(array, _Filling(variable, array))


class _Filling:
    """Writing of a variable's values into its array, at the first call."""

    def __init__(self, variable: Variable, array: Any) -> None:
        self._variable, self._array, self._lock, self._done = variable, array, threading.Lock(), False

    def __call__(self) -> None:
        with self._lock:
            if not self._done:
                self._array[...] = self._variable.values
                self._done = True

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._variable, self._array)
