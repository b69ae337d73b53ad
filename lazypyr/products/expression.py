"""Band maths: a product of a formula, which is parsed here and never evaluated as Python."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazypyr.errors import PlanError
from lazypyr.products.base import BuiltInProduct, Input, Output, Product, need_real
from lazypyr.products.context import Array, ProductContext, Ranges, Read
from lazypyr.registry import nearest

__all__ = ["expression"]

_MOST_NODES, _MOST_EXPONENT, _MOST_TEXT = 64, 8, 1000
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.UAdd: np.positive, ast.USub: np.negative,
}  # fmt: skip
# Number of arguments, and the function; a missing argument is missing in the result, as of operators.
_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "where": (3, np.where),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "log": (1, np.log),
}


class _Parser:
    """Checks a formula and turns it into nested tuples: ("number", 2.0), ("band", "b1"), (function, arguments ...)."""

    def __init__(self, text: str) -> None:
        self.text, self.names, self._nodes = text, dict[str, None](), 0

    def parse(self) -> Any:
        if not isinstance(self.text, str) or not self.text.strip() or len(self.text) > _MOST_TEXT:
            raise PlanError(f"expression: expected a formula of at most {_MOST_TEXT} characters, got {self.text!r:.60}")
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            at = getattr(error, "offset", None)
            problem = f"{getattr(error, 'msg', error)}" + (f" at character {at}" if at else "")
            raise PlanError(f"expression {self.text!r}: {problem}") from None
        return self._walk(tree.body)

    def _walk(self, node: ast.expr) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise self._error(node, f"more than {_MOST_NODES} numbers, bands and operations")
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return "number", self._number(node)
        if isinstance(node, ast.Name):
            self.names[node.id] = None
            return "band", node.id
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            if isinstance(node.op, ast.Pow):
                self._check_exponent(node.right)
            return _OPERATORS[type(node.op)], self._walk(node.left), self._walk(node.right)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)], self._walk(node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
            return _OPERATORS[type(node.ops[0])], self._walk(node.left), self._walk(node.comparators[0])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node, node.func.id)
        raise self._error(
            node,
            "expected bands, numbers, + - * / ** ( ), one comparison, or where, min, max, abs, sqrt, log",
        )

    def _call(self, node: ast.Call, name: str) -> Any:
        if name not in _FUNCTIONS:
            raise self._error(node, f"there is no function {name!r}{nearest(name, list(_FUNCTIONS))}")
        count, function = _FUNCTIONS[name]
        if len(node.args) != count:
            raise self._error(node, f"{name} takes {count} argument(s), got {len(node.args)}")
        return function, *(self._walk(argument) for argument in node.args)

    def _number(self, node: ast.Constant) -> float:
        try:
            return float(node.value)  # type: ignore[arg-type]
        except OverflowError:
            raise self._error(node, "a number beyond those of float64") from None

    def _check_exponent(self, node: ast.expr) -> None:
        sign = 1.0
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -1.0, node.operand
        number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
        if not number or abs(sign * self._number(node)) > _MOST_EXPONENT:  # type: ignore[arg-type]
            raise self._error(node, f"an exponent is a number of at most {_MOST_EXPONENT}")

    def _error(self, node: ast.expr, problem: str) -> PlanError:
        return PlanError(f"expression {self.text!r}, character {node.col_offset + 1}: {problem}")


@dataclass(frozen=True)
class Expression(BuiltInProduct):
    """A formula of the bands along the last channel axis."""

    text: str
    bands: tuple[tuple[str, int], ...] | None
    dtype: np.dtype[Any]
    units: str | None

    name = "expression"

    @property
    def description(self) -> str:
        return self.text

    @property
    def needs_all_channels(self) -> bool:
        return True

    def recipe_arguments(self) -> dict[str, Any]:
        bands = None if self.bands is None else dict(self.bands)
        return {"text": self.text, "bands": bands, "dtype": self.dtype.name, "units": self.units}

    def output_spec(self, *inputs: Input) -> Output:
        (source,) = inputs
        need_real(self.name, source)
        self._indices(source)
        axes = tuple(axis for axis in source.axes if axis not in source.channel_axes[-1:])
        return Output(axes, self.dtype, units=self.units)

    def compute(
        self, inputs: Sequence[Input], out: Output, where: Ranges, read: Read, context: ProductContext
    ) -> Array:
        (source,) = inputs
        ranges = dict(zip(out.axes, where, strict=True))
        values: dict[str, Array] = {}
        for name, index in self._indices(source).items():
            along = {axis: range(index, index + 1) for axis in source.channel_axes[-1:]}
            block = read(0, tuple((ranges | along)[axis] for axis in source.axes))
            shape = tuple(len(run) for run in where)
            values[name] = np.where(source.invalid(block), np.nan, block.astype("f8")).reshape(shape)
        result = np.broadcast_to(_evaluate(_Parser(self.text).parse(), values), tuple(len(run) for run in where))
        missing = np.logical_or.reduce([np.isnan(block) for block in values.values()])
        return np.where(missing, np.nan, result).astype(out.dtype)

    def _indices(self, source: Input) -> dict[str, int]:
        """Position along the last channel axis of each band in the formula."""
        parser = _Parser(self.text)
        parser.parse()
        count = source.channel_shape[-1] if source.channel_shape else 1
        known = dict(self.bands) if self.bands is not None else {f"b{n}": n for n in range(count)}
        for name in parser.names:
            if name not in known:
                raise PlanError(
                    f"expression {self.text!r}: there is no band {name!r} of {source.name}; there are "
                    f"{', '.join(list(known)[:20])}{nearest(name, list(known))}"
                )
            if not -count <= known[name] < count:
                raise PlanError(f"expression: band {name!r} is number {known[name]}; {source.name} has {count}")
        if not parser.names:
            raise PlanError(f"expression {self.text!r}: it has no band")
        return {name: known[name] % count for name in parser.names}


def _evaluate(tree: Any, values: Mapping[str, Array]) -> Any:
    head, *rest = tree
    if head == "number":
        return np.float64(rest[0])
    if head == "band":
        return values[rest[0]]
    return head(*(_evaluate(part, values) for part in rest))


def expression(
    text: str,
    bands: Mapping[str, int] | Sequence[str] | None = None,
    *,
    dtype: Any = "float32",
    units: str | None = None,
) -> Product:
    """Band maths by a formula, such as ``"(b1 - b0) / (b1 + b0)"``; NaN where a band it names has nothing.

    Parameters
    ----------
    text : str
        Names of bands, numbers, ``+ - * / **``, parentheses, one comparison at a time, and ``where(condition, a, b)``, ``min(a, b)``,
        ``max(a, b)``, ``abs``, ``sqrt``, ``log``: at most 64 in all, exponents of at most 8. It is computed in float64.
    bands : mapping of names to numbers, or names in order, optional
        Bands along the last channel axis; b0, b1, ... by default.
    dtype : "float32" or "float64"
        Dtype of the result.
    units : str, optional
        UDUNITS name of the result.

    Returns
    -------
    Product
        Its axes are those of the input without the last channel axis.

    Raises
    ------
    PlanError
        For a formula that can't be, with the place in it; when applied, for bands that there aren't.

    See Also
    --------
    define : Products of functions.

    Examples
    --------
    >>> import lazypyr
    >>> import numpy as np
    >>> bands = lazypyr.open_pyramid(np.array([[[1.0, 3.0]]]), axes="yxc")
    >>> bands.map("expression", text="(nir - red) / (nir + red)", bands=["red", "nir"]).read(0)
    array([[0.5]], dtype=float32)
    """
    if np.dtype(dtype) not in (np.dtype("f4"), np.dtype("f8")):
        raise PlanError(f"expression: expected float32 or float64 as dtype, got {dtype!r}")
    _Parser(text).parse()
    named = None
    if bands is not None:
        pairs = bands.items() if isinstance(bands, Mapping) else ((name, n) for n, name in enumerate(bands))
        named = tuple((str(name), int(number)) for name, number in pairs)
    return Expression(text, named, np.dtype(dtype), units)
