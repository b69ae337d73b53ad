"""Tokens of values: hashes that name a recipe, the same in every process, under any Python and numpy, after any move.

lazypyr's own objects count by the name they declare, user functions by their source text and the values they use, and
everything of an installed package by its public name.
"""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import hashlib
import site
import sys
import sysconfig
import types
import uuid
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any

import numpy as np

from lazypyr._util.source_text import codes_in, source_of

__all__ = ["HoldsFunction", "Versioned", "tokenize"]

_PLAIN = (bool, int, float, complex, type(None), type(Ellipsis))
_OURS = __name__.partition(".")[0]


def tokenize(value: Any) -> str:
    """Hash of a value, the same in every process; another where what the value computes may differ.

    A function counts by its source text (decorators, indentation, comment lines and docstring apart), its defaults, its
    closure and the globals that it uses, the functions among them likewise. Functions and classes of installed packages,
    and modules, count by name: neither Python's nor numpy's version enters. An object with a method
    ``__lazypyr_token__`` counts by what that returns; any other by its class and its state.

    What can't be described (a function without source text, an object that can't be pickled) gets a token of its own in
    each process: it is never taken for something else. `Versioned` tells what stands for it.
    """
    walk = _Walk()
    walk.add(value)
    return walk.hexdigest()


@dataclasses.dataclass(frozen=True)
class Versioned:
    """A function with the version that its author declares: the version stands for its source text.

    It stands for the text of the functions that it calls too, and for objects that can't be described. Defaults, closure
    and globals count by their values all the same. Without a version it is the function.
    """

    function: Callable[..., Any]
    version: str | None = None


class HoldsFunction(ABC):
    """Base of immutable objects that hold a user's function.

    Their pickles carry the token along: of a function that was pickled by value (by cloudpickle) the text can't be found
    any more. Where it can, it counts.
    """

    @abstractmethod
    def token_parts(self) -> Any:
        """Values that the token is made of."""

    def __lazypyr_token__(self) -> str:
        walk = _Walk()
        walk.add(self.token_parts())
        carried: str | None = self.__dict__.get("_carried_token")
        return carried if walk.unknown and carried else walk.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_carried_token": self.__lazypyr_token__()}


