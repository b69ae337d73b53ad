"""A store that does what a script says: counts, fails, cuts short, hangs."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

from zarr.storage import WrapperStore

HANG_S = 30


class FaultStore(WrapperStore):
    """Passes reads on to another store, as `script` says.

    ``script[key]`` is a list of what happens at the next reads of a key, one after the other: an exception (raised), a
    function of the bytes (None: missing), a number of seconds (delay), or a `threading.Event` (hang until it is set).
    The last one stays if ``sticky``. Writes fail.
    """

    def __init__(self, store):
        super().__init__(store)
        self.script, self.sticky = {}, False
        self.reads, self.writes = Counter(), Counter()
        self.log = []
        self._lock = threading.Lock()

    def _with_store(self, store):
        """Zarr makes itself a read-only one of it: the same script, the same counts."""
        other = type(self)(store)
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k != "_store"})
        return other

    def chunk_reads(self):
        return {key: n for key, n in self.reads.items() if is_chunk(key)}

    def _next(self, key):
        with self._lock:
            self.reads[key] += 1
            self.log.append(key)
            steps = self.script.get(key)
            if not steps:
                return None
            return steps[0] if self.sticky and len(steps) == 1 else steps.pop(0)

    async def get(self, key, prototype, byte_range=None):
        step = self._next(key)
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, threading.Event):
            for _ in range(HANG_S * 100):
                if step.is_set():
                    break
                await asyncio.sleep(0.01)
        elif isinstance(step, int | float):
            await asyncio.sleep(step)
        elif step is not None:
            whole = await self._store.get(key, prototype)
            data = step(None if whole is None else whole.to_bytes())
            if data is None:
                return None
            buffer = prototype.buffer.from_bytes(data)
            if byte_range is None:
                return buffer
            from zarr.storage._utils import _normalize_byte_range_index

            start, stop = _normalize_byte_range_index(buffer, byte_range)
            return buffer[start:stop]
        return await self._store.get(key, prototype, byte_range)

    async def get_partial_values(self, prototype, key_ranges):
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def set(self, key, value):
        self.writes[key] += 1
        raise AssertionError(f"written to the source: {key}")

    async def set_if_not_exists(self, key, value):
        await self.set(key, value)

    async def delete(self, key):
        self.writes[key] += 1
        raise AssertionError(f"deleted from the source: {key}")

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


class FaultMapping(dict):
    """The same for mappings: counts reads, and does once for a key what `script` says."""

    def __init__(self, *args):
        super().__init__(*args)
        self.script, self.reads = {}, Counter()
        self._lock = threading.Lock()

    def __getitem__(self, key):
        with self._lock:
            self.reads[key] += 1
            steps = self.script.get(key)
            step = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, threading.Event):
            assert step.wait(HANG_S)
        value = super().__getitem__(key)
        return step(value) if callable(step) else value

    def chunk_reads(self):
        return {key: n for key, n in self.reads.items() if is_chunk(key)}

    def __setitem__(self, key, value):
        raise AssertionError(f"written to the source: {key}")

    def __delitem__(self, key):
        raise AssertionError(f"deleted from the source: {key}")


def is_chunk(key):
    return not key.endswith((".json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"))


def bytes_of(store):
    """The content of a MemoryStore as a plain dict of bytes."""
    return {key: value.to_bytes() for key, value in store._store_dict.items()}
