"""Reducers: the built-in ones in a table, and those of users' functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from lazypyr._util.tokenize import HoldsFunction, Versioned
from lazypyr.errors import PlanError
from lazypyr.reducers import custom, dispatch
from lazypyr.reducers.loops import reduced_shape
from lazypyr.registry import Registry, nearest

__all__ = ["REDUCERS", "Reducer", "reducer", "reducer_of", "register_reducer"]

Array = np.ndarray[Any, Any]
_CUSTOM = "custom:"


@dataclass(frozen=True)
class Reducer(HoldsFunction):
    """Facts of a way to make a coarser block of a finer one, and the way itself.

    Parameters
    ----------
    name : str
        Name of a built-in method, or of the user's function.
    composable : bool, default True
        True: level k is this reducer applied to level k-1. False (median, mode): to the ``factor**k`` box of level 0.
    centred : bool, default True
        True: a sample sits at the centre of its box. False (stride): on the first pixel of it.
    samples_only : bool, default False
        True (stride): the result is the first pixel of each box, so that no other pixel need be read.
    resampling_name : str, optional
        GDAL's name of the method where there is one ("average"), otherwise lazypyr's; of a user's function "custom:" and its
        name, which can't be taken for a built-in method.
    kernel : callable, optional
        Built-in method that computes it; None for a user's.
    function : callable, optional
        The user's function; None for a built-in. Without either it is known by name only, and can't compute.
    serial : bool, default False
        True: the function never runs twice at once in this process.
    version : str, optional
        Stands for the function's source text in fingerprints.
    affine : bool, default False
        True: reduced and then scaled is scaled and then reduced, so that packed numbers (`scale_factor`, `add_offset`) may be
        reduced as they are stored. False (sum, rms): they are unpacked first, unless nothing is declared to be packed.
    directed : bool, default False
        True (min, max, mode): the result depends on which values are the larger ones, which a negative scale turns round.

    See Also
    --------
    reducer : Reducer of a function.

    Examples
    --------
    >>> import numpy as np
    >>> from lazypyr.reducers import REDUCERS
    >>> REDUCERS["mean"](np.arange(16.0).reshape(4, 4), (2, 2))
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    >>> REDUCERS["mean"].resampling_name, REDUCERS["median"].composable
    ('average', False)
    """

    name: str
    composable: bool = True
    centred: bool = True
    samples_only: bool = False
    resampling_name: str = ""
    kernel: dispatch.Method | dispatch.Sampling | None = field(default=None, repr=False)
    function: Callable[..., Any] | None = None
    serial: bool = False
    version: str | None = None
    affine: bool = False
    directed: bool = False

    def __post_init__(self) -> None:
        if not self.resampling_name:
            object.__setattr__(self, "resampling_name", self.name if self.function is None else f"{_CUSTOM}{self.name}")

    @classmethod
    def recorded(cls, record: Any) -> Reducer | None:
        """The reducer that `record` has put down; None where that is no reducer's."""
        method = record.get("method") if isinstance(record, Mapping) else None
        if isinstance(method, str) and method.startswith(_CUSTOM):
            composable = record.get("composable") is not False
            return cls(method.removeprefix(_CUSTOM), composable, resampling_name=method)
        return REDUCERS.get(method) if isinstance(method, str) else None

    @property
    def record(self) -> dict[str, Any]:
        """Facts that metadata keep: the method, and of a user's whether it is composable."""
        if self.kernel is not None:
            return {"method": self.name}
        return {"method": self.resampling_name, **({} if self.composable else {"composable": False})}

    @property
    def computes(self) -> bool:
        """False where the reducer is known by name only."""
        return self.kernel is not None or self.function is not None

    def token_parts(self) -> Any:
        if self.function is None:
            return f"reducer:{self.name}"
        return "reducer", self.name, Versioned(self.function, self.version), self.composable, self.centred

    def check(self, dtype: np.dtype[Any] | str | type, nodata: Any = None) -> None:
        """Raise PlanError if the method can't take this dtype, or the dtype can't hold `nodata`."""
        dispatch.check_nodata(np.dtype(dtype), nodata)
        if self.kernel is not None:
            self.kernel.check(np.dtype(dtype))

    def __call__(
        self, block: Array, factors: tuple[int, ...], *, nodata: Any = None, out: Array | None = None
    ) -> Array:
        """Reduce a block.

        Parameters
        ----------
        block : ndarray
            Any shape and strides, native byte order. It is not written to.
        factors : tuple[int, ...]
            Pixels of a box along each axis, each at least 1. Boxes start at pixel 0 and are clipped at the end.
        nodata : scalar, optional
            The value that declares a pixel to hold nothing. NaN and NaT hold nothing in any case; a complex number is
            NaN when either part is.
        out : ndarray, optional
            Where the result goes; may be a view.

        Returns
        -------
        ndarray
            Shape ``ceil(n / factor)`` along each axis, of the dtype of `block`; never a view of it.

        Raises
        ------
        PlanError
            For factors, an `out`, or a dtype that don't fit.
        ComputeError
            When a user's function raises or returns something else than it must; `key` is the reducer's name.
        """
        if out is None:
            out = np.empty(reduced_shape(block.shape, factors), block.dtype)
        elif out.shape != reduced_shape(block.shape, factors) or out.dtype != block.dtype:
            raise PlanError(
                f"out: expected shape {reduced_shape(block.shape, factors)} and dtype {block.dtype}, "
                f"got {out.shape} and {out.dtype}"
            )
        if self.function is not None:
            custom.run(self.function, self.name, block, factors, out, serial=self.serial)
        elif self.kernel is not None:
            self.kernel(block, factors, nodata, out)
        else:
            raise PlanError(f"the reducer {self.name!r} is known by name only: give its function as method=")
        return out


