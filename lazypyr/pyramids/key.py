"""Keys of caches."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

__all__ = ["Key"]


class Key:
    """A value whose hash is computed once."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: Hashable) -> None:
        self.value, self._hash = value, hash(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._hash == other._hash and self.value == other.value

    def __reduce__(self) -> tuple[Any, ...]:
        return Key, (self.value,)  # strings hash otherwise in every process
