"""Commit of levels: their metadata, written once all of their chunks are there."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.kvstore.base import HIDDEN, KVStore
from lazypyr.metadata.conventions import level_keys, text_keys
from lazypyr.store.hierarchy import build_hierarchy
from lazypyr.writing.job import DestinationLost, Job, put
from lazypyr.writing.sharding import sharded
from lazypyr.writing.stages import unit_shape

__all__ = ["check_apart", "check_whole", "commit", "complete", "declare", "tidy", "withdraw"]


# Keys of documents that hold attributes. Among them are names of the source as somebody spelled it; the fingerprint
# beside them tells sources apart.
_ATTRIBUTES = ("attributes", ".zattrs", *sorted(level_keys))


# Keys of chunks or shards, v2 and v3, below their array's path.
_CHUNK = re.compile(r"(c[/.])?\d+([/.]\d+)*|c")


def documents_of(job: Job, stages: int) -> dict[str, bytes]:
    """Metadata of the arrays that are whole after the first so many stages."""
    paths = {
        job.arrays[stage.array].paths[level]: job.arrays[stage.array].pyramid
        for stage in job.stages[:stages]
        for level in range(stage.lo, stage.hi + 1)
        if level in job.arrays[stage.array].paths
    }
    if not paths:
        return {}
    documents = dict(build_hierarchy(job.pyramids, job.layout, job.surroundings, only=paths, stamped=True).documents)
    if job.shards is None:
        return documents
    shapes = {path: unit_shape(pyramid, job.shards) for path, pyramid in paths.items()}
    return sharded(documents, {p: s for p, s in shapes.items() if s != paths[p].chunks})


def commit(job: Job, stage: int) -> None:
    """Show the levels of a stage, and of all before it: arrays first, then their groups, the root last.

    Raises
    ------
    DestinationError
        When a document can't be written; it names key and bytes.
    """
    documents = documents_of(job, stage + 1)
    for key in sorted(documents, key=_order):
        data = documents[key]
        if job.kvstore.get(key) != data:
            put(job.kvstore, key, data, atomic=True)


def declare(job: Job) -> None:
    """Write the documents of all arrays, no group's, where chunks are taken of arrays only that are there."""
    if job.kvstore.is_transaction:
        wanted = documents_of(job, len(job.stages))
        paths = [path for array in job.arrays for path in array.paths.values()]
        for key in sorted(f"{path}/zarr.json" for path in (*paths, *job.surroundings.arrays)):
            if key in wanted:
                put(job.kvstore, key, wanted[key], atomic=True)


def check_whole(job: Job, stage: int) -> None:
    """Refuse to go on without chunks that a stage has written.

    Raises
    ------
    DestinationLost
        When some of them are gone.
    """
    array = job.arrays[job.stages[stage].array]
    for level in range(job.stages[stage].lo, job.stages[stage].hi + 1):
        path = array.paths.get(level)
        if path is None or not job.kvstore.supports_overwrite:
            continue
        wanted = math.prod(
            windows.chunk_count(array.pyramid.levels[level].shape, unit_shape(array.pyramid, job.shards))
        )
        keys = job.kvstore.list_keys(path)
        present = sum(_CHUNK.fullmatch(key.removeprefix(f"{path}/")) is not None for key in keys)
        if present < wanted:
            raise DestinationLost(
                f"{job.kvstore.name}: {wanted - present} of {wanted} chunks of {path} that were written are gone: somebody "
                f"removed them, or the medium was replaced; run again to begin anew"
            )


def withdraw(job: Job, stages: int) -> None:
    """Delete the documents of the first so many stages, as far as they are those that were written."""
    documents = documents_of(job, stages)
    for key in sorted(documents, key=_order, reverse=True):
        if job.kvstore.get(key) == documents[key]:
            job.kvstore.delete(key)


def _order(key: str) -> tuple[Any, ...]:
    # What makes a node of a folder comes after what describes it; the consolidated copy before the attributes that list the
    # levels: zarr 3 takes the list from these, and looks for the levels in that.
    return -key.count("/"), not key.endswith(".zmetadata"), not key.endswith(".zattrs"), key


def complete(job: Job) -> bool:
    """True when everything is there already.

    Raises
    ------
    PlanError
        When something else is there.
    """
    kvstore = job.kvstore
    if kvstore.get(".lazypyr/journal.json") is not None:
        return False
    if kvstore.is_empty():
        return False
    wanted = documents_of(job, len(job.stages))
    differs = next((key for key in wanted if not _same(kvstore.get(key), wanted[key])), None)
    if differs is None:
        return True
    raise PlanError(
        f"{kvstore.name} is not empty, and holds something else ({differs} is not what this recipe and source give); give "
        f"another destination, or delete it"
    )


def _same(document: bytes | None, expected: bytes) -> bool:
    """True for documents that differ at most in texts for people, such as the source's path as it was spelled."""
    try:
        return document is not None and (
            document == expected or _alike(json.loads(document), json.loads(expected), in_attributes=False)
        )
    except ValueError:
        return False


def _alike(a: Any, b: Any, *, in_attributes: bool) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        texts = text_keys if in_attributes else frozenset[str]()
        return a.keys() - texts == b.keys() - texts and all(
            _alike(a[key], b[key], in_attributes=in_attributes or key.endswith(_ATTRIBUTES)) for key in a.keys() - texts
        )
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return all(_alike(x, y, in_attributes=in_attributes) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def check_apart(job: Job) -> None:
    """Refuse a destination that is the source, within it, or around it."""
    for pyramid in job.pyramids.values():
        for source in pyramid.sources:
            if job.kvstore.overlaps(source):
                raise PlanError(
                    f"the destination {job.kvstore.name} is the source {source.name}, lies in it, or around it"
                )


def tidy(kvstore: KVStore) -> None:
    """Remove our empty folders beside a hierarchy that is whole."""
    local = kvstore.local
    if local is not None:
        for folder in (local / HIDDEN / "partial", local / HIDDEN / "spill", local / HIDDEN):
            with contextlib.suppress(OSError):  # other things are in it
                folder.rmdir()
