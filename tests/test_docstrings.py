"""Docstrings: every public name says what it is, in numpydoc's form, with an example that runs."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from numpydoc.validate import validate

import lazypyr

PACKAGE = Path(lazypyr.__file__).parent
# numpydoc's checks that are not this project's: layout of the first line (ruff keeps it), extended summaries, the infinitive,
# a See Also in every docstring.
LEFT_OUT = {"GL01", "GL02", "GL03", "ES01", "SA01", "SS05", "SS06", "YD01"}
# A docstring names a thing; these begin a relative clause instead.
NO_NOUN = {"what", "who", "whether", "where", "how", "as", "of"}


# Modules with names that users call, and those names where they are not all of `__all__`.
PUBLIC = {
    "lazypyr": None,
    "lazypyr.errors": None,
    "lazypyr.geometry.axes": ["axes_label"],
    "lazypyr.geometry.grid": ["Coord", "Grid"],
    "lazypyr.geometry.windows": None,
    "lazypyr.metadata": None,
    "lazypyr.plot": None,
    "lazypyr.product": None,
    "lazypyr.pyramids.explanation": None,
    "lazypyr.reducers": None,
    "lazypyr.server.run": ["Handle"],
    "lazypyr.sources.base": ["Source"],
    "lazypyr.sources.open": ["OpenedSource", "open_source"],
    "lazypyr.testing": None,
    "lazypyr.viewers": None,
    "lazypyr.writing": None,
}


def public_names():
    """Dotted names of the functions and classes of the public modules, each once."""
    seen = set()
    for module, names in PUBLIC.items():
        for name in names or importlib.import_module(module).__all__:
            value = resolved(f"{module}.{name}")
            if (inspect.isclass(value) or inspect.isfunction(value)) and value not in seen:
                seen.add(value)
                yield f"{module}.{name}"


def resolved(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


NAMES = sorted(public_names())


@pytest.mark.parametrize("dotted", NAMES)
def test_numpydoc(dotted):
    found = validate(f"{(value := resolved(dotted)).__module__}.{value.__qualname__}")
    assert [(code, text) for code, text in found["errors"] if code not in LEFT_OUT] == []


@pytest.mark.parametrize("dotted", NAMES)
def test_examples_run(dotted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = resolved(dotted)
    tests = [test for test in doctest.DocTestFinder(recurse=False).find(value, dotted) if test.examples]
    assert tests, f"{dotted} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


def docstrings():
    """Place and first word of every docstring of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    line = getattr(node, "lineno", 1)
                    yield f"{path.relative_to(PACKAGE.parent)}:{line}", text.split(maxsplit=1)[0].strip("`,.:;").lower()


def test_docstrings_begin_with_a_noun_or_a_verb():
    assert [place for place, word in docstrings() if word in NO_NOUN] == []


def exists(dotted):
    with contextlib.suppress(ImportError, AttributeError):
        return pkgutil.resolve_name(dotted) is not None
    return False


def test_names_in_docstrings_exist():
    named = {
        (str(path.relative_to(PACKAGE)), dotted)
        for path in PACKAGE.rglob("*.py")
        for dotted in re.findall(r"`(lazypyr(?:\.\w+)+)`", path.read_text(encoding="utf-8"))
    }
    assert [(path, dotted) for path, dotted in sorted(named) if not exists(dotted)] == []


def test_functions_stay_short():
    long = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno - body[0].lineno + 1) + (node.body[0].lineno - node.lineno) if body else 0
                if lines > 60:
                    long.append(f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}: {lines} lines")
    assert long == []
