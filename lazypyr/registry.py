"""Tables of what has a name: ours, what is registered in this process, and what installed packages bring.

A package brings a reducer, product, source or colour map by an entry point of the group of that table, e.g. in its
``pyproject.toml``::

    [project.entry-points."lazypyr.reducers"]
    p90 = "my_package.reducers:p90"
"""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from lazypyr.errors import PlanError

__all__ = ["Registry", "check_options", "nearest"]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Objects by name. Entry points are listed when a name isn't found or all are asked for, and loaded when used.

    Parameters
    ----------
    group : str
        Group of entry points, e.g. "lazypyr.reducers".
    noun : str
        Name of one of its objects in messages.
    built_in : Mapping
        Objects that are always there; their names can't be taken.
    convert : callable
        ``convert(name, value)``: the object of what was registered; PlanError where it can't be one.
    """

    def __init__(self, group: str, noun: str, built_in: Mapping[str, T], convert: Callable[[str, Any], T]) -> None:
        self.group, self.noun, self._convert = group, noun, convert
        self._built_in = frozenset(built_in)
        self._objects: dict[str, T] = dict(built_in)

    def register(self, name: str, value: Any) -> None:
        """Give `value` a name in this process; what was registered under it before is replaced."""
        if not isinstance(name, str) or not name:
            raise PlanError(f"{self.noun}: expected a name, got {name!r}")
        if name in self._built_in:
            raise PlanError(f"{name!r} is the name of a built-in {self.noun}; take another one")
        self._objects[name] = self._convert(name, value)

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            self._objects[name] = self._load(self._entry_points[name])
        return self._objects[name]

    def __contains__(self, name: object) -> bool:
        return name in self._objects or name in self._entry_points

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._objects, *self._entry_points]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def added(self) -> Iterator[T]:
        """All but the built-in ones. A broken package is warned of, and passed over."""
        for name in [name for name in self if name not in self._built_in]:
            try:
                yield self[name]
            except PlanError as error:
                warnings.warn(str(error), RuntimeWarning, stacklevel=3)

    @functools.cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {e.name: e for e in importlib.metadata.entry_points(group=self.group) if e.name not in self._built_in}

    def _load(self, entry: importlib.metadata.EntryPoint) -> T:
        try:
            return self._convert(entry.name, entry.load())
        except Exception as error:
            package = entry.dist.name if entry.dist else entry.value
            raise PlanError(
                f"the {self.noun} {entry.name!r} of the package {package} can't be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error


def nearest(name: str, names: Mapping[str, Any] | list[str]) -> str:
    """Hint with the names that are most alike, "; did you mean 'mean'?"; empty without any."""
    lower: dict[str, str] = {}
    for known in names:
        lower.setdefault(known.lower(), known)
    near = [lower[match] for match in difflib.get_close_matches(name[:50].lower(), lower, 2)]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def check_options(call: str, options: Iterable[str], *takers: Callable[..., Any]) -> None:
    """Refuse options that `call` would hand on to none of `takers`.

    Raises
    ------
    TypeError
        With the call that the user made, the names that are most alike, and all that it takes.

    Examples
    --------
    >>> def plot(pixels, *, title=None, levels=None): ...
    >>> check_options("plot", ["titel"], plot)
    Traceback (most recent call last):
    TypeError: plot() takes no option 'titel'; did you mean 'title'? Its options are levels, title
    """
    taken = {
        name: parameter
        for taker in takers
        for name, parameter in inspect.signature(taker).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.default is not parameter.empty
    }
    for name in options:
        if name not in taken:
            hint = nearest(name, taken)
            raise TypeError(
                f"{call}() takes no option {name!r}{hint}{'' if hint else '.'} Its options are {', '.join(sorted(taken))}"
            )
