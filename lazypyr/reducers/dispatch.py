"""Built-in methods: which kernel for which dtype, over which memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lazypyr._util.checks import as_scalar
from lazypyr.errors import PlanError
from lazypyr.reducers import kernels, kernels_2x2, numpy_impl
from lazypyr.reducers.jit import Kernel, jit_enabled
from lazypyr.reducers.loops import Loop, nests, regions

__all__ = ["METHODS", "STRIDE", "Method", "Sampling", "check_nodata"]

Array = np.ndarray[Any, Any]

NAT = np.iinfo(np.int64).min


def _is_wide(work: np.dtype[Any]) -> bool:
    return work.itemsize == 8 and work.kind in "iu"


def _mean(work: np.dtype[Any], channels: int) -> Kernel:
    if work.kind == "c":
        return kernels_2x2.quad_complex if channels == 1 else kernels.fold_complex
    return kernels_2x2.quad_mean if channels and not _is_wide(work) else _sum(work, channels)


def _sum(work: np.dtype[Any], channels: int) -> Kernel:
    return {"c": kernels.fold_complex, "f": kernels.fold_float}.get(work.kind, kernels.fold_int)


def _rms(work: np.dtype[Any], channels: int) -> Kernel:
    return _mean(work, channels) if work.kind == "c" else kernels.fold_rms


def _extreme(work: np.dtype[Any], channels: int) -> Kernel:
    return kernels_2x2.quad_extreme if channels else kernels.extreme


def _first_valid(work: np.dtype[Any], channels: int) -> Kernel:
    return kernels_2x2.quad_first if channels and work.kind != "c" else kernels.first_valid


@dataclass(frozen=True, eq=False)
class Method:
    """Built-in method: which kernel for which dtype, and the same in numpy.

    Attributes
    ----------
    name : str
    kinds : str
        Kinds of dtype that it takes; u stands for bool too.
    kernel : callable
        ``kernel(dtype, channels)``: the kernel for a dtype and `channels` of 2 x 2 boxes (0 for boxes of another shape).
    numpy : callable
        The method where numba compiles nothing.
    operation : int
        Number of the operation for kernels that know several.
    """

    name: str
    kinds: str
    kernel: Callable[[np.dtype[Any], int], Kernel]
    numpy: Callable[..., tuple[Array, Array]]
    operation: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return method_of, (self.name,)

    def check(self, dtype: np.dtype[Any]) -> None:
        """PlanError if the method can't take a dtype."""
        if dtype.kind not in self.kinds or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            why = " (complex numbers have no order)" if dtype.kind == "c" and "f" in self.kinds else ""
            able = [m.name for m in METHODS.values() if dtype.kind in m.kinds and dtype.itemsize <= 16]
            raise PlanError(
                f"method {self.name!r} can't take dtype {dtype}{why}; for it there are {', '.join(['stride', *able])}"
            )

    def __call__(self, block: Array, factors: tuple[int, ...], nodata: Any, out: Array) -> None:
        """Fill `out` with the reduced `block`."""
        _run(self, block, factors, nodata, out)


@dataclass(frozen=True, eq=False)
class Sampling:
    """Built-in method of any dtype: the first pixel of each box."""

    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        return method_of, (self.name,)

    def check(self, dtype: np.dtype[Any]) -> None:
        """Nothing: it takes any dtype."""

    def __call__(self, block: Array, factors: tuple[int, ...], nodata: Any, out: Array) -> None:
        """Fill `out` with every factor-th pixel of `block`."""
        out[...] = block[tuple(slice(None, None, f) for f in factors)]


STRIDE = Sampling("stride")
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("mean", "biufcmM", _mean, numpy_impl.mean, kernels.MEAN),
        Method("sum", "biufcm", _sum, numpy_impl.sum_, kernels.SUM),
        Method("rms", "biufc", _rms, numpy_impl.rms, kernels.RMS),
        Method("min", "biufmM", _extreme, numpy_impl.min_, kernels.MIN),
        Method("max", "biufmM", _extreme, numpy_impl.max_, kernels.MAX),
        Method("first_valid", "biufcmM", _first_valid, numpy_impl.first_valid),
        Method("median", "biufmM", lambda work, channels: kernels.median, numpy_impl.median),
        Method("mode", "biufmM", lambda work, channels: kernels.mode, numpy_impl.mode),
    )
}


def method_of(name: str) -> Method | Sampling:
    """The built-in method of a name."""
    return METHODS.get(name, STRIDE)


_QUADS = (kernels_2x2.quad_mean, kernels_2x2.quad_first, kernels_2x2.quad_extreme, kernels_2x2.quad_complex)


def check_nodata(dtype: np.dtype[Any], nodata: Any) -> None:
    """PlanError if a dtype can't hold a declared value."""
    if nodata is not None:
        _stored(dtype, nodata)


def _stored(dtype: np.dtype[Any], nodata: Any) -> Any:
    """`nodata` as a scalar of `dtype`; PlanError if it can't be held."""
    held = as_scalar(nodata, dtype)
    if held is None:
        raise PlanError(f"nodata: {nodata!r} can't be held by dtype {dtype}; give a value of that dtype, or None")
    return held


@dataclass(frozen=True, slots=True)
class _Plan:
    """Calls that reduce blocks of one shape: everything that doesn't depend on where they are in memory."""

    work: np.dtype[Any]
    fill: Array
    has: bool
    direct: bool
    spans: tuple[int, int]
    calls: tuple[tuple[Kernel, Array, Array], ...]


