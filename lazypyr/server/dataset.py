"""One source on show: its faces, and how a change of the source becomes a change of all of them at once."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from lazypyr._version import __version__
from lazypyr.engine.pools import Pool
from lazypyr.errors import BusyError
from lazypyr.store import LazyPyramidStore
from lazypyr.store.derived import face_of, renewed, shown

__all__ = ["Exhibit", "Snapshot"]

T = TypeVar("T")
# A source that changes faster than one tile of it can be read is given up on.
_TRIES = 5
# How many lengths of compressed chunks are remembered, for HEAD.
_LENGTHS = 100_000


@dataclass(frozen=True)
class Snapshot:
    """A source as it was at one time. `faces` are stores by zarr format, on one engine."""

    faces: Mapping[int, LazyPyramidStore]

    @classmethod
    def of(cls, store: LazyPyramidStore) -> Snapshot:
        """The store itself, and its twin in the other format."""
        face = face_of(store)
        twin = shown(store, zarr_format=5 - face.zarr_format, legacy=False)
        return cls({face.zarr_format: store, 5 - face.zarr_format: twin})

    @cached_property
    def fingerprint(self) -> str:
        """Of sources, recipes, faces and the version of lazypyr, as ETags and URLs carry it."""
        store = self.faces[3]
        faces = [repr(face_of(self.faces[version])) for version in (2, 3)]
        seed = "\n".join([__version__, store.fingerprint, *store.pyramids, *faces])
        return hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()

    @cached_property
    def lengths(self) -> dict[tuple[int, str], int]:
        """Bytes of the chunks that were served, by format and key."""
        return {}

    def remember(self, zarr_format: int, key: str, n_bytes: int) -> None:
        """Note how long a chunk was."""
        if len(self.lengths) < _LENGTHS:
            self.lengths[zarr_format, key] = n_bytes

    def etag(self, *parts: object) -> str:
        """Strong validator of what `parts` name in this snapshot."""
        text = "\0".join([self.fingerprint, *map(str, parts)])
        return f'"{hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()}"'


class Exhibit:
    """A named source, as it is now.

    Parameters
    ----------
    name : str
    store : LazyPyramidStore
    revalidate : float, optional
        Look every so many seconds, when somebody asks for something, whether the source has changed. Without it the
        source is taken to be immutable.
    """

    def __init__(self, name: str, store: LazyPyramidStore, revalidate: float | None = None) -> None:
        self.name, self.revalidate = name, revalidate
        self.snapshot = Snapshot.of(store)
        self.first_format = face_of(store).zarr_format
        self._checked = time.monotonic()
        # Computations begun, and how many of them a look at the source has confirmed.
        self._begun = self._confirmed = 0
        self._pool = Pool(1, "watch")
        self._check: asyncio.Task[None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        store = self.snapshot.faces[self.first_format]
        return {"name": self.name, "store": store, "revalidate": self.revalidate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def store(self) -> LazyPyramidStore:
        """The store in the format it was given in."""
        return self.snapshot.faces[self.first_format]

    async def current(self) -> Snapshot:
        """The source as it is now, or was at most `revalidate` seconds ago."""
        if self.revalidate is not None and time.monotonic() - self._checked >= self.revalidate:
            await self._verify()
        return self.snapshot

    async def read(self, get: Callable[[Snapshot], Awaitable[T]]) -> tuple[Snapshot, T]:
        """What `get` makes of a snapshot, and the snapshot that it is of: never a mixture of two.

        A value that was computed while the source may have changed is handed out only after a look at the source
        that began when the value was there; if it has changed, the value is made anew.

        Raises
        ------
        BusyError
            When the source changes faster than it can be read.
        """
        snapshot = await self.current()
        if self.revalidate is None:
            return snapshot, await get(snapshot)
        for _ in range(_TRIES):
            # What this computes, or leaves behind half done, is in doubt until a look that begins later.
            cold = asyncio.get_running_loop().call_soon(self._doubt)
            try:
                value = await get(snapshot)
            finally:
                cold.cancel()
            if self._begun != self._confirmed:
                await self._verify()
            if self.snapshot is snapshot:
                return snapshot, value
            snapshot = self.snapshot
        msg = f"{self.name} changes faster than it can be read; try again"
        raise BusyError(msg)

    def _doubt(self) -> None:
        self._begun += 1

    async def _verify(self) -> None:
        """Wait for a look at the source that begins now or later."""
        running = self._check
        if running is not None:
            with suppress(Exception):
                await asyncio.shield(running)
        if self._check is running:
            self._check = asyncio.get_running_loop().create_task(self._look())
            self._check.add_done_callback(lambda look: look.cancelled() or look.exception())
        assert self._check is not None
        await asyncio.shield(self._check)

    async def _look(self) -> None:
        engine = self.store.engine
        begun = self._begun if engine.cache_info().in_flight == 0 else self._confirmed
        future: Future[LazyPyramidStore] = Future()
        future.set_running_or_notify_cancel()
        store = self.store

        def ask() -> None:
            try:
                future.set_result(renewed(store))
            except Exception as error:
                future.set_exception(error)

        self._pool.submit(ask)
        try:
            async with asyncio.timeout(engine.timeout_s):
                now = await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError as error:
            if future.done():
                raise
            msg = f"{self.name}: its source did not answer within {engine.timeout_s} s"
            raise BusyError(msg) from error
        self._checked, self._confirmed = time.monotonic(), begun
        if now is not store:
            engine.clear()
            self.snapshot = Snapshot.of(now)
