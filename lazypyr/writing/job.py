"""Job: the facts that a worker needs to compute a region, and the caches that regions share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numcodecs
import numpy as np

from lazypyr._util.cache import SingleFlightCache
from lazypyr.engine.engine import Engine
from lazypyr.errors import DestinationError
from lazypyr.geometry.windows import Window
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.pyramids.base import Pyramid
from lazypyr.sources.copied import Surroundings
from lazypyr.store.chunk_bytes import bytes_of, encoded
from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.store.keys import Keys
from lazypyr.store.layout import StoreLayout
from lazypyr.writing.stages import ArrayLevels, Stage

__all__ = [
    "Cancelled",
    "DestinationLost",
    "Job",
    "Parallel",
    "RegionResult",
    "clear_spilled",
    "destination_error",
    "put",
    "serial",
    "spill_key",
]

Array = np.ndarray[Any, Any]
_SPILL = f"{HIDDEN}/spill"
Parallel = Callable[[Iterable[Callable[[], None]]], None]


class Cancelled(Exception):
    """Raised in a region that was not done when the work was cancelled."""


class DestinationLost(DestinationError):
    """Raised when what a job has written is no longer there."""


class RegionResult(NamedTuple):
    """Result of a region: chunks (or shards) written, their bytes, and the bytes of the pixels in them."""

    chunks: int = 0
    written: int = 0
    pixels: int = 0


@dataclass
class Job:
    """Facts that a worker needs to compute a region; picklable.

    Attributes
    ----------
    pyramids : dict[str, Pyramid]
        By path of the group.
    layout : StoreLayout
    arrays : list of ArrayLevels
    stages : tuple of Stage
    shards : (int, int) or None
        Along y and x, in pixels.
    kvstore : KVStore
    region_bytes : int
        What a region may hold in memory.
    surroundings : Surroundings
        Groups and arrays that are written as they are; no worker needs them.
    """

    pyramids: dict[str, Pyramid]
    layout: StoreLayout
    arrays: list[ArrayLevels]
    stages: tuple[Stage, ...]
    shards: tuple[int, int] | None
    kvstore: KVStore
    region_bytes: int
    surroundings: Surroundings = field(default_factory=Surroundings)

    def __getstate__(self) -> dict[str, Any]:
        cached = ("keys", "encoder", "engine", "edge_chunks")
        kept = {k: v for k, v in self.__dict__.items() if k not in cached}
        return {**kept, "surroundings": Surroundings()}

    @cached_property
    def keys(self) -> Keys:
        """The keys of the hierarchy that is written."""
        return build_hierarchy(self.pyramids, self.layout)

    @cached_property
    def encoder(self) -> Any:
        """The codec, None if there is none."""
        return numcodecs.get_codec(self.layout.compressor.numcodecs_config()) if self.layout.compressor else None

    @cached_property
    def engine(self) -> Engine:
        """Engine for pixels that a product asks for outside of its region."""
        return Engine(cache_bytes=self.region_bytes, inflight_bytes=max(self.region_bytes, 1), workers=1)

    @cached_property
    def edge_chunks(self) -> SingleFlightCache:
        """Cache of source chunks that lie across the edges of regions: the regions beside them need them next."""
        return SingleFlightCache(self.region_bytes, lambda chunk: chunk.nbytes)

    def encode(self, tile: Array) -> Any:
        """A full-size tile as its chunk's bytes, the same as the lazy store gives."""
        return bytes_of(tile) if self.encoder is None else encoded(self.encoder, tile)


def clear_spilled(kvstore: KVStore, stage: int | None = None) -> None:
    """Delete the pixels that a stage has left to later ones, or those of all stages."""
    kvstore.clear(_SPILL, (r"\d+" if stage is None else str(stage)) + r"/\d+/\d+/\d+-\d+(\.\d+)*")


def spill_key(stage: int, reduction: int, level: int, region: int, unit: tuple[int, ...]) -> str:
    """Key of the pixels that one region leaves of one level of a reduction."""
    return f"{_SPILL}/{stage}/{reduction}/{level}/{region}-{'.'.join(map(str, unit))}"


def serial(tasks: Iterable[Callable[[], None]]) -> None:
    """Run tasks one after the other."""
    for task in tasks:
        task()


def put(
    kvstore: KVStore,
    key: str,
    data: Any,
    *,
    level: int | None = None,
    window: Window | None = None,
    atomic: bool = False,
) -> None:
    """Write a value; DestinationError names the destination, the key and its bytes."""
    try:
        if atomic:
            kvstore.put_atomic(key, data)
        else:
            kvstore.put(key, data)
    except Exception as error:
        where = "" if level is None else f", level {level}, window {window}"
        task = f"writing {memoryview(data).nbytes} bytes of {key}{where} failed"
        raise destination_error(kvstore, task, error) from error


def destination_error(kvstore: KVStore, problem: str, error: Exception) -> DestinationError:
    """The error of a destination for one of its medium, with the same number of the operating system."""
    message = f"{kvstore.name}: {problem}: {type(error).__name__}: {error}"
    number = getattr(error, "errno", None)
    return DestinationError(message) if number is None else DestinationError(number, message)