def _work(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype as which memory is worked on; float16 in float64, so that it rounds once like the others."""
    if dtype == np.float16:
        return np.dtype(np.float64)
    return np.dtype({"b": np.uint8, "m": np.int64, "M": np.int64}.get(dtype.kind, dtype))


def _fill(dtype: np.dtype[Any], work: np.dtype[Any], nodata: Any) -> tuple[Array, bool]:
    """``(nodata, smallest, largest)`` for the kernels, and whether pixels are to be compared with nodata."""
    held = None if nodata is None else _stored(dtype, nodata)
    if work.kind in "fc":
        nothing = work.type(complex(np.nan, np.nan) if work.kind == "c" else np.nan) if held is None else held
        return np.array([nothing, 0, 0], work), not np.isnan(nothing)
    info = np.iinfo(work)
    if dtype.kind in "mM":
        return np.array([NAT, NAT + 1, info.max], work), True
    if dtype.kind == "b":
        return np.array([held or 0, 0, 1], work), held is not None
    return np.array([0 if held is None else held, info.min, info.max], work), held is not None


@functools.lru_cache(1024)
def _plan(
    method: Method,
    dtype: np.dtype[Any],
    nodata: Any,
    shape: tuple[int, ...],
    factors: tuple[int, ...],
    strides: tuple[int, ...],
    out_strides: tuple[int, ...],
) -> _Plan:
    method.check(dtype)
    work, size = _work(dtype), dtype.itemsize
    fill, has = _fill(dtype, work, nodata)
    direct = work.itemsize == size and all(s >= 0 and s % size == 0 for s in strides + out_strides)
    if not direct:
        return _Plan(work, fill, has, False, (0, 0), ())
    steps, out_steps = ([s // size for s in each] for each in (strides, out_strides))
    flags = [int(has), method.operation, NAT if work == np.uint64 else 0, int(work.kind in "iu")]
    calls = []
    for nest in nests(shape, factors, steps, out_steps):
        quad = nest.quad
        kernel = method.kernel(work, quad.channels if quad else 0)
        if quad and kernel in _QUADS:
            loops = [quad.planes, quad.rows, Loop(quad.columns, quad.channels, quad.pitch)]
        else:
            loops = [Loop(1, 0, 0)] * (3 - len(nest.loops)) + list(nest.loops)
        g = [nest.start, nest.to]
        for loop in loops:
            g += [loop.count, loop.step, loop.to]
        calls.append((kernel, np.array(g + flags, np.int64), np.array(nest.offsets, np.int64)))
    counts = [-(-n // f) for n, f in zip(shape, factors, strict=True)]
    spans = _span(shape, steps), _span(counts, out_steps)
    return _Plan(work, fill, has, True, spans, tuple(calls))


def _span(shape: Sequence[int], steps: Sequence[int]) -> int:
    """Elements from the first to the last."""
    return 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))


def _run(method: Method, block: Array, factors: tuple[int, ...], nodata: Any, out: Array) -> None:
    block, dtype = np.asarray(block), block.dtype
    if dtype.kind in "mM" and nodata is not None:
        declared = _stored(dtype, nodata)
        _run(method, np.where(block == declared, np.array("NaT", dtype), block), factors, None, out)
        out[np.isnat(out)] = declared
        return
    if dtype.kind == "f" and nodata is not None and np.isnan(nodata):
        nodata = None  # the same, and equal to itself as a key of the plans
    plan = _plan(method, dtype, nodata, block.shape, factors, block.strides, out.strides)
    if not (plan.direct and block.flags.aligned and out.flags.aligned):
        native = plan.work if dtype == np.float16 else dtype
        scratch = np.empty(out.shape, native)
        declared = None if nodata is None else _stored(dtype, nodata).astype(native)
        _run(method, np.array(block, native, order="C"), factors, declared, scratch)
        with np.errstate(over="ignore"):
            out[...] = scratch
    elif out.size == 0:
        return
    elif jit_enabled():
        source = _flat(block, plan.work, plan.spans[0], writeable=False)
        result = _flat(out, plan.work, plan.spans[1], writeable=True)
        for kernel, g, offsets in plan.calls:
            kernel(source, result, g, offsets, plan.fill)
    else:
        _run_plain(method, block.view(plan.work), factors, plan, out.view(plan.work))


def _flat(array: Array, work: np.dtype[Any], span: int, *, writeable: bool) -> Array:
    """The memory of an array, from its first to its last element, as a flat one of the kernels' dtype."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
    else:
        flat = as_strided(array, (span,), (array.itemsize,))
    if array.dtype != work:
        flat = flat.view(work)
    if not writeable:
        # kernels are compiled for read-only sources: a cached tile is one
        flat.flags.writeable = False
    return flat


def _run_plain(method: Method, block: Array, factors: tuple[int, ...], plan: _Plan, out: Array) -> None:
    nodata = plan.fill[0] if plan.has else None
    for region in regions(block.shape, factors):
        part = block[tuple(slice(i * f, i * f + n * b) for (i, n, b), f in zip(region, factors, strict=True))]
        boxes = part.reshape([n for _, count, box in region for n in (count, box)])
        boxes = boxes.transpose([*range(1, boxes.ndim, 2), *range(0, boxes.ndim, 2)])
        with np.errstate(all="ignore"):
            value, valid = method.numpy(boxes, nodata, (plan.fill[1], plan.fill[2]))
            to = tuple(slice(i, i + n) for i, n, _ in region)
            out[to] = np.where(valid, value.astype(out.dtype), plan.fill[0])
