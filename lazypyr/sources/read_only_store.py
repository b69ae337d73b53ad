"""Base class of our read-only zarr stores, and parts of values as zarr asks for them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

try:
    from zarr.abc.store import Store
except ImportError:  # under zarr 2 the class is a plain mapping, which is what zarr 2 reads

    class Store:  # type: ignore[no-redef]
        """Stands in for zarr 3's store."""

        def __init__(self, *, read_only: bool = True) -> None:
            self._read_only = read_only


if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["ReadOnlyStore", "to_slice"]


class ReadOnlyStore(Store):
    """Zarr store that refuses to be written to; a subclass has `_get`, `exists` and the listings."""

    supports_writes = supports_deletes = False
    supports_listing = True

    @abstractmethod
    async def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """A value, or a part of it; None where there is none."""

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several values, in the order asked for."""
        return list(await asyncio.gather(*(self._get(key, prototype, part) for key, part in key_ranges)))

    async def set(self, key: str, value: Buffer) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refused: the store is read-only."""
        self._check_writable()

    def _check_writable(self) -> None:
        raise ValueError("store was opened in read-only mode and does not support writing")


def to_slice(request: Any, size: int) -> slice:
    """Slice of a value of `size` bytes; a range beyond its end is clipped, as is a suffix longer than the value.

    Parameters
    ----------
    request : zarr.abc.store.ByteRequest or None
        None asks for the whole value.
    size : int
        Bytes of the value.

    Returns
    -------
    slice
        Within ``range(size)``.

    Raises
    ------
    ValueError
        For anything that is no byte request of zarr.
    """
    match request:
        case None:
            return slice(0, size)
        case object(suffix=suffix):
            return slice(max(0, size - suffix), size)
        case object(offset=offset):
            return slice(min(offset, size), size)
        case object(start=start, end=end):
            return slice(min(start, size), min(end, size))
    raise ValueError(f"Unexpected byte_range, got {request!r}.")
