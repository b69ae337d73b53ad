"""Products that users write: functions of the channels, of whole blocks, or with the signature of moraine."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from types import FrameType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from lazypyr._util.forksafe import remake_after_fork
from lazypyr._util.tokenize import HoldsFunction, Versioned
from lazypyr.errors import ComputeError, PlanError
from lazypyr.products.base import Input, Output, Product, by_channel, empty_of
from lazypyr.products.blocks import Blocks, Channels, SlicedLevel
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.sources.base import native

__all__ = ["KDIM_NAMES", "Function", "supported"]

P = ParamSpec("P")
R = TypeVar("R")
KDIM_NAMES = ("i", "j", "k", "l")

_nothing = [object()]
_ALONE = sys.getrefcount(_nothing[0])  # of what only a list holds
WORDS = {"channels": "function of the channels", "block": "function of blocks", "slices": "function of slices"}


@dataclass(frozen=True)
class Function(HoldsFunction, Product, Generic[P, R]):
    """A user's function as a product; made by `define`, which explains the fields."""

    func: Callable[P, R]
    label: str
    style: str
    kdims: tuple[tuple[str, int | None], ...] | None
    dtype: np.dtype[Any] | None = None
    units: str | None = None
    fill_value: Any = None
    depth: tuple[int, int] = (0, 0)
    serial: bool = False
    version: str | None = None
    nodata: str = "raw"
    asks: tuple[str, ...] = ()

    def token_parts(self) -> Any:
        function = Versioned(self.func, self.version)
        facts = self.label, self.style, self.kdims, self.dtype, self.units, self.fill_value, self.depth
        return "product", function, facts, *([] if self.nodata == "raw" else [self.nodata])

    @property
    def name(self) -> str:
        return self.label

    @property
    def description(self) -> str:
        along = "its channels" if self.kdims is None else ", ".join(name for name, _ in self.kdims)
        return f"{WORDS[self.style]} {self.label}" + (f" along {along}" if along else "")

    @property
    def pixelwise(self) -> bool:
        return self.depth == (0, 0) and self.style != "slices" and "coords" not in self.asks

    @property
    def needs_all_channels(self) -> bool:
        return self.style == "block"

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        """Call the function itself, as if it were not decorated."""
        return self.func(*args, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if not _in_cloudpickle():
            values["func"] = _Reference.to(self)
        return _rebuilt, (values, self.__lazypyr_token__())

    def fit(self, inputs: Sequence[Input], sample: Callable[[Sequence[int] | None], Array]) -> Product:
        """With the dtype filled in, found on one pixel of ones."""
        if self.dtype is not None:
            return self
        (source,) = inputs
        sizes = self._sizes(source)
        window = tuple(range(2 * n + 1) for n in self.depth)
        out = Output(("y", "x", *sizes), source.dtype, sizes)
        first = tuple(range(n if self.style == "block" else min(n, 1)) for n in sizes.values())
        context = ProductContext(self.name, source.name, 0, ("y", "x"), tuple((r.start, r.stop) for r in window))
        try:
            with np.errstate(all="ignore"):
                got = self._answer(
                    source,
                    (*window, *first),
                    self._blocks(source, lambda _, ranges: _ones(ranges, source.dtype)),
                    context,
                    out,
                )
        except ComputeError as error:
            raise PlanError(
                f"product {self.name!r} could not be tried on one pixel of ones to find its dtype: "
                f"{error.__cause__ or error}; correct it, or declare dtype="
            ) from error
        return replace(self, dtype=supported(self.name, got.dtype))

    def recipe_arguments(self) -> dict[str, Any]:
        return {}

    def estimates(self) -> dict[str, Any]:
        return {} if self.dtype is None else {"dtype": self.dtype.str}

    def with_estimates(self, **estimates: Any) -> Product:
        return replace(self, dtype=np.dtype(estimates["dtype"])) if estimates else self

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        if self.dtype is None:
            raise PlanError(f"product {self.name!r} has no dtype yet: declare dtype=")
        sizes = self._sizes(source)
        chunks = sizes if self.style == "block" else {}
        return Output(("y", "x", *sizes), self.dtype, sizes, chunks, fill_value=self.fill_value, units=self.units)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        blocks = self._blocks(source, read)
        if self.style == "block":
            got = [self._answer(source, where, blocks, context, out)]
            return _owned(got, (..., *[slice(r.start, r.stop, r.step) for r in where[2:]]), where, out.dtype)
        if all(len(k) == 1 for k in where[2:]):
            return _owned([self._answer(source, where, blocks, context, out)], ..., where, out.dtype)

        def write(plane: Array, *k: int) -> None:
            at = (*where[:2], *(range(n, n + 1) for n in k))
            plane[...] = self._answer(source, at, blocks, context, out)

        return by_channel(out, where, write)

    def _blocks(self, source: Input, read: Read) -> Blocks:
        if self.nodata == "raw":
            return Blocks(lambda ranges: read(0, ranges))
        return Blocks(lambda ranges: _without_nodata(source, read(0, ranges), masked=self.nodata == "masked"))

    def _context(self, source: Input, rows: range, columns: range) -> dict[str, Any]:
        """Keyword arguments that the function asks for."""
        facts: dict[str, Any] = {"spacing": source.spacing, "level": source.level, "nodata": source.nodata}
        if "coords" in self.asks:
            pixels = {"y": (rows, source.scale[0]), "x": (columns, source.scale[1])}
            facts["coords"] = {
                axis: np.asarray(run) * source.coords[axis].step + source.coords[axis].origin
                if axis in source.coords
                else np.asarray(run) * step
                for axis, (run, step) in pixels.items()
            }
        return {name: facts[name] for name in self.asks}

    def _sizes(self, source: Input) -> dict[str, int]:
        channels = source.channel_shape
        if self.kdims is None:
            if len(channels) > len(KDIM_NAMES):
                raise PlanError(
                    f"product {self.name!r}: {source.name} has {len(channels)} channel axes; *kdims are at most {len(KDIM_NAMES)}"
                )
            return dict(zip(KDIM_NAMES, channels, strict=False))
        if not channels and any(size is None for _, size in self.kdims):
            raise PlanError(
                f"product {self.name!r}: {source.name} has no channel axis to take the sizes of {list(dict(self.kdims))} "
                "from; say kdims={name: size}"
            )
        return {
            name: channels[min(n, len(channels) - 1)] if size is None else size
            for n, (name, size) in enumerate(self.kdims)
        }

    def _answer(self, source: Input, where: Ranges, blocks: Blocks, context: ProductContext, out: Output) -> Array:
        """Result of the function for one index of each kdim (a block function: for all), of the right shape."""
        rows, columns, *k = where
        shape: tuple[int, ...] = len(rows), len(columns)
        indices = [r.start for r in k]
        args: list[Any]
        if self.style == "channels":
            args = [Channels(source, rows, columns, blocks), *indices]
        elif self.style == "slices":
            y, x = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
            args = [SlicedLevel(source, blocks), x, y, *indices]
        else:
            ranges = {a: range(n) for a, n in zip(source.axes, source.shape, strict=True)} | {"y": rows, "x": columns}
            block = blocks.get("whole", tuple(ranges.values()))
            args = [np.moveaxis(block, (source.axes.index("y"), source.axes.index("x")), (0, 1))]
            shape = (*shape, *out.sizes.values())
        options = self._context(source, rows, columns) if self.asks else {}
        return self._checked(self._called(args, options, blocks, context), shape, context)

    def _called(self, args: list[Any], options: dict[str, Any], blocks: Blocks, context: ProductContext) -> Any:
        if not self.serial:
            return self._guarded(args, options, blocks, context)
        # Whoever holds the lock must not wait for pixels that another thread may be computing with the same function.
        # So it is stopped where it asks for a block that isn't here, and called again when it is.
        blocks.hold = True
        while True:
            with _turn_of(self.func):
                got = self._guarded(args, options, blocks, context)
            if blocks.wanted is None:
                return got
            blocks.fetch()

    def _guarded(self, args: list[Any], options: dict[str, Any], blocks: Blocks, context: ProductContext) -> Any:
        got: Any = None
        try:
            got = self.func(*args, **options)
            got = np.asarray(got) if isinstance(got, Channels) else got
        except (MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if blocks.failed is None and blocks.wanted is None:
                raise context.error(f"it raised {type(error).__name__}: {error}") from error
        if blocks.failed is not None:
            raise blocks.failed
        return got

    def _checked(self, got: Any, shape: tuple[int, ...], context: ProductContext) -> Array:
        if self.nodata == "masked" and isinstance(got, np.ma.MaskedArray):
            fill = empty_of(got.dtype) if self.fill_value is None else self.fill_value
            got = np.ma.filled(got, fill)
        if not isinstance(got, np.ndarray) or isinstance(got, np.ma.MaskedArray):
            problem = f"{type(got).__module__}.{type(got).__qualname__}"
        elif got.shape != shape:
            problem = f"shape {got.shape}"
        elif self.dtype is not None and not np.can_cast(got.dtype, self.dtype, "safe"):
            problem = f"{got.dtype} (cast it in the function with .astype, or declare dtype=)"
        else:
            return got
        expected = f"an ndarray of shape {shape}" + (f" and dtype {self.dtype}" if self.dtype else "")
        raise context.error(f"it returned {problem}, expected {expected}")


def _without_nodata(source: Input, block: Array, *, masked: bool) -> Array:
    """Pixels whose missing ones are masked, or NaN (integers become floats that hold them)."""
    if masked:
        return np.ma.MaskedArray(block, source.invalid(block))
    if block.dtype.kind in "biu":
        block = block.astype(np.result_type(block.dtype, np.float32 if block.dtype.itemsize <= 2 else np.float64))
    if not source.has_nodata or block.dtype.kind not in "fc":
        return block
    missing = block == source.nodata
    return np.where(missing, empty_of(block.dtype), block) if missing.any() else block


def supported(label: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that pixels may have, little-endian; PlanError for others."""
    try:
        kind = native(dtype)
    except TypeError as error:
        raise PlanError(f"product {label!r}: {dtype!r} is not a dtype: {error}") from None
    if kind.kind not in "biufcmM" or (kind.kind in "fc" and kind.itemsize > 8 * (1 + (kind.kind == "c"))):
        raise PlanError(f"product {label!r}: pixels of {kind} can't be stored; give numbers of at most 64 bits a part")
    return kind


def _owned(got: list[Array], part: Any, where: Ranges, dtype: np.dtype[Any]) -> Array:
    """Part of the array in a list of one, in memory that nobody else can reach."""
    shape = tuple([len(r) for r in where])
    array = got[0]
    fits = array.size == math.prod(shape) and array.dtype == dtype and type(array) is np.ndarray
    if fits and array.flags.owndata and array.flags.c_contiguous and array.flags.writeable:
        del array
        # Copying takes as long as many a function does. But the function may have kept what it returned.
        if sys.getrefcount(got[0]) == _ALONE and not weakref.getweakrefcount(got[0]):
            got[0].resize(shape, refcheck=False)  # as many pixels: only the shape is set
            return got[0]
    return np.array(got[0][part].reshape(shape), dtype=dtype, order="C")


def _ones(ranges: Ranges, dtype: np.dtype[Any]) -> Array:
    return np.ones([len(r) for r in ranges], dtype)


# Locks of functions that must not run twice at once: of the function, not of the product, because one function may be
# in many pyramids.
_turns: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()
_finding: threading.Lock


def _turn_of(func: Callable[..., Any]) -> threading.Lock:
    with _finding:
        return _turns.setdefault(func, threading.Lock())


def _make_turns() -> None:
    global _finding
    _finding = threading.Lock()
    _turns.clear()


remake_after_fork(_make_turns)


@dataclass(frozen=True)
class _Reference:
    """A function by the name under which it can be imported."""

    module: str
    qualname: str

    @classmethod
    def to(cls, product: Function[..., Any]) -> Any:
        func = product.func
        if getattr(func, "__module__", None) == "__main__":
            # `__main__` is another module in each process: what is found there by name is not this function
            with contextlib.suppress(ImportError):
                return _ByValue(importlib.import_module("cloudpickle").dumps(func))
        if inspect.isfunction(func):
            reference = cls(func.__module__, func.__qualname__)
            if reference.found() is func:
                return reference
        try:
            pickle.dumps(func)
        except Exception as error:
            raise PlanError(
                f"product {product.name!r}: {func!r} can't be pickled ({error}); define it at the top of a module that "
                "can be imported, or pickle with cloudpickle"
            ) from error
        return func

    def found(self) -> Any:
        """The function; None where there is none of that name."""
        found: Any = sys.modules.get(self.module)
        if found is None:
            found = importlib.import_module(self.module)
        for part in self.qualname.split("."):
            found = getattr(found, part, None)
        # a decorated function goes by the name of its product
        return found.func if isinstance(found, Function) else found


@dataclass(frozen=True)
class _ByValue:
    """A function of a notebook or script, by its code."""

    pickled: bytes


def _rebuilt(values: dict[str, Any], token: str) -> Function[..., Any]:
    func = values["func"]
    if isinstance(func, _ByValue):
        values = {**values, "func": pickle.loads(func.pickled)}  # noqa: S301 - within a pickle
    if isinstance(func, _Reference):
        values = {**values, "func": func.found()}
        if values["func"] is None:
            raise PlanError(f"product {values['label']!r}: there is no {func.qualname} in {func.module} any more")
    made: Function[..., Any] = Function(**values)
    made.__dict__["_carried_token"] = token
    return made


def _in_cloudpickle() -> bool:
    """True while cloudpickle (or a copy of it, as joblib has) pickles: it takes any function, plain pickle doesn't."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - pickle tells nobody who is pickling
    while frame is not None:
        if "cloudpickle" in frame.f_globals.get("__name__", ""):
            return True
        frame = frame.f_back
    return False
