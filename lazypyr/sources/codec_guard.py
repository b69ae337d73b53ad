"""Guard of the registries of codecs: a name in metadata loads no package before the list of codecs was asked.

zarr and numcodecs import the package that registers a codec (an entry point) as soon as metadata name it, which they do
while they read the metadata, so before anybody has seen them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any

from lazypyr.sources.codecs import check_codec

__all__ = ["known_codecs_only"]

# Whose metadata are being read, and the codecs that the user allows it. zarr's event loop gets the context of its caller.
_reading: ContextVar[tuple[str, Collection[str]] | None] = ContextVar("lazypyr_reading", default=None)


class _GuardedEntryPoint:
    """Entry point of a codec that is loaded for those who may use it."""

    def __init__(self, entry: Any) -> None:
        self._entry = entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def load(self) -> Any:
        """The codec's class."""
        reading = _reading.get()
        if reading is not None:
            check_codec(self._entry.name, *reading)
        return self._entry.load()


def _guarded(entry: Any) -> Any:
    return entry if isinstance(entry, _GuardedEntryPoint) else _GuardedEntryPoint(entry)


def _guard() -> None:
    """Stand between the registries and their entry points, for everybody alike: only what is read here is refused."""
    import numcodecs.registry
    import zarr.registry

    for name, entry in list(numcodecs.registry.entries.items()):
        numcodecs.registry.entries[name] = _guarded(entry)
    # Those of codecs are many, in a dict that releases of zarr call by different names.
    for several in [value for value in vars(zarr.registry).values() if isinstance(value, dict)]:
        for registry in [each for each in several.values() if isinstance(each, zarr.registry.Registry)]:
            registry.lazy_load_list[:] = [_guarded(entry) for entry in registry.lazy_load_list]


@contextlib.contextmanager
def known_codecs_only(name: str, allowed: Collection[str] = ()) -> Iterator[None]:
    """Context in which metadata that zarr reads load no codec of another package, but for those that are allowed.

    Parameters
    ----------
    name : str
        Of what is read, for messages.
    allowed : collection of str
        Codecs that the user allows besides `lazypyr.sources.codecs.DECODING_CODECS`.

    Raises
    ------
    PlanError
        Within the block, with the name of the codec.
    """
    _guard()
    token = _reading.set((name, allowed))
    try:
        yield
    finally:
        _reading.reset(token)
