"""Source text of functions, found by the code that was compiled from it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import io
import itertools
import linecache
import types
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Source", "codes_in", "source_of"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Text of a function, and the dotted names in it."""

    text: str
    names: frozenset[tuple[str, ...]]


def source_of(function: types.FunctionType) -> Source | None:
    """The text that a function was compiled from; None where there is none, or it has been edited since."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    file = _parsed(text) if text else None
    if file is None:
        return None
    alike = [other for other in file.codes.get(code.co_name, ()) if _same(code, other)]
    # of several that are alike the one at the very place
    alike.sort(key=lambda other: (other.co_firstlineno != code.co_firstlineno, _span(other) != _span(code)))
    node = file.node_of(alike[0]) if alike else None
    return None if node is None else Source(_clean(file.lines, node), frozenset(_dotted(node)))


@dataclasses.dataclass(frozen=True)
class _File:
    """A file of source text: its functions as they are compiled here, and as syntax trees."""

    lines: list[str]
    codes: dict[str, list[types.CodeType]]
    nodes: dict[tuple[str, int], Any]
    lambdas: list[ast.Lambda]

    def node_of(self, code: types.CodeType) -> Any:
        if code.co_name != "<lambda>":
            return self.nodes.get((code.co_name, code.co_firstlineno))
        span = _span(code)
        if span is None:  # Python runs without columns (-X no_debug_ranges)
            candidates = [node for node in self.lambdas if node.lineno == code.co_firstlineno]
            return candidates[0] if len(candidates) == 1 else None
        around = [node for node in self.lambdas if _range(node.body)[0] <= span[0] and span[1] <= _range(node.body)[1]]
        return max(around, key=lambda node: _range(node.body)[0], default=None)


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> _File | None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # cells of a notebook have it
    try:
        tree = compile(text, "<source>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        module = compile(text, "<source>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    codes: dict[str, list[types.CodeType]] = {}
    for code in _all_codes(module):
        codes.setdefault(code.co_name, []).append(code)
    nodes = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            nodes[node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])] = node
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    return _File(text.splitlines(keepends=True), codes, nodes, lambdas)


def codes_in(constants: Iterable[Any]) -> list[types.CodeType]:
    """The code of functions among the constants of another."""
    return [constant for constant in constants if isinstance(constant, types.CodeType)]


def _all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for inner in codes_in(code.co_consts):
        yield inner
        yield from _all_codes(inner)


def _same(a: types.CodeType, b: types.CodeType) -> bool:
    """True if two pieces of code do the same, wherever they stand: text that was edited meanwhile is another's."""
    ours, theirs = ((c.co_code, c.co_names, c.co_varnames, c.co_freevars, len(c.co_consts)) for c in (a, b))
    return ours == theirs and all(map(_same_constant, a.co_consts, b.co_consts))


def _same_constant(a: Any, b: Any) -> bool:
    if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
        return _same(a, b)
    return type(a) is type(b) and (a == b if isinstance(a, frozenset) else repr(a) == repr(b))


Position = tuple[int, int]


def _span(code: types.CodeType) -> tuple[Position, Position] | None:
    """First and last position, line and column, of the text of what a function does."""
    places = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    if not places:
        return None
    return min((p[0] or 0, p[2] or 0) for p in places), max((p[1] or 0, p[3] or 0) for p in places)


def _range(node: Any) -> tuple[Position, Position]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _dotted(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Names in a function, with the attributes that are asked of them: ("np", "fft", "fft2")."""
    for part in ast.walk(node):
        attributes: list[str] = []
        if isinstance(part, ast.Name):
            yield (part.id,)
        while isinstance(part, ast.Attribute):
            attributes.insert(0, part.attr)
            part = part.value  # noqa: PLW2901 - down the chain
        if isinstance(part, ast.Name) and attributes:
            yield (part.id, *attributes)


def _clean(lines: list[str], node: Any) -> str:
    """The text of a function without decorators, indentation, docstring, empty lines and lines of comment."""
    (first, start), (last, stop) = _range(node)
    text = [line.encode() for line in lines[first - 1 : last]]
    text[-1] = text[-1][:stop]
    text[0] = text[0][start:]
    kept: set[int] = set()  # lines that begin within a string
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr | ast.Constant) and part.end_lineno != part.lineno:
            kept.update(range(part.lineno + 1, (part.end_lineno or part.lineno) + 1))
    dropped = range(0)
    body = node.body if isinstance(node.body, list) else []
    if len(body) > 1 and ast.get_docstring(node, clean=False) is not None and body[1].lineno > body[0].end_lineno:
        dropped = range(max(body[0].lineno, first + 1), body[0].end_lineno + 1)
    result = io.StringIO()
    for number, raw in zip(itertools.count(first), text, strict=False):
        line = raw.decode()
        if number in kept:
            plain = line
        elif isinstance(node, ast.Lambda):
            plain = line.strip()
        else:
            plain = (line if number == first else line[min(start, len(line) - len(line.lstrip())) :]).rstrip()
        if number not in dropped and (number in kept or (plain and not plain.lstrip().startswith("#"))):
            result.write(plain + "\n")
    return result.getvalue()
