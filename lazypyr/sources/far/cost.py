"""Requests that reading far chunks will take, told before any is made."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from lazypyr.sources.chunk_memory import present_memory
from lazypyr.sources.far.ahead import StoredChunk
from lazypyr.sources.far.chunks import ChunkFetcher
from lazypyr.sources.far.shards import runs_of

__all__ = ["requests_for"]

Index = tuple[int, ...]


def requests_for(chunks: Iterable[StoredChunk]) -> tuple[int, int]:
    """Number of requests for chunks that are not here yet, and about how many bytes they bring.

    The bytes of a chunk are known where the index of its shard is here; else they are those of the chunks that have come, or, before
    some have, as many as it decodes to.

    Parameters
    ----------
    chunks : iterable of (ChunkFetcher, tuple of int)
    """
    by_fetcher: dict[ChunkFetcher, dict[Index, None]] = collections.defaultdict(dict)
    for fetcher, index in chunks:
        by_fetcher[fetcher][index] = None
    costs = [
        _cost(fetcher, [i for i in indices if not _is_here(fetcher, i)]) for fetcher, indices in by_fetcher.items()
    ]
    return sum(requests for requests, _ in costs), sum(n_bytes for _, n_bytes in costs)


def _is_here(fetcher: ChunkFetcher, index: Index) -> bool:
    memory = present_memory()
    return fetcher.is_absent(index) or (
        memory is not None
        and (
            memory.peek_decoded(fetcher.key("decoded", index)) is not None
            or memory.get_stored(fetcher.key("stored", index)) is not None
        )
    )


def _cost(fetcher: ChunkFetcher, indices: Sequence[Index]) -> tuple[int, int]:
    each, shards = fetcher.expected_bytes, fetcher.shards
    if shards is None:
        return len(indices), len(indices) * each
    by_shard: dict[Index, list[Index]] = collections.defaultdict(list)
    for index in indices:
        by_shard[shards.shard_of(index)[0]].append(index)
    requests = n_bytes = 0
    for shard, wanted in by_shard.items():
        key = fetcher.array.key_of(shard)
        table = shards.peek(key, present_memory())
        if table is None and shards.comes_whole(shard, wanted, each):
            requests, n_bytes = requests + 1, n_bytes + len(wanted) * each + shards.index_bytes
            continue
        runs = runs_of(table or shards.supposed(each), [(shards.shard_of(index)[1], index) for index in wanted])
        requests += len(runs.spans) + (table is None)
        n_bytes += sum(stop - start for start, stop, _ in runs.spans) + (shards.index_bytes if table is None else 0)
    return requests, n_bytes