def _built_in(
    name: str, gdal: str = "", *, composable: bool = True, affine: bool = True, directed: bool = False
) -> Reducer:
    kernel = dispatch.method_of(name)
    return Reducer(name, composable, resampling_name=gdal, kernel=kernel, affine=affine, directed=directed)


def _as_reducer(name: str, value: Any) -> Reducer:
    return value if isinstance(value, Reducer) else reducer(value, name=name)


_BUILT_IN = (
    Reducer("stride", True, False, True, "nearest", dispatch.STRIDE, affine=True),
    _built_in("mean", "average"),
    _built_in("min", directed=True),
    _built_in("max", directed=True),
    _built_in("first_valid"),
    _built_in("sum", affine=False),
    _built_in("rms", affine=False),
    _built_in("median", "med", composable=False),
    _built_in("mode", composable=False, directed=True),
)
REDUCERS: Registry[Reducer] = Registry("lazypyr.reducers", "reducer", {r.name: r for r in _BUILT_IN}, _as_reducer)


def register_reducer(name: str, reducer: Reducer | Callable[..., Any]) -> None:
    """Reducer by name: ``method=name`` finds it afterwards, in this process.

    Parameters
    ----------
    name : str
        Its name; a registered one is replaced, a built-in one can't be.
    reducer : Reducer or callable
        Reducer, or a function as `lazypyr.reducer` describes.

    Raises
    ------
    PlanError
        For the name of a built-in method, or something that can't be called.

    See Also
    --------
    reducer : Reducer of a function, with its options.

    Examples
    --------
    >>> import numpy as np
    >>> import lazypyr
    >>> lazypyr.register_reducer("peak_to_peak", np.ptp)
    >>> lazypyr.open_pyramid(np.arange(16.0).reshape(4, 4), method="peak_to_peak", levels=2).read(1)
    array([[5., 5.],
           [5., 5.]])
    """
    REDUCERS.register(name, reducer)


