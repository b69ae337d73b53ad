"""A served source in both Zarr formats, replaced as a whole when the source has changed."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import cached_property
from typing import Any, TypeVar

from lazypyr._version import __version__
from lazypyr.engine.pools import DaemonThreadPool
from lazypyr.errors import BusyError
from lazypyr.store import LazyPyramidStore
from lazypyr.store.layout import tree_path

__all__ = ["XARRAY", "ServedDataset", "Snapshot", "named_dataset"]

T = TypeVar("T")
XARRAY = "xarray"
# Attempts to read a value of a source that keeps changing.
_MAX_READS = 5
# Lengths of compressed chunks to remember, for HEAD.
_MAX_LENGTHS = 100_000


@dataclass(frozen=True)
class Snapshot:
    """Immutable state of a source: `by_format` has a store for each Zarr format, on one engine.

    `modified` is the time of it in seconds, later than that of the snapshot before.
    """

    by_format: Mapping[int, LazyPyramidStore]
    modified: int

    @classmethod
    def of(cls, store: LazyPyramidStore, before: Snapshot | None = None) -> Snapshot:
        """A snapshot of a store and of the same pyramids in the other format, to follow another one."""
        store = copy.copy(store)
        layout = store.layout
        twin = store.with_layout(zarr_format=5 - layout.zarr_format, legacy=False)
        modified = int(time.time()) if before is None else max(int(time.time()), before.modified + 1)
        return cls({layout.zarr_format: store, 5 - layout.zarr_format: twin}, modified)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of sources, recipes, layouts and the version of lazypyr, for ETags and URLs."""
        store = self.by_format[3]
        layouts = [repr(self.by_format[version].layout) for version in (2, 3)]
        seed = "\n".join([__version__, store.fingerprint, *store.pyramids, *layouts, *filter(None, [store.version])])
        return hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()

    @cached_property
    def tree(self) -> LazyPyramidStore:
        """The same pyramids with each level in a group of its own, beside its coordinates: as xarray opens them."""
        store = self.by_format[3]
        path = tree_path(store.layout.level_path)
        return store if path == store.layout.level_path else store.with_layout(level_path=path)

    def store_at(self, address: str) -> LazyPyramidStore:
        """The store that is served below an address: "v2", "v3" or "xarray"."""
        return self.tree if address == XARRAY else self.by_format[int(address[1])]

    @cached_property
    def lengths(self) -> dict[tuple[str, str], int]:
        """Lengths of the chunks that were served, by address and key."""
        return {}

    def record_length(self, address: str, key: str, n_bytes: int) -> None:
        """Remember the length of a chunk, for HEAD."""
        if len(self.lengths) < _MAX_LENGTHS:
            self.lengths[address, key] = n_bytes

    def validators(self, *parts: object) -> dict[str, str]:
        """Headers by which clients tell the value that `parts` name from that of another snapshot."""
        return {"ETag": self.etag(*parts), "Last-Modified": formatdate(self.modified, usegmt=True)}

    def etag(self, *parts: object) -> str:
        """Strong validator of the value that `parts` name in this snapshot."""
        text = "\0".join([self.fingerprint, *map(str, parts)])
        return f'"{hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()}"'


class ServedDataset:
    """Named source with its current snapshot.

    Parameters
    ----------
    name : str
    store : LazyPyramidStore
    revalidate : float, optional
        Seconds between checks for a changed source; a check is made when a request comes. Without it the source is
        taken to be immutable.
    """

    def __init__(self, name: str, store: LazyPyramidStore, revalidate: float | None = None) -> None:
        self.name, self.revalidate = name, revalidate
        self._given, self._version = store, store.version
        self._snapshot = Snapshot.of(store)
        self.first_format = store.layout.zarr_format
        self._checked = time.monotonic()
        # Computations that were started, and how many of them a check of the source has confirmed.
        self._started = self._confirmed = 0
        self._pool = DaemonThreadPool(1, "watch")
        self._check: asyncio.Task[None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        store = self.snapshot.by_format[self.first_format]
        return {"name": self.name, "store": store, "revalidate": self.revalidate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def snapshot(self) -> Snapshot:
        """State of the source as of the last check, or of the last `refresh` of the store that was given."""
        version = self._given.version
        if version != self._version:
            self._version, self._snapshot = version, Snapshot.of(self._given, self._snapshot)
        return self._snapshot

    @property
    def store(self) -> LazyPyramidStore:
        """The store in the format it was given in."""
        return self.snapshot.by_format[self.first_format]

    async def current(self) -> Snapshot:
        """The snapshot, checked at most `revalidate` seconds ago."""
        if self.revalidate is not None and time.monotonic() - self._checked >= self.revalidate:
            await self._recheck()
        return self.snapshot

    async def read(self, get: Callable[[Snapshot], Awaitable[T]]) -> tuple[Snapshot, T]:
        """The value that `get` computes, with the snapshot that it belongs to: never a mixture of two.

        A value that was computed while the source may have changed is returned only after a check of the source
        that started once the value was complete; if the source has changed, the value is computed again.

        Raises
        ------
        BusyError
            When the source changes faster than it can be read.
        """
        snapshot = await self.current()
        for _ in range(_MAX_READS):
            # A value computed here, or left half done, is in doubt until a check that starts later.
            cold = asyncio.get_running_loop().call_soon(self._count_computation)
            try:
                value = await get(snapshot)
            finally:
                cold.cancel()
            if self.revalidate is not None and self._started != self._confirmed:
                await self._recheck()
            if self.snapshot is snapshot:
                return snapshot, value
            snapshot = self.snapshot
        msg = f"{self.name} changes faster than it can be read; try again"
        raise BusyError(msg)

    def _count_computation(self) -> None:
        self._started += 1

    async def _recheck(self) -> None:
        """Wait for a check of the source that starts now or later."""
        running = self._check
        if running is not None:
            with suppress(Exception):
                await asyncio.shield(running)
        if self._check is running:
            self._check = asyncio.get_running_loop().create_task(self._check_source())
            self._check.add_done_callback(lambda check: check.cancelled() or check.exception())
        assert self._check is not None
        await asyncio.shield(self._check)

    async def _check_source(self) -> None:
        engine = self.store.engine
        started = self._started if engine.cache_info().in_flight == 0 else self._confirmed
        future: Future[LazyPyramidStore] = Future()
        future.set_running_or_notify_cancel()
        store = self.store

        def refresh() -> None:
            try:
                future.set_result(store.refreshed())
            except Exception as error:
                future.set_exception(error)

        self._pool.submit(refresh)
        try:
            async with asyncio.timeout(engine.timeout_s):
                refreshed = await asyncio.shield(asyncio.wrap_future(future))
        except TimeoutError as error:
            if future.done():
                raise
            msg = f"{self.name}: its source did not answer within {engine.timeout_s} s"
            raise BusyError(msg) from error
        self._checked, self._confirmed = time.monotonic(), started
        if refreshed is not store:
            engine.clear()
            self._snapshot = Snapshot.of(refreshed, self._snapshot)


def named_dataset(datasets: Mapping[str, ServedDataset], path: str) -> tuple[ServedDataset | None, str]:
    """The dataset whose name a path begins with, the longest one, and the rest of the path; None where there is none."""
    parts = path.split("/")
    for depth in range(len(parts), 0, -1):
        dataset = datasets.get("/".join(parts[:depth]))
        if dataset is not None:
            return dataset, "/".join(parts[depth:])
    return None, path