class _Walk:
    """One pass over a value and all that it refers to."""

    def __init__(self) -> None:
        self.versioned = self.unknown = False
        self._digest = hashlib.sha256()
        self._met: dict[int, tuple[int, Any]] = {}  # functions and classes, by id, in the order in which they are met
        self._open: list[int] = []

    def hexdigest(self) -> str:
        return self._digest.hexdigest()[:32]

    def write(self, *parts: str | bytes) -> None:
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self._digest.update(b"%d:" % len(data))
            self._digest.update(data)

    def add(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.write(kind.__name__, repr(value))
        elif kind in (str, bytes):
            self.write(kind.__name__, value)
        elif id(value) in self._met:
            self.write("again", str(self._met[id(value)][0]))
        elif id(value) in self._open:
            self.write("inside", str(len(self._open) - self._open.index(id(value))))
        else:
            if isinstance(value, type | types.FunctionType):
                self._met[id(value)] = len(self._met), value
            self._open.append(id(value))
            declared = getattr(kind, "__lazypyr_token__", None)
            if declared is None:
                _add(value, self)
            else:
                self.add(declared(value))
            self._open.pop()

    def add_all(self, values: Iterable[Any]) -> None:
        listed = list(values)
        self.write(str(len(listed)))
        for value in listed:
            self.add(value)

    def apart(self, value: Any) -> str:
        """Token of a part on its own, for a place among parts that come in no order."""
        walk = _Walk()
        walk.versioned, walk._met, walk._open = self.versioned, dict(self._met), list(self._open)
        walk.add(value)
        self.unknown |= walk.unknown
        return walk.hexdigest()

    def add_unknown(self, value: Any) -> None:
        """Something that can't be described: itself in this process, and nothing that another process has."""
        self.write("unknown", type(value).__name__)
        if not self.versioned:
            self.unknown = True
            number = uuid.uuid4().hex
            self.write(_numbers.setdefault(value, number) if isinstance(value, types.FunctionType) else number)


_numbers: weakref.WeakKeyDictionary[types.FunctionType, str] = weakref.WeakKeyDictionary()


# Values


@functools.singledispatch
def _add(value: Any, walk: _Walk) -> None:
    """An object of any other class: the class and the state, as pickle would take them."""
    original = getattr(value, "py_func", None)
    if isinstance(original, types.FunctionType):  # compiled by numba: its pickles have a random part
        options = getattr(value, "targetoptions", {})
        walk.write("compiled")
        walk.add((original, {name: option for name, option in options.items() if option}))
        return
    if dataclasses.is_dataclass(value):
        walk.write("fields")
        walk.add_all((type(value), *(getattr(value, field.name) for field in dataclasses.fields(value))))
        return
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except Exception:
        walk.add_unknown(value)
        return
    if isinstance(reduced, str):
        walk.write("name", _public(getattr(value, "__module__", None)), reduced)
        return
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    walk.write("object")
    walk.add_all((make, arguments, state, *([None] if items is None else items)))
    walk.add_all(() if pairs is None else pairs)


@_add.register(np.ndarray)
@_add.register(np.generic)
def _add_array(value: Any, walk: _Walk) -> None:
    walk.write("array", repr(value.dtype.descr), repr(tuple(map(int, value.shape))))
    if value.dtype.hasobject:
        walk.add(value.tolist())
    else:
        walk.write(np.ascontiguousarray(value).tobytes())


@_add.register(np.dtype)
def _add_dtype(value: np.dtype[Any], walk: _Walk) -> None:
    walk.write("dtype", repr(value.descr))  # the repr of a dtype depends on how it was made


@_add.register(np.ufunc)
@_add.register(types.ModuleType)
def _add_named(value: Any, walk: _Walk) -> None:
    walk.write(type(value).__name__, value.__name__)


@_add.register(range)
@_add.register(slice)
def _add_range(value: Any, walk: _Walk) -> None:
    walk.write(type(value).__name__)
    walk.add((value.start, value.stop, value.step))


@_add.register(PurePath)
def _add_path(value: PurePath, walk: _Walk) -> None:
    walk.write("path", str(value))


@_add.register(enum.Enum)
def _add_member(value: enum.Enum, walk: _Walk) -> None:
    walk.write("member", type(value).__qualname__, value.name)
    walk.add(value.value)


@_add.register(tuple)
@_add.register(list)
def _add_sequence(value: Any, walk: _Walk) -> None:
    walk.write("sequence", type(value).__name__)
    walk.add_all(value)


@_add.register(set)
@_add.register(frozenset)
def _add_set(value: Any, walk: _Walk) -> None:
    walk.write(type(value).__name__, *sorted(walk.apart(item) for item in value))


@_add.register(dict)
@_add.register(types.MappingProxyType)
def _add_mapping(value: Any, walk: _Walk) -> None:
    walk.write("mapping", type(value).__name__, str(len(value)))
    for key in sorted(value, key=walk.apart):
        walk.add(key)
        walk.add(value[key])


@_add.register(functools.partial)
def _add_partial(value: functools.partial[Any], walk: _Walk) -> None:
    walk.write("partial")
    walk.add_all((value.func, value.args, value.keywords))


@_add.register(type(functools.lru_cache(len)))
def _add_cached(value: Any, walk: _Walk) -> None:
    walk.add(value.__wrapped__)


@_add.register(types.MethodType)
def _add_method(value: types.MethodType, walk: _Walk) -> None:
    walk.write("method")
    walk.add_all((value.__func__, value.__self__))


@_add.register(types.BuiltinFunctionType)
def _add_builtin(value: types.BuiltinFunctionType, walk: _Walk) -> None:
    owner = value.__self__
    walk.write("name", _public(value.__module__), value.__qualname__)
    if owner is not None and not isinstance(owner, types.ModuleType):
        walk.add(owner)


@_add.register(Versioned)
def _add_versioned(value: Versioned, walk: _Walk) -> None:
    if value.version is None:
        walk.add(value.function)
        return
    before, walk.versioned = walk.versioned, True
    walk.write("version", value.version)
    walk.add(value.function)
    walk.versioned = before


@_add.register(type)
def _add_class(value: type, walk: _Walk) -> None:
    if _is_installed(value.__module__):
        walk.write("name", _public(value.__module__), value.__qualname__)
        return
    walk.write("class", value.__qualname__)
    walk.add(value.__bases__)
    if issubclass(value, enum.Enum):
        walk.add_all((member.name, member.value) for member in value)
        return
    # The methods of dataclasses and named tuples are generated: they follow from the fields.
    generated = dataclasses.is_dataclass(value) or hasattr(value, "_fields")
    for name, attribute in sorted(vars(value).items()):
        functions = [f for f in _functions_of(attribute) if not (generated and _is_generated(f))]
        if functions:
            walk.write("method", name, type(attribute).__name__)
            walk.add_all(functions)
        elif not name.startswith("__") and name != "_abc_impl" and not isinstance(attribute, types.FunctionType):
            walk.write("attribute", name)
            walk.add(attribute)


def _is_generated(function: types.FunctionType) -> bool:
    return function.__module__ == "dataclasses" or source_of(function) is None


def _functions_of(attribute: Any) -> list[types.FunctionType]:
    """The functions behind an attribute of a class: of a method, a property, ..."""
    wrappers = (staticmethod, classmethod, property, functools.cached_property)
    names = ("__func__", "fget", "fset", "fdel", "func") if isinstance(attribute, wrappers) else ()
    behind = (attribute, *(getattr(attribute, name, None) for name in names))
    return [f for f in behind if isinstance(f, types.FunctionType)]


@_add.register(types.FunctionType)
def _add_function(value: types.FunctionType, walk: _Walk) -> None:
    code, closure = value.__code__, value.__closure__ or ()
    if _is_installed(value.__globals__.get("__name__")):
        walk.write("name", _public(value.__module__), value.__qualname__)
        if "<locals>" not in value.__qualname__:
            return
        names: dict[str, Any] = {}
    else:
        source = source_of(value)
        if walk.versioned:
            walk.write("function", value.__name__)
        elif source is None:
            walk.add_unknown(value)
        else:
            walk.write("function", source.text)
        walk.add_all((value.__defaults__, value.__kwdefaults__))
        names = _globals_of(value, None if source is None else source.names)
    for name, cell in sorted(zip(code.co_freevars, closure, strict=True)):
        walk.write("closure", name)
        try:
            walk.add(cell.cell_contents)
        except ValueError:  # not filled yet: a function that is being defined
            walk.write("empty")
    for name, used in sorted(names.items()):
        walk.write("global", name)
        walk.add(used)


def _globals_of(function: types.FunctionType, dotted: frozenset[tuple[str, ...]] | None) -> dict[str, Any]:
    """Values of the globals that a function uses, by name; of a user's module the attributes that it uses."""
    namespace = function.__globals__
    names = _global_names(function.__code__)
    if dotted is None:
        dotted = frozenset((name,) for name in names)
    values = {}
    for name, *attributes in sorted(dotted):
        if name in names and name in namespace:
            value, path = namespace[name], name
            for attribute in attributes:
                inside = isinstance(value, types.ModuleType) and not _is_installed(value.__name__)
                if not inside or not hasattr(value, attribute):
                    break
                value, path = getattr(value, attribute), f"{path}.{attribute}"
            values[path] = value
    return values


def _global_names(code: types.CodeType) -> set[str]:
    """Names that a function, or one defined in it, may look up among its globals."""
    return set(code.co_names).union(*map(_global_names, codes_in(code.co_consts)))


# Names


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(name) for name in names} | {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(f"{PurePath(folder)}/" for folder in folders)


def _is_installed(module: Any) -> bool:
    """True for modules of lazypyr, Python and installed packages; False for a user's own."""
    if not isinstance(module, str) or module == "__main__":
        return False
    if module.partition(".")[0] == _OURS or module.partition(".")[0] in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and PurePath(file).as_posix().startswith(_installed_folders())


def _public(module: Any) -> str:
    """A module's name without its private parts, which packages move about; lazypyr's is just that."""
    parts = str(module or "").split(".")
    return _OURS if parts[0] == _OURS else ".".join(part for part in parts if not part.startswith("_"))
