"""Shards of zarr v3: many chunks under one key, with an index at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lazypyr._util.checks import one_or_two
from lazypyr.errors import PlanError
from lazypyr.geometry import windows
from lazypyr.metadata.json_values import dump

__all__ = ["shard_of", "shard_pair", "sharded"]

_EMPTY = 2**64 - 1


def shard_of(
    index: Sequence[int],
    inner: Sequence[int],
    counts: Sequence[int],
    encode: Callable[[tuple[int, ...]], Any],
) -> bytes:
    """A shard's bytes: its chunks in row-major order, then offset and length of each, then the index's checksum.

    Parameters
    ----------
    index : sequence of int
        Of the shard.
    inner : sequence of int
        Chunks of a shard along each axis.
    counts : sequence of int
        Chunks of the array along each axis; those of the last shards that lie beyond are left empty.
    encode : callable
        Bytes of a chunk by its index in the array.
    """
    from google_crc32c import value as crc32c  # a dependency of zarr

    table = np.full((*inner, 2), _EMPTY, "<u8")
    parts: list[Any] = []
    offset = 0
    for within in windows.chunk_index_windows(tuple((0, n) for n in inner), (1,) * len(inner)):
        chunk = tuple(s * n + i for s, n, i in zip(index, inner, within, strict=True))
        if all(c < n for c, n in zip(chunk, counts, strict=True)):
            data = bytes(encode(chunk))
            table[within] = offset, len(data)
            parts.append(data)
            offset += len(data)
    raw = table.tobytes()
    return b"".join([*parts, raw, crc32c(raw).to_bytes(4, "little")])


def sharded(documents: Mapping[str, bytes], shards: Mapping[str, Sequence[int]]) -> dict[str, bytes]:
    """Documents of a v3 hierarchy whose arrays are stored in shards; `shards` are their shapes by path of the array."""
    out = dict(documents)
    root = json.loads(documents["zarr.json"])
    for path, shape in shards.items():
        document = json.loads(documents[f"{path}/zarr.json"])
        setup = document["chunk_grid"]["configuration"]
        index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        inside = {
            "chunk_shape": setup["chunk_shape"],
            "codecs": document["codecs"],
            "index_codecs": index_codecs,
            "index_location": "end",
        }
        document["codecs"] = [{"name": "sharding_indexed", "configuration": inside}]
        setup["chunk_shape"] = list(shape)
        out[f"{path}/zarr.json"] = dump(document)
        root["consolidated_metadata"]["metadata"][path] = document
    out["zarr.json"] = dump(root)
    return out


def shard_pair(shards: Any, zarr_format: int) -> tuple[int, int] | None:
    """Pixels of a shard along y and x, None without shards; PlanError for anything else."""
    if shards is None:
        return None
    if zarr_format != 3:
        raise PlanError("shards: are of zarr v3, the store is zarr_format=2")
    return one_or_two(shards, "shards: expected pixels along y and x")