class ReducerOptions(TypedDict, total=False):
    """Keywords of `reducer`; see there."""

    name: str | None
    composable: bool
    centred: bool
    serial: bool
    version: str | None
    affine: bool


@overload
def reducer(function: Callable[..., Any], **options: Unpack[ReducerOptions]) -> Reducer: ...


@overload
def reducer(function: None = None, **options: Unpack[ReducerOptions]) -> Callable[[Callable[..., Any]], Reducer]: ...


def reducer(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    composable: bool = True,
    centred: bool = True,
    serial: bool = False,
    version: str | None = None,
    affine: bool = False,
) -> Any:
    """Reducer of a function ``f(boxes, axis=(1, 3)) -> array``; also a decorator.

    Parameters
    ----------
    function : callable, optional
        A function in the manner of `numpy.nanmean`: it reduces the axes `axis` of `boxes`, a read-only view of shape
        ``(boxes along y, pixels of a box along y, boxes along x, ...)``, to one value a box, in a dtype that casts safely to
        that of the boxes. It is called from several threads at once, and must be picklable where the store has to be (no
        lambda). Without it the result is a decorator.
    name : str, optional
        Name in messages and metadata; by default the function's own.
    composable : bool, default True
        False where reducing twice by 2 is not reducing by 4, and the latter is wanted: then each level is made of level 0.
    centred : bool, default True
        False if a sample belongs on the first pixel of its box instead of the centre.
    serial : bool, default False
        True for a function that isn't thread-safe: it and all other serial reducers take turns.
    version : str, optional
        Stands for the source text in fingerprints, also of the functions that it calls. Without it any change of the text
        voids what an overlay has kept; a function without source text (made by ``exec``) is another one in each process.
    affine : bool, default False
        True for a function of which ``f(a * x + b) == a * f(x) + b`` holds (a mean, a percentile): packed numbers are then
        reduced as they are stored. Otherwise it gets unpacked values, float64, with NaN for what holds nothing.

    Returns
    -------
    Reducer
        The reducer, for ``method=`` of `open_pyramid`.

    Raises
    ------
    PlanError
        For something that can't be called.

    See Also
    --------
    Reducer : Facts of a reducer.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> @lazypyr.reducer(composable=False)
    ... def p90(boxes, axis):
    ...     return np.percentile(boxes, 90, axis=axis).astype(boxes.dtype)
    >>> pyramid = lazypyr.open_pyramid(np.arange(16.0).reshape(4, 4), method=p90, levels=2)
    >>> pyramid.read(1)
    array([[ 4.7,  6.7],
           [12.7, 14.7]])
    """
    if function is None:
        return functools.partial(
            reducer, name=name, composable=composable, centred=centred, serial=serial, version=version, affine=affine
        )
    if not callable(function):
        raise PlanError(f"method: expected a callable, got {function!r}")
    return Reducer(
        name or custom.name_of(function),
        composable,
        centred,
        function=function,
        serial=serial,
        version=version,
        affine=affine,
    )


def reducer_of(method: str | Callable[..., Any] | Reducer) -> Reducer:
    """Return the reducer that a user means.

    Parameters
    ----------
    method : str, callable or Reducer
        Name of a built-in reducer, function that reduces boxes of pixels, or a reducer, which is returned as it is.

    Returns
    -------
    Reducer
        The reducer.

    Raises
    ------
    PlanError
        For anything else.

    Examples
    --------
    >>> from lazypyr.reducers import reducer_of
    >>> reducer_of("mean").composable
    True
    """
    if isinstance(method, Reducer):
        return method
    if isinstance(method, str) and method in REDUCERS:
        return REDUCERS[method]
    if callable(method):
        return reducer(method)
    hint = nearest(method, REDUCERS) if isinstance(method, str) else ""
    raise PlanError(f"method: expected one of {', '.join(REDUCERS)}, or a callable, got {method!r}{hint}")
