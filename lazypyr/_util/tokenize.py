"""A stable description of products and of the functions in them, for fingerprints."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import pickle
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["token"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def token(value: Any) -> str:
    """Hash of a value: the same in every process of one Python version, another when what it computes may differ.

    Functions count by name, code, constants, defaults, closure and the globals they use. What can't be described
    (unpicklable objects) gets a new token each time: it is never taken for something else.
    """
    digest = hashlib.sha256()
    for part in _parts(value, ()):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _parts(value: Any, seen: tuple[int, ...]) -> Iterator[str]:
    if isinstance(value, _PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif id(value) in seen:
        yield f"back {len(seen) - seen.index(id(value))}"
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}"
        yield from _inside(value, (*seen, id(value)))


def _inside(value: Any, seen: tuple[int, ...]) -> Iterator[str]:
    if isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype.str} {value.shape}"
        yield (
            hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            if not value.dtype.hasobject
            else repr(value.tolist())
        )
    elif isinstance(value, np.dtype):
        yield repr(value.descr)  # the repr of a dtype depends on how it was made
    elif isinstance(value, range | slice | enum.Enum):
        yield repr(value)
    elif isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | np.ufunc):
        yield f"{getattr(value, '__module__', '')} {getattr(value, '__qualname__', value.__name__)}"
        yield str(getattr(value, "__version__", ""))
    elif isinstance(value, Mapping):
        yield from sorted(" ".join([*_parts(k, seen), *_parts(v, seen)]) for k, v in value.items())
    elif isinstance(value, frozenset | set):
        yield from sorted(" ".join(_parts(item, seen)) for item in value)
    elif isinstance(value, tuple | list):
        yield str(len(value))
        for item in value:
            yield from _parts(item, seen)
    elif isinstance(value, types.FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, types.CodeType):
        yield from _code(value, seen)
    elif isinstance(value, types.MethodType):
        yield from _parts((value.__func__, value.__self__), seen)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), seen)
    elif isinstance(getattr(value, "py_func", None), types.FunctionType):  # of numba, whose pickles have a random part
        yield from _parts((value.py_func, getattr(value, "targetoptions", None)), seen)
    elif hasattr(value, "described"):
        yield from _parts(value.described(), seen)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _parts([(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)], seen)
    else:
        yield _pickled(value)


def _function(value: types.FunctionType, seen: tuple[int, ...]) -> Iterator[str]:
    yield f"{value.__module__}.{value.__qualname__}"
    yield from _parts(value.__code__, seen)
    yield from _parts((value.__defaults__, value.__kwdefaults__), seen)
    for cell in value.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet: a function that is being defined
            yield from _parts(cell.cell_contents, seen)
    for name in sorted(_names(value.__code__)):
        if name in value.__globals__:
            yield name
            yield from _parts(value.__globals__[name], seen)


def _code(value: types.CodeType, seen: tuple[int, ...]) -> Iterator[str]:
    yield value.co_code.hex()
    yield " ".join((*value.co_names, "/", *value.co_varnames, "/", *value.co_freevars))
    yield from _parts(value.co_consts, seen)


def _names(code: types.CodeType) -> set[str]:
    """Names that a function, or one defined in it, may look up among its globals."""
    inner = (_names(c) for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*inner)


def _pickled(value: Any) -> str:
    try:
        return hashlib.sha256(pickle.dumps(value, protocol=5)).hexdigest()
    except Exception:
        return uuid.uuid4().hex
